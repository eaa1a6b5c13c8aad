/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>

#include "tractorctl/describe.h"
#include "tractorctl/tree-view.h"

static const char *const tree_head[] = { "NODE", "STATE", "PID", "RESTARTS", "SINCE", "LAST EXIT", "UNIT",
        "FROZEN" };
static const char *const list_head[] = { "PATH", "KIND", "STATE", "PID", "RESTARTS", "SINCE", "LAST EXIT",
        "FROZEN" };
static const char *const details_head[] = { "KEY", "VALUE" };

typedef struct TreeView {
        const Style *style;
        Table *table;
} TreeView;

static const char *last_name(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash && slash[1] ? slash + 1 : path;
}

static int add_integer(Table *t, const Json *node, const char *key)
{
        char buf[TEXT_MAX] = "";
        const Json *v = json_get(node, key);

        if (v)
                (void) snprintf(buf, sizeof(buf), "%lld", (long long) json_integer(v));
        return table_add(t, HUE_PLAIN, buf);
}

static bool is_actor(const Json *node)
{
        return streq(json_get_string(node, "kind", ""), "actor");
}

/* While it is starting, the reason is what it waits for, and has nothing to do with how it ended last. */
static bool is_starting(const Json *node)
{
        return streq(json_get_string(node, "state", ""), "starting");
}

/* How it ended, and of a start that came to nothing why. */
static int add_end(Table *t, const Json *node)
{
        const Json *end = json_get(node, "exit");
        const char *reason = is_starting(node) ? NULL : json_get_string(node, "reason", NULL);
        Hue hue = streq(json_get_string(node, "state", ""), "failed") ? HUE_BAD : HUE_DIM;
        bool ran = *json_get_string(end, "cause", "") && !streq(json_get_string(end, "cause", ""), "spawn");
        _cleanup_free_ char *exit = describe_exit(end), *both = NULL;

        if (!exit)
                return -ENOMEM;
        if (!reason || ran)
                return table_add(t, hue, exit);
        both = xasprintf("%s%s%s", exit, *exit ? ": " : "", reason);
        return both ? table_add(t, hue, both) : -ENOMEM;
}

/* Why it is not ready: what it waits for, or how it ended. */
static int add_cause(Table *t, const Json *node)
{
        const char *reason = json_get_string(node, "reason", NULL);

        return is_starting(node) && reason ? table_add(t, HUE_DIM, reason) : add_end(t, node);
}

/* People see at once that it is frozen; a script compares the state, and has a column of its own for the rest. */
static int add_state(const TreeView *v, const Json *node)
{
        const char *state = json_get_string(node, "state", "?");
        bool frozen = v->style->terminal && json_get_boolean(node, "frozen", false);
        _cleanup_free_ char *text = frozen ? xasprintf("%s (frozen)", state) : strdup(state);

        return text ? table_add(v->table, frozen ? HUE_BUSY : state_hue(state), text) : -ENOMEM;
}

static int add_frozen(const TreeView *v, const Json *node)
{
        if (v->style->terminal)
                return 0;
        return table_add(v->table, HUE_PLAIN, json_get_boolean(node, "frozen", false) ? "frozen" : NULL);
}

/* The last column is for pipes alone. */
static void view_init(const TreeView *v, const char *const *head, size_t n_columns)
{
        table_init(v->table, head, v->style->terminal ? n_columns - 1 : n_columns);
}

/* STATE PID RESTARTS SINCE, as both tables have them. */
static int add_common(const TreeView *v, const Json *node)
{
        Table *t = v->table;
        char buf[TEXT_MAX];
        int r = add_state(v, node);

        if (r >= 0)
                r = add_integer(t, node, "pid");
        if (r >= 0)
                r = is_actor(node) ? add_integer(t, node, "restarts") : table_add(t, HUE_PLAIN, NULL);
        if (r >= 0)
                r = table_add(t, HUE_PLAIN, text_duration(buf, json_get_integer(node, "since_ms", -1)));
        return r;
}

