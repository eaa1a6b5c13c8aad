/* SPDX-License-Identifier: Apache-2.0 */
/* Random trees and random events, many of them: a watcher (core-watch.h) holds the core to its promises at each
 * effect, and where the tree is a single supervisor with actors, an oracle of its own (core-oracle.h) predicts every
 * state. Each sequence runs twice and must give the same effects. In the end all is stopped, within bounds.
 *
 * Meanwhile trees are changed as they run: nodes of any state get another spec, leave, come, change places; and in forests
 * nurseries are opened below actors and anywhere else, filled, closed, and lose their owners.
 *
 *      test-core-model [SEED [SEQUENCES]]      TRACTOR_SEED=… does the same
 *
 * A failure names the seed that repeats the one sequence it happened in. */
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "core-draw.h"

#define SEQUENCES 100000
#define EVENTS_MIN 4
#define EVENTS_MAX 40

static bool verbose;
static char failure[128];

/* One step and what follows */

/* Of several children that lose a dependency in the step in which one of them ends the supervisor, some fail and some
 * are stopped; which is a matter of order that nothing promises. */
static void agree_on_losers(OracleChild *c, const Node *n)
{
        bool same = c->state == n->state || !is_over(n) || !o_over(c);
        bool waited = S(n)->was == NODE_NEW ? S(n)->first == n->state : S(n)->first == NODE_NEW;

        if (!same && waited && !o_open(&oracle))
                c->state = n->state;
}

static void compare(void)
{
        CHECK_EQ(seen[0].node->state, oracle.state);
        for (int i = 0; i < oracle.n; i++) {
                const Node *n = seen[i + 1].node;
                OracleChild *c = &oracle.child[i];

                agree_on_losers(c, n);
                CHECK_EQ(n->state, c->state);
                CHECK_EQ(n->generation, c->generation);
                if (n->state == NODE_BACKOFF)
                        CHECK_EQ(seen[i + 1].deadline, c->due);
        }
}

static void say(const Event *e)
{
        static const char *const types[] = { "start", "ready", "exited", "empty", "timeout", "watchdog",
                "cancel", "restart", "freeze", "thaw", "remove", "change" };

        fprintf(stderr, "%8.3f %s %s", (double) now / 1e6, types[e->type], e->node->path);
        if (e->type == EVENT_EXITED)
                fprintf(stderr, " %s %d%s", exit_cause_to_string(e->exit.cause), e->exit.code,
                                e->populated ? " populated" : "");
        fprintf(stderr, "\n");
}

static void say_effect(const Effect *e)
{
        static const char *const types[] = { "spawn", "stop", "thaw", "timer", "state", "changed", "give-up",
                "removed" };

        fprintf(stderr, "             %s %s", types[e->type], e->node->path);
        if (e->type == EFFECT_STATE)
                fprintf(stderr, " %s>%s", node_state_to_string(e->from), node_state_to_string(e->to));
        if (e->type == EFFECT_STOP)
                fprintf(stderr, " %d", e->rung);
        fprintf(stderr, "\n");
}

static void step(Event e)
{
        Seen *s = S(e.node);
        size_t room = core->effects_cap;
        Effect effect;

        e.now = now;
        step_number++;
        for (int i = 0; i < n_seen; i++) {
                seen[i].first = _NODE_STATE_INVALID;
                seen[i].was = seen[i].state;
                seen[i].ended = false;
                seen[i].own = seen[i].node && seen[i].alive && !priv(seen[i].node)->stop_wanted;
        }
        if (verbose)
                say(&e);
        if (s && s->alive && !s->hollow &&
                        (e.type == EVENT_EXITED || (e.type == EVENT_EMPTY && s->exited))) {
                bool gone = e.type == EVENT_EMPTY || (!s->exited && !e.populated);

                s->exited = true;
                if (gone)
                        watch_end(e.node);
        }
        if (e.type == EVENT_CANCEL || e.type == EVENT_RESTART || e.type == EVENT_REMOVE)
                for (int i = 0; i < n_seen; i++)
                        seen[i].requested |= seen[i].node && is_inside(seen[i].node, e.node);
        if (s && (e.type == EVENT_START || e.type == EVENT_RESTART) && is_over(e.node))
                s->n_times = 0; /* by hand: anew */
        if (flat)
                oracle_step(&oracle, (int) (s - seen) - 1, &e);
        core_step(core, &e);
        CHECK_EQ(core->effects_cap, room);
        while (core_next_effect(core, &effect)) {
                if (verbose)
                        say_effect(&effect);
                watch_effect(&effect);
        }
        for (int i = 0; i < n_seen; i++)
                if (seen[i].ended && seen[i].own && seen[i].node && !is_nursery(seen[i].node->parent) &&
                                seen[i].node->parent->parent)
                        watch_restart(seen[i].node);
        watch_rest(core);
        if (flat)
                compare();
}

