/* SPDX-License-Identifier: Apache-2.0 */
/* Random trees and random events, many of them: a watcher (core-watch.h) holds the core to its promises at each
 * effect, and where the tree is a single supervisor with actors, an oracle of its own (core-oracle.h) predicts every
 * state. Each sequence runs twice and must give the same effects. In the end all is stopped, within bounds.
 *
 *      test-core-model [SEED [SEQUENCES]]      TRACTOR_SEED=… does the same
 *
 * A failure names the seed that repeats the one sequence it happened in. */
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "core-oracle.h"
#include "core-watch.h"

#define SEQUENCES 100000
#define EVENTS_MIN 4
#define EVENTS_MAX 40

static Core *core;
static uint64_t rng, now;
static bool flat;
static Oracle oracle;
static bool verbose;
static char failure[128];

static uint64_t draw(uint64_t n)
{
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (rng * 0x2545f4914f6cdd1dULL >> 20) % n;
}

static bool chance(unsigned percent)
{
        return draw(100) < percent;
}

/* Making trees */

static NodeSpec draw_supervisor(void)
{
        return (NodeSpec){ .kind = NODE_SUPERVISOR,
                .strategy = (Strategy) draw(_STRATEGY_MAX),
                .intensity = { (uint32_t) draw(4), (1 + draw(5)) * USEC_PER_SEC },
                .on_give_up = chance(30) ? GIVE_UP_ISOLATE : GIVE_UP_ESCALATE,
                .auto_shutdown = chance(30) ? (AutoShutdown) draw(_AUTO_SHUTDOWN_MAX) : AUTO_SHUTDOWN_NEVER,
                .significant = chance(30) };
}

static NodeSpec draw_actor(void)
{
        return (NodeSpec){ .kind = NODE_ACTOR,
                .restart = (RestartType) draw(_RESTART_MAX),
                .backoff = { draw(3) * 50000, 300000, draw(3) * USEC_PER_SEC, 1.0 + (double) draw(3), 0.0 },
                .ready_exited = chance(15),
                .start_timeout_usec = chance(20) ? USEC_INFINITY : 2 * USEC_PER_SEC,
                .grace_usec = draw(4) * 500000,
                .watchdog_usec = chance(20) ? USEC_PER_SEC : 0,
                .stop_is_term = chance(30),
                .significant = chance(30) };
}

static Node *add_node(Node *parent, NodeSpec spec, Node *const *targets)
{
        char name[8], *depends[3] = { NULL };
        Seen *s = &seen[n_seen];

        snprintf(name, sizeof(name), "n%d", n_seen);
        spec.name = name;
        if (targets) {
                for (size_t i = 0; i < 2 && targets[i]; i++)
                        depends[i] = targets[i]->path;
                spec.depends = depends;
        }
        *s = (Seen){ .deadline = USEC_INFINITY };
        CHECK_EQ(core_add(core, parent, &spec, s, &s->node), 0);
        n_seen++;
        return s->node;
}

/* Up to two dependencies on what was made before; in a single supervisor that isn't a chain, now and then on one
 * that is further on in the list would need two passes, so the list order is left to the other trees. */
static void draw_targets(Node **targets, int from)
{
        size_t n = 0;

        targets[0] = targets[1] = NULL;
        for (int i = from; i < n_seen && n < 2; i++)
                if (chance(15))
                        targets[n++] = seen[i].node;
}

static void make_flat(void)
{
        NodeSpec s = draw_supervisor();
        Node *t, *targets[2];

        t = add_node(core_root(core), s, NULL);
        oracle = (Oracle){ .strategy = s.strategy,
                .give_up = s.on_give_up,
                .shutdown = s.auto_shutdown,
                .intensity = s.intensity,
                .n = (int) draw(ORACLE_CHILDREN + 1),
                .state = NODE_NEW };
        for (int i = 0; i < oracle.n; i++) {
                NodeSpec a = draw_actor();
                OracleChild *c = &oracle.child[i];
                const Node *n;

                draw_targets(targets, 1);
                n = add_node(t, a, targets);
                *c = (OracleChild){ .type = a.restart,
                        .job = a.ready_exited,
                        .significant = a.significant,
                        .backoff = a.backoff };
                for (size_t k = 0; k < priv(n)->n_deps; k++)
                        for (int j = 0; j < i; j++)
                                if (seen[j + 1].node == targets[k])
                                        c->depends |= 1u << j;
        }
}

