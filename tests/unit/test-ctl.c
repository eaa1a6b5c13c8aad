/* SPDX-License-Identifier: Apache-2.0 */
#include <locale.h>
#include <time.h>

#include "test.h"
#include "tractorctl/describe.h"
#include "tractorctl/text.h"
#include "tractorctl/tree-view.h"

/* --- text --- */

static void check_clean(const char *in, const char *out)
{
        _cleanup_free_ char *s = text_clean(in);

        CHECK_STR(s, out);
}

static void test_text_clean(void)
{
        check_clean(NULL, "");
        check_clean("plain", "plain");
        check_clean("\033[31mred\a", "\\x1b[31mred\\x07");
        check_clean("a\tb\nc\x7f", "a\\x09b\\x0ac\\x7f");
        check_clean("gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f");
        check_clean("bad\xc3", "bad\\xc3");
        check_clean("\xff\xfe", "\\xff\\xfe");
        check_clean("\xc2\x9b"
                    "31m",
                        "\\xc2\\x9b31m"); /* CSI as one character */
        CHECK_EQ(text_width("gr\xc3\xbc\xc3\x9f"), 4);
        CHECK_EQ(text_fit("gr\xc3\xbc\xc3\x9f", 3), 4);
        CHECK_EQ(text_fit("abc", 5), 3);
        CHECK_EQ(text_width("\xe6\xbc\xa2"), 2);
        CHECK_EQ(text_fit("\xe6\xbc\xa2", 1), 0);
}

static void test_text_numbers(void)
{
        char b[TEXT_MAX];

        CHECK_STR(text_duration(b, -1), "");
        CHECK_STR(text_duration(b, 7), "0.007 s");
        CHECK_STR(text_duration(b, 200), "0.2 s");
        CHECK_STR(text_duration(b, 59999), "59 s");
        CHECK_STR(text_duration(b, 61000), "1 min 1 s");
        CHECK_STR(text_duration(b, 7260000), "2 h 1 min");
        CHECK_STR(text_duration(b, 90000000), "1 d 1 h");
        CHECK(*text_duration(b, INT64_MAX));
        CHECK_STR(text_bytes(b, 512), "512");
        CHECK_STR(text_bytes(b, 1536), "1.5K");
        CHECK_STR(text_bytes(b, 12 << 20), "12M");
        CHECK(*text_bytes(b, INT64_MAX));
}

static char *join(char **lines)
{
        char *text = strdup("");

        for (; lines && *lines; lines++) {
                char *more = xasprintf("%s%s\n", text, *lines);

                free(text);
                text = more;
        }
        return text;
}

static void check_rendered(const Table *t, const Style *style, const char *expected)
{
        _cleanup_(strv_freep) char **lines = NULL;
        _cleanup_free_ char *text = NULL;

        CHECK_EQ(table_render(t, style, &lines), 0);
        text = join(lines);
        CHECK_STR(text, expected);
}

static void test_table(void)
{
        static const char *const head[] = { "NAME", "STATE" };
        _cleanup_(table_done) Table t;

        table_init(&t, head, 2);
        CHECK_EQ(table_add(&t, HUE_PLAIN, "gr\xc3\xbcn-lang"), 0);
        CHECK_EQ(table_add(&t, HUE_BAD, "failed"), 0);
        CHECK_EQ(table_add(&t, HUE_PLAIN, "b"), 0);
        CHECK_EQ(table_add(&t, HUE_GOOD, NULL), 0);
        check_rendered(&t, &(Style){ 0 }, "gr\xc3\xbcn-lang\tfailed\nb\t-\n");
        check_rendered(&t, &(Style){ .terminal = true }, "NAME       STATE\ngr\xc3\xbcn-lang  failed\nb\n");
        check_rendered(&t, &(Style){ .terminal = true, .width = 13 },
                        "NAME       ST\ngr\xc3\xbcn-lang  fa\nb\n");
        check_rendered(&t, &(Style){ .terminal = true, .color = true, .width = 13 },
                        "\033[2mNAME\033[0m       \033[2mST\033[0m\ngr\xc3\xbcn-lang  "
                        "\033[1;31mfa\033[0m\nb\n");
}

