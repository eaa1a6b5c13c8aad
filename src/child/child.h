/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The child's side of set-up, between clone and exec: one step after the other, each named on the set-up socket
 * before it is begun. It owns nothing it would have to free: every way out is execve or _exit. The spawner has one
 * thread, so that this may use more of the C library than a signal handler could; it allocates nothing all the same. */

#include <sys/resource.h>

#include "child/spec.h"

typedef struct ChildStart {
        int setup_fd; /* seqpacket; the keeper's side sends one byte to release a held child */
        int spec_fd;
        const int *fds; /* those the spec refers to by index */
        size_t n_fds;
        bool held;
        pid_t keeper;
        const struct rlimit *nofile; /* the keeper has raised its own: what it was */
        const int *oom_score_adj;    /* likewise; NULL: unchanged */
} ChildStart;

/* One message on the set-up socket: error 0 says that the step begins. The pid is for a keeper that was not told it,
 * because the spawner died in between. */
typedef struct SetupMessage {
        int32_t step, error, pid;
} SetupMessage;

_Noreturn void child_run(const ChildStart *start);

/* The other kind of child, which is trusted: the supervisor, the spawner. Its descriptor 3 is the other end of *ret_fd, of
 * a SOCK_SEQPACKET pair that does not block; after it come `fds`. With keep_stdio 0 to 2 are ours, else /dev/null and
 * stderr for both outputs. A failure to exec is logged and ends in code 127. Its pid or a negative errno. */
typedef struct ChildProgram {
        char *const *argv; /* [0] is the path */
        const int *fds;
        size_t n_fds;
        bool keep_stdio;
} ChildProgram;

pid_t child_start(const ChildProgram *p, int *ret_fd, int *ret_pidfd);
