/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of a tree that runs, told one by one; test-core-model.c has them in any order. */
#include <errno.h>

#include "core-harness.h"

static void change(const char *path, Change what, NodeSpec spec)
{
        spec.name = "ignored";
        CHECK_EQ(core_change(core, N(path), what, &spec), 0);
}

static int check(const char *top)
{
        const char *depends;
        Node *at;

        return core_check_changes(core, N(top), &at, &depends);
}

static void carry_out(const char *top)
{
        CHECK_EQ(check(top), 0);
        ask(EVENT_CHANGE, top);
}

static NodeSpec actor_after(const char **depends)
{
        NodeSpec spec = actor(RESTART_PERMANENT);

        spec.depends = (char *const *) depends;
        return spec;
}

static void begin_abc(Strategy strategy)
{
        begin();
        add("/", "t", supervisor(strategy));
        for (const char *c = "abc"; *c; c++)
                add("/t", (char[]){ *c, 0 }, actor(RESTART_PERMANENT));
        start("/t");
        ready("/t/a");
        ready("/t/b");
        ready("/t/c");
        forget();
}

/* The old dependencies rule the stops, the new ones the starts, and nobody else is touched. */
static void dependencies(void)
{
        const char *on_a[] = { "a", NULL }, *on_c[] = { "/t/c", NULL };

        begin();
        add("/", "t", supervisor(STRATEGY_ONE_FOR_ONE));
        add("/t", "a", actor(RESTART_PERMANENT));
        add("/t", "b", actor_after(on_a));
        add("/t", "c", actor(RESTART_PERMANENT));
        add("/t", "d", actor_after(on_a));
        start("/t");
        ready("/t/a");
        ready("/t/b");
        ready("/t/c");
        ready("/t/d");
        forget();
        change("/t/a", CHANGE_RESTART, actor(RESTART_PERMANENT));
        change("/t/b", CHANGE_RESTART, actor_after(on_c));
        change("/t/c", CHANGE_RESTART, actor(RESTART_PERMANENT));
        carry_out("/t");
        CHECK_NOTES("ask c, ask b");
        exited("/t/b", 0);
        CHECK_NOTES("changed b, ask a");
        exited("/t/a", 0);
        CHECK_NOTES("changed a, spawn a");
        exited("/t/c", 0);
        CHECK_NOTES("changed c, spawn c");
        ready("/t/c");
        CHECK_NOTES("spawn b");
        CHECK_STATE("/t/d", "ready");
        CHECK_EQ(N("/t/b")->restarts, 0);
        finish();
}

static void what_does_not_run(void)
{
        NodeSpec s = supervisor(STRATEGY_ONE_FOR_ONE);

        begin();
        s.intensity.max_restarts = 2;
        s.on_give_up = GIVE_UP_ISOLATE;
        add("/", "t", s);
        add("/t", "a", actor(RESTART_PERMANENT));
        start("/t");
        exited("/t/a", 1);
        exited("/t/a", 1);
        CHECK_STATE("/t/a", "backoff");
        forget();
        change("/t/a", CHANGE_RESTART, actor(RESTART_PERMANENT));
        carry_out("/t");
        CHECK_NOTES("changed a, spawn a"); /* at once, and with a count of none */
        exited("/t/a", 1);
        exited("/t/a", 1);
        expire("/t/a");
        exited("/t/a", 1);
        CHECK_STATE("/t/a", "failed");
        forget();
        change("/t/a", CHANGE_LIVE, actor(RESTART_TEMPORARY));
        carry_out("/t");
        CHECK_NOTES("changed a");
        CHECK_STATE("/t/a", "failed");
        change("/t/a", CHANGE_RESTART, actor(RESTART_TEMPORARY));
        carry_out("/t");
        CHECK_NOTES("changed a, spawn a");
        exited("/t/a", 1);
        CHECK_STATE("/t/a", "failed");
        finish();
}

static void watchdog(void)
{
        NodeSpec a = actor(RESTART_PERMANENT);
        uint64_t old;

        begin();
        add("/", "t", supervisor(STRATEGY_ONE_FOR_ONE));
        a.watchdog_usec = 5 * SEC;
        add("/t", "a", a);
        start("/t");
        ready("/t/a");
        old = deadline("/t/a");
        CHECK_EQ(old, now + 5 * SEC);
        a.watchdog_usec = 2 * SEC; /* the program was told of five */
        change("/t/a", CHANGE_LIVE, a);
        carry_out("/t");
        CHECK_EQ(deadline("/t/a"), old);
        a.watchdog_usec = 9 * SEC;
        change("/t/a", CHANGE_LIVE, a);
        carry_out("/t");
        CHECK_EQ(deadline("/t/a"), now + 9 * SEC);
        a.watchdog_usec = 0;
        change("/t/a", CHANGE_LIVE, a);
        carry_out("/t");
        CHECK_EQ(deadline("/t/a"), USEC_INFINITY);
        a.watchdog_usec = 2 * SEC;
        change("/t/a", CHANGE_LIVE, a);
        carry_out("/t");
        CHECK_EQ(deadline("/t/a"), USEC_INFINITY);
        exited("/t/a", 0);
        ready("/t/a");
        CHECK_EQ(deadline("/t/a"), now + 2 * SEC);
        finish();
}

