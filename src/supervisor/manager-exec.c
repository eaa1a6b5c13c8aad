/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/usec.h"
#include "supervisor/manager.h"
#include "supervisor/policy.h"

extern char **environ;

/* What was said to us and an actor must not take for itself. An embedded supervisor passes its owner's environment on
 * unchanged otherwise; what a service manager tells a service is the service's own. */
static bool is_ours(const char *assignment, bool embedded)
{
        static const char *const names[] = { "LISTEN_PID=", "LISTEN_FDS=", "LISTEN_FDNAMES=",
                "NOTIFY_SOCKET=", "WATCHDOG_PID=", "WATCHDOG_USEC=", "TRACTOR_" };
        static const char *const of_service[] = { "JOURNAL_STREAM=", "INVOCATION_ID=", "SYSTEMD_EXEC_PID=",
                "MAINPID=", "RUNTIME_DIRECTORY=", "STATE_DIRECTORY=" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (startswith(assignment, names[i]))
                        return true;
        for (size_t i = 0; i < ELEMENTSOF(of_service) && !embedded; i++)
                if (startswith(assignment, of_service[i]))
                        return true;
        return false;
}

/* A vector of "NAME=value" in which a later setting replaces an earlier one. */
typedef struct Env {
        char **strv;
        size_t n, cap;
        bool failed;
} Env;

static void env_take(Env *e, char *assignment)
{
        size_t name;

        if (!assignment || GROW(e->strv, e->cap, e->n + 2) < 0) {
                free(assignment);
                e->failed = true;
                return;
        }
        name = strcspn(assignment, "=") + 1;
        for (size_t i = 0; i < e->n; i++)
                if (strncmp(e->strv[i], assignment, name) == 0) {
                        free(e->strv[i]);
                        e->strv[i] = assignment;
                        return;
                }
        e->strv[e->n++] = assignment;
        e->strv[e->n] = NULL;
}

static void env_set(Env *e, const char *name, const char *value)
{
        if (value)
                env_take(e, xasprintf("%s=%s", name, value));
}

static void env_inherit(Env *e, bool embedded)
{
        for (char **s = environ; *s; s++) {
                if (is_ours(*s, embedded))
                        continue;
                if (GROW(e->strv, e->cap, e->n + 2) < 0 || !(e->strv[e->n] = strdup(*s))) {
                        e->failed = true;
                        return;
                }
                e->strv[++e->n] = NULL;
        }
}

/* "a,b"; an empty one exposes nothing. */
static void env_expose(Env *e, const TreeSpec *spec)
{
        _cleanup_free_ char *list = NULL;
        size_t n = 1;
        char *p;

        if (!spec->has_expose)
                return;
        for (char **s = spec->expose; s && *s; s++)
                n += strlen(*s) + 1;
        p = list = malloc(n);
        if (!list) {
                e->failed = true;
                return;
        }
        *p = 0;
        for (char **s = spec->expose; s && *s; s++)
                p = stpcpy(s == spec->expose ? p : stpcpy(p, ","), *s);
        env_set(e, "TRACTOR_EXPOSE", list);
}

/* The nearest that is given, its own or of a supervisor above. */
static void env_log_level(Env *e, const Member *member)
{
        int level = -1;

        for (const Node *n = member->node; n && node_member(n) && level < 0; n = n->parent)
                level = node_member(n)->spec->log_level;
        env_set(e, "TRACTOR_LOG_LEVEL", level < 0 ? NULL : log_level_word(level));
}

static void env_own(Env *e, const Member *member)
{
        const Manager *m = member->manager;
        char text[32];

        env_set(e, "TRACTOR_INSTANCE", m->instance);
        env_set(e, "TRACTOR_PATH", member->node->path);
        env_set(e, "TRACTOR_ACTOR_ID", member->id);
        (void) snprintf(text, sizeof(text), "%u", member->node->generation);
        env_set(e, "TRACTOR_GENERATION", text);
        env_set(e, "TRACTOR_SOCKET", m->socket_path);
        /* An actor that crashes looks for one of our programs. */
        env_set(e, "TRACTOR_LIBEXECDIR", getenv("TRACTOR_LIBEXECDIR"));
        env_expose(e, member->spec);
        env_log_level(e, member);
        env_set(e, "TRACTOR_ENTRY", member->spec->entry);
        env_set(e, "TRACTOR_ARGS", member->spec->entry_args);
        if (!member->probe || !probe_notify_path(member->probe))
                return;
        env_set(e, "NOTIFY_SOCKET", probe_notify_path(member->probe));
        if (member->spec->node.watchdog_usec > 0) {
                (void) snprintf(text, sizeof(text), "%llu",
                                (unsigned long long) member->spec->node.watchdog_usec);
                env_set(e, "WATCHDOG_USEC", text);
        }
}

/* `own`: the tree's settings are for the program. */
static int build_env(const Member *member, bool own, char ***ret)
{
        JsonIterator i = { 0 };
        Env e = { 0 };

        if (!own || !member->spec->env_clear)
                env_inherit(&e, member->manager->embedded);
        env_own(&e, member);
        while (own && member->spec->env && json_next(member->spec->env, &i))
                env_set(&e, i.key, json_string(i.value));
        if (e.failed) {
                strv_free(e.strv);
                return -ENOMEM;
        }
        *ret = e.strv;
        return 0;
}

static StdioSpec build_output(const Member *member, const Output *output, int fd_index, int priority)
{
        switch (output->kind) {
        case OUTPUT_INHERIT:
                return (StdioSpec){ .kind = STDIO_INHERIT };
        case OUTPUT_NULL:
                return (StdioSpec){ .kind = STDIO_NULL };
        case OUTPUT_FILE:
                return (StdioSpec){ .kind = STDIO_FILE, .path = output->path };
        default:
                if (fd_index < 0 && journal_available(member->manager->journal))
                        return (StdioSpec){
                                .kind = STDIO_JOURNAL, .identifier = member->node->name, .priority = priority
                        };
                if (fd_index >= 0)
                        return (StdioSpec){ .kind = STDIO_FD, .fd_index = fd_index };
                return (StdioSpec){ .kind = STDIO_NULL };
        }
}

static int build_seccomp(const char *profile, SpawnSpec *ret, int *ret_step)
{
        int r;

        if (!profile)
                return 0;
        *ret_step = SPAWN_STEP_SECCOMP;
        r = policy_seccomp(profile, &ret->seccomp, &ret->seccomp_size);
        return r < 0 ? r : 0;
}

static void build_limits(const TreeSpec *spec, SpawnSpec *ret)
{
        ret->rlimit_mask = spec->rlimit_mask;
        memcpy(ret->rlimits, spec->rlimits, sizeof(ret->rlimits));
        ret->has_nice = spec->has_nice;
        ret->nice = spec->nice;
        ret->has_oom_score_adj = spec->has_oom_score_adj;
        ret->oom_score_adj = spec->oom_score_adj;
        ret->has_affinity = spec->has_affinity;
        ret->affinity = spec->affinity;
        ret->has_umask = true;
        ret->umask = spec->umask;
        ret->no_new_privs = spec->no_new_privs;
}

static int build_identity(const TreeSpec *spec, SpawnSpec *ret, int *ret_step)
{
        ret->has_uid = spec->user != NULL;
        ret->uid = spec->uid;
        ret->has_gid = spec->user || spec->group;
        ret->gid = spec->gid;
        ret->has_groups = spec->user || spec->has_groups;
        ret->has_caps = spec->has_caps;
        ret->caps = spec->caps;
        if (spec->n_gids > SPAWN_GROUPS_MAX) {
                *ret_step = SPAWN_STEP_GROUP;
                return -E2BIG;
        }
        ret->n_groups = spec->n_gids;
        if (spec->n_gids > 0)
                memcpy(ret->groups, spec->gids, spec->n_gids * sizeof(gid_t));
        return 0;
}

/* What else runs in an actor's room. */
typedef enum Role {
        ROLE_PROGRAM,
        ROLE_COMMAND,
        ROLE_ADAPTER,
} Role;

static void build_stdio(const Member *member, Role role, const LifeFds *fds, SpawnSpec *ret)
{
        const TreeSpec *spec = member->spec;
        int in = fds ? life_fds_index(fds, LIFE_FD_STDIN) : -1;

        for (int i = 0; i < 3; i++)
                ret->stdio[i] = (StdioSpec){ .kind = STDIO_NULL };
        ret->channel_fd_index = fds ? life_fds_index(fds, LIFE_FD_CHANNEL) : -1;
        if (in >= 0)
                ret->stdio[0] = (StdioSpec){ .kind = STDIO_FD, .fd_index = in };
        if (role == ROLE_COMMAND)
                return;
        ret->stdio[1] = build_output(
                        member, &spec->out, life_fds_index(fds, LIFE_FD_STDOUT), JOURNAL_PRIORITY_STDOUT);
        ret->stdio[2] = build_output(
                        member, &spec->err, life_fds_index(fds, LIFE_FD_STDERR), JOURNAL_PRIORITY_STDERR);
}

/* An adapter is what the actor is, but for what the tree asks of the program alone: a bound or a filter made for that would
 * keep the adapter from its work. */
static int build_restrictions(const TreeSpec *spec, Role role, SpawnSpec *ret, int *ret_step)
{
        int r;

        build_limits(spec, ret);
        if (role == ROLE_ADAPTER) {
                ret->rlimit_mask = 0;
                ret->no_new_privs = true;
                r = build_seccomp(spec->seccomp ? "default" : NULL, ret, ret_step);
        } else {
                ret->cwd = spec->cwd;
                r = build_seccomp(spec->seccomp, ret, ret_step);
        }
        return r < 0 ? r : build_identity(spec, ret, ret_step);
}

static int encode(const Member *member, Role role, char *const *argv, const LifeFds *fds, int *ret_step)
{
        _cleanup_(strv_freep) char **env = NULL;
        SpawnSpec *child = NULL;
        int r;

        r = build_env(member, role != ROLE_ADAPTER, &env);
        if (r < 0)
                return r;
        child = calloc(1, sizeof(SpawnSpec)); /* groups and rlimits make it too large for a stack frame */
        if (!child)
                return -ENOMEM;
        child->argv = argv;
        child->envp = env;
        child->exec_fd_index = fds && role == ROLE_PROGRAM ? life_fds_index(fds, LIFE_FD_EXEC) : -1;
        child->journal_unit = member->home->backend->vtable->home_unit(member->home);
        child->setsid = true;
        child->pdeathsig = SIGKILL;
        build_stdio(member, role, fds, child);
        r = build_restrictions(member->spec, role, child, ret_step);
        if (r >= 0)
                r = spawn_spec_encode(child);
        free(child);
        return r;
}

int member_encode(Member *member, const LifeFds *fds, int *ret_step)
{
        return encode(member, ROLE_PROGRAM, member->spec->exec, fds, ret_step);
}

int member_encode_command(Member *member, char *const *argv)
{
        int step;

        return encode(member, ROLE_COMMAND, argv, NULL, &step);
}

int member_encode_adapter(Member *member, char *const *argv, const LifeFds *fds)
{
        int step;

        return encode(member, ROLE_ADAPTER, argv, fds, &step);
}
