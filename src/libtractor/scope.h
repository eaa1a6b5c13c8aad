/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Cancel scopes as a tree: a scope's children are those opened inside of it, and the outermost ones of the tasks in its nursery. A scope
 * is in effect cancelled when it or one above it was, up to the first shield. Nothing is copied downwards, so
 * that a shield that is lifted, a task that starts late and a deadline that moves need no special case: a checkpoint looks
 * upwards, and a cancellation walks down to wake those that are parked. */

#include "libtractor/task.h"

struct tractor_scope {
        Runtime *runtime; /* weak */
        Scope *parent;    /* weak; NULL: the outermost */
        ListNode node;    /* of the parent's children */
        ListNode children;
        ListNode tasks;   /* whose innermost one this is */
        Task *task;       /* weak: that opened it and closes it */
        Nursery *nursery; /* weak: whose scope it is, or NULL */
        Timer deadline;
        bool cancelled, shield, fails, expired;
        char *reason, *canceller;
};

/* A child of `parent` (NULL: none) in nobody's hands. NULL: out of memory. */
Scope *scope_new(Runtime *rt, Scope *parent);
/* It must have neither children nor tasks. Returns NULL. */
Scope *scope_free(Scope *s);
/* Moves the task into a child of its innermost scope. */
Scope *scope_enter(Task *t);
void scope_move_task(Scope *s, Task *t);
/* The scope that cancels what is in `s`: itself or one above; NULL: none. */
Scope *scope_cancelling(Scope *s);
/* Who keeps the deadline is another, and cancels the scope at it: here it is only to be asked for. Of one that was given none. */
void scope_show_deadline(Scope *s, uint64_t usec);
/* The nearest deadline that reaches into `s`; 0 when it is cancelled. */
uint64_t scope_deadline(const Scope *s);
/* Wakes also what is below a shield: the runtime is closing. */
void scope_break_shields(Scope *root);
/* `canceller` (a path, may be NULL) is who asked for it, where that was not this process. */
void scope_cancel(Scope *s, const char *reason, const char *canceller);
