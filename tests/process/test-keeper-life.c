/* SPDX-License-Identifier: Apache-2.0 */

/* The keeper between its supervisor and its owner: successors, the table they are handed, heartbeat, stop. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "keeper-rig.h"

static char *const service[] = { (char *) "--system", NULL };
static char *const embedded[] = { (char *) "--embedded", (char *) "--instance=r123abc", NULL };

static void kill_supervisor(Rig *r)
{
        CHECK(kill(r->supervisor, SIGKILL) >= 0);
}

/* A pair of a child that exits with 42 when told, and how to tell it: close the descriptor. */
static int spawn_waiting(Rig *r, uint64_t key, pid_t *ret_pid, int *ret_pidfd)
{
        SpawnSpec *spec = rig_sh("read x; exit 42");
        int in[2];

        CHECK(pipe2(in, O_CLOEXEC) >= 0);
        spec->stdio[0] = (StdioSpec){ .kind = STDIO_FD, .fd_index = 0 };
        rig_spawn(r, key, 0, spec, &in[0], 1);
        safe_close(in[0]);
        *ret_pid = rig_expect_spawned(r, key, ret_pidfd);
        rig_expect_setup(r, key, SPAWN_STEP_EXEC, 0);
        return in[1];
}

/* kill -9 of the supervisor: the next one finds all as it was, and the exact status of what ended meanwhile. */
static void test_successor(void)
{
        Rig r = { 0 };
        Reply entries[8], m;
        int status_fd, pidfd, stays_fd, stays_pidfd, pipe_fds[2];
        pid_t ends, stays;
        size_t n;

        rig_up(&r, service);
        status_fd = spawn_waiting(&r, 10, &ends, &pidfd);
        stays_fd = spawn_waiting(&r, 11, &stays, &stays_pidfd);
        rig_spawn_sh(&r, 12, 0, "kill -SEGV $$");
        rig_expect_spawned(&r, 12, NULL);
        rig_expect_setup(&r, 12, SPAWN_STEP_EXEC, 0);
        rig_expect(&r, KEEPER_EXITED, 12, &m); /* and not acknowledged */
        CHECK(pipe2(pipe_fds, O_CLOEXEC) >= 0);
        rig_store(&r, 11, "eleven", 6, &pipe_fds[0], 1);
        rig_store(&r, 99, "intent", 6, NULL, 0);
        rig_store(&r, 98, "gone", 4, NULL, 0);
        rig_simple(&r, KEEPER_FORGET, 98);
        kill_supervisor(&r);
        rig_accept(&r);
        status_fd = safe_close(status_fd); /* nobody serves: the successor has not said HELLO */
        wait_readable(pidfd);
        rig_simple(&r, KEEPER_HELLO, 0);
        rig_expect(&r, KEEPER_WELCOME, 0, &m);
        CHECK_EQ(m.welcome.flags, KEEPER_SUCCESSOR);
        CHECK_EQ(m.welcome.n_entries, 4);
        CHECK_EQ(m.welcome.next_key, 100);
        for (n = 0; n < 4; n++)
                rig_receive(&r, &entries[n]);
        rig_expect(&r, KEEPER_TABLE_END, 0, &m);
        if (entries[0].entry.child_state == KEEPER_CHILD_RUNNING)
                rig_expect_exited(&r, 10, CLD_EXITED, 42); /* HELLO was read before the pidfd */
        else
                CHECK_EQ(entries[0].entry.exit.status, 42);
        CHECK_EQ(entries[0].header.key, 10);
        CHECK_EQ(entries[0].entry.pid, ends);
        CHECK_EQ(entries[0].n_fds, 1);
        CHECK_EQ(entries[0].entry.setup_error, 0);
        CHECK_EQ(entries[0].entry.setup_step, SPAWN_STEP_EXEC);
        CHECK_EQ(process_state(ends), 'Z');
        CHECK_EQ(entries[1].header.key, 11);
        CHECK_EQ(entries[1].entry.child_state, KEEPER_CHILD_RUNNING);
        CHECK_EQ(entries[1].entry.pid, stays);
        CHECK_EQ(entries[1].entry.record_size, 6);
        CHECK(memcmp(entries[1].bytes + sizeof(KeeperEntry), "eleven", 6) == 0);
        CHECK_EQ(entries[1].entry.n_stored_fds, 1);
        CHECK_EQ(entries[1].n_fds, 2);
        CHECK_EQ(entries[2].header.key, 12);
        CHECK_EQ(entries[2].entry.child_state, KEEPER_CHILD_EXITED);
        CHECK(entries[2].entry.exit.code == CLD_KILLED || entries[2].entry.exit.code == CLD_DUMPED);
        CHECK_EQ(entries[2].entry.exit.status, SIGSEGV);
        CHECK_EQ(entries[3].header.key, 99);
        CHECK_EQ(entries[3].entry.child_state, KEEPER_CHILD_NONE);
        CHECK_EQ(entries[3].n_fds, 0);
        /* The descriptor that came back is the one that was stored. */
        CHECK_EQ(write(pipe_fds[1], "!", 1), 1);
        wait_readable(entries[1].fds[1]);
        for (n = 0; n < 4; n++)
                reply_done(&entries[n]);
        /* And the successor goes on with it. */
        rig_beat(&r);
        rig_simple(&r, KEEPER_REAP, 10);
        rig_simple(&r, KEEPER_REAP, 12);
        stays_fd = safe_close(stays_fd);
        rig_expect_exited(&r, 11, CLD_EXITED, 42);
        rig_simple(&r, KEEPER_REAP, 11);
        CHECK_EQ(rig_hello(&r, entries, 8), 2); /* the records outlive the child */
        CHECK_EQ(entries[0].header.key, 11);
        CHECK_EQ(entries[0].entry.child_state, KEEPER_CHILD_NONE);
        CHECK_EQ(entries[0].n_fds, 1);
        reply_done(&entries[0]);
        rig_simple(&r, KEEPER_FORGET, 11);
        rig_simple(&r, KEEPER_FORGET, 99);
        CHECK_EQ(rig_hello(&r, NULL, 0), 0);
        safe_close(pidfd);
        safe_close(stays_pidfd);
        close_many(pipe_fds, 2);
        rig_down(&r);
}

