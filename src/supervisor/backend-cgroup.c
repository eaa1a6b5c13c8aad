/* SPDX-License-Identifier: Apache-2.0 */

/* Actors in cgroup v2 directories of our own. The instance owns `tractor-<instance>` below the cgroup it was started
 * in; each node is a directory in its parent's. The first generation of an actor lives in its node's directory itself,
 * which is as fresh as can be and spares most actors a directory more to make and to remove; each later one in a leaf
 * `@<generation>` of its own there, so that it finds nothing that the one before did to its cgroup: '@' can't be part
 * of a node's name. Where there are nodes below an actor's, its processes move to a leaf too, as the kernel wants it
 * where controllers are on. A child is cloned straight into its room, so that there is no moment in which it is
 * elsewhere, and the room is verified as soon as the clone is done.
 *
 * A directory that can't be removed yet, since something in it is still dying, becomes a Ruin: killed, watched, and
 * removed when it is empty. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/io.h"
#include "base/list.h"
#include "base/log.h"
#include "supervisor/backend-cgroup.h"
#include "supervisor/backend-private.h"
#include "supervisor/cgroup-watch.h"
#include "supervisor/cgroup.h"

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
        char *room; /* of this generation's processes; NULL: none */
        int room_fd;
        bool actor, subtree_enabled, frozen;
        bool lived_in;  /* the node's own directory has had its generation */
        bool room_over; /* known to be empty; a leaf is gone as well */
        CgroupWatch *watch, *memory_watch;
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

static bool in_own_directory(const CgroupHome *h)
{
        return h->room && streq(h->room, h->path);
}

static void room_leave(CgroupHome *h)
{
        CgroupBackend *b = backend_of(h);

        h->watch = cgroup_watch_free(h->watch);
        h->room_fd = safe_close(h->room_fd);
        if (!h->room)
                return;
        /* Nobody is left to be thawed, but what is made there next would be born frozen. */
        if (h->frozen)
                (void) cgroup_freeze(b->root.fd, h->room, false);
        h->frozen = false;
        if (!h->room_over && in_own_directory(h))
                (void) cgroup_kill(b->root.fd, h->room);
        else if (!h->room_over)
                demolish(b, h->room);
        free(h->room);
        h->room = NULL;
        h->room_over = false;
}

