/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>

#include "base/error.h"
#include "base/io.h"
#include "base/usec.h"
#include "supervisor/entry.h"
#include "supervisor/events.h"
#include "supervisor/methods.h"
#include "supervisor/node-json.h"
#include "supervisor/portal.h"

#define REASON_MAX 1024U

Call *op_end(Op *op)
{
        Call *call = op->call;

        free(op);
        return call;
}

static void on_op_cancel(Call *call, void *userdata)
{
        Op *op = userdata;

        waiter_free(op->waiter);
        call_fail(op_end(op), ERROR_CANCELLED, NULL, "%s: the request was cancelled", call_method(call));
}

bool op_wait(Request *q, Node *node, bool (*check)(Waiter *w, bool removed))
{
        Op *op = calloc(1, sizeof(Op));

        if (op)
                op->waiter = member_wait(node_member(node), check, op);
        if (!op || !op->waiter) {
                free(op);
                request_fail_memory(q);
                return false;
        }
        op->call = q->call;
        op->manager = q->manager;
        op->peer = q->peer;
        call_set_userdata(q->call, op, on_op_cancel);
        return true;
}

bool request_set_canceller(Request *q, Node *node)
{
        const char *reason = json_get_string(q->params, "reason", NULL);
        char name[PEER_NAME_SIZE];

        if (reason && strlen(reason) > REASON_MAX) {
                call_fail(q->call, ERROR_INVALID_PARAMS, NULL, "reason: at most %u bytes", REASON_MAX);
                return false;
        }
        if (member_set_canceller(node_member(node), peer_name(q->peer, name), reason) < 0) {
                request_fail_memory(q);
                return false;
        }
        return true;
}

static Node *request_member(Request *q)
{
        Node *node = request_node(q, "path");

        if (node && !node_member(node)) {
                call_fail(q->call, ERROR_INVALID_PARAMS, NULL,
                                "path: not possible for /; name a tree or an actor");
                return NULL;
        }
        return node;
}

Node *request_actor(Request *q)
{
        Node *node = request_member(q);

        if (node && node->spec.kind != NODE_ACTOR) {
                call_fail(q->call, ERROR_INVALID_PARAMS, NULL, "%s is a supervisor, not an actor",
                                node->path);
                return NULL;
        }
        return node;
}

/* --- spawn --- */

typedef enum Want {
        WANT_PORTAL,
        WANT_PIDFD,
        _WANT_MAX,
} Want;

/* Cancelling the request takes the child out again; losing the connection does not. */
typedef struct Spawn {
        Call *call;
        const Peer *peer; /* while the call has its session */
        Loading *loading;
        Want wants[_WANT_MAX];
        size_t n_wants;
} Spawn;

static void on_spawn_cancel(Call *call, void *userdata)
{
        Spawn *spawn = userdata;

        if (call_is_wanted(call))
                loading_cancel(spawn->loading);
}

static int copy_pidfd(const Life *life, int *ret)
{
        int fd = fcntl(life->pidfd, F_DUPFD_CLOEXEC, 3), r = fd < 0 ? -errno : fd_check_reserve(fd);

        if (r >= 0)
                *ret = fd;
        else
                safe_close(fd);
        return r;
}

/* In the order they were asked for. What can't be had makes the answer an error; the child is there all the same. */
static int open_wanted(const Spawn *spawn, Member *member, int *fds, size_t *n_fds)
{
        for (size_t i = 0; i < spawn->n_wants && call_is_wanted(spawn->call); i++) {
                int r = 0;

                if (spawn->wants[i] == WANT_PORTAL)
                        r = portal_connect(member, spawn->peer, true, &fds[*n_fds]);
                else if (!member->life)
                        r = -ESRCH;
                else
                        r = copy_pidfd(member->life, &fds[*n_fds]);
                if (r < 0)
                        return r;
                (*n_fds)++;
        }
        return 0;
}

