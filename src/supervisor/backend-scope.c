/* SPDX-License-Identifier: Apache-2.0 */

/* Actors in transient scopes of systemd, each in a slice of its own: see backend-scope.h for the parts. This file
 * opens the backend and closes it, keeps the clock of what is under way, and agrees with systemd anew when it has
 * been away: jobs are asked after, and units of this instance that no home knows are stopped. */

#include <errno.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/log.h"
#include "supervisor/backend-scope.h"
#include "supervisor/unit-name.h"

/* For all calls together. A systemd that takes hundreds of units down is slow to answer, and who gives up on it falls back
 * to another backend or ends. Below what the keeper gives a supervisor to come up. */
#define OPEN_LIMIT_USEC (30 * USEC_PER_SEC)
#define TICK_USEC USEC_PER_SEC
/* systemd removes an empty scope in some milliseconds, or never. */
#define LEFT_USEC USEC_PER_SEC
#define RECHECK_USEC (500 * USEC_PER_MSEC)

bool scope_holds(ScopeBackend *b, int pid, const char *unit, char **ret)
{
        _cleanup_free_ char *path = NULL;
        const char *last;

        if (pid <= 0 || cgroup_of(&b->root, pid, &path) < 0)
                return false;
        last = strrchr(path, '/');
        if (!last || !streq(last + 1, unit))
                return false;
        if (ret)
                *ret = TAKE_PTR(path);
        return true;
}

/* --- scopes whose generation is over --- */

static void left_free(Left *l)
{
        list_unlink(&l->node);
        free(l->unit);
        free(l->cgroup);
        free(l);
}

/* Without memory there is no second look, and the unit goes with its slice. */
void scope_left(ScopeBackend *b, const char *unit, const char *cgroup)
{
        Left *l = calloc(1, sizeof(*l));

        if (!l)
                return;
        l->since = now_usec(CLOCK_MONOTONIC);
        l->unit = strdup(unit);
        l->cgroup = strdup(cgroup);
        if (!l->unit || !l->cgroup) {
                left_free(l);
                return;
        }
        list_append(&b->left, &l->node);
        scope_tick(b);
}

static void check_left(ScopeBackend *b)
{
        uint64_t now = now_usec(CLOCK_MONOTONIC);

        /* In the order they were left. */
        LIST_FOREACH_SAFE(i, &b->left) {
                Left *l = LIST_ENTRY(i, Left, node);

                if (now < usec_add(l->since, LEFT_USEC))
                        return;
                if (cgroup_exists(b->root.fd, l->cgroup) && !map_get(&b->scopes, l->unit)) {
                        log_debug("%s is empty and still there: stopped", l->unit);
                        (void) cgroup_kill(b->root.fd, l->cgroup);
                        call_stop_unit(b, l->unit);
                }
                left_free(l);
        }
}

/* --- the clock --- */

static int on_tick(sd_event_source *s, uint64_t usec, void *userdata)
{
        ScopeBackend *b = userdata;

        check_left(b);
        jobs_check(b, false);
        asks_check(b);
        if (!list_is_empty(&b->left) || !list_is_empty(&b->jobs))
                scope_tick(b);
        return 0;
}

void scope_tick(ScopeBackend *b)
{
        if (sd_event_source_get_enabled(b->tick, NULL) > 0)
                return;
        (void) sd_event_source_set_time_relative(b->tick, TICK_USEC);
        (void) sd_event_source_set_enabled(b->tick, SD_EVENT_ONESHOT);
}

/* --- systemd's coming and going --- */

static bool is_known(ScopeBackend *b, const char *unit)
{
        return map_get(&b->slices, unit) || map_get(&b->scopes, unit);
}

