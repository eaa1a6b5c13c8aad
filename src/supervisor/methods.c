/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "base/error.h"
#include "base/path.h"
#include "base/usec.h"
#include "tractor-config.h"
#include "supervisor/events.h"
#include "supervisor/listener.h"
#include "supervisor/methods.h"
#include "supervisor/remember.h"

static void method_ping(Request *q)
{
        const Manager *m = q->manager;
        _cleanup_free_ char *warning = NULL;
        Json *result = NULL;

        if (!keeper_link_is_unread(m->keeper)) {
                request_done(q->call);
                return;
        }
        warning = xasprintf("the keeper (tractord, process %d) does not answer", m->keeper_pid);
        if (!warning || json_pack(&result, "{warning:s}", warning) < 0)
                request_fail_memory(q);
        else
                call_reply(q->call, result, NULL, 0);
}

static int status_features(Json **ret)
{
        return json_pack(ret, "[s,s,s,s,s,s,s,s,s,s,s,s]", "trees", "apply", "events", "limits", "freeze",
                        "portals", "access", "nurseries", "keys", "stdio", "entry", "results");
}

static void method_status(Request *q)
{
        Manager *m = q->manager;
        Json *features = NULL, *access = NULL, *status = NULL;

        if (status_features(&features) < 0 || access_to_json(m->access, &access) < 0 ||
                        json_pack(&status,
                                        "{version:s, pid:i, keeper_pid:i, instance:s, uptime_ms:U, "
                                        "backend:s, why:s, cgroup:s,"
                                        " controllers:s, actors:i, supervisors:i, connections:i, "
                                        "embedded:b, log_dropped:U, access:o, features:o}",
                                        TRACTOR_VERSION, (int) getpid(), m->keeper_pid, m->instance,
                                        (now_usec(CLOCK_MONOTONIC) - m->start_usec) / USEC_PER_MSEC,
                                        backend_kind_to_string(m->backend->vtable->kind), m->backend_why,
                                        m->backend->cgroup, m->backend->controllers, (int) m->n_actors,
                                        (int) m->n_supervisors, (int) listener_n_connections(m->listener),
                                        m->embedded, journal_dropped(m->journal), access, features) < 0) {
                request_fail_memory(q);
                return;
        }
        call_reply(q->call, status, NULL, 0);
}

static void method_methods(Request *q);

static void method_subscribe(Request *q)
{
        const char *path = json_get_string(q->params, "path", "/");

        if (!call_is_dialog(q->call)) {
                call_fail(q->call, ERROR_INVALID_REQUEST, NULL,
                                "events.subscribe is a dialog: send it with \"$\":{\"ctx\":true}");
                return;
        }
        if (!request_check(q, "path", JSON_STRING, false))
                return;
        if (!node_path_is_valid(path)) {
                call_fail(q->call, ERROR_INVALID_PARAMS, NULL, "path: not a path: '%s'", path);
                return;
        }
        events_subscribe(q->manager->events, q->call, path);
}

/* Specified, and built later: refused by name. */
static void method_later(Request *q)
{
        call_fail(q->call, ERROR_UNSUPPORTED, NULL, "%s is not built yet in this version (%s)",
                        call_method(q->call), TRACTOR_VERSION);
}

/* What a request is about, for access_check(): always with all that is below. */
typedef enum Subject {
        SUBJECT_ALL,    /* the supervisor itself, all trees */
        SUBJECT_PATH,   /* params.path, "/" without */
        SUBJECT_PARENT, /* params.parent */
        SUBJECT_TREE,   /* "/" and params.tree.name */
        SUBJECT_FOUND,  /* what will be found: the handler asks about that */
        SUBJECT_SELF,   /* who asks */
} Subject;

typedef struct Method {
        const char *name;
        method_handler_t handler;
        Subject subject;
} Method;

