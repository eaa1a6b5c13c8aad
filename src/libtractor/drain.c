/* SPDX-License-Identifier: Apache-2.0 */
#include "libtractor/drain.h"

/* How often it is looked at, since nobody tells when a socket is empty. */
#define LOOK_USEC USEC_PER_MSEC

static void look(Drain *d)
{
        Stream *stream = session_stream(d->session);
        uint64_t now = now_usec(CLOCK_MONOTONIC);

        if (stream && stream_has_input(stream) && now < d->until &&
                        timer_set(d->timers, &d->timer, now + LOOK_USEC) >= 0)
                return;
        drain_stop(d);
        d->done(d);
}

static void on_timer(Timer *timer)
{
        look(container_of(timer, Drain, timer));
}

void drain_begin(Drain *d, Timers *timers, Session *s, void (*done)(Drain *d))
{
        *d = (Drain){ .timers = timers, .session = s, .done = done, .timer = { .fire = on_timer } };
        d->until = usec_add(now_usec(CLOCK_MONOTONIC), SESSION_LINGER_MS * USEC_PER_MSEC);
        look(d);
}

void drain_stop(Drain *d)
{
        if (d->timers)
                timer_off(d->timers, &d->timer);
        d->timers = NULL;
}
