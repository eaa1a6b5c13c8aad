/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "supervisor/output-folder.h"

#define NAME_LENGTH_MAX 240
#define SYMLINKS_MAX 16

/* One step on the way: a directory, made if missing, or a symlink that only root or we can have put there. Returns a
 * descriptor, or 0 with the link's target and what follows in *rest. */
static int step_into(int at, const char *name, char **rest)
{
        _cleanup_close_ int fd = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        char target[PATH_MAX];
        struct stat st;
        ssize_t k;
        char *p;

        if (fd < 0 && errno == ENOENT) {
                if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
                        return -errno;
                fd = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        }
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return TAKE_FD(fd);
        if (!S_ISLNK(st.st_mode))
                return -ENOTDIR;
        if (st.st_uid != 0 && st.st_uid != geteuid())
                return -ELOOP;
        k = readlinkat(fd, "", target, sizeof(target) - 1);
        if (k < 0)
                return -errno;
        p = xasprintf("%.*s/%s", (int) k, target, *rest);
        if (!p)
                return -ENOMEM;
        free(*rest);
        *rest = p;
        return 0;
}

/* Opens the directory `path` step by step, making what is missing. */
static int open_directory(const char *path)
{
        _cleanup_close_ int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        _cleanup_free_ char *rest = strdup(path);
        int links = 0;

        if (!rest)
                return -ENOMEM;
        while (fd >= 0) {
                _cleanup_free_ char *name = NULL, *after = NULL;
                char *p = rest + strspn(rest, "/");
                size_t n = strcspn(p, "/");
                int next;

                if (n == 0)
                        break;
                name = strndup(p, n);
                after = strdup(p + n);
                if (!name || !after)
                        return -ENOMEM;
                next = step_into(fd, name, &after);
                if (next < 0)
                        return next;
                free(rest);
                rest = TAKE_PTR(after);
                if (next == 0 && ++links > SYMLINKS_MAX)
                        return -ELOOP;
                if (next == 0 && rest[0] != '/')
                        continue;
                safe_close(fd);
                fd = next > 0 ? next : open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        }
        if (fd < 0)
                return -errno;
        return TAKE_FD(fd);
}

static char *state_directory(void)
{
        const char *state = getenv("STATE_DIRECTORY"), *xdg = getenv("XDG_STATE_HOME"),
                   *home = getenv("HOME");

        if (state && state[0] == '/')
                return xasprintf("%.*s", (int) strcspn(state, ":"), state);
        if (geteuid() == 0)
                return xasprintf("/var/lib/tractor");
        if (xdg && xdg[0] == '/')
                return xasprintf("%s/tractor", xdg);
        if (home && home[0] == '/')
                return xasprintf("%s/.local/state/tractor", home);
        return NULL;
}

/* The last component is ours alone, whoever made it. */
static int open_instance(const char *path)
{
        _cleanup_close_ int fd = open_directory(path), readable = -EBADF;
        struct stat st;

        if (fd < 0)
                return fd;
        readable = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (readable < 0 || fstat(readable, &st) < 0)
                return -errno;
        if (st.st_uid != geteuid())
                return -EPERM;
        if (fchmod(readable, 0700) < 0)
                return -errno;
        return TAKE_FD(readable);
}

int output_folder_open(const char *instance, char **ret_path)
{
        _cleanup_free_ char *state = state_directory(), *path = NULL;
        int fd;

        if (!state)
                return -ENOTDIR;
        path = xasprintf("%s/%s", state, instance);
        fd = path ? open_instance(path) : -ENOMEM;
        if (fd >= 0)
                *ret_path = TAKE_PTR(path);
        return fd;
}

void output_folder_clean(int fd, const char *path, bool all)
{
        int readable = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = readable < 0 || !all ? NULL : fdopendir(readable);

        if (!dir)
                safe_close(readable);
        for (struct dirent *entry; dir && (entry = readdir(dir));)
                if (entry->d_type == DT_REG)
                        (void) unlinkat(fd, entry->d_name, 0);
        if (dir)
                (void) closedir(dir);
        (void) rmdir(path); /* kept while it holds something */
}

/* "/shop/api" → "shop+api.log"; '+' is in no name. What is too long for a file name keeps its end, where names differ,
 * after a hash of the whole. */
char *output_file_name(const char *actor_path)
{
        const char *s = actor_path[0] == '/' ? actor_path + 1 : actor_path;
        uint64_t hash = 0xcbf29ce484222325ULL;
        char *name;

        for (const char *p = s; *p; p++)
                hash = (hash ^ (unsigned char) *p) * 0x100000001b3ULL;
        if (strlen(s) <= NAME_LENGTH_MAX)
                name = xasprintf("%s.log", s);
        else
                name = xasprintf("%016llx+%s.log", (unsigned long long) hash,
                                s + strlen(s) - (NAME_LENGTH_MAX - 17));
        for (char *p = name; p && *p; p++)
                if (*p == '/')
                        *p = '+';
        return name;
}