/* What was sent before the SIGKILL is acted on, though the keeper may not have read any of it by then. */
static void test_drained(void)
{
        Rig r = { 0 };
        static Reply entries[64];
        size_t n, held = 0;

        rig_up(&r, service);
        CHECK(kill(r.keeper, SIGSTOP) >= 0);
        for (uint64_t key = 1; key <= 40; key++)
                rig_store(&r, key, "x", 1, NULL, 0);
        rig_spawn_sh(&r, 41, KEEPER_SPAWN_HELD, "exit 0");
        kill_supervisor(&r);
        CHECK(kill(r.keeper, SIGCONT) >= 0);
        rig_accept(&r);
        n = rig_hello(&r, entries, ELEMENTSOF(entries));
        CHECK_EQ(n, 41);
        for (size_t i = 0; i < n; i++) {
                held += entries[i].entry.child_state == KEEPER_CHILD_HELD;
                reply_done(&entries[i]);
        }
        CHECK_EQ(held, 1);
        rig_beat(&r);
        rig_simple(&r, KEEPER_RELEASE, 41);
        rig_expect_setup(&r, 41, SPAWN_STEP_EXEC, 0);
        rig_expect_exited(&r, 41, CLD_EXITED, 0);
        rig_down(&r);
}

/* The same with the socket really closed while something was unread on the other side, which the kernel tells as an
 * error before it gives what is still to be read. */
static void test_drained_after_reset(void)
{
        Rig r = { 0 };
        static Reply entries[64];

        rig_up(&r, service);
        CHECK_EQ(rig_hello(&r, NULL, 0), 0);
        CHECK(kill(r.keeper, SIGSTOP) >= 0);
        rig_simple(&r, KEEPER_HELLO, 0);
        CHECK(kill(r.keeper, SIGCONT) >= 0);
        wait_readable(r.fd); /* WELCOME stays unread */
        CHECK(kill(r.keeper, SIGSTOP) >= 0);
        for (uint64_t key = 1; key <= 40; key++)
                rig_store(&r, key, "x", 1, NULL, 0);
        r.fd = safe_close(r.fd);
        kill_supervisor(&r);
        CHECK(kill(r.keeper, SIGCONT) >= 0);
        rig_accept(&r);
        CHECK_EQ(rig_hello(&r, entries, ELEMENTSOF(entries)), 40);
        rig_down(&r);
}

