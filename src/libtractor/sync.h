/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How tasks leave each other things: whoever releases one hands it to the first that waits, there and
 * then, so that nobody who comes by in between is faster, and a waiter that is cancelled after it was
 * handed something still has it. No function looks at what it waited for after it was woken, which is
 * therefore free to go. */

#include "libtractor/task.h"
#include "tractor/sync.h"

/* What is freed must not be waited at: says so and aborts, since the tasks there would wait for ever, at
 * freed memory. */
void wait_queue_check_unused(const WaitQueue *q, const char *what);
