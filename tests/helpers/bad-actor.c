/* SPDX-License-Identifier: Apache-2.0 */

/* One factory for awkward processes: `bad-actor ACTION...`, taken in the order given; after the last it exits 0.
 *
 *   exit=N            end with that code                 crash=SIGNAL       end by it: SEGV, ABRT, 9 ...
 *   hang              wait for ever                      after=MS           wait that long
 *   ignore-term       no more SIGTERM, SIGINT, SIGHUP    term-exit=N        on SIGTERM exit with that code
 *   fork=N            N children that hang               double-fork[=FILE] a daemon that hangs, its pid to FILE
 *   setsid-escape     a child in a session of its own    fork-bomb          children without end
 *   flood=BYTES       to stdout and stderr by turns      half-close         shut the write side of the channel
 *   eat-memory=MIB    touched and kept                   leak-fds           until there are no more
 *   notify-ready[=MS] READY=1, after a delay             notify-watchdog=N  N times WATCHDOG=1, then no more
 *   listen=PATH       a stream socket, never accepted    touch=PATH         an empty file
 *   name=NAME         for report-start                   report-start=FILE  append "name pid monotonic_us\n"
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/macro.h"

static const char *name = "bad-actor";
static int term_code;

static _Noreturn void fail(const char *what)
{
        fprintf(stderr, "bad-actor: %s: %s\n", what, strerror(errno));
        _exit(120);
}

static long number(const char *s)
{
        char *end;
        long n = strtol(s, &end, 10);

        if (end == s || *end || n < 0) {
                errno = EINVAL;
                fail(s);
        }
        return n;
}

static void wait_ms(long ms)
{
        struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

        while (nanosleep(&t, &t) < 0 && errno == EINTR)
                ;
}

static _Noreturn void hang(void)
{
        for (;;)
                (void) pause();
}

static void do_hang(const char *arg)
{
        hang();
}

static void do_exit(const char *arg)
{
        _exit((int) number(arg));
}

static void do_crash(const char *arg)
{
        static const struct {
                const char *name;
                int signo;
        } names[] = { { "SEGV", SIGSEGV }, { "ABRT", SIGABRT }, { "BUS", SIGBUS }, { "FPE", SIGFPE },
                { "ILL", SIGILL }, { "KILL", SIGKILL }, { "TERM", SIGTERM }, { "QUIT", SIGQUIT },
                { "SYS", SIGSYS } };
        int signo = 0;

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (streq(names[i].name, startswith(arg, "SIG") ?: arg))
                        signo = names[i].signo;
        if (signo == 0)
                signo = (int) number(arg);
        if (signo != SIGKILL && signal(signo, SIG_DFL) == SIG_ERR)
                fail(arg);
        (void) raise(signo);
}

static void do_after(const char *arg)
{
        wait_ms(number(arg));
}

static void do_ignore_term(const char *arg)
{
        (void) signal(SIGTERM, SIG_IGN);
        (void) signal(SIGINT, SIG_IGN);
        (void) signal(SIGHUP, SIG_IGN);
}

static void on_term(int signo)
{
        _exit(term_code);
}

static void do_term_exit(const char *arg)
{
        term_code = (int) number(arg);
        (void) signal(SIGTERM, on_term);
}

static pid_t fork_or_fail(void)
{
        pid_t pid = fork();

        if (pid < 0)
                fail("fork");
        return pid;
}

static void do_fork(const char *arg)
{
        for (long n = number(arg); n > 0; n--)
                if (fork_or_fail() == 0)
                        hang();
}

static void write_file(const char *path, int flags, const char *text)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
        size_t n = strlen(text);

        if (fd < 0 || write(fd, text, n) != (ssize_t) n)
                fail(path);
        (void) close(fd);
}

static void do_double_fork(const char *arg)
{
        int done[2];
        char byte, text[16];

        if (pipe(done) < 0)
                fail("pipe");
        if (fork_or_fail() == 0) {
                if (setsid() < 0)
                        fail("setsid");
                if (fork_or_fail() > 0)
                        _exit(0);
                (void) snprintf(text, sizeof(text), "%d\n", getpid());
                if (*arg)
                        write_file(arg, O_TRUNC, text);
                (void) close(done[0]);
                (void) close(done[1]);
                hang();
        }
        (void) close(done[1]);
        (void) read(done[0], &byte, 1); /* EOF: the daemon is there and has written its pid */
        (void) close(done[0]);
}

static void do_setsid_escape(const char *arg)
{
        if (fork_or_fail() > 0)
                return;
        if (setsid() < 0)
                fail("setsid");
        hang();
}

static void do_fork_bomb(const char *arg)
{
        for (;;)
                if (fork() < 0)
                        wait_ms(1);
}

static void do_flood(const char *arg)
{
        static char block[4096];
        long left = number(arg);

        memset(block, 'x', sizeof(block));
        for (size_t i = 127; i < sizeof(block); i += 128)
                block[i] = '\n';
        for (int fd = 1; left > 0; fd = 3 - fd) {
                ssize_t n = write(fd, block, (size_t) MIN(left, (long) sizeof(block)));

                if (n < 0 && errno != EINTR && errno != EAGAIN)
                        fail("flood");
                left -= MAX(n, (ssize_t) 0);
        }
}

