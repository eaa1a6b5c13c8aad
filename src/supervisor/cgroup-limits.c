/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/usec.h"
#include "supervisor/cgroup.h"

/* The kernel refuses quotas below 1 ms, whatever the period. */
#define CPU_PERIOD_USEC (100 * USEC_PER_MSEC)
#define CPU_PERIOD_MAX_USEC USEC_PER_SEC
#define CPU_QUOTA_MIN_USEC USEC_PER_MSEC

static const char *const known_controllers[] = { "cpu", "cpuset", "io", "memory", "pids" };

static const char *const limit_files[_LIMIT_MAX] = {
        [LIMIT_MEMORY_MAX] = "memory.max",
        [LIMIT_MEMORY_HIGH] = "memory.high",
        [LIMIT_MEMORY_LOW] = "memory.low",
        [LIMIT_MEMORY_SWAP_MAX] = "memory.swap.max",
        [LIMIT_CPU_QUOTA] = "cpu.max",
        [LIMIT_CPU_WEIGHT] = "cpu.weight",
        [LIMIT_ALLOWED_CPUS] = "cpuset.cpus",
        [LIMIT_TASKS_MAX] = "pids.max",
        [LIMIT_IO_WEIGHT] = "io.weight",
};

bool cgroup_list_has(const char *list, const char *word)
{
        size_t n = strlen(word);

        for (const char *p = list; p && (p = strstr(p, word)); p += n)
                if ((p == list || p[-1] == ' ') && (p[n] == 0 || p[n] == ' '))
                        return true;
        return false;
}

char *cgroup_known_controllers(const char *list)
{
        char buf[64] = "";
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(known_controllers); i++)
                if (cgroup_list_has(list, known_controllers[i]))
                        n += (size_t) snprintf(buf + n, sizeof(buf) - n, "%s%s", n > 0 ? " " : "",
                                        known_controllers[i]);
        return strdup(buf);
}

int cgroup_enable(int root, const char *path, const char *controllers)
{
        char buf[64] = "";
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(known_controllers); i++)
                if (cgroup_list_has(controllers, known_controllers[i]))
                        n += (size_t) snprintf(buf + n, sizeof(buf) - n, "%s+%s", n > 0 ? " " : "",
                                        known_controllers[i]);
        return n == 0 ? 0 : cgroup_write(root, path, "cgroup.subtree_control", buf);
}

uint32_t cgroup_unenforceable_all(const Limits *limits, const char *controllers)
{
        uint32_t all = 0;

        for (int l = 0; limits && l < _LIMIT_MAX; l++)
                if ((limits->set & (1U << l)) && !cgroup_list_has(controllers, limit_controller(l)))
                        all |= 1U << l;
        return all;
}

Limit cgroup_unenforceable(const Limits *limits, const char *controllers)
{
        uint32_t all = cgroup_unenforceable_all(limits, controllers);

        return all ? (Limit) __builtin_ctz(all) : _LIMIT_INVALID;
}

static void format_cpu_max(uint64_t usec_per_sec, char *buf, size_t size)
{
        uint64_t period = CPU_PERIOD_USEC, quota;

        if (usec_per_sec == LIMIT_INFINITY) {
                snprintf(buf, size, "max %" PRIu64, period);
                return;
        }
        quota = usec_per_sec / (USEC_PER_SEC / CPU_PERIOD_USEC);
        if (quota < CPU_QUOTA_MIN_USEC) {
                period = CPU_PERIOD_MAX_USEC;
                quota = MAX(usec_per_sec, CPU_QUOTA_MIN_USEC);
        }
        snprintf(buf, size, "%" PRIu64 " %" PRIu64, quota, period);
}

static int set_limit(int root, const char *path, const Limits *limits, Limit l)
{
        uint64_t v = limits->values[l];
        char buf[64];

        if (l == LIMIT_ALLOWED_CPUS)
                return cgroup_write(root, path, limit_files[l], limits->allowed_cpus ?: "");
        if (l == LIMIT_CPU_QUOTA)
                format_cpu_max(v, buf, sizeof(buf));
        else if (v == LIMIT_INFINITY)
                strcpy(buf, "max");
        else
                snprintf(buf, sizeof(buf), "%" PRIu64, v);
        return cgroup_write(root, path, limit_files[l], buf);
}

int cgroup_set_limits(int root, const char *path, const Limits *limits, Limit *ret_limit)
{
        for (int l = 0; limits && l < _LIMIT_MAX; l++) {
                int r;

                if (!(limits->set & (1U << l)))
                        continue;
                r = set_limit(root, path, limits, l);
                if (r < 0) {
                        *ret_limit = l;
                        return r == -ENOENT && cgroup_exists(root, path) ? -EOPNOTSUPP : r;
                }
        }
        return 0;
}

const Usage usage_unknown = { .cpu_usec = UINT64_MAX,
        .memory = UINT64_MAX,
        .memory_peak = UINT64_MAX,
        .tasks = UINT64_MAX,
        .pressure = -1 };

void cgroup_spent(int root, const char *path, Usage *ret)
{
        *ret = usage_unknown;
        (void) cgroup_read_key(root, path, "cpu.stat", "usage_usec", &ret->cpu_usec);
        (void) cgroup_read_u64(root, path, "memory.peak", &ret->memory_peak);
}

void cgroup_usage(int root, const char *path, Usage *ret)
{
        _cleanup_free_ char *pressure = NULL;
        const char *avg;

        cgroup_spent(root, path, ret);
        (void) cgroup_read_u64(root, path, "memory.current", &ret->memory);
        (void) cgroup_read_u64(root, path, "pids.current", &ret->tasks);
        if (cgroup_read(root, path, "memory.pressure", &pressure) < 0)
                return;
        avg = startswith(pressure, "some avg10=");
        if (avg)
                ret->pressure = strtod(avg, NULL);
}

int cgroup_tasks(int root, const char *path, uint64_t *ret_tasks, uint64_t *ret_max)
{
        uint64_t tasks;
        int r = cgroup_read_u64(root, path, "pids.current", &tasks);

        if (r >= 0)
                r = cgroup_read_u64(root, path, "pids.max", ret_max);
        if (r >= 0)
                *ret_tasks = tasks;
        return r;
}
