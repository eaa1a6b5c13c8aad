/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "test.h"
#include "tractorctl/help.h"
#include "tractorctl/verb-table.h"

/* Static, since options point into it. */
#define ARGV(...)                                                                                           \
        ({                                                                                                  \
                static const char *const _argv[] = { "tractorctl", __VA_ARGS__, NULL };                     \
                (char *const *) _argv;                                                                      \
        })
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

        CHECK_EQ(PARSE(&o, &e, "crashes", "/a", "m", "--whatever"), 0);
        CHECK_EQ(o.verb, VERB_UNBUILT);
        CHECK_STR(o.verb_name, "crashes");
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
        REFUSED("--signal wants a value", "kill", "/a", "--signal");
        REFUSED("-s wants a value", "kill", "/a", "-s");
        REFUSED("-n wants a whole number", "top", "-nx");
        REFUSED("--number wants a whole number", "top", "--number=x");
        REFUSED("-q takes no value", "list", "-qx");
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

static void test_options_near(void)
{
        REFUSED("did you mean 'restart'? see 'tractorctl help'", "restrat", "/a");
        REFUSED("did you mean 'status'?", "--json", "stauts");
        REFUSED("did you mean --json? see 'tractorctl help list'", "list", "--jsn=short");
        REFUSED("did you mean --reason? see 'tractorctl help cancel'", "cancel", "/a", "--raeson", "x");
        REFUSED("'kill' has no option --reason; see 'tractorctl help kill'", "kill", "/a", "--reason=x");
        REFUSED("did you mean MemoryMax?", "set-limit", "/a", "memorymax=1");
        REFUSED("did you mean TasksMax?", "spawn", "/a", "b", "--limit", "TaskMax=1", "--", "x");
        REFUSED("did you mean 'cancel'?", "help", "cancle");
        REFUSED("see 'tractorctl help kill'", "kill");
}

static void test_options_limits_unknown(void)
{
        _cleanup_(options_done) Options o = { 0 };
        _cleanup_free_ char *e = NULL;

        CHECK_EQ(PARSE(&o, &e, "set-limit", "/a", "SomethingNew=1"), 0); /* the supervisor's to judge */
}

static void test_options_paths(void)
{
        _cleanup_(options_done) Options o = { 0 };
        _cleanup_free_ char *e = NULL;

        REFUSED("a path begins with '/'; did you mean /shop/api?", "restart", "/a", "shop/api");
        REFUSED("a path begins with '/'; did you mean /shop?", "status", "shop");
        REFUSED("'tractorctl kill /a -s 9'", "kill", "/a", "9");
        REFUSED("'tractorctl kill PATH -s SIGHUP'", "kill", "SIGHUP", "/a");
        REFUSED("nothing stands behind the last '/'", "status", "/a/");
        REFUSED("not a path", "status", "/a b");
        REFUSED("not a path", "status", "");
        REFUSED("'status' takes no pattern", "status", "/a/*");
        REFUSED("'logs' takes no pattern", "logs", "/[ab]");
        REFUSED("'wait' takes no pattern", "wait", "/a?");
        CHECK_EQ(PARSE(&o, &e, "unload", "/a/*", "*", "/b"), 0);
        CHECK_EQ(o.n_args, 3);
}

static void test_options_json(void)
{
        _cleanup_(options_done) Options o = { 0 };
        _cleanup_free_ char *e = NULL;

        CHECK_EQ(PARSE(&o, &e, "find", "--json", "short"), 0);
        CHECK_EQ(o.json, JSON_MODE_AUTO);
        CHECK_STR(o.args[0], "short");
        CHECK_EQ(options_json_asked(ARGC("frob", "--json=short", "--", "--json"),
                                 ARGV("frob", "--json=short", "--", "--json")),
                        JSON_MODE_SHORT);
        CHECK_EQ(options_json_asked(ARGC("frob", "--json"), ARGV("frob", "--json")), JSON_MODE_AUTO);
        CHECK_EQ(options_json_asked(ARGC("frob", "--jsonx"), ARGV("frob", "--jsonx")), JSON_MODE_OFF);
}

