/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/error.h"
#include "base/path.h"
#include "supervisor/events.h"
#include "supervisor/methods.h"
#include "supervisor/nursery.h"

/* nursery.open, nursery.close. */

/* Below an actor it is the running program's: one that is not there yet, or not any more, owns nothing, and its room may
 * be about to be entered. Who asks on its own channel runs, though the word of that may still be on its way to us. */
static bool may_own(const Node *node, const Peer *peer)
{
        const Member *member = node_member(node);
        bool own = member && peer->held == &member->held;

        if (!member)
                return true;
        if (node->spec.kind == NODE_ACTOR &&
                        !(member->life && (member->life->phase == LIFE_RUNNING ||
                                                          (own && member->life->phase < LIFE_RUNNING))))
                return false;
        return node_may_start_below(node);
}

static Node *requested_parent(Request *q)
{
        Node *parent;

        if (!json_has(q->params, "parent") && q->peer->kind == PEER_ACTOR)
                parent = container_of(q->peer->held, Member, held)->node;
        else
                parent = request_node(q, "parent");
        if (parent && !may_own(parent, q->peer)) {
                call_fail(q->call, ERROR_ACTOR_STOPPED, NULL, "%s is %s: nothing can be opened below it",
                                parent->path, node_state_to_string(parent->state));
                return NULL;
        }
        return parent;
}

/* A tree without children: the request's own members are a supervisor's keys. */
static int describe(Request *q, const char *name, Json **ret)
{
        _cleanup_json_ Json *tree = NULL;
        JsonIterator i = { 0 };
        int r;

        r = json_pack(&tree, "{tractor:i, name:s, strategy:s, children:[]}", 1, name, "one_cancels_all");
        while (r >= 0 && json_next(q->params, &i))
                if (!streq(i.key, "parent") && !streq(i.key, "name"))
                        r = json_set(tree, i.key, json_ref(i.value));
        if (r < 0)
                return r;
        *ret = TAKE_PTR(tree);
        return 0;
}

static int parse(Request *q, const char *name, TreeSpec **ret, Json **ret_error)
{
        _cleanup_json_ Json *tree = NULL;
        ConfigProblems problems = { 0 };
        int r;

        r = describe(q, name, &tree);
        if (r >= 0)
                r = config_parse_tree(tree, ret, &problems);
        if (r == -EINVAL)
                (void) problems_to_error(&problems, 0, "the nursery", ret_error);
        config_problems_done(&problems);
        return r;
}

/* One of ours is free, whatever others have chosen. */
static int choose_name(Request *q, const Node *parent, char **ret)
{
        const char *given = json_get_string(q->params, "name", NULL);

        for (;;) {
                _cleanup_free_ char *path = NULL;

                *ret = given ? strdup(given)
                             : xasprintf("nursery-%llu", (unsigned long long) ++q->manager->next_nursery);
                if (!*ret || given)
                        return *ret ? 0 : -ENOMEM;
                path = node_path_join(parent->path, *ret);
                if (path && !core_find(q->manager->core, path))
                        return 0;
                free(TAKE_PTR(*ret));
                if (!path)
                        return -ENOMEM;
        }
}

void method_nursery_open(Request *q)
{
        _cleanup_(tree_spec_unrefp) TreeSpec *spec = NULL;
        _cleanup_free_ char *name = NULL, *path = NULL;
        _cleanup_json_ Json *error = NULL, *result = NULL;
        Node *parent, *node = NULL;
        int r;

        if (!request_check(q, "name", JSON_STRING, false) || !(parent = requested_parent(q)))
                return;
        if (json_has(q->params, "children")) {
                call_fail(q->call, ERROR_INVALID_PARAMS, NULL,
                                "children: a nursery is opened empty; fill it by actor.spawn");
                return;
        }
        r = choose_name(q, parent, &name);
        if (r >= 0)
                r = parse(q, name, &spec, &error);
        if (r >= 0 && !(path = node_path_join(parent->path, name)))
                r = -ENOMEM;
        /* Before anything is opened: one that nobody is told of would stay until its owner's end. */
        if (r >= 0)
                r = json_pack(&result, "{path:s}", path);
        if (r >= 0)
                r = nursery_open(q->manager, parent, TAKE_PTR(spec), q->peer, &node, &error);
        if (r >= 0)
                call_reply(q->call, TAKE_PTR(result), NULL, 0);
        else if (error)
                call_fail_object(q->call, TAKE_PTR(error));
        else
                request_fail_memory(q);
}

static bool check_closed(Waiter *w, bool removed)
{
        if (removed)
                request_done(op_end(w->userdata));
        return removed;
}

void method_nursery_close(Request *q)
{
        Node *node = request_node(q, "path");

        if (!node)
                return;
        if (!node->spec.stays) {
                call_fail(q->call, ERROR_INVALID_PARAMS, NULL, "%s was not opened by nursery.open",
                                node->path);
                return;
        }
        if (request_set_canceller(q, node) && op_wait(q, node, check_closed))
                manager_event(q->manager, EVENT_REMOVE, node);
}
