/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One connection's conversations: messages in, calls out, on top of a Stream. Serving side: on_request is handed
 * each request as a Call, answered once by call_reply()/call_fail(), now or later; a call with `ctx` may be
 * turned into a dialog by call_started() and then carries items by credit until call_reply() ends it. Calling
 * side: session_call() with a reply callback. Faults of the peer are answered here (parse, invalid request,
 * too many open calls) and never reach the owner. The rules of dialogs are in dialog.h, which is pure. */

#include "dialog/dialog.h"
#include "wire/message.h"
#include "wire/stream.h"

typedef struct Session Session;
typedef struct Call Call;

#define SESSION_OPEN_MAX 1024

typedef struct SessionVtable {
        /* A request; the callee owns `call` until it has replied or failed it. `m` is borrowed. */
        void (*on_request)(Session *s, Call *call, const Message *m, void *userdata);
        void (*on_notification)(Session *s, const Message *m, void *userdata); /* not $/… ; may be NULL */
        /* The connection has ended; the owner frees the session (calls were detached: replying is harmless). */
        void (*on_end)(Session *s, void *userdata);
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
Session *session_free(Session *s);
DEFINE_CLEANUP(Session *, session_free);
Stream *session_stream(Session *s);
void *session_userdata(Session *s);
bool session_said_hello(const Session *s); /* the peer did */
unsigned session_n_open(const Session *s);

/* --- serving --- */
Session *call_session(Call *c); /* NULL after the connection ended */
const char *call_method(Call *c);
void *call_userdata(Call *c);
/* `on_cancel`: the peer cancelled or the connection went; the call must still be replied or failed. */
void call_set_userdata(Call *c, void *userdata, void (*on_cancel)(Call *c, void *userdata));
bool call_is_dialog(const Call *c); /* asked with ctx */
/* The three ends: each consumes `call` and its Json, on failure too. */
void call_reply(Call *c, Json *result, int *fds, size_t n_fds);
void call_fail(Call *c, int code, Json *data, const char *format, ...) _printf_(4, 5);
void call_fail_object(Call *c, Json *error);
/* Dialogs. call_started once, then call_next: 0; -EAGAIN when no credit (the item is consumed and counted as lost:
 * the next one sent carries `lost`); -EPIPE when the peer stopped. `on_credit` may be NULL. */
int call_started(Call *c, Json *value, void (*on_credit)(Call *c, void *userdata));
int call_next(Call *c, Json *value);
uint64_t call_credit(const Call *c);

/* --- calling --- */
typedef struct CallOptions {
        bool ctx;
        int64_t credit; /* -1: default 64 */
        const char *key, *if_id;
        int64_t deadline_ms; /* -1: none */
} CallOptions;
typedef struct ReplyVtable {
        void (*on_reply)(Json *result, Json *error, int *fds, size_t n_fds,
                        void *userdata); /* once, borrowed */
        void (*on_started)(Json *value, void *userdata);
        void (*on_next)(Json *value, uint64_t lost,
                        void *userdata); /* credit is given back by the session */
} ReplyVtable;
/* Consumes params. The id (> 0) or negative errno. When the connection ends on_reply gets -32015. */
int64_t session_call(Session *s, const char *method, Json *params, const CallOptions *options,
                const ReplyVtable *vtable, void *userdata);
int session_notify(Session *s, const char *method, Json *params);
int session_cancel(Session *s, int64_t id, const char *reason);
