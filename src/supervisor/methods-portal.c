/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>

#include "base/error.h"
#include "base/io.h"
#include "base/path.h"
#include "supervisor/listener.h"
#include "supervisor/methods.h"
#include "supervisor/node-json.h"
#include "supervisor/portal.h"
#include "supervisor/registry.h"

/* Getting at an actor: by a new connection, by handing over one's own, and by name. */

/* --- connect, attach --- */

static bool can_accept(const Node *node)
{
        const Member *member = node_member(node);

        return node->state == NODE_READY && member->life && member->life->phase == LIFE_RUNNING &&
               channel_said_hello(member->channel);
}

static void fail_portal(Call *call, const Node *node, int r)
{
        const char *path = node->path;
        Json *data = NULL;

        (void) json_pack(&data, "{actor:s}", path);
        switch (r) {
        case -EDQUOT:
                call_fail(call, ERROR_LIMIT_EXCEEDED, data,
                                "%s: this connection holds portals to %u actors; use another one", path,
                                PORTALS_PER_HOLDER);
                break;
        case -EBUSY:
        case -ENOBUFS:
                call_fail(call, ERROR_MAILBOX_FULL, data, "%s: does not read what it is told", path);
                break;
        case -EMFILE:
        case -ENFILE:
                call_fail(call, ERROR_LIMIT_EXCEEDED, data,
                                "%s: the supervisor is out of descriptors; try again later", path);
                break;
        case -EPIPE:
        case -EOPNOTSUPP:
                call_fail(call, ERROR_ACTOR_STOPPED, data, "%s: has closed its channel", path);
                break;
        default:
                call_fail(call, ERROR_INTERNAL, data, "%s: %s", path, strerror(-r));
                break;
        }
}

static void give_portal(Call *call, const Peer *peer, Node *node)
{
        Json *result = NULL;
        int fd = -EBADF, r;

        r = json_pack(&result, "{}");
        if (r >= 0)
                r = portal_connect(node_member(node), peer, false, &fd);
        if (r < 0) {
                json_unref(result);
                fail_portal(call, node, r);
                return;
        }
        call_reply(call, result, &fd, 1);
}

/* The connection is the actor's from here on, whatever comes. */
static void hand_over(Call *call, const Peer *peer, Node *node, int fd)
{
        Session *s = call_session(call);
        int64_t last_id = session_last_id(s);
        bool said_hello = session_said_hello(s);
        size_t max_line = session_peer_max_line(s);

        request_done(call);
        /* As a portal is: the flag is the connection's, not the descriptor's. */
        (void) fd_set_nonblock(fd, false);
        if (session_stream(s) && stream_queued(session_stream(s)) == 0)
                (void) portal_attach(node_member(node), peer, fd, last_id, said_hello, max_line);
        else
                safe_close(fd);
        listener_release(s);
}

static void give_away(Call *call, const Peer *peer, Node *node)
{
        const char *why = session_handover_refused(call_session(call), call);
        int fd, r;

        if (why) {
                call_fail(call, ERROR_INVALID_REQUEST, NULL, "actor.attach has to stand alone: %s", why);
                return;
        }
        fd = fcntl(stream_fd(session_stream(call_session(call))), F_DUPFD_CLOEXEC, 3);
        r = fd < 0 ? -errno : fd_check_reserve(fd);
        if (r >= 0) {
                hand_over(call, peer, node, fd);
                return;
        }
        safe_close(fd);
        fail_portal(call, node, r);
}

/* Over with it, or does it wait? */
static bool fail_if_over(Call *call, const Node *node, bool removed)
{
        Json *exit = NULL, *data = NULL;

        if (!removed && node->state != NODE_DEAD && node->state != NODE_FAILED)
                return false;
        (void) exit_to_json(&node->exit, &exit);
        (void) json_pack(&data, "{actor:s, exit:o?}", node->path, exit);
        call_fail(call, ERROR_ACTOR_STOPPED, data, "%s is %s", node->path,
                        removed ? "removed" : node_state_to_string(node->state));
        return true;
}

/* Waits until the actor can be reached, or never will be. */
static bool check_reachable(Waiter *w, bool removed, void (*reach)(Call *call, const Peer *peer, Node *node))
{
        Node *node = w->member->node;
        Op *op = w->userdata;
        const Peer *peer = op->peer;

        if (removed || node->state == NODE_DEAD || node->state == NODE_FAILED)
                (void) fail_if_over(op_end(op), node, removed);
        else if (can_accept(node))
                reach(op_end(op), peer, node);
        else
                return false;
        return true;
}

static bool check_connect(Waiter *w, bool removed)
{
        return check_reachable(w, removed, give_portal);
}

