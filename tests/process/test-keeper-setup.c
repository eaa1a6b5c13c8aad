/* SPDX-License-Identifier: Apache-2.0 */

/* The child's side of a spawn: what it becomes, and which step is blamed when it can't. */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "keeper-rig.h"

#define CAP_NET_BIND_SERVICE_BIT (UINT64_C(1) << 10)

static char *const service[] = { (char *) "--system", NULL };

static uint64_t next_key = 1;

static void expect_failure(Rig *r, const SpawnSpec *spec, int step, int error)
{
        uint64_t key = next_key++;

        rig_spawn(r, key, 0, spec, NULL, 0);
        rig_expect_spawned(r, key, NULL);
        rig_expect_setup(r, key, step, error);
        rig_expect_exited(r, key, CLD_EXITED, 255);
        rig_simple(r, KEEPER_REAP, key);
}

static void test_failures(void)
{
        Rig r = { 0 };
        SpawnSpec *s;
        char *const nothing[] = { (char *) "no-such-program", NULL }, *const empty[] = { (char *) "", NULL };
        char *const plain[] = { (char *) "/etc/passwd", NULL }, *const dir[] = { (char *) "/etc", NULL };
        char *const no_env[] = { NULL }, *const odd_path[] = { (char *) "PATH=/etc/passwd:/nonexistent",
                NULL };
        char *const denied_path[] = { (char *) "PATH=/etc:/nonexistent", NULL };
        char *const passwd[] = { (char *) "passwd", NULL };
        struct sock_filter wrong = { .code = 0xffff };

        rig_up(&r, service);
        s = rig_sh("exit 0");
        s->cwd = "/nonexistent";
        expect_failure(&r, s, SPAWN_STEP_CWD, -ENOENT);
        s = rig_sh("exit 0");
        s->argv = nothing;
        expect_failure(&r, s, SPAWN_STEP_EXEC, -ENOENT);
        s->envp = no_env;
        expect_failure(&r, s, SPAWN_STEP_EXEC, -ENOENT);
        s->envp = odd_path;
        expect_failure(&r, s, SPAWN_STEP_EXEC, -ENOENT);
        s->envp = denied_path;
        s->argv = passwd;
        expect_failure(&r, s, SPAWN_STEP_EXEC, -EACCES);
        s->argv = empty;
        expect_failure(&r, s, SPAWN_STEP_EXEC, -ENOENT);
        s->argv = plain;
        expect_failure(&r, s, SPAWN_STEP_EXEC, -EACCES);
        s->argv = dir;
        expect_failure(&r, s, SPAWN_STEP_EXEC, -EACCES);
        s->exec_fd_index = 3;
        expect_failure(&r, s, SPAWN_STEP_EXEC, -EBADF);
        s = rig_sh("exit 0");
        s->stdio[1] = (StdioSpec){ .kind = STDIO_FILE, .path = "/nonexistent/file" };
        expect_failure(&r, s, SPAWN_STEP_STDIO, -ENOENT);
        s->stdio[1] = (StdioSpec){ .kind = STDIO_FD, .fd_index = 5 };
        expect_failure(&r, s, SPAWN_STEP_STDIO, -EBADF);
        s = rig_sh("exit 0");
        s->channel_fd_index = 0;
        expect_failure(&r, s, SPAWN_STEP_STDIO, -EBADF);
        s = rig_sh("exit 0");
        s->rlimit_mask = 1U << RLIMIT_CORE;
        s->rlimits[RLIMIT_CORE] = (struct rlimit){ 10, 5 };
        expect_failure(&r, s, SPAWN_STEP_RLIMITS, -EINVAL);
        s = rig_sh("exit 0");
        s->has_oom_score_adj = true;
        s->oom_score_adj = 5000;
        expect_failure(&r, s, SPAWN_STEP_OOM_SCORE_ADJ, -EINVAL);
        s = rig_sh("exit 0");
        s->has_affinity = true; /* the empty set */
        expect_failure(&r, s, SPAWN_STEP_CPU_AFFINITY, -EINVAL);
        s = rig_sh("exit 0");
        s->no_new_privs = true;
        s->seccomp = &wrong;
        s->seccomp_size = sizeof(wrong);
        expect_failure(&r, s, SPAWN_STEP_SECCOMP, -EINVAL);
        rig_down(&r);
}

