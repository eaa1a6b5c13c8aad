/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The files that the supervisor keeps of an actor's output: FILE and, older, FILE.1, which FILE is renamed to when it is
 * full. Following one means to watch their folder: no file is there before the first line, and after a rename the rest of
 * the old one is read before the new one. */

#include "tractorctl/log-line.h"

/* What there is goes to `r`; then `on_caught_up` is called, once; with `follow` all that comes goes to `r` until the folder
 * is removed. 0 or negative errno: -EACCES … of the folder. */
int log_file_read(const char *path, bool follow, LogReader *r, void (*on_caught_up)(void *userdata));
