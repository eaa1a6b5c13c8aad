/* SPDX-License-Identifier: Apache-2.0 */
/* What an actor is started as, and what users start: daemons and one-shots. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/io.h"
#include "libtractor/actor.h"
#include "libtractor/child-private.h"
#include "libtractor/error-private.h"
#include "libtractor/options.h"

static int array_of(const char *const *strings, Json **ret)
{
        _cleanup_json_ Json *array = NULL;

        if (!strings)
                return 0;
        if (json_pack(&array, "[]") < 0)
                return -ENOMEM;
        for (; *strings; strings++)
                if (json_append(array, json_new_string(*strings, SIZE_MAX)) < 0)
                        return -ENOMEM;
        *ret = TAKE_PTR(array);
        return 0;
}

/* A value, unless the user's own keys have it. */
static int set_default(Json *params, const char *key, Json *value)
{
        if (!value)
                return -ENOMEM;
        if (json_has(params, key)) {
                json_unref(value);
                return 0;
        }
        return json_set(params, key, value);
}

static int set_default_string(Json *params, const char *key, const char *value)
{
        return set_default(params, key, json_new_string(value, SIZE_MAX));
}

static int add_options(Json *params, const tractor_actor_options *o)
{
        _cleanup_json_ Json *exec = NULL, *expose = NULL;

        if (array_of(o->exec, &exec) < 0 || array_of(o->expose, &expose) < 0)
                return -ENOMEM;
        if (merge_keys(params, o->keys) < 0)
                return -ENOMEM;
        if (exec && json_set(params, "exec", TAKE_PTR(exec)) < 0)
                return -ENOMEM;
        if (expose && json_set(params, "expose", TAKE_PTR(expose)) < 0)
                return -ENOMEM;
        if (o->limits && json_set(params, "limits", json_ref(o->limits)) < 0)
                return -ENOMEM;
        if (o->restart && json_set(params, "restart", json_new_string(o->restart, SIZE_MAX)) < 0)
                return -ENOMEM;
        /* Also where there are none: it is they that have it run by itself, and not wait for a call. */
        if (o->entry && json_set(params, "args", o->args ? json_ref(o->args) : NULL) < 0)
                return -ENOMEM;
        return 0;
}

/* Of this binary: by descriptor, so that it is the one that runs here whatever lies at its path by now. */
static int add_entry(Json *params, const char *entry, int *ret_exe)
{
        _cleanup_close_ int exe = open("/proc/self/exe", O_PATH | O_CLOEXEC);

        if (exe < 0)
                return -errno;
        if (json_set(params, "entry", json_new_string(entry, SIZE_MAX)) < 0 ||
                        set_default_string(params, "channel", "fd") < 0 ||
                        set_default_string(params, "ready", "channel") < 0)
                return -ENOMEM;
        *ret_exe = TAKE_FD(exe);
        return 0;
}

static int add_surroundings(Json *params, const Family *f, const tractor_actor_options *o)
{
        _cleanup_free_ char *cwd = getcwd(NULL, 0);
        Json *grace = NULL;

        if (cwd && set_default_string(params, "cwd", cwd) < 0)
                return -ENOMEM;
        /* Restarts are for strategies that restart; elsewhere the other half only keeps what ended. */
        if (nursery_restarts(f->nursery) && set_default_string(params, "restart", "temporary") < 0)
                return -ENOMEM;
        if (o->limits_optional &&
                        (json_pack(&grace, "b", 1) < 0 || json_set(params, "limits_optional", grace) < 0))
                return -ENOMEM;
        if (o->grace_usec && (json_pack(&grace, "I", (int64_t) (o->grace_usec / USEC_PER_MSEC)) < 0 ||
                                             json_set(params, "grace_ms", grace) < 0))
                return -ENOMEM;
        /* A private supervisor's actors speak where their root does; on stdio stdout has its own use. */
        if (!f->tree->is_private)
                return 0;
        if (!streq(json_get_string(params, "channel", "none"), "stdio") &&
                        set_default_string(params, "stdout", "inherit") < 0)
                return -ENOMEM;
        return set_default_string(params, "stderr", "inherit");
}

static bool has_channel(Json *params)
{
        const char *channel = json_get_string(params, "channel", "none");

        return !streq(channel, "none");
}