static int add_tree_row(const TreeView *v, const Json *node, const char *prefix, const char *branch)
{
        const char *path = json_get_string(node, "path", "?"), *strategy;
        _cleanup_free_ char *label = NULL;
        int r;

        strategy = json_get_string(node, "strategy", NULL);
        if (v->style->terminal && strategy)
                label = xasprintf("%s%s%s (%s)", prefix, branch, last_name(path), strategy);
        else
                label = xasprintf("%s%s%s", prefix, branch, last_name(path));
        if (!label)
                return -ENOMEM;
        r = table_add(v->table, HUE_PLAIN, label);
        if (r >= 0)
                r = add_common(v, node);
        if (r >= 0)
                r = add_end(v->table, node);
        if (r >= 0) /* last: the first to be cut */
                r = table_add(v->table, HUE_DIM, json_get_string(node, "unit", NULL));
        return r < 0 ? r : add_frozen(v, node);
}

/* The root's own line says nothing. Recursion is bounded by the parser's depth. */
static int add_subtree(const TreeView *v, const Json *node, const char *prefix, const char *branch,
                const char *below)
{
        bool drawn = v->style->terminal && v->style->utf8;
        const Json *children = json_get(node, "children");
        size_t n = json_length(children);
        _cleanup_free_ char *inner = xasprintf("%s%s", prefix, below);
        int r;

        if (!inner)
                return -ENOMEM;
        r = add_tree_row(v, node, prefix, branch);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                bool last = i + 1 == n;

                if (drawn)
                        r = add_subtree(v, json_item(children, i), inner, last ? "└─ " : "├─ ",
                                        last ? "   " : "│  ");
                else
                        r = add_subtree(v, json_item(children, i), inner, "", "  ");
        }
        return r;
}

int tree_view_tree(const Json *node, const Style *style, Table *ret)
{
        const TreeView v = { .style = style, .table = ret };
        const Json *children = json_get(node, "children");
        bool drawn = style->terminal && style->utf8;
        int r = 0;

        view_init(&v, tree_head, ELEMENTSOF(tree_head));
        if (!streq(json_get_string(node, "path", ""), "/"))
                return add_subtree(&v, node, "", "", drawn ? "" : "  ");
        for (size_t i = 0; r >= 0 && i < json_length(children); i++)
                r = add_subtree(&v, json_item(children, i), "", "", drawn ? "" : "  ");
        return r;
}

static int add_list_row(const TreeView *v, const Json *node, const char *path)
{
        int r = table_add(v->table, HUE_PLAIN, path);

        if (r >= 0)
                r = table_add(v->table, HUE_DIM, json_get_string(node, "kind", NULL));
        if (r >= 0)
                r = add_common(v, node);
        if (r >= 0)
                r = add_end(v->table, node);
        return r < 0 ? r : add_frozen(v, node);
}

static bool path_matches(const char *glob, const char *path)
{
        return glob ? fnmatch(glob, path, 0) == 0 : !streq(path, "/");
}

static int add_list(const TreeView *v, const Json *node, const char *glob)
{
        const char *path = json_get_string(node, "path", "?");
        const Json *children = json_get(node, "children");
        int r = 0;

        if (path_matches(glob, path))
                r = add_list_row(v, node, path);
        for (size_t i = 0; r >= 0 && i < json_length(children); i++)
                r = add_list(v, json_item(children, i), glob);
        return r;
}

int tree_view_list(const Json *node, const char *glob, const Style *style, Table *ret)
{
        const TreeView v = { .style = style, .table = ret };

        view_init(&v, list_head, ELEMENTSOF(list_head));
        return add_list(&v, node, glob);
}

static int copy_without_children(const Json *node, Json *list)
{
        JsonIterator i = { 0 };
        Json *copy = NULL;
        int r = json_pack(&copy, "{}");

        while (r >= 0 && json_next(node, &i))
                if (!streq(i.key, "children") && !streq(i.key, "more"))
                        r = json_set(copy, i.key, json_ref(i.value));
        if (r < 0) {
                json_unref(copy);
                return r;
        }
        return json_append(list, copy);
}

