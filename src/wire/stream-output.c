/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/uio.h>

#include "base/forks.h"
#include "base/io.h"
#include "base/usec.h"
#include "wire/stream-internal.h"

/* The output queue: bytes, and marks where descriptors belong. */

#define WRITES_PER_TURN 8
#define QUEUE_FACTOR 4
/* As much as is kept for one write, where there is a cork. */
#define KEPT_MAX (16U * 1024)
/* Lines with descriptors that wait to be taken: beyond this the peer is over its quota, and what asks for more is refused. A
 * line is short, but each descriptor is one that somebody else can't have. */
#define FDS_MAX 32U
#define FDS_REFUSED 1024U

static void drop_fds(Stream *s, OutFds *f)
{
        list_unlink(&f->node);
        s->n_out_fds--;
        close_many(f->fds, f->n);
        free(f);
}

void stream_drop_output(Stream *s)
{
        while (!list_is_empty(&s->out_fds))
                drop_fds(s, LIST_ENTRY(s->out_fds.next, OutFds, node));
        free(s->out);
        s->out = NULL;
        s->out_start = s->out_end = s->out_size = 0;
        s->full = s->choked = s->was_above = false;
        s->asked_before = s->asked_since = 0;
}

static void write_failed(Stream *s, int r)
{
        if (r != -EPIPE && r != -ECONNRESET) {
                stream_set_end(s, STREAM_END_ERROR, -r);
                return;
        }
        /* What the peer sent before it went is still to be read, up to its end of file. */
        s->write_broken = true;
        stream_drop_output(s);
        if (s->half_closed)
                stream_set_end(s, STREAM_END_EOF, 0);
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

        /* The connection is the parent's: a copy of what is queued must not get between its lines. */
        if (s->forks != forks_count)
                return -EPIPE;
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
                k = s->out_is_socket ? sendmsg(s->out_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL)
                                     : writev_nosignal(s->out_fd, iov, n_iov);
        while (k < 0 && errno == EINTR);
        if (k < 0)
                return errno == EAGAIN ? 0 : -errno;
        s->written += (uint64_t) k;
        if (s->written >= s->mark) {
                s->asked_before = s->asked_since;
                s->asked_since = 0;
                s->mark = s->written + stream_queued(s);
        }
        s->progress = now_usec(CLOCK_MONOTONIC);
        return k;
}

/* Up to the next line that carries descriptors. */
int stream_write_chunk(Stream *s)
{
        OutFds *first = list_is_empty(&s->out_fds) ? NULL : LIST_ENTRY(s->out_fds.next, OutFds, node),
               *next = first;
        struct iovec iov = { .iov_len = stream_queued(s) };
        bool now = first && first->at == s->written;
        ssize_t k;

        if (iov.iov_len == 0)
                return 0;
        iov.iov_base = s->out + s->out_start;
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
                drop_fds(s, first);
        s->out_start += (size_t) k;
        if (s->out_start == s->out_end) {
                free(TAKE_PTR(s->out));
                s->out_start = s->out_end = s->out_size = 0;
        }
        return s->out != NULL;
}

static bool is_half_full(const Stream *s)
{
        return stream_queued(s) > s->output_max / 2 || s->n_out_fds > FDS_MAX / 2;
}

static void drained(Stream *s)
{
        s->was_above = s->full = s->choked = false;
        s->asked_since = MIN(stream_queued(s), s->asked_before + s->asked_since);
        s->asked_before = 0;
        if (s->vtable->on_drained)
                s->vtable->on_drained(s, s->userdata);
}

