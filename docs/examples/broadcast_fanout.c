/* SPDX-License-Identifier: Apache-2.0 */
/* One stream from an actor, fanned out to 22 subscribers here. One of them is slow: it alone loses items, is
 * told how many, and goes on with the newest. The stream and the others never wait for it.
 *
 * Watch it from another terminal:  watch -n 0.1 tractorctl tree */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <tractor/tractor.h>

#define ITEMS 2000
#define SUBSCRIBERS 22
#define BEHIND 100 /* items that a subscriber may be behind */

/* In the actor: sends them as fast as they are taken. */
static int ticks(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        int r = tractor_context_started(ctx, NULL, NULL);

        for (int i = 0; i < ITEMS && r >= 0; i++)
                r = tractor_send(ctx, json_object_new_int(i));
        return r;
}

static const tractor_method methods[] = { { "ticks", ticks }, { NULL } };

typedef struct Subscriber {
        tractor_subscription *subscription;
        uint64_t pause_usec; /* it takes over an item */
        unsigned had;
        uint64_t lost;
} Subscriber;

static int subscriber(void *userdata)
{
        Subscriber *s = userdata;
        struct json_object *item;
        uint64_t lost;
        int r;

        while ((r = tractor_subscription_receive(s->subscription, &item, &lost)) > 0) {
                json_object_put(item);
                s->had++;
                s->lost += lost;
                if (s->pause_usec > 0 && (r = tractor_sleep(s->pause_usec)) < 0)
                        break;
        }
        return r;
}

static int subscribe_all(tractor_nursery *n, tractor_broadcast *b, Subscriber *subscribers)
{
        int r = 0;

        subscribers[0].pause_usec = 10 * TRACTOR_MSEC;
        for (int i = 0; i < SUBSCRIBERS && r >= 0; i++) {
                r = tractor_broadcast_subscribe(b, &subscribers[i].subscription);
                if (r >= 0)
                        r = tractor_start_task(n, "subscriber", subscriber, &subscribers[i], NULL);
        }
        return r;
}

/* Returns when the actor has sent all. */
static int feed(tractor_portal *portal, tractor_broadcast *b)
{
        TRACTOR_CLEANUP(tractor_context_dropp) tractor_context *ctx = NULL;
        int r = tractor_context_open(portal, "ticks", NULL, NULL, &ctx, NULL);

        if (r < 0)
                return r;
        r = tractor_broadcast_feed(b, ctx);
        return tractor_context_close(&ctx, r, NULL);
}

/* Returns when the slowest has had what was left for it. */
static int fan_out(tractor_portal *portal, Subscriber *subscribers)
{
        tractor_broadcast *b = tractor_broadcast_new(BEHIND);
        TRACTOR_NURSERY(n);
        int r = b ? tractor_nursery_open(NULL, &n) : -ENOMEM;

        if (r >= 0)
                r = subscribe_all(n, b, subscribers);
        if (r >= 0)
                r = feed(portal, b);
        r = tractor_nursery_close(&n, r);
        for (int i = 0; i < SUBSCRIBERS; i++)
                tractor_subscription_free(subscribers[i].subscription);
        tractor_broadcast_free(b);
        return r;
}

static void print(const Subscriber *subscribers)
{
        int all = 0;

        for (int i = 0; i < SUBSCRIBERS; i++) {
                all += subscribers[i].had == ITEMS;
                if (subscribers[i].lost > 0)
                        printf("subscriber %d had %u and lost %" PRIu64 "\n", i, subscribers[i].had,
                                        subscribers[i].lost);
        }
        printf("%d subscribers had all %d items\n", all, ITEMS);
}

static int body(void *unused)
{
        Subscriber subscribers[SUBSCRIBERS] = { 0 };
        tractor_portal *portal = NULL;
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0)
                r = tractor_start_actor(n, "clock", NULL, &portal);
        if (r >= 0)
                r = fan_out(portal, subscribers);
        if (r >= 0)
                print(subscribers);
        if (r >= 0)
                r = tractor_portal_cancel_actor(portal, "all were told");
        tractor_portal_unref(portal);
        return tractor_nursery_close(&n, r);
}

int main(void)
{
        tractor_options options = { .size = sizeof(options), .methods = methods };

        return tractor_main(&options, body, NULL);
}
