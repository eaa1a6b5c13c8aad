/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Deadlines by the thousand behind one timer of the kernel's: a binary heap whose members live in what they are for. Most
 * deadlines are moved or dropped before they come, so the event source is only armed for an earlier one than it waits for, and
 * one that turns out to be early is merely armed again. Pure: `now` is given. */

#include "base/usec.h"

typedef struct Timer Timer;
struct Timer {
        uint64_t when;
        size_t index; /* in the heap, from 1; 0: not in it. A zeroed Timer is one that is off */
        void (*fire)(Timer *t);
};

typedef struct Timers {
        Timer **heap; /* [0] is unused */
        size_t n, cap;
} Timers;

void timers_clear(Timers *h);
/* Sets or moves it; USEC_INFINITY turns it off. -ENOMEM (only where it was off), and it is as it was. */
int timer_set(Timers *h, Timer *t, uint64_t when);
void timer_off(Timers *h, Timer *t);
uint64_t timers_next(const Timers *h); /* USEC_INFINITY: none */
/* Takes those out that are due and calls them, earliest first; one that is set again to what is due waits for the next time. */
void timers_fire(Timers *h, uint64_t now);
