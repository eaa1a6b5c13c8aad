/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/forks.h"
#include "base/io.h"
#include "base/usec.h"
#include "wire/stream-internal.h"

#define READ_SIZE (16U * 1024)

static bool may_read(const Stream *s)
{
        return !s->freed && !s->ended && !s->end_due && !s->paused && !s->choked && !s->half_closed &&
               !s->finishing;
}

void stream_set_end(Stream *s, StreamEnd end, int error)
{
        if (s->ended || s->end_due)
                return;
        s->end_due = true;
        s->end = end;
        s->error = error;
}

/* What it keeps by now; false when that has grown past what its user may keep. */
static bool charge(Stream *s, size_t bytes, size_t fds)
{
        bool more = bytes > s->charged_bytes, more_fds = fds > s->charged_fds;
        Quota *q = s->quota;

        if (!q)
                return true;
        q->bytes += bytes - s->charged_bytes;
        q->fds += fds - s->charged_fds;
        s->charged_bytes = bytes;
        s->charged_fds = fds;
        return !(more && quota_exceeded(q->bytes, q->bytes_max)) &&
               !(more_fds && quota_exceeded(q->fds, q->fds_max));
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
        turn_drop(&s->turn);
        /* As is what was said without a cork. */
        while (s->kept && !s->write_broken && stream_write_chunk(s) > 0)
                ;
        list_unlink(&s->corked);
        charge(s, 0, 0);
        sd_event_source_disable_unref(s->io);
        sd_event_source_disable_unref(s->output);
        sd_event_source_disable_unref(s->defer);
        sd_event_source_disable_unref(s->timer);
        sd_event_unref(s->event);
        if (s->out_fd != s->fd)
                safe_close(s->out_fd);
        s->fd = s->out_fd = safe_close(s->fd);
        stream_drop_output(s);
        unpin(s);
        return NULL;
}

/* --- what the state asks of the loop --- */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

