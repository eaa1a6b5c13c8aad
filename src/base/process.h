/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Processes of one's own: making one with a pidfd, ending all there are, and finding a program of this package. */

#include <sys/types.h>

#include "base/macro.h"

/* fork() with a pidfd, into a cgroup v2 directory unless cgroup_fd is -EBADF. Handled signals are at their default in
 * the child, ignored ones stay so. *ret_pidfd is written in the parent alone. A pid, 0 or a negative errno. */
pid_t clone_process(int cgroup_fd, int *ret_pidfd);

/* SIGKILLs all children and waits for them. A subreaper's descendants become children as their parents die, so that
 * in the end none of them is left. Blocks, but not longer than `limit`: a process stuck in the kernel can't be
 * waited for. SIGCHLD must be blocked. 0, or -EBUSY when some are left. */
int end_children(uint64_t limit_usec);

/* The path of a program that no user calls: in $TRACTOR_LIBEXECDIR where that is set, else beside the running
 * executable, in `build_dir` relative to that, or in `installed`. The caller's to free; NULL: out of memory. It may
 * not exist. */
char *find_program(const char *name, const char *build_dir, const char *installed);
