/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/io.h"
#include "embed/locate.h"
#include "libtractor/child.h"
#include "libtractor/crash.h"
#include "libtractor/error-private.h"
#include "libtractor/nursery.h"
#include "libtractor/tree.h"
#include "tractor/task.h"

#define REMIND_USEC USEC_PER_SEC
#define NAME_TRIES 64
#define ANSWER_MS 5000 /* and SESSION_GRACE_MS, as for any call with a deadline */

/* --- what the supervisor says --- */
static void on_accept(Tree *t, Session *s, const Message *m)
{
        Json *peer = json_get(m->params, "peer");
        ServedPeer served = { .path = json_get_string(peer, "path", NULL),
                .id = json_get_string(peer, "id", NULL),
                .uid = (uid_t) json_get_integer(peer, "uid", -1),
                .pid = (pid_t) json_get_integer(peer, "pid", 0),
                .last_id = json_get_integer(m->params, "last_id", 0),
                .hello = json_get(m->params, "hello"),
                .exit_told = true };
        int fd;

        if (session_take_fds(s, &fd, 1) < 0)
                return;
        /* A failure is the peer's: its connection closes. */
        if (t->server)
                (void) server_accept(t->server, fd, &served);
        else
                safe_close(fd);
}

static void on_peer_exited(Tree *t, Json *params)
{
        const char *id = json_get_string(params, "id", NULL), *path = json_get_string(params, "path", NULL);

        LIST_FOREACH_SAFE(i, &t->awaited) {
                Awaited *a = LIST_ENTRY(i, Awaited, node);

                if (path && streq(a->path, path))
                        (void) json_append(a->ends, json_ref(params)); /* without memory: not told */
        }
        LIST_FOREACH_SAFE(i, &t->portals) {
                tractor_portal *p = LIST_ENTRY(i, tractor_portal, watched);

                if (id && streq_ptr(tractor_portal_id(p), id))
                        portal_told_end(p, params);
        }
        if (t->server && path)
                server_peer_exited(t->server, path, id, json_get(params, "exit"));
}

static void on_notification(Session *s, const Message *m, void *userdata)
{
        Tree *t = userdata;

        if (streq(m->method, "$/accept"))
                on_accept(t, s, m);
        else if (streq(m->method, "$/peer_exited"))
                on_peer_exited(t, m->params);
        else if (streq(m->method, "$/child_exited"))
                children_exited(t, m->params);
        else if (streq(m->method, "$/cancel"))
                scope_cancel(t->runtime->main_scope, json_get_string(m->params, "reason", NULL),
                                json_get_string(m->params, "canceller", NULL));
}

static void on_end(tractor_portal *p, void *userdata)
{
        Tree *t = userdata;

        t->lost = true;
        crash_set_channel(-EBADF);
        children_lost(t);
        LIST_FOREACH(i, &t->portals)
                portal_untold(LIST_ENTRY(i, tractor_portal, watched));
        /* Nobody starts an actor again or asks it to stop any more: it ends by itself. */
        if (t->is_actor)
                scope_cancel(t->runtime->main_scope, "the supervisor has gone", NULL);
}

static const PortalHooks hooks = { .on_notification = on_notification, .on_end = on_end };

/* --- coming and going --- */
int tree_end_daemon(Tree *t)
{
        return t ? daemon_end(TAKE_PTR(t->daemon)) : 0;
}

void tree_let_go(Tree *t)
{
        Session *s = portal_session(t->control);

        if (t->daemon)
                daemon_release(t->daemon);
        else if (s)
                session_close(s);
}

const char *tree_loss(const Tree *t)
{
        return t->silent ?: "the supervisor has gone";
}

static void on_alive(Json *result, Json *error, int *fds, size_t n_fds, void *userdata)
{
        Tree *t = userdata;
        Session *s = portal_session(t->control);
        const char *warning = json_get_string(result, "warning", NULL);

        t->asked = false;
        if (!s || (!warning && json_get_integer(error, "code", 0) != ERROR_DEADLINE_EXCEEDED))
                return;
        t->silent = warning ? xasprintf("the supervisor at %s: %s", t->socket, warning)
                            : xasprintf("the supervisor at %s does not answer", t->socket);
        stream_fail(session_stream(s), -ETIMEDOUT);
}

static void ask_alive(Tree *t)
{
        static const ReplyVtable alive = { .on_reply = on_alive };
        const CallOptions o = { .deadline_ms = ANSWER_MS };
        Session *s = portal_session(t->control);

        if (s && !t->asked && t->runtime->main_scope->cancelled)
                t->asked = session_call(s, "supervisor.ping", NULL, &o, &alive, t) > 0;
}

