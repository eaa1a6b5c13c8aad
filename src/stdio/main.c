/* SPDX-License-Identifier: Apache-2.0 */

/* tractor-stdio: started by the supervisor beside a program with `"channel":"stdio"`, in its room, never by hand. Its stdin
 * is the program's stdout and the other way round; descriptor 3 is the actor's channel. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "stdio/adapter.h"

/* What is sent to all of the room, to ask the program for its end, is not for us: the program's end is ours. */
static void ignore_signals(void)
{
        sigset_t all;

        sigfillset(&all);
        (void) sigprocmask(SIG_SETMASK, &all, NULL);
}

static void raise_limit(void)
{
        struct rlimit n;

        if (getrlimit(RLIMIT_NOFILE, &n) >= 0) {
                n.rlim_cur = n.rlim_max;
                (void) setrlimit(RLIMIT_NOFILE, &n);
        }
}

/* Out of the way, so that to close it is the other side's EOF and nothing that is opened later takes its number. */
static int move_away(int fd)
{
        _cleanup_close_ int moved = fcntl(fd, F_DUPFD_CLOEXEC, 4), null = -EBADF;

        if (moved < 0)
                return -errno;
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null < 0 || dup2(null, fd) < 0)
                return -errno;
        return TAKE_FD(moved);
}

static int run(sd_event *event, int channel)
{
        const char *path = getenv("TRACTOR_PATH"), *id = getenv("TRACTOR_ACTOR_ID");
        _cleanup_(adapter_freep) Adapter *a = NULL;
        _cleanup_close_ int in = -EBADF, out = -EBADF;
        int r;

        in = move_away(STDIN_FILENO);
        if (in < 0)
                return in;
        out = move_away(STDOUT_FILENO);
        if (out < 0)
                return out;
        r = fd_set_cloexec(channel, true);
        if (r >= 0)
                r = fd_set_nonblock(channel, true);
        if (r >= 0)
                r = adapter_new(event, channel, TAKE_FD(in), TAKE_FD(out), path, id, &a);
        if (r < 0)
                return r;
        a->expose = getenv("TRACTOR_EXPOSE");
        return sd_event_loop(event);
}

int main(int argc, char *argv[])
{
        const char *channel = getenv("TRACTOR_CHANNEL_FD");
        sd_event *event = NULL;
        int r;

        log_setup(ADAPTER_NAME, LOG_INFO);
        if (argc != 1 || !channel || !streq(channel, "3") || !getenv("TRACTOR_PATH") ||
                        !getenv("TRACTOR_ACTOR_ID")) {
                log_error("started by tractor-supervisor beside a program on stdin and stdout, not by hand");
                return 2;
        }
        ignore_signals();
        raise_limit();
        log_never_wait();
        r = sd_event_new(&event);
        if (r >= 0)
                r = run(event, 3);
        sd_event_unref(event);
        return r < 0 ? (log_errno(r, "can't go on"), EXIT_FAILURE) : r;
}
