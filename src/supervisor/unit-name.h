/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Names of systemd units for nodes of the tree. systemd nests slices by name alone: the slice of a node is its parent's
 * name with one more component, so a name grows with depth while systemd ends it at 255 bytes; and the cgroup path,
 * which repeats the whole name at every level, ends at PATH_MAX. Both budgets are shared out so that UNIT_LEVELS
 * levels fit whatever the names: a component is the escaped name where that leaves room for all levels below it,
 * else a hash of 7 hex digits, else one of 3 letters. Shallow trees with ordinary names read as written.
 *
 * Names are a pure function of (parent, depth, name, salt); salt is 0 but where two siblings' hashes meet. */

#include "base/macro.h"

#define UNIT_NAME_MAX 255
#define UNIT_LEVELS 30
/* Of a component; longer ones become 12 characters, '_' and 8 hex digits. */
#define UNIT_COMPONENT_MAX 24
/* The longest cgroup path of a slice below systemd's own root. */
#define UNIT_PATH_MAX 3840

/* "tractor-<instance>.slice" */
int unit_name_instance(const char *instance, char **ret);

/* The slice of a node at `depth` (1: a tree) below the slice `parent`. -ENAMETOOLONG: no name is left for it. */
int unit_name_slice(const char *parent, unsigned depth, const char *name, unsigned salt, char **ret);
/* The scope of a generation in a node's slice. */
int unit_name_scope(const char *slice, uint32_t generation, char **ret);

/* "/tractor.slice/tractor-sys.slice/tractor-sys-shop.slice": where systemd puts a slice, below its own root. */
int unit_name_cgroup(const char *slice, char **ret);
