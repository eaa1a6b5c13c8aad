/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "base/path.h"
#include "libtractor/error-private.h"
#include "libtractor/nursery.h"
#include "libtractor/options.h"

static Nursery *nursery_free(Nursery *n)
{
        if (!n)
                return NULL;
        if (n->hooks)
                n->hooks->free(n);
        for (size_t i = 0; i < n->n_errors; i++)
                tractor_error_unref(n->errors[i]);
        free(n->errors);
        free(n->name);
        free(n->strategy);
        free(n->log_level);
        json_unref(n->limits);
        json_unref(n->keys);
        free(n);
        return NULL;
}
DEFINE_CLEANUP(Nursery *, nursery_free);

int nursery_check_name(const char *name)
{
        if (name && node_name_is_valid(name))
                return 0;
        return error_fail(ERROR_INVALID_PARAMS, NULL, NULL,
                        "\"%.100s\" is no name: 1 to %d of A-Z a-z 0-9 _ . -, the first no dot and no "
                        "hyphen",
                        name ?: "", NODE_NAME_MAX);
}

static int take_options(Nursery *n, const tractor_nursery_options *given)
{
        static const char *const strategies[] = { "one_cancels_all", "one_cancels_one", "one_for_one",
                "one_for_all", "rest_for_one" };
        tractor_nursery_options o;
        int r = OPTIONS_TAKE(&o, given, tractor_nursery_options, keys);
        bool known;

        if (r < 0)
                return r;
        known = !o.strategy;
        for (size_t i = 0; i < ELEMENTSOF(strategies) && !known; i++)
                known = streq(o.strategy, strategies[i]);
        if (!known)
                return error_fail(ERROR_INVALID_PARAMS, NULL, NULL, "no nursery has the strategy '%s'",
                                strna(o.strategy));
        r = o.name ? nursery_check_name(o.name) : 0;
        if (r < 0)
                return r;
        n->keeps_others = o.strategy && streq(o.strategy, "one_cancels_one");
        n->limits = o.limits ? json_ref(o.limits) : NULL;
        n->keys = o.keys ? json_ref(o.keys) : NULL;
        n->limits_optional = o.limits_optional;
        if (free_and_strdup(&n->name, o.name) < 0 || free_and_strdup(&n->strategy, o.strategy) < 0 ||
                        free_and_strdup(&n->log_level, o.log_level) < 0)
                return -ENOMEM;
        return 0;
}

static Nursery *nursery_around(const Task *t)
{
        for (Scope *s = t->scope; s; s = s->parent)
                if (s->nursery)
                        return s->nursery;
        return NULL;
}

_public_ int tractor_nursery_open(const tractor_nursery_options *o, tractor_nursery **ret)
{
        _cleanup_(nursery_freep) Nursery *n = NULL;
        Task *t = task_current();
        int r;

        if (!t)
                return task_missing();
        n = calloc(1, sizeof(*n));
        if (!n)
                return -ENOMEM;
        n->runtime = t->runtime;
        n->task = t;
        n->outer = nursery_around(t);
        list_init(&n->tasks);
        wait_queue_init(&n->joiner);
        r = take_options(n, o);
        if (r < 0)
                return r;
        n->scope = scope_enter(t);
        if (!n->scope)
                return -ENOMEM;
        n->scope->nursery = n;
        *ret = TAKE_PTR(n);
        return 0;
}

int nursery_may_start(Nursery *n)
{
        if (n->closed || (n->leaving && n->n_children == 0))
                return error_fail(ERROR_ACTOR_STOPPED, NULL, NULL, "the nursery has been left");
        return scope_cancelling(n->scope) ? -ECANCELED : 0;
}

void nursery_child_began(Nursery *n)
{
        n->n_children++;
}

/* The end of one actor, or of the supervisor, is heard of on several ways: from the tree, and by whoever was calling just then. */
static bool is_known(const Nursery *n, const tractor_error *e)
{
        int code = tractor_error_code(e);

        if (code != ERROR_ACTOR_DIED && code != ERROR_CONNECTION_LOST)
                return false;
        for (size_t i = 0; i < n->n_errors; i++)
                if (tractor_error_code(n->errors[i]) == code &&
                                streq_ptr(tractor_error_actor(n->errors[i]), tractor_error_actor(e)) &&
                                streq(tractor_error_message(n->errors[i]), tractor_error_message(e)))
                        return true;
        return false;
}

