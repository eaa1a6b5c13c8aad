/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/usec.h"
#include "dialog/session-internal.h"

/* Deadlines: of the calls we serve, which are cancelled at theirs, and of our own, which the peer should have ended.
 * One timer a connection, for the first of them; a call that ends before it leaves the timer alone. */

uint64_t session_deadline(int64_t relative_ms)
{
        if ((uint64_t) relative_ms > UINT64_MAX / USEC_PER_MSEC)
                return USEC_INFINITY;
        return usec_add(now_usec(CLOCK_MONOTONIC), (uint64_t) relative_ms * USEC_PER_MSEC);
}

static Call *expired_call(Session *s, uint64_t now, uint64_t *next)
{
        LIST_FOREACH(i, &s->call_list) {
                Call *c = LIST_ENTRY(i, Call, node);

                if (c->deadline <= now)
                        return c;
                *next = MIN(*next, c->deadline);
        }
        return NULL;
}

static Pending *expired_pending(Session *s, uint64_t now, uint64_t *next)
{
        LIST_FOREACH(i, &s->pending_list) {
                Pending *p = LIST_ENTRY(i, Pending, node);

                if (p->deadline <= now)
                        return p;
                *next = MIN(*next, p->deadline);
        }
        return NULL;
}

static void expire_call(Call *c)
{
        c->deadline = USEC_INFINITY;
        if (dialog_step(&c->talk.dialog, DIALOG_GOT_CANCEL, 0, NULL) != DIALOG_DO)
                return;
        c->expired = true;
        session_tell_cancelled(c);
}

/* Callbacks may end any call, and the session: look anew each time. */
static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
        uint64_t now = now_usec(CLOCK_MONOTONIC), next = USEC_INFINITY;
        Session *s = userdata;
        Pending *p;
        Call *c;

        s->deadlines_at = USEC_INFINITY;
        session_pin(s);
        while (!s->ended && (c = expired_call(s, now, &next)))
                expire_call(c);
        while (!s->ended && (p = expired_pending(s, now, &next)))
                session_expire_pending(p);
        if (!s->ended && session_arm_deadlines(s, next) < 0)
                session_broken(s, -ENOMEM);
        session_unpin(s);
        return 0;
}

int session_arm_deadlines(Session *s, uint64_t at)
{
        int r;

        if (at >= s->deadlines_at)
                return 0;
        if (!s->deadlines)
                r = sd_event_add_time(
                                s->event, &s->deadlines, CLOCK_MONOTONIC, at, USEC_PER_MSEC, on_deadline, s);
        else
                r = sd_event_source_set_time(s->deadlines, at);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->deadlines, SD_EVENT_ONESHOT);
        if (r >= 0)
                s->deadlines_at = at;
        return r;
}
