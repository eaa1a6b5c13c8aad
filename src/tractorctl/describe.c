/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "base/error.h"
#include "base/usec.h"
#include "tractorctl/describe.h"

#define CAUSES_SHOWN 3
#define CAUSE_DEPTH 4

/* Closes the memory stream and cleans what was written. */
static char *finish(FILE *f, char **buf)
{
        _cleanup_free_ char *raw = NULL;

        if (fclose(f) != 0) {
                free(*buf);
                return NULL;
        }
        raw = *buf;
        return text_clean(raw);
}

/* A signal may come as a number or as a name. */
static void put_signal(FILE *f, const Json *v)
{
        const char *name = json_string(v);

        if (name)
                fputs(name, f);
        else if ((name = sigabbrev_np((int) json_integer(v))))
                fprintf(f, "SIG%s", name);
        else
                fprintf(f, "signal %lld", (long long) json_integer(v));
}

/* `cause`: said before; a supervisor's end has no more to say. */
static void put_how(FILE *f, const Json *exit, const char *cause)
{
        const Json *code = json_get(exit, "code"), *signal = json_get(exit, "signal");

        if (signal || code)
                fputs(cause ? ": " : "", f);
        if (signal)
                put_signal(f, signal);
        else if (code)
                fprintf(f, "exit %lld", (long long) json_integer(code));
        else if (!cause)
                fputs("ended", f);
        if (json_get_boolean(exit, "core", false))
                fputs(" (core dumped)", f);
}

static void put_spawn_failure(FILE *f, const Json *exit)
{
        const char *step = json_get_string(exit, "step", NULL);
        int64_t error = json_get_integer(exit, "errno", 0);

        fputs("could not be started", f);
        if (step)
                fprintf(f, ": %s", step);
        if (error > 0 && error < 4096)
                fprintf(f, ": %s", strerror((int) error));
}

static void put_exit(FILE *f, const Json *exit)
{
        static const struct {
                const char *cause, *text;
        } causes[] = {
                { "oom", "out of memory" },
                { "watchdog", "watchdog missed" },
                { "start-timeout", "not ready in time" },
                { "stop", "stopped" },
        };
        const char *cause = json_get_string(exit, "cause", ""), *known = NULL;
        int64_t runtime = json_get_integer(exit, "runtime_ms", -1);
        char buf[TEXT_MAX];

        if (streq(cause, "spawn")) {
                put_spawn_failure(f, exit);
                return;
        }
        for (size_t i = 0; i < ELEMENTSOF(causes); i++)
                if (streq(cause, causes[i].cause))
                        known = causes[i].text;
        fputs(known ?: "", f);
        put_how(f, exit, known);
        if (runtime >= 0)
                fprintf(f, " after %s", text_duration(buf, runtime));
}

char *describe_exit(const Json *exit)
{
        char *buf = NULL;
        size_t n = 0;
        FILE *f;

        if (json_type(exit) != JSON_OBJECT)
                return strdup("");
        f = open_memstream(&buf, &n);
        if (!f)
                return NULL;
        put_exit(f, exit);
        return finish(f, &buf);
}

static void put_error(FILE *f, const Json *error, unsigned depth)
{
        const Json *data = json_get(error, "data"), *causes = json_get(data, "causes");
        const char *message = json_get_string(error, "message", "unknown error");
        const char *actor = json_get_string(data, "actor", NULL), *canceller;

        if (actor && !strstr(message, actor))
                fprintf(f, "%s: ", actor);
        fputs(message, f);
        canceller = json_get_string(data, "canceller", NULL);
        if (canceller)
                fprintf(f, ", by %s", canceller);
        for (size_t i = 0; depth < CAUSE_DEPTH && i < MIN(json_length(causes), (size_t) CAUSES_SHOWN); i++) {
                fputs("; caused by ", f);
                put_error(f, json_item(causes, i), depth + 1);
        }
        if (json_length(causes) > CAUSES_SHOWN)
                fprintf(f, "; and %zu more", json_length(causes) - CAUSES_SHOWN);
}

char *describe_error(const Json *error)
{
        const Json *data = json_get(error, "data");
        const char *type = json_get_string(data, "type", NULL);
        char *buf = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&buf, &n);

        if (!f)
                return NULL;
        put_error(f, error, 0);
        fprintf(f, " (%s)", type ?: error_code_type((int) json_get_integer(error, "code", 0)));
        return finish(f, &buf);
}

/* Any member, as "key=value": text bare, the rest as JSON. */
static void put_member(FILE *f, const char *key, Json *value)
{
        const char *text = json_string(value);

        fprintf(f, " %s=%s", key, text ?: strna(json_print(value, NULL)));
}

static bool member_is_frame(const char *key)
{
        static const char *const frame[] = { "epoch", "seq", "time_us", "path", "event", "kind" };

        for (size_t i = 0; i < ELEMENTSOF(frame); i++)
                if (streq(key, frame[i]))
                        return true;
        return false;
}

