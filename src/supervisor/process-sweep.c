/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/usec.h"
#include "supervisor/backend-cgroup.h"
#include "supervisor/proc.h"
#include "supervisor/process-search.h"
#include "supervisor/process-sweep.h"

#define KEEPER_COMM "tractord" /* it sees to that itself */
/* Deeper than any machine nests processes: past it the answer is that we don't know. */
#define ANCESTORS_MAX 1024
#define INSTANCE_SIZE 32
#define SWEEP_LIMIT_USEC (2 * USEC_PER_SEC)

static bool is_keeper(int pid)
{
        _cleanup_free_ char *comm = NULL;
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/%d/comm", pid);
        return read_file_at(AT_FDCWD, path, &comm) < 0 || streq(comm, KEEPER_COMM);
}

static int open_pid(int pid)
{
        return (int) syscall(SYS_pidfd_open, pid, 0);
}

/* Goes up from `pid`. 1: came by `wanted`, or where that is 0 by a keeper; 0: came to PID 1 without; negative: can't be
 * told. Each step is held by a descriptor, so that no number on the way is another process's by the time it is used. */
static int descends_from(int pid, int wanted)
{
        _cleanup_close_ int fd = open_pid(pid);

        for (int i = 0; i < ANCESTORS_MAX && pid != 1; i++) {
                _cleanup_close_ int parent_fd = -EBADF;
                ProcStat before, after;
                bool found;

                if (proc_stat(pid, &before) < 0 || before.ppid <= 0)
                        return -ESRCH; /* no parent that we could see: it was sent into our namespace */
                parent_fd = open_pid(before.ppid);
                found = wanted > 0 ? before.ppid == wanted : is_keeper(before.ppid);
                if (fd < 0 || parent_fd < 0 || proc_stat(pid, &after) < 0 || after.ppid != before.ppid ||
                                pidfd_ended(fd))
                        return -EAGAIN;
                if (found)
                        return 1;
                safe_close(fd);
                fd = TAKE_FD(parent_fd);
                pid = before.ppid;
        }
        return pid == 1 ? 0 : -ELOOP;
}

static bool is_in_our_namespace(int pid)
{
        struct stat ours, theirs;
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/%d/ns/pid", pid);
        return stat("/proc/self/ns/pid", &ours) >= 0 && stat(path, &theirs) >= 0 &&
               ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

/* Root's actors may run as anybody. */
static bool is_ours_to_end(int pid)
{
        struct stat st;
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/%d", pid);
        return stat(path, &st) >= 0 && (geteuid() == 0 || st.st_uid == geteuid());
}

static bool is_stray(int pid, const char *instance)
{
        char value[INSTANCE_SIZE], id[ACTOR_ID_LIMIT];

        return is_ours_to_end(pid) && proc_environ(pid, "TRACTOR_INSTANCE", value, sizeof(value)) > 0 &&
               streq(value, instance) && proc_environ(pid, ACTOR_ID_VARIABLE, id, sizeof(id)) > 0 &&
               is_in_our_namespace(pid) && descends_from(pid, 0) == 0 && descends_from(getpid(), pid) == 0;
}

/* The descriptor comes first: it tells at the end whether it was one and the same process all the while. */
static bool kill_if_stray(int pid, const char *instance)
{
        _cleanup_close_ int pidfd = open_pid(pid);

        if (pidfd < 0 || !is_stray(pid, instance) || pidfd_ended(pidfd))
                return false;
        log_warning("process %d was left by a keeper that is no more: killed", pid);
        return kill_descent(pid, pidfd) >= 0;
}

static bool sweep_once(const char *instance)
{
        _cleanup_(pid_list_done) PidList all = { 0 };
        bool any = false;

        if (proc_list(&all) < 0)
                return false;
        for (size_t i = 0; i < all.n; i++)
                if (all.pids[i] > 1 && all.pids[i] != getpid() && kill_if_stray(all.pids[i], instance))
                        any = true;
        return any;
}

void sweep_instance(const char *instance, uint64_t timeout_usec)
{
        uint64_t deadline = usec_add(now_usec(CLOCK_MONOTONIC), timeout_usec);

        while (sweep_once(instance) && now_usec(CLOCK_MONOTONIC) < deadline)
                (void) usleep(2000); /* until those killed have ended */
}

int sweep_main(const char *instance, const char *backend)
{
        log_setup("tractor-sweep", LOG_INFO);
        if (streq(backend, "cgroup"))
                cgroup_instance_end(instance);
        else
                sweep_instance(instance, SWEEP_LIMIT_USEC);
        return EXIT_SUCCESS;
}
