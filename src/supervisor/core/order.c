/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "supervisor/core/core-internal.h"

/* Starts */

/* In a chain the nearest earlier sibling that is not over must be ready. One that was added and never asked to
 * start is in nobody's way. */
static bool chain_is_open(const Node *n)
{
        const Node *s = n;

        if (!n->parent || !is_chain(n->parent))
                return true;
        do
                s = sibling_prev(s);
        while (s && !is_active(s));
        return !s || (s->state == NODE_READY && !priv(s)->stop_wanted);
}

/* n is settled: the next sibling that waits looks again. */
void chain_wake(Node *n)
{
        if (!n->parent || !is_chain(n->parent) || !is_running(n->parent))
                return;
        do
                n = sibling_next(n);
        while (n && !is_active(n));
        if (n && priv(n)->wanted)
                kick(n);
}

static void stop_idle(Node *n);

/* A dependency that can't be satisfied any more: a failure of this node without an attempt, so nothing to restart.
 * Its exit says so by cause `none` and ECANCELED. */
static void fail_waiting(Node *n)
{
        priv(n)->wanted = priv(n)->restarting = false;
        n->exit = (ExitInfo){ .code = -1, .spawn_errno = ECANCELED };
        if (is_over(n))
                node_set_state(n, NODE_NEW);
        for (Node *i = subtree_last(n); i != n; i = subtree_prev(n, i))
                if (i->state == NODE_NEW)
                        stop_idle(i);
        child_given_up(n, true);
}

static void supervisor_start(Node *s)
{
        s->generation++;
        s->started_usec = s->core->now;
        node_set_state(s, NODE_STARTING);
        CORE_CHILD_FOREACH(c, s)
                if (priv(c)->wanted)
                        kick(c);
        kick(s);
}

static bool parent_is_open(const Node *n)
{
        return !n->parent || (is_running(n->parent) && change_is_open(n));
}

bool check_lost(Node *n)
{
        if (!priv(n)->wanted || !parent_is_open(n) || depend_status(n) != DEPEND_LOST)
                return false;
        fail_waiting(n);
        return true;
}

void try_start(Node *n)
{
        NodePriv *p = priv(n);

        if (!p->wanted || check_lost(n))
                return;
        if (!parent_is_open(n) || !chain_is_open(n) || depend_status(n) != DEPEND_SATISFIED) {
                if (n->state != NODE_NEW)
                        node_set_state(n, NODE_NEW);
                return node_recount(n);
        }
        p->wanted = p->cancelled = false;
        n->restarts += p->restarting;
        p->restarting = false;
        if (is_supervisor(n))
                supervisor_start(n);
        else
                actor_start(n);
}

/* A supervisor that starts is loaded anew, whatever became of its children before. All are `new` before the first
 * starts, so that none takes the last life's end of a dependency for a final one. */
void renew_below(Node *top)
{
        if (!is_supervisor(top))
                return;
        window_clear(&priv(top)->window);
        for (Node *n = subtree_next(top, top); n; n = subtree_next(top, n)) {
                NodePriv *p = priv(n);

                if (p->removing) { /* in this very step, by a change */
                        n = subtree_last(n);
                        continue;
                }
                p->wanted = true;
                p->cancelled = p->restarting = false;
                p->failures = 0;
                window_clear(&p->window);
                window_clear(&p->isolated);
                if (n->state != NODE_NEW)
                        node_set_state(n, NODE_NEW);
                else
                        node_recount(n);
        }
}

/* The node, over or new, is to start; at once if the gate is open. One that belongs to a group being restarted
 * waits for the group. */
void want_start(Node *n)
{
        NodePriv *p = priv(n), *up = n->parent ? priv(n->parent) : NULL;

        renew_below(n);
        if (!up || !up->group || p->index < up->group_from) {
                p->wanted = true;
                return try_start(n);
        }
        p->held = true;
        if (n->state != NODE_NEW)
                node_set_state(n, NODE_NEW);
        else
                node_recount(n);
}

/* The same, but judged and started together with whatever else is to start in this step. */
void want_start_later(Node *n)
{
        NodePriv *p = priv(n), *up = n->parent ? priv(n->parent) : NULL;

        if (n->state != NODE_NEW)
                node_set_state(n, NODE_NEW);
        renew_below(n);
        if (up && up->group && p->index >= up->group_from)
                p->held = true;
        else
                p->wanted = true;
        node_recount(n);
        kick(n);
}

/* Stops */

/* Children of a chain line up in list order; requests may come in any. */
static void line_up(Node *n)
{
        NodePriv *p = priv(n);
        ListNode *head, *at;

        if (!n->parent || !is_chain(n->parent))
                return;
        head = &priv(n->parent)->stop_list;
        for (at = head->next; at != head && LIST_ENTRY(at, NodePriv, stop_link)->index < p->index;)
                at = at->next;
        list_append(at, &p->stop_link); /* before `at` */
}

