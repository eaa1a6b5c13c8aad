/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What blocks, or computes for long, in a thread of its own, while the task waits and all others run
 * (after trio's to_thread). Threads are started as they are needed, kept for the next call, and end when
 * they have been idle for 10 s. As many calls run at a time as the limit says; further ones wait for
 * their turn in the order they came. A thread calls nothing of tractor: there all of it answers
 * -ENOTCONN. Signals that can be blocked are blocked in it. */

#include <tractor/macros.h>

TRACTOR_BEGIN_DECLS

enum {
        /* A cancelled task leaves at once, and the function runs on without it. Else the wait is
         * shielded, since no thread can be stopped. */
        TRACTOR_THREAD_ABANDON = 1,
};

/* What fn returned. A checkpoint before it begins: -ECANCELED; with TRACTOR_THREAD_ABANDON later, too.
 * -EAGAIN: no thread can be started. `userdata` is the call's from here on, on failure too: `destroy`
 * (may be NULL) is called with it once, after fn has ended or will never begin. Where fn can't be
 * abandoned that is before this returns, and a result in userdata is read by giving no `destroy`; where
 * it can be, by keeping a reference of one's own. `destroy` runs as a callback of the loop or in the
 * task; in the thread where the run ended before fn did: tractor_run() returns when all threads have
 * ended but those that were abandoned, which it leaves behind. */
int tractor_to_thread(
                int (*fn)(void *userdata), void *userdata, void (*destroy)(void *userdata), unsigned flags);
/* How many calls run at a time in this run, abandoned ones included; 40 unless set. Lowering it stops
 * nothing. 0 is 1. */
int tractor_thread_set_limit(unsigned n);

TRACTOR_END_DECLS
