/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "child/spec.h"
#include "test.h"

static const struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_STMT(BPF_RET | BPF_K, 0x7fff0000),
};

static char *const args[] = { (char *) "program", (char *) "", (char *) "two words", NULL };
static char *const env[] = { (char *) "A=1", (char *) "EMPTY=", NULL };

static SpawnSpec full(void)
{
        SpawnSpec s = {
                .argv = args,
                .envp = env,
                .cwd = "/some/where",
                .stdio = { { .kind = STDIO_FD, .fd_index = 2 }, { .kind = STDIO_FILE, .path = "/log" },
                                { .kind = STDIO_JOURNAL, .identifier = "actor", .priority = 4 } },
                .exec_fd_index = 1,
                .channel_fd_index = 0,
                .has_umask = true,
                .has_nice = true,
                .has_oom_score_adj = true,
                .has_affinity = true,
                .has_uid = true,
                .has_gid = true,
                .has_groups = true,
                .has_caps = true,
                .umask = 027,
                .nice = -3,
                .oom_score_adj = 77,
                .rlimit_mask = 1U << RLIMIT_NOFILE,
                .uid = 1000,
                .gid = 1001,
                .groups = { 5, 6, 7 },
                .n_groups = 3,
                .caps = UINT64_C(1) << 40 | 1,
                .no_new_privs = true,
                .setsid = true,
                .pdeathsig = 9,
                .seccomp = filter,
                .seccomp_size = sizeof(filter),
        };

        CPU_SET(3, &s.affinity);
        s.rlimits[RLIMIT_NOFILE] = (struct rlimit){ 10, 20 };
        return s;
}

static void check_vector(char *const *a, char *const *b)
{
        size_t i;

        for (i = 0; a[i] && b[i]; i++)
                CHECK_STR(a[i], b[i]);
        CHECK(!a[i] && !b[i]);
}

static void test_round_trip(void)
{
        SpawnSpec s = full(), d;
        _cleanup_close_ int fd = spawn_spec_encode(&s);

        CHECK(fd >= 0);
        CHECK_EQ(spawn_spec_decode(fd, &d), 0);
        check_vector(d.argv, args);
        check_vector(d.envp, env);
        CHECK_STR(d.cwd, "/some/where");
        CHECK_EQ(d.stdio[0].kind, STDIO_FD);
        CHECK_EQ(d.stdio[0].fd_index, 2);
        CHECK_EQ(d.stdio[1].kind, STDIO_FILE);
        CHECK_STR(d.stdio[1].path, "/log");
        CHECK_EQ(d.stdio[2].kind, STDIO_JOURNAL);
        CHECK_STR(d.stdio[2].identifier, "actor");
        CHECK_EQ(d.stdio[2].priority, 4);
        CHECK_EQ(d.exec_fd_index, 1);
        CHECK_EQ(d.channel_fd_index, 0);
        CHECK(d.has_umask && d.has_nice && d.has_oom_score_adj && d.has_affinity);
        CHECK(d.has_uid && d.has_gid && d.has_groups && d.has_caps && d.no_new_privs && d.setsid);
        CHECK_EQ(d.umask, 027);
        CHECK_EQ(d.nice, -3);
        CHECK_EQ(d.oom_score_adj, 77);
        CHECK(CPU_ISSET(3, &d.affinity) && CPU_COUNT(&d.affinity) == 1);
        CHECK_EQ(d.rlimit_mask, 1U << RLIMIT_NOFILE);
        CHECK_EQ(d.rlimits[RLIMIT_NOFILE].rlim_max, 20);
        CHECK_EQ(d.uid, 1000);
        CHECK_EQ(d.gid, 1001);
        CHECK_EQ(d.n_groups, 3);
        CHECK_EQ(d.groups[2], 7);
        CHECK_EQ(d.caps, UINT64_C(1) << 40 | 1);
        CHECK_EQ(d.pdeathsig, 9);
        CHECK_EQ(d.seccomp_size, sizeof(filter));
        CHECK(memcmp(d.seccomp, filter, sizeof(filter)) == 0);
        CHECK_EQ((uintptr_t) d.seccomp % 8, 0);
        CHECK(((char **) d.envp)[3] == NULL); /* the spare slot */
}

