/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/core/core-internal.h"

/* A supervisor's own end */

static ExitInfo supervisor_exit(const Node *s, const Node *culprit)
{
        ExitInfo exit = { .cause = CAUSE_EXIT };

        if (culprit) {
                exit = culprit->exit;
                exit.pid = 0;
        }
        exit.runtime_usec = s->core->now - s->started_usec;
        return exit;
}

/* The supervisor ends by its own decision: what is left below is stopped, then it is dead or failed, and that is an
 * end of its own, which its parent judges. `culprit` lends it the reason. */
static void supervisor_close(Node *s, bool failed, const Node *culprit)
{
        NodePriv *p = priv(s);

        if (p->closing || p->stop_wanted || !s->parent)
                return;
        p->closing = true;
        p->close_failed = failed;
        s->exit = supervisor_exit(s, failed ? culprit : NULL);
        node_set_state(s, NODE_STOPPING);
        group_abort(s);
        for (Node *c = child_last(s); c; c = sibling_prev(c))
                stop_subtree(c, AFTER_DEAD, USEC_INFINITY, false);
        kick(s);
}

static void supervisor_gone(Node *s)
{
        NodePriv *p = priv(s);

        p->closing = false;
        (void) change_settle(s);
        change_commit(s);
        if (!p->stop_wanted)
                return child_ended(s, p->close_failed);
        s->exit = (ExitInfo){
                .cause = CAUSE_STOP, .code = -1, .runtime_usec = s->core->now - s->started_usec
        };
        node_stopped(s);
}

/* Who asked for it is told, and takes it out again: neither its supervisor nor its siblings are concerned. One
 * that was stopped while it waited for another try is a child like all others. */
bool node_never_ran(const Node *n)
{
        return n->spec.on_trial && n->generation == 1 && n->state != NODE_DEAD &&
               n->exit.cause == CAUSE_SPAWN;
}

static void nursery_finished(Node *s)
{
        const Node *culprit = NULL;

        CORE_CHILD_FOREACH(c, s)
                if (c->state == NODE_FAILED && !node_never_ran(c) && !culprit)
                        culprit = c;
        s->exit = supervisor_exit(s, culprit);
        child_ended(s, culprit != NULL);
}

/* What follows for a supervisor from the counts of its children. Ready means that each child has settled once: is
 * ready or over. A child that failed and is not restarted has settled too: whether that is a failure of the whole
 * was decided when it happened. */
void supervisor_advance(Node *s)
{
        NodePriv *p = priv(s);
        bool check_finished = p->check_finished;

        p->check_finished = false;
        if (p->stop_wanted || p->closing) {
                if (p->active == 0)
                        supervisor_gone(s);
        } else if (is_running(s)) {
                if (check_finished && is_nursery(s) && !s->spec.stays && p->active == 0)
                        nursery_finished(s);
                else if (s->state == NODE_STARTING && p->pending == 0)
                        node_set_state(s, NODE_READY);
        }
}

/* Group restarts (one_for_all, rest_for_one): the others are stopped in reverse order; once all are gone and every
 * delay is over, all start in order. What fails meanwhile was being stopped anyway and doesn't count. */

static bool restarts_in_group(const Node *n)
{
        return is_supervisor(n) || n->spec.restart != RESTART_TEMPORARY;
}

/* Takes a sibling of the culprit into the group. Ended ones start again unless they are temporary, were stopped by
 * request or failed; one in backoff (it had failed alone, being the last) keeps its delay. */
static void group_take(Node *n)
{
        NodePriv *p = priv(n), *up = priv(n->parent);

        if (p->held || p->stop_wanted || n->state == NODE_FAILED)
                return;
        if (n->state == NODE_NEW) {
                p->held = p->wanted;
                p->wanted = false;
                return node_recount(n);
        }
        if (n->state == NODE_DEAD) {
                if (p->cancelled || !restarts_in_group(n))
                        return;
                p->held = p->restarting = true;
                return node_set_state(n, NODE_NEW);
        }
        if (n->state == NODE_BACKOFF) {
                p->held = true;
                up->group_backoff++;
                return;
        }
        p->held = p->restarting = restarts_in_group(n);
        p->in_group = true;
        up->group_stopping++;
        stop_subtree(n, p->held ? AFTER_START : AFTER_DEAD, USEC_INFINITY, false);
}

static void group_restart(Node *culprit, uint64_t delay)
{
        Node *s = culprit->parent;
        NodePriv *p = priv(culprit), *up = priv(s);
        uint64_t from = s->spec.strategy == STRATEGY_ONE_FOR_ALL ? 0 : p->index;

        /* a group that waits already can only grow */
        up->group_from = up->group ? MIN(up->group_from, from) : from;
        p->held = up->group = true;
        if (delay > 0) {
                up->group_backoff++;
                node_set_state(culprit, NODE_BACKOFF);
                node_arm(culprit, usec_add(s->core->now, delay));
        } else
                node_set_state(culprit, NODE_NEW);
        for (Node *c = child_last(s); c && priv(c)->index >= up->group_from; c = sibling_prev(c))
                if (c != culprit)
                        group_take(c);
        group_check(s);
}

