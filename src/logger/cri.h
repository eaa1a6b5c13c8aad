/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The lines of a log file, in the format of Kubernetes' container runtimes:
 *
 *      2026-11-22T02:03:04.123456789Z stdout F the line
 *
 * the time it was read, UTC; the stream; F, or P for a piece of a line that goes on in the stream's next record; the text
 * as it was written, whatever its bytes. Pure: bytes in, pieces out. */

#include "base/macro.h"

/* A longer line comes in pieces of this size. */
#define CRI_PIECE_MAX (8U * 1024)
#define CRI_TIME_SIZE 30 /* without a terminator */
/* " stdout F " and the newline. */
#define CRI_OVERHEAD (CRI_TIME_SIZE + 11)

typedef struct Piece {
        const char *text; /* borrowed until the next call */
        size_t n;
        bool full; /* the line ends here */
} Piece;

/* What has come of a line that has not ended. A zeroed one is empty. */
typedef struct Line {
        char *data;
        size_t n, cap;
} Line;

/* The next piece of what is in Line and in *p, *n, which moves on; false when the rest has been kept for later. Out of
 * memory makes a piece too early, and loses nothing. */
bool line_next(Line *l, const char **p, size_t *n, Piece *ret);
/* What is left when no more will come; a last line without a newline is a full one. */
bool line_rest(Line *l, Piece *ret);
void line_done(Line *l);

void cri_time(int64_t sec, long nsec, char ret[static CRI_TIME_SIZE]);
/* A record with its newline: n + CRI_OVERHEAD bytes. */
void cri_record(char *out, const char *time, const char *stream, const Piece *piece);

/* The newest of what a stream said, for its last words. Takes its memory at the first byte. */
#define TAIL_SIZE (8U * 1024)
typedef struct Tail {
        char *data;
        uint64_t n; /* ever put */
} Tail;

void tail_put(Tail *t, const char *p, size_t n);
/* The last `lines` lines, with what is not fit for text as '?'. Their size, at most TAIL_SIZE. */
size_t tail_get(const Tail *t, unsigned lines, char *ret);
void tail_done(Tail *t);
