/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "supervisor/core/core-internal.h"

/* splitmix64: small, and good enough to spread restarts. */
uint64_t random_next(uint64_t *state)
{
        uint64_t x = *state += 0x9e3779b97f4a7c15ULL;

        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
        return x ^ (x >> 31);
}

/* Only grows, and keeps what it holds. */
int window_reserve(RestartWindow *w, uint32_t max)
{
        uint32_t cap = MIN(max, (uint32_t) MAX_RESTARTS_CAP);
        uint64_t *at;

        if (cap <= w->cap)
                return 0;
        at = calloc(cap, sizeof(*at));
        if (!at)
                return -ENOMEM;
        for (uint32_t i = 0; i < w->n; i++)
                at[i] = w->at[(w->next + w->cap - w->n + i) % w->cap];
        free(w->at);
        *w = (RestartWindow){ .at = at, .cap = cap, .n = w->n, .next = w->n };
        return 0;
}

void window_clear(RestartWindow *w)
{
        w->n = w->next = 0;
}

/* The window is closed at both ends: of max + 1 restarts in a row the first and the last are more than `within`
 * apart. */
bool window_admit(RestartWindow *w, const Intensity *allowed, uint64_t now)
{
        uint32_t max = MIN(allowed->max_restarts, w->cap);

        if (max == 0)
                return false;
        if (w->n >= max && now - w->at[(w->next + w->cap - max) % w->cap] <= allowed->within_usec)
                return false;
        w->at[w->next] = now;
        w->next = (w->next + 1) % w->cap;
        w->n = MIN(w->n + 1, w->cap);
        return true;
}

static double jitter(const Backoff *b, uint64_t *random)
{
        double unit = (double) (random_next(random) >> 11) / (double) (1ULL << 53);

        return 1.0 + b->jitter * (2.0 * unit - 1.0);
}

/* delay(1) = 0, delay(2) = initial, then × factor up to max; jitter comes on top of the cap. A generation that lived
 * for reset_after begins the count anew. What can't even be run is not tried without a pause, whatever was asked for. */
uint64_t backoff_delay(Node *n)
{
        static const Backoff supervisor_backoff = BACKOFF_DEFAULT;
        const Backoff *b = is_supervisor(n) ? &supervisor_backoff : &n->spec.backoff;
        NodePriv *p = priv(n);
        uint64_t lived = n->core->now - n->started_usec;
        double delay = (double) b->initial_usec, max = (double) b->max_usec;

        if (lived >= b->reset_after_usec)
                p->failures = 0;
        /* A branch that failed in the very step it was started in (a dependency was lost already) would fail again
         * in the same step, at every level above as well: there the first delay is not 0. */
        if (is_supervisor(n) && lived == 0 && p->failures == 0)
                p->failures = 1;
        p->failures += p->failures < UINT32_MAX;
        if (p->failures == 1)
                return 0;
        for (uint32_t i = 2; i < MIN(p->failures, (uint32_t) 1000) && delay < max; i++)
                delay *= b->factor;
        delay = MIN(delay, max) * jitter(b, &n->core->random);
        if (n->exit.cause == CAUSE_SPAWN)
                delay = MAX(delay, (double) BACKOFF_SPAWN_MIN_USEC);
        return delay < 9e18 ? (uint64_t) delay : USEC_INFINITY / 2;
}
