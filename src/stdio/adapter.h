/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The adapter between the tree and a program that serves newline-delimited JSON-RPC on its stdin and stdout.
 *
 *      supervisor ──channel──▶ adapter ◀──connections── clients, actors
 *                                 │ ▲
 *                              pipes: stdin, stdout of the program
 *
 * adapter.c has the channel and the end, program.c the pipes' side, connection.c the other. Clients' ids are mapped to
 * numbers of our own (ids.h) and back; parameters, results and errors pass as they are, numbers digit for digit. What the
 * program says unasked goes to all connections, what it asks to the earliest. The protocol's own, "$" and "$/…", is between
 * us and the clients: the program never sees it.
 *
 * Bounds: a connection has at most PROGRAM_SHARE bytes waiting for the program, all together PROGRAM_QUEUE_MAX, each and one
 * line; past that they are not read from. The program's own lines are always read, since it may have to write before it
 * can read on, until four times as much waits for it. Towards the clients each has the quota of its Stream. */

#include "base/list.h"
#include "dialog/session.h"
#include "stdio/ids.h"
#include "stdio/lines.h"

#define ADAPTER_NAME "tractor-stdio"
#define CONNECTIONS_PER_UID 256U
#define PROGRAM_SHARE (64U * 1024)
#define PROGRAM_QUEUE_MAX (1024U * 1024)
#define PROGRAM_QUEUE_LIMIT (4 * PROGRAM_QUEUE_MAX)
/* Requests of the program's that are open. */
#define QUESTIONS_MAX 1024U

typedef struct Adapter {
        sd_event *event;
        const char *path, *id; /* the actor's */
        const char *expose;    /* weak; "a,b": methods of the program that are served; NULL: all */
        Session *channel;
        Lines *program;
        Ids ids;
        ListNode asked;       /* of the program, the oldest first */
        ListNode connections; /* the earliest first */
        unsigned n_questions;
        bool full;            /* the program has PROGRAM_QUEUE_MAX to read */
        bool paused;          /* and does not read at all */
        bool stopping;        /* it was asked to stop */
        bool deaf;            /* it has closed its stdin or stdout and did not end */
        bool leaving;         /* it has ended, and soon we shall */
        Json *death;          /* once it has ended: the data of the error that says how */
        char death_text[512]; /* the same for people */
        sd_event_source *timer, *last;
        uint64_t logged_at; /* see program.c */
        unsigned log_tokens;
        unsigned long unlogged;
} Adapter;

int adapter_new(sd_event *event, int channel_fd, int in, int out, const char *path, const char *id,
                Adapter **ret);
Adapter *adapter_free(Adapter *a);
DEFINE_CLEANUP(Adapter *, adapter_free);
/* One of its pipes is closed. If that is not its end, which is told within a second, nobody is answered any more. */
void adapter_lost_program(Adapter *a);
/* A connection has ended. */
void adapter_lost_connection(Adapter *a);
/* Out of memory where something had to be said. */
void adapter_broken(Adapter *a);

/* --- program.c --- */
int program_open(Adapter *a, int in, int out);
/* Says an envelope to it, which is consumed. -EPIPE: it does not listen. */
int program_say(Adapter *a, Json *v, size_t *ret_n);
/* A request for it: `call` is answered later, or at once. True: *ret_n bytes are on their way. */
bool program_ask(Adapter *a, Call *call, const Message *m, size_t *ret_n);
/* Fails all that it was asked; `data` is borrowed. */
void program_fail_all(Adapter *a, int code, Json *data, const char *why);

/* --- connection.c --- */
/* Is `method` in "a,b"? NULL holds all. */
bool method_is_exposed(const char *list, const char *method);
/* What `$/accept` gave. Consumes fd, on failure too. */
int connection_new(Adapter *a, int fd, const Json *params);
void connections_drop_first(Adapter *a);
unsigned connections_of(const Adapter *a, int64_t uid);
/* A peer of `$/peer_exited`. */
void connections_peer_exited(Adapter *a, const Json *params);
/* Each ends when its client has read its answers. */
void connections_close(Adapter *a);
/* To all of them. */
void connections_tell(Adapter *a, const char *method, Json *params);
/* To the earliest, whose answer goes back to the program under `id`. */
void connections_ask(Adapter *a, Json *id, const char *method, Json *params);
/* Stops and resumes reading, by what waits for the program. */
void connections_pace(Adapter *a);
