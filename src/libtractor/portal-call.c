/* SPDX-License-Identifier: Apache-2.0 */
/* Asking and telling. */
#include <errno.h>

#include "base/error.h"
#include "base/io.h"
#include "libtractor/error-private.h"
#include "libtractor/options.h"
#include "libtractor/tree.h"
#include "libtractor/scope.h"

/* --- how it ended --- */

void answer_take(Answer *a, tractor_portal *p, Json *result, Json *error)
{
        a->portal = p;
        a->over = true;
        a->of_end = p->telling;
        a->result = result ? json_ref(result) : NULL;
        a->error = error ? json_ref(error) : NULL;
}

void answer_done(Answer *a)
{
        a->result = json_unref(a->result);
        a->error = json_unref(a->error);
}

static int code_of(const Answer *a)
{
        return (int) json_get_integer(a->error, "code", ERROR_INTERNAL);
}

static int fail_died(tractor_portal *p)
{
        Json *data = NULL;
        char text[256] = "has died";

        if (json_pack(&data, "{actor:s?, exit:O, backtrace:O?}", p->path, p->exit, p->backtrace) < 0)
                return error_raise(NULL);
        if (p->exit)
                error_describe_end(p->exit, p->crash, text, sizeof(text));
        return error_fail(ERROR_ACTOR_DIED, NULL, data, "%s %s", p->path ?: "the peer", text);
}

static int fail_lost(tractor_portal *p)
{
        Json *data = NULL;

        /* Then it is not this peer's affair: all actors go. */
        if (p->runtime->tree && p->runtime->tree->lost)
                return error_fail(ERROR_CONNECTION_LOST, NULL, NULL, "%s", tree_loss(p->runtime->tree));
        if (json_pack(&data, "{actor:s?}", p->path) < 0)
                return error_raise(NULL);
        return error_fail(ERROR_CONNECTION_LOST, NULL, data, "the connection to %s was lost",
                        p->path ?: "the peer");
}

/* Whether the peer itself said this: not when there was no peer any more, or it had not begun. */
static bool is_peers_own(const Answer *a)
{
        int code = code_of(a);

        return !a->of_end && code != ERROR_CONNECTION_LOST && code != ERROR_CANCELLED &&
               code != ERROR_ACTOR_STOPPED;
}

int answer_give(Answer *a, bool cancelled, Json **ret)
{
        if (!a->error) {
                if (ret)
                        *ret = TAKE_PTR(a->result);
                return 0;
        }
        if (cancelled && !is_peers_own(a))
                return -ECANCELED;
        if (a->of_end)
                return fail_died(a->portal);
        if (code_of(a) == ERROR_CONNECTION_LOST && !json_get(json_get(a->error, "data"), "actor"))
                return a->portal->exited ? fail_died(a->portal) : fail_lost(a->portal);
        return error_raise(error_from_json(a->error));
}

/* The end of a connection is usually told a moment before that of its peer. */
static void await_word(tractor_portal *p)
{
        uint64_t until =
                        usec_add(p->lost_at ?: now_usec(CLOCK_MONOTONIC), SESSION_LINGER_MS * USEC_PER_MSEC);

        while (p->exit_told && !p->exited)
                if (task_park(&p->waiters, "word about the peer's end", until) < 0)
                        return;
}

static int fail_now(tractor_portal *p, int r)
{
        switch (r) {
        case -EPIPE:
        case -ENOENT:
        case -ECONNRESET:
                return p->exited ? fail_died(p) : fail_lost(p);
        case -EMSGSIZE:
                return error_fail(ERROR_LIMIT_EXCEEDED, NULL, NULL, "the message is longer than %s takes",
                                p->path ?: "the peer");
        case -EBADMSG:
                return error_fail(ERROR_INVALID_PARAMS, NULL, NULL, SESSION_UNFIT);
        case -EOPNOTSUPP:
                return error_fail(ERROR_UNSUPPORTED, NULL, NULL,
                                "%s has said no hello: it takes calls, and nothing else",
                                p->path ?: "the peer");
        default:
                return r;
        }
}

