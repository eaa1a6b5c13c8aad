/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "keeper-rig.h"

#define CONTROL_ENV "TRACTOR_TEST_CONTROL"

typedef union Address {
        struct sockaddr sa;
        struct sockaddr_un un;
} Address;

void wait_readable(int fd)
{
        struct pollfd p = { .fd = fd, .events = POLLIN };
        int r;

        do
                r = poll(&p, 1, RIG_TIMEOUT_MS);
        while (r < 0 && errno == EINTR);
        CHECK_EQ(r, 1);
}

uint64_t test_now_usec(void)
{
        return now_usec(CLOCK_MONOTONIC);
}

char process_state(pid_t pid)
{
        char path[64];
        _cleanup_free_ char *stat = NULL;

        (void) snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        if (read_file_at(AT_FDCWD, path, &stat) < 0)
                return 0;
        return strrchr(stat, ')')[2];
}

/* Reports its arguments with the keeper's socket, then: a byte from the test is the code to exit with, a signal
 * is told as a byte. With TRACTOR_TEST_DIES set it only reports and exits with that code. */
static _Noreturn void fake_supervisor(int argc, char **argv)
{
        int control = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), fd = -EBADF, signals;
        Address address = { .un.sun_family = AF_UNIX };
        const char *dies = getenv("TRACTOR_TEST_DIES"), *path = getenv(CONTROL_ENV);
        char line[1024] = "";
        sigset_t set;

        for (int i = 1; i < argc; i++) {
                if (startswith(argv[i], "--keeper-fd="))
                        fd = atoi(startswith(argv[i], "--keeper-fd="));
                strncat(line, " ", sizeof(line) - strlen(line) - 1);
                strncat(line, argv[i], sizeof(line) - strlen(line) - 1);
        }
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGHUP);
        sigprocmask(SIG_BLOCK, &set, NULL);
        signals = signalfd(-1, &set, SFD_CLOEXEC);
        strncpy(address.un.sun_path, path ?: "", sizeof(address.un.sun_path) - 1);
        if (connect(control, &address.sa, sizeof(address.un)) < 0)
                _exit(99);
        if (send_fds(control, line, sizeof(line), &fd, 1, 0) < 0)
                _exit(98);
        if (dies)
                _exit(atoi(dies));
        for (;;) {
                struct pollfd p[2] = { { .fd = control, .events = POLLIN },
                        { .fd = signals, .events = POLLIN } };
                struct signalfd_siginfo si;
                char byte;

                if (poll(p, 2, -1) < 0)
                        continue;
                if (p[1].revents && read(signals, &si, sizeof(si)) == sizeof(si)) {
                        byte = (char) si.ssi_signo;
                        (void) send(control, &byte, 1, MSG_NOSIGNAL);
                }
                if (p[0].revents)
                        _exit(recv(control, &byte, 1, 0) == 1 ? (unsigned char) byte : 97);
        }
}

void rig_init(int argc, char **argv)
{
        const char *base = strrchr(argv[0], '/');

        if (argc > 1 && streq(argv[1], "--sweep"))
                exit(EXIT_SUCCESS); /* its spawner, once the keeper was killed */
        if (streq(base ? base + 1 : argv[0], "tractor-supervisor"))
                fake_supervisor(argc, argv);
        CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) >= 0);
        CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
}

static void make_dir(Rig *r)
{
        char link[128], self[512];
        Address address = { .un.sun_family = AF_UNIX };
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

        CHECK(n > 0);
        self[n] = 0;
        strcpy(r->dir, "/tmp/test-keeper-XXXXXX");
        CHECK(mkdtemp(r->dir));
        (void) snprintf(link, sizeof(link), "%s/tractor-supervisor", r->dir);
        CHECK(symlink(self, link) >= 0);
        (void) snprintf(link, sizeof(link), "%s/tractor-spawner", r->dir);
        CHECK(symlink(r->own_spawner ? self : SPAWNER, link) >= 0);
        (void) snprintf(address.un.sun_path, sizeof(address.un.sun_path), "%s/control", r->dir);
        r->control_listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        CHECK(bind(r->control_listener, &address.sa, sizeof(address.un)) >= 0);
        CHECK(listen(r->control_listener, 64) >= 0);
        CHECK(setenv(CONTROL_ENV, address.un.sun_path, 1) >= 0);
        CHECK(setenv("TRACTOR_LIBEXECDIR", r->dir, 1) >= 0);
}

static void remove_dir(Rig *r)
{
        DIR *d = opendir(r->dir);

        CHECK(d);
        for (struct dirent *e; (e = readdir(d));)
                if (e->d_name[0] != '.')
                        CHECK(unlinkat(dirfd(d), e->d_name, 0) >= 0);
        (void) closedir(d);
        CHECK(rmdir(r->dir) >= 0);
}

