/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks, cancel scopes and nurseries of one process. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libtractor/error-private.h"
#include "libtractor/nursery.h"
#include "test.h"

static void run(int (*body)(void *), int expected)
{
        CHECK_EQ(tractor_run(NULL, body, NULL), expected);
}

/* --- tasks --- */
static char trace[64];

static int say(void *userdata)
{
        const char *word = userdata;

        for (; *word; word++) {
                (void) strncat(trace, word, 1);
                CHECK_EQ(tractor_checkpoint(), 0);
        }
        return 0;
}

static int two_take_turns(void *unused)
{
        TRACTOR_NURSERY(n);

        trace[0] = 0;
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, "abc", say, (void *) "abc", NULL), 0);
        CHECK_EQ(tractor_start_task(n, "xyz", say, (void *) "xyz", NULL), 0);
        CHECK_EQ(tractor_nursery_n_tasks(n), 2);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_STR(trace, "axbycz");
        return 7;
}

static void tasks_take_turns(void)
{
        run(two_take_turns, 7);
}

static int sleeps(void *unused)
{
        uint64_t begin = tractor_now();

        CHECK_EQ(tractor_sleep(3 * TRACTOR_MSEC), 0);
        CHECK(tractor_now() - begin >= 3 * TRACTOR_MSEC);
        CHECK_EQ(tractor_sleep(0), 0);
        return 0;
}

static void sleep_lasts(void)
{
        run(sleeps, 0);
}

static int idle(void *counter)
{
        int r = tractor_sleep_forever();

        (*(unsigned *) counter)++;
        return r;
}

static int many(void *unused)
{
        TRACTOR_NURSERY(n);
        unsigned ended = 0;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        for (unsigned i = 0; i < 2000; i++)
                CHECK_EQ(tractor_start_task(n, "idle", idle, &ended, NULL), 0);
        CHECK_EQ(tractor_checkpoint(), 0);
        tractor_nursery_cancel(n, "enough");
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_EQ(ended, 2000);
        return 0;
}

static void two_thousand_tasks(void)
{
        run(many, 0);
}

static int too_many(void *unused)
{
        TRACTOR_NURSERY(n);
        unsigned ended = 0, started = 0;
        int r;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        while ((r = tractor_start_task(n, "idle", idle, &ended, NULL)) >= 0)
                started++;
        CHECK_EQ(r, -EAGAIN);
        CHECK_EQ(started, 9); /* the tenth is the main task */
        tractor_nursery_cancel(n, NULL);
        return tractor_nursery_close(&n, 0);
}

static void the_limit_of_tasks_is_answered(void)
{
        tractor_options o = { .size = sizeof(o), .max_tasks = 10 };

        CHECK_EQ(tractor_run(&o, too_many, NULL), 0);
}

static int waits_for_fd(void *unused)
{
        int fds[2];
        char c;

        CHECK_EQ(pipe(fds), 0);
        tractor_scope *s = tractor_move_on_after(2 * TRACTOR_MSEC);
        int r = tractor_wait_fd(fds[0], 1 /* EPOLLIN */);
        CHECK_EQ(r, -ECANCELED);
        CHECK_EQ(tractor_wait_fd(fds[0], 1), -ECANCELED); /* again and again */
        CHECK_EQ(tractor_scope_close(s, r), 0);
        CHECK_EQ(write(fds[1], "x", 1), 1);
        CHECK_EQ(tractor_wait_fd(fds[0], 1), 1);
        CHECK_EQ(read(fds[0], &c, 1), 1);
        (void) close(fds[0]);
        (void) close(fds[1]);
        return 0;
}

static void descriptors_are_waited_for(void)
{
        run(waits_for_fd, 0);
}

typedef struct Wait {
        int fd, expected;
} Wait;

static int waits_for(void *userdata)
{
        const Wait *w = userdata;

        CHECK_EQ(tractor_wait_fd(w->fd, (uint32_t) w->expected), w->expected);
        return 0;
}

