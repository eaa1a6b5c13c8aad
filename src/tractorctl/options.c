/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "base/path.h"
#include "base/usec.h"
#include "tractorctl/glob.h"
#include "tractorctl/near.h"
#include "tractorctl/verb-table.h"

#define SECONDS_MAX 1e9
/* "--" and the longest name there is. */
#define SPELT_MAX 32

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
        (void) snprintf(text, sizeof(text), "%s %s", verb_table[v].name, verb_table[v].arguments);
        return text;
}

/* Sets *reterr to a sentence, and gives -EINVAL, or -ENOMEM when there is no room even for that. */
#define REFUSE(...) ((*reterr = xasprintf(__VA_ARGS__)) ? -EINVAL : -ENOMEM)

/* `n` bytes of `name`, or the one letter when n is 0. *ret_elsewhere: the name exists, but not here. */
static const OptionInfo *option_find(const char *name, size_t n, Verb verb, bool *ret_elsewhere)
{
        *ret_elsewhere = false;
        for (size_t k = 0; k < option_table_length; k++) {
                const OptionInfo *i = &option_table[k];
                bool same = n == 0 ? i->letter && i->letter == *name
                                   : strlen(i->name) == n && strncmp(i->name, name, n) == 0;

                if (same && option_in_force(i, verb))
                        return i;
                *ret_elsewhere |= same;
        }
        return NULL;
}

static int parse_integer(const char *spelt, const char *value, int64_t *ret, char **reterr)
{
        char *end;
        long long n;

        errno = 0;
        n = strtoll(value, &end, 10);
        if (errno != 0 || end == value || *end != 0)
                return REFUSE("%s wants a whole number, not '%s'", spelt, value);
        *ret = n;
        return 0;
}

/* "2", "0.5"; a day's worth of seconds and more is still below the bound. */
static int parse_seconds(const char *spelt, const char *value, uint64_t *ret, char **reterr)
{
        char *end;
        double v = strtod(value, &end);

        if (end == value || *end != 0 || strspn(value, "0123456789.") != strlen(value) || v > SECONDS_MAX)
                return REFUSE("%s wants seconds, such as 2 or 0.5, not '%s'", spelt, value);
        *ret = (uint64_t) (v * USEC_PER_SEC);
        return 0;
}

