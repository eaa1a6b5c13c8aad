/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What serve.c (the server and its connections) and serve-task.c (a request's task, and what its handler sees) know of each other. A
 * connection outlives its end as long as tasks of it run, since they ask whose they are. */

#include "libtractor/context.h"
#include "libtractor/scope.h"

/* Tells of a connection that are being handled: beyond that one that counts none (it has said no hello) is not read from. */
#define TELLS_MAX 256U

struct Server {
        Runtime *runtime; /* weak */
        Nursery *nursery; /* weak; closed before the last answers have left, when it has stopped */
        const tractor_method *methods;
        char **expose; /* NULL: all */
        ListNode connections;
        size_t n_connections;
        bool is_stopped;
        char *stopped;           /* why; NULL: nobody said */
        WaitQueue waiters, held; /* for the last answers; requests that came before it is ready */
        bool is_held;
        char *watched;
        void (*watcher)(int r, void *userdata);
        void *watcher_userdata;
};

typedef struct Connection {
        Server *server; /* weak; NULL when it has ended */
        ListNode node;
        unsigned n_ref; /* the server and the tasks */
        Session *session;
        char *path, *id;
        uid_t uid;
        pid_t pid;
        /* One that was the supervisor's before (else -EBADF): that keeps it, too, for the last word about us, so that it is by shutdown() that
         * it ends before we do. */
        int kept;
        unsigned n_tells;
        Drain drain;
        bool watched; /* what is watched for has been answered on it, and is to leave */
        int result;
} Connection;

/* A request or a tell and its task. */
typedef struct Served {
        tractor_context context;
        Connection *connection;
        Call *call; /* NULL: a tell, or answered */
        const tractor_method *method;
        Json *args;
        Task *task;   /* weak */
        Scope *scope; /* weak: the task's own */
        Json *result;
        int r;
        tractor_error *error;
        bool is_tell, counted; /* to be credited */
        bool watched;
} Served;

Connection *connection_unref(Connection *c);
void connection_tell_watcher(Server *s, Connection *c);
/* A tell has been dealt with; `counted`: it cost credit. */
void connection_tell_done(Connection *c, bool counted);

/* NULL: out of memory. */
Served *served_new(Connection *c, const tractor_method *method, const Message *m);
void served_free(Served *v);
/* On failure it is still the caller's. */
int served_start(Served *v);
/* userdata is the Served's context. */
void served_on_cancel(Call *call, void *userdata);
