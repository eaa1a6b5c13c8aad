/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <execinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <unwind.h>

#include "libtractor/scope.h"
#include "libtractor/task.h"

/* How many switches are made before the loop looks at descriptors and timers again, unless the coarse clock (which is read
 * in a few ns, and goes on with each tick) says that time has passed: tasks that compute between two checkpoints would put
 * deadlines and signals off 256 times as long as each of them takes. And how many calls that need not wait a task may make
 * before it gives way. */
#define SWITCHES_A_TURN 256U
#define CALLS_A_YIELD 32U
/* As deep as a dump looks into a stack. */
#define FRAMES_MAX 48
#define PARKING_FRAMES_MAX ((size_t) 6)
#define SNAPSHOT_ROOM (6U * 1024)

/* The compiler makes no copies of it, which would not be known by its address. */
#if defined(__clang__)
#define _known_
#else
#define _known_ __attribute__((noclone))
#endif

_Thread_local Runtime *runtime;

static const char *const state_names[] = {
        [TASK_READY] = "ready",
        [TASK_RUNNING] = "running",
        [TASK_PARKED] = "parked",
        [TASK_DONE] = "done",
};

const char *task_state_to_string(TaskState s)
{
        return s >= 0 && s < _TASK_STATE_MAX ? state_names[s] : NULL;
}

int task_missing(void)
{
        return runtime_is_foreign() ? -ECHILD : -ENOTCONN;
}

void wait_queue_init(WaitQueue *q)
{
        list_init(&q->tasks);
}

static void make_ready(Task *t)
{
        Runtime *rt = t->runtime;

        t->state = TASK_READY;
        list_append(&rt->ready, &t->ready_node);
        if (rt->ready_source)
                (void) sd_event_source_set_enabled(rt->ready_source, SD_EVENT_ON);
}

void task_wake(Task *t, int value)
{
        if (t->state != TASK_PARKED)
                return;
        list_unlink(&t->wait_node);
        timer_off(&t->runtime->timers, &t->timer);
        t->value = value;
        t->wait = NULL;
        make_ready(t);
}

bool wait_queue_wake(WaitQueue *q, int value)
{
        if (wait_queue_is_empty(q))
                return false;
        task_wake(LIST_ENTRY(q->tasks.next, Task, wait_node), value);
        return true;
}

void wait_queue_wake_all(WaitQueue *q, int value)
{
        while (wait_queue_wake(q, value))
                ;
}

static void timer_fired(Timer *timer)
{
        task_wake(LIST_ENTRY(timer, Task, timer), -ETIMEDOUT);
}

/* A task that ends with scopes open would leave what is in them without anybody to wait for it. */
static void close_leftovers(Task *t, Scope *outermost)
{
        while (t->scope != outermost) {
                Scope *s = t->scope;
                Nursery *n = s->nursery;

                if (n)
                        tractor_nursery_dropp(&n);
                else
                        (void) tractor_scope_close(s, 0);
        }
}

static void task_main(void *arg)
{
        Task *t = arg;
        Scope *outermost = t->scope;

        t->has_run = true;
        t->result = t->fn(t->userdata);
        if (!runtime_is_foreign()) {
                close_leftovers(t, outermost);
                if (t->destroy)
                        t->destroy(t->userdata);
        }
        t->state = TASK_DONE;
}

int task_new(Runtime *rt, Scope *scope, const char *name, tractor_task_fn fn, void *userdata,
                void (*destroy)(void *userdata), Task **ret)
{
        Task *t;
        int r;

        if (rt->n_tasks >= rt->max_tasks)
                return -EAGAIN;
        t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->name = name ? strdup(name) : xasprintf("%p", (void *) (uintptr_t) fn);
        r = t->name ? fiber_get(&rt->fibers, task_main, t, &t->fiber) : -ENOMEM;
        if (r < 0) {
                free(t->name);
                free(t);
                return r;
        }
        t->runtime = rt;
        t->id = ++rt->last_id;
        t->fn = fn;
        t->userdata = userdata;
        t->destroy = destroy;
        t->timer.fire = timer_fired;
        list_init(&t->wait_node);
        list_init(&t->scope_node);
        list_init(&t->nursery_node);
        list_append(&rt->tasks, &t->node);
        rt->n_tasks++;
        scope_move_task(scope, t);
        make_ready(t);
        *ret = t;
        return 0;
}

static void leave(Task *t);
static int park(WaitQueue *q, const char *why, uint64_t until, bool shielded);

/* Those that may be the last of a stack, and say nothing that the reason to wait does not. */
static bool is_parking(const void *function)
{
        const uintptr_t known[] = { (uintptr_t) leave, (uintptr_t) park, (uintptr_t) task_park,
                (uintptr_t) task_park_shielded, (uintptr_t) task_yield, (uintptr_t) task_on_host };

        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if ((uintptr_t) function == known[i])
                        return true;
        return false;
}

/* A return address may be the first one behind its function. */
static const void *function_of(void *frame)
{
        return _Unwind_FindEnclosingFunction((char *) frame - 1);
}

/* Of the running task itself; returns how many. To look must not be what a small stack overflows of. */
static size_t raw_stack(const Task *t, void **frames)
{
        return fiber_room(t->fiber) < SNAPSHOT_ROOM ? 0 : (size_t) backtrace(frames, FRAMES_MAX);
}

size_t task_own_frames(void *const *frames, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (function_of(frames[i]) == (const void *) (uintptr_t) task_main)
                        return i;
        return n;
}

