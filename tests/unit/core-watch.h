/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Watches the effects of any tree and holds the core to its promises, by the effects alone wherever possible: who
 * may start, who may be asked to stop, how often anything restarts, that each start has one end. What it must know
 * beyond (wishes, counters) it reads from the core's own notes, to prove those consistent. */

#include "supervisor/core/core-internal.h"
#include "test.h"

#define WATCH_NODES 22
#define WATCH_RESTARTS 64

typedef struct Seen {
        Node *node; /* NULL: removed */
        NodeState state;
        bool alive, exited;
        bool hollow;          /* gone, but for the nurseries below it */
        bool own, ended;      /* its end, if it comes in this step, was not asked for; it came */
        bool requested;       /* a request by hand may be behind its stop */
        NodeState was, first; /* before this step; entered first in it, _INVALID: none */
        StopRung rung;
        uint64_t deadline;
        uint32_t spawns, ends;
        unsigned stopping_since, marked_since; /* steps; 0: not */
        unsigned came;                         /* the step before */
        uint64_t times[WATCH_RESTARTS];        /* restarts counted against this node's window */
        unsigned n_times;
} Seen;

static Seen seen[WATCH_NODES];
static int n_seen;
static uint64_t digest; /* of all effects */
static unsigned step_number;

static Seen *S(const Node *n)
{
        return n->userdata; /* NULL for the root */
}

static NodeState state_of(const Node *n)
{
        return S(n) ? S(n)->state : n->state;
}

static void digest_add(uint64_t x)
{
        digest = (digest ^ x) * 0x100000001b3ULL;
        digest ^= digest >> 29;
}

static void digest_effect(const Effect *e)
{
        digest_add((uint64_t) e->type + 1);
        digest_add(S(e->node) ? (uint64_t) (S(e->node) - seen) : 99);
        digest_add((uint64_t) e->rung);
        digest_add(e->at);
        digest_add((uint64_t) e->from << 8 | (uint64_t) e->to);
        digest_add(e->about ? (uint64_t) (S(e->about) - seen) : 98);
}

static bool is_inside(const Node *n, const Node *top)
{
        while (n && n != top)
                n = n->parent;
        return n != NULL;
}

static bool alive_inside(const Node *top)
{
        for (int i = 0; i < n_seen; i++)
                if (seen[i].node && seen[i].alive && is_inside(seen[i].node, top))
                        return true;
        return false;
}

static bool has_children(const Node *n)
{
        for (int i = 0; i < n_seen; i++)
                if (seen[i].node && seen[i].node->parent == n)
                        return true;
        return false;
}

/* The actor whose nursery n is part of. */
static Node *owner_of(const Node *n)
{
        Node *a = n->parent;

        while (a && is_supervisor(a))
                a = a->parent;
        return a;
}

/* Of an actor nothing is left of its own: it has ended once nothing of its nurseries is left either. */
static void watch_end(Node *n)
{
        Seen *s = S(n);

        s->hollow = has_children(n);
        if (s->hollow)
                return;
        s->alive = s->exited = false;
        s->ended = true;
        s->ends++;
}

static Node *dependency(const Node *n, size_t i)
{
        return priv(n)->deps[i].target;
}

/* Starts */

static void watch_start(Node *n)
{
        const Node *a = n->parent;

        for (; a && is_supervisor(a); a = a->parent)
                CHECK(state_of(a) == NODE_STARTING || state_of(a) == NODE_READY);
        CHECK(!a || (S(a)->alive && !S(a)->exited)); /* in its nursery goes on what began while it lived */
        for (size_t i = 0; i < priv(n)->n_deps; i++) {
                const Node *d = dependency(n, i);

                CHECK(d);
                CHECK(state_of(d) == NODE_READY ||
                                (state_of(d) == NODE_DEAD && d->exit.cause == CAUSE_EXIT &&
                                                d->exit.code == 0));
        }
        if (!n->parent || !is_chain(n->parent))
                return;
        for (const Node *s = sibling_prev(n); s; s = sibling_prev(s)) {
                if (state_of(s) == NODE_DEAD || state_of(s) == NODE_FAILED)
                        continue;
                if (state_of(s) == NODE_NEW && !priv(s)->wanted && !priv(s)->held)
                        continue;
                CHECK_EQ(state_of(s), NODE_READY);
                break;
        }
}

static void watch_spawn(Node *n)
{
        Seen *s = S(n);

        CHECK(!s->alive && n->spec.kind == NODE_ACTOR);
        CHECK_EQ(s->state, NODE_STARTING);
        CHECK_EQ(s->spawns, s->ends);
        CHECK(!has_children(n));
        s->spawns++;
        s->alive = true;
        s->exited = false;
        s->rung = RUNG_NONE;
}

/* Stops */

