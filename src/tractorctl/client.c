/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/usec.h"
#include "tractorctl/client.h"

/* A supervisor that hangs is replaced by its keeper within five seconds. */
#define HELLO_TIMEOUT_USEC (10 * USEC_PER_SEC)
/* Where nobody listens any more, somebody may in a moment; where the keeper does, it may have to replace one first. */
#define NOBODY_LIMIT_USEC (3 * USEC_PER_SEC)
#define RECONNECT_LIMIT_USEC (20 * USEC_PER_SEC)
#define RECONNECT_PAUSE_USEC (100 * USEC_PER_MSEC)
#define BEGIN_ANEW_MAX 3U
#define MORE_MAX 4096

struct Client {
        sd_event *event;
        Session *session;
        ListNode pending;
        bool lost;
        bool greeting; /* not connected until that is over */
        ClientAbort aborted;
        int (*reconnect)(bool first, void *userdata);
        void *userdata;
        char **refusal; /* weak; while it is asked for */
        void (*on_notification)(const Message *m, void *userdata);
        void *notified;
};

static void on_end(Session *s, void *userdata)
{
        Client *c = userdata;

        c->lost = true;
}

/* Nobody asks us anything. */
static void on_request(Session *s, Call *call, const Message *m, void *userdata)
{
        call_fail(call, ERROR_METHOD_NOT_FOUND, NULL, "tractorctl serves no methods");
}

static void on_notification(Session *s, const Message *m, void *userdata)
{
        Client *c = userdata;

        if (c->on_notification)
                c->on_notification(m, c->notified);
}

static const SessionVtable session_vtable = {
        .on_request = on_request, .on_notification = on_notification, .on_end = on_end
};

static void pending_free(Pending *p)
{
        list_unlink(&p->link);
        json_unref(p->result);
        json_unref(p->error);
        json_unref(p->params);
        free(p->method);
        if (p->has_fd)
                (void) safe_close(p->fd);
        free(p);
}

Pending *pending_drop(Pending *p)
{
        if (!p)
                return NULL;
        if (p->done || p->unsent || !p->client)
                pending_free(p);
        else
                p->dropped = true; /* its reply frees it */
        return NULL;
}

/* Our own session's word for it: a supervisor's names the outcome, which is an answer. */
static bool is_lost(const Json *error)
{
        return json_get_integer(error, "code", 0) == ERROR_CONNECTION_LOST &&
               !json_has(json_get(error, "data"), "outcome");
}

static void on_reply(Json *result, Json *error, int *fds, size_t n_fds, void *userdata)
{
        Pending *p = userdata;

        if (p->dropped) {
                pending_free(p);
                return;
        }
        if (p->method && is_lost(error)) {
                p->unsent = true;
                return;
        }
        p->done = true;
        p->result = result ? json_ref(result) : NULL;
        p->error = error ? json_ref(error) : NULL;
        p->has_fd = n_fds > 0;
        if (n_fds > 0)
                p->fd = TAKE_FD(fds[0]);
}

static void on_started(Json *value, void *userdata)
{
        Pending *p = userdata;

        p->started = true;
}

static void on_next(Json *value, uint64_t lost, void *userdata)
{
        Pending *p = userdata;

        if (p->on_item && !p->dropped)
                p->on_item(value, lost, p->userdata);
}

static const ReplyVtable reply_vtable = { .on_reply = on_reply };
static const ReplyVtable dialog_vtable = {
        .on_reply = on_reply, .on_started = on_started, .items = { .on_next = on_next }
};

Client *client_free(Client *c)
{
        if (!c)
                return NULL;
        c->session = session_free(c->session); /* may answer what is pending */
        LIST_FOREACH_SAFE(i, &c->pending) {
                Pending *p = LIST_ENTRY(i, Pending, link);

                list_unlink(&p->link);
                p->client = NULL;
                if (p->dropped)
                        pending_free(p);
        }
        sd_event_unref(c->event);
        free(c);
        return NULL;
}

bool client_lost(const Client *c)
{
        return !c || c->lost;
}

