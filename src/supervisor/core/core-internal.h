/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of the core share. The model is one of wishes and gates:
 *
 * A request or an end only *marks*: nodes get a wish (`wanted`: start; `stop_wanted`: stop) and are put on the
 * dirty list. Then the list is worked off: each wish waits at its gate and is carried out once that is open. The
 * start gate of a node needs a running parent, satisfied dependencies and, in a chain (one_for_all, rest_for_one),
 * settled earlier siblings. The stop gate is its mirror image: the parent's stop has begun, dependents and later
 * siblings that are to stop as well are gone. Both orders are acyclic because core_link() refuses cycles, so every
 * wish comes true without any list of steps being kept. Marks touch the subtree concerned, gates keep counters, so
 * that an event costs what it affects and not what exists.
 *
 * Layers, each includes what is below it: core.c (events) → change.c → strategy.c (what an end means) → order.c (gates) →
 * lifecycle.c (one actor, the ladder) → depend.c, restart.c, tree.c. */

#include "base/path.h"
#include "base/usec.h"
#include "supervisor/core/core.h"

#define LADDER_TERM_USEC (1500 * USEC_PER_MSEC)
#define BACKOFF_SPAWN_MIN_USEC (100 * USEC_PER_MSEC)
#define LADDER_FAST_USEC (300 * USEC_PER_MSEC)
#define LADDER_KILL_AGAIN_USEC (5 * USEC_PER_SEC)
/* Room in the queue a node reserves: between one generation's SPAWN being taken and the next one's being queued no
 * node makes more effects than this (timers coalesce). */
#define EFFECTS_PER_NODE 16
#define MAX_RESTARTS_CAP 1000

/* One `depends` of a node: on the target's list of dependents, and the count of it that holds up the target's stop. */
typedef struct Dependency {
        ListNode link; /* in target's priv->dependents */
        Node *node;    /* weak: the dependent */
        Node *target;  /* weak; NULL: not linked, or removed, thus never satisfied */
        bool blocking; /* counted in the target's stop_blockers */
        bool found;    /* again, by a check of changes that have not come true yet */
} Dependency;

/* The last restarts, as many as the window ever had to hold: how many are allowed may change. */
typedef struct RestartWindow {
        uint64_t *at;
        uint32_t cap, n, next;
} RestartWindow;

/* What a node is to become once nothing of its old self is left. */
typedef struct NodeChange {
        NodeSpec spec;
        Dependency *deps; /* only for a restart: on the targets' lists already */
        size_t n_deps;
} NodeChange;

/* What becomes of a node once its stop is done. Descendants of what is stopped always end `dead`: a supervisor that
 * starts again starts all its children anew. */
typedef enum AfterStop {
        AFTER_DEAD,
        AFTER_START,
} AfterStop;

/* What a node counts as in the parent and above. */
enum {
        COUNT_ACTIVE = 1 << 0,  /* will still do something by itself */
        COUNT_PENDING = 1 << 1, /* active and not ready, or not for long */
        COUNT_SIGNIFICANT = 1 << 2,
        COUNT_FAILED = 1 << 3,
        COUNT_LIVE = 1 << 4, /* holds or will hold a process of its own, or restarts a branch */
};

typedef struct NodePriv {
        Node *node;                 /* weak: the node this belongs to */
        ListNode dirty, start_link; /* in core->dirty, core->starts */
        uint64_t index;             /* position among its siblings, never reused */
        unsigned depth;
        unsigned counted; /* COUNT_* as entered above */
        uint32_t live_below, failed_below;

        /* wishes */
        bool wanted; /* start as soon as the gate opens */
        bool held;   /* takes part in the parent's group restart: starts when that is released */
        bool stop_wanted, stop_begun;
        bool in_group;  /* its stop is one the parent's group restart waits for */
        bool cancelled; /* stopped by request: a group restart leaves it dead */
        bool removing, removed;
        bool restarting; /* the next start counts in node->restarts */
        AfterStop after;

        /* the ladder, the deadline */
        bool fast, exited;
        bool hollow; /* an actor, gone, whose nurseries are not yet */
        uint64_t grace_usec;
        StopRung rung;
        ExitCause killing; /* why the core itself ends this generation: watchdog, start-timeout */
        uint64_t deadline, remaining;
        bool timer_queued;

        uint32_t failures;      /* consecutive restarts, for the backoff */
        RestartWindow window;   /* a supervisor's that escalates */
        RestartWindow isolated; /* of this child alone, where the parent isolates */

        Dependency *deps;
        size_t n_deps;
        ListNode dependents;
        uint32_t stop_blockers;
        uint64_t watchdog_usec; /* of this generation */

        Change change;        /* to be carried out by EVENT_CHANGE */
        NodeChange *becoming; /* not yet true */
        Node *elder;          /* weak; with the parent's `youngest`: whom it will follow */
        Node *youngest;       /* weak; of the children's new order; NULL: stays as it is */
        uint32_t epoch;       /* of the last search for cycles that came by */
        uint8_t colour[2];

        /* supervisors */
        ListNode stop_list; /* children of a chain that are to stop, in list order: the last one's turn it is */
        ListNode stop_link;
        uint64_t next_index;
        uint32_t active, pending, significant, failed; /* children counted so */
        uint32_t stopping;                             /* children with stop_wanted */
        bool changing; /* will have another order or spec once no child is stopping: until then nothing below starts */
        bool closing, close_failed; /* ends by its own decision; as `failed`? */
        bool check_finished;        /* a child is over */
        bool group;                 /* a group restart waits for the next three */
        uint64_t group_from;
        uint32_t group_stopping, group_backoff;
} NodePriv;