static int collect(const Json *node, const char *glob, Json *list)
{
        const Json *children = json_get(node, "children");
        int r = 0;

        if (path_matches(glob, json_get_string(node, "path", "?")))
                r = copy_without_children(node, list);
        for (size_t i = 0; r >= 0 && i < json_length(children); i++)
                r = collect(json_item(children, i), glob, list);
        return r;
}

int tree_view_matching(const Json *node, const char *glob, Json **ret)
{
        Json *list;
        int r = json_pack(&list, "[]");

        if (r < 0)
                return r;
        r = collect(node, glob, list);
        if (r < 0) {
                json_unref(list);
                return r;
        }
        *ret = list;
        return 0;
}

/* The unit that the key's name ends in, cut off *n; 0: none. */
static int64_t cut_unit(const char *key, size_t *n)
{
        static const struct {
                const char *suffix;
                int64_t per_ms;
        } units[] = { { "_ms", 1 }, { "_us", 1000 } };

        for (size_t i = 0; i < ELEMENTSOF(units); i++) {
                size_t m = strlen(units[i].suffix);

                if (*n > m && streq(key + *n - m, units[i].suffix)) {
                        *n -= m;
                        return units[i].per_ms;
                }
        }
        return 0;
}

/* NULL: not words alone, or out of memory. */
static char *words_value(Json *value)
{
        _cleanup_(strv_freep) char **words = NULL;

        for (size_t i = 0; i < json_length(value); i++) {
                const char *word = json_string(json_item(value, i));

                if (!word || strv_append(&words, word) < 0)
                        return NULL;
        }
        return words ? shell_quote(words) : NULL;
}

static char *plain_value(const char *key, Json *value)
{
        char *words = json_type(value) == JSON_ARRAY ? words_value(value) : NULL;

        if (words)
                return words;
        if (streq(key, "exit"))
                return describe_exit(value);
        return strdup(strna(json_string(value) ?: json_print(value, NULL)));
}

/* As people read it; *n: how much of the key is its name. */
static char *pretty_value(const char *key, size_t *n, Json *value)
{
        bool number = json_type(value) == JSON_INTEGER;
        int64_t per_ms = number ? cut_unit(key, n) : 0;
        char buf[TEXT_MAX];

        if (per_ms > 0)
                return strdup(text_duration(buf, json_integer(value) / per_ms));
        if (number && startswith(key, "memory"))
                return strdup(text_bytes(buf, json_integer(value)));
        return plain_value(key, value);
}

static int add_value(Table *t, const Style *style, const char *prefix, const char *key, Json *value)
{
        Hue hue = streq(key, "state") ? state_hue(strna(json_string(value))) : HUE_PLAIN;
        _cleanup_free_ char *text = NULL, *name = NULL;
        size_t n = strlen(key);
        int r;

        text = style->terminal ? pretty_value(key, &n, value) : plain_value(key, value);
        name = xasprintf("%s%s%.*s", prefix, *prefix ? "." : "", (int) n, key);
        if (!text || !name)
                return -ENOMEM;
        r = table_add(t, HUE_DIM, name);
        return r < 0 ? r : table_add(t, hue, text);
}

static int add_detail(Table *t, const Style *style, const char *prefix, const char *key, Json *value)
{
        JsonIterator i = { 0 };
        int r = 0;

        if (!value || streq(key, "children") || streq(key, "more"))
                return 0;
        if (json_type(value) != JSON_OBJECT || streq(key, "exit") || *prefix)
                return add_value(t, style, prefix, key, value);
        while (r >= 0 && json_next(value, &i))
                r = add_detail(t, style, key, i.key, i.value);
        return r;
}

/* One line a child, so that `status` of a supervisor answers the first question about it. */
static int add_children(Table *t, const Json *node)
{
        const Json *children = json_get(node, "children");

        for (size_t i = 0; i < json_length(children); i++) {
                const Json *child = json_item(children, i);
                const char *state = json_get_string(child, "state", "?");
                _cleanup_free_ char *text = NULL;
                int r;

                text = xasprintf("%s %s", json_get_string(child, "path", "?"), state);
                if (!text)
                        return -ENOMEM;
                r = table_add(t, HUE_DIM, "child");
                if (r >= 0)
                        r = table_add(t, state_hue(state), text);
                if (r < 0)
                        return r;
        }
        return 0;
}

