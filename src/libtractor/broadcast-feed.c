/* SPDX-License-Identifier: Apache-2.0 */
#include "libtractor/broadcast.h"
#include "tractor/context.h"

_public_ int tractor_broadcast_feed(tractor_broadcast *b, tractor_context *c)
{
        int r;

        for (;;) {
                Json *item;
                uint64_t lost = 0;

                r = tractor_receive_lost(c, &item, &lost);
                if (r <= 0)
                        break;
                tractor_broadcast_lost(b, lost);
                r = tractor_broadcast_publish(b, item);
                if (r < 0)
                        break;
        }
        tractor_broadcast_close(b, r);
        return r;
}
