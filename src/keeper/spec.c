/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/io.h"
#include "keeper/spec.h"

#define MAGIC 0x63707374U /* "tspc" */
#define VERSION 1
#define ALWAYS SIZE_MAX

typedef enum Tag {
        TAG_ARG = 1,
        TAG_ENV,
        TAG_CWD,
        TAG_STDIO,
        TAG_GROUPS,
        TAG_SECCOMP,
        TAG_EXEC_FD,
        TAG_CHANNEL_FD,
        TAG_UMASK,
        TAG_NICE,
        TAG_OOM_SCORE_ADJ,
        TAG_AFFINITY,
        TAG_RLIMIT_MASK,
        TAG_RLIMITS,
        TAG_UID,
        TAG_GID,
        TAG_CAPS,
        TAG_NO_NEW_PRIVS,
        TAG_SETSID,
        TAG_PDEATHSIG,
        _TAG_MAX,
} Tag;

typedef struct SpecHeader {
        uint32_t magic, version;
        uint64_t size; /* of the whole file */
} SpecHeader;

typedef struct Record {
        uint16_t tag, zero;
        uint32_t length; /* without padding */
        uint8_t bytes[];
} Record;

/* Followed by the path or identifier, an empty string for none. */
typedef struct StdioRecord {
        int32_t index, kind, priority, fd_index;
} StdioRecord;

/* Members copied as they are; `has` is the offset of the flag that says whether they are set. */
#define FIELD(m) offsetof(SpawnSpec, m), sizeof(((SpawnSpec *) NULL)->m)
static const struct {
        size_t offset, size, has;
} scalars[_TAG_MAX] = {
        [TAG_EXEC_FD] = { FIELD(exec_fd_index), ALWAYS },
        [TAG_CHANNEL_FD] = { FIELD(channel_fd_index), ALWAYS },
        [TAG_UMASK] = { FIELD(umask), offsetof(SpawnSpec, has_umask) },
        [TAG_NICE] = { FIELD(nice), offsetof(SpawnSpec, has_nice) },
        [TAG_OOM_SCORE_ADJ] = { FIELD(oom_score_adj), offsetof(SpawnSpec, has_oom_score_adj) },
        [TAG_AFFINITY] = { FIELD(affinity), offsetof(SpawnSpec, has_affinity) },
        [TAG_RLIMIT_MASK] = { FIELD(rlimit_mask), ALWAYS },
        [TAG_RLIMITS] = { FIELD(rlimits), ALWAYS },
        [TAG_UID] = { FIELD(uid), offsetof(SpawnSpec, has_uid) },
        [TAG_GID] = { FIELD(gid), offsetof(SpawnSpec, has_gid) },
        [TAG_CAPS] = { FIELD(caps), offsetof(SpawnSpec, has_caps) },
        [TAG_NO_NEW_PRIVS] = { FIELD(no_new_privs), ALWAYS },
        [TAG_SETSID] = { FIELD(setsid), ALWAYS },
        [TAG_PDEATHSIG] = { FIELD(pdeathsig), ALWAYS },
};

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
        [SPAWN_STEP_LANDLOCK] = "landlock",
        [SPAWN_STEP_SECCOMP] = "seccomp",
        [SPAWN_STEP_EXEC] = "exec",
};

const char *spawn_step_name(int step)
{
        return step >= 0 && step < _SPAWN_STEP_MAX ? step_names[step] : NULL;
}

typedef struct Writer {
        uint8_t *p;
        size_t n, cap;
        int error; /* the first one; later calls do nothing */
} Writer;

/* One record of two parts, either of which may be empty. */
static void put(Writer *w, Tag tag, const void *a, size_t n_a, const void *b, size_t n_b)
{
        size_t length = n_a + n_b, padded = sizeof(Record) + ((length + 7) & ~(size_t) 7);

        if (w->error < 0)
                return;
        if (n_a > SPAWN_SPEC_MAX || n_b > SPAWN_SPEC_MAX || w->n + padded > SPAWN_SPEC_MAX) {
                w->error = -E2BIG;
                return;
        }
        w->error = GROW(w->p, w->cap, w->n + padded);
        if (w->error < 0)
                return;
        memset(w->p + w->n, 0, padded);
        memcpy(w->p + w->n, &(Record){ .tag = (uint16_t) tag, .length = (uint32_t) length }, sizeof(Record));
        if (n_a > 0)
                memcpy(w->p + w->n + sizeof(Record), a, n_a);
        if (n_b > 0)
                memcpy(w->p + w->n + sizeof(Record) + n_a, b, n_b);
        w->n += padded;
}

