/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/io.h"
#include "libtractor/child-private.h"
#include "libtractor/error-private.h"

static void family_asked_closed(Json *result, Json *error, int *fds, size_t n_fds, void *userdata);
static const ReplyVtable close_vtable = { .on_reply = family_asked_closed };

/* --- the end of a child --- */
static bool ended_well(Json *exit)
{
        const char *cause = json_get_string(exit, "cause", "unknown");

        return streq(cause, "stop") || (streq(cause, "exit") && json_get_integer(exit, "code", -1) == 0);
}

static tractor_error *error_of_exit(const Child *c, Json *params, Json *exit)
{
        Json *data = NULL;
        char text[256];

        error_describe_end(exit, json_get_string(params, "message", NULL), text, sizeof(text));
        if (json_pack(&data, "{actor:s, exit:O, backtrace:O?}", c->path, exit,
                            json_get(params, "backtrace")) < 0)
                return NULL;
        return error_new(ERROR_ACTOR_DIED, NULL, data, "%s %s", c->path, text);
}

/* NULL: it ended well; nothing else looks like that, want of memory neither. */
static tractor_error *error_of_end(const Child *c, Json *params)
{
        Json *exit = json_get(params, "exit"), *error = json_get(params, "error");
        tractor_error *e;

        if (!error && (!exit || ended_well(exit)))
                return NULL;
        e = error ? error_from_json(error) : error_of_exit(c, params, exit);
        return e ?: error_of_result(NULL, -ENOMEM, c->path);
}

/* One for all that go with it: it did not arise in any of them. */
static tractor_error *error_of_loss(const Child *c)
{
        tractor_error *e = error_new(ERROR_CONNECTION_LOST, NULL, NULL, "%s", tree_loss(c->family->tree));

        return e ?: error_of_result(NULL, -ENOMEM, c->path);
}

Child *child_free(Child *c)
{
        if (!c)
                return NULL;
        list_unlink(&c->node);
        json_unref(c->end);
        tractor_error_unref(c->error);
        free(c->path);
        free(c);
        return NULL;
}

/* What is left of it at the supervisor goes, so that its name is free. */
static void unload(Child *c)
{
        Tree *t = c->family->tree;
        Json *params = NULL;

        if (!c->family->closing && !t->lost && json_pack(&params, "{path:s}", c->path) >= 0)
                (void) tree_ask(t, "tree.unload", params);
}

/* What the end of one means for which nobody waits. */
static void child_judge(Child *c)
{
        tractor_error *e = TAKE_PTR(c->error);
        Nursery *n = c->family->nursery;

        /* Cut short from outside: that must not look like a task done. */
        if (scope_cancelling(n->scope))
                n->given_up = true;
        /* Where the supervisor restarts, what it failed over comes right behind. */
        if (c->restarted && e && !c->family->closing && !c->family->gone) {
                tractor_error_unref(c->family->last);
                c->family->last = TAKE_PTR(e);
        }
        child_free(c);
        nursery_child_ended(n, e);
}

/* `params` as of $/child_exited; NULL: it was closed with its nursery. `e` (consumed) is how it failed. */
static void child_ended(Child *c, Json *params, tractor_error *e)
{
        c->ended = true;
        c->end = params ? json_ref(params) : NULL;
        c->error = e;
        unload(c);
        /* Somebody waits for it, and says what it means. */
        if (c->judged || !c->runs)
                wait_queue_wake_all(&c->waiting, 0);
        else
                child_judge(c);
}

static Child *child_at(Tree *t, const char *path)
{
        LIST_FOREACH(i, &t->families)
                LIST_FOREACH(k, &LIST_ENTRY(i, Family, node)->children) {
                        Child *c = LIST_ENTRY(k, Child, node);

                        if (!c->ended && streq(c->path, path))
                                return c;
                }
        return NULL;
}

static Family *family_at(Tree *t, const char *path)
{
        LIST_FOREACH(i, &t->families)
                if (streq(LIST_ENTRY(i, Family, node)->path, path))
                        return LIST_ENTRY(i, Family, node);
        return NULL;
}

