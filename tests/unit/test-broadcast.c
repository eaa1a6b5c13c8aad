/* SPDX-License-Identifier: Apache-2.0 */
/* Broadcasts: an item says its own number, so every subscriber can tell what it must have lost. */
#include <errno.h>

#include "draw.h"
#include "tractor/tractor.h"
#include "wire/json.h"

#ifdef __SANITIZE_ADDRESS__
#define ROUNDS 100U
#else
#define ROUNDS 1000U
#endif
#define SUBSCRIBERS 22U

static void run(int (*body)(void *))
{
        CHECK_EQ(tractor_run(NULL, body, NULL), 0);
}

static Json *item_of(uint64_t number)
{
        Json *item = NULL;

        CHECK_EQ(json_pack(&item, "I", (int64_t) number), 0);
        return item;
}

/* --- random, against an oracle that keeps all items for ever --- */
typedef struct Reader {
        tractor_subscription *s; /* NULL: it has none */
        uint64_t seen;           /* of `published` */
        uint64_t expected;       /* number */
} Reader;

static tractor_broadcast *source;
static size_t size;
static uint64_t published[4096];
static uint64_t n_published, number;
static Reader readers[6];
static bool closed;

static void check_receive(Reader *reader)
{
        uint64_t lost = 0;
        Json *item = NULL;
        int r = tractor_subscription_try_receive(reader->s, &item, &lost);

        if (reader->seen == n_published) {
                CHECK_EQ(r, closed ? 0 : -EAGAIN);
                CHECK_EQ(lost, closed ? number - reader->expected : 0);
                if (closed)
                        reader->expected = number;
                return;
        }
        if (n_published - reader->seen > size)
                reader->seen = n_published - size;
        CHECK_EQ(r, 1);
        CHECK_EQ(json_integer(item), published[reader->seen]);
        CHECK_EQ(lost, published[reader->seen] - reader->expected);
        reader->expected = published[reader->seen++] + 1;
        json_unref(item);
}

static void check_publish(void)
{
        bool anybody = tractor_broadcast_n_subscriptions(source) > 0;
        int r = tractor_broadcast_publish(source, item_of(number));

        CHECK_EQ(r, closed ? -EPIPE : 0);
        if (r < 0)
                return;
        if (anybody)
                published[n_published++] = number;
        number++;
}

static void check_subscribe(Reader *reader)
{
        if (reader->s) {
                reader->s = tractor_subscription_free(reader->s);
                return;
        }
        CHECK_EQ(tractor_broadcast_subscribe(source, &reader->s), 0);
        reader->seen = n_published;
        reader->expected = number;
}

static void one_step(void)
{
        Reader *reader = &readers[draw(ELEMENTSOF(readers))];
        unsigned what = draw(100);

        if (what < 45)
                check_publish();
        else if (what < 85 && reader->s)
                check_receive(reader);
        else if (what < 95)
                check_subscribe(reader);
        else if (what < 98 && !closed) {
                unsigned n = draw(5);

                tractor_broadcast_lost(source, n);
                number += n;
        } else if (draw(20) == 0) {
                tractor_broadcast_close(source, 0);
                closed = true;
        }
}

static int random_steps(void *unused)
{
        for (unsigned round = 0; round < ROUNDS; round++) {
                size = 1 + draw(9);
                source = tractor_broadcast_new(size);
                number = n_published = 0;
                closed = false;
                for (unsigned i = 0; i < 400; i++)
                        one_step();
                tractor_broadcast_free(source);
                closed = true;
                for (size_t i = 0; i < ELEMENTSOF(readers); i++) {
                        Reader *reader = &readers[i];

                        /* What is left in it outlives it. */
                        for (unsigned k = 0; reader->s && k < 12; k++)
                                check_receive(reader);
                        reader->s = tractor_subscription_free(reader->s);
                }
        }
        return 0;
}

static void any_schedule_agrees_with_the_oracle(void)
{
        draw_begin(5);
        run(random_steps);
}

/* --- tasks: all get as much, a slow one is told, one that ends stalls no one --- */
typedef struct Subscriber {
        tractor_subscription *s;
        uint64_t received, lost, pause;
        unsigned stop_after; /* 0: never */
        int r;
} Subscriber;

static int subscriber(void *userdata)
{
        Subscriber *me = userdata;
        uint64_t expected = 0, lost;
        Json *item;

        while ((me->r = tractor_subscription_receive(me->s, &item, &lost)) > 0) {
                CHECK_EQ(json_integer(item), expected + lost);
                expected += lost + 1;
                json_unref(item);
                me->received++;
                me->lost += lost;
                if (me->stop_after && me->received == me->stop_after)
                        break;
                for (uint64_t i = 0; i < me->pause; i++)
                        CHECK_EQ(tractor_checkpoint(), 0);
        }
        me->s = tractor_subscription_free(me->s);
        return 0;
}

static int fan_out(void *unused)
{
        TRACTOR_NURSERY(n);
        Subscriber all[SUBSCRIBERS] = { 0 };
        tractor_broadcast *b = tractor_broadcast_new(8);

        all[3].pause = 20;      /* turns of the scheduler: it can't keep up */
        all[5].stop_after = 10; /* leaves */
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        for (unsigned i = 0; i < SUBSCRIBERS; i++) {
                CHECK_EQ(tractor_broadcast_subscribe(b, &all[i].s), 0);
                CHECK_EQ(tractor_start_task(n, "subscriber", subscriber, &all[i], NULL), 0);
        }
        for (uint64_t i = 0; i < 1000; i++) {
                CHECK_EQ(tractor_broadcast_publish(b, item_of(i)), 0);
                CHECK_EQ(tractor_checkpoint(), 0);
        }
        CHECK_EQ(tractor_broadcast_n_subscriptions(b), SUBSCRIBERS - 1);
        tractor_broadcast_free(b);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        for (unsigned i = 0; i < SUBSCRIBERS; i++) {
                CHECK_EQ(all[i].r, i == 5 ? 1 : 0);
                CHECK_EQ(all[i].received + all[i].lost, i == 5 ? 10 : 1000);
                CHECK_EQ(all[i].lost > 0, i == 3);
        }
        /* It recovered again and again, rather than being cut off. */
        CHECK(all[3].received > 40);
        return 0;
}

