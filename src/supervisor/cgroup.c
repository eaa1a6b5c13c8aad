/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "supervisor/cgroup.h"

#define KILL_PASSES 16

static int gone(int r)
{
        return r == -ENODEV ? -ENOENT : r;
}

/* --- the mount --- */

/* A line of mountinfo: id, parent, device, root, mount point, options, fields up to "-", type. Returns whether it
 * is a cgroup2 mount, with root and point cut out of the line in place. */
static bool parse_mount(char *line, char **ret_root, char **ret_point)
{
        char *dash = strstr(line, " - "), *fields[5], *p = line;

        if (!dash || !startswith(dash, " - cgroup2 "))
                return false;
        for (size_t i = 0; i < ELEMENTSOF(fields); i++) {
                fields[i] = strsep(&p, " ");
                if (!p)
                        return false;
        }
        *ret_root = fields[3];
        *ret_point = fields[4];
        return true;
}

static int open_mount(const char *root, const char *point, CgroupRoot *ret)
{
        _cleanup_close_ int fd = open(point, O_PATH | O_DIRECTORY | O_CLOEXEC);
        char *copy;

        if (fd < 0)
                return -errno;
        copy = strdup(root);
        if (!copy)
                return -ENOMEM;
        *ret = (CgroupRoot){ .fd = TAKE_FD(fd), .root = copy };
        return 0;
}

int cgroup_root_open(CgroupRoot *ret)
{
        FILE *f = fopen("/proc/self/mountinfo", "re");
        _cleanup_free_ char *line = NULL;
        size_t cap = 0;
        int r = -ENOENT;

        if (!f)
                return -errno;
        while (r == -ENOENT && getline(&line, &cap, f) > 0) {
                char *root, *point;

                if (parse_mount(line, &root, &point))
                        r = open_mount(root, point, ret);
        }
        fclose(f);
        return r;
}

void cgroup_root_close(CgroupRoot *r)
{
        r->fd = safe_close(r->fd);
        free(r->root);
        r->root = NULL;
}

int cgroup_of(const CgroupRoot *root, int pid, char **ret)
{
        _cleanup_free_ char *text = NULL;
        char file[64];
        int r;

        snprintf(file, sizeof(file), "/proc/%d/cgroup", pid ?: (int) getpid());
        r = read_file_at(AT_FDCWD, file, &text);
        if (r < 0)
                return r;
        for (char *p = text, *line; (line = strsep(&p, "\n"));) {
                const char *path = startswith(line, "0::/");

                if (!path)
                        continue;
                path--;
                if (!streq(root->root, "/")) {
                        path = startswith(path, root->root);
                        if (path && *path == 0)
                                path = "/";
                }
                if (!path || *path != '/' || startswith(path, "/.."))
                        return -ENXIO;
                return (*ret = strdup(path)) ? 0 : -ENOMEM;
        }
        return -ENXIO;
}

/* --- files --- */

