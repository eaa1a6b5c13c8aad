/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "supervisor/access-rules.h"
#include "test.h"

/* The oracle knows the whole world: a rule and a request are the sets of nodes that they reach. One that allows must
 * hold all of the request's, one that denies any. */
static const struct {
        const char *path;
        unsigned reach;
} nodes[] = {
        { "/", 0x3f },
        { "/a", 0x0e },
        { "/a/b", 0x04 },
        { "/a/bc", 0x08 },
        { "/ab", 0x10 },
        { "/c", 0x20 },
};

static const char *const methods[] = { "tree.get", "tree.load", "actor.kill" };

static const struct {
        const char *text;
        unsigned reach; /* bits of methods[] */
} method_lists[] = {
        { "\"*\"", 7 },
        { "\"tree.*\"", 3 },
        { "[\"actor.kill\",\"tree.get\"]", 5 },
};

static char path_api[] = "/a/b", path_a[] = "/a";
static gid_t groups[] = { 7, 8 };

static const Peer peers[] = {
        { .uid = 1, .gid = 1 },
        { .uid = 1, .gid = 1, .groups = groups, .n_groups = 2 },
        { .uid = 2, .gid = 8 },
        { .kind = PEER_ACTOR, .uid = 1, .gid = 8, .path = path_api },
        { .kind = PEER_ACTOR, .uid = 3, .gid = 3, .path = path_a },
};

static const struct {
        const char *text;
        unsigned reach; /* bits of peers[] */
} whos[] = {
        { "\"anyone\"", 0x1f },
        { "{\"user\":1}", 0x03 },
        { "{\"group\":[9,8]}", 0x06 },
        { "{\"user\":[3,1],\"group\":\"7\"}", 0x02 },
        { "{\"actor\":\"/a\"}", 0x10 },
        { "{\"actor\":\"/a/*\"}", 0x08 },
        { "{\"actor\":[\"/*\",\"/x\"]}", 0x18 },
        { "{\"actor\":\"/*\",\"user\":1,\"group\":8}", 0x08 },
        { "{\"user\":9}", 0 },
};

typedef struct Case {
        AccessRule rule;
        unsigned peers, methods, nodes;
        bool allow;
} Case;

#define N_CASES (ELEMENTSOF(whos) * ELEMENTSOF(method_lists) * ELEMENTSOF(nodes) * 2)

static bool known(const char *method)
{
        return streq(method, "tree.*") || streq(method, "actor.*") || streq(method, "tree.get") ||
               streq(method, "tree.load") || streq(method, "actor.kill");
}

static int parse(const char *text, AccessRules *rules, ConfigProblems *problems)
{
        _cleanup_json_ Json *v = NULL;

        CHECK_EQ(json_parse(text, strlen(text), NULL, &v, NULL), 0);
        return access_rules_parse(v, "f.json", known, rules, problems);
}

static void make_cases(AccessRules *rules, Case *cases)
{
        ConfigProblems problems = { 0 };
        size_t n = 0;

        for (size_t w = 0; w < ELEMENTSOF(whos); w++)
                for (size_t m = 0; m < ELEMENTSOF(method_lists); m++)
                        for (size_t s = 0; s < ELEMENTSOF(nodes); s++)
                                for (int allow = 0; allow < 2; allow++, n++) {
                                        _cleanup_free_ char *text = xasprintf(
                                                        "[{\"name\":\"%zu\",\"who\":%s,\"methods\":%s,"
                                                        "\"subtree\":\"%s\",\"allow\":%s}]",
                                                        n, whos[w].text, method_lists[m].text, nodes[s].path,
                                                        allow ? "true" : "false");

                                        CHECK_EQ(parse(text, rules, &problems), 0);
                                        cases[n] = (Case){ .peers = whos[w].reach,
                                                .methods = method_lists[m].reach,
                                                .nodes = nodes[s].reach,
                                                .allow = allow };
                                }
        CHECK_EQ(problems.n, 0);
        CHECK_EQ(rules->n, N_CASES);
        for (size_t i = 0; i < N_CASES; i++)
                cases[i].rule = rules->items[i]; /* borrowed */
}

static bool is_about(const Case *c, size_t peer, size_t method, size_t node)
{
        unsigned asked = node < ELEMENTSOF(nodes) ? nodes[node].reach : 0;

        if (!(c->peers & (1U << peer)) || !(c->methods & (1U << method)))
                return false;
        if (node == ELEMENTSOF(nodes)) /* a search: refused beforehand only by what is about everything */
                return c->allow || c->nodes == nodes[0].reach;
        return c->allow ? (asked & ~c->nodes) == 0 : (asked & c->nodes) != 0;
}