/* Homes that went while systemd was away could not tell it so. */
static int on_units(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        const char *unit, *s[8];
        ScopeBackend *b = userdata;
        uint32_t job;

        if (sd_bus_message_is_method_error(m, NULL) ||
                        sd_bus_message_enter_container(m, 'a', "(ssssssouso)") < 0)
                return 0;
        while (sd_bus_message_read(m, "(ssssssouso)", &unit, &s[0], &s[1], &s[2], &s[3], &s[4], &s[5], &job,
                               &s[6], &s[7]) > 0)
                if (startswith(unit, b->prefix) && !is_known(b, unit))
                        call_stop_unit(b, unit);
        return 0;
}

static void on_up(void *userdata)
{
        ScopeBackend *b = userdata;

        log_info("systemd is back");
        jobs_check(b, true);
        asks_pump(b);
        (void) call_list_units(b, on_units);
}

static void on_down(void *userdata)
{
        ScopeBackend *b = userdata;

        log_warning("systemd can't be reached: actors run on, new ones wait for its return");
        b->down_since = now_usec(CLOCK_MONOTONIC);
        asks_drop(b);
}

static void on_job_removed(const char *job, const char *result, void *userdata)
{
        jobs_removed(userdata, job, result);
}

static void on_job_new(const char *unit, void *userdata)
{
        ask_told(userdata, unit);
}

static const BusEvents bus_events = {
        .up = on_up,
        .down = on_down,
        .job_new = on_job_new,
        .job_removed = on_job_removed,
};

/* --- opening and closing --- */

void scope_backend_free(Backend *backend)
{
        ScopeBackend *b = (ScopeBackend *) backend;

        assert(b->slices.n == 0 && b->scopes.n == 0 && b->running.n == 0);
        if (b->bus && b->backend.cgroup && bus_is_up(b->bus)) {
                scope_kill_leftovers(b);
                (void) sync_stop_unit(b, b->slice, usec_add(now_usec(CLOCK_MONOTONIC), LEFTOVER_LIMIT_USEC));
        }
        LIST_FOREACH_SAFE(i, &b->left)
                left_free(LIST_ENTRY(i, Left, node));
        sd_bus_slot_unref(b->ask);
        bus_free(b->bus);
        sd_event_source_disable_unref(b->tick);
        cgroup_watcher_free(b->watcher);
        cgroup_root_close(&b->root);
        map_clear(&b->slices);
        map_clear(&b->scopes);
        map_clear(&b->running);
        free(b->manager_cgroup);
        free(b->prefix);
        free(b->slice);
        free(b->keeper_unit);
        backend_done(backend);
        free(b);
}

/* The last component of the keeper's cgroup that is a service. */
static char *service_of(ScopeBackend *b, int keeper_pid)
{
        _cleanup_free_ char *path = NULL;
        char *found = NULL;

        if (cgroup_of(&b->root, keeper_pid, &path) < 0)
                return NULL;
        for (char *p = path + 1, *part; (part = strsep(&p, "/"));) {
                size_t n = strlen(part);

                if (n > strlen(".service") && streq(part + n - strlen(".service"), ".service"))
                        found = part;
        }
        return found ? strdup(found) : NULL;
}

/* Embedded, the keeper has no unit yet, or its forerunner as supervisor has made one. */
static int find_keeper_unit(
                ScopeBackend *b, const BackendOptions *options, uint64_t deadline, char **ret_why)
{
        int r;

        if (options->keeper_unit) {
                b->keeper_unit = service_of(b, options->keeper_pid);
                if (b->keeper_unit)
                        return 0;
        }
        b->keeper_unit = xasprintf("tractor-%s.scope", options->instance);
        if (!b->keeper_unit)
                return -ENOMEM;
        if (scope_holds(b, options->keeper_pid, b->keeper_unit, NULL))
                return 0;
        r = sync_start_keeper(b, b->keeper_unit, options->keeper_pid, deadline);
        if (r < 0)
                *ret_why = xasprintf("systemd can't move our processes into a scope: %s", strerror(-r));
        return r;
}

