/* SPDX-License-Identifier: Apache-2.0 */
/* What a supervisor does about an end: strategies, intensity and giving up, nurseries, significant children. */
#include <errno.h>

#include "core-harness.h"

/* /t with actors a b c d of these types, all ready. */
static void setup_four(NodeSpec s, RestartType type)
{
        begin();
        add("/", "t", s);
        for (const char *n = "abcd"; *n; n++)
                add("/t", (char[]){ *n, 0 }, actor(type));
        start("/t");
        for (const char *p = "abcd"; *p; p++)
                ready((char[]){ '/', 't', '/', *p, 0 });
        CHECK_STATE("/t", "ready");
        CHECK_NOTES("spawn a, spawn b, spawn c, spawn d");
        forget();
}

static void one_for_one(void)
{
        setup_four(supervisor(STRATEGY_ONE_FOR_ONE), RESTART_PERMANENT);
        killed("/t/b");
        CHECK_NOTES("spawn b");
        CHECK_STATE("/t", "ready");
        finish();
}

/* A chain starts one after the other: the next one's turn comes when the one before is ready or over. */
static void chain_start(void)
{
        begin();
        add("/", "t", supervisor(STRATEGY_REST_FOR_ONE));
        add("/t", "a", actor(RESTART_PERMANENT));
        add("/t", "b", actor(RESTART_TEMPORARY));
        add("/t", "c", actor(RESTART_PERMANENT));
        start("/t");
        CHECK_NOTES("spawn a");
        ready("/t/a");
        CHECK_NOTES("spawn b");
        exited("/t/b", 1);
        CHECK_NOTES("spawn c");
        CHECK_STATE("/t", "starting");
        ready("/t/c");
        CHECK_STATE("/t", "ready");
        ask(EVENT_CANCEL, "/t");
        CHECK_NOTES("ask c");
        killed("/t/c");
        CHECK_NOTES("ask a");
        finish();
}

static void one_for_all(void)
{
        setup_four(supervisor(STRATEGY_ONE_FOR_ALL), RESTART_PERMANENT);
        killed("/t/b");
        CHECK_NOTES("ask d");
        CHECK_STATE("/t/b", "new");
        exited("/t/d", 0);
        CHECK_NOTES("ask c");
        CHECK_STATE("/t/d", "new");
        killed("/t/a"); /* while the others are being stopped: counts no more */
        exited("/t/c", 0);
        CHECK_NOTES("spawn a");
        ready("/t/a");
        CHECK_NOTES("spawn b");
        ready("/t/b");
        ready("/t/c");
        CHECK_NOTES("spawn c, spawn d");
        ready("/t/d");
        CHECK_STATE("/t", "ready");
        CHECK_EQ(N("/t/b")->restarts, 1);
        CHECK_EQ(N("/t/d")->restarts, 1);

        /* the second failure of b waits; the others are stopped meanwhile */
        killed("/t/b");
        CHECK_STATE("/t/b", "backoff");
        CHECK_EQ(deadline("/t/b"), now + 100 * MSEC);
        exited("/t/d", 0);
        exited("/t/c", 0);
        exited("/t/a", 0);
        CHECK_NOTES("ask d, ask c, ask a");
        CHECK(node_is_active(N("/t")));
        expire("/t/b");
        CHECK_NOTES("spawn a");
        finish();
}

static void rest_for_one(void)
{
        setup_four(supervisor(STRATEGY_REST_FOR_ONE), RESTART_PERMANENT);
        killed("/t/c");
        CHECK_NOTES("ask d");
        CHECK_STATE("/t/b", "ready");
        killed("/t/a"); /* an earlier one: the group grows, b goes last */
        CHECK_NOTES("");
        killed("/t/d");
        CHECK_NOTES("ask b");
        killed("/t/b");
        CHECK_NOTES("spawn a");
        ready("/t/a");
        ready("/t/b");
        ready("/t/c");
        ready("/t/d");
        CHECK_NOTES("spawn b, spawn c, spawn d");
        killed("/t/d");
        CHECK_STATE("/t/d", "starting"); /* nothing after it: alone, at once */
        killed("/t/d");
        CHECK_STATE("/t/d", "backoff");
        forget();
        killed("/t/a"); /* d takes part, and keeps its delay */
        killed("/t/c");
        killed("/t/b");
        CHECK_NOTES("ask c, ask b");
        CHECK_STATE("/t/a", "backoff");
        now += 50 * MSEC;
        ask(EVENT_RESTART, "/t/a"); /* by hand: one of the two delays is over */
        CHECK_STATE("/t/a", "new");
        expire("/t/d");
        CHECK_NOTES("spawn a");
        finish();
}