static void cgroup_home_free(Home *home)
{
        CgroupHome *h = (CgroupHome *) home;

        if (!h)
                return;
        h->watch = cgroup_watch_free(h->watch);
        h->memory_watch = cgroup_watch_free(h->memory_watch);
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

static int open_room(CgroupBackend *b, const char *path)
{
        int fd = openat(b->root.fd, path + 1, O_PATH | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

static int make_leaf(CgroupHome *h, uint32_t generation, char **ret)
{
        char leaf[16];

        snprintf(leaf, sizeof(leaf), "@%u", (unsigned) generation);
        return make_node(backend_of(h), h->path, leaf, ret);
}

/* Out of the directory that is to hold other nodes. */
static int move_to_leaf(CgroupBackend *b, CgroupHome *h)
{
        _cleanup_free_ char *leaf = NULL;
        int fd, r;

        if (h->watch)
                return -EBUSY; /* its main process has ended: whoever asks for more is too late */
        r = make_leaf(h, 1, &leaf);
        if (r < 0)
                return r;
        r = h->frozen ? cgroup_freeze(b->root.fd, leaf, true) : 0;
        if (r >= 0)
                r = cgroup_move_all(b->root.fd, h->path, leaf);
        fd = r < 0 ? r : open_room(b, leaf);
        if (fd < 0) {
                (void) cgroup_move_all(b->root.fd, leaf, h->path);
                (void) cgroup_remove(b->root.fd, leaf);
                return fd;
        }
        if (h->frozen)
                (void) cgroup_freeze(b->root.fd, h->path, false);
        safe_close(h->room_fd);
        h->room_fd = fd;
        free(h->room);
        h->room = TAKE_PTR(leaf);
        h->room_over = false;
        return 0;
}

static int parent_path(CgroupBackend *b, CgroupHome *parent, const char **ret)
{
        int r;

        if (!parent) {
                *ret = b->backend.cgroup;
                return 0;
        }
        if (!parent->subtree_enabled) {
                r = in_own_directory(parent) ? move_to_leaf(b, parent) : 0;
                if (r < 0)
                        return r;
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
        *h = (CgroupHome){ .home = { .backend = backend, .cgroup_root = b->root.fd },
                .userdata = userdata,
                .actor = actor,
                .room_fd = -EBADF };
        r = parent_path(b, (CgroupHome *) parent, &above);
        if (r >= 0)
                r = make_node(b, above, name, &h->path);
        if (r < 0) {
                free(h);
                return r;
        }
        h->home.counted = h->path;
        r = cgroup_set_limits(b->root.fd, h->path, limits, ret_limit);
        if (r < 0) {
                cgroup_home_free(&h->home);
                return r;
        }
        *ret = &h->home;
        return 0;
}

static void memory_changed(void *userdata)
{
        CgroupHome *h = userdata;

        backend_of(h)->events->memory_changed(h->userdata);
}

/* Of the node's directory, which outlives the rooms: it counts for all of them. Without a watch the count is read after
 * a death all the same. */
static void watch_memory(CgroupHome *h)
{
        if (!h->memory_watch && cgroup_list_has(h->home.backend->controllers, "memory"))
                (void) cgroup_watch_memory(
                                backend_of(h)->watcher, h->path, memory_changed, h, &h->memory_watch);
}

static int cgroup_home_prepare(Home *home, uint32_t generation, const char *actor_id, int stop_signal,
                uint64_t stop_usec, SpawnPlan *ret)
{
        CgroupHome *h = (CgroupHome *) home;
        CgroupBackend *b = backend_of(h);
        int r = 0;

        room_leave(h);
        if (h->lived_in || h->subtree_enabled)
                r = make_leaf(h, generation, &h->room);
        else if (!(h->room = strdup(h->path)))
                r = -ENOMEM;
        if (r < 0)
                return r;
        h->lived_in = true;
        h->room_fd = open_room(b, h->room);
        if (h->room_fd < 0) {
                r = h->room_fd;
                room_leave(h);
                return r;
        }
        watch_memory(h);
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
        if (in_own_directory(h))
                h->room_over = false;
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
        bool populated;

        if (!place_of(h) || h->room_over)
                return false;
        /* The usual end leaves nothing behind: a leaf that can be removed was empty, zombies aside, and is gone now,
         * which is half the work of reading its state, and of leaving it later. */
        if (h->room && h->actor && !h->watch && !in_own_directory(h))
                h->room_over = unlinkat(root, h->room + 1, AT_REMOVEDIR) >= 0;
        if (h->room_over)
                return false;
        populated = cgroup_populated(root, place_of(h)) !=
                    0; /* what can't be read is not known to be empty */
        h->room_over = !populated && in_own_directory(h);
        return populated;
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

/* Its own processes: nodes below it are frozen and thawed by themselves. */
static int cgroup_home_freeze(Home *home, bool frozen)
{
        CgroupHome *h = (CgroupHome *) home;
        int r;

        if (!h->room)
                return frozen ? -ESRCH : 0;
        r = cgroup_freeze(backend_of(h)->root.fd, h->room, frozen);
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
        (void) cgroup_wait_empty(b->root.fd, backend->cgroup, CGROUP_LEFTOVER_USEC);
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
        .home_usage = counted_usage,
        .home_tasks = counted_tasks,
        .home_spent = counted_spent,
        .home_oom_kills = counted_oom_kills,
        .home_unit = cgroup_home_unit,
        .home_cgroup = cgroup_home_cgroup,
        .kill_all = cgroup_kill_all,
};

/* --- opening --- */

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
                r = cgroup_instance_open(&b->root, options, &b->backend, ret_why);
        if (r < 0) {
                cgroup_backend_free(&b->backend);
                return r;
        }
        *ret = &b->backend;
        return 0;
}