static int waits_for_both_ways(void *unused)
{
        int fds[2];
        char c;
        TRACTOR_NURSERY(n);

        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        Wait in = { fds[0], EPOLLIN }, out = { fds[0], EPOLLOUT };
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, "reader", waits_for, &in, NULL), 0);
        CHECK_EQ(tractor_start_task(n, "writer", waits_for, &out, NULL), 0);
        CHECK_EQ(tractor_start_task(n, "other reader", waits_for, &in, NULL), 0);
        while (tractor_nursery_n_tasks(n) > 2)
                CHECK_EQ(tractor_sleep(TRACTOR_MSEC), 0);
        CHECK_EQ(write(fds[1], "x", 1), 1);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_EQ(read(fds[0], &c, 1), 1);
        (void) close(fds[0]);
        /* No duplicate is left: the other end reads its end. */
        in = (Wait){ fds[1], EPOLLIN | EPOLLHUP };
        CHECK_EQ(waits_for(&in), 0);
        (void) close(fds[1]);
        return 0;
}

static void one_descriptor_has_several_waiters(void)
{
        run(waits_for_both_ways, 0);
}

/* --- scopes --- */
static int deadlines(void *unused)
{
        tractor_scope *outer = tractor_fail_after(5 * TRACTOR_MSEC);
        tractor_scope *inner = tractor_move_on_after(TRACTOR_SEC * 100);
        int r = tractor_sleep_forever();

        CHECK_EQ(r, -ECANCELED);
        r = tractor_scope_close(inner, r);
        CHECK_EQ(r, -ECANCELED); /* it was not this one */
        r = tractor_scope_close(outer, r);
        CHECK_EQ(r, -ETIMEDOUT);
        CHECK_STR(tractor_error_type(tractor_last_error()), "DeadlineExceeded");
        CHECK_EQ(tractor_current_deadline(), TRACTOR_FOREVER);
        return 0;
}

static void the_nearest_deadline_holds(void)
{
        run(deadlines, 0);
}

static int shields(void *unused)
{
        tractor_scope *s = tractor_scope_open();
        tractor_scope_cancel(s, "now");
        CHECK_STR(tractor_scope_reason(s), "now");
        CHECK_EQ(tractor_checkpoint(), -ECANCELED);
        tractor_scope *shield = tractor_shield(TRACTOR_SEC * 10);
        CHECK(!tractor_is_cancelled());
        CHECK_EQ(tractor_sleep(TRACTOR_MSEC), 0);
        tractor_scope_set_shield(shield, false);
        CHECK_EQ(tractor_sleep(TRACTOR_MSEC), -ECANCELED);
        CHECK_EQ(tractor_scope_close(shield, -ECANCELED), -ECANCELED);
        CHECK_EQ(tractor_scope_close(s, -ECANCELED), 0);
        return 0;
}

static void a_shield_holds_until_it_is_lifted(void)
{
        run(shields, 0);
}

static int own_errors(void *unused)
{
        tractor_scope *s = tractor_scope_open();
        tractor_scope_cancel(s, NULL);
        CHECK_EQ(tractor_scope_close(s, -ENOENT), -ENOENT); /* a failure during the cleanup is not masked */
        return 0;
}

static void a_failure_beats_a_cancel(void)
{
        run(own_errors, 0);
}

/* --- nurseries --- */
static int fails(void *what)
{
        CHECK_EQ(tractor_checkpoint(), 0);
        return tractor_fail("Broken", "%s broke", (const char *) what);
}

static int one_fails(void *unused)
{
        TRACTOR_NURSERY(n);
        unsigned ended = 0;
        int r;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, "idle", idle, &ended, NULL), 0);
        CHECK_EQ(tractor_start_task(n, "pot", fails, (void *) "pot", NULL), 0);
        r = tractor_sleep_forever();
        CHECK_EQ(r, -ECANCELED);
        r = tractor_nursery_close(&n, r);
        CHECK_EQ(r, -EREMOTEIO);
        CHECK_EQ(ended, 1);
        CHECK_STR(tractor_error_type(tractor_last_error()), "Broken");
        CHECK_STR(tractor_error_message(tractor_last_error()), "pot broke");
        return 0;
}

static void the_first_failure_cancels_the_rest(void)
{
        run(one_fails, 0);
}

static int group(void *unused)
{
        tractor_nursery_options o = { .size = sizeof(o), .strategy = "one_cancels_one" };
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(&o, &n), 0);
        for (unsigned i = 0; i < 25; i++)
                CHECK_EQ(tractor_start_task(n, NULL, fails, (void *) "pot", NULL), 0);
        CHECK_EQ(tractor_sleep(TRACTOR_MSEC), 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), -ETOOMANYREFS);
        CHECK_EQ(tractor_error_n_causes(tractor_last_error()), 25);
        CHECK_STR(tractor_error_message(tractor_error_cause(tractor_last_error(), 24)), "pot broke");
        return 0;
}

