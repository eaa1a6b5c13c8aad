/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What should become of one supervisor below the root with actors as children, written down from the description of
 * the strategies and not from the core: plain scans over a handful of children until nothing moves any more, no
 * gates, no counters, no tree. It predicts each state and the number of generations after each event; delays are
 * without jitter here. */

#include "base/usec.h"
#include "supervisor/core/core.h"
#include "test.h"

#define ORACLE_CHILDREN 6
#define ORACLE_RESTARTS 48

typedef struct OracleChild {
        Change change;            /* to come with the next EVENT_CHANGE */
        struct OracleChild *next; /* weak: what it becomes once nothing of it is left */
        RestartType type;
        bool job, significant, trial; /* job: ready means ended with 0 */
        unsigned depends;             /* bit a sibling */
        Backoff backoff;

        NodeState state;
        bool waits, held, stop, asked, again, off, leaving;
        ExitCause ours; /* we killed it for this */
        bool left;      /* main process gone, the rest not */
        bool good, bad; /* of the last end: code 0; a failure */
        ExitCause cause;
        unsigned row; /* restarts in a row */
        unsigned generation;
        uint64_t born, due; /* due: end of the backoff */
        uint64_t times[ORACLE_RESTARTS];
        unsigned n_times, cap;
} OracleChild;

typedef struct Oracle {
        Strategy strategy;
        GiveUp give_up;
        AutoShutdown shutdown;
        Intensity intensity;
        unsigned cap; /* how many restarts are remembered: as many as ever were allowed */
        int n;
        OracleChild child[ORACLE_CHILDREN], next_child[ORACLE_CHILDREN];
        bool changes;  /* EVENT_CHANGE is about the supervisor, too: the next four */
        bool changing; /* these will hold once no child is stopping; till then none starts */
        Strategy next_strategy;
        GiveUp next_give_up;
        AutoShutdown next_shutdown;
        Intensity next_intensity;
        NodeState state;
        bool stop, again, closing, closing_bad, someone_over;
        bool group;
        int group_from;
        uint64_t times[ORACLE_RESTARTS];
        unsigned n_times;
        uint64_t now;
} Oracle;

static bool o_chain(const Oracle *o)
{
        return o->strategy == STRATEGY_ONE_FOR_ALL || o->strategy == STRATEGY_REST_FOR_ONE;
}

static bool o_nursery(const Oracle *o)
{
        return o->strategy == STRATEGY_ONE_CANCELS_ALL || o->strategy == STRATEGY_ONE_CANCELS_ONE;
}

static bool o_over(const OracleChild *c)
{
        return c->state == NODE_DEAD || c->state == NODE_FAILED;
}

static bool o_runs(const OracleChild *c)
{
        return c->state == NODE_STARTING || c->state == NODE_READY || c->state == NODE_STOPPING;
}

static bool o_active(const OracleChild *c)
{
        return o_runs(c) || c->state == NODE_BACKOFF || (c->state == NODE_NEW && (c->waits || c->held));
}

static bool o_open(const Oracle *o)
{
        return (o->state == NODE_STARTING || o->state == NODE_READY) && !o->stop && !o->closing;
}

static bool o_never_ran(const OracleChild *c)
{
        return c->trial && c->generation == 1 && c->state != NODE_DEAD && c->cause == CAUSE_SPAWN;
}

static void o_stop_child(Oracle *o, OracleChild *c, bool again)
{
        if (o_over(c))
                return;
        if (o_runs(c)) {
                c->stop = true;
                c->again = again;
                return;
        }
        c->waits = c->held = false;
        c->state = NODE_DEAD;
        o->someone_over = true;
}

static void o_stop_all(Oracle *o)
{
        o->group = false;
        for (int i = 0; i < o->n; i++) {
                o->child[i].held = o->child[i].leaving = false;
                o_stop_child(o, &o->child[i], false);
        }
}

static void o_close(Oracle *o, bool bad)
{
        if (o->closing || o->stop)
                return;
        o->closing = true;
        o->closing_bad = bad;
        o->state = NODE_STOPPING;
        o_stop_all(o);
}

static void o_want(Oracle *o, int i)
{
        OracleChild *c = &o->child[i];

        c->state = NODE_NEW;
        if (o->group && i >= o->group_from)
                c->held = true;
        else
                c->waits = true;
}

