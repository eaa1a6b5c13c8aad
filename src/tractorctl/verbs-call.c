/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/error.h"
#include "tractorctl/describe.h"
#include "tractorctl/link.h"
#include "tractorctl/remote.h"
#include "tractorctl/tasks-view.h"

typedef struct Answer {
        bool done;
        Json *result, *error;
} Answer;

static void answer_done(Answer *a)
{
        a->result = json_unref(a->result);
        a->error = json_unref(a->error);
}

static void on_reply(Json *result, Json *error, int *fds, size_t n_fds, void *userdata)
{
        Answer *a = userdata;

        a->done = true;
        a->result = result ? json_ref(result) : NULL;
        a->error = error ? json_ref(error) : NULL;
}

int call_params(Context *c, Json **ret)
{
        const char *text = c->o->n_args > 2 ? c->o->args[2] : NULL;
        _cleanup_json_ Json *v = NULL;
        JsonError e;
        int r;

        *ret = NULL;
        if (!text)
                return 0;
        r = json_parse(text, strlen(text), NULL, &v, &e);
        if (r == -EBADMSG)
                return fail(c, CTL_USAGE, "'%s' is not JSON: %s at byte %zu; see 'tractorctl help'", text,
                                e.message, e.offset);
        if (r < 0)
                return fail_errno(c, r);
        if (json_type(v) != JSON_OBJECT && json_type(v) != JSON_ARRAY)
                return fail(c, CTL_USAGE,
                                "parameters are an object or an array, not %s; give them as "
                                "'{\"name\": value}' or '[value]'",
                                json_type_name(json_type(v)));
        *ret = TAKE_PTR(v);
        return 0;
}

int fail_actor(Context *c, const char *method, const Json *error)
{
        const char *path = c->o->args[0];
        _cleanup_free_ char *subject = xasprintf("%s: %s", path, method);
        _cleanup_free_ char *exit = describe_exit(json_get(json_get(error, "data"), "exit"));

        switch (json_get_integer(error, "code", 0)) {
        case ERROR_METHOD_NOT_FOUND:
                if (streq(method, "$/tasks"))
                        return fail(c, CTL_FAILED,
                                        "%s has no tasks to show: it is not built on libtractor; see "
                                        "'tractorctl status %s'",
                                        path, path);
                if (streq(method, "$/methods"))
                        return fail(c, CTL_FAILED,
                                        "%s does not tell what it serves; see 'tractorctl status %s'", path,
                                        path);
                return fail(c, CTL_FAILED,
                                "%s: no such method: %s; see what there is with 'tractorctl call %s "
                                "\\$/methods'",
                                path, method, path);
        case ERROR_ACTOR_DIED:
                return fail(c, CTL_FAILED,
                                "%s: the actor has died: %s (ActorDied); see 'tractorctl status %s'",
                                strna(subject), exit && *exit ? exit : "nobody knows how", path);
        case ERROR_INVALID_PARAMS:
                return fail(c, CTL_FAILED, "%s: %s (InvalidParams); check the JSON", strna(subject),
                                json_get_string(error, "message", "wrong parameters"));
        case ERROR_CONNECTION_LOST:
                return fail(c, CTL_FAILED,
                                "%s: it closed the connection before it answered; see 'tractorctl status "
                                "%s'",
                                strna(subject), path);
        default:
                return fail_error(c, path, error);
        }
}

/* It may have come with the signal; then the actor can be told of that. */
static bool has_said_hello(Context *c, Link *l, const bool *done)
{
        while (!*done && !session_said_hello(link_session(l)))
                if (sd_event_run(c->event, 0) <= 0)
                        return false;
        return true;
}

/* Told to stop by a signal, an actor has SESSION_GRACE_MS for it; one that knows no cancel is not waited for. */
int await_end(Context *c, Link *l, int64_t id, const bool *done)
{
        unsigned told = 0;

        while (!*done) {
                int r;

                if (c->interrupts > told) {
                        if (told > 0 || !has_said_hello(c, l, done) ||
                                        session_cancel(link_session(l), id, "interrupted") < 0)
                                return -ECANCELED;
                        told = c->interrupts;
                        continue;
                }
                r = sd_event_run(c->event, UINT64_MAX);
                if (r < 0)
                        return r;
        }
        return c->interrupts > 0 ? -ECANCELED : 0;
}

static void print_result(Context *c, Json *v)
{
        _cleanup_free_ char *clean = NULL;
        const char *text = v ? json_print(v, NULL) : "null";

        if (v && print_json(c, v))
                return;
        clean = c->style.terminal && text ? text_clean(text) : NULL;
        puts(strna(clean ?: text));
}

/* 0 with *ret (NULL: null), or an exit code with the line printed. Consumes `l` and `params`. */
static int call_actor(Context *c, Link *l, const char *method, Json *params, Json **ret)
{
        static const ReplyVtable replies = { .on_reply = on_reply };
        _cleanup_(answer_done) Answer a = { 0 };
        int64_t id = session_call(link_session(l), method, params, NULL, &replies, &a);
        int r = id < 0 ? link_fail(l, method, (int) id) : await_end(c, l, id, &a.done);

        l = link_free(l); /* before the answer goes */
        if (id < 0)
                return r;
        if (r < 0)
                return fail_errno(c, r);
        if (a.error)
                return fail_actor(c, method, a.error);
        *ret = TAKE_PTR(a.result);
        return CTL_DONE;
}

int verb_call(Context *c)
{
        _cleanup_json_ Json *result = NULL;
        Json *params = NULL;
        Link *l = NULL;
        int r = call_params(c, &params);

        if (r == 0)
                r = context_watch_signals(c);
        if (r == 0)
                r = link_open(c, c->o->args[0], true, &l);
        if (r != 0) {
                json_unref(params);
                return r;
        }
        r = call_actor(c, l, c->o->args[1], params, &result);
        if (r == 0)
                print_result(c, result);
        return r;
}

int verb_tasks(Context *c)
{
        _cleanup_json_ Json *tasks = NULL;
        Link *l = NULL;
        Table t;
        int r = context_watch_signals(c);

        if (r == 0)
                r = link_open(c, c->o->args[0], true, &l);
        if (r == 0)
                r = call_actor(c, l, "$/tasks", NULL, &tasks);
        if (r != 0)
                return r;
        if (json_type(tasks) != JSON_ARRAY)
                return fail(c, CTL_FAILED,
                                "%s answered with %s instead of its tasks; see 'tractorctl call %s "
                                "\\$/tasks'",
                                c->o->args[0], json_type_name(json_type(tasks)), c->o->args[0]);
        if (print_json(c, tasks))
                return CTL_DONE;
        r = tasks_view(tasks, &c->style, &t);
        return print_table(c, &t, r);
}

int verb_tell(Context *c)
{
        _cleanup_(link_freep) Link *l = NULL;
        Json *params = NULL;
        int r = call_params(c, &params);

        if (r == 0)
                r = context_watch_signals(c);
        if (r == 0)
                r = link_open(c, c->o->args[0], false, &l);
        if (r != 0) {
                json_unref(params);
                return r;
        }
        r = session_notify(link_session(l), c->o->args[1], params);
        if (r < 0)
                return link_fail(l, c->o->args[1], r);
        r = link_finish(l);
        return r != 0 ? r : remote_finish(c);
}
