/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "supervisor/core/core-internal.h"

int depend_reserve(Node *n, char *const *depends, Dependency **ret)
{
        size_t k = strv_length(depends);
        Dependency *deps = calloc(k ?: 1, sizeof(*deps));

        if (!deps)
                return -ENOMEM;
        for (size_t i = 0; i < k; i++) {
                deps[i].node = n;
                list_init(&deps[i].link);
        }
        *ret = deps;
        return 0;
}

void depend_forget(Dependency *deps, size_t n_deps)
{
        for (size_t i = 0; i < n_deps && deps; i++)
                list_unlink(&deps[i].link);
        free(deps);
}

/* Takes the array. Nothing of n is left that could hold up a stop. */
void depend_replace(Node *n, Dependency *deps, size_t n_deps)
{
        NodePriv *p = priv(n);

        depend_unblock(n);
        depend_forget(p->deps, p->n_deps);
        p->deps = deps;
        p->n_deps = n_deps;
}

/* Will an ended node stay so? Not if a branch above it is about to be started anew, or may be: one that gives up
 * may be restarted by its parent. A branch that only waits for its turn has renewed its children already. */
static bool is_final(const Node *n)
{
        for (const Node *a = n->parent; a; a = a->parent) {
                const NodePriv *p = priv(a);

                if (p->stop_wanted ? p->after == AFTER_START : p->closing)
                        return false;
                if (a->state == NODE_BACKOFF || p->held)
                        return false;
        }
        return true;
}

/* An actor satisfies by being ready or by having ended with code 0, a supervisor by being ready or by having
 * finished. One that is not started yet, starting or in backoff can still do so. */
static DependStatus target_status(const Node *t)
{
        if (!t)
                return DEPEND_LOST;
        if (t->state == NODE_READY)
                return priv(t)->stop_wanted ? DEPEND_WAIT : DEPEND_SATISFIED;
        if (!is_over(t) || !is_final(t))
                return DEPEND_WAIT;
        return t->state == NODE_DEAD && t->exit.cause == CAUSE_EXIT && t->exit.code == 0 ? DEPEND_SATISFIED
                                                                                         : DEPEND_LOST;
}

DependStatus depend_status(const Node *n)
{
        const NodePriv *p = priv(n);
        DependStatus worst = DEPEND_SATISFIED;

        for (size_t i = 0; i < p->n_deps && worst != DEPEND_LOST; i++)
                worst = MAX(worst, target_status(p->deps[i].target));
        return worst;
}

void depend_wake(Node *n)
{
        LIST_FOREACH(l, &priv(n)->dependents) {
                Node *d = LIST_ENTRY(l, Dependency, link)->node;

                if (priv(d)->wanted)
                        kick(d);
        }
}

/* A branch that ended for good makes the ends of all below it final. */
void depend_wake_below(Node *n)
{
        for (Node *i = n; i; i = subtree_next(n, i))
                depend_wake(i);
}

void depend_block(Node *n)
{
        NodePriv *p = priv(n);

        for (size_t i = 0; i < p->n_deps; i++) {
                Dependency *d = &p->deps[i];

                if (!d->target || d->blocking)
                        continue;
                d->blocking = true;
                priv(d->target)->stop_blockers++;
        }
}

void depend_unblock(Node *n)
{
        NodePriv *p = priv(n);

        for (size_t i = 0; i < p->n_deps; i++) {
                Dependency *d = &p->deps[i];

                if (!d->blocking)
                        continue;
                d->blocking = false;
                if (--priv(d->target)->stop_blockers == 0)
                        kick(d->target);
        }
}

/* Leaves the graph: whoever depends on n never will be satisfied. */
void depend_detach(Node *n)
{
        NodePriv *p = priv(n);

        LIST_FOREACH_SAFE(l, &p->dependents) {
                Dependency *d = LIST_ENTRY(l, Dependency, link);

                list_unlink(&d->link);
                d->target = NULL;
                d->blocking = false;
                if (priv(d->node)->wanted)
                        kick(d->node);
        }
        for (size_t i = 0; i < p->n_deps && p->deps; i++) {
                list_unlink(&p->deps[i].link);
                p->deps[i].target = NULL;
        }
}

