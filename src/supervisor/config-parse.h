/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the parts of the tree file parser share. A table of Keys describes an object: for each key where
 * it may stand, which function reads it, and where its value goes. A Where is the way from the document
 * to a value, kept on the stack and turned into a JSON pointer only when there is a problem to report.
 *
 * Functions that read one value (value_*) answer 1 with the value, 0 when they reported a problem, or a
 * negative errno, which ends the parse. Functions that read into a field (key_*) answer 0 or a negative
 * errno: a problem is not their caller's business, since all problems are to be found at once. */

#include "base/path.h"
#include "supervisor/config.h"

#define CONFIG_MSEC_MAX INT64_C(31536000000) /* a year */
#define CONFIG_TEXT_MAX 1024U
#define CONFIG_ARG_MAX 131071U /* what one argument or variable may hold in Linux, without its NUL */

typedef struct Where {
        const struct Where *up; /* weak; NULL: the document itself */
        const char *key;        /* weak; NULL: item `index` of an array */
        size_t index;
} Where;

typedef struct Parse {
        ConfigProblems *problems; /* weak */
        Strategy strategy;        /* of the supervisor whose children are being read */
        const char *cwd;          /* weak: for actors that name none; NULL: none */
        unsigned depth;
} Parse;

/* Where a key may stand. */
enum {
        KEY_TOP = 1 << 0,
        KEY_SUPERVISOR = 1 << 1,
        KEY_ACTOR = 1 << 2,
        KEY_BRANCH = KEY_TOP | KEY_SUPERVISOR,
        KEY_CHILD = KEY_SUPERVISOR | KEY_ACTOR,
        KEY_ANY = KEY_TOP | KEY_SUPERVISOR | KEY_ACTOR,
};

typedef struct Key Key;
struct Key {
        const char *name;
        unsigned kinds;
        int (*read)(Parse *p, const Where *w, Json *v, const Key *key, void *target);
        size_t offset;            /* of the field in the target */
        int64_t min, max;         /* of an integer; of an enum, max is its _MAX */
        const char *(*word)(int); /* enum → its name in the file */
};

static inline void *key_field(const Key *key, void *target)
{
        return (char *) target + key->offset;
}

/* The keys of a node, for those that must know of every one (config.c). */
const Key *config_node_keys(size_t *ret_n);

/* config-value.c: problems */
int problem(Parse *p, const Where *w, const char *format, ...) _printf_(3, 4);
int problem_unsupported(Parse *p, const Where *w, const char *format, ...) _printf_(3, 4);
int problem_warning(Parse *p, const Where *w, const char *format, ...) _printf_(3, 4);
int problem_type(Parse *p, const Where *w, const Json *v, const char *wanted);
/* The way to a value, to be reported later; the caller's. NULL: out of memory. */
char *where_pointer(const Where *w);
#define SHOWN_MAX 72
/* A peer's text made fit for a message: bounded, whole characters, nothing a terminal obeys. */
const char *shown(char buffer[static SHOWN_MAX], const char *s);
/* The word within two edits of `s`, or NULL. word(i) for i in [0, n). */
const char *nearest_word(const char *s, const char *(*word)(int), int n);

/* config-value.c: values */
int value_text(Parse *p, const Where *w, Json *v, size_t max, const char **ret); /* may be empty */
int value_string(Parse *p, const Where *w, Json *v, size_t max, const char **ret);
int value_integer(Parse *p, const Where *w, Json *v, int64_t min, int64_t max, int64_t *ret);
int value_number(Parse *p, const Where *w, Json *v, double min, double max, double *ret);
/* A path, joined to `cwd` when it is relative; *ret is the caller's. */
int value_path(Parse *p, const Where *w, Json *v, const char *cwd, char **ret);
/* One of word(0 … n-1); `otherwise` is added to the message ("or an object …"), may be NULL. */
int value_word(Parse *p, const Where *w, Json *v, const char *(*word)(int), int n, const char *otherwise,
                int *ret);
/* A program and its arguments: a non-empty array. A relative program needs `cwd`. */
int value_command(Parse *p, const Where *w, Json *v, const char *cwd, char ***ret);

/* config-process.c: a user or group as text, a number written out; *ret is the caller's. */
int value_identity(Parse *p, const Where *w, Json *v, char **ret);

/* config-value.c: fields */
int key_bool(Parse *p, const Where *w, Json *v, const Key *key, void *target);
int key_integer(Parse *p, const Where *w, Json *v, const Key *key, void *target); /* int */
int key_msec(Parse *p, const Where *w, Json *v, const Key *key, void *target);    /* uint64_t, µs */
int key_word(Parse *p, const Where *w, Json *v, const Key *key, void *target);    /* an enum */
int key_text(Parse *p, const Where *w, Json *v, const Key *key,
                void *target); /* char *, at most max bytes */
int key_cgroups(Parse *p, const Where *w, Json *v, const Key *key, void *target);
int key_unsupported(Parse *p, const Where *w, Json *v, const Key *key, void *target);
int read_object(Parse *p, const Where *w, Json *v, const Key *keys, size_t n, unsigned kinds, void *target);

/* The readers of TreeSpec's own fields; target is a TreeSpec. */
#define KEY_READER(name) int key_##name(Parse *p, const Where *w, Json *v, const Key *key, void *target)
/* config-child.c */
KEY_READER(exec);
KEY_READER(cwd);
KEY_READER(env);
KEY_READER(umask);
KEY_READER(restart);
KEY_READER(channel);
KEY_READER(ready);
KEY_READER(expose);
KEY_READER(stop_signal);
KEY_READER(backoff);
KEY_READER(depends);
KEY_READER(output); /* target's field is an Output */
KEY_READER(labels);
/* config-process.c */
KEY_READER(rlimits);
KEY_READER(cpu_affinity);
KEY_READER(user);
KEY_READER(group);
KEY_READER(supplementary_groups);
KEY_READER(capabilities);
KEY_READER(seccomp);
KEY_READER(nice);
KEY_READER(oom_score_adj);
/* config-limits.c */
KEY_READER(limits);
/* CPU numbers as "0-1,3 5" in bits of set[0 … n-1]; false when the text is no such list. */
#define CPU_LIST_MAX 8192U
bool cpu_list_parse(const char *s, uint64_t *set, size_t n);

/* What must hold within one actor once all its keys are read; `w` is the actor's object. */
int config_finish_actor(Parse *p, const Where *w, TreeSpec *t);
void config_finish_identity(TreeSpec *t);
/* What must hold between nodes: names, dependencies, cycles, backoff against intensity (config-check.c). */
int config_check_tree(Parse *p, TreeSpec *top);