static void test_malformed_spec(void)
{
        Rig r = { 0 };
        int fds[] = { memfd_new_sealed("x", "nonsense", 8), memfd_create("y", MFD_CLOEXEC),
                open("/dev/null", O_RDONLY) };

        rig_up(&r, service);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
                rig_spawn_fd(&r, i + 1, 0, fds[i], NULL, 0);
                rig_expect_spawned(&r, i + 1, NULL);
                rig_expect_setup(&r, i + 1, SPAWN_STEP_SPEC, -EBADMSG);
                rig_expect_exited(&r, i + 1, CLD_EXITED, 255);
        }
        close_many(fds, ELEMENTSOF(fds));
        rig_down(&r);
}

/* Runs the spec with its stdout in a pipe, and gives back all that it printed. */
static const char *output(Rig *r, SpawnSpec *s, const int *more, size_t n_more)
{
        static char text[65536];
        uint64_t key = next_key++;
        int out[2], fds[8];
        size_t n = 0;
        ssize_t k;

        CHECK(pipe2(out, O_CLOEXEC) >= 0);
        CHECK(n_more < ELEMENTSOF(fds));
        for (size_t i = 0; i < n_more; i++)
                fds[i] = more[i];
        fds[n_more] = out[1];
        s->stdio[1] = (StdioSpec){ .kind = STDIO_FD, .fd_index = (int) n_more };
        rig_spawn(r, key, 0, s, fds, n_more + 1);
        out[1] = safe_close(out[1]);
        rig_expect_spawned(r, key, NULL);
        rig_expect_setup(r, key, SPAWN_STEP_EXEC, 0);
        rig_expect_exited(r, key, CLD_EXITED, 0);
        rig_simple(r, KEEPER_REAP, key);
        while ((k = read(out[0], text + n, sizeof(text) - 1 - n)) > 0)
                n += (size_t) k;
        CHECK_EQ(k, 0);
        text[n] = 0;
        safe_close(out[0]);
        return text;
}

static const char *output_sh(Rig *r, const char *script)
{
        return output(r, rig_sh(script), NULL, 0);
}

/* The value of a line "Name:\tvalue". */
static const char *status_line(const char *text, const char *name)
{
        static char value[256];
        const char *p = strstr(text, name);

        CHECK(p);
        p += strlen(name) + strspn(p + strlen(name), ":\t ");
        (void) snprintf(value, sizeof(value), "%.*s", (int) strcspn(p, "\n"), p);
        return value;
}

static void test_defaults(void)
{
        Rig r = { 0 };
        char expected[64];
        struct rlimit nofile;
        const char *text;

        CHECK(getrlimit(RLIMIT_NOFILE, &nofile) >= 0);
        nofile.rlim_cur = MIN(nofile.rlim_cur, (rlim_t) 512);
        CHECK(setrlimit(RLIMIT_NOFILE, &nofile) >= 0);
        rig_up(&r, service);
        CHECK_STR(output_sh(&r, "pwd"), "/\n");
        (void) snprintf(expected, sizeof(expected), "%ju\n", (uintmax_t) nofile.rlim_cur);
        CHECK_STR(output_sh(&r, "ulimit -n"),
                        expected); /* what the keeper raised for itself is given back */
        /* Nothing but stdio is open; 3 is ls's own. */
        CHECK_STR(output_sh(&r, "exec ls /proc/self/fd"), "0\n1\n2\n3\n");
        text = output_sh(&r, "exec cat /proc/self/status");
        CHECK_STR(status_line(text, "SigBlk"), "0000000000000000");
        CHECK_STR(status_line(text, "SigIgn"), "0000000000000000");
        CHECK_STR(status_line(text, "SigCgt"), "0000000000000000");
        CHECK_STR(status_line(text, "NoNewPrivs"), "0");
        CHECK_STR(status_line(text, "Seccomp"), "0");
        rig_down(&r);
}

static const char *oom_score_adj(pid_t pid)
{
        static char text[32];
        char path[64];
        FILE *f;

        (void) snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
        f = fopen(path, "re");
        CHECK(f && fgets(text, sizeof(text), f));
        (void) fclose(f);
        return text;
}

