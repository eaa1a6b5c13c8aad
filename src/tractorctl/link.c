/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/error.h"
#include "base/usec.h"
#include "tractorctl/link.h"
#include "tractorctl/remote.h"

/* An actor answers hello as soon as it serves the connection. */
#define HELLO_TIMEOUT_USEC (5 * USEC_PER_SEC)

struct Link {
        Context *c;
        const char *path; /* weak */
        Session *session;
        Json *exit;
        sd_event_source *told;
        bool ended;
        bool attached;
        Json *error; /* of actor.attach */
};

Session *link_session(Link *l)
{
        return l->session;
}

Link *link_free(Link *l)
{
        if (!l)
                return NULL;
        if (l->c->client)
                client_on_notification(l->c->client, NULL, NULL);
        l->session = session_free(l->session);
        l->told = sd_event_source_disable_unref(l->told);
        json_unref(l->exit);
        json_unref(l->error);
        free(l);
        return NULL;
}

static void on_request(Session *s, Call *call, const Message *m, void *userdata)
{
        call_fail(call, ERROR_METHOD_NOT_FOUND, NULL, "tractorctl serves no methods");
}

static void on_end(Session *s, void *userdata)
{
        Link *l = userdata;

        l->ended = true;
}

static const SessionVtable vtable = { .on_request = on_request, .on_end = on_end };

/* --- a portal --- */

static int on_told(sd_event_source *s, void *userdata)
{
        Link *l = userdata;

        session_peer_told(l->session, l->exit);
        return 0;
}

/* What the actor said before it died is in the portal: that goes first. */
static void tell_exit(Link *l)
{
        if (sd_event_add_defer(l->c->event, &l->told, on_told, l) < 0 ||
                        sd_event_source_set_priority(l->told, SD_EVENT_PRIORITY_IDLE) < 0)
                session_peer_told(l->session, l->exit);
}

/* It may come together with the connection, when there is no session yet. */
static void on_control(const Message *m, void *userdata)
{
        Link *l = userdata;

        if (l->exit || !streq(m->method, "$/peer_exited"))
                return;
        l->exit = json_ref(m->params);
        if (l->session)
                tell_exit(l);
}

static int open_session(Link *l, int fd, bool hello)
{
        const SessionOptions so = { .name = "tractorctl",
                .connector = true,
                .hello = hello,
                .exit_told = true,
                .peer_path = l->path };
        int r = session_new(l->c->event, fd, &so, &vtable, l, &l->session);

        if (r >= 0 && l->exit)
                tell_exit(l);
        return r;
}

static int open_portal(Link *l, bool hello)
{
        _cleanup_json_ Json *error = NULL;
        int fd = -EBADF, r = context_connect(l->c);

        if (r != 0)
                return r;
        client_on_notification(l->c->client, on_control, l);
        r = client_connect_actor(l->c->client, l->path, &fd, &error);
        if (r >= 0 && error)
                return fail_error(l->c, l->path, error);
        if (r >= 0)
                r = open_session(l, fd, hello);
        return r < 0 ? fail_errno(l->c, r) : 0;
}

/* --- a connection handed over --- */

static void on_attached(Json *result, Json *error, int *fds, size_t n_fds, void *userdata)
{
        Link *l = userdata;

        l->attached = true;
        l->error = error ? json_ref(error) : NULL;
}

static int attach(Link *l)
{
        static const ReplyVtable replies = { .on_reply = on_attached };
        Json *params;
        int64_t id;
        int r = json_pack(&params, "{path:s}", l->path);

        if (r < 0)
                return r;
        id = session_call(l->session, "actor.attach", params, NULL, &replies, l);
        if (id < 0)
                return (int) id;
        while (r >= 0 && !l->attached)
                r = l->c->interrupts > 0 ? -ECANCELED : sd_event_run(l->c->event, USEC_INFINITY);
        return r;
}

static int open_attached(Link *l)
{
        _cleanup_free_ char *error = NULL;
        int fd = -EBADF, r = remote_connect(l->c, &fd, &error);

        if (r < 0)
                return fail(l->c, CTL_NO_SUPERVISOR, "%s", error ?: strerror(-r));
        r = open_session(l, fd, true);
        if (r >= 0)
                r = attach(l);
        if (r < 0)
                return fail_errno(l->c, r);
        if (l->error && json_get_integer(l->error, "code", 0) == ERROR_CONNECTION_LOST)
                return remote_failed(l->c);
        return l->error ? fail_error(l->c, l->path, l->error) : 0;
}

int link_open(Context *c, const char *path, bool hello, Link **ret)
{
        _cleanup_(link_freep) Link *l = calloc(1, sizeof(Link));
        int r;

        if (!l)
                return fail_errno(c, -ENOMEM);
        l->c = c;
        l->path = path;
        r = c->o->host ? open_attached(l) : open_portal(l, hello);
        if (r == 0)
                *ret = TAKE_PTR(l);
        return r;
}

/* --- */

static int on_timeout(sd_event_source *s, uint64_t usec, void *userdata)
{
        *(bool *) userdata = true;
        return 0;
}

/* 0; -ETIMEDOUT; -ECANCELED: interrupted. */
static int wait_for(Link *l, bool (*is_there)(const Link *l), uint64_t usec)
{
        sd_event_source *timer = NULL;
        bool over = false;
        int r;

        r = sd_event_add_time_relative(l->c->event, &timer, CLOCK_MONOTONIC, usec, 0, on_timeout, &over);
        while (r >= 0 && !over && !is_there(l))
                r = l->c->interrupts > 0 ? -ECANCELED : sd_event_run(l->c->event, USEC_INFINITY);
        sd_event_source_disable_unref(timer);
        return r < 0 ? r : over ? -ETIMEDOUT : 0;
}

static bool said_hello(const Link *l)
{
        return l->ended || session_said_hello(l->session);
}

/* One that was attached tells it on itself, before its end. */
static bool has_exit(const Link *l)
{
        return l->exit || (l->attached && l->ended);
}

int link_await_hello(Link *l)
{
        int r = wait_for(l, said_hello, HELLO_TIMEOUT_USEC);

        if (r < 0 && r != -ETIMEDOUT)
                return fail_errno(l->c, r);
        if (r < 0)
                return fail(l->c, CTL_FAILED,
                                "%s says no hello: it serves calls and no streams; try 'tractorctl call %s "
                                "METHOD'",
                                l->path, l->path);
        return 0;
}

int link_fail(Link *l, const char *method, int r)
{
        _cleanup_json_ Json *error = NULL, *data = NULL;
        int k;

        if (r != -EPIPE)
                return fail_errno(l->c, r);
        k = wait_for(l, has_exit, SESSION_LINGER_MS * USEC_PER_MSEC);
        if (k >= 0 || k == -ETIMEDOUT)
                k = json_pack(&data, "{exit:O?}", json_get(l->exit, "exit"));
        if (k >= 0)
                k = message_error_object(&error, l->exit ? ERROR_ACTOR_DIED : ERROR_CONNECTION_LOST,
                                TAKE_PTR(data), "%s", "the actor has gone");
        return k < 0 ? fail_errno(l->c, k) : fail_actor(l->c, method, error);
}

int link_finish(Link *l)
{
        int r = 0;

        session_close(l->session);
        while (r >= 0 && !l->ended)
                r = l->c->interrupts > 0 ? -ECANCELED : sd_event_run(l->c->event, USEC_INFINITY);
        return r < 0 ? fail_errno(l->c, r) : CTL_DONE;
}
