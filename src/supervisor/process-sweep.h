/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What an instance left whose keeper and supervisor were killed at once: PDEATHSIG ended the main processes, and whoever
 * these had started belongs to PID 1 now. Who clears up is the spawner of an embedded instance, and the next start of a
 * service's. Where no cgroup tells, those meant are found by the environment that each actor is given, and by nothing that
 * could be another's:
 *
 * - it names the instance and an actor;
 * - it is of our PID namespace and, unless we are root, of our user: others may have an instance of the same name;
 * - no keeper is among its ancestors: a keeper that lives is a subreaper and has all its actors below it;
 * - it is no ancestor of ours: someone who came by way of such a process may be starting us.
 *
 * What can't be read is spared. A stray that cleared its environment is not found, unless its parent is one that did not. */

#include "base/macro.h"

/* SIGKILL to all of them and their descendants, until none is left or the time is up. Blocks: not where a loop runs. */
void sweep_instance(const char *instance, uint64_t timeout_usec);
/* What the spawner becomes: `--sweep INSTANCE BACKEND`, see child/spawner.h. */
int sweep_main(const char *instance, const char *backend);