static void reminder_due(Timer *timer)
{
        Tree *t = container_of(timer, Tree, reminder);

        if (!families_closing(t))
                return;
        if (t->daemon)
                daemon_continue(t->daemon);
        else
                ask_alive(t);
        (void) timer_set(&t->runtime->timers, timer, usec_add(now_usec(CLOCK_MONOTONIC), REMIND_USEC));
}

void tree_remind(Tree *t)
{
        t->reminder.fire = reminder_due;
        if (!t->is_actor && t->reminder.index == 0)
                (void) timer_set(&t->runtime->timers, &t->reminder,
                                usec_add(now_usec(CLOCK_MONOTONIC), REMIND_USEC));
}

Tree *tree_free(Tree *t)
{
        if (!t)
                return NULL;
        assert(list_is_empty(&t->families));
        timer_off(&t->runtime->timers, &t->reminder);
        LIST_FOREACH_SAFE(i, &t->portals)
                list_unlink(i);
        tractor_portal_unref(t->control);
        (void) tree_end_daemon(t);
        free(t->path);
        free(t->name);
        free(t->id);
        free(t->socket);
        free(t->silent);
        free(t);
        return NULL;
}
DEFINE_CLEANUP(Tree *, tree_free);

static int tree_new(Runtime *rt, Tree **ret)
{
        Tree *t = calloc(1, sizeof(*t));

        if (!t)
                return -ENOMEM;
        t->runtime = rt;
        t->channel = -EBADF;
        list_init(&t->portals);
        list_init(&t->families);
        list_init(&t->awaited);
        wait_queue_init(&t->ended);
        *ret = t;
        return 0;
}

static int open_control(Tree *t, int fd)
{
        PortalOptions o = { .path = "/", .supervisor = true, .hooks = &hooks, .userdata = t };

        return portal_new(t->runtime, fd, &o, &t->control);
}

int tree_new_actor(Runtime *rt, int channel, Tree **ret)
{
        _cleanup_(tree_freep) Tree *t = NULL;
        _cleanup_close_ int fd = channel;
        const char *path = secure_getenv("TRACTOR_PATH"), *slash = path ? strrchr(path, '/') : NULL;
        const char *instance = secure_getenv("TRACTOR_INSTANCE");
        int r = path ? tree_new(rt, &t) : -EINVAL;

        if (r < 0)
                return r;
        t->is_actor = true;
        t->channel = channel;
        t->is_private = instance && instance[0] == 'r';
        if (free_and_strdup(&t->path, path) < 0 || free_and_strdup(&t->name, slash ? slash + 1 : path) < 0 ||
                        free_and_strdup(&t->id, secure_getenv("TRACTOR_ACTOR_ID")) < 0)
                return -ENOMEM;
        r = fd_set_cloexec(fd, true);
        if (r < 0)
                return r;
        r = open_control(t, TAKE_FD(fd));
        if (r < 0)
                return r;
        *ret = TAKE_PTR(t);
        return 0;
}

/* A supervisor that runs on this machine for more than one program: named, the user's, the system's. Not another program's private
 * one: that ends with it. 0: there is none. */
static int connect_running(int *ret, char **ret_socket)
{
        const char *named = secure_getenv("TRACTOR_SOCKET");
        const LocateChoice choices[] = { { .user = true }, { .system = true } };
        Surroundings s;

        if (named) {
                int fd = connect_to(named);

                if (fd < 0)
                        return error_fail(ERROR_CONNECTION_LOST, NULL, NULL, "TRACTOR_SOCKET: %s: %s", named,
                                        strerror(-fd));
                *ret_socket = strdup(named);
                *ret = fd;
                return 1;
        }
        surroundings_get(&s);
        for (size_t i = 0; i < ELEMENTSOF(choices); i++) {
                _cleanup_free_ char *error = NULL;

                if (locate_connect(&choices[i], &s, ret, ret_socket, &error) >= 0)
                        return 1;
        }
        return 0;
}

static void on_daemon_exit(Daemon *d, void *userdata)
{
        Tree *t = userdata;

        wait_queue_wake_all(&t->ended, 0);
}

/* Without blocking the loop, as daemon_start() would. */
static int start_daemon(Tree *t, const DaemonOptions *o)
{
        int r = daemon_begin(o, &t->daemon);

        if (r >= 0)
                r = tractor_wait_fd(t->daemon->start_fd, EPOLLIN);
        return r < 0 ? r : daemon_begun(t->daemon);
}

