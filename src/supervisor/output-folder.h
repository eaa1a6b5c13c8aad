/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The folder of an instance's log files, and their names. What stands on the way to it may not have been put there by
 * others than root or us. */

#include "base/macro.h"

/* $STATE_DIRECTORY, /var/lib/tractor (root) or ${XDG_STATE_HOME:-~/.local/state}/tractor, then "/<instance>"; made
 * with mode 0700, every component checked against symlinks not owned by root or us. Returns the directory. */
int output_folder_open(const char *instance, char **ret_path);
/* Removes it when it is empty; with `all` what is in it first. */
void output_folder_clean(int fd, const char *path, bool all);
/* "/shop/api" → "shop+api.log"; what came before is in a file with ".1" after that. For readers of the files, too. NULL:
 * out of memory. */
char *output_file_name(const char *actor_path);
