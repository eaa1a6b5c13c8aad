/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "base/usec.h"
#include "supervisor/backend-scope.h"

#define ERROR_UNIT_EXISTS "org.freedesktop.systemd1.UnitExists"
#define ERROR_NO_SUCH_JOB "org.freedesktop.systemd1.NoSuchJob"
#define ERROR_NO_SUCH_UNIT "org.freedesktop.systemd1.NoSuchUnit"

static ScopeBackend *backend_of(Job *j)
{
        return (ScopeBackend *) j->home->home.backend;
}

static unsigned job_is_open(const Job *j)
{
        return j->phase == JOB_CALLED || j->phase == JOB_RUNNING;
}

/* Leaves CALLED or RUNNING, with what belongs to it. */
static void job_set_phase(Job *j, JobPhase phase)
{
        ScopeBackend *b = backend_of(j);

        b->n_open -= job_is_open(j);
        j->asking = false;
        j->slot = sd_bus_slot_unref(j->slot);
        if (j->path)
                map_remove(&b->running, j->path);
        free(j->path);
        j->path = NULL;
        j->phase = phase;
        b->n_open += job_is_open(j);
        j->since = now_usec(CLOCK_MONOTONIC);
}

void job_cancel(Job *j)
{
        list_unlink(&j->node);
        if (j->phase != JOB_NONE)
                job_set_phase(j, JOB_NONE);
        free(j->why);
        j->why = NULL;
}

/* The end, one way or the other; the home may go with it. */
static void job_end(Job *j, int error, const char *why)
{
        ScopeHome *h = j->home;
        char *copy = why ? strdup(why) : NULL;

        list_unlink(&j->node);
        job_set_phase(j, error < 0 ? JOB_FAILED : JOB_DONE);
        j->error = error;
        free(j->why);
        j->why = copy;
        home_progress(h);
}

/* Nothing is known any more: to be sent again, not before the next tick or return of systemd. */
static void job_again(Job *j)
{
        job_set_phase(j, JOB_WANTED);
        j->alone = false;
        scope_tick(backend_of(j));
}

static bool process_is_in(Job *j)
{
        return j->is_scope && scope_holds(backend_of(j), j->home->pid, j->home->scope, NULL);
}

void job_want(Job *j)
{
        ScopeBackend *b = backend_of(j);

        job_cancel(j);
        j->alone = false;
        j->deadline = 0;
        job_set_phase(j, JOB_WANTED);
        list_append(&b->jobs, &j->node);
        scope_tick(b);
        jobs_pump(b);
}

/* --- answers --- */

static void job_refused(Job *j, sd_bus_message *m)
{
        const sd_bus_error *e = sd_bus_message_get_error(m);

        if (bus_error_is_absence(m)) {
                job_again(j);
        } else if (j->is_scope && backend_of(j)->has_oom_policy && strstr(strna(e->message), "OOMPolicy")) {
                backend_of(j)->has_oom_policy = false; /* an older systemd */
                job_set_phase(j, JOB_WANTED);
        } else {
                job_end(j, -sd_bus_error_get_errno(e) ?: -EIO, e->message);
        }
}

static void job_running(Job *j, sd_bus_message *m)
{
        const char *path;
        int r;

        r = sd_bus_message_read(m, "o", &path);
        if (r < 0) {
                job_end(j, r, "systemd's answer makes no sense");
                return;
        }
        j->home->slice_made = true;
        job_set_phase(j, JOB_RUNNING);
        j->path = strdup(path);
        if (!j->path || map_put(&backend_of(j)->running, j->path, j) < 0) {
                free(j->path);
                j->path = NULL; /* the next check asks for the unit itself */
        }
}

/* The slice that was there before ours is now as ours would have been. */
static int on_slice_set(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        Job *j = userdata;
        ScopeBackend *b = backend_of(j);

        if (sd_bus_message_is_method_error(m, ERROR_NO_SUCH_UNIT)) {
                job_again(j);
        } else if (sd_bus_message_is_method_error(m, NULL)) {
                job_refused(j, m);
        } else {
                j->home->slice_made = true;
                j->alone = true;
                job_set_phase(j, JOB_WANTED);
                if (!j->is_scope)
                        job_end(j, 0, NULL);
        }
        jobs_pump(b);
        return 0;
}

/* It stays from here on, also if it was about to be stopped. */
static int on_slice_started(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        Job *j = userdata;
        ScopeBackend *b = backend_of(j);

        if (sd_bus_message_is_method_error(m, NULL)) {
                job_refused(j, m);
        } else {
                job_set_phase(j, JOB_CALLED);
                if (call_set_slice(j, on_slice_set) < 0)
                        job_again(j);
        }
        jobs_pump(b);
        return 0;
}

/* Ours from a call whose answer was lost, or somebody's slice: a home's that has just been freed, an earlier
 * supervisor's, or one that systemd made because something was in it. */