static void test_table_empty(void)
{
        static const char *const head[] = { "A" }, *const three[] = { "A", "B", "C" };
        _cleanup_(table_done) Table t, hollow;

        table_init(&t, head, 1);
        check_rendered(&t, &(Style){ 0 }, "");
        check_rendered(&t, &(Style){ .terminal = true }, "A\n");
        table_init(&hollow, three, 3);
        CHECK_EQ(table_add(&hollow, HUE_PLAIN, "x"), 0);
        CHECK_EQ(table_add(&hollow, HUE_PLAIN, ""), 0);
        CHECK_EQ(table_add(&hollow, HUE_PLAIN, "z"), 0);
        check_rendered(&hollow, &(Style){ 0 }, "x\t-\tz\n");
        check_rendered(&hollow, &(Style){ .terminal = true }, "A  C\nx  z\n");
}

/* --- sentences --- */

static Json *json(const char *text)
{
        Json *v = NULL;

        CHECK_EQ(json_parse(text, strlen(text), NULL, &v, NULL), 0);
        return v;
}

static void check_exit(const char *exit, const char *expected)
{
        _cleanup_json_ Json *v = json(exit);
        _cleanup_free_ char *s = describe_exit(v);

        CHECK_STR(s, expected);
}

static void test_describe_exit(void)
{
        check_exit("null", "");
        check_exit("{}", "ended");
        check_exit("{\"code\":1,\"cause\":\"exit\",\"runtime_ms\":200}", "exit 1 after 0.2 s");
        check_exit("{\"signal\":\"SIGSEGV\",\"core\":true,\"cause\":\"signal\",\"runtime_ms\":3000}",
                        "SIGSEGV (core dumped) after 3.0 s");
        check_exit("{\"signal\":9,\"cause\":\"oom\",\"oom\":true}", "out of memory: SIGKILL");
        check_exit("{\"signal\":9,\"cause\":\"stop\"}", "stopped: SIGKILL");
        check_exit("{\"cause\":\"stop\",\"runtime_ms\":200}", "stopped after 0.2 s");
        check_exit("{\"signal\":999}", "signal 999");
        check_exit("{\"signal\":\"\\u001b[2J\"}", "\\x1b[2J");
        check_exit("{\"cause\":\"spawn\",\"step\":\"exec\",\"errno\":2}",
                        "could not be started: exec: No such file or directory");
        check_exit("{\"cause\":7,\"code\":\"x\",\"runtime_ms\":[]}", "exit 0");
}

static void check_error(const char *error, const char *expected, int code)
{
        _cleanup_json_ Json *v = json(error);
        _cleanup_free_ char *s = describe_error(v);

        CHECK_STR(s, expected);
        CHECK_EQ(exit_code_of_error(v), code);
}

static void test_describe_error(void)
{
        check_error("{\"code\":-32004,\"message\":\"there is no "
                    "/x\",\"data\":{\"type\":\"NoSuchActor\",\"actor\":\"/x\"}}",
                        "there is no /x (NoSuchActor)", 3);
        check_error("{\"code\":-32009,\"message\":\"no\"}", "no (PermissionDenied)", 4);
        check_error("{\"code\":-32602,\"message\":\"no path\"}", "no path (InvalidParams)", 2);
        check_error("{\"code\":-32602,\"message\":\"wrong\",\"data\":{\"problems\":[]}}",
                        "wrong (InvalidParams)", 1);
        check_error("{\"code\":-32002,\"message\":\"stopped\",\"data\":{\"actor\":\"/a\",\"canceller\":\"/"
                    "b\"}}",
                        "/a: stopped, by /b (ActorStopped)", 3);
        check_error("{\"code\":-32015,\"message\":\"gone\"}", "gone (ConnectionLost)", 5);
        check_error("{\"code\":-32014,\"message\":\"/t: gave up\",\"data\":{\"actor\":\"/t\",\"causes\":["
                    "{\"message\":\"one\"},{\"message\":\"two\"},{\"message\":\"three\"},{\"message\":"
                    "\"four\"}]}}",
                        "/t: gave up; caused by one; caused by two; caused by three; and 1 more "
                        "(RestartLimit)",
                        1);
        check_error("{}", "unknown error (InternalError)", 1);
        check_error("{\"code\":\"x\",\"message\":[],\"data\":3}", "unknown error (InternalError)", 1);
}

