/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "supervisor/core/core-internal.h"

/* Marks a node for another look at its wishes, once, in the order of the marks. */
void kick(Node *n)
{
        ListNode *l = &priv(n)->dirty;

        if (list_is_empty(l) && !priv(n)->removed)
                list_append(&n->core->dirty, l);
}

/* The queue of effects: a ring, whose room is reserved as nodes are added. */

static int reserve_ring(Core *core, size_t cap)
{
        Effect *ring = calloc(cap, sizeof(*ring));

        if (!ring)
                return -ENOMEM;
        for (size_t i = 0; i < core->effects_n; i++)
                ring[i] = core->effects[(core->effects_head + i) % core->effects_cap];
        free(core->effects);
        core->effects = ring;
        core->effects_cap = cap;
        core->effects_head = 0;
        return 0;
}

int core_reserve_effects(Core *core, size_t n)
{
        return n <= core->effects_cap ? 0 : reserve_ring(core, MAX(n, core->effects_cap * 2));
}

/* A shell that takes the effects of each step before the next event never fills the ring. One that doesn't makes it
 * grow. */
void core_emit(Core *core, const Effect *effect)
{
        int r = core_reserve_effects(core, core->effects_n + 1);

        assert(r >= 0);
        core->effects[(core->effects_head + core->effects_n++) % core->effects_cap] = *effect;
}

static Effect take_effect(Core *core)
{
        Effect e = core->effects[core->effects_head];

        core->effects_head = (core->effects_head + 1) % core->effects_cap;
        if (--core->effects_n == 0)
                core->effects_head = 0;
        return e;
}

static void bury(Core *core)
{
        if (!core->corpse)
                return;
        core->corpse = node_free(core->corpse);
        core->n_nodes--;
}

bool core_next_effect(Core *core, Effect *ret)
{
        Effect e;

        bury(core);
        if (core->effects_n == 0)
                return false;
        e = take_effect(core);
        if (e.type == EFFECT_REMOVED)
                core->corpse = e.node;
        if (e.type == EFFECT_TIMER) {
                priv(e.node)->timer_queued = false;
                e.at = priv(e.node)->deadline;
        }
        *ret = e;
        return true;
}

Core *core_free(Core *core)
{
        Effect e;

        if (!core)
                return NULL;
        while (core_next_effect(core, &e))
                ;
        for (Node *n = core->root ? subtree_last(core->root) : NULL, *prev; n; n = prev) {
                prev = subtree_prev(core->root, n);
                assert(!n->alive);
                node_free(n);
        }
        assert(core->nodes.n == 0);
        map_clear(&core->nodes);
        free(core->effects);
        free(core);
        return NULL;
}

/* Requests */

bool node_may_start(const Node *n)
{
        const NodePriv *p = priv(n);

        if (p->removing || p->removed)
                return false;
        return !n->parent || node_may_start_below(n->parent);
}

bool node_may_start_below(const Node *s)
{
        return is_running(s) || (s->state == NODE_NEW && (priv(s)->wanted || priv(s)->held));
}

bool node_is_leaving(const Node *n)
{
        return priv(n)->removing;
}

static void request_start(Node *n, const Event *e)
{
        NodePriv *p = priv(n);

        if (!node_may_start(n) || p->wanted || p->held)
                return;
        p->cancelled = p->restarting = false;
        p->failures = 0;
        window_clear(&p->isolated);
        want_start(n);
}

static void request_cancel(Node *n, const Event *e)
{
        priv(n)->cancelled = true;
        group_leave(n);
        stop_subtree(n, AFTER_DEAD, e->grace_usec, e->fast);
        if (n->parent)
                group_check(n->parent);
}

static void request_remove(Node *n, const Event *e)
{
        priv(n)->removing = n->parent != NULL;
        request_cancel(n, e);
        kick(n);
}

/* What runs is stopped in its own time, then started; the latest request wins over a stop still under way. */
static void request_restart(Node *n, const Event *e)
{
        if (!node_may_start(n))
                return;
        priv(n)->cancelled = false;
        stop_subtree(n, AFTER_START, USEC_INFINITY, false);
}

/* By hand: no use in waiting any longer. */
static void request_retry(Node *n, const Event *e)
{
        if (node_may_start(n))
                backoff_over(n, e);
}

static void request_freeze(Node *n, const Event *e)
{
        subtree_freeze(n);
}

static void request_thaw(Node *n, const Event *e)
{
        subtree_thaw(n);
}

