/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who holds all the others up: a task that runs too long without giving way is named on stderr, with where it stands, and once more when it has
 * given way. Only a signal reaches a task that computes, or that hangs in a system call; it comes from a timer of the kernel's
 * that belongs to this thread. The timer is armed when tasks begin to run, and shoots once: finding nobody running it stays off until
 * there is something to run, so that an idle program is left alone, and a busy one pays a few system calls a period.
 *
 * The signal restarts what can be restarted; calls that can't be, poll() and nanosleep() among them, may answer EINTR when they
 * have blocked the loop for half of that time. */

#include <signal.h>
#include <time.h>

#include "base/usec.h"

#define STALL_DEFAULT USEC_PER_SEC

struct Runtime;

/* Written by the thread and by the handler that interrupts it. */
typedef struct Stall {
        struct Runtime *runtime; /* weak; NULL: there is no detector */
        timer_t timer;
        int signo;
        struct sigaction old_action;
        void *stack; /* for the handler, unless the thread had one */
        uint64_t limit;
        volatile bool armed, told, in_turn;
        volatile uint64_t turn_switch, turn_usec; /* the first one of this turn of the loop, and when */
        volatile uint64_t seen_switch,
                        seen_usec; /* the one that ran at the last shot, and since when at least */
} Stall;

/* Of the calling thread. 0: STALL_DEFAULT, USEC_INFINITY: none. A program goes on without where the kernel has no timer left. */
void stall_open(Stall *s, struct Runtime *rt, uint64_t limit);
void stall_close(Stall *s);
/* Tasks begin to run, `next` is the number of the first switch. */
void stall_turn_begins(Stall *s, uint64_t next);
static inline void stall_turn_ends(Stall *s)
{
        s->in_turn = false;
}
/* The task that was told of has given way. */
void stall_over(Stall *s, const char *task);
