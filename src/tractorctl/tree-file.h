/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A tree file as this side sees it: JSON, bounded in size, whose actors' missing `cwd` becomes the file's own
 * directory. What the keys mean is the supervisor's to judge. */

#include "wire/json.h"

#define TREE_FILE_MAX (1024U * 1024)

/* "-" is standard input, whose directory is the current one. 0; -EBADMSG for broken JSON; another negative errno
 * when it can't be read. *reterr is the line to print, "FILE:LINE:COLUMN: why" or a sentence. */
int tree_file_read(const char *path, Json **ret, char **reterr);

/* The pure half: gives each actor below `tree` that lacks one the `cwd`. 0 or -ENOMEM. */
int tree_set_cwd(Json *tree, const char *cwd);