/* What n will depend on, once what is prepared has come true. */
static Dependency *future_deps(const Node *n, size_t *ret_n)
{
        const NodePriv *p = priv(n);
        bool other = p->becoming && p->becoming->deps;

        *ret_n = other ? p->becoming->n_deps : p->n_deps;
        return other ? p->becoming->deps : p->deps;
}

/* With an order that did not come true it might make a cycle, in which each waits for the other to stop. */
void depend_settle(Node *n, bool keep)
{
        NodePriv *p = priv(n);

        for (size_t i = 0; i < p->n_deps && p->deps; i++) {
                Dependency *d = &p->deps[i];

                if (d->found && !keep) {
                        list_unlink(&d->link);
                        d->target = NULL;
                }
                d->found = false;
        }
}

static int resolve(Core *core, Node *n, Dependency *d, const char *name, bool again)
{
        _cleanup_free_ char *path = NULL;

        if (d->target)
                return 0;
        if (name[0] != '/') {
                if (!n->parent)
                        return -ENOENT;
                path = node_path_join(n->parent->path, name);
                if (!path)
                        return -ENOMEM;
                name = path;
        }
        d->target = core_find(core, name);
        if (!d->target)
                return -ENOENT;
        list_append(&priv(d->target)->dependents, &d->link);
        d->found = again;
        return 0;
}

/* The search for cycles. Each node is two points, BEGIN and DONE, and each point needs others before it:
 *
 *      BEGIN(n): BEGIN(parent), DONE(earlier sibling) in a chain, DONE(d) of each dependency
 *      DONE(n):  BEGIN(n), DONE(c) of each child
 *
 * A cycle that is new goes through a dependency of the new subtree, so it is found from there, depth first, without
 * looking at the rest of the tree; an own stack, for such paths can be as long as the tree is large. */
enum { BEGIN, DONE };
enum { WHITE, GREY, BLACK };

typedef struct Point {
        Node *node;
        int phase;
        size_t next;   /* which need to follow next */
        Node *child;   /* DONE: the child to follow next */
        size_t depend; /* index + 1 of the dependency last followed */
} Point;

typedef struct Search {
        Core *core;
        Point *stack;
        size_t n, cap;
} Search;

static uint8_t *colour(Search *s, Node *n, int phase)
{
        NodePriv *p = priv(n);

        if (p->epoch != s->core->epoch) {
                p->epoch = s->core->epoch;
                p->colour[BEGIN] = p->colour[DONE] = WHITE;
        }
        return &p->colour[phase];
}

static Node *future_elder(const Node *n)
{
        Node *s = n->parent;
        Strategy strategy = s ? future_spec(s)->strategy : STRATEGY_ONE_FOR_ONE;

        if (strategy != STRATEGY_ONE_FOR_ALL && strategy != STRATEGY_REST_FOR_ONE)
                return NULL;
        return priv(s)->youngest ? priv(n)->elder : sibling_prev(n);
}

/* The next point that must come before this one; false when there is none left. */
static bool point_next(Point *p, Node **ret, int *ret_phase)
{
        Node *n = p->node;
        size_t n_deps;
        const Dependency *deps = future_deps(n, &n_deps);

        p->depend = 0;
        if (p->phase == DONE) {
                if (p->next++ == 0) {
                        p->child = list_is_empty(&n->children) ? NULL : child_last(n);
                        *ret = n;
                        *ret_phase = BEGIN;
                        return true;
                }
                *ret = p->child;
                *ret_phase = DONE;
                p->child = p->child ? sibling_prev(p->child) : NULL;
                return *ret != NULL;
        }
        for (;;) {
                size_t i = p->next++;

                *ret_phase = DONE;
                if (i == 0) {
                        *ret = n->parent;
                        *ret_phase = BEGIN;
                } else if (i == 1)
                        *ret = future_elder(n);
                else if (i - 2 < n_deps) {
                        *ret = deps[i - 2].target;
                        p->depend = i - 1;
                } else
                        return false;
                if (*ret)
                        return true;
        }
}

