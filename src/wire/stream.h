/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One non-blocking byte-stream socket (or a pipe for each direction, by which no descriptors go) of JSON lines on an sd-event loop: a framer for what comes in, a bounded
 * queue for what goes out, descriptors both ways. It knows lines, not messages. The output quota is the peer's:
 * with more than `output_max` queued of what it asked for the stream is no longer read from (so a client that does not
 * read its replies can't ask for more) until half of it is gone. What we say unasked does not count for that: two
 * peers that send to each other would both stop reading. In either case the stream is closed after `stall_usec` without
 * progress. One unit of work a turn:
 * at most STREAM_LINES_PER_TURN lines are handed up, and none is begun after STREAM_TURN_USEC, before others get their
 * chance: the other sources of the loop, and where streams share Turns, first those that ask for little. Callbacks come from
 * the loop only, never from within a call on the stream. An idle stream holds no buffers. */

#include <systemd/sd-event.h>

#include "base/list.h"
#include "base/macro.h"
#include "wire/json.h"
#include "wire/quota.h"
#include "wire/turns.h"

#define STREAM_OUTPUT_MAX_DEFAULT (1024U * 1024)
#define STREAM_STALL_USEC_DEFAULT (30U * 1000 * 1000)
#define STREAM_LINES_PER_TURN 32
#define STREAM_TURN_USEC 50
/* In one go, whatever there is: a line of many megabytes comes in as many turns, each as short as anybody's. */
#define STREAM_READ_MAX (32U * 1024)

/* Of streams whose owner says much at a time, such as a task until it gives way. While it is `on`, of the lines of each that are sent
 * "soon" the first goes out at once, so that one alone is never late, and those behind it are kept for one write together; any other line
 * goes out at once, and takes along what was kept. */
typedef struct Cork {
        ListNode streams;
        bool on;
        bool in_order; /* before any of them answers, all is said that was kept, by whichever */
} Cork;
/* Turns it off, and writes what was kept; callbacks may come from it. */
void cork_release(Cork *c);

typedef struct Stream Stream;

typedef enum StreamEnd {
        STREAM_END_EOF,
        STREAM_END_ERROR,    /* errno in `error` */
        STREAM_END_TOO_LONG, /* a line over max_line: the owner answers -32700, then frees */
        STREAM_END_BAD_FDS,  /* undeclared, missing or truncated descriptors */
        STREAM_END_STALLED,
        STREAM_END_QUOTA, /* what it would have kept is more than its user may; answered as above */
} StreamEnd;

/* Every callback may free the stream. Descriptors are claimed by stream_take_fds() from within on_line. on_end is
 * called at most once; the owner frees the stream (stream_flush_and_free() to let a last error out: what is sent
 * after TOO_LONG, BAD_FDS and QUOTA still goes out). A last line without its newline may be cut and is dropped. */
typedef struct StreamVtable {
        void (*on_line)(Stream *s, char *line, size_t n, void *userdata);
        void (*on_end)(Stream *s, StreamEnd end, int error, void *userdata);
        void (*on_drained)(Stream *s, void *userdata); /* may be NULL: the queue went below half its quota */
        /* May be NULL. The peer will send no more but may still read. True: keep the stream for output;
         * on_end(EOF) follows when the peer is gone or after stream_finish(). False or NULL: on_end at once. */
        bool (*on_half_closed)(Stream *s, void *userdata);
        void (*on_written)(Stream *s, void *userdata); /* may be NULL: the queue has become empty */
} StreamVtable;

/* Consumes fd, on failure too. */
int stream_new(sd_event *event, int fd, size_t max_line, const StreamVtable *vtable, void *userdata,
                Stream **ret);
/* Before anything is sent: what is sent goes to `fd` (consumed, on failure too). */
int stream_set_output(Stream *s, int fd);
Stream *stream_free(Stream *s);
DEFINE_CLEANUP(Stream *, stream_free);
/* Writes what is queued if the socket takes it at once, then frees. */
void stream_flush_and_free(Stream *s);
/* Both may be NULL, and must outlive the stream. */
void stream_share(Stream *s, Quota *quota, Turns *turns);
/* The same for what it says. */
void stream_set_cork(Stream *s, Cork *cork);
void stream_set_output_max(Stream *s, size_t bytes, uint64_t stall_usec);

/* Queues one JSON value as a line with descriptors (consumed, on failure too); writes at once where possible.
 * `v` is borrowed. 0, -ENOMEM, -EPIPE after the end, -ENOBUFS when four times the quota is queued. */
int stream_send(Stream *s, Json *v, int *fds, size_t n_fds);
int stream_send_text(Stream *s, const char *text, size_t n); /* n without newline, which is added */
int stream_send_line(Stream *s, const char *text, size_t n, int *fds, size_t n_fds); /* both */
/* The same for what the peer did not make us say; its sender looks at stream_queued() first. */
int stream_send_unasked(Stream *s, const char *text, size_t n, int *fds, size_t n_fds);
/* Takes n of the descriptors that came with the current line; -EBADMSG when fewer are there. */
int stream_take_fds(Stream *s, int *fds, size_t n);
/* Unasked, and may be kept for a while by the cork. */
int stream_send_soon(Stream *s, const char *text, size_t n);
size_t stream_queued(const Stream *s); /* bytes not yet written */
size_t stream_output_max(const Stream *s);
/* Bytes or descriptors that came and were not handed out, here or in the socket. */
bool stream_has_input(const Stream *s);
int stream_fd(const Stream *s);
/* Stop and resume reading (back-pressure from above). */
void stream_pause(Stream *s, bool paused);
/* Hands up at once what had come by now, without turns and whatever the peer did not read: for one whose writer has ended.
 * The one call that callbacks come from; the stream is to be freed soon, if they did not. */
void stream_read_out(Stream *s);
/* Ends the stream from the loop, with on_end: with EOF once all is written, or at once with an error. */
void stream_finish(Stream *s);
void stream_fail(Stream *s, int error);
