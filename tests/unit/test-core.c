/* SPDX-License-Identifier: Apache-2.0 */
/* One actor's life in the core, the ladder, deadlines, the tree and requests by hand, told as stories. What strategies
 * do with an end is in test-core-strategy.c, dependencies are in test-core-depend.c. */
#include <errno.h>

#include "core-harness.h"

static void names(void)
{
        for (int i = 0; i < _STRATEGY_MAX; i++)
                CHECK_EQ(strategy_from_string(strategy_to_string(i)), i);
        for (int i = 0; i < _RESTART_MAX; i++)
                CHECK_EQ(restart_type_from_string(restart_type_to_string(i)), i);
        for (int i = 0; i < _GIVE_UP_MAX; i++)
                CHECK_EQ(give_up_from_string(give_up_to_string(i)), i);
        for (int i = 0; i < _AUTO_SHUTDOWN_MAX; i++)
                CHECK_EQ(auto_shutdown_from_string(auto_shutdown_to_string(i)), i);
        for (int i = 0; i < _NODE_STATE_MAX; i++)
                CHECK(node_state_to_string(i));
        CHECK_STR(exit_cause_to_string(CAUSE_START_TIMEOUT), "start-timeout");
        CHECK(!exit_cause_to_string(_CAUSE_MAX));
        CHECK(!exit_cause_to_string(_CAUSE_INVALID));
        CHECK_EQ(strategy_from_string("one_for_none"), _STRATEGY_INVALID);
        CHECK_EQ(strategy_from_string(NULL), _STRATEGY_INVALID);
}

static void tree_and_its_bounds(void)
{
        char path[NODE_DEPTH_MAX * 2 + 2] = "/";
        NodeSpec s = supervisor(STRATEGY_ONE_FOR_ONE), a = actor(RESTART_PERMANENT);

        begin();
        add("/", "t", s);
        add("/t", "a", a);
        s.name = "t";
        CHECK_EQ(core_add(core, core_root(core), &s, NULL, NULL), -EEXIST);
        s.name = "no/slash";
        CHECK_EQ(core_add(core, core_root(core), &s, NULL, NULL), -EINVAL);
        s.name = "below";
        CHECK_EQ(core_add(core, N("/t/a"), &s, NULL, NULL), -ESHUTDOWN);
        CHECK_STR(N("/t/a")->path, "/t/a");
        CHECK(!core_find(core, "/t/b"));
        core_discard(core, N("/t"));
        CHECK(!core_find(core, "/t/a") && !core_find(core, "/t"));
        for (int depth = 0; depth < NODE_DEPTH_MAX; depth++) {
                add(path, "s", s);
                strcat(path, depth ? "/s" : "s");
        }
        CHECK_EQ(core_add(core, N(path), &s, NULL, NULL), -ENAMETOOLONG);
        start("/s");
        CHECK_STATE(path, "ready");
        CHECK_STATE("/s", "ready");
        finish();
}

static void life_of_an_actor(void)
{
        begin();
        add("/", "t", supervisor(STRATEGY_ONE_FOR_ONE));
        add("/t", "a", actor(RESTART_PERMANENT));
        start("/t");
        CHECK_NOTES("spawn a");
        CHECK_CHANGES("t new>starting, a new>starting");
        CHECK_EQ(deadline("/t/a"), now + 10 * SEC);
        CHECK_EQ(N("/t/a")->generation, 1);
        CHECK(N("/t/a")->alive && node_is_active(N("/t")));
        now += SEC;
        ready("/t/a");
        CHECK_CHANGES("a starting>ready, t starting>ready");
        CHECK_EQ(deadline("/t/a"), USEC_INFINITY);
        CHECK_EQ(N("/t/a")->since_usec, now);
        now += SEC;
        killed("/t/a"); /* the first restart is at once */
        CHECK_NOTES("spawn a");
        CHECK_CHANGES("a ready>starting");
        CHECK_EQ(N("/t/a")->generation, 2);
        CHECK_EQ(N("/t/a")->restarts, 1);
        CHECK_CAUSE("/t/a", "signal");
        CHECK_EQ(N("/t/a")->exit.runtime_usec, 2 * SEC);
        ready("/t/a");
        ask(EVENT_CANCEL, "/t/a");
        CHECK_NOTES("ask a");
        exited("/t/a", 0);
        CHECK_STATE("/t/a", "dead");
        CHECK_STATE("/t", "ready");
        CHECK_CAUSE("/t/a", "stop");
        CHECK(!node_is_active(N("/t")) && !node_has_failed(N("/t")));
        exited("/t/a", 3); /* nobody waits for this */
        ready("/t/a");
        ask(EVENT_EMPTY, "/t/a");
        CHECK_NOTES("");
        CHECK_STATE("/t/a", "dead");
        finish();
}

