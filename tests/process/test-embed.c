/* SPDX-License-Identifier: Apache-2.0 */
/* A private tractord with a socket that listens before it runs: what a library starts beside itself. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "embed/daemon.h"
#include "embed/locate.h"
#include "test.h"

#define PING "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"supervisor.ping\"}\n"
#define STATUS "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"supervisor.status\"}\n"

static sd_event *event;

static char *published(void)
{
        Surroundings s;
        char *path = NULL;

        surroundings_get(&s);
        CHECK_EQ(locate_published_path(&s, "embed", &path), 0);
        return path;
}

static void say(int fd, const char *text)
{
        CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
}

static void hear(int fd, const char *due)
{
        char text[4096];
        size_t n = 0;

        do {
                ssize_t k = read(fd, text + n, 1);

                CHECK_EQ(k, 1);
                n++;
                CHECK(n < sizeof(text));
        } while (text[n - 1] != '\n');
        text[n] = 0;
        if (!strstr(text, due))
                fprintf(stderr, "heard: %s", text);
        CHECK(strstr(text, due));
}

static Daemon *start(const char *path, void (*on_exit)(Daemon *, void *), void *userdata)
{
        Daemon *d = NULL;

        CHECK_EQ(daemon_start(&(DaemonOptions){ .event = event,
                                              .socket = path,
                                              .backend = "process",
                                              .log_level = "err",
                                              .on_exit = on_exit,
                                              .userdata = userdata },
                                 &d),
                        0);
        return d;
}

/* Nothing waits for it: what was said before it ran is answered. */
static void connects_at_once(void)
{
        _cleanup_free_ char *path = published();
        Daemon *d = start(path, NULL, NULL);
        _cleanup_close_ int fd = connect_to(path);
        struct stat st;

        CHECK(fd >= 0);
        say(fd, PING STATUS);
        hear(fd, "\"id\":1,\"result\":{}");
        hear(fd, "\"embedded\":true");
        CHECK_EQ(stat(path, &st), 0);
        CHECK_EQ(st.st_mode & 0777, 0600);
        daemon_end(d);
        CHECK_EQ(access(path, F_OK), -1);
}

static void note_exit(Daemon *d, void *userdata)
{
        *(Daemon **) userdata = d;
}

/* An end that was not asked for is told, and the connection ends with it. */
static void end_is_told(void)
{
        _cleanup_free_ char *path = published();
        Daemon *ended = NULL, *d = start(path, note_exit, &ended);
        _cleanup_close_ int fd = connect_to(path);
        _cleanup_free_ char *how = NULL;
        char c;

        say(fd, PING);
        hear(fd, "\"result\":{}");
        CHECK_EQ(kill(d->pid, SIGTERM), 0);
        while (!ended)
                CHECK(sd_event_run(event, UINT64_MAX) >= 0);
        CHECK(ended == d && d->exited);
        how = daemon_describe_end(d);
        CHECK_STR(how, "exit 0");
        CHECK_EQ(read(fd, &c, 1), 0);
        CHECK_EQ(access(path, F_OK), -1);
        daemon_end(d);
}

/* Killed while somebody is connected and not answered: it hears so. */
static void dies_before_it_answers(void)
{
        _cleanup_free_ char *path = published();
        Daemon *ended = NULL, *d = start(path, note_exit, &ended);
        _cleanup_close_ int fd = -EBADF;
        char c;

        CHECK_EQ(kill(d->pid, SIGKILL), 0);
        fd = connect_to(path);
        while (!ended)
                CHECK(sd_event_run(event, UINT64_MAX) >= 0);
        CHECK(fd == -ECONNREFUSED || read(fd, &c, 1) <= 0);
        daemon_end(d);
        CHECK_EQ(access(path, F_OK), -1);
}

/* Not one of ours at all, and it hears nothing of its owner's. */
static void with_another_daemon(void (*run)(const char *socket))
{
        static const char dir[] = "not-ours", program[] = "not-ours/tractord",
                          text[] = "#!/bin/sh\nexec sleep 1000\n";
        _cleanup_free_ char *path = published(), *here = getcwd(NULL, 0),
                            *there = xasprintf("%s/%s", here, dir);
        int fd;

        CHECK_EQ(mkdir(dir, 0700), 0);
        fd = open(program, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
        CHECK(fd >= 0);
        say(fd, text);
        (void) close(fd);
        CHECK_EQ(setenv("TRACTOR_LIBEXECDIR", there, 1), 0);
        run(path);
        CHECK_EQ(unsetenv("TRACTOR_LIBEXECDIR"), 0);
        CHECK_EQ(unlink(program), 0);
        CHECK_EQ(rmdir(dir), 0);
        CHECK_EQ(access(path, F_OK), -1);
}

static void end_the_endless(const char *path)
{
        uint64_t begin = now_usec(CLOCK_MONOTONIC);

        CHECK_EQ(daemon_end(start(path, NULL, NULL)), -ETIMEDOUT);
        CHECK(now_usec(CLOCK_MONOTONIC) - begin >= DAEMON_END_LIMIT_USEC);
}

static void one_that_does_not_end_is_killed(void)
{
        with_another_daemon(end_the_endless);
}

static void refuse(unsigned number, unsigned error)
{
        struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { .len = ELEMENTSOF(filter), .filter = filter };

        CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        CHECK_EQ(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), 0);
}

