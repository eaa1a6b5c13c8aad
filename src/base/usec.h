/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Time is absolute microseconds of CLOCK_MONOTONIC everywhere inside; USEC_INFINITY means never. */

#include <time.h>

#include "base/macro.h"

#define USEC_PER_SEC ((uint64_t) 1000000)
#define USEC_PER_MSEC ((uint64_t) 1000)
#define NSEC_PER_USEC ((uint64_t) 1000)
#define USEC_INFINITY UINT64_MAX

uint64_t now_usec(clockid_t clock);
/* a + b, staying at USEC_INFINITY. */
uint64_t usec_add(uint64_t a, uint64_t b);
/* a - b, never below 0; USEC_INFINITY stays. */
uint64_t usec_sub(uint64_t a, uint64_t b);