int child_describe(const Family *f, const char *name, const char *entry, const tractor_actor_options *o,
                bool portal, Json **ret, int *ret_exe)
{
        _cleanup_close_ int exe = -EBADF;
        _cleanup_json_ Json *params = NULL;
        Json *want = NULL;
        int r;

        if (json_pack(&params, "{parent:s, name:s}", f->path, name) < 0)
                return -ENOMEM;
        r = add_options(params, o);
        if (r >= 0 && entry)
                r = add_entry(params, entry, &exe);
        if (r >= 0)
                r = add_surroundings(params, f, o);
        if (r >= 0 && portal && !has_channel(params))
                r = error_fail(ERROR_INVALID_PARAMS, NULL, NULL,
                                "%s/%s: a program without \"channel\" has no portal: ask for none", f->path,
                                name);
        if (r >= 0 && portal)
                r = json_pack(&want, "[s]", "portal") < 0 ? -ENOMEM : json_set(params, "want", want);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(params);
        *ret_exe = TAKE_FD(exe);
        return 0;
}

int child_take_options(tractor_actor_options *ret, const tractor_actor_options *o)
{
        return OPTIONS_TAKE(ret, o, tractor_actor_options, keys);
}

_public_ int tractor_start_actor(tractor_nursery *n, const char *name, const tractor_actor_options *options,
                tractor_portal **ret)
{
        tractor_actor_options o;
        int r = child_take_options(&o, options);

        return r < 0 ? r
                     : child_start(n, name, o.exec ? NULL : o.entry ?: ACTOR_SERVES, &o, false, NULL, ret);
}

/* --- one-shots --- */
struct tractor_future {
        unsigned n_ref;
        bool done;
        unsigned n_waiting;
        int r;
        Json *result;
        tractor_error *error;
        WaitQueue waiting;
};

_public_ tractor_future *tractor_future_unref(tractor_future *f)
{
        if (!f || --f->n_ref > 0)
                return NULL;
        json_unref(f->result);
        tractor_error_unref(f->error);
        free(f);
        return NULL;
}

_public_ bool tractor_future_is_done(const tractor_future *f)
{
        return f->done;
}

static int future_get(tractor_future *f, Json **ret)
{
        /* Its task was cancelled, not the one who asks. */
        if (f->r == -ECANCELED)
                return error_fail(ERROR_CANCELLED, NULL, NULL, "the actor was cancelled");
        if (f->error)
                return error_raise(tractor_error_ref(f->error));
        if (f->r >= 0 && ret)
                *ret = f->result ? json_ref(f->result) : NULL;
        return f->r;
}

_public_ int tractor_future_wait(tractor_future *f, struct json_object **ret)
{
        int r = task_checkpoint();

        /* Whoever it belongs to may give it back meanwhile. */
        f->n_ref++;
        while (r >= 0 && !f->done) {
                f->n_waiting++;
                r = task_park(&f->waiting, "result", USEC_INFINITY);
                f->n_waiting--;
        }
        if (r >= 0)
                r = future_get(f, ret);
        tractor_future_unref(f);
        return r;
}

/* Whether somebody has it: then a failure is theirs. */
static bool future_set(tractor_future *f, int r, Json *result, const tractor_error *e)
{
        bool awaited = f->n_waiting > 0;

        f->done = true;
        f->r = r;
        f->result = result ? json_ref(result) : NULL;
        f->error = tractor_error_ref(e);
        wait_queue_wake_all(&f->waiting, 0);
        return awaited;
}

typedef struct OneShot {
        Nursery *nursery; /* weak */
        char *name, *method;
        Json *args, *keys, *limits;
        char **exec, **expose;
        tractor_actor_options options;
        tractor_future *future;
} OneShot;

static void one_shot_free(void *p)
{
        OneShot *s = p;

        if (!s)
                return;
        free(s->name);
        free(s->method);
        json_unref(s->args);
        json_unref(s->keys);
        json_unref(s->limits);
        strv_free(s->exec);
        strv_free(s->expose);
        tractor_future_unref(s->future);
        free(s);
}

/* Waits for the process to end; a task that is cancelled has it cancelled, and waits all the same. */
static int await_end(Child *c)
{
        int r = 0;

        while (!c->ended && r >= 0)
                r = task_park(&c->waiting, "actor's end", USEC_INFINITY);
        if (!c->ended)
                child_cancel(c, "the one who waits for it was cancelled");
        while (!c->ended)
                (void) task_park_shielded(&c->waiting, "actor's end", USEC_INFINITY);
        return r;
}