static int start(Client *c, const char *method, Json *params, const CallOptions *options,
                const ReplyVtable *vtable, Pending **ret)
{
        Pending *p = calloc(1, sizeof(Pending));
        int64_t id;

        if (!p) {
                json_unref(params);
                return -ENOMEM;
        }
        p->client = c;
        list_append(&c->pending, &p->link);
        *ret = p; /* the reply may come from within, when the connection is lost already */
        id = session_call(c->session, method, params, options, vtable, p);
        if (id < 0) {
                *ret = NULL;
                pending_free(p);
                return (int) id;
        }
        return 0;
}

/* Sends it, for the first time or again; what can't go now goes over the next connection. */
static int send_pending(Pending *p)
{
        CallOptions options = { .key = p->key, .deadline_ms = -1 };
        int64_t id;

        p->unsent = false;
        id = session_call(p->client->session, p->method, p->params ? json_ref(p->params) : NULL, &options,
                        &reply_vtable, p);
        p->unsent |= id == -EPIPE;
        return id < 0 && id != -EPIPE ? (int) id : 0;
}

static int make_key(char ret[static 33])
{
        uint64_t n[2];

        if (getrandom(n, sizeof(n), 0) != (ssize_t) sizeof(n))
                return -EIO;
        (void) snprintf(ret, 33, "%016llx%016llx", (unsigned long long) n[0], (unsigned long long) n[1]);
        return 0;
}

static int start_repeatable(Client *c, const char *method, Json *params, Pending **ret)
{
        Pending *p = calloc(1, sizeof(Pending));
        int r;

        if (!p) {
                json_unref(params);
                return -ENOMEM;
        }
        p->client = c;
        p->params = params;
        list_append(&c->pending, &p->link);
        r = free_and_strdup(&p->method, method);
        if (r >= 0)
                r = make_key(p->key);
        if (r >= 0)
                r = send_pending(p);
        if (r < 0) {
                pending_free(p);
                return r;
        }
        *ret = p;
        return 0;
}

int client_start(Client *c, const char *method, Json *params, Pending **ret)
{
        static const CallOptions options = { .deadline_ms = -1 };

        if (c->reconnect && !c->greeting)
                return start_repeatable(c, method, params, ret);
        return start(c, method, params, &options, &reply_vtable, ret);
}

static int reconnect(Client *c);

