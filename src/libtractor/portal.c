/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/io.h"
#include "libtractor/error-private.h"
#include "libtractor/portal.h"

/* As the protocol has it, of one that is there and serves. */
#define HELLO_USEC (3 * USEC_PER_SEC)
/* The end must not wait for who does not read. */
#define FLUSH_USEC (1 * USEC_PER_SEC)

static void portal_free(tractor_portal *p)
{
        drain_stop(&p->drain);
        timer_off(&p->runtime->timers, &p->hello);
        list_unlink(&p->node);
        list_unlink(&p->watched);
        p->session = session_free(p->session);
        json_unref(p->exit);
        json_unref(p->backtrace);
        free(p->crash);
        free(p->path);
        free(p->id);
        free(p);
}

_public_ tractor_portal *tractor_portal_ref(tractor_portal *p)
{
        if (p)
                p->n_ref++;
        return p;
}

_public_ tractor_portal *tractor_portal_unref(tractor_portal *p)
{
        if (!p || --p->n_ref > 0)
                return NULL;
        if (!p->session || session_is_flushed(p->session)) {
                portal_free(p);
                return NULL;
        }
        /* What was told is still to go. */
        p->hooks = NULL;
        session_close(p->session);
        return NULL;
}

void portals_close(Runtime *rt)
{
        while (!list_is_empty(&rt->portals)) {
                tractor_portal *p = LIST_ENTRY(rt->portals.next, tractor_portal, node);

                drain_stop(&p->drain);
                timer_off(&rt->timers, &p->hello);
                list_unlink(&p->node);
                p->session = session_free(p->session);
                if (p->n_ref == 0)
                        portal_free(p);
        }
}

/* --- what the session says --- */

static void on_request(Session *s, Call *call, const Message *m, void *userdata)
{
        call_fail(call, ERROR_METHOD_NOT_FOUND, NULL, "who opened the connection serves no methods on it");
}

/* On a connection that an actor was given by its supervisor (actor.attach) the latter says how the actor ended. */
static void got_last_word(tractor_portal *p, Json *params)
{
        if (!p->path)
                (void) free_and_strdup(&p->path, json_get_string(params, "path", NULL));
        portal_told_end(p, params);
}

static void on_notification(Session *s, const Message *m, void *userdata)
{
        tractor_portal *p = userdata;

        if (p->hooks && p->hooks->on_notification)
                p->hooks->on_notification(s, m, p->userdata);
        else if (!p->hooks && streq(m->method, "$/peer_exited"))
                got_last_word(p, m->params);
}

static void on_end(Session *s, void *userdata)
{
        tractor_portal *p = tractor_portal_ref(userdata);

        drain_stop(&p->drain);
        timer_off(&p->runtime->timers, &p->hello);
        p->session = session_free(p->session);
        p->lost_at = now_usec(CLOCK_MONOTONIC);
        wait_queue_wake_all(&p->tellers, 0);
        wait_queue_wake_all(&p->waiters, 0);
        if (p->hooks && p->hooks->on_end)
                p->hooks->on_end(p, p->userdata);
        tractor_portal_unref(p);
}

static void on_hello(Session *s, const Message *m, void *userdata)
{
        tractor_portal *p = userdata;

        timer_off(&p->runtime->timers, &p->hello);
        wait_queue_wake_all(&p->waiters, 0);
}

static void said_no_hello(Timer *timer)
{
        tractor_portal *p = container_of(timer, tractor_portal, hello);

        if (p->session && !session_said_hello(p->session))
                session_give_up_hello(p->session);
}

static int await_hello(tractor_portal *p, uint64_t usec)
{
        p->hello.fire = said_no_hello;
        return usec == 0 ? 0
                         : timer_set(&p->runtime->timers, &p->hello,
                                           usec_add(now_usec(CLOCK_MONOTONIC), usec));
}

static void on_tell_credit(Session *s, void *userdata)
{
        tractor_portal *p = userdata;

        (void) wait_queue_wake(&p->tellers, 0);
}

static void on_room(Session *s, void *userdata)
{
        tractor_portal *p = userdata;

        wait_queue_wake_all(&p->waiters, 0);
}

static const SessionVtable vtable = {
        .on_request = on_request,
        .on_notification = on_notification,
        .on_end = on_end,
        .on_hello = on_hello,
        .on_tell_credit = on_tell_credit,
        .on_room = on_room,
};

/* --- */