static void restart_types(void)
{
        static const struct {
                RestartType type;
                bool ready_exited;
                int code;
                const char *state;
        } table[] = {
                { RESTART_PERMANENT, false, 0, "starting" },
                { RESTART_PERMANENT, false, 1, "starting" },
                { RESTART_TRANSIENT, false, 0, "dead" },
                { RESTART_TRANSIENT, false, 1, "starting" },
                { RESTART_TEMPORARY, false, 0, "dead" },
                { RESTART_TEMPORARY, false, 1, "failed" },
                { RESTART_PERMANENT, true, 0, "dead" },
                { RESTART_TRANSIENT, true, 0, "dead" },
                { RESTART_TRANSIENT, true, 1, "starting" },
                { RESTART_TEMPORARY, true, 1, "failed" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                NodeSpec a = actor(table[i].type);

                a.ready_exited = table[i].ready_exited;
                begin();
                add("/", "t", supervisor(STRATEGY_ONE_FOR_ONE));
                add("/t", "a", a);
                start("/t");
                ready("/t/a");
                CHECK_STATE("/t/a", table[i].ready_exited ? "starting" : "ready");
                exited("/t/a", table[i].code);
                CHECK_STATE("/t/a", table[i].state);
                CHECK_STATE("/t", table[i].ready_exited && streq(table[i].state, "starting") ? "starting"
                                                                                             : "ready");
                CHECK_EQ(node_has_failed(N("/t")), streq(table[i].state, "failed"));
                finish();
        }
}

static void setup_one(NodeSpec a)
{
        begin();
        add("/", "t", supervisor(STRATEGY_ONE_FOR_ONE));
        add("/t", "a", a);
        start("/t");
        ready("/t/a");
        forget();
}

static void ladder(void)
{
        NodeSpec a = actor(RESTART_PERMANENT);
        uint64_t asked;

        setup_one(a);
        asked = now;
        ask(EVENT_CANCEL, "/t/a");
        CHECK_EQ(deadline("/t/a"), asked + 3 * SEC);
        expire("/t/a");
        CHECK_EQ(deadline("/t/a"), asked + 4500 * MSEC);
        expire("/t/a");
        CHECK_EQ(deadline("/t/a"), asked + 9500 * MSEC);
        expire("/t/a");
        CHECK_NOTES("ask a, term a, kill a, kill a");
        killed("/t/a");
        CHECK_STATE("/t/a", "dead");
        CHECK_CAUSE("/t/a", "stop");
        CHECK_EQ(N("/t/a")->exit.signal, 9);
        CHECK_EQ(deadline("/t/a"), USEC_INFINITY);
        finish();

        a.stop_is_term = true;
        setup_one(a);
        ask(EVENT_CANCEL, "/t/a");
        expire("/t/a");
        CHECK_NOTES("ask a, kill a");
        finish();
}

static void ladder_gets_shorter_only(void)
{
        Event e;

        setup_one(actor(RESTART_PERMANENT));
        e = (Event){ .type = EVENT_CANCEL, .node = N("/t/a"), .grace_usec = USEC_INFINITY };
        step(e);
        e.grace_usec = 60 * SEC;
        step(e);
        CHECK_EQ(deadline("/t/a"), now + 3 * SEC);
        e.grace_usec = SEC;
        step(e);
        CHECK_EQ(deadline("/t/a"), now + SEC);
        e.fast = true;
        step(e);
        CHECK_EQ(deadline("/t/a"), now + 300 * MSEC);
        expire("/t/a");
        CHECK_EQ(deadline("/t/a"), now + 300 * MSEC);
        CHECK_NOTES("ask a, term a");
        ask(EVENT_EMPTY, "/t/a"); /* the main process is not gone */
        CHECK_STATE("/t/a", "stopping");
        killed("/t/a");
        start("/t/a"); /* the next life isn't in a hurry */
        ask(EVENT_CANCEL, "/t/a");
        CHECK_EQ(deadline("/t/a"), now + 3 * SEC);
        finish();

        setup_one(actor(RESTART_PERMANENT));
        step((Event){ .type = EVENT_CANCEL, .node = N("/t"), .grace_usec = 0 });
        CHECK_EQ(deadline("/t/a"), now);
        expire("/t/a");
        CHECK_NOTES("ask a, term a");
        finish();
}

/* The main process is gone, its children aren't. */
static void leftovers(void)
{
        setup_one(actor(RESTART_PERMANENT));
        ended("/t/a", CAUSE_SIGNAL, 11, true);
        CHECK_STATE("/t/a", "stopping");
        CHECK_EQ(deadline("/t/a"), now + 1500 * MSEC);
        exited("/t/a", 1); /* said once already */
        expire("/t/a");
        CHECK_NOTES("term a, kill a");
        ask(EVENT_EMPTY, "/t/a");
        CHECK_NOTES("spawn a");
        CHECK_CAUSE("/t/a", "signal");
        ask(EVENT_EMPTY, "/t/a"); /* not for this generation */
        CHECK_STATE("/t/a", "starting");

        /* in the middle of being asked: the rest gets SIGTERM without waiting for the grace to pass */
        ready("/t/a");
        ask(EVENT_CANCEL, "/t/a");
        now += SEC;
        ended("/t/a", CAUSE_EXIT, 0, true);
        CHECK_NOTES("ask a, term a");
        CHECK_EQ(deadline("/t/a"), now + 1500 * MSEC);
        ask(EVENT_EMPTY, "/t/a");
        CHECK_STATE("/t/a", "dead");

        /* a cancel during the clean-up after an own end: the end keeps its cause, but isn't followed by a start */
        start("/t/a");
        ended("/t/a", CAUSE_SIGNAL, 11, true);
        ask(EVENT_CANCEL, "/t/a");
        ask(EVENT_EMPTY, "/t/a");
        CHECK_NOTES("spawn a, term a");
        CHECK_STATE("/t/a", "dead");
        CHECK_CAUSE("/t/a", "signal");
        finish();
}

static void causes(void)
{
        static const struct {
                ExitCause seen;
                bool watchdog, stop;
                ExitCause expected;
        } table[] = {
                { CAUSE_SIGNAL, false, false, CAUSE_SIGNAL },
                { CAUSE_OOM, false, false, CAUSE_OOM },
                { CAUSE_SIGNAL, true, false, CAUSE_WATCHDOG },
                { CAUSE_OOM, true, false, CAUSE_OOM },
                { CAUSE_OOM, false, true, CAUSE_STOP },
                { CAUSE_SIGNAL, true, true, CAUSE_STOP },
                { CAUSE_SPAWN, false, true, CAUSE_STOP },
                { CAUSE_NONE, false, false, CAUSE_UNKNOWN },
        };
        NodeSpec a = actor(RESTART_TEMPORARY);

        a.watchdog_usec = SEC;
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                setup_one(a);
                if (table[i].watchdog)
                        expire("/t/a");
                if (table[i].stop)
                        ask(EVENT_CANCEL, "/t/a");
                ended("/t/a", table[i].seen, 9, false);
                CHECK_EQ(N("/t/a")->exit.cause, table[i].expected);
                CHECK_STATE("/t/a", table[i].expected == CAUSE_STOP ? "dead" : "failed");
                finish();
        }

        /* a stop from outside that the shell learns of by the end itself: not a crash */
        setup_one(actor(RESTART_PERMANENT));
        ended("/t/a", CAUSE_STOP, 15, false);
        CHECK_STATE("/t/a", "dead");
        finish();
}