static Node *draw_parent(void)
{
        for (;;) {
                Node *n = n_seen == 0 || chance(15) ? core_root(core) : seen[draw((uint64_t) n_seen)].node;

                if (is_supervisor(n))
                        return n;
        }
}

/* Trees of every shape below the root; nodes right below it are supervisors, as the shell has it. */
static void make_forest(void)
{
        int n = 2 + (int) draw(WATCH_NODES - 2);

        while (n_seen < n) {
                Node *parent = draw_parent(), *targets[2];
                bool top = parent == core_root(core);

                draw_targets(targets, 0);
                add_node(parent, top || chance(25) ? draw_supervisor() : draw_actor(), top ? NULL : targets);
        }
}

static int link_all(void)
{
        int r = 0;

        CORE_CHILD_FOREACH(c, core_root(core)) {
                Node *at;
                const char *depends;

                if (r >= 0)
                        r = core_link(core, c, &at, &depends);
        }
        return r;
}

/* Random dependencies make cycles; such trees are refused and made again. */
static void make_tree(void)
{
        int r;

        do {
                CHECK_EQ(core_new(rng, &core), 0);
                n_seen = 0;
                flat = chance(50);
                if (flat)
                        make_flat();
                else
                        make_forest();
                r = link_all();
                CHECK(r == 0 || (r == -ELOOP && !flat));
                if (r < 0)
                        core = core_free(core);
        } while (r < 0);
}

/* One step and what follows */

/* Of several children that lose a dependency in the step in which one of them ends the supervisor, some fail and some
 * are stopped; which is a matter of order that nothing promises. */
static void agree_on_losers(OracleChild *c, const Node *n)
{
        bool same = c->state == n->state || !is_over(n) || !o_over(c);

        if (!same && S(n)->first == n->state && S(n)->was == NODE_NEW && !o_open(&oracle))
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
                "cancel", "restart", "freeze", "thaw", "remove" };

        fprintf(stderr, "%8.3f %s %s", (double) now / 1e6, types[e->type], e->node->path);
        if (e->type == EVENT_EXITED)
                fprintf(stderr, " %s %d%s", exit_cause_to_string(e->exit.cause), e->exit.code,
                                e->populated ? " populated" : "");
        fprintf(stderr, "\n");
}

static void say_effect(const Effect *e)
{
        static const char *const types[] = { "spawn", "stop", "thaw", "timer", "state", "give-up",
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
        bool own = s && s->alive && !priv(e.node)->stop_wanted, ended = false;
        Effect effect;

        e.now = now;
        step_number++;
        for (int i = 0; i < n_seen; i++) {
                seen[i].first = _NODE_STATE_INVALID;
                seen[i].was = seen[i].state;
        }
        if (verbose)
                say(&e);
        if (s && s->alive &&
                        ((e.type == EVENT_EXITED && !s->exited && !e.populated) ||
                                        (e.type == EVENT_EMPTY && s->exited))) {
                s->alive = s->exited = false;
                s->ends++;
                ended = true;
        } else if (s && s->alive && e.type == EVENT_EXITED)
                s->exited = true;
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
        if (ended && own && s->node && !is_nursery(e.node->parent) && e.node->parent->parent)
                watch_restart(e.node);
        watch_rest(core);
        if (flat)
                compare();
}

/* The world outside */

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

static void life(Node *n)
{
        const Seen *s = S(n);

        if (!s || is_supervisor(n))
                return;
        if (s->exited)
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
                        if (seen[i].node && seen[i].alive && seen[i].rung >= RUNG_ASK)
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
