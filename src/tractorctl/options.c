/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "base/usec.h"
#include "tractorctl/options.h"

#define MANY SIZE_MAX
#define SECONDS_MAX 1e9
#define ON(v) (UINT32_C(1) << (v))
#define EVERY_VERB UINT32_MAX
#define WAITING                                                                                             \
        (ON(VERB_LOAD) | ON(VERB_APPLY) | ON(VERB_UNLOAD) | ON(VERB_SPAWN) | ON(VERB_CANCEL) |              \
                        ON(VERB_KILL) | ON(VERB_RESTART) | ON(VERB_START) | ON(VERB_FREEZE) |               \
                        ON(VERB_THAW) | ON(VERB_SET_LIMIT))

static const struct {
        const char *name, *arguments, *help;
        size_t min, max;
} verbs[_VERB_BUILT_MAX] = {
        [VERB_RUN] = { "run", "TREE [--socket PATH] [--backend B]", "run a tree in the foreground", 1, 1 },
        [VERB_STATUS] = { "status", "[PATH]", "the supervisor, or one node in detail", 0, 1 },
        [VERB_TREE] = { "tree", "[PATH]", "the supervision tree", 0, 1 },
        [VERB_LIST] = { "list", "[GLOB]", "one line a node", 0, 1 },
        [VERB_LOAD] = { "load", "FILE [--no-wait]", "start a tree in the running supervisor", 1, 1 },
        [VERB_APPLY] = { "apply", "FILE [--dry-run] [--no-wait]", "make the running tree what the file says",
                        1, 1 },
        [VERB_UNLOAD] = { "unload", "PATH [--no-wait]", "stop a tree and forget it", 1, 1 },
        [VERB_VALIDATE] = { "validate", "FILE", "check a tree file, one line a problem", 1, 1 },
        [VERB_SPAWN] = { "spawn", "PARENT NAME [OPTION…] -- CMD…", "start one more child", 2, 2 },
        [VERB_CANCEL] = { "cancel", "PATH… [--reason TEXT] [--grace-ms N]", "stop for good", 1, MANY },
        [VERB_KILL] = { "kill", "PATH… [-s SIGNAL]", "signal the main process", 1, MANY },
        [VERB_RESTART] = { "restart", "PATH…", "stop, then start again", 1, MANY },
        [VERB_START] = { "start", "PATH…", "start what is dead or failed", 1, MANY },
        [VERB_FREEZE] = { "freeze", "PATH…", "take the CPU from a subtree", 1, MANY },
        [VERB_THAW] = { "thaw", "PATH…", "give it back", 1, MANY },
        [VERB_SET_LIMIT] = { "set-limit", "PATH KEY=VALUE…", "change limits while it runs", 2, MANY },
        [VERB_EVENTS] = { "events", "[-f] [PATH]", "the state as events; -f: follow what happens", 0, 1 },
        [VERB_TOP] = { "top", "[PATH] [-n N] [-d S]", "live: CPU, memory, tasks, pressure, restarts", 0, 1 },
        [VERB_LOGS] = { "logs", "[-f] [-n N] PATH", "what an actor wrote, across its restarts", 1, 1 },
        [VERB_FIND] = { "find", "NAME", "an actor by its name", 1, 1 },
        [VERB_WAIT] = { "wait", "PATH [--for ready|gone] [--timeout S]", "until it is, there yet or not", 1,
                        1 },
        [VERB_CALL] = { "call", "PATH METHOD [JSON]", "ask an actor, print its result", 2, 3 },
        [VERB_TELL] = { "tell", "PATH METHOD [JSON]", "notify an actor", 2, 3 },
        [VERB_STREAM] = { "stream", "PATH METHOD [JSON]", "a line an item; stdin's lines go up", 2, 3 },
        [VERB_TASKS] = { "tasks", "PATH", "the tasks of an actor, and what they wait for", 1, 1 },
        [VERB_BRIDGE] = { "bridge", "", "stdin and stdout are the control socket", 0, 0 },
        [VERB_PING] = { "ping", "", "ask for a sign of life", 0, 0 },
        [VERB_VERSION] = { "version", "", "of this program and of the supervisor", 0, 0 },
        [VERB_HELP] = { "help", "", "this text", 0, MANY },
};

