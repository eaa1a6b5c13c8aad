/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The pure heart: a tree of supervisors and actors, and what is to happen when something happened.
 *
 *      core_step(core, event) → effects
 *
 * No system call, no clock, no sd-* header, no randomness but a seeded generator: the same events give the same
 * effects. The shell (manager.c) turns pidfds, timers, bus signals and requests into events and effects into
 * calls. Time comes with each event, in absolute microseconds.
 *
 * An actor's life is one row a transition:
 *
 *      new ──▶ starting ──▶ ready ──▶ stopping ──▶ dead | failed | backoff ──▶ starting …
 *
 * Each EFFECT_SPAWN begins a generation, and the shell answers it with exactly one end: EVENT_EXITED (the main
 * process is gone, or it never came to be: cause `spawn`), then, if that said `populated`, one EVENT_EMPTY. In
 * between the core walks the cancel ladder by EFFECT_STOP with rising rungs. A supervisor node has no process:
 * its state is derived from its children and from its own give-up. */

#include "base/list.h"
#include "base/macro.h"
#include "base/map.h"

typedef struct Core Core;
typedef struct Node Node;

typedef enum NodeKind {
        NODE_SUPERVISOR,
        NODE_ACTOR,
} NodeKind;

typedef enum NodeState {
        NODE_NEW, /* waits for its turn or its dependencies */
        NODE_STARTING,
        NODE_READY,
        NODE_STOPPING, /* the ladder runs, or the rest of its cgroup is being ended */
        NODE_DEAD,     /* ended as its restart type allows, or was stopped */
        NODE_BACKOFF,
        NODE_FAILED, /* ended abnormally or given up, and not restarted */
        _NODE_STATE_MAX,
        _NODE_STATE_INVALID = -1,
} NodeState;

typedef enum Strategy {
        STRATEGY_ONE_FOR_ONE,
        STRATEGY_ONE_FOR_ALL,
        STRATEGY_REST_FOR_ONE,
        STRATEGY_ONE_CANCELS_ALL,
        STRATEGY_ONE_CANCELS_ONE,
        _STRATEGY_MAX,
        _STRATEGY_INVALID = -1,
} Strategy;

typedef enum RestartType {
        RESTART_PERMANENT,
        RESTART_TRANSIENT,
        RESTART_TEMPORARY,
        _RESTART_MAX,
        _RESTART_INVALID = -1,
} RestartType;

typedef enum GiveUp {
        GIVE_UP_ESCALATE,
        GIVE_UP_ISOLATE,
        _GIVE_UP_MAX,
        _GIVE_UP_INVALID = -1,
} GiveUp;

typedef enum AutoShutdown {
        AUTO_SHUTDOWN_NEVER,
        AUTO_SHUTDOWN_ANY_SIGNIFICANT,
        AUTO_SHUTDOWN_ALL_SIGNIFICANT,
        _AUTO_SHUTDOWN_MAX,
        _AUTO_SHUTDOWN_INVALID = -1,
} AutoShutdown;

typedef enum ExitCause {
        CAUSE_NONE, /* has not ended */
        CAUSE_EXIT,
        CAUSE_SIGNAL,
        CAUSE_OOM,
        CAUSE_WATCHDOG,
        CAUSE_START_TIMEOUT,
        CAUSE_STOP,
        CAUSE_SPAWN,
        CAUSE_UNKNOWN,
        _CAUSE_MAX,
        _CAUSE_INVALID = -1,
} ExitCause;

/* Name tables: "starting", "one_for_all", "permanent", "escalate", "any_significant", "start-timeout" … ;
 * from_string returns _X_INVALID for an unknown one. */
const char *node_state_to_string(NodeState s);
const char *strategy_to_string(Strategy s);
const char *restart_type_to_string(RestartType t);
const char *give_up_to_string(GiveUp g);
const char *auto_shutdown_to_string(AutoShutdown a);
const char *exit_cause_to_string(ExitCause c);
Strategy strategy_from_string(const char *s);
RestartType restart_type_from_string(const char *s);
GiveUp give_up_from_string(const char *s);
AutoShutdown auto_shutdown_from_string(const char *s);

typedef struct ExitInfo {
        ExitCause cause;
        int code;   /* exit code; -1: none */
        int signal; /* 0: none */
        bool core_dumped;
        int pid;
        uint64_t runtime_usec;
        int spawn_step, spawn_errno; /* cause spawn; spawn_errno positive */
        char report[33];             /* the id of its crash report; "": none */
} ExitInfo;

