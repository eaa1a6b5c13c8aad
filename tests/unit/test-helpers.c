/* SPDX-License-Identifier: Apache-2.0 */
/* Gathering results, topics, and trying again. */
#include <errno.h>

#include "draw.h"
#include "libtractor/retry.h"
#include "tractor/tractor.h"
#include "wire/json.h"

static void run(int (*body)(void *))
{
        CHECK_EQ(tractor_run(NULL, body, NULL), 0);
}

/* --- gather --- */
static int square(void *userdata, Json **ret)
{
        int k = (int) (uintptr_t) userdata;

        /* The last one is done first. */
        for (int i = k; i < 10; i++)
                CHECK_EQ(tractor_checkpoint(), 0);
        return json_pack(ret, "i", k * k);
}

static int breaks(void *unused, Json **ret)
{
        return tractor_fail("Broken", "no result");
}

static int waits(void *cancelled, Json **ret)
{
        int r = tractor_sleep_forever();

        *(bool *) cancelled = true;
        return r;
}

static int gathers(void *unused)
{
        tractor_work works[10];
        Json *results[10] = { NULL };

        for (unsigned i = 0; i < 10; i++)
                works[i] = (tractor_work){ .fn = square, .userdata = (void *) (uintptr_t) i };
        CHECK_EQ(tractor_gather(works, 10, results), 0);
        for (unsigned i = 0; i < 10; i++) {
                CHECK_EQ(json_integer(results[i]), i * i);
                json_unref(results[i]);
        }
        CHECK_EQ(tractor_gather(NULL, 0, NULL), 0);
        return 0;
}

static void results_come_in_order(void)
{
        run(gathers);
}

static int gather_breaks(void *unused)
{
        bool cancelled = false;
        tractor_work works[] = { { square, (void *) 10, "square" }, { waits, &cancelled, "waits" },
                { breaks, NULL, "breaks" } };
        Json *results[3] = { NULL };

        CHECK_EQ(tractor_gather(works, 3, results), -EREMOTEIO);
        CHECK_STR(tractor_error_type(tractor_last_error()), "Broken");
        CHECK(cancelled);
        for (unsigned i = 0; i < 3; i++)
                CHECK(!results[i]);
        return 0;
}

static void one_failure_is_that_of_all(void)
{
        run(gather_breaks);
}

static int gather_cancelled(void *unused)
{
        bool cancelled = false;
        tractor_work works[] = { { square, (void *) 10, NULL }, { waits, &cancelled, NULL } };
        Json *results[2] = { NULL };
        tractor_scope *s = tractor_move_on_after(TRACTOR_MSEC);
        int r = tractor_gather(works, 2, results);

        CHECK_EQ(r, -ECANCELED);
        CHECK(cancelled && !results[0]);
        CHECK_EQ(tractor_gather(works, 2, results), -ECANCELED);
        return tractor_scope_close(s, r);
}

static void a_gathering_can_be_given_up(void)
{
        run(gather_cancelled);
}

/* --- topics --- */
static void publish(tractor_topics *t, const char *topic, int value, int reached)
{
        Json *v = NULL;

        CHECK_EQ(json_pack(&v, "i", value), 0);
        CHECK_EQ(tractor_topics_publish(t, topic, v), reached);
}

static void expect(tractor_subscription *s, const char *topic, int value)
{
        uint64_t lost;
        Json *item;

        CHECK_EQ(tractor_subscription_receive(s, &item, &lost), 1);
        CHECK_STR(json_get_string(item, "topic", NULL), topic);
        CHECK_EQ(json_get_integer(item, "value", -1), value);
        CHECK_EQ(lost, 0);
        json_unref(item);
}

static int subscribes(void *unused)
{
        tractor_topics *t = tractor_topics_new(4);
        tractor_subscription *all, *eu, *again, *fresh;
        Json *item;

        publish(t, "orders/eu/new", 0, 0);
        CHECK_EQ(tractor_topics_subscribe(t, "", &all), 0);
        CHECK_EQ(tractor_topics_subscribe(t, "orders/eu", &eu), 0);
        CHECK_EQ(tractor_topics_subscribe(t, "orders/eu", &again), 0);
        CHECK_EQ(tractor_topics_subscribe(t, "orders/eu/new", &fresh), 0);
        publish(t, "orders/eu/new", 1, 4);
        publish(t, "orders/eu", 2, 3);
        publish(t, "orders/europe", 3, 1);
        expect(all, "orders/eu/new", 1);
        expect(all, "orders/eu", 2);
        expect(all, "orders/europe", 3);
        expect(eu, "orders/eu/new", 1);
        expect(eu, "orders/eu", 2);
        expect(fresh, "orders/eu/new", 1);
        CHECK_EQ(tractor_subscription_try_receive(fresh, &item, NULL), -EAGAIN);
        tractor_subscription_free(again);
        tractor_subscription_free(eu);
        publish(t, "orders/eu", 4, 1); /* nobody there but at "" */
        CHECK_EQ(tractor_topics_subscribe(t, "orders/eu", &eu), 0);
        CHECK_EQ(tractor_subscription_try_receive(eu, &item, NULL), -EAGAIN);
        publish(t, "orders/eu/new", 5, 3);
        tractor_topics_free(t);
        expect(fresh, "orders/eu/new", 5);
        CHECK_EQ(tractor_subscription_receive(fresh, &item, NULL), 0);
        tractor_subscription_free(fresh);
        tractor_subscription_free(eu);
        tractor_subscription_free(all);
        return 0;
}