static void put_strings(Writer *w, Tag tag, char *const *strv)
{
        for (; strv && *strv; strv++)
                put(w, tag, *strv, strlen(*strv) + 1, NULL, 0);
}

static void put_stdio(Writer *w, const StdioSpec *s, int index)
{
        StdioRecord r = { index, (int32_t) s->kind, s->priority, s->fd_index };
        const char *text = (s->kind == STDIO_FILE                     ? s->path
                                           : s->kind == STDIO_JOURNAL ? s->identifier
                                                                      : "")
                                           ?: "";

        put(w, TAG_STDIO, &r, sizeof(r), text, strlen(text) + 1);
}

int spawn_spec_encode(const SpawnSpec *spec)
{
        _cleanup_free_ uint8_t *bytes = NULL;
        SpecHeader header = { .magic = MAGIC, .version = VERSION };
        Writer w = { 0 };

        if (!spec->argv || !spec->argv[0] || spec->n_groups > SPAWN_GROUPS_MAX)
                return -EINVAL;
        w.error = GROW(w.p, w.cap, sizeof(header));
        w.n = sizeof(header);
        for (Tag t = 0; t < _TAG_MAX; t++) {
                const uint8_t *base = (const uint8_t *) spec;

                if (scalars[t].size == 0 || (scalars[t].has != ALWAYS && !base[scalars[t].has]))
                        continue;
                put(&w, t, base + scalars[t].offset, scalars[t].size, NULL, 0);
        }
        put_strings(&w, TAG_ARG, spec->argv);
        put_strings(&w, TAG_ENV, spec->envp);
        if (spec->cwd)
                put(&w, TAG_CWD, spec->cwd, strlen(spec->cwd) + 1, NULL, 0);
        for (int i = 0; i < 3; i++)
                put_stdio(&w, &spec->stdio[i], i);
        if (spec->has_groups)
                put(&w, TAG_GROUPS, spec->groups, spec->n_groups * sizeof(gid_t), NULL, 0);
        if (spec->seccomp_size > 0)
                put(&w, TAG_SECCOMP, spec->seccomp, spec->seccomp_size, NULL, 0);
        bytes = w.p;
        if (w.error < 0)
                return w.error;
        header.size = w.n;
        memcpy(bytes, &header, sizeof(header));
        return memfd_new_sealed("tractor-spec", bytes, w.n);
}

static bool is_string(const uint8_t *p, size_t n)
{
        return n > 0 && memchr(p, 0, n) == p + n - 1;
}

static bool take_stdio(const Record *r, SpawnSpec *s)
{
        StdioRecord x;
        StdioSpec *io;
        const char *text = (const char *) r->bytes + sizeof(x);

        if (r->length < sizeof(x) || !is_string(r->bytes + sizeof(x), r->length - sizeof(x)))
                return false;
        memcpy(&x, r->bytes, sizeof(x));
        if (x.index < 0 || x.index > 2 || x.kind < STDIO_NULL || x.kind > STDIO_FD || x.priority < 0 ||
                        x.priority > 7)
                return false;
        if ((x.kind == STDIO_FD) ? x.fd_index < 0 : x.kind == STDIO_FILE && !*text)
                return false;
        io = &s->stdio[x.index];
        *io = (StdioSpec){ .kind = (StdioKind) x.kind, .priority = x.priority, .fd_index = x.fd_index };
        if (x.kind == STDIO_FILE)
                io->path = text;
        if (x.kind == STDIO_JOURNAL)
                io->identifier = text;
        return true;
}

static bool take_scalar(const Record *r, SpawnSpec *s)
{
        uint8_t *base = (uint8_t *) s;

        /* A bool of any other value than 0 and 1 would be undefined behaviour later. */
        if (r->length != scalars[r->tag].size || (r->length == sizeof(bool) && r->bytes[0] > 1))
                return false;
        memcpy(base + scalars[r->tag].offset, r->bytes, r->length);
        if (scalars[r->tag].has != ALWAYS)
                base[scalars[r->tag].has] = true;
        return true;
}

