/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/un.h>

#include "base/usec.h"
#include "supervisor/config-parse.h"

#define GRACE_CHANNEL_USEC (3 * USEC_PER_SEC)
#define GRACE_USEC (90 * USEC_PER_SEC)
#define FACTOR_MAX 100
#define EXPOSE_MAX 256
#define METHOD_MAX 256U

KEY_READER(exec)
{
        TreeSpec *t = target;
        int r;

        r = value_command(p, w, v, t->cwd, &t->exec);
        return MIN(r, 0);
}

KEY_READER(cwd)
{
        TreeSpec *t = target;
        const char *s;
        int r;

        r = value_string(p, w, v, PATH_MAX - 1, &s);
        if (r <= 0)
                return r;
        if (*s != '/')
                return problem(p, w, "must be an absolute path");
        return free_and_strdup(&t->cwd, s);
}

static int check_variable(Parse *p, const Where *w, Json *v)
{
        char buffer[SHOWN_MAX];
        const char *s;
        int r;

        if (!*w->key || strchr(w->key, '='))
                return problem(p, w, "\"%s\" is no name of a variable: neither empty nor with \"=\"",
                                shown(buffer, w->key));
        if (startswith(w->key, "TRACTOR_"))
                return problem(p, w, "names that begin with TRACTOR_ are set by tractor itself");
        r = value_text(p, w, v, CONFIG_ARG_MAX - strlen("=") - MIN(strlen(w->key), CONFIG_ARG_MAX / 2), &s);
        return MIN(r, 0);
}

static int check_label(Parse *p, const Where *w, Json *v)
{
        const char *s;
        int r;

        r = value_text(p, w, v, CONFIG_TEXT_MAX, &s);
        return MIN(r, 0);
}

/* An object whose members `check` looks at one by one; kept as it is. */
static int read_strings(
                Parse *p, const Where *w, Json *v, int (*check)(Parse *, const Where *, Json *), Json **ret)
{
        JsonIterator i = { 0 };
        int r;

        if (json_type(v) != JSON_OBJECT)
                return problem_type(p, w, v, "an object of strings");
        while (json_next(v, &i)) {
                Where at = { .up = w, .key = i.key };

                r = check(p, &at, i.value);
                if (r < 0)
                        return r;
        }
        json_unref(*ret);
        *ret = json_ref(v);
        return 0;
}

KEY_READER(env)
{
        return read_strings(p, w, v, check_variable, &((TreeSpec *) target)->env);
}

KEY_READER(labels)
{
        return read_strings(p, w, v, check_label, &((TreeSpec *) target)->labels);
}

KEY_READER(umask)
{
        TreeSpec *t = target;
        const char *s;
        int r;

        if (json_type(v) != JSON_STRING)
                return problem_type(p, w, v, "a string of octal digits such as \"022\"");
        r = value_text(p, w, v, SIZE_MAX, &s);
        if (r <= 0)
                return r;
        if (!*s || strlen(s) > 4 || strspn(s, "01234567") != strlen(s) || strtoul(s, NULL, 8) > 0777)
                return problem(p, w, "must be octal digits up to \"777\", such as \"022\"");
        t->umask = (mode_t) strtoul(s, NULL, 8);
        return 0;
}

static const char *restart_word(int i)
{
        return restart_type_to_string((RestartType) i);
}

KEY_READER(restart)
{
        TreeSpec *t = target;
        int i, r;

        if (p->strategy == STRATEGY_ONE_CANCELS_ALL || p->strategy == STRATEGY_ONE_CANCELS_ONE)
                return problem(p, w, "`restart` has no place under %s, which restarts nothing",
                                strategy_to_string(p->strategy));
        r = value_word(p, w, v, restart_word, _RESTART_MAX, NULL, &i);
        if (r <= 0)
                return r;
        t->node.restart = (RestartType) i;
        return 0;
}

static const char *channel_word(int i)
{
        static const char *const words[] = {
                [CHANNEL_NONE] = "none", [CHANNEL_FD] = "fd", [CHANNEL_STDIO] = "stdio"
        };

        return words[i];
}

KEY_READER(channel)
{
        TreeSpec *t = target;
        int i, r;

        r = value_word(p, w, v, channel_word, CHANNEL_STDIO + 1, NULL, &i);
        if (r <= 0)
                return r;
        t->channel = (ChannelKind) i;
        return 0;
}

/* Any that a program on stdio may serve; commas separate them in the environment, and "$/…" is the protocol's own. */
static bool is_method_name(const char *s)
{
        for (const char *c = s; *c; c++)
                if (*c <= ' ' || *c > '~' || *c == ',')
                        return false;
        return *s && strlen(s) <= METHOD_MAX && !startswith(s, "$/");
}

