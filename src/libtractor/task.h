/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Tasks and what schedules them. A task runs on a fiber until it parks; whoever has what it waits for wakes it with a value, and it runs
 * again from the loop, in the order of waking. A task that was woken is no longer waiting for anything: neither a second
 * event nor a cancellation finds it, so what it was given is never lost.
 *
 *      started → ready ⇄ running → parked → ready …          running → done
 *
 * The loop is ours where the program has no other: all that is ready runs between two turns of sd-event. In a foreign loop,
 * and where sources of the program's run, a source of ours does the same. */

#include <systemd/sd-event.h>

#include "base/forks.h"
#include "base/list.h"
#include "dialog/session.h"
#include "libtractor/fiber.h"
#include "libtractor/stall.h"
#include "libtractor/timers.h"
#include "tractor/error.h"
#include "tractor/nursery.h"
#include "tractor/runtime.h"

typedef struct tractor_scope Scope;
typedef struct tractor_nursery Nursery;
typedef struct Task Task;
typedef struct Runtime Runtime;

typedef enum TaskState {
        TASK_READY,
        TASK_RUNNING,
        TASK_PARKED,
        TASK_DONE,
        _TASK_STATE_MAX,
        _TASK_STATE_INVALID = -22,
} TaskState;
const char *task_state_to_string(TaskState s);

/* Tasks that wait for the same, in the order they came. A zeroed one is not initialised. */
typedef struct WaitQueue {
        ListNode tasks;
} WaitQueue;

struct Task {
        Runtime *runtime; /* weak */
        uint64_t id;
        char *name;
        TaskState state;
        Fiber *fiber;
        tractor_task_fn fn;
        void *userdata;
        void (*destroy)(void *userdata);
        int result;
        tractor_error *error; /* of its last failure */

        ListNode node; /* of all tasks */
        ListNode ready_node;
        ListNode wait_node;    /* of the queue it is parked at */
        ListNode scope_node;   /* of its innermost scope's tasks */
        ListNode nursery_node; /* of its nursery's tasks */
        Scope *scope;          /* innermost */
        Nursery *nursery;      /* that it was started in; NULL: the main task */
        Scope *start_scope;    /* its own while tractor_start() waits for it */
        struct Start *start;   /* weak: somebody waits for tractor_task_started(); NULL: nobody */
        bool is_started;
        bool has_run; /* it stands somewhere on its stack */

        Timer timer;
        int value;        /* what it was woken with */
        bool shielded;    /* cancellation does not wake it now */
        void *slot;       /* weak: where what passes between it and its waker lies; the queue's affair */
        const char *wait; /* what for: a constant */
        uint64_t wait_until;
        char wait_detail[64];
        unsigned n_calls; /* that needn't have waited */
};

struct Runtime {
        sd_event *event;
        unsigned forks; /* forks_count of the process it is of */
        bool own_loop;  /* we run it, and may do without a source of our own */
        sd_event_source *ready_source, *timer_source;
        uint64_t timer_armed;
        Timers timers;
        FiberPool fibers;
        ListNode ready;
        ListNode tasks;
        ListNode portals; /* see portal.c */
        unsigned n_tasks, max_tasks;
        uint64_t last_id;
        Task *running;
        Cork cork; /* of all connections, while a task runs */
        uint64_t n_switches;
        struct tractor_options options;
        Stall stall;
        struct Snapshot *snapshot; /* a task that is entered fills it and leaves again; NULL: it goes on */
        void (*host_call)(
                        void *userdata); /* what the running task wants done beside all stacks; NULL: it parks */
        void *host_userdata;

        Task *main_task;
        Scope *main_scope; /* weak: around all of main */
        int result;
        bool reports_crashes;
        bool told;            /* an actor's failure is known to who asked */
        tractor_error *error; /* that of the main task, or of a nursery without one around it */
        bool ended;
        bool closing; /* in a hurry: no shield holds any more */
        bool processing,
                        close_wanted; /* of a foreign loop: in tractor_process(), and to be freed after it */
        void (*on_end)(int r, void *userdata);
        void *userdata;

        sd_event_source *signal_sources[2], *dump_source;
        sigset_t old_mask;
        bool masked;
        int interrupted; /* the signal that asked us to end; 0: none did */

