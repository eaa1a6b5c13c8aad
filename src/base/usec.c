/* SPDX-License-Identifier: Apache-2.0 */
#include "base/usec.h"

uint64_t now_usec(clockid_t clock)
{
        struct timespec ts;

        if (clock_gettime(clock, &ts) < 0)
                return 0;
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / NSEC_PER_USEC;
}

uint64_t usec_add(uint64_t a, uint64_t b)
{
        return a > USEC_INFINITY - b ? USEC_INFINITY : a + b;
}

uint64_t usec_sub(uint64_t a, uint64_t b)
{
        if (a == USEC_INFINITY)
                return a;
        return a > b ? a - b : 0;
}