int tree_view_details(const Json *object, const Style *style, Table *ret)
{
        JsonIterator i = { 0 };

        table_init(ret, details_head, ELEMENTSOF(details_head));
        while (json_next(object, &i)) {
                int r = add_detail(ret, style, "", i.key, i.value);

                if (r < 0)
                        return r;
        }
        return add_children(ret, object);
}

static int add_unready(const Json *node, Table *t)
{
        const char *path = json_get_string(node, "path", "?"), *state = json_get_string(node, "state", "?");
        const Json *children = json_get(node, "children");
        int r = 0;

        if (!streq(path, "/") && !streq(state, "ready") && !streq(state, "dead") &&
                        !streq(state, "failed")) {
                char buf[TEXT_MAX];

                r = table_add(t, HUE_PLAIN, path);
                if (r >= 0)
                        r = table_add(t, state_hue(state), state);
                if (r >= 0)
                        r = table_add(t, HUE_PLAIN,
                                        text_duration(buf, json_get_integer(node, "since_ms", -1)));
                if (r >= 0)
                        r = add_cause(t, node);
        }
        for (size_t i = 0; r >= 0 && i < json_length(children); i++)
                r = add_unready(json_item(children, i), t);
        return r;
}

int tree_view_unready(const Json *node, const Style *style, char ***ret)
{
        static const char *const head[] = { "WAITING FOR", "STATE", "SINCE", "WHY" };
        Table t;
        int r;

        table_init(&t, head, ELEMENTSOF(head));
        r = add_unready(node, &t);
        *ret = NULL;
        if (r >= 0 && t.n > 0)
                r = table_render(&t, style, ret);
        table_done(&t);
        return r;
}

Settled tree_settled(const Json *node)
{
        const char *state = json_get_string(node, "state", "");
        const Json *exit = json_get(node, "exit");

        if (streq(state, "ready"))
                return SETTLED_WELL;
        if (streq(state, "failed"))
                return SETTLED_FAILED;
        if (!streq(state, "dead"))
                return SETTLED_NOT_YET;
        /* It was told to stop, whatever it made of that, and nobody starts it again. */
        if (streq(json_get_string(exit, "cause", ""), "stop"))
                return SETTLED_FAILED;
        /* One that ended as it should; a supervisor has no exit of its own. */
        return !exit || json_get_integer(exit, "code", -1) == 0 ? SETTLED_WELL : SETTLED_FAILED;
}

bool tree_is_active(const Json *node)
{
        static const char *const active[] = { "starting", "ready", "stopping", "backoff" };
        const Json *children = json_get(node, "children");

        if (is_actor(node)) {
                const char *state = json_get_string(node, "state", "");

                for (size_t i = 0; i < ELEMENTSOF(active); i++)
                        if (streq(state, active[i]))
                                return true;
                if (json_get(node, "pid"))
                        return true;
        }
        for (size_t i = 0; i < json_length(children); i++)
                if (tree_is_active(json_item(children, i)))
                        return true;
        return false;
}

const char *tree_first_failed(const Json *node, const Json **ret_node)
{
        const Json *children = json_get(node, "children");

        for (size_t i = 0; i < json_length(children); i++) {
                const char *path = tree_first_failed(json_item(children, i), ret_node);

                if (path)
                        return path;
        }
        if (!streq(json_get_string(node, "state", ""), "failed"))
                return NULL;
        *ret_node = node;
        return json_get_string(node, "path", "?");
}

Json *tree_find(Json *node, const char *path)
{
        Json *children = json_get(node, "children");

        if (streq(json_get_string(node, "path", ""), path))
                return node;
        for (size_t i = 0; i < json_length(children); i++) {
                Json *found = tree_find(json_item(children, i), path);

                if (found)
                        return found;
        }
        return NULL;
}