/* Whether one may lower one's own, which takes a capability that a container may lack. */
static bool may_protect_itself(void)
{
        int status;
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid == 0)
                _exit(write_file_at(AT_FDCWD, "/proc/self/oom_score_adj", "-900") >= 0 ? 0 : 1);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        return status == 0;
}

/* Who supervises is the last to be killed for memory, and nobody it starts; where it may not be so, it does without. */
static void test_protected(void)
{
        Rig r = { 0 };
        char ours[32];
        const char *expected = may_protect_itself() ? "-900\n" : ours;
        SpawnSpec *s;

        (void) snprintf(ours, sizeof(ours), "%s", oom_score_adj(getpid()));
        rig_up(&r, service);
        CHECK_STR(oom_score_adj(r.keeper), expected);
        CHECK_STR(oom_score_adj(r.supervisor), expected);
        CHECK_STR(output_sh(&r, "cat /proc/self/oom_score_adj"), ours);
        s = rig_sh("cat /proc/self/oom_score_adj");
        s->has_oom_score_adj = true;
        s->oom_score_adj = 7;
        CHECK_STR(output(&r, s, NULL, 0), "7\n");
        rig_down(&r);
}

static void test_settings(void)
{
        Rig r = { 0 };
        SpawnSpec *s;
        char *const envp[] = { (char *) "A=1", (char *) "PATH=/nonexistent:/bin", (char *) "B=two words",
                NULL };
        char *const env[] = { (char *) "env", NULL };

        rig_up(&r, service);
        s = rig_sh("pwd; umask; ulimit -c; ulimit -n; nice; taskset -p $$ | sed 's/.*: //'; cat "
                   "/proc/self/oom_score_adj; "
                   "ps -o pid= -o sid= -p $$ | awk '{ print $1 == $2 }'");
        s->cwd = "/usr";
        s->has_umask = true;
        s->umask = 027;
        s->rlimit_mask = 1U << RLIMIT_CORE | 1U << RLIMIT_NOFILE;
        s->rlimits[RLIMIT_CORE] = (struct rlimit){ 0, 0 };
        s->rlimits[RLIMIT_NOFILE] = (struct rlimit){ 77, 99 };
        s->has_nice = true;
        s->nice = 5;
        s->has_affinity = true;
        CPU_SET(0, &s->affinity);
        s->has_oom_score_adj = true;
        s->oom_score_adj = 321;
        s->setsid = true;
        CHECK_STR(output(&r, s, NULL, 0), "/usr\n0027\n0\n77\n5\n1\n321\n1\n");
        s = rig_sh("");
        s->argv = env;
        s->envp = envp;
        CHECK_STR(output(&r, s, NULL, 0), "A=1\nPATH=/nonexistent:/bin\nB=two words\n");
        s = rig_sh("exec cat /proc/self/status");
        s->no_new_privs = true;
        CHECK_STR(status_line(output(&r, s, NULL, 0), "NoNewPrivs"), "1");
        rig_down(&r);
}

static void test_descriptors(void)
{
        Rig r = { 0 };
        SpawnSpec *s;
        int pair[2], program = open("/bin/echo", O_PATH | O_CLOEXEC);
        char *const argv[] = { (char *) "renamed", (char *) "by descriptor", NULL }, buf[8] = "";
        char *const stale[] = { (char *) "TRACTOR_CHANNEL_FD=77", (char *) "PATH=/bin", NULL };

        rig_up(&r, service);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) >= 0);
        s = rig_sh("echo hello >&$TRACTOR_CHANNEL_FD; env | grep TRACTOR_; ls /proc/self/fd");
        s->channel_fd_index = 0;
        CHECK_STR(output(&r, s, &pair[1], 1), "TRACTOR_CHANNEL_FD=3\n0\n1\n2\n3\n4\n"); /* 4 is ls's own */
        CHECK_EQ(read(pair[0], (char *) buf, 6), 6);
        CHECK(memcmp(buf, "hello\n", 6) == 0);
        s->envp = stale;
        CHECK_STR(output(&r, s, &pair[1], 1), "TRACTOR_CHANNEL_FD=3\n0\n1\n2\n3\n4\n");
        s = rig_sh("");
        s->argv = argv;
        s->exec_fd_index = 1;
        s->channel_fd_index = 0;
        CHECK_STR(output(&r, s, (int[]){ pair[1], program }, 2), "by descriptor\n");
        safe_close(program);
        close_many(pair, 2);
        rig_down(&r);
}