static bool depends_on(const Node *a, const Node *b)
{
        for (size_t i = 0; i < priv(a)->n_deps; i++)
                if (dependency(a, i) == b)
                        return true;
        return a != b && a->parent == b->parent && is_chain(a->parent) && priv(a)->index > priv(b)->index;
}

/* Had `d` been told to stop only after the branch `b` was already stopping? */
static bool began_before(const Node *b, const Node *d)
{
        unsigned marked = S(d)->marked_since ?: step_number;

        return is_supervisor(b) && S(b)->stopping_since > 0 && S(b)->stopping_since < marked;
}

/* Was `d` being stopped before there was a `b`, though it names one? */
static bool never_met(const Node *b, const Node *d)
{
        return S(d)->marked_since > 0 && S(d)->marked_since <= S(b)->came;
}

/* Must `d` be gone before `n` is asked, when all of `top` is being stopped? Not if a branch n is in was being stopped
 * alone, and then d as well. */
static bool goes_before(const Node *d, const Node *n, const Node *top)
{
        for (const Node *b = n; b != top && !began_before(b, d) && !never_met(b, d); b = b->parent)
                for (const Node *a = d; a != top; a = a->parent)
                        if (depends_on(a, b))
                                return true;
        return false;
}

/* What goes on in an actor's nursery is not held to the order outside, nor the other way round. */
static void watch_ask(const Node *n)
{
        for (const Node *top = n->parent; top && is_supervisor(top); top = top->parent) {
                if (state_of(top) != NODE_STOPPING)
                        continue;
                for (int i = 0; i < n_seen; i++)
                        if (seen[i].node && seen[i].alive && seen[i].node != n &&
                                        is_inside(seen[i].node, top) &&
                                        owner_of(seen[i].node) == owner_of(n))
                                CHECK(!goes_before(seen[i].node, n, top));
        }
        if (state_of(n->parent) == NODE_STOPPING || S(n)->requested)
                return;
        CHECK(is_chain(n->parent)); /* else who asked? */
        for (const Node *s = sibling_next(n); s; s = sibling_next(s))
                CHECK(!alive_inside(s));
}

static void watch_stop(Node *n, StopRung rung)
{
        Seen *s = S(n);

        CHECK(s->alive && !s->hollow);
        CHECK_EQ(s->state, NODE_STOPPING);
        CHECK(rung > s->rung || (rung == s->rung && rung != RUNG_ASK));
        CHECK(rung != RUNG_ASK || !s->exited);
        if (rung == RUNG_ASK)
                watch_ask(n);
        s->rung = rung;
}

static void watch_state(const Effect *e)
{
        Node *n = e->node;
        Seen *s = S(n);

        if (!s)
                return;
        CHECK_EQ(s->state, e->from);
        s->state = e->to;
        s->stopping_since = e->to == NODE_STOPPING ? step_number : 0;
        if (s->first == _NODE_STATE_INVALID || s->first == NODE_STOPPING) /* on the way */
                s->first = e->to;
        if (e->to == NODE_STARTING)
                watch_start(n);
        if (e->to == NODE_STARTING || e->to == NODE_DEAD || e->to == NODE_FAILED) {
                s->requested = false;
                CHECK(!alive_inside(n)); /* nothing runs under a failed supervisor */
        }
        if (e->to == NODE_STARTING && is_supervisor(n)) {
                s->n_times = 0;
                for (int i = 0; i < n_seen; i++)
                        if (seen[i].node && seen[i].node->parent == n)
                                seen[i].n_times = 0;
        }
        if (e->to == NODE_BACKOFF || e->to == NODE_NEW)
                CHECK(!alive_inside(n));
}

static void watch_removed(Node *n)
{
        for (int i = 0; i < n_seen; i++)
                CHECK(!seen[i].node || seen[i].node->parent != n);
        CHECK(!S(n)->alive);
        CHECK_EQ(S(n)->spawns, S(n)->ends);
        S(n)->node = NULL;
        S(n)->deadline = USEC_INFINITY;
        if (S(n->parent) && S(n->parent)->hollow)
                watch_end(n->parent);
}

static void watch_effect(const Effect *e)
{
        digest_effect(e);
        switch (e->type) {
        case EFFECT_SPAWN:
                return watch_spawn(e->node);
        case EFFECT_STOP:
                return watch_stop(e->node, e->rung);
        case EFFECT_STATE:
                return watch_state(e);
        case EFFECT_TIMER:
                S(e->node)->deadline = e->at;
                return;
        case EFFECT_GIVE_UP:
                CHECK(e->about->parent == e->node);
                return;
        case EFFECT_REMOVED:
                return watch_removed(e->node);
        case EFFECT_CHANGED:
                CHECK(!S(e->node)->alive || S(e->node)->spawns != S(e->node)->ends);
                return;
        case EFFECT_THAW:
                CHECK(S(e->node)->alive);
                return;
        default:
                CHECK(false);
        }
}

