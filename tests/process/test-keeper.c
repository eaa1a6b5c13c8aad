/* SPDX-License-Identifier: Apache-2.0 */

/* The keeper as the parent: what it spawns, tells, reaps and adopts. */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keeper-rig.h"

static char *const service[] = { (char *) "--system", NULL };
static char *const embedded[] = { (char *) "--embedded", NULL };

static void test_spawn_exit(void)
{
        Rig r = { 0 };
        Reply m;
        pid_t pid;

        rig_up(&r, service);
        CHECK_STR(r.supervisor_argv, " --keeper-fd=3 --listen-fds=0 --instance=sys");
        rig_spawn_sh(&r, 1, 0, "exit 7");
        pid = rig_expect_spawned(&r, 1, NULL);
        rig_expect_setup(&r, 1, SPAWN_STEP_EXEC, 0);
        rig_expect(&r, KEEPER_EXITED, 1, &m);
        CHECK_EQ(m.exited.pid, pid);
        CHECK_EQ(m.exited.exit.code, CLD_EXITED);
        CHECK_EQ(m.exited.exit.status, 7);
        CHECK(m.exited.exit.maxrss_kib > 100);
        CHECK(m.exited.exit.time_usec <= test_now_usec() &&
                        m.exited.exit.time_usec + 60 * USEC_PER_SEC > test_now_usec());
        CHECK_EQ(process_state(pid), 'Z');
        rig_simple(&r, KEEPER_REAP, 1);
        rig_barrier(&r);
        CHECK_EQ(process_state(pid), 0);
        rig_down(&r);
}

static void test_killed_child(void)
{
        Rig r = { 0 };
        int pidfd;
        pid_t pid;

        rig_up(&r, service);
        rig_spawn_sh(&r, 1, 0, "while :; do read x; done < /dev/zero");
        pid = rig_expect_spawned(&r, 1, &pidfd);
        rig_expect_setup(&r, 1, SPAWN_STEP_EXEC, 0);
        CHECK(syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) >= 0);
        rig_expect_exited(&r, 1, CLD_KILLED, SIGKILL);
        CHECK_EQ(process_state(pid), 'Z');
        /* The zombie stays as long as nobody acknowledges it, also when others come and go. */
        rig_spawn_sh(&r, 2, 0, "exit 0");
        rig_expect_spawned(&r, 2, NULL);
        rig_expect_setup(&r, 2, SPAWN_STEP_EXEC, 0);
        rig_expect_exited(&r, 2, CLD_EXITED, 0);
        rig_simple(&r, KEEPER_REAP, 2);
        rig_barrier(&r);
        CHECK_EQ(process_state(pid), 'Z');
        rig_simple(&r, KEEPER_REAP, 1);
        rig_barrier(&r);
        CHECK_EQ(process_state(pid), 0);
        safe_close(pidfd);
        rig_down(&r);
}

static void test_usage(void)
{
        Rig r = { 0 };
        Reply m;

        rig_up(&r, service);
        rig_spawn_sh(&r, 1, 0, "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done");
        rig_expect_spawned(&r, 1, NULL);
        rig_expect_setup(&r, 1, SPAWN_STEP_EXEC, 0);
        rig_expect(&r, KEEPER_EXITED, 1, &m);
        CHECK(m.exited.exit.utime_usec > 5000);
        rig_down(&r);
}

static void read_link(pid_t pid, const char *name, char *buf, size_t size)
{
        char path[64];
        ssize_t n;

        (void) snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
        n = readlink(path, buf, size - 1);
        CHECK(n > 0);
        buf[n] = 0;
}

