/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the crash handler asks about tasks: crash_install(fd, helper, &runtime_crash_hooks). */

#include "libtractor/crash.h"

extern const CrashHooks runtime_crash_hooks;