/* The children's order is another one, or counts from now on, or no more. */
void stop_list_renew(Node *s)
{
        CORE_CHILD_FOREACH(c, s) {
                NodePriv *p = priv(c);

                list_unlink(&p->stop_link);
                if (!p->stop_wanted)
                        continue;
                if (is_chain(s))
                        list_append(&priv(s)->stop_list, &p->stop_link);
                kick(c);
        }
}

static bool stop_is_open(const Node *n)
{
        const NodePriv *p = priv(n), *up = n->parent ? priv(n->parent) : NULL;

        if (p->stop_blockers > 0)
                return false;
        if (!up)
                return true;
        if (is_supervisor(n->parent) && up->stop_wanted && !up->stop_begun && !up->closing)
                return false;
        return list_is_empty(&p->stop_link) || up->stop_list.prev == &p->stop_link;
}

static void kick_children_backwards(Node *s)
{
        for (Node *c = child_last(s); c; c = sibling_prev(c))
                if (priv(c)->stop_wanted)
                        kick(c);
}

void try_stop(Node *n)
{
        NodePriv *p = priv(n);

        if (!p->stop_wanted || p->stop_begun || !stop_is_open(n))
                return;
        p->stop_begun = true;
        if (!is_supervisor(n))
                return actor_ask(n);
        if (n->state != NODE_STOPPING)
                node_set_state(n, NODE_STOPPING);
        kick_children_backwards(n);
        kick(n);
}

/* What has no process and waits for nothing is dead at once; a cause of `stop` only where there is no other end to
 * tell of. */
static void stop_idle(Node *n)
{
        NodePriv *p = priv(n);

        p->wanted = p->held = p->restarting = false;
        if (n->exit.cause == CAUSE_NONE)
                n->exit = (ExitInfo){ .cause = CAUSE_STOP, .code = -1 };
        node_set_state(n, NODE_DEAD);
        node_over(n);
}

static void mark_stop(Node *n, AfterStop after, uint64_t grace_usec, bool fast)
{
        NodePriv *p = priv(n);
        bool again = p->stop_wanted;

        if (grace_usec == USEC_INFINITY)
                grace_usec = n->spec.grace_usec;
        p->after = after;
        p->stop_wanted = true;
        if (!again && n->parent)
                priv(n->parent)->stopping++;
        p->grace_usec = again ? MIN(p->grace_usec, grace_usec) : grace_usec;
        p->fast |= fast;
        if (again) {
                if (p->stop_begun && n->alive)
                        actor_shorten(n);
                return;
        }
        depend_block(n);
        line_up(n);
        node_recount(n);
        kick(n);
}

/* Marks a subtree, children first and backwards, which is the order of asking where nothing else rules. */
void stop_subtree(Node *top, AfterStop after, uint64_t grace_usec, bool fast)
{
        for (Node *n = subtree_last(top), *prev; n; n = prev) {
                prev = subtree_prev(top, n);
                if (is_supervisor(n))
                        group_abort(n);
                if (is_over(n) || is_below_actor(top, n))
                        continue;
                if (n->state == NODE_NEW || n->state == NODE_BACKOFF)
                        stop_idle(n);
                else
                        mark_stop(n, n == top ? after : AFTER_DEAD, grace_usec, fast);
        }
}

/* Its stop is done: nothing of it is left. */
void node_stopped(Node *n)
{
        NodePriv *p = priv(n);
        Node *s = n->parent;
        bool in_group = p->in_group, settled;

        p->stop_wanted = p->stop_begun = p->in_group = false;
        settled = s && --priv(s)->stopping == 0 && change_settle(s);
        depend_unblock(n);
        if (!list_is_empty(&p->stop_link)) {
                list_unlink(&p->stop_link);
                if (!list_is_empty(&priv(s)->stop_list))
                        kick(LIST_ENTRY(priv(s)->stop_list.prev, NodePriv, stop_link)->node);
        }
        if (in_group)
                priv(s)->group_stopping--;
        if (p->after == AFTER_DEAD) {
                p->held = false;
                node_set_state(n, NODE_DEAD);
                node_over(n);
        } else if (p->held)
                node_set_state(n, NODE_NEW);
        else if (settled)
                want_start_later(n);
        else
                want_start(n);
        if (in_group)
                group_check(s);
}

static bool has_ended_child(const Node *s)
{
        CORE_CHILD_FOREACH(c, s)
                if ((c->state == NODE_DEAD || c->state == NODE_FAILED) && !node_never_ran(c))
                        return true;
        return false;
}

/* n is dead or failed, for whatever reason. */
void node_over(Node *n)
{
        if (priv(n)->removing)
                kick(n);
        if (n->parent) {
                priv(n->parent)->check_finished |= !node_never_ran(n) || has_ended_child(n->parent);
                kick(n->parent);
        }
}
