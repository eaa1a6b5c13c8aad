/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What SPAWN carries. It is made by the supervisor and read by the child; the keeper never looks inside. */

#include "child/spec.h"
