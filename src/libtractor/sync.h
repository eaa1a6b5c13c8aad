/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How tasks leave each other things: whoever releases one hands it to the first that waits, there and
 * then, so that nobody who comes by in between is faster, and a waiter that is cancelled after it was
 * handed something still has it. No function looks at what it waited for after it was woken, which is
 * therefore free to go. */

#include <errno.h>

#include "libtractor/task.h"
#include "tractor/sync.h"

/* Of what is freed or closed under those who wait at it: their calls fail with -EBADF. */
static inline void wait_queue_close(WaitQueue *q)
{
        wait_queue_wake_all(q, -EBADF);
}
