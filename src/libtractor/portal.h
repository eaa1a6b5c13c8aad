/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A portal: a session of which we are the connector, and the tasks that wait for what it says. Also the connection to the supervisor
 * is one, with hooks for what comes unasked. */

#include "libtractor/drain.h"
#include "libtractor/task.h"
#include "tractor/portal.h"

typedef struct PortalHooks {
        /* $/… that are not the dialogs' own, from the supervisor: $/accept, $/peer_exited, $/child_exited, $/cancel. Descriptors are
         * taken by session_take_fds(). Not in a task. May be NULL. */
        void (*on_notification)(Session *s, const Message *m, void *userdata);
        /* The connection has ended; the portal stays, and answers -ECONNRESET. May be NULL. */
        void (*on_end)(tractor_portal *p, void *userdata);
} PortalHooks;

typedef struct PortalOptions {
        const char *path, *id; /* of the peer, copied; NULL: not known */
        pid_t pid;
        bool supervisor; /* it is: it is believed about who cancels; no hello is waited for */
        uint64_t hello_usec; /* how long its hello is waited for, before it is taken for a plain one; 0: as long as it takes */
        bool exit_told;  /* $/peer_exited will say how the peer ended: somebody calls portal_peer_exited() */
        bool has_output; /* what is said goes to `output` (consumed on failure too) */
        int output;
        const PortalHooks *hooks;
        void *userdata;
} PortalOptions;

struct tractor_portal {
        unsigned n_ref;
        Runtime *runtime; /* weak */
        Session *session; /* NULL after its end */
        char *path, *id;
        pid_t pid;
        bool exit_told;
        bool exited;  /* the peer's process has */
        bool telling; /* of that: what fails now fails of it */
        Json *exit, *backtrace;
        char *crash;      /* what it said of it */
        uint64_t lost_at; /* the connection's end */
        const PortalHooks *hooks;
        void *userdata;
        WaitQueue tellers; /* for credit */
        WaitQueue waiters; /* for room, the peer's hello, the end: each looks again */
        Drain drain;
        Timer hello;
        ListNode node; /* of the runtime's: also one that nobody holds any more has something left to write */
        ListNode watched; /* of those that are told of their peer's end (tree.h) */
};

/* Consumes fd, on failure too. */
int portal_new(Runtime *rt, int fd, const PortalOptions *o, tractor_portal **ret);
/* The peer's process has ended (on the supervisor's word, which may overtake what the peer said last and is still in the socket): reads
 * that first, then what is open fails with ActorDied, `exit`, `crash` and `backtrace` (borrowed, may be NULL). */
void portal_peer_exited(tractor_portal *p, Json *exit, const char *crash, Json *backtrace);
/* The same, of the params of $/peer_exited. */
void portal_told_end(tractor_portal *p, const Json *params);
/* Nobody will say any more how the peer has ended, or will end. */
void portal_untold(tractor_portal *p);
/* Sends a notification that needs no credit ($/ready, $/result). Consumes params. Not a checkpoint. */
int portal_notify(tractor_portal *p, const char *method, Json *params);
/* tractor_portal_call_with(), with one descriptor to send (or -EBADF; consumed) and room for those of the answer: *n_fds in, out. */
int portal_call_fds(tractor_portal *p, const char *method, Json *args, const tractor_call_options *o, int fd,
                Json **ret, int *ret_fds, size_t *n_fds);
/* Of a request to the supervisor, only if what it names is still the generation `id` (NULL: any); else -ESRCH. */
int portal_call_if(tractor_portal *p, const char *method, Json *args, const char *id, Json **ret,
                int *ret_fds, size_t *n_fds);
/* All that was written has left, or the connection has ended: parks until then. */
int portal_flush(tractor_portal *p);
Session *portal_session(tractor_portal *p); /* NULL after its end */
/* For what is to be heard over there: NULL also when the peer's process has ended, all it said has been heard, and only its connection
 * has not ended. */
static inline Session *portal_peer(const tractor_portal *p)
{
        return p->exited && !p->drain.timers ? NULL : p->session;
}
/* What was told still leaves, also by those that nobody holds any more; it is not waited for long. In a task. */
void portals_flush(Runtime *rt);
/* The run is over: ends them all, whatever they still had to write. One that is still held can be let go of, and no more. */
void portals_close(Runtime *rt);

/* --- what calls and contexts share --- */
/* How a call of ours ended; on the stack of who waits, or in a context. */
typedef struct Answer {
        tractor_portal *portal; /* weak */
        bool over;
        bool of_end; /* by the peer's end, not by its word */
        Json *result, *error;
} Answer;
/* From on_reply: keeps what is borrowed. */
void answer_take(Answer *a, tractor_portal *p, Json *result, Json *error);
void answer_done(Answer *a);
/* 0 and *ret (may be NULL), or the task's error raised. Of one that we have cancelled: -ECANCELED, unless there is a result or the callee
 * failed by itself. */
int answer_give(Answer *a, bool cancelled, Json **ret);
/* What a failure `r` of the session's means; raised. May wait for the word about the peer's end. */
int portal_fail(tractor_portal *p, int r);
/* What may be asked or told with; -EINVAL raised for what the protocol has no place for. */
int portal_check_args(const Json *args);
/* Parks until requests have room. */
int portal_await_room(tractor_portal *p);
/* Why the running task is cancelled; NULL: it is not, or nobody said. */
const char *task_cancel_reason(void);
int64_t portal_deadline_ms(uint64_t usec);