static void all_failures_are_told(void)
{
        run(group, 0);
}

static int inner_dropped(void)
{
        unsigned ended = 0;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, NULL, fails, (void *) "cup", NULL), 0);
        CHECK_EQ(tractor_start_task(n, NULL, idle, &ended, NULL), 0);
        CHECK_EQ(tractor_sleep(TRACTOR_MSEC), -ECANCELED);
        return 0;
}

static int dropped(void *unused)
{
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(inner_dropped(), 0);
        CHECK_EQ(tractor_sleep(TRACTOR_MSEC), -ECANCELED);
        CHECK_EQ(tractor_nursery_close(&n, 0), -EREMOTEIO);
        CHECK_STR(tractor_error_message(tractor_last_error()), "cup broke");
        return 0;
}

static void a_dropped_nursery_tells_the_one_around_it(void)
{
        run(dropped, 0);
}

static int leaver(void *userdata)
{
        tractor_nursery *n;
        unsigned *ended = userdata;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, NULL, idle, ended, NULL), 0);
        (void) tractor_scope_open();
        CHECK_EQ(tractor_checkpoint(), 0);
        return 0;
}

static int leftovers(void *unused)
{
        TRACTOR_NURSERY(n);
        unsigned ended = 0;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, NULL, leaver, &ended, NULL), 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_EQ(ended, 1);
        return 0;
}

static void what_a_task_leaves_open_is_closed(void)
{
        run(leftovers, 0);
}

static int starts(void *how)
{
        struct json_object *v = json_new_string("up", SIZE_MAX);

        if (streq(how, "fails"))
                return (void) json_unref(v), tractor_fail("Cold", "no start");
        if (streq(how, "silent"))
                return (void) json_unref(v), 0;
        if (tractor_sleep(TRACTOR_MSEC) < 0)
                return (void) json_unref(v), -ECANCELED;
        CHECK_EQ(tractor_task_started(v), 0);
        CHECK_EQ(tractor_task_started(NULL), -EALREADY);
        return tractor_sleep_forever();
}

static int started(void *unused)
{
        TRACTOR_NURSERY(n);
        Json *v = NULL;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start(n, "good", starts, (void *) "good", NULL, &v), 0);
        CHECK_STR(json_string(v), "up");
        json_unref(v);
        CHECK_EQ(tractor_start(n, "fails", starts, (void *) "fails", NULL, &v), -EREMOTEIO);
        CHECK_STR(tractor_error_type(tractor_last_error()), "Cold");
        CHECK_EQ(tractor_start(n, "silent", starts, (void *) "silent", NULL, &v), -EPROTO);
        tractor_scope *s = tractor_move_on_after(0);
        int r = tractor_start(n, "slow", starts, (void *) "slow", NULL, NULL);
        CHECK_EQ(r, -ECANCELED);
        CHECK_EQ(tractor_scope_close(s, r), 0);
        CHECK_EQ(tractor_nursery_n_tasks(n), 1);
        tractor_nursery_cancel(n, NULL);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        return 0;
}

static void start_waits_for_started(void)
{
        run(started, 0);
}

static int deep(void *depth)
{
        TRACTOR_NURSERY(n);
        uintptr_t k = (uintptr_t) depth;

        if (k == 0)
                return tractor_fail("Bottom", "reached");
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, NULL, deep, (void *) (k - 1), NULL), 0);
        return tractor_nursery_close(&n, tractor_sleep_forever());
}

static int nested(void *unused)
{
        CHECK_EQ(deep((void *) (uintptr_t) 1000), -EREMOTEIO);
        CHECK_STR(tractor_error_type(tractor_last_error()), "Bottom");
        return 0;
}

static void nurseries_nest(void)
{
        run(nested, 0);
}

static int late(void *nursery)
{
        return tractor_start_task(nursery, NULL, sleeps, NULL, NULL);
}