/* One that nobody could use: its end is awaited while other tasks run, as daemon_end() would not. */
static void discard_daemon(Tree *t)
{
        uint64_t now = now_usec(CLOCK_MONOTONIC), until = usec_add(now, DAEMON_END_LIMIT_USEC);

        if (!t->daemon)
                return;
        daemon_release(t->daemon);
        while (!t->daemon->exited) {
                (void) task_park_shielded(&t->ended, "end of a private supervisor",
                                usec_add(now, DAEMON_CONTINUE_USEC));
                now = now_usec(CLOCK_MONOTONIC);
                (now < until ? daemon_continue : daemon_kill)(t->daemon);
        }
        (void) tree_end_daemon(t);
}

static int start_private(Tree *t, int *ret)
{
        _cleanup_free_ char *path = NULL, *text = NULL;
        DaemonOptions o = { .event = t->runtime->event,
                .backend = t->runtime->options.backend ?: secure_getenv("TRACTOR_BACKEND"),
                .log_level = secure_getenv("TRACTOR_LOG_LEVEL") ?: "crit",
                .on_exit = on_daemon_exit,
                .userdata = t };
        Surroundings s;
        int r;

        surroundings_get(&s);
        r = locate_published_path(&s, t->name, &path);
        if (r < 0)
                return error_fail(ERROR_INTERNAL, NULL, NULL,
                                "no place for a private supervisor's socket: %s", strerror(-r));
        o.socket = path;
        r = start_daemon(t, &o);
        if (r == -ECANCELED)
                return r;
        if (r < 0) {
                text = daemon_describe_failure(r);
                return error_fail(ERROR_SPAWN_FAILED, NULL, NULL,
                                "no supervisor runs, and a private one can't: %s", text ?: strerror(-r));
        }
        t->is_private = true;
        t->socket = TAKE_PTR(path);
        r = connect_to(t->socket);
        /* It listened when it was started: now it is over, and its socket with it or not. */
        if (r == -ECONNREFUSED || r == -ENOENT)
                return -ECONNRESET;
        if (r < 0)
                return r;
        *ret = r;
        return 0;
}

/* NAME-PID, and one more number from the second try on. */
static char *name_of_base(const Tree *t)
{
        _cleanup_free_ char *name =
                        t->is_private ? strdup(t->name) : xasprintf("%.40s-%d", t->name, (int) getpid());

        if (!name || t->n_connections == 0)
                return TAKE_PTR(name);
        return xasprintf("%.50s-%u", name, t->n_connections + 1);
}

static int open_named(Tree *t)
{
        _cleanup_free_ char *name = name_of_base(t), *path = name ? xasprintf("/%s", name) : NULL;
        Json *params = NULL;
        int r;

        t->n_connections++;
        if (!path || json_pack(&params, "{parent:s, name:s, strategy:s}", "/", name, "one_cancels_one") < 0)
                return -ENOMEM;
        r = tractor_portal_call(t->control, "nursery.open", params, NULL);
        if (r >= 0)
                t->path = TAKE_PTR(path);
        return r;
}

/* The nursery of all our nurseries. What went with an earlier connection, or with an earlier process of our number, may still be
 * ending under its name; and a process of another PID namespace may have that number now. */
static int open_base(Tree *t)
{
        int r = open_named(t);

        for (int tries = 0; r == -EEXIST && tries < NAME_TRIES; tries++)
                r = open_named(t);
        return r;
}

/* What a node may be called: the program's name with what it may not contain replaced. */
static char *name_of_root(const Runtime *rt)
{
        char *name = strndup(rt->options.name ?: program_invocation_short_name, 60);

        for (char *c = name; c && *c; c++)
                if (!(*c >= 'a' && *c <= 'z') && !(*c >= 'A' && *c <= 'Z') && !(*c >= '0' && *c <= '9') &&
                                (c == name || !strchr("_.-", *c)))
                        *c = '_';
        return name;
}