/* Progress moves the deadline without touching the timer: it looks again when it fires. */
static int update_timer(Stream *s)
{
        bool wanted = s->full || (s->finishing && stream_queued(s) > 0);
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

static int ask(sd_event_source *source, uint32_t *asked, uint32_t events, bool on)
{
        int r = events != *asked ? sd_event_source_set_io_events(source, events) : 0;

        if (r < 0)
                return r;
        *asked = events;
        return sd_event_source_set_enabled(source, on ? SD_EVENT_ON : SD_EVENT_OFF);
}

static int update_io(Stream *s)
{
        uint32_t in = may_read(s) && !s->lines_left && !s->greedy ? EPOLLIN : 0,
                 out = stream_queued(s) > 0 && list_is_empty(&s->corked) ? EPOLLOUT : 0;
        int r;

        /* A hang-up is reported even when nothing is asked for, and again and again. */
        if (!s->output)
                return ask(s->io, &s->events, in | out, in || out || s->half_closed);
        r = ask(s->output, &s->out_events, out, out || s->half_closed);
        return r < 0 ? r : ask(s->io, &s->events, in, in != 0);
}

static void stop_io(Stream *s)
{
        (void) sd_event_source_set_enabled(s->io, SD_EVENT_OFF);
        if (s->output)
                (void) sd_event_source_set_enabled(s->output, SD_EVENT_OFF);
}

static void update(Stream *s)
{
        int r;

        if (s->freed || s->ended)
                return;
        if (s->finishing && stream_queued(s) == 0)
                stream_set_end(s, STREAM_END_EOF, 0);
        if (!charge(s, s->in.size + s->out_size, frame_n_fds(&s->in))) {
                stream_set_end(s, STREAM_END_QUOTA, 0);
                /* Now: until it is ended others may ask for more. */
                frame_done(&s->in);
                (void) charge(s, s->out_size, 0);
        }
        r = update_timer(s);
        if (r >= 0)
                r = update_io(s);
        if (r >= 0 && (s->lines_left || s->greedy) && s->turns && may_read(s))
                r = turns_queue(s->turns, &s->turn);
        if (r < 0)
                stream_set_end(s, STREAM_END_ERROR, -r);
        /* Neither of these two can fail on a source that exists. */
        if (s->end_due)
                stop_io(s);
        if (s->end_due || (s->lines_left && !s->turns && may_read(s)))
                (void) sd_event_source_set_enabled(s->defer, SD_EVENT_ONESHOT);
}

void stream_changed(Stream *s)
{
        if (s->pins == 0)
                update(s);
}

static bool end_is_answered(StreamEnd end)
{
        return end == STREAM_END_TOO_LONG || end == STREAM_END_BAD_FDS || end == STREAM_END_QUOTA;
}

/* The end of every turn. */
static void settle(Stream *s)
{
        if (s->finishing && stream_queued(s) == 0)
                stream_set_end(s, STREAM_END_EOF, 0);
        if (!s->freed && s->end_due) {
                s->end_due = false;
                s->ended = true;
                stop_io(s);
                s->timer = sd_event_source_disable_unref(s->timer);
                if (!end_is_answered(s->end)) {
                        s->write_broken = true;
                        stream_drop_output(s);
                }
                s->vtable->on_end(s, s->end, s->error, s->userdata);
        }
        update(s);
        unpin(s);
}

/* --- input --- */

typedef struct Budget {
        unsigned lines;
        uint64_t until;
} Budget;

static bool budget_left(const Budget *b)
{
        return b->lines == STREAM_LINES_PER_TURN || (b->lines > 0 && now_usec(CLOCK_MONOTONIC) < b->until);
}

static void deliver_lines(Stream *s, Budget *budget)
{
        while (may_read(s) && budget_left(budget)) {
                char *line;
                size_t n;
                int r = frame_next(&s->in, &line, &n);

                if (r < 0)
                        stream_set_end(s, STREAM_END_TOO_LONG, 0);
                if (r > 0) {
                        budget->lines--;
                        s->vtable->on_line(s, line, n, s->userdata);
                }
                if (!s->freed && frame_fds_overdue(&s->in))
                        stream_set_end(s, STREAM_END_BAD_FDS, 0);
                if (r == 0) {
                        s->lines_left = false;
                        frame_shrink(&s->in);
                        return;
                }
        }
        s->lines_left = true;
}

/* Whether the peer is gone altogether, or has only said all it wants to say. */
static bool hung_up(const Stream *s)
{
        struct pollfd p = { .fd = s->out_fd };

        /* Of a pipe that nobody reads it is an error. */
        return poll(&p, 1, 0) > 0 && (p.revents & (s->out_is_socket ? POLLHUP : POLLHUP | POLLERR));
}

static void reached_eof(Stream *s)
{
        if (!hung_up(s) && !s->write_broken && s->vtable->on_half_closed) {
                s->half_closed = true;
                if (s->vtable->on_half_closed(s, s->userdata) || s->freed)
                        return;
        }
        stream_set_end(s, STREAM_END_EOF, 0);
}

static ssize_t read_bytes(int fd, void *p, size_t n, size_t *ret_n_fds)
{
        ssize_t k;

        *ret_n_fds = 0;
        do
                k = read(fd, p, n);
        while (k < 0 && errno == EINTR);
        return k < 0 ? -errno : k;
}

/* The number of bytes, 0 where there are none. */
static size_t receive(Stream *s)
{
        int fds[SCM_FDS_MAX], r;
        size_t n_fds = ELEMENTSOF(fds), n;
        ssize_t k;
        void *p;

        r = frame_reserve(&s->in, READ_SIZE, &p, &n);
        if (r < 0) {
                stream_set_end(s, STREAM_END_ERROR, -r);
                return 0;
        }
        n = MIN(n, STREAM_READ_MAX);
        k = s->is_socket ? recv_fds(s->fd, p, n, fds, &n_fds, MSG_DONTWAIT)
                         : read_bytes(s->fd, p, n, &n_fds);
        s->greedy = s->turns && k >= (ssize_t) READ_SIZE;
        if (k > 0) {
                frame_commit(&s->in, (size_t) k);
                r = frame_push_fds(&s->in, fds, n_fds);
                if (r < 0)
                        stream_set_end(s, r == -EXFULL ? STREAM_END_BAD_FDS : STREAM_END_ERROR, -r);
        } else if (k == 0 || k == -ECONNRESET)
                reached_eof(s);
        else if (k == -EXFULL)
                stream_set_end(s, STREAM_END_BAD_FDS, 0);
        else if (k != -EAGAIN)
                stream_set_end(s, STREAM_END_ERROR, (int) -k);
        return k > 0 ? (size_t) k : 0;
}

/* A turn that has used up its time is paid for: for so many times its length the stream goes behind the others. */
#define BUSY_FACTOR 16

static void read_turn(Stream *s)
{
        uint64_t begin = now_usec(CLOCK_MONOTONIC), used;
        Budget budget = { .lines = STREAM_LINES_PER_TURN, .until = usec_add(begin, STREAM_TURN_USEC) };

        deliver_lines(s, &budget);
        if (may_read(s) && !s->lines_left) {
                (void) receive(s);
                deliver_lines(s, &budget);
        }
        used = now_usec(CLOCK_MONOTONIC) - begin;
        if (used >= STREAM_TURN_USEC)
                s->busy_until = begin + used * (1 + BUSY_FACTOR);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Stream *s = userdata;

        pin(s);
        if (revents & EPOLLOUT)
                stream_write_turn(s);
        if (!s->freed && s->half_closed && (revents & (EPOLLHUP | EPOLLERR)))
                stream_set_end(s, STREAM_END_EOF, 0);
        /* What waits for its turn has been queued for it. */
        if (may_read(s) && list_is_empty(&s->turn.node) && (revents & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
                s->greedy = s->turns && now_usec(CLOCK_MONOTONIC) < s->busy_until;
                if (!s->greedy)
                        read_turn(s);
        }
        settle(s);
        return 0;
}

static int on_defer(sd_event_source *source, void *userdata)
{
        Budget budget = { .lines = STREAM_LINES_PER_TURN,
                .until = usec_add(now_usec(CLOCK_MONOTONIC), STREAM_TURN_USEC) };
        Stream *s = userdata;

        pin(s);
        deliver_lines(s, &budget);
        settle(s);
        return 0;
}

static void on_turn(Turn *turn)
{
        Stream *s = container_of(turn, Stream, turn);

        pin(s);
        if (may_read(s))
                read_turn(s);
        settle(s);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        Stream *s = userdata;

        pin(s);
        if (now_usec(CLOCK_MONOTONIC) >= usec_add(s->progress, s->stall_usec))
                stream_set_end(s, STREAM_END_STALLED, 0);
        settle(s);
        return 0;
}

void cork_release(Cork *c)
{
        c->on = false;
        while (!list_is_empty(&c->streams)) {
                Stream *s = LIST_ENTRY(c->streams.next, Stream, corked);

                list_unlink(&s->corked);
                if (!s->kept && stream_queued(s) == 0)
                        continue;
                s->kept = false;
                pin(s);
                stream_write_turn(s);
                settle(s);
        }
}

/* --- owner's side --- */

/* Sockets are asked not to block each time. */
static int prepare_fd(int fd, bool *ret_is_socket)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        *ret_is_socket = S_ISSOCK(st.st_mode);
        return S_ISSOCK(st.st_mode) ? 0 : fd_set_nonblock(fd, true);
}

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
                .forks = forks_count,
                .fd = fd,
                .out_fd = fd,
                .vtable = vtable,
                .userdata = userdata,
                .output_max = STREAM_OUTPUT_MAX_DEFAULT,
                .stall_usec = STREAM_STALL_USEC_DEFAULT,
                .events = EPOLLIN,
                .turn = { .run = on_turn },
        };
        list_init(&s->turn.node);
        list_init(&s->corked);
        list_init(&s->out_fds);
        frame_init(&s->in, MIN(max_line ?: FRAME_MAX_LINE_DEFAULT, FRAME_MAX_LINE_LIMIT));
        r = prepare_fd(fd, &s->is_socket);
        s->out_is_socket = s->is_socket;
        if (r >= 0)
                r = sd_event_add_io(event, &s->io, fd, s->events, on_io, s);
        if (r < 0)
                return r;
        r = sd_event_add_defer(event, &s->defer, on_defer, s);
        if (r < 0)
                return r;
        /* At the same priority it would come before all else each time (see turns.h). */
        r = sd_event_source_set_priority(s->defer, SD_EVENT_PRIORITY_NORMAL + 1);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->defer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

