/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What an earlier run of a service's instance left, where no cgroup tells of it: keeper and supervisor were killed at once,
 * PDEATHSIG ended the main processes, and whoever these had started belongs to PID 1 now. Found by the environment that
 * each actor is given, and by nothing that could be another's:
 *
 * - it names the instance and an actor;
 * - it is of our user and our PID namespace: others may have an instance of the same name;
 * - no keeper is among its ancestors: a keeper that lives is a subreaper and has all its actors below it;
 * - it is no ancestor of ours: someone who came by way of such a process may be starting us.
 *
 * What can't be read is spared. A stray that cleared its environment, or that runs as another user, is not found. */

#include "base/macro.h"

/* SIGKILL to all of them and their descendants, until none is left or the time is up. Blocks: only at the start. */
void sweep_instance(const char *instance, uint64_t timeout_usec);
