/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/core/core-internal.h"

#define TO(state) (1u << NODE_##state)

/* Every transition there is. An actor that starts again at once goes from starting or ready to starting. */
static const unsigned legal[_NODE_STATE_MAX] = {
        [NODE_NEW] = TO(STARTING) | TO(DEAD) | TO(FAILED),
        [NODE_STARTING] = TO(STARTING) | TO(READY) | TO(STOPPING) | TO(DEAD) | TO(BACKOFF) | TO(FAILED) |
                          TO(NEW),
        [NODE_READY] = TO(STARTING) | TO(STOPPING) | TO(DEAD) | TO(BACKOFF) | TO(FAILED) | TO(NEW),
        [NODE_STOPPING] = TO(STARTING) | TO(DEAD) | TO(BACKOFF) | TO(FAILED) | TO(NEW),
        [NODE_DEAD] = TO(STARTING) | TO(NEW),
        [NODE_BACKOFF] = TO(STARTING) | TO(DEAD) | TO(NEW) | TO(FAILED),
        [NODE_FAILED] = TO(STARTING) | TO(NEW),
};

/* The old state's deadline goes with it; whoever enters a state that has one arms it afterwards. */
void node_set_state(Node *n, NodeState to)
{
        NodeState from = n->state;

        assert(legal[from] & (1u << to));
        n->state = to;
        n->since_usec = n->core->now;
        node_arm(n, USEC_INFINITY);
        priv(n)->remaining = USEC_INFINITY;
        core_emit(n->core, &(Effect){ .type = EFFECT_STATE, .node = n, .from = from, .to = to });
        node_recount(n);
        if (to == NODE_READY || is_over(n)) {
                chain_wake(n);
                if (is_over(n) && is_supervisor(n))
                        depend_wake_below(n);
                else
                        depend_wake(n);
        }
}

/* At most one timer effect a node is queued: it takes the deadline that holds when the shell comes to it. */
void node_arm(Node *n, uint64_t deadline)
{
        NodePriv *p = priv(n);

        if (p->deadline == deadline)
                return;
        p->deadline = deadline;
        if (p->timer_queued)
                return;
        p->timer_queued = true;
        core_emit(n->core, &(Effect){ .type = EFFECT_TIMER, .node = n });
}

void node_arm_in(Node *n, uint64_t usec)
{
        priv(n)->remaining = usec;
        if (!n->frozen)
                node_arm(n, usec_add(n->core->now, usec));
}

void actor_start(Node *n)
{
        NodePriv *p = priv(n);

        n->generation++;
        n->started_usec = n->core->now;
        n->alive = true;
        p->fast = p->exited = false;
        p->killing = CAUSE_NONE;
        p->rung = RUNG_NONE;
        p->watchdog_usec = n->spec.watchdog_usec;
        node_set_state(n, NODE_STARTING);
        core_emit(n->core, &(Effect){ .type = EFFECT_SPAWN, .node = n });
        node_arm_in(n, n->spec.start_timeout_usec);
}

static uint64_t rung_wait(const Node *n, StopRung rung)
{
        const NodePriv *p = priv(n);
        uint64_t wait = rung == RUNG_ASK ? p->grace_usec : LADDER_TERM_USEC;

        if (rung == RUNG_KILL)
                return LADDER_KILL_AGAIN_USEC;
        return p->fast ? MIN(wait, LADDER_FAST_USEC) : wait;
}

/* A frozen process would not hear a signal, nor die of one. */
static void take_rung(Node *n, StopRung rung)
{
        NodePriv *p = priv(n);

        if (n->frozen) {
                n->frozen = false;
                core_emit(n->core, &(Effect){ .type = EFFECT_THAW, .node = n });
        }
        p->rung = rung;
        core_emit(n->core, &(Effect){ .type = EFFECT_STOP, .node = n, .rung = rung });
        node_arm(n, usec_add(n->core->now, rung_wait(n, rung)));
}

/* The actor's turn to be asked has come. One whose end is under way already stays on the rung it is on. */
void actor_ask(Node *n)
{
        if (n->state == NODE_STOPPING)
                return actor_shorten(n);
        node_set_state(n, NODE_STOPPING);
        take_rung(n, RUNG_ASK);
}

/* A second request may only bring the next rung nearer. */
void actor_shorten(Node *n)
{
        NodePriv *p = priv(n);

        if (p->rung == RUNG_ASK || p->rung == RUNG_TERM)
                node_arm(n, MIN(p->deadline, usec_add(n->core->now, rung_wait(n, p->rung))));
}

/* KILL is repeated for as long as anything is left: a process in uninterruptible sleep dies late, and a fork may
 * have slipped through where there is no cgroup.kill. */
