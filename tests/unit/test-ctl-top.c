/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "tractorctl/glob.h"
#include "tractorctl/top-view.h"

static Json *parse(const char *text)
{
        Json *v = NULL;

        CHECK_EQ(json_parse(text, strlen(text), NULL, &v, NULL), 0);
        return v;
}

static const char before_text[] =
                "{\"path\":\"/\",\"children\":[{\"path\":\"/"
                "a\",\"kind\":\"supervisor\",\"usage\":{\"cpu_us\":"
                "1000,\"memory\":10},\"restarts\":0,\"children\":[{\"path\":\"/a/x\",\"kind\":\"actor\","
                "\"restarts\":2,\"usage\":{\"cpu_us\":1000,\"memory\":5}}]},{\"path\":\"/b\",\"kind\":"
                "\"actor\",\"restarts\":1,\"usage\":{\"cpu_us\":5000,\"memory\":null}}]}";
static const char after_text[] =
                "{\"path\":\"/\",\"children\":[{\"path\":\"/"
                "a\",\"kind\":\"supervisor\",\"usage\":{\"cpu_us\":"
                "201000,\"memory\":10},\"restarts\":0,\"children\":[{\"path\":\"/a/x\",\"kind\":\"actor\","
                "\"restarts\":2,\"usage\":{\"cpu_us\":101000,\"memory\":5}}]},{\"path\":\"/b\",\"kind\":"
                "\"actor\",\"restarts\":1,\"usage\":{\"cpu_us\":500000,\"memory\":null}},{\"path\":\"/c\","
                "\"state\":\"ready\",\"restarts\":0,\"usage\":{\"cpu_us\":7,\"memory\":20}}]}";

static const char *order(TopSample *s, TopOrder by)
{
        static char text[256];

        top_sort(s, by);
        text[0] = 0;
        for (size_t i = 0; i < s->n; i++)
                (void) snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s ", s->rows[i].path);
        return text;
}

/* One second between them. */
static void take(TopSample *before, TopSample *after)
{
        CHECK_EQ(top_sample_init(before, parse(before_text), 1000000, NULL), 0);
        CHECK_STR(order(before, TOP_RESTARTS), "/a/x /b /a ");
        CHECK_EQ(top_sample_init(after, parse(after_text), 2000000, before), 0);
}

static void test_order(void)
{
        _cleanup_(top_sample_done) TopSample before, after;

        take(&before, &after);
        CHECK_STR(order(&after, TOP_CPU), "/b /a /a/x /c ");
        CHECK(after.rows[0].value[TOP_CPU] > 49.4 && after.rows[0].value[TOP_CPU] < 49.6);
        CHECK(after.rows[3].value[TOP_CPU] < 0); /* it was not there before */
        CHECK_STR(order(&after, TOP_MEMORY), "/c /a /a/x /b ");
        CHECK_STR(order(&after, TOP_TASKS), "/a /a/x /b /c ");
}

/* A counter that went back: what it shows now is all of this second. */
static void test_counter_back(void)
{
        _cleanup_(top_sample_done) TopSample before, after;

        CHECK_EQ(top_sample_init(&before, parse(after_text), 1000000, NULL), 0);
        CHECK_EQ(top_sample_init(&after, parse(before_text), 2000000, &before), 0);
        CHECK_STR(order(&after, TOP_CPU), "/b /a /a/x ");
        CHECK(after.rows[0].value[TOP_CPU] > 0.49 && after.rows[0].value[TOP_CPU] < 0.51);
}

static void test_views(void)
{
        _cleanup_(top_sample_done) TopSample before, after;
        _cleanup_(strv_freep) char **lines = NULL;
        const Style plain = { 0 }, terminal = { .terminal = true };
        _cleanup_json_ Json *v = NULL;
        Table t;

        take(&before, &after);
        top_sort(&after, TOP_CPU);
        CHECK_EQ(top_view_table(&after, 1, 2, NULL, &plain, &t), 0);
        CHECK_EQ(table_render(&t, &plain, &lines), 0);
        table_done(&t);
        CHECK_EQ(strv_length(lines), 2);
        CHECK_STR(lines[0], "20.0\t10\t-\t-\t0\t?\t/a");
        strv_free(TAKE_PTR(lines));
        CHECK_EQ(top_view_table(&after, 0, 9, "/a", &terminal, &t), 0);
        CHECK_EQ(table_render(&t, &terminal, &lines), 0);
        table_done(&t);
        CHECK_EQ(strv_length(lines), 5);
        CHECK(strstr(lines[0], "%CPU") && lines[1][0] == ' ' && lines[2][0] == '>');
        CHECK_EQ(top_view_json(&after, &v), 0);
        CHECK_EQ(json_length(v), 4);
        CHECK(!json_get(json_item(v, 3), "cpu") && json_has(json_item(v, 3), "cpu"));
        CHECK_EQ(json_get_integer(json_item(v, 3), "memory", 0), 20);
}

