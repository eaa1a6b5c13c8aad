/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/error.h"
#include "base/path.h"
#include "supervisor/events.h"
#include "supervisor/manager-apply.h"
#include "wire/message.h"

void applying_failed_at(Applying *a, const char *path, Json *error)
{
        (void) json_append(a->failed, json_new_string(path, SIZE_MAX));
        if (a->error)
                json_unref(error);
        else
                a->error = error;
}

/* --- checking --- */

static int prepare_item(Applying *a, PlanItem *item)
{
        Manager *m = a->manager;

        switch (item->action) {
        case PLAN_UPDATE:
                return core_change(m->core, item->node, CHANGE_LIVE, &item->spec->node);
        case PLAN_RESTART:
                return core_change(m->core, item->node, CHANGE_RESTART, &item->spec->node);
        case PLAN_REMOVE:
                return item->replaced ? 0 : core_change(m->core, item->node, CHANGE_REMOVE, NULL);
        case PLAN_ADD:
                if (item->replaced)
                        return 0;
                if (manager_add_nodes(m, item->parent, item->spec, &item->node, &a->error) < 0)
                        return -EINVAL;
                return core_change(m->core, item->node, CHANGE_START, NULL);
        default:
                return 0;
        }
}

/* Items stand in the order of the children, those to be removed between or behind them. *at: the first below `node`. */
static int prepare_order(Applying *a, Node *node, const TreeSpec *spec, size_t *at)
{
        _cleanup_free_ Node **order = calloc(spec->n_children + 1, sizeof(Node *));
        size_t n = 0;
        int r = 0;

        if (!order)
                return -ENOMEM;
        for (size_t i = 0; i < spec->n_children && r >= 0;) {
                const PlanItem *item = &a->plan.items[(*at)++];

                if (item->action == PLAN_REMOVE)
                        continue;
                if (item->node) /* else it will come in the next round */
                        order[n++] = item->node;
                if (item->action != PLAN_ADD && item->spec->node.kind == NODE_SUPERVISOR)
                        r = prepare_order(a, item->node, item->spec, at);
                i++;
        }
        while (*at < a->plan.n && a->plan.items[*at].action == PLAN_REMOVE &&
                        a->plan.items[*at].node->parent == node)
                (*at)++;
        if (r >= 0)
                core_change_order(node, order, n);
        return r;
}

int applying_prepare(Applying *a, Node *top)
{
        Manager *m = a->manager;
        const char *depends = NULL;
        size_t first = 1; /* after the top's own */
        Node *at = NULL;
        int r;

        r = manager_check_room(m, a->plan.n_added, a->spec, &a->error);
        if (r >= 0)
                r = manager_check_limits(a->manager, a->spec, "/", &a->error);
        for (size_t i = 0; i < a->plan.n && r >= 0; i++)
                r = prepare_item(a, &a->plan.items[i]);
        if (r >= 0)
                r = prepare_order(a, top, a->spec, &first);
        if (r < 0)
                return r;
        r = core_check_changes(m->core, top, &at, &depends);
        if (r < 0 && at)
                (void) message_error_object(&a->error, ERROR_INVALID_PARAMS, NULL, "%s: depends on %s, %s",
                                at->path, depends,
                                r == -ELOOP ? "which makes a cycle" : "which is not there");
        return r;
}

/* As if nothing had been asked. */
void applying_forget(Applying *a, Node *top)
{
        core_discard_changes(top);
        for (size_t i = 0; i < a->plan.n; i++) {
                PlanItem *item = &a->plan.items[i];

                if (item->action != PLAN_ADD || !item->node)
                        continue;
                manager_discard(a->manager, item->node);
                item->node = NULL;
        }
}

/* --- doing --- */

static void change_limits(Applying *a, const PlanItem *item)
{
        Member *member = node_member(item->node);
        Limit limit = _LIMIT_INVALID;
        Json *shown = NULL, *error = NULL;
        int r;

        r = member_change_limits(member, item->spec, &limit);
        if (r < 0) {
                (void) message_error_object(&error, ERROR_INTERNAL, NULL, "%s: can't set limits: %s",
                                item->node->path, strerror(-r));
                applying_failed_at(a, item->node->path, error);
        } else if (events_wanted(a->manager->events) && limits_to_json(&member->limits, &shown) >= 0)
                events_publish(a->manager->events, item->node->path, "limits", shown);
}

static bool limits_differ(const Member *member, const TreeSpec *spec)
{
        const Limits *a = &(member->next_spec ?: member->spec)->limits, *b = &spec->limits;

        return a->set != b->set || memcmp(a->values, b->values, sizeof(a->values)) != 0 ||
               !streq_ptr(a->allowed_cpus, b->allowed_cpus);
}

void applying_carry_out(Applying *a, const PlanItem *item)
{
        Member *member = node_member(item->node);

        if (item->action == PLAN_REMOVE)
                return;
        if (item->action == PLAN_ADD) {
                events_simple(a->manager->events, item->node, "added");
                return;
        }
        member->spawned = false;
        if (limits_differ(member, item->spec))
                change_limits(a, item);
        if (item->action == PLAN_RESTART || member->next_spec) {
                tree_spec_unref(member->next_spec);
                member->next_spec = tree_spec_ref(item->spec);
        } else {
                tree_spec_unref(member->spec);
                member->spec = tree_spec_ref(item->spec);
        }
}

int applying_add_members(Applying *a)
{
        int r = 0;

        for (size_t i = 0; i < a->plan.n && r >= 0; i++) {
                PlanItem *item = &a->plan.items[i];

                if (item->action == PLAN_ADD)
                        r = manager_add_members(a->manager, item->node, item->spec, &a->error);
        }
        return r;
}