KEY_READER(expose)
{
        TreeSpec *t = target;
        char buffer[SHOWN_MAX];
        const char *s;
        int r;

        if (json_type(v) != JSON_ARRAY)
                return problem_type(p, w, v, "an array of names of methods");
        if (json_length(v) > EXPOSE_MAX)
                return problem(p, w, "must hold at most %d names", EXPOSE_MAX);
        t->has_expose = true;
        for (size_t i = 0; i < json_length(v); i++) {
                Where at = { .up = w, .index = i };

                r = value_string(p, &at, json_item(v, i), SIZE_MAX, &s);
                if (r > 0 && !is_method_name(s))
                        r = problem(p, &at, "\"%s\" is no name of a method", shown(buffer, s));
                else if (r > 0)
                        r = strv_append(&t->expose, s);
                if (r < 0)
                        return r;
        }
        return 0;
}

KEY_READER(stop_signal)
{
        TreeSpec *t = target;
        char number[32], buffer[SHOWN_MAX];
        const char *s = json_string(v);
        int r;

        if (json_type(v) == JSON_INTEGER) {
                (void) snprintf(number, sizeof(number), "%lld", (long long) json_integer(v));
                s = number;
        }
        if (!s)
                return problem_type(p, w, v, "a signal by name or number");
        r = signal_from_name(s);
        if (r < 0)
                return problem(p, w, "\"%s\" is no signal; try \"SIGTERM\" or 15", shown(buffer, s));
        t->stop_signal = r;
        return 0;
}

static int key_factor(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        int r;

        r = value_number(p, w, v, (double) key->min, (double) key->max, key_field(key, target));
        return MIN(r, 0);
}

KEY_READER(backoff)
{
        static const Key keys[] = {
                { "initial_ms", KEY_ANY, key_msec, offsetof(Backoff, initial_usec) },
                { "max_ms", KEY_ANY, key_msec, offsetof(Backoff, max_usec) },
                { "factor", KEY_ANY, key_factor, offsetof(Backoff, factor), 1, FACTOR_MAX },
                { "jitter", KEY_ANY, key_factor, offsetof(Backoff, jitter), 0, 1 },
                { "reset_after_ms", KEY_ANY, key_msec, offsetof(Backoff, reset_after_usec) },
        };
        TreeSpec *t = target;
        Backoff *b = &t->node.backoff;
        Where at = { .up = w, .key = "max_ms" };
        int r;

        t->has_backoff = true;
        r = read_object(p, w, v, keys, ELEMENTSOF(keys), KEY_ANY, b);
        if (r < 0 || b->max_usec >= b->initial_usec)
                return r;
        if (json_has(v, "max_ms"))
                return problem(p, &at, "must not be less than `initial_ms`");
        b->max_usec = b->initial_usec; /* the default cap is none of the file's business */
        return 0;
}

/* A wrong item keeps its place as "", so that later checks point at the right ones. */
KEY_READER(depends)
{
        TreeSpec *t = target;
        char buffer[SHOWN_MAX];
        const char *s;
        int r;

        if (json_type(v) != JSON_ARRAY)
                return problem_type(p, w, v, "an array of names and paths");
        for (size_t i = 0; i < json_length(v) && !p->problems->full; i++) {
                Where at = { .up = w, .index = i };

                r = value_string(p, &at, json_item(v, i), PATH_MAX - 1, &s);
                if (r > 0 && !(s[0] == '/' && s[1] ? node_path_is_valid(s) : node_name_is_valid(s)))
                        r = problem(p, &at,
                                        "\"%s\" is neither the name of a sibling nor an absolute path "
                                        "such as /tree/name",
                                        shown(buffer, s));
                if (r < 0)
                        return r;
                r = strv_append(&t->depends, r > 0 ? s : "");
                if (r < 0)
                        return r;
        }
        return 0;
}

static const char *output_word(int i)
{
        static const char *const words[] = { "journal", "inherit", "null" };

        return words[i];
}

KEY_READER(output)
{
        static const OutputKind kinds[] = { OUTPUT_JOURNAL, OUTPUT_INHERIT, OUTPUT_NULL };
        TreeSpec *t = target;
        Output *o = key_field(key, target);
        const char *s = json_string(v), *path = s ? startswith(s, "file:") : NULL;
        _cleanup_json_ Json *rest = NULL;
        int i, r;

        if (path) {
                rest = json_new_string(path, json_string_length(v) - strlen("file:"));
                if (!rest)
                        return -ENOMEM;
                o->kind = OUTPUT_FILE;
                r = value_path(p, w, rest, t->cwd, &o->path);
                return MIN(r, 0);
        }
        r = value_word(p, w, v, output_word, ELEMENTSOF(kinds), " or file:PATH", &i);
        if (r > 0)
                o->kind = kinds[i];
        return MIN(r, 0);
}