static void test_smallest(void)
{
        char *const one[] = { (char *) "x", NULL };
        SpawnSpec s = { .argv = one, .exec_fd_index = -1, .channel_fd_index = -1 }, d;
        _cleanup_close_ int fd = spawn_spec_encode(&s);

        CHECK(fd >= 0);
        CHECK_EQ(spawn_spec_decode(fd, &d), 0);
        check_vector(d.argv, one);
        CHECK(!d.envp[0] && !d.cwd && !d.has_uid && d.exec_fd_index == -1 && !d.seccomp);
}

static int refused(const SpawnSpec *s)
{
        _cleanup_close_ int fd = spawn_spec_encode(s);
        SpawnSpec d;

        return fd < 0 ? fd : spawn_spec_decode(fd, &d);
}

static void test_refused(void)
{
        char *const none[] = { NULL };
        SpawnSpec s = full();
        _cleanup_free_ char *long_word = malloc(SPAWN_SPEC_MAX);
        char *huge[] = { long_word, NULL };

        s.argv = none;
        CHECK_EQ(refused(&s), -EINVAL);
        s.argv = NULL;
        CHECK_EQ(refused(&s), -EINVAL);
        s = full();
        s.n_groups = SPAWN_GROUPS_MAX + 1;
        CHECK_EQ(refused(&s), -EINVAL);
        s = full();
        s.seccomp_size = 7;
        CHECK_EQ(refused(&s), -EINVAL);
        CHECK(long_word);
        memset(long_word, 'x', SPAWN_SPEC_MAX);
        long_word[SPAWN_SPEC_MAX - 1] = 0;
        s = full();
        s.envp = huge;
        CHECK_EQ(refused(&s), -E2BIG);
        s = full();
        s.cwd = "relative";
        CHECK_EQ(refused(&s), -EBADMSG);
        s = full();
        s.stdio[0].fd_index = -1;
        CHECK_EQ(refused(&s), -EBADMSG);
        s = full();
        s.stdio[1].path = "";
        CHECK_EQ(refused(&s), -EBADMSG);
        s = full();
        s.stdio[2].priority = 192; /* past local7.debug */
        CHECK_EQ(refused(&s), -EBADMSG);
        s = full();
        s.pdeathsig = 65;
        CHECK_EQ(refused(&s), -EBADMSG);
        s = full();
        s.exec_fd_index = -2;
        CHECK_EQ(refused(&s), -EBADMSG);
        s = full();
        s.rlimit_mask = 1U << RLIM_NLIMITS;
        CHECK_EQ(refused(&s), -EBADMSG);
}

static uint8_t *encoded(size_t *ret_size)
{
        SpawnSpec s = full();
        _cleanup_close_ int fd = spawn_spec_encode(&s);
        uint8_t *p = malloc(SPAWN_SPEC_PIPE_MAX);
        ssize_t n;

        CHECK(fd >= 0 && p);
        n = read(fd, p, SPAWN_SPEC_PIPE_MAX);
        CHECK(n > 0);
        *ret_size = (size_t) n;
        return p;
}

/* Decodes the bytes and, where that is accepted, looks at all that a child would use. */
static int decode_fd(int fd, size_t n, size_t mapped)
{
        SpawnSpec d;
        size_t sum = 0;
        int r;

        CHECK(fd >= 0);
        r = spawn_spec_decode(fd, &d);
        CHECK(r == 0 || r == -EBADMSG);
        if (r < 0)
                return r;
        CHECK(d.argv[0]);
        for (char *const *s = d.argv; *s; s++)
                sum += strlen(*s);
        for (char *const *s = d.envp; *s; s++)
                sum += strlen(*s);
        sum += d.cwd ? strlen(d.cwd) : 0;
        for (size_t i = 0; i < 3; i++) {
                CHECK(d.stdio[i].kind >= STDIO_NULL && d.stdio[i].kind <= STDIO_FD);
                sum += strlen(d.stdio[i].kind == STDIO_JOURNAL ? d.stdio[i].identifier : d.stdio[i].path);
        }
        CHECK(sum < n);
        CHECK(d.n_groups <= SPAWN_GROUPS_MAX);
        for (size_t i = 0; i < d.seccomp_size; i++)
                sum += ((const uint8_t *) d.seccomp)[i];
        /* A child never gives these back. What is encoded here is of one page, whatever is mapped for it. */
        CHECK(n < 4096);
        CHECK(munmap((void *) ((uintptr_t) d.stdio[0].path & ~UINT64_C(4095)), mapped) >= 0);
        CHECK(munmap((void *) d.argv, 4096) >= 0);
        return 0;
}

