/* SPDX-License-Identifier: Apache-2.0 */

/* The keeper and its spawner: what becomes of spawns when it is killed or hangs, and of children that end at once. */

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "child/child.h"
#include "child/spawner.h"
#include "keeper-rig.h"

static char *const service[] = { (char *) "--system", NULL };

static bool is_called(pid_t pid, const char *name)
{
        char path[64];
        _cleanup_free_ char *comm = NULL;

        (void) snprintf(path, sizeof(path), "/proc/%d/comm", pid);
        return read_file_at(AT_FDCWD, path, &comm) >= 0 && streq(comm, name);
}

/* There is one as soon as the supervisor serves; no other child may be there. Bounded by the test's own time-out. */
static pid_t find_spawner(Rig *r)
{
        char path[64];

        rig_barrier(r);
        (void) snprintf(path, sizeof(path), "/proc/%d/task/%d/children", r->keeper, r->keeper);
        for (;;) {
                _cleanup_free_ char *line = NULL;

                CHECK_EQ(read_file_at(AT_FDCWD, path, &line), 0);
                for (char *p = line, *s; (s = strsep(&p, " "));)
                        if (*s && is_called(atoi(s), "tractor-spawner"))
                                return atoi(s);
        }
}

static void wait_state(pid_t pid, char state)
{
        while (process_state(pid) != state)
                ;
}

static void stop(pid_t pid)
{
        CHECK(kill(pid, SIGSTOP) >= 0);
        wait_state(pid, 'T');
}

static void expect_run(Rig *r, uint64_t key)
{
        rig_expect_spawned(r, key, NULL);
        rig_expect_setup(r, key, SPAWN_STEP_EXEC, 0);
        rig_expect_exited(r, key, CLD_EXITED, 0);
        rig_simple(r, KEEPER_REAP, key);
}

static void expect_lost(Rig *r, uint64_t key)
{
        Reply m;

        rig_expect(r, KEEPER_SPAWNED, key, &m);
        CHECK_EQ(m.spawned.error, -ECONNABORTED);
        CHECK_EQ(m.spawned.pid, 0);
        CHECK_EQ(m.n_fds, 0);
}

static void test_killed_between(void)
{
        Rig r = { 0 };
        uint64_t key = 0;
        pid_t spawner, next;
        int fd;

        rig_up(&r, service);
        spawner = find_spawner(&r);
        for (int i = 0; i < 10; i++) {
                rig_spawn_sh(&r, ++key, 0, "exit 0");
                expect_run(&r, key);
                fd = (int) syscall(SYS_pidfd_open, spawner, 0);
                CHECK(fd >= 0);
                CHECK(kill(spawner, SIGKILL) >= 0);
                wait_readable(fd); /* till then, a request may still reach it */
                fd = safe_close(fd);
                rig_spawn_sh(&r, ++key, 0, "exit 0");
                expect_run(&r, key);
                wait_state(spawner, 0); /* it is reaped like an orphan */
                next = find_spawner(&r);
                CHECK(next != spawner);
                spawner = next;
        }
        rig_down(&r);
}