static void order_and_strategy(void)
{
        Node *order[3];

        begin_abc(STRATEGY_ONE_FOR_ONE);
        for (int i = 0; i < 3; i++)
                order[i] = N((const char *[]){ "/t/c", "/t/a", "/t/b" }[i]);
        core_change_order(N("/t"), order, 2); /* b comes last by itself */
        change("/t", CHANGE_LIVE, supervisor(STRATEGY_REST_FOR_ONE));
        carry_out("/t");
        CHECK_NOTES("changed t");
        killed("/t/a");
        CHECK_NOTES("ask b");
        exited("/t/b", 0);
        CHECK_NOTES("spawn a");
        ready("/t/a");
        CHECK_NOTES("spawn b");
        CHECK_STATE("/t/c", "ready");
        ready("/t/b");
        core_change_order(N("/t"), order, 3);
        carry_out("/t");
        CHECK_NOTES("");
        finish();
}

/* One that comes while a new order waits has its place in it, and leaves none behind when it is not taken after all. */
static void not_taken(void)
{
        Node *late;

        begin_abc(STRATEGY_REST_FOR_ONE);
        ask(EVENT_RESTART, "/t/c");
        CHECK_NOTES("ask c");
        core_change_order(N("/t"), (Node *[]){ N("/t/c") }, 1);
        change("/t", CHANGE_LIVE, supervisor(STRATEGY_REST_FOR_ONE));
        carry_out("/t");
        CHECK_NOTES("");
        late = add("/t", "late", actor(RESTART_PERMANENT));
        core_discard(core, late);
        exited("/t/c", 0);
        CHECK(N("/t")->children.next == &N("/t/c")->siblings);
        finish();
}

/* More may be allowed than before: what was counted then still counts. */
static void intensity(void)
{
        NodeSpec s = supervisor(STRATEGY_ONE_FOR_ONE);

        begin_abc(STRATEGY_ONE_FOR_ONE);
        s.intensity.max_restarts = 5;
        for (int i = 0; i < 4; i++) {
                killed("/t/a");
                if (i > 0)
                        expire("/t/a");
        }
        s.intensity.max_restarts = 7;
        change("/t", CHANGE_LIVE, s);
        carry_out("/t");
        for (int i = 0; i < 3; i++) {
                now += 1; /* of four before */
                killed((const char *[]){ "/t/b", "/t/c", "/t/a" }[i]);
        }
        CHECK_STATE("/t", "ready");
        s.intensity.max_restarts = 2;
        change("/t", CHANGE_LIVE, s);
        carry_out("/t");
        forget();
        killed("/t/b");
        CHECK_NOTES("give-up t about b, ask c");
        finish();
}

static void added_and_removed(void)
{
        const char *on_n[] = { "n", NULL };
        Node *n;

        begin_abc(STRATEGY_ONE_FOR_ONE);
        add("/t", "n", actor(RESTART_PERMANENT));
        CHECK_EQ(core_change(core, N("/t/n"), CHANGE_START, NULL), 0);
        change("/t/a", CHANGE_RESTART, actor_after(on_n));
        CHECK_EQ(core_change(core, N("/t/b"), CHANGE_REMOVE, NULL), 0);
        carry_out("/t");
        CHECK_NOTES("ask b, ask a, spawn n");
        exited("/t/a", 0);
        exited("/t/b", 0);
        CHECK_NOTES("changed a, removed b");
        ready("/t/n");
        CHECK_NOTES("spawn a");
        CHECK(!core_find(core, "/t/b"));
        n = add("/t", "x", actor_after(on_n));
        CHECK_EQ(core_change(core, n, CHANGE_START, NULL), 0);
        CHECK_EQ(core_change(core, N("/t/n"), CHANGE_REMOVE, NULL), 0);
        CHECK_EQ(check("/t"), -ENOENT); /* on what is to go */
        core_discard_changes(N("/t"));
        core_discard(core, n);
        finish();
}

