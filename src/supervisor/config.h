/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A tree file, parsed and checked. config_parse_tree() reads the JSON of docs/protocol.md §6 into
 * TreeSpec nodes or into the complete list of problems, each with a JSON pointer at the value at fault;
 * nothing starts from a wrong file. A key that is specified but not yet built is a problem of its own
 * kind (unsupported), so that the answer is -32010 by name. Pointers are RFC 6901. Pure, but for a
 * percentage of memory, which asks for the machine's. Users and groups given by number are resolved here,
 * those given by name later (resolve.h). */

#include <sched.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "supervisor/core/core.h"
#include "wire/json.h"

typedef enum Limit {
        LIMIT_MEMORY_MAX,
        LIMIT_MEMORY_HIGH,
        LIMIT_MEMORY_LOW,
        LIMIT_MEMORY_SWAP_MAX,
        LIMIT_CPU_QUOTA, /* µs of CPU a second: 150% is 1 500 000 */
        LIMIT_CPU_WEIGHT,
        LIMIT_ALLOWED_CPUS, /* bit mask of the first 64 in `values`; the text is kept */
        LIMIT_TASKS_MAX,
        LIMIT_IO_WEIGHT,
        _LIMIT_MAX,
        _LIMIT_INVALID = -1,
} Limit;

#define LIMIT_INFINITY UINT64_MAX

typedef struct Limits {
        uint32_t set; /* bit per Limit */
        uint64_t values[_LIMIT_MAX];
        char *allowed_cpus; /* canonical list such as "0-1,4" */
} Limits;

const char *limit_name(Limit l);       /* "MemoryMax" … */
const char *limit_controller(Limit l); /* "memory" "cpu" "cpuset" "pids" "io" */
Limit limit_from_name(const char *name);
/* One value as systemd writes it: "512M", "150%", "infinity", 256; also JSON integers. "" resets are
 * refused. 0 or -EINVAL with *reterr a constant sentence naming the accepted form. */
int limits_set_from_json(Limits *l, Limit which, const Json *value, const char **reterr);
int limits_set_from_string(Limits *l, Limit which, const char *value, const char **reterr);
/* The object of what is set, in protocol form; NULL *ret when nothing is. */
int limits_to_json(const Limits *l, Json **ret);
void limits_done(Limits *l);
int limits_copy(const Limits *l, Limits *ret);

typedef enum ReadyKind {
        READY_EXEC,
        READY_EXITED,
        READY_NOTIFY,
        READY_CHANNEL,
        READY_SOCKET,
        READY_FILE,
        READY_COMMAND,
        _READY_MAX,
} ReadyKind;

/* As a tree file names it: "exec", "socket" … */
const char *ready_kind_to_string(ReadyKind k);

typedef enum OutputKind {
        OUTPUT_DEFAULT, /* journal where there is one, else a bounded file */
        OUTPUT_JOURNAL, /* asked for by name: without a journal it is the bounded file, too */
        OUTPUT_INHERIT,
        OUTPUT_NULL,
        OUTPUT_FILE,
} OutputKind;

typedef struct Output {
        OutputKind kind;
        char *path; /* OUTPUT_FILE: absolute */
} Output;
static inline bool output_is_logged(const Output *o)
{
        return o->kind == OUTPUT_DEFAULT || o->kind == OUTPUT_JOURNAL;
}

typedef enum ChannelKind {
        CHANNEL_NONE,
        CHANNEL_FD,
        CHANNEL_STDIO,
} ChannelKind;

/* Children of one node are in file order. A supervisor has `children`, an actor has `exec`. */
typedef struct TreeSpec TreeSpec;
struct TreeSpec {
        NodeSpec node; /* name, depends point into this struct's own copies below */
        char *name;
        char **depends;
        char *description;
        Json *labels; /* object of strings or NULL */
        Limits limits;
        bool limits_optional;
        int log_level; /* of syslog(3); -1: that of the supervisor above */
        TreeSpec **children;
        size_t n_children, children_cap;
        uid_t guest; /* whose request it came with (quotas.h); 0: root's, the owner's or none */

        char **exec;
        char *entry, *entry_args; /* what it is told of its part in a program given by descriptor (entry.h), or NULL */
        int entry_fd;             /* that program, run in the place of exec[0]; -EBADF: none */
        char *cwd;
        Json *env; /* object of strings or NULL */
        bool env_clear;
        mode_t umask;
        int stop_signal;
        ReadyKind ready;
        char *ready_path; /* socket, file; absolute */
        char **ready_command;
        uint64_t ready_interval_usec;
        ChannelKind channel;
        bool has_expose;
        char **expose; /* methods that others may call */
        Output out, err;
        uint32_t rlimit_mask;
        struct rlimit rlimits[RLIM_NLIMITS];
        bool has_nice, has_oom_score_adj, has_affinity, has_caps;
        bool has_groups;  /* the supplementary groups are to be set: given, or none because `user` is */
        bool has_backoff; /* given, not the default */
        int nice, oom_score_adj;
        cpu_set_t affinity;
        uint64_t caps;
        bool no_new_privs;  /* default true */
        char *seccomp;      /* profile name, or NULL */
        char *user, *group; /* as written: a name or a number; resolved before the tree starts */
        char **groups;
        bool resolved; /* uid, gid, gids hold the answer */
        uid_t uid;
        gid_t gid;
        gid_t *gids;
        size_t n_gids;
        int refs; /* an Actor and its TreeSpec may outlive the tree's own copy */
};

typedef struct ConfigProblem {
        char *pointer; /* "/children/0/exec" */
        char *message;
        bool unsupported; /* specified, not yet built: -32010 */
        bool warning;     /* does not stop the load */
} ConfigProblem;

typedef struct ConfigProblems {
        ConfigProblem *items;
        size_t n, cap;
        size_t n_warnings;
        size_t bytes; /* of all texts */
        bool full;    /* the last item says that there are more */
} ConfigProblems;

void config_problems_done(ConfigProblems *p);
size_t config_problems_errors(const ConfigProblems *p); /* without warnings */
/* [{pointer, message}], warnings left out */
int config_problems_to_json(const ConfigProblems *p, Json **ret);
int config_problem_add(ConfigProblems *p, const char *pointer, bool unsupported, const char *format, ...)
                _printf_(4, 5);

/* 0 and *ret when there is no problem but warnings; -EINVAL when problems hold at least one error;
 * -ENOMEM. Checks everything that needs no running system: types, ranges, unknown keys, duplicate names,
 * dependency targets inside this tree and cycles, strategy and restart in contradiction, a relative
 * program without cwd. */
int config_parse_tree(Json *tree, TreeSpec **ret, ConfigProblems *problems);
/* The same; `cwd` (may be NULL) is for actors that name none. */
int config_parse_tree_in(Json *tree, const char *cwd, TreeSpec **ret, ConfigProblems *problems);
/* The params of actor.spawn without parent, want and entry: one child under a supervisor of `strategy`. */
int config_parse_child(Json *child, Strategy strategy, TreeSpec **ret, ConfigProblems *problems);

TreeSpec *tree_spec_ref(TreeSpec *t);
TreeSpec *tree_spec_unref(TreeSpec *t);
DEFINE_CLEANUP(TreeSpec *, tree_spec_unref);

#define _LOG_LEVEL_MAX 8
const char *log_level_word(int i); /* 0 … 7: "emerg" … "debug" */
/* "TERM", "SIGTERM", "15" → 15; -EINVAL. */
int signal_from_name(const char *s);
/* 9 → "SIGKILL"; NULL for an unknown one. */
const char *signal_to_name(int signo);