/* Nothing of what had not been cloned runs ever, and the next ones do. */
static void test_killed_with_spawns(void)
{
        enum { N = 10 };
        Rig r = { 0 };
        Reply m;
        SpawnSpec *spec = rig_sh("echo here");
        char byte;
        int out[2];
        pid_t spawner;

        rig_up(&r, service);
        spawner = find_spawner(&r);
        stop(spawner);
        CHECK(pipe2(out, O_CLOEXEC) >= 0);
        spec->stdio[1] = (StdioSpec){ .kind = STDIO_FD, .fd_index = 0 };
        for (uint64_t key = 1; key <= N; key++)
                rig_spawn(&r, key, 0, spec, &out[1], 1);
        out[1] = safe_close(out[1]);
        rig_simple(&r, KEEPER_RELEASE, 1); /* harmless, and so is each of these */
        rig_simple(&r, KEEPER_REAP, 2);
        rig_simple(&r, KEEPER_FORGET, 3);
        rig_simple(&r, KEEPER_HELLO, 0);
        rig_expect(&r, KEEPER_WELCOME, 0, &m);
        CHECK_EQ(m.welcome.n_entries, N);
        for (uint64_t key = 1; key <= N; key++) {
                rig_expect(&r, KEEPER_ENTRY, key, &m);
                CHECK_EQ(m.entry.child_state, KEEPER_CHILD_NONE);
                CHECK_EQ(m.entry.pid, 0);
                CHECK_EQ(m.n_fds, 0);
        }
        rig_expect(&r, KEEPER_TABLE_END, 0, &m);
        CHECK(kill(spawner, SIGKILL) >= 0);
        for (uint64_t key = 1; key <= N; key++)
                expect_lost(&r, key);
        CHECK_EQ(read(out[0], &byte, 1), 0);
        CHECK_EQ(rig_hello(&r, NULL, 0), 0);
        rig_spawn_sh(&r, N + 1, 0, "exit 0");
        expect_run(&r, N + 1);
        safe_close(out[0]);
        rig_down(&r);
}

/* What it has answered before it was killed is there, though the keeper has not read it by then. */
static void test_killed_after_answers(void)
{
        enum { N = 10 };
        Rig r = { 0 };
        Reply m;
        pid_t spawner, pids[N];
        char text[16];
        int out[2];
        SpawnSpec *spec = rig_sh("echo; exec sleep 1000");

        rig_up(&r, service);
        spawner = find_spawner(&r);
        stop(spawner);
        CHECK(pipe2(out, O_CLOEXEC) >= 0);
        spec->stdio[1] = (StdioSpec){ .kind = STDIO_FD, .fd_index = 0 };
        for (uint64_t key = 1; key <= N; key++)
                rig_spawn(&r, key, 0, spec, &out[1], 1);
        rig_barrier(&r);
        stop(r.keeper);
        CHECK(kill(spawner, SIGCONT) >= 0);
        for (size_t n = 0; n < N;) { /* all run: each was answered but the last, perhaps */
                ssize_t k = read(out[0], text, N - n);

                CHECK(k > 0);
                n += (size_t) k;
        }
        wait_state(spawner, 'S'); /* and that as well */
        CHECK(kill(spawner, SIGKILL) >= 0);
        CHECK(kill(r.keeper, SIGCONT) >= 0);
        for (uint64_t key = 1; key <= N; key++)
                pids[key - 1] = rig_expect_spawned(&r, key, NULL);
        for (size_t i = 0; i < N; i++) {
                rig_receive(&r, &m);
                CHECK_EQ(m.header.type, KEEPER_SETUP);
                CHECK_EQ(m.setup.error, 0);
        }
        for (uint64_t key = 1; key <= N; key++) {
                CHECK(kill(pids[key - 1], SIGKILL) >= 0);
                rig_expect_exited(&r, key, CLD_KILLED, SIGKILL);
        }
        close_many(out, 2);
        rig_down(&r);
}

/* One that does not answer is killed after a while; until then no more than a certain number are on their way. */
static void test_hangs(void)
{
        enum { N = 100, ON_THEIR_WAY = 64 };
        Rig r = { 0 };
        pid_t spawner, supervisor;
        uint64_t begin;

        rig_up(&r, service);
        spawner = find_spawner(&r);
        supervisor = r.supervisor;
        stop(spawner);
        begin = test_now_usec();
        for (uint64_t key = 1; key <= N; key++)
                rig_spawn(&r, key, 0, rig_sh("exit 0"), NULL, 0);
        for (uint64_t key = 1; key <= ON_THEIR_WAY; key++)
                expect_lost(&r, key);
        CHECK(test_now_usec() - begin > 2 * USEC_PER_SEC && test_now_usec() - begin < 10 * USEC_PER_SEC);
        rig_beat(&r);
        for (uint64_t left = N - ON_THEIR_WAY; left > 0;) {
                Reply m;

                rig_receive(&r, &m);
                reply_done(&m);
                CHECK(m.header.key > ON_THEIR_WAY);
                CHECK(m.header.type != KEEPER_SPAWNED || m.spawned.error == 0);
                left -= m.header.type == KEEPER_EXITED;
        }
        CHECK_EQ(process_state(supervisor), 'S'); /* its silence meanwhile was not its own */
        rig_down(&r);
}

