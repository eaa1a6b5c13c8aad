/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "libtractor/error-private.h"
#include "libtractor/nursery.h"
#include "libtractor/scope.h"

static void deadline_struck(Timer *timer);

Scope *scope_new(Runtime *rt, Scope *parent)
{
        Scope *s = calloc(1, sizeof(*s));

        if (!s)
                return NULL;
        s->runtime = rt;
        s->parent = parent;
        s->deadline.fire = deadline_struck;
        s->deadline.when = USEC_INFINITY;
        list_init(&s->node);
        list_init(&s->children);
        list_init(&s->tasks);
        if (parent)
                list_append(&parent->children, &s->node);
        return s;
}

Scope *scope_free(Scope *s)
{
        if (!s)
                return NULL;
        assert(list_is_empty(&s->children) && list_is_empty(&s->tasks));
        timer_off(&s->runtime->timers, &s->deadline);
        list_unlink(&s->node);
        free(s->reason);
        free(s->canceller);
        free(s);
        return NULL;
}

void scope_move_task(Scope *s, Task *t)
{
        list_unlink(&t->scope_node);
        if (s)
                list_append(&s->tasks, &t->scope_node);
        t->scope = s;
}

Scope *scope_enter(Task *t)
{
        Scope *s = scope_new(t->runtime, t->scope);

        if (!s)
                return NULL;
        s->task = t;
        scope_move_task(s, t);
        return s;
}

Scope *scope_cancelling(Scope *s)
{
        for (; s; s = s->parent) {
                if (s->cancelled)
                        return s;
                if (s->shield && !s->runtime->closing)
                        return NULL;
        }
        return NULL;
}

/* The next one below `root` in a walk without a stack, since nurseries may be nested as deep as anyone likes. */
static Scope *walk(const Scope *root, Scope *s, bool descend)
{
        if (descend && !list_is_empty(&s->children))
                return LIST_ENTRY(s->children.next, Scope, node);
        for (; s != root; s = s->parent)
                if (s->node.next != &s->parent->children)
                        return LIST_ENTRY(s->node.next, Scope, node);
        return NULL;
}

/* Wakes what is parked in the scope and everywhere below where the cancellation reaches. */
static void deliver(Scope *root)
{
        bool reaches;

        for (Scope *s = root; s; s = walk(root, s, reaches)) {
                reaches = s == root || (!s->shield && !s->cancelled);
                if (!reaches)
                        continue;
                LIST_FOREACH(i, &s->tasks)
                        if (!LIST_ENTRY(i, Task, scope_node)->shielded)
                                task_wake(LIST_ENTRY(i, Task, scope_node), -ECANCELED);
                if (s->nursery && s->nursery->hooks)
                        s->nursery->hooks->cancel(s->nursery);
        }
}

void scope_break_shields(Scope *root)
{
        for (Scope *s = root; s; s = walk(root, s, true))
                if (s->shield)
                        deliver(s);
}

void scope_cancel(Scope *s, const char *reason, const char *canceller)
{
        if (!s || s->cancelled)
                return;
        s->cancelled = true;
        /* Without memory it is cancelled all the same, only that nobody learns why. */
        (void) free_and_strdup(&s->reason, reason);
        (void) free_and_strdup(&s->canceller, canceller);
        timer_off(&s->runtime->timers, &s->deadline);
        deliver(s);
}

static void deadline_struck(Timer *timer)
{
        Scope *s = LIST_ENTRY(timer, Scope, deadline);

        s->expired = true;
        scope_cancel(s, "deadline", NULL);
}

_public_ tractor_scope *tractor_scope_open(void)
{
        Task *t = task_current();

        return t ? scope_enter(t) : NULL;
}

static Scope *open_until(uint64_t usec, bool fails, bool shield)
{
        Scope *s = tractor_scope_open();

        if (!s)
                return NULL;
        s->fails = fails;
        s->shield = shield;
        tractor_scope_set_deadline(s, usec == TRACTOR_FOREVER ? usec : usec_add(tractor_now(), usec));
        return s;
}

_public_ tractor_scope *tractor_move_on_after(uint64_t usec)
{
        return open_until(usec, false, false);
}

