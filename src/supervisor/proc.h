/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Processes as /proc tells of them: enough to find who descends from whom where no cgroup says so. All answers are
 * about a pid, which may be another process's by the time they are used: whoever acts on one holds a pidfd from
 * before and looks whether that is still alive afterwards. */

#include <sys/types.h>

#include "base/macro.h"

typedef struct ProcStat {
        int pid, ppid, session;
        char state; /* 'Z' and 'X' have ended */
        uint64_t cpu_usec, memory, tasks;
        uint64_t start_ticks; /* since boot: with the pid it names a process for good */
} ProcStat;

typedef struct PidList {
        int *pids;
        size_t n, cap;
} PidList;

void pid_list_done(PidList *l);
int pid_list_add(PidList *l, int pid);

/* -ESRCH: no such process. */
int proc_stat(int pid, ProcStat *ret);
/* Is a SIGKILL pending for it? 1, also of a zombie that died of one, or 0. The kernel takes the task lock of its main
 * thread before it looks. */
int proc_kill_pending(int pid);
/* All processes there are. */
int proc_list(PidList *l);
/* Adds the children of all threads of pid. -EOPNOTSUPP: this kernel doesn't list them. */
int proc_children(int pid, PidList *l);

/* Copies the value of an environment variable as the process was started with. 1; 0 when it has none; -ENODATA when
 * it has no environment to read (yet: in the middle of execve), -EACCES when it is not ours to see. */
int proc_environ(int pid, const char *name, char *ret, size_t size);