/* What nobody knows anything of is nothing to sort by. */
static void test_footer(void)
{
        _cleanup_(top_sample_done) TopSample before, after;
        _cleanup_free_ char *footer = NULL;

        take(&before, &after);
        CHECK(top_has(&after, TOP_CPU) && top_has(&after, TOP_MEMORY) && top_has(&after, TOP_RESTARTS));
        CHECK(!top_has(&after, TOP_TASKS) && !top_has(&after, TOP_PRESSURE));
        footer = top_view_footer(&after);
        CHECK(strstr(footer, " c CPU ") && strstr(footer, " m memory ") && strstr(footer, " r restarts "));
        CHECK(!strstr(footer, "tasks") && !strstr(footer, "pressure"));
}

static void check_keys(const char *text, size_t n_keys, const TopKey *due)
{
        const char *p = text;

        for (size_t i = 0; i < n_keys; i++) {
                size_t used;

                CHECK(*p);
                CHECK_EQ(top_key(p, strlen(p), &used), due[i]);
                p += used;
        }
        CHECK_EQ(*p, 0);
}

static void test_keys(void)
{
        check_keys("cmtprq", 6,
                        (TopKey[]){ TOP_KEY_ORDER + TOP_CPU, TOP_KEY_ORDER + TOP_MEMORY,
                                        TOP_KEY_ORDER + TOP_TASKS, TOP_KEY_ORDER + TOP_PRESSURE,
                                        TOP_KEY_ORDER + TOP_RESTARTS, TOP_KEY_QUIT });
        check_keys("\033[A\033OBq", 3, (TopKey[]){ TOP_KEY_UP, TOP_KEY_DOWN, TOP_KEY_QUIT });
        check_keys("\033[5~\033[6~\033[H\033[4~", 4,
                        (TopKey[]){ TOP_KEY_PAGE_UP, TOP_KEY_PAGE_DOWN, TOP_KEY_HOME, TOP_KEY_END });
        check_keys("\033[1;5A\033[99~\033x", 4,
                        (TopKey[]){ TOP_KEY_NONE, TOP_KEY_NONE, TOP_KEY_NONE, TOP_KEY_NONE });
        check_keys("\033[", 1, (TopKey[]){ TOP_KEY_NONE });
}

static void check_glob(const char *pattern, GlobKind kind, const char *due)
{
        _cleanup_json_ Json *tree = parse(
                        "{\"path\":\"/\",\"kind\":\"supervisor\",\"children\":[{\"path\":\"/a\",\"kind\":"
                        "\"supervisor\",\"state\":\"ready\",\"children\":[{\"path\":\"/a/"
                        "x\",\"kind\":\"actor\","
                        "\"state\":\"dead\"},{\"path\":\"/a/"
                        "y\",\"kind\":\"actor\",\"state\":\"ready\"}]},{\"path\":"
                        "\"/b\",\"kind\":\"actor\",\"state\":\"failed\"}]}");
        _cleanup_(strv_freep) char **paths = NULL;
        char text[256] = "";

        CHECK_EQ(glob_expand(tree, pattern, kind, &paths), 0);
        for (char **p = paths; p && *p; p++)
                (void) snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s ", *p);
        CHECK_STR(text, due);
}

static void test_globs(void)
{
        CHECK(glob_is("/a/*") && glob_is("/[ab]") && glob_is("?"));
        CHECK(!glob_is("/a/x-1.2_b"));
        check_glob("*", GLOB_TOPMOST, "/a /b ");
        check_glob("/a/*", GLOB_TOPMOST, "/a/x /a/y ");
        check_glob("*", GLOB_ACTORS, "/a/x /a/y /b ");
        check_glob("*", GLOB_INACTIVE, "/a/x /b ");
        check_glob("/[xyz]", GLOB_TOPMOST, "");
        check_glob("/", GLOB_TOPMOST, "");
}

static void check_quote(const char *due, char *const *words)
{
        _cleanup_free_ char *text = shell_quote(words);

        CHECK_STR(text, due);
}

static void test_quote(void)
{
        check_quote("a '' 'b c' 'it'\\''s' /x-1 '$(y)'",
                        (char *[]){ (char *) "a", (char *) "", (char *) "b c", (char *) "it's",
                                        (char *) "/x-1", (char *) "$(y)", NULL });
}

TEST_MAIN({ "order", test_order }, { "counter_back", test_counter_back }, { "views", test_views },
                { "footer", test_footer }, { "keys", test_keys }, { "globs", test_globs },
                { "quote", test_quote });
