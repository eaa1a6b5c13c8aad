/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "base/map.h"
#include "tractorctl/tasks-view.h"

/* Deeper ones are shown at this depth. */
#define DEPTH_MAX 24
#define NONE SIZE_MAX

static const char *const terminal_head[] = { "TASK", "ID", "STATE", "WAITS FOR" };
static const char *const pipe_head[] = { "TASK", "ID", "STATE", "WAITS FOR", "NURSERY", "STACK" };

typedef struct Item {
        const Json *task;
        size_t parent, child, next; /* NONE: no such */
        unsigned depth;
        bool shown;
} Item;

typedef struct View {
        const Style *style;
        Table *table;
        Item *items;
        size_t n;
} View;

static bool has_id(const Json *task, const char *key)
{
        return json_type(json_get(task, key)) == JSON_INTEGER;
}

/* Children come in the order of the answer. */
static int link_items(View *v)
{
        Map ids = { 0 };
        int r = 0;

        for (size_t i = 0; i < v->n && r >= 0; i++) {
                if (!has_id(v->items[i].task, "id"))
                        continue;
                r = map_put_u64(&ids, (uint64_t) json_get_integer(v->items[i].task, "id", 0), &v->items[i]);
                r = r == -EEXIST ? 0 : r;
        }
        for (size_t i = v->n; i-- > 0 && r >= 0;) {
                Item *item = &v->items[i], *parent = NULL;

                if (has_id(item->task, "nursery"))
                        parent = map_get_u64(&ids, (uint64_t) json_get_integer(item->task, "nursery", 0));
                if (!parent || parent == item)
                        continue;
                item->parent = (size_t) (parent - v->items);
                item->next = parent->child;
                parent->child = i;
        }
        map_clear(&ids);
        return r;
}

static int add_integer(Table *t, const Json *task, const char *key)
{
        char buf[TEXT_MAX] = "";

        if (has_id(task, key))
                (void) snprintf(buf, sizeof(buf), "%lld", (long long) json_get_integer(task, key, 0));
        return table_add(t, HUE_PLAIN, buf);
}

static Hue hue_of(const char *state)
{
        return streq(state, "running") ? HUE_GOOD : streq(state, "ready") ? HUE_BUSY : HUE_DIM;
}

static char *join_frames(const Json *stack)
{
        char *text = NULL;
        size_t n;
        FILE *f = open_memstream(&text, &n);

        if (!f)
                return NULL;
        for (size_t i = 0; i < json_length(stack); i++)
                (void) fprintf(f, "%s%s", i > 0 ? " < " : "", json_string(json_item(stack, i)) ?: "?");
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}

static int add_frames_below(const View *v, const Item *item, int indent)
{
        const Json *stack = json_get(item->task, "stack");
        int r = 0;

        for (size_t i = 0; i < json_length(stack) && r >= 0; i++) {
                _cleanup_free_ char *line =
                                xasprintf("%*s%s", indent + 4, "", json_string(json_item(stack, i)) ?: "?");

                r = line ? table_add(v->table, HUE_DIM, line) : -ENOMEM;
                for (size_t k = 1; k < v->table->n_columns && r >= 0; k++)
                        r = table_add(v->table, HUE_PLAIN, NULL);
        }
        return r;
}

static int add_columns_beside(const View *v, const Item *item)
{
        _cleanup_free_ char *frames = join_frames(json_get(item->task, "stack"));
        int r = frames ? add_integer(v->table, item->task, "nursery") : -ENOMEM;

        return r < 0 ? r : table_add(v->table, HUE_PLAIN, frames);
}

static int show(const View *v, Item *item)
{
        const char *state = json_get_string(item->task, "state", "?");
        int indent = v->style->terminal ? 2 * (int) MIN(item->depth, (unsigned) DEPTH_MAX) : 0, r;
        _cleanup_free_ char *name = xasprintf("%*s%s", indent, "", json_get_string(item->task, "name", "?"));

        item->shown = true;
        r = name ? table_add(v->table, HUE_PLAIN, name) : -ENOMEM;
        if (r >= 0)
                r = add_integer(v->table, item->task, "id");
        if (r >= 0)
                r = table_add(v->table, hue_of(state), state);
        if (r >= 0)
                r = table_add(v->table, HUE_PLAIN, json_get_string(item->task, "wait", NULL));
        if (r < 0)
                return r;
        return v->style->terminal ? add_frames_below(v, item, indent) : add_columns_beside(v, item);
}

/* From `top` downwards, without recursion: the answer may be as deep as it is long. */
static int show_below(const View *v, size_t top)
{
        size_t i = top;
        int r;

        for (;;) {
                Item *item = &v->items[i];

                r = show(v, item);
                if (r < 0)
                        return r;
                if (item->child != NONE && !v->items[item->child].shown) {
                        v->items[item->child].depth = item->depth + 1;
                        i = item->child;
                        continue;
                }
                while (i != top && v->items[i].next == NONE)
                        i = v->items[i].parent;
                if (i == top)
                        return 0;
                v->items[v->items[i].next].depth = v->items[i].depth;
                i = v->items[i].next;
        }
}

static int show_all(View *v)
{
        int r = link_items(v);

        for (size_t i = 0; i < v->n && r >= 0; i++)
                if (v->items[i].parent == NONE)
                        r = show_below(v, i);
        /* What is left goes round in a circle. */
        for (size_t i = 0; i < v->n && r >= 0; i++)
                if (!v->items[i].shown)
                        r = show(v, &v->items[i]);
        return r;
}

int tasks_view(const Json *tasks, const Style *style, Table *ret)
{
        View v = { .style = style, .table = ret, .n = json_length(tasks) };
        int r;

        if (style->terminal)
                table_init(ret, terminal_head, ELEMENTSOF(terminal_head));
        else
                table_init(ret, pipe_head, ELEMENTSOF(pipe_head));
        v.items = calloc(MAX(v.n, (size_t) 1), sizeof(Item));
        if (!v.items)
                return -ENOMEM;
        for (size_t i = 0; i < v.n; i++)
                v.items[i] = (Item){ json_item(tasks, i), NONE, NONE, NONE, 0, false };
        r = show_all(&v);
        free(v.items);
        return r;
}