/* Either descriptor says the same. */
static int decode(const uint8_t *p, size_t n)
{
        _cleanup_close_ int fd = memfd_new_sealed("test", p, n);
        int pipe_fds[2], r;

        CHECK(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) >= 0);
        CHECK_EQ(write(pipe_fds[1], p, n), (ssize_t) n);
        r = decode_fd(fd, n, 4096);
        CHECK_EQ(decode_fd(pipe_fds[0], n, SPAWN_SPEC_PIPE_MAX), r);
        close_many(pipe_fds, 2);
        return r;
}

static void test_truncated(void)
{
        size_t n;
        _cleanup_free_ uint8_t *p = encoded(&n);

        CHECK_EQ(decode(p, n), 0);
        for (size_t i = 0; i < n; i++)
                CHECK_EQ(decode(p, i), -EBADMSG);
}

static void test_flipped(void)
{
        size_t n, accepted = 0, header = 32;
        _cleanup_free_ uint8_t *p = encoded(&n);

        for (size_t bit = 0; bit < n * 8; bit++) {
                int r;

                p[bit / 8] ^= (uint8_t) (1U << bit % 8);
                r = decode(p, n);
                accepted += r == 0;
                if (bit / 8 < header)
                        CHECK_EQ(r, -EBADMSG); /* lengths and counts leave no room for another meaning */
                p[bit / 8] ^= (uint8_t) (1U << bit % 8);
        }
        CHECK(accepted > 0);
        CHECK_EQ(decode(p, n), 0);
}

/* A struct from a later version is taken only as long as what it adds is zero. */
static void test_longer(void)
{
        size_t n;
        _cleanup_free_ uint8_t *p = encoded(&n), *longer = calloc(1, n + 8);
        uint64_t size = n + 8;
        uint32_t fixed = sizeof(SpawnSpec) + 8;

        CHECK(longer);
        memcpy(longer, p, 32 + sizeof(SpawnSpec));
        memcpy(longer + 32 + sizeof(SpawnSpec) + 8, p + 32 + sizeof(SpawnSpec), n - 32 - sizeof(SpawnSpec));
        memcpy(longer + 8, &size, sizeof(size));
        memcpy(longer + 16, &fixed, sizeof(fixed));
        CHECK_EQ(decode(longer, n + 8), 0);
        longer[32 + sizeof(SpawnSpec) + 5] = 1;
        CHECK_EQ(decode(longer, n + 8), -EBADMSG);
}

static void test_unsealed(void)
{
        size_t n;
        _cleanup_free_ uint8_t *p = encoded(&n);
        _cleanup_close_ int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        SpawnSpec d;

        CHECK_EQ(write_all(fd, p, n), 0);
        CHECK_EQ(spawn_spec_decode(fd, &d), -EBADMSG);
        CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) >= 0);
        CHECK_EQ(spawn_spec_decode(fd, &d), 0);
        CHECK_EQ(spawn_spec_decode(-EBADF, &d), -EBADMSG);
}

/* What no pipe is to hold. */
static void test_large(void)
{
        _cleanup_free_ char *word = calloc(1, SPAWN_SPEC_PIPE_MAX);
        char *large[] = { word, NULL };
        SpawnSpec s = full(), d;
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        CHECK(word);
        memset(word, 'x', SPAWN_SPEC_PIPE_MAX - 1);
        s.envp = large;
        fd = spawn_spec_encode(&s);
        CHECK(fd >= 0 && fstat(fd, &st) >= 0);
        CHECK(S_ISREG(st.st_mode) && st.st_size > SPAWN_SPEC_PIPE_MAX);
        CHECK_EQ(spawn_spec_decode(fd, &d), 0);
        check_vector(d.envp, large);
        check_vector(d.argv, args);
}

static void test_names(void)
{
        CHECK_STR(spawn_step_name(SPAWN_STEP_CLONE), "clone");
        CHECK_STR(spawn_step_name(SPAWN_STEP_EXEC), "exec");
        CHECK_STR(spawn_step_name(-1), NULL);
        CHECK_STR(spawn_step_name(_SPAWN_STEP_MAX), NULL);
        for (int i = 0; i < _SPAWN_STEP_MAX; i++)
                CHECK(spawn_step_name(i));
}

TEST_MAIN({ "round_trip", test_round_trip }, { "smallest", test_smallest }, { "refused", test_refused },
                { "truncated", test_truncated }, { "flipped", test_flipped }, { "longer", test_longer },
                { "unsealed", test_unsealed }, { "large", test_large }, { "names", test_names });