struct Core {
        Node *root;
        Map nodes; /* path → Node */
        size_t n_nodes;
        ListNode dirty, starts;
        uint64_t now;
        uint64_t random;
        uint32_t epoch;
        size_t n_changing;
        Effect *effects; /* ring */
        size_t effects_cap, effects_head, effects_n;
        Node *corpse; /* owned: removed, the shell was told by the effect taken last */
};

static inline NodePriv *priv(const Node *n)
{
        return n->priv;
}

static inline bool is_supervisor(const Node *n)
{
        return n->spec.kind == NODE_SUPERVISOR;
}

static inline bool is_chain(const Node *supervisor)
{
        return supervisor->spec.strategy == STRATEGY_ONE_FOR_ALL ||
               supervisor->spec.strategy == STRATEGY_REST_FOR_ONE;
}

static inline bool is_nursery(const Node *supervisor)
{
        return supervisor->spec.strategy == STRATEGY_ONE_CANCELS_ALL ||
               supervisor->spec.strategy == STRATEGY_ONE_CANCELS_ONE;
}

static inline bool is_over(const Node *n)
{
        return n->state == NODE_DEAD || n->state == NODE_FAILED;
}

static inline bool is_active(const Node *n)
{
        return priv(n)->counted & COUNT_ACTIVE;
}

/* A supervisor whose children may start. */
static inline bool is_running(const Node *supervisor)
{
        const NodePriv *p = priv(supervisor);

        return (supervisor->state == NODE_STARTING || supervisor->state == NODE_READY) && !p->stop_wanted &&
               !p->closing;
}

/* core.c */
void core_emit(Core *core, const Effect *effect);
int core_reserve_effects(Core *core, size_t n);
void kick(Node *n);

/* tree.c */
Node *sibling_next(const Node *n);
Node *sibling_prev(const Node *n);
Node *child_last(const Node *n);
Node *subtree_next(const Node *top, const Node *n); /* parents first, in list order; NULL at the end */
Node *subtree_last(Node *top);                      /* start of the way back */
Node *subtree_prev(const Node *top, const Node *n); /* children first, in reverse order; NULL at the end */
void node_recount(Node *n);
Node *node_free(Node *n);
void subtree_remove(Node *top); /* all is over: EFFECT_REMOVED, leaves first */

/* depend.c */
typedef enum DependStatus {
        DEPEND_SATISFIED,
        DEPEND_WAIT,
        DEPEND_LOST,
} DependStatus;
/* An array for `depends`, not linked yet. */
int depend_reserve(Node *n, char *const *depends, Dependency **ret);
void depend_replace(Node *n, Dependency *deps, size_t n_deps);
void depend_forget(Dependency *deps, size_t n_deps);
DependStatus depend_status(const Node *n);
void depend_wake(Node *n); /* whoever waits for n looks again */
void depend_wake_below(Node *n);
void depend_block(Node *n);   /* n is to stop: what it depends on is not to stop before */
void depend_unblock(Node *n); /* it is gone */
void depend_detach(Node *n);
/* What was found again stays so, as the changes come true; or not. */
void depend_settle(Node *n, bool keep);

/* restart.c */
uint64_t random_next(uint64_t *state);
int window_reserve(RestartWindow *w, uint32_t max);
void window_clear(RestartWindow *w);
bool window_admit(RestartWindow *w, const Intensity *allowed, uint64_t now); /* false: give up */
uint64_t backoff_delay(Node *n);

/* lifecycle.c */
void node_set_state(Node *n, NodeState to);
void node_arm(Node *n, uint64_t deadline);
void node_arm_in(Node *n, uint64_t usec); /* pauses with a frozen actor */
void actor_set_watchdog(Node *n);
void actor_start(Node *n);
void actor_ask(Node *n);
void actor_shorten(Node *n);
void actor_ready(Node *n, const Event *e);
void actor_exited(Node *n, const Event *e);
void actor_empty(Node *n, const Event *e);
void actor_gone(Node *n); /* to the last process */
void actor_start_timeout(Node *n, const Event *e);
void actor_watchdog_missed(Node *n, const Event *e);
void actor_sign_of_life(Node *n, const Event *e);
void actor_ladder_timeout(Node *n, const Event *e);
void subtree_freeze(Node *top);
void subtree_thaw(Node *top);

/* order.c */
void renew_below(Node *top);
void want_start(Node *n);
void want_start_later(Node *n);
void try_start(Node *n);
bool check_lost(Node *n);
void try_stop(Node *n);
void stop_subtree(Node *top, AfterStop after, uint64_t grace_usec, bool fast);
void chain_wake(Node *n);
void stop_list_renew(Node *s);
void node_stopped(Node *n);
void node_over(Node *n);

/* strategy.c */
bool node_never_ran(const Node *n); /* on trial, and not to be run: its asker alone hears of that */
void child_ended(Node *n, bool failure);
void child_given_up(Node *n, bool failure); /* over for good, by itself */
void supervisor_advance(Node *s);
void backoff_over(Node *n, const Event *e);
void group_check(Node *s);
void group_abort(Node *s);
void group_leave(Node *n);

/* nursery.c */
void nurseries_end(Node *actor);
bool nurseries_left(Node *actor);
bool is_below_actor(const Node *top, const Node *n);

/* change.c */
void change_commit(Node *n);
bool change_settle(Node *s); /* no child of s is stopping any more: did that open anything? */
bool change_is_open(const Node *n);
void change_leave(Node *n);
void change_free(Node *n);
NodeSpec *future_spec(Node *n);
void request_change(Node *top, const Event *e);
