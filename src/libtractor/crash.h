/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a process does with its own crash: it reports it and then dies of it, as it would have without us, core file
 * included. The handlers run on stacks of their own and do nothing that is not async-signal-safe: they start
 * tractor-crash (src/crash/), which looks at all threads from outside, where the heap may be broken and locks held, and
 * writes the report to the channel. Where it can't be run, or does not come to an end in CRASH_WAIT_MS, a short report is
 * written here. A crash within a handler ends the process at once, by the first signal; threads that crash beside the first
 * wait for its end.
 *
 * A signal that the program handles or ignores already is left to it. A child forked without exec reports on stderr, the
 * channel not being its. */

#include "base/macro.h"

/* Both are called within the handler: async-signal-safe. NULL: nobody knows. */
typedef struct CrashHooks {
        /* Of the task that runs in the calling thread; NULL: none. */
        const char *(*task_name)(void);
        /* Is that the guard of a task's stack? The task's name may be NULL. */
        bool (*is_stack_guard)(const void *addr, const char **ret_task, size_t *ret_stack_size);
} CrashHooks;

/* `channel_fd` (or -EBADF: stderr) stays the caller's and open; `helper_path` and *hooks are copied; `hooks` may be NULL. The
 * calling thread gets its stack, as by crash_enter_thread(). -EALREADY when installed. */
int crash_install(int channel_fd, const char *helper_path, const CrashHooks *hooks);
/* The channel has changed, or (-EBADF) gone. */
void crash_set_channel(int channel_fd);
/* Gives back what crash_install() took: by the thread that called it. Harmless without. */
void crash_remove(void);

/* Each other thread that is to survive an overflow of its stack long enough to report it: a stack for handlers, unless it
 * has one already. */
int crash_enter_thread(void **ret_stack);
void crash_leave_thread(void *stack); /* NULL: nothing to do */
