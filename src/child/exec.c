/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/process.h"
#include "child/child.h"

static int reset_signals(void)
{
        struct sigaction dfl = { .sa_handler = SIG_DFL };
        sigset_t none;

        /* CLONE_CLEAR_SIGHAND keeps what is ignored. */
        for (int i = 1; i < _NSIG; i++)
                (void) sigaction(i, &dfl, NULL); /* refused for SIGKILL, SIGSTOP and the C library's two */
        sigemptyset(&none);
        return sigprocmask(SIG_SETMASK, &none, NULL) < 0 ? -errno : 0;
}

static int prepare_stdio(void)
{
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

        return null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0 ? -errno
                                                                                                  : 0;
}

static _Noreturn void child_exec(const ChildProgram *p, const int *fds, size_t n)
{
        const int first = 3, end = first + (int) n;
        int moved[SCM_FDS_MAX];

        if (!p->keep_stdio && prepare_stdio() < 0)
                goto fail;
        for (size_t i = 0; i < n; i++) /* out of the way, then into place */
                if ((moved[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, end)) < 0)
                        goto fail;
        for (size_t i = 0; i < n; i++)
                if (dup2(moved[i], first + (int) i) < 0)
                        goto fail;
        if (close_range((unsigned) end, ~0U, 0) < 0 || reset_signals() < 0)
                goto fail;
        (void) execv(p->argv[0], p->argv);
fail:
        log_errno(errno, "starting %s", p->argv[0]);
        _exit(127);
}

pid_t child_start(const ChildProgram *p, int *ret_fd, int *ret_pidfd)
{
        int pair[2], fds[SCM_FDS_MAX];
        pid_t pid;

        if (p->n_fds >= ELEMENTSOF(fds))
                return -E2BIG;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return -errno;
        fds[0] = pair[1];
        for (size_t i = 0; i < p->n_fds; i++)
                fds[1 + i] = p->fds[i];
        pid = clone_process(-EBADF, ret_pidfd);
        if (pid == 0)
                child_exec(p, fds, 1 + p->n_fds);
        safe_close(pair[1]);
        if (pid > 0)
                *ret_fd = pair[0];
        else
                safe_close(pair[0]);
        return pid;
}
