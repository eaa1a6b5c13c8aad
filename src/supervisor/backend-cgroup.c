/* SPDX-License-Identifier: Apache-2.0 */

/* Actors in cgroup v2 directories of our own. The instance owns `tractor-<instance>` below the cgroup it was started
 * in; each node is a directory in its parent's, and each generation of an actor a leaf `@<generation>` in that
 * node's: '@' can't be part of a node's name, and processes live in leaves only, as the kernel wants it where
 * controllers are on. A child is cloned straight into its leaf, so that there is no moment in which it is
 * elsewhere, and the room is verified as soon as the clone is done.
 *
 * A directory that can't be removed yet, since something in it is still dying, becomes a Ruin: killed, watched, and
 * removed when it is empty. */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/io.h"
#include "base/list.h"
#include "base/log.h"
#include "base/usec.h"
#include "supervisor/backend-private.h"
#include "supervisor/cgroup-watch.h"
#include "supervisor/cgroup.h"

#define LEFTOVER_LIMIT_USEC (2 * USEC_PER_SEC)
/* Paths stay well below PATH_MAX with the mount point before them and a file name behind. */
#define CGROUP_PATH_MAX 3800
#define NAME_TRIES 16

typedef struct CgroupBackend {
        Backend backend;
        const BackendEvents *events;
        CgroupRoot root;
        CgroupWatcher *watcher;
        ListNode ruins;
} CgroupBackend;

typedef struct CgroupHome {
        Home home;
        void *userdata;
        char *path; /* of the node */
        char *room; /* of this generation's leaf; NULL: none */
        int room_fd;
        bool actor, subtree_enabled, frozen, room_gone;
        uint64_t oom_kills; /* as last told */
        CgroupWatch *watch;
} CgroupHome;

typedef struct Ruin {
        CgroupBackend *backend; /* weak */
        ListNode node;
        CgroupWatch *watch;
        char path[];
} Ruin;

static CgroupBackend *backend_of(CgroupHome *h)
{
        return (CgroupBackend *) h->home.backend;
}

/* --- what must be removed once it is empty --- */

static void ruin_free(Ruin *ruin)
{
        list_unlink(&ruin->node);
        cgroup_watch_free(ruin->watch);
        free(ruin);
}

static void ruin_emptied(void *userdata)
{
        Ruin *ruin = userdata;

        (void) cgroup_remove(ruin->backend->root.fd, ruin->path);
        ruin_free(ruin);
}

/* Out of memory or watches: the directory stays until the instance is closed, which tries again. */
static void ruin_add(CgroupBackend *b, const char *path)
{
        size_t n = strlen(path) + 1;
        Ruin *ruin = malloc(sizeof(*ruin) + n);

        if (!ruin)
                return;
        *ruin = (Ruin){ .backend = b };
        memcpy(ruin->path, path, n);
        list_append(&b->ruins, &ruin->node);
        if (cgroup_watch_new(b->watcher, path, ruin_emptied, ruin, &ruin->watch) < 0)
                ruin_free(ruin);
}

/* Whatever lives there is killed, and the directory goes now or as soon as it can. */
static void demolish(CgroupBackend *b, const char *path)
{
        if (cgroup_remove(b->root.fd, path) >= 0)
                return;
        (void) cgroup_kill(b->root.fd, path);
        if (cgroup_remove(b->root.fd, path) < 0)
                ruin_add(b, path);
}

/* --- homes --- */

static void room_leave(CgroupHome *h)
{
        CgroupBackend *b = backend_of(h);

        h->watch = cgroup_watch_free(h->watch);
        h->room_fd = safe_close(h->room_fd);
        if (h->frozen) {
                /* Nobody is left to be thawed, but the next generation would be born frozen. */
                (void) cgroup_freeze(b->root.fd, h->path, false);
                h->frozen = false;
        }
        if (!h->room)
                return;
        if (!h->room_gone)
                demolish(b, h->room);
        free(h->room);
        h->room = NULL;
        h->room_gone = false;
}

