/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/io.h"
#include "base/list.h"
#include "base/map.h"
#include "base/usec.h"
#include "supervisor/cgroup-watch.h"
#include "supervisor/cgroup.h"

/* What could not be read, say for want of descriptors, tells nothing and will not be told again. */
#define RETRY_USEC (250 * USEC_PER_MSEC)

struct CgroupWatcher {
        sd_event *event;
        int root;
        int inotify;
        uint64_t recheck_usec;
        sd_event_source *io, *defer, *timer;
        Map watches;     /* by watch descriptor */
        ListNode all;    /* for emptiness, that have not fired */
        ListNode memory; /* for memory, whose call-back is not due */
        ListNode fired;  /* call-back due */
};

struct CgroupWatch {
        CgroupWatcher *watcher; /* weak */
        ListNode node;
        int wd; /* -1: fired, or deaf */
        bool lasting;
        void (*call)(void *userdata);
        void *userdata;
        char path[];
};

static void watch_detach(CgroupWatch *watch)
{
        CgroupWatcher *w = watch->watcher;

        list_unlink(&watch->node);
        if (watch->wd < 0)
                return;
        map_remove_u64(&w->watches, (uint64_t) watch->wd);
        (void) inotify_rm_watch(w->inotify, watch->wd); /* fails when the file went before */
        watch->wd = -1;
}

CgroupWatch *cgroup_watch_free(CgroupWatch *watch)
{
        if (!watch)
                return NULL;
        watch_detach(watch);
        free(watch);
        return NULL;
}

static void watch_fire(CgroupWatch *watch)
{
        if (watch->lasting)
                list_unlink(&watch->node);
        else
                watch_detach(watch);
        list_append(&watch->watcher->fired, &watch->node);
        (void) sd_event_source_set_enabled(watch->watcher->defer, SD_EVENT_ONESHOT);
}

static void arm_recheck(CgroupWatcher *w, uint64_t usec)
{
        if (usec == 0 || sd_event_source_get_enabled(w->timer, NULL) > 0)
                return;
        (void) sd_event_source_set_time_relative(w->timer, usec);
        (void) sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
}

static void watch_check(CgroupWatch *watch)
{
        int r = cgroup_populated(watch->watcher->root, watch->path);

        if (r == 0)
                watch_fire(watch);
        else if (r < 0)
                arm_recheck(watch->watcher, RETRY_USEC);
}

static void check_all(CgroupWatcher *w)
{
        LIST_FOREACH_SAFE(i, &w->all)
                watch_check(LIST_ENTRY(i, CgroupWatch, node));
}

static int on_defer(sd_event_source *s, void *userdata)
{
        CgroupWatcher *w = userdata;

        while (!list_is_empty(&w->fired)) {
                CgroupWatch *watch = LIST_ENTRY(w->fired.next, CgroupWatch, node);

                list_unlink(&watch->node);
                if (watch->lasting && watch->wd >= 0)
                        list_append(&w->memory, &watch->node);
                watch->call(watch->userdata);
        }
        return 0;
}

/* Some events were lost. */
static void suspect_all(CgroupWatcher *w)
{
        check_all(w);
        LIST_FOREACH_SAFE(i, &w->memory)
                watch_fire(LIST_ENTRY(i, CgroupWatch, node));
}

static void watch_told(CgroupWatch *watch, uint32_t mask)
{
        if (!watch->lasting)
                watch_check(watch);
        else if (mask & IN_IGNORED)
                watch_detach(watch);
        else
                watch_fire(watch);
}

static int on_inotify(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        CgroupWatcher *w = userdata;
        char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
        ssize_t n = read(fd, buf, sizeof(buf));

        for (ssize_t i = 0; i < n;) {
                const struct inotify_event *e = (const void *) (buf + i);
                CgroupWatch *watch = e->wd < 0 ? NULL : map_get_u64(&w->watches, (uint64_t) e->wd);

                if (e->mask & IN_Q_OVERFLOW)
                        suspect_all(w);
                if (watch)
                        watch_told(watch, e->mask);
                i += (ssize_t) (sizeof(*e) + e->len);
        }
        return 0;
}

static int on_recheck(sd_event_source *s, uint64_t usec, void *userdata)
{
        CgroupWatcher *w = userdata;

        check_all(w);
        if (!list_is_empty(&w->all))
                arm_recheck(w, w->recheck_usec);
        return 0;
}

