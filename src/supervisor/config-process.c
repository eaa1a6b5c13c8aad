/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <strings.h>

#include "supervisor/config-parse.h"
#include "supervisor/policy.h"

#define NAME_MAX_BYTES 256U
#define GROUPS_MAX 256U
#define ID_MAX INT64_C(4294967294) /* -1 means "leave as it is" to the kernel */

static const char *rlimit_word(int i)
{
        static const char *const words[] = {
                [RLIMIT_AS] = "AS",
                [RLIMIT_CORE] = "CORE",
                [RLIMIT_CPU] = "CPU",
                [RLIMIT_DATA] = "DATA",
                [RLIMIT_FSIZE] = "FSIZE",
                [RLIMIT_LOCKS] = "LOCKS",
                [RLIMIT_MEMLOCK] = "MEMLOCK",
                [RLIMIT_MSGQUEUE] = "MSGQUEUE",
                [RLIMIT_NICE] = "NICE",
                [RLIMIT_NOFILE] = "NOFILE",
                [RLIMIT_NPROC] = "NPROC",
                [RLIMIT_RSS] = "RSS",
                [RLIMIT_RTPRIO] = "RTPRIO",
                [RLIMIT_RTTIME] = "RTTIME",
                [RLIMIT_SIGPENDING] = "SIGPENDING",
                [RLIMIT_STACK] = "STACK",
        };

        return i < (int) ELEMENTSOF(words) ? words[i] : NULL;
}

static int find_word(const char *s, const char *(*word)(int), int n)
{
        for (int i = 0; i < n; i++)
                if (word(i) && streq(s, word(i)))
                        return i;
        return -ENOENT;
}

/* A number or "infinity" */
static int value_rlimit(Parse *p, const Where *w, Json *v, rlim_t *ret)
{
        const char *s = json_string(v);
        int64_t n;
        int r;

        if (s && streq(s, "infinity")) {
                *ret = RLIM_INFINITY;
                return 1;
        }
        if (json_type(v) != JSON_INTEGER)
                return problem(p, w, "must be a number, \"infinity\" or {\"soft\": …, \"hard\": …}");
        r = value_integer(p, w, v, 0, INT64_MAX, &n);
        if (r > 0)
                *ret = (rlim_t) n;
        return r;
}

static int key_rlimit(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        int r;

        r = value_rlimit(p, w, v, key_field(key, target));
        return MIN(r, 0);
}

static int read_rlimit(Parse *p, const Where *w, Json *v, struct rlimit *limit)
{
        static const Key keys[] = {
                { "soft", KEY_ANY, key_rlimit, offsetof(struct rlimit, rlim_cur) },
                { "hard", KEY_ANY, key_rlimit, offsetof(struct rlimit, rlim_max) },
        };
        Where at = { .up = w, .key = "soft" };
        int r;

        if (json_type(v) != JSON_OBJECT) {
                r = value_rlimit(p, w, v, &limit->rlim_cur);
                limit->rlim_max = limit->rlim_cur;
                return MIN(r, 0);
        }
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (!json_has(v, keys[i].name)) {
                        r = problem(p, w, "`%s` is missing", keys[i].name);
                        if (r < 0)
                                return r;
                }
        *limit = (struct rlimit){ 0, RLIM_INFINITY };
        r = read_object(p, w, v, keys, ELEMENTSOF(keys), KEY_ANY, limit);
        if (r >= 0 && limit->rlim_cur > limit->rlim_max)
                r = problem(p, &at, "must not be more than `hard`");
        return r;
}