static bool takes_more(const Node *s)
{
        for (; s; s = s->parent)
                if (priv(s)->stop_wanted || priv(s)->closing || priv(s)->removing)
                        return false;
        return true;
}

/* The world outside */

/* Part of one, or one itself. */
static bool in_nursery(const Node *n)
{
        for (; n; n = n->parent)
                if (n->spec.stays)
                        return true;
        return false;
}

static Event exit_event(Node *n)
{
        static const ExitCause causes[] = { CAUSE_EXIT, CAUSE_EXIT, CAUSE_EXIT, CAUSE_SIGNAL, CAUSE_SPAWN,
                CAUSE_OOM, CAUSE_UNKNOWN, CAUSE_STOP };
        Event e = { .type = EVENT_EXITED, .node = n, .exit.code = -1, .populated = chance(20) };

        e.exit.cause = causes[draw(chance(3) ? ELEMENTSOF(causes) : ELEMENTSOF(causes) - 1)];
        if (e.exit.cause == CAUSE_EXIT)
                e.exit.code = (int) draw(2);
        if (e.exit.cause == CAUSE_SIGNAL)
                e.exit.signal = 9;
        return e;
}

static Node *draw_node(void)
{
        for (int i = 0; i < 4 * WATCH_NODES; i++) {
                Seen *s = &seen[draw((uint64_t) n_seen)];

                if (s->node)
                        return s->node;
        }
        return core_root(core);
}

static Seen *next_deadline(void)
{
        Seen *s = &seen[0];

        for (int i = 1; i < n_seen; i++)
                if (seen[i].deadline < s->deadline)
                        s = &seen[i];
        return s->deadline == USEC_INFINITY ? NULL : s;
}

static void request(Node *n)
{
        static const EventType types[] = { EVENT_START, EVENT_START, EVENT_CANCEL, EVENT_CANCEL,
                EVENT_RESTART, EVENT_RESTART, EVENT_FREEZE, EVENT_THAW, EVENT_REMOVE };
        size_t n_types = ELEMENTSOF(types) - (flat || n == core_root(core) || chance(50) ? 1 : 0);

        if (n == core_root(core))
                return;
        step((Event){ .type = types[draw(n_types)],
                        .node = n,
                        .grace_usec = chance(70) ? USEC_INFINITY : draw(3) * 400000,
                        .fast = chance(20) });
}

/* Changes */

static void watch_change(Node *n)
{
        S(n)->n_times = 0; /* how much the core remembers is the oracle's matter */
        for (int i = 0; i < n_seen; i++) {
                if (!seen[i].node)
                        continue;
                seen[i].requested |= is_inside(seen[i].node, n) || seen[i].node->parent == n->parent;
                if (seen[i].node->parent == n)
                        seen[i].n_times = 0;
        }
}

static void change_flat_supervisor(void)
{
        NodeSpec s = draw_supervisor();

        s.significant = false;
        CHECK_EQ(core_change(core, seen[0].node, CHANGE_LIVE, &s), 0);
        o_allow(&oracle, s.on_give_up, s.intensity.max_restarts);
        oracle.changes = true;
        oracle.next_strategy = s.strategy;
        oracle.next_give_up = s.on_give_up;
        oracle.next_shutdown = s.auto_shutdown;
        oracle.next_intensity = s.intensity;
        watch_change(seen[0].node);
}

static void change_flat_child(int i)
{
        OracleChild *c = &oracle.child[i], *next = &oracle.next_child[i];
        bool live = chance(40) && !c->next;
        char *depends[ORACLE_CHILDREN + 1] = { NULL };
        NodeSpec a = draw_actor();
        size_t n = 0;

        if (live)
                a.ready_exited = c->job;
        *next = (OracleChild){ .type = a.restart,
                .job = a.ready_exited,
                .significant = a.significant,
                .depends = live ? c->depends : 0,
                .backoff = a.backoff };
        for (int j = 0; j < i && !live; j++)
                if (chance(15)) {
                        next->depends |= 1u << j;
                        depends[n++] = seen[j + 1].node->path;
                }
        a.depends = depends;
        c->change = live ? CHANGE_LIVE : CHANGE_RESTART;
        CHECK_EQ(core_change(core, seen[i + 1].node, c->change, &a), 0);
        watch_change(seen[i + 1].node);
}

