/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Random trees for the model test: a single supervisor with actors, of which the oracle is told, or a forest of any shape. */

#include <errno.h>

#include "core-oracle.h"
#include "core-watch.h"

#define FOREST_NODES 16 /* at the start: the others come */

static Core *core;
static uint64_t rng, now;
static bool flat;
static Oracle oracle;
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
                .on_trial = chance(15),
                .significant = chance(30) };
}

/* One whose node is gone is taken again, but by nurseries alone: the oracle's children are those that come first. */
static Seen *free_seen(bool reused)
{
        for (int i = 0; reused && i < n_seen; i++)
                if (!seen[i].node)
                        return &seen[i];
        return n_seen < WATCH_NODES ? &seen[n_seen++] : NULL;
}

static Node *add_at(Seen *s, Node *parent, NodeSpec spec, Node *const *targets)
{
        char name[8], *depends[3] = { NULL };

        snprintf(name, sizeof(name), "n%d", (int) (s - seen));
        spec.name = name;
        if (targets) {
                for (size_t i = 0; i < 2 && targets[i]; i++)
                        depends[i] = targets[i]->path;
                spec.depends = depends;
        }
        *s = (Seen){ .deadline = USEC_INFINITY, .came = step_number };
        CHECK_EQ(core_add(core, parent, &spec, s, &s->node), 0);
        return s->node;
}

static Node *add_node(Node *parent, NodeSpec spec, Node *const *targets)
{
        return add_at(free_seen(false), parent, spec, targets);
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
        o_allow(&oracle, s.on_give_up, s.intensity.max_restarts);
        for (int i = 0; i < oracle.n; i++) {
                NodeSpec a = draw_actor();
                OracleChild *c = &oracle.child[i];
                const Node *n;

                draw_targets(targets, 1);
                n = add_node(t, a, targets);
                *c = (OracleChild){ .type = a.restart,
                        .job = a.ready_exited,
                        .trial = a.on_trial,
                        .significant = a.significant,
                        .cap = s.on_give_up == GIVE_UP_ISOLATE ? s.intensity.max_restarts : 0,
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
        int n = 2 + (int) draw(FOREST_NODES - 2);

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
