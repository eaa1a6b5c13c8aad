/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Nurseries own tasks and actors alike: what was started in one has ended when it is closed. A failure cancels all others in
 * it (unless its strategy says otherwise), all are awaited, and closing it fails with that error, or with a group where
 * several failed. Declare the nursery last in its block, since cleanup runs in reverse: its tasks may use what was declared before.
 *
 *         TRACTOR_NURSERY(n);
 *         r = tractor_nursery_open(NULL, &n);
 *         if (r >= 0)
 *                 r = tractor_start_task(n, "ticker", tick, clock, NULL);
 *         if (r >= 0)
 *                 r = tractor_start_actor(n, "worker", NULL, &portal);
 *         if (r >= 0)
 *                 r = tractor_portal_call(portal, "work", NULL, &result);
 *         return tractor_nursery_close(&n, r);
 *
 * A nursery that is left without that (an early return) is cancelled and awaited by TRACTOR_NURSERY's cleanup; what failed in it goes
 * to the nursery around it. Below each actor and each root its nurseries are supervisors of the tree, made with the first actor
 * started in them: limits, strategy and `tractorctl tree` hold for them. */

#include <tractor/macros.h>
#include <tractor/scope.h>
#include <tractor/task.h>

TRACTOR_BEGIN_DECLS

typedef struct tractor_nursery tractor_nursery;
typedef struct tractor_portal tractor_portal;
typedef struct tractor_future tractor_future;

typedef struct tractor_nursery_options {
        size_t size;      /* sizeof(tractor_nursery_options): it may grow */
        const char *name; /* in paths; NULL: "n1", "n2", … */
        const char *strategy; /* NULL or "one_cancels_all"; "one_cancels_one": a failure ends that child alone, and is told
                                 at the end; "one_for_one" "one_for_all" "rest_for_one": actors are restarted by their
                                 `restart`, tasks never; -ELOOP after more than 5 restarts in 10 s */
        const char *log_level;      /* of the actors in it; NULL: as around it */
        struct json_object *limits; /* of all in it together: {"MemoryMax":"64M","TasksMax":100}; borrowed */
        bool limits_optional;       /* what this host can't enforce is left out, not refused */
        struct json_object
                        *keys; /* any further supervisor key of tractor-tree(5), {"intensity":…}; borrowed */
} tractor_nursery_options;

/* `o` may be NULL. The nursery has a cancel scope of its own, which the calling task is in until it closes it. */
int tractor_nursery_open(const tractor_nursery_options *o, tractor_nursery **ret);
/* Waits for all in it, and frees it (*n is NULL then). `r` is how the block ended: a negative one cancels what is in the nursery, and
 * counts as a failure like the others. One failure is returned as it is, several as -ETOOMANYREFS, the first 64 as its causes. */
int tractor_nursery_close(tractor_nursery **n, int r);
/* Waits until no child is left in it, task or actor, and leaves it open: more can be started. For the task that opened it (else -EINVAL).
 * -ECANCELED when it is cancelled meanwhile, by a failure in it for one; what failed is told at the close. */
int tractor_nursery_wait(tractor_nursery *n);
tractor_scope *tractor_nursery_scope(
                tractor_nursery *n); /* borrowed: to cancel it, or to move its deadline */
void tractor_nursery_cancel(tractor_nursery *n, const char *reason);
const char *tractor_nursery_path(tractor_nursery *n); /* NULL until the first actor was started in it */
size_t tractor_nursery_n_tasks(const tractor_nursery *n);
/* For TRACTOR_CLEANUP: cancels, waits; errors go to the nursery around it. */
void tractor_nursery_dropp(tractor_nursery **n);
#define TRACTOR_NURSERY(n) TRACTOR_CLEANUP(tractor_nursery_dropp) tractor_nursery *n = NULL

/* --- tasks --- */
/* `name` is copied; NULL: the function's address. `userdata` is the task's from here on, on failure too: `destroy` (may be NULL)
 * is called with it when the task has ended. -ESHUTDOWN once the nursery is being left and all in it has ended, -ECANCELED when it is
 * cancelled, -EAGAIN beyond the limit of tasks or of the system's mappings. */
int tractor_start_task(tractor_nursery *n, const char *name, tractor_task_fn fn, void *userdata,
                void (*destroy)(void *userdata));
/* Returns when the task has called tractor_task_started(), with its value (`ret` may be NULL). Before that it counts as part of the
 * caller: its failure is this call's, -EPROTO when it ended without. */
int tractor_start(tractor_nursery *n, const char *name, tractor_task_fn fn, void *userdata,
                void (*destroy)(void *userdata), struct json_object **ret);
/* -EALREADY the second time; -EPROTO in a task that was not started so. Consumes value. */
int tractor_task_started(struct json_object *value);

/* --- actors --- */
typedef struct tractor_actor_options {
        size_t size;
        const char *const *
                        exec; /* another program and its arguments, NULL-terminated; NULL: this very binary */
        /* Of this binary: a method of its table to be run instead of serving; with `args` (borrowed), as often as `restart` has it. */
        const char *entry;
        struct json_object *args;
        const char *const *expose; /* the methods that may be called, NULL-terminated; NULL: all */
        const char *restart; /* under a strategy that restarts: "permanent", "transient"; NULL: "temporary" */
        struct json_object *limits; /* borrowed */
        bool limits_optional;
        uint64_t grace_usec; /* 0: 3 s; how long it may take to end when asked; then SIGTERM, and 1.5 s later SIGKILL */
        struct json_object *
                        keys; /* any further actor key of tractor-tree(5), {"env":…,"cpu_affinity":…}; borrowed */
} tractor_actor_options;

/* A daemon actor: lives until somebody cancels it. It serves the program's method table (runtime.h). `ret` may be NULL;
 * else unref it. Returns once its process runs: what is said to it is kept until it is ready. */
int tractor_start_actor(
                tractor_nursery *n, const char *name, const tractor_actor_options *o, tractor_portal **ret);
/* A one-shot: an actor that runs `method` once with `args` (consumed) and ends; its failure is a failure in the nursery, unless somebody has
 * waited for the future by then: who does has it, and decides. With `o->exec`, `method` NULL: any program; its result is what it says by
 * $/result, or null, and ending with another code than 0 is its failure. `ret` may be NULL. */
int tractor_run_actor(tractor_nursery *n, const char *name, const char *method, struct json_object *args,
                const tractor_actor_options *o, tractor_future **ret);
/* As often as wanted, also after the nursery was closed. 0 and a new reference, or its failure; -EINTR: it was cancelled. */
int tractor_future_wait(tractor_future *f, struct json_object **ret);
bool tractor_future_is_done(const tractor_future *f);
tractor_future *tractor_future_unref(tractor_future *f);
static inline void tractor_future_unrefp(tractor_future **f)
{
        *f = tractor_future_unref(*f);
}

TRACTOR_END_DECLS