/* The last death: it may be that of one whose owner has not had the answer yet. */
static tractor_error *take_last(Family *f)
{
        LIST_FOREACH(i, &f->children) {
                Child *c = LIST_ENTRY(i, Child, node);

                if (!f->last && c->restarted && !c->runs)
                        f->last = TAKE_PTR(c->error);
        }
        return TAKE_PTR(f->last);
}

/* It has been restarted as often as its intensity allows; the last death is the cause. */
static void family_gave_up(Family *f, Json *params)
{
        _cleanup_(tractor_error_unrefp) tractor_error *last = take_last(f);
        Json *data = NULL, *cause = NULL;
        tractor_error *e;

        if (last)
                (void) error_to_json(last, NULL, &cause);
        if (json_pack(&data, "{actor:s, exit:O?}", f->path, json_get(params, "exit")) < 0)
                data = NULL;
        if (cause && data) {
                Json *causes = NULL;

                if (json_pack(&causes, "[o]", cause) >= 0)
                        (void) json_set(data, "causes", causes);
        } else
                json_unref(cause);
        e = error_new(ERROR_RESTART_LIMIT, NULL, data, "%s gave up restarting%s%s", f->path,
                        last ? ": " : "", last ? tractor_error_message(last) : "");
        nursery_failed(f->nursery, e ?: error_of_result(NULL, -ENOMEM, f->path));
}

void children_exited(Tree *t, Json *params)
{
        const char *path = json_get_string(params, "path", NULL);
        Child *c = path ? child_at(t, path) : NULL;
        Family *f = path && !c ? family_at(t, path) : NULL;

        if (c)
                child_ended(c, params, error_of_end(c, params));
        else if (f && !f->closing && !f->gone && !ended_well(json_get(params, "exit")))
                family_gave_up(f, params);
}

static void family_gone(Family *f, bool lost)
{
        f->gone = true;
        /* Its nursery was left before the supervisor's own end was told. */
        if (f->last && lost)
                nursery_failed(f->nursery, TAKE_PTR(f->last));
        else if (f->last)
                family_gave_up(f, NULL);
        LIST_FOREACH_SAFE(i, &f->children) {
                Child *c = LIST_ENTRY(i, Child, node);

                if (!c->ended)
                        child_ended(c, NULL, lost ? error_of_loss(c) : NULL);
        }
        wait_queue_wake_all(&f->closed, 0);
}

void children_lost(Tree *t)
{
        LIST_FOREACH_SAFE(i, &t->families)
                family_gone(LIST_ENTRY(i, Family, node), true);
}

bool families_closing(const Tree *t)
{
        LIST_FOREACH(i, &t->families) {
                const Family *f = LIST_ENTRY(i, Family, node);

                if (f->closing && !f->gone)
                        return true;
        }
        return false;
}

/* --- the nursery's other half --- */
static void family_asked_closed(Json *result, Json *error, int *fds, size_t n_fds, void *userdata)
{
        Family *f = userdata;

        /* What was asked for may never have been heard. */
        if (!f->gone)
                family_gone(f, json_get_integer(error, "code", 0) == ERROR_CONNECTION_LOST);
}

static void family_close(Family *f)
{
        Session *s = portal_session(f->tree->control);
        Json *params = NULL;

        if (f->closing || f->gone)
                return;
        f->closing = true;
        if (!s || json_pack(&params, "{path:s}", f->path) < 0 ||
                        session_call(s, "nursery.close", params, NULL, &close_vtable, f) < 0)
                family_gone(f, true);
        else
                tree_remind(f->tree);
}

static void on_cancel(Nursery *n)
{
        Family *f = n->actors;

        if (f->opened)
                family_close(f);
}

static void on_close(Nursery *n)
{
        Family *f = n->actors;

        if (f->opened)
                family_close(f);
        while (f->opened && !f->gone)
                (void) task_park_shielded(&f->closed, "nursery's end", USEC_INFINITY);
}

static void on_free(Nursery *n)
{
        Family *f = n->actors;

        assert(list_is_empty(&f->children));
        list_unlink(&f->node);
        tractor_error_unref(f->last);
        free(f->path);
        free(f);
        n->actors = NULL;
}

