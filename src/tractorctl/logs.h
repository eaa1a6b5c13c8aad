/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "tractorctl/context.h"

/* The last lines of what an actor wrote, the oldest first, to be shown beside other things: as they are, not cleaned. None
 * where they are kept elsewhere or can't be read by this user. `node` has path, unit, cgroup and output. 0 or -ENOMEM. */
int logs_tail(Context *c, const Json *node, size_t n, char ***ret);
