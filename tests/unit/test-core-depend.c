/* SPDX-License-Identifier: Apache-2.0 */
/* Dependencies: the order of starts and stops, what happens when one is lost, and which graphs are refused. */
#include <errno.h>

#include "core-harness.h"

static char *db_only[] = { (char *) "db", NULL };

static void depends_order(void)
{
        NodeSpec api = actor(RESTART_PERMANENT), migrate = actor(RESTART_TRANSIENT);
        char *both[] = { (char *) "/t/db", (char *) "migrate", NULL };

        api.depends = both;
        migrate.depends = db_only;
        migrate.ready_exited = true;
        begin();
        add("/", "t", supervisor(STRATEGY_ONE_FOR_ONE));
        add("/t", "api", api);
        add("/t", "migrate", migrate);
        add("/t", "db", actor(RESTART_PERMANENT));
        add("/t", "free", actor(RESTART_PERMANENT));
        start("/t");
        CHECK_NOTES("spawn db, spawn free");
        CHECK_STATE("/t/api", "new");
        ready("/t/db");
        CHECK_NOTES("spawn migrate");
        exited("/t/migrate", 1); /* a failure, tried again */
        CHECK_NOTES("spawn migrate");
        exited("/t/migrate", 0);
        CHECK_NOTES("spawn api");
        ready("/t/api");
        killed("/t/db"); /* who runs already isn't touched */
        CHECK_NOTES("spawn db");
        ready("/t/free");
        CHECK_STATE("/t", "starting");
        ready("/t/db");
        CHECK_STATE("/t", "ready");
        step((Event){ .type = EVENT_CANCEL, .node = N("/t"), .grace_usec = SEC });
        CHECK_NOTES("ask free, ask api"); /* independent ones at once */
        ask(EVENT_CANCEL, "/t");          /* doesn't lengthen what db will be given either */
        exited("/t/api", 0);
        CHECK_NOTES("ask db");
        CHECK_EQ(deadline("/t/db"), now + SEC);
        exited("/t/db", 0);
        CHECK_STATE("/t", "stopping");
        exited("/t/free", 0);
        CHECK_STATE("/t", "dead");
        CHECK_CAUSE("/t", "stop");
        finish();
}

static void depends_lost(void)
{
        NodeSpec api = actor(RESTART_PERMANENT);

        api.depends = db_only;
        begin();
        add("/", "t", supervisor(STRATEGY_ONE_FOR_ONE));
        add("/t", "db", actor(RESTART_TEMPORARY));
        add("/t", "api", api);
        start("/t");
        exited("/t/db", 1);
        CHECK_STATE("/t/api", "failed");
        CHECK_CAUSE("/t/api", "none");
        CHECK_EQ(N("/t/api")->exit.spawn_errno, ECANCELED);
        CHECK_STATE("/t", "ready");
        CHECK(node_has_failed(N("/t")));
        start("/t/api");
        CHECK_STATE("/t/api", "failed"); /* still no db */
        start("/t/db");
        ready("/t/db");
        start("/t/api");
        CHECK_NOTES("spawn db, spawn db, spawn api");

        /* one that is cancelled is lost as well, one that is removed for ever */
        ask(EVENT_CANCEL, "/t/api");
        killed("/t/api");
        ask(EVENT_REMOVE, "/t/db");
        killed("/t/db");
        CHECK(!core_find(core, "/t/db"));
        ask(EVENT_START, "/t/api");
        CHECK_STATE("/t/api", "failed");
        finish();
}