/* Every pair of rules, asked by everyone for everything. */
static void test_pairs(void)
{
        AccessRules rules = { 0 };
        Case *cases = calloc(N_CASES, sizeof(Case));
        size_t decided = 0;

        CHECK(cases);
        make_cases(&rules, cases);
        for (size_t i = 0; i < N_CASES; i++)
                for (size_t k = 0; k < N_CASES; k++) {
                        AccessRule items[] = { cases[i].rule, cases[k].rule };
                        const AccessRules pair = { items, 2, 2 };

                        for (size_t p = 0; p < ELEMENTSOF(peers); p++)
                                for (size_t m = 0; m < ELEMENTSOF(methods); m++)
                                        for (size_t n = 0; n <= ELEMENTSOF(nodes); n++) {
                                                const AccessRule *expected =
                                                                is_about(&cases[i], p, m, n)   ? &items[0]
                                                                : is_about(&cases[k], p, m, n) ? &items[1]
                                                                                               : NULL;

                                                CHECK(access_rules_match(&pair, &peers[p], methods[m],
                                                                      n < ELEMENTSOF(nodes)
                                                                                      ? nodes[n].path
                                                                                      : NULL) == expected);
                                                decided += expected != NULL;
                                        }
                }
        CHECK(decided > 1000000);
        access_rules_done(&rules);
        free(cases);
}

/* What is wrong is told with all the rest, and never becomes a rule that is about more than was meant. */
static void test_problems(void)
{
        static const struct {
                const char *text, *pointer;
        } wrong[] = {
                { "{}", "/f.json" },
                { "[1]", "/f.json/0" },
                { "[{\"name\":\"\",\"who\":\"anyone\",\"methods\":\"*\",\"allow\":true}]",
                                "/f.json/0/name" },
                { "[{\"name\":\"a\",\"who\":\"all\",\"methods\":\"*\",\"allow\":true}]", "/f.json/0/who" },
                { "[{\"name\":\"a\",\"who\":{},\"methods\":\"*\",\"allow\":true}]", "/f.json/0/who" },
                { "[{\"name\":\"a\",\"who\":{\"user\":[]},\"methods\":\"*\",\"allow\":true}]",
                                "/f.json/0/who/user" },
                { "[{\"name\":\"a\",\"who\":{\"uid\":1},\"methods\":\"*\",\"allow\":true}]",
                                "/f.json/0/who/uid" },
                { "[{\"name\":\"a\",\"who\":{\"user\":4294967295},\"methods\":\"*\",\"allow\":true}]",
                                "/f.json/0/who/user" },
                { "[{\"name\":\"a\",\"who\":{\"actor\":\"/a*\"},\"methods\":\"*\",\"allow\":true}]",
                                "/f.json/0/who/actor" },
                { "[{\"name\":\"a\",\"who\":{\"actor\":\"/\"},\"methods\":\"*\",\"allow\":true}]",
                                "/f.json/0/who/actor" },
                { "[{\"name\":\"a\",\"who\":\"anyone\",\"methods\":\"tree\",\"allow\":true}]",
                                "/f.json/0/methods" },
                { "[{\"name\":\"a\",\"who\":\"anyone\",\"methods\":[\"tree.get\",\"tree*\"],\"allow\":true}"
                  "]",
                                "/f.json/0/methods/1" },
                { "[{\"name\":\"a\",\"who\":\"anyone\",\"methods\":\"*\",\"allow\":null}]",
                                "/f.json/0/allow" },
                { "[{\"name\":\"a\",\"who\":\"anyone\",\"methods\":\"*\",\"subtree\":\"/a/"
                  "\",\"allow\":true}]",
                                "/f.json/0/subtree" },
                { "[{\"who\":\"anyone\",\"methods\":\"*\",\"allow\":true}]", "/f.json/0" },
                { "[{\"name\":\"a\",\"who\":\"anyone\",\"methods\":\"*\",\"allow\":true},"
                  "{\"name\":\"a\",\"who\":\"anyone\",\"methods\":\"*\",\"allow\":true}]",
                                "/f.json/1/name" },
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                ConfigProblems problems = { 0 };
                AccessRules rules = { 0 };

                CHECK_EQ(parse(wrong[i].text, &rules, &problems), 0);
                CHECK_EQ(problems.n, 1);
                CHECK_STR(problems.items[0].pointer, wrong[i].pointer);
                access_rules_done(&rules);
                config_problems_done(&problems);
        }
}

/* A name that is not looked up yet matches nobody, not even user 0. */
static void test_names(void)
{
        const Peer root = { .uid = 0, .gid = 0 };
        ConfigProblems problems = { 0 };
        AccessRules rules = { 0 };

        CHECK_EQ(parse("[{\"name\":\"a\",\"who\":{\"user\":\"x\"},\"methods\":\"*\",\"allow\":true}]",
                                 &rules, &problems),
                        0);
        CHECK_EQ(problems.n, 0);
        CHECK(!access_rules_match(&rules, &root, "tree.get", "/"));
        CHECK_STR(rules.items[0].label, "f.json: a");
        CHECK_STR(rules.items[0].names[0].pointer, "/f.json/0/who/user");
        rules.items[0].names[0].resolved = true;
        CHECK(access_rules_match(&rules, &root, "tree.get", "/") == &rules.items[0]);
        access_rules_done(&rules);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = {
                { "pairs", test_pairs },
                { "problems", test_problems },
                { "names", test_names },
        };

        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
