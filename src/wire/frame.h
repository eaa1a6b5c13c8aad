/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Splits a byte stream into lines and keeps the descriptors that came with it, without knowing sockets. Bytes
 * are appended by frame_reserve()/frame_commit() straight from recvmsg; lines come out borrowed and in place. A
 * line over max_line is an error for good: the stream's position is lost. Empty lines are skipped, "\r\n" is
 * accepted. Descriptors wait in the order they came; a set belongs to a line no later than the one that holds the
 * last byte received with it. Memory: at most max_line + one read; an idle framer holds none. */

#include "base/macro.h"

#define FRAME_MAX_LINE_DEFAULT (1024U * 1024)
#define FRAME_MAX_LINE_LIMIT (64U * 1024 * 1024)
#define FRAME_FDS_MAX 32

typedef struct FrameFds FrameFds;

typedef struct Frame {
        char *data;
        size_t start, end, size; /* unread bytes are data[start, end) */
        size_t scanned;          /* no newline in data[start, scanned) */
        size_t max_line;
        uint64_t consumed; /* bytes of the stream before data[start] */
        FrameFds *fds;     /* NULL when none wait */
        bool broken;
} Frame;

void frame_init(Frame *f, size_t max_line);
void frame_done(Frame *f); /* closes descriptors nobody claimed */

/* Room for at least `want` more bytes at *ret; 0 or -ENOMEM. */
int frame_reserve(Frame *f, size_t want, void **ret, size_t *ret_n);
void frame_commit(Frame *f, size_t n);
/* Queues descriptors, consuming them, that came with the bytes just committed; -EXFULL (and closes these) past
 * FRAME_FDS_MAX, -ENOMEM. */
int frame_push_fds(Frame *f, const int *fds, size_t n);
size_t frame_n_fds(const Frame *f);
/* Takes the n oldest; -EBADMSG when fewer are queued. */
int frame_take_fds(Frame *f, int *fds, size_t n);
/* Whether descriptors are left that no line has claimed in time. */
bool frame_fds_overdue(const Frame *f);

/* 1 and a line without its end, terminated by NUL; 0 when more bytes are needed; -EMSGSIZE once a line is too
 * long. The line is valid until the next call on f, frame_take_fds() and frame_fds_overdue() excepted. */
int frame_next(Frame *f, char **ret_line, size_t *ret_n);
/* Gives back memory when nothing is buffered. */
void frame_shrink(Frame *f);
