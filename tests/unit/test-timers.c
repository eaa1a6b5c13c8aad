/* SPDX-License-Identifier: Apache-2.0 */
/* The heap of deadlines against an oracle that looks at all of them. */
#include "draw.h"
#include "libtractor/timers.h"

#define TIMERS 200U
#define STEPS 200000U

static Timers heap;
static Timer timers[TIMERS];
/* The oracle: when each is due, never for those that are off. */
static uint64_t due[TIMERS];
static unsigned n_fired;
static uint64_t last, horizon;

static unsigned number(const Timer *t)
{
        return (unsigned) (t - timers);
}

static uint64_t earliest(void)
{
        uint64_t min = USEC_INFINITY;

        for (unsigned i = 0; i < TIMERS; i++)
                min = MIN(min, due[i]);
        return min;
}

static void set(unsigned i, uint64_t when)
{
        CHECK_EQ(timer_set(&heap, &timers[i], when), 0);
        due[i] = when;
}

/* Each is called in its turn, and does to itself and to others what a callback may. */
static void fire(Timer *t)
{
        unsigned i = number(t), other = draw(TIMERS);

        CHECK_EQ(t->index, 0);
        CHECK_EQ(due[i], earliest());
        CHECK(due[i] <= horizon && due[i] >= last);
        last = due[i];
        due[i] = USEC_INFINITY;
        n_fired++;
        /* To a time that is not due yet: else it could come before one that was called already. */
        if (draw(4) == 0)
                set(i, horizon + 1 + draw(50));
        if (draw(8) == 0) {
                timer_off(&heap, &timers[other]);
                due[other] = USEC_INFINITY;
        }
        if (draw(8) == 0)
                set(other, horizon + 1 + draw(50));
}

static void check_heap(void)
{
        size_t on = 0;

        for (unsigned i = 0; i < TIMERS; i++) {
                on += due[i] != USEC_INFINITY;
                CHECK_EQ(timers[i].index != 0, due[i] != USEC_INFINITY);
                if (timers[i].index != 0)
                        CHECK(heap.heap[timers[i].index] == &timers[i]);
        }
        CHECK_EQ(heap.n, on);
}

static void begin(void)
{
        for (unsigned i = 0; i < TIMERS; i++) {
                timers[i] = (Timer){ .fire = fire };
                due[i] = USEC_INFINITY;
        }
        n_fired = 0;
}

static void the_earliest_comes_first(void)
{
        uint64_t now = 1000;

        draw_begin(4);
        begin();
        for (unsigned step = 0; step < STEPS; step++) {
                unsigned i = draw(TIMERS), what = draw(10);

                if (what < 6)
                        set(i, now + draw(100));
                else if (what < 8) {
                        timer_off(&heap, &timers[i]);
                        due[i] = USEC_INFINITY;
                } else if (what < 9)
                        set(i, USEC_INFINITY);
                else {
                        now += draw(20);
                        horizon = now;
                        last = 0;
                        timers_fire(&heap, now);
                        CHECK(earliest() > now);
                }
                CHECK_EQ(timers_next(&heap), earliest());
                if (step % 64 == 0)
                        check_heap();
        }
        CHECK(n_fired > STEPS / 100);
        timers_clear(&heap);
        CHECK_EQ(timers_next(&heap), USEC_INFINITY);
        for (unsigned i = 0; i < TIMERS; i++)
                CHECK_EQ(timers[i].index, 0);
}

static void again_at_once(Timer *t)
{
        n_fired++;
        CHECK_EQ(timer_set(&heap, t, 0), 0);
}

static void one_that_is_always_due_holds_nobody(void)
{
        begin();
        for (unsigned i = 0; i < 3; i++) {
                timers[i].fire = again_at_once;
                set(i, i);
        }
        timers_fire(&heap, 10);
        CHECK_EQ(n_fired, 3);
        CHECK_EQ(heap.n, 3);
        timers_clear(&heap);
}

TEST_MAIN({ "the_earliest_comes_first", the_earliest_comes_first },
                { "one_that_is_always_due_holds_nobody", one_that_is_always_due_holds_nobody });
