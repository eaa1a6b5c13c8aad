/* SPDX-License-Identifier: Apache-2.0 */
/* Calls in threads, as tasks make them. (The thread sanitizer can't follow fibers; see test-thread-pool.c
 * for what it can.) */
#include <errno.h>
#include <pthread.h>

#include "draw.h"
#include "threads.h"
#include "tractor/tractor.h"

static void run(int (*body)(void *))
{
        CHECK_EQ(tractor_run(NULL, body, NULL), 0);
        until_n_threads(OWN_THREADS);
}

/* The task's own thread is free meanwhile: it lets the call go on. */
static int release(void *userdata)
{
        Held *h = userdata;
        int r = tractor_wait_fd(h->began[0], 1 /* EPOLLIN */);

        if (r < 0)
                return r;
        hear(h->began[0]);
        say(h->hold[1]);
        return 0;
}

static int answers(void *unused)
{
        TRACTOR_NURSERY(n);
        Held h;

        held_init(&h);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, "release", release, &h, NULL), 0);
        CHECK_EQ(tractor_to_thread(held, &h, held_destroyed, 0), 5);
        CHECK(is_said(h.destroyed[0]));
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_EQ(tractor_to_thread(held, &h, held_destroyed, 8), -EINVAL);
        held_clear(&h);
        return 0;
}

static void others_run_meanwhile(void)
{
        run(answers);
}

static int no_task(void *userdata)
{
        *(pthread_t *) userdata = pthread_self();
        return tractor_sleep(1);
}

static int is_elsewhere(void *unused)
{
        pthread_t thread = pthread_self();

        CHECK_EQ(tractor_to_thread(no_task, &thread, NULL, 0), -ENOTCONN);
        CHECK(!pthread_equal(thread, pthread_self()));
        return 0;
}

static void a_thread_is_no_task(void)
{
        run(is_elsewhere);
        CHECK_EQ(tractor_to_thread(no_task, NULL, NULL, 0), -ENOTCONN);
        CHECK_EQ(tractor_thread_set_limit(1), -ENOTCONN);
}

/* --- cancellation --- */
typedef struct Caller {
        Held *held;
        unsigned flags;
        int r;
        bool over;
} Caller;

static int call(void *userdata)
{
        Caller *c = userdata;

        c->r = tractor_to_thread(held, c->held, held_destroyed, c->flags);
        c->over = true;
        return c->r == -ECANCELED ? c->r : 0;
}

static int shielded(void *unused)
{
        TRACTOR_NURSERY(n);
        Held h;
        Caller c = { .held = &h };

        held_init(&h);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, "caller", call, &c, NULL), 0);
        CHECK_EQ(tractor_wait_fd(h.began[0], 1), 1);
        tractor_nursery_cancel(n, NULL);
        tractor_scope *shield = tractor_shield(TRACTOR_FOREVER);
        for (unsigned i = 0; i < 3; i++)
                CHECK_EQ(tractor_checkpoint(), 0);
        CHECK(!c.over);
        say(h.hold[1]);
        CHECK_EQ(tractor_scope_close(shield, 0), 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_EQ(c.r, 5); /* its result is not lost */
        held_clear(&h);
        return 0;
}

static int before(void *unused)
{
        tractor_scope *s = tractor_scope_open();
        Held h;

        held_init(&h);
        tractor_scope_cancel(s, NULL);
        CHECK_EQ(tractor_to_thread(held, &h, held_destroyed, 0), -ECANCELED);
        CHECK(is_said(h.destroyed[0]) && !is_said(h.began[0]));
        CHECK_EQ(tractor_scope_close(s, -ECANCELED), 0);
        held_clear(&h);
        return 0;
}

static void a_thread_is_waited_for_by_one_that_is_cancelled(void)
{
        run(before);
        run(shielded);
}

static int abandons(void *unused)
{
        TRACTOR_NURSERY(n);
        Held h;
        Caller c = { .held = &h, .flags = TRACTOR_THREAD_ABANDON };

        held_init(&h);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, "caller", call, &c, NULL), 0);
        CHECK_EQ(tractor_wait_fd(h.began[0], 1), 1);
        tractor_nursery_cancel(n, NULL);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_EQ(c.r, -ECANCELED);
        CHECK(!is_said(h.destroyed[0]));
        say(h.hold[1]);
        CHECK_EQ(tractor_wait_fd(h.destroyed[0], 1), 1);
        held_clear(&h);
        return 0;
}

static void an_abandoned_one_cleans_up_later(void)
{
        run(abandons);
}

static Held left;

static int leaves_one(void *unused)
{
        TRACTOR_NURSERY(n);
        Caller c = { .held = &left, .flags = TRACTOR_THREAD_ABANDON };

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, "caller", call, &c, NULL), 0);
        CHECK_EQ(tractor_wait_fd(left.began[0], 1), 1);
        tractor_nursery_cancel(n, NULL);
        return tractor_nursery_close(&n, 0);
}

