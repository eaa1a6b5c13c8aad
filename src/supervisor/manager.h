/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where the pure core meets the world. The Manager turns what happens (keeper messages, backend call-backs, probes,
 * timers, requests) into core events, and the core's effects into calls. Only the manager*.c files see both sides.
 *
 * A Member is the shell's half of a node, for supervisors and actors alike: its specification, its home in the
 * backend, those who wait for it. A Life is one generation of one actor, from EFFECT_SPAWN until the keeper has
 * reaped its zombie; the next generation may already run while the last one's zombie is held for its crash
 * record, so a Life outlives its turn as member->life and is then found by its key alone.
 *
 *      cloning ──SPAWNED──▶ adopting ──adopted──▶ set-up ──SETUP ok──▶ running ──EXITED──▶ ended ──REAP──▶ (freed)
 *
 * The order of adopting and set-up depends on the backend: a held child is adopted first and released then; the
 * others set themselves up while home_adopt() has already succeeded. */

#include <systemd/sd-event.h>

#include "supervisor/access.h"
#include "supervisor/backend.h"
#include "supervisor/channel.h"
#include "supervisor/config.h"
#include "supervisor/core/core.h"
#include "supervisor/crash-report.h"
#include "supervisor/journal.h"
#include "supervisor/keeper-link.h"
#include "supervisor/oom-account.h"
#include "supervisor/output.h"
#include "supervisor/ready.h"

#define ACTOR_ID_SIZE 17

typedef struct Manager Manager;
typedef struct Member Member;
typedef struct Life Life;
typedef struct Obituary Obituary;
typedef struct Adapter Adapter;
typedef struct Events Events;
typedef struct Listener Listener;
typedef struct Registry Registry;
typedef struct Registered Registered;
typedef struct Remember Remember;

typedef enum LifePhase {
        LIFE_CLONING,
        LIFE_ADOPTING, /* held until the backend has its room */
        LIFE_SETUP,
        LIFE_RUNNING,
        LIFE_ENDED,
} LifePhase;

struct Life {
        Manager *manager; /* weak */
        Member *member;   /* weak; NULL once the member has gone on or left */
        bool is_command;  /* a readiness command's life, not the actor's own */
        bool is_adapter;  /* that of its adapter (manager-stdio.c) */
        uint64_t key;     /* the keeper's */
        uint32_t generation;
        LifePhase phase;
        bool held;        /* waits for its room before set-up */
        bool doomed;      /* to be ended before it ever ran */
        bool turned_away; /* there is no room for it where it was moved */
        int pid, pidfd;
        char id[ACTOR_ID_SIZE];
        uint64_t started_usec, started_realtime_usec;
        uint64_t cpu_base_usec;    /* the home's counter when this life began */
        int fail_errno, fail_step; /* why it never ran */
        char *fail_why;            /* a sentence of the backend's, or NULL */
        KeeperExit exit;
        ExitInfo seen; /* what came of it, once `explained` */
        bool explained;
        CrashReport *crash; /* what it said of it, until its end is judged */
        Obituary *obituary; /* the record of its end, until that is written */
        bool killed_by_us;
        bool stopped_outside; /* with the stop signal sent or to be sent */
        char *unit;           /* of this generation, for its record */
};

/* What an actor has said it came to (outcome.h). */
typedef struct Outcome {
        char *text; /* JSON, NULL: none */
        size_t size;
        bool said, is_error;
} Outcome;

