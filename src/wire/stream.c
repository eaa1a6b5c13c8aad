/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#include "base/io.h"
#include "base/list.h"
#include "base/usec.h"
#include "wire/frame.h"
#include "wire/stream.h"

#define READ_SIZE (16U * 1024)
#define WRITES_PER_TURN 8
#define QUEUE_FACTOR 4

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
        int fd;
        const StreamVtable *vtable;
        void *userdata;
        unsigned pins;

        Frame in;
        char *out;
        size_t out_start, out_end, out_size; /* unwritten bytes are out[out_start, out_end) */
        uint64_t written;                    /* position of out[out_start] in the stream */
        ListNode out_fds;
        size_t output_max;
        uint64_t stall_usec, progress; /* when the peer last took something */
        uint32_t events;               /* asked of epoll */

        bool freed;        /* only pinned */
        bool paused;       /* by the owner */
        bool choked;       /* the peer is over its quota */
        bool lines_left;   /* the turn ended with lines in the buffer */
        bool was_above;    /* half the quota: on_drained is due */
        bool half_closed;  /* nothing more comes in */
        bool finishing;    /* end once all is written */
        bool write_broken; /* the peer takes no more */
        bool ended;        /* on_end was called: nothing is read any more */
        bool end_due;      /* on_end is to be called from the loop */
        StreamEnd end;
        int error;
};

static bool may_read(const Stream *s)
{
        return !s->freed && !s->ended && !s->end_due && !s->paused && !s->choked && !s->half_closed &&
               !s->finishing;
}

static void set_end(Stream *s, StreamEnd end, int error)
{
        if (s->ended || s->end_due)
                return;
        s->end_due = true;
        s->end = end;
        s->error = error;
}

static void drop_fds(OutFds *f)
{
        list_unlink(&f->node);
        close_many(f->fds, f->n);
        free(f);
}

static void drop_output(Stream *s)
{
        while (!list_is_empty(&s->out_fds))
                drop_fds(LIST_ENTRY(s->out_fds.next, OutFds, node));
        free(s->out);
        s->out = NULL;
        s->out_start = s->out_end = s->out_size = 0;
        s->choked = s->was_above = false;
}

static void pin(Stream *s)
{
        s->pins++;
}

static void unpin(Stream *s)
{
        if (--s->pins > 0 || !s->freed)
                return;
        frame_done(&s->in);
        free(s);
}

Stream *stream_free(Stream *s)
{
        if (!s || s->freed)
                return NULL;
        s->freed = true;
        pin(s);
        sd_event_source_disable_unref(s->io);
        sd_event_source_disable_unref(s->defer);
        sd_event_source_disable_unref(s->timer);
        sd_event_unref(s->event);
        s->fd = safe_close(s->fd);
        drop_output(s);
        unpin(s);
        return NULL;
}

/* --- what the state asks of the loop --- */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

