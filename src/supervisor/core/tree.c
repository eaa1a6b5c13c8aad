/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "supervisor/core/core-internal.h"

typedef struct FullNode {
        Node node;
        NodePriv priv;
} FullNode;

Node *sibling_next(const Node *n)
{
        ListNode *l = n->siblings.next;

        return !n->parent || l == &n->parent->children ? NULL : LIST_ENTRY(l, Node, siblings);
}

Node *sibling_prev(const Node *n)
{
        ListNode *l = n->siblings.prev;

        return !n->parent || l == &n->parent->children ? NULL : LIST_ENTRY(l, Node, siblings);
}

static Node *child_first(const Node *n)
{
        return list_is_empty(&n->children) ? NULL : LIST_ENTRY(n->children.next, Node, siblings);
}

Node *child_last(const Node *n)
{
        return list_is_empty(&n->children) ? NULL : LIST_ENTRY(n->children.prev, Node, siblings);
}

Node *subtree_next(const Node *top, const Node *n)
{
        if (child_first(n))
                return child_first(n);
        for (; n != top; n = n->parent)
                if (sibling_next(n))
                        return sibling_next(n);
        return NULL;
}

Node *subtree_last(Node *top)
{
        while (child_last(top))
                top = child_last(top);
        return top;
}

Node *subtree_prev(const Node *top, const Node *n)
{
        if (n == top)
                return NULL;
        return sibling_prev(n) ? subtree_last(sibling_prev(n)) : n->parent;
}

static bool node_is_live(const Node *n, bool asked)
{
        if (is_supervisor(n))
                return n->state == NODE_BACKOFF || (n->state == NODE_NEW && asked);
        return n->alive || n->state == NODE_BACKOFF || (n->state == NODE_NEW && asked) ||
               n->state == NODE_STARTING || n->state == NODE_READY || n->state == NODE_STOPPING;
}

static unsigned classify(const Node *n)
{
        const NodePriv *p = priv(n);
        bool asked = p->wanted || p->held;
        unsigned c = 0;

        if (p->removed)
                return 0;
        if (n->state == NODE_NEW ? asked : !is_over(n))
                c |= COUNT_ACTIVE;
        if ((c & COUNT_ACTIVE) && (n->state != NODE_READY || p->stop_wanted))
                c |= COUNT_PENDING;
        if ((c & COUNT_ACTIVE) && n->spec.significant)
                c |= COUNT_SIGNIFICANT;
        if (n->state == NODE_FAILED)
                c |= COUNT_FAILED;
        if (node_is_live(n, asked))
                c |= COUNT_LIVE;
        return c;
}

static uint32_t difference(unsigned was, unsigned is, unsigned bit)
{
        return (uint32_t) ((is & bit) != 0) - (uint32_t) ((was & bit) != 0);
}

/* Enters what the node now counts as; to be called after each change of its state or wishes. */
void node_recount(Node *n)
{
        NodePriv *p = priv(n), *up = n->parent ? priv(n->parent) : NULL;
        unsigned was = p->counted, is = classify(n);

        if (was == is)
                return;
        p->counted = is;
        for (Node *a = n; a && ((was ^ is) & (COUNT_LIVE | COUNT_FAILED)); a = a->parent) {
                priv(a)->live_below += difference(was, is, COUNT_LIVE);
                priv(a)->failed_below += difference(was, is, COUNT_FAILED);
        }
        if (!up)
                return;
        up->active += difference(was, is, COUNT_ACTIVE);
        up->pending += difference(was, is, COUNT_PENDING);
        up->significant += difference(was, is, COUNT_SIGNIFICANT);
        up->failed += difference(was, is, COUNT_FAILED);
        kick(n->parent);
}

bool node_is_active(const Node *node)
{
        return priv(node)->live_below > 0;
}

bool node_has_failed(const Node *node)
{
        return priv(node)->failed_below > 0;
}

Node *node_free(Node *n)
{
        NodePriv *p;

        if (!n)
                return NULL;
        p = priv(n);
        list_unlink(&p->dirty);
        list_unlink(&p->start_link);
        list_unlink(&p->stop_link);
        list_unlink(&n->siblings);
        change_free(n);
        depend_detach(n);
        if (!p->removed && n->path && map_get(&n->core->nodes, n->path) == n)
                map_remove(&n->core->nodes, n->path);
        free(p->window.at);
        free(p->isolated.at);
        free(p->deps);
        strv_free((char **) n->spec.depends);
        free(n->path);
        free(n->name);
        free(container_of(n, FullNode, node));
        return NULL;
}
DEFINE_CLEANUP(Node *, node_free);

static Node *node_alloc(Core *core, Node *parent)
{
        FullNode *f = calloc(1, sizeof(*f));

        if (!f)
                return NULL;
        f->node.core = core;
        f->node.parent = parent;
        f->node.priv = &f->priv;
        f->priv.node = &f->node;
        list_init(&f->node.siblings);
        list_init(&f->node.children);
        list_init(&f->priv.dirty);
        list_init(&f->priv.start_link);
        list_init(&f->priv.stop_list);
        list_init(&f->priv.stop_link);
        list_init(&f->priv.dependents);
        f->priv.deadline = USEC_INFINITY;
        f->node.exit.code = -1;
        return &f->node;
}