static void all_of_twenty_two_get_as_much(void)
{
        run(fan_out);
}

/* --- cancellation --- */
static int one_item(void *userdata)
{
        Subscriber *me = userdata;
        tractor_scope *s = tractor_fail_after(50 * TRACTOR_SEC);
        Json *item;

        me->r = tractor_subscription_receive(me->s, &item, NULL);
        if (me->r > 0) {
                me->received++;
                json_unref(item);
        }
        return tractor_scope_close(s, MIN(me->r, 0));
}

static int cancelled_reader(void *unused)
{
        TRACTOR_NURSERY(n);
        tractor_broadcast *b = tractor_broadcast_new(4);
        Subscriber me = { 0 };
        Json *item;

        CHECK_EQ(tractor_broadcast_subscribe(b, &me.s), 0);
        /* Cancelled while it waits: what comes later is still there. */
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, NULL, one_item, &me, NULL), 0);
        CHECK_EQ(tractor_checkpoint(), 0);
        tractor_nursery_cancel(n, NULL);
        CHECK_EQ(tractor_broadcast_publish(b, item_of(0)), 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_EQ(me.r, -ECANCELED);
        CHECK_EQ(tractor_subscription_try_receive(me.s, &item, NULL), 1);
        json_unref(item);
        /* Cancelled once it was woken: it has it. */
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, NULL, one_item, &me, NULL), 0);
        CHECK_EQ(tractor_checkpoint(), 0);
        CHECK_EQ(tractor_broadcast_publish(b, item_of(1)), 0);
        tractor_nursery_cancel(n, NULL);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_EQ(me.received, 1);
        tractor_subscription_free(me.s);
        tractor_broadcast_free(b);
        return 0;
}

static void a_cancelled_reader_loses_nothing(void)
{
        run(cancelled_reader);
}

/* --- two tasks at one subscription --- */
static int shared(void *unused)
{
        TRACTOR_NURSERY(n);
        tractor_broadcast *b = tractor_broadcast_new(4);
        Subscriber one = { 0 }, two = { 0 };

        CHECK_EQ(tractor_broadcast_subscribe(b, &one.s), 0);
        two.s = one.s;
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, NULL, one_item, &one, NULL), 0);
        CHECK_EQ(tractor_start_task(n, NULL, one_item, &two, NULL), 0);
        CHECK_EQ(tractor_checkpoint(), 0);
        for (unsigned i = 0; i < 2; i++) {
                CHECK_EQ(one.received + two.received, i);
                CHECK_EQ(tractor_broadcast_publish(b, item_of(i)), 0);
                CHECK_EQ(tractor_checkpoint(), 0);
        }
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_EQ(one.received + two.received, 2);
        tractor_subscription_free(one.s);
        tractor_broadcast_free(b);
        return 0;
}

static void each_item_goes_to_one_of_those_who_share(void)
{
        run(shared);
}

/* --- the end --- */
static int ends(void *unused)
{
        tractor_broadcast *b = tractor_broadcast_new(0);
        tractor_subscription *s;
        Json *item = NULL;

        CHECK_EQ(tractor_broadcast_subscribe(b, &s), 0);
        CHECK_EQ(tractor_broadcast_publish(b, NULL), 0); /* null is an item */
        tractor_broadcast_close(b, tractor_fail("Dry", "nothing comes any more"));
        tractor_broadcast_close(b, 0);
        CHECK_EQ(tractor_broadcast_publish(b, item_of(1)), -EPIPE);
        CHECK_EQ(tractor_subscription_receive(s, &item, NULL), 1);
        CHECK(!item);
        for (unsigned i = 0; i < 2; i++) {
                (void) tractor_fail("Other", "between");
                CHECK_EQ(tractor_subscription_receive(s, &item, NULL), -EREMOTEIO);
                CHECK_STR(tractor_error_type(tractor_last_error()), "Dry");
        }
        tractor_subscription_free(s);
        tractor_broadcast_free(b);

        b = tractor_broadcast_new(0);
        CHECK_EQ(tractor_broadcast_subscribe(b, &s), 0);
        tractor_broadcast_close(b, -ECANCELED);
        CHECK_EQ(tractor_subscription_receive(s, &item, NULL), -EINTR);
        CHECK_STR(tractor_error_type(tractor_last_error()), "Cancelled");
        tractor_broadcast_free(b);
        tractor_subscription_free(s);
        return 0;
}

static void all_are_told_how_the_source_ended(void)
{
        run(ends);
}

TEST_MAIN({ "any_schedule_agrees_with_the_oracle", any_schedule_agrees_with_the_oracle },
                { "all_of_twenty_two_get_as_much", all_of_twenty_two_get_as_much },
                { "a_cancelled_reader_loses_nothing", a_cancelled_reader_loses_nothing },
                { "each_item_goes_to_one_of_those_who_share", each_item_goes_to_one_of_those_who_share },
                { "all_are_told_how_the_source_ended", all_are_told_how_the_source_ended });