static void start_timeout(void)
{
        begin();
        add("/", "t", supervisor(STRATEGY_ONE_FOR_ONE));
        add("/t", "a", actor(RESTART_TRANSIENT));
        start("/t");
        now += SEC;
        ask(EVENT_TIMEOUT, "/t/a"); /* too early: ignored, and the timer asked for again */
        CHECK_STATE("/t/a", "starting");
        expire("/t/a");
        ready("/t/a");
        CHECK_STATE("/t/a", "stopping");
        expire("/t/a");
        CHECK_NOTES("spawn a, term a, kill a");
        killed("/t/a");
        CHECK_CAUSE("/t/a", "start-timeout");
        CHECK_NOTES("spawn a");
        CHECK_STATE("/t", "starting");
        finish();
}

static void watchdog_and_freezing(void)
{
        NodeSpec a = actor(RESTART_PERMANENT);

        a.watchdog_usec = 5 * SEC;
        setup_one(a);
        now += 2 * SEC;
        ask(EVENT_WATCHDOG, "/t/a");
        CHECK_EQ(deadline("/t/a"), now + 5 * SEC);
        now += SEC;
        ask(EVENT_FREEZE, "/t"); /* of a whole branch */
        CHECK(N("/t/a")->frozen && !N("/t")->frozen);
        CHECK_EQ(deadline("/t/a"), USEC_INFINITY);
        now += 100 * SEC;
        ask(EVENT_THAW, "/t/a");
        CHECK(!N("/t/a")->frozen);
        CHECK_EQ(deadline("/t/a"), now + 4 * SEC);
        expire("/t/a");
        CHECK_NOTES("kill a");
        killed("/t/a");
        CHECK_CAUSE("/t/a", "watchdog");
        CHECK_NOTES("spawn a");
        ask(EVENT_FREEZE, "/t/a"); /* while starting */
        CHECK_EQ(deadline("/t/a"), USEC_INFINITY);
        ready("/t/a");
        CHECK_EQ(deadline("/t/a"), USEC_INFINITY);
        ask(EVENT_CANCEL, "/t/a");
        CHECK_NOTES("thaw a, ask a");
        CHECK(!N("/t/a")->frozen);
        finish();
}