/* Progress moves the deadline without touching the timer: it looks again when it fires. */
static int update_timer(Stream *s)
{
        bool wanted = s->choked || (s->finishing && stream_queued(s) > 0);
        uint64_t at = usec_add(s->progress, s->stall_usec);
        int r;

        if (!wanted)
                return s->timer ? sd_event_source_set_enabled(s->timer, SD_EVENT_OFF) : 0;
        if (!s->timer)
                return sd_event_add_time(s->event, &s->timer, CLOCK_MONOTONIC, at, 0, on_timer, s);
        if (sd_event_source_get_enabled(s->timer, NULL) > 0)
                return 0;
        r = sd_event_source_set_time(s->timer, at);
        return r < 0 ? r : sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

static int update_io(Stream *s)
{
        uint32_t events = 0;
        int r;

        if (may_read(s) && !s->lines_left)
                events |= EPOLLIN;
        if (stream_queued(s) > 0)
                events |= EPOLLOUT;
        if (events != s->events) {
                r = sd_event_source_set_io_events(s->io, events);
                if (r < 0)
                        return r;
                s->events = events;
        }
        /* A hang-up is reported even when nothing is asked for, and again and again. */
        return sd_event_source_set_enabled(s->io, events || s->half_closed ? SD_EVENT_ON : SD_EVENT_OFF);
}

static void update(Stream *s)
{
        int r;

        if (s->freed || s->ended)
                return;
        if (s->finishing && stream_queued(s) == 0)
                set_end(s, STREAM_END_EOF, 0);
        r = update_timer(s);
        if (r >= 0)
                r = update_io(s);
        if (r < 0)
                set_end(s, STREAM_END_ERROR, -r);
        /* Neither of these two can fail on a source that exists. */
        if (s->end_due)
                (void) sd_event_source_set_enabled(s->io, SD_EVENT_OFF);
        if (s->end_due || (s->lines_left && may_read(s)))
                (void) sd_event_source_set_enabled(s->defer, SD_EVENT_ONESHOT);
}

/* After a call from outside; within a turn its end does it. */
static void changed(Stream *s)
{
        if (s->pins == 0)
                update(s);
}

/* The end of every turn. */
static void settle(Stream *s)
{
        if (s->finishing && stream_queued(s) == 0)
                set_end(s, STREAM_END_EOF, 0);
        if (!s->freed && s->end_due) {
                s->end_due = false;
                s->ended = true;
                (void) sd_event_source_set_enabled(s->io, SD_EVENT_OFF);
                s->timer = sd_event_source_disable_unref(s->timer);
                if (s->end != STREAM_END_TOO_LONG && s->end != STREAM_END_BAD_FDS) {
                        s->write_broken = true;
                        drop_output(s);
                }
                s->vtable->on_end(s, s->end, s->error, s->userdata);
        }
        update(s);
        unpin(s);
}

/* --- output --- */

static void write_failed(Stream *s, int r)
{
        if (r != -EPIPE && r != -ECONNRESET) {
                set_end(s, STREAM_END_ERROR, -r);
                return;
        }
        /* What the peer sent before it went is still to be read, up to its end of file. */
        s->write_broken = true;
        drop_output(s);
        if (s->half_closed)
                set_end(s, STREAM_END_EOF, 0);
}

/* One sendmsg. The number of bytes, 0 when the socket is full. */
static ssize_t send_some(Stream *s, struct iovec *iov, size_t n_iov, const int *fds, size_t n_fds)
{
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int) * SCM_FDS_MAX)];
        } control;
        struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n_iov };
        ssize_t k;

        if (n_fds > 0) {
                memset(&control, 0, sizeof(control));
                msg.msg_control = &control;
                msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * n_fds);
        }
        do
                k = sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (k < 0 && errno == EINTR);
        if (k < 0)
                return errno == EAGAIN ? 0 : -errno;
        s->written += (uint64_t) k;
        s->progress = now_usec(CLOCK_MONOTONIC);
        return k;
}

/* Writes from the queue, up to the next line that carries descriptors. 1 when there may be more to do, 0 when the
 * socket is full or the queue empty. */
static int write_chunk(Stream *s)
{
        OutFds *first = list_is_empty(&s->out_fds) ? NULL : LIST_ENTRY(s->out_fds.next, OutFds, node),
               *next = first;
        struct iovec iov = { .iov_base = s->out + s->out_start, .iov_len = stream_queued(s) };
        bool now = first && first->at == s->written;
        ssize_t k;

        if (iov.iov_len == 0)
                return 0;
        if (now)
                next = first->node.next == &s->out_fds ? NULL : LIST_ENTRY(first->node.next, OutFds, node);
        if (next)
                iov.iov_len = (size_t) (next->at - s->written);
        k = send_some(s, &iov, 1, now ? first->fds : NULL, now ? first->n : 0);
        if (k < 0)
                write_failed(s, (int) k);
        if (k <= 0)
                return 0;
        if (now)
                drop_fds(first);
        s->out_start += (size_t) k;
        if (s->out_start == s->out_end) {
                free(TAKE_PTR(s->out));
                s->out_start = s->out_end = s->out_size = 0;
        }
        return s->out != NULL;
}

static void write_turn(Stream *s)
{
        for (unsigned i = 0; i < WRITES_PER_TURN && write_chunk(s) > 0; i++)
                ;
        if (!s->was_above || stream_queued(s) > s->output_max / 2)
                return;
        s->was_above = s->choked = false;
        if (s->vtable->on_drained)
                s->vtable->on_drained(s, s->userdata);
}

static int reserve_output(Stream *s, size_t n)
{
        size_t used = stream_queued(s);

        if (s->out_size - s->out_end >= n)
                return 0;
        if (s->out_start > 0 && s->out_start >= used) {
                memcpy(s->out, s->out + s->out_start, used);
                s->out_start = 0;
                s->out_end = used;
        }
        return GROW(s->out, s->out_size, s->out_end + n);
}

