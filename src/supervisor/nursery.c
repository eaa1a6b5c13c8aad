/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/error.h"
#include "base/usec.h"
#include "supervisor/events.h"
#include "supervisor/node-json.h"
#include "supervisor/nursery.h"
#include "supervisor/outcome.h"
#include "wire/message.h"

static int check_quota(const Peer *owner, Json **ret_error)
{
        unsigned n = 0;

        if (owner->kind != PEER_CLIENT)
                return 0;
        LIST_FOREACH(i, owner->opened)
                n++;
        if (n < NURSERIES_PER_CLIENT)
                return 0;
        (void) message_error_object(ret_error, ERROR_LIMIT_EXCEEDED, NULL,
                        "this connection has %u nurseries; close some, or use another one", n);
        return -EDQUOT;
}

int nursery_open(Manager *m, Node *parent, TreeSpec *spec, const Peer *owner, Node **ret, Json **ret_error)
{
        Member *member;
        int r = check_quota(owner, ret_error);

        spec->node.stays = true;
        spec->guest = peer_guest(owner);
        if (r >= 0)
                r = manager_add(m, parent, spec, ret, ret_error);
        tree_spec_unref(spec);
        if (r < 0)
                return r;
        member = node_member(*ret);
        member->spawned = true;
        member->of_client = owner->kind == PEER_CLIENT;
        if (member->of_client) {
                member->owner = owner->session;
                list_append(owner->opened, &member->opened);
        }
        events_simple(m->events, *ret, "added");
        manager_event(m, EVENT_START, *ret);
        return 0;
}

void nurseries_lose_owner(ListNode *opened)
{
        /* The end of one may be that of another: none is told any more. */
        LIST_FOREACH(i, opened)
                LIST_ENTRY(i, Member, opened)->owner = NULL;
        while (!list_is_empty(opened)) {
                Member *member = LIST_ENTRY(opened->next, Member, opened);
                Event event = { .type = EVENT_REMOVE,
                        .node = member->node,
                        .now = now_usec(CLOCK_MONOTONIC),
                        .grace_usec = USEC_INFINITY,
                        .fast = true };

                list_unlink(&member->opened);
                manager_step(member->manager, &event);
        }
}

static int describe(const Node *node, Json **ret)
{
        _cleanup_json_ Json *told = NULL;
        int r = exited_to_json(node, node_member(node)->id, &told);

        if (r >= 0)
                r = outcome_add(node_member(node), told);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(told);
        return 0;
}

/* The actor whose main process ends it: the next above, also of a nursery that is part of another. */
static const Member *owning_actor(const Node *nursery)
{
        const Node *n = nursery->parent;

        while (n && n->spec.kind != NODE_ACTOR)
                n = n->parent;
        return n ? node_member(n) : NULL;
}

static int tell_once(const Member *actor, const Member *nursery, const Node *node)
{
        Json *params = NULL;
        int r = describe(node, &params);

        if (r < 0)
                return r;
        return actor ? channel_tell(actor->channel, "$/child_exited", params, -EBADF, false)
                     : session_notify(nursery->owner, "$/child_exited", params);
}

static void tell(const Node *nursery, const Node *node)
{
        const Member *member = node_member(nursery);
        const Member *actor = member->of_client ? NULL : owning_actor(nursery);

        if (!(actor && channel_said_hello(actor->channel)) &&
                        !(member->owner && session_said_hello(member->owner)))
                return;
        if (tell_once(actor, member, node) >= 0 || !node_member(node)->outcome.text)
                return;
        /* The end itself is short. */
        outcome_refuse(node_member(node), "its owner takes in a line, or has room for");
        (void) tell_once(actor, member, node);
}

void nursery_tell(const Node *node)
{
        if (node->parent && node->parent->spec.stays)
                tell(node->parent, node);
        if (node->spec.stays)
                tell(node, node);
        outcome_drop(node_member(node));
}
