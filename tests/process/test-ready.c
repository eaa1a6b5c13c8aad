/* SPDX-License-Identifier: Apache-2.0 */

/* Every kind of readiness with real datagrams, sockets and files, some of them by processes that are gone by then; and
 * how often the loop wakes up for it. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "supervisor/ready.h"
#include "test.h"

#define PATIENCE (10 * USEC_PER_SEC)

static char dir[] = "/tmp/tractor-test-XXXXXX";
static sd_event *event;
static Probe *probe;
static TreeSpec *spec;

static struct Seen {
        unsigned ready, watchdog, status, stopping, commands, wakeups;
        unsigned running; /* commands */
        char text[512];
        bool free_on_ready;
} seen;

static void on_ready(void *userdata)
{
        CHECK(userdata == &seen);
        seen.ready++;
        if (seen.free_on_ready)
                probe = probe_free(probe);
}

static void on_watchdog(void *userdata)
{
        seen.watchdog++;
}

static void on_status(const char *text, void *userdata)
{
        seen.status++;
        (void) snprintf(seen.text, sizeof(seen.text), "%s", text);
        if (streq(text, "free me"))
                probe = probe_free(probe);
}

static void on_stopping(void *userdata)
{
        seen.stopping++;
}

static int on_command(char *const *argv, void *userdata)
{
        seen.commands++;
        if (streq(argv[0], "refused"))
                return -EAGAIN;
        CHECK_EQ(seen.running, 0);
        seen.running++;
        return 0;
}

static const ProbeEvents events = { on_ready, on_watchdog, on_status, on_stopping, on_command };

static int open_probe(const char *id)
{
        ProbeOptions options = { .event = event, .spec = spec, .runtime_dir = dir, .actor_id = id,
                .uid = geteuid(), .events = &events, .userdata = &seen };

        return probe_new(&options, &probe);
}

static void begin(ReadyKind kind, const char *path)
{
        seen = (struct Seen){ 0 };
        spec = calloc(1, sizeof(TreeSpec));
        CHECK(spec);
        spec->refs = 1;
        spec->ready = kind;
        spec->ready_path = path ? xasprintf("%s/%s", dir, path) : NULL;
        CHECK_EQ(open_probe("0123456789abcdef"), 0);
}

static void start(void)
{
        CHECK_EQ(probe_start(probe, now_usec(CLOCK_REALTIME)), 0);
        CHECK_EQ(seen.ready, 0);
}

static void end(void)
{
        probe = probe_free(probe);
        spec = tree_spec_unref(spec);
}

static void turn(uint64_t usec)
{
        uint64_t until = now_usec(CLOCK_MONOTONIC) + usec, now;

        do {
                now = now_usec(CLOCK_MONOTONIC);
                seen.wakeups += sd_event_run(event, now < until ? until - now : 0) > 0;
        } while (now < until);
}

static void turn_until(const unsigned *counter, unsigned n)
{
        uint64_t until = now_usec(CLOCK_MONOTONIC) + PATIENCE;

        while (*counter < n) {
                CHECK(now_usec(CLOCK_MONOTONIC) < until);
                seen.wakeups += sd_event_run(event, USEC_PER_SEC) > 0;
        }
}

static pid_t run_child(int (*f)(void))
{
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid == 0)
                _exit(f());
        return pid;
}

static void reap(pid_t pid)
{
        int status;

        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
}

/* --- notify --- */

static ssize_t notify_raw(const char *path, const void *data, size_t n, const int *fds, size_t n_fds)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        CHECK(fd >= 0);
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        if (connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        return send_fds(fd, data, n, fds, n_fds, 0);
}

static void notify(const char *text)
{
        CHECK_EQ(notify_raw(probe_notify_path(probe), text, strlen(text), NULL, 0), strlen(text));
}

static int say_ready(void)
{
        (void) setenv("NOTIFY_SOCKET", probe_notify_path(probe), 1);
        return sd_notify(0, "READY=1\nSTATUS=up") > 0 ? 0 : 1;
}

static void notify_by_one_already_gone(void)
{
        struct stat st;

        begin(READY_NOTIFY, NULL);
        CHECK_EQ(stat(probe_notify_path(probe), &st), 0);
        CHECK(S_ISSOCK(st.st_mode));
        CHECK_EQ(st.st_mode & 07777, 0600);
        start();
        reap(run_child(say_ready));
        turn_until(&seen.ready, 1);
        CHECK_STR(seen.text, "up");
        notify("READY=1");
        turn(20 * USEC_PER_MSEC);
        CHECK_EQ(seen.ready, 1);
        end();
}

