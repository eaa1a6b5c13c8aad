/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What must hold of the problems found in any JSON: each points at a value that is there and says something printable. */

#include <stdlib.h>

#include "supervisor/config.h"

#define REQUIRE(expr)                                                                                       \
        do {                                                                                                \
                if (!(expr))                                                                                \
                        abort();                                                                            \
        } while (0)

/* One reference token of a pointer, unescaped; moves *p past it. The caller frees. */
static inline char *take_token(const char **p)
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

static inline void check_pointer(Json *v, const char *pointer)
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

static inline void check_problems(Json *v, const ConfigProblems *problems)
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
