/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "base/map.h"
#include "supervisor/config-parse.h"

/* What no value shows by itself. The nodes are laid out in one array, breadth first, so that the children
 * of one lie side by side; a node that failed to parse has its place, too.
 *
 * Waiting is a graph of two vertices a node: "may start" and "is ready". A node may start once its
 * supervisor may, once its dependencies are ready and, in one_for_all and rest_for_one, once its elder
 * sibling is ready; a supervisor is ready once its children are. A cycle would wait for ever. */

typedef struct CheckNode CheckNode;
struct CheckNode {
        TreeSpec *spec;    /* weak */
        CheckNode *parent; /* weak */
        size_t index;      /* among parent's children */
        CheckNode *first;  /* weak; of its children */
        Map names;         /* of its children → CheckNode */
};

typedef struct Check {
        Parse *p;
        CheckNode *nodes;
        size_t n;
} Check;

static size_t count_nodes(const TreeSpec *t)
{
        size_t n = 1;

        for (size_t i = 0; i < t->n_children; i++)
                n += count_nodes(t->children[i]);
        return n;
}

static void check_done(Check *c)
{
        for (size_t i = 0; i < c->n; i++)
                map_clear(&c->nodes[i].names);
        free(c->nodes);
}

static int check_init(Check *c, Parse *p, TreeSpec *top)
{
        size_t n = count_nodes(top);

        *c = (Check){ .p = p, .nodes = calloc(n, sizeof(CheckNode)) };
        if (!c->nodes)
                return -ENOMEM;
        c->nodes[c->n++].spec = top;
        for (size_t i = 0; i < c->n; i++) {
                CheckNode *node = &c->nodes[i];

                node->first = &c->nodes[c->n];
                for (size_t k = 0; k < node->spec->n_children; k++)
                        c->nodes[c->n++] = (CheckNode){
                                .spec = node->spec->children[k],
                                .parent = node,
                                .index = k,
                        };
        }
        return 0;
}

/* Reports at `key` of a node, or at item `index` of the array there. */
static int report_at(Check *c, const CheckNode *node, const char *key, const size_t *index, bool warning,
                const char *message)
{
        Where chain[2 * NODE_DEPTH_MAX + 2];
        const Where *up = NULL;
        size_t n = ELEMENTSOF(chain), last;

        if (index)
                chain[--n] = (Where){ .index = *index };
        chain[--n] = (Where){ .key = key };
        for (; node->parent; node = node->parent) {
                chain[--n] = (Where){ .index = node->index };
                chain[--n] = (Where){ .key = "children" };
        }
        for (last = n; last < ELEMENTSOF(chain); last++) {
                chain[last].up = up;
                up = &chain[last];
        }
        return (warning ? problem_warning : problem)(c->p, up, "%s", message);
}

static int check_names(Check *c, CheckNode *node)
{
        int r = 0;

        for (size_t i = 0; r >= 0 && i < node->spec->n_children; i++) {
                CheckNode *child = &node->first[i];
                _cleanup_free_ char *message = NULL;

                if (!child->spec->name)
                        continue;
                r = map_put(&node->names, child->spec->name, child);
                if (r != -EEXIST)
                        continue;
                message = xasprintf("\"%s\" is the name of an earlier sibling, too", child->spec->name);
                if (!message)
                        return -ENOMEM;
                r = report_at(c, child, "name", NULL, false, message);
        }
        return r;
}

/* The node a path leads to; NULL when there is none here. *ret_inside: the path leads into this tree. */
static CheckNode *find_path(Check *c, const char *path, bool *ret_inside)
{
        CheckNode *node = NULL;

        *ret_inside = false;
        while (*path == '/') {
                char name[NODE_NAME_MAX + 1];
                size_t n = strcspn(++path, "/");

                *(char *) mempcpy(name, path, n) = 0; /* depends holds valid names only */
                path += n;
                if (node)
                        node = map_get(&node->names, name);
                else if (streq_ptr(c->nodes[0].spec->name, name))
                        node = &c->nodes[0];
                *ret_inside = *ret_inside || node;
                if (!node)
                        return NULL;
        }
        return node;
}

static CheckNode *find_dependency(Check *c, const CheckNode *node, size_t i, bool *ret_inside)
{
        const char *name = node->spec->depends[i];

        *ret_inside = *name;
        if (!*name || !node->parent)
                return NULL;
        return *name == '/' ? find_path(c, name, ret_inside) : map_get(&node->parent->names, name);
}

static bool is_above(const CheckNode *above, const CheckNode *node)
{
        for (; node; node = node->parent)
                if (node == above)
                        return true;
        return false;
}

