/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Control groups as files. Every cgroup is named by its path below the cgroup v2 mount, as /proc/PID/cgroup shows it
 * ("/" the root), and reached through one descriptor of the mount point, so that nothing here depends on where the
 * hierarchy is mounted. A cgroup may vanish at any time: -ENOENT and -ENODEV both mean that it is gone and are both
 * returned as -ENOENT. Nothing here knows of homes, trees or systemd. */

#include "supervisor/backend.h"

typedef struct CgroupRoot {
        int fd;     /* of the mount point; -EBADF: none */
        char *root; /* what of the hierarchy is mounted there: "/" unless a part was bind mounted */
} CgroupRoot;

/* Finds and opens the cgroup v2 mount. -ENOENT: there is none. */
int cgroup_root_open(CgroupRoot *ret);
void cgroup_root_close(CgroupRoot *r);
/* The path of a process, 0: our own. -ENXIO when it lies outside of what is mounted. */
int cgroup_of(const CgroupRoot *root, int pid, char **ret);

int cgroup_read(int root, const char *path, const char *file, char **ret);
int cgroup_write(int root, const char *path, const char *file, const char *text);
/* "max" is UINT64_MAX. */
int cgroup_read_u64(int root, const char *path, const char *file, uint64_t *ret);
/* One `key value` line of a file such as memory.events. -ENXIO: no such key. */
int cgroup_read_key(int root, const char *path, const char *file, const char *key, uint64_t *ret);

/* Processes of the subtree that the kernel killed for want of memory. -ENOENT where that is not accounted for. */
int cgroup_oom_kills(int root, const char *path, uint64_t *ret);

bool cgroup_exists(int root, const char *path);
/* 1, 0 or negative; a cgroup that is gone is 0. Zombies don't count: so the kernel sees it. */
int cgroup_populated(int root, const char *path);

/* SIGKILL to the whole subtree: by cgroup.kill, and process by process where the kernel (before 5.14) has none or
 * we may not write it. */
int cgroup_kill(int root, const char *path);
/* A signal to every process of the subtree; a process that moves or ends meanwhile is never mistaken. */
int cgroup_signal(int root, const char *path, int signo);
int cgroup_freeze(int root, const char *path, bool frozen);

/* Waits until it is empty, at most so long: only where no loop runs, at start-up and at the very end. 0 or
 * -ETIMEDOUT. */
int cgroup_wait_empty(int root, const char *path, uint64_t timeout_usec);

int cgroup_make(int root, const char *path);
/* Removes the directory with all below it. -EBUSY when something lives there; one that is gone is fine. */
int cgroup_remove(int root, const char *path);
/* Moves every process of the cgroup itself to another. */
int cgroup_move_all(int root, const char *from, const char *to);

/* The words of `list` that are controllers tractor has limits for, as a new string. */
char *cgroup_known_controllers(const char *list);
bool cgroup_list_has(const char *list, const char *word);
/* Turns controllers on for the children of a cgroup. */
int cgroup_enable(int root, const char *path, const char *controllers);

/* The limits set whose controllers are not in the list, a bit each; the first of them, _LIMIT_INVALID: all can be enforced. */
uint32_t cgroup_unenforceable_all(const Limits *limits, const char *controllers);
Limit cgroup_unenforceable(const Limits *limits, const char *controllers);
/* Writes what is set. On failure *ret_limit is the one refused; -EOPNOTSUPP when the kernel has no file for it. */
int cgroup_set_limits(int root, const char *path, const Limits *limits, Limit *ret_limit);
void cgroup_usage(int root, const char *path, Usage *ret);
/* How many there are, and how many may be; UINT64_MAX: any number. */
int cgroup_tasks(int root, const char *path, uint64_t *ret_tasks, uint64_t *ret_max);
/* What has been spent alone: CPU time and the memory's peak. The rest costs the kernel work that adds up over a teardown. */
void cgroup_spent(int root, const char *path, Usage *ret);
