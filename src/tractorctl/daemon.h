/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A private tractord: our own child, bound to us by an owner socket. It ends its trees and itself when the socket
 * closes or this process dies, however that comes about; it is gone only when all its actors are. In a session of
 * its own, so that the terminal's SIGINT reaches this program alone. */

#include <sys/wait.h>

#include "tractorctl/context.h"

typedef struct Daemon {
        pid_t pid;
        int pidfd;
        int owner_fd;
        int output_fd; /* what it says on stdout and stderr, when captured; else -EBADF */
        bool exited;   /* and reaped: `status` holds how */
        siginfo_t status;
        sd_event_source *exit_source;
        char *private_dir; /* to be removed with its socket */
} Daemon;

typedef struct DaemonOptions {
        sd_event *event;
        const char *listen[2]; /* either may be NULL */
        const char *backend;   /* NULL: it chooses */
        const char *log_level; /* NULL: its own default */
        bool capture;          /* what it would say on our terminal into output_fd */
} DaemonOptions;

/* tractord: $TRACTOR_LIBEXECDIR, beside this program in a build tree, beside the installed one, the installed
 * path. -ENOENT: nowhere. */
int daemon_find(char **ret);
int daemon_start(const DaemonOptions *options, Daemon **ret);
/* These say so; an exit code. */
int daemon_start_failed(const Context *c, int r);
int daemon_ended_early(const Context *c, const Daemon *d);
/* Lets go of the owner socket: everything is ended with every wait cut short. */
void daemon_release(Daemon *d);
/* "exit 1", "killed by SIGKILL". The caller frees. */
char *daemon_describe_end(const Daemon *d);
/* Releases, waits for its end and frees. NULL is fine. */
void daemon_end(Daemon *d);

/* Starts one for a question, out of everyone's sight, and connects c to it. An exit code. */
int daemon_start_private(Context *c, Daemon **ret);
/* Connects c to `path` as soon as someone answers there; gives up when d ends or `aborted` says so (then
 * -ECANCELED). */
int daemon_connect(Context *c, Daemon *d, const char *path, ClientAbort aborted, void *userdata);
