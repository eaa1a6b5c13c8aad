/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/io.h"
#include "base/socket.h"
#include "base/usec.h"
#include "embed/daemon.h"
#include "tractor-config.h"

/* Above what is handed down by its number. */
#define OWNER_FD_MIN 4
#define LISTEN_FD 3
#define CONTINUE_MS (DAEMON_CONTINUE_USEC / USEC_PER_MSEC)

extern char **environ;

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

/* What nobody put there who could not have replaced this program as well: root, our user, the program's owner. A group that
 * may write there was chosen by one of these. */
static bool is_trusted(const char *path, uid_t owner)
{
        struct stat st;

        return lstat(path, &st) >= 0 && !S_ISLNK(st.st_mode) && !(st.st_mode & S_IWOTH) &&
               (st.st_uid == 0 || st.st_uid == geteuid() || st.st_uid == owner);
}

/* The build tree that this program's file is in: the nearest directory above it that holds what one does. */
static char *in_build_tree(void)
{
        struct stat st;

        if (stat("/proc/self/exe", &st) < 0)
                return NULL;
        for (unsigned up = 1;; up++) {
                _cleanup_free_ char *src = beside_us(up, "src"), *keeper = beside_us(up, "src/keeper"),
                                    *program = beside_us(up, "src/keeper/tractord");

                if (!src || !keeper || !program)
                        return NULL;
                if (is_trusted(src, st.st_uid) && is_trusted(keeper, st.st_uid) &&
                                is_trusted(program, st.st_uid))
                        return TAKE_PTR(program);
        }
}

