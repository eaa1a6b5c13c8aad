/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/directory.h"
#include "base/io.h"

#define SYMLINKS_MAX 32
#define OVERFLOW_UID 65534

/* In a user namespace that does not know root's number, root's files appear as everybody's. */
static bool is_overflow_root(uid_t uid)
{
        _cleanup_free_ char *map = NULL;
        unsigned inside, outside, n;

        if (uid != OVERFLOW_UID || read_file_at(AT_FDCWD, "/proc/self/uid_map", &map) < 0)
                return false;
        return sscanf(map, "%u %u %u", &inside, &outside, &n) != 3 || outside != 0;
}

static bool is_trusted(const struct stat *st)
{
        if (st->st_uid != 0 && st->st_uid != geteuid() && !is_overflow_root(st->st_uid))
                return false;
        return !S_ISDIR(st->st_mode) || !(st->st_mode & S_IWOTH) || (st->st_mode & S_ISVTX);
}

/* Puts a link's target before what is left of the way. */
static int expand_link(int fd, char **rest)
{
        char target[PATH_MAX], *p;
        ssize_t n = readlinkat(fd, "", target, sizeof(target));

        if (n < 0)
                return -errno;
        if ((size_t) n >= sizeof(target))
                return -ENAMETOOLONG;
        p = xasprintf("%.*s/%s", (int) n, target, *rest);
        if (!p)
                return -ENOMEM;
        free(*rest);
        *rest = p;
        return 0;
}

/* 1: *ret is the next directory; 0: it was a link, which stands in *rest now. */
static int step(int at, const char *name, mode_t make, char **rest, int *ret)
{
        const int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
        _cleanup_close_ int fd = openat(at, name, flags);
        struct stat st;

        if (fd < 0 && errno == ENOENT && make != 0) {
                if (mkdirat(at, name, make) < 0 && errno != EEXIST)
                        return -errno;
                fd = openat(at, name, flags);
        }
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISDIR(st.st_mode) && !S_ISLNK(st.st_mode))
                return -ENOTDIR;
        if (!is_trusted(&st))
                return -EPERM;
        if (S_ISLNK(st.st_mode))
                return expand_link(fd, rest);
        *ret = TAKE_FD(fd);
        return 1;
}

static int open_root(void)
{
        int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

/* From `fd`, which is consumed. */
static int walk(int fd, char **rest, mode_t make)
{
        _cleanup_close_ int at = fd;
        int links = 0;

        while (at >= 0) {
                _cleanup_free_ char *name = NULL, *after = NULL;
                const char *p = *rest + strspn(*rest, "/");
                size_t n = strcspn(p, "/");
                int next = -EBADF, r;

                if (n == 0)
                        return TAKE_FD(at);
                name = strndup(p, n);
                after = strdup(p + n);
                if (!name || !after)
                        return -ENOMEM;
                r = step(at, name, make, &after, &next);
                if (r < 0)
                        return r;
                free(*rest);
                *rest = TAKE_PTR(after);
                if (r == 0 && ++links > SYMLINKS_MAX)
                        return -ELOOP;
                if (r == 0 && **rest != '/')
                        continue;
                safe_close(at);
                at = r > 0 ? next : open_root();
        }
        return TAKE_FD(at);
}

int directory_open_trusted(const char *path, mode_t make)
{
        _cleanup_free_ char *rest = NULL;
        char cwd[PATH_MAX] = "";
        int fd;

        if (*path != '/' && !getcwd(cwd, sizeof(cwd)))
                return -errno;
        rest = xasprintf("%s/%s", cwd, path);
        if (!rest)
                return -ENOMEM;
        fd = open_root();
        return fd < 0 ? fd : walk(fd, &rest, make);
}

int directory_check_parent(const char *path)
{
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *dir = slash ? strndup(path, (size_t) (slash - path) + 1) : strdup(".");
        int fd;

        if (!dir)
                return -ENOMEM;
        fd = directory_open_trusted(dir, 0);
        if (fd < 0)
                return fd;
        safe_close(fd);
        return 0;
}
