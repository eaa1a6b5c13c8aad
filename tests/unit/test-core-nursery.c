/* SPDX-License-Identifier: Apache-2.0 */
/* What an actor has opened: supervisors below it, which end with its main process. */
#include <errno.h>

#include "core-harness.h"

static NodeSpec nursery(Strategy strategy)
{
        NodeSpec s = supervisor(strategy);

        s.stays = true;
        return s;
}

/* /t/a with a nursery n that holds x and y, and a sibling b; all ready. */
static void set_up(Strategy strategy, RestartType type)
{
        begin();
        add("/", "t", supervisor(strategy));
        add("/t", "a", actor(type));
        add("/t", "b", actor(type));
        start("/t");
        ready("/t/a");
        ready("/t/b");
        add("/t/a", "n", nursery(STRATEGY_ONE_CANCELS_ONE));
        start("/t/a/n");
        CHECK_STATE("/t/a/n", "ready");
        add("/t/a/n", "x", actor(RESTART_TEMPORARY));
        add("/t/a/n", "y", actor(RESTART_TEMPORARY));
        start("/t/a/n/x");
        start("/t/a/n/y");
        ready("/t/a/n/x");
        ready("/t/a/n/y");
        forget();
}

static void who_may_be_below(void)
{
        NodeSpec s = nursery(STRATEGY_ONE_FOR_ONE), a = actor(RESTART_TEMPORARY);

        begin();
        add("/", "t", supervisor(STRATEGY_ONE_FOR_ONE));
        add("/t", "a", actor(RESTART_TEMPORARY));
        s.name = a.name = "below";
        CHECK_EQ(core_add(core, N("/t/a"), &a, NULL, NULL), -EINVAL);
        CHECK_EQ(core_add(core, N("/t/a"), &s, NULL, NULL), -ESHUTDOWN);
        start("/t");
        CHECK_EQ(core_add(core, N("/t/a"), &a, NULL, NULL), -EINVAL);
        add("/t/a", "early", s);
        ready("/t/a");
        ask(EVENT_CANCEL, "/t/a");
        CHECK_EQ(core_add(core, N("/t/a"), &s, NULL, NULL), -ESHUTDOWN);
        exited("/t/a", 0);
        CHECK_EQ(core_add(core, N("/t/a"), &s, NULL, NULL), -ESHUTDOWN);
        CHECK(!core_find(core, "/t/a/early"));
        finish();
}

static void stays_without_children(void)
{
        set_up(STRATEGY_ONE_FOR_ONE, RESTART_PERMANENT);
        exited("/t/a/n/x", 0);
        exited("/t/a/n/y", 7);
        CHECK_STATE("/t/a/n", "ready");
        CHECK_STATE("/t/a/n/y", "failed");
        CHECK_NOTES("");
        ask(EVENT_REMOVE, "/t/a/n");
        CHECK_NOTES("removed y, removed x, removed n");
        CHECK_STATE("/t/a", "ready");
        finish();
}

/* Its failure is its owner's to judge. */
static void fails_alone(void)
{
        set_up(STRATEGY_ONE_FOR_ALL, RESTART_PERMANENT);
        add("/t/a", "m", nursery(STRATEGY_ONE_CANCELS_ALL));
        start("/t/a/m");
        add("/t/a/m", "z", actor(RESTART_TEMPORARY));
        start("/t/a/m/z");
        killed("/t/a/m/z");
        CHECK_STATE("/t/a/m", "failed");
        CHECK_STATE("/t/a", "ready");
        CHECK_STATE("/t", "ready");
        finish();
}

/* One that a client has opened among actors: nothing but what is above it starts it again. */
static void does_not_restart(void)
{
        set_up(STRATEGY_ONE_FOR_ONE, RESTART_PERMANENT);
        add("/t", "m", nursery(STRATEGY_ONE_CANCELS_ALL));
        start("/t/m");
        add("/t/m", "z", actor(RESTART_TEMPORARY));
        start("/t/m/z");
        killed("/t/m/z");
        CHECK_NOTES("spawn z");
        CHECK_STATE("/t/m", "failed");
        CHECK_EQ(N("/t/m")->restarts, 0);
        CHECK_STATE("/t", "ready");
        ask(EVENT_RESTART, "/t/m");
        CHECK_NOTES("spawn z");
        finish();
}

