/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What it takes to make a tree that runs into the one a file describes. Nodes are matched by path; what was spawned at
 * run time is not the file's business and stays. A Plan is one walk over both, and does nothing. */

#include "supervisor/manager.h"

typedef enum PlanAction {
        PLAN_KEEP,
        PLAN_UPDATE,  /* live keys alone */
        PLAN_RESTART, /* as somebody else, or (a supervisor that had failed) to try again */
        PLAN_ADD,
        PLAN_REMOVE, /* with all below */
        _PLAN_MAX,
} PlanAction;

typedef struct PlanItem {
        PlanAction action;
        Node *node;     /* weak; of PLAN_ADD: NULL until it was added */
        Node *parent;   /* weak; of PLAN_ADD */
        TreeSpec *spec; /* weak: in the tree planned for; NULL: PLAN_REMOVE */
        bool covered;   /* a branch above is restarted */
        bool starts;    /* it will: its supervisor runs */
        bool replaced; /* its name is taken by another kind, or by what is still on its way out: first that leaves */
} PlanItem;

typedef struct Plan {
        PlanItem *items; /* parents before children; all of the tree */
        size_t n, cap;
        size_t n_added; /* with all below */
        bool replaces;
} Plan;

int plan_make(Manager *m, Node *top, TreeSpec *spec, Plan *ret);
void plan_done(Plan *p);
/* {added, removed, restarted, updated, unchanged, changes}, added to `ret`. */
int plan_to_json(const Plan *p, Json *to);
