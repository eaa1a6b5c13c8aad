/* SPDX-License-Identifier: Apache-2.0 */
/* What an error shows of itself. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#include "libtractor/error-private.h"

static Json *data_of(const tractor_error *e)
{
        Json *data = e ? json_get(error_object(e), "data") : NULL;

        return json_type(data) == JSON_OBJECT ? data : NULL;
}

_public_ int tractor_error_code(const tractor_error *e)
{
        int64_t code = json_get_integer(error_object(e), "code", ERROR_INTERNAL);

        return code >= INT32_MIN && code <= INT32_MAX ? (int) code : ERROR_INTERNAL;
}

_public_ const char *tractor_error_type(const tractor_error *e)
{
        return json_get_string(data_of(e), "type", error_code_type(tractor_error_code(e)));
}

_public_ const char *tractor_error_message(const tractor_error *e)
{
        return json_get_string(error_object(e), "message", strerror(-tractor_error_errno(e)));
}

_public_ const char *tractor_error_actor(const tractor_error *e)
{
        return json_get_string(data_of(e), "actor", NULL);
}

_public_ const char *tractor_error_canceller(const tractor_error *e)
{
        return json_get_string(data_of(e), "canceller", NULL);
}

_public_ struct json_object *tractor_error_exit(const tractor_error *e)
{
        return json_get(data_of(e), "exit");
}

_public_ struct json_object *tractor_error_parameters(const tractor_error *e)
{
        return json_get(data_of(e), "parameters");
}

static size_t n_items(const tractor_error *e, const char *key)
{
        Json *list = json_get(data_of(e), key);

        return json_type(list) == JSON_ARRAY ? json_length(list) : 0;
}

static const char *item(const tractor_error *e, const char *key, size_t i)
{
        return i < n_items(e, key) ? json_string(json_item(json_get(data_of(e), key), i)) : NULL;
}

_public_ size_t tractor_error_n_backtrace(const tractor_error *e)
{
        error_name_frames(e);
        return n_items(e, "backtrace");
}

_public_ const char *tractor_error_backtrace(const tractor_error *e, size_t i)
{
        error_name_frames(e);
        return item(e, "backtrace", i);
}

_public_ size_t tractor_error_n_relay(const tractor_error *e)
{
        return n_items(e, "relay");
}

_public_ const char *tractor_error_relay(const tractor_error *e, size_t i)
{
        return item(e, "relay", i);
}

void error_describe_end(Json *exit, const char *message, char *text, size_t size)
{
        const char *signal = json_get_string(exit, "signal", NULL),
                   *cause = json_get_string(exit, "cause", "unknown");

        if (signal)
                (void) snprintf(text, size, "killed by %s (%s)%s%s", signal, cause, message ? ": " : "",
                                message ?: "");
        else
                (void) snprintf(text, size, "ended with code %d (%s)%s%s",
                                (int) json_get_integer(exit, "code", -1), cause, message ? ": " : "",
                                message ?: "");
}

/* Whether the message has the path already: what is told of an actor, as that it has died, begins with it. */
static bool is_named(const char *message, const char *path)
{
        size_t n = strlen(path);

        for (const char *p = message; (p = strstr(p, path)); p++)
                if (!strchr("/_.-", p[n] ?: ' ') && !isalnum((unsigned char) p[n]))
                        return true;
        return false;
}

static void format_one(FILE *f, const tractor_error *e, unsigned depth)
{
        const char *actor = tractor_error_actor(e), *canceller = tractor_error_canceller(e);

        (void) fprintf(f, "%*s%s: %s", (int) depth * 2, "", tractor_error_type(e), tractor_error_message(e));
        if (actor && !is_named(tractor_error_message(e), actor))
                (void) fprintf(f, ", in %s", actor);
        if (canceller)
                (void) fprintf(f, ", cancelled by %s", canceller);
        for (size_t i = 0; i < tractor_error_n_relay(e); i++)
                (void) fprintf(f, "%s%s", i == 0 ? ", by way of " : ", ", strna(tractor_error_relay(e, i)));
        (void) fputc('\n', f);
        for (size_t i = 0; i < tractor_error_n_backtrace(e); i++)
                (void) fprintf(f, "%*s%s\n", (int) depth * 2 + 4, "", strna(tractor_error_backtrace(e, i)));
        /* Deeper than that nobody reads; and lines are bounded to 64 levels. */
        for (size_t i = 0; i < tractor_error_n_causes(e) && depth < 32; i++)
                format_one(f, tractor_error_cause(e, i), depth + 1);
}

_public_ char *tractor_error_format(const tractor_error *e)
{
        char *text = NULL;
        size_t n = 0;
        FILE *f = e ? open_memstream(&text, &n) : NULL;

        if (!f)
                return NULL;
        format_one(f, e, 0);
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}
