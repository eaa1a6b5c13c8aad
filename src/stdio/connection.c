/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/io.h"
#include "base/log.h"
#include "stdio/adapter.h"

typedef struct Connection {
        ListNode node; /* in adapter->connections */
        Adapter *adapter;
        Session *session;
        char *path, *id; /* the peer's; a client has no id */
        int64_t uid;
        int fd; /* the supervisor keeps this connection, too: only by shutdown() it ends; else -EBADF */
        ListNode questions;
        size_t sent;  /* to the program, and not known to be written */
        uint64_t end; /* the position of its last byte */
        bool paused;
} Connection;

/* A request of the program's. */
typedef struct Question {
        ListNode node; /* in connection->questions */
        Connection *connection;
        Json *id;
} Question;

bool method_is_exposed(const char *list, const char *method)
{
        size_t n = strlen(method);

        for (const char *p = list; p; p = strchr(p, ',')) {
                p += *p == ',';
                if (strncmp(p, method, n) == 0 && n > 0 && (p[n] == ',' || p[n] == 0))
                        return true;
        }
        return !list;
}

/* --- towards the program --- */

/* The program has been sent n bytes in its name. */
static void account(Connection *c, size_t n)
{
        Adapter *a = c->adapter;
        size_t queued = lines_queued(a->program);

        if (queued == 0) {
                c->sent = 0;
                return;
        }
        c->sent += n;
        c->end = lines_written(a->program) + queued;
        if (queued > PROGRAM_QUEUE_MAX && !a->full)
                connections_pace(a);
        else if (c->sent > PROGRAM_SHARE && !c->paused) {
                c->paused = true;
                stream_pause(session_stream(c->session), true);
        }
}

static bool is_paused(Connection *c)
{
        const Adapter *a = c->adapter;

        if (lines_written(a->program) >= c->end)
                c->sent = 0;
        return a->full || c->sent > PROGRAM_SHARE;
}

void connections_pace(Adapter *a)
{
        size_t queued = lines_queued(a->program);

        a->full = queued > (a->full ? PROGRAM_QUEUE_MAX / 2 : PROGRAM_QUEUE_MAX);
        LIST_FOREACH(i, &a->connections) {
                Connection *c = LIST_ENTRY(i, Connection, node);
                bool paused = is_paused(c);

                if (paused == c->paused)
                        continue;
                c->paused = paused;
                if (session_stream(c->session))
                        stream_pause(session_stream(c->session), paused);
        }
}

static void on_request(Session *s, Call *call, const Message *m, void *userdata)
{
        Connection *c = userdata;
        Adapter *a = c->adapter;
        size_t n;

        if (startswith(m->method, "$/"))
                call_fail(call, ERROR_METHOD_NOT_FOUND, NULL,
                                "%s: a program on stdin and stdout is not asked for what is the protocol's "
                                "own",
                                m->method);
        else if (!method_is_exposed(a->expose, m->method))
                call_fail(call, ERROR_METHOD_NOT_FOUND, NULL, "no method '%s' is exposed", m->method);
        else if (call_is_dialog(call) || m->n_fds > 0)
                call_fail(call, ERROR_UNSUPPORTED, NULL,
                                "a program on stdin and stdout has neither dialogs nor descriptors");
        else if (a->death && !a->stopping)
                call_fail(call, ERROR_ACTOR_DIED, json_ref(a->death), "%s", a->death_text);
        else if (a->stopping || a->leaving)
                call_fail(call, ERROR_ACTOR_STOPPED, NULL, "%s is stopping", a->path);
        else if (a->deaf)
                call_fail(call, ERROR_CONNECTION_LOST, NULL,
                                "the program has closed its standard input or output");
        else if (program_ask(a, call, m, &n))
                account(c, n);
}

static void on_notification(Session *s, const Message *m, void *userdata)
{
        Connection *c = userdata;
        Json *v = NULL;
        size_t n;
        int r;

        if (startswith(m->method, "$/") || !method_is_exposed(c->adapter->expose, m->method))
                return;
        r = message_notification(&v, m->method, json_ref(m->params));
        if (r >= 0)
                r = program_say(c->adapter, v, &n);
        if (r >= 0)
                account(c, n);
        else if (r == -ENOMEM)
                adapter_broken(c->adapter);
}

/* --- from the program --- */

static void question_free(Question *q)
{
        list_unlink(&q->node);
        q->connection->adapter->n_questions--;
        json_unref(q->id);
        free(q);
}

/* Its answer, the values borrowed. */
static void answer(Question *q, Json *result, Json *error)
{
        Connection *c = q->connection;
        Json *v = NULL;
        size_t n;
        int r;

        r = error ? message_error(&v, q->id, json_ref(error)) : message_result(&v, q->id, json_ref(result));
        question_free(q);
        if (r >= 0)
                r = program_say(c->adapter, v, &n);
        if (r >= 0 && session_stream(c->session))
                account(c, n);
        else if (r == -ENOMEM)
                adapter_broken(c->adapter);
}

static void on_reply(Json *result, Json *error, int *fds, size_t n_fds, void *userdata)
{
        answer(userdata, result, error);
}

static const ReplyVtable reply_vtable = { .on_reply = on_reply };

