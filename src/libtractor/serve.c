/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/error.h"
#include "base/io.h"
#include "libtractor/context.h"
#include "libtractor/error-private.h"
#include "libtractor/scope.h"

/* Tells of a connection that are being handled: beyond that one that counts none (it has said no hello) is not read from. */
#define TELLS_MAX 256U

struct Server {
        Nursery *nursery; /* weak */
        const tractor_method *methods;
        char **expose; /* NULL: all */
        ListNode connections;
        size_t n_connections;
        char *stopped; /* why; NULL: it serves */
        WaitQueue waiters;
        char *watched;
        void (*watcher)(int r, void *userdata);
        void *watcher_userdata;
};

typedef struct Connection {
        Server *server; /* weak; NULL when it has ended */
        ListNode node;
        unsigned n_ref; /* the server and the tasks */
        Session *session;
        char *path, *id;
        uid_t uid;
        pid_t pid;
        unsigned n_tells;
        Drain drain;
        bool watched; /* what is watched for has been answered on it, and is to leave */
        int result;
} Connection;

/* A request or a tell and its task. */
typedef struct Served {
        tractor_context context;
        Connection *connection;
        Call *call; /* NULL: a tell, or answered */
        const tractor_method *method;
        Json *args;
        Task *task;   /* weak */
        Scope *scope; /* weak: the task's own */
        Json *result;
        int r;
        tractor_error *error;
        bool is_tell, counted; /* to be credited */
        bool watched;
} Served;

static Connection *connection_unref(Connection *c)
{
        if (--c->n_ref > 0)
                return NULL;
        free(c->path);
        free(c->id);
        free(c);
        return NULL;
}

static void tell_watcher(Server *s, Connection *c)
{
        if (!c->watched || !s->watcher)
                return;
        c->watched = false;
        TAKE_PTR(s->watcher)(c->result, s->watcher_userdata);
}

static void connection_end(Connection *c)
{
        Server *s = c->server;

        if (!s)
                return;
        drain_stop(&c->drain);
        c->server = NULL;
        c->session = session_free(c->session);
        list_unlink(&c->node);
        s->n_connections--;
        wait_queue_wake_all(&s->waiters, 0);
        tell_watcher(s, c);
        connection_unref(c);
}

/* --- a request's task --- */

static void tell_done(Connection *c, bool counted)
{
        c->n_tells--;
        if (!c->session)
                return;
        if (counted)
                session_took_tells(c->session, 1);
        if (c->n_tells == TELLS_MAX - 1 && session_stream(c->session))
                stream_pause(session_stream(c->session), false);
}

static void served_free(Served *v)
{
        Connection *c = v->connection;

        if (v->is_tell)
                tell_done(c, v->counted);
        context_done(&v->context);
        json_unref(v->args);
        json_unref(v->result);
        tractor_error_unref(v->error);
        connection_unref(c);
        free(v);
}

static int run(void *userdata)
{
        Served *v = userdata;

        v->r = scope_cancelling(v->scope) ? -ECANCELED
                                          : v->method->handler(&v->context, v->args, &v->result);
        v->error = tractor_error_ref(v->task->error);
        return 0;
}

static Json *make_error(Served *v)
{
        _cleanup_(tractor_error_unrefp) tractor_error *e = NULL;
        const Scope *by = v->r == -ECANCELED ? scope_cancelling(v->scope) : NULL;
        Json *error = NULL, *data = NULL;

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
                        tell_watcher(c->server, c);
        }
        served_free(v);
}

static void on_cancel(Call *call, void *userdata)
{
        Served *v = userdata;
        bool lost = !call_session(call);

        scope_cancel(v->scope, call_cancel_reason(call) ?: (lost ? "the connection was lost" : NULL),
                        call_canceller(call) ?: v->connection->path);
        context_end(&v->context);
}

