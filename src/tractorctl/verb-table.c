/* SPDX-License-Identifier: Apache-2.0 */
#include "tractorctl/verb-table.h"

#define MANY SIZE_MAX
#define ON VERB_BIT
#define WAITING                                                                                             \
        (ON(VERB_LOAD) | ON(VERB_APPLY) | ON(VERB_UNLOAD) | ON(VERB_SPAWN) | ON(VERB_CANCEL) |              \
                        ON(VERB_KILL) | ON(VERB_RESTART) | ON(VERB_START) | ON(VERB_FREEZE) |               \
                        ON(VERB_THAW) | ON(VERB_SET_LIMIT))

const VerbInfo verb_table[_VERB_BUILT_MAX] = {
        [VERB_RUN] = { "run", "TREE [--socket PATH] [--backend B]", "run a tree in the foreground", 1, 1,
                        PATHS_NONE, "run shop.json" },
        [VERB_STATUS] = { "status", "[PATH]", "the supervisor, or one node in detail", 0, 1, PATHS_FIRST,
                        "status /shop/api" },
        [VERB_TREE] = { "tree", "[PATH]", "the supervision tree", 0, 1, PATHS_FIRST, "tree /shop/web" },
        [VERB_LIST] = { "list", "[GLOB]", "one line a node", 0, 1, PATHS_NONE, "list '/shop/web/*'" },
        [VERB_LOAD] = { "load", "FILE [--no-wait]", "start a tree in the running supervisor", 1, 1,
                        PATHS_NONE, "load shop.json" },
        [VERB_APPLY] = { "apply", "FILE [--dry-run] [--no-wait]", "make the running tree what the file says",
                        1, 1, PATHS_NONE, "apply shop.json --dry-run" },
        [VERB_UNLOAD] = { "unload", "PATH… [--no-wait]", "stop and forget", 1, MANY, PATHS_ALL,
                        "unload /shop" },
        [VERB_VALIDATE] = { "validate", "FILE", "check a tree file, one line a problem", 1, 1, PATHS_NONE,
                        "validate shop.json" },
        [VERB_SPAWN] = { "spawn", "PARENT NAME [OPTION…] -- CMD…", "start one more child", 2, 2, PATHS_FIRST,
                        "spawn /shop mail --restart=transient -- ./mail --verbose" },
        [VERB_CANCEL] = { "cancel", "PATH… [--reason TEXT] [--grace-ms N]", "stop for good", 1, MANY,
                        PATHS_ALL, "cancel /shop/api --reason 'moved to db2'" },
        [VERB_KILL] = { "kill", "PATH… [-s SIGNAL]", "signal the main process", 1, MANY, PATHS_ALL,
                        "kill /shop/api -s HUP" },
        [VERB_RESTART] = { "restart", "PATH…", "stop, then start again", 1, MANY, PATHS_ALL,
                        "restart '/shop/web/*'" },
        [VERB_START] = { "start", "PATH…", "start what is dead or failed", 1, MANY, PATHS_ALL,
                        "start '/shop/*'" },
        [VERB_FREEZE] = { "freeze", "PATH…", "take the CPU from a subtree", 1, MANY, PATHS_ALL,
                        "freeze /shop/jobs" },
        [VERB_THAW] = { "thaw", "PATH…", "give it back", 1, MANY, PATHS_ALL, "thaw /shop/jobs" },
        [VERB_SET_LIMIT] = { "set-limit", "PATH KEY=VALUE…", "change limits while it runs", 2, MANY,
                        PATHS_FIRST, "set-limit /shop/api MemoryMax=512M CPUQuota=150%" },
        [VERB_EVENTS] = { "events", "[-f] [PATH]", "the state as events; -f: follow what happens", 0, 1,
                        PATHS_FIRST, "events -f /shop" },
        [VERB_TOP] = { "top", "[PATH] [-n N] [-d S]", "live: CPU, memory, tasks, pressure, restarts", 0, 1,
                        PATHS_FIRST, "top /shop -n 3 -d 5" },
        [VERB_LOGS] = { "logs", "[-f] [-n N] PATH", "what an actor wrote, across its restarts", 1, 1,
                        PATHS_FIRST, "logs -f /shop/api" },
        [VERB_FIND] = { "find", "NAME", "an actor by its name", 1, 1, PATHS_NONE, "find api" },
        [VERB_WAIT] = { "wait", "PATH [--for ready|gone] [--timeout S]", "until it is, there yet or not", 1,
                        1, PATHS_FIRST, "wait /shop/db --timeout 30 && ./migrate" },
        [VERB_CALL] = { "call", "PATH METHOD [JSON]", "ask an actor, print its result", 2, 3, PATHS_FIRST,
                        "call /shop/api price '{\"item\": \"tea\"}'" },
        [VERB_TELL] = { "tell", "PATH METHOD [JSON]", "notify an actor", 2, 3, PATHS_FIRST,
                        "tell /shop/api reload" },
        [VERB_STREAM] = { "stream", "PATH METHOD [JSON]", "a line an item; stdin's lines go up", 2, 3,
                        PATHS_FIRST, "stream /shop/orders watch" },
        [VERB_TASKS] = { "tasks", "PATH", "the tasks of an actor, and what they wait for", 1, 1, PATHS_FIRST,
                        "tasks /shop/api" },
        [VERB_BRIDGE] = { "bridge", "[--until-eof]", "stdin and stdout are the control socket", 0, 0,
                        PATHS_NONE, "bridge --socket /run/tractor/control.sock" },
        [VERB_PING] = { "ping", "", "ask for a sign of life", 0, 0, PATHS_NONE, "ping" },
        [VERB_VERSION] = { "version", "", "of this program and of the supervisor", 0, 0, PATHS_NONE,
                        "version" },
        [VERB_HELP] = { "help", "[VERB]", "this text, or what a verb takes", 0, 1, PATHS_NONE, "help kill" },
};