static int check_dependency(Check *c, const CheckNode *node, size_t i)
{
        const char *name = node->spec->depends[i];
        _cleanup_free_ char *message = NULL;
        const CheckNode *other;
        bool inside;

        other = find_dependency(c, node, i, &inside);
        if (!other && !inside)
                return 0; /* reported before, or of another tree: known when the tree is loaded */
        if (other == node)
                message = strdup("a node can't depend on itself");
        else if (other && is_above(other, node))
                message = xasprintf("\"%s\" is above this node, and is ready only after it", name);
        else if (other && is_above(node, other))
                message = xasprintf("\"%s\" is below this node, and starts only after it", name);
        else if (!other && *name != '/')
                message = xasprintf("there is no sibling \"%s\"", name);
        else if (!other)
                message = xasprintf("there is no \"%s\" in this tree", name);
        else
                return 0;
        if (!message)
                return -ENOMEM;
        return report_at(c, node, "depends", &i, false, message);
}

/* Vertices: 2 i is "node i may start", 2 i + 1 is "node i is ready". */
enum {
        STEP_END = -1,
        STEP_NONE = -2, /* an edge that does not count: reported already, or out of this tree */
};

enum {
        EDGE_PARENT,
        EDGE_ELDER,
        EDGE_DEPENDS, /* and up */
};

typedef struct Frame {
        size_t vertex;
        size_t edge; /* the one being followed */
} Frame;

static ssize_t vertex_of(const Check *c, const CheckNode *node, bool ready)
{
        return 2 * (node - c->nodes) + ready;
}

static bool in_order(const CheckNode *supervisor)
{
        Strategy s = supervisor->spec->node.strategy;

        return s == STRATEGY_ONE_FOR_ALL || s == STRATEGY_REST_FOR_ONE;
}

static ssize_t start_edge(Check *c, CheckNode *node, size_t edge)
{
        CheckNode *other;
        bool inside;

        switch (edge) {
        case EDGE_PARENT:
                return node->parent ? vertex_of(c, node->parent, false) : STEP_NONE;
        case EDGE_ELDER:
                if (!node->parent || !in_order(node->parent) || node->index == 0)
                        return STEP_NONE;
                return vertex_of(c, node - 1, true);
        }
        edge -= EDGE_DEPENDS;
        if (edge >= strv_length(node->spec->depends))
                return STEP_END;
        other = find_dependency(c, node, edge, &inside);
        if (!other || is_above(other, node) || is_above(node, other))
                return STEP_NONE;
        return vertex_of(c, other, true);
}

static ssize_t next_vertex(Check *c, const Frame *f)
{
        CheckNode *node = &c->nodes[f->vertex / 2];

        if (f->vertex % 2 == 0)
                return start_edge(c, node, f->edge);
        if (f->edge == 0)
                return (ssize_t) f->vertex - 1;
        if (f->edge > node->spec->n_children)
                return STEP_END;
        return vertex_of(c, &node->first[f->edge - 1], true);
}

static void print_path(FILE *f, const CheckNode *node)
{
        if (node->parent)
                print_path(f, node->parent);
        fprintf(f, "/%s", node->spec->name ?: "?");
}

static void print_step(FILE *f, const CheckNode *node, bool arrow)
{
        if (arrow)
                fputs(" → ", f);
        print_path(f, node);
}

static bool is_depends(const Frame *f)
{
        return f->vertex % 2 == 0 && f->edge >= EDGE_DEPENDS;
}

/* The frames of one cycle, from frame `from` around to it again. */
static int print_cycle(Check *c, const Frame *frames, size_t n, size_t from, char **ret)
{
        const CheckNode *start = &c->nodes[frames[from].vertex / 2], *last = NULL;
        bool elder = false;
        size_t size, shown_nodes = 0;
        FILE *f;

        *ret = NULL;
        f = open_memstream(ret, &size);
        if (!f)
                return -ENOMEM;
        fputs("a cycle of dependencies: ", f);
        for (size_t i = 0; i < n; i++) {
                const Frame *frame = &frames[(from + i) % n];
                const CheckNode *node = &c->nodes[frame->vertex / 2];

                elder = elder || (frame->vertex % 2 == 0 && frame->edge == EDGE_ELDER);
                if (node == last)
                        continue;
                last = node;
                if (++shown_nodes <= 8)
                        print_step(f, node, shown_nodes > 1);
                else if (shown_nodes == 9)
                        fputs(" → …", f);
        }
        if (last != start || shown_nodes > 8)
                print_step(f, start, true);
        if (elder)
                fputs(" (in one_for_all and rest_for_one a child waits for the one before it, too)", f);
        if (fclose(f) != 0) {
                free(*ret);
                *ret = NULL;
                return -ENOMEM;
        }
        return 0;
}

/* Structure alone makes no cycle, so at least one edge of it is a dependency; the last closed it. */
static int report_cycle(Check *c, const Frame *frames, size_t n)
{
        _cleanup_free_ char *message = NULL;
        size_t at = n - 1, item;
        int r;

        while (at > 0 && !is_depends(&frames[at]))
                at--;
        item = frames[at].edge - EDGE_DEPENDS;
        r = print_cycle(c, frames, n, at, &message);
        if (r < 0)
                return r;
        return report_at(c, &c->nodes[frames[at].vertex / 2], "depends", &item, false, message);
}

