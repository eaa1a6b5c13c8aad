/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/usec.h"
#include "supervisor/config-parse.h"

typedef int (*limit_parse_t)(const char *s, uint64_t *ret);

#define FORM_MEMORY                                                                                         \
        "must be bytes (512M, with K M G T P E for powers of 1024), a percentage (50%) or infinity"
#define FORM_MEMORY_ZERO FORM_MEMORY ", and more than 0"
#define FORM_QUOTA "must be a percentage of one CPU (150%), more than 0%, or infinity"
#define FORM_WEIGHT "must be a number between 1 and 10000"
#define FORM_TASKS "must be a number, at least 1, or infinity"
#define FORM_TASKS_PERCENT "must be a number: a percentage is not taken for TasksMax"
#define FORM_CPUS "must be a list of CPU numbers below 8192 such as 0-1,3"

/* Digits up to INT64_MAX; *s moves past them. */
static bool take_number(const char **s, uint64_t *ret)
{
        uint64_t n = 0;
        const char *c = *s;

        for (; *c >= '0' && *c <= '9'; c++) {
                n = n * 10 + (uint64_t) (*c - '0');
                if (n > INT64_MAX / 10)
                        return false;
        }
        if (c == *s)
                return false;
        *s = c;
        *ret = n;
        return true;
}

static int parse_number(const char *s, uint64_t *ret)
{
        return take_number(&s, ret) && *s == 0 ? 0 : -EINVAL;
}

/* "150%", "33.3%", in hundredths of a per cent */
static int parse_percent(const char *s, uint64_t *ret)
{
        uint64_t whole, part = 0;

        if (!take_number(&s, &whole) || whole > UINT32_MAX)
                return -EINVAL;
        if (*s == '.') {
                if (s[1] < '0' || s[1] > '9')
                        return -EINVAL;
                part = (uint64_t) (*++s - '0') * 10;
                if (*++s >= '0' && *s <= '9')
                        part += (uint64_t) (*s++ - '0');
        }
        if (!streq(s, "%"))
                return -EINVAL;
        *ret = whole * 100 + part;
        return 0;
}

/* "1.5G": digits after the point count as far as a byte makes a difference. */
static int parse_size(const char *s, uint64_t *ret)
{
        static const char suffixes[] = "BKMGTPE";
        const char *suffix, *fraction = NULL;
        uint64_t n, unit = 1;
        double part = 0, scale = 1;

        if (!take_number(&s, &n))
                return -EINVAL;
        if (*s == '.') {
                fraction = ++s;
                for (; *s >= '0' && *s <= '9'; s++)
                        part += (*s - '0') * (scale /= 10);
                if (s == fraction)
                        return -EINVAL;
        }
        if (*s) {
                suffix = strchr(suffixes, *s++);
                if (!suffix)
                        return -EINVAL;
                unit = UINT64_C(1) << 10 * (suffix - suffixes);
        }
        if ((fraction && unit == 1) || *s || n >= (uint64_t) INT64_MAX / unit)
                return -EINVAL;
        *ret = n * unit + (uint64_t) (part * (double) unit);
        return 0;
}

static int parse_memory_zero(const char *s, uint64_t *ret)
{
        uint64_t percent;
        long pages, page;

        if (streq(s, "infinity")) {
                *ret = LIMIT_INFINITY;
                return 0;
        }
        if (parse_percent(s, &percent) < 0)
                return parse_size(s, ret);
        pages = sysconf(_SC_PHYS_PAGES);
        page = sysconf(_SC_PAGESIZE);
        if (percent > 100 * 100 || pages <= 0 || page <= 0)
                return -EINVAL;
        *ret = (uint64_t) pages * (uint64_t) page / 10000 * percent;
        return 0;
}

static int parse_memory(const char *s, uint64_t *ret)
{
        uint64_t n;
        int r;

        r = parse_memory_zero(s, &n);
        if (r < 0 || n == 0)
                return -EINVAL;
        *ret = n;
        return 0;
}

static int parse_quota(const char *s, uint64_t *ret)
{
        uint64_t percent;

        if (streq(s, "infinity")) {
                *ret = LIMIT_INFINITY;
                return 0;
        }
        if (parse_percent(s, &percent) < 0 || percent == 0)
                return -EINVAL;
        *ret = percent * (USEC_PER_SEC / 10000);
        return 0;
}

static int parse_weight(const char *s, uint64_t *ret)
{
        uint64_t n;

        if (parse_number(s, &n) < 0 || n < 1 || n > 10000)
                return -EINVAL;
        *ret = n;
        return 0;
}