void nursery_failed(Nursery *n, tractor_error *e)
{
        char text[256];

        if (is_known(n, e)) {
                tractor_error_unref(e);
                return;
        }
        (void) snprintf(text, sizeof(text), "%s", tractor_error_message(e));
        n->n_failures++;
        /* Without memory the first failures are what is told. */
        if (n->n_errors < NURSERY_ERRORS_MAX && GROW(n->errors, n->cap_errors, n->n_errors + 1) >= 0)
                n->errors[n->n_errors++] = e;
        else
                tractor_error_unref(e);
        if (!n->keeps_others)
                scope_cancel(n->scope, text, NULL);
}

void nursery_child_ended(Nursery *n, tractor_error *e)
{
        if (e)
                nursery_failed(n, e);
        if (--n->n_children == 0)
                wait_queue_wake_all(&n->joiner, 0);
}

/* The failure a result stands for, or NULL. A cancellation is none in a scope that was cancelled. */
static tractor_error *failure_of(Scope *s, tractor_error *last, int r, const char *name)
{
        if (r >= 0 || (r == -ECANCELED && scope_cancelling(s)))
                return NULL;
        return error_of_result(last, r, name);
}

static Task *task_free(Task *t)
{
        scope_move_task(NULL, t);
        list_unlink(&t->node);
        list_unlink(&t->nursery_node);
        timer_off(&t->runtime->timers, &t->timer);
        t->runtime->n_tasks--;
        fiber_put(t->fiber);
        tractor_error_unref(t->error);
        free(t->name);
        free(t);
        return NULL;
}

static void main_ended(Task *t)
{
        Runtime *rt = t->runtime;

        rt->result = t->result;
        if (t->result < 0) {
                tractor_error_unref(rt->error);
                rt->error = error_of_result(t->error, t->result, t->name);
        }
        rt->main_task = NULL;
        task_free(t);
}

/* On the stack of who waits for a task to have started. */
typedef struct Start {
        Task *starter;
        bool over; /* it has started, or ended without */
        int r;
        tractor_error *error;
        Json *value;
} Start;

static void start_over(Task *t, int r, tractor_error *e, Json *value)
{
        Start *s = TAKE_PTR(t->start);

        s->over = true;
        s->r = r;
        s->error = e;
        s->value = value;
        task_wake(s->starter, 0);
}

/* It never said started: how it went is the starter's affair alone. */
static void ended_unstarted(Task *t, tractor_error *e)
{
        if (!e && t->result >= 0)
                e = error_new(ERROR_INVALID_REQUEST, NULL, NULL, "task %s ended without having started",
                                t->name);
        start_over(t, e ? tractor_error_errno(e) : MIN(t->result, -ENOMEM), e, NULL);
}

void task_ended(Task *t)
{
        Nursery *n = t->nursery;
        tractor_error *e;

        if (!n) {
                main_ended(t);
                return;
        }
        e = failure_of(t->scope, t->error, t->result, t->name);
        if (t->start)
                ended_unstarted(t, TAKE_PTR(e));
        else if (t->result == -ECANCELED && !e)
                n->given_up = true;
        scope_move_task(NULL, t);
        scope_free(t->start_scope);
        task_free(t);
        nursery_child_ended(n, e);
}

int nursery_start(Nursery *n, const char *name, tractor_task_fn fn, void *userdata,
                void (*destroy)(void *userdata), Scope *scope, Task **ret)
{
        int r = nursery_may_start(n);

        if (r >= 0)
                r = task_new(n->runtime, scope, name, fn, userdata, destroy, ret);
        if (r < 0)
                return r;
        (*ret)->nursery = n;
        list_append(&n->tasks, &(*ret)->nursery_node);
        nursery_child_began(n);
        return 0;
}

_public_ int tractor_start_task(tractor_nursery *n, const char *name, tractor_task_fn fn, void *userdata,
                void (*destroy)(void *userdata))
{
        int r = task_current() ? 0 : task_missing();
        Task *t;

        if (r >= 0)
                r = nursery_start(n, name, fn, userdata, destroy, n->scope, &t);
        if (r < 0 && destroy)
                destroy(userdata);
        return r;
}

static int await_start(Start *s, Scope *scope)
{
        int r = task_park(NULL, "start", USEC_INFINITY);

        if (s->over)
                return s->r;
        scope_cancel(scope, "its starter was cancelled", NULL);
        while (!s->over)
                (void) task_park_shielded(NULL, "start", USEC_INFINITY);
        return s->r < 0 ? s->r : r;
}

_public_ int tractor_start(tractor_nursery *n, const char *name, tractor_task_fn fn, void *userdata,
                void (*destroy)(void *userdata), struct json_object **ret)
{
        Start s = { .starter = task_current() };
        Scope *scope = s.starter ? scope_new(n->runtime, n->scope) : NULL;
        Task *t;
        int r;

        if (!scope) {
                if (destroy)
                        destroy(userdata);
                return s.starter ? -ENOMEM : task_missing();
        }
        error_clear();
        r = nursery_start(n, name, fn, userdata, destroy, scope, &t);
        if (r < 0) {
                if (destroy)
                        destroy(userdata);
                scope_free(scope);
                return r;
        }
        t->start_scope = scope;
        t->start = &s;
        r = await_start(&s, scope);
        if (r >= 0 && ret)
                *ret = TAKE_PTR(s.value);
        json_unref(s.value);
        return s.error ? error_raise(s.error) : r;
}

