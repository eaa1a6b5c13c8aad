/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What stream.c (the loop, input, beginning and end) and stream-output.c (the queue) know of each other. */

#include "base/list.h"
#include "wire/frame.h"
#include "wire/stream.h"

/* Descriptors that go with the byte at `at`. */
typedef struct OutFds {
        ListNode node;
        uint64_t at;
        size_t n;
        int fds[];
} OutFds;

struct Stream {
        sd_event *event;
        sd_event_source *io, *defer, *timer; /* the latter two are made when first needed */
        int fd, out_fd;                      /* the same, but for stream_set_output() */
        sd_event_source *output;             /* of out_fd where that is another */
        bool is_socket, out_is_socket;       /* else bytes are all that passes */
        const StreamVtable *vtable;
        void *userdata;
        unsigned pins;
        unsigned forks;                    /* forks_count of who made it */
        Quota *quota;                      /* weak; NULL: none */
        size_t charged_bytes, charged_fds; /* to it */
        Turns *turns;                      /* weak; NULL: the loop's */
        Turn turn;
        Cork *cork;      /* weak; NULL: none */
        ListNode corked; /* has said something since it is on */
        uint64_t busy_until; /* it has had more than its share: until then it waits for its turn before it is read */

        Frame in;
        char *out;
        size_t out_start, out_end, out_size; /* unwritten bytes are out[out_start, out_end) */
        uint64_t written;                    /* position of out[out_start] in the stream */
        ListNode out_fds;
        size_t n_out_fds; /* how many of them */
        size_t output_max;
        /* Bytes queued that the peer made us say: before and since `mark`, a position in the stream. Once all up to it is
         * written the first are forgotten: the sum is never too small, and counts no more than two queues. */
        size_t asked_before, asked_since;
        uint64_t mark;
        uint64_t stall_usec, progress; /* when the peer last took something */
        uint32_t events, out_events;   /* asked of epoll */

        bool freed;        /* only pinned */
        bool paused;       /* by the owner */
        bool full;         /* the queue is over its quota, and not yet at half of it again */
        bool choked;       /* with what the peer asked for: it is not read from */
        bool lines_left;   /* the turn ended with lines in the buffer */
        bool greedy;       /* to be read when its turn comes: it read all that one may, or is busy */
        bool was_above;    /* half the quota: on_drained is due */
        bool half_closed;  /* nothing more comes in */
        bool finishing;    /* end once all is written */
        bool write_broken; /* the peer takes no more */
        bool ended;        /* on_end was called: nothing is read any more */
        bool kept;         /* a line for the cork's release */
        bool end_due;      /* on_end is to be called from the loop */
        StreamEnd end;
        int error;
};

/* Notes that on_end is due. */
void stream_set_end(Stream *s, StreamEnd end, int error);
/* After a call from outside; within a turn its end does it. */
void stream_changed(Stream *s);

void stream_drop_output(Stream *s);
/* One write from the queue: 1 when there may be more to do, 0 when the socket is full or the queue empty. */
int stream_write_chunk(Stream *s);
/* A turn's worth of them. */
void stream_write_turn(Stream *s);
