/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "supervisor/core/core-internal.h"

/* Changes of a tree that runs. What can fail is done when a change is prepared: copies are made, windows grow, new
 * dependencies are entered with their targets. Carrying out is marks and gates as ever: a changed node's stop is a
 * restart's, and the moment nothing of its old self is left, change_commit() makes it the new one; so the old spec
 * rules the old generation to its end. All stops are marked before any of them is worked off, and all that starts
 * is `new` before the first of it is judged, so that both orders hold among what changes. */

NodeSpec *future_spec(Node *n)
{
        return priv(n)->becoming ? &priv(n)->becoming->spec : &n->spec;
}

/* Name, kind and how it came to be are the node's own, whoever asks. */
static int pending_new(Node *n, bool restart, const NodeSpec *spec, NodeChange **ret)
{
        NodeChange *c = calloc(1, sizeof(*c));
        char **depends = NULL;
        int r = 0;

        if (!c)
                return -ENOMEM;
        c->spec = *spec;
        c->spec.name = n->name;
        c->spec.kind = n->spec.kind;
        c->spec.on_trial = n->spec.on_trial;
        c->spec.depends = n->spec.depends;
        if (restart && spec->depends)
                r = strv_copy(spec->depends, &depends);
        if (r >= 0 && restart)
                r = depend_reserve(n, depends, &c->deps);
        if (r < 0) {
                strv_free(depends);
                free(c);
                return r;
        }
        if (restart) {
                c->n_deps = strv_length(depends);
                c->spec.depends = depends;
        }
        *ret = c;
        return 0;
}

void change_free(Node *n)
{
        NodeChange *c = TAKE_PTR(priv(n)->becoming);

        if (!c)
                return;
        if (c->deps)
                strv_free((char **) c->spec.depends);
        depend_forget(c->deps, c->n_deps);
        free(c);
}

/* Room for what may have to be counted, whoever gives up afterwards. */
static int reserve_windows(Node *s, const NodeSpec *spec)
{
        int r = 0;

        if (spec->on_give_up == GIVE_UP_ESCALATE)
                return window_reserve(&priv(s)->window, spec->intensity.max_restarts);
        CORE_CHILD_FOREACH(c, s)
                if (r >= 0)
                        r = window_reserve(&priv(c)->isolated, spec->intensity.max_restarts);
        return r;
}

int core_change(Core *core, Node *n, Change change, const NodeSpec *spec)
{
        NodeChange *c = NULL;
        int r = 0;

        if (change == CHANGE_LIVE && priv(n)->becoming && priv(n)->becoming->deps)
                change = CHANGE_RESTART;
        if (change == CHANGE_LIVE || change == CHANGE_RESTART) {
                if (is_supervisor(n))
                        r = reserve_windows(n, spec);
                if (r >= 0)
                        r = pending_new(n, change == CHANGE_RESTART, spec, &c);
                if (r < 0)
                        return r;
                change_free(n);
                priv(n)->becoming = c;
        }
        priv(n)->change = change;
        return 0;
}

void core_change_order(Node *parent, Node *const *children, size_t n)
{
        NodePriv *p = priv(parent);

        p->youngest = NULL;
        CORE_CHILD_FOREACH(c, parent)
                priv(c)->elder = c; /* not placed yet */
        for (size_t i = 0; i < n; i++) {
                priv(children[i])->elder = p->youngest;
                p->youngest = children[i];
        }
        CORE_CHILD_FOREACH(c, parent)
                if (priv(c)->elder == c) {
                        priv(c)->elder = p->youngest;
                        p->youngest = c;
                }
        for (Node *c = child_last(parent), *e = p->youngest; c == e; c = sibling_prev(c), e = priv(e)->elder)
                if (!e || !priv(e)->elder) {
                        p->youngest = NULL; /* it is that already */
                        return;
                }
}

void core_discard_changes(Node *top)
{
        for (Node *n = top; n; n = subtree_next(top, n)) {
                if (priv(n)->change == CHANGE_LIVE || priv(n)->change == CHANGE_RESTART)
                        change_free(n);
                priv(n)->change = CHANGE_NONE;
                priv(n)->youngest = NULL;
                depend_settle(n, false);
        }
}

/* Nothing of the old self is left, or what is left may stay. */
void change_commit(Node *n)
{
        NodePriv *p = priv(n);
        NodeChange *c = p->becoming;

        if (!c)
                return;
        if (c->deps) {
                depend_replace(n, TAKE_PTR(c->deps), c->n_deps);
                strv_free((char **) n->spec.depends);
        }
        n->spec = c->spec;
        p->becoming = NULL;
        free(c);
        actor_set_watchdog(n);
        node_recount(n);
        if (is_supervisor(n))
                stop_list_renew(n);
        core_emit(n->core, &(Effect){ .type = EFFECT_CHANGED, .node = n });
}

