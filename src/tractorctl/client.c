/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/usec.h"
#include "tractorctl/client.h"

/* A supervisor that hangs is replaced by its keeper within five seconds. */
#define HELLO_TIMEOUT_USEC (10 * USEC_PER_SEC)
#define BEGIN_ANEW_MAX 3U
#define MORE_MAX 4096

struct Client {
        sd_event *event;
        Session *session;
        ListNode pending;
        bool lost;
        ClientAbort aborted;
        void *userdata;
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

static const SessionVtable session_vtable = { .on_request = on_request, .on_end = on_end };

static void pending_free(Pending *p)
{
        list_unlink(&p->link);
        json_unref(p->result);
        json_unref(p->error);
        free(p);
}

Pending *pending_drop(Pending *p)
{
        if (!p)
                return NULL;
        if (p->done || !p->client)
                pending_free(p);
        else
                p->dropped = true; /* its reply frees it */
        return NULL;
}

static void on_reply(Json *result, Json *error, int *fds, size_t n_fds, void *userdata)
{
        Pending *p = userdata;

        if (p->dropped) {
                pending_free(p);
                return;
        }
        p->done = true;
        p->result = result ? json_ref(result) : NULL;
        p->error = error ? json_ref(error) : NULL;
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

int client_start(Client *c, const char *method, Json *params, Pending **ret)
{
        static const CallOptions options = { .deadline_ms = -1 };

        return start(c, method, params, &options, &reply_vtable, ret);
}

int client_wait(Client *c, Pending *p, uint64_t timeout)
{
        uint64_t end = usec_add(now_usec(CLOCK_MONOTONIC), timeout);

        while (!p->done && !p->started) {
                uint64_t now = now_usec(CLOCK_MONOTONIC);
                int r;

                if (c->aborted && c->aborted(c->userdata))
                        return -ECANCELED;
                if (c->lost)
                        return -ECONNRESET;
                if (now >= end)
                        return -ETIMEDOUT;
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
        if (p->error) {
                *reterr = TAKE_PTR(p->error);
                return 0;
        }
        *ret = TAKE_PTR(p);
        return 0;
}

/* The ping makes sure that the peer's hello has come (dialogs need it) and that somebody is there at all: the
 * listening socket may be the keeper's, with no supervisor behind it yet. */
static int greet(Client *c)
{
        _cleanup_(pending_dropp) Pending *p = NULL;
        int r = client_start(c, "supervisor.ping", NULL, &p);

        if (r < 0)
                return r;
        r = client_wait(c, p, HELLO_TIMEOUT_USEC);
        if (r < 0)
                return r;
        return json_get_integer(p->error, "code", 0) == ERROR_CONNECTION_LOST ? -ECONNRESET : 0;
}

int client_new(const ClientOptions *options, Client **ret)
{
        const SessionOptions so = { .name = "tractorctl", .connector = true, .hello = true };
        _cleanup_close_ int fd = options->fd;
        _cleanup_(client_freep) Client *c = calloc(1, sizeof(Client));
        int r;

        if (!c)
                return -ENOMEM;
        list_init(&c->pending);
        c->event = sd_event_ref(options->event);
        c->aborted = options->aborted;
        c->userdata = options->userdata;
        r = session_new(c->event, TAKE_FD(fd), &so, &session_vtable, c, &c->session);
        if (r < 0)
                return r;
        r = greet(c);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

/* --- trees that don't fit one reply --- */

static int get_node(Client *c, const char *path, int depth, const char *after, Json **ret, Json **reterr)
{
        Json *params;
        int r = json_pack(&params, "{path:s, after:s?}", path, after);

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
static int fetch_more(Client *c, Json *node, int depth, unsigned *budget, Json **reterr)
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
                r = get_node(c, path, depth, name ? name + 1 : NULL, &page, reterr);
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
static int complete(Client *c, Json *node, int depth, unsigned *budget, Json **reterr)
{
        Json *children;
        int r = fetch_more(c, node, depth, budget, reterr);

        if (r < 0 || *reterr)
                return r;
        children = json_get(node, "children");
        for (size_t i = 0; i < json_length(children); i++) {
                r = complete(c, json_item(children, i), depth < 0 ? -1 : depth - 1, budget, reterr);
                if (r < 0 || *reterr)
                        return r;
        }
        return 0;
}

static int get_tree_once(Client *c, const char *path, int depth, bool *ret_paged, Json **ret, Json **reterr)
{
        _cleanup_json_ Json *node = NULL;
        unsigned budget = MORE_MAX;
        int r = get_node(c, path, depth, NULL, &node, reterr);

        if (r < 0 || *reterr)
                return r;
        r = complete(c, node, depth, &budget, reterr);
        *ret_paged = budget < MORE_MAX;
        if (r < 0 || *reterr)
                return r;
        *ret = TAKE_PTR(node);
        return 0;
}

/* A child that the next page was to begin after may have left meanwhile: the protocol has the reader begin anew. */
int client_get_tree(Client *c, const char *path, int depth, Json **ret, Json **reterr)
{
        for (unsigned tries = 0;; tries++) {
                bool paged = false;
                int r = get_tree_once(c, path, depth, &paged, ret, reterr);

                if (r < 0 || !*reterr || !paged || tries >= BEGIN_ANEW_MAX ||
                                json_get_integer(*reterr, "code", 0) != ERROR_NO_SUCH_ACTOR)
                        return r;
                *reterr = json_unref(*reterr);
        }
}