int portal_fail(tractor_portal *p, int r)
{
        if (r == -EPIPE || r == -ENOENT || r == -ECONNRESET)
                await_word(p);
        return fail_now(p, r);
}

/* --- calls --- */

typedef struct Ask {
        Answer answer;
        Task *task;
        tractor_portal *portal;
        int *fds; /* of who asks; NULL: none are wanted */
        size_t n_fds;
} Ask;

static void on_reply(Json *result, Json *error, int *fds, size_t n_fds, void *userdata)
{
        Ask *a = userdata;

        answer_take(&a->answer, a->portal, result, error);
        a->n_fds = MIN(a->n_fds, n_fds);
        for (size_t i = 0; i < a->n_fds; i++)
                a->fds[i] = TAKE_FD(fds[i]);
        task_wake(a->task, 0);
}

static const ReplyVtable replies = { .on_reply = on_reply };

const char *task_cancel_reason(void)
{
        Task *t = task_current();
        Scope *s = t ? scope_cancelling(t->scope) : NULL;

        return s ? s->reason : NULL;
}

int64_t portal_deadline_ms(uint64_t usec)
{
        if (usec == 0 || usec == TRACTOR_FOREVER)
                return 0;
        return (int64_t) MIN(usec / USEC_PER_MSEC + (usec % USEC_PER_MSEC > 0), (uint64_t) INT64_MAX);
}

int portal_check_args(const Json *args)
{
        JsonType t = json_type(args);

        if (!args || t == JSON_OBJECT || t == JSON_ARRAY)
                return 0;
        return error_fail(ERROR_INVALID_PARAMS, NULL, NULL, "arguments are an object or an array, not %s",
                        json_type_name(t));
}

int portal_await_room(tractor_portal *p)
{
        int r = 0;

        while (r >= 0 && p->session && !session_has_room(p->session))
                r = task_park(&p->waiters, "room for a request", USEC_INFINITY);
        return r;
}

/* Descriptors can't be kept back. */
static int await_hello(tractor_portal *p)
{
        int r = 0;

        while (r >= 0 && p->session && !session_said_hello(p->session))
                r = task_park(&p->waiters, "the peer's hello", USEC_INFINITY);
        return r;
}

/* Its cancellation goes over there, and what comes of it is awaited: the session sees to it that something does. Between a
 * cancellation and its being seen here the peer may have heard of it on another way, and have answered. */
static int await_answer(Ask *a, int64_t id, Json **ret)
{
        bool cancelled = task_park(NULL, "answer", USEC_INFINITY) == -ECANCELED;

        if (!a->answer.over && a->portal->session)
                (void) session_cancel(a->portal->session, id, task_cancel_reason());
        while (!a->answer.over)
                (void) task_park_shielded(NULL, "answer after a cancel", USEC_INFINITY);
        return answer_give(&a->answer, cancelled, ret);
}

static int ask(Ask *a, const char *method, Json *args, CallOptions *o, Json **ret)
{
        tractor_portal *p = a->portal;
        Session *s = portal_peer(p);
        int64_t id;
        int r;

        id = s ? session_call(s, method, args, o, &replies, a) : -EPIPE;
        if (!s) {
                json_unref(args);
                close_many(o->fds, o->n_fds);
        }
        if (id < 0)
                return portal_fail(p, (int) id);
        r = await_answer(a, id, ret);
        answer_done(&a->answer);
        return r;
}