/* A table far larger than the socket's buffer, and a reader that takes its time. */
static void test_large_table(void)
{
        enum { N = 64 };
        Rig r = { 0 };
        static uint8_t record[KEEPER_RECORD_MAX], longer[KEEPER_RECORD_MAX + 1];
        Reply m;

        rig_up(&r, service);
        for (uint64_t key = 1; key <= N; key++) {
                memset(record, (int) key, sizeof(record));
                rig_store(&r, key, record, sizeof(record), NULL, 0);
        }
        rig_spawn_sh(&r, N + 1, 0, "exit 6");
        rig_expect_spawned(&r, N + 1, NULL);
        rig_expect_setup(&r, N + 1, SPAWN_STEP_EXEC, 0);
        rig_expect_exited(&r, N + 1, CLD_EXITED, 6);
        rig_simple(&r, KEEPER_HELLO, 0);
        rig_spawn_sh(&r, N + 2, 0, "exit 7"); /* its messages queue behind the table */
        rig_expect(&r, KEEPER_WELCOME, 0, &m);
        CHECK_EQ(m.welcome.flags, KEEPER_SUCCESSOR);
        for (uint64_t key = 1; key <= N + 1; key++) {
                rig_expect(&r, KEEPER_ENTRY, key, &m);
                memset(record, (int) key, sizeof(record));
                if (key <= N)
                        CHECK(m.entry.record_size == sizeof(record) &&
                                        memcmp(m.bytes + sizeof(KeeperEntry), record, sizeof(record)) == 0);
                else
                        CHECK_EQ(m.entry.exit.status, 6);
                reply_done(&m);
        }
        rig_expect(&r, KEEPER_TABLE_END, 0, &m);
        rig_expect_spawned(&r, N + 2, NULL);
        rig_expect_setup(&r, N + 2, SPAWN_STEP_EXEC, 0);
        rig_expect_exited(&r, N + 2, CLD_EXITED, 7);
        /* A record too long is refused, and so are more descriptors than a record may have. */
        rig_store(&r, 1000, longer, sizeof(longer), NULL, 0);
        rig_store(&r, 1001, record, 1, (int[17]){ 0 }, 17);
        rig_simple(&r, KEEPER_FORGET, 1000);
        for (uint64_t key = 1; key <= N; key++)
                rig_simple(&r, KEEPER_FORGET, key);
        rig_simple(&r, KEEPER_REAP, N + 1);
        rig_simple(&r, KEEPER_REAP, N + 2);
        CHECK_EQ(rig_hello(&r, NULL, 0), 0);
        rig_down(&r);
}

/* Only one that ends before it serves makes the next one wait, each longer than the last. */
static void test_backoff(void)
{
        Rig r = { 0 };
        uint64_t before = test_now_usec(), served, next;

        CHECK(setenv("TRACTOR_TEST_DIES", "1", 1) >= 0);
        rig_start(&r, service);
        for (size_t i = 0; i < 4;
                        i++) { /* 100, 200, 400 ms between them; how late each is seen says nothing */
                rig_accept(&r);
                CHECK(test_now_usec() - before >= ((UINT64_C(100) << i) - 100) * USEC_PER_MSEC);
        }
        CHECK(kill(r.keeper, SIGTERM) >= 0); /* and stopping, it makes no further attempt */
        CHECK_EQ(WEXITSTATUS(rig_wait_keeper(&r)), 1);
        rig_expect_nothing_left(&r);
        CHECK(unsetenv("TRACTOR_TEST_DIES") >= 0);

        rig_up(&r, service);
        rig_barrier(&r);
        for (int i = 0; i < 8; i++) { /* backoff would have come to seconds by now */
                served = test_now_usec();
                kill_supervisor(&r);
                rig_accept(&r);
                next = test_now_usec();
                CHECK_EQ(rig_hello(&r, NULL, 0), 0);
                rig_beat(&r);
                rig_barrier(&r);
        }
        CHECK(next - served < 5 * USEC_PER_SEC);
        rig_supervisor_exit(&r, 1); /* in the service an exit code other than 0 is a reason to start again */
        rig_accept(&r);
        rig_down(&r);
}