/* Keeps what the socket did not take of text and newline: from `skip` on. */
static int queue_line(Stream *s, const char *text, size_t n, size_t skip)
{
        int r = reserve_output(s, n + 1 - skip);

        if (r < 0)
                return r;
        if (skip < n)
                memcpy(s->out + s->out_end, text + skip, n - skip);
        s->out_end += n + 1 - skip;
        s->out[s->out_end - 1] = '\n';
        if (stream_queued(s) > s->output_max / 2)
                s->was_above = true;
        if (stream_queued(s) > s->output_max && !s->choked) {
                s->choked = true;
                s->progress = now_usec(CLOCK_MONOTONIC);
        }
        return 0;
}

static int queue_fds(Stream *s, const int *fds, size_t n)
{
        OutFds *f;

        if (n == 0)
                return 0;
        f = malloc(sizeof(*f) + n * sizeof(int));
        if (!f)
                return -ENOMEM;
        f->at = s->written + stream_queued(s);
        f->n = n;
        memcpy(f->fds, fds, n * sizeof(int));
        list_append(&s->out_fds, &f->node);
        return 0;
}

/* On failure the descriptors are still the caller's. */
static int send_line(Stream *s, const char *text, size_t n, const int *fds, size_t n_fds)
{
        struct iovec iov[] = { { (void *) text, n }, { (void *) "\n", 1 } };
        ssize_t k = 0;
        int r;

        if (s->write_broken)
                return -EPIPE;
        if (n_fds > SCM_FDS_MAX)
                return -E2BIG;
        if (stream_queued(s) == 0)
                k = send_some(s, iov, ELEMENTSOF(iov), fds, n_fds);
        else if (stream_queued(s) + n + 1 > QUEUE_FACTOR * s->output_max)
                return -ENOBUFS;
        if (k < 0) {
                write_failed(s, (int) k);
                return (int) k == -ECONNRESET ? -EPIPE : (int) k;
        }
        if (k > 0) {
                close_many((int *) fds, n_fds);
                if ((size_t) k == n + 1)
                        return 0;
                r = queue_line(s, text, n, (size_t) k);
                if (r < 0)
                        /* Half a line is out: nothing sensible can follow it. */
                        set_end(s, STREAM_END_ERROR, -r);
                return 0;
        }
        r = queue_fds(s, fds, n_fds);
        if (r < 0)
                return r;
        r = queue_line(s, text, n, 0);
        if (r < 0 && n_fds > 0) {
                OutFds *f = LIST_ENTRY(s->out_fds.prev, OutFds, node);

                f->n = 0;
                drop_fds(f);
        }
        return r;
}

int stream_send_line(Stream *s, const char *text, size_t n, int *fds, size_t n_fds)
{
        int r = send_line(s, text, n, fds, n_fds);

        if (r < 0)
                close_many(fds, n_fds);
        changed(s);
        return r;
}

int stream_send_text(Stream *s, const char *text, size_t n)
{
        return stream_send_line(s, text, n, NULL, 0);
}

int stream_send(Stream *s, Json *v, int *fds, size_t n_fds)
{
        size_t n = 0;
        const char *text = json_print(v, &n);

        if (!text) {
                close_many(fds, n_fds);
                return -ENOMEM;
        }
        return stream_send_line(s, text, n, fds, n_fds);
}

/* --- input --- */

static void deliver_lines(Stream *s, unsigned *budget)
{
        while (may_read(s) && *budget > 0) {
                char *line;
                size_t n;
                int r = frame_next(&s->in, &line, &n);

                if (r < 0)
                        set_end(s, STREAM_END_TOO_LONG, 0);
                if (r > 0) {
                        (*budget)--;
                        s->vtable->on_line(s, line, n, s->userdata);
                }
                if (!s->freed && frame_fds_overdue(&s->in))
                        set_end(s, STREAM_END_BAD_FDS, 0);
                if (r == 0) {
                        s->lines_left = false;
                        frame_shrink(&s->in);
                        return;
                }
        }
        s->lines_left = true;
}

static void reached_eof(Stream *s, uint32_t revents)
{
        if (!(revents & EPOLLHUP) && !s->write_broken && s->vtable->on_half_closed) {
                s->half_closed = true;
                if (s->vtable->on_half_closed(s, s->userdata) || s->freed)
                        return;
        }
        set_end(s, STREAM_END_EOF, 0);
}