static int node_copy_spec(Node *n, const NodeSpec *spec)
{
        char **depends = NULL;
        int r;

        n->spec = *spec;
        n->spec.depends = NULL;
        r = free_and_strdup(&n->name, spec->name);
        if (r < 0)
                return r;
        n->spec.name = n->name;
        n->path = n->parent ? node_path_join(n->parent->path, n->name) : strdup("/");
        if (!n->path)
                return -ENOMEM;
        if (!spec->depends)
                return 0;
        r = strv_copy(spec->depends, &depends);
        if (r < 0)
                return r;
        n->spec.depends = depends;
        priv(n)->n_deps = strv_length(depends);
        return depend_reserve(n, depends, &priv(n)->deps);
}

/* The window belongs to who gives up: the supervisor, or each of its children alone. */
static int node_reserve_window(Node *n)
{
        Node *s = n->parent;
        int r = 0;

        if (is_supervisor(n) && n->spec.on_give_up == GIVE_UP_ESCALATE)
                r = window_reserve(&priv(n)->window, n->spec.intensity.max_restarts);
        if (r >= 0 && s && s->spec.on_give_up == GIVE_UP_ISOLATE)
                r = window_reserve(&priv(n)->isolated, s->spec.intensity.max_restarts);
        if (r >= 0 && s && priv(s)->becoming && priv(s)->becoming->spec.on_give_up == GIVE_UP_ISOLATE)
                r = window_reserve(&priv(n)->isolated, priv(s)->becoming->spec.intensity.max_restarts);
        return r;
}

static int node_new(Core *core, Node *parent, const NodeSpec *spec, Node **ret)
{
        _cleanup_(node_freep) Node *n = node_alloc(core, parent);
        int r;

        if (!n)
                return -ENOMEM;
        r = node_copy_spec(n, spec);
        if (r < 0)
                return r;
        r = node_reserve_window(n);
        if (r < 0)
                return r;
        r = core_reserve_effects(core, EFFECTS_PER_NODE * (core->n_nodes + 1));
        if (r < 0)
                return r;
        r = map_put(&core->nodes, n->path, n);
        if (r < 0)
                return r;
        core->n_nodes++;
        *ret = TAKE_PTR(n);
        return 0;
}

static bool takes_children(const Node *parent)
{
        for (const Node *a = parent; a; a = a->parent) {
                const NodePriv *p = priv(a);

                if (p->stop_wanted || p->closing || p->removing || p->removed)
                        return false;
                if (!is_supervisor(a) &&
                                (p->exited || (a->state != NODE_STARTING && a->state != NODE_READY)))
                        return false;
        }
        return true;
}

int core_add(Core *core, Node *parent, const NodeSpec *spec, void *userdata, Node **ret)
{
        Node *n;
        int r;

        if ((!is_supervisor(parent) && spec->kind == NODE_ACTOR) || !node_name_is_valid(spec->name))
                return -EINVAL;
        if (!takes_children(parent))
                return -ESHUTDOWN;
        if (priv(parent)->depth >= NODE_DEPTH_MAX)
                return -ENAMETOOLONG;
        r = node_new(core, parent, spec, &n);
        if (r < 0)
                return r;
        n->userdata = userdata;
        priv(n)->depth = priv(parent)->depth + 1;
        priv(n)->index = priv(parent)->next_index++;
        list_append(&parent->children, &n->siblings);
        if (priv(parent)->changing && priv(parent)->youngest) {
                priv(n)->elder = priv(parent)->youngest;
                priv(parent)->youngest = n;
        }
        if (ret)
                *ret = n;
        return 0;
}

/* The root gives up nothing but the one child (isolate), and restarts only actors: see child_ended(). */
int core_new(uint64_t seed, Core **ret)
{
        static const NodeSpec root = {
                .kind = NODE_SUPERVISOR,
                .name = "",
                .strategy = STRATEGY_ONE_FOR_ONE,
                .on_give_up = GIVE_UP_ISOLATE,
                .intensity = INTENSITY_DEFAULT,
        };
        _cleanup_(core_freep) Core *core = calloc(1, sizeof(*core));
        int r;

        if (!core)
                return -ENOMEM;
        list_init(&core->dirty);
        list_init(&core->starts);
        core->random = seed;
        r = node_new(core, NULL, &root, &core->root);
        if (r < 0)
                return r;
        core->root->state = NODE_READY;
        node_recount(core->root);
        *ret = TAKE_PTR(core);
        return 0;
}

Node *core_root(Core *core)
{
        return core->root;
}

Node *core_find(Core *core, const char *path)
{
        return map_get(&core->nodes, path);
}

static void node_leave(Node *n)
{
        NodePriv *p = priv(n);

        assert(!n->alive);
        p->removed = true;
        p->wanted = p->held = false;
        node_recount(n);
        change_leave(n);
        depend_unblock(n);
        depend_detach(n);
        list_unlink(&p->dirty);
        list_unlink(&p->start_link);
        list_unlink(&p->stop_link);
        list_unlink(&n->siblings);
        map_remove(&n->core->nodes, n->path);
        if (n->parent && priv(n->parent)->hollow)
                kick(n->parent);
}

/* Leaves first, so that the shell can take a cgroup away as it hears of it. The nodes live on in the queue until
 * their effects were handled. */
void subtree_remove(Node *top)
{
        for (Node *n = subtree_last(top), *prev; n; n = prev) {
                prev = subtree_prev(top, n);
                node_leave(n);
                core_emit(n->core, &(Effect){ .type = EFFECT_REMOVED, .node = n });
        }
}

void core_discard(Core *core, Node *top)
{
        for (Node *n = subtree_last(top), *prev; n; n = prev) {
                prev = subtree_prev(top, n);
                assert(n->state == NODE_NEW && n->generation == 0 && !priv(n)->wanted);
                change_leave(n); /* it may have its place in an order to come */
                node_free(n);
                core->n_nodes--;
        }
}