/* A group that waits is now where its members are. */
static void renew_order(Node *s)
{
        NodePriv *p = priv(s);
        ListNode *at = &s->children;
        uint64_t from = UINT64_MAX;

        if (!p->youngest)
                return;
        for (Node *c = p->youngest; c; c = priv(c)->elder) {
                list_unlink(&c->siblings);
                list_append(at, &c->siblings); /* before `at` */
                at = &c->siblings;
        }
        p->youngest = NULL;
        p->next_index = 0;
        CORE_CHILD_FOREACH(c, s) {
                priv(c)->index = p->next_index++;
                if (priv(c)->held || priv(c)->in_group)
                        from = MIN(from, priv(c)->index);
        }
        if (p->group && s->spec.strategy != STRATEGY_ONE_FOR_ALL)
                p->group_from = from;
        stop_list_renew(s);
}

/* In a chain, old dependencies and a new order may contradict each other, so that each of two waits for the other to
 * stop. So order and strategy stay what they are while any child is stopping, and meanwhile nothing that may count on the new ones
 * is started below. */
static void set_changing(Node *s, bool changing)
{
        if (priv(s)->changing == changing)
                return;
        priv(s)->changing = changing;
        s->core->n_changing += changing ? 1 : (size_t) -1;
}

bool change_settle(Node *s)
{
        if (!priv(s)->changing)
                return false;
        set_changing(s, false);
        renew_order(s);
        if (priv(s)->becoming && !priv(s)->becoming->deps)
                change_commit(s);
        for (Node *n = s; n; n = subtree_next(s, n))
                if (priv(n)->wanted)
                        kick(n);
        return true;
}

bool change_is_open(const Node *n)
{
        if (n->core->n_changing == 0)
                return true;
        for (n = n->parent; n; n = n->parent)
                if (priv(n)->changing)
                        return false;
        return true;
}

bool node_is_changing(const Node *n)
{
        return priv(n)->changing || priv(n)->becoming;
}

void change_leave(Node *n)
{
        NodePriv *up = n->parent ? priv(n->parent) : NULL;

        set_changing(n, false);
        change_free(n);
        if (!up || !up->youngest)
                return;
        CORE_CHILD_FOREACH(c, n->parent)
                if (priv(c)->elder == n)
                        priv(c)->elder = priv(n)->elder;
        if (up->youngest == n)
                up->youngest = priv(n)->elder;
}

static bool is_at_work(const Node *n)
{
        return n->state == NODE_STARTING || n->state == NODE_READY || n->state == NODE_STOPPING;
}

static void carry_out_stop(Node *n)
{
        NodePriv *p = priv(n);

        if (p->change == CHANGE_REMOVE) {
                p->removing = p->cancelled = true;
                group_leave(n);
                stop_subtree(n, AFTER_DEAD, USEC_INFINITY, false);
                kick(n);
        } else if (p->change == CHANGE_RESTART && is_at_work(n) && node_may_start(n)) {
                p->cancelled = false;
                stop_subtree(n, AFTER_START, USEC_INFINITY, false);
        }
}

static void begin_start(Node *n)
{
        NodePriv *p = priv(n);

        p->cancelled = p->restarting = false;
        p->failures = 0;
        window_clear(&p->isolated);
        if (n->state == NODE_BACKOFF && p->held)
                return backoff_over(n, NULL);
        if (p->wanted || p->held)
                return kick(n);
        want_start_later(n);
}

static void carry_out_rest(Node *n)
{
        NodePriv *p = priv(n);
        Change change = p->change;

        p->change = CHANGE_NONE;
        if ((change != CHANGE_RESTART && change != CHANGE_START) || is_at_work(n))
                return;
        change_commit(n);
        if (!node_may_start(n))
                return;
        begin_start(n);
}

static bool is_other_strategy(const Node *n)
{
        const NodePriv *p = priv(n);

        return p->change == CHANGE_LIVE && is_supervisor(n) &&
               p->becoming->spec.strategy != n->spec.strategy;
}

void request_change(Node *top, const Event *e)
{
        for (Node *n = subtree_last(top); n; n = subtree_prev(top, n)) {
                depend_settle(n, true);
                carry_out_stop(n);
        }
        for (Node *n = top; n; n = subtree_next(top, n)) {
                if (priv(n)->youngest || is_other_strategy(n))
                        set_changing(n, true);
                else if (priv(n)->change == CHANGE_LIVE) {
                        set_changing(n, false);
                        change_commit(n);
                }
                if (priv(n)->stopping == 0)
                        (void) change_settle(n);
        }
        for (Node *n = top; n; n = subtree_next(top, n)) {
                carry_out_rest(n);
                if (!is_supervisor(n))
                        continue;
                group_check(n);
                CORE_CHILD_FOREACH(c, n)
                        if (priv(c)->wanted) /* another order or strategy opens other gates */
                                kick(c);
        }
}