static void a_topic_has_what_is_below_it(void)
{
        run(subscribes);
}

/* --- retry --- */
static void delays_double_up_to_a_cap(void)
{
        tractor_retry_policy p = { .size = sizeof(p), .first_usec = 1000, .max_usec = 10000 };
        tractor_retry_policy wide = { .size = sizeof(p), .first_usec = 1, .max_usec = UINT64_MAX };
        static const uint64_t most[] = { 1000, 2000, 4000, 8000, 10000, 10000 };

        draw_begin(7);
        for (unsigned n = 1; n <= ELEMENTSOF(most); n++) {
                uint64_t least = UINT64_MAX, longest = 0;

                for (unsigned i = 0; i < 2000; i++) {
                        uint64_t d = retry_delay(&p, n, (uint64_t) draw(INT32_MAX));

                        least = MIN(least, d);
                        longest = MAX(longest, d);
                }
                CHECK(least >= most[n - 1] / 2 && longest <= most[n - 1]);
                CHECK(longest - least > most[n - 1] / 3); /* it does vary */
        }
        CHECK_EQ(retry_delay(NULL, 1, 0), 100 * TRACTOR_MSEC);
        CHECK_EQ(retry_delay(NULL, UINT32_MAX, 0), 10 * TRACTOR_SEC);
        CHECK(retry_delay(&wide, UINT32_MAX, 0) == UINT64_MAX);
}

typedef struct Tries {
        unsigned n, succeeds_at;
        int fails_with;
        char key[64];
} Tries;

static int attempt(const char *key, void *userdata)
{
        Tries *t = userdata;

        CHECK_EQ(strlen(key), 32);
        CHECK_EQ(strspn(key, "0123456789abcdef"), 32);
        if (t->n++ == 0)
                strcpy(t->key, key);
        CHECK_STR(key, t->key);
        return t->n == t->succeeds_at ? 7 : t->fails_with;
}

static bool also_busy(int r, void *userdata)
{
        return r == -EBUSY;
}

static int retries(void *unused)
{
        tractor_retry_policy p = { .size = sizeof(p), .first_usec = 1, .max_usec = 50 }, none = { 0 };
        Tries t = { .fails_with = -ECONNRESET, .succeeds_at = 20 }, u = { .fails_with = -EIO };

        CHECK_EQ(tractor_retry(&p, attempt, &t), 7);
        CHECK_EQ(t.n, 20);
        CHECK_EQ(tractor_retry(&p, attempt, &u), -EIO);
        CHECK_EQ(u.n, 1);
        CHECK(!streq(t.key, u.key));
        p.max_tries = 5;
        t = (Tries){ .fails_with = -ECONNRESET };
        CHECK_EQ(tractor_retry(&p, attempt, &t), -ECONNRESET);
        CHECK_EQ(t.n, 5);
        p.again = also_busy;
        t = (Tries){ .fails_with = -EBUSY, .succeeds_at = 3 };
        CHECK_EQ(tractor_retry(&p, attempt, &t), 7);
        CHECK_EQ(tractor_retry(&none, attempt, &t), -EINVAL);
        return 0;
}

static void what_passes_is_tried_again(void)
{
        run(retries);
}

static int retry_cancelled(void *unused)
{
        Tries t = { .fails_with = -ECONNRESET };
        tractor_scope *s = tractor_fail_after(3 * TRACTOR_MSEC);
        int r = tractor_retry(NULL, attempt, &t);

        CHECK_EQ(r, -ECANCELED);
        CHECK_EQ(t.n, 1);
        CHECK_EQ(tractor_scope_close(s, r), -ETIMEDOUT);
        return 0;
}

static void trying_again_can_be_given_up(void)
{
        run(retry_cancelled);
}

TEST_MAIN({ "results_come_in_order", results_come_in_order },
                { "one_failure_is_that_of_all", one_failure_is_that_of_all },
                { "a_gathering_can_be_given_up", a_gathering_can_be_given_up },
                { "a_topic_has_what_is_below_it", a_topic_has_what_is_below_it },
                { "delays_double_up_to_a_cap", delays_double_up_to_a_cap },
                { "what_passes_is_tried_again", what_passes_is_tried_again },
                { "trying_again_can_be_given_up", trying_again_can_be_given_up });
