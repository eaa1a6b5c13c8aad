/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/core/core-internal.h"

/* What an actor opens at run time: supervisors below it. They are its own business while it lives: whoever stops what is
 * above stops the actor, which has its time to close them. With its main process they lose their owner. */

/* Is n part of what an actor at or below top has opened? */
bool is_below_actor(const Node *top, const Node *n)
{
        for (; n != top; n = n->parent)
                if (!is_supervisor(n->parent))
                        return true;
        return false;
}

void nurseries_end(Node *actor)
{
        /* One that is being closed is in no hurry yet. */
        CORE_CHILD_FOREACH(c, actor) {
                priv(c)->removing = priv(c)->cancelled = true;
                stop_subtree(c, AFTER_DEAD, USEC_INFINITY, true);
                kick(c);
        }
}

/* The actor's own end has to wait; the last one that leaves kicks it. */
bool nurseries_left(Node *actor)
{
        NodePriv *p = priv(actor);

        p->hollow = !list_is_empty(&actor->children);
        if (!p->hollow)
                return false;
        nurseries_end(actor); /* one may have been opened since */
        if (actor->state != NODE_STOPPING)
                node_set_state(actor, NODE_STOPPING);
        p->exited = true;
        p->rung = RUNG_NONE; /* nothing of its own is left to be hurried: each has its own ladder */
        node_arm(actor, USEC_INFINITY);
        return true;
}
