/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Directories in which nobody plays tricks on us. A path is trusted when no one but root and this process's own user can
 * put something else in the place of any directory on the way: each belongs to one of the two, and one that others may
 * write to is sticky; a symbolic link on the way must be theirs as well. (A group that may write to one was chosen by its
 * owner, and is trusted as such.) Names in such a directory can be looked up,
 * removed and bound in several steps without a race. */

#include <sys/types.h>

#include "base/macro.h"

/* Opens it (O_PATH), step by step; with `make` other than 0, what is missing is made with that mode. -EPERM where it is not
 * to be trusted, -ENOTDIR, -ELOOP, -ENOENT … A relative path is followed from the working directory, which is trusted
 * only if its own path is. */
int directory_open_trusted(const char *path, mode_t make);
/* The same for the directory that a file is in or is to be in; nothing is made or left open. */
int directory_check_parent(const char *path);
