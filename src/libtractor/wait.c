/* SPDX-License-Identifier: Apache-2.0 */
/* What a task may wait for outside of this library. */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "libtractor/task.h"

_public_ uint64_t tractor_now(void)
{
        return now_usec(CLOCK_MONOTONIC);
}

_public_ const char *tractor_task_name(void)
{
        Task *t = task_current();

        return t ? t->name : NULL;
}

_public_ int tractor_sleep_until(uint64_t usec)
{
        int r = task_park(NULL, "sleep", usec);

        return r == -ETIMEDOUT ? 0 : r;
}

_public_ int tractor_sleep(uint64_t usec)
{
        return tractor_sleep_until(usec_add(tractor_now(), usec));
}

_public_ int tractor_sleep_forever(void)
{
        return task_park(NULL, "cancellation", USEC_INFINITY);
}

static int on_ready(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        /* At most 31 bits are defined, and none of them is the sign. */
        task_wake(userdata, (int) (revents & INT32_MAX));
        return 0;
}

/* epoll takes a descriptor once, and somebody waits for this one: a duplicate counts as another. */
static int watch_duplicate(Task *t, int fd, uint32_t events, sd_event_source **ret)
{
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3), r;

        if (copy < 0)
                return -errno;
        r = sd_event_add_io(t->runtime->event, ret, copy, events, on_ready, t);
        if (r >= 0)
                r = sd_event_source_set_io_fd_own(*ret, true);
        if (r < 0) {
                *ret = sd_event_source_disable_unref(*ret);
                safe_close(copy);
        }
        return r;
}

_public_ int tractor_wait_fd(int fd, uint32_t events)
{
        Task *t = task_current();
        sd_event_source *source = NULL;
        int r;

        if (!t)
                return task_missing();
        r = sd_event_add_io(t->runtime->event, &source, fd, events, on_ready, t);
        if (r == -EEXIST)
                r = watch_duplicate(t, fd, events, &source);
        if (r < 0)
                return r;
        task_wait_detail("%d", fd);
        r = task_park(NULL, "descriptor", USEC_INFINITY);
        sd_event_source_disable_unref(source);
        return r;
}

_public_ int tractor_wait_child(pid_t pid, siginfo_t *ret)
{
        _cleanup_close_ int fd = pidfd_open(pid, 0);
        int r;

        if (fd < 0)
                return -errno;
        /* Not somebody else's: its end could be waited for, and not be reaped. */
        if (waitid(P_PIDFD, (id_t) fd, ret, WEXITED | WNOHANG | WNOWAIT) < 0)
                return -errno;
        r = tractor_wait_fd(fd, EPOLLIN);
        if (r < 0)
                return r;
        *ret = (siginfo_t){ 0 };
        return waitid(P_PIDFD, (id_t) fd, ret, WEXITED) < 0 ? -errno : 0;
}

_public_ int tractor_wait_signal(const sigset_t *set, siginfo_t *ret)
{
        _cleanup_close_ int fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
        struct signalfd_siginfo info;
        int r;

        if (fd < 0 || sigprocmask(SIG_BLOCK, set, NULL) < 0)
                return -errno;
        do {
                r = tractor_wait_fd(fd, EPOLLIN);
                if (r < 0)
                        return r;
        } while (read(fd, &info, sizeof(info)) != (ssize_t) sizeof(info));
        if (ret)
                *ret = (siginfo_t){ .si_signo = (int) info.ssi_signo,
                        .si_code = info.ssi_code,
                        .si_pid = (pid_t) info.ssi_pid,
                        .si_uid = info.ssi_uid };
        return (int) info.ssi_signo;
}
