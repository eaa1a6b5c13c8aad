/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "tractorctl/describe.h"
#include "tractorctl/top-view.h"

static const char *const order_names[_TOP_ORDER_MAX] = {
        [TOP_CPU] = "CPU",
        [TOP_MEMORY] = "memory",
        [TOP_TASKS] = "tasks",
        [TOP_PRESSURE] = "pressure",
        [TOP_RESTARTS] = "restarts",
};

static const char order_keys[_TOP_ORDER_MAX] = {
        [TOP_CPU] = 'c', [TOP_MEMORY] = 'm', [TOP_TASKS] = 't', [TOP_PRESSURE] = 'p', [TOP_RESTARTS] = 'r'
};

const char *top_order_name(TopOrder order)
{
        return order_names[order];
}

void top_sample_done(TopSample *s)
{
        for (size_t i = 0; i < s->n; i++) {
                free(s->rows[i].path);
                free(s->rows[i].id);
        }
        free(s->rows);
        s->tree = json_unref(s->tree);
        *s = (TopSample){ 0 };
}

static double number(const Json *object, const char *key)
{
        const Json *v = json_get(object, key);

        return json_type(v) == JSON_INTEGER || json_type(v) == JSON_DOUBLE ? json_double(v) : -1;
}

static int add_rows(TopSample *s, const Json *node)
{
        const char *path = json_get_string(node, "path", "/");
        const Json *children = json_get(node, "children"), *usage = json_get(node, "usage");
        int r = 0;

        if (!streq(path, "/")) {
                TopRow row = { .node = node, .cpu_usec = json_get_integer(usage, "cpu_us", -1) };

                r = GROW(s->rows, s->cap, s->n + 1);
                if (r < 0)
                        return r;
                row.path = strdup(path);
                row.id = strdup(json_get_string(node, "id", ""));
                row.value[TOP_CPU] = -1;
                row.value[TOP_MEMORY] = number(usage, "memory");
                row.value[TOP_TASKS] = number(usage, "tasks");
                row.value[TOP_PRESSURE] = number(usage, "pressure");
                row.value[TOP_RESTARTS] = number(node, "restarts");
                s->rows[s->n++] = row;
                r = row.path && row.id ? 0 : -ENOMEM;
        }
        for (size_t i = 0; r >= 0 && i < json_length(children); i++)
                r = add_rows(s, json_item(children, i));
        return r;
}

static int by_path(const void *a, const void *b)
{
        return strcmp(((const TopRow *) a)->path, ((const TopRow *) b)->path);
}

/* A counter that went back is another one, which began at 0. */
static void add_cpu(TopSample *s, const TopSample *before)
{
        double elapsed = (double) (s->usec - before->usec);

        for (size_t i = 0; i < s->n && elapsed > 0; i++) {
                TopRow *row = &s->rows[i];
                const TopRow *old = bsearch(row, before->rows, before->n, sizeof(TopRow), by_path);
                int64_t since = old ? old->cpu_usec : -1;

                if (row->cpu_usec < 0 || since < 0)
                        continue;
                if (row->cpu_usec < since)
                        since = 0;
                row->value[TOP_CPU] = 100 * (double) (row->cpu_usec - since) / elapsed;
        }
}

int top_sample_init(TopSample *s, Json *tree, uint64_t usec, const TopSample *before)
{
        int r;

        *s = (TopSample){ .tree = tree, .usec = usec };
        r = add_rows(s, tree);
        if (r < 0) {
                top_sample_done(s);
                return r;
        }
        if (s->n > 0)
                qsort(s->rows, s->n, sizeof(TopRow), by_path);
        if (before && before->n > 0) {
                qsort(before->rows, before->n, sizeof(TopRow), by_path);
                add_cpu(s, before);
        }
        return 0;
}

static int by_value(const void *a, const void *b, void *userdata)
{
        TopOrder order = *(TopOrder *) userdata;
        double x = ((const TopRow *) a)->value[order], y = ((const TopRow *) b)->value[order];

        return x > y ? -1 : x < y ? 1 : by_path(a, b);
}

void top_sort(TopSample *s, TopOrder order)
{
        if (s->n > 0)
                qsort_r(s->rows, s->n, sizeof(TopRow), by_value, &order);
}

/* --- */

static int add_number(Table *t, const Style *style, TopOrder order, double v)
{
        char buf[TEXT_MAX] = "";
        Hue hue = HUE_PLAIN;

        if (v >= 0 && order == TOP_MEMORY && style->terminal)
                (void) text_bytes(buf, (int64_t) v);
        else if (v >= 0)
                (void) snprintf(buf, sizeof(buf),
                                order == TOP_CPU || order == TOP_PRESSURE ? "%.1f" : "%.0f", v);
        if ((order == TOP_CPU && v >= 90) || (order == TOP_PRESSURE && v >= 10))
                hue = HUE_BAD;
        else if (v == 0)
                hue = HUE_DIM;
        return table_add(t, hue, buf);
}

