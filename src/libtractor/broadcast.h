/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A ring of items, each numbered by its place in the source, and positions in it. A subscriber's loss is
 * the distance between the number it expects and the one it finds, whoever lost what lies between. Nobody
 * is handed anything: a waiting task is merely woken, looks at its position, and so can't be cancelled
 * out of an item. */

#include "libtractor/sync.h"
#include "tractor/broadcast.h"
#include "wire/json.h"

typedef struct BroadcastSlot {
        Json *item;
        uint64_t number;
} BroadcastSlot;

struct tractor_broadcast {
        unsigned n_ref; /* its maker and its subscriptions */
        BroadcastSlot *ring;
        size_t size;
        uint64_t head;   /* items that were put into the ring; the next one's place is that modulo size */
        uint64_t number; /* of the next item */
        bool closed;
        int r;
        tractor_error *error; /* that says more of r; or NULL */
        size_t n_subscriptions;
        WaitQueue readers; /* of all subscriptions: for none of them is there anything */

        /* Its last subscription has gone; may free it. NULL: nobody cares. */
        void (*unused)(tractor_broadcast *b);
        void *userdata;
};