static void test_held(void)
{
        Rig r = { 0 };
        Reply m;
        char theirs[256], ours[PATH_MAX];
        pid_t pid;

        rig_up(&r, service);
        rig_spawn_sh(&r, 1, KEEPER_SPAWN_HELD, "exit 3");
        pid = rig_expect_spawned(&r, 1, NULL);
        rig_simple(&r, KEEPER_HELLO, 0);
        rig_expect(&r, KEEPER_WELCOME, 0, &m);
        rig_expect(&r, KEEPER_ENTRY, 1, &m);
        CHECK_EQ(m.entry.child_state, KEEPER_CHILD_HELD);
        reply_done(&m);
        rig_expect(&r, KEEPER_TABLE_END, 0, &m);
        read_link(pid, "exe", theirs, sizeof(theirs));
        CHECK(realpath(SPAWNER, ours));
        CHECK_STR(theirs, ours);
        rig_simple(&r, KEEPER_RELEASE, 1);
        rig_simple(&r, KEEPER_RELEASE, 1); /* twice is harmless */
        rig_expect_setup(&r, 1, SPAWN_STEP_EXEC, 0);
        rig_expect_exited(&r, 1, CLD_EXITED, 3);
        /* One that dies held says where. */
        rig_spawn_sh(&r, 2, KEEPER_SPAWN_HELD, "exit 3");
        pid = rig_expect_spawned(&r, 2, NULL);
        CHECK(kill(pid, SIGKILL) >= 0);
        rig_expect(&r, KEEPER_SETUP, 2, &m);
        CHECK_EQ(m.setup.error, -ECHILD);
        CHECK(m.setup.step <= SPAWN_STEP_HOLD);
        rig_expect_exited(&r, 2, CLD_KILLED, SIGKILL);
        rig_down(&r);
}

/* The keeper is killed: held children end by themselves, others by PDEATHSIG, and only what is neither stays. */
static void test_keeper_killed(void)
{
        Rig r = { 0 };
        int held, mortal, immortal, status, n = 0;
        SpawnSpec *spec;

        rig_up(&r, service);
        rig_spawn_sh(&r, 1, KEEPER_SPAWN_HELD, "exit 3");
        rig_expect_spawned(&r, 1, &held);
        spec = rig_sh("exec sleep 1000");
        spec->pdeathsig = SIGKILL;
        rig_spawn(&r, 2, 0, spec, NULL, 0);
        rig_expect_spawned(&r, 2, &mortal);
        rig_expect_setup(&r, 2, SPAWN_STEP_EXEC, 0);
        spec->pdeathsig = 0;
        rig_spawn(&r, 3, 0, spec, NULL, 0);
        rig_expect_spawned(&r, 3, &immortal);
        rig_expect_setup(&r, 3, SPAWN_STEP_EXEC, 0);
        CHECK(kill(r.keeper, SIGKILL) >= 0);
        wait_readable(held);
        wait_readable(mortal);
        status = rig_wait_keeper(&r);
        CHECK(WIFSIGNALED(status));
        CHECK(syscall(SYS_pidfd_send_signal, immortal, SIGKILL, NULL, 0) >= 0);
        wait_readable(immortal);
        rig_supervisor_exit(&r, 0);
        /* Three children, the supervisor and the spawner are ours now, and what looks for leaks at the end of an
         * instrumented spawner that was killed meanwhile. */
        while (waitpid(-1, &status, 0) > 0)
                n++;
        CHECK(n >= 5);
        safe_close(held);
        safe_close(mortal);
        safe_close(immortal);
        rig_expect_nothing_left(&r);
}

static void read_line(int fd, char *text, size_t size)
{
        ssize_t n = read(fd, text, size - 1);

        CHECK(n > 0);
        text[n] = 0;
}

/* While the keeper is stopped, so that it has one signal of the two, which names the first. */
static void kill_both(pid_t keeper, const pid_t orphans[2])
{
        CHECK(kill(keeper, SIGSTOP) >= 0);
        while (process_state(keeper) != 'T')
                ;
        for (int i = 0; i < 2; i++) {
                CHECK(kill(orphans[i], SIGKILL) >= 0);
                while (process_state(orphans[i]) != 'Z')
                        ;
        }
        CHECK(kill(keeper, SIGCONT) >= 0);
}

/* Adopted orphans are reaped: whom SIGCHLD names at once, though the zombie of a child hides him from waitid(P_ALL), and
 * whose signal merged into that when nothing hides him any more. */
