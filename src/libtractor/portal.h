/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A portal: a session of which we are the connector, and the tasks that wait for what it says. Also the connection to the supervisor
 * is one, with hooks for what comes unasked. */

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
        bool exit_told;  /* $/peer_exited will say how the peer ended: somebody calls portal_peer_exited() */
        const PortalHooks *hooks;
        void *userdata;
} PortalOptions;

/* Consumes fd, on failure too. */
int portal_new(Runtime *rt, int fd, const PortalOptions *o, tractor_portal **ret);
/* The peer's process has ended (on the supervisor's word, which may overtake what the peer said last and is still in the socket): reads
 * that first, then what is open fails with ActorDied, `exit` and `backtrace` (both borrowed, may be NULL). */
void portal_peer_exited(tractor_portal *p, Json *exit, Json *backtrace);
/* Sends a notification that needs no credit ($/ready, $/result). Consumes params. Not a checkpoint. */
int portal_notify(tractor_portal *p, const char *method, Json *params);
/* tractor_portal_call_with(), with one descriptor to send (or -EBADF; consumed) and room for those of the answer: *n_fds in, out. */
int portal_call_fds(tractor_portal *p, const char *method, Json *args, const tractor_call_options *o, int fd,
                Json **ret, int *ret_fds, size_t *n_fds);
/* All that was written has left, or the connection has ended: parks until then. */
int portal_flush(tractor_portal *p);
Session *portal_session(tractor_portal *p); /* NULL after its end */