static void notify_before_the_start_is_known(void)
{
        begin(READY_NOTIFY, NULL);
        notify("READY=1");
        turn(20 * USEC_PER_MSEC);
        CHECK_EQ(seen.ready, 0);
        start();
        turn_until(&seen.ready, 1);
        end();
}

static void notify_socket_goes_with_the_probe(void)
{
        char path[256];

        begin(READY_NOTIFY, NULL);
        (void) snprintf(path, sizeof(path), "%s", probe_notify_path(probe));
        end();
        CHECK_EQ(access(path, F_OK), -1);
        CHECK_EQ(errno, ENOENT);
        CHECK_EQ(notify_raw(path, "READY=1", 7, NULL, 0), -ENOENT);
}

static void leftover_socket_is_replaced(void)
{
        Probe *first;

        begin(READY_NOTIFY, NULL);
        first = TAKE_PTR(probe);
        CHECK_EQ(open_probe("0123456789abcdef"), 0);
        start();
        notify("READY=1");
        turn_until(&seen.ready, 1);
        end();
        probe_free(first);
}

static void only_the_kind_notify_is_made_ready_by_it(void)
{
        begin(READY_EXEC, NULL);
        CHECK(!probe_notify_path(probe));
        end();
        begin(READY_EXEC, NULL);
        spec->node.watchdog_usec = USEC_PER_SEC;
        probe = probe_free(probe);
        CHECK_EQ(open_probe("id"), 0);
        CHECK(probe_notify_path(probe));
        start();
        notify("WATCHDOG=1\nREADY=1\nSTOPPING=1\n");
        turn_until(&seen.stopping, 1);
        turn(20 * USEC_PER_MSEC);
        CHECK_EQ(seen.watchdog, 1);
        CHECK_EQ(seen.ready, 0);
        end();
}

static void foreign_file(char *path)
{
        (void) snprintf(path, 256, "%s", probe_notify_path(probe));
}

static int say_ready_as_nobody(void)
{
        char path[256];

        foreign_file(path);
        if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
                return 1;
        return notify_raw(path, "READY=1", 7, NULL, 0) == -EACCES ? 0 : 2;
}

static void foreign_uid_is_refused(void)
{
        if (geteuid() != 0)
                skip("needs root to become another user");
        begin(READY_NOTIFY, NULL);
        start();
        reap(run_child(say_ready_as_nobody));
        turn(20 * USEC_PER_MSEC);
        CHECK_EQ(seen.ready, 0);
        end();
}

static int say_ready_as_the_actor(void)
{
        char path[256];

        foreign_file(path);
        if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
                return 1;
        return notify_raw(path, "READY=1", 7, NULL, 0) == 7 ? 0 : 2;
}

/* Below a private directory (mkdtemp's 0700) the actor's user could not reach its socket: /run/tractor is public. */
static void actors_own_uid_is_heard(void)
{
        ProbeOptions options = { .event = event, .runtime_dir = dir, .actor_id = "other", .uid = 65534,
                .events = &events, .userdata = &seen };

        if (geteuid() != 0)
                skip("needs root to become another user");
        CHECK_EQ(chmod(dir, 0755), 0);
        begin(READY_NOTIFY, NULL);
        probe = probe_free(probe);
        options.spec = spec;
        CHECK_EQ(probe_new(&options, &probe), 0);
        start();
        reap(run_child(say_ready_as_the_actor));
        turn_until(&seen.ready, 1);
        end();
}

static unsigned count_fds(void)
{
        unsigned n = 0;

        for (int i = 0; i < 1024; i++)
                n += fcntl(i, F_GETFD) >= 0;
        return n;
}

static void descriptors_are_closed(void)
{
        int pipefd[2], fds[SCM_FDS_MAX];
        struct pollfd p;
        unsigned before;

        begin(READY_NOTIFY, NULL);
        start();
        CHECK_EQ(pipe2(pipefd, O_CLOEXEC), 0);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                fds[i] = pipefd[1];
        before = count_fds();
        CHECK_EQ(notify_raw(probe_notify_path(probe), "WATCHDOG=1", 10, fds, ELEMENTSOF(fds)), 10);
        pipefd[1] = safe_close(pipefd[1]);
        turn_until(&seen.watchdog, 1);
        CHECK_EQ(count_fds(), before - 1);
        p = (struct pollfd){ .fd = pipefd[0], .events = POLLIN };
        CHECK_EQ(poll(&p, 1, (int) (PATIENCE / USEC_PER_MSEC)), 1);
        CHECK(p.revents & POLLHUP);
        safe_close(pipefd[0]);
        end();
}