static const Method methods[] = {
        { "$/methods", method_methods, SUBJECT_ALL },
        { "supervisor.ping", method_ping, SUBJECT_ALL },
        { "supervisor.status", method_status, SUBJECT_ALL },
        { "tree.get", method_tree_get, SUBJECT_PATH },
        { "tree.load", method_tree_load, SUBJECT_TREE },
        { "tree.validate", method_tree_validate, SUBJECT_TREE },
        { "tree.unload", method_tree_unload, SUBJECT_PATH },
        { "actor.spawn", method_actor_spawn, SUBJECT_PARENT },
        { "actor.cancel", method_actor_cancel, SUBJECT_PATH },
        { "actor.kill", method_actor_kill, SUBJECT_PATH },
        { "actor.restart", method_actor_restart, SUBJECT_PATH },
        { "actor.freeze", method_actor_freeze, SUBJECT_PATH },
        { "actor.thaw", method_actor_thaw, SUBJECT_PATH },
        { "actor.set_limits", method_actor_set_limits, SUBJECT_PATH },
        { "events.subscribe", method_subscribe, SUBJECT_PATH },
        { "supervisor.reexec", method_later, SUBJECT_ALL },
        { "tree.apply", method_tree_apply, SUBJECT_TREE },
        { "nursery.open", method_nursery_open, SUBJECT_PARENT },
        { "nursery.close", method_nursery_close, SUBJECT_PATH },
        { "actor.connect", method_actor_connect, SUBJECT_PATH },
        { "actor.attach", method_actor_attach, SUBJECT_PATH },
        { "actor.find", method_actor_find, SUBJECT_FOUND },
        { "actor.wait_for", method_actor_wait_for, SUBJECT_FOUND },
        { "actor.register", method_actor_register, SUBJECT_SELF },
        { "actor.unregister", method_actor_unregister, SUBJECT_SELF },
        { "debug.lock", method_later, SUBJECT_ALL },
        { "debug.unlock", method_later, SUBJECT_ALL },
};

static const Method *find_method(const char *name)
{
        for (size_t i = 0; i < ELEMENTSOF(methods); i++)
                if (streq(methods[i].name, name))
                        return &methods[i];
        return NULL;
}

static int compare_names(const void *a, const void *b)
{
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* What an actor answers, too: the names of what is served, sorted. */
static void method_methods(Request *q)
{
        const char *names[ELEMENTSOF(methods)];
        Json *result = NULL;
        size_t n = 0;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(methods); i++)
                if (methods[i].handler != method_later && methods[i].handler != method_methods)
                        names[n++] = methods[i].name;
        qsort(names, n, sizeof(*names), compare_names);
        r = json_pack(&result, "[]");
        for (size_t i = 0; i < n && r >= 0; i++)
                r = json_append(result, json_new_string(names[i], SIZE_MAX));
        if (r < 0) {
                json_unref(result);
                request_fail_memory(q);
                return;
        }
        call_reply(q->call, result, NULL, 0);
}

/* What is no path is about everything: the handler tells what is wrong with it to those who may ask that much. */
static const char *path_or_all(const char *path)
{
        return path && node_path_is_valid(path) ? path : "/";
}

static const char *check_access(Request *q, const Method *method, const char *name, char **ret_path)
{
        _cleanup_free_ char *tree = NULL;
        const char *path = "/";

        switch (method ? method->subject : SUBJECT_ALL) {
        case SUBJECT_PATH:
                path = path_or_all(json_get_string(q->params, "path", NULL));
                break;
        case SUBJECT_PARENT:
                path = path_or_all(json_get_string(q->params, "parent", q->peer->path));
                break;
        case SUBJECT_TREE:
                tree = xasprintf("/%s", json_get_string(json_get(q->params, "tree"), "name", ""));
                path = path_or_all(tree);
                break;
        case SUBJECT_FOUND:
                path = NULL;
                break;
        case SUBJECT_SELF:
                path = q->peer->path ?: "/";
                break;
        case SUBJECT_ALL:
                break;
        }
        *ret_path = path ? strdup(path) : NULL;
        return access_check(q->manager->access, q->peer, name, path);
}

