/* SPDX-License-Identifier: Apache-2.0 */

/* Whether someone else stops a scope of ours. systemd says so before it sends the first signal, but the bus is slower
 * than a death: the manager asks before it judges an end that could have been meant, and waits for the answer.
 *
 * Both wait for one call: what JobNew told of, since that names no type (`systemctl start` of a scope that stands makes
 * a job, too), and the ends that are held. ListJobs has the types, and its answer comes after every JobNew sent before
 * it. One call is under way at a time, whatever the number of those who wait: the bus daemon bounds unanswered ones. */

#include <errno.h>

#include "supervisor/backend-scope.h"

/* An end is held for less than twice that; then it counts as the actor's own. */
#define ASK_LIMIT_USEC USEC_PER_SEC

static bool is_stop(const char *type)
{
        return streq(type, "stop") || streq(type, "restart") || streq(type, "try-restart");
}

static bool is_empty(ScopeHome *h)
{
        ScopeBackend *b = (ScopeBackend *) h->home.backend;

        return cgroup_populated(b->root.fd, h->room) == 0;
}

/* The home stays: its generation's end has not been told yet. */
static void answer(ScopeHome *h, bool stopped)
{
        ScopeBackend *b = (ScopeBackend *) h->home.backend;
        bool held = h->held;

        ask_forget(h);
        if (stopped)
                b->events->stop_requested(h->userdata);
        if (held)
                b->events->consulted(h->userdata);
}

/* Nobody answers: hardly any other job is made for a scope that stands. */
static void answer_all(ScopeBackend *b)
{
        while (!list_is_empty(&b->asking)) {
                ScopeHome *h = LIST_ENTRY(b->asking.next, ScopeHome, asking);

                answer(h, h->told);
        }
}

/* Marks those that a job is about. True: our own unit is to be stopped, and the scopes only with it. They wait for
 * us then, and we end them in their order. */
static bool read_jobs(ScopeBackend *b, sd_bus_message *m)
{
        const char *unit, *type, *s[3];
        bool leaving = false;
        uint32_t id;

        if (sd_bus_message_enter_container(m, 'a', "(usssoo)") < 0)
                return false;
        while (sd_bus_message_read(m, "(usssoo)", &id, &unit, &type, &s[0], &s[1], &s[2]) > 0) {
                ScopeHome *h = map_get(&b->scopes, unit);

                if (h)
                        h->job = is_stop(type) ? SCOPE_JOB_STOP : SCOPE_JOB_OTHER;
                else if (streq(unit, b->keeper_unit))
                        leaving |= is_stop(type);
        }
        return leaving;
}

/* A job that is over already was the stop if it has left nothing. */
static bool was_stop(ScopeHome *h)
{
        return h->job == SCOPE_JOB_STOP || (h->job == SCOPE_JOB_NONE && h->told && is_empty(h));
}

static int on_jobs(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        ScopeBackend *b = userdata;
        bool leaving;

        b->ask = sd_bus_slot_unref(b->ask);
        b->ask_late = false;
        if (sd_bus_message_is_method_error(m, NULL)) {
                answer_all(b);
                return 0;
        }
        LIST_FOREACH(i, &b->asking)
                LIST_ENTRY(i, ScopeHome, asking)->job = SCOPE_JOB_NONE;
        leaving = read_jobs(b, m);
        while (!list_is_empty(&b->asking)) {
                ScopeHome *h = LIST_ENTRY(b->asking.next, ScopeHome, asking);

                if (h->round != b->round)
                        break; /* came while this answer was under way, as did all behind it */
                answer(h, !leaving && was_stop(h));
        }
        asks_pump(b);
        return 0;
}

void asks_pump(ScopeBackend *b)
{
        if (b->ask || list_is_empty(&b->asking) || !bus_is_up(b->bus))
                return;
        if (call_list_jobs(b, on_jobs) < 0) {
                answer_all(b);
                return;
        }
        b->round++;
        b->ask_since = now_usec(CLOCK_MONOTONIC);
        scope_tick(b);
}

void asks_drop(ScopeBackend *b)
{
        b->ask = sd_bus_slot_unref(b->ask);
        b->ask_late = false;
        answer_all(b);
}

/* The call itself stays: an unanswered one counts, forgotten or not. */
void asks_check(ScopeBackend *b)
{
        if (!b->ask || b->ask_late)
                return;
        if (now_usec(CLOCK_MONOTONIC) < usec_add(b->ask_since, ASK_LIMIT_USEC)) {
                scope_tick(b);
                return;
        }
        b->ask_late = true;
        answer_all(b);
}

/* For the next call, not one under way. */
static void ask_join(ScopeHome *h)
{
        ScopeBackend *b = (ScopeBackend *) h->home.backend;

        list_unlink(&h->asking);
        h->round = b->round + 1;
        list_append(&b->asking, &h->asking);
}

void ask_forget(ScopeHome *h)
{
        list_unlink(&h->asking);
        h->told = h->held = false;
}

/* Signals come in order: before our own job is done it is about that, or an older unit of the name. */
void ask_told(ScopeBackend *b, const char *unit)
{
        ScopeHome *h = map_get(&b->scopes, unit);

        if (!h || h->scope_job.phase != JOB_DONE)
                return;
        h->told = true;
        if (b->ask_late) {
                answer(h, true);
                return;
        }
        ask_join(h);
        asks_pump(b);
}

int scope_home_consult(Home *home)
{
        ScopeHome *h = (ScopeHome *) home;
        ScopeBackend *b = (ScopeBackend *) home->backend;

        if (!h->scope || h->scope_job.phase != JOB_DONE)
                return 0;
        if (b->ask_late || !bus_is_up(b->bus)) {
                if (h->told)
                        answer(h, true);
                return 0;
        }
        ask_join(h);
        asks_pump(b);
        if (list_is_empty(&h->asking))
                return 0; /* no memory for the call: answered meanwhile, with nobody held */
        h->held = true;
        return 1;
}
