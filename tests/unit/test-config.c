/* SPDX-License-Identifier: Apache-2.0 */
/* Every key of a tree file: its default, its forms, what is said of a wrong one. */
#include <signal.h>

#include "base/usec.h"
#include "tree-text.h"

static void test_defaults(void)
{
        _cleanup_(tree_spec_unrefp) TreeSpec *t = parse_good(CHILDREN("{'name':'a','exec':['true']}"));
        const TreeSpec *a;

        CHECK_STR(t->name, "t");
        CHECK(t->node.name == t->name);
        CHECK_EQ(t->node.kind, NODE_SUPERVISOR);
        CHECK_EQ(t->node.strategy, STRATEGY_ONE_FOR_ONE);
        CHECK_EQ(t->node.intensity.max_restarts, 5);
        CHECK_EQ(t->node.intensity.within_usec, 10 * USEC_PER_SEC);
        CHECK_EQ(t->node.on_give_up, GIVE_UP_ESCALATE);
        CHECK_EQ(t->node.auto_shutdown, AUTO_SHUTDOWN_NEVER);
        CHECK_EQ(t->n_children, 1);
        a = t->children[0];
        CHECK_EQ(a->node.kind, NODE_ACTOR);
        CHECK_EQ(a->node.restart, RESTART_PERMANENT);
        CHECK_EQ(a->node.start_timeout_usec, 10 * USEC_PER_SEC);
        CHECK_EQ(a->node.grace_usec, 90 * USEC_PER_SEC);
        CHECK_EQ(a->node.watchdog_usec, 0);
        CHECK(a->node.stop_is_term && !a->node.ready_exited && !a->node.significant && !a->node.depends);
        CHECK_EQ(a->node.backoff.initial_usec, 100 * USEC_PER_MSEC);
        CHECK_EQ(a->node.backoff.max_usec, 30 * USEC_PER_SEC);
        CHECK_EQ(a->node.backoff.reset_after_usec, 60 * USEC_PER_SEC);
        CHECK(a->node.backoff.factor == 2.0 && a->node.backoff.jitter == 0.1 && !a->has_backoff);
        CHECK_STR(a->exec[0], "true");
        CHECK_EQ(a->umask, 022);
        CHECK_EQ(a->stop_signal, SIGTERM);
        CHECK_EQ(a->ready, READY_EXEC);
        CHECK_EQ(a->channel, CHANNEL_NONE);
        CHECK_EQ(a->out.kind, OUTPUT_DEFAULT);
        CHECK(a->no_new_privs && a->resolved && !a->has_caps && !a->has_groups && !a->env && !a->cwd);
}

static void test_supervisor_keys(void)
{
        _cleanup_(tree_spec_unrefp) TreeSpec *t = parse_good(
                        TREE("'strategy':'rest_for_one','intensity':{'max_restarts':2,"
                             "'within_ms':3000},'on_give_up':'isolate',"
                             "'auto_shutdown':'all_significant','limits':{'MemoryMax':'512M',"
                             "'TasksMax':256},'limits_optional':true,'description':'a shop',"
                             "'labels':{'team':'red'},'children':[{'name':'w',"
                             "'strategy':'one_for_all','significant':true,'depends':[],'children':[]}]"));

        CHECK_EQ(t->node.strategy, STRATEGY_REST_FOR_ONE);
        CHECK_EQ(t->node.intensity.max_restarts, 2);
        CHECK_EQ(t->node.intensity.within_usec, 3 * USEC_PER_SEC);
        CHECK_EQ(t->node.on_give_up, GIVE_UP_ISOLATE);
        CHECK_EQ(t->node.auto_shutdown, AUTO_SHUTDOWN_ALL_SIGNIFICANT);
        CHECK_EQ(t->limits.values[LIMIT_MEMORY_MAX], UINT64_C(512) << 20);
        CHECK_EQ(t->limits.values[LIMIT_TASKS_MAX], 256);
        CHECK(t->limits_optional);
        CHECK_STR(t->description, "a shop");
        CHECK_STR(json_get_string(t->labels, "team", NULL), "red");
        CHECK_EQ(t->children[0]->node.kind, NODE_SUPERVISOR);
        CHECK_EQ(t->children[0]->node.strategy, STRATEGY_ONE_FOR_ALL);
        CHECK(t->children[0]->node.significant);
}

