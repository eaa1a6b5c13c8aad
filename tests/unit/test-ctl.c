/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "test.h"
#include "tractorctl/describe.h"
#include "tractorctl/locate.h"
#include "tractorctl/options.h"
#include "tractorctl/text.h"
#include "tractorctl/tree-file.h"
#include "tractorctl/tree-view.h"

/* --- the command line --- */

#define ARGV(...) ((char *const *) (const char *const[]){ "tractorctl", __VA_ARGS__, NULL })
#define ARGC(...) ((int) ELEMENTSOF(((const char *const[]){ "tractorctl", __VA_ARGS__ })))
#define PARSE(o, e, ...) options_parse(ARGC(__VA_ARGS__), ARGV(__VA_ARGS__), o, e)

static void test_options_plain(void)
{
        _cleanup_(options_done) Options o = { 0 };
        _cleanup_free_ char *e = NULL;

        CHECK_EQ(PARSE(&o, &e, "-q", "--socket", "/s", "list", "--json=short", "/a/*"), 0);
        CHECK_EQ(o.verb, VERB_LIST);
        CHECK(o.quiet);
        CHECK_STR(o.socket, "/s");
        CHECK_EQ(o.json, JSON_MODE_SHORT);
        CHECK_EQ(o.n_args, 1);
        CHECK_STR(o.args[0], "/a/*");
}

static void test_options_spawn(void)
{
        _cleanup_(options_done) Options o = { 0 };
        _cleanup_free_ char *e = NULL;

        CHECK_EQ(PARSE(&o, &e, "spawn", "/a", "b", "--restart=transient", "--env", "K=V=W",
                                 "--env=X=", "--limit", "TasksMax=7", "--limit=MemoryMax=5M",
                                 "--ready=socket:/s", "--user", "nobody", "--grace-ms=5", "--depends=x",
                                 "--depends=y", "--env-clear", "--set=backoff={\"factor\":3}", "--", "prog",
                                 "--socket", "-x"),
                        0);
        CHECK_STR(json_print(o.child, NULL),
                        "{\"restart\":\"transient\",\"env\":{\"K\":\"V=W\",\"X\":\"\"},\"limits\":{"
                        "\"TasksMax\":7,"
                        "\"MemoryMax\":\"5M\"},\"ready\":{\"socket\":\"/"
                        "s\"},\"user\":\"nobody\",\"grace_ms\":5,"
                        "\"depends\":[\"x\",\"y\"],\"env_clear\":true,\"backoff\":{\"factor\":3}}");
        CHECK(!o.user);
        CHECK(!o.socket);
        CHECK_STR(o.command[0], "prog");
        CHECK_STR(o.command[1], "--socket");
        CHECK_STR(o.command[2], "-x");
        CHECK(!o.command[3]);
}

/* The same word is another option before and after the verb. */
static void test_options_user(void)
{
        _cleanup_(options_done) Options o = { 0 };
        _cleanup_free_ char *e = NULL;

        CHECK_EQ(PARSE(&o, &e, "--user", "spawn", "/a", "b", "--user", "root", "--", "x"), 0);
        CHECK(o.user);
        CHECK_STR(json_get_string(o.child, "user", NULL), "root");
}

static void test_options_ready_replaced(void)
{
        _cleanup_(options_done) Options o = { 0 };
        _cleanup_free_ char *e = NULL;

        CHECK_EQ(PARSE(&o, &e, "spawn", "/a", "b", "--ready=exec", "--ready=file:/f", "--set=env=3",
                                 "--env=A=B", "--", "x"),
                        0);
        CHECK_STR(json_print(o.child, NULL), "{\"ready\":{\"file\":\"/f\"},\"env\":{\"A\":\"B\"}}");
}

static void test_options_letters(void)
{
        _cleanup_(options_done) Options o = { 0 };
        _cleanup_free_ char *e = NULL;

        CHECK_EQ(PARSE(&o, &e, "kill", "/a", "-s", "KILL", "/b"), 0);
        CHECK_STR(o.signal, "KILL");
        CHECK_EQ(o.n_args, 2);
        options_done(&o);
        CHECK_EQ(PARSE(&o, &e, "kill", "-s9", "/a"), 0);
        CHECK_STR(o.signal, "9");
}

