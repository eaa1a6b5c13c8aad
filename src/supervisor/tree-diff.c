/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "base/usec.h"
#include "supervisor/tree-diff.h"

typedef struct DiffKey DiffKey;
struct DiffKey {
        const char *name;
        bool (*same)(const DiffKey *key, const TreeSpec *a, const TreeSpec *b);
        size_t offset, size;
        bool live;
        int (*show)(const DiffKey *key, const TreeSpec *t, Json **ret); /* the value of a live key */
        int (*members)(const DiffKey *key, const TreeSpec *t,
                        Json **ret); /* an object: each member is told of */
};

static const void *field(const DiffKey *key, const TreeSpec *t)
{
        return (const char *) t + key->offset;
}

static bool same_bytes(const DiffKey *key, const TreeSpec *a, const TreeSpec *b)
{
        return memcmp(field(key, a), field(key, b), key->size) == 0;
}

static bool same_string(const DiffKey *key, const TreeSpec *a, const TreeSpec *b)
{
        return streq_ptr(*(char *const *) field(key, a), *(char *const *) field(key, b));
}

static bool strv_equal(char *const *a, char *const *b)
{
        size_t n = strv_length(a);

        if (n != strv_length(b))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!streq(a[i], b[i]))
                        return false;
        return true;
}

static bool same_strv(const DiffKey *key, const TreeSpec *a, const TreeSpec *b)
{
        return strv_equal(*(char *const *const *) field(key, a), *(char *const *const *) field(key, b));
}

/* A file names no descriptor. */
static bool same_program(const DiffKey *key, const TreeSpec *a, const TreeSpec *b)
{
        return (a->entry_fd < 0) == (b->entry_fd < 0) && same_strv(key, a, b);
}

static bool same_expose(const DiffKey *key, const TreeSpec *a, const TreeSpec *b)
{
        return a->has_expose == b->has_expose && strv_equal(a->expose, b->expose);
}

static bool same_object(const DiffKey *key, const TreeSpec *a, const TreeSpec *b)
{
        const Json *x = *(Json *const *) field(key, a), *y = *(Json *const *) field(key, b);

        if (json_length(x) == 0 || json_length(y) == 0)
                return json_length(x) == json_length(y);
        return json_equal(x, y);
}

static bool same_limits(const DiffKey *key, const TreeSpec *a, const TreeSpec *b)
{
        if (a->limits.set != b->limits.set)
                return false;
        for (Limit l = 0; l < _LIMIT_MAX; l++)
                if ((a->limits.set & (1U << l)) && a->limits.values[l] != b->limits.values[l])
                        return false;
        return streq_ptr(a->limits.allowed_cpus, b->limits.allowed_cpus);
}

static bool same_intensity(const DiffKey *key, const TreeSpec *a, const TreeSpec *b)
{
        return a->node.intensity.max_restarts == b->node.intensity.max_restarts &&
               a->node.intensity.within_usec == b->node.intensity.within_usec;
}

static bool same_ready(const DiffKey *key, const TreeSpec *a, const TreeSpec *b)
{
        return a->ready == b->ready && streq_ptr(a->ready_path, b->ready_path) &&
               strv_equal(a->ready_command, b->ready_command) &&
               (a->ready != READY_COMMAND || a->ready_interval_usec == b->ready_interval_usec);
}

/* To ask for the journal by name changes nothing. */
static bool same_output(const DiffKey *key, const TreeSpec *a, const TreeSpec *b)
{
        const Output *x = field(key, a), *y = field(key, b);
        OutputKind i = x->kind == OUTPUT_JOURNAL ? OUTPUT_DEFAULT : x->kind;
        OutputKind j = y->kind == OUTPUT_JOURNAL ? OUTPUT_DEFAULT : y->kind;

        return i == j && streq_ptr(x->path, y->path);
}

static bool same_rlimits(const DiffKey *key, const TreeSpec *a, const TreeSpec *b)
{
        if (a->rlimit_mask != b->rlimit_mask)
                return false;
        for (int i = 0; i < RLIM_NLIMITS; i++)
                if ((a->rlimit_mask & (UINT32_C(1) << i)) &&
                                (a->rlimits[i].rlim_cur != b->rlimits[i].rlim_cur ||
                                                a->rlimits[i].rlim_max != b->rlimits[i].rlim_max))
                        return false;
        return true;
}

static bool same_nice(const DiffKey *key, const TreeSpec *a, const TreeSpec *b)
{
        return a->has_nice == b->has_nice && a->nice == b->nice;
}

