/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The command line as data. verb-table.h names the verbs and options; options_parse() walks argv once and
 * either fills an Options or says in one sentence what is wrong. Options may stand before or after the verb, up
 * to "--". An option of the verb wins over a general one of the same name once the verb has been read: `spawn`
 * has a --user of its own. Pure: neither environment nor system is asked, so that all of it can be tested. */

#include "wire/json.h"

typedef enum Verb {
        VERB_RUN,
        VERB_STATUS,
        VERB_TREE,
        VERB_LIST,
        VERB_LOAD,
        VERB_APPLY,
        VERB_UNLOAD,
        VERB_VALIDATE,
        VERB_SPAWN,
        VERB_CANCEL,
        VERB_KILL,
        VERB_RESTART,
        VERB_START,
        VERB_FREEZE,
        VERB_THAW,
        VERB_SET_LIMIT,
        VERB_EVENTS,
        VERB_TOP,
        VERB_LOGS,
        VERB_FIND,
        VERB_WAIT,
        VERB_CALL,
        VERB_TELL,
        VERB_STREAM,
        VERB_TASKS,
        VERB_BRIDGE,
        VERB_PING,
        VERB_VERSION,
        VERB_HELP,
        _VERB_BUILT_MAX,
        VERB_UNBUILT = _VERB_BUILT_MAX, /* specified, not yet built: `verb_name` says which */
        _VERB_MAX,
        _VERB_INVALID = -1,
} Verb;

typedef enum JsonMode {
        JSON_MODE_OFF,
        JSON_MODE_SHORT,
        JSON_MODE_PRETTY,
        JSON_MODE_AUTO, /* what the output is decides: main() */
        _JSON_MODE_MAX,
} JsonMode;

typedef struct Options {
        Verb verb;
        const char *verb_name; /* weak, as all strings here: they are argv's */
        const char *socket, *run, *host;
        bool user, system, quiet, help;
        JsonMode json;
        const char *backend, *signal, *reason;
        int64_t grace_ms; /* -1: not given */
        bool no_wait, follow, dry_run, until_eof;
        const char *wait_for;    /* "ready" or "gone"; NULL: not given */
        int64_t number;          /* logs: lines; top: screens; -1: not given */
        uint64_t timeout, delay; /* microseconds; USEC_INFINITY, 0: not given */
        Json *child;             /* spawn: the child's keys as far as options gave them; else NULL */
        char **args;             /* owned array of weak strings */
        char *const *command;    /* what followed "--", NULL-terminated; NULL without */
        size_t n_args, args_cap;
} Options;

void options_done(Options *o);

/* 0; -EINVAL with *reterr the sentence to print (the caller's to free); -ENOMEM. */
int options_parse(int argc, char *const *argv, Options *ret, char **reterr);

/* The value of KEY=VALUE: digits alone are a number, anything else is text. */
int json_limit_value(const char *value, Json **ret);

/* "run TREE [--socket PATH] [--backend B]"; NULL out of range. */
const char *verb_synopsis(Verb v);
/* Of a command line that can't be parsed: how it wants to hear of that. */
JsonMode options_json_asked(int argc, char *const *argv);
