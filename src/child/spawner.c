/* SPDX-License-Identifier: Apache-2.0 */

/* tractor-spawner: see spawner.h. One thread, no memory taken after the start, and nothing linked but what the child's
 * steps need. It ends with the keeper, or becomes whoever clears up after that. */

#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
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
                        signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGHUP, SIG_IGN) == SIG_ERR)
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

/* What was cloned so far, and for whom. */
static struct {
        pid_t keeper;
        bool held, in_cgroup;
} seen;

static pid_t spawn(const SpawnerRequest *m, const int *fds, size_t n_fds)
{
        size_t skip = m->in_cgroup ? 3 : 2;
        pid_t pid;

        if (m->version != SPAWNER_VERSION || n_fds < skip)
                return m->version != SPAWNER_VERSION ? -EPROTO : -EINVAL;
        seen.keeper = m->keeper;
        seen.held |= m->held;
        seen.in_cgroup |= m->in_cgroup;
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

/* Until its children have been given to another parent, which comes after its descriptors were closed. */
static void await_end(pid_t keeper)
{
        struct pollfd p = { .fd = (int) syscall(SYS_pidfd_open, keeper, 0), .events = POLLIN };

        while (p.fd >= 0 && getppid() == keeper && poll(&p, 1, -1) < 0 && errno == EINTR)
                ;
        safe_close(p.fd);
}

/* A keeper in order ends us before it goes. This one was killed, maybe with its supervisor, and then nobody else is there
 * to end what the main processes, which PDEATHSIG reaches, have started. Those that were held until somebody had adopted
 * them are that one's to end. */
static void clear_up(char **argv)
{
        char *backend = (char *) (seen.in_cgroup ? "cgroup" : "process");
        char *sweep[] = { argv[0], argv[1], argv[2], backend, NULL };

        if (seen.keeper == 0 || seen.held)
                return;
        await_end(seen.keeper);
        (void) execv(sweep[0], sweep);
        log_errno(errno, "%s, to clear up after the keeper", sweep[0]);
}

int main(int argc, char **argv)
{
        int r;

        log_setup("tractor-spawner", LOG_INFO);
        r = prepare();
        while (r >= 0 && (r = serve()) > 0)
                ;
        if (r == 0 && argc > 3)
                clear_up(argv + 1);
        return r < 0        ? log_errno(r, "it is started by tractord, which it serves"),
               EXIT_FAILURE : EXIT_SUCCESS;
}
