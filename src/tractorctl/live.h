/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A region at the bottom of the terminal that is drawn again in place, never taller than the screen, with ordinary
 * lines scrolling past above it. Only relative cursor movement is used, so what was on the screen before stays.
 *
 * The cursor is hidden meanwhile, so whatever ends or stops this program from the keyboard (Ctrl-\, Ctrl-Z) gives it
 * back first. After a stop the region begins anew below what others wrote, and while another job has the terminal
 * nothing is drawn. One region a process. */

#include "base/macro.h"

typedef struct Live {
        unsigned drawn; /* lines of the region now on the screen */
        unsigned rows;  /* of the terminal at the last drawing */
        bool hidden;    /* the cursor is */
        char **lines;   /* the region's content */
} Live;

/* Shows these lines, which are copied and already cut to the width. */
void live_draw(Live *l, char *const *lines);
/* A line above the region. */
void live_log(Live *l, const char *line);
/* Takes the region off the screen (`keep`: leaves it there as ordinary lines) and restores the cursor. */
void live_done(Live *l, bool keep);
