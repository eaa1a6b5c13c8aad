/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A portal to a server: both in this process, or the server in one of its own. */

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "libtractor/error-private.h"
#include "libtractor/nursery.h"
#include "libtractor/portal.h"
#include "libtractor/serve.h"
#include "test.h"

typedef int (*FixtureBody)(tractor_portal *p, Nursery *n);

typedef struct Fixture {
        const tractor_method *methods;
        FixtureBody body;
} Fixture;

static inline int fixture_main(void *userdata)
{
        const Fixture *f = userdata;
        tractor_portal *p = NULL;
        int fds[2], r;
        TRACTOR_NURSERY(n);

        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_serve_fds(n, fds[1], fds[1], f->methods), 0);
        CHECK_EQ(tractor_portal_open_fds(fds[0], fds[0], &p), 0);
        r = f->body(p, n);
        p = tractor_portal_unref(p);
        return tractor_nursery_close(&n, r);
}

static inline void run_beside(const tractor_method *methods, FixtureBody body)
{
        Fixture f = { .methods = methods, .body = body };

        CHECK_EQ(tractor_run(NULL, fixture_main, &f), 0);
}

/* The other process serves until its connection ends; or does with it what it likes. */
typedef struct Forked {
        pid_t pid;
        int fd;
} Forked;

static inline int forked_main(void *userdata)
{
        const Fixture *f = userdata;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_serve_fds(n, 3, 3, f->methods), 0);
        return tractor_nursery_close(&n, 0);
}

static inline Forked fork_server(const tractor_method *methods)
{
        Fixture f = { .methods = methods };
        int fds[2];
        Forked k;

        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        k.pid = fork();
        CHECK(k.pid >= 0);
        if (k.pid == 0) {
                CHECK_EQ(dup2(fds[1], 3), 3);
                (void) close_range(4, ~0U, 0);
                _exit(tractor_run(NULL, forked_main, &f) < 0);
        }
        safe_close(fds[1]);
        k.fd = fds[0];
        return k;
}

/* The raw signal or exit status. */
static inline int reap(pid_t pid)
{
        int status = 0;

        CHECK_EQ(waitpid(pid, &status, 0), pid);
        return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}
