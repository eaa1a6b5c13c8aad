/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "base/path.h"
#include "supervisor/access.h"

/* Its limits are its tree's to set: raising them would be a way out of them. */
static bool may_act_on_itself(const char *method)
{
        return !streq(method, "actor.set_limits");
}

static bool is_in_own_tree(const char *actor, const char *path)
{
        size_t n = 1 + strcspn(actor + 1, "/");

        return strncmp(actor, path, n) == 0 && (path[n] == 0 || path[n] == '/');
}

static bool actor_may(const Peer *peer, const char *method, const char *path)
{
        static const char *const below[] = { "tree.get", "events.subscribe", "actor.", "nursery." };
        static const char *const own_tree[] = { "actor.find", "actor.wait_for", "actor.connect" };

        for (size_t i = 0; i < ELEMENTSOF(own_tree); i++)
                if (streq(method, own_tree[i]))
                        return !path || is_in_own_tree(peer->path, path);
        for (size_t i = 0; i < ELEMENTSOF(below); i++)
                if (startswith(method, below[i]))
                        return path && node_path_covers(peer->path, path) &&
                               (may_act_on_itself(method) || !streq(peer->path, path));
        return false;
}

const char *access_check(const Peer *peer, const char *method, const char *path)
{
        if (streq(method, "supervisor.ping"))
                return NULL;
        if (peer->kind == PEER_ACTOR)
                return actor_may(peer, method, path)
                                       ? NULL
                                       : "default: an actor may act on itself and what is below it, and "
                                         "find and connect to others of its tree";
        if (peer->uid == 0 || peer->uid == geteuid())
                return NULL;
        return "default: root and the supervisor's own user only";
}
