/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a long wait waits for, on a terminal: the members that are not ready, each with its state and, where the
 * supervisor says one, the reason; drawn in place once the wait has lasted a moment, and gone before anything else
 * is printed. Elsewhere nothing is shown, and nothing asked for. */

#include "tractorctl/context.h"
#include "tractorctl/live.h"

typedef struct Progress {
        Context *c;
        const char *path; /* weak */
        Live live;
} Progress;

/* As client_wait(), for a Pending that is about `path` and what is below. */
int progress_wait(Context *c, const char *path, Pending *p);
/* One turn of the loop of a wait of another kind: at most until there is something new to show. */
int progress_turn(Progress *p);
void progress_done(Progress *p);
