/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/io.h"
#include "base/usec.h"
#include "supervisor/config-parse.h"

/* A wrong file is answered in one reply, which must fit a line: past these the list is cut and says so. */
#define PROBLEMS_MAX 1024U
#define PROBLEMS_BYTES_MAX (256U * 1024)
#define RESTARTS_MAX 10000

void config_problems_done(ConfigProblems *p)
{
        for (size_t i = 0; i < p->n; i++) {
                free(p->items[i].pointer);
                free(p->items[i].message);
        }
        free(p->items);
        *p = (ConfigProblems){ 0 };
}

size_t config_problems_errors(const ConfigProblems *p)
{
        size_t n = 0;

        for (size_t i = 0; i < p->n; i++)
                n += !p->items[i].warning;
        return n;
}

int config_problems_to_json(const ConfigProblems *p, Json **ret)
{
        _cleanup_json_ Json *list = NULL;
        int r;

        r = json_pack(&list, "[]");
        for (size_t i = 0; r >= 0 && i < p->n; i++) {
                Json *item;

                if (p->items[i].warning)
                        continue;
                r = json_pack(&item, "{pointer:s, message:s}", p->items[i].pointer, p->items[i].message);
                if (r >= 0)
                        r = json_append(list, item);
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(list);
        return 0;
}

int config_problem_add(ConfigProblems *p, const char *pointer, bool unsupported, const char *format, ...)
{
        _cleanup_free_ char *where = NULL, *message = NULL;
        va_list ap;
        int r;

        if (p->full)
                return 0;
        va_start(ap, format);
        r = vasprintf(&message, format, ap);
        va_end(ap);
        if (r < 0) {
                message = NULL;
                return -ENOMEM;
        }
        p->bytes += strlen(pointer) + strlen(message);
        p->full = p->n + 1 >= PROBLEMS_MAX || p->bytes > PROBLEMS_BYTES_MAX;
        if (p->full) {
                free(message);
                message = strdup("there are more problems than fit a reply");
        }
        where = strdup(p->full ? "" : pointer);
        if (!where || !message)
                return -ENOMEM;
        r = GROW(p->items, p->cap, p->n + 1);
        if (r < 0)
                return r;
        p->items[p->n++] = (ConfigProblem){
                .pointer = TAKE_PTR(where),
                .message = TAKE_PTR(message),
                .unsupported = unsupported && !p->full,
        };
        return 0;
}

TreeSpec *tree_spec_ref(TreeSpec *t)
{
        t->refs++;
        return t;
}

static void tree_spec_free(TreeSpec *t)
{
        for (size_t i = 0; i < t->n_children; i++)
                tree_spec_unref(t->children[i]);
        free(t->children);
        free(t->name);
        strv_free(t->depends);
        free(t->description);
        json_unref(t->labels);
        limits_done(&t->limits);
        strv_free(t->exec);
        strv_free(t->expose);
        free(t->entry);
        free(t->entry_args);
        safe_close(t->entry_fd);
        free(t->cwd);
        json_unref(t->env);
        free(t->ready_path);
        strv_free(t->ready_command);
        free(t->out.path);
        free(t->err.path);
        free(t->seccomp);
        free(t->user);
        free(t->group);
        strv_free(t->groups);
        free(t->gids);
        free(t);
}

TreeSpec *tree_spec_unref(TreeSpec *t)
{
        if (t && --t->refs == 0)
                tree_spec_free(t);
        return NULL;
}

static TreeSpec *tree_spec_new(NodeKind kind, RestartType restart)
{
        TreeSpec *t = calloc(1, sizeof(TreeSpec));

        if (!t)
                return NULL;
        t->node = (NodeSpec){
                .kind = kind,
                .intensity = INTENSITY_DEFAULT,
                .restart = restart,
                .backoff = BACKOFF_DEFAULT,
                .start_timeout_usec = 10 * USEC_PER_SEC,
                .grace_usec = USEC_INFINITY,
        };
        t->entry_fd = -EBADF;
        t->log_level = -1;
        t->umask = 022;
        t->stop_signal = SIGTERM;
        t->ready_interval_usec = 200 * USEC_PER_MSEC;
        t->no_new_privs = true;
        t->refs = 1;
        return t;
}

static const char *strategy_word(int i)
{
        return strategy_to_string((Strategy) i);
}

static const char *give_up_word(int i)
{
        return give_up_to_string((GiveUp) i);
}

static const char *auto_shutdown_word(int i)
{
        return auto_shutdown_to_string((AutoShutdown) i);
}

const char *log_level_word(int i)
{
        static const char *const words[] = { "emerg", "alert", "crit", "err", "warning", "notice", "info",
                "debug" };

        return words[i];
}

static int key_version(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        if (json_type(v) != JSON_INTEGER || json_integer(v) != 1)
                return problem(p, w, "must be 1, the only version of the format there is");
        return 0;
}

static int key_name(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        TreeSpec *t = target;
        char buffer[SHOWN_MAX];
        const char *s;
        int r;

        r = value_text(p, w, v, SIZE_MAX, &s);
        if (r <= 0)
                return r;
        if (!node_name_is_valid(s))
                return problem(p, w,
                                "\"%s\" is no name: 1 to 64 of A-Z a-z 0-9 _ . -, the first no dot and no "
                                "dash",
                                shown(buffer, s));
        return free_and_strdup(&t->name, s);
}

static int key_max_restarts(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        Intensity *intensity = target;
        int64_t n;
        int r;

        r = value_integer(p, w, v, 0, RESTARTS_MAX, &n);
        if (r > 0)
                intensity->max_restarts = (uint32_t) n;
        return MIN(r, 0);
}

static int key_intensity(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        static const Key keys[] = {
                { "max_restarts", KEY_ANY, key_max_restarts },
                { "within_ms", KEY_ANY, key_msec, offsetof(Intensity, within_usec), .min = 1 },
        };

        return read_object(p, w, v, keys, ELEMENTSOF(keys), KEY_ANY, &((TreeSpec *) target)->node.intensity);
}

/* Of actor.spawn, which reads it before all of this. */
static int key_entry(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        return problem(p, w,
                        "`entry` needs a descriptor of the program, which a file has none of: give `exec`");
}

static int key_children(Parse *p, const Where *w, Json *v, const Key *key, void *target);

#define FIELD(member) offsetof(TreeSpec, member)
static const Key node_keys[] = {
        { "tractor", KEY_TOP, key_version },
        { "name", KEY_ANY, key_name },
        { "description", KEY_ANY, key_text, FIELD(description), .max = CONFIG_TEXT_MAX },
        { "labels", KEY_ANY, key_labels },
        { "limits", KEY_ANY, key_limits },
        { "limits_optional", KEY_ANY, key_bool, FIELD(limits_optional) },
        { "significant", KEY_CHILD, key_bool, FIELD(node.significant) },
        { "depends", KEY_CHILD, key_depends },
        { "log_level", KEY_ANY, key_word, FIELD(log_level), 0, _LOG_LEVEL_MAX, log_level_word },
        { "debug", KEY_ANY, key_unsupported },

        { "strategy", KEY_BRANCH, key_word, FIELD(node.strategy), 0, _STRATEGY_MAX, strategy_word },
        { "intensity", KEY_BRANCH, key_intensity },
        { "on_give_up", KEY_BRANCH, key_word, FIELD(node.on_give_up), 0, _GIVE_UP_MAX, give_up_word },
        { "auto_shutdown", KEY_BRANCH, key_word, FIELD(node.auto_shutdown), 0, _AUTO_SHUTDOWN_MAX,
                        auto_shutdown_word },

        { "cwd", KEY_ACTOR, key_cwd },
        { "exec", KEY_ACTOR, key_exec },
        { "entry", KEY_CHILD, key_entry },
        { "env", KEY_ACTOR, key_env },
        { "env_clear", KEY_ACTOR, key_bool, FIELD(env_clear) },
        { "umask", KEY_ACTOR, key_umask },
        { "restart", KEY_ACTOR, key_restart },
        { "backoff", KEY_ACTOR, key_backoff },
        { "channel", KEY_ACTOR, key_channel },
        { "ready", KEY_ACTOR, key_ready },
        { "start_timeout_ms", KEY_ACTOR, key_msec, FIELD(node.start_timeout_usec), .min = 1 },
        { "stop_signal", KEY_ACTOR, key_stop_signal },
        { "grace_ms", KEY_ACTOR, key_msec, FIELD(node.grace_usec) },
        { "watchdog_ms", KEY_ACTOR, key_msec, FIELD(node.watchdog_usec) },
        { "stdout", KEY_ACTOR, key_output, FIELD(out) },
        { "stderr", KEY_ACTOR, key_output, FIELD(err) },
        { "rlimits", KEY_ACTOR, key_rlimits },
        { "nice", KEY_ACTOR, key_nice, 0, -20, 19 },
        { "oom_score_adj", KEY_ACTOR, key_oom_score_adj, 0, -1000, 1000 },
        { "cpu_affinity", KEY_ACTOR, key_cpu_affinity },
        { "user", KEY_ACTOR, key_user },
        { "group", KEY_ACTOR, key_group },
        { "supplementary_groups", KEY_ACTOR, key_supplementary_groups },
        { "capabilities", KEY_ACTOR, key_capabilities },
        { "no_new_privs", KEY_ACTOR, key_bool, FIELD(no_new_privs) },
        { "seccomp", KEY_ACTOR, key_seccomp },
        { "paths", KEY_ACTOR, key_unsupported },
        { "expose", KEY_ACTOR, key_expose },
        { "pool", KEY_ACTOR, key_unsupported },
        { "cgroups", KEY_ACTOR, key_cgroups },

        { "children", KEY_BRANCH, key_children },
};

const Key *config_node_keys(size_t *ret_n)
{
        *ret_n = ELEMENTSOF(node_keys);
        return node_keys;
}

/* What a child is, by `exec` or `children`. With neither or both the kind is open: keys of either are
 * accepted, so that one mistake is one problem. */
static int child_kinds(Parse *p, const Where *w, Json *v, unsigned *ret)
{
        JsonIterator i = { 0 };
        const char *first = NULL;

        *ret = KEY_CHILD;
        while (json_next(v, &i)) {
                Where at = { .up = w, .key = i.key };

                if (!streq(i.key, "exec") && !streq(i.key, "children") && !streq(i.key, "entry"))
                        continue;
                if (first) {
                        *ret = KEY_CHILD;
                        return problem(p, &at,
                                        "a child has either `exec` (an actor) or `children` (a supervisor)");
                }
                first = i.key;
                *ret = streq(first, "children") ? KEY_SUPERVISOR : KEY_ACTOR;
        }
        if (!first)
                return problem(p, w, "a child needs `exec` (an actor) or `children` (a supervisor)");
        return 0;
}

static int require_keys(Parse *p, const Where *w, Json *v, unsigned kinds)
{
        int r = 0;

        if (!json_has(v, "name"))
                r = problem(p, w, "`name` is missing");
        if (r >= 0 && kinds == KEY_TOP && !json_has(v, "tractor"))
                r = problem(p, w, "`tractor` is missing: the version of the format, 1");
        if (r >= 0 && kinds == KEY_TOP && !json_has(v, "children"))
                r = problem(p, w, "`children` is missing: a tree is a supervisor");
        if (r >= 0 && kinds == KEY_ACTOR && !json_has(v, "exec") && !json_has(v, "entry"))
                r = problem(p, w, "`exec` is missing");
        return r;
}

/* *ret is made for a value that is no node, too, so that children keep their places in the array. */
static int parse_node(Parse *p, const Where *w, Json *v, unsigned kinds, TreeSpec **ret)
{
        bool temporary = kinds != KEY_TOP && (p->strategy == STRATEGY_ONE_CANCELS_ALL ||
                                                             p->strategy == STRATEGY_ONE_CANCELS_ONE);
        _cleanup_(tree_spec_unrefp) TreeSpec *t = NULL;
        int r;

        t = tree_spec_new(NODE_SUPERVISOR, temporary ? RESTART_TEMPORARY : RESTART_PERMANENT);
        if (!t)
                return -ENOMEM;
        if (json_type(v) == JSON_OBJECT && kinds == KEY_CHILD) {
                r = child_kinds(p, w, v, &kinds);
                if (r < 0)
                        return r;
        }
        if (json_type(v) == JSON_OBJECT) {
                r = require_keys(p, w, v, kinds);
                if (r < 0)
                        return r;
        }
        if (kinds == KEY_ACTOR)
                t->node.kind = NODE_ACTOR;
        if (kinds == KEY_ACTOR && p->cwd && !json_has(v, "cwd")) {
                r = free_and_strdup(&t->cwd, p->cwd);
                if (r < 0)
                        return r;
        }
        r = read_object(p, w, v, node_keys, ELEMENTSOF(node_keys), kinds, t);
        if (r >= 0 && kinds & KEY_ACTOR)
                r = config_finish_actor(p, w, t);
        if (r < 0)
                return r;
        t->node.name = t->name;
        t->node.depends = t->depends;
        *ret = TAKE_PTR(t);
        return 0;
}

static int key_children(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        TreeSpec *t = target;
        Parse below = {
                .problems = p->problems, .strategy = t->node.strategy, .cwd = p->cwd, .depth = p->depth + 1
        };
        int r;

        if (json_type(v) != JSON_ARRAY)
                return problem_type(p, w, v, "an array of nodes");
        if (below.depth > NODE_DEPTH_MAX)
                return problem(p, w, "trees are at most %d levels deep", NODE_DEPTH_MAX);
        r = GROW(t->children, t->children_cap, json_length(v));
        for (size_t i = 0; r >= 0 && i < json_length(v) && !p->problems->full; i++) {
                Where at = { .up = w, .index = i };

                r = parse_node(&below, &at, json_item(v, i), KEY_CHILD, &t->children[i]);
                if (r >= 0)
                        t->n_children++;
        }
        return r;
}

static int parse(Parse *p, Json *v, unsigned kinds, TreeSpec **ret)
{
        _cleanup_(tree_spec_unrefp) TreeSpec *t = NULL;
        int r;

        r = parse_node(p, NULL, v, kinds, &t);
        if (r < 0)
                return r;
        if (kinds == KEY_TOP && !p->problems->full) {
                r = config_check_tree(p, t);
                if (r < 0)
                        return r;
        }
        if (config_problems_errors(p->problems) > 0)
                return -EINVAL;
        *ret = TAKE_PTR(t);
        return 0;
}

int config_parse_tree_in(Json *tree, const char *cwd, TreeSpec **ret, ConfigProblems *problems)
{
        Parse p = { .problems = problems, .cwd = cwd, .depth = 1 };

        return parse(&p, tree, KEY_TOP, ret);
}

int config_parse_tree(Json *tree, TreeSpec **ret, ConfigProblems *problems)
{
        return config_parse_tree_in(tree, NULL, ret, problems);
}

int config_parse_child(Json *child, Strategy strategy, TreeSpec **ret, ConfigProblems *problems)
{
        Parse p = { .problems = problems, .strategy = strategy, .depth = 1 };

        return parse(&p, child, KEY_ACTOR, ret);
}