typedef struct Intensity {
        uint32_t max_restarts; /* this many restarts within the window are allowed; the next one gives up */
        uint64_t within_usec;
} Intensity;

typedef struct Backoff {
        uint64_t initial_usec, max_usec, reset_after_usec;
        double factor, jitter; /* jitter 0.1: each delay × [0.9, 1.1] */
} Backoff;

#define INTENSITY_DEFAULT                                                                                   \
        {                                                                                                   \
                5, 10000000                                                                                 \
        }
#define BACKOFF_DEFAULT                                                                                     \
        {                                                                                                   \
                100000, 30000000, 60000000, 2.0, 0.1                                                        \
        }

/* What the core must know of a node. Copied by core_add(); `depends` are absolute paths or sibling names. */
typedef struct NodeSpec {
        NodeKind kind;
        const char *name;
        /* supervisors */
        Strategy strategy;
        Intensity intensity;
        GiveUp on_give_up;
        AutoShutdown auto_shutdown;
        bool stays; /* opened at run time: does not end with its last child, but when it is closed */
        /* actors */
        RestartType restart;
        Backoff backoff;
        bool ready_exited;           /* ready means: ended with code 0 */
        uint64_t start_timeout_usec; /* USEC_INFINITY: none */
        uint64_t grace_usec;
        uint64_t watchdog_usec; /* 0: none */
        bool stop_is_term;      /* the ask rung sends SIGTERM already: the TERM rung is skipped */
        bool on_trial; /* asked for at run time: that its first generation can't be run is its asker's alone to know */
        /* both */
        bool significant;
        char *const *depends;
} NodeSpec;

struct Node {
        Core *core;        /* weak */
        Node *parent;      /* weak; NULL for the root "/" */
        ListNode siblings; /* in parent->children, in start order */
        ListNode children;
        char *name, *path;
        NodeSpec spec; /* .name and .depends point into the node's own copies */
        NodeState state;
        uint64_t since_usec;   /* of the state */
        uint64_t started_usec; /* of this generation */
        uint32_t generation;   /* 0 before the first start */
        uint32_t restarts;
        bool alive; /* actor: a spawn is not yet ended: process or populated cgroup */
        bool frozen;
        /* Of the last generation; cause NONE before. A supervisor's: `stop`, `exit` with 0 when it finished, or its
         * failed child's. NONE with spawn_errno ECANCELED: failed for want of a dependency, without an attempt. */
        ExitInfo exit;
        void *userdata; /* the shell's */
        void *priv;     /* the core's own book-keeping */
};

typedef enum EventType {
        EVENT_START, /* begin a subtree that was added (load, spawn), or start a dead or failed one */
        EVENT_READY,
        EVENT_EXITED, /* .exit, .populated */
        EVENT_EMPTY,
        EVENT_TIMEOUT,  /* the node's deadline (EFFECT_TIMER) has come */
        EVENT_WATCHDOG, /* a sign of life */
        EVENT_CANCEL, /* stop the subtree, by request or from outside; .grace_usec (USEC_INFINITY: its own),
                             * .fast: every rung at most 300 ms. Cause `stop`, never restarted */
        EVENT_RESTART, /* stop in its own time, then start; not counted, no backoff; starts a dead or failed one */
        EVENT_FREEZE,
        EVENT_THAW,
        EVENT_REMOVE, /* like CANCEL, .grace_usec and .fast too; EFFECT_REMOVED follows for each node once all is gone, leaves first */
        EVENT_CHANGE, /* carry out what core_change() prepared for this node and all below, as one */
        _EVENT_MAX,
} EventType;

typedef struct Event {
        EventType type;
        Node *node;
        uint64_t now;
        ExitInfo exit;
        bool populated;
        uint64_t grace_usec;
        bool fast;
} Event;

typedef enum StopRung {
        RUNG_NONE,
        RUNG_ASK,  /* $/cancel or stop_signal to the main process */
        RUNG_TERM, /* SIGTERM to the main process; once that is gone, to all in the cgroup */
        RUNG_KILL, /* cgroup.kill */
        _RUNG_MAX,
} StopRung;

typedef enum EffectType {
        EFFECT_SPAWN,   /* begin node->generation */
        EFFECT_STOP,    /* .rung of the ladder; the shell must also bring a spawn in progress to its end */
        EFFECT_THAW,    /* a frozen node is to be signalled */
        EFFECT_TIMER,   /* the node's one deadline is now .at (USEC_INFINITY: none) */
        EFFECT_STATE,   /* the node went from .from to .to: publish */
        EFFECT_CHANGED, /* the node has become what core_change() said; before its next SPAWN */
        EFFECT_GIVE_UP, /* a supervisor's intensity was exceeded by .about: RestartLimit */
        EFFECT_REMOVED, /* the node left the tree; the pointer dies after this effect is handled */
        _EFFECT_MAX,
} EffectType;

