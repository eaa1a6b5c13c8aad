/* SPDX-License-Identifier: Apache-2.0 */
/* What is freed or closed while other tasks wait at it: these are told so, and look at nothing that is gone. */
#include <errno.h>
#include <json-c/json.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test.h"
#include "tractor/tractor.h"

/* A task that waits for something, and how that went. */
typedef struct Waiter {
        int (*wait)(struct Waiter *w);
        void *object;
        int r;
        bool done;
} Waiter;

static int wait_at(void *userdata)
{
        Waiter *w = userdata;

        w->r = w->wait(w);
        w->done = true;
        return 0;
}

/* When this returns it waits. */
static void begin(tractor_nursery *n, Waiter *w, int (*wait)(Waiter *w), void *object)
{
        *w = (Waiter){ .wait = wait, .object = object };
        CHECK_EQ(tractor_start_task(n, "waiter", wait_at, w, NULL), 0);
        for (int i = 0; i < 3; i++)
                CHECK_EQ(tractor_checkpoint(), 0);
        CHECK(!w->done);
}

static void check_told(const Waiter *w, int r)
{
        for (int i = 0; i < 3; i++)
                CHECK_EQ(tractor_checkpoint(), 0);
        CHECK(w->done);
        CHECK_EQ(w->r, r);
}

static void run(int (*body)(void *))
{
        CHECK_EQ(tractor_run(NULL, body, NULL), 0);
}

/* --- what tasks of one process share --- */
static int at_event(Waiter *w)
{
        return tractor_event_wait(w->object);
}

static int at_lock(Waiter *w)
{
        return tractor_lock_acquire(w->object);
}

static int at_semaphore(Waiter *w)
{
        return tractor_semaphore_acquire(w->object);
}

static int at_receiver(Waiter *w)
{
        void *item;

        return tractor_channel_receive(w->object, &item);
}

static int at_sender(Waiter *w)
{
        return tractor_channel_send(w->object, w);
}

static int at_subscription(Waiter *w)
{
        struct json_object *item = NULL;
        int r = tractor_subscription_receive(w->object, &item, NULL);

        json_object_put(item);
        return r;
}

static int frees_what_is_waited_at(void *unused)
{
        tractor_event *event = tractor_event_new();
        tractor_lock *lock = tractor_lock_new();
        tractor_semaphore *semaphore = tractor_semaphore_new(0);
        tractor_channel *in = tractor_channel_new(0, NULL), *out = tractor_channel_new(0, NULL);
        Waiter w[7];
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_lock_acquire(lock), 0);
        begin(n, &w[0], at_event, event);
        begin(n, &w[1], at_event, event);
        begin(n, &w[2], at_lock, lock);
        begin(n, &w[3], at_semaphore, semaphore);
        begin(n, &w[4], at_receiver, in);
        begin(n, &w[5], at_sender, out);
        begin(n, &w[6], at_sender, out);
        tractor_event_free(event);
        tractor_lock_free(lock);
        tractor_semaphore_free(semaphore);
        tractor_channel_free(in);
        tractor_channel_free(out);
        for (int i = 0; i < 7; i++)
                check_told(&w[i], -EBADF);
        return tractor_nursery_close(&n, 0);
}

static void of_one_process(void)
{
        run(frees_what_is_waited_at);
}

/* The others of the same source wait on; and it may go along, or its waiters be cancelled at the same time. */
static int frees_subscriptions(void *unused)
{
        tractor_broadcast *b = tractor_broadcast_new(4);
        struct json_object *item = NULL;
        tractor_subscription *s[3];
        Waiter w[4];
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        for (int i = 0; i < 3; i++)
                CHECK_EQ(tractor_broadcast_subscribe(b, &s[i]), 0);
        begin(n, &w[0], at_subscription, s[0]);
        begin(n, &w[1], at_subscription, s[0]);
        begin(n, &w[2], at_subscription, s[1]);
        tractor_subscription_free(s[0]);
        check_told(&w[0], -EBADF);
        check_told(&w[1], -EBADF);
        CHECK(!w[2].done);
        CHECK_EQ(tractor_broadcast_publish(b, json_object_new_int(1)), 0);
        check_told(&w[2], 1);
        tractor_subscription_free(s[1]);
        CHECK_EQ(tractor_subscription_try_receive(s[2], &item, NULL), 1);
        json_object_put(item);
        begin(n, &w[3], at_subscription, s[2]);
        tractor_subscription_free(s[2]);
        tractor_broadcast_free(b);
        tractor_nursery_cancel(n, NULL);
        (void) tractor_nursery_close(&n, 0);
        CHECK(w[3].done && w[3].r == -EBADF);
        return 0;
}

static void a_subscription(void)
{
        run(frees_subscriptions);
}

/* --- a context, at both ends --- */
static tractor_nursery *outside;
static Waiter of_handler[2];

static int at_context(Waiter *w)
{
        struct json_object *item = NULL;
        int r = tractor_receive(w->object, &item);

        json_object_put(item);
        return r;
}

/* Until there is no more room. */
static int at_context_sender(Waiter *w)
{
        int r;

        do
                r = tractor_send(w->object, json_object_new_int(1));
        while (r >= 0);
        return r;
}

static int idle(tractor_context *c, struct json_object *args, struct json_object **ret)
{
        int r = tractor_context_started(c, NULL, NULL);

        return r < 0 ? r : tractor_sleep_forever();
}

