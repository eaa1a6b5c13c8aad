/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One connection's conversations: messages in, calls out, on top of a Stream. Serving side: on_request is handed
 * each request as a Call, answered once by call_reply()/call_fail(), now or later; a call with `ctx` may be
 * turned into a dialog by call_started() and then carries items both ways by credit until call_reply() ends it.
 * Calling side: session_call() with callbacks. Faults of the peer are answered here (parse, invalid request, too many
 * open calls) and never reach the owner. The rules of dialogs are in dialog.h and flight.h, which are pure.
 *
 * Items are sent when the receiver has given credit for them, less than FLIGHT_BYTES_MAX of them is under way and the
 * connection has room; otherwise the receiver's overrun policy decides. Credit is given back when an item has been
 * handed on, or (`manual`) when its taker says so, so that a slow one slows its source and nobody else.
 *
 * Neither "$" nor "$/…" goes to a peer that said no hello, except what it asked for itself: frames of a dialog that
 * it opened, and the "$" that declares descriptors it requested. A connector that says hello keeps what needs the
 * peer's hello, and all that follows, until that has come. A peer that has closed only its sending half still gets
 * the replies to its open calls. A session may be freed from within any of its callbacks. */

#include "dialog/dialog.h"
#include "wire/message.h"
#include "wire/stream.h"

typedef struct Session Session;
typedef struct Call Call;

#define SESSION_OPEN_MAX 1024
/* Of a method and of an id as JSON: both are kept while the call is open. */
#define SESSION_NAME_MAX 256
/* Notifications of users' methods that may be sent before the receiver gives more. */
#define SESSION_TELLS 256
/* What -EBADMSG of all that sends means: json_print_line(). */
#define SESSION_UNFIT                                                                                       \
        "a string that is not UTF-8, nesting deeper than 64, or more than 65536 values can't be sent"
/* After EOF: how long the word about the peer's end is waited for. */
#define SESSION_LINGER_MS 1000

typedef struct SessionVtable {
        /* A request; the callee owns `call` until it has replied or failed it. `m` is borrowed. */
        void (*on_request)(Session *s, Call *call, const Message *m, void *userdata);
        /* May be NULL. $/hello and the frames of calls and dialogs stay below; all other $/… comes here, and
         * $/cancel with id null. */
        void (*on_notification)(Session *s, const Message *m, void *userdata);
        /* The connection has ended; the owner frees the session (calls were detached: replying is harmless). Not
         * called by session_free(). */
        void (*on_end)(Session *s, void *userdata);
        void (*on_hello)(Session *s, const Message *m,
                        void *userdata); /* the peer's, a valid one; may be NULL */
        /* May be NULL: a notification that was refused with -EAGAIN may go now. */
        void (*on_tell_credit)(Session *s, void *userdata);
        /* May be NULL: of what was queued so much has left that there is room again, or all. */
        void (*on_room)(Session *s, void *userdata);
} SessionVtable;

typedef struct SessionOptions {
        size_t max_line; /* 0: FRAME_MAX_LINE_DEFAULT */
        JsonLimits limits;
        const char *name, *path, *id; /* of our side, for $/hello */
        bool connector;               /* we opened it: odd ids, hello first when `hello` */
        bool hello;
        bool has_output; /* what is said goes to `output`, consumed on failure too, and only what is heard comes from `fd` */
        int output;
        /* Who the peer is, where that is known: it is the canceller of what it cancels. */
        const char *peer_path;
        bool trust_canceller; /* the peer is the supervisor: it may name another */
        /* Somebody will tell how the peer ended: by session_peer_exited(), or by $/peer_exited on the connection
         * itself. At EOF open calls wait for that. */
        bool exit_told;
        /* Credit for notifications is given back by session_took_tells(), not when they have been handed on. */
        bool manual_tells;
        /* A connection that was another's before: the highest id its peer has used, its $/hello (NULL: none). */
        int64_t last_id;
        const Json *peer_hello;
        /* What it shares with other connections; each may be NULL, and outlives it. */
        Quota *quota;
        Turns *turns;
        Cork *cork;
} SessionOptions;

int session_new(sd_event *event, int fd, const SessionOptions *options, const SessionVtable *vtable,
                void *userdata, Session **ret); /* consumes fd, on failure too */