void actor_ladder_timeout(Node *n, const Event *e)
{
        NodePriv *p = priv(n);

        if (p->rung == RUNG_ASK && !n->spec.stop_is_term)
                take_rung(n, RUNG_TERM);
        else
                take_rung(n, RUNG_KILL);
}

void actor_ready(Node *n, const Event *e)
{
        if (n->spec.ready_exited)
                return;
        node_set_state(n, NODE_READY);
        if (priv(n)->watchdog_usec > 0)
                node_arm_in(n, priv(n)->watchdog_usec);
}

/* Not asked first: it had its time. */
void actor_start_timeout(Node *n, const Event *e)
{
        priv(n)->killing = CAUSE_START_TIMEOUT;
        node_set_state(n, NODE_STOPPING);
        take_rung(n, RUNG_TERM);
}

void actor_watchdog_missed(Node *n, const Event *e)
{
        priv(n)->killing = CAUSE_WATCHDOG;
        node_set_state(n, NODE_STOPPING);
        take_rung(n, RUNG_KILL);
}

void actor_sign_of_life(Node *n, const Event *e)
{
        if (priv(n)->watchdog_usec > 0)
                node_arm_in(n, priv(n)->watchdog_usec);
}

/* A longer period holds at once. The program was told the one it was started with: to hold it to a shorter one, or to one
 * at all, would kill it for what it can't know, so that begins with its next generation. */
void actor_set_watchdog(Node *n)
{
        NodePriv *p = priv(n);
        uint64_t usec = n->spec.watchdog_usec;

        if (p->watchdog_usec == 0 || (usec > 0 && usec <= p->watchdog_usec))
                return;
        p->watchdog_usec = usec;
        if (n->state == NODE_READY)
                node_arm_in(n, usec ?: USEC_INFINITY);
}

/* What the shell saw, under what the core knows: an end that was asked for is a stop whatever it looks like; the
 * kernel's word for an OOM kill stands over our own reasons to kill. */
ExitCause core_exit_cause(const Node *n, ExitCause seen)
{
        const NodePriv *p = priv(n);

        if (p->stop_wanted)
                return CAUSE_STOP;
        if (seen == CAUSE_OOM)
                return seen;
        if (p->killing != CAUSE_NONE)
                return p->killing;
        return seen == CAUSE_NONE ? CAUSE_UNKNOWN : seen;
}

static bool is_failure(const ExitInfo *exit)
{
        switch (exit->cause) {
        case CAUSE_NONE:
        case CAUSE_STOP:
                return false;
        case CAUSE_EXIT:
                return exit->code != 0;
        default:
                return true;
        }
}

void actor_gone(Node *n)
{
        NodePriv *p = priv(n);

        if (nurseries_left(n))
                return;
        n->alive = n->frozen = false;
        p->exited = false;
        p->rung = RUNG_NONE;
        change_commit(n);
        if (p->stop_wanted)
                return node_stopped(n);
        /* a stop that came from outside, past any request */
        p->cancelled = n->exit.cause == CAUSE_STOP;
        child_ended(n, is_failure(&n->exit));
}

/* The rest of a cgroup whose main process is gone is sent SIGTERM at once, whichever rung before KILL was
 * reached: SIGTERM went to the main process alone until now. */
void actor_exited(Node *n, const Event *e)
{
        NodePriv *p = priv(n);

        if (!n->alive || p->exited)
                return;
        n->exit = e->exit;
        n->exit.cause = core_exit_cause(n, e->exit.cause);
        if (n->exit.runtime_usec == 0)
                n->exit.runtime_usec = n->core->now - n->started_usec;
        nurseries_end(n);
        if (!e->populated)
                return actor_gone(n);
        p->exited = true;
        if (n->state != NODE_STOPPING)
                node_set_state(n, NODE_STOPPING);
        if (p->rung != RUNG_KILL)
                take_rung(n, RUNG_TERM);
}

void actor_empty(Node *n, const Event *e)
{
        if (n->alive && priv(n)->exited)
                actor_gone(n);
}

static bool has_pausable_deadline(const Node *n)
{
        return n->alive && (n->state == NODE_STARTING || n->state == NODE_READY);
}

/* Actors only, and only those that run by themselves: a ladder under way thaws what it signals. */
void subtree_freeze(Node *top)
{
        for (Node *n = top; n; n = subtree_next(top, n)) {
                NodePriv *p = priv(n);

                if (!has_pausable_deadline(n) || n->frozen)
                        continue;
                n->frozen = true;
                if (p->deadline != USEC_INFINITY)
                        p->remaining = usec_sub(p->deadline, n->core->now);
                node_arm(n, USEC_INFINITY);
        }
}

void subtree_thaw(Node *top)
{
        for (Node *n = top; n; n = subtree_next(top, n)) {
                if (!n->frozen)
                        continue;
                n->frozen = false;
                node_arm_in(n, priv(n)->remaining);
        }
}
