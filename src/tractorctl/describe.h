/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Sentences made from what the supervisor says: exits, errors, events. Pure. Members may be missing or of another
 * type than expected: a supervisor of another version is no reason to fail. All strings are clean and the
 * caller's to free; NULL means out of memory. */

#include "tractorctl/text.h"
#include "wire/json.h"

/* "exit 1 after 0.2 s", "killed by SIGSEGV (core dumped) after 3 s", "out of memory after …", "stopped after …";
 * "" for NULL. */
char *describe_exit(const Json *exit);
/* "no such actor: /shop/x (NoSuchActor); caused by /a/b: exit 1 …" on one line. */
char *describe_error(const Json *error);
/* What an event says beyond its path: "state starting -> ready pid=7". */
char *describe_event(const Json *item);
/* "HH:MM:SS.mmm path event details" */
char *describe_event_line(const Json *item);

/* The process's exit code that a protocol error stands for. */
int exit_code_of_error(const Json *error);
/* What to try next, where "PATH" stands for that of the request. A constant. */
const char *hint_of_error(const Json *error);

Hue state_hue(const char *state);