static void check_event(const char *event, const char *expected)
{
        _cleanup_json_ Json *v = json(event);
        _cleanup_free_ char *s = describe_event_line(v);

        CHECK_STR(s, expected);
}

static void test_describe_event(void)
{
        setenv("TZ", "UTC", 1);
        tzset();
        check_event("{\"epoch\":\"e\",\"seq\":1,\"time_us\":3723004005,\"path\":\"/a/"
                    "b\",\"event\":\"state\","
                    "\"from\":\"new\",\"to\":\"starting\",\"generation\":1}",
                        "01:02:03.004 /a/b state new -> starting generation=1");
        check_event("{\"time_us\":1,\"path\":\"/"
                    "a\",\"event\":\"state\",\"from\":\"ready\",\"to\":\"failed\","
                    "\"exit\":{\"code\":1,\"runtime_ms\":200}}",
                        "00:00:00.000 /a state ready -> failed: exit 1 after 0.2 s");
        check_event("{\"time_us\":1,\"path\":\"/a\",\"event\":\"state\",\"to\":\"ready\",\"pid\":7}",
                        "00:00:00.000 /a state ready pid=7");
        check_event("{\"time_us\":1,\"path\":\"/a\",\"event\":\"backoff\",\"delay_ms\":400}",
                        "00:00:00.000 /a backoff restart in 0.4 s");
        check_event("{\"time_us\":1,\"event\":\"new\\nline\",\"x\":{\"y\":[1]},\"z\":null}",
                        "00:00:00.000 / new\\x0aline x={\"y\":[1]} z=null");
}

/* --- trees --- */

static const char tree_text[] =
                "{\"path\":\"/"
                "t\",\"kind\":\"supervisor\",\"state\":\"ready\",\"strategy\":\"one_for_one\",\"children\":["
                "{\"path\":\"/t/"
                "a\",\"kind\":\"actor\",\"state\":\"ready\",\"pid\":7,\"restarts\":2,\"since_ms\":5000,"
                "\"unit\":\"u.scope\",\"exit\":{\"signal\":\"SIGKILL\",\"runtime_ms\":100}},"
                "{\"path\":\"/t/w\",\"kind\":\"supervisor\",\"state\":\"failed\",\"children\":["
                "{\"path\":\"/t/w/b\",\"kind\":\"actor\",\"state\":\"failed\",\"restarts\":0,"
                "\"exit\":{\"code\":1}}]}]}";

static void test_tree_view(void)
{
        _cleanup_json_ Json *v = json(tree_text);
        _cleanup_(table_done) Table t;

        CHECK_EQ(tree_view_tree(v, &(Style){ 0 }, &t), 0);
        check_rendered(&t, &(Style){ 0 },
                        "t\tready\t-\t-\t-\t-\t-\t-\n"
                        "  a\tready\t7\t2\t5.0 s\tSIGKILL after 0.1 s\tu.scope\t-\n"
                        "  w\tfailed\t-\t-\t-\t-\t-\t-\n"
                        "    b\tfailed\t-\t0\t-\texit 1\t-\t-\n");
}

static void test_tree_view_drawn(void)
{
        static const Style style = { .terminal = true, .utf8 = true, .width = 28 };
        _cleanup_json_ Json *v = json(tree_text);
        _cleanup_(table_done) Table t;

        CHECK_EQ(tree_view_tree(v, &style, &t), 0);
        check_rendered(&t, &style,
                        "NODE             STATE   PID\n"
                        "t (one_for_one)  ready\n"
                        "├─ a             ready   7\n"
                        "└─ w             failed\n"
                        "   └─ b          failed\n");
}

