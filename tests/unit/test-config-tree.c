/* SPDX-License-Identifier: Apache-2.0 */
/* What a tree file is as a whole: names, dependencies, cycles, depth, and all problems at once. */
#include "tree-text.h"

static void test_depends(void)
{
        tree_spec_unref(parse_good(
                        CHILDREN("{'name':'a','exec':['true']},{'name':'b','exec':['true'],'depends':['a',"
                                 "'/t/w/x']},{'name':'w','depends':['a'],'children':[{'name':'x',"
                                 "'exec':['true']}]}")));
        check_one(CHILDREN("{'name':'a','exec':['true'],'depends':['b']}"), "/children/0/depends/0",
                        "no sibling \"b\"");
        check_one(CHILDREN("{'name':'a','exec':['true'],'depends':['/t/b']}"), "/children/0/depends/0",
                        "no \"/t/b\"");
        check_one(CHILDREN("{'name':'a','exec':['true'],'depends':['a']}"), "/children/0/depends/0",
                        "itself");
        check_one(CHILDREN("{'name':'a','exec':['true'],'depends':['/t']}"), "/children/0/depends/0",
                        "above");
        check_one(CHILDREN("{'name':'w','depends':['/t/w/x'],'children':[{'name':'x','exec':['true']}]}"),
                        "/children/0/depends/0", "below");
        /* a sibling's child is no sibling */
        check_one(CHILDREN("{'name':'w','children':[{'name':'x','exec':['true']}]},{'name':'a',"
                           "'exec':['true'],'depends':['x']}"),
                        "/children/1/depends/0", "no sibling");
}

static void test_cycles(void)
{
        check_one(CHILDREN("{'name':'a','exec':['true'],'depends':['b']},{'name':'b',"
                           "'exec':['true'],'depends':['a']}"),
                        "/children/1/depends/0", "/t/b → /t/a → /t/b");
        check_one(CHILDREN("{'name':'a','exec':['true'],'depends':['b']},{'name':'b',"
                           "'exec':['true'],'depends':['c']},{'name':'c','exec':['true'],"
                           "'depends':['/t/a']}"),
                        "/children/2/depends/0", "/t/c → /t/a → /t/b → /t/c");
        /* through a supervisor: x waits for y, whose supervisor waits for x's */
        check_one(CHILDREN("{'name':'p','children':[{'name':'x','exec':['true'],"
                           "'depends':['/t/q/y']}]},{'name':'q','depends':['p'],"
                           "'children':[{'name':'y','exec':['true']}]}"),
                        "/children/1/depends/0", "/t/q → /t/p → /t/p/x → /t/q/y → /t/q");
        /* the order of one_for_all is waiting, too */
        check_one(TREE("'strategy':'one_for_all','children':[{'name':'a','exec':['true'],"
                       "'depends':['b']},{'name':'b','exec':['true']}]"),
                        "/children/0/depends/0", "waits for the one before it");
        tree_spec_unref(parse_good(TREE("'strategy':'one_for_all','children':[{'name':'a','exec':['true']},"
                                        "{'name':'b','exec':['true'],'depends':['a']}]")));
}

static void test_backoff_warning(void)
{
        check_warning(CHILD("'backoff':{'initial_ms':5000}"), "/children/0/backoff", "never given up");
        check_warning(TREE("'intensity':{'max_restarts':9},'children':[{'name':'a','exec':['true']},"
                           "{'name':'b','exec':['true']}]"),
                        "/intensity", "more than 9 restarts in 10000 ms");
        tree_spec_unref(parse_good(CHILD("'backoff':{'initial_ms':5000},'restart':'temporary'")));
        tree_spec_unref(parse_good(CHILD("'backoff':{'initial_ms':0,'max_ms':0}")));
        tree_spec_unref(parse_good(TREE("'strategy':'one_cancels_one','intensity':{'max_restarts':10000},"
                                        "'children':[{'name':'a','exec':['true']}]")));
}

static void test_all_at_once(void)
{
        static const char *const pointers[] = {
                "/stategy",
                "/intensity/within_ms",
                "/children/0",
                "/children/1/exec/0",
                "/children/1/nice",
                "/children/2/pool",
                "/children/3/name",
                "/children/4/children/0/umask",
                "/children/5/depends/0",
        };
        ConfigProblems problems = { 0 };
        _cleanup_json_ Json *list = NULL;
        TreeSpec *t;
        bool found;

        CHECK_EQ(parse(TREE("'stategy':1,'intensity':{'within_ms':0},'children':[{'name':'x'},"
                            "{'name':'y','exec':['./y'],'nice':99},{'name':'z','exec':['true'],"
                            "'pool':{}},{'name':'y','exec':['true']},{'name':'w',"
                            "'children':[{'name':'a','exec':['true'],'umask':0}]},{'name':'v',"
                            "'exec':['true'],'depends':['nobody'],'backoff':{'initial_ms':9999}}]"),
                                 &t, &problems),
                        -EINVAL);
        CHECK_EQ(config_problems_errors(&problems), ELEMENTSOF(pointers));
        CHECK_EQ(problems.n, ELEMENTSOF(pointers) + 1); /* and a warning */
        CHECK_EQ(config_problems_to_json(&problems, &list), 0);
        CHECK_EQ(json_length(list), ELEMENTSOF(pointers));
        for (size_t i = 0; i < ELEMENTSOF(pointers); i++) {
                found = false;
                for (size_t k = 0; k < json_length(list); k++)
                        found |= streq(pointers[i], json_get_string(json_item(list, k), "pointer", "?"));
                if (!found)
                        fprintf(stderr, "no problem at %s\n", pointers[i]);
                CHECK(found);
        }
        config_problems_done(&problems);
}