static void test_actor_keys(void)
{
        _cleanup_(tree_spec_unrefp) TreeSpec *t = parse_good(
                        CHILDREN("{'name':'db','exec':['./db','','x'],'cwd':'/srv','env':{'A':'1','B':''},"
                                 "'env_clear':true,'umask':'0077','restart':'transient',"
                                 "'start_timeout_ms':1,'stop_signal':'INT','grace_ms':0,"
                                 "'watchdog_ms':5000,'stdout':'file:out.log','stderr':'file:/x/err.log',"
                                 "'rlimits':{'NOFILE':1024,'CORE':{'soft':0,'hard':'infinity'}},'nice':-5,"
                                 "'oom_score_adj':500,'cpu_affinity':'0-1,3','user':65534,'group':'7',"
                                 "'supplementary_groups':[8,'9'],'capabilities':['net_bind_service',"
                                 "'CAP_KILL'],'no_new_privs':false,'seccomp':'default','significant':true,"
                                 "'depends':['e','/t/e','/other/x'],'backoff':{'initial_ms':5,"
                                 "'factor':1.5,'max_ms':50,'jitter':0,'reset_after_ms':100}},{'name':'e',"
                                 "'exec':['true']}"));
        const TreeSpec *a = t->children[0];

        CHECK_EQ(strv_length(a->exec), 3);
        CHECK_STR(a->exec[1], "");
        CHECK_STR(a->cwd, "/srv");
        CHECK_STR(json_get_string(a->env, "A", NULL), "1");
        CHECK(a->env_clear);
        CHECK_EQ(a->umask, 077);
        CHECK_EQ(a->node.restart, RESTART_TRANSIENT);
        CHECK_EQ(a->node.start_timeout_usec, 1000);
        CHECK_EQ(a->stop_signal, SIGINT);
        CHECK(!a->node.stop_is_term);
        CHECK_EQ(a->node.grace_usec, 0);
        CHECK_EQ(a->node.watchdog_usec, 5 * USEC_PER_SEC);
        CHECK_EQ(a->out.kind, OUTPUT_FILE);
        CHECK_STR(a->out.path, "/srv/out.log");
        CHECK_STR(a->err.path, "/x/err.log");
        CHECK_EQ(a->rlimit_mask, 1U << RLIMIT_NOFILE | 1U << RLIMIT_CORE);
        CHECK_EQ(a->rlimits[RLIMIT_NOFILE].rlim_cur, 1024);
        CHECK_EQ(a->rlimits[RLIMIT_NOFILE].rlim_max, 1024);
        CHECK_EQ(a->rlimits[RLIMIT_CORE].rlim_cur, 0);
        CHECK(a->rlimits[RLIMIT_CORE].rlim_max == RLIM_INFINITY);
        CHECK(a->has_nice && a->nice == -5 && a->has_oom_score_adj && a->oom_score_adj == 500);
        CHECK(a->has_affinity);
        CHECK_EQ(CPU_COUNT(&a->affinity), 3);
        CHECK(CPU_ISSET(0, &a->affinity) && CPU_ISSET(1, &a->affinity) && CPU_ISSET(3, &a->affinity));
        CHECK(a->resolved);
        CHECK_EQ(a->uid, 65534);
        CHECK_EQ(a->gid, 7);
        CHECK(a->has_groups && a->n_gids == 2 && a->gids[0] == 8 && a->gids[1] == 9);
        CHECK(a->has_caps);
        CHECK_EQ(a->caps, 1U << 10 | 1U << 5);
        CHECK(!a->no_new_privs);
        CHECK_STR(a->seccomp, "default");
        CHECK(a->node.significant);
        CHECK_EQ(strv_length(a->node.depends), 3);
        CHECK(a->node.depends == a->depends);
        CHECK_EQ(a->node.backoff.initial_usec, 5000);
        CHECK_EQ(a->node.backoff.max_usec, 50000);
        CHECK(a->node.backoff.factor == 1.5 && a->node.backoff.jitter == 0 && a->has_backoff);
}