static int search_push(Search *s, Node *n, int phase)
{
        int r = GROW(s->stack, s->cap, s->n + 1);

        if (r < 0)
                return r;
        *colour(s, n, phase) = GREY;
        s->stack[s->n++] = (Point){ .node = n, .phase = phase };
        return 0;
}

static bool is_below(const Node *n, const Node *top)
{
        for (; n; n = n->parent)
                if (n == top)
                        return true;
        return false;
}

/* Names one dependency of the cycle that ends the stack and closes at (n, phase): one of the new subtree if there is
 * one, and there always is. */
static void search_blame(
                const Search *s, Node *top, Node *n, int phase, Node **ret, const char **ret_depends)
{
        for (size_t i = s->n; i-- > 0;) {
                const Point *p = &s->stack[i];

                if (p->depend > 0 && is_below(p->node, top)) {
                        *ret = p->node;
                        *ret_depends = future_spec(p->node)->depends[p->depend - 1];
                }
                if (p->node == n && p->phase == phase)
                        return;
        }
}

static int search_from(Search *s, Node *top, Node *start, Node **ret, const char **ret_depends)
{
        int r, phase;
        Node *n;

        if (*colour(s, start, BEGIN) != WHITE)
                return 0;
        r = search_push(s, start, BEGIN);
        while (r >= 0 && s->n > 0) {
                Point *p = &s->stack[s->n - 1];

                if (!point_next(p, &n, &phase)) {
                        *colour(s, p->node, p->phase) = BLACK;
                        s->n--;
                } else if (*colour(s, n, phase) == GREY) {
                        search_blame(s, top, n, phase, ret, ret_depends);
                        return -ELOOP;
                } else if (*colour(s, n, phase) == WHITE)
                        r = search_push(s, n, phase);
        }
        return r;
}

/* One that stays as it is may depend on what left long ago; it is found again where that came back. */
static bool may_dangle(const Node *n, bool changes)
{
        return changes && priv(n)->change != CHANGE_RESTART && priv(n)->change != CHANGE_START;
}

static bool is_to_go(const Node *n)
{
        for (; n; n = n->parent)
                if (priv(n)->change == CHANGE_REMOVE)
                        return true;
        return false;
}

static int link_node(Core *core, Node *n, bool changes, Node **ret, const char **ret_depends)
{
        size_t n_deps;
        Dependency *deps = future_deps(n, &n_deps);
        int r = 0;

        for (size_t i = 0; i < n_deps && r >= 0; i++) {
                *ret = n;
                *ret_depends = future_spec(n)->depends[i];
                r = resolve(core, n, &deps[i], *ret_depends, changes && deps == priv(n)->deps);
                if (r >= 0 && is_to_go(deps[i].target))
                        r = -ENOENT;
                if (r == -ENOENT && may_dangle(n, changes))
                        r = 0;
        }
        return r;
}

static int link_tree(Core *core, Node *top, bool changes, Node **ret_node, const char **ret_depends)
{
        Search s = { .core = core };
        const char *depends = NULL;
        Node *at = NULL;
        size_t n_deps;
        int r = 0;

        for (Node *n = top; n && r >= 0; n = subtree_next(top, n))
                r = link_node(core, n, changes, &at, &depends);
        core->epoch++;
        for (Node *n = top; n && r >= 0; n = subtree_next(top, n))
                if (future_deps(n, &n_deps) && n_deps > 0)
                        r = search_from(&s, top, n, &at, &depends);
        free(s.stack);
        if (r < 0) {
                if (ret_node)
                        *ret_node = at;
                if (ret_depends)
                        *ret_depends = depends;
        }
        return r;
}

int core_link(Core *core, Node *top, Node **ret_node, const char **ret_depends)
{
        return link_tree(core, top, false, ret_node, ret_depends);
}

int core_check_changes(Core *core, Node *top, Node **ret_node, const char **ret_depends)
{
        return link_tree(core, top, true, ret_node, ret_depends);
}
