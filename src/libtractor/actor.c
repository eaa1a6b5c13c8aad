/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "libtractor/actor.h"
#include "libtractor/error-private.h"
#include "libtractor/nursery.h"
#include "libtractor/serve.h"
#include "libtractor/tree.h"

int actor_detect(Runtime *rt)
{
        const char *text = secure_getenv("TRACTOR_CHANNEL_FD");
        char *end;
        long fd;
        int r;

        if (!text)
                return 0;
        errno = 0;
        fd = strtol(text, &end, 10);
        if (errno || *end || end == text || fd < 3 || fd > INT32_MAX)
                return -EINVAL;
        r = tree_new_actor(rt, (int) fd, &rt->tree);
        if (r < 0)
                return r;
        /* A program that we start by ourselves is no actor. */
        (void) unsetenv("TRACTOR_CHANNEL_FD");
        return 1;
}

static int split(const char *text, char ***ret)
{
        _cleanup_free_ char *copy = text ? strdup(text) : NULL;
        char *save, **list = NULL;

        if (!text)
                return 0;
        if (!copy)
                return -ENOMEM;
        for (char *name = strtok_r(copy, ",", &save); name; name = strtok_r(NULL, ",", &save))
                if (strv_append(&list, name) < 0) {
                        strv_free(list);
                        return -ENOMEM;
                }
        /* None at all is a list, too. */
        if (!list && !(list = calloc(1, sizeof(*list))))
                return -ENOMEM;
        *ret = list;
        return 0;
}

static const tractor_method *find_method(const Runtime *rt, const char *name)
{
        for (const tractor_method *m = rt->options.methods; m && m->name; m++)
                if (streq(m->name, name))
                        return m;
        return NULL;
}

/* --- what it was started for --- */
typedef struct Answered {
        Task *task; /* weak */
        bool done;
        int r;
} Answered;

static void on_answered(int r, void *userdata)
{
        Answered *a = userdata;

        a->done = true;
        a->r = r;
        task_wake(a->task, 0);
}

static int answer_once(Server *s, const char *entry)
{
        Answered a = { .task = task_current() };
        int r = 0;

        server_watch(s, entry, on_answered, &a);
        while (!a.done && r >= 0)
                r = task_park(NULL, "the one call", USEC_INFINITY);
        server_watch(s, NULL, NULL, NULL);
        runtime->told = a.done;
        return a.done ? a.r : r;
}

static int tell_result(Tree *t, int r, Json *result)
{
        _cleanup_json_ Json *error = NULL;
        Json *params = NULL;
        tractor_error *e;

        if (r >= 0) {
                if (json_pack(&params, "{value:O}", result) < 0)
                        return -ENOMEM;
                return portal_notify(t->control, "$/result", params);
        }
        e = error_of_result((tractor_error *) tractor_last_error(), r, NULL);
        r = error_to_json(e, t->path, &error);
        tractor_error_unref(e);
        return r < 0 ? r : portal_notify(t->control, "$/error", TAKE_PTR(error));
}

static int fail_no_entry(const Tree *t, const char *entry)
{
        Json *data = NULL;

        if (json_pack(&data, "{actor:s}", t->path) < 0)
                return error_raise(NULL);
        return error_fail(ERROR_METHOD_NOT_FOUND, NULL, data, "this program has no method '%s'", entry);
}

static int run_entry(Runtime *rt, const char *entry, const char *text)
{
        _cleanup_json_ Json *args = NULL, *result = NULL;
        const tractor_method *m = find_method(rt, entry);
        int r, told;

        error_clear();
        r = m ? json_parse(text, strlen(text), NULL, &args, NULL) : fail_no_entry(rt->tree, entry);
        if (r >= 0)
                r = context_run_here(m, args, &result);
        if (r == -ECANCELED)
                return r;
        told = tell_result(rt->tree, r, result);
        rt->told = told >= 0;
        return r < 0 ? r : told;
}

static int run(Runtime *rt, Server *s)
{
        const char *entry = secure_getenv("TRACTOR_ENTRY"), *args = secure_getenv("TRACTOR_ARGS");

        if (!entry && rt->main)
                return rt->main(rt->main_userdata);
        if (!entry || streq(entry, ACTOR_SERVES))
                return tractor_sleep_forever();
        return args ? run_entry(rt, entry, args) : answer_once(s, entry);
}

/* --- from its first to its last word --- */
static int start_up(Runtime *rt)
{
        int r = rt->options.on_start ? rt->options.on_start(rt->options.userdata) : 0;

        return r < 0 ? r : portal_notify(rt->tree->control, "$/ready", NULL);
}

static int serve(Runtime *rt, Nursery **services)
{
        _cleanup_(strv_freep) char **expose = NULL;
        Server *s;
        int r = split(secure_getenv("TRACTOR_EXPOSE"), &expose);

        if (r >= 0)
                r = server_new(*services, rt->options.methods, expose, &s);
        if (r < 0)
                return tractor_nursery_close(services, r);
        rt->tree->server = s;
        server_hold(s, true);
        r = start_up(rt);
        server_hold(s, r < 0);
        if (r >= 0)
                r = run(rt, s);
        server_stop(s, tractor_cancel_reason());
        scope_cancel((*services)->scope, tractor_cancel_reason(), tractor_scope_canceller(rt->main_scope));
        r = tractor_nursery_close(services, r);
        (void) server_flush(s);
        rt->tree->server = NULL;
        server_free(s);
        return r;
}

int actor_main(void *userdata)
{
        Runtime *rt = userdata;
        tractor_nursery_options o = { .size = sizeof(o), .strategy = "one_cancels_one" };
        Nursery *services;
        int r;

        (void) tractor_set_title("%s", strna(rt->tree->path));
        r = tractor_nursery_open(&o, &services);
        if (r < 0)
                return r;
        /* Handlers answer for themselves: the nursery only has to wait for them. */
        r = serve(rt, &services);
        if (rt->options.on_stop)
                rt->options.on_stop(rt->options.userdata);
        return r;
}

_public_ int tractor_become(const tractor_method *methods)
{
        if (!runtime || !runtime->tree || !runtime->tree->server)
                return task_missing();
        server_become(runtime->tree->server, methods);
        return 0;
}