size_t task_stack(const void *from, void **frames, size_t max)
{
        const Task *t = task_current();
        void *all[FRAMES_MAX];
        size_t first = 0, n = t ? raw_stack(t, all) : 0;

        while (first < n && all[first] != from)
                first++;
        /* Told whole rather than not at all. */
        if (first == n)
                first = 0;
        n = MIN(n - first, max);
        memcpy(frames, all + first, n * sizeof(void *));
        return n;
}

/* Between the frames of parking and those that every stack begins with. */
static void take_snapshot(const Task *t, Snapshot *s)
{
        void *all[FRAMES_MAX];
        size_t from = 0, n = raw_stack(t, all);

        n = task_own_frames(all, n);
        for (size_t i = 0; i < MIN(n, PARKING_FRAMES_MAX); i++)
                if (is_parking(function_of(all[i])))
                        from = i + 1;
        s->n = MIN(n - from, s->max);
        memcpy(s->frames, all + from, s->n * sizeof(void *));
}

/* Off the stack until the task is to go on; who wants to know where it stands enters it for that alone. */
_known_ static void leave(Task *t)
{
        fiber_leave(t->fiber);
        while (t->runtime->snapshot) {
                take_snapshot(t, t->runtime->snapshot);
                fiber_leave(t->fiber);
        }
}

void task_snapshot(Task *t, Snapshot *s)
{
        s->n = 0;
        if (!t->has_run)
                return;
        t->runtime->snapshot = s;
        fiber_enter(t->fiber);
        t->runtime->snapshot = NULL;
}

void task_on_host(Runtime *rt, void (*fn)(void *userdata), void *userdata)
{
        if (!rt->running) {
                fn(userdata);
                return;
        }
        rt->host_call = fn;
        rt->host_userdata = userdata;
        leave(rt->running);
}

static void task_run(Task *t)
{
        Runtime *rt = t->runtime;

        list_unlink(&t->ready_node);
        t->state = TASK_RUNNING;
        rt->running = t;
        rt->n_switches++;
        rt->cork.on = true;
        fiber_enter(t->fiber);
        while (rt->host_call) {
                TAKE_PTR(rt->host_call)(rt->host_userdata);
                fiber_enter(t->fiber);
        }
        rt->running = NULL;
        if (rt->forks != forks_count)
                return;
        cork_release(&rt->cork);
        if (rt->stall.told)
                stall_over(&rt->stall, t->name);
        if (t->state == TASK_DONE)
                task_ended(t);
}

bool runtime_run_ready(Runtime *rt)
{
        uint64_t began = now_usec(CLOCK_MONOTONIC_COARSE);

        if (!list_is_empty(&rt->ready))
                stall_turn_begins(&rt->stall, rt->n_switches + 1);
        for (unsigned n = 0; n < SWITCHES_A_TURN && !list_is_empty(&rt->ready) && rt->forks == forks_count;
                        n++) {
                task_run(LIST_ENTRY(rt->ready.next, Task, ready_node));
                if (now_usec(CLOCK_MONOTONIC_COARSE) != began)
                        break;
        }
        stall_turn_ends(&rt->stall);
        if (list_is_empty(&rt->ready)) {
                if (rt->ready_source)
                        (void) sd_event_source_set_enabled(rt->ready_source, SD_EVENT_OFF);
                return false;
        }
        return true;
}

int runtime_arm(Runtime *rt)
{
        uint64_t next = timers_next(&rt->timers);
        int r;

        if (next >= rt->timer_armed)
                return 0;
        r = sd_event_source_set_time(rt->timer_source, next);
        if (r >= 0)
                r = sd_event_source_set_enabled(rt->timer_source, SD_EVENT_ONESHOT);
        if (r >= 0)
                rt->timer_armed = next;
        return r;
}

_known_ static int park(WaitQueue *q, const char *why, uint64_t until, bool shielded)
{
        Task *t = task_current();
        int r;

        if (until != USEC_INFINITY) {
                r = timer_set(&t->runtime->timers, &t->timer, until);
                if (r < 0)
                        return r;
        }
        if (q)
                list_append(&q->tasks, &t->wait_node);
        t->wait = why;
        t->wait_until = until;
        t->shielded = shielded;
        t->state = TASK_PARKED;
        leave(t);
        t->wait_detail[0] = 0;
        return t->value;
}

int task_park(WaitQueue *q, const char *why, uint64_t until)
{
        Task *t = task_current();

        if (!t)
                return task_missing();
        if (scope_cancelling(t->scope)) {
                t->wait_detail[0] = 0;
                return -ECANCELED;
        }
        return park(q, why, until, false);
}

int task_park_shielded(WaitQueue *q, const char *why, uint64_t until)
{
        return task_current() ? park(q, why, until, true) : task_missing();
}

void task_wait_detail(const char *format, ...)
{
        Task *t = task_current();
        va_list ap;

        if (!t)
                return;
        va_start(ap, format);
        (void) vsnprintf(t->wait_detail, sizeof(t->wait_detail), format, ap);
        va_end(ap);
}

int task_yield(void)
{
        Task *t = task_current();

        if (!t)
                return task_missing();
        if (scope_cancelling(t->scope))
                return -ECANCELED;
        make_ready(t);
        leave(t);
        return scope_cancelling(t->scope) ? -ECANCELED : 0;
}

int task_checkpoint(void)
{
        Task *t = task_current();

        if (!t)
                return task_missing();
        if (++t->n_calls % CALLS_A_YIELD == 0)
                return task_yield();
        return scope_cancelling(t->scope) ? -ECANCELED : 0;
}