static void test_tree_list(void)
{
        _cleanup_json_ Json *v = json(tree_text), *some = NULL;
        _cleanup_(table_done) Table t, none;

        CHECK_EQ(tree_view_list(v, "/t/*b", &(Style){ 0 }, &t), 0);
        check_rendered(&t, &(Style){ 0 }, "/t/w/b\tactor\tfailed\t-\t0\t-\texit 1\t-\n");
        CHECK_EQ(tree_view_list(v, "/nothing", &(Style){ 0 }, &none), 0);
        CHECK_EQ(none.n, 0);
        CHECK_EQ(tree_view_matching(v, "/t/w", &some), 0);
        CHECK_STR(json_print(some, NULL),
                        "[{\"path\":\"/t/w\",\"kind\":\"supervisor\",\"state\":\"failed\"}]");
}

/* The state stays one word for a script. */
static void test_frozen(void)
{
        static const Style terminal = { .terminal = true };
        _cleanup_json_ Json *v = json("{\"path\":\"/t/a\",\"kind\":\"actor\",\"state\":\"ready\",\"pid\":7,"
                                      "\"frozen\":true}");
        _cleanup_(table_done) Table list, tree, drawn;

        CHECK_EQ(tree_view_list(v, NULL, &(Style){ 0 }, &list), 0);
        check_rendered(&list, &(Style){ 0 }, "/t/a\tactor\tready\t7\t-\t-\t-\tfrozen\n");
        CHECK_EQ(tree_view_tree(v, &(Style){ 0 }, &tree), 0);
        check_rendered(&tree, &(Style){ 0 }, "a\tready\t7\t-\t-\t-\t-\tfrozen\n");
        CHECK_EQ(tree_view_list(v, NULL, &terminal, &drawn), 0);
        check_rendered(&drawn, &terminal,
                        "PATH  KIND   STATE           PID\n"
                        "/t/a  actor  ready (frozen)  7\n");
}

static void test_tree_details(void)
{
        _cleanup_json_ Json *v =
                        json("{\"state\":\"ready\",\"since_ms\":1000,\"usage\":{\"memory\":2048,"
                             "\"tasks\":null},\"children\":[{\"path\":\"/x\",\"state\":\"dead\"}]}");
        static const Style terminal = { .terminal = true };
        _cleanup_(table_done) Table t, pretty;

        CHECK_EQ(tree_view_details(v, &(Style){ 0 }, &t), 0);
        check_rendered(&t, &(Style){ 0 },
                        "state\tready\nsince_ms\t1000\nusage.memory\t2048\nchild\t/x dead\n");
        CHECK_EQ(tree_view_details(v, &terminal, &pretty), 0);
        check_rendered(&pretty, &terminal,
                        "KEY           VALUE\nstate         ready\nsince         1.0 s\nusage.memory  2.0K\n"
                        "child         /x dead\n");
}