struct Member {
        Manager *manager; /* weak */
        Node *node;
        TreeSpec *spec;
        TreeSpec *next_spec; /* what it becomes once nothing of it is left (EFFECT_CHANGED); NULL: stays as it is */
        Limits limits; /* in force */
        OomAccount oom;
        Home *home;
        Life *life; /* the current generation, until it is empty */
        Probe *probe;
        Channel *channel;
        Adapter *adapter; /* of a program on stdio, which the channel is with */
        sd_event_source *timer;
        char id[ACTOR_ID_SIZE]; /* of the current or latest generation */
        char *status_text;      /* STATUS= */
        Outcome outcome;        /* of this generation, until its owner was told */
        CrashReport *crash;     /* of the last generation that ended, if it said */
        char *trouble;          /* why the last generation never ran, or was cut off, for people */
        char *gave_up;          /* why it was given up, or on whom it gave up, until it starts again */
        char *canceller, *cancel_reason; /* while it stops because a request said so, else NULL */
        ListNode waiters;
        ListNode opened;        /* among its owner's, of a nursery that a client has opened */
        Session *owner;         /* weak; that client's; NULL once it is gone */
        ListNode served, held;  /* portals of this generation, at either end */
        Registered *registered; /* its names, while it is ready */
        uint64_t command_key;   /* of the readiness command under way; 0: none */
        uint64_t mark;          /* of the last plan that knew it */
        bool spawned;           /* at run time: no tree file's */
        bool of_client;         /* a nursery that a client has opened */
        bool busy;              /* a tree that is being loaded or changed */
};

/* Someone waits until a node has come to something. check() is called after each of its state changes and at its
 * removal (`removed`); it answers and returns true when it is done. */
typedef struct Waiter Waiter;
struct Waiter {
        ListNode queue; /* in member->waiters */
        Member *member; /* weak */
        bool (*check)(Waiter *w, bool removed);
        void *userdata;
        uint32_t generation;
};

struct Manager {
        sd_event *event;
        Turns turns; /* of all who may ask */
        Cork cork;   /* likewise */
        Core *core;
        KeeperLink *keeper;
        Backend *backend;
        char *backend_why;
        Journal *journal;
        OutputDir *output;
        Events *events;
        Listener *listener;
        Registry *registry;
        Access *access;
        Remember *remember;
        char *instance, *runtime_dir;
        char *socket_path; /* of the first control socket, for the actors' TRACTOR_SOCKET; NULL: not a path */
        BackendKind forced_backend;
        bool embedded, system;
        int owner_pid, keeper_pid;
        uint64_t start_usec, next_key, next_nursery;
        uint64_t id_base; /* random: ids of two runs never meet */
        uint64_t id_next;
        uint64_t next_mark;
        Map lives; /* key → Life */
        ListNode obituaries,
                        verdicts; /* records of ends, in order, and of what followed (manager-death.c) */
        uint64_t n_obituaries;
        ListNode loadings; /* trees and children whose user names are being looked up */
        size_t n_lookups;  /* those of them that somebody else has asked for */
        size_t n_actors, n_supervisors, n_leftovers;
        size_t outcome_bytes; /* of all Outcomes */
        bool successor;       /* of a supervisor that died */
        bool serving;         /* table read, backend open, listening */
        bool stopping;        /* the root was cancelled; exit when all is gone */
        bool stepping;
        int exit_code;
        void (*on_serving)(Manager *m);
};

typedef struct ManagerOptions {
        sd_event *event;
        int keeper_fd; /* consumed */
        const char *instance;
        bool embedded;
        int owner_pid;
        BackendKind backend; /* _BACKEND_INVALID: choose */
        void (*on_serving)(Manager *m);
} ManagerOptions;

int manager_new(const ManagerOptions *options, Manager **ret);
Manager *manager_free(Manager *m);
DEFINE_CLEANUP(Manager *, manager_free);
/* Stops every tree in order, then ends the loop with code 0; `fast`: the owner is lost. Harmless when repeated. */
void manager_stop(Manager *m, bool fast);

/* Steps the core and handles all effects; the one way events get in. May be called from within an effect. */
void manager_step(Manager *m, const Event *event);
/* The second half of manager_step(), for who must look at the node between core_step() and its effects. */
void manager_drain(Manager *m);
void manager_event(Manager *m, EventType type, Node *node);
/* Fails those that wait for nothing but a name (trees.c). */
void manager_end_loadings(Manager *m);
/* Ends the loop once a stop was asked for and nothing is left. */
void manager_check_stopped(Manager *m);
/* Opens backend and sockets once no leftover of an earlier supervisor is alive. */
void manager_maybe_open(Manager *m);