static void change_flat(void)
{
        const char *depends;
        Node *at;

        if (chance(30))
                change_flat_supervisor();
        for (int i = 0; i < oracle.n; i++)
                if (chance(25))
                        change_flat_child(i);
        CHECK_EQ(core_check_changes(core, seen[0].node, &at, &depends), 0);
        step((Event){ .type = EVENT_CHANGE, .node = seen[0].node });
}

/* Any node of the forest; a dependency on whatever may make a cycle. */
static void change_node(Node *n)
{
        char *depends[3] = { NULL };
        NodeSpec spec = is_supervisor(n) ? draw_supervisor() : draw_actor();
        size_t k = 0;

        for (int i = 0; i < n_seen && k < 2; i++)
                if (seen[i].node && seen[i].node != n && n->parent != core_root(core) && chance(6))
                        depends[k++] = seen[i].node->path;
        spec.depends = depends;
        CHECK_EQ(core_change(core, n, chance(40) ? CHANGE_LIVE : CHANGE_RESTART, &spec), 0);
        watch_change(n);
}

static void shuffle_children(Node *s)
{
        Node *order[WATCH_NODES];
        size_t n = 0;

        CORE_CHILD_FOREACH(c, s)
                if (chance(80))
                        order[n++] = c;
        for (size_t i = n; i > 1; i--) {
                size_t k = draw(i);
                Node *swap = order[i - 1];

                order[i - 1] = order[k];
                order[k] = swap;
        }
        core_change_order(s, order, n);
        CORE_CHILD_FOREACH(c, s)
                watch_change(c);
}

static void add_some(Node *top)
{
        for (int i = n_seen; i-- > 0 && n_seen < WATCH_NODES;) {
                Node *parent = seen[i].node, *targets[2];
                NodeSpec spec = chance(25) ? draw_supervisor() : draw_actor();

                if (!parent || !is_inside(parent, top) || !is_supervisor(parent) || !takes_more(parent) ||
                                in_nursery(parent) || chance(70))
                        continue;
                draw_targets(targets, 0);
                CHECK_EQ(core_change(core, add_node(parent, spec, targets), CHANGE_START, NULL), 0);
        }
}

static void forget_new(int from)
{
        while (n_seen > from) {
                Seen *s = &seen[--n_seen];

                core_discard(core, s->node);
                s->node = NULL;
        }
}

static void change_forest(void)
{
        Node *top = draw_node(), *at;
        const char *depends;
        int before = n_seen, r;

        while (top->parent && top->parent != core_root(core))
                top = top->parent;
        if (top == core_root(core))
                return;
        add_some(top);
        for (int i = 0; i < before; i++) {
                Node *n = seen[i].node;

                if (!n || !is_inside(n, top) || in_nursery(n))
                        continue;
                if (chance(15))
                        change_node(n);
                else if (n != top && chance(8)) {
                        CHECK_EQ(core_change(core, n, CHANGE_REMOVE, NULL), 0);
                        watch_change(n);
                }
                if (is_supervisor(n) && chance(15))
                        shuffle_children(n);
        }
        r = core_check_changes(core, top, &at, &depends);
        CHECK(r == 0 || r == -ELOOP || r == -ENOENT); /* a cycle, or on what is to be removed */
        if (r == 0)
                return step((Event){ .type = EVENT_CHANGE, .node = top });
        core_discard_changes(top);
        forget_new(before);
}

/* Nurseries */

static bool may_open_below(const Node *n)
{
        if (n == core_root(core) || !takes_more(n))
                return false;
        for (const Node *a = is_supervisor(n) ? owner_of(n) : n; a; a = owner_of(a))
                if (!S(a)->alive || S(a)->exited || (a->state != NODE_STARTING && a->state != NODE_READY))
                        return false;
        return true;
}

/* What comes at run time is linked and started alone; on what it depends is anyone's guess. */
static void come(Node *parent, NodeSpec spec)
{
        Node *targets[2], *at;
        const char *depends;
        Seen *s;

        draw_targets(targets, 0);
        s = free_seen(true);
        if (!s)
                return;
        (void) add_at(s, parent, spec, chance(30) ? targets : NULL);
        if (core_link(core, s->node, &at, &depends) >= 0)
                return step((Event){ .type = EVENT_START, .node = s->node });
        core_discard(core, s->node);
        s->node = NULL;
}

static void nursery(Node *n)
{
        NodeSpec spec = draw_supervisor();

        spec.stays = true;
        if (!may_open_below(n))
                return;
        if (!is_supervisor(n))
                return come(n, spec);
        if (n->spec.stays && chance(20)) /* closed, or by a client that is gone */
                return step((Event){ .type = EVENT_REMOVE,
                                .node = n,
                                .grace_usec = USEC_INFINITY,
                                .fast = chance(50) });
        if (in_nursery(n) || chance(20))
                come(n, chance(20) ? spec : draw_actor());
}

