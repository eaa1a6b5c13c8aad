/* SPDX-License-Identifier: Apache-2.0 */
/* Nurseries of processes that several tasks use at once, and those who leave them early. $BACKEND chooses where actors live. */
#include <errno.h>
#include <json-c/json.h>
#include <tractor/cluster.h>
#include <tractor/discovery.h>
#include <tractor/tractor.h>
#include <unistd.h>

#include "test.h"

static int ponders(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        return tractor_sleep_forever();
}

static const tractor_method methods[] = { { "ponders", ponders }, { NULL } };
static tractor_options options = { .size = sizeof(options), .methods = methods, .flags = TRACTOR_EMBED };

static void run(int (*body)(void *))
{
        CHECK_EQ(tractor_run(&options, body, NULL), 0);
}

typedef struct Starter {
        tractor_nursery *nursery;
        const char *name;
        int r;
} Starter;

static int start(void *userdata)
{
        Starter *s = userdata;

        s->r = tractor_start_actor(s->nursery, s->name, NULL, NULL);
        return 0;
}

/* --- the first actors of a nursery below one that is not in the tree yet --- */
static int side_by_side(void *unused)
{
        tractor_nursery_options o = { .size = sizeof(o), .name = "outer" };
        TRACTOR_NURSERY(outer);
        CHECK_EQ(tractor_nursery_open(&o, &outer), 0);
        TRACTOR_NURSERY(inner);
        CHECK_EQ(tractor_nursery_open(NULL, &inner), 0);
        Starter a = { .nursery = inner, .name = "a" }, b = { .nursery = inner, .name = "b" };
        TRACTOR_NURSERY(starters);

        CHECK_EQ(tractor_nursery_open(NULL, &starters), 0);
        CHECK_EQ(tractor_start_task(starters, "a", start, &a, NULL), 0);
        CHECK_EQ(tractor_start_task(starters, "b", start, &b, NULL), 0);
        CHECK_EQ(tractor_nursery_close(&starters, 0), 0);
        CHECK_EQ(a.r, 0);
        CHECK_EQ(b.r, 0);
        tractor_nursery_cancel(inner, NULL);
        CHECK_EQ(tractor_nursery_close(&inner, 0), 0);
        return tractor_nursery_close(&outer, 0);
}

static void first_actors_are_started_side_by_side(void)
{
        run(side_by_side);
}

/* --- who starts an actor in a nursery is no task of it, and the nursery's owner leaves meanwhile --- */
static int leave_meanwhile(void *unused)
{
        TRACTOR_NURSERY(outer);
        CHECK_EQ(tractor_nursery_open(NULL, &outer), 0);
        Starter s = { .name = "late", .r = 1 };
        tractor_nursery *inner = NULL;

        CHECK_EQ(tractor_nursery_open(NULL, &inner), 0);
        s.nursery = inner;
        CHECK_EQ(tractor_start_task(outer, "outsider", start, &s, NULL), 0);
        CHECK_EQ(tractor_checkpoint(), 0);
        CHECK_EQ(s.r, 1);
        tractor_nursery_cancel(inner, "its owner leaves");
        CHECK_EQ(tractor_nursery_close(&inner, 0), 0);
        CHECK_EQ(tractor_nursery_close(&outer, 0), 0);
        CHECK_EQ(s.r, -ECANCELED);
        return 0;
}

static void a_nursery_is_left_while_an_actor_starts(void)
{
        run(leave_meanwhile);
}

/* --- futures --- */
typedef struct Waiter {
        tractor_future *future;
        int r;
} Waiter;

static int await(void *userdata)
{
        Waiter *w = userdata;

        w->r = tractor_future_wait(w->future, NULL);
        CHECK(!tractor_is_cancelled());
        return 0;
}

/* The one who waits has not been cancelled: -ECANCELED would tell it so. And its future is given back meanwhile. */
static int cancelled_future(void *unused)
{
        Waiter w = { 0 };
        TRACTOR_NURSERY(outer);
        CHECK_EQ(tractor_nursery_open(NULL, &outer), 0);
        tractor_nursery *n = NULL;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_run_actor(n, "shot", "ponders", NULL, NULL, &w.future), 0);
        CHECK_EQ(tractor_start_task(outer, "waiter", await, &w, NULL), 0);
        CHECK_EQ(tractor_checkpoint(), 0);
        tractor_future_unref(w.future);
        tractor_nursery_cancel(n, "enough");
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_EQ(tractor_nursery_close(&outer, 0), 0);
        CHECK_EQ(w.r, -EINTR);
        return 0;
}

static void a_cancelled_one_shot_cancels_nobody_else(void)
{
        run(cancelled_future);
}

/* --- clusters --- */
static size_t count_actors(const char *name)
{
        struct json_object *tree = NULL;
        const char *text;
        size_t k = 0;

        CHECK_EQ(tractor_query(NULL, &tree), 0);
        text = json_object_to_json_string(tree);
        for (const char *p = text; (p = strstr(p, name)); p++)
                k++;
        json_object_put(tree);
        return k;
}

/* One name is taken: none of the others stays, and the error says which. */
static int half_a_cluster(void *unused)
{
        tractor_cluster c;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "w-2", NULL, NULL), 0);
        CHECK_EQ(tractor_open_cluster(n, "w", 4, NULL, &c), -EEXIST);
        CHECK(tractor_last_error());
        CHECK_EQ(tractor_error_errno(tractor_last_error()), -EEXIST);
        CHECK_EQ(count_actors("/w-0\""), 0);
        CHECK(count_actors("/w-2\"") > 0);
        tractor_nursery_cancel(n, NULL);
        return tractor_nursery_close(&n, 0);
}

static void a_cluster_is_whole_or_not_at_all(void)
{
        run(half_a_cluster);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = { { "first_actors_are_started_side_by_side",
                                                          first_actors_are_started_side_by_side },
                { "a_nursery_is_left_while_an_actor_starts", a_nursery_is_left_while_an_actor_starts },
                { "a_cancelled_one_shot_cancels_nobody_else", a_cancelled_one_shot_cancels_nobody_else },
                { "a_cluster_is_whole_or_not_at_all", a_cluster_is_whole_or_not_at_all } };

        /* The same binary is its actors. */
        if (getenv("TRACTOR_ENTRY"))
                return tractor_main(&options, NULL, NULL);
        options.backend = getenv("BACKEND");
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