static const char *const unbuilt[] = {
        "crashes",
        "pool",
        "debug",
        "reexec",
        "metrics",
};

typedef enum OptionKind {
        OPTION_FLAG,    /* bool at `offset` */
        OPTION_STRING,  /* const char * at `offset` */
        OPTION_NUMBER,  /* int64_t at `offset`, not negative */
        OPTION_SECONDS, /* microseconds, uint64_t at `offset` */
        OPTION_JSON,
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
} OptionInfo;

#define FIELD(m) offsetof(Options, m)
#define CHILD(option, k, what)                                                                              \
        {                                                                                                   \
                .name = (option), .kind = (k), .verbs = ON(VERB_SPAWN), .key = (what)                       \
        }

/* The verbs' own first: the first match in force wins. */
static const OptionInfo options[] = {
        CHILD("restart", OPTION_CHILD_STRING, "restart"),
        CHILD("ready", OPTION_CHILD_READY, "ready"),
        CHILD("cwd", OPTION_CHILD_STRING, "cwd"),
        CHILD("env", OPTION_CHILD_PAIR, "env"),
        CHILD("env-clear", OPTION_CHILD_TRUE, "env_clear"),
        CHILD("umask", OPTION_CHILD_STRING, "umask"),
        CHILD("limit", OPTION_CHILD_LIMIT, "limits"),
        CHILD("limits-optional", OPTION_CHILD_TRUE, "limits_optional"),
        CHILD("rlimit", OPTION_CHILD_LIMIT, "rlimits"),
        CHILD("user", OPTION_CHILD_STRING, "user"),
        CHILD("group", OPTION_CHILD_STRING, "group"),
        CHILD("stdout", OPTION_CHILD_STRING, "stdout"),
        CHILD("stderr", OPTION_CHILD_STRING, "stderr"),
        CHILD("channel", OPTION_CHILD_STRING, "channel"),
        CHILD("seccomp", OPTION_CHILD_STRING, "seccomp"),
        CHILD("stop-signal", OPTION_CHILD_STRING, "stop_signal"),
        CHILD("grace-ms", OPTION_CHILD_INTEGER, "grace_ms"),
        CHILD("start-timeout-ms", OPTION_CHILD_INTEGER, "start_timeout_ms"),
        CHILD("watchdog-ms", OPTION_CHILD_INTEGER, "watchdog_ms"),
        CHILD("nice", OPTION_CHILD_INTEGER, "nice"),
        CHILD("oom-score-adj", OPTION_CHILD_INTEGER, "oom_score_adj"),
        CHILD("depends", OPTION_CHILD_ITEM, "depends"),
        CHILD("significant", OPTION_CHILD_TRUE, "significant"),
        CHILD("description", OPTION_CHILD_STRING, "description"),
        CHILD("set", OPTION_CHILD_SET, NULL),
        { "backend", 0, OPTION_STRING, ON(VERB_RUN), FIELD(backend), NULL },
        { "signal", 's', OPTION_STRING, ON(VERB_KILL), FIELD(signal), NULL },
        { "reason", 0, OPTION_STRING, ON(VERB_CANCEL), FIELD(reason), NULL },
        { "grace-ms", 0, OPTION_NUMBER, ON(VERB_CANCEL), FIELD(grace_ms), NULL },
        { "no-wait", 0, OPTION_FLAG, WAITING, FIELD(no_wait), NULL },
        { "dry-run", 0, OPTION_FLAG, ON(VERB_APPLY), FIELD(dry_run), NULL },
        { "follow", 'f', OPTION_FLAG, ON(VERB_EVENTS) | ON(VERB_LOGS), FIELD(follow), NULL },
        { "lines", 'n', OPTION_NUMBER, ON(VERB_LOGS), FIELD(number), NULL },
        { "number", 'n', OPTION_NUMBER, ON(VERB_TOP), FIELD(number), NULL },
        { "delay", 'd', OPTION_SECONDS, ON(VERB_TOP), FIELD(delay), NULL },
        { "for", 0, OPTION_STRING, ON(VERB_WAIT), FIELD(wait_for), NULL },
        { "timeout", 0, OPTION_SECONDS, ON(VERB_WAIT), FIELD(timeout), NULL },
        { "socket", 0, OPTION_STRING, EVERY_VERB, FIELD(socket), NULL },
        { "run", 0, OPTION_STRING, EVERY_VERB, FIELD(run), NULL },
        { "host", 'H', OPTION_STRING, EVERY_VERB, FIELD(host), NULL },
        { "user", 0, OPTION_FLAG, EVERY_VERB, FIELD(user), NULL },
        { "system", 0, OPTION_FLAG, EVERY_VERB, FIELD(system), NULL },
        { "json", 0, OPTION_JSON, EVERY_VERB, 0, NULL },
        { "quiet", 'q', OPTION_FLAG, EVERY_VERB, FIELD(quiet), NULL },
        { "help", 'h', OPTION_FLAG, EVERY_VERB, FIELD(help), NULL },
};