static int say_barrier(void)
{
        (void) setenv("NOTIFY_SOCKET", probe_notify_path(probe), 1);
        return sd_notify_barrier(0, PATIENCE) > 0 ? 0 : 1;
}

static void barrier_is_answered(void)
{
        pid_t pid;
        int status;

        begin(READY_NOTIFY, NULL);
        start();
        pid = run_child(say_barrier);
        while (waitpid(pid, &status, WNOHANG) == 0)
                turn(5 * USEC_PER_MSEC);
        CHECK_EQ(status, 0);
        end();
}

static void garbage_is_harmless(void)
{
        static const char nul[] = "READY=1\0READY=1\nWATCHDOG=1";
        _cleanup_free_ char *big = malloc(5000);

        CHECK(big);
        begin(READY_NOTIFY, NULL);
        start();
        memset(big, '\n', 5000);
        memcpy(big, "READY=1", 7);
        (void) notify_raw(probe_notify_path(probe), big, 5000, NULL, 0);
        (void) notify_raw(probe_notify_path(probe), nul, sizeof(nul) - 1, NULL, 0);
        (void) notify_raw(probe_notify_path(probe), "", 0, NULL, 0);
        notify("READY=11");
        notify("READY=1 ");
        notify("READY");
        notify("=\n\n\n=READY=1\nXREADY=1");
        notify("STATUS=\xc0\xaf");
        notify("\xff\xfe");
        turn(50 * USEC_PER_MSEC);
        CHECK_EQ(seen.ready + seen.watchdog + seen.status + seen.stopping, 0);
        /* Exactly the limit, and the terminator that some count: still believed. */
        memset(big, '\n', 4096);
        memcpy(big, "READY=1", 7);
        CHECK_EQ(notify_raw(probe_notify_path(probe), big, 4096, NULL, 0), 4096);
        CHECK_EQ(notify_raw(probe_notify_path(probe), "WATCHDOG=1", 11, NULL, 0), 11);
        turn_until(&seen.watchdog, 1);
        turn_until(&seen.ready, 1);
        end();
}

static void status_is_bounded_text(void)
{
        char text[700] = "STATUS=";

        begin(READY_NOTIFY, NULL);
        start();
        for (size_t i = 0; i < 200; i++) /* é: 2 bytes */
                memcpy(text + 7 + 1 + 2 * i, "\xc3\xa9", 2);
        text[7] = '\t';
        notify(text);
        turn_until(&seen.status, 1);
        CHECK_EQ(strlen(seen.text), 255); /* a half character is none */
        CHECK_EQ(seen.text[0], ' ');
        notify("STATUS=");
        turn_until(&seen.status, 2);
        CHECK_STR(seen.text, "");
        end();
}

static void call_back_may_free(void)
{
        begin(READY_NOTIFY, NULL);
        start();
        notify("STATUS=free me\nWATCHDOG=1\nSTOPPING=1\nREADY=1");
        turn_until(&seen.status, 1);
        CHECK(!probe);
        turn(20 * USEC_PER_MSEC);
        CHECK_EQ(seen.watchdog + seen.stopping + seen.ready, 0);
        end();
        begin(READY_NOTIFY, NULL);
        seen.free_on_ready = true;
        start();
        notify("READY=1");
        turn_until(&seen.ready, 1);
        CHECK(!probe);
        end();
}

static int flood(void)
{
        char path[256];

        foreign_file(path);
        for (;;)
                (void) notify_raw(path, "WATCHDOG=1", 10, NULL, 0);
        return 0;
}

/* A sender as fast as it can be: a bounded share of our time, and the others' events still come. */
static void flood_is_slowed(void)
{
        pid_t pid;
        int status;

        begin(READY_NOTIFY, NULL);
        start();
        pid = run_child(flood);
        turn(USEC_PER_SEC);
        CHECK_EQ(kill(pid, SIGKILL), 0);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(seen.watchdog > 100);
        CHECK(seen.watchdog < 1000);
        CHECK(seen.wakeups < 1200);
        end();
}