/* With co's descriptors, consumed. */
static int call(tractor_portal *p, const char *method, Json *args, CallOptions *co, Json **ret, int *ret_fds,
                size_t *n_fds)
{
        Ask a = { .task = task_current(), .portal = p, .fds = ret_fds, .n_fds = n_fds ? *n_fds : 0 };
        int r = task_checkpoint();

        (void) tractor_portal_ref(p);
        error_clear();
        if (r >= 0)
                r = portal_check_args(args);
        if (r >= 0 && co->n_fds > 0)
                r = await_hello(p);
        if (r >= 0)
                r = portal_await_room(p);
        if (r >= 0)
                r = ask(&a, method, args, co, ret);
        else {
                json_unref(args);
                close_many(co->fds, co->n_fds);
        }
        if (r >= 0 && n_fds)
                *n_fds = a.n_fds;
        else
                close_many(a.fds, r < 0 && a.answer.over ? a.n_fds : 0);
        tractor_portal_unref(p);
        return r;
}

int portal_call_fds(tractor_portal *p, const char *method, Json *args, const tractor_call_options *options,
                int fd, Json **ret, int *ret_fds, size_t *n_fds)
{
        CallOptions co = { .fds = &fd, .n_fds = fd >= 0 };
        tractor_call_options o;
        int r = OPTIONS_TAKE(&o, options, tractor_call_options, key);

        if (r < 0) {
                json_unref(args);
                safe_close(fd);
                return r;
        }
        co.deadline_ms = portal_deadline_ms(o.deadline_usec);
        co.key = o.key;
        return call(p, method, args, &co, ret, ret_fds, n_fds);
}

int portal_call_if(tractor_portal *p, const char *method, Json *args, const char *id, Json **ret,
                int *ret_fds, size_t *n_fds)
{
        CallOptions co = { .if_id = id };

        return call(p, method, args, &co, ret, ret_fds, n_fds);
}

_public_ int tractor_portal_call_with(tractor_portal *p, const char *method, struct json_object *args,
                const tractor_call_options *o, struct json_object **ret)
{
        return portal_call_fds(p, method, args, o, -EBADF, ret, NULL, NULL);
}

_public_ int tractor_portal_call(
                tractor_portal *p, const char *method, struct json_object *args, struct json_object **ret)
{
        return portal_call_fds(p, method, args, NULL, -EBADF, ret, NULL, NULL);
}

_public_ int tractor_portal_methods(tractor_portal *p, struct json_object **ret)
{
        return tractor_portal_call(p, "$/methods", NULL, ret);
}

/* --- tells --- */

/* args is borrowed. */
static int tell(tractor_portal *p, const char *method, Json *args)
{
        Session *s = portal_peer(p);

        return s ? session_notify(s, method, args ? json_ref(args) : NULL) : -EPIPE;
}

/* Who waits goes first; who has been served calls the next one. */
static int tell_waiting(tractor_portal *p, const char *method, Json *args)
{
        int r = wait_queue_is_empty(&p->tellers) ? tell(p, method, args) : -EAGAIN;

        while (r == -EAGAIN) {
                r = task_park(&p->tellers, "room for a tell", USEC_INFINITY);
                if (r >= 0)
                        r = tell(p, method, args);
        }
        (void) wait_queue_wake(&p->tellers, 0);
        return r;
}

_public_ int tractor_portal_tell(tractor_portal *p, const char *method, struct json_object *args)
{
        _cleanup_json_ Json *given = args;
        int r = task_checkpoint();

        if (r < 0)
                return r;
        (void) tractor_portal_ref(p);
        error_clear();
        r = portal_check_args(given);
        if (r >= 0)
                r = tell_waiting(p, method, given);
        if (r < 0)
                r = portal_fail(p, r);
        tractor_portal_unref(p);
        return r;
}

_public_ int tractor_portal_try_tell(tractor_portal *p, const char *method, struct json_object *args)
{
        _cleanup_json_ Json *given = args;

        int r = task_current() ? -EAGAIN : task_missing();

        error_clear();
        if (r == -EAGAIN)
                r = portal_check_args(given) ?: -EAGAIN;
        if (r == -EAGAIN && wait_queue_is_empty(&p->tellers))
                r = tell(p, method, given);
        return r < 0 ? fail_now(p, r) : 0;
}