/* Tells every open Call's on_cancel; calls of our own are forgotten without a reply. */
Session *session_free(Session *s);
DEFINE_CLEANUP(Session *, session_free);
Stream *session_stream(Session *s); /* NULL after the end */
void *session_userdata(Session *s);
bool session_said_hello(const Session *s); /* the peer did */
bool session_has_room(const Session *s);   /* for what can wait */
bool session_is_flushed(const Session *s); /* nothing is queued, nor held back */
size_t session_peer_max_line(
                const Session *s);         /* the longest line it takes: the default until it said hello */
unsigned session_n_open(const Session *s); /* calls being served */
/* From within on_request and on_notification: takes n of the descriptors that came with the message; those not taken
 * are closed when the callback returns. -EBADMSG when there are fewer. */
int session_take_fds(Session *s, int *fds, size_t n);
size_t session_n_fds(const Session *s); /* how many there are */
/* The peer has ended: reads all that it had said, at once and whatever it did not read of ours. To be freed soon. */
void session_read_out(Session *s);
/* Ends the connection in order: what is queued still goes out, then on_end comes from the loop. */
void session_close(Session *s);
/* Of the notifications that came, as many have been dealt with; only with `manual_tells`. */
void session_took_tells(Session *s, unsigned n);
/* The peer has had its time to say hello: it is plain. What waited for it goes as to a plain peer, and calls that need a hello end
 * with -32010, now and from now on. */
void session_give_up_hello(Session *s);
/* The peer's process has ended: calls of ours end with -32003 and `exit` (borrowed). */
void session_peer_exited(Session *s, Json *exit);
/* The same by the params of $/peer_exited (borrowed), which may tell more. */
void session_peer_told(Session *s, const Json *params);
/* Who would have told has gone: nothing waits for that any more. What does, ends from the loop. */
void session_untold(Session *s);
/* What keeps the connection from being handed to somebody else while `c` is being answered (a constant), or NULL: bytes
 * that followed the request, other open calls, unsent output. */
const char *session_handover_refused(Session *s, const Call *c);
/* The highest id the peer has used as one of its own. */
int64_t session_last_id(const Session *s);

/* --- items, at either end of a dialog --- */
typedef struct ItemVtable {
        /* `value` is borrowed. */
        void (*on_next)(Json *value, uint64_t lost, void *userdata);
        void (*on_stop)(void *userdata);   /* the peer's items have come to their end */
        void (*on_credit)(void *userdata); /* what was refused with -EAGAIN may work now */
} ItemVtable;
typedef struct ItemOptions {
        int64_t credit; /* what the peer may send; 0 or below: DIALOG_CREDIT_DEFAULT */
        MessageOverrun overrun;
        bool manual; /* credit is given back by call_took(), session_took() */
} ItemOptions;
/* How the three below answer: 0: sent, or queued as the receiver's policy has it; -EAGAIN: not now; -ENOBUFS: the
 * receiver wanted to be told of an overrun: the dialog is over (its opener gets -32006); -EPIPE: nobody takes items
 * any more; -EMSGSIZE: longer than the peer's line. The value is consumed in each case.
 *   _next   -EAGAIN loses nothing: the caller keeps what it has and tries again on on_credit.
 *   _offer  -EAGAIN means that the item was dropped: the next one says how many were `lost`. */

/* --- serving --- */
Session *call_session(Call *c); /* NULL after the connection ended */
const char *call_method(Call *c);
void *call_userdata(Call *c);
/* `on_cancel`: the peer cancelled, its deadline passed or the connection went, told once; the call must still be
 * replied or failed, from within or later. A failure with -32800 says by whom, and becomes -32007 after a deadline. */
void call_set_userdata(Call *c, void *userdata, void (*on_cancel)(Call *c, void *userdata));
/* As if the peer had asked for it by `$.deadline_ms`; the earlier one holds. */
int call_set_deadline(Call *c, int64_t ms);
uint64_t call_deadline(const Call *c); /* absolute; USEC_INFINITY: none */
/* Of a cancelled call; NULL when not said. */
const char *call_canceller(const Call *c);
const char *call_cancel_reason(const Call *c);
bool call_is_dialog(const Call *c); /* asked with ctx */
/* The three ends: each consumes `call`, its Json and its descriptors, on failure too. A reply that cannot be sent
 * ends the connection (a longer one than the peer takes becomes -32011): none is ever dropped in silence. */