/* Takes and gives nothing until its opener has no more to say. */
static int until_stop(tractor_context *c, struct json_object *args, struct json_object **ret)
{
        struct json_object *item;
        int r = tractor_context_started(c, NULL, NULL);

        while (r >= 0 && (r = tractor_receive(c, &item)) > 0)
                json_object_put(item);
        return r;
}

/* Others use its end when it has gone. */
static int gives_away(tractor_context *c, struct json_object *args, struct json_object **ret)
{
        CHECK_EQ(tractor_context_started(c, NULL, NULL), 0);
        begin(outside, &of_handler[0], at_context, c);
        of_handler[1] = (Waiter){ .wait = at_context_sender, .object = c };
        CHECK_EQ(tractor_start_task(outside, "sender", wait_at, &of_handler[1], NULL), 0);
        CHECK_EQ(tractor_sleep(TRACTOR_MSEC), 0);
        return 0;
}

static const tractor_method methods[] = { { "idle", idle }, { "until_stop", until_stop },
        { "gives_away", gives_away }, { NULL } };

static tractor_portal *open_portal(tractor_nursery *n)
{
        tractor_portal *p = NULL;
        int fds[2];

        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        CHECK_EQ(tractor_serve_fds(n, fds[1], fds[1], methods), 0);
        CHECK_EQ(tractor_portal_open_fds(fds[0], fds[0], &p), 0);
        return p;
}

static int closes_contexts(void *unused)
{
        tractor_context *c = NULL;
        tractor_portal *p;
        Waiter w[3];
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        p = open_portal(n);
        /* Given up. */
        CHECK_EQ(tractor_context_open(p, "idle", NULL, NULL, &c, NULL), 0);
        begin(n, &w[0], at_context, c);
        begin(n, &w[1], at_context_sender, c);
        begin(n, &w[2], at_context_sender, c);
        CHECK_EQ(tractor_context_close(&c, -EPIPE, NULL), -EPIPE);
        for (int i = 0; i < 3; i++)
                check_told(&w[i], -EBADF);
        /* Awaited. */
        CHECK_EQ(tractor_context_open(p, "until_stop", NULL, NULL, &c, NULL), 0);
        begin(n, &w[0], at_context, c);
        CHECK_EQ(tractor_context_close(&c, 0, NULL), 0);
        check_told(&w[0], -EBADF);
        tractor_portal_unref(p);
        tractor_nursery_cancel(n, NULL);
        return tractor_nursery_close(&n, 0);
}

static void an_openers_context(void)
{
        run(closes_contexts);
}

static int handler_ends(void *unused)
{
        tractor_context *c = NULL;
        tractor_portal *p;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        outside = n;
        p = open_portal(n);
        CHECK_EQ(tractor_context_open(p, "gives_away", NULL, NULL, &c, NULL), 0);
        while (!of_handler[0].done || !of_handler[1].done)
                CHECK_EQ(tractor_sleep(TRACTOR_MSEC), 0);
        CHECK_EQ(tractor_context_close(&c, 0, NULL), 0);
        CHECK_EQ(of_handler[0].r, -EBADF);
        CHECK(of_handler[1].r == -EBADF || of_handler[1].r == -EPIPE);
        tractor_portal_unref(p);
        tractor_nursery_cancel(n, NULL);
        return tractor_nursery_close(&n, 0);
}

static void a_handlers_context(void)
{
        run(handler_ends);
}

/* --- what is counted lasts as long as it is waited at --- */
static int at_portal(Waiter *w)
{
        return tractor_portal_call(w->object, "idle", NULL, NULL);
}

static int portal_is_let_go(void *unused)
{
        tractor_portal *p;
        Waiter w;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        p = open_portal(n);
        w = (Waiter){ .wait = at_portal, .object = p };
        CHECK_EQ(tractor_start_task(n, "caller", wait_at, &w, NULL), 0);
        CHECK_EQ(tractor_checkpoint(), 0);
        CHECK_EQ(tractor_checkpoint(), 0);
        tractor_portal_unref(p);
        while (!w.done)
                CHECK_EQ(tractor_sleep(TRACTOR_MSEC), 0);
        CHECK_EQ(w.r, -EPROTO); /* it is a dialog: so it was answered */
        tractor_nursery_cancel(n, NULL);
        return tractor_nursery_close(&n, 0);
}

static tractor_event *may_open;

static int opens(tractor_entry *e, void *unused)
{
        int r = tractor_event_wait(may_open);

        return r < 0 ? r : tractor_cache_serve(e, NULL);
}

static int at_cache(Waiter *w)
{
        tractor_lease *l = NULL;
        int r = tractor_maybe_open(w->object, "key", opens, NULL, NULL, &l);

        tractor_lease_free(l);
        return r;
}

static int cache_is_let_go(void *unused)
{
        tractor_cache *cache = NULL;
        Waiter w[2];
        TRACTOR_NURSERY(n);

        may_open = tractor_event_new();
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_cache_new(n, &cache), 0);
        begin(n, &w[0], at_cache, cache);
        begin(n, &w[1], at_cache, cache);
        tractor_cache_free(cache);
        tractor_event_set(may_open);
        check_told(&w[0], 1);
        check_told(&w[1], 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        tractor_event_free(may_open);
        return 0;
}

static void what_is_counted(void)
{
        run(portal_is_let_go);
        run(cache_is_let_go);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = { { "of_one_process", of_one_process },
                { "a_subscription", a_subscription }, { "an_openers_context", an_openers_context },
                { "a_handlers_context", a_handlers_context }, { "what_is_counted", what_is_counted } };

        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
