/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A CLOCK_MONOTONIC that the test moves on, for all programs that this is linked into: the test itself, a keeper of its own.
 * sd-event asks here, too, and compares all its timers with the clock whenever it wakes: a limit of half a minute passes
 * with the next message. */

#include <stdint.h>

/* From now on, also for those started: by how many seconds it is ahead. */
volatile uint64_t *moved_clock_new(void);
void moved_clock_free(void);