/* Who comes back with the group and who doesn't. */
static void group_members(void)
{
        NodeSpec job = actor(RESTART_TRANSIENT);

        job.ready_exited = true;
        begin();
        add("/", "t", supervisor(STRATEGY_ONE_FOR_ALL));
        add("/t", "job", job);
        add("/t", "once", actor(RESTART_TEMPORARY));
        add("/t", "gone", actor(RESTART_TEMPORARY));
        add("/t", "broken", actor(RESTART_TEMPORARY));
        add("/t", "off", actor(RESTART_PERMANENT));
        add("/t", "main", actor(RESTART_PERMANENT));
        add("/t", "late", actor(RESTART_PERMANENT));
        start("/t");
        exited("/t/job", 0);
        ready("/t/once");
        exited("/t/gone", 0);
        exited("/t/broken", 1);
        ready("/t/off");
        ask(EVENT_CANCEL, "/t/off");
        killed("/t/off");
        CHECK_STATE("/t/late", "new");
        forget();
        killed("/t/main");
        CHECK_NOTES("ask once");
        CHECK_STATE("/t/job", "new");
        killed("/t/once");
        CHECK_NOTES("spawn job");
        exited("/t/job", 0);
        ready("/t/main");
        CHECK_NOTES("spawn main, spawn late");
        CHECK_STATE("/t/once", "dead");
        CHECK_STATE("/t/gone", "dead");
        CHECK_STATE("/t/broken", "failed");
        CHECK_STATE("/t/off", "dead");
        finish();
}

/* Requests that meet a group restart half-way. */
static void group_interrupted(void)
{
        setup_four(supervisor(STRATEGY_ONE_FOR_ALL), RESTART_PERMANENT);
        killed("/t/b");
        killed("/t/d");
        ask(EVENT_CANCEL, "/t/d"); /* was waiting to be started with the others */
        CHECK_STATE("/t/d", "dead");
        ask(EVENT_CANCEL, "/t/a"); /* is still to be stopped */
        killed("/t/c");
        CHECK_NOTES("ask d, ask c, ask a");
        killed("/t/a");
        CHECK_STATE("/t/a", "dead");
        CHECK_NOTES("spawn b");
        ready("/t/b");
        CHECK_NOTES("spawn c");
        start("/t/a");
        CHECK_NOTES("spawn a");
        ready("/t/a");
        killed("/t/c");
        CHECK_STATE("/t/c", "new");
        ask(EVENT_CANCEL, "/t"); /* all of it */
        CHECK_NOTES("ask b");
        killed("/t/b");
        killed("/t/a");
        CHECK_STATE("/t", "dead");
        CHECK_STATE("/t/c", "dead");
        finish();

        setup_four(supervisor(STRATEGY_ONE_FOR_ALL), RESTART_PERMANENT);
        killed("/t/d");
        killed("/t/c");
        killed("/t/b");
        ask(EVENT_REMOVE, "/t/b"); /* a member that waits */
        ask(EVENT_REMOVE, "/t/a"); /* the last one to be stopped */
        killed("/t/a");
        CHECK_NOTES("ask c, ask b, ask a, removed b, removed a, spawn c");
        finish();
}

static void intensity(void)
{
        NodeSpec s = supervisor(STRATEGY_ONE_FOR_ONE);

        s.intensity = (Intensity){ 3, 5 * SEC };
        begin();
        add("/", "t", s);
        add("/t", "other", actor(RESTART_PERMANENT));
        add("/t", "a", actor(RESTART_PERMANENT));
        start("/t");
        ready("/t/other");
        forget();
        for (int i = 0; i < 3; i++) {
                ended("/t/a", CAUSE_SPAWN, 0, false);
                if (i > 0)
                        expire("/t/a");
        }
        CHECK_NOTES("spawn a, spawn a, spawn a"); /* with the first: four attempts */
        ended("/t/a", CAUSE_SPAWN, 0, false);
        CHECK_NOTES("give-up t about a, ask other");
        CHECK_STATE("/t", "stopping");
        CHECK_STATE("/t/a", "failed");
        killed("/t/other");
        CHECK_STATE("/t", "failed");
        CHECK_CAUSE("/t", "spawn");
        CHECK_STATE("/t/other", "dead");
        CHECK(node_has_failed(core_root(core)));

        start("/t"); /* by hand: everything anew, the window too */
        CHECK_NOTES("spawn other, spawn a");
        ended("/t/a", CAUSE_SPAWN, 0, false);
        CHECK_STATE("/t/a", "starting");
        CHECK_EQ(N("/t/a")->restarts, 4);
        finish();
}