/* A child that ended by itself and comes back: never more often than allowed. */
static void watch_restart(Node *n)
{
        const Node *s = n->parent;
        Seen *w = s->spec.on_give_up == GIVE_UP_ISOLATE ? S(n) : S(s);
        unsigned recent = 0;

        if (S(n)->first == NODE_DEAD || S(n)->first == NODE_FAILED)
                return;
        CHECK(w->n_times < WATCH_RESTARTS);
        w->times[w->n_times++] = n->core->now;
        for (unsigned i = 0; i < w->n_times; i++)
                recent += n->core->now - w->times[i] <= s->spec.intensity.within_usec;
        CHECK(recent <= s->spec.intensity.max_restarts);
}

/* Who has lost its owner is on its way out, with short rungs. */
static void watch_lost(const Node *n)
{
        const Node *owner = owner_of(n);
        const Seen *s = S(n);

        if (!owner || !S(owner)->alive || !S(owner)->exited || is_over(n))
                return;
        CHECK(priv(n)->stop_wanted && s->state != NODE_NEW && s->state != NODE_BACKOFF);
        /* one outside that depends on it, and stops as well, goes before it */
        if (priv(n)->stop_begun && !s->exited && (s->rung == RUNG_ASK || s->rung == RUNG_TERM))
                CHECK(s->deadline <= n->core->now + 300000);
}

/* After each step */

static void watch_counts(const Node *n)
{
        uint32_t active = 0, pending = 0, significant = 0, failed = 0, live = 0, failed_below = 0;

        for (int i = 0; i < n_seen; i++) {
                const Node *c = seen[i].node;
                unsigned counted = c ? priv(c)->counted : 0;

                if (!c || !is_inside(c, n))
                        continue;
                live += (counted & COUNT_LIVE) != 0;
                failed_below += c->state == NODE_FAILED;
                if (c->parent != n)
                        continue;
                active += (counted & COUNT_ACTIVE) != 0;
                pending += (counted & COUNT_PENDING) != 0;
                significant += (counted & COUNT_SIGNIFICANT) != 0;
                failed += c->state == NODE_FAILED;
        }
        CHECK_EQ(priv(n)->active, active);
        CHECK_EQ(priv(n)->pending, pending);
        CHECK_EQ(priv(n)->significant, significant);
        CHECK_EQ(priv(n)->failed, failed);
        CHECK_EQ(priv(n)->live_below, live);
        CHECK_EQ(priv(n)->failed_below, failed_below);
}

static bool waits_for_good_reason(const Node *n)
{
        if (n->parent->state == NODE_NEW)
                return true;
        for (size_t i = 0; i < priv(n)->n_deps; i++)
                if (dependency(n, i) && (dependency(n, i)->state == NODE_NEW ||
                                                        dependency(n, i)->state == NODE_STARTING))
                        return true;
        for (const Node *s = sibling_prev(n); s && is_chain(n->parent); s = sibling_prev(s))
                if (s->state == NODE_NEW || s->state == NODE_STARTING)
                        return true;
        return false;
}

/* With no process and no timer nothing will happen any more: whoever is not at rest must wait for what was never
 * asked to start. */
static void watch_stuck(const Node *n)
{
        CHECK(n->state != NODE_BACKOFF && n->state != NODE_STOPPING);
        CHECK(n->state != NODE_STARTING || (is_supervisor(n) && priv(n)->pending > 0));
        CHECK(!priv(n)->held && !priv(n)->stop_wanted && !priv(n)->group);
        if (priv(n)->wanted)
                CHECK(waits_for_good_reason(n));
}

static void watch_rest(Core *core)
{
        bool quiet = true;

        CHECK(list_is_empty(&core->dirty));
        for (int i = 0; i < n_seen; i++) {
                Seen *s = &seen[i];

                quiet &= !s->node || (!s->alive && s->deadline == USEC_INFINITY);
                if (!s->node)
                        continue;
                if (!priv(s->node)->stop_wanted)
                        s->marked_since = 0;
                else if (s->marked_since == 0)
                        s->marked_since = step_number;
                CHECK_EQ(s->node->state, s->state);
                CHECK_EQ(s->node->alive, s->alive);
                CHECK_EQ(s->node->alive, s->spawns != s->ends);
                CHECK_EQ(priv(s->node)->deadline, s->deadline);
                if (is_supervisor(s->node))
                        watch_counts(s->node);
                watch_lost(s->node);
        }
        for (int i = 0; quiet && i < n_seen; i++)
                if (seen[i].node)
                        watch_stuck(seen[i].node);
}
