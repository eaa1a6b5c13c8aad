/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/error.h"
#include "libtractor/error-private.h"
#include "libtractor/serve-private.h"
#include "libtractor/tree.h"

/* --- a request's task --- */

Served *served_new(Connection *c, const tractor_method *method, const Message *m)
{
        Served *v = calloc(1, sizeof(*v));

        if (!v)
                return NULL;
        /* A tell may say ctx as well, which means nothing in it. */
        context_init(&v->context, false, m->ctx && m->kind == MESSAGE_REQUEST);
        v->connection = c;
        c->n_ref++;
        v->context.served = v;
        v->method = method;
        v->args = m->params ? json_ref(m->params) : NULL;
        return v;
}

void connection_tell_done(Connection *c, bool counted)
{
        c->n_tells--;
        if (!c->session)
                return;
        if (counted)
                session_took_tells(c->session, 1);
        if (c->n_tells == TELLS_MAX - 1 && session_stream(c->session))
                stream_pause(session_stream(c->session), false);
}

static void release(tractor_context *c)
{
        served_free(c->served);
}

void served_free(Served *v)
{
        Connection *c = v->connection;

        /* It is not the handler that waits there, but a task that it has given its context to. */
        if (context_close(&v->context, release))
                return;
        if (v->is_tell)
                connection_tell_done(c, v->counted);
        context_done(&v->context);
        json_unref(v->args);
        json_unref(v->result);
        tractor_error_unref(v->error);
        connection_unref(c);
        free(v);
}

static int await_turn(const Served *v)
{
        const Connection *c = v->connection;
        int r = scope_cancelling(v->scope) ? -ECANCELED : 0;

        while (r >= 0 && c->server && c->server->is_held)
                r = task_park(&c->server->held, "the actor's on_start", USEC_INFINITY);
        return r;
}

static int run(void *userdata)
{
        Served *v = userdata;

        v->r = await_turn(v);
        if (v->r >= 0)
                v->r = v->method->handler(&v->context, v->args, &v->result);
        v->error = tractor_error_ref(v->task->error);
        return 0;
}

static Json *make_error(Served *v)
{
        _cleanup_(tractor_error_unrefp) tractor_error *e = NULL;
        const Scope *by = v->r == -ECANCELED ? scope_cancelling(v->scope) : NULL;
        Json *error = NULL, *data = NULL;

        /* Not somebody's wish, but the loss that all of the tree suffers, in the same words everywhere. */
        if (by && runtime->tree && runtime->tree->lost) {
                (void) message_error_object(&error, ERROR_CONNECTION_LOST, NULL, "the supervisor has gone");
                return error;
        }
        if (by) {
                if (json_pack(&data, "{actor:s?, canceller:s?, reason:s?}", tractor_path(), by->canceller,
                                    by->reason) >= 0)
                        (void) message_error_object(&error, ERROR_CANCELLED, data, "cancelled%s%s",
                                        by->reason ? ": " : "", by->reason ?: "");
                return error;
        }
        e = error_of_result(v->error, v->r, v->method->name);
        return error_to_json(e, tractor_path(), &error) < 0 ? NULL : error;
}

static void answer(Served *v)
{
        Json *error;

        if (v->r >= 0) {
                call_reply(TAKE_PTR(v->call), TAKE_PTR(v->result), NULL, 0);
                return;
        }
        error = make_error(v);
        if (error)
                call_fail_object(TAKE_PTR(v->call), error);
        else
                call_fail(TAKE_PTR(v->call), ERROR_INTERNAL, NULL, "out of memory");
}

/* All that the handler left open is closed by now. */
static void ended(void *userdata)
{
        Served *v = userdata;
        Connection *c = v->connection;

        if (v->call) {
                if (v->r >= 0)
                        (void) context_flush(&v->context);
                answer(v);
        }
        if (v->watched && c->server) {
                c->watched = true;
                c->result = v->r;
                if (session_is_flushed(c->session))
                        connection_tell_watcher(c->server, c);
        }
        served_free(v);
}