static void receive(Stream *s, uint32_t revents)
{
        int fds[SCM_FDS_MAX], r;
        size_t n_fds = ELEMENTSOF(fds), n;
        ssize_t k;
        void *p;

        r = frame_reserve(&s->in, READ_SIZE, &p, &n);
        if (r < 0) {
                set_end(s, STREAM_END_ERROR, -r);
                return;
        }
        k = recv_fds(s->fd, p, n, fds, &n_fds, MSG_DONTWAIT);
        if (k > 0) {
                frame_commit(&s->in, (size_t) k);
                r = frame_push_fds(&s->in, fds, n_fds);
                if (r < 0)
                        set_end(s, r == -EXFULL ? STREAM_END_BAD_FDS : STREAM_END_ERROR, -r);
        } else if (k == 0 || k == -ECONNRESET)
                reached_eof(s, revents);
        else if (k == -EXFULL)
                set_end(s, STREAM_END_BAD_FDS, 0);
        else if (k != -EAGAIN)
                set_end(s, STREAM_END_ERROR, (int) -k);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        unsigned budget = STREAM_LINES_PER_TURN;
        Stream *s = userdata;

        pin(s);
        if (revents & EPOLLOUT)
                write_turn(s);
        if (!s->freed && s->half_closed && (revents & (EPOLLHUP | EPOLLERR)))
                set_end(s, STREAM_END_EOF, 0);
        if (may_read(s) && (revents & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
                deliver_lines(s, &budget);
                if (may_read(s) && !s->lines_left) {
                        receive(s, revents);
                        deliver_lines(s, &budget);
                }
        }
        settle(s);
        return 0;
}

static int on_defer(sd_event_source *source, void *userdata)
{
        unsigned budget = STREAM_LINES_PER_TURN;
        Stream *s = userdata;

        pin(s);
        deliver_lines(s, &budget);
        settle(s);
        return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        Stream *s = userdata;

        pin(s);
        if (now_usec(CLOCK_MONOTONIC) >= usec_add(s->progress, s->stall_usec))
                set_end(s, STREAM_END_STALLED, 0);
        settle(s);
        return 0;
}

/* --- owner's side --- */

int stream_new(sd_event *event, int fd, size_t max_line, const StreamVtable *vtable, void *userdata,
                Stream **ret)
{
        _cleanup_(stream_freep) Stream *s = calloc(1, sizeof(*s));
        int r;

        if (!s) {
                safe_close(fd);
                return -ENOMEM;
        }
        *s = (Stream){
                .event = sd_event_ref(event),
                .fd = fd,
                .vtable = vtable,
                .userdata = userdata,
                .output_max = STREAM_OUTPUT_MAX_DEFAULT,
                .stall_usec = STREAM_STALL_USEC_DEFAULT,
                .events = EPOLLIN,
        };
        list_init(&s->out_fds);
        frame_init(&s->in, MIN(max_line ?: FRAME_MAX_LINE_DEFAULT, FRAME_MAX_LINE_LIMIT));
        r = sd_event_add_io(event, &s->io, fd, s->events, on_io, s);
        if (r < 0)
                return r;
        r = sd_event_add_defer(event, &s->defer, on_defer, s);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(s->defer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

void stream_flush_and_free(Stream *s)
{
        if (!s)
                return;
        while (!s->write_broken && write_chunk(s) > 0)
                ;
        stream_free(s);
}

void stream_set_output_max(Stream *s, size_t bytes, uint64_t stall_usec)
{
        s->output_max = bytes;
        s->stall_usec = stall_usec;
}

int stream_take_fds(Stream *s, int *fds, size_t n)
{
        return frame_take_fds(&s->in, fds, n);
}

size_t stream_queued(const Stream *s)
{
        return s->out_end - s->out_start;
}

size_t stream_output_max(const Stream *s)
{
        return s->output_max;
}

int stream_fd(const Stream *s)
{
        return s->fd;
}

void stream_pause(Stream *s, bool paused)
{
        s->paused = paused;
        changed(s);
}

void stream_finish(Stream *s)
{
        if (!s->finishing)
                s->progress = now_usec(CLOCK_MONOTONIC);
        s->finishing = true;
        changed(s);
}

void stream_fail(Stream *s, int error)
{
        set_end(s, STREAM_END_ERROR, error);
        changed(s);
}