/* What a program of any kind has come to. */
static int outcome_of(Child *c, Json **ret)
{
        Json *result;

        if (c->error)
                return error_raise(tractor_error_ref(c->error));
        result = json_get(c->end, "result");
        *ret = result ? json_ref(result) : NULL;
        return 0;
}

static int ask_and_wait(OneShot *s, Child *c, tractor_portal *p, Json **ret)
{
        bool awaited = false;
        int r = 0, end;

        if (p) {
                r = tractor_portal_call(p, s->method, TAKE_PTR(s->args), ret);
                if (r != -ECANCELED)
                        awaited = future_set(s->future, r, *ret, r < 0 ? tractor_last_error() : NULL);
                if (r < 0)
                        child_cancel(c, "its call failed");
        }
        end = await_end(c);
        if (p && r < 0 && r != -ECANCELED && awaited)
                return 0;
        return r < 0 ? r : end < 0 && !p ? end : 0;
}

static int one_shot(void *userdata)
{
        OneShot *s = userdata;
        tractor_portal *p = NULL;
        Json *result = NULL;
        Child *c;
        int r = child_start(s->nursery, s->name, s->method, &s->options, true, &c, s->method ? &p : NULL);

        if (r >= 0) {
                r = ask_and_wait(s, c, p, &result);
                if (r >= 0 && !s->method)
                        r = outcome_of(c, &result);
                list_unlink(&c->node);
                child_free(c);
                nursery_child_ended(s->nursery, NULL);
        }
        tractor_portal_unref(p);
        if (!s->future->done && future_set(s->future, r, result, r < 0 ? tractor_last_error() : NULL) &&
                        r != -ECANCELED)
                r = MAX(r, 0);
        json_unref(result);
        return r;
}

static int copy_options(OneShot *s, const tractor_actor_options *o)
{
        s->options = *o;
        if ((o->exec && strv_copy((char *const *) o->exec, &s->exec) < 0) ||
                        (o->expose && strv_copy((char *const *) o->expose, &s->expose) < 0))
                return -ENOMEM;
        s->keys = o->keys ? json_ref(o->keys) : NULL;
        s->limits = o->limits ? json_ref(o->limits) : NULL;
        s->options.exec = (const char *const *) s->exec;
        s->options.expose = (const char *const *) s->expose;
        s->options.entry = NULL;
        s->options.args = NULL;
        return 0;
}

static int one_shot_new(Nursery *n, const char *name, const char *method, Json *args,
                const tractor_actor_options *o, OneShot **ret)
{
        OneShot *s = calloc(1, sizeof(*s));

        if (!s) {
                json_unref(args);
                return -ENOMEM;
        }
        s->args = args;
        s->nursery = n;
        s->name = strdup(name);
        s->method = method ? strdup(method) : NULL;
        s->future = calloc(1, sizeof(*s->future));
        if (s->future) {
                s->future->n_ref = 1;
                wait_queue_init(&s->future->waiting);
        }
        if (!s->name || (method && !s->method) || !s->future || copy_options(s, o) < 0) {
                one_shot_free(s);
                return -ENOMEM;
        }
        *ret = s;
        return 0;
}

_public_ int tractor_run_actor(tractor_nursery *n, const char *name, const char *method,
                struct json_object *args, const tractor_actor_options *options, tractor_future **ret)
{
        tractor_actor_options o;
        tractor_future *f;
        OneShot *s;
        int r = child_take_options(&o, options) ?: nursery_check_name(name);

        if (r >= 0 && !!method == !!o.exec)
                r = error_fail(ERROR_INVALID_PARAMS, NULL, NULL, "%s: either a method or a program", name);
        if (r < 0) {
                json_unref(args);
                return r;
        }
        r = one_shot_new(n, name, method, args, &o, &s);
        if (r < 0)
                return r;
        f = s->future;
        f->n_ref++;
        r = tractor_start_task(n, name, one_shot, s, one_shot_free);
        if (r < 0 || !ret)
                tractor_future_unref(f);
        if (r >= 0 && ret)
                *ret = f;
        return r;
}