/* What a start waits for is no part of how the last run ended. */
static void test_tree_reasons(void)
{
        static const char starting[] =
                        "{\"path\":\"/t\",\"kind\":\"actor\",\"state\":\"starting\",\"reason\":"
                        "\"waits\",\"exit\":{\"cause\":\"exit\",\"code\":1}}";
        static const char failed[] = "{\"path\":\"/t\",\"kind\":\"actor\",\"state\":\"failed\",\"reason\":"
                                     "\"too often\",\"exit\":{\"cause\":\"exit\",\"code\":1}}";
        static const char never_ran[] =
                        "{\"path\":\"/t\",\"kind\":\"actor\",\"state\":\"backoff\",\"reason\":"
                        "\"full\",\"exit\":{\"cause\":\"spawn\",\"step\":\"clone\",\"errno\":11}}";
        static const char lost[] =
                        "{\"path\":\"/t\",\"kind\":\"actor\",\"state\":\"failed\",\"reason\":\"lost\"}";
        static const struct {
                const char *node, *list, *unready;
        } cases[] = {
                { starting, "/t\tactor\tstarting\t-\t-\t-\texit 1\t-\n", "/t\tstarting\t-\twaits\n" },
                { failed, "/t\tactor\tfailed\t-\t-\t-\texit 1\t-\n", "" },
                { never_ran,
                                "/t\tactor\tbackoff\t-\t-\t-\tcould not be started: clone: "
                                "Resource temporarily unavailable: full\t-\n",
                                "/t\tbackoff\t-\tcould not be started: clone: "
                                "Resource temporarily unavailable: full\n" },
                { lost, "/t\tactor\tfailed\t-\t-\t-\tlost\t-\n", "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_json_ Json *v = json(cases[i].node);
                _cleanup_(strv_freep) char **unready = NULL;
                _cleanup_free_ char *line = NULL;
                _cleanup_(table_done) Table t;

                CHECK_EQ(tree_view_list(v, NULL, &(Style){ 0 }, &t), 0);
                check_rendered(&t, &(Style){ 0 }, cases[i].list);
                CHECK_EQ(tree_view_unready(v, &(Style){ 0 }, &unready), 0);
                line = xasprintf("%s%s", unready ? unready[0] : "", unready ? "\n" : "");
                CHECK_STR(line, cases[i].unready);
        }
}

static void test_tree_words(void)
{
        _cleanup_json_ Json *v = json(
                        "{\"exec\":[\"sh\",\"-c\",\"exit "
                        "1\"],\"limits_skipped\":[\"TasksMax\",\"IOWeight\"],"
                        "\"ready\":{\"command\":[\"test\",\"-e\",\"/x\"]},\"labels\":{},\"n\":[1,\"a\"]}");
        _cleanup_(table_done) Table t;

        CHECK_EQ(tree_view_details(v, &(Style){ 0 }, &t), 0);
        check_rendered(&t, &(Style){ 0 },
                        "exec\tsh -c 'exit 1'\nlimits_skipped\tTasksMax IOWeight\n"
                        "ready.command\ttest -e /x\nn\t[1,\"a\"]\n");
}

static bool active(const char *state, const char *more)
{
        _cleanup_free_ char *text =
                        xasprintf("{\"kind\":\"supervisor\",\"state\":\"ready\",\"children\":[{\"kind\":"
                                  "\"actor\",\"state\":\"%s\"%s}]}",
                                        state, more);
        _cleanup_json_ Json *v = json(text);

        return tree_is_active(v);
}

static void test_tree_end(void)
{
        _cleanup_json_ Json *v = json(tree_text);
        const Json *node = NULL;

        CHECK(active("starting", "") && active("ready", "") && active("stopping", "") &&
                        active("backoff", ""));
        CHECK(!active("dead", "") && !active("failed", "") && !active("new", ""));
        CHECK(active("dead", ",\"pid\":1"));
        CHECK_STR(tree_first_failed(v, &node), "/t/w/b");
        CHECK_EQ(json_get_integer(json_get(node, "exit"), "code", -1), 1);
        CHECK(tree_find(v, "/t/w"));
        CHECK(!tree_find(v, "/t/x"));
        CHECK(!tree_first_failed(tree_find(v, "/t/a"), &node));
}

int main(int argc, char **argv)
{
        static const TestCase tests[] = { { "text-clean", test_text_clean },
                { "text-numbers", test_text_numbers }, { "table", test_table },
                { "table-empty", test_table_empty }, { "describe-exit", test_describe_exit },
                { "describe-error", test_describe_error }, { "describe-event", test_describe_event },
                { "tree-view", test_tree_view }, { "tree-view-drawn", test_tree_view_drawn },
                { "tree-list", test_tree_list }, { "frozen", test_frozen },
                { "tree-details", test_tree_details }, { "tree-reasons", test_tree_reasons },
                { "tree-words", test_tree_words }, { "tree-end", test_tree_end } };

        CHECK(setlocale(LC_ALL, "C.UTF-8"));
        return test_main(argc, argv, tests, ELEMENTSOF(tests));
}