static int watcher_setup(CgroupWatcher *w, sd_event *event)
{
        int r;

        w->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (w->inotify < 0)
                return -errno;
        r = sd_event_add_io(event, &w->io, w->inotify, EPOLLIN, on_inotify, w);
        if (r < 0)
                return r;
        r = sd_event_add_defer(event, &w->defer, on_defer, w);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(w->defer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        r = sd_event_add_time_relative(event, &w->timer, CLOCK_MONOTONIC, RETRY_USEC, 0, on_recheck, w);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(w->timer, SD_EVENT_OFF);
}

int cgroup_watcher_new(sd_event *event, int root, uint64_t recheck_usec, CgroupWatcher **ret)
{
        CgroupWatcher *w = malloc(sizeof(*w));
        int r;

        if (!w)
                return -ENOMEM;
        *w = (CgroupWatcher){ .root = root, .inotify = -EBADF, .recheck_usec = recheck_usec };
        list_init(&w->all);
        list_init(&w->memory);
        list_init(&w->fired);
        r = watcher_setup(w, event);
        if (r < 0) {
                cgroup_watcher_free(w);
                return r;
        }
        *ret = w;
        return 0;
}

CgroupWatcher *cgroup_watcher_free(CgroupWatcher *w)
{
        if (!w)
                return NULL;
        assert(list_is_empty(&w->all) && list_is_empty(&w->memory) && list_is_empty(&w->fired));
        sd_event_source_disable_unref(w->io);
        sd_event_source_disable_unref(w->defer);
        sd_event_source_disable_unref(w->timer);
        map_clear(&w->watches);
        safe_close(w->inotify);
        free(w);
        return NULL;
}

/* Nobody's end may be missed for want of a watch. */
static bool give_way(CgroupWatcher *w)
{
        if (list_is_empty(&w->memory))
                return false;
        watch_detach(LIST_ENTRY(w->memory.next, CgroupWatch, node));
        return true;
}

static int add_watch(CgroupWatch *watch)
{
        CgroupWatcher *w = watch->watcher;
        char name[PATH_MAX];
        int wd;

        if (snprintf(name, sizeof(name), "/proc/self/fd/%d%s/%s", w->root, watch->path,
                            watch->lasting ? "memory.events" : "cgroup.events") >= PATH_MAX)
                return -ENAMETOOLONG;
        do
                wd = inotify_add_watch(w->inotify, name, IN_MODIFY | (watch->lasting ? 0 : IN_DELETE_SELF));
        while (wd < 0 && errno == ENOSPC && !watch->lasting && give_way(w));
        return wd < 0 ? -errno : wd;
}

static int watch_attach(CgroupWatch *watch)
{
        CgroupWatcher *w = watch->watcher;
        int r;

        r = add_watch(watch);
        if (r < 0)
                return r;
        watch->wd = r;
        r = map_put_u64(&w->watches, (uint64_t) watch->wd, watch);
        if (r < 0) {
                if (r != -EEXIST) /* else it is another watch's */
                        (void) inotify_rm_watch(w->inotify, watch->wd);
                watch->wd = -1;
        }
        return r;
}

static CgroupWatch *watch_make(CgroupWatcher *w, const char *path, bool lasting,
                void (*call)(void *userdata), void *userdata)
{
        size_t n = strlen(path) + 1;
        CgroupWatch *watch = malloc(sizeof(*watch) + n);

        if (!watch)
                return NULL;
        *watch = (CgroupWatch){
                .watcher = w, .wd = -1, .lasting = lasting, .call = call, .userdata = userdata
        };
        list_init(&watch->node);
        memcpy(watch->path, path, n);
        return watch;
}

int cgroup_watch_new(CgroupWatcher *w, const char *path, void (*emptied)(void *userdata), void *userdata,
                CgroupWatch **ret)
{
        CgroupWatch *watch = watch_make(w, path, false, emptied, userdata);
        int r;

        if (!watch)
                return -ENOMEM;
        r = watch_attach(watch);
        if (r < 0 && r != -ENOENT && r != -ENODEV) { /* gone: as empty as can be */
                free(watch);
                return r;
        }
        list_append(&w->all, &watch->node);
        arm_recheck(w, w->recheck_usec);
        watch_check(watch);
        *ret = watch;
        return 0;
}

int cgroup_watch_memory(CgroupWatcher *w, const char *path, void (*changed)(void *userdata), void *userdata,
                CgroupWatch **ret)
{
        CgroupWatch *watch = watch_make(w, path, true, changed, userdata);
        int r;

        if (!watch)
                return -ENOMEM;
        r = watch_attach(watch);
        if (r < 0) {
                free(watch);
                return r == -ENODEV ? -ENOENT : r;
        }
        list_append(&w->memory, &watch->node);
        *ret = watch;
        return 0;
}