static int ask(Connection *c, Json *id, const char *method, Json *params)
{
        Question *q = calloc(1, sizeof(Question));
        int64_t r;

        if (!q)
                return -ENOMEM;
        q->connection = c;
        q->id = json_ref(id);
        list_append(&c->questions, &q->node);
        c->adapter->n_questions++;
        r = session_call(c->session, method, json_ref(params), NULL, &reply_vtable, q);
        if (r < 0)
                question_free(q);
        return r < 0 ? (int) r : 0;
}

static void refuse(Adapter *a, Json *id, int code, const char *why)
{
        Json *error = NULL, *v = NULL;
        size_t n;

        if (message_error_object(&error, code, NULL, "%s", why) < 0 || message_error(&v, id, error) < 0 ||
                        program_say(a, v, &n) == -ENOMEM)
                adapter_broken(a);
}

static void connection_free(Connection *c)
{
        Adapter *a = c->adapter;

        list_unlink(&c->node);
        c->session = session_free(c->session);
        while (!list_is_empty(&c->questions)) {
                Question *q = LIST_ENTRY(c->questions.next, Question, node);

                if (!a->leaving)
                        refuse(a, q->id, ERROR_CONNECTION_LOST, "the connection was lost");
                question_free(q);
        }
        if (c->fd >= 0 && !a->leaving)
                (void) shutdown(c->fd, SHUT_RDWR);
        safe_close(c->fd);
        free(c->path);
        free(c->id);
        free(c);
        adapter_lost_connection(a);
}

/* One that takes no more requests, since it has closed its sending half, is passed over. */
void connections_ask(Adapter *a, Json *id, const char *method, Json *params)
{
        int r = -EPIPE;

        LIST_FOREACH_SAFE(i, &a->connections) {
                Connection *c = LIST_ENTRY(i, Connection, node);

                r = ask(c, id, method, params);
                if (r == -ENOBUFS)
                        connection_free(c);
                else if (r != -EPIPE)
                        break;
        }
        if (r == -EPIPE || r == -ENOBUFS)
                refuse(a, id, ERROR_NO_SUCH_ACTOR, "nobody is connected who could be asked");
        else if (r == -EMSGSIZE)
                refuse(a, id, ERROR_LIMIT_EXCEEDED, "the request is longer than the peer's max_line");
        else if (r < 0)
                adapter_broken(a);
}

/* Who has not read what it has been told for long is cut off, as is who does not read its answers. Who has said hello and gives no
 * credit for more misses it. */
void connections_tell(Adapter *a, const char *method, Json *params)
{
        LIST_FOREACH_SAFE(i, &a->connections) {
                Connection *c = LIST_ENTRY(i, Connection, node);

                if (session_notify(c->session, method, json_ref(params)) == -ENOBUFS)
                        connection_free(c);
        }
}

/* --- beginnings and ends --- */

void connections_drop_first(Adapter *a)
{
        connection_free(LIST_ENTRY(a->connections.next, Connection, node));
}

unsigned connections_of(const Adapter *a, int64_t uid)
{
        unsigned n = 0;

        LIST_FOREACH(i, (ListNode *) &a->connections)
                n += LIST_ENTRY(i, Connection, node)->uid == uid;
        return n;
}

void connections_peer_exited(Adapter *a, const Json *params)
{
        const char *path = json_get_string(params, "path", ""), *id = json_get_string(params, "id", "");

        LIST_FOREACH_SAFE(i, &a->connections) {
                Connection *c = LIST_ENTRY(i, Connection, node);

                if (c->id && streq(c->path, path) && streq(c->id, id))
                        session_peer_told(c->session, params);
        }
}

void connections_close(Adapter *a)
{
        LIST_FOREACH(i, &a->connections)
                session_close(LIST_ENTRY(i, Connection, node)->session);
}

static void on_session_end(Session *s, void *userdata)
{
        connection_free(userdata);
}

static const SessionVtable vtable = {
        .on_request = on_request,
        .on_notification = on_notification,
        .on_end = on_session_end,
};

static int open_session(Connection *c, int fd, const Json *params)
{
        const Json *hello = json_get(params, "hello");
        SessionOptions options = { .name = ADAPTER_NAME,
                .path = c->adapter->path,
                .id = c->adapter->id,
                .peer_path = c->path,
                .exit_told = c->id != NULL,
                .last_id = json_get_integer(params, "last_id", 0),
                .peer_hello = hello };
        int r;

        if (hello)
                c->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (hello && c->fd < 0) {
                r = -errno;
                (void) shutdown(fd, SHUT_RDWR);
                safe_close(fd);
                return r;
        }
        return session_new(c->adapter->event, fd, &options, &vtable, c, &c->session);
}

int connection_new(Adapter *a, int fd, const Json *params)
{
        const Json *peer = json_get(params, "peer");
        Connection *c = calloc(1, sizeof(Connection));
        int r;

        if (!c) {
                safe_close(fd);
                return -ENOMEM;
        }
        *c = (Connection){ .adapter = a, .fd = -EBADF, .uid = json_get_integer(peer, "uid", -1) };
        list_init(&c->node);
        list_init(&c->questions);
        r = free_and_strdup(&c->path, json_get_string(peer, "path", "?"));
        if (r >= 0)
                r = free_and_strdup(&c->id, json_get_string(peer, "id", NULL));
        if (r < 0)
                safe_close(fd);
        else
                r = open_session(c, fd, params);
        if (r < 0) {
                connection_free(c);
                return r;
        }
        list_append(&a->connections, &c->node);
        /* To a program that is behind it is one more to be read later. */
        if (a->full)
                connections_pace(a);
        return 0;
}
