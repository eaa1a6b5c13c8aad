/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where the output of actors goes on a machine without a journal: one file an actor, "<dir>/shop+api.log" for
 * /shop/api, that its processes append to directly and the supervisor keeps bounded. No copy, and no work for an
 * idle actor: inotify (IN_MODIFY, re-armed at most every 250 ms) tells of growth; past OUTPUT_FILE_MAX the oldest
 * blocks are given back in place (FALLOC_FL_COLLAPSE_RANGE, where the file system has it, else PUNCH_HOLE), so no
 * line a writer is just appending is ever lost; by a short-lived child, since both may wait for the disk. Readers skip
 * holes. */

#include <systemd/sd-event.h>

#include "base/macro.h"

#define OUTPUT_FILE_MAX (4U * 1024 * 1024)
#define OUTPUT_FILE_KEEP (1U * 1024 * 1024) /* of the newest, after a cut */

typedef struct OutputDir OutputDir;

/* $STATE_DIRECTORY, /var/lib/tractor (root) or ${XDG_STATE_HOME:-~/.local/state}/tractor, then "/<instance>"; made
 * with mode 0700, every component checked against symlinks not owned by root or us. */
int output_dir_new(sd_event *event, const char *instance, OutputDir **ret);
/* Removes empty files and, when `remove`, the whole folder. */
OutputDir *output_dir_free(OutputDir *d, bool remove);
/* The file of an actor, created (0640, owned by uid:gid so that the child can open it itself) and watched. *ret_path
 * is the caller's. Calling it again for a later generation gives the same path. */
int output_dir_open(OutputDir *d, const char *actor_path, uid_t uid, gid_t gid, char **ret_path);
/* The actor left the tree: unwatch; the file stays while it has content. */
void output_dir_close(OutputDir *d, const char *actor_path);
