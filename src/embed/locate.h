/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which supervisor is meant. In this order: what the command line names; $TRACTOR_SOCKET; the only embedded
 * supervisor of this user; the user's service; the system's. Embedded ones publish "NAME-PID.sock" in a
 * directory that belongs to this user alone; a socket there whose supervisor is gone is removed on the way. */

#include <sys/types.h>

#include "base/macro.h"

/* What was named; nothing: the first that answers. */
typedef struct LocateChoice {
        const char *socket; /* a path */
        const char *run;    /* an embedded one, NAME or NAME-PID */
        bool user, system;  /* that service */
} LocateChoice;

/* What of the environment matters, so that the choice can be tested. */
typedef struct Surroundings {
        uid_t uid;
        const char *runtime_dir; /* $XDG_RUNTIME_DIR; NULL unless absolute */
        const char *socket;      /* $TRACTOR_SOCKET */
        const char *root;        /* put before /run and /tmp; "" but in tests */
} Surroundings;

void surroundings_get(Surroundings *ret);

/* "/run/tractor/run" (root), "$XDG_RUNTIME_DIR/tractor/run" or "/tmp/tractor-UID/run". NULL: out of memory. */
char *locate_run_dir(const Surroundings *s);
/* Makes it, for this user alone. -EPERM when someone else's stands in its place. */
int locate_make_run_dir(const Surroundings *s, char **ret);
/* Where this process publishes an embedded one; `name` as it is if it is fit for a node's. Nothing is there then. */
int locate_published_path(const Surroundings *s, const char *name, char **ret);
/* "<dir>/NAME-PID.sock" → NAME and PID; false for any other file name. *ret_n: bytes of NAME. */
bool locate_parse_name(const char *file, size_t *ret_n, pid_t *ret_pid);

/* A connected socket and its path (the caller's). Negative errno with *reterr the sentence to print: -ENOENT or
 * -ECONNREFUSED nobody there, -EACCES not allowed, -ENOTUNIQ several and none named. */
int locate_connect(
                const LocateChoice *o, const Surroundings *s, int *ret_fd, char **ret_path, char **reterr);

/* A stream socket connected to `path`, or negative errno: -ECONNREFUSED nobody listens, -ENAMETOOLONG. */
int connect_to(const char *path);