        struct Tree *tree; /* what connects us to the supervisor; NULL until a root needs it */
        bool connecting;   /* a task is about it */
        WaitQueue connected;
        ListNode at_exit;
        char *title; /* where arguments were, while it is ours; their copy is kept */
        char *old_title;
        size_t title_size;
        int (*main)(void *userdata); /* what was given, for an actor that was started without an entry */
        void *main_userdata;
        struct Threads *threads; /* NULL until one is needed */
        struct Actor *actor;     /* what connects us to the tree; NULL until needed */
};

/* Of this thread; NULL outside of tractor_run(). */
extern _Thread_local Runtime *runtime;
/* It is the parent's, of which this process is a fork: nothing of it is to be touched. */
static inline bool runtime_is_foreign(void)
{
        return runtime && runtime->forks != forks_count;
}
/* The running task, NULL outside of one. */
static inline Task *task_current(void)
{
        return runtime && !runtime_is_foreign() ? runtime->running : NULL;
}
/* Why there is none: -ECHILD in a fork, else -ENOTCONN. */
int task_missing(void);

/* --- the scheduler --- */
/* A task that is ready to run `fn`, innermost scope `scope`, member of no nursery yet. Takes userdata only on success. -EAGAIN, -ENOMEM. */
int task_new(Runtime *rt, Scope *scope, const char *name, tractor_task_fn fn, void *userdata,
                void (*destroy)(void *userdata), Task **ret);
/* Of one that is done: whoever it belongs to learns how it ended, and it is freed. (nursery.c) */
void task_ended(Task *t);
/* Runs what is ready, at most some hundred switches. True: there is more. From the loop, never from a task. */
bool runtime_run_ready(Runtime *rt);
/* Arms the timer for the next deadline; before the loop waits. */
int runtime_arm(Runtime *rt);

/* Where a task stands, which it must say itself: innermost frame first, of its own function and what that has called. */
typedef struct Snapshot {
        size_t n, max;
        void **frames;
} Snapshot;
/* Of any task. From the loop, or by task_on_host(). */
void task_snapshot(Task *t, Snapshot *s);
/* Of the running task, as it stands and cheap enough for each failure: raw return addresses, `from` (that of the innermost function of
 * interest) first; how many. 0 where there is no task, or little room on its stack. */
size_t task_stack(const void *from, void **frames, size_t max);
/* How many of these are the task's own: what every stack begins with comes after them. */
size_t task_own_frames(void *const *frames, size_t n);
/* Calls it on the host's stack, where other tasks may be entered; no other task runs meanwhile. Outside of a task it is just called. */
void task_on_host(Runtime *rt, void (*fn)(void *userdata), void *userdata);

/* --- parking, of the running task --- */
/* Parks until woken, `until` (absolute; then -ETIMEDOUT), or cancelled (-ECANCELED, also at once). `q` may be NULL: whoever wakes
 * it knows it. `why` is a constant that says what for. */
int task_park(WaitQueue *q, const char *why, uint64_t until);
/* The same, but a cancelled scope does not end it. Only for what is sure to end. */
int task_park_shielded(WaitQueue *q, const char *why, uint64_t until);
/* Says more of what the next park waits for, in dumps. */
void task_wait_detail(const char *format, ...) _printf_(1, 2);
/* Lets others run; 0 or -ECANCELED. */
int task_yield(void);
/* A checkpoint of a call that needn't wait: as task_yield(), but lets others run only now and then. -ENOTCONN outside of a task. */
int task_checkpoint(void);

/* Harmless for one that isn't parked: it has been woken already. */
void task_wake(Task *t, int value);
void wait_queue_init(WaitQueue *q);
static inline bool wait_queue_is_empty(const WaitQueue *q)
{
        return list_is_empty(&q->tasks);
}
/* NULL: nobody waits. */
static inline Task *wait_queue_first(const WaitQueue *q)
{
        return wait_queue_is_empty(q) ? NULL : LIST_ENTRY(q->tasks.next, Task, wait_node);
}
/* The first one; false: nobody waits. */
bool wait_queue_wake(WaitQueue *q, int value);
void wait_queue_wake_all(WaitQueue *q, int value);
