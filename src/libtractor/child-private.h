/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files about a nursery's actors share (child.h). */

#include "libtractor/child.h"

typedef struct Family {
        ListNode node;    /* of the tree's */
        Nursery *nursery; /* weak: ours is its `actors` */
        Tree *tree;       /* weak */
        char *path;
        ListNode children;
        bool is_opening, opened, closing, gone;
        WaitQueue opening, closed;
        tractor_error *last; /* how the last one that was to be restarted ended: it may be what the supervisor gives up over */
} Family;

typedef struct Child {
        ListNode node;
        Family *family; /* weak */
        char *path;
        bool runs;      /* the supervisor has said so */
        bool judged;    /* a task waits for its end, says what that means, and frees it */
        bool restarted; /* the supervisor does, as often as the nursery's intensity allows */
        bool ended;
        Json *end;            /* of $/child_exited; NULL: closed, or the supervisor is gone */
        tractor_error *error; /* of one that is judged: how it failed */
        WaitQueue waiting;
} Child;

/* The other half of a nursery, opened where that has not been done. In a task; may wait. */
int family_get(Nursery *n, Family **ret);
/* Spawns an actor into the nursery. `entry`: what it is to run, NULL for another program. `ret`: NULL: no portal is wanted. */
int child_start(Nursery *n, const char *name, const char *entry, const tractor_actor_options *o, bool judged,
                Child **ret_child, tractor_portal **ret);
/* Those of a program of any version (may be NULL), raised where they are wrong. */
int child_take_options(tractor_actor_options *ret, const tractor_actor_options *o);
/* The params of actor.spawn, and the program's descriptor where it is ours. */
int child_describe(const Family *f, const char *name, const char *entry, const tractor_actor_options *o,
                bool portal, Json **ret, int *ret_exe);
/* Whether ended actors are the supervisor's to start again. */
bool nursery_restarts(const Nursery *n);
/* The members of `from` (may be NULL) replace those of `into`. */
int merge_keys(Json *into, Json *from);
void child_cancel(Child *c, const char *reason);
Child *child_free(Child *c);
