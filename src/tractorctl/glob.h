/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Patterns in place of paths. They match as those of `list` do, so that `list GLOB` shows what will be meant: '*'
 * stands for slashes too, "/" is never meant. What is below another match is left to that: what is done to a node
 * is done to all below it. Pure. */

#include "wire/json.h"

typedef enum GlobKind {
        GLOB_TOPMOST,  /* what is below another match is left out */
        GLOB_ACTORS,   /* actors alone, each of them: what has a main process */
        GLOB_INACTIVE, /* what is dead or failed, topmost */
} GlobKind;

/* Is it one? A path never is: a name has none of these characters. */
bool glob_is(const char *s);
/* Appends the paths in and below `node` that match. 0 or -ENOMEM. */
int glob_expand(const Json *node, const char *pattern, GlobKind kind, char ***paths);
