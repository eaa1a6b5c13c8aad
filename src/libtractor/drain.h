/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A process has ended, as somebody else says, and what it said last may still be in its connection's socket: that goes first. Usually it is
 * read in one turn of the loop; a child of the dead process may keep the other end open, so it is not waited for long. */

#include "dialog/session.h"
#include "libtractor/timers.h"

typedef struct Drain {
        Timer timer;
        Timers *timers;   /* weak; NULL: off */
        Session *session; /* weak */
        uint64_t until;
        void (*done)(struct Drain *d); /* may free it */
} Drain;

/* `done` comes from within when there is nothing to be read. */
void drain_begin(Drain *d, Timers *timers, Session *s, void (*done)(Drain *d));
void drain_stop(Drain *d);