static void test_options_unbuilt(void)
{
        _cleanup_(options_done) Options o = { 0 };
        _cleanup_free_ char *e = NULL;

        CHECK_EQ(PARSE(&o, &e, "call", "/a", "m", "--whatever"), 0);
        CHECK_EQ(o.verb, VERB_UNBUILT);
        CHECK_STR(o.verb_name, "call");
}

static void refused(int argc, char *const *argv, const char *about)
{
        _cleanup_free_ char *e = NULL;
        Options o;

        CHECK_EQ(options_parse(argc, argv, &o, &e), -EINVAL);
        CHECK(e && strlen(e) > 10);
        if (!strstr(e, about))
                fprintf(stderr, "'%s' says nothing of '%s'\n", e, about);
        CHECK(strstr(e, about));
        CHECK(!strchr(e, '\n'));
}
#define REFUSED(about, ...) refused(ARGC(__VA_ARGS__), ARGV(__VA_ARGS__), about)

static void test_options_refused(void)
{
        refused(1, (char *[]){ NULL }, "verb");
        REFUSED("frobnicate", "frobnicate");
        REFUSED("--frob", "list", "--frob");
        REFUSED("-z", "list", "-z");
        REFUSED("--backend", "list", "--backend=scope");
        REFUSED("--restart", "--restart=permanent", "spawn", "/a", "b", "--", "x");
        REFUSED("nonsense", "run", "t.json", "--backend=nonsense");
        REFUSED("--signal", "kill", "/a", "--signal");
        REFUSED("usage", "kill");
        REFUSED("usage", "tree", "/a", "/b");
        REFUSED("usage", "spawn", "/a", "b", "c");
        REFUSED("usage", "spawn", "/a", "b", "--");
        REFUSED("usage", "ping", "me");
        REFUSED("KEY=VALUE", "set-limit", "/a", "TasksMax");
        REFUSED("KEY=VALUE", "spawn", "/a", "b", "--env", "X", "--", "x");
        REFUSED("JSON", "spawn", "/a", "b", "--set", "labels={", "--", "x");
        REFUSED("number", "spawn", "/a", "b", "--nice", "1x", "--", "x");
        REFUSED("number", "cancel", "/a", "--grace-ms", "99999999999999999999");
        REFUSED("only one", "--user", "--system", "list");
        REFUSED("--socket", "--user", "run", "t.json");
        REFUSED("pretty", "--json=ugly", "list");
        REFUSED("no value", "list", "--quiet=yes");
        REFUSED("a value", "--socket=", "list");
        REFUSED("--=x", "--=x", "list");
}

static void test_options_help(void)
{
        _cleanup_free_ char *help = options_help();

        CHECK(help);
        CHECK(strstr(help, "set-limit PATH KEY=VALUE"));
        CHECK(strstr(help, "--start-timeout-ms"));
        CHECK_STR(verb_synopsis(VERB_UNLOAD), "unload PATH [--no-wait]");
        CHECK(!verb_synopsis(VERB_UNBUILT));
}

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
        static const char *const head[] = { "A" };
        _cleanup_(table_done) Table t;

        table_init(&t, head, 1);
        check_rendered(&t, &(Style){ 0 }, "");
        check_rendered(&t, &(Style){ .terminal = true }, "A\n");
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
                        "t\tready\t-\t-\t-\t-\t-\n"
                        "  a\tready\t7\t2\t5.0 s\tSIGKILL after 0.1 s\tu.scope\n"
                        "  w\tfailed\t-\t-\t-\t-\t-\n"
                        "    b\tfailed\t-\t0\t-\texit 1\t-\n");
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

        CHECK_EQ(tree_view_list(v, "/t/*b", &t), 0);
        check_rendered(&t, &(Style){ 0 }, "/t/w/b\tactor\tfailed\t-\t0\t-\texit 1\n");
        CHECK_EQ(tree_view_list(v, "/nothing", &none), 0);
        CHECK_EQ(none.n, 0);
        CHECK_EQ(tree_view_matching(v, "/t/w", &some), 0);
        CHECK_STR(json_print(some, NULL),
                        "[{\"path\":\"/t/w\",\"kind\":\"supervisor\",\"state\":\"failed\"}]");
}

