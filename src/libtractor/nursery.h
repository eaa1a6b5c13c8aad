/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A nursery as both of its kinds of children see it: something that counts them, collects what failed, and cancels
 * the rest when its strategy says so. What actors add to it hangs on hooks; the nursery itself knows tasks alone. */

#include "libtractor/scope.h"

/* As many failures are kept, and more only counted: who fails for ever must not cost memory for ever. */
#define NURSERY_ERRORS_MAX 64U

typedef struct NurseryHooks {
        /* It has been cancelled, by itself or from around it: ask all to end. Not from a task; must not wait. */
        void (*cancel)(Nursery *n);
        /* All children have ended: in the task that closes it, shielded; may wait. */
        void (*close)(Nursery *n);
        void (*free)(Nursery *n);
} NurseryHooks;

struct tractor_nursery {
        Runtime *runtime; /* weak */
        Scope *scope;
        Task *task;     /* weak: that opened it */
        Nursery *outer; /* weak: around it, where the errors of a dropped one go; NULL: none */
        char *name, *strategy, *log_level;
        Json *limits, *keys;
        bool limits_optional;
        bool keeps_others; /* one_cancels_one: a failure is that child's alone */
        ListNode tasks;
        unsigned n_children; /* tasks and actors that have not ended */
        bool given_up;       /* a child ended because it was cancelled */
        bool leaving;        /* its block has ended */
        bool closed;         /* and all in it: nothing can be started any more */
        WaitQueue joiner;
        tractor_error **errors;
        size_t n_errors, cap_errors;
        size_t n_failures; /* those that are not kept, too */
        const NurseryHooks *hooks;
        void *actors; /* the hooks' */
};

/* A task in `scope`, which is the nursery's or below it; also from the loop. Takes userdata only on success. */
int nursery_start(Nursery *n, const char *name, tractor_task_fn fn, void *userdata,
                void (*destroy)(void *userdata), Scope *scope, Task **ret);
/* Whether something may be started in it now: 0, -ESHUTDOWN, -ECANCELED. */
int nursery_may_start(Nursery *n);
/* Of a node: -EINVAL raised for what can be none. */
int nursery_check_name(const char *name);
void nursery_child_began(Nursery *n);
/* `e` (consumed) is how it failed, NULL: well. */
void nursery_child_ended(Nursery *n, tractor_error *e);
/* A failure counts: it is kept, and cancels the rest. Consumes e. */
void nursery_failed(Nursery *n, tractor_error *e);