void options_done(Options *o)
{
        free(o->args);
        o->args = NULL;
        o->n_args = o->args_cap = 0;
        o->child = json_unref(o->child);
}

const char *verb_synopsis(Verb v)
{
        static char text[128];

        if (v < 0 || v >= _VERB_BUILT_MAX)
                return NULL;
        (void) snprintf(text, sizeof(text), "%s %s", verbs[v].name, verbs[v].arguments);
        return text;
}

/* Sets *reterr to a sentence, and gives -EINVAL, or -ENOMEM when there is no room even for that. */
#define REFUSE(...) ((*reterr = xasprintf(__VA_ARGS__)) ? -EINVAL : -ENOMEM)

static int verb_find(const char *name, Verb *ret)
{
        for (Verb v = 0; v < _VERB_BUILT_MAX; v++)
                if (streq(verbs[v].name, name)) {
                        *ret = v;
                        return 0;
                }
        for (size_t i = 0; i < ELEMENTSOF(unbuilt); i++)
                if (streq(unbuilt[i], name)) {
                        *ret = VERB_UNBUILT;
                        return 0;
                }
        return -ENOENT;
}

static bool option_in_force(const OptionInfo *i, Verb verb)
{
        return i->verbs == EVERY_VERB || (verb >= 0 && verb < _VERB_BUILT_MAX && (i->verbs & ON(verb)));
}

/* `n` bytes of `name`, or the one letter when n is 0. *ret_elsewhere: the name exists, but not here. */
static const OptionInfo *option_find(const char *name, size_t n, Verb verb, bool *ret_elsewhere)
{
        *ret_elsewhere = false;
        for (size_t k = 0; k < ELEMENTSOF(options); k++) {
                const OptionInfo *i = &options[k];
                bool same = n == 0 ? i->letter && i->letter == *name
                                   : strlen(i->name) == n && strncmp(i->name, name, n) == 0;

                if (same && option_in_force(i, verb))
                        return i;
                *ret_elsewhere |= same;
        }
        return NULL;
}

static bool option_takes_value(const OptionInfo *i)
{
        return i->kind != OPTION_FLAG && i->kind != OPTION_CHILD_TRUE;
}

static int parse_integer(const OptionInfo *i, const char *value, int64_t *ret, char **reterr)
{
        char *end;
        long long n;

        errno = 0;
        n = strtoll(value, &end, 10);
        if (errno != 0 || end == value || *end != 0)
                return REFUSE("--%s wants a whole number, not '%s'", i->name, value);
        *ret = n;
        return 0;
}

/* "2", "0.5"; a day's worth of seconds and more is still below the bound. */
static int parse_seconds(const OptionInfo *i, const char *value, uint64_t *ret, char **reterr)
{
        char *end;
        double v = strtod(value, &end);

        if (end == value || *end != 0 || strspn(value, "0123456789.") != strlen(value) || v > SECONDS_MAX)
                return REFUSE("--%s wants seconds, such as 2 or 0.5, not '%s'", i->name, value);
        *ret = (uint64_t) (v * USEC_PER_SEC);
        return 0;
}