static void test_tree_details(void)
{
        _cleanup_json_ Json *v =
                        json("{\"state\":\"ready\",\"since_ms\":1000,\"usage\":{\"memory\":2048,"
                             "\"tasks\":null},\"children\":[{\"path\":\"/x\",\"state\":\"dead\"}]}");
        _cleanup_(table_done) Table t;

        CHECK_EQ(tree_view_details(v, &t), 0);
        check_rendered(&t, &(Style){ 0 },
                        "state\tready\nsince_ms\t1.0 s\nusage.memory\t2.0K\nchild\t/x dead\n");
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

/* --- tree files --- */

static char dir[] = "/tmp/tractor-test-ctl-XXXXXX";

static void write_file(const char *path, const char *text)
{
        FILE *f = fopen(path, "we");

        CHECK(f);
        CHECK(fputs(text, f) >= 0);
        CHECK_EQ(fclose(f), 0);
}

static void test_tree_file(void)
{
        _cleanup_free_ char *path = xasprintf("%s/t.json", dir), *e = NULL, *expected = NULL;
        Json *v = NULL;

        write_file(path,
                        "{\"name\":\"t\",\"children\":[{\"name\":\"a\",\"exec\":[\"./"
                        "x\"]},{\"name\":\"b\",\"exec\":[],"
                        "\"cwd\":\"/z\"},{\"name\":\"c\",\"children\":[{\"exec\":7},3]},{\"name\":\"d\"}]}");
        CHECK_EQ(tree_file_read(path, &v, &e), 0);
        expected = xasprintf(
                        "{\"name\":\"t\",\"children\":[{\"name\":\"a\",\"exec\":[\"./x\"],\"cwd\":\"%s\"},"
                        "{\"name\":\"b\",\"exec\":[],\"cwd\":\"/"
                        "z\"},{\"name\":\"c\",\"children\":[{\"exec\":7,"
                        "\"cwd\":\"%s\"},3]},{\"name\":\"d\"}]}",
                        dir, dir);
        CHECK_STR(json_print(v, NULL), expected);
        json_unref(v);
        CHECK_EQ(unlink(path), 0);
}

static void test_tree_file_broken(void)
{
        _cleanup_free_ char *path = xasprintf("%s/t.json", dir), *e = NULL, *e2 = NULL, *e3 = NULL,
                            *place = NULL;
        Json *v = NULL;

        write_file(path, "{\"name\":\"t\",\n  \"a\" 1}");
        CHECK_EQ(tree_file_read(path, &v, &e), -EBADMSG);
        place = xasprintf("%s:2:7: ", path);
        CHECK(startswith(e, place));
        CHECK_EQ(unlink(path), 0);
        CHECK_EQ(tree_file_read(path, &v, &e2), -ENOENT);
        CHECK(strstr(e2, "No such file"));
        CHECK_EQ(tree_file_read(dir, &v, &e3), -EISDIR);
        CHECK(!v);
}

/* --- which supervisor --- */

static int listen_at(const char *path)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        CHECK(fd >= 0);
        CHECK(strlen(path) < sizeof(sa.sun_path));
        strcpy(sa.sun_path, path);
        CHECK_EQ(bind(fd, (struct sockaddr *) &sa, sizeof(sa)), 0);
        CHECK_EQ(listen(fd, 8), 0);
        return fd;
}

static void expect_connect(
                const Options *o, const Surroundings *s, int r, const char *path, const char *says)
{
        _cleanup_free_ char *p = NULL, *e = NULL;
        _cleanup_close_ int fd = -EBADF;

        CHECK_EQ(locate_connect(o, s, &fd, &p, &e), r);
        CHECK_EQ(fd >= 0, r == 0);
        CHECK_STR(p, path);
        CHECK_EQ(!e, r == 0);
        if (says)
                CHECK(strstr(e, says));
}

