/* SPDX-License-Identifier: Apache-2.0 */
/* The opener's end: opening, leaving. */
#include <errno.h>

#include "libtractor/context.h"
#include "libtractor/error-private.h"

static void on_reply(Json *result, Json *error, int *fds, size_t n_fds, void *userdata)
{
        tractor_context *c = userdata;

        answer_take(&c->answer, c->portal, result, error);
        context_end(c);
}

static void on_started(Json *value, void *userdata)
{
        tractor_context *c = userdata;

        c->started = true;
        c->first_value = value ? json_ref(value) : NULL;
        wait_queue_wake_all(&c->watchers, 0);
}

static const ReplyVtable replies = {
        .on_reply = on_reply, .on_started = on_started, .items = CONTEXT_ITEMS
};

static void context_free(tractor_context *c)
{
        if (context_close(c, context_free))
                return;
        context_done(c);
        answer_done(&c->answer);
        json_unref(c->first_value);
        tractor_portal_unref(c->portal);
        free(c);
}

static void cancel(tractor_context *c, const char *reason)
{
        if (c->answer.over)
                return;
        c->cancelled = true;
        if (c->portal->session)
                (void) session_cancel(c->portal->session, c->id, reason);
}

/* It has been cancelled: the session sees to it that it ends. */
static void await_end(tractor_context *c)
{
        while (!c->answer.over)
                (void) task_park_shielded(&c->watchers, "end after a cancel", USEC_INFINITY);
}

static int await_started(tractor_context *c)
{
        int r = 0, k;

        while (r >= 0 && !c->started && !c->answer.over)
                r = task_park(&c->watchers, "started", USEC_INFINITY);
        if (c->started || c->answer.over)
                return c->started ? 0 : answer_give(&c->answer, r == -ECANCELED, NULL);
        cancel(c, task_cancel_reason());
        await_end(c);
        k = answer_give(&c->answer, true, NULL);
        return k < 0 ? k : r;
}

static int ask(tractor_context *c, const char *method, Json *args, const tractor_context_options *o)
{
        CallOptions co = { .ctx = true, .items = context_item_options(o) };
        tractor_portal *p = c->portal;
        int64_t id;

        co.deadline_ms = portal_deadline_ms(o->deadline_usec);
        if (!portal_peer(p)) {
                json_unref(args);
                return portal_fail(p, -EPIPE);
        }
        id = session_call(p->session, method, args, &co, &replies, c);
        if (id < 0)
                return portal_fail(p, (int) id);
        c->id = id;
        return await_started(c);
}

static int context_new(tractor_portal *p, tractor_context **ret)
{
        tractor_context *c = calloc(1, sizeof(*c));

        if (!c)
                return -ENOMEM;
        context_init(c, true, true);
        c->portal = tractor_portal_ref(p);
        *ret = c;
        return 0;
}

_public_ int tractor_context_open(tractor_portal *p, const char *method, struct json_object *args,
                const tractor_context_options *options, tractor_context **ret,
                struct json_object **ret_started)
{
        _cleanup_json_ Json *given = args;
        tractor_context_options o;
        tractor_context *c = NULL;
        int r = context_take_options(&o, options);

        if (r >= 0)
                r = task_checkpoint();
        if (r >= 0)
                r = context_new(p, &c);
        if (r < 0)
                return r;
        error_clear();
        r = portal_check_args(given);
        if (r >= 0)
                r = portal_await_room(p);
        if (r >= 0)
                r = ask(c, method, TAKE_PTR(given), &o);
        if (r < 0) {
                context_free(c);
                return r;
        }
        if (ret_started)
                *ret_started = TAKE_PTR(c->first_value);
        *ret = c;
        return 0;
}

/* As one who receives, and has no use for what comes. */
_public_ int tractor_context_result(tractor_context *c, struct json_object **ret_result)
{
        int r = task_checkpoint();

        if (r < 0)
                return r;
        error_clear();
        if (!c->is_opener)
                return error_fail(ERROR_INVALID_REQUEST, NULL, NULL, "a result is awaited by the opener");
        for (;;) {
                context_drop_items(c);
                if (c->answer.over)
                        break;
                r = c->closed ? -EBADF : context_park(c, &c->readers, "result");
                if (r < 0)
                        return r;
        }
        if (c->answer.error)
                return answer_give(&c->answer, false, NULL);
        if (ret_result)
                *ret_result = c->answer.result ? json_ref(c->answer.result) : NULL;
        return 0;
}

_public_ void tractor_context_cancel(tractor_context *c, const char *reason)
{
        if (c->is_opener)
                cancel(c, reason);
}

/* What is under way to us is of no use any more, but its sender may wait for room; and from us nothing comes any more, for which it
 * may wait as well. */
static int await_result(tractor_context *c)
{
        int r = 0;

        c->leaving = true;
        while (r >= 0 && !c->answer.over) {
                context_drop_items(c);
                (void) context_stop(c);
                r = task_park(&c->watchers, "result", USEC_INFINITY);
        }
        /* Cancelled while it ended: a result is not lost by that, and an error may be what the same cancellation led to. */
        if (c->answer.over)
                return c->answer.error ? MIN(r, 0) : 0;
        cancel(c, task_cancel_reason());
        await_end(c);
        return r;
}

/* What the handler said counts, unless it only did as it was told. */
static int conclude(tractor_context *c, int r, Json **ret_result)
{
        _cleanup_json_ Json *result = NULL;
        int k = answer_give(&c->answer, c->cancelled || r == -ECANCELED, &result);

        if (k < 0 && k != -ECANCELED)
                return k;
        if (r >= 0 && ret_result)
                *ret_result = TAKE_PTR(result);
        return r;
}

_public_ int tractor_context_close(tractor_context **cp, int r, struct json_object **ret_result)
{
        tractor_context *c = TAKE_PTR(*cp);
        int k;

        if (!c)
                return r < 0 ? r : -ENOMEM;
        if (runtime_is_foreign())
                return -ECHILD;
        (void) context_close(c, NULL);
        if (r < 0) {
                cancel(c, task_cancel_reason() ?: "its opener left it");
                await_end(c);
        } else {
                k = await_result(c);
                /* A result that was made before the cancel is given. */
                if (k < 0 && c->answer.error)
                        r = k;
        }
        r = conclude(c, r, ret_result);
        context_free(c);
        return r;
}

_public_ void tractor_context_dropp(tractor_context **c)
{
        Task *t = task_current();
        tractor_error *last;

        if (!*c || !t)
                return;
        last = tractor_error_ref(t->error);
        (void) tractor_context_close(c, -ECANCELED, NULL);
        /* What the block failed of is what is told. */
        tractor_error_unref(t->error);
        t->error = last;
}