static void do_half_close(const char *arg)
{
        const char *fd = getenv("TRACTOR_CHANNEL_FD");

        if (shutdown(fd ? (int) number(fd) : STDOUT_FILENO, SHUT_WR) < 0)
                fail("half-close");
}

static void do_eat_memory(const char *arg)
{
        for (long n = number(arg); n > 0; n--) {
                volatile char *p = malloc(1024 * 1024);

                if (!p)
                        fail("eat-memory");
                for (size_t i = 0; i < 1024 * 1024; i += 4096)
                        p[i] = 1;
        }
}

static void do_leak_fds(const char *arg)
{
        while (open("/dev/null", O_RDONLY) >= 0)
                ;
}

static void notify(const char *text)
{
        const char *path = getenv("NOTIFY_SOCKET");
        union {
                struct sockaddr sa;
                struct sockaddr_un un;
        } address = { .un.sun_family = AF_UNIX };
        size_t n = path ? strlen(path) : 0;
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        if (n == 0 || n >= sizeof(address.un.sun_path)) {
                errno = EDESTADDRREQ;
                fail("NOTIFY_SOCKET");
        }
        memcpy(address.un.sun_path, path, n);
        if (path[0] == '@')
                address.un.sun_path[0] = 0;
        n += offsetof(struct sockaddr_un, sun_path);
        if (fd < 0 || sendto(fd, text, strlen(text), MSG_NOSIGNAL, &address.sa, (socklen_t) n) < 0)
                fail("notify");
        (void) close(fd);
}

static void do_notify_ready(const char *arg)
{
        if (*arg)
                wait_ms(number(arg));
        notify("READY=1\nSTATUS=as ready as it gets");
}

static void do_notify_watchdog(const char *arg)
{
        const char *usec = getenv("WATCHDOG_USEC");
        long pause_ms = usec ? MAX(number(usec) / 2000, 1L) : 100;

        for (long n = number(arg); n > 0; n--) {
                notify("WATCHDOG=1");
                wait_ms(pause_ms);
        }
}

static void do_listen(const char *arg)
{
        union {
                struct sockaddr sa;
                struct sockaddr_un un;
        } address = { .un.sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (strlen(arg) >= sizeof(address.un.sun_path)) {
                errno = ENAMETOOLONG;
                fail(arg);
        }
        memcpy(address.un.sun_path, arg, strlen(arg) + 1);
        (void) unlink(arg);
        if (fd < 0 || bind(fd, &address.sa, sizeof(address.un)) < 0 || listen(fd, 16) < 0)
                fail(arg);
}

static void do_touch(const char *arg)
{
        write_file(arg, O_TRUNC, "");
}

static void do_name(const char *arg)
{
        name = arg;
}

static void do_report_start(const char *arg)
{
        char line[256];
        struct timespec t;

        if (clock_gettime(CLOCK_MONOTONIC, &t) < 0)
                fail("clock");
        (void) snprintf(line, sizeof(line), "%s %d %lld\n", name, getpid(),
                        (long long) t.tv_sec * 1000000 + t.tv_nsec / 1000);
        write_file(arg, O_APPEND, line); /* one write: lines of several processes do not mix */
}

static const struct {
        const char *name;
        void (*run)(const char *arg);
        enum { BARE, OPTIONAL, NEEDED } argument;
} actions[] = {
        { "exit", do_exit, NEEDED },
        { "crash", do_crash, NEEDED },
        { "hang", do_hang, BARE },
        { "after", do_after, NEEDED },
        { "ignore-term", do_ignore_term, BARE },
        { "term-exit", do_term_exit, NEEDED },
        { "fork", do_fork, NEEDED },
        { "double-fork", do_double_fork, OPTIONAL },
        { "setsid-escape", do_setsid_escape, BARE },
        { "fork-bomb", do_fork_bomb, BARE },
        { "flood", do_flood, NEEDED },
        { "half-close", do_half_close, BARE },
        { "eat-memory", do_eat_memory, NEEDED },
        { "leak-fds", do_leak_fds, BARE },
        { "notify-ready", do_notify_ready, OPTIONAL },
        { "notify-watchdog", do_notify_watchdog, NEEDED },
        { "listen", do_listen, NEEDED },
        { "touch", do_touch, NEEDED },
        { "name", do_name, NEEDED },
        { "report-start", do_report_start, NEEDED },
};

static bool act(const char *text)
{
        for (size_t i = 0; i < ELEMENTSOF(actions); i++) {
                const char *rest = startswith(text, actions[i].name);

                if (!rest || (*rest != 0 && *rest != '='))
                        continue;
                if (*rest ? actions[i].argument == BARE : actions[i].argument == NEEDED)
                        return false;
                actions[i].run(*rest ? rest + 1 : rest);
                return true;
        }
        return false;
}

int main(int argc, char **argv)
{
        const char *path = getenv("TRACTOR_PATH");

        if (path && *path)
                name = path;
        for (int i = 1; i < argc; i++)
                if (!act(argv[i])) {
                        fprintf(stderr, "bad-actor: no such action: %s\n", argv[i]);
                        return 2;
                }
        return 0;
}
