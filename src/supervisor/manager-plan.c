/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/path.h"
#include "supervisor/manager-plan.h"
#include "supervisor/tree-diff.h"

/* Differences that are told of key by key, of a whole tree: the rest is only counted. A reply has its bounds. */
#define CHANGES_MAX 2000

typedef struct Planner {
        Manager *manager;
        Plan *plan;
        uint64_t mark; /* of the members that the new tree knows */
} Planner;

void plan_done(Plan *p)
{
        free(p->items);
        *p = (Plan){ 0 };
}

static int add_item(Plan *p, const PlanItem *item)
{
        int r = GROW(p->items, p->cap, p->n + 1);

        if (r >= 0)
                p->items[p->n++] = *item;
        return r;
}

static size_t count_nodes(const TreeSpec *spec)
{
        size_t n = 1;

        for (size_t i = 0; i < spec->n_children; i++)
                n += count_nodes(spec->children[i]);
        return n;
}

static int plan_addition(Planner *p, Node *parent, TreeSpec *spec, bool running, bool covered, bool replaced)
{
        p->plan->n_added += count_nodes(spec);
        p->plan->replaces |= replaced;
        return add_item(p->plan, &(PlanItem){ .action = PLAN_ADD,
                                                 .parent = parent,
                                                 .spec = spec,
                                                 .starts = running,
                                                 .covered = covered,
                                                 .replaced = replaced });
}

static int plan_node(Planner *p, Node *node, TreeSpec *spec, bool running, bool covered);

static Node *next_child(const Node *parent, const Node *child)
{
        ListNode *next = child ? child->siblings.next : parent->children.next;

        return next == &parent->children ? NULL : LIST_ENTRY(next, Node, siblings);
}

/* Most often it is the one after the last. */
static int find_child(Planner *p, Node *parent, const char *name, Node **last)
{
        Node *node = next_child(parent, *last);

        if (!node || !streq(node->name, name)) {
                _cleanup_free_ char *path = node_path_join(parent->path, name);

                if (!path)
                        return -ENOMEM;
                node = core_find(p->manager->core, path);
        }
        if (node)
                *last = node;
        return node != NULL;
}

static int plan_child(Planner *p, Node *parent, TreeSpec *spec, bool running, bool covered, Node **last)
{
        int r = find_child(p, parent, spec->name, last);
        Node *node = *last;

        if (r < 0)
                return r;
        if (r == 0)
                return plan_addition(p, parent, spec, running, covered, false);
        if (node->spec.stays)
                return -EEXIST; /* a nursery is its owner's */
        node_member(node)->mark = p->mark;
        if (node->spec.kind == spec->node.kind && !node_is_leaving(node))
                return plan_node(p, node, spec, running, covered);
        r = add_item(p->plan, &(PlanItem){ .action = PLAN_REMOVE, .node = node, .replaced = true });
        return r < 0 ? r : plan_addition(p, parent, spec, running, covered, true);
}

static int plan_children(Planner *p, Node *node, TreeSpec *spec, bool running, bool covered)
{
        Node *last = NULL;
        int r = 0;

        for (size_t i = 0; i < spec->n_children && r >= 0; i++)
                r = plan_child(p, node, spec->children[i], running, covered, &last);
        CORE_CHILD_FOREACH(c, node)
                if (r >= 0 && node_member(c)->mark != p->mark && !node_member(c)->spawned &&
                                !node_is_leaving(c))
                        r = add_item(p->plan, &(PlanItem){ .action = PLAN_REMOVE, .node = c });
        return r;
}

static bool changes_below(const Plan *p, size_t from)
{
        for (size_t i = from; i < p->n; i++)
                if (p->items[i].action == PLAN_RESTART || p->items[i].action == PLAN_ADD)
                        return true;
        return false;
}

/* Of a supervisor that had failed, all start again if anything below is to: nothing else could start it. One that was
 * stopped by request stays so. */