static int parse_json_mode(Options *o, const char *value, char **reterr)
{
        if (streq(value, "pretty"))
                o->json = JSON_MODE_PRETTY;
        else if (streq(value, "short"))
                o->json = JSON_MODE_SHORT;
        else if (streq(value, "off"))
                o->json = JSON_MODE_OFF;
        else
                return REFUSE("--json wants pretty, short or off, not '%s'", value);
        return 0;
}

/* The array or object under `key` of the child, made where none is there yet. */
static int child_container(Options *o, const char *key, JsonType type, Json **ret)
{
        Json *v;
        int r;

        if (json_type(json_get(o->child, key)) != type) {
                r = json_pack(&v, type == JSON_ARRAY ? "[]" : "{}");
                if (r < 0)
                        return r;
                r = json_set(o->child, key, v);
                if (r < 0)
                        return r;
        }
        *ret = json_get(o->child, key);
        return 0;
}

static int set_string(Json *object, const char *key, const char *value)
{
        Json *v;
        int r = json_pack(&v, "s", value);

        return r < 0 ? r : json_set(object, key, v);
}

int json_limit_value(const char *value, Json **ret)
{
        bool digits = *value && strspn(value, "0123456789") == strlen(value) && strlen(value) < 19;

        if (digits)
                return json_pack(ret, "I", (int64_t) strtoll(value, NULL, 10));
        return json_pack(ret, "s", value);
}

static int child_pair(Options *o, const OptionInfo *i, const char *value, char **reterr)
{
        const char *eq = strchr(value, '=');
        _cleanup_free_ char *key = NULL;
        Json *object, *v;
        int r;

        if (!eq || eq == value)
                return REFUSE("--%s wants KEY=VALUE, not '%s'", i->name, value);
        key = strndup(value, (size_t) (eq - value));
        if (!key)
                return -ENOMEM;
        r = child_container(o, i->key, JSON_OBJECT, &object);
        if (r < 0)
                return r;
        r = i->kind == OPTION_CHILD_LIMIT ? json_limit_value(eq + 1, &v) : json_pack(&v, "s", eq + 1);
        return r < 0 ? r : json_set(object, key, v);
}

static int child_set(Options *o, const char *value, char **reterr)
{
        const char *eq = strchr(value, '=');
        _cleanup_free_ char *key = NULL;
        JsonError e;
        Json *v;
        int r;

        if (!eq || eq == value)
                return REFUSE("--set wants KEY=JSON, not '%s'", value);
        key = strndup(value, (size_t) (eq - value));
        if (!key)
                return -ENOMEM;
        r = json_parse(eq + 1, strlen(eq + 1), NULL, &v, &e);
        if (r == -EBADMSG)
                return REFUSE("--set %s: not JSON: %s (text wants quotes of its own)", key, e.message);
        return r < 0 ? r : json_set(o->child, key, v);
}

/* "exec", "socket:PATH", "file:PATH", "log:REGEX", or the JSON object of the tree file. */
static int child_ready(Options *o, const char *value, char **reterr)
{
        static const char *const kinds[] = { "socket", "file", "log" };
        JsonError e;
        Json *v;
        int r;

        for (size_t k = 0; k < ELEMENTSOF(kinds); k++) {
                const char *rest = startswith(value, kinds[k]);

                if (!rest || *rest != ':')
                        continue;
                r = child_container(o, "ready", JSON_OBJECT, &v);
                return r < 0 ? r : set_string(v, kinds[k], rest + 1);
        }
        if (*value != '{')
                return set_string(o->child, "ready", value);
        r = json_parse(value, strlen(value), NULL, &v, &e);
        if (r == -EBADMSG)
                return REFUSE("--ready: not JSON: %s", e.message);
        return r < 0 ? r : json_set(o->child, "ready", v);
}

