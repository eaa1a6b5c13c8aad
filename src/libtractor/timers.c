/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "libtractor/timers.h"

void timers_clear(Timers *h)
{
        for (size_t i = 1; i <= h->n; i++)
                h->heap[i]->index = 0;
        free(h->heap);
        *h = (Timers){ 0 };
}

static void place(Timers *h, size_t i, Timer *t)
{
        h->heap[i] = t;
        t->index = i;
}

static void sift_up(Timers *h, size_t i, Timer *t)
{
        for (; i > 1 && h->heap[i / 2]->when > t->when; i /= 2)
                place(h, i, h->heap[i / 2]);
        place(h, i, t);
}

static void sift_down(Timers *h, size_t i, Timer *t)
{
        for (size_t child; (child = 2 * i) <= h->n; i = child) {
                if (child < h->n && h->heap[child + 1]->when < h->heap[child]->when)
                        child++;
                if (h->heap[child]->when >= t->when)
                        break;
                place(h, i, h->heap[child]);
        }
        place(h, i, t);
}

void timer_off(Timers *h, Timer *t)
{
        size_t i = t->index;
        Timer *last;

        if (i == 0)
                return;
        t->index = 0;
        last = h->heap[h->n--];
        if (last == t)
                return;
        if (i > 1 && h->heap[i / 2]->when > last->when)
                sift_up(h, i, last);
        else
                sift_down(h, i, last);
}

int timer_set(Timers *h, Timer *t, uint64_t when)
{
        int r;

        if (when == USEC_INFINITY) {
                timer_off(h, t);
                return 0;
        }
        if (t->index == 0) {
                r = GROW(h->heap, h->cap, h->n + 2);
                if (r < 0)
                        return r;
                t->when = when;
                sift_up(h, ++h->n, t);
                return 0;
        }
        if (when < t->when) {
                t->when = when;
                sift_up(h, t->index, t);
        } else {
                t->when = when;
                sift_down(h, t->index, t);
        }
        return 0;
}

uint64_t timers_next(const Timers *h)
{
        return h->n > 0 ? h->heap[1]->when : USEC_INFINITY;
}

void timers_fire(Timers *h, uint64_t now)
{
        /* As many as are there: one that sets itself to the past each time must not hold the loop. */
        for (size_t n = h->n; n > 0 && h->n > 0 && h->heap[1]->when <= now; n--) {
                Timer *t = h->heap[1];

                timer_off(h, t);
                t->fire(t);
        }
}
