/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

#include "base/log.h"
#include "base/usec.h"
#include "supervisor/backend-scope.h"

/* The messages to systemd's manager, and nothing else. Appending to a message fails for want of memory only, and
 * once it has, all that follows does: the first result is checked at the end. */

#define _cleanup_message_ _cleanup_(sd_bus_message_unrefp)

static int new_call(ScopeBackend *b, const char *member, sd_bus_message **ret)
{
        sd_bus *bus = bus_connection(b->bus);

        if (!bus)
                return -ENOTCONN;
        return sd_bus_message_new_method_call(bus, ret, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER, member);
}

static int send(ScopeBackend *b, sd_bus_message *m, sd_bus_slot **slot, sd_bus_message_handler_t handler,
                void *userdata)
{
        int r = sd_bus_call_async(bus_connection(b->bus), slot, m, handler, userdata, 0);

        return r < 0 ? r : 0;
}

/* --- properties --- */

static const char *const limit_properties[_LIMIT_MAX] = {
        [LIMIT_MEMORY_MAX] = "MemoryMax",
        [LIMIT_MEMORY_HIGH] = "MemoryHigh",
        [LIMIT_MEMORY_LOW] = "MemoryLow",
        [LIMIT_MEMORY_SWAP_MAX] = "MemorySwapMax",
        [LIMIT_CPU_QUOTA] = "CPUQuotaPerSecUSec",
        [LIMIT_CPU_WEIGHT] = "CPUWeight",
        [LIMIT_ALLOWED_CPUS] = "AllowedCPUs",
        [LIMIT_TASKS_MAX] = "TasksMax",
        [LIMIT_IO_WEIGHT] = "IOWeight",
};

