/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>

#include "base/error.h"
#include "base/usec.h"
#include "tractorctl/context.h"
#include "tractorctl/describe.h"
#include "tractorctl/near.h"

/* A suggestion is worth no longer wait. */
#define PATHS_TIMEOUT_USEC USEC_PER_SEC

/* `text` with nothing a terminal would obey, for people or as JSON. */
static void put(const Context *c, int code, const Json *error, const char *text)
{
        _cleanup_free_ char *clean = text_clean(text), *pretty = NULL;
        const char *verb = c->o->verb_name;
        _cleanup_json_ Json *v = NULL;
        Json *exit = NULL;

        if (c->o->json == JSON_MODE_OFF || !text || !clean) {
                fprintf(stderr, "tractorctl: %s%s%s\n", verb ?: "", verb ? ": " : "",
                                text && clean ? clean : "out of memory");
                return;
        }
        if (code != CTL_DONE && json_pack(&exit, "i", code) < 0)
                return;
        if (json_pack(&v, "{verb:s?, exit:o?, message:s, error:O?}", verb, exit, clean, error) < 0)
                return;
        if (c->o->json == JSON_MODE_PRETTY)
                pretty = json_print_pretty(v);
        fprintf(stderr, "%s\n", pretty ?: strna(json_print(v, NULL)));
}

int fail(const Context *c, int code, const char *format, ...)
{
        _cleanup_free_ char *text = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
        put(c, code, NULL, text);
        return code;
}

void note(const Context *c, const char *format, ...)
{
        _cleanup_free_ char *text = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
        put(c, CTL_DONE, NULL, text);
}

int fail_errno(const Context *c, int r)
{
        if (r == -ECANCELED && c->interrupts > 0)
                return CTL_INTERRUPTED;
        if (r == -ECONNRESET || r == -EPIPE)
                return fail(c, CTL_NO_SUPERVISOR,
                                "the connection to the supervisor was lost; try 'tractorctl ping'");
        return fail(c, CTL_FAILED, "%s", strerror(-r));
}

/* --- a tree file --- */

static char *problem_line(const char *file, const Json *problem)
{
        const char *pointer = json_get_string(problem, "pointer", "");
        _cleanup_free_ char *line = NULL;

        line = xasprintf("%s%s%s%s%s", file ?: "", file ? ": " : "", pointer, *pointer || !file ? ": " : "",
                        json_get_string(problem, "message", ""));
        return line ? text_clean(line) : NULL;
}

void print_problems(FILE *f, const Json *problems)
{
        for (size_t i = 0; i < json_length(problems); i++) {
                _cleanup_free_ char *line = problem_line(NULL, json_item(problems, i));

                fprintf(f, "%s\n", strna(line));
        }
}

/* One line a problem, as compilers do; what to try next once. */
static int fail_problems(const Context *c, const Json *error, const Json *problems)
{
        const char *file = c->o->args[0];
        size_t n = json_length(problems);

        if (c->o->json != JSON_MODE_OFF) {
                _cleanup_free_ char *first = problem_line(file, json_item(problems, 0)), *text = NULL;

                text = n > 1 ? xasprintf("%s; and %zu more", strna(first), n - 1) : TAKE_PTR(first);
                put(c, CTL_FAILED, error, text);
                return CTL_FAILED;
        }
        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ char *line = problem_line(file, json_item(problems, i));
                bool last = i + 1 == n;

                if (!line)
                        return fail_errno(c, -ENOMEM);
                fprintf(stderr, "%s%s%s\n", strna(line),
                                last && !strchr("?.", line[strlen(line) - 1]) ? ";" : "",
                                last ? " see 'man 5 tractor-tree'" : "");
        }
        return CTL_FAILED;
}

int fail_tree_file(const Context *c, const char *text)
{
        if (c->o->json == JSON_MODE_OFF)
                fprintf(stderr, "%s; see 'man 5 tractor-tree'\n", text);
        else
                put(c, CTL_FAILED, NULL, text);
        return CTL_FAILED;
}

/* --- a path that is not there --- */

typedef struct NearPath {
        Near near;
        const char *name, *same_name; /* its last part; a path that ends in the same */
} NearPath;

static void consider_paths(NearPath *n, const Json *node)
{
        const char *path = json_get_string(node, "path", "/");
        const Json *children = json_get(node, "children");

        if (!streq(path, "/"))
                near_consider(&n->near, path);
        if (!n->same_name && n->name[0] && streq(strrchr(path, '/') ?: "", n->name))
                n->same_name = path;
        for (size_t i = 0; i < json_length(children); i++)
                consider_paths(n, json_item(children, i));
}