static void test_ready(void)
{
        _cleanup_(tree_spec_unrefp) TreeSpec *t = parse_good(
                        CHILDREN("{'name':'a','exec':['true'],'ready':{'socket':'/run/s'}},{'name':'b',"
                                 "'exec':['true'],'cwd':'/','ready':{'file':'f'}},{'name':'c',"
                                 "'exec':['true'],'ready':{'command':['ping','x'],'interval_ms':50}},"
                                 "{'name':'d','exec':['x'],'ready':'notify'},{'name':'e','exec':['true'],"
                                 "'ready':'exited','restart':'transient'},{'name':'f','exec':['true'],"
                                 "'channel':'fd','ready':'channel'},{'name':'g','exec':['true'],"
                                 "'ready':'exec','channel':'none'}"));

        CHECK_EQ(t->children[0]->ready, READY_SOCKET);
        CHECK_STR(t->children[0]->ready_path, "/run/s");
        CHECK_EQ(t->children[1]->ready, READY_FILE);
        CHECK_STR(t->children[1]->ready_path, "/f");
        CHECK_EQ(t->children[2]->ready, READY_COMMAND);
        CHECK_STR(t->children[2]->ready_command[1], "x");
        CHECK_EQ(t->children[2]->ready_interval_usec, 50 * USEC_PER_MSEC);
        CHECK_EQ(t->children[3]->ready, READY_NOTIFY);
        CHECK_EQ(t->children[4]->ready, READY_EXITED);
        CHECK(t->children[4]->node.ready_exited && !t->children[3]->node.ready_exited);
        CHECK_EQ(t->children[5]->ready, READY_CHANNEL);
        CHECK_EQ(t->children[5]->channel, CHANNEL_FD);
        CHECK_EQ(t->children[5]->node.grace_usec, 3 * USEC_PER_SEC);
        CHECK(!t->children[5]->node.stop_is_term);
        CHECK_EQ(t->children[6]->ready, READY_EXEC);
}

static void test_cancels(void)
{
        _cleanup_(tree_spec_unrefp) TreeSpec *t = parse_good(
                        TREE("'strategy':'one_cancels_all','children':[{'name':'a','exec':['true']}]"));

        CHECK_EQ(t->children[0]->node.restart, RESTART_TEMPORARY);
        check_one(TREE("'children':[{'name':'w','strategy':'one_cancels_one',"
                       "'children':[{'name':'a','exec':['true'],'restart':'temporary'}]}]"),
                        "/children/0/children/0/restart", "one_cancels_one");
}

static void test_top(void)
{
        check_one("7", "", "must be an object");
        check_one("{'name':'t','children':[]}", "", "`tractor` is missing");
        check_one("{'tractor':2,'name':'t','children':[]}", "/tractor", "must be 1");
        check_one("{'tractor':'1','name':'t','children':[]}", "/tractor", "must be 1");
        check_one("{'tractor':1,'children':[]}", "", "`name` is missing");
        check_one("{'tractor':1,'name':'t'}", "", "`children` is missing");
        check_one(TREE("'children':{}"), "/children", "must be an array");
        check_one(TREE("'children':[],'exec':['x']"), "/exec", "belongs to an actor");
        check_one(TREE("'children':[],'depends':[]"), "/depends", "belongs to a child");
        check_one(TREE("'children':[],'strategy':'one_for_two'"), "/strategy",
                        "must be one of one_for_one, one_for_all, rest_for_one, one_cancels_all, "
                        "one_cancels_one, not \"one_for_two\"");
        check_one(TREE("'children':[],'strategy':null"), "/strategy", "not null");
        check_one(TREE("'children':[],'on_give_up':'panic'"), "/on_give_up", "escalate, isolate");
        check_one(TREE("'children':[],'auto_shutdown':true"), "/auto_shutdown", "not a boolean");
        check_one(TREE("'children':[],'intensity':{'max_restart':1}"), "/intensity/max_restart",
                        "did you mean `max_restarts`?");
        check_one(TREE("'children':[],'intensity':{'max_restarts':-1}"), "/intensity/max_restarts",
                        "between 0");
        check_one(TREE("'children':[],'intensity':{'within_ms':0}"), "/intensity/within_ms", "between 1");
        check_unsupported(TREE("'children':[],'debug':{}"), "/debug", "`debug` is not built yet");
        check_one(TREE("'children':[],'log_level':'infos'"), "/log_level",
                        "notice, info, debug, not \"infos\"");
        check_one(TREE("'children':[],'expose':[]"), "/expose", "belongs to an actor");
        check_one(TREE("'children':[],'labels':{'a/b~c':1}"), "/labels/a~1b~0c", "must be a string");
        check_one(TREE("'children':[],'limits':{'MemoryMaxx':1}"), "/limits/MemoryMaxx",
                        "did you mean MemoryMax");
        check_one(TREE("'children':[],'limits':{'CPUQuota':150}"), "/limits/CPUQuota", "percentage");
}