void group_check(Node *s)
{
        NodePriv *up = priv(s);

        if (!up->group || up->group_stopping > 0 || up->group_backoff > 0)
                return;
        up->group = false;
        CORE_CHILD_FOREACH(c, s) {
                NodePriv *p = priv(c);

                if (!p->held)
                        continue;
                p->held = false;
                p->wanted = true;
                renew_below(c);
                kick(c);
        }
}

/* The supervisor itself is being stopped: nothing will be restarted. */
void group_abort(Node *s)
{
        NodePriv *up = priv(s);

        if (!up->group)
                return;
        up->group = false;
        up->group_stopping = up->group_backoff = 0;
        CORE_CHILD_FOREACH(c, s) {
                priv(c)->held = priv(c)->in_group = false;
                node_recount(c);
        }
}

/* The node will not start with the group it was part of: it is being stopped by request. */
void group_leave(Node *n)
{
        NodePriv *p = priv(n);

        if (!p->held)
                return;
        p->held = false;
        if (n->state == NODE_BACKOFF)
                priv(n->parent)->group_backoff--;
}

/* Judging an end */

/* A one-time job that is done is done, whatever its restart type. Supervisors are transient; those right below the
 * root are trees, which fail alone, and those opened at run time are their owner's to judge. */
static bool wants_restart(const Node *n, bool failure)
{
        if (is_nursery(n->parent) || priv(n)->cancelled || n->spec.stays || node_never_ran(n))
                return false;
        if (is_supervisor(n))
                return failure && n->parent->parent && is_supervisor(n->parent);
        if (n->spec.ready_exited && !failure)
                return false;
        return n->spec.restart == RESTART_PERMANENT || (n->spec.restart == RESTART_TRANSIENT && failure);
}

static bool intensity_admits(Node *n)
{
        Node *s = n->parent;
        RestartWindow *w = s->spec.on_give_up == GIVE_UP_ISOLATE ? &priv(n)->isolated : &priv(s)->window;

        return window_admit(w, &s->spec.intensity, s->core->now);
}

static bool group_has_others(const Node *n)
{
        const Node *s = n->parent;

        if (!is_chain(s))
                return false;
        return priv(s)->group || (s->spec.strategy == STRATEGY_ONE_FOR_ALL && sibling_prev(n)) ||
               sibling_next(n);
}

static void child_restart(Node *n)
{
        uint64_t delay = backoff_delay(n);

        priv(n)->restarting = true;
        if (group_has_others(n))
                return group_restart(n, delay);
        if (delay == 0)
                return want_start(n);
        node_set_state(n, NODE_BACKOFF);
        node_arm(n, usec_add(n->core->now, delay));
}

void backoff_over(Node *n, const Event *e)
{
        if (!priv(n)->held)
                return want_start(n);
        priv(n->parent)->group_backoff--;
        node_set_state(n, NODE_NEW);
        group_check(n->parent);
}

/* A stop from outside, or by request, never triggers: only an end of the child's own does. */
static void check_auto_shutdown(Node *n, bool failure)
{
        Node *s = n->parent;
        AutoShutdown when = s->spec.auto_shutdown;

        if (!n->spec.significant || priv(n)->cancelled || when == AUTO_SHUTDOWN_NEVER)
                return;
        if (when == AUTO_SHUTDOWN_ALL_SIGNIFICANT && priv(s)->significant > 0)
                return;
        supervisor_close(s, failure, n);
}

/* The child is over by itself and stays so. */
void child_given_up(Node *n, bool failure)
{
        Node *s = n->parent;

        node_set_state(n, failure ? NODE_FAILED : NODE_DEAD);
        node_over(n);
        if (node_never_ran(n))
                return;
        if (failure && is_supervisor(s) && s->spec.strategy == STRATEGY_ONE_CANCELS_ALL)
                supervisor_close(s, true, n);
        check_auto_shutdown(n, failure);
}

/* A child, gone to the last process, had not been asked to. */
void child_ended(Node *n, bool failure)
{
        Node *s = n->parent;

        if (!wants_restart(n, failure))
                return child_given_up(n, failure);
        if (intensity_admits(n))
                return child_restart(n);
        core_emit(n->core, &(Effect){ .type = EFFECT_GIVE_UP, .node = s, .about = n });
        child_given_up(n, true);
        if (s->spec.on_give_up == GIVE_UP_ESCALATE)
                supervisor_close(s, true, n);
}