/* A successor waits for what the dead one had asked for, but not for ever. */
static void test_hangs_for_successor(void)
{
        Rig r = { 0 };
        pid_t spawner;

        rig_up(&r, service);
        spawner = find_spawner(&r);
        stop(spawner);
        for (uint64_t key = 1; key <= 70; key++)
                rig_spawn_sh(&r, key, KEEPER_SPAWN_HELD, "exit 0");
        rig_store(&r, 100, "x", 1, NULL, 0);
        CHECK(kill(r.supervisor, SIGKILL) >= 0);
        rig_accept(&r);
        {
                static Reply entries[16];
                size_t n = rig_hello(&r, entries, ELEMENTSOF(entries));

                CHECK_EQ(n, 7); /* the last six were cloned by the next spawner, and the record */
                for (size_t i = 0; i < 6; i++) {
                        CHECK_EQ(entries[i].header.key, 65 + i);
                        CHECK_EQ(entries[i].entry.child_state, KEEPER_CHILD_HELD);
                        CHECK_EQ(entries[i].n_fds, 1);
                        reply_done(&entries[i]);
                }
        }
        rig_beat(&r);
        rig_simple(&r, KEEPER_RELEASE, 65);
        rig_expect_setup(&r, 65, SPAWN_STEP_EXEC, 0);
        rig_expect_exited(&r, 65, CLD_EXITED, 0);
        rig_down(&r);
}

#define LATE_USEC (400 * USEC_PER_MSEC) /* longer than the keeper puts off a search for orphans */

/* For a child that is to be held: it ends at once with 7, and the answer comes late. */
static void answer_late(const SpawnerRequest *request, int setup_fd, pid_t pid)
{
        SetupMessage m = { .step = SPAWN_STEP_HOLD };
        SpawnerAnswer answer = { .key = request->key, .pid = pid };

        if (pid == 0) {
                CHECK_EQ(write(setup_fd, &m, sizeof(m)), (ssize_t) sizeof(m));
                _exit(7);
        }
        close(setup_fd);
        (void) usleep(LATE_USEC); /* that nothing happens is no event */
        CHECK_EQ(write(SPAWNER_FD, &answer, sizeof(answer)), (ssize_t) sizeof(answer));
}

/* For another: it is past its last step, and there will be no answer. */
static _Noreturn void never_answer(int setup_fd, int out, int said, pid_t pid)
{
        SetupMessage m = { .step = SPAWN_STEP_EXEC, .pid = getpid() };
        char byte;

        if (pid == 0) {
                CHECK_EQ(write(setup_fd, &m, sizeof(m)), (ssize_t) sizeof(m));
                CHECK_EQ(write(out, &m.pid, sizeof(m.pid)), (ssize_t) sizeof(m.pid));
                CHECK_EQ(write(said, "", 1), 1);
                for (;;)
                        (void) pause();
        }
        (void) read(said, &byte, 1);
        _exit(0);
}

