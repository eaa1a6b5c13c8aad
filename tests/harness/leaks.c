/* SPDX-License-Identifier: Apache-2.0 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "harness/leaks.h"

static bool read_proc(const char *name, Proc *ret)
{
        _cleanup_free_ char *path = xasprintf("/proc/%s/stat", name);
        char text[512];
        _cleanup_close_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -EBADF;
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        const char *end;

        if (n <= 0)
                return false;
        text[n] = '\0';
        end = strrchr(text, ')'); /* the name before it may hold anything */
        if (!end)
                return false;
        *ret = (Proc){ .pid = atoi(name) };
        return sscanf(end + 1, " %c %d", &ret->state, &ret->parent) == 2;
}

static bool descends(const Proc *all, size_t n, const Proc *p, pid_t from)
{
        if (p->parent == from)
                return true;
        for (size_t i = 0; i < n; i++)
                if (all[i].ours && all[i].pid == p->parent)
                        return true;
        return false;
}

size_t find_descendants(Proc **ret)
{
        DIR *dir = opendir("/proc");
        Proc *all = NULL;
        size_t n = 0, cap = 0, kept = 0;
        pid_t self = getpid();

        for (struct dirent *d; dir && (d = readdir(dir));)
                if (d->d_name[0] >= '1' && d->d_name[0] <= '9' && GROW(all, cap, n + 1) >= 0)
                        n += read_proc(d->d_name, &all[n]);
        if (dir)
                closedir(dir);
        for (bool changed = true; changed;) {
                changed = false;
                for (size_t i = 0; i < n; i++)
                        if (!all[i].ours && descends(all, n, &all[i], self))
                                all[i].ours = changed = true;
        }
        for (size_t i = 0; i < n; i++)
                if (all[i].ours && all[i].state != 'Z' && all[i].state != 'X')
                        all[kept++] = all[i];
        *ret = all;
        return kept;
}

void name_process(const Proc *p, char *text, size_t size)
{
        _cleanup_free_ char *path = xasprintf("/proc/%d/cmdline", p->pid);
        _cleanup_close_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -EBADF;
        int at = snprintf(text, size, "%d (state %c): ", p->pid, p->state);
        ssize_t n = fd < 0 ? 0 : read(fd, text + at, size - (size_t) at - 1);

        for (ssize_t i = 0; i < n; i++)
                if (text[at + i] == '\0' || text[at + i] == '\n')
                        text[at + i] = ' ';
        text[at + MAX(n, 0)] = '\0';
}

void walk(int dirfd, const char *path, visit_t visit, void *userdata)
{
        int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);

        for (struct dirent *d; dir && (d = readdir(dir));) {
                _cleanup_free_ char *below = xasprintf("%s/%s", path, d->d_name);
                _cleanup_close_ int sub = -EBADF;
                struct stat st;

                if (streq(d->d_name, ".") || streq(d->d_name, "..") || !below)
                        continue;
                if (fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                if (S_ISDIR(st.st_mode)) {
                        sub = openat(fd, d->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                        if (sub >= 0)
                                walk(sub, below, visit, userdata);
                }
                visit(userdata, fd, d->d_name, below, S_ISDIR(st.st_mode));
        }
        if (dir)
                closedir(dir);
}

void visit_remove(void *userdata, int dirfd, const char *name, const char *path, bool is_dir)
{
        if (unlinkat(dirfd, name, is_dir ? AT_REMOVEDIR : 0) < 0 && userdata)
                fprintf(stderr, "guard: cannot remove %s: %m\n", path);
}