static void intensity_window(void)
{
        NodeSpec s = supervisor(STRATEGY_ONE_FOR_ONE), a = actor(RESTART_PERMANENT);

        s.intensity = (Intensity){ 2, 5 * SEC };
        a.backoff.reset_after_usec = 0; /* no delays */
        begin();
        add("/", "t", s);
        add("/t", "a", a);
        start("/t");
        for (int i = 0; i < 20; i++) {
                now += i % 2 ? 3 * SEC
                             : 2 * SEC + 1; /* the third restart is just past the window, each time */
                exited("/t/a", 0);
                CHECK_STATE("/t/a", "starting");
        }
        now += SEC;
        exited("/t/a", 0); /* a normal end of a permanent child counts as well */
        CHECK_STATE("/t", "failed");
        finish();

        s.intensity.max_restarts = 0;
        begin();
        add("/", "t", s);
        add("/t", "a", a);
        start("/t");
        killed("/t/a");
        CHECK_NOTES("spawn a, give-up t about a");
        CHECK_STATE("/t", "failed");
        finish();
}

static void isolate(void)
{
        NodeSpec s = supervisor(STRATEGY_ONE_FOR_ONE);

        s.on_give_up = GIVE_UP_ISOLATE;
        s.intensity = (Intensity){ 1, 5 * SEC };
        setup_four(s, RESTART_PERMANENT);
        killed("/t/a");
        killed("/t/b"); /* the window is each child's own */
        killed("/t/a");
        CHECK_NOTES("spawn a, spawn b, give-up t about a");
        CHECK_STATE("/t/a", "failed");
        CHECK_STATE("/t", "ready");
        start("/t/a");
        CHECK_NOTES("spawn a");
        killed("/t/a"); /* and begins anew by hand */
        CHECK_NOTES("spawn a");
        finish();

        s.strategy = STRATEGY_ONE_FOR_ALL;
        setup_four(s, RESTART_PERMANENT);
        killed("/t/a");
        for (const char *p = "dcb"; *p; p++)
                killed((char[]){ '/', 't', '/', *p, 0 });
        forget();
        killed("/t/a");
        CHECK_NOTES("give-up t about a, spawn b");
        CHECK_STATE("/t/a", "failed");
        finish();
}

/* A branch that gives up is a failed child of its parent, and started anew with all its children. */
static void escalate(void)
{
        NodeSpec s = supervisor(STRATEGY_ONE_FOR_ONE);

        s.intensity = (Intensity){ 1, 60 * SEC };
        begin();
        add("/", "t", s);
        add("/t", "sub", s);
        add("/t/sub", "a", actor(RESTART_PERMANENT));
        add("/t/sub", "b", actor(RESTART_PERMANENT));
        add("/t/sub", "off", actor(RESTART_PERMANENT));
        add("/t", "c", actor(RESTART_PERMANENT));
        start("/t");
        ask(EVENT_CANCEL, "/t/sub/off");
        killed("/t/sub/off");
        now += SEC;
        killed("/t/sub/a");
        forget();
        killed("/t/sub/a");
        CHECK_NOTES("give-up sub about a, ask b");
        changes[0] = 0;
        killed("/t/sub/b");
        CHECK_CHANGES("b stopping>dead, a failed>new, b dead>new, off dead>new, sub stopping>starting, "
                      "a new>starting, b new>starting, off new>starting");
        CHECK_NOTES("spawn a, spawn b, spawn off");
        CHECK_EQ(N("/t/sub")->restarts, 1);
        CHECK_STATE("/t/c", "starting");
        /* twice more: its own window is clear, the parent's is not */
        killed("/t/sub/a");
        killed("/t/sub/a");
        killed("/t/sub/b");
        forget();
        killed("/t/sub/off");
        CHECK_NOTES("give-up t about sub, ask c");
        CHECK_STATE("/t/sub", "failed");
        killed("/t/c");
        CHECK_STATE("/t", "failed");
        CHECK_NOTES(""); /* a tree fails alone: the root starts nothing */
        finish();
}