/* --- members (manager-member.c) --- */
static inline Member *node_member(const Node *node)
{
        return node->userdata;
}
/* Adds spec and all below it under parent; nothing starts. On failure nothing is left; *ret_error is a protocol
 * error object. */
int manager_add(Manager *m, Node *parent, TreeSpec *spec, Node **ret, Json **ret_error);
/* The same in two steps: the nodes alone, then their members and homes, from the top down. The nodes are not linked, and
 * the caller's to discard. */
int manager_add_nodes(Manager *m, Node *parent, TreeSpec *spec, Node **ret, Json **ret_error);
int manager_add_members(Manager *m, Node *node, TreeSpec *spec, Json **ret_error);
/* Drops the members of nodes in which nothing was ever started, and the nodes. */
void manager_discard(Manager *m, Node *top);
int manager_check_room(const Manager *m, size_t n, const TreeSpec *spec, Json **ret_error);
/* Of the specification and all below it: no limit that can't be enforced, unless that is optional. -EOPNOTSUPP with the
 * error that names them all (manager-limits.c). */
int manager_check_limits(const Manager *m, const TreeSpec *spec, const char *parent, Json **ret_error);
/* The same for limits to be set. */
int member_check_limits(const Member *member, const Limits *limits, Json **ret_error);
/* What asks for a limit that the kernel turned out not to have, or for too deep a tree. */
int refuse_home(Json **ret_error, const char *path, int r, Limit limit);
Member *member_free(Member *member);
/* Its one timer: USEC_INFINITY turns it off. */
void member_arm(Member *member, uint64_t at);
/* Of its backoff; UINT64_MAX: it does not wait for that. */
uint64_t member_backoff_left(const Member *member);
Waiter *member_wait(Member *member, bool (*check)(Waiter *w, bool removed), void *userdata);
Waiter *waiter_free(Waiter *w);
void member_check_waiters(Member *member, bool removed);
void member_new_id(Member *member);
/* A request is about to stop it and all below, which are told by whom and why; forgotten once it has stopped. */
int member_set_canceller(Member *member, const char *canceller, const char *reason);
/* The limits in force, replaced; -EOPNOTSUPP with the one at fault. */
int member_set_limits(Member *member, const Limits *limits, Limit *ret_limit);
/* From what one specification says to what another does: a limit they agree on stays as it was set since. */
int member_change_limits(Member *member, const TreeSpec *to, Limit *ret_limit);
/* EFFECT_CHANGED */
void member_become_next(Member *member);
/* It and all below; only it. */
int member_freeze(Member *member, bool frozen);
int member_freeze_alone(Member *member, bool frozen);

static inline const BackendVtable *member_backend(const Member *member)
{
        return member->home->backend->vtable;
}

/* --- lives before their child exists (manager-spawn.c) --- */
Life *life_new(Manager *m, Member *member);
int member_open_channel(Member *member, int *ret_fd);
void life_spawn(Member *member);
/* What the home has counted before this life: read before its program runs, and in a home that stands by then. */
void life_take_baseline(Life *life);
/* A spawn that came to nothing: no process is there, and none will be. */
void life_spawn_failed(Member *member, int error, int step, const char *why);

/* --- is there room for one more task? (manager-room.c) --- */
/* A held child is in its room: may it stay? 0, or -EAGAIN with a sentence, and it is to be ended. */
int life_admit(Life *life, char **ret_why);
/* Why the kernel refused to clone a child of this member: a sentence, or NULL where no branch is full. */
char *member_full_branch(const Member *member);