static void test_child_shape(void)
{
        check_one(CHILDREN("7"), "/children/0", "must be an object");
        check_one(CHILDREN("{'exec':['x']}"), "/children/0", "`name` is missing");
        check_one(CHILDREN("{'name':'a'}"), "/children/0", "`exec`");
        check_one(CHILDREN("{'name':'a','exec':['x'],'restart':'transient','children':[]}"),
                        "/children/0/children", "either");
        check_one(CHILDREN("{'name':'a','children':[],'nice':1}"), "/children/0/nice",
                        "belongs to an actor");
        check_one(CHILDREN("{'name':'a b','exec':['x']}"), "/children/0/name", "no name");
        check_one(CHILDREN("{'name':'','exec':['x']}"), "/children/0/name", "no name");
        check_one(CHILDREN("{'name':'a','exec':['true']},{'name':'b','exec':['true']},{'name':'a',"
                           "'exec':['true']}"),
                        "/children/2/name", "earlier sibling");
        check_child("'strategy':'one_for_one'", "/strategy", "belongs to a supervisor");
        check_child("'tractor':1", "/tractor", "top of the file only");
        check_child("'restat':'permanent'", "/restat", "did you mean `restart`?");
        check_child("'watchdog':1", "/watchdog", "did you mean `watchdog_ms`?");
        check_child("'zzz':1", "/zzz", "unknown key `zzz`");
        check_child("'\\u001b[2J':1", "/\x1b[2J", "unknown key `?[2J`");
}

static void test_child_values(void)
{
        check_one(CHILDREN("{'name':'a','exec':[]}"), "/children/0/exec", "must name a program");
        check_one(CHILDREN("{'name':'a','exec':'x'}"), "/children/0/exec", "array of strings");
        check_one(CHILDREN("{'name':'a','exec':['']}"), "/children/0/exec/0", "empty");
        check_one(CHILDREN("{'name':'a','exec':['x',7]}"), "/children/0/exec/1", "must be a string");
        check_one(CHILDREN("{'name':'a','exec':['x','a\\u0000b']}"), "/children/0/exec/1", "NUL");
        check_one(CHILDREN("{'name':'a','exec':['./x']}"), "/children/0/exec/0", "absolute `cwd`");
        check_child("'cwd':'srv'", "/cwd", "absolute");
        check_child("'env':[]", "/env", "object of strings");
        check_child("'env':{'A':1}", "/env/A", "must be a string");
        check_child("'env':{'A=B':''}", "/env/A=B", "no name of a variable");
        check_child("'env':{'':''}", "/env/", "no name of a variable");
        check_child("'env':{'TRACTOR_X':''}", "/env/TRACTOR_X", "tractor itself");
        check_child("'env_clear':1", "/env_clear", "true or false");
        check_child("'umask':18", "/umask", "octal");
        check_child("'umask':'088'", "/umask", "octal");
        check_child("'umask':'1777'", "/umask", "octal");
        check_child("'restart':'always'", "/restart", "permanent, transient, temporary");
        check_child("'start_timeout_ms':0", "/start_timeout_ms", "between 1");
        check_child("'start_timeout_ms':1.5", "/start_timeout_ms", "not a fraction");
        check_child("'grace_ms':-1", "/grace_ms", "between 0");
        check_child("'grace_ms':9223372036854775807", "/grace_ms", "between 0");
        check_child("'stop_signal':'SIGFOO'", "/stop_signal", "no signal");
        check_child("'stop_signal':0", "/stop_signal", "no signal");
        check_child("'stop_signal':[]", "/stop_signal", "name or number");
        check_child("'watchdog_ms':'5s'", "/watchdog_ms", "must be an integer");
        check_child("'channel':'pipe'", "/channel", "none, fd, stdio");
        check_child("'channel':'stdio','stdout':'null'", "/stdout", "stdout for itself");
        check_child("'stdout':'journal','channel':'stdio'", "/stdout", "stdout for itself");
        check_child("'stdout':'syslog'", "/stdout", "journal, inherit, null or file:PATH");
        check_child("'stdout':'file:'", "/stdout", "empty");
        check_child("'stderr':'file:x'", "/stderr", "absolute");
        check_child("'description':7", "/description", "must be a string");
        check_child("'depends':'b'", "/depends", "array");
        check_child("'depends':[7]", "/depends/0", "must be a string");
        check_child("'depends':['a/b']", "/depends/0", "neither");
        check_child("'depends':['/']", "/depends/0", "neither");
        check_child("'depends':['/t//x']", "/depends/0", "neither");
}