static void test_heartbeat(void)
{
        Rig r = { 0 };
        uint64_t start;
        pid_t first;
        int pidfd;

        rig_up(&r, service);
        start = test_now_usec();
        first = r.supervisor;
        pidfd = (int) syscall(SYS_pidfd_open, first, 0);
        wait_readable(pidfd);
        safe_close(pidfd);
        rig_accept(&r);
        CHECK(r.supervisor != first);
        CHECK(test_now_usec() - start >= KEEPER_BEAT_LIMIT_USEC - 200 * USEC_PER_MSEC);
        rig_down(&r);
}

/* An owner in a process of its own, so that it can be killed. It holds the socket and waits. */
static pid_t start_owner(Rig *r)
{
        int up[2];
        pid_t owner;
        Rig theirs = { 0 };

        CHECK(pipe2(up, O_CLOEXEC) >= 0);
        owner = fork();
        CHECK(owner >= 0);
        if (owner == 0) {
                rig_start(&theirs, embedded);
                CHECK_EQ(write(up[1], &theirs, sizeof(theirs)), (ssize_t) sizeof(theirs));
                for (;;)
                        (void) pause();
        }
        CHECK_EQ(read(up[0], r, sizeof(*r)), (ssize_t) sizeof(*r));
        close_many(up, 2);
        r->owner_fd = -EBADF;
        return owner;
}

static void test_owner_killed(void)
{
        Rig r;
        pid_t owner = start_owner(&r), grandchild;
        char text[32] = "";
        int out[2], listener = -EBADF, pidfd;
        SpawnSpec *spec;

        /* The listener belongs to the owner; a copy of it serves us. */
        pidfd = (int) syscall(SYS_pidfd_open, owner, 0);
        listener = (int) syscall(SYS_pidfd_getfd, pidfd, r.control_listener, 0);
        CHECK(listener >= 0);
        r.control_listener = listener;
        rig_accept(&r);
        CHECK(strstr(r.supervisor_argv, " --embedded --owner-pid="));
        CHECK_EQ(atoi(strstr(r.supervisor_argv, "--owner-pid=") + strlen("--owner-pid=")), owner);
        CHECK_EQ(rig_hello(&r, NULL, 0), 0);
        rig_beat(&r);
        CHECK(pipe2(out, O_CLOEXEC) >= 0);
        spec = rig_sh("trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM HUP; echo $$; sleep 1000; :' & "
                      "wait; sleep 1000");
        spec->stdio[1] = (StdioSpec){ .kind = STDIO_FD, .fd_index = 0 };
        rig_spawn(&r, 1, 0, spec, &out[1], 1);
        rig_expect_spawned(&r, 1, NULL);
        rig_expect_setup(&r, 1, SPAWN_STEP_EXEC, 0);
        wait_readable(out[0]);
        CHECK(read(out[0], text, sizeof(text) - 1) > 0);
        grandchild = (pid_t) atoi(text);
        CHECK(process_state(grandchild) != 0);
        CHECK(kill(owner, SIGKILL) >= 0);
        CHECK_EQ(waitpid(owner, NULL, 0), owner);
        CHECK_EQ(rig_supervisor_signalled(&r), SIGHUP);
        /* This supervisor does nothing about it: after three seconds the keeper ends all by itself. */
        CHECK_EQ(WEXITSTATUS(rig_wait_keeper(&r)), 1);
        CHECK_EQ(process_state(grandchild), 0);
        safe_close(pidfd);
        close_many(out, 2);
        rig_expect_nothing_left(&r);
}

static void test_owner_closes(void)
{
        Rig r = { 0 };

        rig_up(&r, embedded);
        CHECK(strstr(r.supervisor_argv, " --instance=r123abc --embedded --owner-pid="));
        rig_barrier(&r);
        r.owner_fd = safe_close(r.owner_fd);
        CHECK_EQ(rig_supervisor_signalled(&r), SIGHUP);
        rig_down(&r);

        /* One that starts is told when it serves. */
        rig_start(&r, embedded);
        rig_accept(&r);
        r.owner_fd = safe_close(r.owner_fd);
        CHECK_EQ(rig_hello(&r, NULL, 0), 0);
        rig_barrier(&r);
        rig_beat(&r);
        CHECK_EQ(rig_supervisor_signalled(&r), SIGHUP);
        rig_down(&r);

        /* One that does not come so far has no other after it. */
        rig_start(&r, embedded);
        rig_accept(&r);
        r.owner_fd = safe_close(r.owner_fd);
        CHECK_EQ(rig_hello(&r, NULL, 0), 0);
        rig_barrier(&r);
        rig_supervisor_exit(&r, 1);
        CHECK_EQ(WEXITSTATUS(rig_wait_keeper(&r)), 1);
        rig_expect_nothing_left(&r);
}