/* Each verb tells its options and an example that parses. */
static void check_help(Verb v)
{
        _cleanup_free_ char *help = help_verb(v), *words = NULL, *e = NULL;
        _cleanup_(options_done) Options o = { 0 };
        char *argv[16] = { (char *) "tractorctl" }, *state = NULL;
        int n = 1;

        CHECK(help && startswith(help, "usage: tractorctl "));
        CHECK(strstr(help, verb_synopsis(v)));
        CHECK(strstr(help, verb_table[v].example));
        words = strndup(verb_table[v].example, strcspn(verb_table[v].example, "'&"));
        for (char *w = strtok_r(words, " ", &state); w && n < 15; w = strtok_r(NULL, " ", &state))
                argv[n++] = w;
        if (strchr(verb_table[v].example, '\'')) /* the shell's to split */
                argv[n++] = (char *) "/x";
        CHECK_EQ(options_parse(n, argv, &o, &e), 0);
        CHECK_EQ(o.verb, v);
}

static void test_options_help(void)
{
        _cleanup_free_ char *help = help_overview(), *spawn = help_verb(VERB_SPAWN), *kill = NULL;

        CHECK(help && spawn);
        CHECK(strstr(help, "set-limit PATH KEY=VALUE"));
        CHECK(!strstr(help, "--start-timeout-ms"));
        CHECK(strstr(help, "-H, --host [USER@]HOST "));
        CHECK(strstr(spawn, "--start-timeout-ms N "));
        kill = help_verb(VERB_KILL);
        CHECK(strstr(kill, "-s, --signal SIGNAL "));
        CHECK(!strstr(kill, "--reason"));
        CHECK_STR(verb_synopsis(VERB_UNLOAD), "unload PATH… [--no-wait]");
        CHECK(!verb_synopsis(VERB_UNBUILT));
        for (Verb v = 0; v < _VERB_BUILT_MAX; v++)
                check_help(v);
}

static void test_options_of_actors(void)
{
        _cleanup_(options_done) Options o = { 0 };
        _cleanup_free_ char *e = NULL;

        CHECK_EQ(PARSE(&o, &e, "wait", "/a", "--for=gone", "--timeout", "0.5"), 0);
        CHECK_EQ(o.verb, VERB_WAIT);
        CHECK_STR(o.wait_for, "gone");
        CHECK_EQ(o.timeout, 500000);
        options_done(&o);
        CHECK_EQ(PARSE(&o, &e, "wait", "/a"), 0);
        CHECK(o.timeout == UINT64_MAX && !o.wait_for);
        options_done(&o);
        CHECK_EQ(PARSE(&o, &e, "logs", "-fn20", "/a"), -EINVAL); /* letters stand alone */
        free(TAKE_PTR(e));
        CHECK_EQ(PARSE(&o, &e, "logs", "-f", "-n20", "/a"), 0);
        CHECK(o.follow);
        CHECK_EQ(o.number, 20);
        options_done(&o);
        CHECK_EQ(PARSE(&o, &e, "top", "-n", "3", "-d", "2"), 0);
        CHECK_EQ(o.number, 3);
        CHECK_EQ(o.delay, 2000000);
        options_done(&o);
        CHECK_EQ(PARSE(&o, &e, "-H", "me@there", "--socket=/s", "call", "/a", "m", "--", "-1"), 0);
        CHECK_STR(o.host, "me@there");
        CHECK_EQ(o.n_args, 3);
}

static void test_options_of_actors_refused(void)
{
        REFUSED("ready or gone", "wait", "/a", "--for", "tea");
        REFUSED("seconds", "wait", "/a", "--timeout", "-1");
        REFUSED("seconds", "wait", "/a", "--timeout", "1e9");
        REFUSED("seconds", "wait", "/a", "--timeout", "99999999999");
        REFUSED("seconds", "wait", "/a", "--timeout", "");
        REFUSED("negative", "top", "-n", "-3");
        REFUSED("HOST", "-H", "-oProxyCommand=x", "ping");
        REFUSED("HOST", "-H", "a b", "ping");
        REFUSED("of its own", "-H", "a", "run", "x");
        REFUSED("usage", "call", "/a");
        REFUSED("usage", "call", "/a", "m", "{}", "x");
        REFUSED("usage", "bridge", "x");
}

TEST_MAIN({ "options-plain", test_options_plain }, { "options-spawn", test_options_spawn },
                { "options-user", test_options_user },
                { "options-ready-replaced", test_options_ready_replaced },
                { "options-letters", test_options_letters }, { "options-unbuilt", test_options_unbuilt },
                { "options-refused", test_options_refused }, { "options-near", test_options_near },
                { "options-limits-unknown", test_options_limits_unknown },
                { "options-paths", test_options_paths }, { "options-json", test_options_json },
                { "options-help", test_options_help }, { "options-of-actors", test_options_of_actors },
                { "options-of-actors-refused", test_options_of_actors_refused });