/* The second time in a row, a branch waits by the default backoff. */
static void escalate_backoff(void)
{
        NodeSpec s = supervisor(STRATEGY_ONE_FOR_ONE), sub = s;

        sub.intensity = (Intensity){ 0, SEC };
        begin();
        add("/", "t", s);
        add("/t", "sub", sub);
        add("/t/sub", "a", actor(RESTART_PERMANENT));
        start("/t");
        now += SEC;
        killed("/t/sub/a");
        CHECK_NOTES("spawn a, give-up sub about a, spawn a");
        now += SEC;
        killed("/t/sub/a");
        CHECK_STATE("/t/sub", "backoff");
        CHECK_STATE("/t/sub/a", "failed");
        CHECK(deadline("/t/sub") >= now + 90 * MSEC && deadline("/t/sub") <= now + 110 * MSEC);
        CHECK(node_is_active(N("/t")));
        forget();
        expire("/t/sub");
        CHECK_NOTES("spawn a");
        ask(EVENT_CANCEL, "/t/sub"); /* in the middle of it all */
        killed("/t/sub/a");
        CHECK_STATE("/t/sub", "dead");
        CHECK(!node_is_active(N("/t")));
        finish();
}

static void supervisor_in_a_group(void)
{
        NodeSpec s = supervisor(STRATEGY_ONE_FOR_ONE);

        begin();
        add("/", "t", supervisor(STRATEGY_REST_FOR_ONE));
        add("/t", "a", actor(RESTART_PERMANENT));
        add("/t", "sub", s);
        add("/t/sub", "x", actor(RESTART_PERMANENT));
        add("/t/sub", "y", actor(RESTART_TEMPORARY));
        add("/t", "z", actor(RESTART_PERMANENT));
        start("/t");
        CHECK_NOTES("spawn a");
        ready("/t/a");
        CHECK_NOTES("spawn x, spawn y");
        ready("/t/sub/x");
        ready("/t/sub/y");
        CHECK_NOTES("spawn z");
        CHECK_STATE("/t/sub", "ready");
        killed("/t/a");
        CHECK_NOTES("ask z");
        killed("/t/z");
        CHECK_NOTES("ask y, ask x");
        CHECK_STATE("/t/sub", "stopping");
        killed("/t/sub/x");
        killed("/t/sub/y");
        CHECK_NOTES("spawn a");
        CHECK_STATE("/t/sub", "new");
        ready("/t/a");
        CHECK_NOTES("spawn x, spawn y"); /* anew, with its temporary child */
        finish();
}

static void one_cancels_all(void)
{
        setup_four(supervisor(STRATEGY_ONE_CANCELS_ALL), RESTART_TEMPORARY);
        ask(EVENT_CANCEL, "/t/d"); /* no failure */
        killed("/t/d");
        exited("/t/b", 0);
        CHECK_NOTES("ask d");
        exited("/t/a", 4);
        CHECK_NOTES("ask c");
        CHECK_STATE("/t", "stopping");
        exited("/t/c", 5); /* was asked to, so not a second failure */
        CHECK_STATE("/t/c", "dead");
        CHECK_STATE("/t/a", "failed");
        CHECK_STATE("/t", "failed");
        CHECK_EQ(N("/t")->exit.code, 4);
        finish();

        setup_four(supervisor(STRATEGY_ONE_CANCELS_ALL), RESTART_PERMANENT);
        for (const char *p = "abcd"; *p; p++) {
                CHECK_STATE("/t", "ready");
                exited((char[]){ '/', 't', '/', *p, 0 }, 0);
        }
        CHECK_STATE("/t", "dead");
        CHECK_EQ(N("/t")->exit.code, 0);
        CHECK_CAUSE("/t", "exit");
        finish();
}

static void one_cancels_one(void)
{
        setup_four(supervisor(STRATEGY_ONE_CANCELS_ONE), RESTART_PERMANENT);
        exited("/t/b", 3);
        exited("/t/a", 0);
        exited("/t/d", 0);
        CHECK_STATE("/t", "ready");
        CHECK_STATE("/t/b", "failed");
        ask(EVENT_CANCEL, "/t/c");
        killed("/t/c");
        CHECK_STATE("/t", "failed");
        CHECK_EQ(N("/t")->exit.code, 3);
        finish();

        begin(); /* empty: waits for children, and for those that are added later */
        add("/", "t", supervisor(STRATEGY_ONE_CANCELS_ONE));
        start("/t");
        CHECK_STATE("/t", "ready");
        add("/t", "a", actor(RESTART_TEMPORARY));
        CHECK_STATE("/t", "ready");
        start("/t/a");
        exited("/t/a", 0);
        CHECK_STATE("/t", "dead");
        finish();
}

/* A nursery below a supervisor: its failure is restarted, its good end isn't. */
static void nursery_as_child(void)
{
        begin();
        add("/", "t", supervisor(STRATEGY_ONE_FOR_ONE));
        add("/t", "n", supervisor(STRATEGY_ONE_CANCELS_ALL));
        add("/t/n", "a", actor(RESTART_TEMPORARY));
        start("/t");
        now += SEC;
        exited("/t/n/a", 1);
        CHECK_NOTES("spawn a, spawn a");
        CHECK_STATE("/t/n", "starting");
        exited("/t/n/a", 0);
        CHECK_STATE("/t/n", "dead");
        CHECK_STATE("/t", "ready");
        finish();
}