void served_on_cancel(Call *call, void *userdata)
{
        Served *v = ((tractor_context *) userdata)->served;
        bool lost = !call_session(call);

        scope_cancel(v->scope, call_cancel_reason(call) ?: (lost ? "the connection was lost" : NULL),
                        call_canceller(call) ?: v->connection->path);
        context_end(&v->context);
}

int served_start(Served *v)
{
        Nursery *n = v->connection->server->nursery;
        Scope *scope = scope_new(n->runtime, n->scope);
        Task *t;
        int r = -ENOMEM;

        if (scope)
                r = nursery_start(n, v->method->name, run, v, ended, scope, &t);
        if (r < 0) {
                scope_free(scope);
                return r;
        }
        t->start_scope = scope;
        v->task = t;
        v->scope = scope;
        return 0;
}

/* --- what a handler sees --- */

Call *context_call(const tractor_context *c)
{
        return c->served->call;
}

int context_flush(tractor_context *c)
{
        int r = 0;

        while (r >= 0 && !c->over && call_queued(context_call(c)) > 0)
                r = task_park(&c->writers, "room for the last items", USEC_INFINITY);
        return r;
}

static const ItemVtable item_vtable = CONTEXT_ITEMS;

static int refuse_started(const tractor_context *c)
{
        if (c->is_opener)
                return error_fail(ERROR_INVALID_REQUEST, NULL, NULL, "started is said by the handler");
        if (!c->is_dialog)
                return error_fail(ERROR_INVALID_REQUEST, NULL, NULL,
                                "%s is a dialog: open it by tractor_context_open(), this was a call",
                                c->served->method->name);
        return error_raise(error_as(error_new(ERROR_INVALID_REQUEST, NULL, NULL, "%s has said started twice",
                                                    c->served->method->name),
                        -EALREADY));
}

_public_ int tractor_context_started(
                tractor_context *c, struct json_object *value, const tractor_context_options *options)
{
        tractor_context_options o;
        ItemOptions items;
        int r = context_take_options(&o, options);

        if (r < 0 || c->is_opener || !c->is_dialog || c->started) {
                json_unref(value);
                return r < 0 ? r : refuse_started(c);
        }
        items = context_item_options(&o);
        r = call_started(context_call(c), value, &item_vtable, &items);
        if (r == -EPIPE && tractor_is_cancelled())
                return -ECANCELED;
        if (r >= 0)
                c->started = true;
        return r;
}

_public_ bool tractor_context_is_dialog(const tractor_context *c)
{
        return c->is_dialog;
}

_public_ const char *tractor_context_method(const tractor_context *c)
{
        return !c->served ? NULL : c->served->method->name;
}

_public_ void *tractor_context_userdata(const tractor_context *c)
{
        return !c->served ? NULL : c->served->method->userdata;
}

_public_ const char *tractor_context_peer_path(const tractor_context *c)
{
        return c->is_opener ? c->portal->path : c->served->connection->path;
}

_public_ const char *tractor_context_peer_id(const tractor_context *c)
{
        return c->is_opener ? c->portal->id : c->served->connection->id;
}

_public_ uid_t tractor_context_peer_uid(const tractor_context *c)
{
        return c->is_opener ? (uid_t) -1 : c->served->connection->uid;
}

_public_ pid_t tractor_context_peer_pid(const tractor_context *c)
{
        return c->is_opener ? c->portal->pid : c->served->connection->pid;
}

int context_run_here(const tractor_method *m, Json *args, Json **ret_result)
{
        char path[] = "/";
        Connection c = { .n_ref = 1, .path = path, .uid = (uid_t) -1, .kept = -EBADF };
        Served v = { .connection = &c, .method = m, .task = task_current() };
        int r;

        context_init(&v.context, false, false);
        v.context.served = &v;
        r = m->handler(&v.context, args, ret_result);
        context_done(&v.context);
        return r;
}