static _Noreturn void bad_spawner(void)
{
        struct clone_args args = { .flags = CLONE_PARENT };

        for (;;) {
                SpawnerRequest request;
                int fds[SCM_FDS_MAX], pair[2];
                size_t n_fds = ELEMENTSOF(fds);
                ssize_t n;
                pid_t pid;

                wait_readable(SPAWNER_FD);
                n = recv_fds(SPAWNER_FD, &request, sizeof(request), fds, &n_fds, 0);
                if (n <= 0)
                        _exit(0);
                CHECK(n == sizeof(request) && n_fds >= 2);
                CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) >= 0);
                pid = (pid_t) syscall(SYS_clone3, &args, sizeof(args));
                CHECK(pid >= 0);
                if (!request.held)
                        never_answer(fds[0], fds[2], pair[pid == 0], pid);
                answer_late(&request, fds[0], pid);
                close_many(fds + 1, n_fds - 1);
                close_many(pair, 2);
        }
}

/* A child that ends before the keeper was told its pid is no orphan. */
static void test_answer_late(void)
{
        Rig r = { .own_spawner = true };

        rig_up(&r, service);
        for (uint64_t key = 1; key <= 3; key++) {
                rig_spawn_sh(&r, key, KEEPER_SPAWN_HELD, "exit 0");
                rig_expect_spawned(&r, key, NULL);
                rig_expect_setup(&r, key, SPAWN_STEP_HOLD, -ECHILD);
                rig_expect_exited(&r, key, CLD_EXITED, 7);
                rig_simple(&r, KEEPER_REAP, key);
        }
        CHECK_EQ(rig_hello(&r, NULL, 0), 0);
        rig_down(&r);
}

static void test_answer_lost(void)
{
        Rig r = { .own_spawner = true };
        int out[2], pidfd;
        int32_t pid;

        rig_up(&r, service);
        CHECK(pipe2(out, O_CLOEXEC) >= 0);
        rig_spawn(&r, 1, 0, rig_sh("exit 0"), &out[1], 1);
        CHECK_EQ(read(out[0], &pid, sizeof(pid)), (ssize_t) sizeof(pid));
        pidfd = (int) syscall(SYS_pidfd_open, pid, 0);
        expect_lost(&r, 1);
        if (pidfd >= 0)
                wait_readable(pidfd);
        wait_state(pid, 0);
        safe_close(pidfd);
        close_many(out, 2);
        rig_down(&r);
}

/* Children that end as soon as they can: none is taken for an orphan, also when there are some. */
static void test_ending_at_once(void)
{
        enum { N = 500 };
        Rig r = { 0 };
        int wrong = memfd_new_sealed("x", "nonsense", 8);
        uint8_t told[N + 1] = { 0 };

        CHECK(wrong >= 0);
        rig_up(&r, service);
        for (uint64_t key = 1; key <= N; key++)
                if (key % 10)
                        rig_spawn_fd(&r, key, 0, wrong, NULL, 0);
                else
                        rig_spawn(&r, key, 0, rig_sh("true & true & exit 0"), NULL, 0);
        for (size_t left = N; left > 0;) {
                Reply m;
                uint64_t key;

                rig_receive(&r, &m);
                reply_done(&m);
                key = m.header.key;
                CHECK(key >= 1 && key <= N);
                CHECK_EQ(m.header.type, KEEPER_SPAWNED + told[key]++);
                if (m.header.type == KEEPER_SPAWNED) {
                        CHECK_EQ(m.spawned.error, 0);
                } else if (m.header.type == KEEPER_SETUP) {
                        CHECK_EQ(m.setup.error, key % 10 ? -EBADMSG : 0);
                } else {
                        CHECK_EQ(m.exited.exit.code, CLD_EXITED);
                        CHECK_EQ(m.exited.exit.status, key % 10 ? 255 : 0);
                        CHECK_EQ(process_state(m.exited.pid), 'Z');
                        rig_simple(&r, KEEPER_REAP, key);
                        left--;
                }
                if (key % 50 == 0)
                        rig_beat(&r);
        }
        safe_close(wrong);
        rig_down(&r);
}

