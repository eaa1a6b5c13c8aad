/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Lines on their way to a descriptor whose reader may be slow. They are written from the loop, in pieces that a
 * pipe which says it is writable takes whole, so that nothing else waits meanwhile: what another program shares
 * with us is not made non-blocking behind its back. Who puts lines hears when one has gone, and so can let its
 * source go on. */

#include <systemd/sd-event.h>

#include "base/list.h"

typedef struct Outlet {
        sd_event_source *source; /* NULL: a file, which is always ready */
        int fd;
        ListNode lines;
        int error;                          /* negative errno: nothing can be written any more */
        void (*on_written)(void *userdata); /* a line; or there is an error */
        void *userdata;
} Outlet;

int outlet_init(Outlet *o, sd_event *event, int fd, void (*on_written)(void *userdata), void *userdata);
void outlet_done(Outlet *o);
/* A copy of it, and a newline. on_written may come from within. */
int outlet_put(Outlet *o, const char *text, size_t n);
bool outlet_is_empty(const Outlet *o);