KEY_READER(rlimits)
{
        TreeSpec *t = target;
        JsonIterator i = { 0 };
        char buffer[SHOWN_MAX];
        int r;

        if (json_type(v) != JSON_OBJECT)
                return problem_type(p, w, v, "an object such as {\"NOFILE\": 1024}");
        while (json_next(v, &i)) {
                Where at = { .up = w, .key = i.key };
                int which = find_word(i.key, rlimit_word, RLIM_NLIMITS);

                if (which >= 0) {
                        t->rlimit_mask |= UINT32_C(1) << which;
                        r = read_rlimit(p, &at, i.value, &t->rlimits[which]);
                } else {
                        const char *near = nearest_word(i.key, rlimit_word, RLIM_NLIMITS);

                        r = problem(p, &at, "unknown resource limit `%s`; did you mean %s?",
                                        shown(buffer, i.key),
                                        near ?: "one of setrlimit(2) without its RLIMIT_");
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

/* An integer that is left alone unless given. */
static int read_optional(Parse *p, const Where *w, Json *v, const Key *key, bool *ret_given, int *ret)
{
        int64_t n;
        int r;

        r = value_integer(p, w, v, key->min, key->max, &n);
        if (r <= 0)
                return r;
        *ret_given = true;
        *ret = (int) n;
        return 0;
}

KEY_READER(nice)
{
        TreeSpec *t = target;

        return read_optional(p, w, v, key, &t->has_nice, &t->nice);
}

KEY_READER(oom_score_adj)
{
        TreeSpec *t = target;

        return read_optional(p, w, v, key, &t->has_oom_score_adj, &t->oom_score_adj);
}

static int affinity_array(Parse *p, const Where *w, Json *v, TreeSpec *t)
{
        int64_t n;
        int r;

        for (size_t i = 0; i < json_length(v); i++) {
                Where at = { .up = w, .index = i };

                r = value_integer(p, &at, json_item(v, i), 0, CPU_SETSIZE - 1, &n);
                if (r < 0)
                        return r;
                if (r > 0)
                        CPU_SET((size_t) n, &t->affinity);
        }
        return json_length(v) > 0 ? 0 : problem(p, w, "must name at least one CPU");
}

KEY_READER(cpu_affinity)
{
        TreeSpec *t = target;
        uint64_t set[CPU_SETSIZE / 64];
        const char *s = json_string(v);

        t->has_affinity = true;
        if (json_type(v) == JSON_ARRAY)
                return affinity_array(p, w, v, t);
        if (!s)
                return problem_type(p, w, v, "an array of CPU numbers or a list such as \"0-1,3\"");
        if (strlen(s) != json_string_length(v) || !cpu_list_parse(s, set, ELEMENTSOF(set)))
                return problem(p, w, "must be a list of CPU numbers below %d such as \"0-1,3\"",
                                CPU_SETSIZE);
        for (size_t i = 0; i < CPU_SETSIZE; i++)
                if (set[i / 64] & UINT64_C(1) << i % 64)
                        CPU_SET(i, &t->affinity);
        return 0;
}

int value_identity(Parse *p, const Where *w, Json *v, char **ret)
{
        char buffer[SHOWN_MAX];
        const char *s;
        int64_t n;
        int r;

        if (json_type(v) == JSON_INTEGER) {
                r = value_integer(p, w, v, 0, ID_MAX, &n);
                if (r <= 0)
                        return r;
                *ret = xasprintf("%lld", (long long) n);
                return *ret ? 1 : -ENOMEM;
        }
        if (json_type(v) != JSON_STRING)
                return problem_type(p, w, v, "a name or a number");
        r = value_string(p, w, v, NAME_MAX_BYTES, &s);
        if (r <= 0)
                return r;
        if (*s == '-' || *s == '+' || strpbrk(s, "/: \t\n"))
                return problem(p, w, "\"%s\" is neither a name nor a number", shown(buffer, s));
        if (strspn(s, "0123456789") == strlen(s) && (strlen(s) > 10 || strtoll(s, NULL, 10) > ID_MAX))
                return problem(p, w, "must be at most %lld", (long long) ID_MAX);
        *ret = strdup(s);
        return *ret ? 1 : -ENOMEM;
}

KEY_READER(user)
{
        int r;

        r = value_identity(p, w, v, &((TreeSpec *) target)->user);
        return MIN(r, 0);
}

KEY_READER(group)
{
        int r;

        r = value_identity(p, w, v, &((TreeSpec *) target)->group);
        return MIN(r, 0);
}

KEY_READER(supplementary_groups)
{
        TreeSpec *t = target;
        int r;

        if (json_type(v) != JSON_ARRAY)
                return problem_type(p, w, v, "an array of names and numbers");
        if (json_length(v) > GROUPS_MAX)
                return problem(p, w, "must hold at most %u groups", GROUPS_MAX);
        t->has_groups = true;
        for (size_t i = 0; i < json_length(v); i++) {
                Where at = { .up = w, .index = i };
                _cleanup_free_ char *s = NULL;

                r = value_identity(p, &at, json_item(v, i), &s);
                if (r > 0)
                        r = strv_append(&t->groups, s);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool identity_number(const char *s, uint32_t *ret)
{
        if (strspn(s, "0123456789") != strlen(s))
                return false;
        *ret = (uint32_t) strtoul(s, NULL, 10);
        return true;
}

static bool resolve_groups(TreeSpec *t)
{
        size_t n = strv_length(t->groups);

        if (n == 0)
                return true;
        t->gids = calloc(n, sizeof(gid_t));
        if (!t->gids)
                return false; /* the look-up by the helper will say so */
        for (t->n_gids = 0; t->n_gids < n; t->n_gids++)
                if (!identity_number(t->groups[t->n_gids], &t->gids[t->n_gids]))
                        break;
        if (t->n_gids == n)
                return true;
        free(t->gids);
        t->gids = NULL;
        t->n_gids = 0;
        return false;
}

/* Numbers need no look-up; a user given by number alone has the group of the same number. */
void config_finish_identity(TreeSpec *t)
{
        bool done = true;

        if (t->user) {
                t->has_groups = true;
                done = identity_number(t->user, &t->uid);
                t->gid = t->uid;
        }
        if (t->group)
                done = identity_number(t->group, &t->gid) && done;
        t->resolved = resolve_groups(t) && done;
}

static const char *capability_word(int i)
{
        static const char *const words[] = {
                [CAP_CHOWN] = "CAP_CHOWN",
                [CAP_DAC_OVERRIDE] = "CAP_DAC_OVERRIDE",
                [CAP_DAC_READ_SEARCH] = "CAP_DAC_READ_SEARCH",
                [CAP_FOWNER] = "CAP_FOWNER",
                [CAP_FSETID] = "CAP_FSETID",
                [CAP_KILL] = "CAP_KILL",
                [CAP_SETGID] = "CAP_SETGID",
                [CAP_SETUID] = "CAP_SETUID",
                [CAP_SETPCAP] = "CAP_SETPCAP",
                [CAP_LINUX_IMMUTABLE] = "CAP_LINUX_IMMUTABLE",
                [CAP_NET_BIND_SERVICE] = "CAP_NET_BIND_SERVICE",
                [CAP_NET_BROADCAST] = "CAP_NET_BROADCAST",
                [CAP_NET_ADMIN] = "CAP_NET_ADMIN",
                [CAP_NET_RAW] = "CAP_NET_RAW",
                [CAP_IPC_LOCK] = "CAP_IPC_LOCK",
                [CAP_IPC_OWNER] = "CAP_IPC_OWNER",
                [CAP_SYS_MODULE] = "CAP_SYS_MODULE",
                [CAP_SYS_RAWIO] = "CAP_SYS_RAWIO",
                [CAP_SYS_CHROOT] = "CAP_SYS_CHROOT",
                [CAP_SYS_PTRACE] = "CAP_SYS_PTRACE",
                [CAP_SYS_PACCT] = "CAP_SYS_PACCT",
                [CAP_SYS_ADMIN] = "CAP_SYS_ADMIN",
                [CAP_SYS_BOOT] = "CAP_SYS_BOOT",
                [CAP_SYS_NICE] = "CAP_SYS_NICE",
                [CAP_SYS_RESOURCE] = "CAP_SYS_RESOURCE",
                [CAP_SYS_TIME] = "CAP_SYS_TIME",
                [CAP_SYS_TTY_CONFIG] = "CAP_SYS_TTY_CONFIG",
                [CAP_MKNOD] = "CAP_MKNOD",
                [CAP_LEASE] = "CAP_LEASE",
                [CAP_AUDIT_WRITE] = "CAP_AUDIT_WRITE",
                [CAP_AUDIT_CONTROL] = "CAP_AUDIT_CONTROL",
                [CAP_SETFCAP] = "CAP_SETFCAP",
                [CAP_MAC_OVERRIDE] = "CAP_MAC_OVERRIDE",
                [CAP_MAC_ADMIN] = "CAP_MAC_ADMIN",
                [CAP_SYSLOG] = "CAP_SYSLOG",
                [CAP_WAKE_ALARM] = "CAP_WAKE_ALARM",
                [CAP_BLOCK_SUSPEND] = "CAP_BLOCK_SUSPEND",
                [CAP_AUDIT_READ] = "CAP_AUDIT_READ",
                [CAP_PERFMON] = "CAP_PERFMON",
                [CAP_BPF] = "CAP_BPF",
                [CAP_CHECKPOINT_RESTORE] = "CAP_CHECKPOINT_RESTORE",
        };

        return i < (int) ELEMENTSOF(words) ? words[i] : NULL;
}

static bool capability_matches(const char *name, const char *s)
{
        return name && (strcasecmp(s, name) == 0 || strcasecmp(s, name + strlen("CAP_")) == 0);
}

static int read_capability(Parse *p, const Where *w, const char *s, uint64_t *caps)
{
        char buffer[SHOWN_MAX], upper[SHOWN_MAX];
        const char *near;

        for (int i = 0; i <= CAP_LAST_CAP; i++)
                if (capability_matches(capability_word(i), s)) {
                        *caps |= UINT64_C(1) << i;
                        return 0;
                }
        (void) snprintf(upper, sizeof(upper), "%s%.40s", strncasecmp(s, "CAP_", 4) == 0 ? "" : "CAP_", s);
        for (char *c = upper; *c; c++)
                *c = *c >= 'a' && *c <= 'z' ? (char) (*c - 'a' + 'A') : *c;
        near = nearest_word(upper, capability_word, CAP_LAST_CAP + 1);
        if (near)
                return problem(p, w, "unknown capability \"%s\"; did you mean %s?", shown(buffer, s), near);
        return problem(p, w, "unknown capability \"%s\": names are those of capabilities(7)",
                        shown(buffer, s));
}

KEY_READER(capabilities)
{
        TreeSpec *t = target;
        const char *s;
        int r;

        if (json_type(v) != JSON_ARRAY)
                return problem_type(p, w, v, "an array of capabilities, [] for none");
        t->has_caps = true;
        for (size_t i = 0; i < json_length(v); i++) {
                Where at = { .up = w, .index = i };

                r = value_string(p, &at, json_item(v, i), SIZE_MAX, &s);
                if (r > 0)
                        r = read_capability(p, &at, s, &t->caps);
                if (r < 0)
                        return r;
        }
        return 0;
}

static const char *profile_word(int i)
{
        return policy_profiles()[i];
}

KEY_READER(seccomp)
{
        TreeSpec *t = target;
        const char *s = json_string(v);
        int i, r;

        if (s && strchr(s, '/'))
                return problem_unsupported(p, w, "`seccomp` from a file is not built yet");
        r = value_word(p, w, v, profile_word, (int) strv_length((char *const *) policy_profiles()), NULL,
                        &i);
        return r > 0 ? free_and_strdup(&t->seccomp, s) : r;
}