/* With a filter that does not go away. A test that hangs fails here and not by the guard, which would say less. */
static void start_where_refused(const char *path, unsigned number, unsigned error)
{
        struct pollfd p = { .events = POLLIN };
        int status;
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid == 0) {
                DaemonOptions o = { .socket = path };
                Daemon *d = NULL;

                CHECK(sd_event_new(&o.event) >= 0);
                refuse(number, error);
                CHECK_EQ(daemon_begin(&o, &d), -(int) error);
                CHECK(!d);
                CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
                _exit(0);
        }
        p.fd = (int) syscall(SYS_pidfd_open, pid, 0);
        CHECK(p.fd >= 0);
        if (poll(&p, 1, DAEMON_END_LIMIT_USEC / USEC_PER_MSEC) != 1)
                (void) kill(pid, SIGKILL);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
        (void) close(p.fd);
}

static void start_unwatched(const char *path)
{
        start_where_refused(path, SYS_pidfd_open, EMFILE);
        start_where_refused(path, SYS_epoll_ctl, ENOSPC);
}

/* What can't be watched is not left behind, nor waited for as long as it may please. */
static void unwatched_is_killed(void)
{
        with_another_daemon(start_unwatched);
}

/* The owner can't clean up: what it started does. */
static void owner_is_killed(void)
{
        struct pollfd p = { .events = POLLIN };
        int fds[2];
        pid_t pid, daemon;

        CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
                _cleanup_free_ char *mine = published();
                Daemon *d;
                int fd;

                CHECK(sd_event_new(&event) >= 0);
                d = start(mine, NULL, NULL);
                fd = connect_to(mine);
                say(fd, PING);
                hear(fd, "\"result\":{}");
                CHECK_EQ(write(fds[1], &d->pid, sizeof(d->pid)), sizeof(d->pid));
                (void) kill(getpid(), SIGKILL);
                _exit(1);
        }
        fds[1] = safe_close(fds[1]);
        CHECK_EQ(read(fds[0], &daemon, sizeof(daemon)), sizeof(daemon));
        p.fd = (int) syscall(SYS_pidfd_open, daemon, 0);
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
        CHECK(p.fd < 0 || poll(&p, 1, 20000) == 1);
        close_many((int[]){ p.fd, fds[0] }, 2);
}

static void refusals(void)
{
        _cleanup_free_ char *path = published(), *found = NULL, *why = NULL;
        Daemon *d = start(path, NULL, NULL), *again = NULL;
        struct stat st;

        /* One in use stays as it is. */
        CHECK_EQ(daemon_start(&(DaemonOptions){ .event = event, .socket = path }, &again), -EADDRINUSE);
        CHECK_EQ(stat(path, &st), 0);
        CHECK_EQ(daemon_start(&(DaemonOptions){ .event = event, .socket = "/nowhere/at/all" }, &again),
                        -ENOENT);
        daemon_end(d);
        /* It was found by the build tree that this program is in. */
        CHECK_EQ(daemon_find(&found), 0);
        CHECK(strstr(found, "/src/keeper/tractord"));
        why = daemon_describe_failure(-ENOENT);
        CHECK(strstr(why, "TRACTOR_LIBEXECDIR"));
}

static void with_event(void (*test)(void))
{
        CHECK(sd_event_new(&event) >= 0);
        test();
        event = sd_event_unref(event);
}

static void test_connects_at_once(void)
{
        with_event(connects_at_once);
}

static void test_end_is_told(void)
{
        with_event(end_is_told);
}

static void test_dies_before_it_answers(void)
{
        with_event(dies_before_it_answers);
}

static void test_one_that_does_not_end_is_killed(void)
{
        with_event(one_that_does_not_end_is_killed);
}

static void test_unwatched_is_killed(void)
{
        with_event(unwatched_is_killed);
}

static void test_owner_is_killed(void)
{
        with_event(owner_is_killed);
}

static void test_refusals(void)
{
        with_event(refusals);
}

TEST_MAIN({ "connects_at_once", test_connects_at_once }, { "end_is_told", test_end_is_told },
                { "dies_before_it_answers", test_dies_before_it_answers },
                { "one_that_does_not_end_is_killed", test_one_that_does_not_end_is_killed },
                { "unwatched_is_killed", test_unwatched_is_killed },
                { "owner_is_killed", test_owner_is_killed }, { "refusals", test_refusals });
