/* SPDX-License-Identifier: Apache-2.0 */
/* Any JSON as a tree file: it parses, or each problem points at a value that is there and says something
 * printable. Limits that were read are read again from what they are printed as. */
#include <errno.h>

#include "base/macro.h"
#include "supervisor/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(expr)                                                                                       \
        do {                                                                                                \
                if (!(expr))                                                                                \
                        abort();                                                                            \
        } while (0)

/* One reference token of a pointer, unescaped; moves *p past it. The caller frees. */
static char *take_token(const char **p)
{
        const char *c = *p + 1;
        char *token = malloc(strlen(c) + 1), *out = token;

        REQUIRE(token && **p == '/');
        for (; *c && *c != '/'; c++) {
                if (*c != '~') {
                        *out++ = *c;
                        continue;
                }
                c++;
                REQUIRE(*c == '0' || *c == '1');
                *out++ = *c == '0' ? '~' : '/';
        }
        *out = 0;
        *p = c;
        return token;
}

static void check_pointer(Json *v, const char *pointer)
{
        while (*pointer) {
                _cleanup_free_ char *token = take_token(&pointer);
                char *end;
                size_t i;

                if (json_type(v) == JSON_ARRAY) {
                        i = strtoul(token, &end, 10);
                        REQUIRE(end > token && !*end && i < json_length(v));
                        v = json_item(v, i);
                } else {
                        REQUIRE(json_has(v, token));
                        v = json_get(v, token);
                }
        }
}

static void check_problems(Json *v, const ConfigProblems *problems)
{
        _cleanup_json_ Json *list = NULL;
        const char *text;
        size_t n;

        for (size_t i = 0; i < problems->n; i++) {
                const ConfigProblem *p = &problems->items[i];

                check_pointer(v, p->pointer);
                REQUIRE(*p->message);
                for (const char *c = p->message; *c; c++)
                        REQUIRE((unsigned char) *c >= ' ' && *c != 0x7f);
        }
        REQUIRE(config_problems_to_json(problems, &list) == 0);
        REQUIRE(json_length(list) == config_problems_errors(problems));
        text = json_print(list, &n);
        REQUIRE(text && n < 1024 * 1024);
        list = json_unref(list);
}

static void check_limits(const Limits *l)
{
        _cleanup_json_ Json *v = NULL;
        JsonIterator i = { 0 };
        Limits again = { 0 };
        const char *why;

        REQUIRE(limits_to_json(l, &v) == 0);
        REQUIRE((v == NULL) == (l->set == 0));
        while (v && json_next(v, &i))
                REQUIRE(limits_set_from_json(&again, limit_from_name(i.key), i.value, &why) == 0);
        REQUIRE(again.set == l->set && memcmp(again.values, l->values, sizeof(l->values)) == 0);
        REQUIRE(streq_ptr(again.allowed_cpus, l->allowed_cpus));
        limits_done(&again);
}

static void check_spec(const TreeSpec *t)
{
        REQUIRE(t->name && t->node.name == t->name && t->node.depends == t->depends);
        REQUIRE((t->node.kind == NODE_ACTOR) == (t->exec != NULL));
        REQUIRE(t->node.kind == NODE_SUPERVISOR || t->n_children == 0);
        REQUIRE(t->stop_signal > 0 && signal_to_name(t->stop_signal));
        check_limits(&t->limits);
        for (size_t i = 0; i < t->n_children; i++)
                check_spec(t->children[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_json_ Json *v = NULL;
        _cleanup_(tree_spec_unrefp) TreeSpec *t = NULL;
        ConfigProblems problems = { 0 };
        int r;

        if (json_parse((const char *) data, size, NULL, &v, NULL) < 0)
                return 0;
        r = config_parse_tree(v, &t, &problems);
        REQUIRE(r == 0 || r == -EINVAL);
        REQUIRE((r == 0) == (t != NULL) && (r == 0) == (config_problems_errors(&problems) == 0));
        check_problems(v, &problems);
        if (t)
                check_spec(t);
        config_problems_done(&problems);
        return 0;
}
