/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The program's two pipes as lines on an sd-event loop: what a Stream is for a socket. Nothing here ends by itself: an EOF
 * or a program that closed its input are told, and what they mean is the owner's to say. What is sent waits in a queue
 * that grows; its owner bounds it, by what it lets in, with the help of positions: bytes since the beginning, written and
 * queued. It is not freed from within its call-backs. */

#include <systemd/sd-event.h>

#include "base/macro.h"

typedef struct Lines Lines;

typedef struct LinesVtable {
        void (*on_line)(char *line, size_t n, void *userdata);
        /* No more lines: closed at the other side (0), or negative errno; -EMSGSIZE: a line over max_line. */
        void (*on_end)(int r, void *userdata);
        void (*on_written)(
                        void *userdata); /* some of what was queued, or all is lost: nobody reads it any more */
        void (*on_broken)(void *userdata); /* by that; once */
} LinesVtable;

/* Consumes both descriptors, on failure too. */
int lines_new(sd_event *event, int in, int out, size_t max_line, const LinesVtable *vtable, void *userdata,
                Lines **ret);
Lines *lines_free(Lines *l);
DEFINE_CLEANUP(Lines *, lines_free);

/* `n` without newline, which is added. -ENOMEM; -EPIPE: nobody reads, or lines_finish() was called. */
int lines_send(Lines *l, const char *text, size_t n);
size_t lines_queued(const Lines *l);
uint64_t lines_written(
                const Lines *l); /* a position; that of the queue's end is so much and lines_queued() */
/* EOF for the other side, once all is written. */
void lines_finish(Lines *l);
/* Stops and resumes reading. */
void lines_pause(Lines *l, bool paused);
/* Reads what is there now, but no more than about `max` bytes. */
void lines_drain(Lines *l, size_t max);