/* Over for good by itself. */
static void o_final(Oracle *o, OracleChild *c, bool failure)
{
        bool others = false;

        c->state = failure ? NODE_FAILED : NODE_DEAD;
        for (int i = 0; i < o->n; i++)
                o->someone_over |= o_over(&o->child[i]) && !o_never_ran(&o->child[i]);
        if (failure && o->strategy == STRATEGY_ONE_CANCELS_ALL && !o_never_ran(c))
                o_close(o, true);
        if (!c->significant || c->off || o_never_ran(c) || o->shutdown == AUTO_SHUTDOWN_NEVER)
                return;
        for (int i = 0; i < o->n; i++)
                others |= o->child[i].significant && o_active(&o->child[i]);
        if (o->shutdown == AUTO_SHUTDOWN_ANY_SIGNIFICANT || !others)
                o_close(o, failure);
}

static bool o_admits(const Oracle *o, uint64_t *times, unsigned *n)
{
        unsigned recent = 0;

        for (unsigned i = 0; i < *n; i++)
                recent += o->now - times[i] <= o->intensity.within_usec;
        if (recent >= o->intensity.max_restarts)
                return false;
        CHECK(*n < ORACLE_RESTARTS);
        times[(*n)++] = o->now;
        return true;
}

static uint64_t o_delay(const Oracle *o, OracleChild *c)
{
        double max = (double) c->backoff.max_usec, d = MIN((double) c->backoff.initial_usec, max);

        if (o->now - c->born >= c->backoff.reset_after_usec)
                c->row = 0;
        if (++c->row == 1)
                return 0;
        for (unsigned i = 2; i < c->row; i++)
                d = MIN(d * c->backoff.factor, max);
        return (uint64_t) (c->cause == CAUSE_SPAWN ? MAX(d, 1e5) : d);
}

static void o_regroup(Oracle *o, int culprit)
{
        int from = o->strategy == STRATEGY_ONE_FOR_ALL ? 0 : culprit;

        o->group_from = o->group && o->group_from < from ? o->group_from : from;
        o->group = true;
        o->child[culprit].held = true;
        for (int i = o->group_from; i < o->n; i++) {
                OracleChild *c = &o->child[i];

                if (i == culprit || c->held || c->stop || c->state == NODE_FAILED)
                        continue;
                if (c->state == NODE_NEW) {
                        c->held = c->waits;
                        c->waits = false;
                } else if (c->state == NODE_DEAD) {
                        if (c->off || c->type == RESTART_TEMPORARY)
                                continue;
                        c->state = NODE_NEW;
                        c->held = true;
                } else if (c->state == NODE_BACKOFF)
                        c->held = true;
                else {
                        c->held = c->again = c->type != RESTART_TEMPORARY;
                        c->stop = c->leaving = true;
                }
        }
}

static void o_restart(Oracle *o, int i)
{
        OracleChild *c = &o->child[i];
        uint64_t delay = o_delay(o, c);

        c->due = o->now + delay;
        c->state = delay ? NODE_BACKOFF : NODE_NEW;
        if (o_chain(o))
                o_regroup(o, i);
        else if (delay == 0)
                c->waits = true;
}

static void o_change_self(Oracle *o)
{
        for (int i = 0; i < o->n; i++)
                if (o->child[i].stop && o->strategy != o->next_strategy)
                        return;
        if (!o->changing)
                return;
        o->changing = false;
        o->strategy = o->next_strategy;
        o->give_up = o->next_give_up;
        o->shutdown = o->next_shutdown;
        o->intensity = o->next_intensity;
}

static void o_become(OracleChild *c)
{
        const OracleChild *next = c->next;

        if (!next)
                return;
        c->type = next->type;
        c->job = next->job;
        c->significant = next->significant;
        c->depends = next->depends;
        c->backoff = next->backoff;
        c->next = NULL;
}

/* The child is gone to the last process. */
static void o_gone(Oracle *o, int i)
{
        OracleChild *c = &o->child[i];
        bool stopped = c->stop, again = c->again, one = o->give_up == GIVE_UP_ISOLATE, wants;

        o_become(c);
        c->stop = c->asked = c->again = c->leaving = c->left = false;
        o_change_self(o);
        if (stopped) {
                c->state = again ? NODE_NEW : NODE_DEAD;
                o->someone_over |= !again;
                if (again && !c->held)
                        o_want(o, i);
                return;
        }
        c->off = c->cause == CAUSE_STOP;
        wants = c->type == RESTART_PERMANENT || (c->type == RESTART_TRANSIENT && c->bad);
        if (o_nursery(o) || c->off || o_never_ran(c) || !wants || (c->job && !c->bad))
                return o_final(o, c, c->bad);
        if (o_admits(o, one ? c->times : o->times, one ? &c->n_times : &o->n_times))
                return o_restart(o, i);
        o_final(o, c, true);
        if (!one)
                o_close(o, true);
}

