/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A shell for the core that only takes notes: each test tells a story of events and compares what the core wanted
 * done with one line of text, such as "spawn db, ask web, kill web". States are asked for by path. */

#include <stdarg.h>

#include "base/path.h"
#include "base/usec.h"
#include "supervisor/core/core.h"
#include "test.h"

#define SEC USEC_PER_SEC
#define MSEC USEC_PER_MSEC

static Core *core;
static uint64_t now;
static char notes[8192];
static char changes[16384]; /* "db new>starting, …" */

typedef struct Deadline {
        Node *node;
        uint64_t at;
} Deadline;
static Deadline deadlines[256];
static size_t n_deadlines;

static inline uint64_t *deadline_of(Node *n)
{
        for (size_t i = 0; i < n_deadlines; i++)
                if (deadlines[i].node == n)
                        return &deadlines[i].at;
        CHECK(n_deadlines < ELEMENTSOF(deadlines));
        deadlines[n_deadlines] = (Deadline){ n, USEC_INFINITY };
        return &deadlines[n_deadlines++].at;
}

static inline void note(char *to, size_t size, const char *format, ...) _printf_(3, 4);
static inline void note(char *to, size_t size, const char *format, ...)
{
        size_t n = strlen(to);
        va_list ap;

        CHECK(n + 100 < size);
        if (n > 0)
                n += (size_t) snprintf(to + n, size - n, ", ");
        va_start(ap, format);
        vsnprintf(to + n, size - n, format, ap);
        va_end(ap);
}

#define NOTE(...) note(notes, sizeof(notes), __VA_ARGS__)

static inline void take_effects(void)
{
        static const char *const rungs[] = { "none", "ask", "term", "kill" };
        Effect e;

        while (core_next_effect(core, &e))
                switch (e.type) {
                case EFFECT_SPAWN:
                        NOTE("spawn %s", e.node->name);
                        break;
                case EFFECT_STOP:
                        NOTE("%s %s", rungs[e.rung], e.node->name);
                        break;
                case EFFECT_THAW:
                        NOTE("thaw %s", e.node->name);
                        break;
                case EFFECT_CHANGED:
                        NOTE("changed %s", e.node->name);
                        break;
                case EFFECT_GIVE_UP:
                        NOTE("give-up %s about %s", e.node->name, e.about->name);
                        break;
                case EFFECT_REMOVED:
                        NOTE("removed %s", e.node->name);
                        *deadline_of(e.node) = USEC_INFINITY;
                        for (size_t i = 0; i < n_deadlines; i++)
                                if (deadlines[i].node == e.node)
                                        deadlines[i--] = deadlines[--n_deadlines];
                        break;
                case EFFECT_TIMER:
                        *deadline_of(e.node) = e.at;
                        break;
                case EFFECT_STATE:
                        note(changes, sizeof(changes), "%s %s>%s", e.node->name,
                                        node_state_to_string(e.from), node_state_to_string(e.to));
                        break;
                default:
                        CHECK(false);
                }
}

/* What was noted since the last look. */
#define CHECK_NOTES(text)                                                                                   \
        do {                                                                                                \
                CHECK_STR(notes, text);                                                                     \
                notes[0] = 0;                                                                               \
        } while (0)
#define CHECK_CHANGES(text)                                                                                 \
        do {                                                                                                \
                CHECK_STR(changes, text);                                                                   \
                changes[0] = 0;                                                                             \
        } while (0)
#define CHECK_STATE(path, expected) CHECK_STR(node_state_to_string(N(path)->state), expected)
#define CHECK_CAUSE(path, expected) CHECK_STR(exit_cause_to_string(N(path)->exit.cause), expected)

static inline void forget(void)
{
        notes[0] = changes[0] = 0;
}

static inline Node *N(const char *path)
{
        Node *n = core_find(core, path);

        if (!n)
                fprintf(stderr, "no node %s\n", path);
        CHECK(n);
        return n;
}

static inline NodeSpec supervisor(Strategy strategy)
{
        return (NodeSpec){ .kind = NODE_SUPERVISOR, .strategy = strategy, .intensity = INTENSITY_DEFAULT };
}

static inline NodeSpec actor(RestartType restart)
{
        return (NodeSpec){ .kind = NODE_ACTOR,
                .restart = restart,
                .backoff = { 100 * MSEC, 30 * SEC, 60 * SEC, 2.0, 0.0 },
                .start_timeout_usec = 10 * SEC,
                .grace_usec = 3 * SEC };
}

static inline Node *add(const char *parent, const char *name, NodeSpec spec)
{
        Node *n;

        spec.name = name;
        CHECK_EQ(core_add(core, N(parent), &spec, NULL, &n), 0);
        return n;
}

static inline void step(Event e)
{
        e.now = now;
        core_step(core, &e);
        take_effects();
}

static inline void ask(EventType type, const char *path)
{
        step((Event){ .type = type, .node = N(path), .grace_usec = USEC_INFINITY });
}

static inline void start(const char *path)
{
        Node *at;
        const char *depends;

        CHECK_EQ(core_link(core, N(path), &at, &depends), 0);
        ask(EVENT_START, path);
}

static inline void ready(const char *path)
{
        ask(EVENT_READY, path);
}

static inline void ended(const char *path, ExitCause cause, int value, bool populated)
{
        ExitInfo exit = { .cause = cause, .code = cause == CAUSE_EXIT ? value : -1 };

        exit.signal = cause == CAUSE_EXIT ? 0 : value;
        step((Event){ .type = EVENT_EXITED, .node = N(path), .exit = exit, .populated = populated });
}

static inline void exited(const char *path, int code)
{
        ended(path, CAUSE_EXIT, code, false);
}

static inline void killed(const char *path)
{
        ended(path, CAUSE_SIGNAL, 9, false);
}

static inline uint64_t deadline(const char *path)
{
        return *deadline_of(N(path));
}

/* Lets time pass to the node's deadline. */
static inline void expire(const char *path)
{
        CHECK(deadline(path) != USEC_INFINITY);
        now = MAX(now, deadline(path));
        ask(EVENT_TIMEOUT, path);
}

static inline void begin(void)
{
        now = 1000 * SEC;
        n_deadlines = 0;
        forget();
        CHECK_EQ(core_new(42, &core), 0);
}

/* Every story ends with everything being stopped, whatever it takes. */
static inline void finish(void)
{
        ask(EVENT_CANCEL, "/");
        for (int i = 0; i < 100 && node_is_active(core_root(core)); i++)
                for (size_t k = 0; k < n_deadlines; k++) {
                        Node *n = deadlines[((size_t) i + k) % n_deadlines].node;

                        /* in turn: one that waits for what is below it hears nothing */
                        if (n->alive) {
                                ended(n->path, CAUSE_SIGNAL, 15, false);
                                break;
                        }
                }
        CHECK(!node_is_active(core_root(core)));
        core = core_free(core);
}
