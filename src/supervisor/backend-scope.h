/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The parts of the scope backend among themselves. backend-scope.c opens it and owns the list of what is under way;
 * -job.c turns a wish for a unit into one that stands, whatever becomes of systemd meanwhile; -call.c writes the
 * messages; -home.c is the vtable; -stop.c finds out whether someone else stops a scope.
 *
 * A Job is the wish: WANTED until it may be sent (the bus is up, not too many calls are open), CALLED until systemd
 * has answered, RUNNING until JobRemoved, then DONE or FAILED. What breaks in between puts it back to WANTED, and
 * StartTransientUnit is sent again under the same name: if the first one had worked after all, UnitExists and the
 * process's cgroup tell. A supervisor's slice is a job of its own; an actor's slice is made along with its first
 * scope, as an auxiliary unit of the same call. */

#include "base/list.h"
#include "base/map.h"
#include "base/usec.h"
#include "supervisor/backend-private.h"
#include "supervisor/bus.h"
#include "supervisor/cgroup-watch.h"
#include "supervisor/cgroup.h"

/* Jobs, and scopes asked for their invocation, under way at once. The bus daemon closes a connection with more than
 * 128 unanswered calls (its default); a late job may be asked after beside its own call, so that this times two has to
 * stay below. What waits here waits without its time running. */
#define OPEN_MAX 56
#define JOB_LIMIT_USEC (20 * USEC_PER_SEC)
#define JOB_RECHECK_USEC (2 * USEC_PER_SEC)
/* For what an earlier run left, and at the very end. */
#define LEFTOVER_LIMIT_USEC USEC_PER_SEC

typedef struct ScopeBackend ScopeBackend;
typedef struct ScopeHome ScopeHome;

typedef enum JobPhase {
        JOB_NONE,
        JOB_WANTED,
        JOB_CALLED,
        JOB_RUNNING,
        JOB_DONE,
        JOB_FAILED,
} JobPhase;

/* Of a scope that stands, by systemd's list of jobs. */
typedef enum ScopeJob {
        SCOPE_JOB_NONE,
        SCOPE_JOB_STOP,
        SCOPE_JOB_OTHER,
} ScopeJob;

typedef struct Job {
        ScopeHome *home; /* weak: it contains us */
        bool is_scope;
        bool alone;  /* scope: the slice is there, not to be made along */
        bool asking; /* RUNNING: after systemd's job */
        JobPhase phase;
        ListNode node; /* in ScopeBackend.jobs from WANTED to RUNNING */
        sd_bus_slot *slot;
        char *path; /* of systemd's job */
        uint64_t since, deadline;
        int error;
        char *why;
} Job;

struct ScopeHome {
        Home home;
        void *userdata;
        ScopeHome *parent; /* weak */
        unsigned depth, n_children;
        bool actor;
        char *path;   /* in the tree: the description */
        char *slice;  /* unit */
        char *cgroup; /* of the slice */
        Limits limits;
        Job slice_job;
        bool slice_sent; /* asked for at least once: to be stopped in the end */
        bool slice_made; /* as far as we know it stands, with our limits */
        bool frozen;

        /* This generation's. */
        Job scope_job;
        char *scope; /* unit; NULL: no room */
        char *room;  /* cgroup of the scope */
        int room_fd;
        int pid;
        uint64_t stop_usec;
        int stop_signal;
        bool adopting;
        sd_bus_slot *invocation;
        CgroupWatch *watch, *memory_watch;
        ListNode asking; /* in ScopeBackend.asking */
        unsigned round;  /* of the call that answers */
        bool told;       /* JobNew named it */
        bool held;       /* its end waits for the answer */
        ScopeJob job;
};

/* A scope whose generation is over: systemd removes it when its cgroup is empty, and has been seen to miss that. */
typedef struct Left {
        ListNode node;
        uint64_t since;
        char *unit, *cgroup;
} Left;