static void life(Node *n)
{
        const Seen *s = S(n);

        if (!s || is_supervisor(n))
                return;
        if (s->exited && (!s->hollow || chance(10)))
                step((Event){ .type = EVENT_EMPTY, .node = n });
        else if (s->state == NODE_STARTING && chance(60))
                step((Event){ .type = EVENT_READY, .node = n });
        else if (s->alive)
                step(chance(90) ? exit_event(n) : (Event){ .type = EVENT_WATCHDOG, .node = n });
        else if (chance(10)) /* for a generation that ended */
                step(chance(50) ? exit_event(n) : (Event){ .type = EVENT_EMPTY, .node = n });
}

static void one_event(void)
{
        Seen *due = next_deadline();

        now += draw(3) * draw(200000);
        if (due && now >= due->deadline)
                return step((Event){ .type = EVENT_TIMEOUT, .node = due->node });
        if (due && chance(15)) {
                now = MAX(now, due->deadline);
                return step((Event){ .type = EVENT_TIMEOUT, .node = due->node });
        }
        if (chance(14))
                return request(draw_node());
        if (chance(7))
                return flat ? change_flat() : change_forest();
        if (!flat && chance(25))
                return nursery(draw_node());
        life(draw_node());
}

/* Whatever state it is in: asked to stop, the tree stops, and each process that is asked ends. */
static void stop_all(void)
{
        int steps = 0;

        CORE_CHILD_FOREACH(c, core_root(core))
                step((Event){ .type = EVENT_CANCEL, .node = c, .grace_usec = USEC_INFINITY });
        while (node_is_active(core_root(core))) {
                Seen *s = NULL;

                CHECK(++steps <= 3 * WATCH_NODES);
                for (int i = 0; i < n_seen && !s; i++)
                        if (seen[i].node && seen[i].alive && !seen[i].hollow && seen[i].rung >= RUNG_ASK)
                                s = &seen[i];
                CHECK(s); /* else nobody is asked and all wait for each other */
                if (s->exited)
                        step((Event){ .type = EVENT_EMPTY, .node = s->node });
                else
                        step(exit_event(s->node));
        }
        for (int i = 0; i < n_seen; i++)
                CHECK(!seen[i].node || is_over(seen[i].node));
}

static void remove_all(void)
{
        flat = false; /* the oracle doesn't know of removals */
        while (!list_is_empty(&core_root(core)->children))
                step((Event){ .type = EVENT_REMOVE, .node = child_last(core_root(core)) });
        for (int i = 0; i < n_seen; i++)
                CHECK(!seen[i].node);
        core = core_free(core);
}

static uint64_t run(uint64_t seed)
{
        int events;

        rng = seed;
        digest = 0;
        now = USEC_PER_SEC;
        make_tree();
        events = EVENTS_MIN + (int) draw(EVENTS_MAX - EVENTS_MIN);
        for (Node *c = child_last(core_root(core)); c; c = sibling_prev(c))
                if (chance(90))
                        step((Event){ .type = EVENT_START, .node = c });
        while (events-- > 0)
                one_event();
        stop_all();
        remove_all();
        return digest;
}

static void on_abort(int sig)
{
        ssize_t r = write(STDERR_FILENO, failure, strlen(failure));

        (void) r;
}

/* Seeds of sequences follow from the first by a step that keeps them apart; never 0, which xorshift can't leave. */
static uint64_t seed_of(uint64_t first, uint64_t i)
{
        return (first + i * 0x9e3779b97f4a7c15ULL) | 1;
}

int main(int argc, char **argv)
{
        const char *given = argc > 1 ? argv[1] : getenv("TRACTOR_SEED");
        uint64_t first = given ? strtoull(given, NULL, 0) : now_usec(CLOCK_REALTIME) * 2 + 1;
        uint64_t sequences = argc > 2 ? strtoull(argv[2], NULL, 0) : SEQUENCES;

        verbose = sequences == 1;
        signal(SIGABRT, on_abort);
        fprintf(stderr, "seed %llu, %llu sequences\n", (unsigned long long) first,
                        (unsigned long long) sequences);
        for (uint64_t i = 0; i < sequences; i++) {
                uint64_t seed = seed_of(first, i), effects;

                snprintf(failure, sizeof(failure), "repeat this sequence: test-core-model %llu 1\n",
                                (unsigned long long) seed);
                effects = run(seed);
                CHECK(run(seed) == effects);
        }
        return 0;
}
