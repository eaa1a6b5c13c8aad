/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/path.h"
#include "base/usec.h"
#include "tractor-config.h"
#include "supervisor/events.h"
#include "supervisor/listener.h"
#include "supervisor/methods.h"

static void method_ping(Request *q)
{
        request_done(q->call);
}

static int status_features(Json **ret)
{
        return json_pack(ret, "[s,s,s,s]", "trees", "events", "limits", "freeze");
}

static void method_status(Request *q)
{
        Manager *m = q->manager;
        Json *features = NULL, *status = NULL;

        if (status_features(&features) < 0 ||
                        json_pack(&status,
                                        "{version:s, pid:i, keeper_pid:i, instance:s, uptime_ms:U, "
                                        "backend:s, why:s, cgroup:s,"
                                        " controllers:s, actors:i, supervisors:i, connections:i, "
                                        "embedded:b, log_dropped:U, features:o}",
                                        TRACTOR_VERSION, (int) getpid(), m->keeper_pid, m->instance,
                                        (now_usec(CLOCK_MONOTONIC) - m->start_usec) / USEC_PER_MSEC,
                                        backend_kind_to_string(m->backend->vtable->kind), m->backend_why,
                                        m->backend->cgroup, m->backend->controllers, (int) m->n_actors,
                                        (int) m->n_supervisors, (int) listener_n_connections(m->listener),
                                        m->embedded, journal_dropped(m->journal), features) < 0) {
                request_fail_memory(q);
                return;
        }
        call_reply(q->call, status, NULL, 0);
}

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

static const struct {
        const char *name;
        method_handler_t handler;
} methods[] = {
        { "supervisor.ping", method_ping },
        { "supervisor.status", method_status },
        { "tree.get", method_tree_get },
        { "tree.load", method_tree_load },
        { "tree.apply", method_tree_apply },
        { "tree.validate", method_tree_validate },
        { "tree.unload", method_tree_unload },
        { "actor.spawn", method_actor_spawn },
        { "actor.cancel", method_actor_cancel },
        { "actor.kill", method_actor_kill },
        { "actor.restart", method_actor_restart },
        { "actor.freeze", method_actor_freeze },
        { "actor.thaw", method_actor_thaw },
        { "actor.set_limits", method_actor_set_limits },
        { "events.subscribe", method_subscribe },
        { "supervisor.reexec", method_later },
        { "nursery.open", method_later },
        { "nursery.close", method_later },
        { "actor.connect", method_later },
        { "actor.attach", method_later },
        { "actor.find", method_later },
        { "actor.wait_for", method_later },
        { "debug.lock", method_later },
        { "debug.unlock", method_later },
};

static method_handler_t find_method(const char *name)
{
        for (size_t i = 0; i < ELEMENTSOF(methods); i++)
                if (streq(methods[i].name, name))
                        return methods[i].handler;
        return NULL;
}

void methods_dispatch(Manager *m, const Peer *peer, Call *call, const Message *message)
{
        Request q = {
                .manager = m, .peer = peer, .call = call, .params = message->params, .if_id = message->if_id
        };
        method_handler_t handler = find_method(message->method);
        const char *rule;

        rule = access_check(peer, message->method);
        if (rule) {
                /* A name of ours or none: a stranger does not write our log. */
                log_notice("refused %s of uid %u, pid %d: %s", handler ? message->method : "a method",
                                (unsigned) peer->uid, (int) peer->pid, rule);
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