/* One record into *s; strings of vectors are put by the caller. */
static bool take(const Record *r, SpawnSpec *s)
{
        switch (r->tag) {
        case TAG_ARG:
        case TAG_ENV:
                return is_string(r->bytes, r->length);
        case TAG_CWD:
                s->cwd = (const char *) r->bytes;
                return is_string(r->bytes, r->length) && s->cwd[0] == '/';
        case TAG_STDIO:
                return take_stdio(r, s);
        case TAG_GROUPS:
                if (r->length > sizeof(s->groups) || r->length % sizeof(gid_t))
                        return false;
                memcpy(s->groups, r->bytes, r->length);
                s->n_groups = r->length / sizeof(gid_t);
                return s->has_groups = true;
        case TAG_SECCOMP:
                s->seccomp = r->bytes;
                s->seccomp_size = r->length;
                return r->length > 0 && r->length % sizeof(struct sock_filter) == 0 &&
                       r->length / sizeof(struct sock_filter) <= BPF_MAXINSNS;
        default:
                return r->tag < _TAG_MAX && scalars[r->tag].size > 0 && take_scalar(r, s);
        }
}

/* The next record, or NULL when what is left is none. */
static const Record *next(const uint8_t *p, size_t n, size_t *pos)
{
        const Record *r = (const void *) (p + *pos);
        size_t padded;

        if (n - *pos < sizeof(Record) || r->zero != 0 || r->length > n - *pos - sizeof(Record))
                return NULL;
        padded = sizeof(Record) + (((size_t) r->length + 7) & ~(size_t) 7);
        if (padded > n - *pos)
                return NULL;
        *pos += padded;
        return r;
}

/* Takes every record but the vectors' strings, which it counts. A tag comes once, except in lists. */
static bool take_all(const uint8_t *p, size_t n, SpawnSpec *s, size_t *ret_args, size_t *ret_env)
{
        size_t args = 0, env = 0;
        uint32_t seen = 0, stdio = 0;

        for (size_t pos = sizeof(SpecHeader); pos < n;) {
                const Record *r = next(p, n, &pos);

                if (!r || !take(r, s))
                        return false;
                args += r->tag == TAG_ARG;
                env += r->tag == TAG_ENV;
                stdio += r->tag == TAG_STDIO;
                if (r->tag > TAG_STDIO || r->tag == TAG_CWD) {
                        if (seen & (1U << r->tag))
                                return false;
                        seen |= 1U << r->tag;
                }
        }
        *ret_args = args;
        *ret_env = env;
        return args > 0 && stdio == 3 && s->rlimit_mask < 1U << RLIM_NLIMITS && s->exec_fd_index >= -1 &&
               s->channel_fd_index >= -1 && s->pdeathsig >= 0 && s->pdeathsig <= 64;
}

static void *map_spec(int fd, size_t *ret_size)
{
        const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
        struct stat st;
        SpecHeader h;
        uint8_t *p;

        /* Without the seals the file could shrink under the mapping. */
        if ((fcntl(fd, F_GET_SEALS) & seals) != seals || fstat(fd, &st) < 0)
                return NULL;
        if (st.st_size < (off_t) sizeof(h) || st.st_size > SPAWN_SPEC_MAX)
                return NULL;
        p = mmap(NULL, (size_t) st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
                return NULL;
        memcpy(&h, p, sizeof(h));
        if (h.magic == MAGIC && h.version == VERSION && h.size == (uint64_t) st.st_size) {
                *ret_size = (size_t) st.st_size;
                return p;
        }
        (void) munmap(p, (size_t) st.st_size);
        return NULL;
}

int spawn_spec_decode(int fd, SpawnSpec *ret)
{
        size_t n, pos, n_args, n_env, arg = 0, env = 0;
        uint8_t *p = map_spec(fd, &n);
        SpawnSpec s = { .exec_fd_index = -1, .channel_fd_index = -1 };
        char **vector;

        if (!p)
                return -EBADMSG;
        if (!take_all(p, n, &s, &n_args, &n_env)) {
                (void) munmap(p, n);
                return -EBADMSG;
        }
        /* Two ends and the spare slot promised in spec.h. */
        vector = mmap(NULL, (n_args + n_env + 3) * sizeof(char *), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (vector == MAP_FAILED) {
                (void) munmap(p, n);
                return -ENOMEM;
        }
        pos = sizeof(SpecHeader);
        for (const Record *r; (r = next(p, n, &pos));) {
                if (r->tag == TAG_ARG)
                        vector[arg++] = (char *) r->bytes;
                else if (r->tag == TAG_ENV)
                        vector[n_args + 1 + env++] = (char *) r->bytes;
        }
        s.argv = vector;
        s.envp = vector + n_args + 1;
        *ret = s;
        return 0;
}
