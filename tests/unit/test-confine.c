/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <unistd.h>

#include "supervisor/confine.h"
#include "test.h"

static TreeSpec *parse(const char *keys)
{
        _cleanup_free_ char *text =
                        xasprintf("{\"name\":\"x\",\"exec\":[\"/bin/true\"]%s%s}", *keys ? "," : "", keys);
        ConfigProblems problems = { 0 };
        TreeSpec *spec = NULL;
        Json *v = NULL;

        CHECK_EQ(json_parse(text, strlen(text), NULL, &v, NULL), 0);
        if (config_parse_child(v, STRATEGY_ONE_FOR_ONE, &spec, &problems) < 0) {
                fprintf(stderr, "%s: %s\n", text, problems.items[0].message);
                abort();
        }
        config_problems_done(&problems);
        json_unref(v);
        return spec;
}

static TreeSpec *confined(const char *keys, const Peer *peer)
{
        ConfigProblems problems = { 0 };
        TreeSpec *spec = parse(keys);
        int r;

        r = confine_spec(spec, peer, &problems);
        if (r < 0) {
                fprintf(stderr, "%s: %s\n", keys, problems.n > 0 ? problems.items[0].message : strerror(-r));
                abort();
        }
        config_problems_done(&problems);
        return spec;
}

static void refused(const char *keys, const char *pointer, const Peer *peer)
{
        _cleanup_(tree_spec_unrefp) TreeSpec *spec = parse(keys);
        ConfigProblems problems = { 0 };

        CHECK_EQ(confine_spec(spec, peer, &problems), -EACCES);
        CHECK_EQ(problems.n, 1);
        CHECK_STR(problems.items[0].pointer, pointer);
        config_problems_done(&problems);
}

static void actor(const char *keys, Peer *ret)
{
        _cleanup_(tree_spec_unrefp) TreeSpec *spec = parse(keys);

        CHECK_EQ(peer_of_actor("/t/x", "id", spec, ret), 0);
}

static void test_who(void)
{
        Peer p = { .uid = geteuid() };

        CHECK(!peer_is_confined(&p));
        p.uid = 0;
        CHECK(!peer_is_confined(&p));
        p.uid = geteuid() + 1;
        CHECK(peer_is_confined(&p));
        actor("", &p);
        CHECK_EQ(p.uid, geteuid());
        CHECK(peer_is_confined(&p));
        peer_done(&p);
}

static void test_client(void)
{
        gid_t groups[] = { 5, 6 };
        const Peer p = { .uid = 1001, .gid = 1002, .groups = groups, .n_groups = 2 };
        TreeSpec *t;

        if (geteuid() != 0) {
                refused("", "", &p);
                return;
        }
        t = confined("", &p);
        CHECK(t->resolved && t->has_groups && t->env_clear && t->no_new_privs);
        CHECK_STR(t->user, "1001");
        CHECK_EQ(t->uid, 1001);
        CHECK_EQ(t->gid, 1002);
        CHECK_EQ(t->n_gids, 2);
        CHECK(t->gids[0] == 5 && t->gids[1] == 6);
        tree_spec_unref(t);
        t = confined("\"user\":1001,\"group\":\"6\",\"supplementary_groups\":[5]", &p);
        CHECK_EQ(t->gid, 6);
        CHECK(t->n_gids == 1 && t->gids[0] == 5);
        tree_spec_unref(t);
        /* The group of the user's own number is none of the peer's unless it has it. */
        t = confined("\"user\":1001,\"supplementary_groups\":[]", &p);
        CHECK_EQ(t->gid, 1002);
        tree_spec_unref(t);
        refused("\"group\":1001", "/group", &p);
        refused("\"user\":4294967294", "/user", &p);
        refused("\"user\":\"01002\"", "/user", &p);
        refused("\"supplementary_groups\":[5,7]", "/supplementary_groups", &p);
        refused("\"rlimits\":{\"CORE\":{\"soft\":0,\"hard\":\"infinity\"},\"NOFILE\":9000000000}",
                        "/rlimits", &p);
        tree_spec_unref(confined("\"rlimits\":{\"NOFILE\":16}", &p));
        tree_spec_unref(confined(
                        "\"nice\":5,\"oom_score_adj\":0,\"stdout\":\"null\",\"ready\":\"exec\"", &p));
}

