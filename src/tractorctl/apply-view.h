/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The result of tree.apply as a difference to be read, one node a line:
 *
 *      + /shop/new
 *      - /shop/old
 *      ~ /shop/api restarts: exec, env.FOO
 *      * /shop/db limits.MemoryMax 512M → 1G in place
 *
 * Pure. */

#include "tractorctl/text.h"
#include "wire/json.h"

/* The text, "" where nothing differs; NULL when out of memory. */
char *apply_view(const Json *result, const Style *style);
