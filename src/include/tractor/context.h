/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A context is a task over there and a block over here, linked: neither outlives the other, errors go both ways, and values
 * stream in both directions with real back-pressure. The same type at both ends: the opener's, and the one that a handler is given.
 *
 *         opener                                             handler
 *         tractor_context_open(p, "count", args, NULL, &c, &first)   tractor_context_started(ctx, first)
 *         while ((r = tractor_receive(c, &item)) > 0) …              tractor_send(ctx, item); …
 *         r = tractor_context_close(&c, r, &result)                  return 0, *ret_result = result */

#include <sys/types.h>

#include <tractor/macros.h>
#include <tractor/portal.h>

TRACTOR_BEGIN_DECLS

typedef struct tractor_context tractor_context;

/* One type for one-shots, calls and dialogs. `args` is borrowed. *ret_result is NULL (null) before, and given away. What it
 * returns below zero is its failure, with its task's last error where that has the same errno. It runs in a task of its own whose cancel scope
 * the caller, or the caller's end, cancels. */
typedef int (*tractor_handler)(
                tractor_context *ctx, struct json_object *args, struct json_object **ret_result);

typedef enum tractor_overrun {       /* what a sender does that has no room (the receiver's choice) */
        TRACTOR_OVERRUN_WAIT,        /* waits */
        TRACTOR_OVERRUN_ERROR,       /* the dialog ends with -ENOBUFS */
        TRACTOR_OVERRUN_DROP_OLDEST, /* keeps the newest 64 */
} tractor_overrun;

typedef struct tractor_context_options {
        size_t size;
        unsigned window; /* items that may be under way to us; 0: 64 */
        tractor_overrun overrun;
        uint64_t deadline_usec; /* of the whole, from now; 0: none */
} tractor_context_options;

/* --- the opener --- */
/* Returns when the handler has said started, with its value (`ret_started` may be NULL). Fails with the handler's own error, where it ended
 * before; a result without started is that of one that is no dialog: the value is NULL then, and the result follows. `args` consumed, `o` may be NULL. */
int tractor_context_open(tractor_portal *p, const char *method, struct json_object *args,
                const tractor_context_options *o, tractor_context **ret, struct json_object **ret_started);
/* Leaves it: `r` below zero, and the handler is cancelled; else it is awaited (its items are dropped meanwhile). Frees it; *c is NULL then.
 * The handler's result, or its error; after a cancel of our own 0 or `r`, unless the handler failed by itself. Other tasks that wait
 * at it get -EBADF at once, as those do to which a handler that has returned gave its end. */
int tractor_context_close(tractor_context **c, int r, struct json_object **ret_result);
/* Waits for the end, and how it was: 0 and the handler's result (`ret_result` may be NULL; given away), or the handler's error. -EINTR: it was
 * cancelled, by us or another: tractor_error_canceller(). Items are dropped. The context stays, to be closed: any
 * task may ask, as often as it likes. */
int tractor_context_result(tractor_context *c, struct json_object **ret_result);
/* Asks the handler to end. Closing is 0 then, where the handler has ended by that; tractor_context_result() tells it from one that finished. */
void tractor_context_cancel(tractor_context *c, const char *reason);
/* For TRACTOR_CLEANUP: cancels, waits, forgets. */
void tractor_context_dropp(tractor_context **c);

/* --- the handler --- */
/* Accepts the dialog: once, before any item. Consumes value. `o` (may be NULL) has our window and overrun. -EALREADY, -EPROTO: it is a call. */
int tractor_context_started(tractor_context *c, struct json_object *value, const tractor_context_options *o);
bool tractor_context_is_dialog(const tractor_context *c);
const char *tractor_context_method(const tractor_context *c);
void *tractor_context_userdata(const tractor_context *c); /* of the method's table */
const char *tractor_context_peer_path(
                const tractor_context *c); /* who asks, as the supervisor says; NULL: nobody said */
const char *tractor_context_peer_id(const tractor_context *c);
uid_t tractor_context_peer_uid(const tractor_context *c); /* (uid_t) -1: nobody said */
pid_t tractor_context_peer_pid(const tractor_context *c);

/* --- both --- */
/* Consumes value, on failure too. It is on its way at the latest when the task gives way (its next blocking call that waits): what a task
 * sends in one go goes out together. Up to 16 KiB are kept for that, and lost if the process dies before. Waits for room; -EPROTO before
 * started; -EPIPE: stopped, or the other side takes no more. */
int tractor_send(tractor_context *c, struct json_object *value);
int tractor_try_send(tractor_context *c, struct json_object *value); /* -EAGAIN: no room; no checkpoint */
/* 1 and an item; 0: the other side has stopped, or ended. `ret_lost` (tractor_receive_lost, may be NULL): how many were dropped before it. */
int tractor_receive(tractor_context *c, struct json_object **ret);
int tractor_receive_lost(tractor_context *c, struct json_object **ret, uint64_t *ret_lost);
/* -EAGAIN: nothing there yet. What was sent together need not be there together. */
int tractor_try_receive(tractor_context *c, struct json_object **ret);
/* No more items of ours; the other direction stays open. -EALREADY. */
int tractor_stop(tractor_context *c);
/* With descriptors (up to 16; consumed in any case, as are those received to be owned). */
int tractor_send_fds(tractor_context *c, struct json_object *value, int *fds, size_t n_fds);
int tractor_receive_fds(
                tractor_context *c, struct json_object **ret, int *fds, size_t *n_fds /* in: room, out */);

TRACTOR_END_DECLS
