/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A private tractord: our own child, bound to us by an owner socket. It ends its trees and itself when the socket
 * closes or this process dies, however that comes about; it is gone only when all its actors are. In a session of
 * its own, so that the terminal's SIGINT reaches this program alone.
 *
 * Who can't wait for it gives it a socket that listens already (`socket`): connect() works as soon as daemon_start() has
 * returned, and what is written there is answered once the supervisor serves, or ends with tractord. Its end is told by
 * `on_exit` from the loop. */

#include <sys/wait.h>
#include <systemd/sd-event.h>

#include "base/macro.h"

typedef struct Daemon Daemon;
struct Daemon {
        pid_t pid;
        int pidfd;
        int owner_fd;
        int output_fd; /* what it says on stdout and stderr, when captured; else -EBADF */
        int start_fd;  /* until daemon_begun(): readable once that knows */
        int listen_fd; /* until then: `socket`, to tell whether it was made here */
        bool exited;   /* and reaped: `status` holds how */
        siginfo_t status;
        sd_event_source *exit_source;
        void (*on_exit)(Daemon *d, void *userdata);
        void *userdata;
        char *socket;      /* removed with it, should it not have come to that itself */
        char *private_dir; /* to be removed with its socket */
};

typedef struct DaemonOptions {
        sd_event *event;
        const char *listen[2]; /* sockets that it makes; either may be NULL */
        const char *socket; /* one that is made here and listens at once, or NULL: the first of all its sockets */
        const char *backend;                        /* NULL: it chooses */
        const char *log_level;                      /* NULL: its own default */
        bool capture;                               /* what it would say on our terminal into output_fd */
        void (*on_exit)(Daemon *d, void *userdata); /* may be NULL; may end d */
        void *userdata;
} DaemonOptions;

/* tractord: $TRACTOR_LIBEXECDIR; beside this program; in the build tree that this program is in; the installed path.
 * -ENOENT: nowhere. */
int daemon_find(char **ret);
/* Another program of the package that no user calls: where tractord is, in a build tree in `folder` beside. */
int daemon_find_beside(const char *name, const char *folder, char **ret);
/* The first half of daemon_start(), which waits for nothing; and the second, which waits for execve() unless `start_fd` is readable,
 * and leaves it to the caller to end what could not be started. */
int daemon_begin(const DaemonOptions *options, Daemon **ret);
int daemon_begun(Daemon *d);
/* Negative errno: -ENOENT where there is no tractord, what listen_at() and execve() say. */
int daemon_start(const DaemonOptions *options, Daemon **ret);
/* What to say of that; the caller frees. */
char *daemon_describe_failure(int r);
/* One that was stopped (SIGSTOP) goes on: while it stands still no actor's end is told. */
void daemon_continue(Daemon *d);
void daemon_kill(Daemon *d);
/* Lets go of the owner socket: everything is ended with every wait cut short. */
void daemon_release(Daemon *d);
/* "exit 1", "killed by SIGKILL". The caller frees. */
char *daemon_describe_end(const Daemon *d);
/* Releases, waits for its end (which has come where on_exit has) and frees. NULL is fine. -ETIMEDOUT: it did not end within
 * DAEMON_END_LIMIT_USEC, and was killed; then its supervisor ends what is left, whom nobody waits for. */
#define DAEMON_END_LIMIT_USEC (8U * 1000 * 1000)
/* How often one that should end is told to go on meanwhile: whoever stopped it may do so again. */
#define DAEMON_CONTINUE_USEC (500U * 1000)
int daemon_end(Daemon *d);
