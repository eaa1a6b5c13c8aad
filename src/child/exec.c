/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/process.h"
#include "child/child.h"

int child_reset_signals(void)
{
        struct sigaction dfl = { .sa_handler = SIG_DFL };
        sigset_t none;

        /* CLONE_CLEAR_SIGHAND keeps what is ignored. */
        for (int i = 1; i < _NSIG; i++)
                (void) sigaction(i, &dfl, NULL); /* refused for SIGKILL, SIGSTOP and the C library's two */
        sigemptyset(&none);
        return sigprocmask(SIG_SETMASK, &none, NULL) < 0 ? -errno : 0;
}

_Noreturn void child_exec(char *const *argv, const int *fds, size_t n)
{
        const int first = 3, end = first + (int) n;
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC), moved[SCM_FDS_MAX];

        if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0 ||
                        n > ELEMENTSOF(moved))
                goto fail;
        for (size_t i = 0; i < n; i++) /* out of the way, then into place */
                if ((moved[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, end)) < 0)
                        goto fail;
        for (size_t i = 0; i < n; i++)
                if (dup2(moved[i], first + (int) i) < 0)
                        goto fail;
        if (close_range((unsigned) end, ~0U, 0) < 0 || child_reset_signals() < 0)
                goto fail;
        (void) execv(argv[0], argv);
fail:
        log_errno(errno, "starting %s", argv[0]);
        _exit(127);
}

pid_t child_start(char *const *argv, const int *fds, size_t n, int *ret_fd, int *ret_pidfd)
{
        int pair[2], all[SCM_FDS_MAX];
        pid_t pid;

        if (n >= ELEMENTSOF(all))
                return -E2BIG;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return -errno;
        all[0] = pair[1];
        memcpy(all + 1, fds, n * sizeof(int));
        pid = clone_process(-EBADF, ret_pidfd);
        if (pid == 0)
                child_exec(argv, all, 1 + n);
        safe_close(pair[1]);
        if (pid > 0)
                *ret_fd = pair[0];
        else
                safe_close(pair[0]);
        return pid;
}