static void job_exists(Job *j)
{
        if (process_is_in(j)) {
                job_end(j, 0, NULL);
                return;
        }
        if (j->is_scope && j->alone) {
                job_again(j); /* its own job may not be done; in the end the deadline tells */
                return;
        }
        job_set_phase(j, JOB_CALLED);
        if (call_start_unit(j, j->home->slice, on_slice_started) < 0)
                job_again(j);
}

static int on_started(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        Job *j = userdata;
        ScopeBackend *b = backend_of(j);

        if (sd_bus_message_is_method_error(m, ERROR_UNIT_EXISTS))
                job_exists(j);
        else if (sd_bus_message_is_method_error(m, NULL))
                job_refused(j, m);
        else
                job_running(j, m);
        jobs_pump(b);
        return 0;
}

void jobs_removed(ScopeBackend *b, const char *path, const char *result)
{
        Job *j = map_get(&b->running, path);
        char why[128];

        if (!j)
                return;
        if (streq(result, "done")) {
                job_end(j, 0, NULL);
        } else {
                snprintf(why, sizeof(why), "systemd's job for the unit ended as \"%s\"", result);
                job_end(j, -ECANCELED, why);
        }
        jobs_pump(b);
}

/* --- calls --- */

static void job_call(Job *j)
{
        int r;

        if (j->deadline == 0)
                j->deadline = usec_add(now_usec(CLOCK_MONOTONIC), JOB_LIMIT_USEC);
        /* Also when it was made: someone may have stopped it, and systemd would bring it back without its limits. */
        j->alone = j->alone ||
                   (j->home->slice_made && cgroup_exists(backend_of(j)->root.fd, j->home->cgroup));
        j->home->slice_sent = true;
        job_set_phase(j, JOB_CALLED);
        r = j->is_scope ? call_start_scope(j, on_started) : call_start_slice(j, on_started);
        if (r < 0)
                job_again(j); /* no memory, or a connection about to be found broken: the deadline bounds both */
}

/* Ends no job, so no home goes meanwhile. */
void jobs_pump(ScopeBackend *b)
{
        if (!bus_is_up(b->bus))
                return;
        LIST_FOREACH_SAFE(i, &b->jobs) {
                Job *j = LIST_ENTRY(i, Job, node);

                if (b->n_open + b->n_asking >= OPEN_MAX)
                        return;
                if (j->phase == JOB_WANTED)
                        job_call(j);
        }
}

/* --- what should be done by now --- */

static void job_lost(Job *j)
{
        bool stands = j->is_scope ? process_is_in(j)
                                  : cgroup_exists(backend_of(j)->root.fd, j->home->cgroup);

        if (stands)
                job_end(j, 0, NULL);
        else
                job_again(j);
}

static int on_job(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        Job *j = userdata;
        ScopeBackend *b = backend_of(j);

        j->slot = sd_bus_slot_unref(j->slot);
        j->asking = false;
        j->since = now_usec(CLOCK_MONOTONIC);
        if (sd_bus_message_is_method_error(m, ERROR_NO_SUCH_JOB))
                job_lost(j);
        jobs_pump(b);
        return 0;
}

static void job_check(Job *j)
{
        ScopeBackend *b = backend_of(j);

        if (process_is_in(j) || !j->path) {
                job_lost(j);
                return;
        }
        j->asking = bus_is_up(b->bus) && call_get_job(j, on_job) >= 0;
}

static bool job_is_late(ScopeBackend *b, Job *j, uint64_t now)
{
        if (j->deadline != 0)
                return now >= j->deadline;
        /* Waiting for others is no fault of systemd's; waiting for systemd is. */
        return !bus_is_up(b->bus) && now >= usec_add(MAX(j->since, b->down_since), JOB_LIMIT_USEC);
}

static void job_visit(ScopeBackend *b, Job *j, bool all)
{
        uint64_t now = now_usec(CLOCK_MONOTONIC);

        if (job_is_late(b, j, now))
                job_end(j, -ETIMEDOUT,
                                bus_is_up(b->bus) ? "systemd has not made the unit in time"
                                                  : "systemd can't be reached");
        else if (j->phase == JOB_RUNNING && !j->asking && (all || now >= j->since + JOB_RECHECK_USEC))
                job_check(j);
}

/* A visit may end any number of jobs with their homes: each is moved to the end first, and the first is taken as
 * often as there were some. Their order is kept. */
void jobs_check(ScopeBackend *b, bool all)
{
        size_t n = 0;

        LIST_FOREACH(i, &b->jobs)
                n++;
        for (; n > 0 && !list_is_empty(&b->jobs); n--) {
                ListNode *first = b->jobs.next;

                list_unlink(first);
                list_append(&b->jobs, first);
                job_visit(b, LIST_ENTRY(first, Job, node), all);
        }
        jobs_pump(b);
}
