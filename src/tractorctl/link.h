/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A connection to an actor. On this machine it is a portal (actor.connect), and how the actor ends is told on the
 * control connection; from there it is passed on, after all that the actor has still said. A bridge carries no
 * descriptors: there a connection of its own is handed over (actor.attach), and it is told on that. Either way a call
 * ends with ActorDied and the actor's true exit as soon as the supervisor knows. */

#include "tractorctl/context.h"

typedef struct Link Link;

/* Waits until the actor is ready. Without `hello` it has nothing to answer. 0 or an exit code, with the line printed. */
int link_open(Context *c, const char *path, bool hello, Link **ret);
Link *link_free(Link *l);
DEFINE_CLEANUP(Link *, link_free);
Session *link_session(Link *l);
/* Dialogs need the actor's own hello, which a plain JSON-RPC server does not say. 0 or an exit code. */
int link_await_hello(Link *l);
/* Until all that was sent is on its way, and the connection closed. */
int link_finish(Link *l);

/* --- what the verbs that talk to actors share --- */

/* The third argument, NULL without. 0 or an exit code. */
int call_params(Context *c, Json **ret);
/* Turns the loop until *done, passing on what a signal asks for: -ECANCELED. */
int await_end(Context *c, Link *l, int64_t id, const bool *done);
/* An actor's answer to `method`, or the end of its connection. */
int fail_actor(Context *c, const char *method, const Json *error);
/* What was to be sent for `method` failed with r: -EPIPE is the actor's end, and how that came is waited for. */
int link_fail(Link *l, const char *method, int r);