typedef struct Effect {
        EffectType type;
        Node *node;
        StopRung rung;
        uint64_t at;
        NodeState from, to;
        Node *about;
} Effect;

/* The root "/" is a supervisor one_for_one that never gives up: each tree below it fails alone (isolate). */
int core_new(uint64_t seed, Core **ret);
Core *core_free(Core *core); /* asserts that nothing is alive */
DEFINE_CLEANUP(Core *, core_free);
Node *core_root(Core *core);
Node *core_find(Core *core, const char *path);

/* Adds a node in state `new` as the last child of parent; nothing starts before EVENT_START on it or on a node
 * above it. -EEXIST, -ENOMEM, -ENAMETOOLONG past NODE_DEPTH_MAX, -ESHUTDOWN when parent or a node above it is stopping
 * or removed, or an actor that does not run, -EINVAL for a bad name. Below an actor there may be supervisors, its
 * nurseries: nothing restarts them, and they are stopped fast and removed when the actor's main process has ended; that end is
 * complete, and judged, when they are gone. -EINVAL for an actor right below an actor. */
int core_add(Core *core, Node *parent, const NodeSpec *spec, void *userdata, Node **ret);
/* Resolves `depends` in the subtree; call once after a tree was added and before EVENT_START. -ENOENT or -ELOOP
 * with the node and the dependency at fault. On failure drop the subtree by core_discard(). */
int core_link(Core *core, Node *top, Node **ret_node, const char **ret_depends);
/* Forgets a subtree in which nothing was ever started. */
void core_discard(Core *core, Node *top);

/* Changes of a tree that runs. They are prepared one by one, which may fail and does nothing yet, checked as a whole,
 * and carried out by one EVENT_CHANGE; until then core_discard_changes() forgets them. */
typedef enum Change {
        CHANGE_NONE,
        CHANGE_LIVE, /* the new spec holds from now on, and what runs goes on */
        CHANGE_RESTART, /* stops as what it is, then becomes the new spec and starts, alone, not counted, without backoff;
                         * one that is over starts */
        CHANGE_START, /* was added by core_add(), and is to start */
        CHANGE_REMOVE,
} Change;

/* `spec` is copied (LIVE, RESTART); kind, name and for LIVE `depends` stay what they are. A later change replaces one
 * that has not come true yet. */
int core_change(Core *core, Node *node, Change change, const NodeSpec *spec);
/* The start order of `parent`'s children: these, then its others as they stand. */
void core_change_order(Node *parent, Node *const *children, size_t n);
/* core_link() for the tree as it will be. */
int core_check_changes(Core *core, Node *top, Node **ret_node, const char **ret_depends);
void core_discard_changes(Node *top);

/* Never fails once the tree is built: all memory a step can need was reserved by core_add(). Effects are queued
 * in order; an event for an end that was not awaited is ignored. */
void core_step(Core *core, const Event *event);
/* Takes the next effect; false when there is none. Handling one may call core_step() again. The shell calls
 * core_next_effect() until false after each step; EFFECT_REMOVED's node is freed by the following call. */
bool core_next_effect(Core *core, Effect *ret);

/* Is any actor below (and including) node alive, starting, ready, stopping or in backoff? */
bool node_is_active(const Node *node);
/* What EVENT_EXITED would now call an end of this actor that looks like `seen`. */
ExitCause core_exit_cause(const Node *actor, ExitCause seen);
/* Would EVENT_START or EVENT_RESTART be heard, or is the node or its parent leaving, over or being stopped? */
bool node_may_start(const Node *node);
/* Would a child of it start? */
bool node_may_start_below(const Node *node);
/* Has a change of it been carried out that is not true yet? */
bool node_is_changing(const Node *node);
/* Is it being removed? */
bool node_is_leaving(const Node *node);
/* Did any actor or supervisor below end `failed`? */
bool node_has_failed(const Node *node);
#define CORE_CHILD_FOREACH(i, parent)                                                                       \
        for (Node *i = (parent)->children.next == &(parent)->children                                       \
                                        ? NULL                                                              \
                                        : LIST_ENTRY((parent)->children.next, Node, siblings);              \
                        i; i = i->siblings.next == &(parent)->children                                      \
                                               ? NULL                                                       \
                                               : LIST_ENTRY(i->siblings.next, Node, siblings))