static int setup_cgroup(ScopeBackend *b, uint64_t deadline)
{
        _cleanup_free_ char *below = NULL, *list = NULL;
        int r;

        r = sync_manager_cgroup(b, deadline, &b->manager_cgroup);
        if (r >= 0)
                r = unit_name_cgroup(b->slice, &below);
        if (r >= 0)
                r = cgroup_read(b->root.fd, *b->manager_cgroup ? b->manager_cgroup : "/",
                                "cgroup.controllers", &list);
        if (r < 0)
                return r;
        b->backend.cgroup = xasprintf("%s%s", b->manager_cgroup, below);
        b->backend.controllers = cgroup_known_controllers(list);
        return b->backend.cgroup && b->backend.controllers ? 0 : -ENOMEM;
}

void scope_kill_leftovers(ScopeBackend *b)
{
        if (cgroup_populated(b->root.fd, b->backend.cgroup) == 0)
                return;
        (void) cgroup_freeze(b->root.fd, b->backend.cgroup, false);
        (void) cgroup_kill(b->root.fd, b->backend.cgroup);
        (void) cgroup_wait_empty(b->root.fd, b->backend.cgroup, LEFTOVER_LIMIT_USEC);
}

/* What an earlier run of the instance left is ended before ours begins. */
static int setup_instance(ScopeBackend *b, const BackendOptions *options, uint64_t deadline, char **ret_why)
{
        int r;

        r = setup_cgroup(b, deadline);
        if (r >= 0)
                r = find_keeper_unit(b, options, deadline, ret_why);
        if (r < 0)
                return r;
        scope_kill_leftovers(b);
        r = sync_stop_unit(b, b->slice, deadline);
        if (r >= 0)
                r = sync_start_instance(b, options->instance, deadline);
        return r;
}

static int setup(ScopeBackend *b, const BackendOptions *options, char **ret_why)
{
        uint64_t deadline = usec_add(now_usec(CLOCK_MONOTONIC), OPEN_LIMIT_USEC);
        int r;

        b->user = geteuid() != 0 || streq(options->instance, "usr");
        b->prefix = xasprintf("tractor-%s-", options->instance);
        r = b->prefix ? unit_name_instance(options->instance, &b->slice) : -ENOMEM;
        if (r >= 0)
                r = cgroup_root_open(&b->root);
        if (r >= 0)
                r = cgroup_watcher_new(options->event, b->root.fd, RECHECK_USEC, &b->watcher);
        if (r >= 0)
                r = sd_event_add_time(
                                options->event, &b->tick, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_tick, b);
        if (r >= 0)
                r = sd_event_source_set_enabled(b->tick, SD_EVENT_OFF);
        if (r < 0)
                return r;
        r = bus_open(options->event, b->user, deadline, &bus_events, b, &b->bus);
        if (r < 0) {
                *ret_why = xasprintf(
                                "no systemd on the %s bus: %s", b->user ? "user" : "system", strerror(-r));
                return r;
        }
        r = setup_instance(b, options, deadline, ret_why);
        if (r >= 0)
                r = bus_attach(b->bus);
        if (r >= 0)
                *ret_why = xasprintf("systemd makes scopes for us, asked %s, bound to %s",
                                bus_is_direct(b->bus) ? "directly"
                                : b->user             ? "on the user bus"
                                                      : "on the system bus",
                                b->keeper_unit);
        return r;
}

int backend_scope_open(const BackendOptions *options, Backend **ret, char **ret_why)
{
        ScopeBackend *b;
        int r;

        if (sd_booted() <= 0) {
                *ret_why = xasprintf("systemd does not run here");
                return -ENXIO;
        }
        b = malloc(sizeof(*b));
        if (!b)
                return -ENOMEM;
        *b = (ScopeBackend){ .backend.vtable = &scope_vtable,
                .event = options->event,
                .events = options->events,
                .root.fd = -EBADF,
                .has_oom_policy = true };
        list_init(&b->jobs);
        list_init(&b->left);
        list_init(&b->asking);
        r = setup(b, options, ret_why);
        if (r < 0) {
                scope_backend_free(&b->backend);
                return r;
        }
        *ret = &b->backend;
        return 0;
}
