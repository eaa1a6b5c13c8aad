/* SPDX-License-Identifier: Apache-2.0 */

/* tractor-spawner: see spawner.h. One thread, no memory taken after the start, and nothing linked but what the child's
 * steps need. It ends with the keeper. */

#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "child/child.h"
#include "child/spawner.h"

/* As in the keeper, and so in a child until its own step: a stop is the keeper's business, and one that is meant for a
 * child waits until that can take it. */
static int prepare(void)
{
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        if (fd_set_nonblock(SPAWNER_FD, false) < 0 || sigprocmask(SIG_BLOCK, &set, NULL) < 0 ||
                        signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGHUP, SIG_IGN) == SIG_ERR ||
                        prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
                return -errno;
        return 0;
}

/* The child's exit signal is ours, SIGCHLD: with CLONE_PARENT none may be named. */
static pid_t clone_sibling(int cgroup_fd)
{
        struct clone_args args = {
                .flags = CLONE_PARENT | CLONE_CLEAR_SIGHAND | (cgroup_fd >= 0 ? CLONE_INTO_CGROUP : 0),
                .cgroup = cgroup_fd >= 0 ? (uint64_t) cgroup_fd : 0,
        };
        long pid = syscall(SYS_clone3, &args, sizeof(args));

        return pid < 0 ? -errno : (pid_t) pid;
}

static pid_t spawn(const SpawnerRequest *m, const int *fds, size_t n_fds)
{
        size_t skip = m->in_cgroup ? 3 : 2;
        pid_t pid;

        if (m->version != SPAWNER_VERSION || n_fds < skip)
                return m->version != SPAWNER_VERSION ? -EPROTO : -EINVAL;
        pid = clone_sibling(m->in_cgroup ? fds[2] : -EBADF);
        if (pid == 0)
                child_run(&(ChildStart){ .setup_fd = fds[0],
                                .spec_fd = fds[1],
                                .fds = fds + skip,
                                .n_fds = n_fds - skip,
                                .held = m->held,
                                .keeper = m->keeper,
                                .nofile = &m->nofile,
                                .oom_score_adj = m->has_oom_score_adj ? &m->oom_score_adj : NULL });
        return pid;
}

/* 1, or 0 when the keeper is gone; negative errno. */
static int serve(void)
{
        SpawnerRequest request = { 0 };
        SpawnerAnswer answer = { 0 };
        int fds[SCM_FDS_MAX];
        size_t n_fds = ELEMENTSOF(fds);
        ssize_t n = recv_fds(SPAWNER_FD, &request, sizeof(request), fds, &n_fds, 0);

        if (n == 0 || n == -ECONNRESET)
                return 0;
        if (n < 0 && n != -EXFULL && n != -EMSGSIZE)
                return (int) n;
        answer.key = request.key;
        answer.pid = n == -EXFULL ? -EMFILE : n == -EMSGSIZE ? -EPROTO : spawn(&request, fds, n_fds);
        if (n > 0)
                close_many(fds, n_fds);
        n = send_fds(SPAWNER_FD, &answer, sizeof(answer), NULL, 0, 0);
        return n == -EPIPE ? 0 : n < 0 ? (int) n : 1;
}

int main(void)
{
        int r;

        log_setup("tractor-spawner", LOG_INFO);
        r = prepare();
        while (r >= 0 && (r = serve()) > 0)
                ;
        return r < 0        ? log_errno(r, "it is started by tractord, which it serves"),
               EXIT_FAILURE : EXIT_SUCCESS;
}