static int parse_tasks(const char *s, uint64_t *ret)
{
        uint64_t n;

        if (streq(s, "infinity")) {
                *ret = LIMIT_INFINITY;
                return 0;
        }
        if (parse_number(s, &n) < 0 || n < 1)
                return -EINVAL;
        *ret = n;
        return 0;
}

static const struct {
        const char *name, *controller;
        limit_parse_t parse;
        const char *form;
} limits[] = {
        [LIMIT_MEMORY_MAX] = { "MemoryMax", "memory", parse_memory, FORM_MEMORY_ZERO },
        [LIMIT_MEMORY_HIGH] = { "MemoryHigh", "memory", parse_memory, FORM_MEMORY_ZERO },
        [LIMIT_MEMORY_LOW] = { "MemoryLow", "memory", parse_memory_zero, FORM_MEMORY },
        [LIMIT_MEMORY_SWAP_MAX] = { "MemorySwapMax", "memory", parse_memory_zero, FORM_MEMORY },
        [LIMIT_CPU_QUOTA] = { "CPUQuota", "cpu", parse_quota, FORM_QUOTA },
        [LIMIT_CPU_WEIGHT] = { "CPUWeight", "cpu", parse_weight, FORM_WEIGHT },
        [LIMIT_ALLOWED_CPUS] = { "AllowedCPUs", "cpuset", NULL, FORM_CPUS },
        [LIMIT_TASKS_MAX] = { "TasksMax", "pids", parse_tasks, FORM_TASKS },
        [LIMIT_IO_WEIGHT] = { "IOWeight", "io", parse_weight, FORM_WEIGHT },
};

const char *limit_name(Limit l)
{
        return l >= 0 && l < _LIMIT_MAX ? limits[l].name : NULL;
}

const char *limit_controller(Limit l)
{
        return l >= 0 && l < _LIMIT_MAX ? limits[l].controller : NULL;
}

Limit limit_from_name(const char *name)
{
        for (int i = 0; i < _LIMIT_MAX; i++)
                if (streq(limits[i].name, name))
                        return (Limit) i;
        return _LIMIT_INVALID;
}

static bool take_range(const char **s, uint64_t *ret_first, uint64_t *ret_last)
{
        if (!take_number(s, ret_first))
                return false;
        *ret_last = *ret_first;
        if (**s == '-') {
                ++*s;
                return take_number(s, ret_last) && *ret_first <= *ret_last;
        }
        return true;
}

bool cpu_list_parse(const char *s, uint64_t *set, size_t n)
{
        uint64_t first, last;

        memset(set, 0, n * sizeof(*set));
        s += strspn(s, " ");
        do {
                if (!take_range(&s, &first, &last) || last >= n * 64)
                        return false;
                for (; first <= last; first++)
                        set[first / 64] |= UINT64_C(1) << first % 64;
                if (*s && !strchr(" ,", *s))
                        return false;
                s += strspn(s, " ");
                if (*s == ',')
                        s += 1 + strspn(s + 1, " ");
                else if (!*s)
                        return true;
        } while (true);
}

static bool cpu_is_set(const uint64_t *set, size_t i)
{
        return i < CPU_LIST_MAX && (set[i / 64] >> i % 64 & 1);
}

/* Ranges rising and merged: equal sets have equal texts. */
static char *cpu_list_print(const uint64_t *set)
{
        char *text = NULL;
        size_t size;
        FILE *f;

        f = open_memstream(&text, &size);
        if (!f)
                return NULL;
        for (size_t i = 0, last; i < CPU_LIST_MAX; i++) {
                if (!cpu_is_set(set, i))
                        continue;
                for (last = i; cpu_is_set(set, last + 1);)
                        last++;
                fprintf(f, "%s%zu", ftell(f) > 0 ? "," : "", i);
                if (last > i)
                        fprintf(f, "-%zu", last);
                i = last;
        }
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}

static int set_cpus(Limits *l, const char *value, const char **reterr)
{
        uint64_t set[CPU_LIST_MAX / 64];
        char *text;

        if (!cpu_list_parse(value, set, ELEMENTSOF(set))) {
                *reterr = FORM_CPUS;
                return -EINVAL;
        }
        text = cpu_list_print(set);
        if (!text)
                return -ENOMEM;
        free(l->allowed_cpus);
        l->allowed_cpus = text;
        l->values[LIMIT_ALLOWED_CPUS] = set[0];
        l->set |= UINT32_C(1) << LIMIT_ALLOWED_CPUS;
        return 0;
}

int limits_set_from_string(Limits *l, Limit which, const char *value, const char **reterr)
{
        uint64_t n;

        if (which == LIMIT_ALLOWED_CPUS)
                return set_cpus(l, value, reterr);
        if (limits[which].parse(value, &n) < 0) {
                bool percent = which == LIMIT_TASKS_MAX && parse_percent(value, &n) >= 0;

                *reterr = percent ? FORM_TASKS_PERCENT : limits[which].form;
                return -EINVAL;
        }
        l->values[which] = n;
        l->set |= UINT32_C(1) << which;
        return 0;
}