static void backoff_delays(void)
{
        static const uint64_t delays[] = { 0, 100, 300, 900, 1000, 1000 };
        NodeSpec s = supervisor(STRATEGY_ONE_FOR_ONE), a = actor(RESTART_PERMANENT);

        s.intensity.max_restarts = 1000;
        a.backoff = (Backoff){ 100 * MSEC, 1000 * MSEC, 60 * SEC, 3.0, 0.0 };
        begin();
        add("/", "t", s);
        add("/t", "a", a);
        start("/t");
        for (size_t i = 0; i < ELEMENTSOF(delays); i++) {
                ended("/t/a", CAUSE_SPAWN, 0, false);
                CHECK_STATE("/t/a", delays[i] ? "backoff" : "starting");
                if (delays[i] == 0)
                        continue;
                CHECK_EQ(deadline("/t/a"), now + delays[i] * MSEC);
                CHECK(node_is_active(N("/t")));
                expire("/t/a");
                CHECK_STATE("/t/a", "starting");
        }
        ready("/t/a");
        now += 60 * SEC; /* a stable life begins the count anew */
        killed("/t/a");
        CHECK_STATE("/t/a", "starting");
        now += 60 * SEC - 1;
        killed("/t/a");
        CHECK_STATE("/t/a", "backoff");
        ask(EVENT_RESTART, "/t/a"); /* by hand: no use in waiting */
        CHECK_STATE("/t/a", "starting");
        finish();
}

