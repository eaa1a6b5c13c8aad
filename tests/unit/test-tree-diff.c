/* SPDX-License-Identifier: Apache-2.0 */
/* Every key of the tree file is either live or a reason to restart, and no other difference is told of. */
#include "supervisor/config-parse.h"
#include "supervisor/tree-diff.h"
#include "tree-text.h"

enum { LIVE = SPEC_LIVE, RESTARTS = SPEC_RESTART, IDENTITY = -1 };

/* Two values of each key that mean different things, neither the default. `told`: what the difference is called. */
static const struct {
        const char *key;
        int due;
        const char *a, *b, *told;
} samples[] = {
        { "tractor", IDENTITY },
        { "name", IDENTITY },
        { "children", IDENTITY },
        { "cgroups", IDENTITY }, /* one value is built */
        { "entry", IDENTITY },   /* no key of a file */
        { "description", LIVE, "'x'", "'y'", "description" },
        { "labels", LIVE, "{'k':'x'}", "{'k':'y'}", "labels.k" },
        { "limits", LIVE, "{'MemoryMax':'512M','TasksMax':9}", "{'MemoryMax':'1G','TasksMax':9}",
                        "limits.MemoryMax" },
        { "limits_optional", LIVE, "true", NULL, "limits_optional" },
        { "significant", LIVE, "true", NULL, "significant" },
        { "depends", RESTARTS, "['b']", "['b','c']", "depends" },
        { "log_level", LIVE, "'info'", "'emerg'", "log_level" },
        { "strategy", LIVE, "'one_for_all'", "'rest_for_one'", "strategy" },
        { "intensity", LIVE, "{'max_restarts':2}", "{'max_restarts':3}", "intensity.max_restarts" },
        { "on_give_up", LIVE, "'isolate'", NULL, "on_give_up" },
        { "auto_shutdown", LIVE, "'any_significant'", "'all_significant'", "auto_shutdown" },
        { "cwd", RESTARTS, "'/a'", "'/b'", "cwd" },
        { "exec", RESTARTS, "['false']", "['false','x']", "exec" },
        { "env", RESTARTS, "{'FOO':'x','A':'b'}", "{'FOO':'y','A':'b'}", "env.FOO" },
        { "env_clear", RESTARTS, "true", NULL, "env_clear" },
        { "umask", RESTARTS, "'077'", "'027'", "umask" },
        { "restart", LIVE, "'transient'", "'temporary'", "restart" },
        { "backoff", LIVE, "{'initial_ms':5}", "{'initial_ms':6}", "backoff.initial_ms" },
        { "channel", RESTARTS, "'fd'", NULL, "channel" },
        { "expose", RESTARTS, "['a']", "[]", "expose" },
        { "ready", RESTARTS, "{'file':'/a'}", "{'file':'/b'}", "ready" },
        { "start_timeout_ms", RESTARTS, "5", "6", "start_timeout_ms" },
        { "stop_signal", RESTARTS, "'INT'", "'HUP'", "stop_signal" },
        { "grace_ms", LIVE, "5", "6", "grace_ms" },
        { "watchdog_ms", LIVE, "5", "6", "watchdog_ms" },
        { "stdout", RESTARTS, "'null'", "'file:/a'", "stdout" },
        { "stderr", RESTARTS, "'file:/a'", "'file:/b'", "stderr" },
        { "rlimits", RESTARTS, "{'NOFILE':5}", "{'NOFILE':6}", "rlimits" },
        { "nice", RESTARTS, "5", "6", "nice" },
        { "oom_score_adj", RESTARTS, "5", "6", "oom_score_adj" },
        { "cpu_affinity", RESTARTS, "[0]", "[1]", "cpu_affinity" },
        { "user", RESTARTS, "'u'", "'v'", "user" },
        { "group", RESTARTS, "'u'", "'v'", "group" },
        { "supplementary_groups", RESTARTS, "['u']", "['v']", "supplementary_groups" },
        { "capabilities", RESTARTS, "['KILL']", "['CHOWN']", "capabilities" },
        { "no_new_privs", RESTARTS, "false", NULL, "no_new_privs" },
        { "seccomp", RESTARTS, "'default'", NULL, "seccomp" },
};

/* A node with this one key, NULL: without it. */
static TreeSpec *node_with(const Key *key, const char *value)
{
        _cleanup_free_ char *member = value ? xasprintf(",'%s':%s", key->name, value) : strdup("");
        _cleanup_free_ char *text = NULL;
        ConfigProblems problems = { 0 };
        TreeSpec *t;

        if (key->kinds == KEY_ACTOR || key->kinds == KEY_CHILD)
                text = xasprintf("{'tractor':1,'name':'t','children':[{'name':'a'%s%s},{'name':'b','exec':['"
                                 "true']},"
                                 "{'name':'c','exec':['true']}]}",
                                streq(key->name, "exec") && value ? "" : ",'exec':['true']", member);
        else
                text = xasprintf("{'tractor':1,'name':'t','children':[]%s}", member);
        CHECK(text);
        if (parse(text, &t, &problems) < 0)
                print_problems(&problems);
        CHECK(t);
        config_problems_done(&problems);
        if (t->n_children == 0)
                return t;
        TreeSpec *child = tree_spec_ref(t->children[0]);

        tree_spec_unref(t);
        return child;
}