int stream_set_output(Stream *s, int fd)
{
        int r = prepare_fd(fd, &s->out_is_socket);

        if (r >= 0)
                r = sd_event_add_io(s->event, &s->output, fd, 0, on_io, s);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->output, SD_EVENT_OFF);
        if (r < 0) {
                s->output = sd_event_source_disable_unref(s->output);
                safe_close(fd);
        } else
                s->out_fd = fd;
        return r;
}

void stream_flush_and_free(Stream *s)
{
        if (!s)
                return;
        while (!s->write_broken && stream_write_chunk(s) > 0)
                ;
        stream_free(s);
}

/* No more than is there at first: another process may hold the peer's end, and write on. */
void stream_read_out(Stream *s)
{
        Budget all = { .lines = ~0U, .until = USEC_INFINITY };
        int left = 0;
        size_t k;

        pin(s);
        s->paused = s->choked = false;
        (void) ioctl(s->fd, FIONREAD, &left);
        do {
                deliver_lines(s, &all);
                k = may_read(s) && left > 0 ? receive(s) : 0;
                left -= (int) k;
        } while (k > 0);
        settle(s);
}

void stream_share(Stream *s, Quota *quota, Turns *turns)
{
        (void) charge(s, 0, 0);
        s->quota = quota;
        s->turns = turns;
        stream_changed(s);
}

void stream_set_cork(Stream *s, Cork *cork)
{
        s->cork = cork;
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

bool stream_has_input(const Stream *s)
{
        int n = 0;

        return s->in.end > s->in.start || s->in.fds || ioctl(s->fd, FIONREAD, &n) < 0 || n > 0;
}

int stream_fd(const Stream *s)
{
        return s->fd;
}

void stream_pause(Stream *s, bool paused)
{
        s->paused = paused;
        stream_changed(s);
}

void stream_finish(Stream *s)
{
        if (!s->finishing)
                s->progress = now_usec(CLOCK_MONOTONIC);
        s->finishing = true;
        stream_changed(s);
}

void stream_fail(Stream *s, int error)
{
        stream_set_end(s, STREAM_END_ERROR, error);
        stream_changed(s);
}