static int shutdown_refuses(void *unused)
{
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, NULL, late, n, NULL), 0); /* while others run it may */
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        tractor_nursery_cancel(n, NULL);
        CHECK_EQ(tractor_start_task(n, NULL, sleeps, NULL, NULL), -ECANCELED);
        return tractor_nursery_close(&n, 0);
}

static void nothing_starts_at_the_end(void)
{
        run(shutdown_refuses, 0);
}

static int waits_for_itself(void *n)
{
        CHECK_EQ(tractor_nursery_wait(n), -EINVAL);
        return 0;
}

static int breaks_down(void *unused)
{
        return -EPIPE;
}

static int waits_for_all(void *unused)
{
        tractor_nursery_options keep = { .size = sizeof(keep), .strategy = "one_cancels_one" };
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(&keep, &n), 0);
        CHECK_EQ(tractor_nursery_wait(n), 0);
        for (int i = 0; i < 2; i++) {
                CHECK_EQ(tractor_start_task(n, NULL, sleeps, NULL, NULL), 0);
                CHECK_EQ(tractor_start_task(n, NULL, waits_for_itself, n, NULL), 0);
                CHECK_EQ(tractor_nursery_wait(n), 0);
                CHECK_EQ(tractor_nursery_n_tasks(n), 0);
        }
        CHECK_EQ(tractor_start_task(n, NULL, breaks_down, NULL, NULL), 0);
        CHECK_EQ(tractor_nursery_wait(n), 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), -EPIPE);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, NULL, breaks_down, NULL, NULL), 0);
        int r = tractor_nursery_wait(n);
        CHECK_EQ(r, -ECANCELED);
        CHECK_EQ(tractor_nursery_close(&n, r), -EPIPE);
        return 0;
}

static void a_nursery_is_waited_for_and_used_again(void)
{
        run(waits_for_all, 0);
}

static void compute(uint64_t usec)
{
        for (uint64_t until = tractor_now() + usec; tractor_now() < until;)
                ;
}

static int computes(void *unused)
{
        unsigned n = 0;
        tractor_scope *s = tractor_move_on_after(10 * TRACTOR_MSEC);

        for (; tractor_checkpoint() >= 0; n++)
                compute(5 * TRACTOR_MSEC);
        CHECK(n <= 3); /* the piece in which it struck, and what lies before it */
        CHECK_EQ(tractor_scope_close(s, -ECANCELED), 0);

        s = tractor_move_on_after(0);
        CHECK_EQ(tractor_checkpoint(), -ECANCELED);
        CHECK_EQ(tractor_scope_close(s, -ECANCELED), 0);
        return 0;
}

static void a_computation_meets_its_deadline(void)
{
        run(computes, 0);
}

static int interrupted(void *unused)
{
        CHECK_EQ(raise(SIGINT), 0);
        return tractor_sleep_forever();
}

static void an_interrupt_is_reported(void)
{
        run(interrupted, -EINTR);
}

TEST_MAIN({ "tasks_take_turns", tasks_take_turns }, { "sleep_lasts", sleep_lasts },
                { "two_thousand_tasks", two_thousand_tasks },
                { "the_limit_of_tasks_is_answered", the_limit_of_tasks_is_answered },
                { "descriptors_are_waited_for", descriptors_are_waited_for },
                { "one_descriptor_has_several_waiters", one_descriptor_has_several_waiters },
                { "a_nursery_is_waited_for_and_used_again", a_nursery_is_waited_for_and_used_again },
                { "the_nearest_deadline_holds", the_nearest_deadline_holds },
                { "a_computation_meets_its_deadline", a_computation_meets_its_deadline },
                { "a_shield_holds_until_it_is_lifted", a_shield_holds_until_it_is_lifted },
                { "a_failure_beats_a_cancel", a_failure_beats_a_cancel },
                { "the_first_failure_cancels_the_rest", the_first_failure_cancels_the_rest },
                { "all_failures_are_told", all_failures_are_told },
                { "a_dropped_nursery_tells_the_one_around_it", a_dropped_nursery_tells_the_one_around_it },
                { "what_a_task_leaves_open_is_closed", what_a_task_leaves_open_is_closed },
                { "start_waits_for_started", start_waits_for_started }, { "nurseries_nest", nurseries_nest },
                { "nothing_starts_at_the_end", nothing_starts_at_the_end },
                { "an_interrupt_is_reported", an_interrupt_is_reported });
