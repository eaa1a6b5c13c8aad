/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who comes next, where many streams share a loop. A stream that has used up its turn, or has more waiting than one
 * read, goes to the end of one queue, of which the loop sees a single event source: however many such streams there are,
 * what is left of one of their turns is all that another connection waits for. The source is an eventfd that is always
 * readable: a deferred source keeps its place in the loop's order from the first time, before all that becomes ready. */

#include <systemd/sd-event.h>

#include "base/list.h"

typedef struct Turns {
        ListNode queue;
        sd_event_source *source; /* on while somebody is queued */
} Turns;

typedef struct Turn {
        ListNode node;
        void (*run)(struct Turn *t); /* may free it; it is not queued then */
} Turn;

int turns_init(Turns *t, sd_event *event);
/* Nobody may be queued. */
void turns_done(Turns *t);
int turns_queue(Turns *t, Turn *turn);
static inline void turn_drop(Turn *turn)
{
        list_unlink(&turn->node);
}