static int parse_json_mode(Options *o, const char *value, char **reterr)
{
        static const char *const names[_JSON_MODE_MAX] = {
                [JSON_MODE_OFF] = "off",
                [JSON_MODE_SHORT] = "short",
                [JSON_MODE_PRETTY] = "pretty",
        };

        o->json = JSON_MODE_AUTO;
        for (JsonMode m = 0; value && m < _JSON_MODE_MAX; m++)
                if (streq_ptr(names[m], value))
                        o->json = m;
        if (value && o->json == JSON_MODE_AUTO)
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

/* A name that is not known, but near to one that is, was mistyped; of others the supervisor knows. */
static int check_limit(const char *pair, char **reterr)
{
        char name[SPELT_MAX] = "";
        Near near = { .word = name };
        size_t n = strcspn(pair, "=");

        if (n >= sizeof(name))
                return 0;
        memcpy(name, pair, n);
        for (size_t i = 0; i < limit_names_length; i++) {
                if (streq(name, limit_names[i]))
                        return 0;
                near_consider(&near, limit_names[i]);
        }
        return near.found ? REFUSE("no such limit: '%s'; did you mean %s?", name, near.found) : 0;
}

static int child_pair(Options *o, const OptionInfo *i, const char *value, char **reterr)
{
        const char *eq = strchr(value, '=');
        _cleanup_free_ char *key = NULL;
        Json *object, *v;
        int r;

        if (!eq || eq == value)
                return REFUSE("--%s wants KEY=VALUE, not '%s'", i->name, value);
        r = streq(i->key, "limits") ? check_limit(value, reterr) : 0;
        if (r < 0)
                return r;
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

static int child_option(Options *o, const OptionInfo *i, const char *spelt, const char *value, char **reterr)
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
                r = parse_integer(spelt, value, &n, reterr);
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

/* `spelt`: as it was typed, for what there is to say of it. */
static int option_apply(Options *o, const OptionInfo *i, const char *spelt, const char *value, char **reterr)
{
        char *field = (char *) o + i->offset;
        int r;

        switch (i->kind) {
        case OPTION_FLAG:
                *(bool *) field = true;
                return 0;
        case OPTION_STRING:
                if (*value == 0)
                        return REFUSE("%s wants a value, not nothing", spelt);
                memcpy(field, &value, sizeof(value));
                return 0;
        case OPTION_JSON:
                return parse_json_mode(o, value, reterr);
        case OPTION_NUMBER:
                r = parse_integer(spelt, value, (int64_t *) (void *) field, reterr);
                if (r == 0 && *(int64_t *) (void *) field < 0)
                        return REFUSE("%s can't be negative", spelt);
                return r;
        case OPTION_SECONDS:
                return parse_seconds(spelt, value, (uint64_t *) (void *) field, reterr);
        default:
                return child_option(o, i, spelt, value, reterr);
        }
}

/* `name`: its `n` bytes. A letter alone is near to nothing. */
static const char *option_near(const char *name, size_t n, Verb verb, char buf[static SPELT_MAX])
{
        Near near = { .word = buf };

        if (n >= SPELT_MAX)
                return NULL;
        memcpy(buf, name, n);
        buf[n] = 0;
        for (size_t k = 0; k < option_table_length; k++)
                if (option_in_force(&option_table[k], verb))
                        near_consider(&near, option_table[k].name);
        return near.found;
}

static int unknown_option(const Options *o, const char *arg, bool elsewhere, char **reterr)
{
        const char *name = arg + strspn(arg, "-"), *verb = o->verb >= 0 ? o->verb_name : NULL;
        int n = (int) strlen(*name == '=' ? arg : "") ?: (int) strcspn(arg, "=");
        char word[SPELT_MAX];
        const char *near = option_near(name, strcspn(name, "="), o->verb, word);

        if (near)
                return REFUSE("no such option: %.*s; did you mean --%s? see 'tractorctl help%s%s'", n, arg,
                                near, verb ? " " : "", verb ?: "");
        if (elsewhere && verb)
                return REFUSE("'%s' has no option %.*s; see 'tractorctl help %s'", verb, n, arg, verb);
        if (elsewhere)
                return REFUSE("option %.*s goes behind its verb; see 'tractorctl help'", n, arg);
        return REFUSE("no such option: %.*s; see 'tractorctl help%s%s'", n, arg, verb ? " " : "",
                        verb ?: "");
}

/* Looks at argv[*pos], which begins with '-', and takes the value from behind '=' or from the next word. */
static int take_option(Options *o, int argc, char *const *argv, int *pos, char **reterr)
{
        const char *arg = argv[*pos], *value = NULL;
        bool elsewhere, is_long = arg[1] == '-';
        const char *name = arg + 1 + is_long;
        size_t n = is_long ? strcspn(name, "=") : 0;
        const OptionInfo *i = option_find(name, n, o->verb, &elsewhere);
        char spelt[SPELT_MAX];

        if (!i || (is_long && n == 0))
                return unknown_option(o, arg, elsewhere, reterr);
        (void) snprintf(spelt, sizeof(spelt), is_long ? "--%s" : "-%.1s", is_long ? i->name : name);
        if (is_long && name[n] == '=')
                value = name + n + 1;
        else if (!is_long && name[1])
                value = name + 1;
        if (i->kind == OPTION_JSON)
                return parse_json_mode(o, value, reterr);
        if (!option_takes_value(i)) {
                if (value)
                        return REFUSE("%s takes no value", spelt);
        } else if (!value) {
                if (*pos + 1 >= argc)
                        return REFUSE("%s wants a value", spelt);
                value = argv[++*pos];
        }
        return option_apply(o, i, spelt, value, reterr);
}

static int unknown_verb(const char *word, char **reterr)
{
        Near near = { .word = word };

        for (Verb v = 0; v < _VERB_BUILT_MAX; v++)
                near_consider(&near, verb_table[v].name);
        if (near.found)
                return REFUSE("no such verb: '%s'; did you mean '%s'? see 'tractorctl help'", word,
                                near.found);
        return REFUSE("no such verb: '%s'; see 'tractorctl help'", word);
}

static int take_word(Options *o, char *word, char **reterr)
{
        if (o->verb < 0) {
                o->verb_name = word;
                o->verb = verb_by_name(word);
                return o->verb < 0 ? unknown_verb(word, reterr) : 0;
        }
        if (GROW(o->args, o->args_cap, o->n_args + 1) < 0)
                return -ENOMEM;
        o->args[o->n_args++] = word;
        return 0;
}

/* What stands where a path is due, and is none. */
static int bad_path(const Options *o, const char *word, char **reterr)
{
        _cleanup_free_ char *rooted = xasprintf("/%s", word);
        size_t n = strlen(word);

        if (!rooted)
                return -ENOMEM;
        if (o->verb == VERB_KILL && n > 0 && (strspn(word, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ+-") == n))
                return REFUSE("not a path: '%s'; give the signal with -s: 'tractorctl kill %s -s %s'", word,
                                o->args[0] == word ? "PATH" : o->args[0], word);
        if (n > 1 && word[n - 1] == '/' && *word == '/')
                return REFUSE("not a path: '%s': nothing stands behind the last '/'; see 'tractorctl list'",
                                word);
        if (*word != '/' && node_path_is_valid(rooted))
                return REFUSE("not a path: '%s': a path begins with '/'; did you mean %s?", word, rooted);
        return REFUSE("not a path: '%s': it must be names, each behind a '/', such as /shop/api; see "
                      "'tractorctl list'",
                        word);
}

static int check_paths(const Options *o, char **reterr)
{
        VerbPaths paths = verb_table[o->verb].paths;
        size_t n = paths == PATHS_NONE ? 0 : paths == PATHS_FIRST ? MIN(o->n_args, (size_t) 1) : o->n_args;

        for (size_t i = 0; i < n; i++) {
                bool pattern = glob_is(o->args[i]);

                if (pattern && paths == PATHS_FIRST)
                        return REFUSE("'%s' takes no pattern, and '%s' is one; give one path, see "
                                      "'tractorctl "
                                      "list'",
                                        o->verb_name, o->args[i]);
                if (!pattern && !node_path_is_valid(o->args[i]))
                        return bad_path(o, o->args[i], reterr);
        }
        return 0;
}

static int check_values(const Options *o, char **reterr)
{
        if (o->backend && !streq(o->backend, "scope") && !streq(o->backend, "cgroup") &&
                        !streq(o->backend, "process"))
                return REFUSE("--backend wants scope, cgroup or process, not '%s'", o->backend);
        if (o->wait_for && !streq(o->wait_for, "ready") && !streq(o->wait_for, "gone"))
                return REFUSE("--for wants ready or gone, not '%s'", o->wait_for);
        for (size_t i = 1; o->verb == VERB_SET_LIMIT && i < o->n_args; i++) {
                int r;

                if (!strchr(o->args[i], '=') || o->args[i][0] == '=')
                        return REFUSE("a limit is written KEY=VALUE, not '%s'", o->args[i]);
                r = check_limit(o->args[i], reterr);
                if (r < 0)
                        return r;
        }
        return check_paths(o, reterr);
}

/* What can only be judged once all has been read. */
static int check_whole(const Options *o, char **reterr)
{
        unsigned places = !!o->socket + !!o->run + o->user + o->system;

        if (o->verb == VERB_HELP && o->n_args > 0 && verb_by_name(o->args[0]) < 0)
                return unknown_verb(o->args[0], reterr);
        if (o->help || o->verb == VERB_HELP || o->verb == VERB_UNBUILT)
                return 0;
        if (o->verb < 0)
                return REFUSE("no verb given");
        if (places > 1)
                return REFUSE("only one of --socket, --run, --user and --system can be given");
        /* ssh would take it for an option of its own. */
        if (o->host && (o->host[0] == '-' || strpbrk(o->host, " \t\n")))
                return REFUSE("-H wants [USER@]HOST, not '%s'", o->host);
        if (o->verb == VERB_RUN && (o->host || places > !!o->socket))
                return REFUSE("'run' starts a supervisor of its own: of these options only --socket fits");
        if (o->n_args < verb_table[o->verb].min || o->n_args > verb_table[o->verb].max)
                return REFUSE("usage: tractorctl %s", verb_synopsis(o->verb));
        if (o->verb == VERB_SPAWN ? !o->command || !o->command[0] : !!o->command)
                return REFUSE("usage: tractorctl %s", verb_synopsis(o->verb));
        return check_values(o, reterr);
}

/* What to try next, unless the sentence says it. */
static int add_hint(const Options *o, int r, char **reterr)
{
        _cleanup_free_ char *text = *reterr;
        bool known = o->verb >= 0 && o->verb < _VERB_BUILT_MAX && o->verb != VERB_HELP;

        *reterr = NULL;
        if (!text)
                return r;
        if (strstr(text, "'tractorctl ") || strstr(text, "did you mean"))
                *reterr = TAKE_PTR(text);
        else
                *reterr = xasprintf("%s; see 'tractorctl help%s%s'", text, known ? " " : "",
                                known ? o->verb_name : "");
        return *reterr ? r : -ENOMEM;
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
                if (o.verb == VERB_UNBUILT) {
                        o.json = options_json_asked(argc, argv);
                        break;
                }
        }
        if (r >= 0)
                r = check_whole(&o, reterr);
        if (r < 0) {
                r = add_hint(&o, r, reterr);
                options_done(&o);
                return r;
        }
        *ret = o;
        return 0;
}

JsonMode options_json_asked(int argc, char *const *argv)
{
        JsonMode mode = JSON_MODE_OFF;

        for (int i = 1; i < argc && !streq(argv[i], "--"); i++) {
                const char *rest = startswith(argv[i], "--json");
                _cleanup_free_ char *error = NULL;
                Options o;

                if (rest && (*rest == 0 || *rest == '=') &&
                                parse_json_mode(&o, *rest ? rest + 1 : NULL, &error) == 0)
                        mode = o.json;
        }
        return mode;
}
