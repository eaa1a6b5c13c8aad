/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>

#include "tractorctl/near.h"

#define NEAR_MAX 3U

static bool same(char a, char b)
{
        return tolower((unsigned char) a) == tolower((unsigned char) b);
}

/* Of the prefixes of `a` up to letter i, and of `b` up to each: the row before, and that before it, are enough. */
static void next_row(const char *a, const char *b, size_t n, size_t i, const size_t *before,
                const size_t *last, size_t *row)
{
        row[0] = i;
        for (size_t k = 1; k <= n; k++) {
                row[k] = last[k - 1] + !same(a[i - 1], b[k - 1]);
                row[k] = MIN(row[k], MIN(last[k], row[k - 1]) + 1);
                if (i > 1 && k > 1 && same(a[i - 1], b[k - 2]) && same(a[i - 2], b[k - 1]))
                        row[k] = MIN(row[k], before[k - 2] + 1);
        }
}

size_t near_distance(const char *a, const char *b)
{
        size_t rows[3][NEAR_WORD_MAX + 1], m = strlen(a), n = strlen(b);

        if (m > NEAR_WORD_MAX || n > NEAR_WORD_MAX)
                return SIZE_MAX;
        for (size_t k = 0; k <= n; k++)
                rows[0][k] = k;
        for (size_t i = 1; i <= m; i++)
                next_row(a, b, n, i, rows[(i + 1) % 3], rows[(i - 1) % 3], rows[i % 3]);
        return rows[m % 3][n];
}

void near_consider(Near *n, const char *candidate)
{
        size_t length = strlen(n->word), d;

        if (length < 3)
                return; /* anything would be near */
        d = near_distance(n->word, candidate);
        if (d > MIN(NEAR_MAX, 1 + length / 4) || (n->found && d >= n->distance))
                return;
        n->found = candidate;
        n->distance = d;
}
