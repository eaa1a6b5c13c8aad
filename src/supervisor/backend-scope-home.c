/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "supervisor/backend-scope.h"
#include "supervisor/unit-name.h"

#define NAME_TRIES 16

static ScopeBackend *backend_of(ScopeHome *h)
{
        return (ScopeBackend *) h->home.backend;
}

/* --- adopting: the job, then the process's own cgroup, then the invocation --- */

static void memory_changed(void *userdata)
{
        ScopeHome *h = userdata;

        backend_of(h)->events->memory_changed(h->userdata);
}

/* Of the slice, as it stands now: somebody may have stopped the one before. Without a watch the count is read after a
 * death all the same. */
static void watch_memory(ScopeHome *h)
{
        h->memory_watch = cgroup_watch_free(h->memory_watch);
        if (cgroup_list_has(h->home.backend->controllers, "memory"))
                (void) cgroup_watch_memory(
                                backend_of(h)->watcher, h->cgroup, memory_changed, h, &h->memory_watch);
}

static int freeze_room(ScopeHome *h, bool frozen)
{
        int r = cgroup_freeze(backend_of(h)->root.fd, h->room, frozen);

        if (r != -EACCES && r != -EPERM)
                return r;
        call_freeze_unit(backend_of(h), h->scope, frozen);
        return 0;
}

static void adopted(ScopeHome *h, int r, const char *why)
{
        _cleanup_free_ char *copy = why ? strdup(why) : NULL; /* the home may go meanwhile */

        h->adopting = false;
        if (r >= 0)
                watch_memory(h);
        if (r >= 0 && h->frozen)
                (void) freeze_room(h, true); /* asked for before it was there */
        backend_of(h)->events->adopted(h->userdata, r, copy);
}

/* What says that this scope is the one made for this process: another StartTransientUnit naming the same process
 * would have moved it on, and one of the same name would have another invocation. */
static int check_process(ScopeHome *h, const char **ret_why)
{
        ScopeBackend *b = backend_of(h);
        _cleanup_free_ char *room = NULL;

        if (!scope_holds(b, h->pid, h->scope, &room)) {
                *ret_why = "systemd says that the scope stands, but the process is not in it";
                return -ESTALE;
        }
        if (!streq(room, h->room)) {
                free(h->room);
                h->room = TAKE_PTR(room);
        }
        return 0;
}

/* The system's manager leaves it for journald in a symbolic link; a user's has to be asked. */
static bool has_invocation(ScopeHome *h)
{
        char link[64 + UNIT_NAME_MAX], id[64];

        if (backend_of(h)->user)
                return false;
        snprintf(link, sizeof(link), "/run/systemd/units/invocation:%s", h->scope);
        return readlink(link, id, sizeof(id)) > 0;
}

static void forget_invocation(ScopeHome *h)
{
        if (!h->invocation)
                return;
        h->invocation = sd_bus_slot_unref(h->invocation);
        backend_of(h)->n_asking--;
}

static int on_invocation(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        ScopeHome *h = userdata;
        const char *why = NULL;
        const void *id;
        size_t n = 0;
        int r;

        forget_invocation(h);
        jobs_pump(backend_of(h));
        if (!sd_bus_message_is_method_error(m, NULL) && sd_bus_message_enter_container(m, 'v', "ay") >= 0)
                (void) sd_bus_message_read_array(m, 'y', &id, &n);
        r = check_process(h, &why);
        if (r >= 0 && n == 0 && !bus_error_is_absence(m)) {
                why = "systemd knows of no invocation of the scope";
                r = -ESTALE;
        }
        adopted(h, r, why);
        return 0;
}

static void verify(ScopeHome *h)
{
        const char *why = NULL;
        int r;

        r = check_process(h, &why);
        if (r < 0 || has_invocation(h)) {
                adopted(h, r, why);
                return;
        }
        /* With nobody there to be asked, the cgroup has to be enough. */
        if (call_get_invocation(h, on_invocation) < 0)
                adopted(h, 0, NULL);
        else
                backend_of(h)->n_asking++;
}

/* A scope stands in its supervisors' slices: without one of them, limits would be missing. */
static ScopeHome *slice_without(ScopeHome *h, bool (*is)(JobPhase phase))
{
        for (ScopeHome *p = h->parent; p; p = p->parent)
                if (!p->actor && is(p->slice_job.phase))
                        return p;
        return NULL;
}

