/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Names and paths of nodes in the supervision tree: '/'-separated names, "/" the root; a name is
 * [A-Za-z0-9_][A-Za-z0-9_.-]{0,63}. */

#include "base/macro.h"

#define NODE_NAME_MAX 64
/* The deepest tree accepted: well above what unit names can carry, well below any stack. */
#define NODE_DEPTH_MAX 64

bool node_name_is_valid(const char *s);
/* "/" or "/name(/name)*". */
bool node_path_is_valid(const char *s);
/* Is `path` the node `top` or below it? Both are valid paths. */
bool node_path_covers(const char *top, const char *path);
/* parent "/" or "/a" and a name → "/name" or "/a/name". NULL when out of memory. */
char *node_path_join(const char *parent, const char *name);