static _Noreturn void exec_keeper(Rig *r, char *const *args, int owner)
{
        char owner_arg[32], pid[16], *argv[32] = { (char *) "tractord" };
        int n = 1;

        for (; *args; args++) {
                argv[n++] = *args;
                if (streq(*args, "--embedded") && owner >= 0) {
                        (void) snprintf(owner_arg, sizeof(owner_arg), "--owner-fd=%d", owner);
                        (void) fd_set_cloexec(owner, false);
                        argv[n++] = owner_arg;
                }
        }
        if (r->nofile > 0)
                (void) setrlimit(RLIMIT_NOFILE, &(struct rlimit){ r->nofile, r->nofile });
        if (r->notify_socket)
                (void) setenv("NOTIFY_SOCKET", r->notify_socket, 1);
        if (r->listen_fd >= 0) {
                (void) snprintf(pid, sizeof(pid), "%d", getpid());
                (void) setenv("LISTEN_PID", pid, 1);
                (void) setenv("LISTEN_FDS", "1", 1);
                if (owner >= 0 || dup2(r->listen_fd, 3) < 0 || fd_set_cloexec(3, false) < 0)
                        _exit(96);
        }
        execv(TRACTORD, argv);
        _exit(96);
}

void rig_start(Rig *r, char *const *args)
{
        int pair[2] = { -EBADF, -EBADF };

        r->control = r->fd = r->owner_fd = -EBADF;
        if (r->listen_fd == 0)
                r->listen_fd = -EBADF;
        make_dir(r);
        for (size_t i = 0; args[i]; i++)
                if (streq(args[i], "--embedded"))
                        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) >= 0);
        r->keeper = fork();
        CHECK(r->keeper >= 0);
        if (r->keeper == 0)
                exec_keeper(r, args, pair[1]);
        r->owner_fd = pair[0];
        safe_close(pair[1]);
}

void rig_accept(Rig *r)
{
        struct ucred peer;
        socklen_t size = sizeof(peer);
        size_t n_fds = 1;

        r->control = safe_close(r->control);
        r->fd = safe_close(r->fd);
        wait_readable(r->control_listener);
        r->control = accept4(r->control_listener, NULL, NULL, SOCK_CLOEXEC);
        CHECK(r->control >= 0);
        CHECK(getsockopt(r->control, SOL_SOCKET, SO_PEERCRED, &peer, &size) >= 0);
        r->supervisor = peer.pid;
        wait_readable(r->control);
        CHECK_EQ(recv_fds(r->control, r->supervisor_argv, sizeof(r->supervisor_argv), &r->fd, &n_fds, 0),
                        (ssize_t) sizeof(r->supervisor_argv));
        CHECK_EQ(n_fds, 1);
        CHECK_EQ(fd_set_nonblock(r->fd, false), 0);
}

size_t rig_hello(Rig *r, Reply *entries, size_t max)
{
        Reply m;
        size_t n = 0, promised;

        rig_simple(r, KEEPER_HELLO, 0);
        rig_expect(r, KEEPER_WELCOME, 0, &m);
        CHECK_EQ(m.welcome.keeper_pid, r->keeper);
        promised = m.welcome.n_entries;
        for (;;) {
                rig_receive(r, &m);
                if (m.header.type == KEEPER_TABLE_END)
                        break;
                CHECK_EQ(m.header.type, KEEPER_ENTRY);
                CHECK(n < max);
                CHECK_EQ(m.n, sizeof(KeeperEntry) + m.entry.record_size);
                entries[n++] = m;
        }
        CHECK_EQ(n, promised);
        return n;
}

void rig_beat(Rig *r)
{
        rig_simple(r, KEEPER_BEAT, 0);
}

void rig_up(Rig *r, char *const *args)
{
        rig_start(r, args);
        rig_accept(r);
        CHECK_EQ(rig_hello(r, NULL, 0), 0);
        rig_beat(r);
}

int rig_wait_keeper(Rig *r)
{
        int status, pidfd = (int) syscall(SYS_pidfd_open, r->keeper, 0);

        CHECK(pidfd >= 0);
        wait_readable(pidfd);
        safe_close(pidfd);
        CHECK_EQ(waitpid(r->keeper, &status, 0), r->keeper);
        return status;
}

void rig_expect_nothing_left(Rig *r)
{
        pid_t pid = waitpid(-1, NULL, WNOHANG);

        CHECK_EQ(pid, -1);
        CHECK_EQ(errno, ECHILD);
        r->control = safe_close(r->control);
        r->fd = safe_close(r->fd);
        r->control_listener = safe_close(r->control_listener);
        r->owner_fd = safe_close(r->owner_fd);
        remove_dir(r);
}

void rig_supervisor_exit(Rig *r, int code)
{
        char byte = (char) code;

        CHECK_EQ(send(r->control, &byte, 1, MSG_NOSIGNAL), 1);
}

char rig_supervisor_signalled(Rig *r)
{
        char byte;

        wait_readable(r->control);
        CHECK_EQ(recv(r->control, &byte, 1, 0), 1);
        return byte;
}

