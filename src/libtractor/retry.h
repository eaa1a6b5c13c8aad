/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How long to wait before a failed call is tried again. Pure: chance is given. */

#include "tractor/retry.h"

/* After `n` failures (1: the first). */
uint64_t retry_delay(const tractor_retry_policy *p, unsigned n, uint64_t random);
