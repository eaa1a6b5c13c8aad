/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "libtractor/broadcast.h"
#include "libtractor/error-private.h"

#define SIZE_DEFAULT 64U

struct tractor_subscription {
        tractor_broadcast *broadcast;
        uint64_t at;       /* of the ring's count */
        uint64_t expected; /* the number of its next item, if it loses none */
        unsigned n_waiting;
        bool freed; /* only waited at: the last of these frees it */
};

_public_ tractor_broadcast *tractor_broadcast_new(size_t size)
{
        tractor_broadcast *b = calloc(1, sizeof(*b));

        if (!b)
                return NULL;
        b->n_ref = 1;
        b->size = size ?: SIZE_DEFAULT;
        b->ring = calloc(b->size, sizeof(*b->ring));
        if (!b->ring) {
                free(b);
                return NULL;
        }
        wait_queue_init(&b->readers);
        return b;
}

static void drop_items(tractor_broadcast *b)
{
        for (size_t i = 0; i < b->size; i++)
                b->ring[i].item = json_unref(b->ring[i].item);
}

static tractor_broadcast *broadcast_unref(tractor_broadcast *b)
{
        if (--b->n_ref > 0)
                return NULL;
        drop_items(b);
        free(b->ring);
        tractor_error_unref(b->error);
        free(b);
        return NULL;
}

_public_ tractor_broadcast *tractor_broadcast_free(tractor_broadcast *b)
{
        if (!b)
                return NULL;
        tractor_broadcast_close(b, 0);
        b->unused = NULL;
        return broadcast_unref(b);
}

_public_ int tractor_broadcast_publish(tractor_broadcast *b, struct json_object *item)
{
        BroadcastSlot *slot = &b->ring[b->head % b->size];

        if (b->closed) {
                json_unref(item);
                return -EPIPE;
        }
        if (b->n_subscriptions == 0) {
                json_unref(item);
                return 0;
        }
        json_unref(slot->item);
        *slot = (BroadcastSlot){ .item = item, .number = b->number++ };
        b->head++;
        wait_queue_wake_all(&b->readers, 0);
        return 0;
}

_public_ void tractor_broadcast_lost(tractor_broadcast *b, uint64_t n)
{
        b->number += n;
}

_public_ void tractor_broadcast_close(tractor_broadcast *b, int r)
{
        Task *t = task_current();

        if (b->closed)
                return;
        b->closed = true;
        if (r == -ECANCELED) {
                b->error = error_new(ERROR_CANCELLED, NULL, NULL, "the source was cancelled");
                r = -EINTR;
        } else if (r < 0)
                b->error = error_of_result(t ? t->error : NULL, r, "broadcast");
        b->r = MIN(r, 0);
        wait_queue_wake_all(&b->readers, 0);
}

_public_ size_t tractor_broadcast_n_subscriptions(const tractor_broadcast *b)
{
        return b->n_subscriptions;
}

_public_ int tractor_broadcast_subscribe(tractor_broadcast *b, tractor_subscription **ret)
{
        tractor_subscription *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->broadcast = b;
        s->at = b->head;
        s->expected = b->number;
        b->n_ref++;
        b->n_subscriptions++;
        *ret = s;
        return 0;
}

_public_ tractor_subscription *tractor_subscription_free(tractor_subscription *s)
{
        tractor_broadcast *b;

        if (!s)
                return NULL;
        b = s->broadcast;
        s->freed = true;
        /* All who are there look again. */
        if (s->n_waiting > 0)
                wait_queue_wake_all(&b->readers, 0);
        else
                free(s);
        if (--b->n_subscriptions == 0) {
                drop_items(b);
                if (b->unused)
                        b->unused(b);
        }
        broadcast_unref(b);
        return NULL;
}

static bool has_something(const tractor_subscription *s)
{
        return s->at != s->broadcast->head || s->broadcast->closed;
}

/* Tells what is missing before `number`. */
static void count_lost(tractor_subscription *s, uint64_t number, uint64_t *ret_lost)
{
        if (ret_lost)
                *ret_lost = number - s->expected;
        s->expected = number;
}

static int take_end(tractor_subscription *s, uint64_t *ret_lost)
{
        const tractor_broadcast *b = s->broadcast;

        if (b->error)
                return error_raise(tractor_error_ref(b->error));
        if (b->r >= 0)
                count_lost(s, b->number, ret_lost);
        return b->r;
}

/* Of one that has something. */
static int take(tractor_subscription *s, Json **ret, uint64_t *ret_lost)
{
        const tractor_broadcast *b = s->broadcast;
        const BroadcastSlot *slot;

        if (s->at == b->head)
                return take_end(s, ret_lost);
        if (b->head - s->at > b->size)
                s->at = b->head - b->size;
        slot = &b->ring[s->at++ % b->size];
        *ret = json_ref(slot->item);
        count_lost(s, slot->number, ret_lost);
        s->expected++;
        return 1;
}

_public_ int tractor_subscription_try_receive(
                tractor_subscription *s, struct json_object **ret, uint64_t *ret_lost)
{
        return has_something(s) ? take(s, ret, ret_lost) : -EAGAIN;
}

_public_ int tractor_subscription_receive(
                tractor_subscription *s, struct json_object **ret, uint64_t *ret_lost)
{
        int r = task_checkpoint();

        while (r >= 0 && !has_something(s)) {
                s->n_waiting++;
                r = task_park(&s->broadcast->readers, "a broadcast item", USEC_INFINITY);
                s->n_waiting--;
                if (s->freed) {
                        if (s->n_waiting == 0)
                                free(s);
                        return r < 0 ? r : -EBADF;
                }
        }
        return r < 0 ? r : take(s, ret, ret_lost);
}