/* Which event means what in which state; an empty field: nothing. */
static void (*const handlers[_NODE_STATE_MAX][_EVENT_MAX])(Node *n, const Event *e) = {
        [NODE_NEW] = {
                [EVENT_START] = request_start,
                [EVENT_CANCEL] = request_cancel,
                [EVENT_RESTART] = request_start,
                [EVENT_REMOVE] = request_remove,
                [EVENT_CHANGE] = request_change,
        },
        [NODE_STARTING] = {
                [EVENT_READY] = actor_ready,
                [EVENT_EXITED] = actor_exited,
                [EVENT_TIMEOUT] = actor_start_timeout,
                [EVENT_CANCEL] = request_cancel,
                [EVENT_RESTART] = request_restart,
                [EVENT_FREEZE] = request_freeze,
                [EVENT_THAW] = request_thaw,
                [EVENT_REMOVE] = request_remove,
                [EVENT_CHANGE] = request_change,
        },
        [NODE_READY] = {
                [EVENT_EXITED] = actor_exited,
                [EVENT_TIMEOUT] = actor_watchdog_missed,
                [EVENT_WATCHDOG] = actor_sign_of_life,
                [EVENT_CANCEL] = request_cancel,
                [EVENT_RESTART] = request_restart,
                [EVENT_FREEZE] = request_freeze,
                [EVENT_THAW] = request_thaw,
                [EVENT_REMOVE] = request_remove,
                [EVENT_CHANGE] = request_change,
        },
        [NODE_STOPPING] = {
                [EVENT_EXITED] = actor_exited,
                [EVENT_EMPTY] = actor_empty,
                [EVENT_TIMEOUT] = actor_ladder_timeout,
                [EVENT_CANCEL] = request_cancel,
                [EVENT_RESTART] = request_restart,
                [EVENT_FREEZE] = request_freeze,
                [EVENT_THAW] = request_thaw,
                [EVENT_REMOVE] = request_remove,
                [EVENT_CHANGE] = request_change,
        },
        [NODE_DEAD] = {
                [EVENT_START] = request_start,
                [EVENT_CANCEL] = request_cancel,
                [EVENT_RESTART] = request_start,
                [EVENT_REMOVE] = request_remove,
                [EVENT_CHANGE] = request_change,
        },
        [NODE_BACKOFF] = {
                [EVENT_TIMEOUT] = backoff_over,
                [EVENT_CANCEL] = request_cancel,
                [EVENT_RESTART] = request_retry,
                [EVENT_REMOVE] = request_remove,
                [EVENT_CHANGE] = request_change,
        },
        [NODE_FAILED] = {
                [EVENT_START] = request_start,
                [EVENT_CANCEL] = request_cancel,
                [EVENT_RESTART] = request_start,
                [EVENT_REMOVE] = request_remove,
                [EVENT_CHANGE] = request_change,
        },
};

static void advance(Node *n)
{
        if (is_supervisor(n))
                supervisor_advance(n);
        else if (priv(n)->hollow)
                actor_gone(n);
        try_stop(n);
        if (!check_lost(n) && priv(n)->wanted && list_is_empty(&priv(n)->start_link))
                list_append(&n->core->starts, &priv(n)->start_link);
        if (priv(n)->removing && is_over(n))
                subtree_remove(n);
}

/* Ends are judged to the last before anything starts, lest a process be spawned for a supervisor that is just about
 * to fail. */
static bool work(Core *core)
{
        NodePriv *p;

        if (!list_is_empty(&core->dirty)) {
                p = LIST_ENTRY(core->dirty.next, NodePriv, dirty);
                list_unlink(&p->dirty);
                advance(p->node);
                return true;
        }
        if (list_is_empty(&core->starts))
                return false;
        p = LIST_ENTRY(core->starts.next, NodePriv, start_link);
        list_unlink(&p->start_link);
        try_start(p->node);
        return true;
}

/* A timer that comes early, or belongs to an earlier deadline, is asked for again. */
static bool is_due(const Event *e)
{
        NodePriv *p = priv(e->node);

        if (e->now >= p->deadline)
                return true;
        if (p->deadline != USEC_INFINITY && !p->timer_queued) {
                p->timer_queued = true;
                core_emit(e->node->core, &(Effect){ .type = EFFECT_TIMER, .node = e->node });
        }
        return false;
}

/* A supervisor has no process, and of the timers only that of its backoff. */
static bool is_for(const Event *e)
{
        switch (e->type) {
        case EVENT_READY:
        case EVENT_EXITED:
        case EVENT_EMPTY:
        case EVENT_WATCHDOG:
                return !is_supervisor(e->node);
        case EVENT_TIMEOUT:
                return is_due(e);
        default:
                return true;
        }
}

void core_step(Core *core, const Event *event)
{
        Node *n = event->node;
        void (*handle)(Node *, const Event *) = handlers[n->state][event->type];

        core->now = MAX(core->now, event->now);
        if (priv(n)->removed || !is_for(event))
                return;
        if (handle)
                handle(n, event);
        while (work(core))
                ;
}
