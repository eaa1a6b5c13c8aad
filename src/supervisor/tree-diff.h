/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What differs between two specifications of one node, key by key. Each key of the tree file is one of two kinds: a
 * *live* one holds for what runs already, any other is a reason to start the node anew. Compared is what the file
 * means, not how it is written: "1G" is "1024M", and a default is as good as the same value given. Pure; the children
 * are not looked at. */

#include "supervisor/config.h"

typedef enum SpecDiff {
        SPEC_SAME,
        SPEC_LIVE,    /* live keys alone */
        SPEC_RESTART, /* other keys, and maybe live ones too */
} SpecDiff;

SpecDiff spec_diff(const TreeSpec *from, const TreeSpec *to);
/* For people: {"exec": {"live": false}, "limits.MemoryMax": {"live": true, "from": "512M", "to": "1G"}, …}. Values come
 * with live keys only, and null is "not given": what a program is started with may hold what is not to be shown. */
int spec_diff_to_json(const TreeSpec *from, const TreeSpec *to, Json **ret);