bool method_is_known(const char *name)
{
        size_t n = strlen(name);
        bool all = n > 2 && streq(name + n - 2, ".*");

        for (size_t i = 0; i < ELEMENTSOF(methods); i++)
                if (all ? strncmp(methods[i].name, name, n - 1) == 0 : streq(methods[i].name, name))
                        return true;
        return false;
}

void methods_dispatch(Manager *m, const Peer *peer, Call *call, const Message *message)
{
        Request q = { .manager = m,
                .peer = peer,
                .call = call,
                .session = call_session(call),
                .params = message->params,
                .if_id = message->if_id };
        const Method *method = find_method(message->method);
        method_handler_t handler = method ? method->handler : NULL;
        _cleanup_free_ char *path = NULL;
        const char *rule;

        rule = check_access(&q, method, message->method, &path);
        if (rule) {
                /* A name of ours or none: a stranger does not write our log. */
                access_audit(m->access, peer, method ? method->name : NULL, path, rule);
                call_fail(call, ERROR_PERMISSION_DENIED, NULL, "%s: %s", message->method, rule);
                return;
        }
        if (!handler) {
                call_fail(call, ERROR_METHOD_NOT_FOUND, NULL, "no method '%s'", message->method);
                return;
        }
        if (message->params && json_type(message->params) != JSON_OBJECT) {
                call_fail(call, ERROR_INVALID_PARAMS, NULL, "%s takes its parameters by name, in an object",
                                message->method);
                return;
        }
        if (m->stopping && handler != method_ping && handler != method_status &&
                        handler != method_tree_get) {
                call_fail(call, ERROR_ACTOR_STOPPED, NULL, "the supervisor is stopping");
                return;
        }
        if (!remember_request(m->remember, &q, message))
                handler(&q);
}

void request_fail_memory(Request *q)
{
        call_fail(q->call, ERROR_INTERNAL, NULL, "out of memory");
}

void request_done(Call *call)
{
        Json *result = NULL;

        if (json_pack(&result, "{}") < 0)
                call_fail(call, ERROR_INTERNAL, NULL, "out of memory");
        else
                call_reply(call, result, NULL, 0);
}

bool request_check(Request *q, const char *key, JsonType type, bool required)
{
        const Json *v = json_get(q->params, key);

        if (!v && !required)
                return true;
        if (v && json_type(v) == type)
                return true;
        if (v)
                call_fail(q->call, ERROR_INVALID_PARAMS, NULL, "%s: must be %s, not %s", key,
                                json_type_name(type), json_type_name(json_type(v)));
        else
                call_fail(q->call, ERROR_INVALID_PARAMS, NULL, "%s: is missing (%s)", key,
                                json_type_name(type));
        return false;
}

Node *request_node(Request *q, const char *key)
{
        const char *path;
        Json *data = NULL;
        Node *node;

        if (!request_check(q, key, JSON_STRING, true))
                return NULL;
        path = json_string(json_get(q->params, key));
        if (!node_path_is_valid(path)) {
                call_fail(q->call, ERROR_INVALID_PARAMS, NULL, "%s: not a path: '%.100s'", key, path);
                return NULL;
        }
        node = core_find(q->manager->core, path);
        (void) json_pack(&data, "{actor:s}", path);
        if (!node) {
                call_fail(q->call, ERROR_NO_SUCH_ACTOR, data, "there is no %s", path);
                return NULL;
        }
        if (q->if_id && (!node_member(node) || !streq(node_member(node)->id, q->if_id))) {
                call_fail(q->call, ERROR_NO_SUCH_ACTOR, data, "%s is not the actor with id %s any more",
                                path, q->if_id);
                return NULL;
        }
        json_unref(data);
        return node;
}
