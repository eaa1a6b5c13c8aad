/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks in a loop that is not ours: the poll interface. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "libtractor/nursery.h"
#include "test.h"

static int ended_with;
static unsigned n_ended;

static void on_end(int r, void *userdata)
{
        ended_with = r;
        n_ended++;
        if (userdata == &ended_with)
                tractor_close();
}

static void open_with(int (*body)(void *), void *userdata)
{
        n_ended = 0;
        CHECK_EQ(tractor_open(NULL, body, userdata, on_end), 0);
}

static int timeout_ms(void)
{
        uint64_t until, now = tractor_now();

        CHECK_EQ(tractor_get_timeout(&until), 0);
        if (until == TRACTOR_FOREVER)
                return -1;
        return until <= now ? 0 : (int) ((until - now + 999) / 1000);
}

/* One turn, as any loop would do it. What never comes is ended by the guard around the test. */
static int turn(void)
{
        struct pollfd p = { .fd = tractor_get_fd(), .events = (short) tractor_get_events() };

        CHECK(p.fd >= 0);
        CHECK(poll(&p, 1, timeout_ms()) >= 0);
        return tractor_process();
}

static void run_to_end(int expected)
{
        int r;

        while ((r = turn()) > 0)
                ;
        CHECK_EQ(r, 0);
        CHECK_EQ(n_ended, 1);
        CHECK_EQ(ended_with, expected);
        CHECK_EQ(tractor_process(), 0); /* and stays so */
        CHECK_EQ(n_ended, 1);
        tractor_close();
        CHECK_EQ(tractor_process(), -ENOTCONN);
        CHECK_EQ(tractor_get_fd(), -ENOTCONN);
}

/* Until nothing but the descriptor is left to be waited for. */
static void settle(void)
{
        while (timeout_ms() == 0)
                CHECK_EQ(tractor_process(), 1);
        CHECK_EQ(timeout_ms(), -1);
}

static int sleeps(void *userdata)
{
        for (unsigned i = 0; i < 5; i++)
                CHECK_EQ(tractor_sleep(TRACTOR_MSEC), 0);
        return 7;
}

static void timers_come_through_the_descriptor(void)
{
        open_with(sleeps, NULL);
        run_to_end(7);
}

static int give_way(void *counter)
{
        for (unsigned i = 0; i < 2000; i++) {
                CHECK_EQ(tractor_checkpoint(), 0);
                (*(unsigned *) counter)++;
        }
        return 0;
}

/* A task that is always ready neither starves the host nor is left by it. */
static void the_host_has_its_turns(void)
{
        unsigned counter = 0, n_turns = 0, last = 0;
        int r;

        open_with(give_way, &counter);
        while ((r = turn()) > 0) {
                n_turns++;
                CHECK(counter > last || counter == 0);
                last = counter;
        }
        CHECK_EQ(r, 0);
        CHECK_EQ(counter, 2000);
        tractor_close();
}

typedef struct Pair {
        int fds[2];
        char got[8];
} Pair;

static int reads(void *userdata)
{
        Pair *p = userdata;

        for (unsigned i = 0; i < 3; i++) {
                CHECK_EQ(tractor_wait_fd(p->fds[0], EPOLLIN), EPOLLIN);
                CHECK_EQ(read(p->fds[0], &p->got[i], 1), 1);
        }
        return 0;
}

/* Between process() and poll(): the descriptor says so. */
static void input_is_seen_at_any_time(void)
{
        Pair p = { 0 };

        CHECK_EQ(pipe(p.fds), 0);
        open_with(reads, &p);
        CHECK_EQ(timeout_ms(), 0);
        settle();
        CHECK_EQ(write(p.fds[1], "a", 1), 1);
        CHECK_EQ(turn(), 1);
        CHECK_STR(p.got, "a");
        settle();
        CHECK_EQ(write(p.fds[1], "bc", 2), 2);
        run_to_end(0);
        CHECK_STR(p.got, "abc");
        (void) close(p.fds[0]);
        (void) close(p.fds[1]);
}

