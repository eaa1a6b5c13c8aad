/* SPDX-License-Identifier: Apache-2.0 */

/* Readiness by real sockets, files and commands, and how often the loop wakes up for it. */

#include "moved-clock.h"
#include "ready-rig.h"

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
        CHECK(now_usec(CLOCK_MONOTONIC) - listening < 900 * USEC_PER_MSEC); /* not by the safety timer */
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
                CHECK(seen.wakeups >= 4 && seen.wakeups <= 16);
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
        CHECK(seen.commands >= 2 && seen.commands <= 5);
        CHECK(strstr(probe_waits_for(probe), "refused: Resource temporarily unavailable"));
        end();
}

static void command_that_hangs_is_killed(void)
{
        volatile uint64_t *ahead_sec = moved_clock_new();

        begin_command("hangs", 50 * USEC_PER_MSEC);
        turn_until(&seen.commands, 1);
        *ahead_sec += READY_COMMAND_LIMIT / USEC_PER_SEC - 2;
        turn(0);
        CHECK_EQ(seen.killed, 0);
        *ahead_sec += 2;
        turn(0);
        CHECK_EQ(seen.killed, 1);
        *ahead_sec += 1000; /* it is being killed: once is enough, and the next run waits for its end */
        turn(0);
        CHECK_EQ(seen.killed, 1);
        CHECK_EQ(seen.commands, 1);
        seen.running--;
        probe_command_ended(probe, false);
        CHECK(strstr(probe_waits_for(probe), "hangs: took too long and was killed"));
        turn_until(&seen.commands, 2);
        seen.running--;
        probe_command_ended(probe, false);
        CHECK(strstr(probe_waits_for(probe), "hangs: has not ended with code 0"));
        end();
        /* One that is asked for more rarely may take as long. */
        begin_command("slow", 60 * USEC_PER_SEC);
        turn_until(&seen.commands, 1);
        *ahead_sec += 58;
        turn(0);
        CHECK_EQ(seen.killed, 0);
        *ahead_sec += 2;
        turn(0);
        CHECK_EQ(seen.killed, 1);
        end();
        moved_clock_free();
}

TEST_MAIN(CASE(set_up), CASE(socket_appears_later), CASE(directory_is_moved_away), CASE(socket_is_replaced),
                CASE(symlinks_are_harmless), CASE(file_must_be_newer), CASE(file_made_at_once_counts),
                CASE(busy_directory_costs_little), CASE(commands_run_one_at_a_time),
                CASE(command_that_cannot_run_is_tried_again), CASE(command_that_hangs_is_killed),
                CASE(tear_down));
