/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "libtractor/sync.h"

/* Senders wait only while it is full, receivers only while it is empty and nobody waits to send: so what
 * is taken out is always the oldest, and room that comes free goes to the first sender at once. A waiting
 * task's slot points at its item, or at where it wants one. */
struct tractor_channel {
        void **items; /* a ring */
        size_t size, first, n;
        bool closed;
        void (*destroy)(void *item);
        WaitQueue senders, receivers;
};

_public_ tractor_channel *tractor_channel_new(size_t size, void (*destroy)(void *item))
{
        tractor_channel *c = calloc(1, sizeof(*c));

        if (!c)
                return NULL;
        c->items = calloc(MAX(size, 1U), sizeof(*c->items));
        if (!c->items) {
                free(c);
                return NULL;
        }
        c->size = size;
        c->destroy = destroy;
        wait_queue_init(&c->senders);
        wait_queue_init(&c->receivers);
        return c;
}

static void push(tractor_channel *c, void *item)
{
        c->items[(c->first + c->n++) % c->size] = item;
}

static void *pop(tractor_channel *c)
{
        void *item = c->items[c->first];

        c->first = (c->first + 1) % c->size;
        c->n--;
        return item;
}

static void *take_of(Task *sender)
{
        void *item = *(void **) sender->slot;

        task_wake(sender, 0);
        return item;
}

_public_ tractor_channel *tractor_channel_free(tractor_channel *c)
{
        if (!c)
                return NULL;
        wait_queue_close(&c->senders);
        wait_queue_close(&c->receivers);
        while (c->n > 0) {
                void *item = pop(c);

                if (c->destroy)
                        c->destroy(item);
        }
        free(c->items);
        free(c);
        return NULL;
}

_public_ int tractor_channel_try_send(tractor_channel *c, void *item)
{
        Task *receiver = wait_queue_first(&c->receivers);

        if (c->closed)
                return -EPIPE;
        if (receiver) {
                *(void **) receiver->slot = item;
                task_wake(receiver, 1);
                return 0;
        }
        if (c->n == c->size)
                return -EAGAIN;
        push(c, item);
        return 0;
}

static int park_with(WaitQueue *q, void **slot, const char *why)
{
        Task *t = task_current();

        if (t)
                t->slot = slot;
        return task_park(q, why, USEC_INFINITY);
}

_public_ int tractor_channel_send(tractor_channel *c, void *item)
{
        int r = task_checkpoint();

        if (r < 0)
                return r;
        r = tractor_channel_try_send(c, item);
        return r == -EAGAIN ? park_with(&c->senders, &item, "room in a channel") : r;
}

_public_ int tractor_channel_try_receive(tractor_channel *c, void **ret)
{
        Task *sender = wait_queue_first(&c->senders);

        if (c->n > 0) {
                *ret = pop(c);
                if (sender)
                        push(c, take_of(sender));
                return 1;
        }
        if (sender) {
                *ret = take_of(sender);
                return 1;
        }
        return c->closed ? 0 : -EAGAIN;
}

_public_ int tractor_channel_receive(tractor_channel *c, void **ret)
{
        int r = task_checkpoint();

        if (r < 0)
                return r;
        r = tractor_channel_try_receive(c, ret);
        return r == -EAGAIN ? park_with(&c->receivers, ret, "an item in a channel") : r;
}

_public_ void tractor_channel_close(tractor_channel *c)
{
        c->closed = true;
        wait_queue_wake_all(&c->senders, -EPIPE);
        wait_queue_wake_all(&c->receivers, 0);
}

_public_ size_t tractor_channel_length(const tractor_channel *c)
{
        return c->n;
}
