/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

#include "supervisor/config.h"
#include "test.h"

static void good(Limit which, const char *text, uint64_t value)
{
        Limits l = { 0 };
        const char *why = NULL;
        int r;

        r = limits_set_from_string(&l, which, text, &why);
        if (r < 0 || l.values[which] != value)
                fprintf(stderr, "%s=%s: %d, %llu not %llu\n", limit_name(which), text, r,
                                (unsigned long long) l.values[which], (unsigned long long) value);
        CHECK_EQ(r, 0);
        CHECK(l.values[which] == value);
        CHECK_EQ(l.set, 1U << which);
        CHECK(!why);
        limits_done(&l);
        CHECK_EQ(l.set, 0);
}

static void bad(Limit which, const char *text, const char *part)
{
        Limits l = { 0 };
        const char *why = NULL;

        if (limits_set_from_string(&l, which, text, &why) != -EINVAL || !strstr(strna(why), part)) {
                fprintf(stderr, "%s=%s: %s\n", limit_name(which), text, strna(why));
                abort();
        }
        CHECK_EQ(l.set, 0);
}

static void test_names(void)
{
        for (int i = 0; i < _LIMIT_MAX; i++) {
                CHECK_EQ(limit_from_name(limit_name((Limit) i)), i);
                CHECK(limit_controller((Limit) i));
        }
        CHECK_STR(limit_name(LIMIT_CPU_QUOTA), "CPUQuota");
        CHECK_STR(limit_controller(LIMIT_TASKS_MAX), "pids");
        CHECK_STR(limit_controller(LIMIT_ALLOWED_CPUS), "cpuset");
        CHECK_EQ(limit_from_name("memorymax"), _LIMIT_INVALID);
        CHECK(!limit_name(_LIMIT_INVALID) && !limit_controller(_LIMIT_MAX));
}

static void test_memory(void)
{
        uint64_t physical = (uint64_t) sysconf(_SC_PHYS_PAGES) * (uint64_t) sysconf(_SC_PAGESIZE);
        static const char *const wrong[] = { "", "M", "512MB", "512 M", "-1", "+1", "0x10", "1.M", "1.5",
                "1e3", "1Z", "101%", "99999999999999999999", "9000P9", "9E", "infinit", "Infinity" };

        good(LIMIT_MEMORY_MAX, "512M", UINT64_C(512) << 20);
        good(LIMIT_MEMORY_MAX, "1", 1);
        good(LIMIT_MEMORY_MAX, "7B", 7);
        good(LIMIT_MEMORY_HIGH, "3K", 3072);
        good(LIMIT_MEMORY_HIGH, "1.5G", UINT64_C(1536) << 20);
        good(LIMIT_MEMORY_HIGH, "2T", UINT64_C(2) << 40);
        good(LIMIT_MEMORY_HIGH, "2P", UINT64_C(2) << 50);
        good(LIMIT_MEMORY_HIGH, "6E", UINT64_C(6) << 60);
        good(LIMIT_MEMORY_MAX, "infinity", LIMIT_INFINITY);
        good(LIMIT_MEMORY_LOW, "0", 0);
        good(LIMIT_MEMORY_SWAP_MAX, "0", 0);
        good(LIMIT_MEMORY_MAX, "50%", physical / 10000 * 5000);
        good(LIMIT_MEMORY_MAX, "33.25%", physical / 10000 * 3325);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                bad(LIMIT_MEMORY_MAX, wrong[i], "must be bytes (512M");
        bad(LIMIT_MEMORY_MAX, "0", "more than 0");
        bad(LIMIT_MEMORY_HIGH, "0%", "more than 0");
}

static void test_cpu(void)
{
        good(LIMIT_CPU_QUOTA, "150%", 1500000);
        good(LIMIT_CPU_QUOTA, "0.01%", 100);
        good(LIMIT_CPU_QUOTA, "12.5%", 125000);
        good(LIMIT_CPU_QUOTA, "infinity", LIMIT_INFINITY);
        good(LIMIT_CPU_WEIGHT, "1", 1);
        good(LIMIT_CPU_WEIGHT, "10000", 10000);
        good(LIMIT_IO_WEIGHT, "100", 100);
        for (const char *const *s = (const char *const[]){ "150", "0%", "%", "", "-5%", "1.%", "1.234%",
                             "99999999999%", "50 %", NULL };
                        *s; s++)
                bad(LIMIT_CPU_QUOTA, *s, "150%");
        for (const char *const *s = (const char *const[]){ "0", "10001", "1.5", "", "infinity", "50%",
                             NULL };
                        *s; s++) {
                bad(LIMIT_CPU_WEIGHT, *s, "between 1 and 10000");
                bad(LIMIT_IO_WEIGHT, *s, "between 1 and 10000");
        }
}

static void cpus(const char *text, const char *canonical, uint64_t mask)
{
        Limits l = { 0 };
        const char *why;

        CHECK_EQ(limits_set_from_string(&l, LIMIT_ALLOWED_CPUS, text, &why), 0);
        CHECK_STR(l.allowed_cpus, canonical);
        CHECK(l.values[LIMIT_ALLOWED_CPUS] == mask);
        limits_done(&l);
}