/* A branch that waits for another, which fails while waiting: everything below is settled. */
static void depends_of_a_branch(void)
{
        NodeSpec s = supervisor(STRATEGY_ONE_FOR_ONE), x = actor(RESTART_PERMANENT);
        char *on_a[] = { (char *) "a", NULL }, *on_x[] = { (char *) "/t/b/x", NULL };

        s.depends = on_a;
        begin();
        add("/", "t", supervisor(STRATEGY_ONE_FOR_ONE));
        add("/t", "a", actor(RESTART_TEMPORARY));
        add("/t", "b", s);
        add("/t/b", "x", x);
        x.depends = on_x;
        add("/t", "y", x);
        start("/t");
        CHECK_NOTES("spawn a");
        ready("/t/a");
        CHECK_NOTES("spawn x");
        CHECK_STATE("/t/b", "starting");
        ready("/t/b/x");
        CHECK_NOTES("spawn y");
        ready("/t/y");
        CHECK_STATE("/t", "ready");
        /* restarting the branch: who waits for a part of it doesn't take its pause for an end */
        ask(EVENT_RESTART, "/t/y");
        ask(EVENT_RESTART, "/t/b");
        killed("/t/y");
        CHECK_STATE("/t/y", "new");
        killed("/t/b/x");
        CHECK_NOTES("ask y, ask x, spawn x");
        CHECK_STATE("/t/y", "new");
        ready("/t/b/x");
        CHECK_NOTES("spawn y");
        ask(EVENT_CANCEL, "/t/a");
        killed("/t/a");
        ask(EVENT_CANCEL, "/t/y");
        killed("/t/y");
        ask(EVENT_RESTART, "/t/b");
        killed("/t/b/x");
        CHECK_STATE("/t/b", "failed");
        CHECK_STATE("/t/b/x", "dead");
        start("/t/y");
        CHECK_STATE("/t/y", "failed");
        finish();
}

/* Parts of a branch that is being restarted are dead for a while, and not lost for those who wait. */
static void depends_on_part(void)
{
        NodeSpec s = supervisor(STRATEGY_ONE_FOR_ONE), w = actor(RESTART_PERMANENT);
        char *on_both[] = { (char *) "/t/b/x", (char *) "late", NULL };

        s.intensity.max_restarts = 0;
        w.depends = on_both;
        begin();
        add("/", "t", supervisor(STRATEGY_ONE_FOR_ONE));
        add("/t", "b", s);
        add("/t/b", "x", actor(RESTART_TEMPORARY));
        add("/t/b", "y", actor(RESTART_PERMANENT));
        add("/t", "late", actor(RESTART_PERMANENT));
        add("/t", "w", w);
        start("/t");
        ready("/t/b/x");
        ready("/t/b/y");
        forget();
        ask(EVENT_RESTART, "/t/b"); /* by hand */
        killed("/t/b/x");
        CHECK_STATE("/t/b/x", "dead");
        CHECK_STATE("/t/w", "new");
        killed("/t/b/y");
        ready("/t/b/x");
        now += SEC;
        killed("/t/b/y"); /* gives up, and is restarted by its parent: at once, then after a delay */
        CHECK_STATE("/t/b/x", "stopping");
        killed("/t/b/x");
        ready("/t/b/x");
        now += SEC;
        killed("/t/b/y");
        killed("/t/b/x");
        CHECK_STATE("/t/b", "backoff");
        CHECK_STATE("/t/w", "new");
        expire("/t/b");
        ready("/t/b/x");
        forget();
        ready("/t/late");
        CHECK_NOTES("spawn w");
        finish();
}

/* A part that is cancelled before its branch had its turn is lost at once. */
static void depends_on_cancelled_part(void)
{
        NodeSpec s = supervisor(STRATEGY_ONE_FOR_ONE), w = actor(RESTART_PERMANENT);
        char *on_late[] = { (char *) "late", NULL }, *on_x[] = { (char *) "/t/b/x", NULL };

        s.depends = on_late;
        w.depends = on_x;
        begin();
        add("/", "t", supervisor(STRATEGY_ONE_FOR_ONE));
        add("/t", "b", s);
        add("/t/b", "x", actor(RESTART_TEMPORARY));
        add("/t", "late", actor(RESTART_PERMANENT));
        add("/t", "w", w);
        start("/t");
        ask(EVENT_CANCEL, "/t/b/x");
        CHECK_STATE("/t/w", "failed");
        finish();
}

