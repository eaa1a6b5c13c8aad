/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Cancel scopes: the part of a task's work that can be given up as a whole (after trio's). While a scope is cancelled, every
 * blocking call in it, and in the tasks of nurseries opened in it, answers -ECANCELED, again and again: code returns, and
 * cleans up on its way. The scope that was cancelled takes the -ECANCELED when it is closed. A scope belongs to the
 * task that opened it; scopes are closed in reverse order. What must not be given up goes into a shield.
 *
 *         tractor_scope *scope = tractor_move_on_after(2 * TRACTOR_SEC);
 *         r = tractor_portal_call(portal, "slow", NULL, &answer);
 *         r = tractor_scope_close(scope, r);      0: it answered, or it was given up: then `answer` is as it was
 *
 * Cancelling is not a deadline of one call but of all that goes on inside; deadlines are absolute, so a loop can't
 * stretch them, and the nearest of all enclosing ones holds. */

#include <tractor/macros.h>

TRACTOR_BEGIN_DECLS

typedef struct tractor_scope tractor_scope;

/* NULL: out of memory, which tractor_scope_close(NULL, r) reports as -ENOMEM where r is not negative; all other
 * functions take NULL and do nothing. */
tractor_scope *tractor_scope_open(void);
/* Cancelled `usec` from now; closing it is no error. */
tractor_scope *tractor_move_on_after(uint64_t usec);
/* The same; closing it with the -ECANCELED of its deadline is -ETIMEDOUT. Who was done all the same has no error. */
tractor_scope *tractor_fail_after(uint64_t usec);
/* Cancels from outside don't reach in: for cleanup that itself must wait. Give it a deadline. */
tractor_scope *tractor_shield(uint64_t usec);
/* `r` is how the work in it ended: passed on, but for the -ECANCELED of this scope's own cancellation: 0 then, or -ETIMEDOUT.
 * Frees it. */
int tractor_scope_close(tractor_scope *s, int r);

/* Cancels it; from any task of this process, again is harmless. `reason` (may be NULL) is copied. */
void tractor_scope_cancel(tractor_scope *s, const char *reason);
bool tractor_scope_cancelled(const tractor_scope *s);     /* it, not one around it */
const char *tractor_scope_reason(const tractor_scope *s); /* NULL: none was given */
const char *tractor_scope_canceller(
                const tractor_scope *s); /* path of who asked for it, where another process did */
/* Absolute, of CLOCK_MONOTONIC; TRACTOR_FOREVER: none. May be moved while the scope is open. */
void tractor_scope_set_deadline(tractor_scope *s, uint64_t usec);
uint64_t tractor_scope_deadline(const tractor_scope *s);
void tractor_scope_set_shield(tractor_scope *s, bool shield);

/* The nearest deadline that holds for the running task; a handler's call's, too. */
uint64_t tractor_current_deadline(void);
/* Whether a blocking call would answer -ECANCELED now. */
bool tractor_is_cancelled(void);
/* Why that is, and by whom, as tractor_scope_reason() and tractor_scope_canceller() of the innermost scope that is cancelled; in a handler
 * that may be the call's own, whose canceller is its caller or who else cancelled it. Valid until that scope is closed. */
const char *tractor_current_reason(void);
const char *tractor_current_canceller(void);
/* 0, or -ECANCELED; lets other tasks run first. A long computation calls it now and then. */
int tractor_checkpoint(void);

/* For TRACTOR_CLEANUP: closes what an early return leaves open, and forgets how it went. */
void tractor_scope_closep(tractor_scope **s);

TRACTOR_END_DECLS