static int key_ready_path(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        TreeSpec *t = target;
        int r;

        r = value_path(p, w, v, t->cwd, &t->ready_path);
        if (r <= 0)
                return r;
        if (t->ready == READY_SOCKET &&
                        strlen(t->ready_path) >= sizeof(((struct sockaddr_un *) 0)->sun_path))
                return problem(p, w, "the path of a socket is at most %zu bytes long",
                                sizeof(((struct sockaddr_un *) 0)->sun_path) - 1);
        return 0;
}

static int key_ready_command(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        TreeSpec *t = target;
        int r;

        r = value_command(p, w, v, t->cwd, &t->ready_command);
        return MIN(r, 0);
}

static int key_ready_log(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        return problem_unsupported(p, w, "`ready`: {\"log\": …} is not built yet");
}

static const char *ready_word(int i)
{
        static const char *const words[] = {
                [READY_EXEC] = "exec",
                [READY_EXITED] = "exited",
                [READY_NOTIFY] = "notify",
                [READY_CHANNEL] = "channel",
        };

        return words[i];
}

static const struct {
        const char *name;
        ReadyKind kind;
} ready_forms[] = {
        { "socket", READY_SOCKET },
        { "file", READY_FILE },
        { "command", READY_COMMAND },
        { "log", READY_EXEC },
};

const char *ready_kind_to_string(ReadyKind k)
{
        for (size_t i = 0; i < ELEMENTSOF(ready_forms); i++)
                if (ready_forms[i].kind == k && k > READY_CHANNEL)
                        return ready_forms[i].name;
        return ready_word(k);
}

static int ready_object(Parse *p, const Where *w, Json *v, TreeSpec *t)
{
        static const Key keys[] = {
                { "socket", KEY_ANY, key_ready_path },
                { "file", KEY_ANY, key_ready_path },
                { "command", KEY_ANY, key_ready_command },
                { "log", KEY_ANY, key_ready_log },
                { "interval_ms", KEY_ANY, key_msec, offsetof(TreeSpec, ready_interval_usec), 10, 3600000 },
        };
        Where at = { .up = w, .key = "interval_ms" };
        unsigned forms = 0;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(ready_forms); i++)
                if (json_has(v, ready_forms[i].name)) {
                        forms++;
                        t->ready = ready_forms[i].kind;
                }
        if (forms != 1) {
                r = problem(p, w, "must have exactly one of socket, file, command");
                if (r < 0)
                        return r;
        } else if (json_has(v, "interval_ms") && !json_has(v, "command")) {
                r = problem(p, &at, "`interval_ms` belongs to `command`");
                if (r < 0)
                        return r;
        }
        return forms > 1 ? 0 : read_object(p, w, v, keys, ELEMENTSOF(keys), KEY_ANY, t);
}

KEY_READER(ready)
{
        TreeSpec *t = target;
        int i, r;

        if (json_type(v) == JSON_OBJECT)
                return ready_object(p, w, v, t);
        r = value_word(p, w, v, ready_word, READY_CHANNEL + 1,
                        ", or an object with one of socket, file, command", &i);
        if (r <= 0)
                return r;
        if (i == READY_CHANNEL && t->channel != CHANNEL_FD)
                return problem(p, w, "\"channel\" needs `channel`: \"fd\"");
        t->ready = (ReadyKind) i;
        t->node.ready_exited = t->ready == READY_EXITED;
        return 0;
}

int config_finish_actor(Parse *p, const Where *w, TreeSpec *t)
{
        Where at = { .up = w, .key = "ready" }, out = { .up = w, .key = "stdout" };
        int r = 0;

        if (t->node.grace_usec == USEC_INFINITY)
                t->node.grace_usec = t->channel == CHANNEL_NONE ? GRACE_USEC : GRACE_CHANNEL_USEC;
        t->node.stop_is_term = t->channel != CHANNEL_FD && t->stop_signal == SIGTERM;
        config_finish_identity(t);
        if (t->channel == CHANNEL_STDIO && t->out.kind != OUTPUT_DEFAULT)
                r = problem(p, &out,
                                "`channel`: \"stdio\" has stdout for itself; let the program write to "
                                "stderr");
        if (r < 0)
                return r;
        if (t->ready == READY_EXITED && t->node.restart == RESTART_PERMANENT)
                return problem_warning(p, &at,
                                "a permanent child is started again each time it has ended: "
                                "a job wants `restart`: \"transient\"");
        return 0;
}
