/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "tractorctl/context.h"
#include "tractorctl/logs.h"
#include "tractorctl/tree-view.h"

/* `status`: the supervisor, or all that is known of one node; of one that is not well also the last it said, and the command
 * that tells more. */

#define LAST_LINES 10U

/* What comes only where it is asked for, which is done for this node alone. */
static int add_details(Context *c, Json *node)
{
        _cleanup_json_ Json *fields = NULL, *details = NULL, *error = NULL;
        JsonIterator i = { 0 };
        int r = json_pack(&fields, "[s,s,s,s,s,s,s,s,s,s]", "exec", "ready", "restart", "intensity",
                        "on_give_up", "limits_skipped", "backoff_ms", "output", "stdout", "stderr");

        if (r >= 0)
                r = client_get_fields(c->client, c->o->args[0], 0, fields, &details, &error);
        while (r >= 0 && !error && json_next(details, &i))
                if (!json_has(node, i.key))
                        r = json_set(node, i.key, json_ref(i.value));
        if (r < 0)
                return fail_errno(c, r);
        return error ? fail_error(c, c->o->args[0], error) : 0;
}

static int get_node(Context *c, Json **ret)
{
        _cleanup_json_ Json *node = NULL, *error = NULL;
        int r = context_connect(c);

        if (r != 0)
                return r;
        r = client_get_tree(c->client, c->o->args[0], 1, &node, &error);
        if (r < 0)
                return fail_errno(c, r);
        if (error)
                return fail_error(c, c->o->args[0], error);
        r = add_details(c, node);
        if (r == 0)
                *ret = TAKE_PTR(node);
        return r;
}

static int add_row(Table *t, Hue hue, const char *key, const char *text)
{
        int r = table_add(t, HUE_DIM, key);

        return r < 0 ? r : table_add(t, hue, text);
}

/* Where to look next. */
static int add_next(Table *t, const char *verb, const char *path)
{
        _cleanup_free_ char *next = xasprintf("tractorctl %s %s", verb, path);

        return next ? add_row(t, HUE_PLAIN, "next", next) : -ENOMEM;
}

static int add_last_lines(Context *c, Table *t, const Json *node)
{
        _cleanup_(strv_freep) char **lines = NULL;
        int r = logs_tail(c, node, LAST_LINES, &lines);

        for (char **l = lines; r >= 0 && l && *l; l++)
                r = add_row(t, HUE_PLAIN, "log", *l);
        return r;
}

static int add_trouble(Context *c, Table *t, const Json *node)
{
        const char *path = json_get_string(node, "path", "?"), *state = json_get_string(node, "state", "");
        const Json *failed = NULL;
        int r;

        if (!streq(json_get_string(node, "kind", ""), "actor")) {
                path = tree_first_failed(node, &failed);
                return failed && failed != node ? add_next(t, "status", path) : 0;
        }
        /* What never ran has said nothing. */
        if ((!streq(state, "failed") && !streq(state, "backoff")) || !json_has(node, "output") ||
                        streq(json_get_string(json_get(node, "exit"), "cause", "spawn"), "spawn"))
                return 0;
        r = add_last_lines(c, t, node);
        return r < 0 ? r : add_next(t, "logs", path);
}

static int print_details(Context *c, Json *v, bool node)
{
        Style whole = c->style;
        Table t;
        int r;

        if (print_json(c, v))
                return CTL_DONE;
        whole.width = 0; /* a reason that ends in the middle is none */
        r = tree_view_details(v, &c->style, &t);
        if (r >= 0 && node)
                r = add_trouble(c, &t, v);
        if (r >= 0)
                r = table_print(&t, &whole);
        table_done(&t);
        return r < 0 ? fail_errno(c, r) : CTL_DONE;
}

int verb_status(Context *c)
{
        _cleanup_json_ Json *v = NULL;
        bool node = c->o->n_args > 0;
        int r;

        if (node)
                r = get_node(c, &v);
        else {
                r = context_connect(c);
                if (r == 0)
                        r = context_call(c, "supervisor.status", NULL, &v);
        }
        return r != 0 ? r : print_details(c, v, node);
}
