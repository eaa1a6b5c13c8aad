/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What session.c (the connection: lines, hello, faults), session-call.c (calls the peer makes) and session-pending.c
 * (calls of ours, and the frames of both) know of each other. */

#include "base/list.h"
#include "base/map.h"
#include "dialog/session.h"

/* A call the peer made. Owned by its callee; the session only points at it. */
struct Call {
        Session *session; /* weak; NULL once the connection has ended */
        ListNode node;
        Json *id;
        char *key; /* the id's text, unless it is an integer */
        char *method;
        Dialog dialog;
        bool told;    /* on_cancel was called */
        bool starved; /* call_next was refused for want of room, not of credit */
        void *userdata;
        void (*on_cancel)(Call *c, void *userdata);
        void (*on_credit)(Call *c, void *userdata);
};

/* A call of ours, owned by the session. */
typedef struct Pending {
        ListNode node;
        int64_t id;
        Dialog dialog;
        const ReplyVtable *vtable;
        void *userdata;
        ListNode cancelled; /* in order of `deadline` */
        uint64_t deadline;
} Pending;

struct Session {
        sd_event *event;
        Stream *stream;
        const SessionVtable *vtable;
        void *userdata;
        JsonLimits limits;
        size_t max_line, peer_max_line;
        char *name, *path, *id;
        unsigned pins;
        bool connector;
        bool freed; /* only pinned */
        bool ended, half_closed;
        bool sent_hello, got_hello;
        bool hello_due; /* ours is out, the peer's is waited for */
        Json **held;    /* messages that wait for it */
        size_t n_held, held_size;

        Map calls;
        ListNode call_list;
        unsigned n_calls;
        int64_t seen[2]; /* the highest integer id the peer has used, even and odd */

        Map pending;
        ListNode pending_list, cancelled;
        int64_t next_id;
        sd_event_source *grace;

        int fds[MESSAGE_FDS_MAX]; /* of the message in hand */
        size_t n_fds;
};

static inline void session_pin(Session *s)
{
        s->pins++;
}
void session_unpin(Session *s);

/* Sends an envelope now; consumes it and the descriptors. */
int session_send(Session *s, Json *v, int *fds, size_t n_fds);
/* Sends one of our requests or notifications, in order; `needs_hello` keeps it back until the peer's is there. */
int session_post(Session *s, Json *v, bool needs_hello);
/* Whether "$" may be said to the peer, now or once its hello has come. */
bool session_may_extend(const Session *s);
/* Answers a fault of the peer; `id` may be NULL. */
void session_fault(Session *s, Json *id, int code, const char *why);
/* A message that had to be sent could not be: the connection can't go on. */
void session_broken(Session *s, int r);

/* Whether an integer id is of the numbers this side gives out. */
static inline bool session_gives_out(const Session *s, int64_t id)
{
        return (id & 1) == (s->connector ? 1 : 0);
}

void session_got_request(Session *s, const Message *m);
void session_got_response(Session *s, const Message *m);
/* A frame of a call or dialog. */
void session_got_frame(Session *s, DialogEvent event, const Message *m);
/* Ends all calls of ours; `error` is borrowed. */
void session_fail_pending(Session *s, Json *error);
/* Consumes params. */
int session_send_frame(Session *s, const char *method, Json *params);
/* Tells one callee, or all of them, that nobody waits any more. */
void session_tell_cancelled(Call *c);
void session_detach_calls(Session *s);
void session_wake_starved(Session *s);