void stream_write_turn(Stream *s)
{
        for (unsigned i = 0; i < WRITES_PER_TURN && stream_write_chunk(s) > 0; i++)
                ;
        if (s->was_above && !is_half_full(s))
                drained(s);
        if (!s->freed && !s->write_broken && stream_queued(s) == 0 && s->vtable->on_written)
                s->vtable->on_written(s, s->userdata);
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

static void note_queued(Stream *s, size_t n, bool asked)
{
        bool many_fds = s->n_out_fds > FDS_MAX;
        size_t queued = stream_queued(s);

        s->asked_since += asked ? n : 0;
        s->was_above |= is_half_full(s);
        s->choked |= many_fds || (asked && MIN(queued, s->asked_before + s->asked_since) > s->output_max);
        if ((queued > s->output_max || many_fds) && !s->full) {
                s->full = true;
                s->progress = now_usec(CLOCK_MONOTONIC);
        }
}

/* Keeps what the socket did not take of text and newline: from `skip` on. */
static int queue_line(Stream *s, const char *text, size_t n, size_t skip, bool asked)
{
        int r = reserve_output(s, n + 1 - skip);

        if (r < 0)
                return r;
        if (skip < n)
                memcpy(s->out + s->out_end, text + skip, n - skip);
        s->out_end += n + 1 - skip;
        s->out[s->out_end - 1] = '\n';
        note_queued(s, n + 1 - skip, asked);
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
        s->n_out_fds++;
        return 0;
}

/* On failure the descriptors are still the caller's. */
static int send_line(Stream *s, const char *text, size_t n, const int *fds, size_t n_fds, bool asked)
{
        struct iovec iov[] = { { (void *) text, n }, { (void *) "\n", 1 } };
        ssize_t k = 0;
        int r;

        if (s->write_broken)
                return -EPIPE;
        if (n_fds > SCM_FDS_MAX)
                return -E2BIG;
        if (n_fds > 0 && !s->out_is_socket)
                return -EOPNOTSUPP;
        if (stream_queued(s) == 0)
                k = send_some(s, iov, ELEMENTSOF(iov), fds, n_fds);
        else if (stream_queued(s) >= QUEUE_FACTOR * s->output_max ||
                        (n_fds > 0 && s->n_out_fds >= FDS_REFUSED))
                return -ENOBUFS;
        if (k < 0) {
                write_failed(s, (int) k);
                return (int) k == -ECONNRESET ? -EPIPE : (int) k;
        }
        if (k > 0) {
                close_many((int *) fds, n_fds);
                if ((size_t) k == n + 1)
                        return 0;
                r = queue_line(s, text, n, (size_t) k, asked);
                if (r < 0)
                        /* Half a line is out: nothing sensible can follow it. */
                        stream_set_end(s, STREAM_END_ERROR, -r);
                return 0;
        }
        r = queue_fds(s, fds, n_fds);
        if (r < 0)
                return r;
        r = queue_line(s, text, n, 0, asked);
        if (r < 0 && n_fds > 0) {
                OutFds *f = LIST_ENTRY(s->out_fds.prev, OutFds, node);

                f->n = 0;
                drop_fds(s, f);
        }
        while (s->kept && stream_write_chunk(s) > 0)
                ;
        return r;
}

static int send_or_close(Stream *s, const char *text, size_t n, int *fds, size_t n_fds, bool asked)
{
        int r = send_line(s, text, n, fds, n_fds, asked);

        if (r < 0)
                close_many(fds, n_fds);
        stream_changed(s);
        return r;
}

static void write_kept(Cork *c)
{
        LIST_FOREACH(i, &c->streams) {
                Stream *s = LIST_ENTRY(i, Stream, corked);

                while (s->kept && !s->write_broken && stream_write_chunk(s) > 0)
                        ;
        }
}

int stream_send_line(Stream *s, const char *text, size_t n, int *fds, size_t n_fds)
{
        if (s->cork && s->cork->in_order)
                write_kept(s->cork);
        return send_or_close(s, text, n, fds, n_fds, true);
}

int stream_send_unasked(Stream *s, const char *text, size_t n, int *fds, size_t n_fds)
{
        return send_or_close(s, text, n, fds, n_fds, false);
}

/* Whether a line of n bytes is kept for those that follow: none that fills a write by itself, and not the first. */
static bool keeps(Stream *s, size_t n)
{
        if (!s->cork || !s->cork->on || n >= KEPT_MAX)
                return false;
        if (!list_is_empty(&s->corked))
                return true;
        list_append(&s->cork->streams, &s->corked);
        return false;
}

int stream_send_soon(Stream *s, const char *text, size_t n)
{
        size_t before = stream_queued(s);
        int r;

        if (s->write_broken || before >= QUEUE_FACTOR * s->output_max || !keeps(s, n))
                return stream_send_unasked(s, text, n, NULL, 0);
        r = queue_line(s, text, n, 0, false);
        if (r < 0)
                return r;
        s->kept = true;
        if (before < KEPT_MAX && stream_queued(s) >= KEPT_MAX)
                (void) stream_write_chunk(s);
        stream_changed(s);
        return 0;
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