/* Who waits for what it had opened is not asked again, whatever it had been asked before. */
static void nothing_left_to_hurry(void)
{
        set_up(STRATEGY_ONE_FOR_ONE, RESTART_PERMANENT);
        ask(EVENT_CANCEL, "/t/a");
        CHECK_NOTES("ask a");
        exited("/t/a", 0);
        CHECK_NOTES("ask y, ask x");
        ask(EVENT_CANCEL, "/t/a");
        CHECK_EQ(deadline("/t/a"), USEC_INFINITY);
        ask(EVENT_REMOVE, "/t");
        CHECK_EQ(deadline("/t/a"), USEC_INFINITY);
        CHECK_NOTES("ask b");
        exited("/t/a/n/x", 0);
        exited("/t/a/n/y", 0);
        CHECK_STATE("/t/a", "dead");
        CHECK_NOTES("removed y, removed x, removed n");
        finish();
}

/* The successor starts when nothing of the dead one's is left. */
static void owner_dies(void)
{
        set_up(STRATEGY_ONE_FOR_ONE, RESTART_PERMANENT);
        killed("/t/a");
        CHECK_NOTES("ask y, ask x");
        CHECK_STATE("/t/a", "stopping");
        CHECK(N("/t/a")->alive);
        CHECK_EQ(deadline("/t/a/n/x"), now + 300 * MSEC);
        exited("/t/a/n/x", 0);
        CHECK_NOTES("");
        exited("/t/a/n/y", 0);
        CHECK_NOTES("removed y, removed x, removed n, spawn a");
        CHECK_STATE("/t/a", "starting");
        CHECK_CAUSE("/t/a", "signal");
        CHECK_EQ(N("/t/a")->generation, 2);
        finish();
}

/* What the owner left of its own and what it had opened go side by side. */
static void owner_leaves_more(void)
{
        Event e = { .type = EVENT_EXITED, .populated = true, .exit = { .cause = CAUSE_EXIT, .code = 1 } };

        set_up(STRATEGY_ONE_FOR_ONE, RESTART_TEMPORARY);
        e.node = N("/t/a");
        e.now = now;
        core_step(core, &e);
        take_effects();
        CHECK_NOTES("term a, ask y, ask x");
        ask(EVENT_EMPTY, "/t/a");
        CHECK_STATE("/t/a", "stopping");
        exited("/t/a/n/y", 0);
        exited("/t/a/n/x", 0);
        CHECK_NOTES("removed y, removed x, removed n");
        CHECK_STATE("/t/a", "failed");
        CHECK_EQ(N("/t/a")->exit.code, 1);
        finish();
}

/* Who stops it from above asks the actor alone, which may close what it has opened. */
static void stopped_from_above(void)
{
        set_up(STRATEGY_ONE_FOR_ONE, RESTART_PERMANENT);
        ask(EVENT_CANCEL, "/t");
        CHECK_NOTES("ask b, ask a");
        CHECK_STATE("/t/a/n/x", "ready");
        ask(EVENT_REMOVE, "/t/a/n");
        CHECK_NOTES("ask y, ask x");
        exited("/t/b", 0);
        exited("/t/a", 0); /* without waiting for them */
        CHECK_STATE("/t/a", "stopping");
        CHECK_EQ(deadline("/t/a/n/x"), now + 300 * MSEC);
        exited("/t/a/n/x", 0);
        exited("/t/a/n/y", 0);
        CHECK_STATE("/t/a", "dead");
        CHECK_STATE("/t", "dead");
        CHECK_CAUSE("/t/a", "stop");
        finish();
}

/* A group restart waits for all of it; so does a removal. */
static void group_and_removal(void)
{
        set_up(STRATEGY_ONE_FOR_ALL, RESTART_PERMANENT);
        killed("/t/b");
        CHECK_NOTES("ask a");
        exited("/t/a", 0);
        CHECK_NOTES("ask y, ask x");
        exited("/t/a/n/y", 0);
        exited("/t/a/n/x", 0);
        CHECK_NOTES("removed y, removed x, removed n, spawn a");
        ready("/t/a");
        CHECK_NOTES("spawn b");
        add("/t/a", "n", nursery(STRATEGY_ONE_FOR_ONE));
        start("/t/a/n");
        ask(EVENT_REMOVE, "/t/a");
        CHECK_NOTES("ask a");
        exited("/t/a", 0);
        CHECK_NOTES("removed n, removed a");
        finish();
}