static void auto_shutdown(void)
{
        static const struct {
                AutoShutdown when;
                int codes[2]; /* of a and b; -1: cancelled by request */
                const char *states[2];
        } table[] = {
                { AUTO_SHUTDOWN_NEVER, { 0, 0 }, { "ready", "ready" } },
                { AUTO_SHUTDOWN_ANY_SIGNIFICANT, { 0, 0 }, { "stopping", "dead" } },
                { AUTO_SHUTDOWN_ANY_SIGNIFICANT, { 1, 0 }, { "stopping", "failed" } },
                { AUTO_SHUTDOWN_ANY_SIGNIFICANT, { -1, 0 }, { "ready", "stopping" } },
                { AUTO_SHUTDOWN_ALL_SIGNIFICANT, { 0, 0 }, { "ready", "stopping" } },
                { AUTO_SHUTDOWN_ALL_SIGNIFICANT, { 0, 1 }, { "ready", "stopping" } },
                { AUTO_SHUTDOWN_ALL_SIGNIFICANT, { 0, -1 }, { "ready", "ready" } },
                { AUTO_SHUTDOWN_ALL_SIGNIFICANT, { -1, 0 }, { "ready", "stopping" } },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                NodeSpec s = supervisor(STRATEGY_ONE_FOR_ONE), a = actor(RESTART_TEMPORARY);

                s.auto_shutdown = table[i].when;
                begin();
                add("/", "t", s);
                add("/t", "other", a);
                a.significant = true;
                add("/t", "a", a);
                add("/t", "b", a);
                start("/t");
                ready("/t/other");
                ready("/t/a");
                ready("/t/b");
                for (size_t k = 0; k < 2; k++) {
                        const char *path = k ? "/t/b" : "/t/a";

                        if (table[i].codes[k] < 0)
                                ask(EVENT_CANCEL, path);
                        exited(path, MAX(table[i].codes[k], 0));
                        if (k == 1 && !streq(table[i].states[0], "ready"))
                                killed("/t/other");
                        CHECK_STATE("/t", table[i].states[k]);
                }
                if (streq(table[i].states[1], "stopping")) {
                        killed("/t/other");
                        CHECK_STATE("/t", table[i].codes[1] > 0 ? "failed" : "dead");
                }
                finish();
        }
}

/* A branch with no way to start must not be tried for ever within one step, however deep it lies. */
static void hopeless_branches(void)
{
        NodeSpec s = supervisor(STRATEGY_ONE_FOR_ONE), a = actor(RESTART_TEMPORARY);
        char *on_gone[] = { (char *) "/gone", NULL };
        char path[128] = "/";

        s.intensity = (Intensity){ 1, SEC };
        begin();
        add("/", "gone", actor(RESTART_TEMPORARY));
        for (int i = 0; i < 30; i++) {
                add(path, "s", s);
                strcat(path, i ? "/s" : "s");
        }
        s.strategy = STRATEGY_ONE_CANCELS_ALL;
        add(path, "n", s);
        strcat(path, "/n");
        a.depends = on_gone;
        add(path, "a", a);
        start("/gone");
        exited("/gone", 1);
        start("/s");
        CHECK_STATE(path, "backoff");
        CHECK_STATE("/s", "starting");
        forget();
        for (int i = 0; i < 200 && N("/s")->state != NODE_FAILED; i++) {
                size_t next = 0;

                for (size_t k = 0; k < n_deadlines; k++)
                        if (deadlines[k].at < deadlines[next].at)
                                next = k;
                expire(deadlines[next].node->path);
                forget();
        }
        CHECK(node_is_active(N("/s")));
        finish();
}

TEST_MAIN({ "one-for-one", one_for_one }, { "chain-start", chain_start }, { "one-for-all", one_for_all },
                { "rest-for-one", rest_for_one }, { "group-members", group_members },
                { "group-interrupted", group_interrupted }, { "intensity", intensity },
                { "intensity-window", intensity_window }, { "isolate", isolate }, { "escalate", escalate },
                { "escalate-backoff", escalate_backoff }, { "supervisor-in-a-group", supervisor_in_a_group },
                { "one-cancels-all", one_cancels_all }, { "one-cancels-one", one_cancels_one },
                { "nursery-as-child", nursery_as_child }, { "auto-shutdown", auto_shutdown },
                { "hopeless-branches", hopeless_branches });
