/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The verbs and options as data: what parses a command line, what prints help, and what says "did you mean" all read
 * these two tables. An option belongs to some verbs or to all; the verbs' own stand first, and the first one in force
 * wins. */

#include "tractorctl/options.h"

#define VERB_BIT(v) (UINT32_C(1) << (v))
#define EVERY_VERB UINT32_MAX

typedef enum VerbPaths {
        PATHS_NONE,
        PATHS_FIRST, /* the first argument is a path */
        PATHS_ALL,   /* each is a path, or a pattern */
} VerbPaths;

typedef struct VerbInfo {
        const char *name, *arguments, *help;
        size_t min, max; /* arguments */
        VerbPaths paths;
        const char *example; /* what follows "tractorctl "; lines */
} VerbInfo;

extern const VerbInfo verb_table[_VERB_BUILT_MAX];

typedef enum OptionKind {
        OPTION_FLAG,    /* bool at `offset` */
        OPTION_STRING,  /* const char * at `offset` */
        OPTION_NUMBER,  /* int64_t at `offset`, not negative */
        OPTION_SECONDS, /* microseconds, uint64_t at `offset` */
        OPTION_JSON,    /* its value is behind '=' or missing */
        /* The rest are the child's keys, named by `key`. */
        OPTION_CHILD_STRING,
        OPTION_CHILD_INTEGER,
        OPTION_CHILD_TRUE,
        OPTION_CHILD_ITEM,  /* one more item of an array */
        OPTION_CHILD_PAIR,  /* KEY=VALUE into an object of strings */
        OPTION_CHILD_LIMIT, /* KEY=VALUE, digits alone become a number */
        OPTION_CHILD_READY,
        OPTION_CHILD_SET, /* KEY=JSON */
} OptionKind;

typedef struct OptionInfo {
        const char *name;
        char letter;
        OptionKind kind;
        uint32_t verbs;
        size_t offset;
        const char *key;
        const char *value, *help;
} OptionInfo;

extern const OptionInfo option_table[];
extern const size_t option_table_length;

/* What set-limit and --limit know; the supervisor may know more. */
extern const char *const limit_names[];
extern const size_t limit_names_length;

/* A verb of its name; VERB_UNBUILT for one that is reserved; _VERB_INVALID. */
Verb verb_by_name(const char *name);
/* With _VERB_INVALID: is it one of all verbs? */
bool option_in_force(const OptionInfo *i, Verb verb);
bool option_takes_value(const OptionInfo *i);