static bool same_oom_score_adj(const DiffKey *key, const TreeSpec *a, const TreeSpec *b)
{
        return a->has_oom_score_adj == b->has_oom_score_adj && a->oom_score_adj == b->oom_score_adj;
}

static bool same_affinity(const DiffKey *key, const TreeSpec *a, const TreeSpec *b)
{
        return a->has_affinity == b->has_affinity && CPU_EQUAL(&a->affinity, &b->affinity);
}

/* `user` alone says something about them, too. */
static bool same_groups(const DiffKey *key, const TreeSpec *a, const TreeSpec *b)
{
        return strv_equal(a->groups, b->groups) && (a->has_groups == b->has_groups || !a->user != !b->user);
}

static bool same_capabilities(const DiffKey *key, const TreeSpec *a, const TreeSpec *b)
{
        return a->has_caps == b->has_caps && a->caps == b->caps;
}

static int show_string(const DiffKey *key, const TreeSpec *t, Json **ret)
{
        return json_pack(ret, "s", *(char *const *) field(key, t));
}

static int show_bool(const DiffKey *key, const TreeSpec *t, Json **ret)
{
        return json_pack(ret, "b", *(const bool *) field(key, t));
}

static int show_msec(const DiffKey *key, const TreeSpec *t, Json **ret)
{
        return json_pack(ret, "U", *(const uint64_t *) field(key, t) / USEC_PER_MSEC);
}

static int show_log_level(const DiffKey *key, const TreeSpec *t, Json **ret)
{
        return json_pack(ret, "s", t->log_level < 0 ? NULL : log_level_word(t->log_level));
}

static int show_strategy(const DiffKey *key, const TreeSpec *t, Json **ret)
{
        return json_pack(ret, "s", strategy_to_string(t->node.strategy));
}

static int show_give_up(const DiffKey *key, const TreeSpec *t, Json **ret)
{
        return json_pack(ret, "s", give_up_to_string(t->node.on_give_up));
}

static int show_auto_shutdown(const DiffKey *key, const TreeSpec *t, Json **ret)
{
        return json_pack(ret, "s", auto_shutdown_to_string(t->node.auto_shutdown));
}

static int show_restart(const DiffKey *key, const TreeSpec *t, Json **ret)
{
        return json_pack(ret, "s", restart_type_to_string(t->node.restart));
}

static int members_of_object(const DiffKey *key, const TreeSpec *t, Json **ret)
{
        return json_pack(ret, "O", *(Json *const *) field(key, t));
}

static int members_of_limits(const DiffKey *key, const TreeSpec *t, Json **ret)
{
        return limits_to_json(&t->limits, ret);
}

static int members_of_intensity(const DiffKey *key, const TreeSpec *t, Json **ret)
{
        const Intensity *i = &t->node.intensity;

        return json_pack(ret, "{max_restarts:U, within_ms:U}", (uint64_t) i->max_restarts,
                        i->within_usec / USEC_PER_MSEC);
}

static int members_of_backoff(const DiffKey *key, const TreeSpec *t, Json **ret)
{
        const Backoff *b = &t->node.backoff;

        return json_pack(ret, "{initial_ms:U, factor:f, max_ms:U, jitter:f, reset_after_ms:U}",
                        b->initial_usec / USEC_PER_MSEC, b->factor, b->max_usec / USEC_PER_MSEC, b->jitter,
                        b->reset_after_usec / USEC_PER_MSEC);
}

