/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a verb works with: the options, the connection it opened, and the one way to say how it went. A verb is a
 * function that returns the process's exit code; it has printed one line on stderr for each code but 0. */

#include <stdio.h>
#include <systemd/sd-event.h>

#include "tractorctl/client.h"
#include "tractorctl/locate.h"
#include "tractorctl/options.h"
#include "tractorctl/text.h"

enum {
        CTL_DONE,
        CTL_FAILED,
        CTL_USAGE,
        CTL_NOT_FOUND,
        CTL_DENIED,
        CTL_NO_SUPERVISOR,
};

typedef struct Context {
        const Options *o;
        Surroundings surroundings;
        Style style;
        sd_event *event;
        Client *client;
        char *socket; /* where client is connected to */
} Context;

void context_done(Context *c);

/* 0 or an exit code, with the line printed. */
int context_connect(Context *c);
/* One request and its result: 0 with *ret, or an exit code with the line printed. Consumes params. */
int context_call(Context *c, const char *method, Json *params, Json **ret);

/* "tractorctl: VERB: …" on stderr; gives `code` back. */
int fail(const Context *c, int code, const char *format, ...) _printf_(3, 4);
int fail_errno(const Context *c, int r);
/* Prints a protocol error, or its data.problems, one a line; the exit code that it stands for. `subject`, a path or
 * file, is put in front unless the error names it; NULL: none. */
int fail_error(const Context *c, const char *subject, const Json *error);
/* The problems of a tree file, "POINTER: message" a line. */
void print_problems(FILE *f, const Json *problems);

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
int verb_unload(Context *c);
int verb_validate(Context *c);
int verb_spawn(Context *c);
int verb_on_paths(Context *c); /* cancel kill restart start freeze thaw */
int verb_set_limit(Context *c);
int verb_events(Context *c);
int verb_ping(Context *c);
int verb_version(Context *c);
int verb_help(Context *c);

/* Requests whose reply is the outcome. With --no-wait only what was refused at once is an error: *ret_done says
 * whether the reply has come. */
int await_outcome(Context *c, Pending *p, bool *ret_done);
/* Waits until what was started at `path` is ready, or has ended for good. An exit code. */
int await_settled(Context *c, const char *path);
