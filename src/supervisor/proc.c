/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "supervisor/proc.h"

/* Environments are as large as the stack allows; nobody's is searched beyond this. */
#define ENVIRON_MAX (2U * 1024 * 1024)
#define CHILDREN_MAX (16U * 1024 * 1024)
#define CHILD_TEXT_MAX sizeof("2147483647 ")

void pid_list_done(PidList *l)
{
        free(l->pids);
        *l = (PidList){ 0 };
}

int pid_list_add(PidList *l, int pid)
{
        if (GROW(l->pids, l->cap, l->n + 1) < 0)
                return -ENOMEM;
        l->pids[l->n++] = pid;
        return 0;
}

static int missing(int error)
{
        return error == -ENOENT ? -ESRCH : error;
}

int proc_stat(int pid, ProcStat *ret)
{
        unsigned long utime, stime;
        _cleanup_free_ char *text = NULL;
        uint64_t start, hz = (uint64_t) sysconf(_SC_CLK_TCK), page = (uint64_t) sysconf(_SC_PAGESIZE);
        int ppid, session, r;
        long tasks, rss;
        char path[64], state, *p;

        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        r = read_file_at(AT_FDCWD, path, &text);
        if (r < 0)
                return missing(r);
        p = strrchr(text, ')'); /* a name may hold anything, brackets too */
        if (!p || sscanf(p + 1,
                                  " %c %d %*d %d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %ld "
                                  "%*d %" SCNu64 " %*u %ld",
                                  &state, &ppid, &session, &utime, &stime, &tasks, &start, &rss) != 8)
                return -EBADMSG;
        *ret = (ProcStat){ .pid = pid,
                .ppid = ppid,
                .session = session,
                .state = state,
                .cpu_usec = ((uint64_t) utime + stime) * USEC_PER_SEC / hz,
                .memory = (uint64_t) rss * page,
                .tasks = (uint64_t) tasks,
                .start_ticks = start };
        return 0;
}

/* Of a line "ShdPnd:\t0000000000000100". */
static bool has_sigkill(const char *line)
{
        const char *set = startswith(line, "SigPnd:") ?: startswith(line, "ShdPnd:");

        return set && strtoull(set, NULL, 16) & (1ULL << (SIGKILL - 1));
}

int proc_kill_pending(int pid)
{
        _cleanup_free_ char *text = NULL;
        char path[64];
        int r;

        snprintf(path, sizeof(path), "/proc/%d/status", pid);
        r = read_file_at(AT_FDCWD, path, &text);
        if (r < 0)
                return missing(r);
        for (char *p = text, *line; (line = strsep(&p, "\n"));)
                if (has_sigkill(line))
                        return 1;
        return 0;
}

int proc_list(PidList *l)
{
        DIR *d = opendir("/proc");
        int r = 0;

        if (!d)
                return -errno;
        for (struct dirent *e; r >= 0 && (e = readdir(d));)
                if (isdigit((unsigned char) e->d_name[0]))
                        r = pid_list_add(l, atoi(e->d_name));
        closedir(d);
        return r;
}

/* A read of any size stops at 4 KiB boundaries where it likes, so a number may be cut in two. Each begins with a walk
 * along the list to where it goes on, the one that finds nothing along all of it: so one that stops for want of
 * children, not of room, is the last. */
static int read_children(const char *path, PidList *l)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        char buf[4096];
        ssize_t n = sizeof(buf);
        size_t total = 0;
        int pid = 0, r = 0;

        if (fd < 0)
                return -errno;
        while (total < CHILDREN_MAX && n > (ssize_t) (sizeof(buf) - CHILD_TEXT_MAX)) {
                n = read(fd, buf, sizeof(buf));
                if (n < 0)
                        return -errno;
                total += (size_t) n;
                for (ssize_t i = 0; i < n; i++) {
                        if (isdigit((unsigned char) buf[i])) {
                                pid = pid * 10 + (buf[i] - '0');
                                continue;
                        }
                        if (pid > 0)
                                r = pid_list_add(l, pid);
                        if (r < 0)
                                return r;
                        pid = 0;
                }
        }
        return pid > 0 ? pid_list_add(l, pid) : 0;
}

int proc_children(int pid, PidList *l)
{
        char path[320];
        int r = 0;
        DIR *d;

        snprintf(path, sizeof(path), "/proc/%d/task", pid);
        d = opendir(path);
        if (!d)
                return missing(-errno);
        for (struct dirent *e; r >= 0 && (e = readdir(d));) {
                if (!isdigit((unsigned char) e->d_name[0]))
                        continue;
                snprintf(path, sizeof(path), "/proc/%d/task/%s/children", pid, e->d_name);
                r = read_children(path, l);
                /* A thread may end meanwhile; the main one's file is there unless the kernel has none. */
                if (r == -ENOENT && atoi(e->d_name) == pid) {
                        snprintf(path, sizeof(path), "/proc/%d/task/%d", pid, pid);
                        r = access(path, F_OK) >= 0 ? -EOPNOTSUPP : -ESRCH;
                } else if (r == -ENOENT || r == -ESRCH) {
                        r = 0;
                }
        }
        closedir(d);
        return r;
}

/* Walks NUL-terminated strings across reads: `held` counts what of the name has matched so far in this string. */
typedef struct Match {
        const char *name;
        size_t held, filled;
        bool lost, found;
} Match;

/* Returns true when the value is complete. */
static bool match_byte(Match *m, char c, char *ret, size_t size)
{
        if (m->found) {
                if (c == 0 || m->filled + 1 >= size)
                        return true;
                ret[m->filled++] = c;
                return false;
        }
        if (c == 0) {
                m->held = 0;
                m->lost = false;
        } else if (!m->lost && m->name[m->held] == 0 && c == '=') {
                m->found = true;
        } else if (!m->lost && m->name[m->held] == c) {
                m->held++;
        } else {
                m->lost = true;
        }
        return false;
}

int proc_environ(int pid, const char *name, char *ret, size_t size)
{
        Match m = { .name = name };
        _cleanup_close_ int fd = -EBADF;
        char path[64], buf[4096];
        size_t total = 0;
        bool done = false;

        snprintf(path, sizeof(path), "/proc/%d/environ", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return missing(-errno);
        while (!done && total < ENVIRON_MAX) {
                ssize_t n = read(fd, buf, sizeof(buf));

                if (n < 0)
                        return missing(-errno);
                if (n == 0)
                        break;
                total += (size_t) n;
                for (ssize_t i = 0; i < n && !done; i++)
                        done = match_byte(&m, buf[i], ret, size);
        }
        if (total == 0)
                return -ENODATA;
        ret[m.filled] = 0;
        return m.found;
}