static void cgroup_home_free(Home *home)
{
        CgroupHome *h = (CgroupHome *) home;

        if (!h)
                return;
        h->watch = cgroup_watch_free(h->watch);
        safe_close(h->room_fd);
        demolish(backend_of(h), h->path);
        free(h->path);
        free(h->room);
        free(h);
}

/* The name may still be taken by one that is being demolished: '+' can't be part of a node's name either. */
static int make_node(CgroupBackend *b, const char *parent, const char *name, char **ret)
{
        for (unsigned i = 0; i < NAME_TRIES; i++) {
                _cleanup_free_ char *path = i == 0 ? xasprintf("%s/%s", parent, name)
                                                   : xasprintf("%s/%s+%u", parent, name, i);
                int r;

                if (!path)
                        return -ENOMEM;
                if (strlen(path) > CGROUP_PATH_MAX)
                        return -ENAMETOOLONG;
                r = cgroup_make(b->root.fd, path);
                if (r >= 0)
                        *ret = TAKE_PTR(path);
                if (r != -EEXIST)
                        return r;
        }
        return -EEXIST;
}

static int parent_path(CgroupBackend *b, CgroupHome *parent, const char **ret)
{
        int r;

        if (!parent) {
                *ret = b->backend.cgroup;
                return 0;
        }
        if (!parent->subtree_enabled) {
                r = cgroup_enable(b->root.fd, parent->path, b->backend.controllers);
                if (r < 0)
                        return r;
                parent->subtree_enabled = true;
        }
        *ret = parent->path;
        return 0;
}

static int cgroup_home_new(Backend *backend, Home *parent, const char *name, const char *path, bool actor,
                const Limits *limits, void *userdata, Home **ret, Limit *ret_limit)
{
        CgroupBackend *b = (CgroupBackend *) backend;
        const char *above;
        CgroupHome *h;
        int r;

        *ret_limit = cgroup_unenforceable(limits, backend->controllers);
        if (*ret_limit != _LIMIT_INVALID)
                return -EOPNOTSUPP;
        h = malloc(sizeof(*h));
        if (!h)
                return -ENOMEM;
        *h = (CgroupHome){
                .home.backend = backend, .userdata = userdata, .actor = actor, .room_fd = -EBADF
        };
        r = parent_path(b, (CgroupHome *) parent, &above);
        if (r >= 0)
                r = make_node(b, above, name, &h->path);
        if (r < 0) {
                free(h);
                return r;
        }
        r = cgroup_set_limits(b->root.fd, h->path, limits, ret_limit);
        if (r < 0) {
                cgroup_home_free(&h->home);
                return r;
        }
        *ret = &h->home;
        return 0;
}