/* `before`: before this round, so that of two that fail in it neither sees the other's end. */
static bool o_needs_met(const Oracle *before, const OracleChild *c, bool *lost)
{
        bool met = true;

        *lost = false;
        for (int j = 0; j < before->n; j++) {
                const OracleChild *d = &before->child[j];

                if (!(c->depends & 1u << j) || (d->state == NODE_READY && !d->stop) ||
                                (d->state == NODE_DEAD && d->good))
                        continue;
                met = false;
                *lost |= o_over(d);
        }
        return met;
}

static bool o_turn(const Oracle *o, int i)
{
        while (o_chain(o) && --i >= 0)
                if (o_active(&o->child[i]))
                        return o->child[i].state == NODE_READY && !o->child[i].stop;
        return true;
}

static bool o_try_lose(Oracle *o, const Oracle *before, int i)
{
        OracleChild *c = &o->child[i];
        bool lost;

        if (!c->waits || !o_open(o) || o->changing)
                return false;
        o_needs_met(before, c, &lost);
        if (!lost)
                return false;
        c->waits = c->good = false;
        c->cause = CAUSE_NONE;
        o_final(o, c, true);
        return true;
}

static bool o_try_start(Oracle *o, int i)
{
        OracleChild *c = &o->child[i];
        bool lost;

        if (!c->waits || !o_open(o) || o->changing || !o_needs_met(o, c, &lost) || !o_turn(o, i))
                return false;
        c->waits = c->off = false;
        c->state = NODE_STARTING;
        c->born = o->now;
        c->generation++;
        c->ours = CAUSE_NONE;
        return true;
}

static bool o_try_ask(Oracle *o, int i)
{
        OracleChild *c = &o->child[i];

        if (!c->stop || c->asked)
                return false;
        for (int j = 0; j < o->n; j++) {
                const OracleChild *d = &o->child[j];

                if (d->stop && j != i && ((d->depends & 1u << i) || (o_chain(o) && j > i)))
                        return false;
        }
        c->asked = true;
        c->state = NODE_STOPPING;
        return true;
}

static bool o_try_release(Oracle *o)
{
        if (!o->group)
                return false;
        for (int i = 0; i < o->n; i++)
                if (o->child[i].leaving || (o->child[i].held && o->child[i].state == NODE_BACKOFF))
                        return false;
        o->group = false;
        for (int i = 0; i < o->n; i++)
                if (o->child[i].held) {
                        o->child[i].held = false;
                        o->child[i].waits = true;
                }
        return true;
}

static void o_start_all(Oracle *o)
{
        o->state = NODE_STARTING;
        o->n_times = 0;
        for (int i = 0; i < o->n; i++) {
                OracleChild *c = &o->child[i];

                c->state = NODE_NEW;
                c->waits = true;
                c->off = false;
                c->row = c->n_times = 0;
        }
}

static bool o_try_supervisor(Oracle *o)
{
        int active = 0, pending = 0, failed = 0;
        bool someone_over = o->someone_over;

        o->someone_over = false;
        for (int i = 0; i < o->n; i++) {
                active += o_active(&o->child[i]);
                pending += o_active(&o->child[i]) && (o->child[i].state != NODE_READY || o->child[i].stop);
                failed += o->child[i].state == NODE_FAILED && !o_never_ran(&o->child[i]);
        }
        if ((o->stop || o->closing) && active == 0) {
                o->state = !o->stop && o->closing_bad ? NODE_FAILED : NODE_DEAD;
                if (o->stop && o->again)
                        o_start_all(o);
                o->stop = o->closing = o->again = false;
                return true;
        }
        if (!o_open(o))
                return false;
        if (o_nursery(o) && someone_over && active == 0) {
                o->state = failed ? NODE_FAILED : NODE_DEAD;
                return true;
        }
        if (o->state == NODE_STARTING && pending == 0) {
                o->state = NODE_READY;
                return true;
        }
        return false;
}

/* All ends first, then one start after the other. */
static void o_settle(Oracle *o)
{
        static Oracle before;
        bool moved;

        do {
                moved = o_try_release(o);
                for (int i = o->n - 1; i >= 0; i--)
                        moved |= o_try_ask(o, i);
                before = *o;
                for (int i = 0; i < o->n; i++)
                        moved |= o_try_lose(o, &before, i);
                moved |= o_try_supervisor(o);
                for (int i = 0; i < o->n && !moved; i++)
                        moved = o_try_start(o, i);
        } while (moved);
}

static void o_exited(Oracle *o, int i, const ExitInfo *exit, bool populated)
{
        OracleChild *c = &o->child[i];

        if (!o_runs(c) || c->left)
                return;
        c->cause = exit->cause;
        if (c->stop)
                c->cause = CAUSE_STOP;
        else if (exit->cause != CAUSE_OOM && c->ours != CAUSE_NONE)
                c->cause = c->ours;
        c->good = c->cause == CAUSE_EXIT && exit->code == 0;
        c->bad = !c->good && c->cause != CAUSE_STOP;
        if (!populated)
                return o_gone(o, i);
        c->left = true;
        c->state = NODE_STOPPING;
}