/* A tree of n supervisors, one below the other, and one actor. */
static char *deep(unsigned n)
{
        _cleanup_free_ char *text = strdup("{'name':'leaf','exec':['true'],'ready':{'command':['true']}}");

        for (unsigned i = 1; i < n; i++) {
                char *outer = xasprintf("{'name':'s%u','children':[%s]}", i, text);

                CHECK(outer);
                free(text);
                text = outer;
        }
        return xasprintf(TREE("'children':[%s]"), text);
}

/* 30 levels fit the depth of JSON that a request may have; 65 fit no tree. */
static void test_depth(void)
{
        _cleanup_free_ char *good = deep(29), *bad = deep(64), *request = NULL;
        _cleanup_json_ Json *v = NULL, *fits = NULL;
        ConfigProblems problems = { 0 };
        TreeSpec *t = NULL;

        CHECK(good && bad);
        tree_spec_unref(parse_good(good));
        request = xasprintf("{'jsonrpc':'2.0','id':1,'method':'tree.load','params':{'tree':%s}}", good);
        CHECK(request);
        fits = json_from_text(request, 0);
        v = json_from_text(bad, 200);
        CHECK_EQ(config_parse_tree(v, &t, &problems), -EINVAL);
        CHECK_EQ(problems.n, 1);
        CHECK(strstr(problems.items[0].message, "64 levels"));
        config_problems_done(&problems);
}

/* A tree of n children, made of a format with one or two %d: a child's number, the next one's (around the end). */
static char *wide(int n, const char *format)
{
        char *text = malloc(64 + ((size_t) n + 1) * (strlen(format) + 16)), *end;

        CHECK(text);
        end = stpcpy(text, "{'tractor':1,'name':'t','children':[");
        for (int i = 0; i < n; i++) {
                end = stpcpy(end, i > 0 ? "," : "");
                end += sprintf(end, format, i, (i + 1) % n);
        }
        strcpy(end, "]}");
        return text;
}

static void test_many_problems(void)
{
        _cleanup_free_ char *text = wide(30000, "{}");
        ConfigProblems problems = { 0 };
        TreeSpec *t;

        CHECK_EQ(parse(text, &t, &problems), -EINVAL);
        CHECK(problems.full && problems.n <= 1024);
        CHECK(strstr(problems.items[problems.n - 1].message, "more problems"));
        config_problems_done(&problems);
}

/* So many warnings are no reason to refuse a tree. */
static void test_many_warnings(void)
{
        _cleanup_free_ char *text = wide(2000, "{'name':'a%d','exec':['x'],'backoff':{'initial_ms':9999}}");
        ConfigProblems problems = { 0 };
        TreeSpec *t;

        CHECK_EQ(parse(text, &t, &problems), 0);
        CHECK_EQ(t->n_children, 2000);
        CHECK(problems.n > 0 && problems.n < 100);
        tree_spec_unref(t);
        config_problems_done(&problems);
}

/* A chain as long as a line can hold is checked without deep recursion. */
static void test_long_chain(void)
{
        _cleanup_free_ char *text = wide(10000, "{'name':'a%d','exec':['x'],'depends':['a%d']}");
        ConfigProblems problems = { 0 };
        TreeSpec *t;

        CHECK_EQ(parse(text, &t, &problems), -EINVAL);
        CHECK_EQ(problems.n, 1);
        CHECK(strstr(problems.items[0].message, "→ …"));
        CHECK_STR(problems.items[0].pointer, "/children/9999/depends/0");
        config_problems_done(&problems);
}

static int parse_child(const char *text, Strategy strategy, TreeSpec **ret, ConfigProblems *problems)
{
        _cleanup_json_ Json *v = json_from_text(text, 0);

        return config_parse_child(v, strategy, ret, problems);
}

static void test_spawned_child(void)
{
        ConfigProblems problems = { 0 };
        TreeSpec *t = NULL;

        CHECK_EQ(parse_child("{'name':'a','exec':['true'],'depends':['b']}", STRATEGY_ONE_FOR_ONE, &t,
                                 &problems),
                        0);
        CHECK_EQ(t->node.kind, NODE_ACTOR);
        CHECK_EQ(t->node.restart, RESTART_PERMANENT);
        t = tree_spec_unref(t);
        CHECK_EQ(parse_child("{'name':'a','exec':['true']}", STRATEGY_ONE_CANCELS_ONE, &t, &problems), 0);
        CHECK_EQ(t->node.restart, RESTART_TEMPORARY);
        t = tree_spec_unref(t);
        CHECK_EQ(problems.n, 0);
        CHECK_EQ(parse_child("{'name':'a','nice':99}", STRATEGY_ONE_FOR_ONE, &t, &problems), -EINVAL);
        CHECK_EQ(problems.n, 2);
        CHECK_STR(problems.items[0].pointer, "");
        CHECK_STR(problems.items[1].pointer, "/nice");
        config_problems_done(&problems);
}

static void test_references(void)
{
        TreeSpec *t = parse_good(CHILDREN("{'name':'a','exec':['true']}"));
        TreeSpec *a = tree_spec_ref(t->children[0]);

        CHECK(!tree_spec_unref(t));
        CHECK_STR(a->node.name, "a");
        tree_spec_unref(a);
        CHECK(!tree_spec_unref(NULL));
}

TEST_MAIN({ "depends", test_depends }, { "cycles", test_cycles },
                { "backoff-warning", test_backoff_warning }, { "all-at-once", test_all_at_once },
                { "depth", test_depth }, { "many-problems", test_many_problems },
                { "many-warnings", test_many_warnings }, { "long-chain", test_long_chain },
                { "spawned-child", test_spawned_child }, { "references", test_references });