struct ScopeBackend {
        Backend backend;
        sd_event *event;
        const BackendEvents *events;
        Bus *bus;
        CgroupRoot root;
        CgroupWatcher *watcher;
        char *manager_cgroup; /* where systemd's units live; "" the root */
        char *prefix;         /* "tractor-<instance>-" */
        char *slice;          /* of the instance */
        char *keeper_unit;    /* all scopes are bound to it */
        bool user, has_oom_policy;
        Map slices, scopes; /* unit → home */
        Map running;        /* systemd's job → Job */
        ListNode jobs;
        unsigned n_open;   /* CALLED or RUNNING */
        unsigned n_asking; /* invocations that systemd owes us */
        uint64_t down_since;
        ListNode left;
        ListNode asking; /* homes, in the order of their rounds */
        sd_bus_slot *ask;
        unsigned round; /* of the call under way, or the last one */
        uint64_t ask_since;
        bool ask_late;         /* not waited for any longer */
        sd_event_source *tick; /* while something is under way */
};

/* --- backend-scope-call.c: 0 or a negative errno; the slot is the caller's --- */

int call_start_slice(Job *j, sd_bus_message_handler_t handler);
int call_start_scope(Job *j, sd_bus_message_handler_t handler);
int call_start_unit(Job *j, const char *unit, sd_bus_message_handler_t handler);
/* Sets everything a slice of ours has, also what is unset. */
int call_set_slice(Job *j, sd_bus_message_handler_t handler);
int call_get_job(Job *j, sd_bus_message_handler_t handler);
int call_set_limits(ScopeHome *h);
int call_get_invocation(ScopeHome *h, sd_bus_message_handler_t handler);
void call_stop_unit(ScopeBackend *b, const char *unit);
void call_signal_unit(ScopeBackend *b, const char *unit, int signo);
void call_freeze_unit(ScopeBackend *b, const char *unit, bool frozen);
int call_list_units(ScopeBackend *b, sd_bus_message_handler_t handler);
int call_list_jobs(ScopeBackend *b, sd_bus_message_handler_t handler);

/* At start-up and at the end, with a deadline. */
int sync_manager_cgroup(ScopeBackend *b, uint64_t deadline, char **ret);
int sync_start_keeper(ScopeBackend *b, const char *unit, int keeper_pid, uint64_t deadline);
int sync_start_instance(ScopeBackend *b, const char *instance, uint64_t deadline);
/* Stops it and waits until systemd has forgotten it. */
int sync_stop_unit(ScopeBackend *b, const char *unit, uint64_t deadline);

/* --- backend-scope-job.c --- */

void job_want(Job *j);
void job_cancel(Job *j);
/* Sends what may be sent. */
void jobs_pump(ScopeBackend *b);
/* Asks after those that should be done by now; `all`: after every one, since signals may have been missed. */
void jobs_check(ScopeBackend *b, bool all);
void jobs_removed(ScopeBackend *b, const char *path, const char *result);

/* --- backend-scope-home.c --- */

extern const BackendVtable scope_vtable;

/* A job of the home is DONE or FAILED. The home may be gone on return. */
void home_progress(ScopeHome *h);

/* --- backend-scope-stop.c --- */

/* systemd is to do something with a unit. */
void ask_told(ScopeBackend *b, const char *unit);
void ask_forget(ScopeHome *h);
void asks_pump(ScopeBackend *b);
/* No longer waits for what takes too long. */
void asks_check(ScopeBackend *b);
/* There is nobody to answer any more. */
void asks_drop(ScopeBackend *b);
int scope_home_consult(Home *home);

/* --- backend-scope.c --- */

/* Something is under way: look after it every second. */
void scope_tick(ScopeBackend *b);
void scope_left(ScopeBackend *b, const char *unit, const char *cgroup);
/* Ends everything below the instance's slice, and waits for it. */
void scope_kill_leftovers(ScopeBackend *b);
void scope_backend_free(Backend *backend);
/* Is the process in a cgroup of that unit? ret: its path; may be NULL. */
bool scope_holds(ScopeBackend *b, int pid, const char *unit, char **ret);