static bool is_failed(JobPhase p)
{
        return p == JOB_FAILED;
}

static bool is_pending(JobPhase p)
{
        return p == JOB_WANTED || p == JOB_CALLED || p == JOB_RUNNING;
}

static void try_adopt(ScopeHome *h)
{
        ScopeHome *above = slice_without(h, is_failed);

        if (h->scope_job.phase == JOB_FAILED)
                adopted(h, h->scope_job.error, h->scope_job.why);
        else if (above)
                adopted(h, above->slice_job.error, above->slice_job.why);
        else if (!slice_without(h, is_pending))
                verify(h);
}

static ScopeHome *find_ready(ScopeBackend *b)
{
        MAP_FOREACH(ScopeHome, h, &b->scopes)
                if (h->adopting && !h->invocation &&
                                (h->scope_job.phase == JOB_DONE || h->scope_job.phase == JOB_FAILED) &&
                                !slice_without(h, is_pending))
                        return h;
        return NULL;
}

void home_progress(ScopeHome *h)
{
        ScopeBackend *b = backend_of(h);
        ScopeHome *ready;

        if (h->scope_job.phase == JOB_DONE || h->scope_job.phase == JOB_FAILED) {
                if (h->adopting)
                        try_adopt(h);
                return;
        }
        /* A slice: those who waited for it. Any of them may change the table. */
        if (h->slice_job.phase == JOB_FAILED)
                log_warning("%s: %s", h->path, strna(h->slice_job.why));
        while ((ready = find_ready(b)))
                try_adopt(ready);
}

/* --- homes --- */

static void room_leave(ScopeHome *h)
{
        ScopeBackend *b = backend_of(h);
        JobPhase phase = h->scope_job.phase;

        h->watch = cgroup_watch_free(h->watch);
        h->memory_watch = cgroup_watch_free(h->memory_watch);
        forget_invocation(h);
        ask_forget(h);
        h->room_fd = safe_close(h->room_fd);
        job_cancel(&h->scope_job);
        h->adopting = false;
        h->pid = 0;
        if (!h->scope)
                return;
        if (h->frozen)
                (void) cgroup_freeze(b->root.fd, h->room, false);
        h->frozen = false;
        map_remove(&b->scopes, h->scope);
        /* What was asked for may still come to be, around a process that is gone. */
        if (phase == JOB_CALLED || phase == JOB_RUNNING)
                call_stop_unit(b, h->scope);
        if (cgroup_populated(b->root.fd, h->room) != 0)
                (void) cgroup_kill(b->root.fd, h->room);
        if (phase != JOB_NONE && phase != JOB_WANTED)
                scope_left(b, h->scope, h->room);
        free(h->scope);
        free(h->room);
        h->scope = h->room = NULL;
}

/* Children outlive it only where a whole branch is torn down in any order. */
static void leave_family(ScopeHome *h)
{
        if (h->parent)
                h->parent->n_children--;
        if (h->n_children == 0)
                return;
        MAP_FOREACH(ScopeHome, child, &backend_of(h)->slices)
                if (child->parent == h)
                        child->parent = NULL;
}

static void home_destroy(ScopeHome *h)
{
        ScopeBackend *b = backend_of(h);

        room_leave(h);
        leave_family(h);
        job_cancel(&h->slice_job);
        if (h->slice)
                map_remove(&b->slices, h->slice);
        limits_done(&h->limits);
        free(h->path);
        free(h->slice);
        free(h->cgroup);
        free(h);
}

static void scope_home_free(Home *home)
{
        ScopeHome *h = (ScopeHome *) home;
        ScopeBackend *b;

        if (!h)
                return;
        b = backend_of(h);
        if (h->slice_sent || cgroup_exists(b->root.fd, h->cgroup)) {
                (void) cgroup_kill(b->root.fd, h->cgroup);
                call_stop_unit(b, h->slice);
        }
        home_destroy(h);
}