static void answer_spawned(Spawn *spawn, Member *member)
{
        const BackendVtable *home = member->home->backend->vtable;
        int fds[_WANT_MAX], r;
        Json *result = NULL;
        size_t n_fds = 0;

        r = open_wanted(spawn, member, fds, &n_fds);
        if (r >= 0)
                r = json_pack(&result, "{path:s, id:s, pid:i, unit:s, cgroup:s}", member->node->path,
                                member->id, member->life ? member->life->pid : 0,
                                home->home_unit(member->home), home->home_cgroup(member->home));
        if (r >= 0) {
                call_reply(spawn->call, result, fds, n_fds);
                return;
        }
        close_many(fds, n_fds);
        call_fail(spawn->call, r == -EOPNOTSUPP ? ERROR_UNSUPPORTED : ERROR_INTERNAL, NULL,
                        "%s was started, but what was wanted can't be had: %s", member->node->path,
                        r == -EOPNOTSUPP ? "it has no channel" : strerror(-r));
}

static void spawned(Node *node, Json *error, void *userdata)
{
        Spawn *spawn = userdata;

        if (!node)
                call_fail_loading(spawn->call, error);
        else
                answer_spawned(spawn, node_member(node));
        free(spawn);
}

/* The child keys are the request's own members without those that are about the request. */
static int child_of(const Json *params, const Entry *entry, Json **ret)
{
        static const char *const others[] = { "parent", "want" };
        JsonIterator i = { 0 };
        Json *child = NULL;
        int r;

        /* What is run by a descriptor has a path for form's sake, until entry_give(). */
        r = entry->name ? json_pack(&child, "{exec:[s]}", "/") : json_pack(&child, "{}");
        while (r >= 0 && json_next(params, &i)) {
                bool ours = false;

                for (size_t k = 0; k < ELEMENTSOF(others); k++)
                        ours |= streq(i.key, others[k]);
                ours |= entry_is_key(i.key);
                if (!ours)
                        r = json_set(child, i.key, json_ref(i.value));
        }
        if (r < 0) {
                json_unref(child);
                return r;
        }
        *ret = child;
        return 0;
}

/* Which descriptors the caller wants along; answers the call when it asks for what can't be given. */
static bool parse_want(Request *q, Spawn *spawn)
{
        const Json *want = json_get(q->params, "want");

        if (!request_check(q, "want", JSON_ARRAY, false))
                return false;
        for (size_t i = 0; i < json_length(want); i++) {
                const char *s = strna(json_string(json_item(want, i)));
                Want w = streq(s, "portal") ? WANT_PORTAL : streq(s, "pidfd") ? WANT_PIDFD : _WANT_MAX;

                if (w == _WANT_MAX || spawn->n_wants == _WANT_MAX ||
                                (spawn->n_wants == 1 && spawn->wants[0] == w)) {
                        call_fail(q->call, ERROR_INVALID_PARAMS, NULL,
                                        "want: must hold \"portal\" or \"pidfd\", each once");
                        return false;
                }
                spawn->wants[spawn->n_wants++] = w;
        }
        /* Said before anything is started. */
        for (size_t i = 0; i < spawn->n_wants; i++)
                if (spawn->wants[i] == WANT_PORTAL && !json_get(q->params, "channel")) {
                        call_fail(q->call, ERROR_INVALID_PARAMS, NULL, "want: a portal needs a \"channel\"");
                        return false;
                }
        return true;
}

void method_actor_spawn(Request *q)
{
        Node *parent = request_node(q, "parent");
        _cleanup_json_ Json *child = NULL;
        _cleanup_(entry_done) Entry entry = { .fd = -EBADF };
        Spawn wanted = { .call = q->call, .peer = q->peer }, *spawn;

        if (!parent || !parse_want(q, &wanted) || !entry_of_request(q, &entry))
                return;
        if (parent->spec.kind != NODE_SUPERVISOR || !node_member(parent)) {
                call_fail(q->call, ERROR_INVALID_PARAMS, NULL,
                                "parent: %s can't have children of its own; name a tree or a supervisor in "
                                "one",
                                parent->path);
                return;
        }
        spawn = child_of(q->params, &entry, &child) < 0 ? NULL : calloc(1, sizeof(Spawn));
        if (!spawn) {
                request_fail_memory(q);
                return;
        }
        *spawn = wanted;
        call_set_userdata(q->call, spawn, on_spawn_cancel);
        manager_spawn_child(q->manager, q->peer, parent, child, &entry, spawned, spawn, &spawn->loading);
}

/* --- cancel --- */

static bool is_over(const Node *node)
{
        return !node_is_active(node) && (node->state == NODE_DEAD || node->state == NODE_FAILED);
}

