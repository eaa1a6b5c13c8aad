/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The other side of portals: a server has a table of methods and connections accepted for it, and runs a task of its nursery for each
 * call and dialog. A peer that cancels, dies or goes cancels the scope of its tasks; their errors are its, never the nursery's. */

#include "libtractor/nursery.h"
#include "tractor/context.h"

typedef struct Server Server;

typedef struct ServedPeer {
        const char *path, *id; /* as the supervisor says (copied); NULL: nobody said */
        uid_t uid;             /* (uid_t) -1: nobody said */
        pid_t pid;
        int64_t last_id; /* of a connection that was another's before, and its hello (borrowed) */
        Json *hello;
        bool exit_told;  /* somebody will call server_peer_exited() */
        bool has_output; /* answers go to `output` (consumed on failure too) */
        int output;
} ServedPeer;

/* `methods` must stay. `expose` (borrowed, copied; NULL: all) names those that may be called. */
int server_new(Nursery *n, const tractor_method *methods, char *const *expose, Server **ret);
/* Ends its connections. No task of it may be left (its nursery has been closed). */
Server *server_free(Server *s);
/* While it is held, handlers wait: what they need is still being set up. */
void server_hold(Server *s, bool hold);
int server_accept(Server *s, int fd, const ServedPeer *peer); /* consumes fd, on failure too */
/* For calls from now on. */
void server_become(Server *s, const tractor_method *methods);
/* A peer's process has ended: its connections' tasks are cancelled and the connections closed. */
void server_peer_exited(Server *s, const char *path, const char *id, Json *exit);
/* From now on requests are answered with ActorStopped. */
void server_stop(Server *s, const char *reason);
/* Parks until all answers have left (bounded by the connections' own time-outs). */
int server_flush(Server *s);
size_t server_n_connections(const Server *s);
/* What a one-shot waits for: `done` is called when the first call of `method` has been answered and has left; `r` is how the handler ended. */
void server_watch(Server *s, const char *method, void (*done)(int r, void *userdata), void *userdata);
/* Runs a handler in the calling task, for nobody but ourselves: its context is that of a plain call by the supervisor. */
int context_run_here(const tractor_method *m, Json *args, Json **ret_result);