static int start(Connection *c, Served *v)
{
        Nursery *n = c->server->nursery;
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

static const tractor_method *find_method(const Server *s, const char *name)
{
        bool exposed = !s->expose;

        for (char **e = s->expose; !exposed && *e; e++)
                exposed = streq(*e, name);
        for (const tractor_method *m = s->methods; exposed && m && m->name; m++)
                if (streq(m->name, name))
                        return m;
        return NULL;
}

static Served *served_new(Connection *c, const tractor_method *method, const Message *m)
{
        Served *v = calloc(1, sizeof(*v));

        if (!v)
                return NULL;
        context_init(&v->context, false, m->ctx);
        v->connection = c;
        c->n_ref++;
        v->context.served = v;
        v->method = method;
        v->args = m->params ? json_ref(m->params) : NULL;
        return v;
}

static int by_name(const void *a, const void *b)
{
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static void answer_methods(Server *s, Call *call)
{
        _cleanup_free_ const char **names = NULL;
        _cleanup_json_ Json *list = NULL;
        size_t n = 0, size = 0;
        int r = json_pack(&list, "[]");

        for (const tractor_method *m = s->methods; r >= 0 && m && m->name; m++) {
                r = GROW(names, size, n + 1);
                if (r >= 0 && find_method(s, m->name) == m)
                        names[n++] = m->name;
        }
        if (n > 0)
                qsort(names, n, sizeof(*names), by_name);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = json_append(list, json_new_string(names[i], SIZE_MAX));
        if (r < 0)
                call_fail(call, ERROR_INTERNAL, NULL, "out of memory");
        else
                call_reply(call, TAKE_PTR(list), NULL, 0);
}

static void refuse_start(Call *call, int r)
{
        switch (r) {
        case -EAGAIN:
                call_fail(call, ERROR_MAILBOX_FULL, NULL, "too many tasks run here");
                break;
        case -ECANCELED:
        case -ESHUTDOWN:
                call_fail(call, ERROR_ACTOR_STOPPED, NULL, "this actor is stopping");
                break;
        default:
                call_fail(call, ERROR_INTERNAL, NULL, "no task could be started: %s", strerror(-r));
        }
}

static void on_request(Session *session, Call *call, const Message *m, void *userdata)
{
        Connection *c = userdata;
        Server *s = c->server;
        const tractor_method *method = find_method(s, m->method);
        Served *v;
        int r;

        if (s->stopped)
                call_fail(call, ERROR_ACTOR_STOPPED, NULL, "this actor is stopping: %s", s->stopped);
        else if (streq(m->method, "$/methods"))
                answer_methods(s, call);
        else if (!method)
                call_fail(call, ERROR_METHOD_NOT_FOUND, NULL, "there is no method '%s'", m->method);
        else {
                v = served_new(c, method, m);
                r = v ? start(c, v) : -ENOMEM;
                if (r < 0) {
                        refuse_start(call, r);
                        if (v)
                                served_free(v);
                        return;
                }
                v->call = call;
                v->watched = s->watched && streq(s->watched, m->method);
                call_set_userdata(call, &v->context, on_cancel);
        }
}

static void on_notification(Session *session, const Message *m, void *userdata)
{
        Connection *c = userdata;
        const tractor_method *method = c->server->stopped ? NULL : find_method(c->server, m->method);
        bool counted = session_said_hello(session);
        Served *v;

        if (startswith(m->method, "$/"))
                return;
        c->n_tells++;
        v = method ? served_new(c, method, m) : NULL;
        if (!v) {
                tell_done(c, counted);
                return;
        }
        v->is_tell = true;
        v->counted = counted;
        /* A tell that can't be handled is lost: nobody waits to hear of it. */
        if (start(c, v) < 0)
                served_free(v);
        else if (!counted && c->n_tells >= TELLS_MAX)
                stream_pause(session_stream(session), true);
}

static void on_end(Session *session, void *userdata)
{
        connection_end(userdata);
}

static void on_room(Session *session, void *userdata)
{
        Connection *c = userdata;

        wait_queue_wake_all(&c->server->waiters, 0);
        if (session_is_flushed(session))
                tell_watcher(c->server, c);
}

static const SessionVtable vtable = {
        .on_request = on_request, .on_notification = on_notification, .on_end = on_end, .on_room = on_room
};

/* --- the server --- */

int server_new(Nursery *n, const tractor_method *methods, char *const *expose, Server **ret)
{
        Server *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->nursery = n;
        s->methods = methods;
        list_init(&s->connections);
        wait_queue_init(&s->waiters);
        if (expose && strv_copy(expose, &s->expose) < 0) {
                free(s);
                return -ENOMEM;
        }
        *ret = s;
        return 0;
}

Server *server_free(Server *s)
{
        if (!s)
                return NULL;
        while (!list_is_empty(&s->connections))
                connection_end(LIST_ENTRY(s->connections.next, Connection, node));
        strv_free(s->expose);
        free(s->stopped);
        free(s->watched);
        free(s);
        return NULL;
}

static int connection_new(Server *s, const ServedPeer *peer, Connection **ret)
{
        Connection *c = calloc(1, sizeof(*c));

        if (!c)
                return -ENOMEM;
        c->n_ref = 1;
        c->uid = peer->uid;
        c->pid = peer->pid;
        list_init(&c->node);
        if (free_and_strdup(&c->path, peer->path) < 0 || free_and_strdup(&c->id, peer->id) < 0) {
                connection_unref(c);
                return -ENOMEM;
        }
        *ret = c;
        return 0;
}

int server_accept(Server *s, int fd, const ServedPeer *peer)
{
        const SessionOptions so = { .name = s->nursery->runtime->options.name
                                                            ?: program_invocation_short_name,
                .path = tractor_path(),
                .peer_path = peer->path,
                .last_id = peer->last_id,
                .peer_hello = peer->hello,
                .manual_tells = true };
        Connection *c;
        int r = connection_new(s, peer, &c);

        if (r < 0) {
                safe_close(fd);
                return r;
        }
        r = session_new(s->nursery->runtime->event, fd, &so, &vtable, c, &c->session);
        if (r < 0) {
                connection_unref(c);
                return r;
        }
        c->server = s;
        list_append(&s->connections, &c->node);
        s->n_connections++;
        return 0;
}

void server_become(Server *s, const tractor_method *methods)
{
        s->methods = methods;
}

static void drained(Drain *d)
{
        connection_end(container_of(d, Connection, drain));
}

void server_peer_exited(Server *s, const char *path, const char *id, Json *exit)
{
        LIST_FOREACH_SAFE(i, &s->connections) {
                Connection *c = LIST_ENTRY(i, Connection, node);

                if (streq_ptr(c->path, path) && (!id || streq_ptr(c->id, id)) && !c->drain.timers)
                        drain_begin(&c->drain, &s->nursery->runtime->timers, c->session, drained);
        }
        (void) runtime_arm(s->nursery->runtime);
}

void server_stop(Server *s, const char *reason)
{
        /* Without memory it has stopped all the same. */
        if (!s->stopped)
                s->stopped = strdup(reason ?: "it was asked to");
}

static bool is_flushed(const Server *s)
{
        LIST_FOREACH(i, &s->connections)
                if (!session_is_flushed(LIST_ENTRY(i, Connection, node)->session))
                        return false;
        return true;
}

int server_flush(Server *s)
{
        /* Those that are closing are given up on when their peers take nothing for long. */
        LIST_FOREACH(i, &s->connections)
                if (!session_is_flushed(LIST_ENTRY(i, Connection, node)->session))
                        session_close(LIST_ENTRY(i, Connection, node)->session);
        while (!is_flushed(s))
                (void) task_park_shielded(&s->waiters, "answers to leave", USEC_INFINITY);
        return 0;
}

size_t server_n_connections(const Server *s)
{
        return s->n_connections;
}

void server_watch(Server *s, const char *method, void (*done)(int r, void *userdata), void *userdata)
{
        (void) free_and_strdup(&s->watched, method);
        s->watcher = done;
        s->watcher_userdata = userdata;
}

/* --- a server of one connection --- */

typedef struct Serving {
        int fd;
        const tractor_method *methods;
} Serving;

static void serving_free(void *userdata)
{
        Serving *v = userdata;

        safe_close(v->fd);
        free(v);
}

static int serve_until_end(Server *s, Serving *v)
{
        int r = server_accept(s, TAKE_FD(v->fd), &(ServedPeer){ .uid = (uid_t) -1 });

        while (r >= 0 && s->n_connections > 0)
                r = task_park(&s->waiters, "peer", USEC_INFINITY);
        if (r < 0)
                server_stop(s, task_cancel_reason());
        return r;
}

static int serving_main(void *userdata)
{
        Server *s = NULL;
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0)
                r = server_new(n, ((Serving *) userdata)->methods, NULL, &s);
        if (r >= 0)
                r = serve_until_end(s, userdata);
        r = tractor_nursery_close(&n, r);
        if (s)
                (void) server_flush(s);
        server_free(s);
        return r;
}

_public_ int tractor_serve_fds(tractor_nursery *n, int in, int out, const struct tractor_method *methods)
{
        Serving *v = in == out ? calloc(1, sizeof(*v)) : NULL;

        if (!v) {
                safe_close(in);
                if (in != out)
                        safe_close(out);
                return in == out ? -ENOMEM : -EOPNOTSUPP;
        }
        *v = (Serving){ .fd = in, .methods = methods ?: n->runtime->options.methods };
        return tractor_start_task(n, "serve", serving_main, v, serving_free);
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

_public_ int tractor_context_started(
                tractor_context *c, struct json_object *value, const tractor_context_options *o)
{
        ItemOptions items = context_item_options(o);
        int r;

        if (c->is_opener || !c->is_dialog || c->started) {
                json_unref(value);
                return c->is_dialog && !c->is_opener ? -EALREADY : -EPROTO;
        }
        r = call_started(context_call(c), value, &context_items, &items);
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
        Connection c = { .n_ref = 1, .path = path, .uid = (uid_t) -1 };
        Served v = { .connection = &c, .method = m, .task = task_current() };
        int r;

        context_init(&v.context, false, false);
        v.context.served = &v;
        r = m->handler(&v.context, args, ret_result);
        context_done(&v.context);
        return r;
}