/* What the dead one left outside of the keeper's reach is its successor's to remove. */
static void test_owner_and_supervisor_end(void)
{
        Rig r = { 0 };
        pid_t first;

        rig_up(&r, embedded);
        rig_barrier(&r);
        first = r.supervisor;
        CHECK(kill(r.keeper, SIGSTOP) >= 0);
        CHECK(kill(first, SIGKILL) >= 0);
        r.owner_fd = safe_close(r.owner_fd);
        CHECK(kill(r.keeper, SIGCONT) >= 0);
        rig_accept(&r);
        CHECK(r.supervisor != first);
        CHECK_EQ(rig_hello(&r, NULL, 0), 0);
        rig_beat(&r);
        CHECK_EQ(rig_supervisor_signalled(&r), SIGHUP);
        rig_down(&r);
}

static void test_exit_codes(void)
{
        Rig r = { 0 };

        rig_up(&r, embedded);
        rig_spawn_sh(&r, 1, 0, "exec sleep 1000");
        rig_expect_spawned(&r, 1, NULL);
        rig_expect_setup(&r, 1, SPAWN_STEP_EXEC, 0);
        rig_supervisor_exit(&r, 3);
        CHECK_EQ(WEXITSTATUS(rig_wait_keeper(&r)), 3);
        rig_expect_nothing_left(&r);

        rig_up(&r, embedded);
        rig_barrier(&r);
        kill_supervisor(&r); /* a crash has a successor here as well */
        rig_accept(&r);
        CHECK_EQ(rig_hello(&r, NULL, 0), 0);
        rig_beat(&r);
        rig_barrier(&r);
        rig_supervisor_exit(&r, KEEPER_EXIT_SUCCESSOR);
        rig_accept(&r);
        rig_down(&r);
}

static int notify_socket(struct sockaddr_un *address)
{
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
        (void) snprintf(address->sun_path, sizeof(address->sun_path), "/tmp/test-keeper-notify-%d",
                        getpid());
        CHECK(bind(fd, (const struct sockaddr *) address, sizeof(*address)) >= 0);
        return fd;
}

static void expect_datagram(int fd, const char *text)
{
        char buf[256];
        ssize_t n;

        wait_readable(fd);
        n = recv(fd, buf, sizeof(buf) - 1, 0);
        CHECK(n >= 0);
        buf[n] = 0;
        CHECK_STR(buf, text);
}

static void test_stop(void)
{
        Rig r = { 0 };
        struct sockaddr_un address;
        _cleanup_close_ int fd = notify_socket(&address);
        char byte;

        r.notify_socket = address.sun_path;
        rig_start(&r, service);
        rig_accept(&r);
        CHECK_EQ(rig_hello(&r, NULL, 0), 0);
        CHECK_EQ(recv(fd, &byte, 1, MSG_DONTWAIT), -1); /* not ready before it serves */
        rig_beat(&r);
        expect_datagram(fd, "READY=1");
        kill_supervisor(&r);
        rig_accept(&r);
        CHECK(kill(r.keeper, SIGTERM) >= 0);
        expect_datagram(fd, "STOPPING=1");
        CHECK_EQ(rig_hello(&r, NULL, 0), 0);
        CHECK_EQ(recv(r.control, &byte, 1, MSG_DONTWAIT),
                        -1); /* nor is one that does not serve told to stop */
        rig_beat(&r);
        CHECK_EQ(rig_supervisor_signalled(&r), SIGTERM);
        CHECK(kill(r.keeper, SIGINT) >= 0);
        CHECK_EQ(rig_supervisor_signalled(&r), SIGTERM);
        rig_down(&r);
        CHECK_EQ(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
        CHECK(unlink(address.sun_path) >= 0);
}

static int connect_to(const char *path)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        if (connect(fd, (const struct sockaddr *) &address, sizeof(address)) >= 0)
                return fd;
        safe_close(fd);
        return -errno;
}