static void test_orphans(void)
{
        Rig r = { 0 };
        int out[2];
        SpawnSpec *spec;
        char text[32];
        pid_t orphans[2], zombie;

        rig_up(&r, service);
        for (int hidden = 0; hidden < 2; hidden++) {
                uint64_t key = (uint64_t) hidden * 10 + 1;

                CHECK(pipe2(out, O_CLOEXEC) >= 0);
                zombie = 0;
                if (hidden) {
                        rig_spawn_sh(&r, key, 0, "exit 0");
                        zombie = rig_expect_spawned(&r, key, NULL);
                        rig_expect_setup(&r, key, SPAWN_STEP_EXEC, 0);
                        rig_expect_exited(&r, key, CLD_EXITED, 0);
                }
                spec = rig_sh("sleep 1000 & a=$!; sleep 1000 & echo $a $!");
                spec->stdio[1] = (StdioSpec){ .kind = STDIO_FD, .fd_index = 0 };
                rig_spawn(&r, key + 1, 0, spec, &out[1], 1);
                rig_expect_spawned(&r, key + 1, NULL);
                rig_expect_setup(&r, key + 1, SPAWN_STEP_EXEC, 0);
                rig_expect_exited(&r, key + 1, CLD_EXITED, 0);
                rig_simple(&r, KEEPER_REAP, key + 1);
                rig_barrier(&r);
                read_line(out[0], text, sizeof(text));
                CHECK_EQ(sscanf(text, "%d %d", &orphans[0], &orphans[1]), 2);
                kill_both(r.keeper, orphans);
                /* Nothing tells of a reap; bounded by the test's own time-out. */
                while (process_state(orphans[0]))
                        rig_barrier(&r);
                if (hidden) {
                        CHECK_EQ(process_state(orphans[1]), 'Z');
                        CHECK_EQ(process_state(zombie), 'Z');
                        rig_simple(&r, KEEPER_REAP, key);
                }
                while (process_state(orphans[1]))
                        rig_barrier(&r);
                close_many(out, 2);
        }
        rig_down(&r);
}

typedef struct Seen {
        bool spawned, setup, exited;
} Seen;

static void test_many(void)
{
        enum { N = 500 };
        static Seen seen[N + 1];
        Rig r = { 0 };
        SpawnSpec *spec = rig_sh("exit 5");

        memset(seen, 0, sizeof(seen));
        rig_up(&r, service);
        /* None of the answers is read before all are asked for. */
        for (uint64_t key = 1; key <= N; key++)
                rig_spawn(&r, key, 0, spec, NULL, 0);
        for (size_t left = N; left > 0;) {
                Reply m;
                Seen *s;

                rig_receive(&r, &m);
                CHECK(m.header.key >= 1 && m.header.key <= N);
                s = &seen[m.header.key];
                switch (m.header.type) {
                case KEEPER_SPAWNED:
                        CHECK(!s->spawned && !s->setup && !s->exited);
                        CHECK_EQ(m.spawned.error, 0);
                        CHECK_EQ(m.n_fds, 1);
                        s->spawned = true;
                        rig_beat(&r); /* the first end may be seconds away where the machine is busy */
                        break;
                case KEEPER_SETUP:
                        CHECK(s->spawned && !s->setup && !s->exited);
                        CHECK_EQ(m.setup.error, 0);
                        s->setup = true;
                        break;
                case KEEPER_EXITED:
                        CHECK(s->spawned && s->setup && !s->exited);
                        CHECK_EQ(m.exited.exit.status, 5);
                        s->exited = true;
                        rig_simple(&r, KEEPER_REAP, m.header.key);
                        left--;
                        break;
                default:
                        CHECK_EQ(m.header.type, KEEPER_EXITED);
                }
                reply_done(&m);
        }
        CHECK_EQ(rig_hello(&r, NULL, 0), 0);
        rig_down(&r);
}

