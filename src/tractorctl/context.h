/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a verb works with: the options, the connection it opened, and the one way to say how it went. A verb is a
 * function that returns the process's exit code; it has printed one line on stderr for each code but 0. */

#include <stdio.h>
#include <systemd/sd-event.h>

#include "tractorctl/client.h"
#include "embed/locate.h"
#include "tractorctl/options.h"
#include "tractorctl/text.h"

enum {
        CTL_DONE,
        CTL_FAILED,
        CTL_USAGE,
        CTL_NOT_FOUND,
        CTL_DENIED,
        CTL_NO_SUPERVISOR,
        CTL_INTERRUPTED = 130, /* by a signal that was awaited; main() ends by the same */
};

typedef struct Context {
        const Options *o;
        Surroundings surroundings;
        Style style;
        sd_event *event;
        Client *client;
        char *socket; /* where client is connected to; with -H the host */
        pid_t remotes[2];
        size_t n_remotes; /* remote.h */
        bool watching;
        unsigned interrupts; /* SIGINT and SIGTERM, once they are watched */
        int signo;
} Context;

void context_done(Context *c);

/* A socket to the supervisor that is meant. Negative errno with *reterr the sentence to print, or NULL. */
int context_dial(Context *c, int *ret_fd, char **reterr);
int connect_code(int r); /* the exit code for that */
/* 0 or an exit code, with the line printed. */
int context_connect(Context *c);
/* After the connection was lost: the same socket, answered by a successor. */
int context_connect_again(Context *c);
/* From here on SIGINT and SIGTERM are counted, and end a wait with -ECANCELED, instead of ending the process. */
int context_watch_signals(Context *c);
/* One request and its result: 0 with *ret, or an exit code with the line printed. Consumes params. */
int context_call(Context *c, const char *method, Json *params, Json **ret);

/* "tractorctl: VERB: …" on stderr, or with --json {"verb", "exit", "message", "error"?}; gives `code` back. fail.c */
int fail(const Context *c, int code, const char *format, ...) _printf_(3, 4);
int fail_errno(const Context *c, int r);
/* The same way what is no failure. */
void note(const Context *c, const char *format, ...) _printf_(2, 3);
/* Prints a protocol error, or its data.problems, "FILE: POINTER: message" a line; the exit code that it stands for.
 * `subject`, a path or file, is put in front unless the error names it; NULL: none. Asks for the paths there are when
 * one was not found. */
int fail_error(const Context *c, const char *subject, const Json *error);
/* A tree file that is no JSON, as tree_file_read() tells it. */
int fail_tree_file(const Context *c, const char *text);
/* The problems of a tree file, "POINTER: message" a line. */
void print_problems(FILE *f, const Json *problems);

/* A verb that is reserved. */
int fail_unbuilt(const Context *c);

/* With --json the value on stdout, and true; false: the verb prints it its own way. */
bool print_json(const Context *c, Json *v);
/* Does a verb that has nothing to say but that it worked say so? */
bool is_chatty(const Context *c);
/* Prints and ends the table; `r` is what filling it came to. An exit code. */
int print_table(const Context *c, Table *t, int r);

/* The verbs, each in the file of its kind. */
int verb_run(Context *c);
int verb_status(Context *c);
int verb_tree(Context *c);
int verb_list(Context *c);
int verb_load(Context *c);
int verb_apply(Context *c);
int verb_validate(Context *c);
int verb_spawn(Context *c);
int verb_on_paths(Context *c); /* cancel kill restart start freeze thaw unload */
int verb_set_limit(Context *c);
int verb_events(Context *c);
int verb_top(Context *c);
int verb_logs(Context *c);
int verb_find(Context *c);
int verb_wait(Context *c);
int verb_call(Context *c);
int verb_tell(Context *c);
int verb_stream(Context *c);
int verb_tasks(Context *c);
int verb_bridge(Context *c);
int verb_ping(Context *c);
int verb_version(Context *c);
int verb_help(Context *c);

/* Requests about `path` whose reply is the outcome. With --no-wait only what was refused at once is an error:
 * *ret_done says whether the reply has come. */
int await_outcome(Context *c, const char *path, Pending *p, bool *ret_done);
/* Waits until what was started at `path` is ready, or has ended for good. An exit code. */
int await_settled(Context *c, const char *path);
/* What was waited for is `node`, and has not gone well. */
int fail_settled(Context *c, const char *path, const Json *node);
