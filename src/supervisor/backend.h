/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where actors live. Three backends behind one vtable: `scope` (slices and transient scopes by systemd), `cgroup`
 * (directories of our own in cgroup v2), `process` (neither). A backend knows nothing of the core, of trees or
 * of requests: it is told of nodes by their names and calls back through BackendEvents.
 *
 * A Home is what one node owns: for a supervisor its slice or directory; for an actor its slice or directory, that
 * holds one room a generation (scope or leaf) for its processes. A Home lives from backend_home_new() until
 * backend_home_free(), which the manager calls when the node leaves the tree: it outlives generations, so that
 * the counters of memory.events and usage can be read after a death.
 *
 * Spawning is asynchronous and in two calls, since the keeper stands between: home_prepare() makes what must be
 * there before the clone and says how to clone (SpawnPlan); after the keeper's SPAWNED the manager calls
 * home_adopt(), and when the room is verified the backend calls events->adopted() (at once in the `cgroup` and
 * `process` backends, after JobRemoved in `scope`), whereupon the manager releases a held child. */

#include <systemd/sd-event.h>

#include "supervisor/config.h"

typedef struct Backend Backend;
typedef struct Home Home;

typedef enum BackendKind {
        BACKEND_SCOPE,
        BACKEND_CGROUP,
        BACKEND_PROCESS,
        _BACKEND_MAX,
        _BACKEND_INVALID = -1,
} BackendKind;

const char *backend_kind_to_string(BackendKind k);
BackendKind backend_kind_from_string(const char *s);

typedef struct SpawnPlan {
        bool held;     /* clone held, release after adopted() */
        int cgroup_fd; /* borrowed from the Home; -EBADF: none */
} SpawnPlan;

typedef struct Usage {
        uint64_t cpu_usec, memory, memory_peak, tasks; /* UINT64_MAX: unknown */
        double pressure;                               /* memory.pressure some avg10; negative: unknown */
} Usage;
extern const Usage usage_unknown;

/* Calls back into the manager. `userdata` is the one given to backend_home_new(). */
typedef struct BackendEvents {
        /* home_adopt() ended: r == 0, or negative errno with a sentence (borrowed). */
        void (*adopted)(void *userdata, int r, const char *why);
        /* The room of the current generation went from populated to empty (after home_watch_empty()). */
        void (*emptied)(void *userdata);
        /* Someone outside asked to stop this actor (systemctl stop X.scope). */
        void (*stop_requested)(void *userdata);
        /* home_consult() is answered. */
        void (*consulted)(void *userdata);
        /* Something has happened to the memory of an actor, maybe what home_oom_kills() counts. */
        void (*memory_changed)(void *userdata);
} BackendEvents;

typedef struct BackendOptions {
        sd_event *event;
        const char *instance;    /* "sys", "usr", "r<6 hex>" */
        bool successor;          /* of a supervisor that died: what is left of its actors is to be ended */
        int keeper_pid;          /* embedded scope mode: gets a scope of its own, actors bind to it */
        const char *keeper_unit; /* service mode: "tractord.service"; NULL: make a scope for the keeper */
        const BackendEvents *events;
} BackendOptions;

typedef struct BackendVtable {
        BackendKind kind;
        void (*free)(Backend *b);
        /* parent NULL: directly below the instance's own slice or directory. `limits` may be NULL. Creates the slice
         * or directory (asynchronously in scope; later calls queue behind it). 0 or negative errno; -ENAMETOOLONG
         * when unit names end; -EOPNOTSUPP when a limit can't be enforced here: *ret_limit names it. */
        int (*home_new)(Backend *b, Home *parent, const char *name, const char *path, bool actor,
                        const Limits *limits, void *userdata, Home **ret, Limit *ret_limit);
        void (*home_free)(
                        Home *h); /* ends what is left in it (cgroup.kill), stops or removes slice or directory */
        /* `stop_signal` and `stop_usec`: how someone else is to stop it in our place. */
        int (*home_prepare)(Home *h, uint32_t generation, const char *actor_id, int stop_signal,
                        uint64_t stop_usec, SpawnPlan *ret);
        int (*home_adopt)(Home *h, int pid, int pidfd);
        /* How to clone one more process into the room of the running generation (a readiness command); where the room
         * can't be entered by clone, cgroup_fd is -EBADF and the process is found by its environment. */
        int (*home_command)(Home *h, SpawnPlan *ret);
        /* The main process has ended, unasked by us. 1: someone outside may have stopped it; consulted() follows within two
         * seconds, after stop_requested() if so. 0: nothing more is to be learned. NULL: the rooms are ours alone. */
        int (*home_consult)(Home *h);
        /* The main process was a zombie at this time of CLOCK_MONOTONIC; home_populated() follows. NULL: no use for it. */
        void (*home_ended)(Home *h, uint64_t at);
        /* The spawn came to nothing or the generation is over and reaped: forget the room. */
        void (*home_leave)(Home *h);
        bool (*home_populated)(
                        Home *h); /* anything left in the room of this generation? Zombies don't count */
        int (*home_watch_empty)(Home *h); /* then emptied() comes once, also when it is empty already */
        int (*home_signal)(Home *h, int signo); /* to every process in the room */
        int (*home_kill)(Home *h);              /* SIGKILL to all of the room at once */
        int (*home_freeze)(Home *h, bool frozen);
        int (*home_set_limits)(Home *h, const Limits *limits, Limit *ret_limit);
        int (*home_usage)(Home *h, Usage *ret);
        /* The tasks of the node's subtree, and how many there may be (UINT64_MAX: any number). NULL: nobody counts. */
        int (*home_tasks)(Home *h, uint64_t *ret_tasks, uint64_t *ret_max);
        void (*home_spent)(Home *h, Usage *ret); /* cpu_usec and memory_peak alone */
        /* What the kernel has killed for want of memory in the node's subtree, ever: the cause `oom` comes from here.
         * Negative where nobody counts. */
        int (*home_oom_kills)(Home *h, uint64_t *ret);
        const char *(*home_unit)(Home *h);   /* scope (actor) or slice name; NULL without systemd */
        const char *(*home_cgroup)(Home *h); /* of the room or slice, below the cgroup root; NULL: none */
        /* Kills whatever belongs to this instance, at once and synchronously: the keeper is gone. */
        void (*kill_all)(Backend *b);
} BackendVtable;

struct Backend {
        const BackendVtable *vtable;
        char *controllers; /* effective, space-separated; "" none */
        char *cgroup;      /* of the instance, below the cgroup root; NULL: none */
};
struct Home {
        Backend *backend;    /* weak */
        const char *counted; /* weak: the node's own cgroup, where it has one */
        int cgroup_root;     /* weak: what that is below */
};

/* Chooses (or tries `forced` alone, _BACKEND_INVALID: choose) and opens. *ret_why is a sentence for status and the
 * first log line, the caller's to free; on failure it says why not. */
int backend_open(const BackendOptions *options, BackendKind forced, Backend **ret, char **ret_why);