/* Out of descriptors: spawns are refused with the reason, and work again when there are some. */
static void test_descriptors_exhausted(void)
{
        Rig r = { .nofile = 48 };
        Reply m;
        uint64_t key = 0, refused = 0;

        rig_up(&r, service);
        while (!refused) {
                rig_spawn_sh(&r, ++key, KEEPER_SPAWN_HELD, "exit 0");
                CHECK(key < 48);
                rig_expect(&r, KEEPER_SPAWNED, key, &m);
                reply_done(&m);
                if (m.spawned.error == 0)
                        continue;
                CHECK_EQ(m.spawned.error, -EMFILE);
                CHECK_EQ(m.spawned.step, SPAWN_STEP_CLONE);
                refused = key;
        }
        CHECK(refused > 5);
        rig_simple(&r, KEEPER_RELEASE, 1);
        rig_expect_setup(&r, 1, SPAWN_STEP_EXEC, 0);
        rig_expect_exited(&r, 1, CLD_EXITED, 0);
        rig_simple(&r, KEEPER_REAP, 1);
        rig_simple(&r, KEEPER_RELEASE, 2);
        rig_expect_setup(&r, 2, SPAWN_STEP_EXEC, 0);
        rig_expect_exited(&r, 2, CLD_EXITED, 0);
        rig_simple(&r, KEEPER_REAP, 2);
        rig_spawn_sh(&r, ++key, 0, "exit 0");
        rig_expect_spawned(&r, key, NULL);
        rig_expect_setup(&r, key, SPAWN_STEP_EXEC, 0);
        rig_expect_exited(&r, key, CLD_EXITED, 0);
        rig_down(&r);
}

static void test_wrong_messages(void)
{
        Rig r = { 0 };
        static uint8_t big[KEEPER_RECORD_MAX + 8192];
        KeeperSimple s = { .header = KEEPER_HEADER(s, 99, 1) };
        KeeperSpawn spawn = { .header = KEEPER_HEADER(spawn, KEEPER_SPAWN, 5) };
        KeeperStore store = { .header = KEEPER_HEADER(store, KEEPER_STORE, 6), .record_size = 1000 };
        Reply m;

        rig_up(&r, service);
        rig_send(&r, "x", 1, NULL, 0);
        rig_send(&r, big, sizeof(KeeperHeader), NULL, 0); /* size 0 */
        rig_send(&r, big, sizeof(big), NULL, 0);
        rig_send(&r, &s, sizeof(s), NULL, 0); /* unknown type */
        s.header.size = 1000;
        rig_send(&r, &s, sizeof(s), NULL, 0); /* longer than it is */
        rig_send(&r, &store, sizeof(store), NULL, 0);
        for (KeeperMessageType t = KEEPER_RELEASE; t <= KEEPER_FORGET; t++)
                rig_simple(&r, t, 4711);
        rig_send(&r, &spawn, sizeof(spawn), NULL, 0);
        rig_expect(&r, KEEPER_SPAWNED, 5, &m);
        CHECK_EQ(m.spawned.error, -EINVAL);
        spawn.header.key = 0;
        rig_send(&r, &spawn, sizeof(spawn), NULL, 0);
        rig_expect(&r, KEEPER_SPAWNED, 0, &m);
        CHECK_EQ(m.spawned.error, -EINVAL);
        /* A key has one child; a child that runs can't be acknowledged. */
        rig_spawn_sh(&r, 7, KEEPER_SPAWN_HELD, "exit 1");
        rig_expect_spawned(&r, 7, NULL);
        rig_simple(&r, KEEPER_REAP, 7);
        rig_spawn_sh(&r, 7, 0, "exit 2");
        rig_expect(&r, KEEPER_SPAWNED, 7, &m);
        CHECK_EQ(m.spawned.error, -EEXIST);
        rig_simple(&r, KEEPER_RELEASE, 7);
        rig_expect_setup(&r, 7, SPAWN_STEP_EXEC, 0);
        rig_expect_exited(&r, 7, CLD_EXITED, 1);
        rig_down(&r);
}