int limits_set_from_json(Limits *l, Limit which, const Json *value, const char **reterr)
{
        char number[32];

        if (json_type(value) == JSON_INTEGER) {
                (void) snprintf(number, sizeof(number), "%lld", (long long) json_integer(value));
                return limits_set_from_string(l, which, number, reterr);
        }
        if (json_type(value) != JSON_STRING || strlen(json_string(value)) != json_string_length(value)) {
                *reterr = limits[which].form;
                return -EINVAL;
        }
        return limits_set_from_string(l, which, json_string(value), reterr);
}

/* The largest unit that divides it, as people write it: "512M", "1025". */
static void print_size(char *buffer, size_t size, uint64_t n)
{
        static const char suffixes[] = "KMGTPE";
        size_t i = 0;

        while (n > 0 && n % 1024 == 0 && i < strlen(suffixes)) {
                n /= 1024;
                i++;
        }
        if (i > 0)
                (void) snprintf(buffer, size, "%llu%c", (unsigned long long) n, suffixes[i - 1]);
        else
                (void) snprintf(buffer, size, "%llu", (unsigned long long) n);
}

static void print_quota(char *buffer, size_t size, uint64_t usec)
{
        unsigned long long percent = usec / (USEC_PER_SEC / 10000);

        if (percent % 100)
                (void) snprintf(buffer, size, "%llu.%02llu%%", percent / 100, percent % 100);
        else
                (void) snprintf(buffer, size, "%llu%%", percent / 100);
}

static int limit_to_json(const Limits *l, Limit which, Json **ret)
{
        uint64_t n = l->values[which];
        char buffer[64];

        switch (which) {
        case LIMIT_ALLOWED_CPUS:
                *ret = json_new_string(l->allowed_cpus, SIZE_MAX);
                return *ret ? 0 : -ENOMEM;
        case LIMIT_CPU_WEIGHT:
        case LIMIT_IO_WEIGHT:
                return json_pack(ret, "I", (int64_t) n);
        case LIMIT_TASKS_MAX:
                if (n != LIMIT_INFINITY)
                        return json_pack(ret, "I", (int64_t) n);
                break;
        default:
                break;
        }
        if (n == LIMIT_INFINITY)
                strcpy(buffer, "infinity");
        else
                (which == LIMIT_CPU_QUOTA ? print_quota : print_size)(buffer, sizeof(buffer), n);
        *ret = json_new_string(buffer, SIZE_MAX);
        return *ret ? 0 : -ENOMEM;
}

int limits_to_json(const Limits *l, Json **ret)
{
        _cleanup_json_ Json *object = NULL;
        Json *value;
        int r;

        if (!l->set) {
                *ret = NULL;
                return 0;
        }
        r = json_pack(&object, "{}");
        for (int i = 0; r >= 0 && i < _LIMIT_MAX; i++) {
                if (!(l->set & UINT32_C(1) << i))
                        continue;
                r = limit_to_json(l, (Limit) i, &value);
                if (r >= 0)
                        r = json_set(object, limits[i].name, value);
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(object);
        return 0;
}

void limits_done(Limits *l)
{
        free(l->allowed_cpus);
        *l = (Limits){ 0 };
}

int limits_copy(const Limits *l, Limits *ret)
{
        Limits copy = *l;

        copy.allowed_cpus = NULL;
        if (free_and_strdup(&copy.allowed_cpus, l->allowed_cpus) < 0)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

static const char *limit_word(int i)
{
        return limits[i].name;
}

KEY_READER(limits)
{
        TreeSpec *t = target;
        JsonIterator i = { 0 };
        char buffer[SHOWN_MAX];
        const char *why;
        int r;

        if (json_type(v) != JSON_OBJECT)
                return problem_type(p, w, v, "an object such as {\"MemoryMax\": \"512M\"}");
        while (json_next(v, &i)) {
                Where at = { .up = w, .key = i.key };
                Limit which = limit_from_name(i.key);

                if (which != _LIMIT_INVALID) {
                        r = limits_set_from_json(&t->limits, which, i.value, &why);
                        if (r == -EINVAL)
                                r = problem(p, &at, "%s", why);
                } else {
                        const char *near = nearest_word(i.key, limit_word, _LIMIT_MAX);

                        r = problem(p, &at, "unknown limit `%s`; %s%s", shown(buffer, i.key),
                                        near ? "did you mean " : "see tractor-tree(5) for those there are",
                                        near ?: "");
                }
                if (r < 0)
                        return r;
        }
        return 0;
}
