/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One source, many subscribers (after Python tractor's broadcast receivers): each subscription gets every
 * item that is published while it lasts, at its own pace, out of a ring of the newest ones. The source never
 * waits. Who is slower than the ring is long loses the oldest items, is told how many, and goes on with what
 * is left; the others notice nothing of that, nor of a subscription that ends.
 *
 *         source: tractor_broadcast_publish(b, item)
 *         each subscriber: while ((r = tractor_subscription_receive(s, &item, &lost)) > 0) …
 *
 * An item is one object for all of them: a subscriber owns a reference to it, and leaves it as it is. */

#include <tractor/macros.h>

TRACTOR_BEGIN_DECLS

typedef struct tractor_broadcast tractor_broadcast;
typedef struct tractor_subscription tractor_subscription;
typedef struct tractor_context tractor_context;

/* `size`: how many items a subscriber may be behind; 0: 64. NULL: out of memory. */
tractor_broadcast *tractor_broadcast_new(size_t size);
/* Closes it. Its subscriptions go on until they have had what is left in it, and are freed by themselves. */
tractor_broadcast *tractor_broadcast_free(tractor_broadcast *b);
/* Consumes item, on failure too. Never waits, and may be called from a callback of the loop. -EPIPE: it
 * was closed. */
int tractor_broadcast_publish(tractor_broadcast *b, struct json_object *item);
/* The source itself has missed `n` items here: subscribers count them among what they lost. */
void tractor_broadcast_lost(tractor_broadcast *b, uint64_t n);
/* No more items. `r` is how the source ended: what receiving answers once all is received, with the
 * calling task's last error where that has the same errno; its -ECANCELED is -EINTR to others. Only the
 * first time counts. */
void tractor_broadcast_close(tractor_broadcast *b, int r);
size_t tractor_broadcast_n_subscriptions(const tractor_broadcast *b);

/* From the next item on. -ENOMEM. */
int tractor_broadcast_subscribe(tractor_broadcast *b, tractor_subscription **ret);
/* Who waits at it gets -EBADF. */
tractor_subscription *tractor_subscription_free(tractor_subscription *s);
/* 1 and an item; 0: the source has ended; or its error. *ret_lost (may be NULL): how many were lost right
 * before that. A checkpoint; several tasks may share a subscription, and each item goes to one of them. */
int tractor_subscription_receive(tractor_subscription *s, struct json_object **ret, uint64_t *ret_lost);
/* The same; -EAGAIN: nothing there. No checkpoint. */
int tractor_subscription_try_receive(tractor_subscription *s, struct json_object **ret, uint64_t *ret_lost);

static inline void tractor_subscription_freep(tractor_subscription **s)
{
        *s = tractor_subscription_free(*s);
}

/* --- fed from a stream --- */
/* Publishes all that comes from `c` until it ends, closes `b` with how it ended, and returns that. To be
 * called in a task of its own, which alone receives from `c`; both must outlast it. The subscribers' pace
 * is none of the sender's business: it is never slowed down. */
int tractor_broadcast_feed(tractor_broadcast *b, tractor_context *c);

TRACTOR_END_DECLS