/* As if nothing had been asked. */
static void refused(void)
{
        const char *on_b[] = { "b", NULL }, *on_a[] = { "a", NULL }, *on_x[] = { "x", NULL };

        begin_abc(STRATEGY_ONE_FOR_ONE);
        change("/t/a", CHANGE_RESTART, actor_after(on_b));
        change("/t/b", CHANGE_RESTART, actor_after(on_a));
        CHECK_EQ(check("/t"), -ELOOP);
        core_discard_changes(N("/t"));
        change("/t/a", CHANGE_RESTART, actor_after(on_x));
        CHECK_EQ(check("/t"), -ENOENT);
        core_discard_changes(N("/t"));
        change("/t", CHANGE_LIVE, supervisor(STRATEGY_REST_FOR_ONE));
        change("/t/a", CHANGE_RESTART, actor_after(on_b));
        CHECK_EQ(check("/t"), -ELOOP); /* against the order that will count */
        core_change_order(N("/t"), (Node *[]){ N("/t/b"), N("/t/a") }, 2);
        CHECK_EQ(check("/t"), 0);
        core_discard_changes(N("/t"));
        ask(EVENT_CHANGE, "/t");
        CHECK_NOTES("");
        killed("/t/a");
        CHECK_NOTES("spawn a");
        finish();
}

/* Neither stays a dependency on what left and came back that only the refused change would have found again: here it contradicts the order, and
 * each would wait for the other to stop. */
static void refused_with_one_that_came_back(void)
{
        const char *on_a[] = { "a", NULL };

        begin();
        add("/", "t", supervisor(STRATEGY_REST_FOR_ONE));
        add("/t", "a", actor(RESTART_PERMANENT));
        add("/t", "b", actor_after(on_a));
        add("/t", "c", actor(RESTART_PERMANENT));
        start("/t");
        ready("/t/a");
        ready("/t/b");
        ready("/t/c");
        ask(EVENT_CANCEL, "/t/b");
        exited("/t/b", 0);
        CHECK_EQ(core_change(core, N("/t/a"), CHANGE_REMOVE, NULL), 0);
        carry_out("/t");
        exited("/t/a", 0);
        CHECK(!core_find(core, "/t/a"));
        add("/t", "a", actor(RESTART_PERMANENT));
        start("/t/a");
        ready("/t/a");
        CHECK_EQ(check("/t"), -ELOOP); /* b is before a now */
        core_discard_changes(N("/t"));
        forget();
        ask(EVENT_RESTART, "/t/b");
        CHECK_NOTES("");
        ask(EVENT_CANCEL, "/t");
        CHECK_NOTES("ask a");
        exited("/t/a", 0);
        CHECK_NOTES("ask c");
        finish();
}

/* One that is on its way out for another reason becomes what it is to be all the same. */
static void overtaken(void)
{
        begin_abc(STRATEGY_ONE_FOR_ONE);
        change("/t/a", CHANGE_RESTART, actor(RESTART_TEMPORARY));
        carry_out("/t");
        ask(EVENT_CANCEL, "/t/a");
        CHECK_NOTES("ask a");
        exited("/t/a", 0);
        CHECK_NOTES("changed a");
        CHECK_STATE("/t/a", "dead");
        CHECK_EQ(N("/t/a")->spec.restart, RESTART_TEMPORARY);
        ask(EVENT_CANCEL, "/t");
        forget();
        change("/t/b", CHANGE_RESTART, actor(RESTART_TEMPORARY));
        carry_out("/t");
        exited("/t/b", 0);
        CHECK_NOTES("changed b");
        CHECK_STATE("/t/b", "dead");
        finish();
}

/* What is removed in the same step as its supervisor starts anew is not started along. */
static void removed_below_one_that_starts(void)
{
        begin_abc(STRATEGY_ONE_FOR_ONE);
        ask(EVENT_CANCEL, "/t");
        exited("/t/a", 0);
        exited("/t/b", 0);
        exited("/t/c", 0);
        CHECK_STATE("/t", "dead");
        forget();
        change("/t", CHANGE_RESTART, supervisor(STRATEGY_ONE_FOR_ONE));
        CHECK_EQ(core_change(core, N("/t/b"), CHANGE_REMOVE, NULL), 0);
        carry_out("/t");
        CHECK_NOTES("changed t, removed b, spawn a, spawn c");
        finish();
}

TEST_MAIN({ "dependencies", dependencies }, { "what_does_not_run", what_does_not_run },
                { "watchdog", watchdog }, { "order_and_strategy", order_and_strategy },
                { "not-taken", not_taken }, { "intensity", intensity },
                { "added_and_removed", added_and_removed }, { "refused", refused },
                { "refused_with_one_that_came_back", refused_with_one_that_came_back },
                { "overtaken", overtaken },
                { "removed_below_one_that_starts", removed_below_one_that_starts });