static void backoff_jitter(void)
{
        NodeSpec s = supervisor(STRATEGY_ONE_FOR_ONE), a = actor(RESTART_PERMANENT);
        uint64_t least = USEC_INFINITY, most = 0;

        s.intensity.max_restarts = 1000;
        a.backoff = (Backoff){ 1000, 1000, 60 * SEC, 2.0, 0.1 };
        begin();
        add("/", "t", s);
        add("/t", "a", a);
        start("/t");
        killed("/t/a");
        for (int i = 0; i < 500; i++) {
                killed("/t/a");
                least = MIN(least, deadline("/t/a") - now);
                most = MAX(most, deadline("/t/a") - now);
                expire("/t/a");
                forget();
        }
        CHECK(least >= 900 && least < 910);
        CHECK(most <= 1100 && most > 1090);
        finish();
}

static void removal(void)
{
        NodeSpec s = supervisor(STRATEGY_ONE_FOR_ONE);

        begin();
        add("/", "t", s);
        add("/t", "a", actor(RESTART_PERMANENT));
        add("/t", "sub", s);
        add("/t/sub", "x", actor(RESTART_PERMANENT));
        start("/t");
        ask(EVENT_REMOVE, "/t");
        s.name = "late";
        CHECK_EQ(core_add(core, N("/t"), &s, NULL, NULL), -ESHUTDOWN);
        CHECK_EQ(core_add(core, N("/t/sub"), &s, NULL, NULL), -ESHUTDOWN);
        ask(EVENT_START, "/t/a");
        ask(EVENT_RESTART, "/t");
        killed("/t/sub/x");
        killed("/t/a");
        CHECK_NOTES("spawn a, spawn x, ask a, ask x, removed x, removed sub, removed a, removed t");
        CHECK(!core_find(core, "/t"));
        add("/", "t", s); /* the name is free again */
        ask(EVENT_REMOVE, "/t");
        CHECK_NOTES("removed t"); /* never started */
        finish();
}

static void by_hand(void)
{
        begin();
        add("/", "t", supervisor(STRATEGY_ONE_FOR_ONE));
        add("/t", "a", actor(RESTART_PERMANENT));
        add("/t", "b", actor(RESTART_PERMANENT));
        ask(EVENT_START, "/t/a"); /* below what isn't running */
        CHECK_NOTES("");
        start("/t");
        forget();
        ask(EVENT_START, "/t/a"); /* runs already */
        ask(EVENT_RESTART, "/t/a");
        killed("/t/a");
        CHECK_NOTES("ask a, spawn a");
        CHECK_EQ(N("/t/a")->restarts, 0);
        CHECK_CAUSE("/t/a", "stop");
        ask(EVENT_CANCEL, "/t/a");
        killed("/t/a");
        ask(EVENT_RESTART, "/t/a");
        CHECK_NOTES("ask a, spawn a");
        ask(EVENT_CANCEL, "/t/a");
        ask(EVENT_RESTART, "/t/a"); /* the last word counts */
        killed("/t/a");
        CHECK_NOTES("ask a, spawn a");
        ask(EVENT_RESTART, "/t/a");
        ask(EVENT_CANCEL, "/t/a");
        killed("/t/a");
        CHECK_NOTES("ask a");
        ask(EVENT_RESTART, "/t"); /* the whole branch, what was stopped included */
        CHECK_NOTES("ask b");
        killed("/t/b");
        CHECK_NOTES("spawn a, spawn b");
        ask(EVENT_CANCEL, "/t");
        ask(EVENT_START, "/t/a");
        killed("/t/a");
        killed("/t/b");
        CHECK_STATE("/t", "dead");
        start("/t");
        CHECK_NOTES("ask b, ask a, spawn a, spawn b");
        finish();
}

TEST_MAIN({ "names", names }, { "tree-and-its-bounds", tree_and_its_bounds },
                { "life-of-an-actor", life_of_an_actor }, { "restart-types", restart_types },
                { "ladder", ladder }, { "ladder-gets-shorter-only", ladder_gets_shorter_only },
                { "leftovers", leftovers }, { "causes", causes }, { "start-timeout", start_timeout },
                { "watchdog-and-freezing", watchdog_and_freezing }, { "backoff-delays", backoff_delays },
                { "backoff-jitter", backoff_jitter }, { "removal", removal }, { "by-hand", by_hand });