static void test_child_backoff(void)
{
        _cleanup_(tree_spec_unrefp) TreeSpec *t =
                        parse_good(CHILD("'backoff':{'initial_ms':40000,'factor':1},'restart':'temporary'"));

        CHECK_EQ(t->children[0]->node.backoff.max_usec, 40 * USEC_PER_SEC);
        check_child("'backoff':{'factor':0.5}", "/backoff/factor", "between 1 and 100");
        check_child("'backoff':{'jitter':2}", "/backoff/jitter", "between 0 and 1");
        check_child("'backoff':{'jitter':'x'}", "/backoff/jitter", "must be a number");
        check_child("'backoff':{'initial':1}", "/backoff/initial", "did you mean `initial_ms`?");
        check_child("'backoff':{'initial_ms':50,'max_ms':10}", "/backoff/max_ms", "`initial_ms`");
        check_child("'backoff':[]", "/backoff", "must be an object");
}

static void test_child_ready(void)
{
        check_child("'ready':'soon'", "/ready", "exec, exited, notify, channel, or an object");
        check_child("'ready':7", "/ready", "exec, exited, notify, channel");
        check_child("'ready':{}", "/ready", "exactly one");
        check_child("'ready':{'socket':'/a','file':'/b'}", "/ready", "exactly one");
        check_child("'ready':{'socket':'a'}", "/ready/socket", "absolute");
        check_child("'ready':{'socket':'/"
                    "012345678901234567890123456789012345678901234567890123456789012345678901234567890123456"
                    "78901234567890123456'}",
                        "/ready/socket", "at most 107 bytes");
        check_child("'ready':{'file':'/a','interval_ms':50}", "/ready/interval_ms", "belongs to `command`");
        check_child("'ready':{'command':['x'],'interval_ms':1}", "/ready/interval_ms", "between 10");
        check_child("'ready':{'command':'x'}", "/ready/command", "array of strings");
        check_child("'ready':{'command':['./x']}", "/ready/command/0", "absolute `cwd`");
        check_child_unsupported("'ready':{'log':'up'}", "/ready/log", "not built");
        check_child("'ready':'channel'", "/ready", "needs `channel`");
        check_child("'ready':'channel','channel':'stdio'", "/ready", "needs `channel`");
        check_warning(CHILD("'ready':'exited'"), "/children/0/ready", "transient");
}

static void test_child_process(void)
{
        check_child("'rlimits':{'NOFILES':1}", "/rlimits/NOFILES", "did you mean NOFILE?");
        check_child("'rlimits':{'XYZZY':1}", "/rlimits/XYZZY", "setrlimit(2)");
        check_child("'rlimits':{'NOFILE':'many'}", "/rlimits/NOFILE", "infinity");
        check_child("'rlimits':{'NOFILE':-1}", "/rlimits/NOFILE", "between 0");
        check_child("'rlimits':{'NOFILE':{'soft':1}}", "/rlimits/NOFILE", "`hard` is missing");
        check_child("'rlimits':{'NOFILE':{'soft':2,'hard':1}}", "/rlimits/NOFILE/soft", "`hard`");
        check_child("'nice':20", "/nice", "between -20 and 19");
        check_child("'oom_score_adj':-1001", "/oom_score_adj", "between -1000");
        check_child("'cpu_affinity':[]", "/cpu_affinity", "at least one");
        check_child("'cpu_affinity':[-1]", "/cpu_affinity/0", "between 0");
        check_child("'cpu_affinity':'1-0'", "/cpu_affinity", "list of CPU numbers");
        check_child("'cpu_affinity':7", "/cpu_affinity", "array of CPU numbers");
        check_child("'user':-1", "/user", "between 0");
        check_child("'user':4294967295", "/user", "between 0");
        check_child("'user':'4294967295'", "/user", "at most");
        check_child("'user':'a/b'", "/user", "neither a name");
        check_child("'group':[]", "/group", "name or a number");
        check_child("'supplementary_groups':['']", "/supplementary_groups/0", "empty");
        check_child("'capabilities':['CAP_SYS_AMDIN']", "/capabilities/0", "did you mean CAP_SYS_ADMIN?");
        check_child("'capabilities':['sys_amdin']", "/capabilities/0", "did you mean CAP_SYS_ADMIN?");
        check_child("'capabilities':'all'", "/capabilities", "array");
        check_child("'seccomp':'strict'", "/seccomp", "must be one of default");
        check_child_unsupported("'seccomp':'/etc/p.json'", "/seccomp", "not built");
        check_child_unsupported("'paths':{}", "/paths", "`paths`");
        check_child("'expose':'a'", "/expose", "array");
        check_child("'expose':['a','b c']", "/expose/1", "no name of a method");
        check_child("'expose':['a,b']", "/expose/0", "no name of a method");
        check_child("'expose':['$/methods']", "/expose/0", "no name of a method");
        check_child_unsupported("'pool':{'size':4}", "/pool", "`pool`");
        check_child_unsupported("'cgroups':'delegated'", "/cgroups", "`cgroups`");
        check_child("'log_level':7", "/log_level", "not an integer");
        check_child_unsupported("'debug':1", "/debug", "`debug`");
}

