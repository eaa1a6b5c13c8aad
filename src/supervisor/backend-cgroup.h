/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where in cgroup v2 an instance may settle: below the cgroup it was started in, when that was delegated to it or no
 * systemd is there to mind, and when a directory made there can be written to. */

#include "base/usec.h"
#include "supervisor/backend.h"
#include "supervisor/cgroup.h"

#define CGROUP_LEFTOVER_USEC (2 * USEC_PER_SEC)

/* Fills in b->cgroup and b->controllers, on failure too where it has come that far: what is filled in is the caller's
 * to remove and to free, and *ret_why may say why. */
int cgroup_instance_open(const CgroupRoot *root, const BackendOptions *options, Backend *b, char **ret_why);
/* Kills what is left of such an instance and removes its directory. Blocks, CGROUP_LEFTOVER_USEC at most. */
void cgroup_instance_end(const char *instance);