/* The run has ended, and the thread has not. */
static void one_that_blocks_is_left_behind(void)
{
        held_init(&left);
        CHECK_EQ(tractor_run(NULL, leaves_one, NULL), 0);
        until_n_threads(OWN_THREADS + 1);
        say(left.hold[1]);
        hear(left.destroyed[0]);
        until_n_threads(OWN_THREADS);
        held_clear(&left);
}

/* --- the limit --- */
static int limited(void *unused)
{
        TRACTOR_NURSERY(n);
        Held h;
        Caller c[6];

        held_init(&h);
        CHECK_EQ(tractor_thread_set_limit(2), 0);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        for (unsigned i = 0; i < 6; i++) {
                c[i] = (Caller){ .held = &h };
                CHECK_EQ(tractor_start_task(n, "caller", call, &c[i], NULL), 0);
        }
        for (unsigned i = 0; i < 6; i++) {
                CHECK_EQ(tractor_checkpoint(), 0);
                if (i < 2)
                        hear(h.began[0]);
        }
        CHECK(!is_said(h.began[0])); /* the third has no thread: its turn has not come */
        say(h.hold[1]);
        CHECK_EQ(tractor_wait_fd(h.began[0], 1), 1);
        hear(h.began[0]);
        CHECK_EQ(c[0].over + c[1].over, 1);
        CHECK_EQ(tractor_thread_set_limit(6), 0);
        for (unsigned i = 0; i < 3; i++) {
                CHECK_EQ(tractor_wait_fd(h.began[0], 1), 1);
                hear(h.began[0]);
        }
        for (unsigned i = 0; i < 5; i++)
                say(h.hold[1]);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        held_clear(&h);
        return 0;
}

static void no_more_than_the_limit_run(void)
{
        run(limited);
}

/* --- any schedule --- */
typedef struct Tally {
        int value;
        unsigned yields;
        bool *destroyed;
} Tally;

#define CALLS 500U
static tractor_event *all_destroyed;
static unsigned n_destroyed;

static int tally(void *userdata)
{
        Tally *t = userdata;

        for (unsigned i = 0; i < t->yields; i++)
                sched_yield();
        return t->value;
}

static void tally_destroyed(void *userdata)
{
        Tally *t = userdata;

        CHECK(!*t->destroyed);
        *t->destroyed = true;
        if (++n_destroyed == CALLS)
                tractor_event_set(all_destroyed);
        free(t);
}

static bool destroyed[CALLS];
static unsigned n_cancelled;

static int one_call(void *userdata)
{
        int k = (int) (uintptr_t) userdata, r;
        Tally *t = calloc(1, sizeof(*t));
        unsigned flags = draw(2) ? TRACTOR_THREAD_ABANDON : 0;
        tractor_scope *s = tractor_move_on_after(draw(3) ? TRACTOR_FOREVER : draw(300));

        CHECK(t);
        *t = (Tally){ .value = k, .yields = draw(10), .destroyed = &destroyed[k] };
        r = tractor_to_thread(tally, t, tally_destroyed, flags);
        CHECK(r == k || r == -ECANCELED);
        CHECK(flags || destroyed[k]);
        n_cancelled += r == -ECANCELED;
        return tractor_scope_close(s, MIN(r, 0));
}

static int random_calls(void *unused)
{
        TRACTOR_NURSERY(n);

        all_destroyed = tractor_event_new();
        CHECK_EQ(tractor_thread_set_limit(5), 0);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        for (unsigned i = 0; i < CALLS; i++)
                CHECK_EQ(tractor_start_task(n, NULL, one_call, (void *) (uintptr_t) i, NULL), 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK(n_cancelled > 0 && n_cancelled < CALLS);
        /* Abandoned ones may still be on their way. */
        CHECK_EQ(tractor_event_wait(all_destroyed), 0);
        all_destroyed = tractor_event_free(all_destroyed);
        return 0;
}

static void any_schedule_cleans_up_once(void)
{
        draw_begin(9);
        run(random_calls);
}

TEST_MAIN({ "others_run_meanwhile", others_run_meanwhile }, { "a_thread_is_no_task", a_thread_is_no_task },
                { "a_thread_is_waited_for_by_one_that_is_cancelled",
                                a_thread_is_waited_for_by_one_that_is_cancelled },
                { "an_abandoned_one_cleans_up_later", an_abandoned_one_cleans_up_later },
                { "one_that_blocks_is_left_behind", one_that_blocks_is_left_behind },
                { "no_more_than_the_limit_run", no_more_than_the_limit_run },
                { "any_schedule_cleans_up_once", any_schedule_cleans_up_once });
