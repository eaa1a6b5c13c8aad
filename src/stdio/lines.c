/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/io.h"
#include "stdio/lines.h"
#include "wire/frame.h"

#define READ_SIZE (16U * 1024)

struct Lines {
        int in, out; /* -EBADF: closed */
        sd_event_source *readable, *writable;
        const LinesVtable *vtable;
        void *userdata;
        Frame frame;
        char *queue;
        size_t start, end, size; /* unwritten bytes are queue[start, end) */
        uint64_t written;
        bool finishing;
};

static void close_in(Lines *l)
{
        l->readable = sd_event_source_disable_unref(l->readable);
        l->in = safe_close(l->in);
}

static void close_out(Lines *l)
{
        l->writable = sd_event_source_disable_unref(l->writable);
        l->out = safe_close(l->out);
        l->written += l->end - l->start;
        free(TAKE_PTR(l->queue));
        l->start = l->end = l->size = 0;
}

Lines *lines_free(Lines *l)
{
        if (!l)
                return NULL;
        close_in(l);
        close_out(l);
        frame_done(&l->frame);
        free(l);
        return NULL;
}

/* --- in --- */

static void deliver(Lines *l)
{
        char *line;
        size_t n;
        int r;

        while ((r = frame_next(&l->frame, &line, &n)) > 0)
                l->vtable->on_line(line, n, l->userdata);
        if (r == 0) {
                frame_shrink(&l->frame);
                return;
        }
        close_in(l);
        l->vtable->on_end(r, l->userdata);
}

/* The number of bytes; 0: no more for now, or ever. */
static size_t receive(Lines *l)
{
        size_t n;
        ssize_t k;
        void *p;
        int r = frame_reserve(&l->frame, READ_SIZE, &p, &n);

        k = r < 0 ? r : read(l->in, p, n);
        if (r >= 0 && k < 0)
                k = -errno;
        if (k == -EAGAIN || k == -EINTR)
                return 0;
        if (k > 0) {
                frame_commit(&l->frame, (size_t) k);
                deliver(l);
                return (size_t) k;
        }
        close_in(l);
        l->vtable->on_end((int) k, l->userdata);
        return 0;
}

static int on_readable(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        (void) receive(userdata);
        return 0;
}

void lines_pause(Lines *l, bool paused)
{
        if (l->readable)
                (void) sd_event_source_set_enabled(l->readable, paused ? SD_EVENT_OFF : SD_EVENT_ON);
}

void lines_drain(Lines *l, size_t max)
{
        size_t n = 0, k;

        while (n < max && l->in >= 0 && (k = receive(l)) > 0)
                n += k;
}

/* --- out --- */

static void broken(Lines *l)
{
        close_out(l);
        l->vtable->on_broken(l->userdata);
        l->vtable->on_written(l->userdata);
}

/* The number of bytes, 0: not now; -EPIPE: never. */
static ssize_t put(Lines *l, const struct iovec *iov, int n_iov)
{
        ssize_t k = writev(l->out, iov, n_iov);

        if (k < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
        l->written += (uint64_t) k;
        return k;
}

static int on_writable(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Lines *l = userdata;
        struct iovec iov = { .iov_len = lines_queued(l) };
        ssize_t k;

        if (iov.iov_len == 0) { /* asked for nothing: this is a hang-up */
                broken(l);
                return 0;
        }
        iov.iov_base = l->queue + l->start;
        k = put(l, &iov, 1);
        if (k < 0) {
                broken(l);
                return 0;
        }
        l->start += (size_t) k;
        if (l->start == l->end) {
                free(TAKE_PTR(l->queue));
                l->start = l->end = l->size = 0;
                (void) sd_event_source_set_io_events(l->writable, 0);
                if (l->finishing)
                        close_out(l);
        }
        l->vtable->on_written(l->userdata);
        return 0;
}

/* Keeps text and newline from `skip` on. */
static int enqueue(Lines *l, const char *text, size_t n, size_t skip)
{
        size_t used = lines_queued(l), more = n + 1 - skip;
        int r;

        if (l->start > 0 && l->start >= used) {
                memcpy(l->queue, l->queue + l->start, used);
                l->start = 0;
                l->end = used;
        }
        r = GROW(l->queue, l->size, l->end + more);
        if (r < 0)
                return r;
        if (skip < n)
                memcpy(l->queue + l->end, text + skip, n - skip);
        l->end += more;
        l->queue[l->end - 1] = '\n';
        return used > 0 ? 0 : sd_event_source_set_io_events(l->writable, EPOLLOUT);
}

int lines_send(Lines *l, const char *text, size_t n)
{
        struct iovec iov[] = { { (void *) text, n }, { (void *) "\n", 1 } };
        ssize_t k = 0;

        if (l->out < 0 || l->finishing)
                return -EPIPE;
        if (lines_queued(l) == 0)
                k = put(l, iov, ELEMENTSOF(iov));
        if (k < 0) {
                broken(l);
                return -EPIPE;
        }
        return (size_t) k == n + 1 ? 0 : enqueue(l, text, n, (size_t) k);
}

size_t lines_queued(const Lines *l)
{
        return l->end - l->start;
}

uint64_t lines_written(const Lines *l)
{
        return l->written;
}

void lines_finish(Lines *l)
{
        l->finishing = true;
        if (lines_queued(l) == 0)
                close_out(l);
}

/* --- owner's side --- */

int lines_new(sd_event *event, int in, int out, size_t max_line, const LinesVtable *vtable, void *userdata,
                Lines **ret)
{
        _cleanup_(lines_freep) Lines *l = calloc(1, sizeof(Lines));
        int r;

        if (!l) {
                safe_close(in);
                safe_close(out);
                return -ENOMEM;
        }
        *l = (Lines){ .in = in, .out = out, .vtable = vtable, .userdata = userdata };
        frame_init(&l->frame, max_line);
        r = fd_set_nonblock(in, true);
        if (r >= 0)
                r = fd_set_nonblock(out, true);
        if (r >= 0)
                r = sd_event_add_io(event, &l->readable, in, EPOLLIN, on_readable, l);
        if (r >= 0)
                r = sd_event_add_io(event, &l->writable, out, 0, on_writable, l);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(l);
        return 0;
}