static const NurseryHooks nursery_hooks = { .cancel = on_cancel, .close = on_close, .free = on_free };

int merge_keys(Json *into, Json *from)
{
        JsonIterator i = { 0 };

        while (from && json_next(from, &i))
                if (json_set(into, i.key, json_ref(i.value)) < 0)
                        return -ENOMEM;
        return 0;
}

bool nursery_restarts(const Nursery *n)
{
        return n->strategy && !startswith(n->strategy, "one_cancels_");
}

/* Code judges failures by itself; restarts are the supervisor's. */
static const char *strategy_over_there(const Nursery *n)
{
        return nursery_restarts(n) ? n->strategy : "one_cancels_one";
}

static int parent_of(Nursery *n, Tree *t, const char **ret)
{
        for (Nursery *o = n->outer; o; o = o->outer) {
                Family *f;
                int r;

                if (!o->actors && !o->limits && !o->keys && !o->log_level && !o->name)
                        continue;
                r = family_get(o, &f);
                if (r < 0)
                        return r;
                *ret = f->path;
                return 0;
        }
        *ret = t->path;
        return 0;
}

static int family_new(Nursery *n, Tree *t, Family **ret)
{
        const char *parent;
        Family *f;
        int r = parent_of(n, t, &parent);

        if (r < 0)
                return r;
        /* Another task may have made it meanwhile. */
        if (n->actors) {
                *ret = n->actors;
                return 0;
        }
        f = calloc(1, sizeof(*f));
        if (!f)
                return -ENOMEM;
        f->path = n->name ? xasprintf("%s/%s", parent, n->name)
                          : xasprintf("%s/n%u", parent, ++t->n_nurseries);
        if (!f->path) {
                free(f);
                return -ENOMEM;
        }
        f->nursery = n;
        f->tree = t;
        list_init(&f->children);
        wait_queue_init(&f->closed);
        wait_queue_init(&f->opening);
        list_append(&t->families, &f->node);
        n->actors = f;
        n->hooks = &nursery_hooks;
        *ret = f;
        return 0;
}

static int family_open(Family *f)
{
        Nursery *n = f->nursery;
        const char *slash = strrchr(f->path, '/');
        _cleanup_free_ char *parent = strndup(f->path, (size_t) (slash - f->path));
        Json *params = NULL;
        int r;

        if (!parent || json_pack(&params,
                                       "{parent:s, name:s, strategy:s, limits:O?, limits_optional:b, "
                                       "log_level:s?}",
                                       parent, slash + 1, strategy_over_there(n), n->limits,
                                       n->limits_optional, n->log_level) < 0)
                return -ENOMEM;
        r = merge_keys(params, n->keys);
        if (r < 0) {
                json_unref(params);
                return r;
        }
        r = tractor_portal_call(f->tree->control, "nursery.open", params, NULL);
        if (r >= 0)
                f->opened = true;
        return r;
}

int family_get(Nursery *n, Family **ret)
{
        Family *f;
        Tree *t;
        int r = tree_get(&t);

        if (r < 0)
                return r;
        f = n->actors;
        if (!f) {
                r = family_new(n, t, &f);
                if (r < 0)
                        return r;
        }
        while (f->is_opening) {
                r = task_park(&f->opening, "nursery's opening", USEC_INFINITY);
                if (r < 0)
                        return r;
        }
        if (!f->opened) {
                f->is_opening = true;
                r = family_open(f);
                f->is_opening = false;
                wait_queue_wake_all(&f->opening, 0);
                if (r < 0)
                        return r;
        }
        /* It may have been left, or cancelled, meanwhile. */
        r = nursery_may_start(n);
        if (r < 0)
                return r;
        *ret = f;
        return 0;
}

/* --- a new child --- */
static int child_new(Family *f, const char *name, Child **ret)
{
        Child *c = calloc(1, sizeof(*c));

        if (!c)
                return -ENOMEM;
        c->path = xasprintf("%s/%s", f->path, name);
        if (!c->path) {
                free(c);
                return -ENOMEM;
        }
        c->family = f;
        list_init(&c->node);
        wait_queue_init(&c->waiting);
        *ret = c;
        return 0;
}

