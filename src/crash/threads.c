/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include "base/io.h"
#include "base/usec.h"
#include "crash/crash.h"

/* One that sleeps in the kernel where nothing wakes it is left out. */
#define STOP_USEC (500 * USEC_PER_MSEC)

static CrashThread *find(CrashProcess *p, pid_t tid)
{
        for (size_t i = 0; i < p->n_threads; i++)
                if (p->threads[i].tid == tid)
                        return &p->threads[i];
        return NULL;
}

static void read_name(const CrashProcess *p, CrashThread *t)
{
        _cleanup_free_ char *path = xasprintf("/proc/%d/task/%d/comm", p->note.pid, t->tid), *text = NULL;

        if (path && read_file_at(-1, path, &text) >= 0)
                (void) snprintf(t->name, sizeof(t->name), "%s", text);
}

/* Attaching leaves it running, interrupting does not: so no signal of its own gets lost between the two. */
static int seize(CrashProcess *p, pid_t tid)
{
        CrashThread *t;

        if (GROW(p->threads, p->cap, p->n_threads + 1) < 0)
                return -ENOMEM;
        if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) < 0 || ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0)
                return -errno;
        t = &p->threads[p->n_threads++];
        *t = (CrashThread){ .tid = tid };
        read_name(p, t);
        return 0;
}

/* 1 when there were some that were not known yet. */
static int seize_more(CrashProcess *p, DIR *dir)
{
        int found = 0;

        rewinddir(dir);
        p->unseen = 0;
        for (struct dirent *e; (e = readdir(dir));) {
                pid_t tid = (pid_t) strtol(e->d_name, NULL, 10);

                if (tid <= 0 || find(p, tid))
                        continue;
                if (p->n_threads < CRASH_THREADS_MAX && seize(p, tid) >= 0)
                        found = 1;
                else
                        p->unseen++;
        }
        return found;
}

static bool all_stopped(const CrashProcess *p)
{
        for (size_t i = 0; i < p->n_threads; i++)
                if (!p->threads[i].stopped)
                        return false;
        return true;
}

/* A thread may stop for a signal of its own instead: it is not delivered, the process is at its end. */
static void note_stops(CrashProcess *p)
{
        pid_t tid;
        int status;

        while ((tid = waitpid(-1, &status, __WALL | WNOHANG)) > 0) {
                CrashThread *t = find(p, tid);

                if (t)
                        t->stopped = WIFSTOPPED(status);
        }
}

static void await_stops(CrashProcess *p)
{
        uint64_t until = now_usec(CLOCK_MONOTONIC) + STOP_USEC;
        const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
        sigset_t set;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGCHLD);
        for (note_stops(p); !all_stopped(p) && now_usec(CLOCK_MONOTONIC) < until; note_stops(p))
                (void) sigtimedwait(&set, NULL, &pause);
}

int crash_stop_threads(CrashProcess *p)
{
        _cleanup_free_ char *path = xasprintf("/proc/%d/task", p->note.pid);
        sigset_t set;
        DIR *dir;
        int r;

        if (!path)
                return -ENOMEM;
        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGCHLD);
        (void) sigprocmask(SIG_BLOCK, &set, NULL);
        r = seize(p, p->note.tid);
        if (r < 0)
                return r;
        dir = opendir(path);
        if (!dir)
                return -errno;
        /* Those that run may make others, until all are stopped. */
        do
                await_stops(p);
        while (seize_more(p, dir) > 0);
        (void) closedir(dir);
        return p->threads[0].stopped ? 0 : -EBUSY;
}