/* A job that was done satisfies, until it is taken out of the tree. */
static void depends_on_removed(void)
{
        NodeSpec job = actor(RESTART_TRANSIENT), w = actor(RESTART_PERMANENT);
        char *on_both[] = { (char *) "job", (char *) "late", NULL };

        job.ready_exited = true;
        w.depends = on_both;
        begin();
        add("/", "t", supervisor(STRATEGY_ONE_FOR_ONE));
        add("/t", "job", job);
        add("/t", "late", actor(RESTART_PERMANENT));
        add("/t", "w", w);
        start("/t");
        exited("/t/job", 0);
        CHECK_STATE("/t/w", "new");
        ask(EVENT_REMOVE, "/t/job");
        CHECK_STATE("/t/w", "failed");
        finish();
}

static int link_error(const char *path, const char *expected_node, const char *expected_depends)
{
        Node *at = NULL;
        const char *depends = NULL;
        int r = core_link(core, N(path), &at, &depends);

        if (r < 0) {
                CHECK_STR(at->path, expected_node);
                CHECK_STR(depends, expected_depends);
        }
        return r;
}

static void depends_errors(void)
{
        static const struct {
                const char *a, *b, *sub, *x; /* dependency of each */
                Strategy strategy;
                int error;
                const char *node;
        } table[] = {
                { "nobody", NULL, NULL, NULL, STRATEGY_ONE_FOR_ONE, -ENOENT, "/t/a" },
                { "/t/sub/none", NULL, NULL, NULL, STRATEGY_ONE_FOR_ONE, -ENOENT, "/t/a" },
                { "a", NULL, NULL, NULL, STRATEGY_ONE_FOR_ONE, -ELOOP, "/t/a" },
                { "/t", NULL, NULL, NULL, STRATEGY_ONE_FOR_ONE, -ELOOP, "/t/a" },
                { "/", NULL, NULL, NULL, STRATEGY_ONE_FOR_ONE, -ELOOP, "/t/a" },
                { "b", "a", NULL, NULL, STRATEGY_ONE_FOR_ONE, -ELOOP, "/t/a" },
                { "b", NULL, NULL, NULL, STRATEGY_ONE_FOR_ONE, 0, NULL },
                { "b", NULL, NULL, NULL, STRATEGY_ONE_FOR_ALL, -ELOOP, "/t/a" },
                { "sub", NULL, NULL, "/t/a", STRATEGY_ONE_FOR_ONE, -ELOOP, "/t/a" },
                { "/t/sub/x", NULL, "a", NULL, STRATEGY_ONE_FOR_ONE, -ELOOP, "/t/a" },
                { NULL, NULL, "/t/sub/x", NULL, STRATEGY_ONE_FOR_ONE, -ELOOP, "/t/sub" },
                { NULL, "a", "b", "/t/a", STRATEGY_REST_FOR_ONE, 0, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const char *const names_of[] = { "a", "b", "sub", "x" };
                const char *const depends[] = { table[i].a, table[i].b, table[i].sub, table[i].x };

                begin();
                add("/", "t", supervisor(table[i].strategy));
                for (size_t k = 0; k < 4; k++) {
                        char *list[] = { (char *) depends[k], NULL };
                        NodeSpec spec = k == 2 ? supervisor(STRATEGY_ONE_FOR_ONE) : actor(RESTART_PERMANENT);

                        spec.depends = list;
                        add(k == 3 ? "/t/sub" : "/t", names_of[k], spec);
                }
                CHECK_EQ(link_error("/t", table[i].node, table[i].a ?: table[i].sub), table[i].error);
                core_discard(core, N("/t"));
                finish();
        }
}

TEST_MAIN({ "order", depends_order }, { "lost", depends_lost }, { "of-a-branch", depends_of_a_branch },
                { "on-part", depends_on_part }, { "on-cancelled-part", depends_on_cancelled_part },
                { "on-removed", depends_on_removed }, { "errors", depends_errors });