static const char *const unbuilt[] = {
        "crashes",
        "pool",
        "debug",
        "reexec",
        "metrics",
};

const char *const limit_names[] = {
        "MemoryMax",
        "MemoryHigh",
        "MemoryLow",
        "MemorySwapMax",
        "CPUQuota",
        "CPUWeight",
        "AllowedCPUs",
        "TasksMax",
        "IOWeight",
};
const size_t limit_names_length = ELEMENTSOF(limit_names);

#define FIELD(m) offsetof(Options, m)
#define CHILD(option, k, what, v, text)                                                                     \
        {                                                                                                   \
                .name = (option), .kind = (k), .verbs = ON(VERB_SPAWN), .key = (what), .value = (v),        \
                .help = (text)                                                                              \
        }

const OptionInfo option_table[] = {
        CHILD("restart", OPTION_CHILD_STRING, "restart", "POLICY", "permanent, transient or temporary"),
        CHILD("ready", OPTION_CHILD_READY, "ready", "WHEN",
                        "exec, exited, notify, channel, socket:PATH or file:PATH"),
        CHILD("cwd", OPTION_CHILD_STRING, "cwd", "DIR", "where it starts; here unless given"),
        CHILD("env", OPTION_CHILD_PAIR, "env", "KEY=VALUE", "one more variable"),
        CHILD("env-clear", OPTION_CHILD_TRUE, "env_clear", NULL, "nothing of the inherited environment"),
        CHILD("umask", OPTION_CHILD_STRING, "umask", "MODE", "022 unless given"),
        CHILD("limit", OPTION_CHILD_LIMIT, "limits", "KEY=VALUE", "such as MemoryMax=512M"),
        CHILD("limits-optional", OPTION_CHILD_TRUE, "limits_optional", NULL,
                        "start even where limits can't be kept"),
        CHILD("rlimit", OPTION_CHILD_LIMIT, "rlimits", "KEY=VALUE", "such as NOFILE=1024"),
        CHILD("user", OPTION_CHILD_STRING, "user", "USER", "whom it runs as"),
        CHILD("group", OPTION_CHILD_STRING, "group", "GROUP", "its group"),
        CHILD("stdout", OPTION_CHILD_STRING, "stdout", "WHERE", "journal, inherit, null or file:PATH"),
        CHILD("stderr", OPTION_CHILD_STRING, "stderr", "WHERE", "as --stdout"),
        CHILD("channel", OPTION_CHILD_STRING, "channel", "KIND", "none, fd or stdio"),
        CHILD("seccomp", OPTION_CHILD_STRING, "seccomp", "PROFILE", "such as default"),
        CHILD("stop-signal", OPTION_CHILD_STRING, "stop_signal", "SIGNAL", "SIGTERM unless given"),
        CHILD("grace-ms", OPTION_CHILD_INTEGER, "grace_ms", "N", "how long it may take to stop"),
        CHILD("start-timeout-ms", OPTION_CHILD_INTEGER, "start_timeout_ms", "N",
                        "how long it may take to be ready"),
        CHILD("watchdog-ms", OPTION_CHILD_INTEGER, "watchdog_ms", "N", "killed when silent for so long"),
        CHILD("nice", OPTION_CHILD_INTEGER, "nice", "N", "-20 to 19"),
        CHILD("oom-score-adj", OPTION_CHILD_INTEGER, "oom_score_adj", "N", "-1000 to 1000"),
        CHILD("depends", OPTION_CHILD_ITEM, "depends", "NAME", "one more that must be ready before"),
        CHILD("significant", OPTION_CHILD_TRUE, "significant", NULL, "counts for auto_shutdown"),
        CHILD("description", OPTION_CHILD_STRING, "description", "TEXT", "for people"),
        CHILD("set", OPTION_CHILD_SET, NULL, "KEY=JSON", "any other key of the tree file"),
        { "backend", 0, OPTION_STRING, ON(VERB_RUN), FIELD(backend), NULL, "B",
                        "scope, cgroup or process; the best there is unless given" },
        { "signal", 's', OPTION_STRING, ON(VERB_KILL), FIELD(signal), NULL, "SIGNAL",
                        "a name or a number; SIGTERM unless given" },
        { "reason", 0, OPTION_STRING, ON(VERB_CANCEL), FIELD(reason), NULL, "TEXT", "for the record" },
        { "grace-ms", 0, OPTION_NUMBER, ON(VERB_CANCEL), FIELD(grace_ms), NULL, "N",
                        "how long it may take to stop" },
        { "no-wait", 0, OPTION_FLAG, WAITING, FIELD(no_wait), NULL, NULL, "don't wait for the outcome" },
        { "dry-run", 0, OPTION_FLAG, ON(VERB_APPLY), FIELD(dry_run), NULL, NULL,
                        "touch nothing, say what would be done" },
        { "follow", 'f', OPTION_FLAG, ON(VERB_EVENTS) | ON(VERB_LOGS), FIELD(follow), NULL, NULL,
                        "go on with what comes, until interrupted" },
        { "lines", 'n', OPTION_NUMBER, ON(VERB_LOGS), FIELD(number), NULL, "N", "the last N lines" },
        { "number", 'n', OPTION_NUMBER, ON(VERB_TOP), FIELD(number), NULL, "N", "N tables, and no screen" },
        { "delay", 'd', OPTION_SECONDS, ON(VERB_TOP), FIELD(delay), NULL, "SECONDS",
                        "from one to the next" },
        { "for", 0, OPTION_STRING, ON(VERB_WAIT), FIELD(wait_for), NULL, "ready|gone",
                        "what is waited for; ready unless given" },
        { "timeout", 0, OPTION_SECONDS, ON(VERB_WAIT), FIELD(timeout), NULL, "SECONDS",
                        "for at most so long" },
        { "until-eof", 0, OPTION_FLAG, ON(VERB_BRIDGE), FIELD(until_eof), NULL, NULL,
                        "end with stdin, and wait for nothing more from the socket" },
        { "socket", 0, OPTION_STRING, EVERY_VERB, FIELD(socket), NULL, "PATH",
                        "the supervisor that listens there" },
        { "run", 0, OPTION_STRING, EVERY_VERB, FIELD(run), NULL, "NAME",
                        "that of 'tractorctl run', by its tree" },
        { "host", 'H', OPTION_STRING, EVERY_VERB, FIELD(host), NULL, "[USER@]HOST",
                        "one of another machine, by ssh" },
        { "user", 0, OPTION_FLAG, EVERY_VERB, FIELD(user), NULL, NULL, "the user's service" },
        { "system", 0, OPTION_FLAG, EVERY_VERB, FIELD(system), NULL, NULL, "the system's service" },
        { "json", 0, OPTION_JSON, EVERY_VERB, 0, NULL, "=pretty|short|off",
                        "JSON; alone: pretty on a terminal, else short" },
        { "quiet", 'q', OPTION_FLAG, EVERY_VERB, FIELD(quiet), NULL, NULL,
                        "nothing but what was asked for, and errors" },
        { "help", 'h', OPTION_FLAG, EVERY_VERB, FIELD(help), NULL, NULL, "what the verb takes" },
};
const size_t option_table_length = ELEMENTSOF(option_table);

Verb verb_by_name(const char *name)
{
        for (Verb v = 0; v < _VERB_BUILT_MAX; v++)
                if (streq(verb_table[v].name, name))
                        return v;
        for (size_t i = 0; i < ELEMENTSOF(unbuilt); i++)
                if (streq(unbuilt[i], name))
                        return VERB_UNBUILT;
        return _VERB_INVALID;
}

bool option_in_force(const OptionInfo *i, Verb verb)
{
        return i->verbs == EVERY_VERB || (verb >= 0 && verb < _VERB_BUILT_MAX && (i->verbs & ON(verb)));
}

bool option_takes_value(const OptionInfo *i)
{
        return i->kind != OPTION_FLAG && i->kind != OPTION_CHILD_TRUE && i->kind != OPTION_JSON;
}
