/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Calls in threads, as tasks see them: a place among those that run, a job for the pool, and a wait for
 * the loop to find it done. The task and the loop share the call, which lies on the task's stack; a task
 * that leaves early takes it away, and what is then found done is nobody's. */

#include "libtractor/task.h"
#include "libtractor/thread-pool.h"
#include "tractor/thread.h"

/* Of runtime_free(): waits for threads that were not abandoned. */
void threads_free(Runtime *rt);