static int connect_root(Runtime *rt, Tree **ret)
{
        _cleanup_(tree_freep) Tree *t = NULL;
        bool started;
        int fd, r = tree_new(rt, &t);

        if (r < 0)
                return r;
        t->name = name_of_root(rt);
        if (!t->name)
                return -ENOMEM;
        r = rt->options.flags & TRACTOR_EMBED ? 0 : connect_running(&fd, &t->socket);
        if (r == 0)
                r = start_private(t, &fd);
        if (r >= 0)
                r = open_control(t, fd);
        if (r >= 0)
                r = open_base(t);
        /* Who was cancelled leaves it to the next who needs one, or to the end. */
        if (r == -ECANCELED && t->control && portal_session(t->control)) {
                *ret = TAKE_PTR(t);
                return r;
        }
        started = t->daemon;
        if (r < 0)
                discard_daemon(t);
        if (r == -ECONNRESET && started)
                return error_fail(ERROR_SPAWN_FAILED, NULL, NULL,
                                "a private supervisor was started and ended at once; "
                                "'TRACTOR_LOG_LEVEL=info %s' shows why",
                                program_invocation_name);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(t);
        return 0;
}

/* The keeper has started another supervisor, which ends what the one before left; what is begun from now on is its. */
static int connect_again(Tree *t)
{
        int fd, r;

        if (t->is_actor || !t->socket || !list_is_empty(&t->families))
                return error_fail(ERROR_CONNECTION_LOST, NULL, NULL, "%s", tree_loss(t));
        fd = connect_to(t->socket);
        if (fd < 0)
                return error_fail(ERROR_CONNECTION_LOST, NULL, NULL,
                                "the supervisor has gone, and there is no other: %s: %s", t->socket,
                                strerror(-fd));
        t->control = tractor_portal_unref(t->control);
        r = open_control(t, fd);
        if (r < 0)
                return r;
        t->lost = t->asked = false;
        free(TAKE_PTR(t->silent));
        free(TAKE_PTR(t->path));
        return 0;
}

static int connect_any(Runtime *rt)
{
        int r = 0;

        if (!rt->tree)
                return connect_root(rt, &rt->tree);
        if (rt->tree->lost)
                r = connect_again(rt->tree);
        return r < 0 ? r : open_base(rt->tree);
}

int tree_get(Tree **ret)
{
        Runtime *rt = task_current() ? runtime : NULL;
        int r;

        if (!rt)
                return task_missing();
        while (rt->connecting) {
                r = task_park(&rt->connected, "connection to the supervisor", USEC_INFINITY);
                if (r < 0)
                        return r;
        }
        if (!rt->tree || rt->tree->lost || !rt->tree->path) {
                /* Else a supervisor would be started for nobody, and its end waited for. */
                if (tractor_is_cancelled())
                        return -ECANCELED;
                rt->connecting = true;
                r = connect_any(rt);
                rt->connecting = false;
                wait_queue_wake_all(&rt->connected, 0);
                if (r < 0)
                        return r;
        }
        *ret = rt->tree;
        return 0;
}

static void watch_portal(Tree *t, tractor_portal *p)
{
        list_unlink(&p->watched);
        list_append(&t->portals, &p->watched);
}

int tree_await_ends(Tree *t, const char *path, Awaited *a)
{
        int r = json_pack(&a->ends, "[]");

        if (r < 0)
                return r;
        a->path = path;
        list_append(&t->awaited, &a->node);
        return 0;
}

void tree_awaited(Tree *t, Awaited *a, tractor_portal *p)
{
        list_unlink(&a->node);
        if (p)
                watch_portal(t, p);
        for (size_t i = 0; p && i < json_length(a->ends); i++) {
                const Json *end = json_item(a->ends, i);

                if (streq_ptr(json_get_string(end, "id", NULL), tractor_portal_id(p)))
                        portal_told_end(p, end);
        }
        a->ends = json_unref(a->ends);
}

static void on_ignored_reply(Json *result, Json *error, int *fds, size_t n_fds, void *userdata)
{
}

int tree_ask(Tree *t, const char *method, Json *params)
{
        static const ReplyVtable ignored = { .on_reply = on_ignored_reply };
        Session *s = portal_session(t->control);
        int64_t id;

        if (!s) {
                json_unref(params);
                return -ECONNRESET;
        }
        id = session_call(s, method, params, NULL, &ignored, NULL);
        return id < 0 ? (int) id : 0;
}

_public_ const char *tractor_path(void)
{
        return runtime && runtime->tree ? runtime->tree->path : NULL;
}

_public_ const char *tractor_id(void)
{
        return runtime && runtime->tree ? runtime->tree->id : NULL;
}

_public_ const char *tractor_name(void)
{
        if (runtime && runtime->tree)
                return runtime->tree->name;
        return runtime && runtime->options.name ? runtime->options.name : program_invocation_short_name;
}

_public_ bool tractor_is_actor(void)
{
        return runtime && runtime->tree && runtime->tree->is_actor;
}