static int name_slice(ScopeBackend *b, ScopeHome *h, const char *name)
{
        const char *parent = h->parent ? h->parent->slice : b->slice;
        _cleanup_free_ char *below = NULL;
        int r;

        for (unsigned salt = 0; salt < NAME_TRIES; salt++) {
                _cleanup_free_ char *slice = NULL;

                r = unit_name_slice(parent, h->depth, name, salt, &slice);
                if (r < 0)
                        return r;
                r = map_put(&b->slices, slice, h);
                if (r == -EEXIST)
                        continue;
                if (r < 0)
                        return r;
                h->slice = TAKE_PTR(slice);
                break;
        }
        if (!h->slice)
                return -EEXIST;
        r = unit_name_cgroup(h->slice, &below);
        if (r < 0)
                return r;
        h->cgroup = xasprintf("%s%s", b->manager_cgroup, below);
        h->home.counted = h->cgroup;
        return h->cgroup ? 0 : -ENOMEM;
}

static int scope_home_new(Backend *backend, Home *parent, const char *name, const char *path, bool actor,
                const Limits *limits, void *userdata, Home **ret, Limit *ret_limit)
{
        ScopeBackend *b = (ScopeBackend *) backend;
        ScopeHome *above = (ScopeHome *) parent, *h;
        int r;

        *ret_limit = cgroup_unenforceable(limits, backend->controllers);
        if (*ret_limit != _LIMIT_INVALID)
                return -EOPNOTSUPP;
        h = malloc(sizeof(*h));
        if (!h)
                return -ENOMEM;
        *h = (ScopeHome){ .home = { .backend = backend, .cgroup_root = b->root.fd },
                .userdata = userdata,
                .parent = above,
                .actor = actor,
                .depth = above ? above->depth + 1 : 1,
                .room_fd = -EBADF };
        if (above)
                above->n_children++;
        h->slice_job.home = h->scope_job.home = h;
        h->scope_job.is_scope = true;
        h->path = strdup(path);
        r = h->path ? name_slice(b, h, name) : -ENOMEM;
        if (r >= 0 && limits)
                r = limits_copy(limits, &h->limits);
        if (r < 0) {
                home_destroy(h);
                return r;
        }
        if (!actor)
                job_want(&h->slice_job);
        *ret = &h->home;
        return 0;
}

/* A slice that could not be made is tried again with the next spawn that needs it. */
static void want_slices(ScopeHome *h)
{
        for (ScopeHome *p = h->parent; p; p = p->parent)
                if (!p->actor && p->slice_job.phase == JOB_FAILED)
                        job_want(&p->slice_job);
}

static int scope_home_prepare(Home *home, uint32_t generation, const char *actor_id, int stop_signal,
                uint64_t stop_usec, SpawnPlan *ret)
{
        ScopeHome *h = (ScopeHome *) home;
        ScopeBackend *b = backend_of(h);
        int r;

        room_leave(h);
        want_slices(h);
        r = unit_name_scope(h->slice, generation, &h->scope);
        if (r < 0)
                return r;
        h->room = xasprintf("%s/%s", h->cgroup, h->scope);
        r = h->room ? map_put(&b->scopes, h->scope, h) : -ENOMEM;
        if (r < 0) {
                free(h->scope);
                free(h->room);
                h->scope = h->room = NULL;
                return r;
        }
        h->stop_signal = stop_signal;
        h->stop_usec = stop_usec;
        *ret = (SpawnPlan){ .held = true, .cgroup_fd = -EBADF };
        return 0;
}

static int scope_home_adopt(Home *home, int pid, int pidfd)
{
        ScopeHome *h = (ScopeHome *) home;

        if (!h->scope)
                return -ESRCH;
        h->pid = pid;
        h->adopting = true;
        job_want(&h->scope_job);
        return 0;
}

