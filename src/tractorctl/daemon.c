/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "tractor-config.h"
#include "tractorctl/daemon.h"

#define CONNECT_INTERVAL_USEC (2 * USEC_PER_MSEC)
#define CONNECT_INTERVAL_MAX_USEC (50 * USEC_PER_MSEC)

/* The directory `up` levels above this program's own file, with `rest` behind it. */
static char *beside_us(unsigned up, const char *rest)
{
        char exe[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

        if (n <= 0)
                return NULL;
        exe[n] = 0;
        for (; up > 0; up--) {
                char *slash = strrchr(exe, '/');

                if (!slash)
                        return NULL;
                *slash = 0;
        }
        return xasprintf("%s/%s", exe, rest);
}

int daemon_find(char **ret)
{
        const char *dir = getenv("TRACTOR_LIBEXECDIR");
        char *places[] = {
                dir && *dir == '/' ? xasprintf("%s/tractord", dir) : NULL,
                beside_us(2, "keeper/tractord"),
                beside_us(2, "libexec/tractor/tractord"),
                strdup(TRACTOR_LIBEXECDIR "/tractord"),
        };
        int r = -ENOENT;

        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                if (r < 0 && places[i] && access(places[i], X_OK) == 0) {
                        *ret = TAKE_PTR(places[i]);
                        r = 0;
                }
                free(places[i]);
        }
        return r;
}

static int on_exit_readable(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        Daemon *d = userdata;

        if (waitid(P_PIDFD, (id_t) fd, &d->status, WEXITED | WNOHANG) >= 0 && d->status.si_pid == 0)
                return 0;
        d->exited = true;
        (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        return 0;
}

static _Noreturn void run_child(const char *program, char **argv, int owner_fd, int output_fd, int error_fd)
{
        struct sigaction sa = { .sa_handler = SIG_DFL };
        sigset_t none;
        int e;

        sigemptyset(&none);
        (void) sigaction(SIGPIPE, &sa, NULL);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        (void) setsid();
        if (output_fd >= 0 && dup2(output_fd, STDOUT_FILENO) < 0)
                goto failed;
        if (output_fd >= 0 && isatty(STDERR_FILENO) && dup2(output_fd, STDERR_FILENO) < 0)
                goto failed;
        if (fd_set_cloexec(owner_fd, false) < 0)
                goto failed;
        execv(program, argv);
failed:
        e = errno;
        (void) !write(error_fd, &e, sizeof(e));
        _exit(127);
}

/* NULL: left out. */
static int add_option(char ***argv, const char *name, const char *value)
{
        _cleanup_free_ char *arg = value ? xasprintf("--%s=%s", name, value) : NULL;

        if (!value)
                return 0;
        return arg ? strv_append(argv, arg) : -ENOMEM;
}

static int build_argv(const DaemonOptions *o, const char *program, int owner_fd, char ***ret)
{
        _cleanup_(strv_freep) char **argv = NULL;
        _cleanup_free_ char *owner = xasprintf("--owner-fd=%d", owner_fd);
        int r = owner ? strv_append(&argv, program) : -ENOMEM;

        if (r >= 0)
                r = strv_append(&argv, "--embedded");
        if (r >= 0)
                r = strv_append(&argv, owner);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(o->listen); i++)
                r = add_option(&argv, "listen", o->listen[i]);
        if (r >= 0)
                r = add_option(&argv, "backend", o->backend);
        if (r >= 0)
                r = add_option(&argv, "log-level", o->log_level);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(argv);
        return 0;
}

/* Forks and execs; an exec that fails is told by its errno. */
static int spawn(const DaemonOptions *o, const char *program, int owner_fd, int output_fd, pid_t *ret)
{
        _cleanup_(strv_freep) char **argv = NULL;
        _cleanup_close_ int error_r = -EBADF, error_w = -EBADF;
        int pipe_fds[2], e = 0, r = build_argv(o, program, owner_fd, &argv);
        ssize_t n;
        pid_t pid;

        if (r < 0)
                return r;
        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return -errno;
        error_r = pipe_fds[0];
        error_w = pipe_fds[1];
        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0)
                run_child(program, argv, owner_fd, output_fd, error_w);
        error_w = safe_close(error_w);
        do
                n = read(error_r, &e, sizeof(e));
        while (n < 0 && errno == EINTR);
        if (n == sizeof(e)) {
                (void) waitpid(pid, NULL, 0);
                return -e;
        }
        *ret = pid;
        return 0;
}

static int watch(Daemon *d, sd_event *event)
{
        d->pidfd = (int) syscall(SYS_pidfd_open, d->pid, 0);
        if (d->pidfd < 0)
                return -errno;
        return sd_event_add_io(event, &d->exit_source, d->pidfd, EPOLLIN, on_exit_readable, d);
}

static int start(Daemon *d, const DaemonOptions *options)
{
        _cleanup_close_ int theirs = -EBADF, output_w = -EBADF;
        _cleanup_free_ char *program = NULL;
        int fds[2], r = daemon_find(&program);

        if (r < 0)
                return r;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
                return -errno;
        d->owner_fd = fds[0];
        theirs = fds[1];
        if (options->capture) {
                if (pipe2(fds, O_CLOEXEC) < 0)
                        return -errno;
                d->output_fd = fds[0];
                output_w = fds[1];
                r = fd_set_nonblock(d->output_fd, true);
                if (r < 0)
                        return r;
        }
        r = spawn(options, program, theirs, output_w, &d->pid);
        return r < 0 ? r : watch(d, options->event);
}