int daemon_find(char **ret)
{
        const char *dir = secure_getenv("TRACTOR_LIBEXECDIR");
        char *places[] = {
                dir && *dir == '/' ? xasprintf("%s/tractord", dir) : NULL,
                beside_us(2, "keeper/tractord"),
                beside_us(2, "libexec/tractor/tractord"),
                in_build_tree(),
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

int daemon_find_beside(const char *name, const char *folder, char **ret)
{
        _cleanup_free_ char *tractord = NULL;
        int r = daemon_find(&tractord);

        if (r < 0)
                return r;
        *strrchr(tractord, '/') = 0;
        for (unsigned i = 0; i < 2; i++) {
                _cleanup_free_ char *path = i == 0 ? xasprintf("%s/%s", tractord, name)
                                                   : xasprintf("%s/../%s/%s", tractord, folder, name);

                if (!path)
                        return -ENOMEM;
                if (access(path, X_OK) == 0) {
                        *ret = TAKE_PTR(path);
                        return 0;
                }
        }
        return -ENOENT;
}

static int on_exit_readable(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        Daemon *d = userdata;

        if (waitid(P_PIDFD, (id_t) fd, &d->status, WEXITED | WNOHANG) >= 0 && d->status.si_pid == 0)
                return 0;
        d->exited = true;
        (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        if (d->on_exit)
                d->on_exit(d, d->userdata);
        return 0;
}

/* What is to be run, and with which descriptors; made before the fork, since another thread may hold malloc's lock then. */
typedef struct Start {
        const char *program;
        char **argv, **env;
        char *listen_pid; /* in env: the number is to be filled in */
        int owner_fd, output_fd, error_fd;
        int listen_fd; /* not bound yet */
        struct sockaddr_un listen_address;
} Start;

#define LISTEN_PID "LISTEN_PID="

static void put_number(char *p, unsigned n)
{
        char digits[12];
        size_t i = 0;

        do
                digits[i++] = (char) ('0' + n % 10);
        while ((n /= 10) > 0);
        while (i > 0)
                *p++ = digits[--i];
        *p = 0;
}

/* As socket activation hands one down (sd_listen_fds(3)). It gets its name only here: whoever of the two is killed, the
 * other is there to remove it. */
static int give_listener(const Start *s)
{
        int r;

        if (s->listen_fd < 0)
                return 0;
        r = listen_begin(s->listen_fd, &s->listen_address);
        if (r < 0)
                return r;
        put_number(s->listen_pid + strlen(LISTEN_PID), (unsigned) getpid());
        if (s->listen_fd == LISTEN_FD)
                return fd_set_cloexec(LISTEN_FD, false);
        return dup2(s->listen_fd, LISTEN_FD) < 0 ? -errno : 0;
}

static _Noreturn void run_child(const Start *s)
{
        struct sigaction sa = { .sa_handler = SIG_DFL };
        sigset_t none;
        int e;

        sigemptyset(&none);
        (void) sigaction(SIGPIPE, &sa, NULL);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        (void) setsid();
        if (s->output_fd >= 0 && dup2(s->output_fd, STDOUT_FILENO) < 0)
                goto failed;
        if (s->output_fd >= 0 && isatty(STDERR_FILENO) && dup2(s->output_fd, STDERR_FILENO) < 0)
                goto failed;
        if (fd_set_cloexec(s->owner_fd, false) < 0 || give_listener(s) < 0)
                goto failed;
        (void) execve(s->program, s->argv, s->env);
failed:
        e = errno;
        (void) !write(s->error_fd, &e, sizeof(e));
        _exit(127);
}

/* Ours, without what was said to us of sockets. */
static int build_env(Start *s)
{
        static const char *const replaced[] = { LISTEN_PID, "LISTEN_FDS=", "LISTEN_FDNAMES=" };
        int r = 0;

        for (char **e = environ; r >= 0 && e && *e; e++) {
                bool ours = false;

                for (size_t i = 0; i < ELEMENTSOF(replaced); i++)
                        ours |= startswith(*e, replaced[i]) != NULL;
                if (!ours)
                        r = strv_append(&s->env, *e);
        }
        if (r >= 0 && s->listen_fd >= 0)
                r = strv_append(&s->env, "LISTEN_FDS=1");
        if (r >= 0 && s->listen_fd >= 0)
                r = strv_append(&s->env, LISTEN_PID "0000000000");
        if (r >= 0 && s->listen_fd >= 0)
                s->listen_pid = s->env[strv_length(s->env) - 1];
        return r < 0 || s->env ? r : strv_append(&s->env, "LANG=C");
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

/* Forks and execs; an exec that fails is told by its errno, in a pipe that is closed by one that does not. */
static int spawn(const DaemonOptions *o, Start *s, Daemon *d)
{
        _cleanup_close_ int error_r = -EBADF, error_w = -EBADF;
        int pipe_fds[2], r = build_argv(o, s->program, s->owner_fd, &s->argv);
        pid_t pid;

        if (r >= 0)
                r = build_env(s);
        if (r < 0)
                return r;
        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return -errno;
        error_r = pipe_fds[0];
        error_w = pipe_fds[1];
        if (error_w == LISTEN_FD) {
                error_w = fcntl(pipe_fds[1], F_DUPFD_CLOEXEC, LISTEN_FD + 1);
                (void) safe_close(pipe_fds[1]);
                if (error_w < 0)
                        return -errno;
        }
        s->error_fd = error_w;
        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0)
                run_child(s);
        d->pid = pid;
        d->start_fd = TAKE_FD(error_r);
        return 0;
}

static int watch(Daemon *d, sd_event *event)
{
        d->pidfd = (int) syscall(SYS_pidfd_open, d->pid, 0);
        if (d->pidfd < 0)
                return -errno;
        return sd_event_add_io(event, &d->exit_source, d->pidfd, EPOLLIN, on_exit_readable, d);
}

static int open_output(Daemon *d, int *ret_theirs)
{
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        d->output_fd = fds[0];
        *ret_theirs = fds[1];
        r = fd_set_nonblock(d->output_fd, true);
        return r;
}

static int open_owner(Daemon *d, int *ret_theirs)
{
        int fds[2], moved;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
                return -errno;
        d->owner_fd = fds[0];
        moved = fcntl(fds[1], F_DUPFD_CLOEXEC, OWNER_FD_MIN);
        if (moved < 0)
                moved = -errno;
        (void) safe_close(fds[1]);
        if (moved < 0)
                return moved;
        *ret_theirs = moved;
        return 0;
}

static int open_listener(Daemon *d, const char *path, Start *s)
{
        int fd = listen_prepare(path, 0600, &s->listen_address);

        if (fd < 0)
                return fd;
        s->listen_fd = fd;
        d->socket = strdup(path);
        return d->socket ? 0 : -ENOMEM;
}

static int start(Daemon *d, const DaemonOptions *options)
{
        _cleanup_close_ int owner = -EBADF, output = -EBADF, listener = -EBADF;
        _cleanup_free_ char *program = NULL;
        Start s = { .listen_fd = -EBADF };
        int r = daemon_find(&program);

        if (r >= 0)
                r = open_owner(d, &owner);
        if (r >= 0 && options->capture)
                r = open_output(d, &output);
        if (r >= 0 && options->socket)
                r = open_listener(d, options->socket, &s);
        listener = s.listen_fd;
        s.program = program;
        s.owner_fd = owner;
        s.output_fd = output;
        if (r >= 0)
                r = spawn(options, &s, d);
        strv_free(s.argv);
        strv_free(s.env);
        if (r < 0) {
                free(TAKE_PTR(d->socket));
                return r;
        }
        d->listen_fd = TAKE_FD(listener);
        return watch(d, options->event);
}

int daemon_begin(const DaemonOptions *options, Daemon **ret)
{
        Daemon *d = calloc(1, sizeof(Daemon));
        int r;

        if (!d)
                return -ENOMEM;
        d->pidfd = d->owner_fd = d->output_fd = d->start_fd = d->listen_fd = -EBADF;
        d->on_exit = options->on_exit;
        d->userdata = options->userdata;
        r = start(d, options);
        if (r < 0) {
                /* There may be no pidfd, and so no wait with a limit. It has hardly begun. */
                daemon_kill(d);
                (void) daemon_end(d);
                return r;
        }
        *ret = d;
        return 0;
}

/* What has its name is not ours to remove, unless we gave it that. */
static void take_name_back(Daemon *d)
{
        if (d->listen_fd >= 0)
                (void) unlink_socket(d->listen_fd);
        free(TAKE_PTR(d->socket));
}

int daemon_begun(Daemon *d)
{
        int e = 0;
        ssize_t n;

        do
                n = read(d->start_fd, &e, sizeof(e));
        while (n < 0 && errno == EINTR);
        d->start_fd = safe_close(d->start_fd);
        if (n == sizeof(e))
                take_name_back(d);
        /* One that we kept would take connections for a supervisor that has ended. */
        d->listen_fd = safe_close(d->listen_fd);
        return n == sizeof(e) ? -e : 0;
}

int daemon_start(const DaemonOptions *options, Daemon **ret)
{
        Daemon *d;
        int r = daemon_begin(options, &d);

        if (r < 0)
                return r;
        r = daemon_begun(d);
        if (r < 0) {
                (void) daemon_end(d);
                return r;
        }
        *ret = d;
        return 0;
}

char *daemon_describe_failure(int r)
{
        if (r == -ENOENT)
                return strdup("can't find tractord; set TRACTOR_LIBEXECDIR to the directory it is in");
        return xasprintf("can't start tractord: %s; check TRACTOR_LIBEXECDIR", strerror(-r));
}

static void send_signal(Daemon *d, int signo)
{
        if (d->pid <= 0 || d->exited)
                return;
        if (d->pidfd >= 0)
                (void) syscall(SYS_pidfd_send_signal, d->pidfd, signo, NULL, 0);
        else
                (void) kill(d->pid, signo); /* not waited for: its pid is its own */
}

void daemon_continue(Daemon *d)
{
        send_signal(d, SIGCONT);
}

void daemon_kill(Daemon *d)
{
        send_signal(d, SIGKILL);
}

void daemon_release(Daemon *d)
{
        d->owner_fd = safe_close(d->owner_fd);
        daemon_continue(d);
}

char *daemon_describe_end(const Daemon *d)
{
        const char *name;

        if (d->status.si_code == CLD_EXITED)
                return xasprintf("exit %d", d->status.si_status);
        name = sigabbrev_np(d->status.si_status);
        return xasprintf("killed by SIG%s", name ?: "?");
}

/* It has 3 s for its tree and 3 s for what is left of that; whoever stopped it may do so again. */
static int await_end(Daemon *d)
{
        uint64_t until = usec_add(now_usec(CLOCK_MONOTONIC), DAEMON_END_LIMIT_USEC);
        struct pollfd p = { .fd = d->pidfd, .events = POLLIN };
        int r = 0;

        if (d->pid <= 0 || d->exited)
                return 0;
        while (d->pidfd >= 0 && poll(&p, 1, CONTINUE_MS) <= 0 && r == 0) {
                daemon_continue(d);
                if (now_usec(CLOCK_MONOTONIC) >= until)
                        r = -ETIMEDOUT;
        }
        if (r < 0)
                daemon_kill(d);
        while (waitid(P_PID, (id_t) d->pid, &d->status, WEXITED) < 0)
                if (errno != EINTR)
                        break;
        return r;
}

int daemon_end(Daemon *d)
{
        int r;

        if (!d)
                return 0;
        daemon_release(d);
        /* Unread output must not keep it: a closed pipe ends the writing at once. */
        d->output_fd = safe_close(d->output_fd);
        d->exit_source = sd_event_source_disable_unref(d->exit_source);
        r = await_end(d);
        if (d->start_fd >= 0) /* and whether it came to naming it nobody knows */
                take_name_back(d);
        (void) safe_close(d->start_fd);
        (void) safe_close(d->listen_fd);
        (void) safe_close(d->pidfd);
        if (d->socket)
                (void) unlink(d->socket);
        free(d->socket);
        if (d->private_dir) {
                _cleanup_free_ char *sock = xasprintf("%s/s", d->private_dir);

                if (sock)
                        (void) unlink(sock);
                (void) rmdir(d->private_dir);
                free(d->private_dir);
        }
        free(d);
        return r;
}
