/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What all connections of one user together may make us keep. Whoever keeps something counts it here; who asks for more
 * than is left is refused, or ends, and nobody else. A limit of 0 is none. */

#include "base/macro.h"

typedef struct Quota {
        size_t bytes, bytes_max; /* in the buffers of streams */
        size_t fds, fds_max;     /* received, and of no message yet */
        size_t calls, calls_max; /* being served */
} Quota;

static inline bool quota_exceeded(size_t used, size_t max)
{
        return max > 0 && used > max;
}