int portal_new(Runtime *rt, int fd, const PortalOptions *o, tractor_portal **ret)
{
        const SessionOptions so = { .name = rt->options.name ?: program_invocation_short_name,
                .path = tractor_path(),
                .connector = true,
                .hello = true,
                .peer_path = o->path,
                .trust_canceller = o->supervisor,
                .exit_told = o->exit_told,
                .has_output = o->has_output,
                .output = o->output,
                .cork = &rt->cork };
        tractor_portal *p = calloc(1, sizeof(*p));
        int r = p ? 0 : -ENOMEM;

        if (r >= 0) {
                p->n_ref = 1;
                p->runtime = rt;
                p->pid = o->pid;
                p->exit_told = o->exit_told;
                p->hooks = o->hooks;
                p->userdata = o->userdata;
                list_init(&p->node);
                list_init(&p->watched);
                wait_queue_init(&p->tellers);
                wait_queue_init(&p->waiters);
                list_append(&rt->portals, &p->node);
                r = free_and_strdup(&p->path, o->path);
        }
        if (r >= 0)
                r = free_and_strdup(&p->id, o->id);
        if (r < 0) {
                safe_close(fd);
                if (o->has_output)
                        safe_close(o->output);
        } else
                r = session_new(rt->event, fd, &so, &vtable, p, &p->session);
        if (r >= 0)
                r = await_hello(p, o->hello_usec);
        if (r < 0) {
                if (p)
                        portal_free(p);
                return r;
        }
        *ret = p;
        return 0;
}

static void drained(Drain *d)
{
        tractor_portal *p = tractor_portal_ref(container_of(d, tractor_portal, drain));

        p->telling = true;
        session_peer_exited(p->session, p->exit);
        p->telling = false;
        wait_queue_wake_all(&p->waiters, 0);
        tractor_portal_unref(p);
}

void portal_peer_exited(tractor_portal *p, Json *exit, const char *crash, Json *backtrace)
{
        if (p->exited)
                return;
        p->exited = true;
        p->exit = exit ? json_ref(exit) : NULL;
        p->backtrace = backtrace ? json_ref(backtrace) : NULL;
        (void) free_and_strdup(&p->crash, crash); /* without memory it is not said */
        if (p->session) {
                drain_begin(&p->drain, &p->runtime->timers, p->session, drained);
                (void) runtime_arm(p->runtime);
        } else
                wait_queue_wake_all(&p->waiters, 0);
}

void portal_told_end(tractor_portal *p, const Json *params)
{
        portal_peer_exited(p, json_get(params, "exit"), json_get_string(params, "message", NULL),
                        json_get(params, "backtrace"));
}

void portal_untold(tractor_portal *p)
{
        if (p->exited)
                return;
        p->exit_told = false;
        if (p->session)
                session_untold(p->session);
        wait_queue_wake_all(&p->waiters, 0);
}

int portal_notify(tractor_portal *p, const char *method, Json *params)
{
        if (!p->session) {
                json_unref(params);
                return -EPIPE;
        }
        return session_notify(p->session, method, params);
}

int portal_flush(tractor_portal *p)
{
        int r = 0;

        (void) tractor_portal_ref(p);
        while (r >= 0 && p->session && !session_is_flushed(p->session))
                r = task_park(&p->waiters, "what was written to leave", USEC_INFINITY);
        tractor_portal_unref(p);
        return r;
}

static tractor_portal *find_unflushed(Runtime *rt)
{
        LIST_FOREACH(i, &rt->portals) {
                tractor_portal *p = LIST_ENTRY(i, tractor_portal, node);

                if (p->session && !session_is_flushed(p->session))
                        return p;
        }
        return NULL;
}

void portals_flush(Runtime *rt)
{
        tractor_scope *s = tractor_shield(FLUSH_USEC);
        tractor_portal *p;
        int r = 0;

        while (r >= 0 && (p = find_unflushed(rt)))
                r = portal_flush(p);
        (void) tractor_scope_close(s, 0);
}

Session *portal_session(tractor_portal *p)
{
        return p->session;
}

_public_ const char *tractor_portal_path(const tractor_portal *p)
{
        return p->path;
}

_public_ const char *tractor_portal_id(const tractor_portal *p)
{
        return p->id;
}

_public_ pid_t tractor_portal_pid(const tractor_portal *p)
{
        return p->pid;
}

_public_ int tractor_portal_open_fds(int in, int out, tractor_portal **ret)
{
        PortalOptions o = { .has_output = in != out, .output = out, .hello_usec = HELLO_USEC };

        if (!runtime || runtime_is_foreign()) {
                safe_close(in);
                if (in != out)
                        safe_close(out);
                return task_missing();
        }
        return portal_new(runtime, in, &o, ret);
}
