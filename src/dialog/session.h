/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One connection's conversations: messages in, calls out, on top of a Stream. Serving side: on_request is handed
 * each request as a Call, answered once by call_reply()/call_fail(), now or later; a call with `ctx` may be
 * turned into a dialog by call_started() and then carries items by credit until call_reply() ends it. Calling
 * side: session_call() with a reply callback. Faults of the peer are answered here (parse, invalid request,
 * too many open calls) and never reach the owner. The rules of dialogs are in dialog.h, which is pure.
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
} SessionVtable;

typedef struct SessionOptions {
        size_t max_line; /* 0: FRAME_MAX_LINE_DEFAULT */
        JsonLimits limits;
        const char *name, *path, *id; /* of our side, for $/hello */
        bool connector;               /* we opened it: odd ids, hello first when `hello` */
        bool hello;
} SessionOptions;

int session_new(sd_event *event, int fd, const SessionOptions *options, const SessionVtable *vtable,
                void *userdata, Session **ret); /* consumes fd, on failure too */
/* Tells every open Call's on_cancel; calls of our own are forgotten without a reply. */
Session *session_free(Session *s);
DEFINE_CLEANUP(Session *, session_free);
Stream *session_stream(Session *s); /* NULL after the end */
void *session_userdata(Session *s);
bool session_said_hello(const Session *s); /* the peer did */
size_t session_peer_max_line(
                const Session *s);         /* the longest line it takes: the default until it said hello */
unsigned session_n_open(const Session *s); /* calls being served */
/* From within on_request and on_notification: takes n of the descriptors that came with the message; those not taken
 * are closed when the callback returns. -EBADMSG when there are fewer. */
int session_take_fds(Session *s, int *fds, size_t n);
/* Ends the connection in order: what is queued still goes out, then on_end comes from the loop. */
void session_close(Session *s);

/* --- serving --- */
Session *call_session(Call *c); /* NULL after the connection ended */
const char *call_method(Call *c);
void *call_userdata(Call *c);
/* `on_cancel`: the peer cancelled or the connection went, told once; the call must still be replied or failed, from
 * within or later. */
void call_set_userdata(Call *c, void *userdata, void (*on_cancel)(Call *c, void *userdata));
bool call_is_dialog(const Call *c); /* asked with ctx */
/* The three ends: each consumes `call`, its Json and its descriptors, on failure too. A reply that cannot be sent
 * ends the connection (a longer one than the peer takes becomes -32011): none is ever dropped in silence. */
void call_reply(Call *c, Json *result, int *fds, size_t n_fds);
void call_fail(Call *c, int code, Json *data, const char *format, ...) _printf_(4, 5);
void call_fail_object(Call *c, Json *error);
/* Dialogs. call_started once (-EALREADY; -EPROTO for a plain call), then call_next: 0; -EAGAIN when there is no credit
 * or the peer has not taken what is queued (the item is consumed and counted as lost: the next one sent carries
 * `lost`); -EPIPE when the peer cancelled or is gone. `on_credit` may be NULL: another call_next may work now. A
 * dialog replied to without call_started is started with null first. */
int call_started(Call *c, Json *value, void (*on_credit)(Call *c, void *userdata));
int call_next(Call *c, Json *value);
uint64_t call_credit(const Call *c);

/* --- calling --- */
typedef struct CallOptions {
        bool ctx;
        int64_t credit; /* 0 or below: the default of 64 */
        const char *key, *if_id;
        int64_t deadline_ms; /* 0 or below: none */
} CallOptions;
typedef struct ReplyVtable {
        /* Once; the values are borrowed, descriptors taken by TAKE_FD(fds[i]). */
        void (*on_reply)(Json *result, Json *error, int *fds, size_t n_fds, void *userdata);
        void (*on_started)(Json *value, void *userdata);
        void (*on_next)(Json *value, uint64_t lost,
                        void *userdata); /* credit is given back by the session */
} ReplyVtable;
#define SESSION_GRACE_MS 3000
/* Consumes params; `options` may be NULL, `vtable` must stay. The id (> 0) or negative errno: -EOPNOTSUPP when `ctx`,
 * `key` or `if_id` can't be told to a peer without hello, -EMSGSIZE, -EPIPE after the end. When the connection ends
 * on_reply gets -32015. */
int64_t session_call(Session *s, const char *method, Json *params, const CallOptions *options,
                const ReplyVtable *vtable, void *userdata);
int session_notify(Session *s, const char *method, Json *params); /* errors as above */
/* Asks for the end; on_reply still comes, at the latest after SESSION_GRACE_MS with -32800 and `abandoned`. -ENOENT
 * when the call is over; cancelling twice is harmless. */
int session_cancel(Session *s, int64_t id, const char *reason);