static int portal_of(Child *c, Json *result, int fd, tractor_portal **ret)
{
        PortalOptions o = { .path = c->path,
                .id = json_get_string(result, "id", NULL),
                .pid = (pid_t) json_get_integer(result, "pid", 0),
                .exit_told = true };

        return portal_new(c->family->nursery->runtime, fd, &o, ret);
}

/* Asks for the process: c->runs says whether there is one. If so, and no portal can be made to it, it is being cancelled. */
static int spawn(Child *c, Json *params, int exe, tractor_portal **ret)
{
        _cleanup_json_ Json *result = NULL;
        int fds[1] = { -EBADF };
        size_t n_fds = 1;
        int r = portal_call_fds(
                        c->family->tree->control, "actor.spawn", params, NULL, exe, &result, fds, &n_fds);

        if (r < 0)
                return r;
        c->runs = true;
        if (!ret) {
                close_many(fds, n_fds);
                return 0;
        }
        r = n_fds > 0 ? portal_of(c, result, fds[0], ret)
                      : error_fail(ERROR_INTERNAL, NULL, NULL, "no connection to %s has come", c->path);
        if (r < 0)
                child_cancel(c, "no portal could be made to it");
        return r;
}

static int spawn_watched(Child *c, Json *params, int exe, tractor_portal **ret)
{
        Tree *t = c->family->tree;
        Awaited awaited;
        int r = tree_await_ends(t, c->path, &awaited);

        if (r < 0) {
                json_unref(params);
                safe_close(exe);
                return r;
        }
        r = spawn(c, params, exe, ret);
        tree_awaited(t, &awaited, ret && r >= 0 ? *ret : NULL);
        return r;
}

void child_cancel(Child *c, const char *reason)
{
        Json *params = NULL;

        if (!c->ended && json_pack(&params, "{path:s, reason:s?}", c->path, reason) >= 0)
                (void) tree_ask(c->family->tree, "actor.cancel", params);
}

/* All that can be done before it is asked for. */
static int child_prepare(Nursery *n, const char *name, const char *entry, const tractor_actor_options *o,
                bool portal, Child **ret, Json **ret_params, int *ret_exe)
{
        Family *f;
        int r = family_get(n, &f);

        if (r >= 0)
                r = child_describe(f, name, entry, o, portal, ret_params, ret_exe);
        if (r >= 0)
                r = child_new(f, name, ret);
        if (r < 0)
                return r;
        (*ret)->restarted = nursery_restarts(n) &&
                            !streq(json_get_string(*ret_params, "restart", "permanent"), "temporary");
        list_append(&f->children, &(*ret)->node);
        return 0;
}

int child_start(Nursery *n, const char *name, const char *entry, const tractor_actor_options *o, bool judged,
                Child **ret_child, tractor_portal **ret)
{
        _cleanup_close_ int exe = -EBADF;
        _cleanup_json_ Json *params = NULL;
        Child *c;
        int r;

        error_clear();
        r = nursery_check_name(name) ?: nursery_may_start(n);
        if (r < 0)
                return r;
        /* It counts from here on: the nursery's owner may be another task, which must not leave it meanwhile. */
        nursery_child_began(n);
        r = child_prepare(n, name, entry, o, ret != NULL, &c, &params, &exe);
        if (r < 0) {
                nursery_child_ended(n, NULL);
                return r;
        }
        r = spawn_watched(c, TAKE_PTR(params), TAKE_FD(exe), ret);
        /* What could not be handed over nobody judges: it is a child like others until it has ended. */
        c->judged = judged && r >= 0;
        if (c->judged)
                *ret_child = c;
        else if (!c->runs) {
                _cleanup_json_ Json *end = TAKE_PTR(c->end);
                Tree *t = c->family->tree;

                child_free(c);
                /* Of one by the same name, whose start came right behind this failure. */
                if (end)
                        children_exited(t, end);
                nursery_child_ended(n, NULL);
        } else if (c->ended)
                child_judge(c); /* before its owner had the answer: that is an end like any other */
        return r;
}

_public_ const char *tractor_nursery_path(tractor_nursery *n)
{
        const Family *f = n->actors;

        return f && f->opened ? f->path : NULL;
}
