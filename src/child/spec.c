/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <syslog.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "child/spec.h"

#define MAGIC 0x63707374U /* "tspc" */
#define VERSION 1

typedef struct SpecHeader {
        uint32_t magic, version;
        uint64_t size;           /* of the whole file */
        uint32_t fixed, filter;  /* bytes of the struct, of the seccomp filter; multiples of 8 */
        uint32_t n_args, n_envs; /* strings; after them come cwd, one of each stdio, the unit */
} SpecHeader;

static const char *const step_names[_SPAWN_STEP_MAX] = {
        [SPAWN_STEP_CLONE] = "clone",
        [SPAWN_STEP_DESCRIPTORS] = "descriptors",
        [SPAWN_STEP_HOLD] = "hold",
        [SPAWN_STEP_SPEC] = "spec",
        [SPAWN_STEP_SIGNALS] = "signals",
        [SPAWN_STEP_SETSID] = "setsid",
        [SPAWN_STEP_OOM_SCORE_ADJ] = "oom_score_adj",
        [SPAWN_STEP_RLIMITS] = "rlimits",
        [SPAWN_STEP_NICE] = "nice",
        [SPAWN_STEP_CPU_AFFINITY] = "cpu_affinity",
        [SPAWN_STEP_UMASK] = "umask",
        [SPAWN_STEP_STDIO] = "stdio",
        [SPAWN_STEP_BOUNDING_SET] = "bounding_set",
        [SPAWN_STEP_GROUP] = "group",
        [SPAWN_STEP_USER] = "user",
        [SPAWN_STEP_CAPABILITIES] = "capabilities",
        [SPAWN_STEP_CWD] = "cwd",
        [SPAWN_STEP_PDEATHSIG] = "pdeathsig",
        [SPAWN_STEP_NO_NEW_PRIVS] = "no_new_privs",
        [SPAWN_STEP_SECCOMP] = "seccomp",
        [SPAWN_STEP_EXEC] = "exec",
};

const char *spawn_step_name(int step)
{
        return step >= 0 && step < _SPAWN_STEP_MAX ? step_names[step] : NULL;
}

#define PRIORITY_MAX (LOG_LOCAL7 | LOG_DEBUG)

static const char *stdio_text(const StdioSpec *s)
{
        return (s->kind == STDIO_FILE ? s->path : s->kind == STDIO_JOURNAL ? s->identifier : NULL) ?: "";
}

typedef struct Writer {
        uint8_t *p;
        size_t n, cap;
        int error; /* the first one; later calls do nothing */
} Writer;

static void put(Writer *w, const void *p, size_t n)
{
        if (w->error >= 0 && (n > SPAWN_SPEC_MAX || w->n + n > SPAWN_SPEC_MAX))
                w->error = -E2BIG;
        if (w->error >= 0)
                w->error = GROW(w->p, w->cap, w->n + n);
        if (w->error < 0 || n == 0)
                return;
        memcpy(w->p + w->n, p, n);
        w->n += n;
}

static void put_string(Writer *w, const char *s)
{
        put(w, s, strlen(s) + 1);
}

/* A pipe costs a third of what a memfd does to make, to read and to let go; the last of these its program waits for, which
 * may run once the descriptors of exec are closed. A user who has many pipes gets small ones: -ENOSPC. */
static int pipe_new_filled(const void *p, size_t n)
{
        _cleanup_close_ int in = -EBADF, out = -EBADF;
        int fds[2];

        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        out = fds[0];
        in = fds[1];
        return write(in, p, n) == (ssize_t) n ? TAKE_FD(out) : -ENOSPC;
}

int spawn_spec_encode(const SpawnSpec *spec)
{
        _cleanup_free_ uint8_t *bytes = NULL;
        SpecHeader header = { .magic = MAGIC, .version = VERSION, .fixed = sizeof(SpawnSpec) };
        Writer w = { 0 };
        int fd = -ENOSPC;

        static_assert(sizeof(SpawnSpec) % 8 == 0, "the filter needs its alignment");
        if (!spec->argv || !spec->argv[0] || spec->n_groups > SPAWN_GROUPS_MAX ||
                        spec->seccomp_size % sizeof(struct sock_filter) ||
                        spec->seccomp_size > SPAWN_SPEC_MAX)
                return -EINVAL;
        header.filter = (uint32_t) spec->seccomp_size;
        header.n_args = (uint32_t) strv_length(spec->argv);
        header.n_envs = (uint32_t) (spec->envp ? strv_length(spec->envp) : 0);
        put(&w, &header, sizeof(header));
        put(&w, spec, sizeof(*spec));
        put(&w, spec->seccomp, spec->seccomp_size);
        for (size_t i = 0; i < header.n_args; i++)
                put_string(&w, spec->argv[i]);
        for (size_t i = 0; i < header.n_envs; i++)
                put_string(&w, spec->envp[i]);
        put_string(&w, spec->cwd ?: "");
        for (size_t i = 0; i < 3; i++)
                put_string(&w, stdio_text(&spec->stdio[i]));
        put_string(&w, spec->journal_unit ?: "");
        bytes = w.p;
        if (w.error < 0)
                return w.error;
        header.size = w.n;
        memcpy(bytes, &header, sizeof(header));
        if (w.n <= SPAWN_SPEC_PIPE_MAX)
                fd = pipe_new_filled(bytes, w.n);
        return fd >= 0 ? fd : memfd_new_sealed("tractor-spec", bytes, w.n);
}

