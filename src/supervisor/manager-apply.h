/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A change under way, shared by its two files: manager-apply.c walks it from request to reply, manager-change.c does to
 * the tree what the plan says. */

#include "supervisor/manager-plan.h"
#include "supervisor/methods.h"

struct Applying {
        Manager *manager; /* weak */
        TreeSpec *spec;
        char *path;
        bool by_peer, dry_run;
        Loading *loading; /* weak: while names are looked up, or a tree that is not there yet is loaded */
        Plan plan;
        Waiter **waiters; /* weak; NULL: done with */
        size_t n_waiters, n_waiting;
        sd_event_source *later; /* the next round, once what made room for it is over */
        bool clearing;          /* waits for replaced nodes to leave */
        Json *replaced;         /* paths of those */
        Json *result;
        Json *error, *failed; /* the first of a node's, and the paths of all */
        apply_done_t done;
        void *userdata;
};

/* A node that did not become what it was to be: the first one's error is the answer's. `error` is consumed. */
void applying_failed_at(Applying *a, const char *path, Json *error);
/* Checks the plan as a whole and readies the core for it; on failure, and after a dry run, forget. */
int applying_prepare(Applying *a, Node *top);
void applying_forget(Applying *a, Node *top);
int applying_add_members(Applying *a);
/* Limits, and what the shell knows of a node. Nothing can fail any more but a limit. */
void applying_carry_out(Applying *a, const PlanItem *item);
