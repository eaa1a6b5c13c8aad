/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "tractorctl/log-file.h"

#define READ_SIZE (64U * 1024)

typedef struct LogFile {
        LogReader *reader;
        char *name; /* within the folder */
        int dir_fd, fd, watch;
} LogFile;

static void log_file_done(LogFile *f)
{
        f->fd = safe_close(f->fd);
        f->dir_fd = safe_close(f->dir_fd);
        f->watch = safe_close(f->watch);
        free(f->name);
}

static int read_rest(LogFile *f, int fd)
{
        char buf[READ_SIZE];
        ssize_t n;
        int r = 0;

        while (r >= 0 && (n = read(fd, buf, sizeof(buf))) != 0) {
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0)
                        r = log_reader_feed(f->reader, buf, (size_t) n);
        }
        return r;
}

/* -ENOENT: none. */
static int open_file(const LogFile *f, const char *suffix)
{
        _cleanup_free_ char *name = xasprintf("%s%s", f->name, suffix);
        int fd;

        if (!name)
                return -ENOMEM;
        fd = openat(f->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static bool is_same(int a, int b)
{
        struct stat one, other;

        return fstat(a, &one) >= 0 && fstat(b, &other) >= 0 && one.st_ino == other.st_ino &&
               one.st_dev == other.st_dev;
}

/* The newer is opened first: then at worst both names are one file, renamed in between. */
static int read_older(LogFile *f)
{
        _cleanup_close_ int fd = -EBADF;

        f->fd = open_file(f, "");
        if (f->fd < 0 && f->fd != -ENOENT)
                return f->fd;
        fd = open_file(f, ".1");
        if (fd == -ENOENT || (fd >= 0 && f->fd >= 0 && is_same(fd, f->fd)))
                return 0;
        return fd < 0 ? fd : read_rest(f, fd);
}

/* What came between the one that was read last, which is done with, and its successor. */
static int read_between(LogFile *f, int next)
{
        _cleanup_close_ int fd = open_file(f, ".1");
        int r = log_reader_end(f->reader);

        if (r < 0 || fd < 0 || is_same(fd, f->fd) || is_same(fd, next))
                return r;
        r = read_rest(f, fd);
        return r < 0 ? r : log_reader_end(f->reader);
}

/* All that is there now. What was renamed has got no more than what is read here after its successor was seen. */
static int read_newer(LogFile *f)
{
        for (;;) {
                _cleanup_close_ int next = open_file(f, "");
                int r = 0;

                if (f->fd >= 0)
                        r = read_rest(f, f->fd);
                if (r < 0 || next == -ENOENT)
                        return r;
                if (next < 0)
                        return next;
                if (f->fd >= 0 && is_same(next, f->fd))
                        return 0;
                if (f->fd >= 0)
                        r = read_between(f, next);
                if (r < 0)
                        return r;
                (void) safe_close(f->fd);
                f->fd = TAKE_FD(next);
        }
}

/* 1: the folder is gone. */
static int wait_for_change(LogFile *f)
{
        char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
        ssize_t n = read(f->watch, buf, sizeof(buf));

        if (n < 0)
                return errno == EINTR ? 0 : -errno;
        for (char *p = buf; p < buf + n;) {
                const struct inotify_event *e = (const struct inotify_event *) (const void *) p;

                if (e->mask & (IN_IGNORED | IN_DELETE_SELF | IN_UNMOUNT))
                        return 1;
                p += sizeof(*e) + e->len;
        }
        return 0;
}

static int follow_file(LogFile *f)
{
        int r = 0;

        while (r == 0) {
                r = wait_for_change(f);
                if (r >= 0) {
                        int k = read_newer(f);

                        r = k < 0 && k != -ENOENT ? k : r;
                }
        }
        return r < 0 ? r : log_reader_end(f->reader);
}

static int open_folder(LogFile *f, const char *path, bool follow)
{
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *folder = NULL;

        if (!slash || slash == path)
                return -EINVAL;
        folder = strndup(path, (size_t) (slash - path));
        f->name = strdup(slash + 1);
        if (!folder || !f->name)
                return -ENOMEM;
        f->dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (f->dir_fd < 0)
                return -errno;
        if (!follow)
                return 0;
        f->watch = inotify_init1(IN_CLOEXEC);
        /* Watched before it is read: what comes in between is seen twice, and read once. */
        if (f->watch < 0 || inotify_add_watch(f->watch, folder,
                                            IN_CREATE | IN_MODIFY | IN_MOVED_TO | IN_DELETE_SELF) < 0)
                return -errno;
        return 0;
}

int log_file_read(const char *path, bool follow, LogReader *reader, void (*on_caught_up)(void *userdata))
{
        _cleanup_(log_file_done)
                        LogFile f = { .reader = reader, .dir_fd = -EBADF, .fd = -EBADF, .watch = -EBADF };
        int r = open_folder(&f, path, follow);

        if (r >= 0)
                r = read_older(&f);
        if (r >= 0)
                r = read_newer(&f);
        if (r >= 0 && !follow)
                r = log_reader_end(reader);
        if (r < 0)
                return r;
        on_caught_up(reader->userdata);
        return follow ? follow_file(&f) : 0;
}