static int scope_home_command(Home *home, SpawnPlan *ret)
{
        ScopeHome *h = (ScopeHome *) home;

        if (!h->room)
                return -ESRCH;
        if (h->room_fd < 0)
                h->room_fd = openat(backend_of(h)->root.fd, h->room + 1, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (h->room_fd < 0)
                return -errno;
        *ret = (SpawnPlan){ .cgroup_fd = h->room_fd };
        return 0;
}

static void scope_home_leave(Home *home)
{
        room_leave((ScopeHome *) home);
}

/* A supervisor has no room of its own: all below it is meant. */
static const char *place_of(ScopeHome *h)
{
        return h->actor ? h->room : h->cgroup;
}

static bool scope_home_populated(Home *home)
{
        ScopeHome *h = (ScopeHome *) home;

        return place_of(h) && cgroup_populated(backend_of(h)->root.fd, place_of(h)) != 0;
}

static void room_emptied(void *userdata)
{
        ScopeHome *h = userdata;

        h->watch = cgroup_watch_free(h->watch);
        backend_of(h)->events->emptied(h->userdata);
}

static int scope_home_watch_empty(Home *home)
{
        ScopeHome *h = (ScopeHome *) home;

        if (!place_of(h))
                return -ESRCH;
        if (h->watch)
                return 0;
        return cgroup_watch_new(backend_of(h)->watcher, place_of(h), room_emptied, h, &h->watch);
}

/* By ourselves where we may, by systemd otherwise. */
static int scope_home_signal(Home *home, int signo)
{
        ScopeHome *h = (ScopeHome *) home;
        ScopeBackend *b = backend_of(h);
        int r;

        if (!place_of(h))
                return -ESRCH;
        r = signo == SIGKILL ? cgroup_kill(b->root.fd, place_of(h))
                             : cgroup_signal(b->root.fd, place_of(h), signo);
        if (r != -EPERM && r != -EACCES)
                return r;
        call_signal_unit(b, h->actor ? h->scope : h->slice, signo);
        return 0;
}

static int scope_home_kill(Home *home)
{
        return scope_home_signal(home, SIGKILL);
}

/* Its own processes: nodes below it are frozen and thawed by themselves. */
static int scope_home_freeze(Home *home, bool frozen)
{
        ScopeHome *h = (ScopeHome *) home;
        int r;

        if (!h->scope)
                return frozen ? -ESRCH : 0;
        r = freeze_room(h, frozen);
        if (r == -ENOENT)
                r = 0; /* not there yet: frozen once it is */
        if (r >= 0)
                h->frozen = frozen;
        return r;
}

static int merge_limits(ScopeHome *h, const Limits *limits)
{
        if (limits->set & (1U << LIMIT_ALLOWED_CPUS)) {
                int r = free_and_strdup(&h->limits.allowed_cpus, limits->allowed_cpus);

                if (r < 0)
                        return r;
        }
        for (int l = 0; l < _LIMIT_MAX; l++)
                if (limits->set & (1U << l))
                        h->limits.values[l] = limits->values[l];
        h->limits.set |= limits->set;
        return 0;
}

/* What is not yet made is made with them. */
static int scope_home_set_limits(Home *home, const Limits *limits, Limit *ret_limit)
{
        ScopeHome *h = (ScopeHome *) home;
        bool sent = h->slice_sent;
        int r;

        *ret_limit = cgroup_unenforceable(limits, home->backend->controllers);
        if (*ret_limit != _LIMIT_INVALID)
                return -EOPNOTSUPP;
        if (sent && !bus_is_up(backend_of(h)->bus))
                return -ENOTCONN;
        r = merge_limits(h, limits);
        return r < 0 || !sent ? r : call_set_limits(h);
}

static const char *scope_home_unit(Home *home)
{
        ScopeHome *h = (ScopeHome *) home;

        return h->scope ?: h->slice;
}

static const char *scope_home_cgroup(Home *home)
{
        ScopeHome *h = (ScopeHome *) home;

        return h->room ?: h->cgroup;
}

static void scope_kill_all(Backend *backend)
{
        scope_kill_leftovers((ScopeBackend *) backend);
}

const BackendVtable scope_vtable = {
        .kind = BACKEND_SCOPE,
        .free = scope_backend_free,
        .home_new = scope_home_new,
        .home_free = scope_home_free,
        .home_prepare = scope_home_prepare,
        .home_adopt = scope_home_adopt,
        .home_command = scope_home_command,
        .home_consult = scope_home_consult,
        .home_leave = scope_home_leave,
        .home_populated = scope_home_populated,
        .home_watch_empty = scope_home_watch_empty,
        .home_signal = scope_home_signal,
        .home_kill = scope_home_kill,
        .home_freeze = scope_home_freeze,
        .home_set_limits = scope_home_set_limits,
        .home_usage = counted_usage,
        .home_tasks = counted_tasks,
        .home_spent = counted_spent,
        .home_oom_kills = counted_oom_kills,
        .home_unit = scope_home_unit,
        .home_cgroup = scope_home_cgroup,
        .kill_all = scope_kill_all,
};