typedef struct Search {
        Frame *frames; /* the way from where the search began */
        size_t depth;
        size_t *positions; /* of a vertex in frames, from 1; 0: not seen, SIZE_MAX: done */
} Search;

static int search_from(Check *c, Search *s, size_t vertex)
{
        int r;

        s->frames[s->depth++] = (Frame){ .vertex = vertex };
        s->positions[vertex] = s->depth;
        while (s->depth > 0) {
                Frame *top = &s->frames[s->depth - 1];
                ssize_t next = next_vertex(c, top);

                if (next == STEP_END) {
                        s->positions[top->vertex] = SIZE_MAX;
                        s->depth--;
                        if (s->depth > 0)
                                s->frames[s->depth - 1].edge++;
                } else if (next == STEP_NONE || s->positions[next] == SIZE_MAX) {
                        top->edge++;
                } else if (s->positions[next] > 0) {
                        size_t first = s->positions[next] - 1;

                        r = report_cycle(c, s->frames + first, s->depth - first);
                        if (r < 0)
                                return r;
                        top->edge++;
                } else {
                        s->frames[s->depth++] = (Frame){ .vertex = (size_t) next };
                        s->positions[next] = s->depth;
                }
        }
        return 0;
}

/* Without recursion: a chain of dependencies may be as long as the tree has nodes. */
static int check_cycles(Check *c)
{
        _cleanup_free_ Frame *frames = calloc(2 * c->n, sizeof(Frame));
        _cleanup_free_ size_t *positions = calloc(2 * c->n, sizeof(size_t));
        Search s = { .frames = frames, .positions = positions };
        int r = 0;

        if (!frames || !positions)
                return -ENOMEM;
        for (size_t v = 0; r >= 0 && v < 2 * c->n && !c->p->problems->full; v++)
                if (positions[v] == 0)
                        r = search_from(c, &s, v);
        return r;
}

/* The least time in which one child uses up `n` restarts: the first is at once, then delays grow, and
 * jitter is on the short side. Delays are taken as level after a while; that errs on the side of no
 * warning. */
static double least_time(const Backoff *b, uint32_t n)
{
        double delay = (double) b->initial_usec, sum = 0;
        uint32_t i;

        for (i = 1; i < n && i < 1000; i++) {
                sum += MIN(delay, (double) b->max_usec);
                delay = MIN(delay * b->factor, (double) b->max_usec);
        }
        return (sum + (double) (n - MIN(i, n)) * delay) * (1 - b->jitter);
}

static bool restarts(const CheckNode *supervisor)
{
        Strategy s = supervisor->spec->node.strategy;

        return s != STRATEGY_ONE_CANCELS_ALL && s != STRATEGY_ONE_CANCELS_ONE;
}

/* At the child's `backoff` or, where that is the default, at the supervisor's `intensity`, once. */
static int check_backoff(Check *c, const CheckNode *node)
{
        const Intensity *in = &node->spec->node.intensity;
        bool at_supervisor = false;
        int r = 0;

        for (size_t i = 0; r >= 0 && restarts(node) && i < node->spec->n_children; i++) {
                const CheckNode *child = &node->first[i];
                const NodeSpec *s = &child->spec->node;
                _cleanup_free_ char *message = NULL;

                if (s->kind != NODE_ACTOR || s->restart == RESTART_TEMPORARY)
                        continue;
                if (!child->spec->has_backoff && at_supervisor)
                        continue;
                /* the restart that is one too many waits as well */
                if (least_time(&s->backoff, in->max_restarts + 1) <= (double) in->within_usec)
                        continue;
                message = xasprintf("with this backoff one child alone never makes more than %u restarts in "
                                    "%llu ms: "
                                    "it is never given up",
                                in->max_restarts, (unsigned long long) in->within_usec / 1000);
                if (!message)
                        return -ENOMEM;
                if (child->spec->has_backoff)
                        r = report_at(c, child, "backoff", NULL, true, message);
                else
                        r = report_at(c, node, "intensity", NULL, true, message);
                at_supervisor = at_supervisor || !child->spec->has_backoff;
        }
        return r;
}

int config_check_tree(Parse *p, TreeSpec *top)
{
        Check c;
        int r;

        r = check_init(&c, p, top);
        for (size_t i = 0; r >= 0 && i < c.n; i++)
                r = check_names(&c, &c.nodes[i]);
        for (size_t i = 0; r >= 0 && i < c.n; i++) {
                r = check_backoff(&c, &c.nodes[i]);
                for (size_t k = 0; r >= 0 && k < strv_length(c.nodes[i].spec->depends) && !p->problems->full;
                                k++)
                        r = check_dependency(&c, &c.nodes[i], k);
        }
        if (r >= 0)
                r = check_cycles(&c);
        check_done(&c);
        return r;
}