static int append_allowed_cpus(sd_bus_message *m, uint64_t mask)
{
        uint8_t bytes[8];
        int r;

        for (size_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = (uint8_t) (mask >> (8 * i));
        r = sd_bus_message_open_container(m, 'r', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", "AllowedCPUs");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "ay");
        if (r >= 0)
                r = sd_bus_message_append_array(m, 'y', bytes, mask ? sizeof(bytes) : 0);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

/* What a limit is while nobody has set it. */
static uint64_t unset_value(Limit l)
{
        return l == LIMIT_MEMORY_LOW || l == LIMIT_ALLOWED_CPUS ? 0 : UINT64_MAX;
}

static int append_limits(sd_bus_message *m, const Limits *limits, bool unset_too)
{
        int r = 0;

        for (int l = 0; r >= 0 && l < _LIMIT_MAX; l++) {
                bool set = limits->set & (1U << l);
                uint64_t v = set ? limits->values[l] : unset_value(l);

                if (!set && !unset_too)
                        continue;
                r = l == LIMIT_ALLOWED_CPUS ? append_allowed_cpus(m, v)
                                            : sd_bus_message_append(m, "(sv)", limit_properties[l], "t", v);
        }
        return r;
}

/* Memory and tasks are accounted for whatever the host's defaults: memory.events must be there after an OOM kill. */
static int append_slice(sd_bus_message *m, ScopeHome *h, bool unset_too)
{
        int r;

        r = sd_bus_message_append(m, "(sv)(sv)(sv)", "Description", "s", h->path, "MemoryAccounting", "b", 1,
                        "TasksAccounting", "b", 1);
        return r < 0 ? r : append_limits(m, &h->limits, unset_too);
}

/* The keeper's end is theirs, and before it at shutdown it stops: so the supervisor ends its trees itself. */
static int append_bound(sd_bus_message *m, ScopeBackend *b)
{
        if (!b->keeper_unit)
                return 0;
        return sd_bus_message_append(m, "(sv)(sv)", "BindsTo", "as", 1, b->keeper_unit, "Before", "as", 1,
                        b->keeper_unit);
}

/* Without a Controller: to watch it, systemd 252 asks the bus daemon for its name at each start and waits for
 * the answer, also where it has just got to start that daemon anew: then for 90 s. So a stop from outside begins
 * with systemd's signal instead of a request to us. */
static int append_scope(sd_bus_message *m, ScopeHome *h)
{
        ScopeBackend *b = (ScopeBackend *) h->home.backend;
        int r;

        r = sd_bus_message_append(m, "(sv)(sv)(sv)(sv)(sv)(sv)", "Description", "s", h->path, "Slice", "s",
                        h->slice, "PIDs", "au", 1, (uint32_t) h->pid, "CollectMode", "s",
                        "inactive-or-failed", "KillSignal", "i", h->stop_signal, "TimeoutStopUSec", "t",
                        h->stop_usec);
        if (r >= 0 && b->has_oom_policy)
                r = sd_bus_message_append(m, "(sv)", "OOMPolicy", "s", "continue");
        return r < 0 ? r : append_bound(m, b);
}

/* --- units --- */

static int begin_transient(ScopeBackend *b, const char *unit, sd_bus_message **ret)
{
        int r;

        r = new_call(b, "StartTransientUnit", ret);
        if (r >= 0)
                r = sd_bus_message_append(*ret, "ss", unit, "replace");
        return r < 0 ? r : sd_bus_message_open_container(*ret, 'a', "(sv)");
}

/* Ends the properties; `aux` is a slice to be made along, or NULL. */
static int end_transient(sd_bus_message *m, ScopeHome *aux)
{
        int r;

        r = sd_bus_message_close_container(m);
        if (r < 0 || !aux)
                return r < 0 ? r : sd_bus_message_append(m, "a(sa(sv))", 0);
        r = sd_bus_message_open_container(m, 'a', "(sa(sv))");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'r', "sa(sv)");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", aux->slice);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(sv)");
        if (r >= 0)
                r = append_slice(m, aux, false);
        for (int i = 0; r >= 0 && i < 3; i++)
                r = sd_bus_message_close_container(m);
        return r;
}

int call_start_slice(Job *j, sd_bus_message_handler_t handler)
{
        ScopeBackend *b = (ScopeBackend *) j->home->home.backend;
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = begin_transient(b, j->home->slice, &m);
        if (r >= 0)
                r = append_slice(m, j->home, false);
        if (r >= 0)
                r = end_transient(m, NULL);
        return r < 0 ? r : send(b, m, &j->slot, handler, j);
}

int call_start_scope(Job *j, sd_bus_message_handler_t handler)
{
        ScopeBackend *b = (ScopeBackend *) j->home->home.backend;
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = begin_transient(b, j->home->scope, &m);
        if (r >= 0)
                r = append_scope(m, j->home);
        if (r >= 0)
                r = end_transient(m, j->alone ? NULL : j->home);
        return r < 0 ? r : send(b, m, &j->slot, handler, j);
}

int call_start_unit(Job *j, const char *unit, sd_bus_message_handler_t handler)
{
        ScopeBackend *b = (ScopeBackend *) j->home->home.backend;
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = new_call(b, "StartUnit", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "ss", unit, "replace");
        return r < 0 ? r : send(b, m, &j->slot, handler, j);
}

static int new_set_properties(ScopeBackend *b, const char *unit, sd_bus_message **ret)
{
        int r;

        r = new_call(b, "SetUnitProperties", ret);
        if (r >= 0)
                r = sd_bus_message_append(*ret, "sb", unit, 1);
        return r < 0 ? r : sd_bus_message_open_container(*ret, 'a', "(sv)");
}

int call_set_slice(Job *j, sd_bus_message_handler_t handler)
{
        ScopeBackend *b = (ScopeBackend *) j->home->home.backend;
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = new_set_properties(b, j->home->slice, &m);
        if (r >= 0)
                r = append_limits(m, &j->home->limits, true);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : send(b, m, &j->slot, handler, j);
}

int call_get_job(Job *j, sd_bus_message_handler_t handler)
{
        ScopeBackend *b = (ScopeBackend *) j->home->home.backend;
        const char *id = strrchr(j->path, '/');
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = new_call(b, "GetJob", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "u", (uint32_t) strtoul(id ? id + 1 : "0", NULL, 10));
        return r < 0 ? r : send(b, m, &j->slot, handler, j);
}

static int on_limits_set(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        if (sd_bus_message_is_method_error(m, NULL))
                log_warning("systemd did not take new limits: %s",
                                strna(sd_bus_message_get_error(m)->message));
        return 0;
}

int call_set_limits(ScopeHome *h)
{
        ScopeBackend *b = (ScopeBackend *) h->home.backend;
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = new_set_properties(b, h->slice, &m);
        if (r >= 0)
                r = append_limits(m, &h->limits, false);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : send(b, m, NULL, on_limits_set, NULL);
}

int call_get_invocation(ScopeHome *h, sd_bus_message_handler_t handler)
{
        ScopeBackend *b = (ScopeBackend *) h->home.backend;
        _cleanup_free_ char *path = NULL;
        int r;

        if (!bus_is_up(b->bus))
                return -ENOTCONN;
        r = sd_bus_path_encode(SYSTEMD_UNIT_PATH, h->scope, &path);
        if (r < 0)
                return r;
        return sd_bus_call_method_async(bus_connection(b->bus), &h->invocation, SYSTEMD_NAME, path,
                        "org.freedesktop.DBus.Properties", "Get", handler, h, "ss",
                        "org.freedesktop.systemd1.Unit", "InvocationID");
}

/* Sent and forgotten: what fails here is met again by the sweep after the bus has returned. */
static void tell(ScopeBackend *b, sd_bus_message *m, int r)
{
        if (r >= 0)
                r = sd_bus_message_set_expect_reply(m, 0);
        if (r >= 0)
                (void) sd_bus_send(bus_connection(b->bus), m, NULL);
}

void call_stop_unit(ScopeBackend *b, const char *unit)
{
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = new_call(b, "StopUnit", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "ss", unit, "replace");
        tell(b, m, r);
}

void call_signal_unit(ScopeBackend *b, const char *unit, int signo)
{
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = new_call(b, "KillUnit", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "ssi", unit, "all", signo);
        tell(b, m, r);
}

void call_freeze_unit(ScopeBackend *b, const char *unit, bool frozen)
{
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = new_call(b, frozen ? "FreezeUnit" : "ThawUnit", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "s", unit);
        tell(b, m, r);
}

int call_list_units(ScopeBackend *b, sd_bus_message_handler_t handler)
{
        _cleanup_message_ sd_bus_message *m = NULL;
        _cleanup_free_ char *pattern = xasprintf("%s*", b->prefix);
        int r;

        if (!pattern)
                return -ENOMEM;
        r = new_call(b, "ListUnitsByPatterns", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "asas", 0, 1, pattern);
        return r < 0 ? r : send(b, m, NULL, handler, b);
}

int call_list_jobs(ScopeBackend *b, sd_bus_message_handler_t handler)
{
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = new_call(b, "ListJobs", &m);
        return r < 0 ? r : send(b, m, &b->ask, handler, b);
}

/* --- with a deadline --- */

int sync_manager_cgroup(ScopeBackend *b, uint64_t deadline, char **ret)
{
        _cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
        const char *path;
        int r;

        r = sd_bus_message_new_method_call(bus_connection(b->bus), &m, SYSTEMD_NAME, SYSTEMD_PATH,
                        "org.freedesktop.DBus.Properties", "Get");
        if (r >= 0)
                r = sd_bus_message_append(m, "ss", SYSTEMD_MANAGER, "ControlGroup");
        if (r >= 0)
                r = bus_call(b->bus, m, deadline, NULL, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "v", "s", &path);
        if (r < 0)
                return r;
        return (*ret = strdup(streq(path, "/") ? "" : path)) ? 0 : -ENOMEM;
}

int sync_start_keeper(ScopeBackend *b, const char *unit, int keeper_pid, uint64_t deadline)
{
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = begin_transient(b, unit, &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "(sv)(sv)(sv)", "Description", "s",
                                "tractor: keeper and supervisor", "CollectMode", "s", "inactive-or-failed",
                                "PIDs", "au", keeper_pid == getpid() ? 1 : 2, (uint32_t) keeper_pid,
                                (uint32_t) getpid());
        if (r >= 0)
                r = end_transient(m, NULL);
        if (r >= 0)
                r = bus_call(b->bus, m, deadline, &error, NULL);
        while (r >= 0 && !scope_holds(b, keeper_pid, unit, NULL))
                r = bus_wait(b->bus, deadline);
        return r;
}

int sync_start_instance(ScopeBackend *b, const char *instance, uint64_t deadline)
{
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = begin_transient(b, b->slice, &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "(sv)(sv)(sv)", "Description", "s",
                                "tractor: all trees of an instance", "MemoryAccounting", "b", 1,
                                "TasksAccounting", "b", 1);
        if (r >= 0)
                r = append_bound(m, b);
        if (r >= 0)
                r = end_transient(m, NULL);
        return r < 0 ? r : bus_call(b->bus, m, deadline, NULL, NULL);
}

static int sync_unit(
                ScopeBackend *b, const char *member, const char *unit, const char *mode, uint64_t deadline)
{
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = new_call(b, member, &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "s", unit);
        if (r >= 0 && mode)
                r = sd_bus_message_append(m, "s", mode);
        if (r >= 0)
                r = bus_call(b->bus, m, deadline, &error, NULL);
        return sd_bus_error_has_name(&error, "org.freedesktop.systemd1.NoSuchUnit") ? -ENOENT : r;
}

int sync_stop_unit(ScopeBackend *b, const char *unit, uint64_t deadline)
{
        int r;

        r = sync_unit(b, "StopUnit", unit, "replace", deadline);
        while (r >= 0) {
                r = sync_unit(b, "GetUnit", unit, NULL, deadline);
                /* Each removed job, ours among them, is a reason to ask again. */
                if (r >= 0)
                        r = bus_wait(b->bus, MIN(deadline, usec_add(now_usec(CLOCK_MONOTONIC),
                                                                           20 * USEC_PER_MSEC)));
                if (r == -ETIMEDOUT && now_usec(CLOCK_MONOTONIC) < deadline)
                        r = 0;
        }
        return r == -ENOENT ? 0 : r;
}