static pid_t dead_pid(void)
{
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid == 0)
                _exit(0);
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
        return pid;
}

static void test_locate_names(void)
{
        size_t n = 0;
        pid_t pid = 0;

        CHECK(locate_parse_name("a-b.c-12.sock", &n, &pid));
        CHECK_EQ(n, 5);
        CHECK_EQ(pid, 12);
        CHECK(!locate_parse_name("a.sock", &n, &pid));
        CHECK(!locate_parse_name("-12.sock", &n, &pid));
        CHECK(!locate_parse_name("a-.sock", &n, &pid));
        CHECK(!locate_parse_name("a-1x.sock", &n, &pid));
        CHECK(locate_parse_name("a--1.sock", &n, &pid));
        CHECK_EQ(n, 2);
        CHECK(!locate_parse_name("a-99999999999.sock", &n, &pid));
        CHECK(!locate_parse_name("a-1.sockets", &n, &pid));
}

static void test_locate_dirs(void)
{
        _cleanup_free_ char *a =
                        locate_run_dir(&(Surroundings){ .uid = 0, .runtime_dir = "/x", .root = "" });
        _cleanup_free_ char *b =
                        locate_run_dir(&(Surroundings){ .uid = 5, .runtime_dir = "/x", .root = "" });
        _cleanup_free_ char *c = locate_run_dir(&(Surroundings){ .uid = 5, .root = "" });

        CHECK_STR(a, "/run/tractor/run");
        CHECK_STR(b, "/x/tractor/run");
        CHECK_STR(c, "/tmp/tractor-5/run");
}

static void test_locate_order(void)
{
        _cleanup_free_ char *root = xasprintf("%s/r", dir), *runtime = xasprintf("%s/x", dir), *run = NULL;
        const Surroundings s = { .uid = getuid(), .runtime_dir = runtime, .root = root };
        Surroundings with_socket = s;
        const Options none = { 0 }, named = { .run = "one" }, exact = { .run = "one-1" },
                      user = { .user = true }, other = { .run = "two" }, system = { .system = true };
        _cleanup_free_ char *one = NULL, *second = NULL, *dead = NULL, *u = NULL, *sys = NULL, *top = NULL;
        _cleanup_close_ int a = -EBADF, b = -EBADF, us = -EBADF, ss = -EBADF;

        expect_connect(&none, &s, -ENOENT, NULL, "tractorctl run");
        CHECK_EQ(locate_make_run_dir(&s, &run), 0);
        sys = xasprintf("%s/run/tractor/control.sock", root);
        u = xasprintf("%s/tractor/control.sock", runtime);
        top = xasprintf("%s/run/tractor", root);
        CHECK_EQ(mkdir_parents(top, 0755), 0);
        *strrchr(u, '/') = 0;
        CHECK_EQ(mkdir_parents(u, 0755), 0);
        u[strlen(u)] = '/';

        ss = listen_at(sys);
        expect_connect(&none, &s, 0, sys, NULL);
        expect_connect(&system, &s, 0, sys, NULL);
        expect_connect(&user, &s, -ENOENT, NULL, u);
        us = listen_at(u);
        expect_connect(&none, &s, 0, u, NULL);
        expect_connect(&system, &s, 0, sys, NULL);

        one = xasprintf("%s/one-1.sock", run);
        second = xasprintf("%s/one-two-2.sock", run);
        dead = xasprintf("%s/one-%d.sock", run, (int) dead_pid());
        a = listen_at(one);
        (void) safe_close(listen_at(dead));
        expect_connect(&none, &s, 0, one, NULL);
        CHECK_EQ(access(dead, F_OK), -1); /* nobody was there */
        expect_connect(&named, &s, 0, one, NULL);
        expect_connect(&exact, &s, 0, one, NULL);
        expect_connect(&other, &s, -ENOENT, NULL, "two");
        b = listen_at(second);
        expect_connect(&none, &s, -ENOTUNIQ, NULL, "--run NAME");
        expect_connect(&named, &s, 0, one, NULL);

        with_socket.socket = second;
        expect_connect(&none, &with_socket, 0, second, NULL);
        expect_connect(&(Options){ .socket = sys }, &with_socket, 0, sys, NULL);
        expect_connect(&(Options){ .socket = "/nowhere" }, &with_socket, -ENOENT, NULL, "/nowhere");
        with_socket.socket = "/nowhere";
        expect_connect(&none, &with_socket, -ENOENT, NULL, "/nowhere");
}