static WaitQueue queue;

static int waits(void *unused)
{
        wait_queue_init(&queue);
        return task_park(&queue, "the host", USEC_INFINITY);
}

/* What the host itself does is no event of the kernel's. */
static void a_wake_up_by_the_host_is_not_lost(void)
{
        open_with(waits, NULL);
        settle();
        CHECK(wait_queue_wake(&queue, 5));
        CHECK_EQ(timeout_ms(), 0);
        run_to_end(5);
}

static tractor_scope *open_scope;

static int waits_in_scope(void *unused)
{
        open_scope = tractor_scope_open();
        return tractor_scope_close(open_scope, tractor_sleep_forever());
}

static void a_deadline_set_by_the_host_is_kept(void)
{
        open_with(waits_in_scope, NULL);
        settle();
        tractor_scope_set_deadline(open_scope, tractor_now() + 2 * TRACTOR_MSEC);
        run_to_end(0);
        open_with(waits_in_scope, NULL);
        settle();
        tractor_cancel_all("the host says so");
        run_to_end(0);
}

static int only_returns(void *unused)
{
        CHECK_EQ(tractor_process(), -EDEADLK);
        return -ENOENT;
}

static void the_end_may_be_closed_at_once(void)
{
        CHECK_EQ(tractor_open(NULL, only_returns, &ended_with, on_end), 0);
        CHECK_EQ(tractor_open(NULL, only_returns, &ended_with, on_end), -EBUSY);
        n_ended = 0;
        while (turn() > 0)
                ;
        CHECK_EQ(n_ended, 1);
        CHECK_EQ(ended_with, -ENOENT);
        CHECK_EQ(tractor_get_fd(), -ENOTCONN); /* on_end closed it */
}

static int keeps_on(void *counter)
{
        tractor_scope *s = tractor_shield(TRACTOR_FOREVER);
        int r = tractor_sleep_forever();

        CHECK_EQ(r, -ECANCELED);
        CHECK_EQ(tractor_sleep(TRACTOR_SEC), -ECANCELED);
        (*(unsigned *) counter)++;
        return tractor_scope_close(s, r);
}

static int has_tasks(void *counter)
{
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        for (unsigned i = 0; i < 10; i++)
                CHECK_EQ(tractor_start_task(n, NULL, keeps_on, counter, NULL), 0);
        return tractor_nursery_close(&n, tractor_sleep_forever());
}

static int interrupted(void *unused)
{
        return tractor_sleep_forever();
}

static void closing_ends_what_has_not_ended(void)
{
        unsigned counter = 0;

        open_with(has_tasks, &counter);
        settle();
        tractor_close();
        CHECK_EQ(counter, 10);
        CHECK_EQ(n_ended, 0);
        open_with(interrupted, NULL); /* before it ever ran: it runs, cancelled */
        tractor_close();
        CHECK_EQ(n_ended, 0);
        tractor_close();
}

static void an_interrupt_ends_it(void)
{
        open_with(interrupted, NULL);
        settle();
        CHECK_EQ(raise(SIGINT), 0);
        run_to_end(-EINTR);
}

TEST_MAIN({ "timers_come_through_the_descriptor", timers_come_through_the_descriptor },
                { "the_host_has_its_turns", the_host_has_its_turns },
                { "input_is_seen_at_any_time", input_is_seen_at_any_time },
                { "a_wake_up_by_the_host_is_not_lost", a_wake_up_by_the_host_is_not_lost },
                { "a_deadline_set_by_the_host_is_kept", a_deadline_set_by_the_host_is_kept },
                { "the_end_may_be_closed_at_once", the_end_may_be_closed_at_once },
                { "closing_ends_what_has_not_ended", closing_ends_what_has_not_ended },
                { "an_interrupt_ends_it", an_interrupt_ends_it });