/* Asks once what paths there are; a tree that does not fit one reply is looked at as far as it does. "": none is near,
 * or nobody says; NULL: out of memory. */
static char *suggest_path(const Context *c, const char *missing)
{
        _cleanup_(pending_dropp) Pending *p = NULL;
        NearPath n = { .near = { .word = missing }, .name = strrchr(missing, '/') ?: "" };
        Json *params;

        if (client_lost(c->client) || c->o->verb == VERB_RUN)
                return strdup("");
        if (json_pack(&params, "{path:s, fields:[s]}", "/", "path") < 0 ||
                        client_start(c->client, "tree.get", params, &p) < 0 ||
                        client_wait(c->client, p, PATHS_TIMEOUT_USEC) < 0 || !p->result)
                return strdup("");
        consider_paths(&n, p->result);
        if (!n.near.found)
                n.near.found = n.same_name;
        return n.near.found ? xasprintf("did you mean %s? ", n.near.found) : strdup("");
}

/* --- */

/* Of a tree that failed to load, or a child that failed to start, nothing is left to be looked at. */
static char *hint_of_nothing_left(const Context *c, const Json *error)
{
        if (c->o->verb != VERB_SPAWN)
                return xasprintf("try 'tractorctl %s %s' again when that is mended", c->o->verb_name,
                                c->o->args[0]);
        if (json_get_integer(error, "code", 0) == ERROR_SPAWN_FAILED)
                return strdup("check the command and the options, see 'tractorctl help'");
        return xasprintf("see 'tractorctl tree %s'", c->o->args[0]);
}

/* What to try next, with the path put in. NULL: out of memory. */
static char *make_hint(const Context *c, const char *subject, const Json *error)
{
        const char *hint = hint_of_error(error), *gap = strstr(hint, "PATH");
        bool denied = json_get_integer(error, "code", 0) == ERROR_PERMISSION_DENIED;
        Verb verb = c->o->verb;

        /* The supervisor of a run ends with it: no question can be put to it. */
        if ((verb == VERB_RUN && !denied) || ((verb == VERB_LOAD || verb == VERB_SPAWN) && gap))
                return hint_of_nothing_left(c, error);
        if (!gap)
                return strdup(hint);
        if (verb == VERB_START) /* no advice to do the same again */
                return xasprintf("see 'tractorctl status %s'", subject ?: "PATH");
        return xasprintf("%.*s%s%s", (int) (gap - hint), hint, subject ?: "PATH", gap + strlen("PATH"));
}

/* What was wrong stood on the command line, not in a file: one line, however many there are. */
static int fail_options(const Context *c, const char *subject, const Json *error, const Json *problems)
{
        _cleanup_free_ char *text = NULL, *whole = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&text, &n);
        int code = json_get_integer(error, "code", 0) == ERROR_INVALID_PARAMS ? CTL_USAGE : CTL_FAILED;

        if (!f)
                return fail_errno(c, -ENOMEM);
        for (size_t i = 0; i < json_length(problems); i++) {
                const Json *p = json_item(problems, i);
                const char *pointer = json_get_string(p, "pointer", "");

                fprintf(f, "%s%s: %s", i > 0 ? "; " : "", pointer + (*pointer == '/'),
                                json_get_string(p, "message", ""));
        }
        if (fclose(f) != 0)
                return fail_errno(c, -ENOMEM);
        whole = xasprintf("%s%s%s; see 'man 5 tractor-tree'", subject ?: "", subject ? ": " : "", text);
        put(c, code, error, whole);
        return code;
}

int fail_error(const Context *c, const char *subject, const Json *error)
{
        const Json *data = json_get(error, "data"), *problems = json_get(data, "problems");
        _cleanup_free_ char *text = NULL, *hint = NULL, *near = NULL, *whole = NULL;
        int code = exit_code_of_error(error);
        const char *missing;

        if (json_length(problems) > 0 && c->o->verb != VERB_SPAWN && c->o->verb != VERB_SET_LIMIT)
                return fail_problems(c, error, problems);
        if (json_length(problems) > 0)
                return fail_options(c, subject, error, problems);
        missing = json_get_string(data, "actor", subject);
        if (missing && json_get_integer(error, "code", 0) == ERROR_NO_SUCH_ACTOR)
                near = suggest_path(c, missing);
        else
                near = strdup("");
        text = describe_error(error);
        hint = make_hint(c, subject, error);
        if (!text || !hint || !near)
                return fail_errno(c, -ENOMEM);
        if (strstr(text, subject ?: ""))
                subject = NULL;
        whole = xasprintf("%s%s%s; %s%s", subject ?: "", subject ? ": " : "", text, near, hint);
        put(c, code, error, whole);
        return code;
}
