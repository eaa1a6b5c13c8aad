/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/process.h"
#include "base/usec.h"

#define END_PAUSE_NSEC (20 * 1000 * 1000)

pid_t clone_process(int cgroup_fd, int *ret_pidfd)
{
        int pidfd = -EBADF;
        struct clone_args args = {
                .flags = CLONE_PIDFD | CLONE_CLEAR_SIGHAND | (cgroup_fd >= 0 ? CLONE_INTO_CGROUP : 0),
                .pidfd = (uintptr_t) &pidfd,
                .exit_signal = SIGCHLD,
                .cgroup = cgroup_fd >= 0 ? (uint64_t) cgroup_fd : 0,
        };
        pid_t pid = (pid_t) syscall(SYS_clone3, &args, sizeof(args));

        if (pid < 0)
                return -errno;
        if (pid > 0)
                *ret_pidfd = pidfd;
        return pid;
}

static void kill_children(void)
{
        _cleanup_free_ char *line = NULL;
        size_t cap = 0;
        FILE *f = fopen("/proc/thread-self/children", "re");

        if (!f)
                return;
        if (getline(&line, &cap, f) > 0)
                for (char *p = line, *end; *p; p = end) {
                        long pid = strtol(p, &end, 10);

                        if (end == p)
                                break;
                        (void) kill((pid_t) pid, SIGKILL); /* unreaped, so it is still ours */
                }
        (void) fclose(f);
}

int end_children(uint64_t limit_usec)
{
        const struct timespec pause = { .tv_nsec = END_PAUSE_NSEC };
        uint64_t end = usec_add(now_usec(CLOCK_MONOTONIC), limit_usec);
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        do {
                siginfo_t si;
                int r;

                kill_children();
                do
                        si.si_pid = 0;
                while ((r = waitid(P_ALL, 0, &si, WEXITED | WNOHANG)) == 0 && si.si_pid != 0);
                if (r < 0 && errno == ECHILD)
                        return 0;
                (void) sigtimedwait(&set, NULL, &pause);
        } while (now_usec(CLOCK_MONOTONIC) < end);
        return -EBUSY;
}

char *find_program(const char *name, const char *build_dir, const char *installed)
{
        const char *override = getenv("TRACTOR_LIBEXECDIR");
        char self[PATH_MAX], *path;
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

        if (override)
                return xasprintf("%s/%s", override, name);
        self[MAX(n, 0)] = 0;
        if (strrchr(self, '/'))
                *strrchr(self, '/') = 0;
        path = xasprintf("%s/%s", self, name);
        if (!path || access(path, X_OK) >= 0)
                return path;
        free(path);
        path = xasprintf("%s/%s/%s", self, build_dir, name);
        if (!path || access(path, X_OK) >= 0)
                return path;
        free(path);
        return xasprintf("%s/%s", installed, name);
}