static void test_files(void)
{
        Rig r = { 0 };
        SpawnSpec *s;
        char path[64], text[64] = "";
        struct stat st;
        int fd;
        uint64_t key = next_key++;

        (void) snprintf(path, sizeof(path), "/tmp/test-keeper-file-%d", getpid());
        rig_up(&r, service);
        for (int i = 0; i < 2; i++, key = next_key++) {
                s = rig_sh("echo out; echo err >&2; read x || echo eof");
                s->stdio[0].kind = STDIO_NULL;
                for (int k = 1; k < 3; k++)
                        s->stdio[k] = (StdioSpec){ .kind = STDIO_FILE, .path = path };
                rig_spawn(&r, key, 0, s, NULL, 0);
                rig_expect_spawned(&r, key, NULL);
                rig_expect_setup(&r, key, SPAWN_STEP_EXEC, 0);
                rig_expect_exited(&r, key, CLD_EXITED, 0);
        }
        fd = open(path, O_RDONLY | O_CLOEXEC);
        CHECK(fstat(fd, &st) >= 0);
        CHECK_EQ(st.st_mode & 0777, 0640);
        CHECK(read(fd, text, sizeof(text) - 1) > 0);
        CHECK_STR(text, "out\nerr\neof\nout\nerr\neof\n");
        safe_close(fd);
        s = rig_sh("read x; echo $x");
        s->stdio[0] = (StdioSpec){ .kind = STDIO_FILE, .path = path };
        CHECK_STR(output(&r, s, NULL, 0), "out\n");
        CHECK(unlink(path) >= 0);
        rig_down(&r);
}

static void test_credentials(void)
{
        Rig r = { 0 };
        SpawnSpec *s;
        const char *text;

        if (geteuid() != 0) {
                rig_up(&r, service);
                s = rig_sh("exit 0");
                s->has_uid = true;
                s->uid = 0;
                expect_failure(&r, s, SPAWN_STEP_USER, -EPERM);
                rig_down(&r);
                return;
        }
        rig_up(&r, service);
        s = rig_sh("exec cat /proc/self/status");
        s->has_uid = s->has_gid = s->has_groups = true;
        s->uid = 4001;
        s->gid = 4002;
        s->groups[0] = 4003;
        s->groups[1] = 4004;
        s->n_groups = 2;
        text = output(&r, s, NULL, 0);
        CHECK_STR(status_line(text, "\nUid"), "4001\t4001\t4001\t4001");
        CHECK_STR(status_line(text, "\nGid"), "4002\t4002\t4002\t4002");
        CHECK_STR(status_line(text, "\nGroups"), "4003 4004 ");
        CHECK_STR(status_line(text, "CapEff"), "0000000000000000");
        s->has_caps = true;
        s->caps = CAP_NET_BIND_SERVICE_BIT;
        s->no_new_privs = true;
        text = output(&r, s, NULL, 0);
        CHECK_STR(status_line(text, "CapInh"), "0000000000000400");
        CHECK_STR(status_line(text, "CapPrm"), "0000000000000400");
        CHECK_STR(status_line(text, "CapEff"), "0000000000000400");
        CHECK_STR(status_line(text, "CapBnd"), "0000000000000400");
        CHECK_STR(status_line(text, "CapAmb"), "0000000000000400");
        s->caps = 0; /* none at all, as root too */
        s->has_uid = s->has_gid = s->has_groups = false;
        text = output(&r, s, NULL, 0);
        CHECK_STR(status_line(text, "CapEff"), "0000000000000000");
        CHECK_STR(status_line(text, "CapBnd"), "0000000000000000");
        s->has_uid = true;
        s->stdio[1].kind = STDIO_INHERIT;
        s->cwd = "/proc/1/cwd";
        expect_failure(&r, s, SPAWN_STEP_CWD, -EACCES); /* after the change of user */
        rig_down(&r);
}