/* What a child inherits is the keeper's, not what a daemon's helper would have. */
static void test_stdio(void)
{
        Rig r = { 0 };
        SpawnSpec *spec;
        char text[256] = "", expected[256];
        struct stat in, out;
        int pair[2][2], stdio[2] = { dup(0), dup(1) };

        CHECK(pipe2(pair[0], O_CLOEXEC) >= 0 && pipe2(pair[1], O_CLOEXEC) >= 0);
        CHECK(fstat(pair[0][0], &in) >= 0 && fstat(pair[1][1], &out) >= 0);
        CHECK(dup2(pair[0][0], 0) >= 0 && dup2(pair[1][1], 1) >= 0);
        rig_up(&r, service);
        CHECK(dup2(stdio[0], 0) >= 0 && dup2(stdio[1], 1) >= 0);
        spec = rig_sh("stat -L -c %i /proc/self/fd/0 /proc/self/fd/1");
        rig_spawn(&r, 1, 0, spec, NULL, 0);
        expect_run(&r, 1);
        CHECK(read(pair[1][0], text, sizeof(text) - 1) > 0);
        (void) snprintf(expected, sizeof(expected), "%ju\n%ju\n", (uintmax_t) in.st_ino,
                        (uintmax_t) out.st_ino);
        CHECK_STR(text, expected);
        close_many(pair[0], 2);
        close_many(pair[1], 2);
        close_many(stdio, 2);
        rig_down(&r);
}

/* Nothing of the keeper's reaches it, and it ends with the keeper. */
static void test_spawner_itself(void)
{
        Rig r = { 0 };
        char path[64];
        pid_t spawner;
        int n = 0, status;

        rig_up(&r, service);
        rig_spawn_sh(&r, 1, 0, "exec sleep 1000");
        rig_expect_spawned(&r, 1, NULL);
        rig_expect_setup(&r, 1, SPAWN_STEP_EXEC, 0);
        spawner = find_spawner(&r);
        wait_state(spawner, 'S');
        for (int fd = 0; fd < 256; fd++) {
                (void) snprintf(path, sizeof(path), "/proc/%d/fd/%d", spawner, fd);
                n += access(path, F_OK) >= 0 || readlink(path, (char[8]){ 0 }, 8) >= 0;
        }
        CHECK_EQ(n, 4);               /* stdio and its socket */
        for (int i = 0; i < 2; i++) { /* a stop is for the keeper to decide */
                CHECK(kill(spawner, i ? SIGTERM : SIGINT) >= 0);
                rig_spawn_sh(&r, 2, 0, "exit 0");
                expect_run(&r, 2);
        }
        CHECK(kill(r.keeper, SIGKILL) >= 0);
        status = rig_wait_keeper(&r);
        CHECK(WIFSIGNALED(status));
        CHECK_EQ(waitpid(spawner, &status, 0), spawner);
        rig_supervisor_exit(&r, 0);
        while (waitpid(-1, &status, WNOHANG) >= 0 || errno != ECHILD) {
                pid_t left = 0;
                char line[32] = "";
                int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);

                if (fd >= 0 && read(fd, line, sizeof(line) - 1) > 0)
                        left = atoi(line);
                safe_close(fd);
                if (left > 0 && left != r.supervisor)
                        (void) kill(left, SIGKILL);
        }
        rig_expect_nothing_left(&r);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = {
                { "killed_between", test_killed_between },
                { "killed_with_spawns", test_killed_with_spawns },
                { "killed_after_answers", test_killed_after_answers },
                { "hangs", test_hangs },
                { "hangs_for_successor", test_hangs_for_successor },
                { "answer_late", test_answer_late },
                { "answer_lost", test_answer_lost },
                { "ending_at_once", test_ending_at_once },
                { "stdio", test_stdio },
                { "spawner_itself", test_spawner_itself },
        };
        const char *base = strrchr(argv[0], '/');

        if (streq(base ? base + 1 : argv[0], "tractor-spawner"))
                bad_spawner();
        rig_init(argc, argv);
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
