/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "tractorctl/apply-view.h"

static void put_clean(FILE *f, const char *s)
{
        _cleanup_free_ char *clean = text_clean(s);

        fputs(strna(clean), f);
}

static void put_value(FILE *f, Json *v)
{
        if (!v)
                fputs("unset", f);
        else
                put_clean(f, json_string(v) ?: json_print(v, NULL));
}

static void put_key(FILE *f, const char *name, const Json *change, const Style *style)
{
        put_clean(f, name);
        if (!json_get_boolean(change, "live", false))
                return;
        fputc(' ', f);
        put_value(f, json_get(change, "from"));
        fputs(style->utf8 ? " → " : " -> ", f);
        put_value(f, json_get(change, "to"));
}

static bool put_keys(FILE *f, const Json *changes, bool live, const char *before, const Style *style)
{
        JsonIterator i = { 0 };
        bool any = false;

        while (json_next(changes, &i)) {
                if (json_get_boolean(i.value, "live", false) != live)
                        continue;
                fputs(any ? ", " : before, f);
                put_key(f, i.key, i.value, style);
                any = true;
        }
        return any;
}

static void put_node(FILE *f, char sign, const char *path, const Json *changes, const Style *style)
{
        bool restarts, live;

        fprintf(f, "%c ", sign);
        put_clean(f, path);
        restarts = put_keys(f, changes, false, sign == '~' ? " restarts: " : " at its next start: ", style);
        if (sign == '~' && !restarts)
                fputs(" starts again", f);
        live = put_keys(f, changes, true, restarts ? "; " : " ", style);
        fputs(live ? " in place\n" : "\n", f);
}

char *apply_view(const Json *result, const Style *style)
{
        static const struct {
                const char *name;
                char sign;
        } lists[] = { { "added", '+' }, { "removed", '-' }, { "restarted", '~' }, { "updated", '*' } };
        const Json *changes = json_get(result, "changes");
        char *text = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&text, &n);

        if (!f)
                return NULL;
        for (size_t i = 0; i < ELEMENTSOF(lists); i++) {
                const Json *paths = json_get(result, lists[i].name);

                for (size_t k = 0; k < json_length(paths); k++) {
                        const char *path = json_string(json_item(paths, k)) ?: "?";

                        put_node(f, lists[i].sign, path, i < 2 ? NULL : json_get(changes, path), style);
                }
        }
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}
