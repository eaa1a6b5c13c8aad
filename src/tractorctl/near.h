/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* "Did you mean?": of many words the one nearest to what was typed. Distance is the number of letters left out, put in,
 * mistyped or swapped with their neighbour; the case of letters counts for nothing. How far is still near grows with
 * the word, up to three. Pure. */

#include "base/macro.h"

/* Longer words are never near: the work is bounded by the square of this. */
#define NEAR_WORD_MAX 255

typedef struct Near {
        const char *word; /* what was typed; weak, as the next */
        const char *found;
        size_t distance; /* of `found` */
} Near;

/* SIZE_MAX: too long a word. */
size_t near_distance(const char *a, const char *b);
/* Takes `candidate` for found if it is near, and nearer than what was found before. */
void near_consider(Near *n, const char *candidate);
