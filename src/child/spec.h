/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a child is to become, from the supervisor that decides it to the child that does it. The supervisor fills
 * a SpawnSpec and encodes it into a pipe, or a sealed memfd where it is large; the keeper passes the descriptor on
 * unread; the child decodes its own copy after clone. So a wrong spec can hurt its own child only, and the keeper
 * knows no policy.
 *
 * The encoding is a header, the struct as it is in memory, the seccomp filter and all strings, in that order. The
 * struct may grow at its end, by members whose zero asks for nothing: a child older than its supervisor takes a
 * longer struct only where what it does not know is zero. It must never run with a restriction left out. */

#include <sched.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/macro.h"

#define SPAWN_SPEC_MAX (4U * 1024 * 1024)
#define SPAWN_SPEC_PIPE_MAX (32U * 1024)
#define SPAWN_GROUPS_MAX 256

/* The child's steps in the order they are taken. Each is written as one byte on the set-up socket before it is
 * begun, so that a death or an errno always has a place. */
typedef enum SpawnStep {
        SPAWN_STEP_CLONE, /* in keeper and spawner */
        SPAWN_STEP_DESCRIPTORS,
        SPAWN_STEP_HOLD,
        SPAWN_STEP_SPEC,
        SPAWN_STEP_SIGNALS,
        SPAWN_STEP_SETSID,
        SPAWN_STEP_OOM_SCORE_ADJ,
        SPAWN_STEP_RLIMITS,
        SPAWN_STEP_NICE,
        SPAWN_STEP_CPU_AFFINITY,
        SPAWN_STEP_UMASK,
        SPAWN_STEP_STDIO,
        SPAWN_STEP_BOUNDING_SET,
        SPAWN_STEP_GROUP,
        SPAWN_STEP_USER,
        SPAWN_STEP_CAPABILITIES,
        SPAWN_STEP_CWD,
        SPAWN_STEP_PDEATHSIG,
        SPAWN_STEP_NO_NEW_PRIVS,
        SPAWN_STEP_SECCOMP,
        SPAWN_STEP_EXEC,
        _SPAWN_STEP_MAX,
        _SPAWN_STEP_INVALID = -1,
} SpawnStep;

/* "clone", "descriptors", … "exec"; NULL out of range. */
const char *spawn_step_name(int step);

typedef enum StdioKind {
        STDIO_NULL,
        STDIO_INHERIT, /* the keeper's own */
        STDIO_JOURNAL, /* a stream of its own to journald */
        STDIO_FILE,    /* `path`, O_APPEND|O_CREAT, mode 0640 */
        STDIO_FD,      /* `fd_index`: one of the descriptors sent with SPAWN */
} StdioKind;

typedef struct StdioSpec {
        StdioKind kind;
        const char *path;       /* STDIO_FILE */
        const char *identifier; /* STDIO_JOURNAL: SYSLOG_IDENTIFIER */
        int priority;           /* STDIO_JOURNAL: facility | level of lines without a <N> prefix */
        int fd_index;           /* STDIO_FD */
} StdioSpec;

typedef struct SpawnSpec {
        char *const *argv; /* at least one; argv[0] is looked up in env's PATH when it has no '/' */
        char *const *envp; /* complete: nothing is added but TRACTOR_CHANNEL_FD (decoded: a spare slot follows NULL) */
        const char *cwd; /* absolute, or NULL for "/" */
        StdioSpec stdio[3];
        const char *journal_unit; /* told to journald beside each stream, for lines of who is gone at once; NULL: none */
        int exec_fd_index;    /* run this descriptor instead of argv[0]; -1: none */
        int channel_fd_index; /* left open across exec, its number put into TRACTOR_CHANNEL_FD; -1: none */

        /* Bits, so that no encoding can hold another value than 0 and 1. */
        bool has_umask : 1, has_nice : 1, has_oom_score_adj : 1, has_affinity : 1, has_uid : 1, has_gid : 1,
                        has_groups : 1, has_caps : 1, no_new_privs : 1, setsid : 1;
        mode_t umask;
        int nice, oom_score_adj;
        cpu_set_t affinity;
        uint32_t rlimit_mask; /* bit i: rlimits[i] is set */
        struct rlimit rlimits[RLIM_NLIMITS];
        uid_t uid;
        gid_t gid;
        gid_t groups[SPAWN_GROUPS_MAX];
        size_t n_groups;
        uint64_t caps;       /* bounding, inheritable, permitted, effective and ambient alike */
        int pdeathsig;       /* 0: none; sent when the keeper dies */
        const void *seccomp; /* an array of struct sock_filter */
        size_t seccomp_size; /* bytes */
} SpawnSpec;

/* Encodes into a descriptor, which is returned and can be decoded once. -E2BIG past SPAWN_SPEC_MAX, -EINVAL without argv. */
int spawn_spec_encode(const SpawnSpec *spec);

/* Decodes what spawn_spec_encode() has made; pointers in *ret point into one mapping for the bytes and into one
 * for the vectors, both never freed (execve or _exit follows). Async-signal-safe: neither
 * malloc nor stdio. -EBADMSG for anything malformed. Does not consume fd. */
int spawn_spec_decode(int fd, SpawnSpec *ret);