/* One that its tree gave little has no more to give, whatever its user could do otherwise. */
static void test_actor(void)
{
        TreeSpec *t;
        Peer p;

        actor("\"capabilities\":[\"CAP_KILL\"],\"seccomp\":\"default\",\"nice\":3,\"oom_score_adj\":7,\"env_"
              "clear\":true,"
              "\"rlimits\":{\"NOFILE\":64}",
                        &p);
        t = confined("", &p);
        CHECK(t->has_caps && t->caps == UINT64_C(1) << CAP_KILL);
        CHECK_STR(t->seccomp, "default");
        CHECK(t->has_nice && t->nice == 3 && t->has_oom_score_adj && t->oom_score_adj == 7 && t->env_clear);
        CHECK(t->rlimit_mask == 1U << RLIMIT_NOFILE && t->rlimits[RLIMIT_NOFILE].rlim_max == 64);
        CHECK(!t->user);
        tree_spec_unref(t);
        t = confined("\"capabilities\":[],\"nice\":4,\"rlimits\":{\"NOFILE\":10}", &p);
        CHECK(t->has_caps && t->caps == 0 && t->nice == 4 && t->rlimits[RLIMIT_NOFILE].rlim_max == 10);
        tree_spec_unref(t);
        refused("\"capabilities\":[\"CAP_KILL\",\"CAP_CHOWN\"]", "/capabilities", &p);
        refused("\"nice\":2", "/nice", &p);
        refused("\"oom_score_adj\":6", "/oom_score_adj", &p);
        refused("\"rlimits\":{\"NOFILE\":65}", "/rlimits", &p);
        refused("\"no_new_privs\":false", "/no_new_privs", &p);
        refused("\"stdout\":\"file:/x\"", "/stdout", &p);
        refused("\"user\":\"root\"", "/user", &p);
        peer_done(&p);
        actor("", &p);
        tree_spec_unref(confined(
                        "\"stdout\":\"file:/x\",\"ready\":{\"file\":\"/x\"},\"env\":{\"A\":\"b\"}", &p));
        t = confined("", &p);
        CHECK(!t->has_caps && !t->env_clear && !t->user && !t->has_groups);
        tree_spec_unref(t);
        refused("\"user\":7", "/user", &p);
        peer_done(&p);
}

/* An actor with a user of its own is as confined as that user's client. */
static void test_actor_of_user(void)
{
        TreeSpec *t;
        Peer p;

        if (geteuid() != 0)
                return;
        actor("\"user\":1001,\"group\":5,\"supplementary_groups\":[6]", &p);
        CHECK(p.uid == 1001 && p.gid == 5 && p.n_groups == 1 && p.groups[0] == 6);
        t = confined("", &p);
        CHECK(t->uid == 1001 && t->gid == 5 && t->n_gids == 1 && t->gids[0] == 6 && !t->env_clear);
        tree_spec_unref(t);
        refused("\"capabilities\":[\"CAP_KILL\"]", "/capabilities", &p);
        refused("\"stderr\":\"file:/x\"", "/stderr", &p);
        refused("\"ready\":{\"socket\":\"/x\"}", "/ready", &p);
        refused("\"user\":0", "/user", &p);
        peer_done(&p);
        /* Of the supervisor's user, but not of its groups. */
        actor("\"group\":5,\"supplementary_groups\":[]", &p);
        t = confined("", &p);
        CHECK(t->uid == 0 && t->gid == 5 && t->n_gids == 0 && t->has_groups);
        tree_spec_unref(t);
        refused("\"group\":0", "/group", &p);
        peer_done(&p);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = {
                { "who", test_who },
                { "client", test_client },
                { "actor", test_actor },
                { "actor_of_user", test_actor_of_user },
        };

        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