int top_view_table(const TopSample *s, size_t first, size_t n, const char *selected, const Style *style,
                Table *ret)
{
        static const char *const head[] = { " ", "%CPU", "MEMORY", "TASKS", "%PRESSURE", "RESTARTS", "STATE",
                "PATH" };
        int r = 0;

        table_init(ret, style->terminal ? head : head + 1, ELEMENTSOF(head) - !style->terminal);
        for (size_t i = first; r >= 0 && i < s->n && i < first + n; i++) {
                const TopRow *row = &s->rows[i];
                const char *state = json_get_string(row->node, "state", "?");

                if (style->terminal)
                        r = table_add(ret, HUE_PLAIN, streq_ptr(selected, row->path) ? ">" : " ");
                for (TopOrder k = 0; r >= 0 && k < _TOP_ORDER_MAX; k++)
                        r = add_number(ret, style, k, row->value[k]);
                if (r >= 0)
                        r = table_add(ret, state_hue(state), state);
                if (r >= 0)
                        r = table_add(ret, HUE_PLAIN, row->path);
        }
        return r;
}

bool top_has(const TopSample *s, TopOrder order)
{
        for (size_t i = 0; i < s->n; i++)
                if (order == TOP_CPU ? s->rows[i].cpu_usec >= 0 : s->rows[i].value[order] >= 0)
                        return true;
        return false;
}

char *top_view_footer(const TopSample *s)
{
        char *text = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&text, &n);

        if (!f)
                return NULL;
        fputs("q quit   sort:", f);
        for (TopOrder k = 0; k < _TOP_ORDER_MAX; k++)
                if (top_has(s, k))
                        fprintf(f, " %c %s ", order_keys[k], order_names[k]);
        fputs("  arrows move", f);
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}

/* NULL, which is null there, for what is unknown. */
static Json *number_or_null(TopOrder order, double v)
{
        Json *n = NULL;

        if (v >= 0 && (order == TOP_CPU || order == TOP_PRESSURE))
                (void) json_pack(&n, "f", v);
        else if (v >= 0)
                (void) json_pack(&n, "I", (int64_t) v);
        return n;
}

int top_view_json(const TopSample *s, Json **ret)
{
        Json *list;
        int r = json_pack(&list, "[]");

        if (r < 0)
                return r;
        for (size_t i = 0; r >= 0 && i < s->n; i++) {
                const TopRow *row = &s->rows[i];
                Json *v = NULL;

                r = json_pack(&v,
                                "{path:s, kind:O?, state:O?, pid:O?, cpu:o, memory:o, tasks:o, pressure:o, "
                                "restarts:o}",
                                row->path, json_get(row->node, "kind"), json_get(row->node, "state"),
                                json_get(row->node, "pid"), number_or_null(TOP_CPU, row->value[TOP_CPU]),
                                number_or_null(TOP_MEMORY, row->value[TOP_MEMORY]),
                                number_or_null(TOP_TASKS, row->value[TOP_TASKS]),
                                number_or_null(TOP_PRESSURE, row->value[TOP_PRESSURE]),
                                number_or_null(TOP_RESTARTS, row->value[TOP_RESTARTS]));
                if (r >= 0)
                        r = json_append(list, v);
        }
        if (r < 0) {
                json_unref(list);
                return r;
        }
        *ret = list;
        return 0;
}

/* --- */

static TopKey plain_key(char c)
{
        for (TopOrder k = 0; k < _TOP_ORDER_MAX; k++)
                if (order_keys[k] == c)
                        return (TopKey) (TOP_KEY_ORDER + k);
        switch (c) {
        case 'q':
        case 4: /* ^D */
                return TOP_KEY_QUIT;
        case 'k':
                return TOP_KEY_UP;
        case 'j':
                return TOP_KEY_DOWN;
        default:
                return TOP_KEY_NONE;
        }
}

TopKey top_key(const char *p, size_t n, size_t *ret_n)
{
        static const struct {
                const char *end;
                TopKey key;
        } keys[] = {
                { "A", TOP_KEY_UP },
                { "B", TOP_KEY_DOWN },
                { "H", TOP_KEY_HOME },
                { "F", TOP_KEY_END },
                { "1~", TOP_KEY_HOME },
                { "4~", TOP_KEY_END },
                { "5~", TOP_KEY_PAGE_UP },
                { "6~", TOP_KEY_PAGE_DOWN },
        };
        size_t i = 2;

        *ret_n = 1;
        if (n < 2 || p[0] != '\033' || (p[1] != '[' && p[1] != 'O'))
                return plain_key(p[0]);
        /* Parameters, then one byte that ends it. */
        while (i < n && (unsigned char) p[i] >= 0x20 && (unsigned char) p[i] < 0x40)
                i++;
        *ret_n = MIN(i + 1, n);
        for (size_t k = 0; k < ELEMENTSOF(keys); k++)
                if (strlen(keys[k].end) == *ret_n - 2 && strncmp(keys[k].end, p + 2, *ret_n - 2) == 0)
                        return keys[k].key;
        return TOP_KEY_NONE;
}