/* The next string, or NULL where none ends before `end`. */
static char *next(char **text, const char *end)
{
        char *s = *text, *zero = s < end ? memchr(s, 0, (size_t) (end - s)) : NULL;

        if (zero)
                *text = zero + 1;
        return zero ? s : NULL;
}

static bool fields_are_valid(const SpawnSpec *s)
{
        for (size_t i = 0; i < 3; i++) {
                const StdioSpec *io = &s->stdio[i];

                if ((unsigned) io->kind > STDIO_FD || (io->kind == STDIO_FD && io->fd_index < 0) ||
                                (io->kind == STDIO_JOURNAL &&
                                                (io->priority < 0 || io->priority > PRIORITY_MAX)))
                        return false;
        }
        return s->n_groups <= SPAWN_GROUPS_MAX && s->rlimit_mask < 1U << RLIM_NLIMITS &&
               s->exec_fd_index >= -1 && s->channel_fd_index >= -1 && s->pdeathsig >= 0 &&
               s->pdeathsig <= 64;
}

/* The struct and the filter. `text` is left at the strings. */
static bool decode_fixed(const SpecHeader *h, uint8_t *p, size_t n, SpawnSpec *s, char **text)
{
        uint8_t *fixed = p + sizeof(*h), *filter;

        n -= sizeof(*h);
        if (h->fixed > n || h->filter > n - h->fixed || h->fixed % 8 ||
                        h->filter % sizeof(struct sock_filter) ||
                        h->filter / sizeof(struct sock_filter) > BPF_MAXINSNS)
                return false;
        for (size_t i = sizeof(*s); i < h->fixed; i++)
                if (fixed[i] != 0)
                        return false;
        memcpy(s, fixed, MIN((size_t) h->fixed, sizeof(*s)));
        filter = fixed + h->fixed;
        s->seccomp = h->filter > 0 ? filter : NULL;
        s->seccomp_size = h->filter;
        *text = (char *) filter + h->filter;
        return fields_are_valid(s);
}

/* The strings, each into its place; `vector` has room for all and for three more pointers. */
static bool decode_strings(const SpecHeader *h, char *text, const char *end, char **vector, SpawnSpec *s)
{
        char **v = vector;

        s->argv = v;
        for (size_t i = 0; i < h->n_args; i++)
                if (!(*v++ = next(&text, end)))
                        return false;
        s->envp = ++v;
        for (size_t i = 0; i < h->n_envs; i++)
                if (!(*v++ = next(&text, end)))
                        return false;
        s->cwd = next(&text, end);
        if (!s->cwd || (*s->cwd && *s->cwd != '/'))
                return false;
        if (!*s->cwd)
                s->cwd = NULL;
        for (size_t i = 0; i < 3; i++) {
                s->stdio[i].path = s->stdio[i].identifier = next(&text, end);
                if (!s->stdio[i].path || (s->stdio[i].kind == STDIO_FILE && !*s->stdio[i].path))
                        return false;
        }
        s->journal_unit = next(&text, end);
        if (!s->journal_unit)
                return false;
        return h->n_args > 0 && text == end;
}

static int decode(uint8_t *p, size_t n, SpawnSpec *ret)
{
        SpawnSpec s = { 0 };
        SpecHeader h;
        char *text, **vector;

        if (n < sizeof(h))
                return -EBADMSG;
        memcpy(&h, p, sizeof(h));
        if (h.magic != MAGIC || h.version != VERSION || h.size != n || h.n_args > n || h.n_envs > n)
                return -EBADMSG;
        if (!decode_fixed(&h, p, n, &s, &text))
                return -EBADMSG;
        /* Two ends, and the spare slot promised in spec.h. */
        vector = mmap(NULL, ((size_t) h.n_args + h.n_envs + 3) * sizeof(char *), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (vector == MAP_FAILED)
                return -ENOMEM;
        if (!decode_strings(&h, text, (char *) p + n, vector, &s)) {
                (void) munmap(vector, ((size_t) h.n_args + h.n_envs + 3) * sizeof(char *));
                return -EBADMSG;
        }
        *ret = s;
        return 0;
}

static ssize_t map(int fd, off_t size, void **ret)
{
        const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

        /* Without the seals the file could shrink under the mapping. */
        if ((fcntl(fd, F_GET_SEALS) & seals) != seals || size <= 0 || size > SPAWN_SPEC_MAX)
                return -EBADMSG;
        *ret = mmap(NULL, (size_t) size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        return *ret == MAP_FAILED ? -errno : size;
}

static ssize_t read_pipe(int fd, void **ret)
{
        ssize_t n;

        *ret = mmap(NULL, SPAWN_SPEC_PIPE_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (*ret == MAP_FAILED)
                return -errno;
        n = read(fd, *ret, SPAWN_SPEC_PIPE_MAX);
        return MAX(n, 0);
}

int spawn_spec_decode(int fd, SpawnSpec *ret)
{
        void *p = NULL;
        struct stat st;
        ssize_t n;
        int r;

        if (fstat(fd, &st) < 0)
                return -EBADMSG;
        n = S_ISFIFO(st.st_mode) ? read_pipe(fd, &p) : map(fd, st.st_size, &p);
        if (n < 0)
                return (int) n;
        r = decode(p, (size_t) n, ret);
        if (r < 0)
                (void) munmap(p, S_ISFIFO(st.st_mode) ? SPAWN_SPEC_PIPE_MAX : (size_t) n);
        return r;
}