/* One that has just been bound may not listen yet: it isn't removed while its process lives. */
static void test_locate_young(void)
{
        _cleanup_free_ char *root = xasprintf("%s/y", dir), *run = NULL, *path = NULL;
        const Surroundings s = { .uid = getuid(), .runtime_dir = root, .root = root };
        struct timespec old[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };

        CHECK_EQ(locate_make_run_dir(&s, &run), 0);
        path = xasprintf("%s/me-%d.sock", run, (int) getpid());
        (void) safe_close(listen_at(path));
        expect_connect(&(Options){ 0 }, &s, -ENOENT, NULL, NULL);
        CHECK_EQ(access(path, F_OK), 0);
        CHECK_EQ(utimensat(AT_FDCWD, path, old, 0), 0);
        expect_connect(&(Options){ 0 }, &s, -ENOENT, NULL, NULL);
        CHECK_EQ(access(path, F_OK), -1);
}

/* A directory that others may write to isn't believed. */
static void test_locate_untrusted(void)
{
        _cleanup_free_ char *root = xasprintf("%s/z", dir), *run = NULL, *again = NULL, *path = NULL;
        const Surroundings s = { .uid = getuid(), .runtime_dir = root, .root = root };
        _cleanup_close_ int fd = -EBADF;

        CHECK_EQ(locate_make_run_dir(&s, &run), 0);
        path = xasprintf("%s/me-1.sock", run);
        fd = listen_at(path);
        expect_connect(&(Options){ 0 }, &s, 0, path, NULL);
        CHECK_EQ(chmod(run, 0777), 0);
        expect_connect(&(Options){ 0 }, &s, -ENOENT, NULL, NULL);
        CHECK_EQ(locate_make_run_dir(&s, &again), -EPERM);
}

static void test_connect_to(void)
{
        char longer[200];

        memset(longer, 'x', sizeof(longer) - 1);
        longer[sizeof(longer) - 1] = 0;
        CHECK_EQ(connect_to(longer), -ENAMETOOLONG);
        CHECK_EQ(connect_to("/nonexistent/socket"), -ENOENT);
}

static void remove_dir(void)
{
        _cleanup_free_ char *command = xasprintf("rm -rf %s", dir);

        if (system(command) != 0)
                fprintf(stderr, "%s stays\n", dir);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = {
                { "options-plain", test_options_plain },
                { "options-spawn", test_options_spawn },
                { "options-user", test_options_user },
                { "options-ready-replaced", test_options_ready_replaced },
                { "options-letters", test_options_letters },
                { "options-unbuilt", test_options_unbuilt },
                { "options-refused", test_options_refused },
                { "options-help", test_options_help },
                { "text-clean", test_text_clean },
                { "text-numbers", test_text_numbers },
                { "table", test_table },
                { "table-empty", test_table_empty },
                { "describe-exit", test_describe_exit },
                { "describe-error", test_describe_error },
                { "describe-event", test_describe_event },
                { "tree-view", test_tree_view },
                { "tree-view-drawn", test_tree_view_drawn },
                { "tree-list", test_tree_list },
                { "tree-details", test_tree_details },
                { "tree-end", test_tree_end },
                { "tree-file", test_tree_file },
                { "tree-file-broken", test_tree_file_broken },
                { "locate-names", test_locate_names },
                { "locate-dirs", test_locate_dirs },
                { "locate-order", test_locate_order },
                { "locate-young", test_locate_young },
                { "locate-untrusted", test_locate_untrusted },
                { "connect-to", test_connect_to },
        };

        CHECK(setlocale(LC_ALL, "C.UTF-8"));
        CHECK(mkdtemp(dir));
        CHECK_EQ(atexit(remove_dir), 0);
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