static int child_option(Options *o, const OptionInfo *i, const char *value, char **reterr)
{
        int64_t n;
        Json *v, *item;
        int r;

        if (!o->child) {
                r = json_pack(&o->child, "{}");
                if (r < 0)
                        return r;
        }
        switch (i->kind) {
        case OPTION_CHILD_STRING:
                return set_string(o->child, i->key, value);
        case OPTION_CHILD_INTEGER:
                r = parse_integer(i, value, &n, reterr);
                if (r < 0)
                        return r;
                r = json_pack(&v, "I", n);
                return r < 0 ? r : json_set(o->child, i->key, v);
        case OPTION_CHILD_TRUE:
                r = json_pack(&v, "b", 1);
                return r < 0 ? r : json_set(o->child, i->key, v);
        case OPTION_CHILD_ITEM:
                r = child_container(o, i->key, JSON_ARRAY, &v);
                if (r < 0)
                        return r;
                r = json_pack(&item, "s", value);
                return r < 0 ? r : json_append(v, item);
        case OPTION_CHILD_PAIR:
        case OPTION_CHILD_LIMIT:
                return child_pair(o, i, value, reterr);
        case OPTION_CHILD_READY:
                return child_ready(o, value, reterr);
        default:
                return child_set(o, value, reterr);
        }
}

static int option_apply(Options *o, const OptionInfo *i, const char *value, char **reterr)
{
        char *field = (char *) o + i->offset;
        int r;

        switch (i->kind) {
        case OPTION_FLAG:
                *(bool *) field = true;
                return 0;
        case OPTION_STRING:
                if (*value == 0)
                        return REFUSE("--%s wants a value, not nothing", i->name);
                memcpy(field, &value, sizeof(value));
                return 0;
        case OPTION_JSON:
                return parse_json_mode(o, value, reterr);
        case OPTION_NUMBER:
                r = parse_integer(i, value, (int64_t *) (void *) field, reterr);
                if (r == 0 && *(int64_t *) (void *) field < 0)
                        return REFUSE("--%s can't be negative", i->name);
                return r;
        case OPTION_SECONDS:
                return parse_seconds(i, value, (uint64_t *) (void *) field, reterr);
        default:
                return child_option(o, i, value, reterr);
        }
}

static int unknown_option(const Options *o, const char *arg, bool elsewhere, char **reterr)
{
        if (elsewhere && o->verb >= 0)
                return REFUSE("'%s' has no option %s; see 'tractorctl help'", o->verb_name, arg);
        if (elsewhere)
                return REFUSE("option %s goes behind its verb; see 'tractorctl help'", arg);
        return REFUSE("no such option: %s; see 'tractorctl help'", arg);
}

/* argv[*pos] begins with '-'. Takes the value from behind '=' or from the next word. */
static int take_option(Options *o, int argc, char *const *argv, int *pos, char **reterr)
{
        const char *arg = argv[*pos], *name = arg, *value = NULL;
        const OptionInfo *i;
        bool elsewhere;

        if (arg[1] == '-') {
                name = arg + 2;
                value = strchr(name, '=');
                i = option_find(name, value ? (size_t) (value - name) : strlen(name), o->verb, &elsewhere);
                if (value)
                        value++;
        } else {
                name = arg + 1;
                i = option_find(name, 0, o->verb, &elsewhere);
                if (arg[2])
                        value = arg + 2;
        }
        if (!i || (arg[1] == '-' && name[0] == 0))
                return unknown_option(o, arg, elsewhere, reterr);
        if (!option_takes_value(i)) {
                if (value)
                        return REFUSE("--%s takes no value", i->name);
        } else if (!value) {
                if (*pos + 1 >= argc)
                        return REFUSE("%s wants a value", arg);
                value = argv[++*pos];
        }
        return option_apply(o, i, value, reterr);
}

static int take_word(Options *o, char *word, char **reterr)
{
        if (o->verb < 0) {
                o->verb_name = word;
                if (verb_find(word, &o->verb) < 0)
                        return REFUSE("no such verb: '%s'; see 'tractorctl help'", word);
                return 0;
        }
        if (GROW(o->args, o->args_cap, o->n_args + 1) < 0)
                return -ENOMEM;
        o->args[o->n_args++] = word;
        return 0;
}

