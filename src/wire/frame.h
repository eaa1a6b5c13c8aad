/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Splits a byte stream into lines and keeps the descriptors that came with it, without knowing sockets. Bytes
 * are appended by frame_reserve()/frame_commit() straight from recvmsg; lines come out borrowed and in place. A
 * line over max_line is an error for good: the stream's position is lost. Empty lines are skipped, "\r\n" is
 * accepted. Memory: at most max_line + one read; an idle framer holds none. */

#include "base/macro.h"

#define FRAME_MAX_LINE_DEFAULT (1024U * 1024)
#define FRAME_MAX_LINE_LIMIT (64U * 1024 * 1024)
#define FRAME_FDS_MAX 32

typedef struct Frame {
        char *data;
        size_t start, end, size; /* unread bytes are data[start, end) */
        size_t scanned;          /* no newline before this offset */
        size_t max_line;
        int fds[FRAME_FDS_MAX];
        size_t n_fds;
        bool broken;
} Frame;

void frame_init(Frame *f, size_t max_line);
void frame_done(Frame *f); /* closes descriptors nobody claimed */

/* Room for at least `want` more bytes at *ret; 0 or -ENOMEM. */
int frame_reserve(Frame *f, size_t want, void **ret, size_t *ret_n);
void frame_commit(Frame *f, size_t n);
/* Queues descriptors, consuming them; -EXFULL (and closes these) past FRAME_FDS_MAX. */
int frame_push_fds(Frame *f, const int *fds, size_t n);
/* Takes the n oldest; -EBADMSG when fewer are queued. */
int frame_take_fds(Frame *f, int *fds, size_t n);

/* 1 and a line without its end; 0 when more bytes are needed; -EMSGSIZE once a line is too long. The line is
 * valid until the next call on f. */
int frame_next(Frame *f, char **ret_line, size_t *ret_n);
/* Gives back memory when nothing is buffered. */
void frame_shrink(Frame *f);
