/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/io.h"
#include "libtractor/actor.h"
#include "libtractor/crash-hooks.h"
#include "libtractor/dump.h"
#include "libtractor/error-private.h"
#include "libtractor/nursery.h"
#include "libtractor/options.h"
#include "libtractor/portal.h"
#include "libtractor/runtime.h"
#include "libtractor/tree.h"
#include "libtractor/thread.h"

#define TASKS_DEFAULT 30000U

/* For debuggers, which can't read what is thread-local in every core file; see contrib/gdb/tractor-gdb.py. */
Runtime *runtime_of_process;

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        Runtime *rt = userdata;

        rt->timer_armed = USEC_INFINITY;
        timers_fire(&rt->timers, now_usec(CLOCK_MONOTONIC));
        return runtime_arm(rt);
}

/* In a loop of somebody else's; in ours what is ready runs between the turns. */
static int on_defer(sd_event_source *source, void *userdata)
{
        runtime_turn(userdata);
        return 0;
}

static int on_interrupt(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata)
{
        Runtime *rt = userdata;

        runtime_interrupt(rt, (int) si->ssi_signo);
        return 0;
}

static int add_signals(Runtime *rt)
{
        static const int signals[] = { SIGINT, SIGTERM };
        sigset_t set;
        int r;

        if ((rt->options.flags & TRACTOR_NO_SIGNALS) && !rt->tree)
                return 0;
        (void) sigemptyset(&set);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                (void) sigaddset(&set, signals[i]);
        if (sigprocmask(SIG_BLOCK, &set, &rt->old_mask) < 0)
                return -errno;
        rt->masked = true;
        for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
                r = sd_event_add_signal(rt->event, &rt->signal_sources[i], signals[i], on_interrupt, rt);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_sources(Runtime *rt)
{
        int r = sd_event_add_time(rt->event, &rt->timer_source, CLOCK_MONOTONIC, 0, 1, on_timer, rt);

        if (r >= 0)
                r = sd_event_source_set_enabled(rt->timer_source, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_source_set_exit_on_failure(rt->timer_source, true);
        if (r >= 0 && !rt->own_loop) {
                r = sd_event_add_defer(rt->event, &rt->ready_source, on_defer, rt);
                if (r >= 0)
                        r = sd_event_source_set_enabled(rt->ready_source, SD_EVENT_ON);
        }
        if (r >= 0)
                r = add_signals(rt);
        return r >= 0 ? dump_open(rt) : r;
}

static int on_close_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
        *(bool *) userdata = true;
        return 0;
}

/* A turn of the loop, which a foreign one may have left with its descriptors armed. */
static int run_once(sd_event *e, uint64_t timeout)
{
        int r = sd_event_get_state(e) == SD_EVENT_ARMED ? 0 : sd_event_prepare(e);

        if (r == 0)
                r = sd_event_wait(e, timeout);
        return r > 0 ? sd_event_dispatch(e) : r;
}

/* Runs the loop until main has ended, which it does soon: whatever it calls now answers -ECANCELED. False: it has not. */
static bool wind_up(Runtime *rt)
{
        _cleanup_(sd_event_source_disable_unrefp) sd_event_source *timer = NULL;
        bool late = false;

        rt->closing = true;
        rt->on_end = NULL;
        scope_cancel(rt->main_scope, "closed", NULL);
        scope_break_shields(rt->main_scope);
        if (sd_event_add_time_relative(rt->event, &timer, CLOCK_MONOTONIC, RUNTIME_CLOSE_USEC, 1,
                            on_close_timeout, &late) < 0)
                return false;
        while (rt->main_task && !late) {
                runtime_turn(rt);
                if (rt->main_task && run_once(rt->event, list_is_empty(&rt->ready) ? UINT64_MAX : 0) < 0)
                        return false;
        }
        return !rt->main_task;
}

/* From the tree, and of threads. Those left behind may be anywhere in it: then the private supervisor is let go of, which ends all. */
static void disconnect(Runtime *rt, bool left_behind)
{
        if (left_behind) {
                if (rt->tree && rt->tree->daemon)
                        daemon_release(rt->tree->daemon);
                return;
        }
        threads_free(rt);
        tree_free(rt->tree);
        portals_close(rt);
}

static void free_all(Runtime *rt)
{
        scope_free(rt->main_scope);
        timers_clear(&rt->timers);
        fiber_pool_clear(&rt->fibers);
        tractor_error_unref(rt->error);
        sd_event_unref(rt->event);
        free(rt);
}

/* Without the helper a crash is told by fewer words. */
static void report_crashes(Runtime *rt)
{
        _cleanup_free_ char *helper = NULL;

        (void) daemon_find_beside("tractor-crash", "crash", &helper);
        rt->reports_crashes = crash_install(rt->tree ? rt->tree->channel : -EBADF, helper,
                                              &runtime_crash_hooks) >= 0;
}

Runtime *runtime_free(Runtime *rt)
{
        bool left_behind;

        if (!rt)
                return NULL;
        /* A fork leaves all of it to its parent. */
        if (rt->forks != forks_count) {
                runtime = runtime_of_process = NULL;
                return NULL;
        }
        left_behind = rt->main_task && !wind_up(rt);
        if (rt->reports_crashes)
                crash_remove();
        stall_close(&rt->stall);
        dump_close(rt);
        disconnect(rt, left_behind);
        title_restore(rt);
        for (size_t i = 0; i < ELEMENTSOF(rt->signal_sources); i++)
                sd_event_source_disable_unref(rt->signal_sources[i]);
        sd_event_source_disable_unref(rt->timer_source);
        sd_event_source_disable_unref(rt->ready_source);
        if (rt->masked)
                (void) sigprocmask(SIG_SETMASK, &rt->old_mask, NULL);
        runtime = runtime_of_process = NULL;
        /* What is on the stacks of those left behind refers to all of it. */
        if (!left_behind)
                free_all(rt);
        return NULL;
}
DEFINE_CLEANUP(Runtime *, runtime_free);

static int runtime_new(const tractor_options *o, bool own_loop, Runtime **ret)
{
        _cleanup_(runtime_freep) Runtime *rt = NULL;
        tractor_options options;
        int r;

        if (runtime)
                return runtime_is_foreign() ? -ECHILD : -EBUSY;
        r = OPTIONS_TAKE(&options, o, tractor_options, backend);
        if (r < 0)
                return r;
        r = open_missing_stdio();
        if (r < 0)
                return r;
        rt = calloc(1, sizeof(*rt));
        if (!rt)
                return -ENOMEM;
        runtime = runtime_of_process = rt;
        rt->forks = forks_count;
        rt->options = options;
        rt->own_loop = own_loop;
        rt->timer_armed = USEC_INFINITY;
        rt->max_tasks = rt->options.max_tasks ?: TASKS_DEFAULT;
        list_init(&rt->ready);
        list_init(&rt->tasks);
        list_init(&rt->at_exit);
        wait_queue_init(&rt->connected);
        list_init(&rt->portals);
        list_init(&rt->cork.streams);
        fiber_pool_init(&rt->fibers, rt->options.stack_size);
        r = sd_event_new(&rt->event);
        if (r < 0)
                return r;
        r = actor_detect(rt);
        if (r < 0)
                return r;
        r = add_sources(rt);
        if (r < 0)
                return r;
        rt->main_scope = scope_new(rt, NULL);
        if (!rt->main_scope)
                return -ENOMEM;
        stall_open(&rt->stall, rt, rt->options.stall_usec);
        report_crashes(rt);
        *ret = TAKE_PTR(rt);
        return 0;
}

bool runtime_is_stack_guard(const void *address, const char **ret_task, size_t *ret_size)
{
        const Task *t = task_current();

        if (!t || !fiber_is_guard(t->fiber, address))
                return false;
        *ret_task = t->name;
        *ret_size = t->runtime->fibers.stack_size;
        return true;
}

/* Whoever asks twice does not want to wait: no cleanup is shielded any more, and what runs elsewhere is not asked. */
static void hurry(Runtime *rt)
{
        rt->closing = true;
        scope_break_shields(rt->main_scope);
        if (rt->tree)
                tree_let_go(rt->tree);
}

void runtime_interrupt(Runtime *rt, int signal)
{
        if (rt->interrupted != 0 && !tractor_is_actor())
                hurry(rt);
        if (rt->interrupted == 0)
                rt->interrupted = signal;
        scope_cancel(rt->main_scope, signal == SIGINT ? "interrupted" : "terminated", NULL);
}

/* An actor's is its own life, a root's what it was given. */
static int main_task(void *userdata)
{
        Runtime *rt = userdata;
        int r = tractor_is_actor() ? actor_main(rt) : rt->main(rt->main_userdata);

        if (!runtime_is_foreign()) {
                run_at_exit(rt);
                portals_flush(rt);
        }
        return r;
}

static int start_main(Runtime *rt, int (*main)(void *userdata), void *userdata)
{
        if (!main && !tractor_is_actor())
                return -EINVAL;
        rt->main = main;
        rt->main_userdata = userdata;
        return task_new(rt, rt->main_scope, "main", main_task, rt, NULL, &rt->main_task);
}

/* What the run as a whole comes to, once its main task has ended. */
static int conclude(Runtime *rt)
{
        const char *silent = rt->tree ? rt->tree->silent : NULL;
        int r = rt->result;

        if (rt->interrupted && !tractor_is_actor()) {
                tractor_error_unref(rt->error);
                rt->error = error_new(ERROR_CANCELLED, "Interrupted", NULL, "interrupted by SIG%s%s%s",
                                sigabbrev_np(rt->interrupted), silent ? "; " : "", silent ?: "");
                return -EINTR;
        }
        if (r == -ECANCELED && rt->main_scope->cancelled) {
                rt->error = tractor_error_unref(rt->error);
                return 0;
        }
        return r >= 0 && rt->error ? tractor_error_errno(rt->error) : r;
}

void runtime_turn(Runtime *rt)
{
        (void) runtime_run_ready(rt);
        if (rt->forks != forks_count)
                return;
        (void) runtime_arm(rt);
        if (!rt->main_task && !rt->ended) {
                rt->ended = true;
                rt->result = conclude(rt);
                if (rt->ready_source)
                        (void) sd_event_source_set_enabled(rt->ready_source, SD_EVENT_OFF);
                if (rt->on_end)
                        rt->on_end(rt->result, rt->userdata);
        }
}

static int loop(Runtime *rt)
{
        int r;

        for (;;) {
                runtime_turn(rt);
                if (rt->forks != forks_count)
                        return -ECHILD;
                if (rt->ended)
                        return rt->result;
                r = sd_event_run(rt->event, list_is_empty(&rt->ready) ? UINT64_MAX : 0);
                if (r < 0)
                        return r;
        }
}

/* What is left to be told of a run that is over. */
typedef struct Outcome {
        tractor_error *error;
        int signal; /* that ended it, or 0 */
        bool told;  /* somebody else knows */
} Outcome;

static int run_all(const tractor_options *o, int (*main)(void *userdata), void *userdata, Outcome *ret)
{
        _cleanup_(runtime_freep) Runtime *rt = NULL;
        int r = runtime_new(o, true, &rt);

        if (r < 0)
                return r;
        r = start_main(rt, main, userdata);
        if (r < 0)
                return r;
        r = loop(rt);
        if (rt->forks != forks_count)
                return -ECHILD;
        if (tree_end_daemon(rt->tree) < 0 && r >= 0) {
                rt->error = error_new(ERROR_DEADLINE_EXCEEDED, NULL, NULL,
                                "the private supervisor did not end, and was killed");
                r = -ETIMEDOUT;
        }
        *ret = (Outcome){ .error = TAKE_PTR(rt->error), .signal = rt->interrupted, .told = rt->told };
        return r;
}

_public_ int tractor_run(const tractor_options *o, int (*main)(void *userdata), void *userdata)
{
        Outcome outcome = { 0 };
        int r = run_all(o, main, userdata, &outcome);

        tractor_error_unref(outcome.error);
        return r;
}

_public_ int tractor_main(const tractor_options *o, int (*main)(void *userdata), void *userdata)
{
        _cleanup_free_ char *text = NULL;
        Outcome outcome = { 0 };
        int r = run_all(o, main, userdata, &outcome);

        if (r < 0 && !outcome.told) {
                text = outcome.error ? tractor_error_format(outcome.error) : xasprintf("%s\n", strerror(-r));
                (void) fprintf(stderr, "%s: %s", program_invocation_short_name, text ?: "out of memory\n");
        }
        tractor_error_unref(outcome.error);
        if (r >= 0)
                return 0;
        /* As a shell has it for what it interrupted. */
        return outcome.signal ? 128 + outcome.signal : 1;
}

_public_ struct sd_event *tractor_get_event(void)
{
        return runtime ? runtime->event : NULL;
}

_public_ void tractor_cancel_all(const char *reason)
{
        if (runtime)
                scope_cancel(runtime->main_scope, reason, NULL);
}

_public_ const char *tractor_cancel_reason(void)
{
        return runtime ? tractor_scope_reason(runtime->main_scope) : NULL;
}

/* --- the poll interface --- */
_public_ int tractor_open(const tractor_options *o, int (*main)(void *userdata), void *userdata,
                void (*on_end)(int r, void *userdata))
{
        _cleanup_(runtime_freep) Runtime *rt = NULL;
        int r = runtime_new(o, false, &rt);

        if (r < 0)
                return r;
        rt->on_end = on_end;
        rt->userdata = userdata;
        r = start_main(rt, main, userdata);
        if (r < 0)
                return r;
        (void) TAKE_PTR(rt);
        return 0;
}

_public_ int tractor_get_fd(void)
{
        return runtime && !runtime_is_foreign() ? sd_event_get_fd(runtime->event) : task_missing();
}

_public_ int tractor_get_events(void)
{
        return runtime && !runtime_is_foreign() ? POLLIN : task_missing();
}

/* Whether all that may happen shows at the descriptor: the kernel's timers do, but not what the host itself has done since, such as
 * setting an event that a task waits for, or a deadline. */
static bool is_armed(const Runtime *rt)
{
        return sd_event_get_state(rt->event) == SD_EVENT_ARMED && list_is_empty(&rt->ready) &&
               timers_next(&rt->timers) >= rt->timer_armed;
}

_public_ int tractor_get_timeout(uint64_t *ret)
{
        if (!runtime || runtime_is_foreign())
                return task_missing();
        *ret = is_armed(runtime) ? TRACTOR_FOREVER : 0;
        return 0;
}

/* How many sources are worked off before the host has its turn again. */
#define SOURCES_A_TURN 64

static int process(Runtime *rt)
{
        int r = runtime_arm(rt);

        for (unsigned n = 0; n < SOURCES_A_TURN && r >= 0 && !rt->ended; n++) {
                r = sd_event_get_state(rt->event) == SD_EVENT_ARMED ? sd_event_wait(rt->event, 0)
                                                                    : sd_event_prepare(rt->event);
                if (r > 0)
                        r = sd_event_dispatch(rt->event);
                else if (r == 0 && sd_event_get_state(rt->event) == SD_EVENT_ARMED)
                        break;
        }
        return r < 0 ? r : !rt->ended;
}

_public_ int tractor_process(void)
{
        Runtime *rt = runtime;
        int r;

        if (!rt || runtime_is_foreign())
                return task_missing();
        if (rt->running || rt->processing)
                return -EDEADLK;
        rt->processing = true;
        r = process(rt);
        rt->processing = false;
        if (rt->close_wanted)
                runtime_free(rt);
        return r;
}

_public_ void tractor_close(void)
{
        /* tractor_run() ends by itself. */
        if (!runtime || runtime->own_loop)
                return;
        /* on_end is a good place to call it, but what it frees is still in use there. */
        if (runtime->processing)
                runtime->close_wanted = true;
        else
                runtime_free(runtime);
}
