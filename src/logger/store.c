/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/usec.h"
#include "logger/store.h"

#define OLD ".1"
#define NAME_SIZE (LOGGER_NAME_MAX + sizeof(OLD))

static bool has_suffix(const char *name, const char *suffix)
{
        size_t n = strlen(name), k = strlen(suffix);

        return n > k && streq(name + n - k, suffix);
}

int log_file_get(Store *s, const char *name, LogFile **ret)
{
        LogFile *f = map_get(&s->open, name);
        size_t n = strlen(name);
        int r;

        if (f) {
                f->refs++;
                *ret = f;
                return 0;
        }
        if (n > LOGGER_NAME_MAX || !has_suffix(name, ".log") || strchr(name, '/'))
                return -EINVAL;
        f = calloc(1, sizeof(LogFile) + n + 1);
        if (!f)
                return -ENOMEM;
        f->store = s;
        f->refs = 1;
        memcpy(f->name, name, n + 1);
        r = map_put(&s->open, f->name, f);
        if (r < 0) {
                free(f);
                return r;
        }
        *ret = f;
        return 0;
}

LogFile *log_file_put(LogFile *f)
{
        if (!f || --f->refs > 0)
                return NULL;
        if (f->lost > 0)
                log_warning("%s: %" PRIu64 " bytes lost at its end: %s", f->name, f->lost,
                                strerror(f->error));
        (void) map_remove(&f->store->open, f->name);
        free(f);
        return NULL;
}

/* --- room --- */

typedef struct Oldest {
        char name[NAME_SIZE];
        struct timespec time;
} Oldest;