static void notify_path_must_fit(void)
{
        char id[128];
        ProbeOptions options = { .event = event, .runtime_dir = dir, .actor_id = id, .uid = geteuid(),
                .events = &events, .userdata = &seen };

        memset(id, 'x', sizeof(id) - 1);
        id[sizeof(id) - 1] = 0;
        begin(READY_NOTIFY, NULL);
        probe = probe_free(probe);
        options.spec = spec;
        CHECK_EQ(probe_new(&options, &probe), -ENAMETOOLONG);
        CHECK(!probe);
        end();
}

/* --- socket --- */

static int bind_at(const char *path, int type, bool listening)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

        CHECK(fd >= 0);
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        CHECK_EQ(bind(fd, (const struct sockaddr *) &address, sizeof(address)), 0);
        if (listening)
                CHECK_EQ(listen(fd, 8), 0);
        return fd;
}

/* The directories appear one by one, then the socket, then it listens: found within milliseconds, at hardly any cost
 * while nothing happens. */
static void socket_appears_later(void)
{
        char path[272], sub[256];
        uint64_t listening;
        int fd;

        begin(READY_SOCKET, "run/deep/db.sock");
        start();
        turn(300 * USEC_PER_MSEC);
        CHECK(seen.wakeups <= 4);
        CHECK(strstr(probe_waits_for(probe), "/run/deep/db.sock: No such file or directory"));
        (void) snprintf(sub, sizeof(sub), "%s/run", dir);
        CHECK_EQ(mkdir(sub, 0700), 0);
        turn(50 * USEC_PER_MSEC);
        (void) snprintf(sub, sizeof(sub), "%s/run/deep", dir);
        CHECK_EQ(mkdir(sub, 0700), 0);
        turn(50 * USEC_PER_MSEC);
        (void) snprintf(path, sizeof(path), "%s/db.sock", sub);
        fd = bind_at(path, SOCK_STREAM, false);
        turn(100 * USEC_PER_MSEC);
        CHECK_EQ(seen.ready, 0);
        CHECK(strstr(probe_waits_for(probe), "db.sock: Connection refused"));
        CHECK(seen.wakeups <= 30);
        CHECK_EQ(listen(fd, 1), 0);
        listening = now_usec(CLOCK_MONOTONIC);
        turn_until(&seen.ready, 1);
        CHECK(now_usec(CLOCK_MONOTONIC) - listening < 150 * USEC_PER_MSEC);
        turn(1100 * USEC_PER_MSEC);
        CHECK_EQ(seen.ready, 1);
        safe_close(fd);
        end();
        CHECK_EQ(unlink(path), 0);
        CHECK_EQ(rmdir(sub), 0);
        (void) snprintf(sub, sizeof(sub), "%s/run", dir);
        CHECK_EQ(rmdir(sub), 0);
}

/* The watched directory is replaced by another one. */
static void directory_is_moved_away(void)
{
        char a[256], b[256], path[256];
        int fd;

        (void) snprintf(a, sizeof(a), "%s/a", dir);
        (void) snprintf(b, sizeof(b), "%s/b", dir);
        (void) snprintf(path, sizeof(path), "%s/a/s", dir);
        CHECK_EQ(mkdir(a, 0700), 0);
        begin(READY_SOCKET, "a/s");
        start();
        turn(20 * USEC_PER_MSEC);
        CHECK_EQ(rename(a, b), 0);
        CHECK_EQ(mkdir(a, 0700), 0);
        turn(50 * USEC_PER_MSEC);
        fd = bind_at(path, SOCK_STREAM, true);
        turn_until(&seen.ready, 1);
        safe_close(fd);
        end();
        CHECK_EQ(unlink(path), 0);
        CHECK_EQ(rmdir(a), 0);
        CHECK_EQ(rmdir(b), 0);
}