static void test_seccomp(void)
{
        Rig r = { 0 };
        /* uname() is refused, all else is allowed. */
        const struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_uname, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        SpawnSpec *s = rig_sh("uname >/dev/null 2>&1 && echo allowed || echo refused; grep Seccomp: "
                              "/proc/self/status");

        rig_up(&r, service);
        s->no_new_privs = true;
        s->seccomp = filter;
        s->seccomp_size = sizeof(filter);
        CHECK_STR(output(&r, s, NULL, 0), "refused\nSeccomp:\t2\n");
        rig_down(&r);
}

/* A journal of our own, in a mount namespace of our own. */
static int fake_journal(void)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/stdout" };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        CHECK(unshare(CLONE_NEWNS) >= 0);
        CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) >= 0);
        CHECK(mount("none", "/run", "tmpfs", 0, NULL) >= 0);
        CHECK(mkdir("/run/systemd", 0755) >= 0 && mkdir("/run/systemd/journal", 0755) >= 0);
        CHECK(bind(fd, (const struct sockaddr *) &address, sizeof(address)) >= 0);
        CHECK(listen(fd, 8) >= 0);
        return fd;
}

static void expect_stream(int listener, const char *expected)
{
        char text[512];
        size_t n = 0;
        ssize_t k;
        int fd;

        wait_readable(listener);
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        CHECK(fd >= 0);
        while ((k = read(fd, text + n, sizeof(text) - 1 - n)) > 0)
                n += (size_t) k;
        text[n] = 0;
        CHECK_STR(text, expected);
        safe_close(fd);
}

static void run_journal(Rig *r, int priority)
{
        SpawnSpec *s = rig_sh("echo one; echo two >&2; echo three");
        uint64_t key = next_key++;

        s->stdio[1] = (StdioSpec){ .kind = STDIO_JOURNAL, .identifier = "an\nactor", .priority = 6 };
        s->stdio[2] = (StdioSpec){ .kind = STDIO_JOURNAL, .identifier = "an\nactor", .priority = priority };
        rig_spawn(r, key, 0, s, NULL, 0);
        rig_expect_spawned(r, key, NULL);
        rig_expect_setup(r, key, SPAWN_STEP_EXEC, 0);
        rig_expect_exited(r, key, CLD_EXITED, 0);
}

static void test_journal(void)
{
        Rig r = { 0 };
        uint64_t start;
        int listener, fillers[64];
        size_t n = 0;
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/stdout" };

        if (geteuid() != 0)
                skip("a mount namespace needs root");
        listener = fake_journal();
        rig_up(&r, service);
        run_journal(&r, 3);
        expect_stream(listener, "an\n\n6\n1\n0\n0\n0\none\nthree\n");
        expect_stream(listener, "an\n\n3\n1\n0\n0\n0\ntwo\n");
        run_journal(&r, 6); /* alike: one stream, in order */
        expect_stream(listener, "an\n\n6\n1\n0\n0\n0\none\ntwo\nthree\n");
        /* A journal that accepts no more: the child waits a while, then does without. */
        CHECK(listen(listener, 0) >= 0);
        for (; n < ELEMENTSOF(fillers); n++) {
                fillers[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                if (connect(fillers[n], (const struct sockaddr *) &address, sizeof(address)) < 0)
                        break;
        }
        CHECK(n < ELEMENTSOF(fillers));
        start = test_now_usec();
        run_journal(&r, 6);
        CHECK(test_now_usec() - start > USEC_PER_SEC && test_now_usec() - start < 15 * USEC_PER_SEC);
        close_many(fillers, n + 1);
        safe_close(listener);
        CHECK(unlink(address.sun_path) >= 0);
        run_journal(&r, 6); /* none at all */
        rig_down(&r);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = {
                { "failures", test_failures }, { "malformed_spec", test_malformed_spec },
                { "defaults", test_defaults }, { "protected", test_protected },
                { "settings", test_settings }, { "descriptors", test_descriptors }, { "files", test_files },
                { "credentials", test_credentials }, { "seccomp", test_seccomp },
                { "journal", test_journal }, /* last: it leaves the mount namespace */
        };

        rig_init(argc, argv);
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