/* --- lives (manager-life.c) --- */
void life_stop(Member *member, StopRung rung);
int life_signal(Life *life, int signo);
/* By $/cancel; false: it said no hello. */
bool member_ask_by_channel(const Member *member);
/* The generation is over: its readiness command may neither outlive it nor speak to the next one. */
void life_kill_command(Member *member); /* it has failed; command_ended() follows */
void life_abandon_command(Member *member);
Life *life_free(Life *life);
void life_end(Life *life);
/* Ends a child that need not be the program yet. */
void life_abort(Life *life);
/* The end of a main process is dealt with: the core hears of it. */
void life_exited(Life *life);
extern const KeeperLinkEvents manager_keeper_events;
extern const BackendEvents manager_backend_events;

/* --- the program to run (manager-exec.c) --- */
/* The child's ends of what it is given; -EBADF: not that. They go with its spec in this order, without gaps. */
enum { LIFE_FD_CHANNEL, LIFE_FD_STDIN, LIFE_FD_STDOUT, LIFE_FD_STDERR, LIFE_FD_EXEC, _LIFE_FDS };
typedef struct LifeFds {
        int fds[_LIFE_FDS];
} LifeFds;
#define LIFE_FDS_NONE                                                                                       \
        (LifeFds)                                                                                           \
        {                                                                                                   \
                {                                                                                           \
                        -EBADF, -EBADF, -EBADF, -EBADF, -EBADF                                              \
                }                                                                                           \
        }
int life_fds_index(const LifeFds *f, int which); /* -1: not that */
/* Has the keeper clone it; consumes spec_fd. */
int life_send_spawn(const Life *life, const SpawnPlan *plan, int spec_fd, const LifeFds *f);
/* A sealed spec for the member's next generation; -errno with *ret_step where it failed. */
int member_encode(Member *member, const LifeFds *fds, int *ret_step);
/* The same, for a readiness command, and for an adapter. */
int member_encode_command(Member *member, char *const *argv);
int member_encode_adapter(Member *member, char *const *argv, const LifeFds *fds);

/* --- a program on stdio and its adapter (manager-stdio.c) --- */
/* The pipes and the channel of a generation: the program's ends go to `fds`, the adapter's are kept for adapter_start(). */
int adapter_open(Member *member, LifeFds *fds);
/* The program runs: the adapter is wanted in its room. */
void adapter_start(Member *member);
/* What became of that: clone or set-up failed, so that the program is ended; it runs. */
void adapter_failed(Life *adapter, int error, int step);
void adapter_running(Life *adapter);
void adapter_ended(Life *adapter);
/* The program has ended: its adapter tells those who wait for an answer. True: life_exited() follows when it is gone. */
bool adapter_farewell(Life *program);
/* Ends it and forgets it. */
Adapter *adapter_free(Adapter *a);

/* --- deaths (manager-death.c) --- */
/* The report that node->exit names; NULL: none. */
const CrashReport *node_crash(const Node *node);
/* What the keeper saw, the home's counters and our own doing → what the core is told. */
void life_explain(Life *life, ExitInfo *ret);
/* What people are told of a start that failed so, where the errno alone would puzzle them; else NULL. */
const char *spawn_failure_hint(int step, int error);
/* The backend's word that something has happened to a member's memory. */
void manager_memory_changed(void *userdata);
/* Warns of processes that the kernel killed for want of memory, the main process not among them, as often as may be. */
void manager_log_losses(Member *member, uint64_t now);
/* Copies what the record of this end needs while the member is there; `exit` is what the core made of it. */
void life_write_obituary(Life *life, const ExitInfo *exit);
/* Logs it, an abnormal end with its last words, then lets the keeper reap and frees the life. */
void life_bury(Life *life);
Obituary *obituary_free(Obituary *o);
/* Writes what waits for no record of an end any more. */
void manager_log_verdicts(Manager *m);
const char *obituary_path(const Obituary *o);
void manager_log_spawn_failure(Manager *m, const Member *member, const ExitInfo *exit);
void manager_log_started(Manager *m, const Node *node);
void manager_log_state(Manager *m, Node *node, NodeState to);
/* Tells of it everywhere: `node` has given up on its child `about`. */
void manager_give_up(Manager *m, Node *node, Node *about);