_public_ tractor_scope *tractor_fail_after(uint64_t usec)
{
        return open_until(usec, true, false);
}

_public_ tractor_scope *tractor_shield(uint64_t usec)
{
        return open_until(usec, false, true);
}

static void check_order(const Scope *s, const char *what)
{
        const Task *t = task_current();

        if (t && t->scope == s)
                return;
        (void) fprintf(stderr, "tractor: task %s: a %s is closed that is not the innermost open one\n",
                        t ? t->name : "(none)", what);
        abort();
}

/* Whether -ECANCELED comes from this scope and goes no further. */
static bool catches(const Scope *s)
{
        return s->cancelled && (s->shield || !scope_cancelling(s->parent));
}

_public_ int tractor_scope_close(tractor_scope *s, int r)
{
        bool fails;

        if (!s)
                return r < 0 ? r : -ENOMEM;
        if (runtime_is_foreign())
                return -ECHILD;
        check_order(s, "scope");
        if (s->nursery) {
                (void) fprintf(stderr,
                                "tractor: the scope of a nursery is closed by tractor_nursery_close()\n");
                abort();
        }
        fails = s->fails && s->expired;
        if (r == -ECANCELED && catches(s))
                r = fails ? error_fail(ERROR_DEADLINE_EXCEEDED, NULL, NULL, "the deadline has passed") : 0;
        scope_move_task(s->parent, s->task);
        scope_free(s);
        return r;
}

_public_ void tractor_scope_closep(tractor_scope **s)
{
        if (*s)
                (void) tractor_scope_close(*s, 0);
        *s = NULL;
}

_public_ void tractor_scope_cancel(tractor_scope *s, const char *reason)
{
        scope_cancel(s, reason, NULL);
}

_public_ bool tractor_scope_cancelled(const tractor_scope *s)
{
        return s && s->cancelled;
}

_public_ const char *tractor_scope_reason(const tractor_scope *s)
{
        return s ? s->reason : NULL;
}

_public_ const char *tractor_scope_canceller(const tractor_scope *s)
{
        return s ? s->canceller : NULL;
}

_public_ void tractor_scope_set_deadline(tractor_scope *s, uint64_t usec)
{
        if (!s || s->cancelled)
                return;
        /* One that has passed needs no look of the loop. Nor must one be missed that can't be kept for want of memory. */
        if (usec <= tractor_now() || timer_set(&s->runtime->timers, &s->deadline, usec) < 0)
                deadline_struck(&s->deadline);
        else if (usec == USEC_INFINITY)
                s->deadline.when = usec;
}

_public_ uint64_t tractor_scope_deadline(const tractor_scope *s)
{
        return s ? s->deadline.when : TRACTOR_FOREVER;
}

_public_ void tractor_scope_set_shield(tractor_scope *s, bool shield)
{
        if (!s || s->shield == shield)
                return;
        s->shield = shield;
        if (!shield && scope_cancelling(s->parent))
                deliver(s);
}

void scope_show_deadline(Scope *s, uint64_t usec)
{
        s->deadline.when = usec;
}

uint64_t scope_deadline(const Scope *s)
{
        uint64_t nearest = USEC_INFINITY;

        for (; s; s = s->shield ? NULL : s->parent) {
                if (s->cancelled)
                        return 0;
                nearest = MIN(nearest, s->deadline.when);
        }
        return nearest;
}

_public_ uint64_t tractor_current_deadline(void)
{
        Task *t = task_current();

        return t ? scope_deadline(t->scope) : TRACTOR_FOREVER;
}

static const Scope *current_cancelling(void)
{
        Task *t = task_current();

        return t ? scope_cancelling(t->scope) : NULL;
}

_public_ bool tractor_is_cancelled(void)
{
        return current_cancelling();
}

_public_ const char *tractor_current_reason(void)
{
        return tractor_scope_reason(current_cancelling());
}

_public_ const char *tractor_current_canceller(void)
{
        return tractor_scope_canceller(current_cancelling());
}

_public_ int tractor_checkpoint(void)
{
        return task_yield();
}