static int open_room(CgroupBackend *b, const char *path)
{
        int fd = openat(b->root.fd, path + 1, O_PATH | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

static int cgroup_home_prepare(Home *home, uint32_t generation, const char *actor_id, int stop_signal,
                uint64_t stop_usec, SpawnPlan *ret)
{
        CgroupHome *h = (CgroupHome *) home;
        CgroupBackend *b = backend_of(h);
        char leaf[16];
        int r;

        room_leave(h);
        snprintf(leaf, sizeof(leaf), "@%u", (unsigned) generation);
        r = make_node(b, h->path, leaf, &h->room);
        if (r < 0)
                return r;
        h->room_fd = open_room(b, h->room);
        if (h->room_fd < 0) {
                r = h->room_fd;
                room_leave(h);
                return r;
        }
        *ret = (SpawnPlan){ .cgroup_fd = h->room_fd };
        return 0;
}

static int cgroup_home_adopt(Home *home, int pid, int pidfd)
{
        CgroupHome *h = (CgroupHome *) home;

        if (!h->room)
                return -ESRCH;
        backend_of(h)->events->adopted(h->userdata, 0, NULL);
        return 0;
}

static int cgroup_home_command(Home *home, SpawnPlan *ret)
{
        CgroupHome *h = (CgroupHome *) home;

        if (h->room_fd < 0)
                return -ESRCH;
        *ret = (SpawnPlan){ .cgroup_fd = h->room_fd };
        return 0;
}

static void cgroup_home_leave(Home *home)
{
        room_leave((CgroupHome *) home);
}

/* A supervisor has no room of its own: all below it is meant. */
static const char *place_of(CgroupHome *h)
{
        return h->actor ? h->room : h->path;
}

static bool cgroup_home_populated(Home *home)
{
        CgroupHome *h = (CgroupHome *) home;
        int root = backend_of(h)->root.fd;

        /* The usual end leaves nothing behind: a room that can be removed was empty, zombies aside, and is gone now,
         * which is half the work of reading its state, and of leaving it later. */
        if (h->room && h->actor && !h->watch && !h->room_gone)
                h->room_gone = unlinkat(root, h->room + 1, AT_REMOVEDIR) >= 0;
        /* What can't be read is not known to be empty. */
        return place_of(h) && !h->room_gone && cgroup_populated(root, place_of(h)) != 0;
}

static void room_emptied(void *userdata)
{
        CgroupHome *h = userdata;

        h->watch = cgroup_watch_free(h->watch);
        backend_of(h)->events->emptied(h->userdata);
}

static int cgroup_home_watch_empty(Home *home)
{
        CgroupHome *h = (CgroupHome *) home;

        if (!place_of(h))
                return -ESRCH;
        if (h->watch)
                return 0;
        return cgroup_watch_new(backend_of(h)->watcher, place_of(h), room_emptied, h, &h->watch);
}

static int cgroup_home_signal(Home *home, int signo)
{
        CgroupHome *h = (CgroupHome *) home;

        return place_of(h) ? cgroup_signal(backend_of(h)->root.fd, place_of(h), signo) : -ESRCH;
}

static int cgroup_home_kill(Home *home)
{
        CgroupHome *h = (CgroupHome *) home;

        return place_of(h) ? cgroup_kill(backend_of(h)->root.fd, place_of(h)) : -ESRCH;
}

static int cgroup_home_freeze(Home *home, bool frozen)
{
        CgroupHome *h = (CgroupHome *) home;
        int r;

        r = cgroup_freeze(backend_of(h)->root.fd, h->path, frozen);
        if (r >= 0)
                h->frozen = frozen;
        return r;
}

static int cgroup_home_set_limits(Home *home, const Limits *limits, Limit *ret_limit)
{
        CgroupHome *h = (CgroupHome *) home;

        *ret_limit = cgroup_unenforceable(limits, home->backend->controllers);
        if (*ret_limit != _LIMIT_INVALID)
                return -EOPNOTSUPP;
        return cgroup_set_limits(backend_of(h)->root.fd, h->path, limits, ret_limit);
}

static int cgroup_home_usage(Home *home, Usage *ret)
{
        CgroupHome *h = (CgroupHome *) home;

        cgroup_usage(backend_of(h)->root.fd, h->path, ret);
        return 0;
}

static void cgroup_home_spent(Home *home, Usage *ret)
{
        CgroupHome *h = (CgroupHome *) home;

        cgroup_spent(backend_of(h)->root.fd, h->path, ret);
}

static uint64_t cgroup_home_oom_kills(Home *home)
{
        CgroupHome *h = (CgroupHome *) home;
        uint64_t now, before = h->oom_kills;

        if (cgroup_read_key(backend_of(h)->root.fd, h->path, "memory.events", "oom_kill", &now) < 0)
                return 0;
        h->oom_kills = now;
        return now > before ? now - before : 0;
}

static const char *cgroup_home_unit(Home *home)
{
        return NULL;
}

static const char *cgroup_home_cgroup(Home *home)
{
        CgroupHome *h = (CgroupHome *) home;

        return h->room ?: h->path;
}

static void cgroup_kill_all(Backend *backend)
{
        CgroupBackend *b = (CgroupBackend *) backend;

        (void) cgroup_kill(b->root.fd, backend->cgroup);
        (void) cgroup_wait_empty(b->root.fd, backend->cgroup, LEFTOVER_LIMIT_USEC);
        (void) cgroup_remove(b->root.fd, backend->cgroup);
}

static void cgroup_backend_free(Backend *backend)
{
        CgroupBackend *b = (CgroupBackend *) backend;

        LIST_FOREACH_SAFE(i, &b->ruins)
                ruin_free(LIST_ENTRY(i, Ruin, node));
        if (b->backend.cgroup)
                cgroup_kill_all(backend);
        cgroup_watcher_free(b->watcher);
        cgroup_root_close(&b->root);
        backend_done(backend);
        free(b);
}

static const BackendVtable cgroup_vtable = {
        .kind = BACKEND_CGROUP,
        .free = cgroup_backend_free,
        .home_new = cgroup_home_new,
        .home_free = cgroup_home_free,
        .home_prepare = cgroup_home_prepare,
        .home_adopt = cgroup_home_adopt,
        .home_command = cgroup_home_command,
        .home_leave = cgroup_home_leave,
        .home_populated = cgroup_home_populated,
        .home_watch_empty = cgroup_home_watch_empty,
        .home_signal = cgroup_home_signal,
        .home_kill = cgroup_home_kill,
        .home_freeze = cgroup_home_freeze,
        .home_set_limits = cgroup_home_set_limits,
        .home_usage = cgroup_home_usage,
        .home_spent = cgroup_home_spent,
        .home_oom_kills = cgroup_home_oom_kills,
        .home_unit = cgroup_home_unit,
        .home_cgroup = cgroup_home_cgroup,
        .kill_all = cgroup_kill_all,
};

/* --- opening --- */

/* Either attribute: the first is root's alone to read. */
static bool is_delegated(const CgroupRoot *root, const char *path)
{
        char name[PATH_MAX], value[8];

        if (snprintf(name, sizeof(name), "/proc/self/fd/%d%s", root->fd, path) >= PATH_MAX)
                return false;
        return (getxattr(name, "trusted.delegate", value, sizeof(value)) == 1 && value[0] == '1') ||
               (getxattr(name, "user.delegate", value, sizeof(value)) == 1 && value[0] == '1');
}

/* Where processes step aside to, one leaf for all instances that share a cgroup: whoever is started by one that has
 * stepped aside is started there. */
#define LEAF_NAME "tractor.main"

/* The cgroup that was given to us, also where an earlier supervisor or instance has moved us out of it. */
static int starting_cgroup(const CgroupRoot *root, char **ret)
{
        _cleanup_free_ char *own = NULL;
        char *slash;
        int r;

        r = cgroup_of(root, 0, &own);
        if (r < 0)
                return r;
        slash = strrchr(own, '/');
        if (streq(slash + 1, LEAF_NAME))
                slash[slash == own] = 0;
        *ret = TAKE_PTR(own);
        return 0;
}

static bool only_ours(const CgroupRoot *root, const char *own, int keeper_pid)
{
        _cleanup_free_ char *procs = NULL;

        if (cgroup_read(root->fd, own, "cgroup.procs", &procs) < 0)
                return false;
        for (char *p = procs, *pid; (pid = strsep(&p, "\n"));)
                if (atoi(pid) != keeper_pid && atoi(pid) != getpid())
                        return false;
        return true;
}

/* Where processes sit beside children, the kernel turns no controllers on: they step aside into a leaf. What was
 * delegated to us holds nobody else's processes; elsewhere only our own two are moved. */
static int enable_at_start(
                CgroupBackend *b, const char *own, const char *leaf, bool delegated, int keeper_pid)
{
        const char *list = b->backend.controllers;
        int r;

        r = cgroup_enable(b->root.fd, own, list);
        if (r != -EBUSY || (!delegated && !only_ours(&b->root, own, keeper_pid)))
                return r;
        r = cgroup_make(b->root.fd, leaf);
        if (r >= 0 || r == -EEXIST)
                r = cgroup_move_all(b->root.fd, own, leaf);
        if (r < 0)
                return r;
        return cgroup_enable(b->root.fd, own, list);
}

/* What is on in the end is what the instance can hand on to its nodes. */
static int setup_controllers(
                CgroupBackend *b, const char *own, const char *leaf, bool delegated, int keeper_pid)
{
        _cleanup_free_ char *available = NULL, *enabled = NULL;
        const char *instance = b->backend.cgroup;
        int r;

        r = cgroup_read(b->root.fd, own, "cgroup.controllers", &available);
        if (r < 0)
                return r;
        b->backend.controllers = cgroup_known_controllers(available);
        if (!b->backend.controllers)
                return -ENOMEM;
        if (enable_at_start(b, own, leaf, delegated, keeper_pid) >= 0)
                (void) cgroup_enable(b->root.fd, instance, b->backend.controllers);
        r = cgroup_read(b->root.fd, instance, "cgroup.subtree_control", &enabled);
        if (r < 0)
                return r;
        free(b->backend.controllers);
        b->backend.controllers = cgroup_known_controllers(enabled);
        return b->backend.controllers ? 0 : -ENOMEM;
}

/* An earlier run of this very instance may have left something alive: it is ended before ours begins. */
static int make_instance(CgroupBackend *b, const char *path)
{
        int r;

        r = cgroup_make(b->root.fd, path);
        if (r == -EEXIST) {
                (void) cgroup_freeze(b->root.fd, path, false);
                (void) cgroup_kill(b->root.fd, path);
                (void) cgroup_wait_empty(b->root.fd, path, LEFTOVER_LIMIT_USEC);
                r = cgroup_remove(b->root.fd, path);
                if (r >= 0)
                        r = cgroup_make(b->root.fd, path);
        }
        if (r < 0)
                return r;
        /* The trial: a directory that can't be written to is of no use. */
        r = cgroup_write(b->root.fd, path, "cgroup.freeze", "0");
        if (r < 0)
                (void) cgroup_remove(b->root.fd, path);
        return r;
}

static int open_instance(CgroupBackend *b, const BackendOptions *options, char **ret_why)
{
        _cleanup_free_ char *own = NULL, *leaf = NULL, *path = NULL;
        const char *slash;
        bool delegated;
        int r;

        r = starting_cgroup(&b->root, &own);
        if (r < 0) {
                *ret_why = xasprintf("our own cgroup lies outside of what is mounted");
                return r;
        }
        delegated = is_delegated(&b->root, own);
        if (!delegated && sd_booted() > 0) {
                *ret_why = xasprintf("%s is systemd's and not delegated to us", own);
                return -EPERM;
        }
        slash = streq(own, "/") ? "" : own;
        path = xasprintf("%s/tractor-%s", slash, options->instance);
        leaf = xasprintf("%s/" LEAF_NAME, slash);
        if (!path || !leaf)
                return -ENOMEM;
        r = make_instance(b, path);
        if (r < 0) {
                *ret_why = xasprintf("can't make %s: %s", path, strerror(-r));
                return r;
        }
        b->backend.cgroup = TAKE_PTR(path);
        r = setup_controllers(b, own, leaf, delegated, options->keeper_pid);
        if (r < 0)
                return r;
        *ret_why = xasprintf("cgroup v2 below %s is ours (%s)", own,
                        delegated ? "delegated" : "no systemd runs and it can be written to");
        return 0;
}

int backend_cgroup_open(const BackendOptions *options, Backend **ret, char **ret_why)
{
        CgroupBackend *b = malloc(sizeof(*b));
        int r;

        if (!b)
                return -ENOMEM;
        *b = (CgroupBackend){
                .backend.vtable = &cgroup_vtable, .events = options->events, .root.fd = -EBADF
        };
        list_init(&b->ruins);
        r = cgroup_root_open(&b->root);
        if (r < 0)
                *ret_why = xasprintf("cgroup v2 is not mounted");
        else
                r = cgroup_watcher_new(options->event, b->root.fd, 0, &b->watcher);
        if (r >= 0)
                r = open_instance(b, options, ret_why);
        if (r < 0) {
                cgroup_backend_free(&b->backend);
                return r;
        }
        *ret = &b->backend;
        return 0;
}