/* A stale socket that refuses for long, then its successor: the rising interval begins anew with the change. */
static void socket_is_replaced(void)
{
        static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM };
        char path[256];

        (void) snprintf(path, sizeof(path), "%s/s", dir);
        for (size_t i = 0; i < ELEMENTSOF(types); i++) {
                int fd = bind_at(path, SOCK_STREAM, false);

                safe_close(fd);
                begin(READY_SOCKET, "s");
                start();
                turn(400 * USEC_PER_MSEC);
                CHECK_EQ(seen.ready, 0);
                CHECK(seen.wakeups >= 6 && seen.wakeups <= 16);
                CHECK_EQ(unlink(path), 0);
                fd = bind_at(path, types[i], types[i] != SOCK_DGRAM);
                turn_until(&seen.ready, 1);
                safe_close(fd);
                end();
                CHECK_EQ(unlink(path), 0);
        }
}

/* Neither a fifo nor a device nor a loop of links makes us block, or be content. */
static void symlinks_are_harmless(void)
{
        char path[256], loop[256];
        int fd;

        (void) snprintf(path, sizeof(path), "%s/s", dir);
        (void) snprintf(loop, sizeof(loop), "%s/loop", dir);
        begin(READY_SOCKET, "s");
        start();
        CHECK_EQ(mkfifo(path, 0600), 0);
        turn(50 * USEC_PER_MSEC);
        CHECK_EQ(unlink(path), 0);
        CHECK_EQ(symlink("loop", loop), 0);
        CHECK_EQ(symlink("loop", path), 0);
        turn(50 * USEC_PER_MSEC);
        CHECK_EQ(unlink(path), 0);
        CHECK_EQ(symlink("/dev/tty", path), 0);
        turn(50 * USEC_PER_MSEC);
        CHECK_EQ(seen.ready, 0);
        CHECK_EQ(unlink(path), 0);
        CHECK_EQ(unlink(loop), 0);
        /* Through a link that dangles at first: inotify is blind there, the safety timer is not. */
        CHECK_EQ(symlink("target", path), 0);
        turn(50 * USEC_PER_MSEC);
        (void) snprintf(loop, sizeof(loop), "%s/target", dir);
        fd = bind_at(loop, SOCK_STREAM, true);
        turn_until(&seen.ready, 1);
        safe_close(fd);
        end();
        CHECK_EQ(unlink(path), 0);
        CHECK_EQ(unlink(loop), 0);
}

/* --- file --- */

static void touch(const char *path, time_t ago)
{
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        struct timespec times[2];

        CHECK(fd >= 0);
        CHECK_EQ(clock_gettime(CLOCK_REALTIME, &times[0]), 0);
        times[0].tv_sec -= ago;
        times[1] = times[0];
        CHECK_EQ(futimens(fd, times), 0);
}

static void file_must_be_newer(void)
{
        char path[256];

        (void) snprintf(path, sizeof(path), "%s/pid", dir);
        touch(path, 3600);
        begin(READY_FILE, "pid");
        start();
        turn(100 * USEC_PER_MSEC);
        CHECK_EQ(seen.ready, 0);
        CHECK(strstr(probe_waits_for(probe), "/pid: it is older than the start"));
        touch(path, 60);
        turn(50 * USEC_PER_MSEC);
        CHECK_EQ(seen.ready, 0);
        CHECK(seen.wakeups <= 6);
        touch(path, 0);
        turn_until(&seen.ready, 1);
        end();

        /* The file of the generation before, even if it is from the same moment or from a wrong clock. */
        begin(READY_FILE, "pid");
        start();
        turn(100 * USEC_PER_MSEC);
        CHECK_EQ(seen.ready, 0);
        touch(path, -3600);
        turn_until(&seen.ready, 1);
        end();
        begin(READY_FILE, "pid");
        start();
        turn(100 * USEC_PER_MSEC);
        CHECK_EQ(seen.ready, 0);
        CHECK_EQ(unlink(path), 0);
        touch(path, 0);
        turn_until(&seen.ready, 1);
        end();
        CHECK_EQ(unlink(path), 0);
}

/* Made in the same clock tick as the start, 200 times. */
static void file_made_at_once_counts(void)
{
        char path[256];

        (void) snprintf(path, sizeof(path), "%s/pid", dir);
        for (int i = 0; i < 200; i++) {
                int fd;

                begin(READY_FILE, "pid");
                start();
                fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
                CHECK(fd >= 0);
                safe_close(fd);
                turn_until(&seen.ready, 1);
                CHECK(seen.wakeups <= 4);
                end();
                CHECK_EQ(unlink(path), 0);
        }
}