/* What can only be judged once all has been read. */
static int check_whole(const Options *o, char **reterr)
{
        unsigned places = !!o->socket + !!o->run + o->user + o->system;

        if (o->help || o->verb == VERB_HELP || o->verb == VERB_UNBUILT)
                return 0;
        if (o->verb < 0)
                return REFUSE("no verb given; see 'tractorctl help'");
        if (places > 1)
                return REFUSE("only one of --socket, --run, --user and --system can be given");
        /* ssh would take it for an option of its own. */
        if (o->host && (o->host[0] == '-' || strpbrk(o->host, " \t\n")))
                return REFUSE("-H wants [USER@]HOST, not '%s'", o->host);
        if (o->verb == VERB_RUN && (o->host || places > !!o->socket))
                return REFUSE("'run' starts a supervisor of its own: of these options only --socket fits");
        if (o->n_args < verbs[o->verb].min || o->n_args > verbs[o->verb].max)
                return REFUSE("usage: tractorctl %s", verb_synopsis(o->verb));
        if (o->verb == VERB_SPAWN ? !o->command || !o->command[0] : !!o->command)
                return REFUSE("usage: tractorctl %s", verb_synopsis(o->verb));
        if (o->backend && !streq(o->backend, "scope") && !streq(o->backend, "cgroup") &&
                        !streq(o->backend, "process"))
                return REFUSE("--backend wants scope, cgroup or process, not '%s'", o->backend);
        if (o->wait_for && !streq(o->wait_for, "ready") && !streq(o->wait_for, "gone"))
                return REFUSE("--for wants ready or gone, not '%s'", o->wait_for);
        for (size_t i = 1; o->verb == VERB_SET_LIMIT && i < o->n_args; i++)
                if (!strchr(o->args[i], '=') || o->args[i][0] == '=')
                        return REFUSE("a limit is written KEY=VALUE, not '%s'", o->args[i]);
        return 0;
}

int options_parse(int argc, char *const *argv, Options *ret, char **reterr)
{
        Options o = { .verb = _VERB_INVALID, .grace_ms = -1, .number = -1, .timeout = USEC_INFINITY };
        bool words_only = false;
        int r = 0;

        *reterr = NULL;
        for (int i = 1; r >= 0 && i < argc; i++) {
                if (!words_only && streq(argv[i], "--")) {
                        words_only = true;
                        if (o.verb == VERB_SPAWN) {
                                o.command = argv + i + 1;
                                break;
                        }
                } else if (!words_only && argv[i][0] == '-' && argv[i][1])
                        r = take_option(&o, argc, argv, &i, reterr);
                else
                        r = take_word(&o, argv[i], reterr);
                /* What a verb not yet built would accept isn't known here. */
                if (o.verb == VERB_UNBUILT || o.verb == VERB_HELP)
                        break;
        }
        if (r >= 0)
                r = check_whole(&o, reterr);
        if (r < 0) {
                options_done(&o);
                return r;
        }
        *ret = o;
        return 0;
}

/* printf() pads by bytes; the only character here that has more than one is the ellipsis, of three. */
static void put_verb(FILE *f, Verb v)
{
        const char *synopsis = verb_synopsis(v);
        int width = 46;

        for (const char *s = synopsis; (s = strstr(s, "…")); s++)
                width += 2;
        fprintf(f, "  %-*s %s\n", width, synopsis, verbs[v].help);
}

char *options_help(void)
{
        char *text = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&text, &n);

        if (!f)
                return NULL;
        fputs("tractorctl [-H [USER@]HOST] [--user|--system|--socket PATH|--run NAME] "
              "[--json=pretty|short|off]\n    [-q] VERB …\n\n",
                        f);
        for (Verb v = 0; v < _VERB_BUILT_MAX; v++)
                put_verb(f, v);
        fputs("\nOptions of spawn, each a key of the tree file:\n ", f);
        for (size_t i = 0, column = 1; i < ELEMENTSOF(options) && options[i].verbs == ON(VERB_SPAWN); i++) {
                column += strlen(options[i].name) + 3;
                if (column > 76) {
                        fputs("\n ", f);
                        column = strlen(options[i].name) + 4;
                }
                fprintf(f, " --%s", options[i].name);
        }
        fputs("\n\nExit codes: 0 done, 1 failed, 2 usage, 3 not running or not found, 4 permission denied,\n"
              "5 no supervisor to talk to. See tractorctl(1) and tractor-tree(5).\n",
                        f);
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}
