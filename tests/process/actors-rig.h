/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* For tests of programs on libtractor that are to survive anything: each root runs in a process of its own, whose parent, the
 * test, inherits all processes that lose theirs, and fails unless every one of them ends. */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>
#include <tractor/tractor.h>
#include <unistd.h>

#include "test.h"

/* How long anything may take that is to end by itself, however busy the machine. */
#define RIG_PATIENCE_SEC 60

/* Runs `body` by tractor_run() in a new process; to be awaited with rig_join(). */
pid_t rig_fork(const tractor_options *o, int (*body)(void *userdata), void *userdata);
/* Its status as of waitpid(2), when it and all that it started have ended. */
int rig_join(pid_t root);
/* The same of one that is killed now. */
int rig_kill(pid_t root);
/* rig_fork() and rig_join(), and the root's checks held: its body's result was 0. */
void rig_run(const tractor_options *o, int (*body)(void *userdata), void *userdata);

/* The child of process `parent` that is called `comm`. */
pid_t rig_child_of(pid_t parent, const char *comm);
/* Of a root, from inside: its private supervisor. */
pid_t rig_keeper(void);
pid_t rig_supervisor(void);

/* What main() does in an actor. */
int rig_main(const tractor_options *o);
/* In an actor: half a line goes out on every connection to a peer, or on the one to its supervisor, and then its end. How many. */
unsigned rig_tear(bool of_channel);

struct json_object *rig_object(const char *key, const char *value);
/* Of a call to an actor whose own checks may have failed: then says how. */
void rig_must(int r);