/* Is `name` told of, and nothing of another kind? */
static void check_told(const TreeSpec *a, const TreeSpec *b, const char *name, SpecDiff due)
{
        _cleanup_json_ Json *told = NULL;
        JsonIterator i = { 0 };
        bool restarts = false;

        CHECK_EQ(spec_diff_to_json(a, b, &told), 0);
        CHECK(json_has(told, name));
        CHECK_EQ(json_get_boolean(json_get(told, name), "live", false), due == SPEC_LIVE);
        CHECK_EQ(json_has(json_get(told, name), "to"), due == SPEC_LIVE);
        while (json_next(told, &i))
                restarts |= !json_get_boolean(i.value, "live", false);
        CHECK_EQ(restarts, due == SPEC_RESTART);
}

static void check_key(const Key *key, size_t i)
{
        TreeSpec *none = node_with(key, NULL), *a = node_with(key, samples[i].a),
                 *again = node_with(key, samples[i].a);
        TreeSpec *b = node_with(key, samples[i].b);
        SpecDiff due = (SpecDiff) samples[i].due;
        _cleanup_json_ Json *told = NULL;

        CHECK_EQ(spec_diff(a, again), SPEC_SAME);
        CHECK_EQ(spec_diff_to_json(a, again, &told), 0);
        CHECK_EQ(json_length(told), 0);
        CHECK_EQ(spec_diff(none, a), due);
        CHECK_EQ(spec_diff(a, none), due);
        CHECK_EQ(spec_diff(a, b), due);
        CHECK_EQ(spec_diff(b, a), due);
        check_told(a, b, samples[i].told, due);
        check_told(b, a, samples[i].told, due);
        tree_spec_unref(none);
        tree_spec_unref(a);
        tree_spec_unref(again);
        tree_spec_unref(b);
}

/* Walks what the parser knows: a key added there without a sample here fails. */
static void every_key(void)
{
        size_t n, checked = 0;
        const Key *keys = config_node_keys(&n);

        for (size_t k = 0; k < n; k++) {
                size_t i = 0;

                if (keys[k].read == key_unsupported)
                        continue;
                while (i < ELEMENTSOF(samples) && !streq(samples[i].key, keys[k].name))
                        i++;
                if (i == ELEMENTSOF(samples))
                        fprintf(stderr, "%s: is it live?\n", keys[k].name);
                CHECK(i < ELEMENTSOF(samples));
                checked++;
                if (samples[i].due != IDENTITY)
                        check_key(&keys[k], i);
        }
        CHECK_EQ(checked, ELEMENTSOF(samples));
}

static void same(const char *a, const char *b)
{
        TreeSpec *x = parse_good(a), *y = parse_good(b);

        CHECK_EQ(spec_diff(x->children[0], y->children[0]), SPEC_SAME);
        tree_spec_unref(x);
        tree_spec_unref(y);
}

static void meaning_not_writing(void)
{
        same(CHILD("'limits':{'MemoryMax':'1G','CPUQuota':'150%'}"),
                        CHILD("'limits':{'CPUQuota':'150.0%','MemoryMax':'1024M'}"));
        same(CHILD("'restart':'permanent'"), CHILD("'umask':'22'"));
        same(CHILD("'env':{}"), CHILD("'labels':{}"));
        same(CHILD("'env':{'A':'1','B':'2'}"), CHILD("'env':{'B':'2','A':'1'}"));
        same(CHILD("'stop_signal':'SIGTERM'"), CHILD("'stop_signal':15"));
        same(CHILD("'cpu_affinity':'0-1'"), CHILD("'cpu_affinity':[1,0]"));
        same(CHILD("'stdout':'journal'"), CHILD("'grace_ms':90000"));
        same(CHILD("'backoff':{'factor':2}"), CHILD("'backoff':{'max_ms':30000}"));
        same(CHILD("'user':1000"), CHILD("'user':'1000'"));
        same(CHILD("'rlimits':{'NOFILE':9}"), CHILD("'rlimits':{'NOFILE':{'soft':9,'hard':9}}"));
}

static void check_values(const char *a, const char *b, const char *due)
{
        TreeSpec *x = parse_good(a), *y = parse_good(b);
        _cleanup_json_ Json *told = NULL;

        CHECK_EQ(spec_diff_to_json(x->children[0], y->children[0], &told), 0);
        CHECK_STR(json_print(told, NULL), due);
        tree_spec_unref(x);
        tree_spec_unref(y);
}

static void values_of_live_keys(void)
{
        check_values(CHILD("'limits':{'MemoryMax':'512M'}"), CHILD("'limits':{'TasksMax':5}"),
                        "{\"limits.MemoryMax\":{\"live\":true,\"from\":\"512M\",\"to\":null},"
                        "\"limits.TasksMax\":{\"live\":true,\"from\":null,\"to\":5}}");
        check_values(CHILD("'grace_ms':1,'env':{'SECRET':'x'}"), CHILD("'grace_ms':2,'env':{'SECRET':'y'}"),
                        "{\"grace_ms\":{\"live\":true,\"from\":1,\"to\":2},\"env.SECRET\":{\"live\":false}"
                        "}");
}

TEST_MAIN({ "every_key", every_key }, { "meaning_not_writing", meaning_not_writing },
                { "values_of_live_keys", values_of_live_keys });