static void test_listen(void)
{
        char path[64], option[80];
        char *const args[] = { (char *) "--embedded", option, NULL }, *const again[] = { option, NULL };
        char *const extra[] = { (char *) "--user", option, (char *) "--backend=process",
                (char *) "--log-level=debug", (char *) "--", (char *) "--more", NULL };
        Rig r = { 0 }, second = { 0 };
        struct stat st;
        int fd, pair[2];

        (void) snprintf(path, sizeof(path), "/tmp/test-keeper-listen-%d", getpid());
        (void) snprintf(option, sizeof(option), "--listen=%s", path);
        rig_up(&r, args);
        CHECK(strstr(r.supervisor_argv, " --listen-fds=1 --instance=r"));
        CHECK(stat(path, &st) >= 0);
        CHECK_EQ(st.st_mode, S_IFSOCK | 0600);
        fd = connect_to(path);
        CHECK(fd >= 0);
        safe_close(fd);
        rig_start(&second, again); /* taken */
        CHECK_EQ(WEXITSTATUS(rig_wait_keeper(&second)), 1);
        second.fd = -EBADF;
        safe_close(second.control_listener);
        CHECK(stat(path, &st) >= 0); /* and left alone */
        (void) setenv("TRACTOR_LIBEXECDIR", r.dir, 1);
        r.owner_fd = safe_close(r.owner_fd);
        rig_down(&r);
        CHECK(stat(path, &st) < 0);

        /* What is no socket is never removed. */
        fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
        CHECK(fd >= 0);
        safe_close(fd);
        rig_start(&r, again);
        CHECK_EQ(WEXITSTATUS(rig_wait_keeper(&r)), 1);
        rig_expect_nothing_left(&r);
        CHECK(unlink(path) >= 0);

        /* What a dead one has left is replaced; descriptors from LISTEN_FDS come first. */
        rig_start(&r, again);
        rig_accept(&r);
        CHECK(kill(r.keeper, SIGKILL) >= 0);
        (void) rig_wait_keeper(&r);
        rig_supervisor_exit(&r, 0);
        CHECK(waitpid(r.supervisor, NULL, 0) == r.supervisor); /* it never served: there is no spawner */
        CHECK_EQ(connect_to(path), -ECONNREFUSED);
        rig_expect_nothing_left(&r);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) >= 0);
        r.listen_fd = pair[0];
        rig_start(&r, extra);
        rig_accept(&r);
        CHECK_STR(r.supervisor_argv, " --keeper-fd=3 --listen-fds=2 --instance=usr --backend=process "
                                     "--log-level=debug --more");
        fd = connect_to(path);
        CHECK(fd >= 0);
        safe_close(fd);
        rig_down(&r);
        close_many(pair, 2);
        CHECK(unlink(path) >= 0);
}

static int run_keeper(const char *arg, const char *value)
{
        pid_t pid = fork();
        int status;

        CHECK(pid >= 0);
        if (pid == 0) {
                (void) setenv("TRACTOR_LIBEXECDIR", "/nonexistent", 1);
                execl(TRACTORD, "tractord", arg, value, NULL);
                _exit(96);
        }
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void test_arguments(void)
{
        CHECK_EQ(run_keeper("--help", NULL), 0);
        CHECK_EQ(run_keeper("--version", NULL), 0);
        CHECK_EQ(run_keeper("--nonsense", NULL), 2);
        CHECK_EQ(run_keeper("nonsense", NULL), 2);
        CHECK_EQ(run_keeper("--instance=../x", NULL), 2);
        CHECK_EQ(run_keeper("--backend=magic", NULL), 2);
        CHECK_EQ(run_keeper("--log-level=loud", NULL), 2);
        CHECK_EQ(run_keeper("--embedded", "--owner-fd=4711"), 2);
        CHECK_EQ(run_keeper("--owner-fd=0", NULL), 2);
        CHECK_EQ(run_keeper("--system", NULL), 1); /* no supervisor to start */
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = {
                { "successor", test_successor },
                { "drained", test_drained },
                { "drained_after_reset", test_drained_after_reset },
                { "large_table", test_large_table },
                { "backoff", test_backoff },
                { "heartbeat", test_heartbeat },
                { "owner_killed", test_owner_killed },
                { "owner_closes", test_owner_closes },
                { "owner_and_supervisor_end", test_owner_and_supervisor_end },
                { "exit_codes", test_exit_codes },
                { "stop", test_stop },
                { "listen", test_listen },
                { "arguments", test_arguments },
        };

        rig_init(argc, argv);
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