static void answer_cancelled(Call *call, const Node *node)
{
        Json *exit = NULL, *result = NULL;

        if (exit_to_json(&node->exit, &exit) < 0 || json_pack(&result, "{exit:o}", exit) < 0)
                call_fail(call, ERROR_INTERNAL, NULL, "out of memory");
        else
                call_reply(call, result, NULL, 0);
}

/* What was cancelled is gone as well when a request to restart it has overtaken this one. */
static bool check_cancelled(Waiter *w, bool removed)
{
        const Node *node = w->member->node;

        if (!removed && !is_over(node) && node->generation == w->generation)
                return false;
        answer_cancelled(op_end(w->userdata), node);
        return true;
}

void method_actor_cancel(Request *q)
{
        Node *node = request_member(q);
        Event event = { .type = EVENT_CANCEL,
                .node = node,
                .now = now_usec(CLOCK_MONOTONIC),
                .grace_usec = USEC_INFINITY };
        int64_t grace;

        if (!node || !request_check(q, "grace_ms", JSON_INTEGER, false) ||
                        !request_check(q, "reason", JSON_STRING, false))
                return;
        grace = json_get_integer(q->params, "grace_ms", -1);
        if (json_has(q->params, "grace_ms")) {
                if (grace < 0 || grace > INT32_MAX) {
                        call_fail(q->call, ERROR_INVALID_PARAMS, NULL, "grace_ms: must be from 0 to %d",
                                        INT32_MAX);
                        return;
                }
                event.grace_usec = (uint64_t) grace * USEC_PER_MSEC;
        }
        if (is_over(node))
                answer_cancelled(q->call, node); /* told all the same: no group restart may take it along */
        else if (!request_set_canceller(q, node) || !op_wait(q, node, check_cancelled))
                return;
        manager_step(q->manager, &event);
}

/* --- kill --- */

static int requested_signal(Request *q)
{
        const Json *v = json_get(q->params, "signal");

        if (!v)
                return SIGTERM;
        if (json_type(v) == JSON_INTEGER && json_integer(v) > 0 && json_integer(v) < NSIG)
                return (int) json_integer(v);
        if (json_type(v) == JSON_STRING)
                return signal_from_name(json_string(v));
        return -EINVAL;
}

void method_actor_kill(Request *q)
{
        Node *node = request_actor(q);
        Life *life;
        int signo, r;

        if (!node)
                return;
        signo = requested_signal(q);
        if (signo < 0) {
                call_fail(q->call, ERROR_INVALID_PARAMS, NULL, "signal: not a signal's name or number");
                return;
        }
        life = node_member(node)->life;
        if (!life || life->phase == LIFE_ENDED || life->pidfd < 0) {
                call_fail(q->call, ERROR_ACTOR_STOPPED, NULL, "%s is not running (%s)", node->path,
                                node_state_to_string(node->state));
                return;
        }
        life->killed_by_us |= signo == SIGKILL;
        r = life_signal(life, signo);
        if (r < 0)
                call_fail(q->call, r == -EPERM ? ERROR_PERMISSION_DENIED : ERROR_ACTOR_STOPPED, NULL,
                                "%s: %s", node->path, strerror(-r));
        else
                request_done(q->call);
}

/* --- restart --- */

static bool check_restarted(Waiter *w, bool removed)
{
        Node *node = w->member->node;
        Op *op = w->userdata;
        Json *error = NULL;
        bool again = node->generation != w->generation;

        if (removed) {
                call_fail(op_end(op), ERROR_ACTOR_STOPPED, NULL, "%s was removed", node->path);
        } else if (again && (node->state == NODE_READY ||
                                            (node->state == NODE_DEAD && node->exit.cause != CAUSE_STOP))) {
                request_done(op_end(op));
        } else if (node->state == NODE_DEAD) {
                call_fail(op_end(op), ERROR_ACTOR_STOPPED, NULL, "%s was stopped", node->path);
        } else if (node->state == NODE_FAILED) {
                (void) node_error(node, &error);
                call_fail_loading(op_end(op), error);
                json_unref(error);
        } else {
                return false;
        }
        return true;
}