void rig_down(Rig *r)
{
        int status;

        rig_supervisor_exit(r, 0);
        status = rig_wait_keeper(r);
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), 0);
        rig_expect_nothing_left(r);
}

void rig_send(Rig *r, const void *p, size_t n, const int *fds, size_t n_fds)
{
        CHECK_EQ(send_fds(r->fd, p, n, fds, n_fds, 0), (ssize_t) n);
}

void rig_simple(Rig *r, KeeperMessageType type, uint64_t key)
{
        KeeperSimple m = { .header = KEEPER_HEADER(m, (uint16_t) type, key) };

        rig_send(r, &m, sizeof(m), NULL, 0);
}

void rig_store(Rig *r, uint64_t key, const void *record, size_t n, const int *fds, size_t n_fds)
{
        static union {
                KeeperStore m;
                uint8_t bytes[sizeof(KeeperStore) + KEEPER_RECORD_MAX + 1];
        } out;

        out.m = (KeeperStore){ .header = KEEPER_HEADER(KeeperStore, KEEPER_STORE, key),
                .record_size = (uint32_t) n };
        memcpy(out.bytes + sizeof(KeeperStore), record, n);
        rig_send(r, &out, sizeof(KeeperStore) + n, fds, n_fds);
}

void rig_spawn_fd(Rig *r, uint64_t key, unsigned flags, int spec, const int *more, size_t n_more)
{
        KeeperSpawn m = { .header = KEEPER_HEADER(m, KEEPER_SPAWN, key), .flags = flags };
        int fds[SCM_FDS_MAX] = { spec };

        for (size_t i = 0; i < n_more; i++)
                fds[1 + i] = more[i];
        rig_send(r, &m, sizeof(m), fds, 1 + n_more);
}

void rig_spawn(Rig *r, uint64_t key, unsigned flags, const SpawnSpec *spec, const int *more, size_t n_more)
{
        _cleanup_close_ int fd = spawn_spec_encode(spec);

        CHECK(fd >= 0);
        rig_spawn_fd(r, key, flags, fd, more, n_more);
}

SpawnSpec *rig_sh(const char *script)
{
        static SpawnSpec spec;
        static char *argv[4], *envp[2];

        argv[0] = (char *) "sh";
        argv[1] = (char *) "-c";
        argv[2] = (char *) script;
        envp[0] = (char *) "PATH=/usr/bin:/bin";
        spec = (SpawnSpec){ .argv = argv, .envp = envp, .exec_fd_index = -1, .channel_fd_index = -1 };
        for (size_t i = 0; i < 3; i++)
                spec.stdio[i].kind = STDIO_INHERIT;
        return &spec;
}

void rig_spawn_sh(Rig *r, uint64_t key, unsigned flags, const char *script)
{
        rig_spawn(r, key, flags, rig_sh(script), NULL, 0);
}

void rig_receive(Rig *r, Reply *ret)
{
        ssize_t n;

        wait_readable(r->fd);
        ret->n_fds = ELEMENTSOF(ret->fds);
        n = recv_fds(r->fd, ret->bytes, sizeof(ret->bytes), ret->fds, &ret->n_fds, 0);
        CHECK(n >= (ssize_t) sizeof(KeeperHeader));
        CHECK(ret->header.size <= (size_t) n);
        CHECK_EQ(ret->header.version, KEEPER_PROTOCOL_VERSION);
        ret->n = (size_t) n;
}

void rig_expect(Rig *r, KeeperMessageType type, uint64_t key, Reply *ret)
{
        rig_receive(r, ret);
        CHECK_EQ(ret->header.type, type);
        CHECK_EQ(ret->header.key, key);
}

void reply_done(Reply *m)
{
        close_many(m->fds, m->n_fds);
        m->n_fds = 0;
}

pid_t rig_expect_spawned(Rig *r, uint64_t key, int *ret_pidfd)
{
        Reply m;

        rig_expect(r, KEEPER_SPAWNED, key, &m);
        CHECK_EQ(m.spawned.error, 0);
        CHECK(m.spawned.pid > 0);
        CHECK_EQ(m.n_fds, 1);
        if (ret_pidfd)
                *ret_pidfd = m.fds[0];
        else
                reply_done(&m);
        return m.spawned.pid;
}

void rig_expect_setup(Rig *r, uint64_t key, int step, int error)
{
        Reply m;

        rig_expect(r, KEEPER_SETUP, key, &m);
        CHECK_STR(spawn_step_name(m.setup.step), spawn_step_name(step));
        CHECK_EQ(m.setup.error, error);
}

void rig_expect_exited(Rig *r, uint64_t key, int code, int status)
{
        Reply m;

        rig_expect(r, KEEPER_EXITED, key, &m);
        CHECK_EQ(m.exited.exit.code, code);
        CHECK_EQ(m.exited.exit.status, status);
}

void rig_barrier(Rig *r)
{
        static Reply entries[64];
        size_t n = rig_hello(r, entries, ELEMENTSOF(entries));

        for (size_t i = 0; i < n; i++)
                reply_done(&entries[i]);
}