#define AT(member) offsetof(TreeSpec, member), sizeof(((TreeSpec *) 0)->member)
#define LIVE true
#define RESTARTS false
/* All that tree files know but `tractor`, `name`, `children`, and what is not built yet. */
static const DiffKey keys[] = {
        { "description", same_string, AT(description), LIVE, show_string },
        { "labels", same_object, AT(labels), LIVE, .members = members_of_object },
        { "limits", same_limits, AT(limits), LIVE, .members = members_of_limits },
        { "limits_optional", same_bytes, AT(limits_optional), LIVE, show_bool },
        { "significant", same_bytes, AT(node.significant), LIVE, show_bool },
        { "depends", same_strv, AT(depends), RESTARTS },
        { "log_level", same_bytes, AT(log_level), LIVE, show_log_level },

        { "strategy", same_bytes, AT(node.strategy), LIVE, show_strategy },
        { "intensity", same_intensity, AT(node.intensity), LIVE, .members = members_of_intensity },
        { "on_give_up", same_bytes, AT(node.on_give_up), LIVE, show_give_up },
        { "auto_shutdown", same_bytes, AT(node.auto_shutdown), LIVE, show_auto_shutdown },

        { "restart", same_bytes, AT(node.restart), LIVE, show_restart },
        { "backoff", same_bytes, AT(node.backoff), LIVE, .members = members_of_backoff },
        { "grace_ms", same_bytes, AT(node.grace_usec), LIVE, show_msec },
        { "watchdog_ms", same_bytes, AT(node.watchdog_usec), LIVE, show_msec },

        { "cwd", same_string, AT(cwd), RESTARTS },
        { "exec", same_program, AT(exec), RESTARTS },
        { "env", same_object, AT(env), RESTARTS, .members = members_of_object },
        { "env_clear", same_bytes, AT(env_clear), RESTARTS },
        { "umask", same_bytes, AT(umask), RESTARTS },
        { "channel", same_bytes, AT(channel), RESTARTS },
        { "expose", same_expose, AT(expose), RESTARTS },
        { "ready", same_ready, AT(ready), RESTARTS },
        { "start_timeout_ms", same_bytes, AT(node.start_timeout_usec), RESTARTS },
        { "stop_signal", same_bytes, AT(stop_signal), RESTARTS },
        { "stdout", same_output, AT(out), RESTARTS },
        { "stderr", same_output, AT(err), RESTARTS },
        { "rlimits", same_rlimits, AT(rlimits), RESTARTS },
        { "nice", same_nice, AT(nice), RESTARTS },
        { "oom_score_adj", same_oom_score_adj, AT(oom_score_adj), RESTARTS },
        { "cpu_affinity", same_affinity, AT(affinity), RESTARTS },
        { "user", same_string, AT(user), RESTARTS },
        { "group", same_string, AT(group), RESTARTS },
        { "supplementary_groups", same_groups, AT(groups), RESTARTS },
        { "capabilities", same_capabilities, AT(caps), RESTARTS },
        { "no_new_privs", same_bytes, AT(no_new_privs), RESTARTS },
        { "seccomp", same_string, AT(seccomp), RESTARTS },
};

SpecDiff spec_diff(const TreeSpec *from, const TreeSpec *to)
{
        SpecDiff diff = SPEC_SAME;

        for (size_t i = 0; i < ELEMENTSOF(keys) && diff != SPEC_RESTART; i++)
                if (!keys[i].same(&keys[i], from, to))
                        diff = keys[i].live ? SPEC_LIVE : SPEC_RESTART;
        return diff;
}

static int add_entry(Json *to, const char *name, bool live, Json *before, Json *after)
{
        Json *entry = NULL;
        int r;

        if (!live)
                r = json_pack(&entry, "{live:b}", false);
        else
                r = json_pack(&entry, "{live:b, from:O, to:O}", true, before, after);
        return r < 0 ? r : json_set(to, name, entry);
}

static int add_member(Json *to, const DiffKey *key, const char *member, Json *before, Json *after)
{
        _cleanup_free_ char *name = NULL;

        if (json_equal(before, after))
                return 0;
        name = xasprintf("%s.%s", key->name, member);
        return name ? add_entry(to, name, key->live, before, after) : -ENOMEM;
}

static int add_members(Json *to, const DiffKey *key, Json *before, Json *after)
{
        JsonIterator i = { 0 }, k = { 0 };
        int r = 0;

        while (r >= 0 && json_next(before, &i))
                r = add_member(to, key, i.key, i.value, json_get(after, i.key));
        while (r >= 0 && json_next(after, &k))
                if (!json_has(before, k.key))
                        r = add_member(to, key, k.key, NULL, k.value);
        return r;
}

static int add_key(Json *to, const DiffKey *key, const TreeSpec *a, const TreeSpec *b)
{
        int (*value)(const DiffKey *, const TreeSpec *, Json **) = key->members ?: key->show;
        _cleanup_json_ Json *before = NULL, *after = NULL;
        int r = 0;

        if (value) {
                r = value(key, a, &before);
                if (r >= 0)
                        r = value(key, b, &after);
        }
        if (r < 0)
                return r;
        if (key->members)
                return add_members(to, key, before, after);
        return add_entry(to, key->name, key->live, before, after);
}

int spec_diff_to_json(const TreeSpec *from, const TreeSpec *to, Json **ret)
{
        _cleanup_json_ Json *object = NULL;
        int r;

        r = json_pack(&object, "{}");
        for (size_t i = 0; i < ELEMENTSOF(keys) && r >= 0; i++)
                if (!keys[i].same(&keys[i], from, to))
                        r = add_key(object, &keys[i], from, to);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(object);
        return 0;
}