/* It dies of itself while its stop waits for its dependent: what it had opened does not wait along. */
static void dies_before_its_turn(void)
{
        NodeSpec b = actor(RESTART_PERMANENT);
        char *depends[] = { (char *) "a", NULL };

        begin();
        add("/", "t", supervisor(STRATEGY_ONE_FOR_ONE));
        add("/t", "a", actor(RESTART_PERMANENT));
        b.depends = depends;
        add("/t", "b", b);
        start("/t");
        ready("/t/a");
        ready("/t/b");
        add("/t/a", "n", nursery(STRATEGY_ONE_FOR_ONE));
        add("/t/a/n", "x", actor(RESTART_PERMANENT));
        start("/t/a/n");
        ready("/t/a/n/x");
        forget();
        ask(EVENT_CANCEL, "/t");
        CHECK_NOTES("ask b");
        killed("/t/a");
        CHECK_NOTES("ask x");
        exited("/t/a/n/x", 0);
        exited("/t/b", 0);
        CHECK_STATE("/t", "dead");
        CHECK_STATE("/t/a", "dead");
        finish();
}

static void frozen_with_its_owner(void)
{
        set_up(STRATEGY_ONE_FOR_ONE, RESTART_PERMANENT);
        ask(EVENT_FREEZE, "/t/a");
        CHECK(N("/t/a")->frozen && N("/t/a/n/x")->frozen);
        killed("/t/a");
        CHECK_NOTES("thaw y, ask y, thaw x, ask x");
        exited("/t/a/n/x", 0);
        exited("/t/a/n/y", 0);
        CHECK_STATE("/t/a", "starting");
        finish();
}

/* A command that can't be run is its asker's mistake: whoever lives there goes on, nothing is counted. */
static void on_trial(void)
{
        for (Strategy strategy = 0; strategy < _STRATEGY_MAX; strategy++) {
                NodeSpec s = supervisor(strategy), a = actor(RESTART_PERMANENT);

                s.intensity.max_restarts = 0;
                begin();
                add("/", "t", s);
                add("/t", "other", actor(RESTART_PERMANENT));
                start("/t");
                ready("/t/other");
                a.on_trial = true;
                add("/t", "a", a);
                start("/t/a");
                forget();
                ended("/t/a", CAUSE_SPAWN, 0, false);
                CHECK_NOTES("");
                CHECK_STATE("/t/a", "failed");
                CHECK_STATE("/t/other", "ready");
                CHECK_STATE("/t", "ready");

                start("/t/a"); /* once it was heard of it is a child like all others */
                ended("/t/a", CAUSE_SPAWN, 0, false);
                CHECK_STATE("/t", strategy == STRATEGY_ONE_CANCELS_ONE ? "ready" : "stopping");
                finish();
        }
}

/* It leaves its supervisor as it was: empty, or ended by the end before it. */
static void on_trial_alone(void)
{
        for (Strategy strategy = 0; strategy < _STRATEGY_MAX; strategy++) {
                bool nursery = strategy == STRATEGY_ONE_CANCELS_ALL || strategy == STRATEGY_ONE_CANCELS_ONE;
                NodeSpec a = actor(RESTART_PERMANENT);

                begin();
                add("/", "t", supervisor(strategy));
                start("/t");
                CHECK_STATE("/t", "ready");
                a.on_trial = true;
                add("/t", "a", a);
                start("/t/a");
                ended("/t/a", CAUSE_SPAWN, 0, false);
                CHECK_STATE("/t/a", "failed");
                CHECK_STATE("/t", "ready");
                ask(EVENT_REMOVE, "/t/a");
                CHECK(!core_find(core, "/t/a"));
                CHECK_STATE("/t", "ready");

                add("/t", "b", actor(RESTART_TEMPORARY));
                start("/t/b");
                ready("/t/b");
                add("/t", "a", a);
                start("/t/a");
                exited("/t/b", 0);
                CHECK_STATE("/t", "ready");
                ended("/t/a", CAUSE_SPAWN, 0, false);
                CHECK_STATE("/t", nursery ? "dead" : "ready");
                finish();
        }
}

TEST_MAIN({ "on-trial", on_trial }, { "on-trial-alone", on_trial_alone },
                { "who-may-be-below", who_may_be_below },
                { "stays-without-children", stays_without_children }, { "fails-alone", fails_alone },
                { "does-not-restart", does_not_restart }, { "nothing-left-to-hurry", nothing_left_to_hurry },
                { "owner-dies", owner_dies }, { "owner-leaves-more", owner_leaves_more },
                { "stopped-from-above", stopped_from_above }, { "group-and-removal", group_and_removal },
                { "dies-before-its-turn", dies_before_its_turn },
                { "frozen-with-its-owner", frozen_with_its_owner });