static void test_identity(void)
{
        _cleanup_(tree_spec_unrefp) TreeSpec *t = parse_good(
                        CHILDREN("{'name':'a','exec':['true'],'user':'redis'},{'name':'b','exec':['true'],"
                                 "'user':100},{'name':'c','exec':['true'],'group':100},{'name':'d',"
                                 "'exec':['true'],'supplementary_groups':[1,'adm']}"));

        CHECK(!t->children[0]->resolved);
        CHECK_STR(t->children[0]->user, "redis");
        CHECK(t->children[0]->has_groups && t->children[0]->n_gids == 0);
        CHECK(t->children[1]->resolved && t->children[1]->uid == 100 && t->children[1]->gid == 100);
        CHECK(t->children[2]->resolved && t->children[2]->gid == 100 && !t->children[2]->has_groups);
        CHECK(!t->children[3]->resolved && !t->children[3]->gids);
        CHECK_STR(t->children[3]->groups[1], "adm");
}

static void test_signals(void)
{
        CHECK_EQ(signal_from_name("TERM"), SIGTERM);
        CHECK_EQ(signal_from_name("SIGTERM"), SIGTERM);
        CHECK_EQ(signal_from_name("sigkill"), SIGKILL);
        CHECK_EQ(signal_from_name("15"), SIGTERM);
        CHECK_EQ(signal_from_name("SIGIOT"), SIGABRT);
        CHECK_EQ(signal_from_name("RTMIN+3"), SIGRTMIN + 3);
        CHECK_EQ(signal_from_name("SIGRTMAX-1"), SIGRTMAX - 1);
        CHECK_EQ(signal_from_name("SIGRTMIN"), SIGRTMIN);
        for (const char *const *bad = (const char *const[]){ "", "SIG", "0", "65", "-9", "+9", "9x", " 9",
                             "SIGFOO", "RTMIN-1", "RTMIN+99", "RTMAX+1", "RTMINX", "99999999999999999999",
                             NULL };
                        *bad; bad++)
                CHECK_EQ(signal_from_name(*bad), -EINVAL);
        for (int i = -1; i <= 70; i++) {
                const char *name = signal_to_name(i);

                if (name)
                        CHECK_EQ(signal_from_name(name), i);
                CHECK_EQ(name != NULL, (i >= 1 && i <= 31) || (i >= SIGRTMIN && i <= SIGRTMAX));
        }
        CHECK_STR(signal_to_name(9), "SIGKILL");
        CHECK_STR(signal_to_name(SIGRTMIN + 2), "SIGRTMIN+2");
}

TEST_MAIN({ "defaults", test_defaults }, { "supervisor-keys", test_supervisor_keys },
                { "actor-keys", test_actor_keys }, { "ready", test_ready }, { "cancels", test_cancels },
                { "top", test_top }, { "child-shape", test_child_shape },
                { "child-values", test_child_values }, { "child-backoff", test_child_backoff },
                { "child-ready", test_child_ready }, { "child-process", test_child_process },
                { "identity", test_identity }, { "signals", test_signals });