static void test_cpu_lists(void)
{
        cpus("0-1,4", "0-1,4", 0x13);
        cpus("4, 1 0", "0-1,4", 0x13);
        cpus("0-63", "0-63", UINT64_MAX);
        cpus("3,2,1,2-3", "1-3", 0xe);
        cpus("62-65,8191", "62-65,8191", UINT64_C(3) << 62);
        cpus(" 7 ", "7", 0x80);
        for (const char *const *s = (const char *const[]){ "", " ", ",", "1,", "1,,2", "1-", "-1", "2-1",
                             "8192", "a", "1;2", "0-99999999999999999999", "infinity", NULL };
                        *s; s++)
                bad(LIMIT_ALLOWED_CPUS, *s, "0-1,3");
}

static void test_tasks(void)
{
        good(LIMIT_TASKS_MAX, "1", 1);
        good(LIMIT_TASKS_MAX, "256", 256);
        good(LIMIT_TASKS_MAX, "infinity", LIMIT_INFINITY);
        bad(LIMIT_TASKS_MAX, "0", "at least 1");
        bad(LIMIT_TASKS_MAX, "many", "at least 1");
        bad(LIMIT_TASKS_MAX, "10%", "a percentage is not taken");
}

/* JSON → Limits → JSON; `text` is an object of one member. */
static void round_trip(const char *text, const char *printed)
{
        _cleanup_json_ Json *v = NULL, *back = NULL;
        Limits l = { 0 }, copy = { 0 };
        JsonIterator i = { 0 };
        const char *why;

        CHECK_EQ(json_parse(text, strlen(text), NULL, &v, NULL), 0);
        CHECK(json_next(v, &i));
        CHECK_EQ(limits_set_from_json(&l, limit_from_name(i.key), i.value, &why), 0);
        CHECK_EQ(limits_copy(&l, &copy), 0);
        limits_done(&l);
        CHECK_EQ(limits_to_json(&copy, &back), 0);
        CHECK_STR(json_print(back, NULL), printed);
        limits_done(&copy);
}

static void test_json(void)
{
        Limits none = { 0 };
        Json *v = NULL;
        const char *why = NULL;

        round_trip("{\"MemoryMax\":\"512M\"}", "{\"MemoryMax\":\"512M\"}");
        round_trip("{\"MemoryMax\":67108864}", "{\"MemoryMax\":\"64M\"}");
        round_trip("{\"MemoryMax\":1025}", "{\"MemoryMax\":\"1025\"}");
        round_trip("{\"MemoryMax\":\"infinity\"}", "{\"MemoryMax\":\"infinity\"}");
        round_trip("{\"MemorySwapMax\":0}", "{\"MemorySwapMax\":\"0\"}");
        round_trip("{\"MemoryMax\":\"1E\"}", "{\"MemoryMax\":\"1E\"}");
        round_trip("{\"CPUQuota\":\"150%\"}", "{\"CPUQuota\":\"150%\"}");
        round_trip("{\"CPUQuota\":\"12.5%\"}", "{\"CPUQuota\":\"12.50%\"}");
        round_trip("{\"CPUQuota\":\"infinity\"}", "{\"CPUQuota\":\"infinity\"}");
        round_trip("{\"CPUWeight\":\"20\"}", "{\"CPUWeight\":20}");
        round_trip("{\"IOWeight\":30}", "{\"IOWeight\":30}");
        round_trip("{\"TasksMax\":256}", "{\"TasksMax\":256}");
        round_trip("{\"TasksMax\":\"infinity\"}", "{\"TasksMax\":\"infinity\"}");
        round_trip("{\"AllowedCPUs\":\"3,1-2\"}", "{\"AllowedCPUs\":\"1-3\"}");
        round_trip("{\"AllowedCPUs\":2}", "{\"AllowedCPUs\":\"2\"}");

        CHECK_EQ(limits_to_json(&none, &v), 0);
        CHECK(!v);
        CHECK_EQ(limits_set_from_json(&none, LIMIT_TASKS_MAX, NULL, &why), -EINVAL);
        CHECK(why);
        CHECK_EQ(json_parse("[-1, true, 1.5, \"1\\u0000\"]", 26, NULL, &v, NULL), 0);
        for (size_t i = 0; i < 4; i++)
                CHECK_EQ(limits_set_from_json(&none, LIMIT_TASKS_MAX, json_item(v, i), &why), -EINVAL);
        json_unref(v);
        CHECK_EQ(none.set, 0);
}

/* Setting again replaces, and what was set stays when a value is wrong. */
static void test_replace(void)
{
        Limits l = { 0 };
        const char *why;

        CHECK_EQ(limits_set_from_string(&l, LIMIT_ALLOWED_CPUS, "1", &why), 0);
        CHECK_EQ(limits_set_from_string(&l, LIMIT_ALLOWED_CPUS, "2", &why), 0);
        CHECK_EQ(limits_set_from_string(&l, LIMIT_TASKS_MAX, "5", &why), 0);
        CHECK_EQ(limits_set_from_string(&l, LIMIT_TASKS_MAX, "x", &why), -EINVAL);
        CHECK_EQ(limits_set_from_string(&l, LIMIT_ALLOWED_CPUS, "x", &why), -EINVAL);
        CHECK_STR(l.allowed_cpus, "2");
        CHECK_EQ(l.values[LIMIT_TASKS_MAX], 5);
        limits_done(&l);
}

TEST_MAIN({ "names", test_names }, { "memory", test_memory }, { "cpu", test_cpu },
                { "cpu-lists", test_cpu_lists }, { "tasks", test_tasks }, { "json", test_json },
                { "replace", test_replace });
