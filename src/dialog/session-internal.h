/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What session.c (the connection: lines, hello, faults), session-held.c (what waits for the peer's hello), session-call.c
 * (calls the peer makes), session-pending.c (calls of ours), session-item.c (the items of either's dialogs) and session-frame.c (which frame belongs to what) know
 * of each other. */

#include "base/list.h"
#include "base/map.h"
#include "dialog/flight.h"
#include "dialog/session.h"

/* Items kept for a receiver that wants the newest. */
#define FLOW_QUEUE_MAX 64U

/* The items of one dialog at one of its ends. */
typedef struct Flow {
        Flight out;
        Intake in;
        const ItemVtable *vtable;
        int64_t credit; /* what we give, and our policy: as asked for */
        MessageOverrun ours, theirs;
        uint64_t lost; /* items of ours given up since the last one sent */
        Json **queue;  /* a ring, with `drop_oldest` */
        unsigned first, n_queued;
        bool manual;
        bool starved; /* refused for want of room, not of credit */
} Flow;

/* What both ends of a call have. */
typedef struct Talk {
        Session *session; /* weak; see talk_session() */
        Json *id;
        Dialog dialog;
        Flow *flow;   /* NULL: a plain call */
        bool overran; /* the receiver wanted to be told */
        void *userdata;
} Talk;

/* A call the peer made. Owned by its callee; the session only points at it. */
struct Call {
        Talk talk;
        ListNode node;
        char *key; /* the id's text, unless it is an integer */
        char *method;
        bool told;         /* on_cancel was called */
        bool expired;      /* by its deadline */
        uint64_t deadline; /* USEC_INFINITY: none */
        char *canceller, *reason;
        void (*on_cancel)(Call *c, void *userdata);
        call_answer_t on_answer; /* detached */
        void *asker;
};

/* A call of ours, owned by the session. */
typedef struct Pending {
        Talk talk;
        ListNode node;
        int64_t id;
        const ReplyVtable *vtable;
        ListNode cancelled; /* in order of `grace` */
        uint64_t grace;
        uint64_t deadline; /* by which the peer has to have answered; USEC_INFINITY: none */
} Pending;

struct Session {
        sd_event *event;
        Stream *stream;
        const SessionVtable *vtable;
        void *userdata;
        JsonLimits limits;
        size_t max_line, peer_max_line;
        char *name, *path, *id, *peer_path;
        unsigned pins;
        bool connector, trust_canceller, exit_told, manual_tells;
        bool freed; /* only pinned */
        bool ended, half_closed;
        bool lingering; /* the connection is gone, the word about the peer's end is waited for */
        bool sent_hello, got_hello;
        bool hello_due; /* ours is out, the peer's is waited for */
        Json **held;    /* messages that wait for it */
        size_t n_held, held_size;

        Quota *quota; /* weak */
        Map calls;
        ListNode call_list;
        unsigned n_calls;
        int64_t seen[2]; /* the highest integer id the peer has used, even and odd */

        Map pending;
        ListNode pending_list, cancelled;
        int64_t next_id;
        sd_event_source *grace, *deadlines, *linger;
        uint64_t deadlines_at; /* when `deadlines` fires; USEC_INFINITY: off */

        int64_t tells_left;           /* that the peer takes */
        int64_t tells_in, tells_owed; /* that it may send; that it sent and were not credited */
        bool tells_starved;           /* one was refused */

        size_t n_line;            /* of the message in hand */
        int fds[MESSAGE_FDS_MAX]; /* of the message in hand */
        size_t n_fds;
};

static inline void session_pin(Session *s)
{
        s->pins++;
}
void session_unpin(Session *s);

/* Sends an envelope now; consumes it and the descriptors. An answer is held against the peer that asked. */
int session_send(Session *s, Json *v, int *fds, size_t n_fds);
int session_answer(Session *s, Json *v, int *fds, size_t n_fds);
/* Whether "$" may be said to the peer, now or once its hello has come. */
bool session_may_extend(const Session *s);
/* Answers a fault of the peer; `id` may be NULL. */
void session_fault(Session *s, Json *id, int code, const char *why);
/* A message that had to be sent could not be: the connection can't go on. */
void session_broken(Session *s, int r);

/* What -32006 says. */
extern const char session_overrun_text[];

/* Whether an integer id is of the numbers this side gives out. */
static inline bool session_gives_out(const Session *s, int64_t id)
{
        return (id & 1) == (s->connector ? 1 : 0);
}

/* NULL once the connection has ended. While it ends its calls are told one after another, and what is done to the
 * others meanwhile has to find that it is over. */
static inline Session *talk_session(const Talk *t)
{
        return t->session && !t->session->ended ? t->session : NULL;
}

/* --- before the peer's hello (session-held.c) --- */
/* Sends one of our requests or notifications, in order; `needs_hello` keeps it back until the peer's is there. */
int session_post(Session *s, Json *v, bool needs_hello);
/* It is there. */
void session_release_held(Session *s);
/* A request that need not go any more; false: it went. */
bool session_drop_held(Session *s, int64_t id);

/* --- items (session-item.c) --- */
/* The window that `o` asks for; a frame can't name more than CREDIT_FRAME_MAX. */
int64_t items_credit(const ItemOptions *o);
int talk_init_flow(Talk *t, const ItemVtable *vtable, const ItemOptions *options, MessageOverrun theirs);
void talk_done(Talk *t);
int talk_next(Talk *t, Json *value, bool offer);
int talk_next_fds(Talk *t, Json *value, int *fds, size_t n_fds);
int talk_stop(Talk *t);
int talk_took(Talk *t, uint64_t n);
/* A frame that the dialog allows. They may call back, and so end the talk and the session. */
void talk_got_next(Talk *t, const Json *params, size_t n_line);
void talk_got_room(Talk *t);

/* --- calls (session-call.c) --- */
void session_got_request(Session *s, const Message *m);
/* A frame of one; `m` is it. */
void session_got_call_frame(Call *c, DialogEvent event, const Message *m);
/* Tells one callee that nobody waits any more. */
void session_tell_cancelled(Call *c);
void session_detach_calls(Session *s);

/* --- pending (session-pending.c) --- */
void session_got_response(Session *s, const Message *m);
void session_got_pending_frame(Pending *p, DialogEvent event, const Message *m);
/* A frame that can't be borne with: the callee is told to stop what it does in vain. */
void session_break_pending(Pending *p, const char *why);
/* Of a request that is held: whether its answer is not wanted any more. */
bool session_is_cancelled(Session *s, const Json *request);
/* A message that waited for the peer's hello can't be sent. */
void session_refuse_held(Session *s, const Json *request, int code, const char *why);
/* Ends all calls of ours; `error` is borrowed. */
void session_fail_pending(Session *s, Json *error);
/* A reference to the error that is told where there is no memory to make one: an error that is null would be a result that is. */
Json *session_no_memory(void);
int session_prepare_no_memory(void);
/* The peer has had its time for a call of ours. */
void session_expire_pending(Pending *p);

/* --- deadlines of both directions' calls (session-deadline.c) --- */
/* In absolute time. */
uint64_t session_deadline(int64_t relative_ms);
/* Looks again at `at`, if not before. */
int session_arm_deadlines(Session *s, uint64_t at);

/* --- frames (session-frame.c) --- */
#define CREDIT_FRAME_MAX ((int64_t) UINT32_MAX)
/* Consumes params; *ret_n (may be NULL): the line's length. */
int session_send_frame(Session *s, const char *method, Json *params, size_t *ret_n);
/* With descriptors, consumed in any case. */
int session_send_frame_fds(
                Session *s, const char *method, Json *params, int *fds, size_t n_fds, size_t *ret_n);
/* The same for a frame of `t`, where the dialog allows it; what could not be sent did not happen. */
int talk_say(Talk *t, DialogEvent event, int64_t n, const char *method, Json *params, size_t *ret_n);
void session_got_frame(Session *s, DialogEvent event, const Message *m);
/* A notification for our owner. */
void session_got_tell(Session *s, const Message *m);
/* Whether what can wait has to wait for room in the queue. */
bool session_is_full(const Session *s);
/* There is room again. */
void session_wake_starved(Session *s);