int client_wait(Client *c, Pending *p, uint64_t timeout)
{
        uint64_t end = usec_add(now_usec(CLOCK_MONOTONIC), timeout);

        while (!p->done && !p->started) {
                uint64_t now = now_usec(CLOCK_MONOTONIC);
                int r;

                if (c->aborted && c->aborted(c->userdata))
                        return -ECANCELED;
                if (now >= end)
                        return -ETIMEDOUT;
                if (c->lost) {
                        r = c->reconnect && !c->greeting && p->method ? reconnect(c) : -ECONNRESET;
                        if (r < 0)
                                return r;
                        continue;
                }
                r = sd_event_run(c->event, end == USEC_INFINITY ? USEC_INFINITY : end - now);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Moves the answer out of a Pending that is done. */
static int take_answer(Pending *p, Json **ret, Json **reterr)
{
        if (p->error) {
                *reterr = TAKE_PTR(p->error);
                return 0;
        }
        if (!p->result)
                return json_pack(ret, "{}");
        *ret = TAKE_PTR(p->result);
        return 0;
}

int client_call(Client *c, const char *method, Json *params, Json **ret, Json **reterr)
{
        _cleanup_(pending_dropp) Pending *p = NULL;
        int r = client_start(c, method, params, &p);

        if (r < 0)
                return r;
        r = client_wait(c, p, USEC_INFINITY);
        return r < 0 ? r : take_answer(p, ret, reterr);
}

int client_subscribe(Client *c, const char *path, void (*on_item)(Json *item, uint64_t lost, void *userdata),
                void *userdata, Pending **ret, Json **reterr)
{
        static const CallOptions options = { .ctx = true };
        _cleanup_(pending_dropp) Pending *p = NULL;
        Json *params;
        int r = json_pack(&params, "{path:s}", path);

        if (r < 0)
                return r;
        r = start(c, "events.subscribe", params, &options, &dialog_vtable, &p);
        if (r < 0)
                return r;
        p->on_item = on_item;
        p->userdata = userdata;
        r = client_wait(c, p, USEC_INFINITY);
        if (r < 0)
                return r;
        if (is_lost(p->error))
                return -ECONNRESET;
        if (p->error) {
                *reterr = TAKE_PTR(p->error);
                return 0;
        }
        *ret = TAKE_PTR(p);
        return 0;
}

static int turned_away(Client *c, const Json *error)
{
        const char *message = json_get_string(error, "message", NULL);

        if (c->refusal && !*c->refusal && message)
                *c->refusal = strdup(message);
        return -EBUSY;
}

/* The ping makes sure that the peer's hello has come (dialogs and keys need it) and that somebody is there at all: the
 * listening socket may be the keeper's, with no supervisor behind it yet. */
static int greet(Client *c, uint64_t timeout)
{
        _cleanup_(pending_dropp) Pending *p = NULL;
        int r = client_start(c, "supervisor.ping", NULL, &p);

        if (r < 0)
                return r;
        r = client_wait(c, p, timeout);
        if (r < 0)
                return r;
        if (json_get_integer(p->error, "code", 0) == ERROR_LIMIT_EXCEEDED)
                return turned_away(c, p->error);
        return is_lost(p->error) ? -ECONNRESET : 0;
}

/* Consumes fd. */
static int connect_session(Client *c, int fd, uint64_t hello_timeout)
{
        const SessionOptions so = { .name = "tractorctl", .connector = true, .hello = true };
        int r;

        c->session = session_free(c->session);
        c->lost = false;
        r = session_new(c->event, fd, &so, &session_vtable, c, &c->session);
        c->lost = r < 0;
        if (r < 0)
                return r;
        c->greeting = true;
        r = greet(c, hello_timeout);
        c->greeting = false;
        return r;
}

int client_new(const ClientOptions *options, Client **ret)
{
        _cleanup_close_ int fd = options->fd;
        _cleanup_(client_freep) Client *c = calloc(1, sizeof(Client));
        int r;

        if (!c)
                return -ENOMEM;
        list_init(&c->pending);
        c->event = sd_event_ref(options->event);
        c->aborted = options->aborted;
        c->reconnect = options->reconnect;
        c->userdata = options->userdata;
        c->refusal = options->refusal;
        r = connect_session(c, TAKE_FD(fd), options->hello_timeout ?: HELLO_TIMEOUT_USEC);
        c->refusal = NULL;
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

/* --- another connection --- */

/* Serves what else there is, and signals. */
static int pause_a_little(Client *c)
{
        uint64_t end = now_usec(CLOCK_MONOTONIC) + RECONNECT_PAUSE_USEC, now;

        while ((now = now_usec(CLOCK_MONOTONIC)) < end) {
                int r = sd_event_run(c->event, end - now);

                if (r < 0)
                        return r;
                if (c->aborted && c->aborted(c->userdata))
                        return -ECANCELED;
        }
        return 0;
}

static int repeat_pending(Client *c)
{
        LIST_FOREACH(i, &c->pending) {
                Pending *p = LIST_ENTRY(i, Pending, link);
                int r = p->unsent ? send_pending(p) : 0;

                if (r < 0)
                        return r;
        }
        return 0;
}

static int reconnect(Client *c)
{
        uint64_t start = now_usec(CLOCK_MONOTONIC);
        bool first = true;
        int r;

        for (;;) {
                uint64_t limit = NOBODY_LIMIT_USEC;
                int fd = c->reconnect(first, c->userdata);

                first = false;
                r = fd;
                if (fd >= 0) {
                        r = connect_session(c, fd, HELLO_TIMEOUT_USEC);
                        limit = RECONNECT_LIMIT_USEC;
                }
                if (r >= 0)
                        return repeat_pending(c);
                if (r == -ENOMEM || r == -ECANCELED)
                        return r;
                c->lost = true;
                if (now_usec(CLOCK_MONOTONIC) - start > limit)
                        return -ECONNRESET;
                r = pause_a_little(c);
                if (r < 0)
                        return r;
        }
}

void client_on_notification(Client *c, void (*handler)(const Message *m, void *userdata), void *userdata)
{
        c->on_notification = handler;
        c->notified = userdata;
}

int client_connect_actor(Client *c, const char *path, int *ret_fd, Json **reterr)
{
        _cleanup_(pending_dropp) Pending *p = NULL;
        Json *params;
        int r = json_pack(&params, "{path:s}", path);

        if (r >= 0)
                r = client_start(c, "actor.connect", params, &p);
        if (r >= 0)
                r = client_wait(c, p, USEC_INFINITY);
        if (r < 0)
                return r;
        if (p->error) {
                *reterr = TAKE_PTR(p->error);
                return 0;
        }
        if (!p->has_fd)
                return -EBADMSG;
        p->has_fd = false;
        *ret_fd = TAKE_FD(p->fd);
        return 0;
}

/* --- trees that don't fit one reply --- */

typedef struct Look {
        const char *path;
        int depth;
        const Json *fields;
} Look;

static int get_node(Client *c, const Look *look, const char *path, int depth, const char *after, Json **ret,
                Json **reterr)
{
        Json *params;
        int r = json_pack(&params, "{path:s, after:s?, fields:O?}", path, after, look->fields);

        if (r < 0)
                return r;
        if (depth >= 0) {
                Json *v;

                r = json_pack(&v, "i", depth);
                if (r >= 0)
                        r = json_set(params, "depth", v);
                if (r < 0) {
                        json_unref(params);
                        return r;
                }
        }
        return client_call(c, "tree.get", params, ret, reterr);
}

static bool has_more(const Json *node)
{
        const Json *more = json_get(node, "more");

        return more && (json_type(more) != JSON_BOOLEAN || json_boolean(more));
}

/* Appends to node's children those behind its last one, reply after reply. */
static int fetch_more(Client *c, const Look *look, Json *node, int depth, unsigned *budget, Json **reterr)
{
        const char *path = json_get_string(node, "path", "/");
        Json *children = json_get(node, "children");
        bool more = has_more(node);

        while (more && *budget > 0) {
                size_t n = json_length(children);
                const Json *last = n > 0 ? json_item(children, n - 1) : NULL;
                const char *name = json_get_string(last, "path", NULL);
                _cleanup_json_ Json *page = NULL;
                Json *rest;
                int r;

                (*budget)--;
                name = name ? strrchr(name, '/') : NULL;
                r = get_node(c, look, path, depth, name ? name + 1 : NULL, &page, reterr);
                if (r < 0 || *reterr)
                        return r;
                rest = json_get(page, "children");
                if (json_type(children) != JSON_ARRAY || json_length(rest) == 0)
                        return 0;
                for (size_t i = 0; i < json_length(rest); i++) {
                        r = json_append(children, json_ref(json_item(rest, i)));
                        if (r < 0)
                                return r;
                }
                more = has_more(page);
        }
        return 0;
}

/* Depth of recursion: the reply's, which the parser bounded. */
static int complete(Client *c, const Look *look, Json *node, int depth, unsigned *budget, Json **reterr)
{
        Json *children;
        int r = fetch_more(c, look, node, depth, budget, reterr);

        if (r < 0 || *reterr)
                return r;
        children = json_get(node, "children");
        for (size_t i = 0; i < json_length(children); i++) {
                r = complete(c, look, json_item(children, i), depth < 0 ? -1 : depth - 1, budget, reterr);
                if (r < 0 || *reterr)
                        return r;
        }
        return 0;
}

static int get_tree_once(Client *c, const Look *look, bool *ret_paged, Json **ret, Json **reterr)
{
        _cleanup_json_ Json *node = NULL;
        unsigned budget = MORE_MAX;
        int r = get_node(c, look, look->path, look->depth, NULL, &node, reterr);

        if (r < 0 || *reterr)
                return r;
        r = complete(c, look, node, look->depth, &budget, reterr);
        *ret_paged = budget < MORE_MAX;
        if (r < 0 || *reterr)
                return r;
        *ret = TAKE_PTR(node);
        return 0;
}

/* A child that the next page was to begin after may have left meanwhile: the protocol has the reader begin anew. */
int client_get_fields(Client *c, const char *path, int depth, const Json *fields, Json **ret, Json **reterr)
{
        const Look look = { .path = path, .depth = depth, .fields = fields };

        for (unsigned tries = 0;; tries++) {
                bool paged = false;
                int r = get_tree_once(c, &look, &paged, ret, reterr);

                if (r < 0 || !*reterr || !paged || tries >= BEGIN_ANEW_MAX ||
                                json_get_integer(*reterr, "code", 0) != ERROR_NO_SUCH_ACTOR)
                        return r;
                *reterr = json_unref(*reterr);
        }
}

int client_get_tree(Client *c, const char *path, int depth, Json **ret, Json **reterr)
{
        return client_get_fields(c, path, depth, NULL, ret, reterr);
}