int daemon_start(const DaemonOptions *options, Daemon **ret)
{
        Daemon *d = calloc(1, sizeof(Daemon));
        int r;

        if (!d)
                return -ENOMEM;
        d->pidfd = d->owner_fd = d->output_fd = -EBADF;
        r = start(d, options);
        if (r < 0) {
                daemon_end(d);
                return r;
        }
        *ret = d;
        return 0;
}

void daemon_release(Daemon *d)
{
        d->owner_fd = safe_close(d->owner_fd);
}

char *daemon_describe_end(const Daemon *d)
{
        const char *name;

        if (d->status.si_code == CLD_EXITED)
                return xasprintf("exit %d", d->status.si_status);
        name = sigabbrev_np(d->status.si_status);
        return xasprintf("killed by SIG%s", name ?: "?");
}

void daemon_end(Daemon *d)
{
        if (!d)
                return;
        daemon_release(d);
        /* Unread output must not keep it: a closed pipe ends the writing at once. */
        d->output_fd = safe_close(d->output_fd);
        d->exit_source = sd_event_source_disable_unref(d->exit_source);
        while (d->pid > 0 && !d->exited && waitid(P_PID, (id_t) d->pid, &d->status, WEXITED) < 0)
                if (errno != EINTR)
                        break;
        (void) safe_close(d->pidfd);
        if (d->private_dir) {
                _cleanup_free_ char *sock = xasprintf("%s/s", d->private_dir);

                if (sock)
                        (void) unlink(sock);
                (void) rmdir(d->private_dir);
                free(d->private_dir);
        }
        free(d);
}

/* --- reaching it --- */

static int on_tick(sd_event_source *s, uint64_t usec, void *userdata)
{
        return 0; /* the turn is all that is wanted */
}

/* Lets the loop run for `usec`, or less when something happens. */
static int pause_loop(sd_event *event, uint64_t usec)
{
        sd_event_source *timer = NULL;
        int r = sd_event_add_time_relative(event, &timer, CLOCK_MONOTONIC, usec, 1, on_tick, NULL);

        if (r >= 0)
                r = sd_event_run(event, UINT64_MAX);
        sd_event_source_disable_unref(timer);
        return r;
}

/* One attempt: 0 connected; -EAGAIN nobody there yet. */
static int try_connect(Context *c, const char *path, ClientAbort aborted, void *userdata)
{
        const ClientOptions options = {
                .event = c->event, .fd = connect_to(path), .aborted = aborted, .userdata = userdata
        };
        int r;

        if (options.fd == -ENOENT || options.fd == -ECONNREFUSED)
                return -EAGAIN;
        if (options.fd < 0)
                return options.fd;
        r = client_new(&options, &c->client);
        return r == -ECONNRESET || r == -ETIMEDOUT || r == -EPIPE ? -EAGAIN : r;
}

int daemon_connect(Context *c, Daemon *d, const char *path, ClientAbort aborted, void *userdata)
{
        uint64_t interval = CONNECT_INTERVAL_USEC;

        c->client = client_free(c->client);
        for (;;) {
                int r;

                if (d->exited)
                        return -ECHILD;
                if (aborted && aborted(userdata))
                        return -ECANCELED;
                r = try_connect(c, path, aborted, userdata);
                if (r != -EAGAIN)
                        return r;
                r = pause_loop(c->event, interval);
                if (r < 0)
                        return r;
                interval = MIN(interval * 2, CONNECT_INTERVAL_MAX_USEC);
        }
}

static bool daemon_is_gone(void *userdata)
{
        const Daemon *d = userdata;

        return d->exited;
}

int daemon_start_failed(const Context *c, int r)
{
        if (r == -ENOENT)
                return fail(c, CTL_FAILED,
                                "can't find tractord; set TRACTOR_LIBEXECDIR to the directory it is in");
        return fail(c, CTL_FAILED, "can't start tractord: %s; check TRACTOR_LIBEXECDIR", strerror(-r));
}

int daemon_ended_early(const Context *c, const Daemon *d)
{
        _cleanup_free_ char *end = daemon_describe_end(d);

        return fail(c, CTL_FAILED, "tractord ended before it answered: %s; see what it said above",
                        strna(end));
}

int daemon_start_private(Context *c, Daemon **ret)
{
        char dir[] = "/tmp/tractor-question-XXXXXX";
        _cleanup_free_ char *sock = NULL;
        Daemon *d = NULL;
        int r;

        if (!mkdtemp(dir))
                return fail(c, CTL_FAILED, "can't make a directory in /tmp: %s; see 'ls -ld /tmp'",
                                strerror(errno));
        sock = xasprintf("%s/s", dir);
        r = sock ? daemon_start(&(DaemonOptions){ .event = c->event,
                                                .listen = { sock },
                                                .backend = "process",
                                                .log_level = "err" },
                                   &d)
                 : -ENOMEM;
        if (r < 0) {
                (void) rmdir(dir);
                return daemon_start_failed(c, r);
        }
        *ret = d;
        d->private_dir = strdup(dir);
        r = daemon_connect(c, d, sock, daemon_is_gone, d);
        if (r == -ECHILD || r == -ECANCELED)
                return daemon_ended_early(c, d);
        return r < 0 ? fail_errno(c, r) : 0;
}