/* A message longer than we know it is taken for what we know. */
static void test_later_version(void)
{
        Rig r = { 0 };
        struct {
                KeeperSpawn spawn;
                uint64_t later[4];
        } m = { .spawn.header = KEEPER_HEADER(m, KEEPER_SPAWN, 1) };
        _cleanup_close_ int fd = spawn_spec_encode(rig_sh("exit 9"));

        m.spawn.header.version = KEEPER_PROTOCOL_VERSION + 1;
        rig_up(&r, service);
        rig_send(&r, &m, sizeof(m), &fd, 1);
        rig_expect_spawned(&r, 1, NULL);
        rig_expect_setup(&r, 1, SPAWN_STEP_EXEC, 0);
        rig_expect_exited(&r, 1, CLD_EXITED, 9);
        rig_down(&r);
}

/* Whatever is left when the supervisor says that all is done ends with the keeper. */
static void test_stragglers(void)
{
        Rig r = { 0 };
        int pidfd;

        rig_up(&r, embedded);
        rig_spawn_sh(&r, 1, 0,
                        "trap '' TERM HUP; setsid sh -c 'trap \"\" TERM HUP; sleep 1000 & sleep 1000' & "
                        "echo; wait");
        rig_expect_spawned(&r, 1, &pidfd);
        rig_expect_setup(&r, 1, SPAWN_STEP_EXEC, 0);
        rig_down(&r);
        wait_readable(pidfd);
        safe_close(pidfd);
}

static const char *cgroup2_mount(void)
{
        static char mount[256];
        FILE *f = fopen("/proc/self/mountinfo", "re");
        char line[1024];

        CHECK(f);
        mount[0] = 0;
        while (fgets(line, sizeof(line), f))
                if (strstr(line, " - cgroup2 ") && sscanf(line, "%*s %*s %*s %*s %255s", mount) == 1)
                        break;
        (void) fclose(f);
        return mount[0] ? mount : NULL;
}

static void test_cgroup(void)
{
        Rig r = { 0 };
        Reply m;
        char dir[512], text[4096];
        const char *mount = cgroup2_mount();
        int out[2], dir_fd;
        ssize_t n;
        SpawnSpec *spec = rig_sh("cat /proc/self/cgroup");

        if (!mount)
                skip("no cgroup2 here");
        (void) snprintf(dir, sizeof(dir), "%s/test-keeper-%d", mount, getpid());
        if (mkdir(dir, 0755) < 0)
                skip("no cgroup may be made here");
        dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        CHECK(pipe2(out, O_CLOEXEC) >= 0);
        rig_up(&r, service);
        spec->stdio[1] = (StdioSpec){ .kind = STDIO_FD, .fd_index = 0 };
        rig_spawn(&r, 1, KEEPER_SPAWN_CGROUP, spec, (int[]){ dir_fd, out[1] }, 2);
        out[1] = safe_close(out[1]);
        rig_expect_spawned(&r, 1, NULL);
        rig_expect_setup(&r, 1, SPAWN_STEP_EXEC, 0);
        rig_expect_exited(&r, 1, CLD_EXITED, 0);
        rig_simple(&r, KEEPER_REAP, 1);
        rig_barrier(&r);
        n = read(out[0], text, sizeof(text) - 1);
        CHECK(n > 0);
        text[n] = 0;
        CHECK(strstr(text, strrchr(dir, '/')));
        safe_close(dir_fd);
        CHECK(rmdir(dir) >= 0);
        /* What is no cgroup directory is refused by name of the step. */
        rig_spawn(&r, 2, KEEPER_SPAWN_CGROUP, spec, (int[]){ out[0], out[0] }, 2);
        rig_expect(&r, KEEPER_SPAWNED, 2, &m);
        CHECK_EQ(m.spawned.error, -EBADF);
        CHECK_EQ(m.spawned.step, SPAWN_STEP_CLONE);
        safe_close(out[0]);
        rig_down(&r);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = {
                { "spawn_exit", test_spawn_exit },
                { "killed_child", test_killed_child },
                { "usage", test_usage },
                { "held", test_held },
                { "keeper_killed", test_keeper_killed },
                { "orphans", test_orphans },
                { "many", test_many },
                { "descriptors_exhausted", test_descriptors_exhausted },
                { "wrong_messages", test_wrong_messages },
                { "later_version", test_later_version },
                { "stragglers", test_stragglers },
                { "cgroup", test_cgroup },
        };

        rig_init(argc, argv);
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