static int plan_node(Planner *p, Node *node, TreeSpec *spec, bool running, bool covered)
{
        const Member *member = node_member(node);
        SpecDiff diff = spec_diff(member->next_spec ?: member->spec, spec);
        bool failed = node->state == NODE_FAILED, restarts = diff == SPEC_RESTART, below;
        size_t at = p->plan->n;
        PlanItem *item;
        int r;

        r = add_item(p->plan, &(PlanItem){ .action = restarts            ? PLAN_RESTART
                                                     : diff == SPEC_LIVE ? PLAN_UPDATE
                                                                         : PLAN_KEEP,
                                              .node = node,
                                              .spec = spec,
                                              .starts = running,
                                              .covered = covered });
        if (r < 0 || node->spec.kind == NODE_ACTOR)
                return r;
        below = running && (restarts || failed || node_may_start_below(node));
        r = plan_children(p, node, spec, below, covered || restarts);
        if (r < 0 || restarts || !failed || !running || !changes_below(p->plan, at + 1))
                return r;
        item = &p->plan->items[at];
        item->action = PLAN_RESTART;
        for (size_t i = at + 1; i < p->plan->n; i++)
                p->plan->items[i].covered = true;
        return 0;
}

int plan_make(Manager *m, Node *top, TreeSpec *spec, Plan *ret)
{
        Planner p = { .manager = m, .plan = ret, .mark = ++m->next_mark };
        int r = top->spec.stays ? -EEXIST : plan_node(&p, top, spec, node_may_start(top), false);

        if (r < 0)
                plan_done(ret);
        return r;
}

static int append_path(Json *list, const PlanItem *item)
{
        _cleanup_free_ char *made = NULL;
        const char *path = item->node ? item->node->path : NULL;

        if (!path) {
                made = node_path_join(item->parent->path, item->spec->name);
                path = made;
        }
        return path ? json_append(list, json_new_string(path, SIZE_MAX)) : -ENOMEM;
}

/* A node whose start has to wait for its supervisor's is only changed. */
static PlanAction told_as(const PlanItem *item)
{
        return item->action == PLAN_RESTART && !item->starts ? PLAN_UPDATE : item->action;
}

static int add_list(const Plan *p, PlanAction action, Json *to, const char *name)
{
        _cleanup_json_ Json *list = NULL;
        int r = json_pack(&list, "[]");

        for (size_t i = 0; i < p->n && r >= 0; i++)
                if (told_as(&p->items[i]) == action)
                        r = append_path(list, &p->items[i]);
        return r < 0 ? r : json_set(to, name, TAKE_PTR(list));
}

static int add_changes(const Plan *p, Json *to)
{
        _cleanup_json_ Json *changes = NULL;
        size_t told = 0;
        int r = json_pack(&changes, "{}");

        for (size_t i = 0; i < p->n && r >= 0 && told < CHANGES_MAX; i++) {
                const PlanItem *item = &p->items[i];
                const Member *member = item->node ? node_member(item->node) : NULL;
                Json *keys = NULL;

                if (item->action != PLAN_UPDATE && item->action != PLAN_RESTART)
                        continue;
                r = spec_diff_to_json(member->next_spec ?: member->spec, item->spec, &keys);
                told += json_length(keys);
                if (r >= 0)
                        r = json_set(changes, item->node->path, keys);
        }
        return r < 0 ? r : json_set(to, "changes", TAKE_PTR(changes));
}

int plan_to_json(const Plan *p, Json *to)
{
        static const struct {
                PlanAction action;
                const char *name;
        } lists[] = { { PLAN_ADD, "added" }, { PLAN_REMOVE, "removed" }, { PLAN_RESTART, "restarted" },
                { PLAN_UPDATE, "updated" } };
        Json *unchanged = NULL;
        int64_t kept = 0;
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(lists) && r >= 0; i++)
                r = add_list(p, lists[i].action, to, lists[i].name);
        for (size_t i = 0; i < p->n; i++)
                kept += p->items[i].action == PLAN_KEEP && !p->items[i].covered;
        if (r >= 0)
                r = json_pack(&unchanged, "I", kept);
        if (r >= 0)
                r = json_set(to, "unchanged", unchanged);
        return r < 0 ? r : add_changes(p, to);
}