/* "a/b" or "a/b/file" relative to the mount point. */
static int relative(const char *path, const char *file, char ret[static PATH_MAX])
{
        int n;

        while (*path == '/')
                path++;
        if (file)
                n = snprintf(ret, PATH_MAX, "%s%s%s", path, *path ? "/" : "", file);
        else
                n = snprintf(ret, PATH_MAX, "%s", *path ? path : ".");
        return n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int cgroup_read(int root, const char *path, const char *file, char **ret)
{
        char name[PATH_MAX];
        int r;

        r = relative(path, file, name);
        return r < 0 ? r : gone(read_file_at(root, name, ret));
}

int cgroup_write(int root, const char *path, const char *file, const char *text)
{
        char name[PATH_MAX];
        int r;

        r = relative(path, file, name);
        return r < 0 ? r : gone(write_file_at(root, name, text));
}

static int parse_u64(const char *s, uint64_t *ret)
{
        char *end;

        if (startswith(s, "max")) {
                *ret = UINT64_MAX;
                return 0;
        }
        errno = 0;
        *ret = strtoull(s, &end, 10);
        return errno != 0 || end == s ? -EBADMSG : 0;
}

int cgroup_read_u64(int root, const char *path, const char *file, uint64_t *ret)
{
        _cleanup_free_ char *text = NULL;
        uint64_t v;
        int r;

        r = cgroup_read(root, path, file, &text);
        if (r >= 0)
                r = parse_u64(text, &v);
        if (r >= 0)
                *ret = v;
        return r;
}

int cgroup_read_key(int root, const char *path, const char *file, const char *key, uint64_t *ret)
{
        _cleanup_free_ char *text = NULL;
        int r;

        r = cgroup_read(root, path, file, &text);
        if (r < 0)
                return r;
        for (char *p = text, *line; (line = strsep(&p, "\n"));) {
                const char *value = startswith(line, key);

                if (value && *value == ' ')
                        return parse_u64(value + 1, ret);
        }
        return -ENXIO;
}

int cgroup_oom_kills(int root, const char *path, uint64_t *ret)
{
        return cgroup_read_key(root, path, "memory.events", "oom_kill", ret);
}

bool cgroup_exists(int root, const char *path)
{
        char name[PATH_MAX];

        return relative(path, NULL, name) >= 0 && faccessat(root, name, F_OK, 0) >= 0;
}

int cgroup_populated(int root, const char *path)
{
        uint64_t populated;
        int r;

        r = cgroup_read_key(root, path, "cgroup.events", "populated", &populated);
        if (r == -ENOENT)
                return 0;
        return r < 0 ? r : populated > 0;
}

/* --- processes --- */

typedef struct Walk {
        const char *path;
        int signo;
        unsigned seen, failed;
} Walk;

/* Below what is mounted, the path of a process ends in the cgroup's or goes on below it. */
static bool process_is_in(int pid, const char *path)
{
        _cleanup_free_ char *text = NULL;
        size_t n = strlen(path);
        char file[64];

        snprintf(file, sizeof(file), "/proc/%d/cgroup", pid);
        if (read_file_at(AT_FDCWD, file, &text) < 0)
                return false;
        for (char *p = text, *line; (line = strsep(&p, "\n"));) {
                const char *at = startswith(line, "0::") ? strstr(line, path) : NULL;

                if (at && (at[n] == 0 || at[n] == '/'))
                        return true;
        }
        return false;
}

/* The descriptor comes first: a process that is still in the cgroup after that is the one listed, or at least one
 * that belongs here. */
static void signal_listed(int pid, Walk *w)
{
        _cleanup_close_ int pidfd = (int) syscall(SYS_pidfd_open, pid, 0);

        if (pidfd < 0 || !process_is_in(pid, w->path))
                return;
        w->seen++;
        if (syscall(SYS_pidfd_send_signal, pidfd, w->signo, NULL, 0) < 0 && errno != ESRCH)
                w->failed++;
}

static void signal_procs(int dir, Walk *w)
{
        int fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
        FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
        int pid;

        if (!f) {
                safe_close(fd);
                return;
        }
        while (fscanf(f, "%d", &pid) == 1)
                if (pid > 0 && pid != getpid())
                        signal_listed(pid, w);
        fclose(f);
}

/* Calls itself for each child; cgroup.max.depth aside, PATH_MAX bounds the depth. */
static void signal_subtree(int parent, const char *name, Walk *w, unsigned depth)
{
        int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = dir < 0 ? NULL : fdopendir(dir);

        if (!d) {
                safe_close(dir);
                return;
        }
        signal_procs(dir, w);
        for (struct dirent *e; depth < 256 && (e = readdir(d));)
                if (e->d_type == DT_DIR && e->d_name[0] != '.')
                        signal_subtree(dir, e->d_name, w, depth + 1);
        closedir(d);
}

int cgroup_signal(int root, const char *path, int signo)
{
        Walk w = { .path = path, .signo = signo };
        char name[PATH_MAX];
        int r;

        r = relative(path, NULL, name);
        if (r < 0)
                return r;
        signal_subtree(root, name, &w, 0);
        return w.seen > 0 && w.failed == w.seen ? -EPERM : 0;
}

int cgroup_kill(int root, const char *path)
{
        int r;

        r = cgroup_write(root, path, "cgroup.kill", "1");
        if (r >= 0)
                return r;
        if (r == -ENOENT && !cgroup_exists(root, path))
                return 0;
        /* One pass misses what was forked during it. */
        for (int i = 0; i < KILL_PASSES; i++) {
                r = cgroup_signal(root, path, SIGKILL);
                if (r < 0 || cgroup_populated(root, path) <= 0)
                        return r;
        }
        return 0;
}

int cgroup_freeze(int root, const char *path, bool frozen)
{
        return cgroup_write(root, path, "cgroup.freeze", frozen ? "1" : "0");
}

int cgroup_wait_empty(int root, const char *path, uint64_t timeout_usec)
{
        uint64_t deadline = usec_add(now_usec(CLOCK_MONOTONIC), timeout_usec);
        char name[PATH_MAX];
        int r;

        r = relative(path, "cgroup.events", name);
        if (r < 0)
                return r;
        for (;;) {
                _cleanup_close_ int fd = openat(root, name, O_RDONLY | O_CLOEXEC);
                struct pollfd p = { .fd = fd, .events = POLLPRI };
                uint64_t now = now_usec(CLOCK_MONOTONIC);
                char first;

                /* The kernel tells of changes since the last read of this very descriptor. */
                if (fd < 0 || read(fd, &first, 1) < 0 || cgroup_populated(root, path) <= 0)
                        return 0;
                if (now >= deadline)
                        return -ETIMEDOUT;
                (void) poll(&p, 1, (int) MIN((deadline - now) / USEC_PER_MSEC + 1, (uint64_t) 100));
        }
}

/* --- directories --- */

int cgroup_make(int root, const char *path)
{
        char name[PATH_MAX];
        int r;

        r = relative(path, NULL, name);
        if (r < 0)
                return r;
        return mkdirat(root, name, 0755) < 0 ? -errno : 0;
}

static int remove_below(int parent, const char *name, unsigned depth)
{
        int dir, r = 0;
        DIR *d;

        if (unlinkat(parent, name, AT_REMOVEDIR) >= 0 || errno == ENOENT)
                return 0;
        /* EBUSY says either: processes, or cgroups below. */
        if ((errno != EBUSY && errno != ENOTEMPTY) || depth > 256)
                return -errno;
        dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        d = dir < 0 ? NULL : fdopendir(dir);
        if (!d) {
                r = -errno;
                safe_close(dir);
                return r == -ENOENT ? 0 : r;
        }
        for (struct dirent *e; r >= 0 && (e = readdir(d));)
                if (e->d_type == DT_DIR && e->d_name[0] != '.')
                        r = remove_below(dir, e->d_name, depth + 1);
        closedir(d);
        if (r < 0)
                return r;
        return unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

int cgroup_remove(int root, const char *path)
{
        char name[PATH_MAX];
        int r;

        r = relative(path, NULL, name);
        return r < 0 ? r : gone(remove_below(root, name, 0));
}

int cgroup_move_all(int root, const char *from, const char *to)
{
        for (int i = 0; i < KILL_PASSES; i++) {
                _cleanup_free_ char *procs = NULL;
                int r;

                r = cgroup_read(root, from, "cgroup.procs", &procs);
                if (r < 0)
                        return r;
                if (*procs == 0)
                        return 0;
                for (char *p = procs, *pid; (pid = strsep(&p, "\n"));) {
                        r = cgroup_write(root, to, "cgroup.procs", pid);
                        if (r < 0 && r != -ESRCH)
                                return r;
                }
        }
        return -EBUSY;
}