static bool is_older(const struct timespec *a, const struct timespec *b)
{
        return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

static void look_at(Store *s, const char *name, Oldest *oldest)
{
        struct stat st;

        if (strlen(name) >= sizeof(oldest->name) ||
                        (!has_suffix(name, ".log") && !has_suffix(name, ".log" OLD)))
                return;
        if (fstatat(s->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
                return;
        s->files++;
        s->total += (uint64_t) st.st_size;
        if (map_get(&s->open, name) || (oldest->name[0] && !is_older(&st.st_mtim, &oldest->time)))
                return;
        strcpy(oldest->name, name);
        oldest->time = st.st_mtim;
}

/* Counts anew, since anyone may have removed some. */
static int count(Store *s, Oldest *ret)
{
        int fd = openat(s->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);

        if (!dir) {
                safe_close(fd);
                return -errno;
        }
        s->total = s->files = 0;
        ret->name[0] = 0;
        for (struct dirent *d; (d = readdir(dir));)
                look_at(s, d->d_name, ret);
        (void) closedir(dir);
        s->counted = true;
        return 0;
}

static bool is_full(const Store *s, size_t n, bool fresh)
{
        return s->total + n > s->total_max || (fresh && s->files > s->files_max);
}

/* Too many files alone are no reason to lose what a living actor says. */
static int make_room(Store *s, size_t n, bool fresh)
{
        Oldest oldest;
        int r;

        if (s->counted && !is_full(s, n, fresh))
                return 0;
        if (now_usec(CLOCK_MONOTONIC) < s->retry_usec)
                return s->total + n > s->total_max ? -EDQUOT : 0;
        while ((r = count(s, &oldest)) >= 0 && is_full(s, n, fresh)) {
                if (oldest.name[0] && unlinkat(s->dir_fd, oldest.name, 0) >= 0)
                        continue;
                s->retry_usec = now_usec(CLOCK_MONOTONIC) + USEC_PER_SEC;
                return s->total + n > s->total_max ? -EDQUOT : 0;
        }
        return r;
}

/* --- one file --- */

static int open_file(const LogFile *f, off_t *ret_size)
{
        _cleanup_close_ int fd = openat(f->store->dir_fd, f->name,
                        O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_nlink > 1 || st.st_uid != geteuid())
                return -EEXIST;
        *ret_size = st.st_size;
        return TAKE_FD(fd);
}

static int rotate(const LogFile *f)
{
        Store *s = f->store;
        char old[NAME_SIZE];
        struct stat st;
        bool replaced;

        (void) snprintf(old, sizeof(old), "%s" OLD, f->name);
        replaced = fstatat(s->dir_fd, old, &st, AT_SYMLINK_NOFOLLOW) >= 0;
        if (renameat(s->dir_fd, f->name, s->dir_fd, old) < 0)
                return -errno;
        if (replaced) {
                s->total -= MIN(s->total, (uint64_t) st.st_size);
                s->files -= MIN(s->files, (uint64_t) 1);
        }
        return 0;
}

/* A file that nothing could be written to is none. */
static void drop_empty(const LogFile *f, off_t size)
{
        if (size > 0 || unlinkat(f->store->dir_fd, f->name, 0) < 0)
                return;
        f->store->files -= MIN(f->store->files, (uint64_t) 1);
}

static int open_with_room(const LogFile *f, size_t n, off_t *ret_size)
{
        Store *s = f->store;
        int fd = open_file(f, ret_size), r;

        if (fd >= 0 && *ret_size > 0 && (uint64_t) *ret_size + n > s->file_max) {
                safe_close(fd);
                r = rotate(f);
                fd = r < 0 ? r : open_file(f, ret_size);
        }
        if (fd < 0)
                return fd;
        s->files += *ret_size == 0;
        r = (uint64_t) *ret_size + n > s->file_max ? -EFBIG : make_room(s, n, *ret_size == 0);
        if (r < 0) {
                safe_close(fd);
                drop_empty(f, *ret_size);
                return r;
        }
        return fd;
}

/* A logger that was killed while it wrote, and a disk that was full: the last record may lack its end. */
static bool is_torn(int fd, off_t size)
{
        char last = '\n';

        return size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n';
}

static size_t lost_record(const LogFile *f, const char *time, char *out, size_t size)
{
        char text[128];
        Piece p = { .text = text, .full = true };

        if (f->lost == 0)
                return 0;
        p.n = (size_t) snprintf(text, sizeof(text), "tractor: %" PRIu64 " bytes lost: %s", f->lost,
                        strerror(f->error));
        p.n = MIN(p.n, sizeof(text) - 1);
        cri_record(out, time, "stderr", &p);
        return MIN(p.n + CRI_OVERHEAD, size);
}

static int write_batch(LogFile *f, const char *time)
{
        Store *s = f->store;
        char notice[128 + CRI_OVERHEAD];
        struct iovec iov[] = { { .iov_base = (char *) "\n" },
                { .iov_base = notice, .iov_len = lost_record(f, time, notice, sizeof(notice)) },
                { .iov_base = s->batch, .iov_len = s->n } };
        size_t n = 1 + iov[1].iov_len + iov[2].iov_len;
        off_t size = 0;
        _cleanup_close_ int fd = open_with_room(f, n, &size);
        ssize_t k;
        int r = 0;

        if (fd < 0)
                return fd;
        iov[0].iov_len = !f->looked && is_torn(fd, size);
        n -= 1 - iov[0].iov_len;
        k = writev(fd, iov, ELEMENTSOF(iov));
        if (k != (ssize_t) n) {
                r = k < 0 ? -errno : -ENOSPC; /* what else should take a part of it */
                if (k > 0 && ftruncate(fd, size) < 0)
                        s->counted = false;
                else
                        drop_empty(f, size);
        } else {
                s->total += n;
        }
        f->looked = r >= 0;
        return r;
}

void store_flush(LogFile *f, const char *time)
{
        Store *s = f->store;
        int r;

        if (s->n == 0)
                return;
        r = write_batch(f, time);
        if (r < 0) {
                f->lost += s->content;
                f->error = -r;
                if (!f->told)
                        log_warning("%s: can't be written, output is lost: %s", f->name, strerror(-r));
                f->told = true;
        } else {
                f->lost = 0;
        }
        s->n = s->content = 0;
}

void store_put(LogFile *f, const char *time, const char *stream, const Piece *piece)
{
        Store *s = f->store;

        if (s->n + piece->n + CRI_OVERHEAD > sizeof(s->batch))
                store_flush(f, time);
        cri_record(s->batch + s->n, time, stream, piece);
        s->n += piece->n + CRI_OVERHEAD;
        s->content += piece->n + piece->full;
}