void call_reply(Call *c, Json *result, int *fds, size_t n_fds);
void call_fail(Call *c, int code, Json *data, const char *format, ...) _printf_(4, 5);
void call_fail_object(Call *c, Json *error);
/* Dialogs. call_started once (-EALREADY; -EPROTO for a plain call); without `items` the opener is given no credit. A
 * dialog replied to without call_started is started with null first. The callbacks get call_userdata(). */
int call_started(Call *c, Json *value, const ItemVtable *items, const ItemOptions *options);
int call_next(Call *c, Json *value);
int call_offer(Call *c, Json *value);
/* With descriptors, consumed unless it is -EAGAIN, which it is also where the item alone would be kept. Who takes items takes those
 * that came with one by session_take_fds() from within on_next. */
int call_next_fds(Call *c, Json *value, int *fds, size_t n_fds);
int call_stop(Call *c); /* no more items of ours; -EALREADY, -EPIPE; -EAGAIN while some are queued */
int call_took(Call *c, uint64_t n);
uint64_t call_credit(const Call *c);
unsigned call_queued(const Call *c); /* items kept until there is room */

/* A plain call that no connection carries: our own side asks a handler of its own. `on_answer` is called once, from
 * within the three ends: both values are borrowed, descriptors taken by TAKE_FD(fds[i]). The handler owns the call as any other. */
typedef void (*call_answer_t)(Json *result, Json *error, int *fds, size_t n_fds, void *userdata);
int call_new_detached(const char *method, call_answer_t on_answer, void *userdata, Call **ret);
/* As the asker's $/cancel; the answer may come from within. */
void call_cancel(Call *c, const char *canceller, const char *reason);
/* The answer is not wanted any more; the handler is not told. */
void call_abandon(Call *c);
/* Whether anybody waits for the answer: not once the connection has ended. */
bool call_is_wanted(const Call *c);

/* --- calling --- */
typedef struct CallOptions {
        bool ctx;
        ItemOptions items;
        const char *key, *if_id;
        int64_t deadline_ms; /* 0 or below: none */
        int *fds;            /* to a peer that has said hello; consumed in any case */
        size_t n_fds;
} CallOptions;
typedef struct ReplyVtable {
        /* Once; the values are borrowed, descriptors taken by TAKE_FD(fds[i]). */
        void (*on_reply)(Json *result, Json *error, int *fds, size_t n_fds, void *userdata);
        void (*on_started)(Json *value, void *userdata);
        ItemVtable items;
} ReplyVtable;
#define SESSION_GRACE_MS 3000
/* Consumes params; `options` may be NULL, `vtable` must stay. The id (> 0) or negative errno: -EOPNOTSUPP when `ctx`,
 * `key` or `if_id` can't be told to a peer without hello, -EMSGSIZE, -EPIPE after the end. When the connection ends
 * on_reply gets -32015. A deadline is kept by the peer, and by us SESSION_GRACE_MS after it, or at once while the
 * call waits for the peer's hello. */
int64_t session_call(Session *s, const char *method, Json *params, const CallOptions *options,
                const ReplyVtable *vtable, void *userdata);
/* Errors as above; -EAGAIN when a user's method would pass what the peer takes, or the connection has no room
 * (on_tell_credit). */
int session_notify(Session *s, const char *method, Json *params);
/* With descriptors, consumed in any case, to a peer that has said hello. */
int session_notify_fds(Session *s, const char *method, Json *params, int *fds, size_t n_fds);
/* Asks for the end; on_reply still comes, at the latest after SESSION_GRACE_MS with -32800 and `abandoned`. -ENOENT
 * when the call is over; cancelling twice is harmless. */
int session_cancel(Session *s, int64_t id, const char *reason);
/* Items of a dialog of ours; -ENOENT when it is over. */
int session_next(Session *s, int64_t id, Json *value);
int session_offer(Session *s, int64_t id, Json *value);
int session_next_fds(Session *s, int64_t id, Json *value, int *fds, size_t n_fds); /* as call_next_fds() */
int session_stop(Session *s, int64_t id);
int session_took(Session *s, int64_t id, uint64_t n);