void method_actor_restart(Request *q)
{
        Node *node = request_member(q), *parent;
        bool over;

        if (!node)
                return;
        parent = node->parent;
        if (node_member(parent) && parent->state != NODE_READY && parent->state != NODE_STARTING) {
                call_fail(q->call, ERROR_ACTOR_STOPPED, NULL, "%s: its supervisor %s is %s; restart that",
                                node->path, parent->path, node_state_to_string(parent->state));
                return;
        }
        if (!node_may_start(node)) {
                call_fail(q->call, ERROR_ACTOR_STOPPED, NULL, "%s: it or its supervisor is being stopped",
                                node->path);
                return;
        }
        if (!request_set_canceller(q, node) || !op_wait(q, node, check_restarted))
                return;
        over = node->state == NODE_DEAD || node->state == NODE_FAILED;
        manager_event(q->manager, over ? EVENT_START : EVENT_RESTART, node);
}

/* --- freeze, thaw, limits --- */

static void set_frozen(Request *q, bool frozen)
{
        Node *node = request_member(q);
        int r;

        if (!node)
                return;
        if (!node_is_active(node)) {
                call_fail(q->call, ERROR_ACTOR_STOPPED, NULL, "%s is not running (%s)", node->path,
                                node_state_to_string(node->state));
                return;
        }
        r = member_freeze(node_member(node), frozen);
        if (r < 0) {
                if (frozen && !node->frozen)
                        (void) member_freeze(node_member(node), false); /* some of it may be */
                call_fail(q->call, r == -EOPNOTSUPP ? ERROR_UNSUPPORTED : ERROR_INTERNAL, NULL,
                                "%s: can't %s: %s", node->path, frozen ? "freeze" : "thaw",
                                r == -EOPNOTSUPP ? "this backend has no freezer" : strerror(-r));
                return;
        }
        manager_event(q->manager, frozen ? EVENT_FREEZE : EVENT_THAW, node);
        events_simple(q->manager->events, node, frozen ? "frozen" : "thawed");
        request_done(q->call);
}

void method_actor_freeze(Request *q)
{
        set_frozen(q, true);
}

void method_actor_thaw(Request *q)
{
        set_frozen(q, false);
}

/* Reads params.limits; all problems at once. */
static int parse_limits(Request *q, Limits *ret)
{
        ConfigProblems problems = { 0 };
        JsonIterator i = { 0 };
        Json *error = NULL;
        int r = 0;

        while (json_next(json_get(q->params, "limits"), &i)) {
                Limit which = limit_from_name(i.key);
                _cleanup_free_ char *pointer = xasprintf("/limits/%s", i.key);
                const char *why = "not a limit";

                if (which >= 0 && limits_set_from_json(ret, which, i.value, &why) >= 0)
                        continue;
                r = -EINVAL;
                if (pointer)
                        (void) config_problem_add(&problems, pointer, false, "%s", why);
        }
        if (r < 0) {
                if (problems_to_error(&problems, 0, "limits", &error) < 0)
                        request_fail_memory(q);
                else
                        call_fail_object(q->call, error);
        }
        config_problems_done(&problems);
        return r;
}

void method_actor_set_limits(Request *q)
{
        Node *node = request_member(q);
        Json *shown = NULL, *error = NULL;
        Limit limit = _LIMIT_INVALID;
        Limits limits = { 0 };
        int r;

        if (!node || !request_check(q, "limits", JSON_OBJECT, true))
                return;
        if (parse_limits(q, &limits) < 0) {
                limits_done(&limits);
                return;
        }
        r = member_check_limits(node_member(node), &limits, &error);
        if (r >= 0)
                r = member_set_limits(node_member(node), &limits, &limit);
        limits_done(&limits);
        if (error) {
                call_fail_object(q->call, error);
        } else if (r == -EOPNOTSUPP && limit >= 0) {
                call_fail(q->call, ERROR_UNSUPPORTED, NULL, "%s: this kernel has no %s", node->path,
                                limit_name(limit));
        } else if (r < 0) {
                call_fail(q->call, ERROR_INTERNAL, NULL, "%s: can't set limits: %s", node->path,
                                strerror(-r));
        } else {
                if (events_wanted(q->manager->events) &&
                                limits_to_json(&node_member(node)->limits, &shown) >= 0)
                        events_publish(q->manager->events, node->path, "limits", shown);
                request_done(q->call);
        }
}