char *describe_event(const Json *item)
{
        const char *from = json_get_string(item, "from", NULL), *to = json_get_string(item, "to", NULL);
        const char *event = json_get_string(item, "event", "?");
        JsonIterator i = { 0 };
        char *buf = NULL, ms[TEXT_MAX];
        size_t n = 0;
        FILE *f = open_memstream(&buf, &n);

        if (!f)
                return NULL;
        fputs(event, f);
        if (to)
                fprintf(f, " %s%s%s", from ?: "", from ? " -> " : "", to);
        while (json_next(item, &i)) {
                if (member_is_frame(i.key) || (to && (streq(i.key, "from") || streq(i.key, "to"))))
                        continue;
                if (streq(i.key, "exit") && json_type(i.value) == JSON_OBJECT) {
                        fputs(to ? ": " : " ", f);
                        put_exit(f, i.value);
                } else if (streq(i.key, "delay_ms"))
                        fprintf(f, " restart in %s", text_duration(ms, json_integer(i.value)));
                else
                        put_member(f, i.key, i.value);
        }
        return finish(f, &buf);
}

char *describe_event_line(const Json *item)
{
        int64_t us = json_get_integer(item, "time_us", 0);
        _cleanup_free_ char *details = describe_event(item), *path = NULL;
        time_t seconds;
        struct tm tm;
        char stamp[16];

        path = text_clean(json_get_string(item, "path", "/"));
        if (!details || !path)
                return NULL;
        if (us <= 0)
                us = (int64_t) now_usec(CLOCK_REALTIME);
        seconds = (time_t) (us / (int64_t) USEC_PER_SEC);
        if (!localtime_r(&seconds, &tm) || strftime(stamp, sizeof(stamp), "%H:%M:%S", &tm) == 0)
                memcpy(stamp, "--:--:--", 9);
        return xasprintf("%s.%03d %s %s", stamp, (int) (us / 1000 % 1000), path, details);
}

/* Said by a supervisor of the one before it: there is one to talk to. */
static bool is_unknown_outcome(const Json *error)
{
        return json_has(json_get(error, "data"), "outcome");
}

int exit_code_of_error(const Json *error)
{
        switch (json_get_integer(error, "code", 0)) {
        case ERROR_NO_SUCH_ACTOR:
        case ERROR_ACTOR_STOPPED:
                return 3;
        case ERROR_PERMISSION_DENIED:
                return 4;
        case ERROR_CONNECTION_LOST:
                return is_unknown_outcome(error) ? 1 : 5;
        case ERROR_INVALID_PARAMS:
                /* A tree file that is wrong is no wrong use of this program. */
                return json_has(json_get(error, "data"), "problems") ? 1 : 2;
        default:
                return 1;
        }
}

/* By what the message begins with: the parameter that was wrong. */
static const char *hint_of_parameter(const char *message)
{
        if (startswith(message, "signal"))
                return "see 'kill -l' for the names";
        if (startswith(message, "path") || startswith(message, "parent") || *message == '/')
                return "see 'tractorctl list' for what there is";
        return "see 'tractorctl help'";
}

const char *hint_of_error(const Json *error)
{
        switch (json_get_integer(error, "code", 0)) {
        case ERROR_NO_SUCH_ACTOR:
                return "see 'tractorctl list'";
        case ERROR_ALREADY_EXISTS:
                return "try 'tractorctl apply' to change a tree, or 'tractorctl unload' first";
        case ERROR_PERMISSION_DENIED:
                return "try it as root or as the user the supervisor runs as";
        case ERROR_ACTOR_STOPPED:
                return "try 'tractorctl start PATH'";
        case ERROR_CONNECTION_LOST:
                return is_unknown_outcome(error) ? "see 'tractorctl tree'" : "try 'tractorctl ping'";
        case ERROR_METHOD_NOT_FOUND:
                return "see 'tractorctl version' for both versions";
        case ERROR_SPAWN_FAILED:
        case ERROR_ACTOR_DIED:
        case ERROR_RESTART_LIMIT:
                return "see 'tractorctl status PATH'";
        case ERROR_INVALID_PARAMS:
                return hint_of_parameter(json_get_string(error, "message", ""));
        case ERROR_UNSUPPORTED:
        case ERROR_LIMIT_EXCEEDED:
                return "see 'tractorctl status' for what there is";
        default:
                return "see 'tractorctl tree'";
        }
}

Hue state_hue(const char *state)
{
        static const struct {
                const char *state;
                Hue hue;
        } hues[] = {
                { "ready", HUE_GOOD },
                { "starting", HUE_BUSY },
                { "stopping", HUE_BUSY },
                { "backoff", HUE_BUSY },
                { "failed", HUE_BAD },
                { "dead", HUE_DIM },
                { "new", HUE_DIM },
        };

        for (size_t i = 0; i < ELEMENTSOF(hues); i++)
                if (streq(hues[i].state, state))
                        return hues[i].hue;
        return HUE_PLAIN;
}