_public_ int tractor_task_started(struct json_object *value)
{
        Task *t = task_current();

        if (!t || !t->start) {
                json_unref(value);
                return !t ? task_missing() : t->is_started ? -EALREADY : -EPROTO;
        }
        t->is_started = true;
        start_over(t, 0, NULL, value);
        return 0;
}

/* How all of it went: one failure as it is, several as one. */
static int report(Nursery *n, int r)
{
        if (n->n_failures == 0)
                return r;
        if (n->n_failures == 1 && n->n_errors == 1)
                return error_raise(tractor_error_ref(n->errors[0]));
        return error_raise(n->n_errors > 0 ? error_new_group(n->errors, n->n_errors, n->n_failures) : NULL);
}

static void join(Nursery *n)
{
        n->leaving = true;
        while (n->n_children > 0)
                (void) task_park_shielded(&n->joiner, "nursery", USEC_INFINITY);
        n->closed = true;
        if (n->hooks)
                n->hooks->close(n);
}

_public_ int tractor_nursery_wait(tractor_nursery *n)
{
        int r = task_checkpoint();

        error_clear();
        /* One of its children would wait for itself, and others may see it freed. */
        if (r >= 0 && n->task != task_current())
                r = error_fail(ERROR_INVALID_PARAMS, NULL, NULL,
                                "a nursery is waited for by the task that opened it");
        while (r >= 0 && n->n_children > 0)
                r = task_park(&n->joiner, "nursery", USEC_INFINITY);
        return r;
}

static void check_nursery(const Nursery *n)
{
        const Task *t = task_current();

        if (t && t->scope == n->scope)
                return;
        (void) fprintf(stderr,
                        "tractor: task %s: a nursery is closed that is not the innermost open scope\n",
                        t ? t->name : "(none)");
        abort();
}

/* Waits for all, and gives back what is left to be told. */
static int leave(Nursery *n, int r)
{
        Scope *s = n->scope;
        tractor_error *e = failure_of(s, n->task->error, r, n->task->name);
        bool cancelled;

        if (e)
                nursery_failed(n, e);
        if (r < 0)
                scope_cancel(s, "its block failed", NULL);
        join(n);
        cancelled = !s->shield && scope_cancelling(s->parent);
        if (r == -ECANCELED && !cancelled)
                r = 0;
        /* What it was opened for was not done: that must not look like success. */
        else if (r >= 0 && cancelled && n->given_up)
                r = -ECANCELED;
        s->nursery = NULL;
        scope_move_task(s->parent, n->task);
        n->scope = scope_free(s);
        return r;
}

_public_ int tractor_nursery_close(tractor_nursery **np, int r)
{
        _cleanup_(nursery_freep) Nursery *n = TAKE_PTR(*np);

        if (!n)
                return r < 0 ? r : -ENOMEM;
        if (runtime_is_foreign()) {
                (void) TAKE_PTR(n);
                return -ECHILD;
        }
        check_nursery(n);
        r = leave(n, r);
        return report(n, r);
}

static void keep_of_main(Runtime *rt, tractor_error *e)
{
        if (rt->error)
                tractor_error_unref(e);
        else
                rt->error = e;
}

_public_ void tractor_nursery_dropp(tractor_nursery **np)
{
        _cleanup_(nursery_freep) Nursery *n = TAKE_PTR(*np);

        if (!n)
                return;
        if (runtime_is_foreign()) {
                (void) TAKE_PTR(n);
                return;
        }
        check_nursery(n);
        scope_cancel(n->scope, "its block was left early", NULL);
        (void) leave(n, 0);
        for (size_t i = 0; i < n->n_errors; i++)
                if (n->outer)
                        nursery_failed(n->outer, tractor_error_ref(n->errors[i]));
                else
                        keep_of_main(n->runtime, tractor_error_ref(n->errors[i]));
}

_public_ tractor_scope *tractor_nursery_scope(tractor_nursery *n)
{
        return n->scope;
}

_public_ void tractor_nursery_cancel(tractor_nursery *n, const char *reason)
{
        scope_cancel(n->scope, reason, NULL);
}

_public_ size_t tractor_nursery_n_tasks(const tractor_nursery *n)
{
        size_t k = 0;

        LIST_FOREACH(i, &n->tasks)
                k++;
        return k;
}
