/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "supervisor/probe.h"

/* After a change we look at once, but not more often than this. */
#define LOOK_GAP (5 * USEC_PER_MSEC)
/* A socket that refuses has been bound and waits for listen(2), for which there is no event. */
#define REFUSED_MIN USEC_PER_MSEC
#define REFUSED_MAX (100 * USEC_PER_MSEC)
/* For what inotify does not tell: mounts, network file systems, the far end of a dangling symlink. */
#define SAFETY_INTERVAL USEC_PER_SEC
/* Directories that appear while we look: one round each, the timer sees to the rest. */
#define LOOK_ROUNDS 16

#define WATCH_MASK                                                                                          \
        (IN_CREATE | IN_MOVED_TO | IN_ATTRIB | IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

static uint64_t timespec_usec(const struct timespec *ts)
{
        return (uint64_t) ts->tv_sec * USEC_PER_SEC + (uint64_t) ts->tv_nsec / NSEC_PER_USEC;
}

int probe_look_prepare(Probe *p)
{
        const char *path = p->spec->ready_path;

        if (path[0] == '/')
                p->path = strdup(path);
        else
                p->path = xasprintf("%s/%s", p->spec->cwd ?: "", path);
        if (!p->path)
                return -ENOMEM;
        if (stat(p->path, &p->before) < 0)
                p->before.st_nlink = 0;
        p->opened_realtime = now_usec(CLOCK_REALTIME_COARSE);
        return 0;
}

/* A descriptor's name in /proc is short, whatever the path. */
static int connect_path(int fd, const char *path)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int at = -EBADF;

        if (strlen(path) < sizeof(address.sun_path)) {
                memcpy(address.sun_path, path, strlen(path) + 1);
        } else {
                at = open(path, O_PATH | O_CLOEXEC);
                if (at < 0)
                        return -errno;
                (void) snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", at);
        }
        return connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0 ? -errno : 0;
}

static int try_socket(const char *path)
{
        static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM };
        int r = -EPROTOTYPE;

        for (size_t i = 0; r == -EPROTOTYPE && i < ELEMENTSOF(types); i++) {
                _cleanup_close_ int fd = socket(AF_UNIX, types[i] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

                if (fd < 0)
                        return -errno;
                r = connect_path(fd, path);
        }
        return r;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
        return a->st_nlink > 0 && a->st_dev == b->st_dev && a->st_ino == b->st_ino &&
               a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* File times are those of the last clock tick, which may lag far behind on a busy machine, so a file made right after the
 * start may seem older than it. What counts is the tick of the moment when the probe was opened, and that the file is not
 * the one that was there then. */
static int try_file(const Probe *p)
{
        struct stat st;

        if (stat(p->path, &st) < 0)
                return -errno;
        if (same_file(&p->before, &st) ||
                        timespec_usec(&st.st_mtim) < MIN(p->opened_realtime, p->start_realtime))
                return -ESTALE;
        return 0;
}

static int look_once(Probe *p)
{
        int r = p->spec->ready == READY_SOCKET ? try_socket(p->path) : try_file(p);

        if (r < 0)
                probe_set_waits(p, p->path, r == -ESTALE ? "it is older than the start" : strerror(-r));
        return r;
}

/* Whatever the change was: we stop listening until the next look, so that a busy directory costs nothing more. */
static int on_change(sd_event_source *s, const struct inotify_event *event, void *userdata)
{
        Probe *p = userdata;

        p->watch = sd_event_source_disable_unref(p->watch);
        p->interval = 0;
        probe_wake_at(p, usec_add(p->looked_at, LOOK_GAP));
        return 0;
}

/* The deepest directory on the way to path that exists. */
static char *nearest_directory(const char *path)
{
        _cleanup_free_ char *dir = strdup(path);
        struct stat st;

        if (!dir)
                return NULL;
        do {
                char *slash = strrchr(dir, '/');

                while (slash > dir && slash[-1] == '/')
                        slash--;
                slash[slash == dir] = 0;
        } while (dir[1] && (stat(dir, &st) < 0 || !S_ISDIR(st.st_mode)));
        return TAKE_PTR(dir);
}

/* 1: a directory is watched from now on, so look again; 0: it was before; negative: none can be watched. */
static int watch_nearest(Probe *p)
{
        _cleanup_free_ char *dir = nearest_directory(p->path);
        int r;

        if (!dir)
                return -ENOMEM;
        if (p->watch && streq_ptr(p->watched, dir))
                return 0;
        p->watch = sd_event_source_disable_unref(p->watch);
        r = sd_event_add_inotify(p->event, &p->watch, dir, WATCH_MASK, on_change, p);
        if (r < 0)
                return r;
        free(p->watched);
        p->watched = TAKE_PTR(dir);
        return 1;
}

void probe_look(Probe *p)
{
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        int found = -ENOENT, watched = 1;

        p->looked_at = now;
        for (int i = 0; watched > 0 && i < LOOK_ROUNDS; i++) {
                found = look_once(p);
                if (found >= 0) {
                        probe_succeed(p);
                        return;
                }
                watched = watch_nearest(p);
        }
        if (watched >= 0 && (found == -ENOENT || found == -ENOTDIR || found == -ESTALE)) {
                p->interval = 0;
                probe_wake_at(p, now + SAFETY_INTERVAL);
                return;
        }
        p->interval = CLAMP(p->interval * 2, REFUSED_MIN, REFUSED_MAX);
        probe_wake_at(p, now + p->interval);
}