/* A busy directory: our share stays what LOOK_GAP allows, however fast the others are. */
static int make_noise(void)
{
        char path[256];

        (void) snprintf(path, sizeof(path), "%s/noise", dir);
        for (;;) {
                int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

                safe_close(fd);
                (void) unlink(path);
        }
        return 0;
}

static void busy_directory_costs_little(void)
{
        char path[256];
        pid_t pid;
        int status;

        begin(READY_FILE, "quiet");
        start();
        pid = run_child(make_noise);
        turn(USEC_PER_SEC);
        CHECK_EQ(seen.ready, 0);
        CHECK(seen.wakeups < 800);
        (void) snprintf(path, sizeof(path), "%s/quiet", dir);
        touch(path, 0);
        turn_until(&seen.ready, 1);
        CHECK_EQ(kill(pid, SIGKILL), 0);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        end();
        CHECK_EQ(unlink(path), 0);
        (void) snprintf(path, sizeof(path), "%s/noise", dir);
        (void) unlink(path);
}

/* --- command --- */

static void begin_command(const char *program, uint64_t interval)
{
        begin(READY_COMMAND, NULL);
        CHECK_EQ(strv_append(&spec->ready_command, program), 0);
        spec->ready_interval_usec = interval;
        start();
}

static void commands_run_one_at_a_time(void)
{
        uint64_t first, second;

        begin_command("check", 50 * USEC_PER_MSEC);
        turn_until(&seen.commands, 1);
        first = now_usec(CLOCK_MONOTONIC);
        /* It takes longer than the interval: no second one meanwhile, and the loop sleeps. */
        turn(200 * USEC_PER_MSEC);
        CHECK_EQ(seen.commands, 1);
        CHECK(seen.wakeups <= 2);
        seen.running--;
        probe_command_ended(probe, false);
        CHECK(strstr(probe_waits_for(probe), "check: has not ended with code 0"));
        turn_until(&seen.commands, 2);
        second = now_usec(CLOCK_MONOTONIC);
        CHECK(second - first >= 200 * USEC_PER_MSEC);
        seen.running--;
        probe_command_ended(probe, false);
        turn_until(&seen.commands, 3);
        CHECK(now_usec(CLOCK_MONOTONIC) - second >= 49 * USEC_PER_MSEC);
        seen.running--;
        probe_command_ended(probe, true);
        CHECK_EQ(seen.ready, 0);
        turn_until(&seen.ready, 1);
        turn(120 * USEC_PER_MSEC);
        CHECK_EQ(seen.commands, 3);
        probe_command_ended(probe, true);
        turn(20 * USEC_PER_MSEC);
        CHECK_EQ(seen.ready, 1);
        end();
}

static void command_that_cannot_run_is_tried_again(void)
{
        begin_command("refused", 50 * USEC_PER_MSEC);
        turn(220 * USEC_PER_MSEC);
        CHECK(seen.commands >= 4 && seen.commands <= 5);
        CHECK(strstr(probe_waits_for(probe), "refused: Resource temporarily unavailable"));
        end();
}

static void set_up(void)
{
        CHECK(mkdtemp(dir));
        CHECK(sd_event_new(&event) >= 0);
}

static void tear_down(void)
{
        char path[256];

        event = sd_event_unref(event);
        (void) snprintf(path, sizeof(path), "%s/notify", dir);
        CHECK_EQ(rmdir(path), 0);
        CHECK_EQ(rmdir(dir), 0);
}

#define CASE(f) { #f, f }

TEST_MAIN(CASE(set_up), CASE(notify_by_one_already_gone), CASE(notify_before_the_start_is_known),
                CASE(notify_socket_goes_with_the_probe), CASE(leftover_socket_is_replaced),
                CASE(only_the_kind_notify_is_made_ready_by_it), CASE(foreign_uid_is_refused),
                CASE(actors_own_uid_is_heard), CASE(descriptors_are_closed), CASE(barrier_is_answered),
                CASE(garbage_is_harmless), CASE(status_is_bounded_text), CASE(call_back_may_free),
                CASE(flood_is_slowed), CASE(notify_path_must_fit), CASE(socket_appears_later),
                CASE(directory_is_moved_away), CASE(socket_is_replaced), CASE(symlinks_are_harmless),
                CASE(file_must_be_newer), CASE(file_made_at_once_counts), CASE(busy_directory_costs_little),
                CASE(commands_run_one_at_a_time), CASE(command_that_cannot_run_is_tried_again),
                CASE(tear_down));
