/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a test can leave behind: processes that came to us as their subreaper, and entries of a directory tree
 * (files of a tmpfs, directories of cgroupfs). Each is found, named, and ended or removed. */

#include <stddef.h>
#include <sys/types.h>

#include "base/macro.h"

typedef struct Proc {
        pid_t pid, parent;
        char state;
        bool ours;
} Proc;

/* All that descend from the caller, as far as they still run; *ret is the caller's to free. */
size_t find_descendants(Proc **ret);
/* "123 (state S): command line", cut to fit. */
void name_process(const Proc *p, char *text, size_t size);

/* Called for each entry, the deepest first. */
typedef void (*visit_t)(void *userdata, int dirfd, const char *name, const char *path, bool is_dir);
void walk(int dirfd, const char *path, visit_t visit, void *userdata);
/* A visitor that removes what it is shown. */
void visit_remove(void *userdata, int dirfd, const char *name, const char *path, bool is_dir);