static void o_timeout(Oracle *o, int i)
{
        OracleChild *c = &o->child[i];

        if (c->state == NODE_STARTING || c->state == NODE_READY) {
                c->ours = c->state == NODE_READY ? CAUSE_WATCHDOG : CAUSE_START_TIMEOUT;
                c->state = NODE_STOPPING;
        } else if (c->state == NODE_BACKOFF && c->held)
                c->state = NODE_NEW;
        else if (c->state == NODE_BACKOFF)
                o_want(o, i);
}

static void o_child_request(Oracle *o, int i, EventType type)
{
        OracleChild *c = &o->child[i];
        bool rests = o_over(c) || (c->state == NODE_NEW && !c->waits && !c->held);

        if (type == EVENT_CANCEL) {
                c->off = true;
                c->held = false;
                o_stop_child(o, c, false);
        } else if (!o_open(o))
                return;
        else if (rests) {
                c->off = false;
                c->row = c->n_times = 0;
                o_want(o, i);
        } else if (type == EVENT_RESTART && o_runs(c)) {
                c->off = false;
                c->stop = c->again = true;
        } else if (type == EVENT_RESTART && c->state == NODE_BACKOFF)
                o_timeout(o, i);
}

static void o_request(Oracle *o, EventType type)
{
        bool rests = o->state == NODE_NEW || o->state == NODE_DEAD || o->state == NODE_FAILED;

        if (type == EVENT_CANCEL) {
                o_stop_all(o);
                if (o->state == NODE_NEW)
                        o->state = NODE_DEAD;
                if (rests)
                        return;
                o->stop = true;
                o->again = false;
        } else if (rests)
                o_start_all(o);
        else if (type == EVENT_RESTART) {
                o_stop_all(o);
                o->stop = o->again = true;
        }
        if (o->stop)
                o->state = NODE_STOPPING;
}

/* More is remembered only from now on. */
static void o_remember(uint64_t *times, unsigned *n_times, unsigned *cap, unsigned allowed)
{
        unsigned n = MIN(*n_times, *cap);

        memmove(times, times + (*n_times - n), n * sizeof(*times));
        *n_times = n;
        *cap = MAX(*cap, allowed);
}

static void o_allow(Oracle *o, GiveUp give_up, unsigned allowed)
{
        bool one = give_up == GIVE_UP_ISOLATE;

        o_remember(o->times, &o->n_times, &o->cap, one ? 0 : allowed);
        for (int i = 0; i < o->n; i++)
                o_remember(o->child[i].times, &o->child[i].n_times, &o->child[i].cap, one ? allowed : 0);
}

static void o_change_child(Oracle *o, int i)
{
        OracleChild *c = &o->child[i];

        c->next = &o->next_child[i];
        if (c->change == CHANGE_LIVE)
                return o_become(c);
        if (o_runs(c)) {
                if (!o_open(o))
                        return;
                c->off = false;
                c->stop = c->again = true;
                return;
        }
        o_become(c);
        if (!o_open(o))
                return;
        c->off = false;
        c->row = c->n_times = 0;
        if (c->state == NODE_BACKOFF && c->held)
                c->state = NODE_NEW;
        else if (!c->waits && !c->held)
                o_want(o, i);
}

static void o_change(Oracle *o)
{
        o->changing |= o->changes;
        for (int i = 0; i < o->n; i++)
                if (o->child[i].change != CHANGE_NONE)
                        o_change_child(o, i);
        o->changes = false;
        o_change_self(o);
        for (int i = 0; i < o->n; i++)
                o->child[i].change = CHANGE_NONE;
}

/* `i` < 0: the supervisor. */
static void oracle_step(Oracle *o, int i, const Event *e)
{
        o->now = e->now;
        switch (e->type) {
        case EVENT_READY:
                if (i >= 0 && o->child[i].state == NODE_STARTING && !o->child[i].job)
                        o->child[i].state = NODE_READY;
                break;
        case EVENT_EXITED:
                o_exited(o, i, &e->exit, e->populated);
                break;
        case EVENT_EMPTY:
                if (o->child[i].left)
                        o_gone(o, i);
                break;
        case EVENT_TIMEOUT:
                o_timeout(o, i);
                break;
        case EVENT_START:
        case EVENT_RESTART:
        case EVENT_CANCEL:
                if (i < 0)
                        o_request(o, e->type);
                else
                        o_child_request(o, i, e->type);
                break;
        case EVENT_CHANGE:
                o_change(o);
                break;
        default:
                break;
        }
        o_settle(o);
}