static bool check_attach(Waiter *w, bool removed)
{
        return check_reachable(w, removed, give_away);
}

static Node *channelled_node(Request *q)
{
        Node *node = request_actor(q);

        if (!node)
                return NULL;
        if (node_member(node)->spec->channel == CHANNEL_NONE) {
                call_fail(q->call, ERROR_UNSUPPORTED, NULL,
                                "%s has no channel to be reached by; set \"channel\" in its tree",
                                node->path);
                return NULL;
        }
        return fail_if_over(q->call, node, false) ? NULL : node;
}

void method_actor_connect(Request *q)
{
        Node *node = channelled_node(q);

        if (!node)
                return;
        if (can_accept(node))
                give_portal(q->call, q->peer, node);
        else
                (void) op_wait(q, node, check_connect);
}

void method_actor_attach(Request *q)
{
        Node *node;

        if (q->peer->kind != PEER_CLIENT) {
                call_fail(q->call, ERROR_INVALID_REQUEST, NULL,
                                "an actor's channel can't be handed over; use actor.connect");
                return;
        }
        node = channelled_node(q);
        if (!node)
                return;
        if (can_accept(node))
                give_away(q->call, q->peer, node);
        else
                (void) op_wait(q, node, check_attach);
}

/* --- names --- */

/* A name, or for find and wait_for a path; NULL: answered. */
static const char *requested_name(Request *q, bool or_path)
{
        const char *name;

        if (!request_check(q, "name", JSON_STRING, true))
                return NULL;
        name = json_get_string(q->params, "name", "");
        if (node_name_is_valid(name) || (or_path && name[0] == '/' && node_path_is_valid(name)))
                return name;
        call_fail(q->call, ERROR_INVALID_PARAMS, NULL, "name: not a name%s: '%.100s'",
                        or_path ? " nor a path" : "", name);
        return NULL;
}

static Member *find(Request *q, const char *name)
{
        Node *node;

        if (name[0] != '/')
                return registry_find(q->manager->registry, name, q->peer);
        node = core_find(q->manager->core, name);
        if (!node || !node_member(node) || !node_member(node)->registered ||
                        access_check(q->manager->access, q->peer, "actor.find", name))
                return NULL;
        return node_member(node);
}

static void answer_found(Request *q, const Member *member)
{
        Json *result = NULL;

        if (registry_answer(member, &result) < 0)
                request_fail_memory(q);
        else
                call_reply(q->call, result, NULL, 0);
}

void method_actor_find(Request *q)
{
        const char *name = requested_name(q, true);

        if (name)
                answer_found(q, find(q, name));
}

void method_actor_wait_for(Request *q)
{
        const char *name = requested_name(q, true);
        int64_t ms = json_get_integer(q->params, "deadline_ms", -1);
        const Member *member;
        int r;

        if (!name || !request_check(q, "deadline_ms", JSON_INTEGER, false))
                return;
        member = find(q, name);
        if (member) {
                answer_found(q, member);
                return;
        }
        r = registry_wait(q->manager->registry, name, q->peer, q->call);
        if (r < 0)
                request_fail_memory(q);
        else if (json_has(q->params, "deadline_ms"))
                (void) call_set_deadline(q->call, MAX(ms, 0));
}

static Member *asking_member(Request *q)
{
        if (q->peer->kind != PEER_ACTOR) {
                call_fail(q->call, ERROR_INVALID_REQUEST, NULL, "%s is for actors, about themselves",
                                call_method(q->call));
                return NULL;
        }
        return container_of(q->peer->held, Member, held);
}

void method_actor_register(Request *q)
{
        Member *member = asking_member(q);
        const char *name = member ? requested_name(q, false) : NULL;
        int r;

        if (!name)
                return;
        r = registry_register(q->manager->registry, member, name);
        if (r >= 0)
                request_done(q->call);
        else if (r == -EEXIST)
                call_fail(q->call, ERROR_ALREADY_EXISTS, NULL, "another actor has registered as %s", name);
        else if (r == -EAGAIN)
                call_fail(q->call, ERROR_ACTOR_STOPPED, NULL, "only an actor that is ready can be found");
        else if (r == -EDQUOT)
                call_fail(q->call, ERROR_LIMIT_EXCEEDED, NULL, "at most %u names", REGISTRY_ALIASES_MAX);
        else
                request_fail_memory(q);
}

void method_actor_unregister(Request *q)
{
        Member *member = asking_member(q);
        const char *name = member ? requested_name(q, false) : NULL;

        if (!name)
                return;
        if (registry_unregister(q->manager->registry, member, name) < 0)
                call_fail(q->call, ERROR_NO_SUCH_ACTOR, NULL, "not registered as %s", name);
        else
                request_done(q->call);
}
