/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/io.h"
#include "libtractor/dump.h"
#include "libtractor/serve-private.h"

Connection *connection_unref(Connection *c)
{
        if (!c || --c->n_ref > 0)
                return NULL;
        safe_close(c->kept);
        free(c->path);
        free(c->id);
        free(c);
        return NULL;
}

void connection_tell_watcher(Server *s, Connection *c)
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
        if (c->kept >= 0 && !s->is_stopped)
                (void) shutdown(c->kept, SHUT_RDWR);
        c->kept = safe_close(c->kept);
        list_unlink(&c->node);
        s->n_connections--;
        wait_queue_wake_all(&s->waiters, 0);
        connection_tell_watcher(s, c);
        connection_unref(c);
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

static void answer_tasks(Server *s, Call *call)
{
        Json *tasks = NULL;

        if (dump_tasks(s->runtime, &tasks) < 0)
                call_fail(call, ERROR_INTERNAL, NULL, "out of memory");
        else
                call_reply(call, tasks, NULL, 0);
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

        if (s->is_stopped)
                call_fail(call, ERROR_ACTOR_STOPPED, NULL, "this actor is stopping: %s",
                                s->stopped ?: "it was asked to");
        else if (streq(m->method, "$/methods"))
                answer_methods(s, call);
        else if (streq(m->method, "$/tasks"))
                answer_tasks(s, call);
        else if (!method)
                call_fail(call, ERROR_METHOD_NOT_FOUND, NULL, "there is no method '%s'", m->method);
        else {
                v = served_new(c, method, m);
                r = v ? served_start(v) : -ENOMEM;
                if (r < 0) {
                        refuse_start(call, r);
                        if (v)
                                served_free(v);
                        return;
                }
                v->call = call;
                v->watched = s->watched && streq(s->watched, m->method);
                /* The session's affair, so that the end is called by its name. */
                scope_show_deadline(v->scope, call_deadline(call));
                call_set_userdata(call, &v->context, served_on_cancel);
        }
}

static void on_notification(Session *session, const Message *m, void *userdata)
{
        Connection *c = userdata;
        const tractor_method *method = c->server->is_stopped ? NULL : find_method(c->server, m->method);
        bool counted = session_said_hello(session);
        Served *v;

        if (startswith(m->method, "$/"))
                return;
        c->n_tells++;
        v = method ? served_new(c, method, m) : NULL;
        if (!v) {
                connection_tell_done(c, counted);
                return;
        }
        v->is_tell = true;
        v->counted = counted;
        /* A tell that can't be handled is lost: nobody waits to hear of it. */
        if (served_start(v) < 0)
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
                connection_tell_watcher(c->server, c);
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
        s->runtime = n->runtime;
        s->methods = methods;
        list_init(&s->connections);
        wait_queue_init(&s->waiters);
        wait_queue_init(&s->held);
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

void server_hold(Server *s, bool hold)
{
        s->is_held = hold;
        if (!hold)
                wait_queue_wake_all(&s->held, 0);
}

static int connection_new(Server *s, const ServedPeer *peer, Connection **ret)
{
        Connection *c = calloc(1, sizeof(*c));

        if (!c)
                return -ENOMEM;
        c->n_ref = 1;
        c->kept = -EBADF;
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
        const SessionOptions so = { .name = s->runtime->options.name ?: program_invocation_short_name,
                .path = tractor_path(),
                .peer_path = peer->path,
                .last_id = peer->last_id,
                .peer_hello = peer->hello,
                .has_output = peer->has_output,
                .output = peer->output,
                .manual_tells = true,
                .cork = &s->runtime->cork };
        Connection *c = NULL;
        int r = connection_new(s, peer, &c);

        if (r >= 0 && peer->hello) {
                c->kept = fcntl(fd, F_DUPFD_CLOEXEC, 3);
                r = c->kept < 0 ? -errno : 0;
        }
        if (r < 0) {
                /* The supervisor may have it, too. */
                if (peer->hello)
                        (void) shutdown(fd, SHUT_RDWR);
                safe_close(fd);
                if (peer->has_output)
                        safe_close(peer->output);
        } else
                r = session_new(s->runtime->event, fd, &so, &vtable, c, &c->session);
        if (r < 0) {
                if (c && c->kept >= 0)
                        (void) shutdown(c->kept, SHUT_RDWR);
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
                        drain_begin(&c->drain, &s->runtime->timers, c->session, drained);
        }
        (void) runtime_arm(s->runtime);
}

void server_stop(Server *s, const char *reason)
{
        /* Without memory it has stopped all the same, only that nobody learns why. */
        if (!s->is_stopped && reason)
                s->stopped = strdup(reason);
        s->is_stopped = true;
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
        int r = 0;

        /* Those that are closing are given up on when their peers take nothing for long. */
        LIST_FOREACH(i, &s->connections)
                if (!session_is_flushed(LIST_ENTRY(i, Connection, node)->session))
                        session_close(LIST_ENTRY(i, Connection, node)->session);
        while (r >= 0 && !is_flushed(s))
                r = task_park_shielded(&s->waiters, "answers to leave", USEC_INFINITY);
        return r;
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
        int in, out; /* the same, or two */
        const tractor_method *methods;
} Serving;

static void close_both(int in, int out)
{
        safe_close(in);
        if (in != out)
                safe_close(out);
}

static void serving_free(void *userdata)
{
        Serving *v = userdata;

        close_both(v->in, v->out);
        free(v);
}

static int serve_until_end(Server *s, Serving *v)
{
        ServedPeer peer = { .uid = (uid_t) -1, .has_output = v->in != v->out, .output = v->out };
        int r = server_accept(s, TAKE_FD(v->in), &peer);

        v->out = -EBADF;
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
        Serving *v = calloc(1, sizeof(*v));

        if (!v) {
                close_both(in, out);
                return -ENOMEM;
        }
        *v = (Serving){ .in = in, .out = out, .methods = methods ?: n->runtime->options.methods };
        return tractor_start_task(n, "serve", serving_main, v, serving_free);
}
