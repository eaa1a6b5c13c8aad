/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Trees as text for the tests of the parser, with ' for " so that they can be read. */

#include <errno.h>

#include "supervisor/config.h"
#include "test.h"

/* A tree with the given top members, with the given children, with one child `a` of the given members. */
#define TREE(members) "{'tractor':1,'name':'t'," members "}"
#define CHILDREN(list) TREE("'children':[" list "]")
#define CHILD(members) CHILDREN("{'name':'a','exec':['true']," members "}")

static inline Json *json_from_text(const char *text, unsigned max_depth)
{
        _cleanup_free_ char *copy = strdup(text);
        JsonError error;
        Json *v = NULL;

        CHECK(copy);
        for (char *c = copy; *c; c++)
                if (*c == '\'')
                        *c = '"';
        if (json_parse(copy, strlen(copy), &(JsonLimits){ .max_depth = max_depth }, &v, &error) < 0) {
                fprintf(stderr, "%.500s at %zu: %s\n", copy, error.offset, error.message);
                abort();
        }
        return v;
}

/* With problems *ret is NULL. */
static inline int parse(const char *text, TreeSpec **ret, ConfigProblems *problems)
{
        _cleanup_json_ Json *v = json_from_text(text, 0);
        int r;

        *ret = NULL;
        r = config_parse_tree(v, ret, problems);
        CHECK(r == 0 || r == -EINVAL);
        CHECK_EQ(r == 0, *ret != NULL);
        CHECK_EQ(r == 0, config_problems_errors(problems) == 0);
        return r;
}

static inline void print_problems(const ConfigProblems *p)
{
        for (size_t i = 0; i < p->n; i++)
                fprintf(stderr, "  %s: %s\n", p->items[i].pointer, p->items[i].message);
}

static inline TreeSpec *parse_good(const char *text)
{
        ConfigProblems problems = { 0 };
        TreeSpec *t;

        if (parse(text, &t, &problems) < 0 || problems.n > 0) {
                fprintf(stderr, "%s\n", text);
                print_problems(&problems);
                abort();
        }
        config_problems_done(&problems);
        return t;
}

/* Exactly one problem, at `pointer`, whose message holds `part`. */
static inline void check_problem(
                const char *text, const char *pointer, const char *part, bool unsupported, bool warning)
{
        ConfigProblems problems = { 0 };
        TreeSpec *t;
        int r;

        r = parse(text, &t, &problems);
        if (problems.n != 1 || !streq(problems.items[0].pointer, pointer) ||
                        !strstr(problems.items[0].message, part) ||
                        problems.items[0].unsupported != unsupported ||
                        problems.items[0].warning != warning) {
                fprintf(stderr, "%s\nwants %s: %s, has %zu:\n", text, pointer, part, problems.n);
                print_problems(&problems);
                abort();
        }
        CHECK_EQ(r, warning ? 0 : -EINVAL);
        config_problems_done(&problems);
        tree_spec_unref(t);
}

static inline void check_one(const char *text, const char *pointer, const char *part)
{
        check_problem(text, pointer, part, false, false);
}

static inline void check_unsupported(const char *text, const char *pointer, const char *part)
{
        check_problem(text, pointer, part, true, false);
}

static inline void check_warning(const char *text, const char *pointer, const char *part)
{
        check_problem(text, pointer, part, false, true);
}

/* The same for one member of an actor; `pointer` is below it. */
static inline void check_member(const char *member, const char *pointer, const char *part, bool unsupported)
{
        _cleanup_free_ char *text = xasprintf(CHILD("%s"), member),
                            *at = xasprintf("/children/0%s", pointer);

        CHECK(text && at);
        check_problem(text, at, part, unsupported, false);
}

static inline void check_child(const char *member, const char *pointer, const char *part)
{
        check_member(member, pointer, part, false);
}

static inline void check_child_unsupported(const char *member, const char *pointer, const char *part)
{
        check_member(member, pointer, part, true);
}
