/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Random numbers that a test can repeat: it says its seed, and takes another from $TRACTOR_SEED. */

#include "test.h"

static unsigned draw_seed;

static inline void draw_begin(unsigned otherwise)
{
        const char *given = getenv("TRACTOR_SEED");

        draw_seed = given ? (unsigned) strtoul(given, NULL, 0) : otherwise;
        fprintf(stderr, "   seed %u\n", draw_seed);
}

/* 0 … n - 1 */
static inline unsigned draw(unsigned n)
{
        return (unsigned) rand_r(&draw_seed) % n;
}
