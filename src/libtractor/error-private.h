/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A tractor_error is the protocol's error object, counted, with the errno it stands for. What goes over the wire is what
 * it is made of, so that a hop that only passes it on loses nothing it does not know. */

#include "base/error.h"
#include "tractor/error.h"
#include "wire/json.h"

/* Of an error object as it came (borrowed, bounded by the line it came in); missing members are made up. NULL: out of memory. */
tractor_error *error_from_json(Json *object);
/* With `data` (consumed, may be NULL), whose `type` is set to `type` unless that is NULL (then the code's). NULL: out of memory. */
tractor_error *error_new(int code, const char *type, Json *data, const char *format, ...) _printf_(4, 5);
/* Of a negative errno alone: a handler's or a task's own failure. `where` names it in the message, may be NULL. */
tractor_error *error_from_errno(int r, const char *where);
/* Makes it (NULL: none) stand for another errno in this process. */
tractor_error *error_as(tractor_error *e, int r);
/* One of several, `n_all` in all; takes none of them, refers to each. */
tractor_error *error_new_group(tractor_error *const *causes, size_t n, size_t n_all);
/* As it goes over the wire, with `relay` (may be NULL) added to the paths that passed it on. */
int error_to_json(const tractor_error *e, const char *relay, Json **ret);
/* A copy with `relay` added. NULL: out of memory. */
tractor_error *error_relayed(const tractor_error *e, const char *relay);

int error_code_to_errno(int code);
int error_errno_to_code(int r); /* -32001 for those that mean nothing to the protocol */

/* Sets the running task's last error (consumes it; NULL: out of memory) and returns its errno; outside of a task just that. */
int error_raise(tractor_error *e);
/* error_raise(error_new(…)). */
#define error_fail(...) error_raise(error_new(__VA_ARGS__))
/* Of the running task: before a call that may set one, so that an old one is never taken for a new one. */
void error_clear(void);
/* What is to be told of a task's result `r`: its last error where that is what it returned (a new reference), else one made
 * of the errno. */
tractor_error *error_of_result(tractor_error *last, int r, const char *where);
/* Puts where it arose into its object, in words, if it has been noted and is not there: before anybody looks there for it. */
void error_name_frames(const tractor_error *e);
/* The protocol's error object; borrowed. NULL where there was no memory to make one. */
Json *error_object(const tractor_error *e);
/* How a process ended, in words: "killed by SIGKILL (signal)"; `message`: of its crash report, or NULL. */
void error_describe_end(Json *exit, const char *message, char *text, size_t size);
