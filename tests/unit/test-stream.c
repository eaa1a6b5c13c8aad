/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "test.h"
#include "wire/frame.h"
#include "wire/stream.h"

/* A stream on one end of a socketpair; the test plays the peer on the other. */
typedef struct Fixture {
        sd_event *event;
        Stream *stream;
        int peer;
        char *lines; /* all that came, a newline each */
        size_t n_lines, n_this_turn;
        int claim; /* descriptors to take from each line */
        int fds[FRAME_FDS_MAX];
        size_t n_fds;
        bool ended, drained, keep_half, half, free_in_line;
        StreamEnd end;
        int error;
} Fixture;

static void on_line(Stream *s, char *line, size_t n, void *userdata)
{
        Fixture *f = userdata;
        _cleanup_free_ char *before = f->lines;

        CHECK_EQ(strlen(line), n);
        f->lines = xasprintf("%s%s\n", before ?: "", line);
        CHECK(f->lines);
        f->n_lines++;
        f->n_this_turn++;
        if (f->claim > 0 && stream_take_fds(s, f->fds + f->n_fds, (size_t) f->claim) == 0)
                f->n_fds += (size_t) f->claim;
        if (f->free_in_line) {
                f->stream = stream_free(f->stream);
                CHECK_EQ(strlen(line), n); /* still readable */
        }
}

static void on_end(Stream *s, StreamEnd end, int error, void *userdata)
{
        Fixture *f = userdata;

        CHECK(!f->ended);
        f->ended = true;
        f->end = end;
        f->error = error;
}

static void on_drained(Stream *s, void *userdata)
{
        ((Fixture *) userdata)->drained = true;
}

static bool on_half_closed(Stream *s, void *userdata)
{
        Fixture *f = userdata;

        f->half = true;
        return f->keep_half;
}

static const StreamVtable vtable = { on_line, on_end, on_drained, on_half_closed };

static void set_up(Fixture *f, size_t max_line)
{
        int pair[2];

        *f = (Fixture){ 0 };
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) >= 0);
        f->peer = pair[1];
        CHECK(fd_set_nonblock(f->peer, true) >= 0);
        CHECK(sd_event_new(&f->event) >= 0);
        CHECK_EQ(stream_new(f->event, pair[0], max_line, &vtable, f, &f->stream), 0);
}

static void tear_down(Fixture *f)
{
        stream_free(f->stream);
        safe_close(f->peer);
        close_many(f->fds, f->n_fds);
        free(f->lines);
        CHECK(sd_event_unref(f->event) == NULL);
}

/* Runs the loop until it has nothing more to do. */
static void run(Fixture *f)
{
        int r;

        do {
                f->n_this_turn = 0;
                r = sd_event_run(f->event, 0);
                CHECK(r >= 0);
                CHECK(f->n_this_turn <= STREAM_LINES_PER_TURN);
        } while (r > 0);
}

static void say(Fixture *f, const char *text)
{
        CHECK_EQ(write(f->peer, text, strlen(text)), (ssize_t) strlen(text));
}

static size_t hear(Fixture *f, char *buf, size_t size)
{
        ssize_t k = read(f->peer, buf, size - 1);

        if (k < 0) {
                CHECK_EQ(errno, EAGAIN);
                k = 0;
        }
        buf[k] = 0;
        return (size_t) k;
}

static int new_fd(void)
{
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        CHECK(fd >= 0);
        return fd;
}

static bool is_open(int fd)
{
        return fcntl(fd, F_GETFD) >= 0;
}

static void lines_both_ways(void)
{
        _cleanup_json_ Json *v = NULL;
        char buf[200];
        Fixture f;

        set_up(&f, 0);
        say(&f, "one\ntw");
        run(&f);
        CHECK_STR(f.lines, "one\n");
        say(&f, "o\r\n\n\nthree\n");
        run(&f);
        CHECK_STR(f.lines, "one\ntwo\nthree\n");
        CHECK_EQ(json_pack(&v, "{a:i}", 1), 0);
        CHECK_EQ(stream_send(f.stream, v, NULL, 0), 0);
        CHECK_EQ(stream_send_text(f.stream, "text", 4), 0);
        CHECK_EQ(stream_queued(f.stream), 0);
        hear(&f, buf, sizeof(buf));
        CHECK_STR(buf, "{\"a\":1}\ntext\n");
        tear_down(&f);
}

static void many_lines_over_many_turns(void)
{
        char text[2 * 1000 + 1];
        Fixture f;

        for (size_t i = 0; i < sizeof(text) - 1; i++)
                text[i] = i % 2 ? '\n' : 'x';
        text[sizeof(text) - 1] = 0;
        set_up(&f, 0);
        say(&f, text);
        run(&f);
        CHECK_EQ(f.n_lines, 1000);
        tear_down(&f);
}

/* What the peer sent before it went is handed up; what it began and did not end is not. */
static void end_of_file(void)
{
        Fixture f;

        set_up(&f, 0);
        for (int i = 0; i < 100; i++)
                say(&f, "x\n");
        say(&f, "cut");
        f.peer = safe_close(f.peer);
        run(&f);
        CHECK_EQ(f.n_lines, 100);
        CHECK(f.ended && !f.half);
        CHECK_EQ(f.end, STREAM_END_EOF);
        CHECK_EQ(stream_send_text(f.stream, "x", 1), -EPIPE);
        tear_down(&f);
}

/* The peer is gone by the time of the first reply: its other lines still count. */
static void replies_to_nobody(void)
{
        Fixture f;

        set_up(&f, 0);
        say(&f, "one\ntwo\n");
        f.peer = safe_close(f.peer);
        CHECK_EQ(stream_send_text(f.stream, "x", 1), -EPIPE);
        CHECK(!f.ended);
        run(&f);
        CHECK_STR(f.lines, "one\ntwo\n");
        CHECK(f.ended);
        CHECK_EQ(f.end, STREAM_END_EOF);
        tear_down(&f);
}

static void half_close(void)
{
        char buf[100];
        Fixture f;

        set_up(&f, 0);
        f.keep_half = true;
        say(&f, "one\n");
        CHECK(shutdown(f.peer, SHUT_WR) >= 0);
        run(&f);
        CHECK_STR(f.lines, "one\n");
        CHECK(f.half && !f.ended);
        CHECK_EQ(stream_send_text(f.stream, "late", 4), 0);
        hear(&f, buf, sizeof(buf));
        CHECK_STR(buf, "late\n");
        run(&f);
        CHECK(!f.ended);
        f.peer = safe_close(f.peer);
        run(&f);
        CHECK(f.ended);
        CHECK_EQ(f.end, STREAM_END_EOF);
        tear_down(&f);
}

static void half_close_unwanted(void)
{
        Fixture f;

        set_up(&f, 0);
        CHECK(shutdown(f.peer, SHUT_WR) >= 0);
        run(&f);
        CHECK(f.half && f.ended);
        tear_down(&f);
}

static void finish_after_half_close(void)
{
        Fixture f;
        char c;

        set_up(&f, 0);
        f.keep_half = true;
        CHECK(shutdown(f.peer, SHUT_WR) >= 0);
        run(&f);
        CHECK(!f.ended);
        CHECK_EQ(stream_send_text(f.stream, "x", 1), 0);
        stream_finish(f.stream);
        CHECK(!f.ended); /* never from within a call */
        run(&f);
        CHECK(f.ended);
        f.stream = stream_free(f.stream);
        CHECK_EQ(read(f.peer, &c, 1), 1);
        CHECK_EQ(read(f.peer, &c, 1), 1);
        CHECK_EQ(read(f.peer, &c, 1), 0);
        tear_down(&f);
}

static void too_long_a_line(void)
{
        char buf[100];
        Fixture f;

        set_up(&f, 10);
        say(&f, "1234567890\n12345678901");
        run(&f);
        CHECK_EQ(f.n_lines, 1);
        CHECK(f.ended);
        CHECK_EQ(f.end, STREAM_END_TOO_LONG);
        CHECK_EQ(stream_send_text(f.stream, "sorry", 5), 0);
        stream_flush_and_free(TAKE_PTR(f.stream));
        hear(&f, buf, sizeof(buf));
        CHECK_STR(buf, "sorry\n");
        tear_down(&f);
}

/* A gigabyte without a newline, as far as it gets: the writer is cut off once the bound is passed. */
static void endless_line(void)
{
        enum { CHUNK = 65536 };
        static char chunk[CHUNK];
        size_t sent = 0;
        Fixture f;

        memset(chunk, 'x', sizeof(chunk));
        set_up(&f, 0);
        while (sent < (size_t) 1 << 30 && !f.ended) {
                ssize_t k = write(f.peer, chunk, sizeof(chunk));

                CHECK(k >= 0 || errno == EAGAIN);
                sent += k > 0 ? (size_t) k : 0;
                CHECK(sd_event_run(f.event, 0) >= 0);
        }
        CHECK_EQ(f.end, STREAM_END_TOO_LONG);
        CHECK(sent < 2 * FRAME_MAX_LINE_DEFAULT);
        tear_down(&f);
}

/* Past its quota the peer is not read from; when it has taken half, it is again. */
static void quota_chokes_and_releases(void)
{
        enum { QUOTA = 400000 };
        static char line[10000], buf[65536];
        size_t heard = 0, sent = 0;
        Fixture f;

        memset(line, 'y', sizeof(line));
        set_up(&f, 0);
        stream_set_output_max(f.stream, QUOTA, STREAM_STALL_USEC_DEFAULT);
        CHECK_EQ(stream_output_max(f.stream), QUOTA);
        while (stream_queued(f.stream) <= QUOTA) {
                CHECK_EQ(stream_send_text(f.stream, line, sizeof(line)), 0);
                sent += sizeof(line) + 1;
        }
        say(&f, "more\n");
        run(&f);
        CHECK_EQ(f.n_lines, 0);
        while (stream_queued(f.stream) > QUOTA / 2) {
                CHECK_EQ(f.n_lines, 0);
                CHECK(!f.drained);
                heard += hear(&f, buf, sizeof(buf));
                CHECK(sd_event_run(f.event, 0) >= 0);
        }
        CHECK(f.drained);
        run(&f);
        CHECK_EQ(f.n_lines, 1);
        while (heard < sent) {
                heard += hear(&f, buf, sizeof(buf));
                run(&f);
        }
        CHECK_EQ(heard, sent);
        CHECK_EQ(stream_queued(f.stream), 0);
        tear_down(&f);
}

static void queue_is_bounded(void)
{
        enum { QUOTA = 100000 };
        static char line[10000];
        Fixture f;
        int r;

        memset(line, 'y', sizeof(line));
        set_up(&f, 0);
        stream_set_output_max(f.stream, QUOTA, STREAM_STALL_USEC_DEFAULT);
        do
                r = stream_send_text(f.stream, line, sizeof(line));
        while (r == 0);
        CHECK_EQ(r, -ENOBUFS);
        CHECK(stream_queued(f.stream) <= 4 * QUOTA + sizeof(line) && stream_queued(f.stream) >= 4 * QUOTA);
        CHECK(!f.ended);
        tear_down(&f);
}

static void stalled_peer_is_cut_off(void)
{
        enum { QUOTA = 100000 };
        static char line[10000];
        Fixture f;

        set_up(&f, 0);
        memset(line, 'y', sizeof(line));
        stream_set_output_max(f.stream, QUOTA, 50000);
        while (stream_queued(f.stream) <= QUOTA)
                CHECK_EQ(stream_send_text(f.stream, line, sizeof(line)), 0);
        while (!f.ended)
                CHECK(sd_event_run(f.event, 10 * 1000 * 1000) > 0);
        CHECK_EQ(f.end, STREAM_END_STALLED);
        CHECK_EQ(stream_queued(f.stream), 0);
        tear_down(&f);
}

static void pausing(void)
{
        Fixture f;

        set_up(&f, 0);
        stream_pause(f.stream, true);
        say(&f, "one\ntwo\n");
        run(&f);
        CHECK_EQ(f.n_lines, 0);
        /* A peer that hangs up meanwhile makes no busy loop: run() returns. */
        f.peer = safe_close(f.peer);
        run(&f);
        CHECK(!f.ended);
        stream_pause(f.stream, false);
        run(&f);
        CHECK_EQ(f.n_lines, 2);
        CHECK(f.ended);
        tear_down(&f);
}

static void free_from_callback(void)
{
        Fixture f;

        set_up(&f, 0);
        f.free_in_line = true;
        say(&f, "one\ntwo\n");
        run(&f);
        CHECK_EQ(f.n_lines, 1);
        CHECK(!f.ended && !f.stream);
        tear_down(&f);
}

static void say_with_fds(Fixture *f, const char *text, size_t n)
{
        int fds[SCM_FDS_MAX];

        for (size_t i = 0; i < n; i++)
                fds[i] = new_fd();
        CHECK_EQ(send_fds(f->peer, text, strlen(text), fds, n, 0), (ssize_t) strlen(text));
        close_many(fds, n);
}

static void descriptors_come_in(void)
{
        Fixture f;

        set_up(&f, 0);
        f.claim = 2;
        say(&f, "plain\n");
        say_with_fds(&f, "with two\n", 2);
        say(&f, "plain\n");
        run(&f);
        CHECK(!f.ended);
        CHECK_EQ(f.n_lines, 3);
        CHECK_EQ(f.n_fds, 2);
        CHECK(fcntl(f.fds[0], F_GETFD) & FD_CLOEXEC);
        tear_down(&f);
}

static void unclaimed_descriptors(void)
{
        Fixture f;

        set_up(&f, 0);
        say_with_fds(&f, "undeclared\nanother\n", 1);
        run(&f);
        CHECK(f.ended);
        CHECK_EQ(f.end, STREAM_END_BAD_FDS);
        tear_down(&f);

        set_up(&f, 0);
        say_with_fds(&f, "\n", 1); /* an empty line is a line too */
        run(&f);
        CHECK(f.ended);
        CHECK_EQ(f.end, STREAM_END_BAD_FDS);
        tear_down(&f);
}

/* More than is kept, or than one control message holds. */
static void too_many_descriptors(void)
{
        Fixture f;

        set_up(&f, 0);
        say_with_fds(&f, "no end of the line", 30);
        say_with_fds(&f, " yet", 3);
        run(&f);
        CHECK(f.ended);
        CHECK_EQ(f.end, STREAM_END_BAD_FDS);
        tear_down(&f);
}

/* Receives all the peer can, checking that each set of descriptors comes with its own line. */
static void descriptors_go_out(void)
{
        enum { LINE = 50000, ROUNDS = 20 };
        static char line[LINE], buf[300000];
        size_t heard = 0, got_sets = 0;
        Fixture f;

        memset(line, 'z', sizeof(line));
        set_up(&f, 0);
        for (int i = 0; i < ROUNDS; i++) {
                int fds[] = { new_fd(), new_fd() };

                CHECK_EQ(stream_send_text(f.stream, line, LINE - 1), 0);
                CHECK_EQ(stream_send_line(f.stream, "fds", 3, fds, 2), 0);
        }
        while (heard < ROUNDS * (LINE + 4)) {
                int fds[SCM_FDS_MAX];
                size_t n = ELEMENTSOF(fds);
                ssize_t k = recv_fds(f.peer, buf, sizeof(buf), fds, &n, 0);

                if (k == -EAGAIN) {
                        run(&f);
                        continue;
                }
                CHECK(k > 0);
                heard += (size_t) k;
                if (n > 0) {
                        size_t begins = got_sets++ * (LINE + 4) + LINE;

                        CHECK_EQ(n, 2);
                        /* The first byte of the line that carries them came with them. */
                        CHECK(heard - (size_t) k <= begins && begins < heard);
                        close_many(fds, n);
                }
        }
        CHECK_EQ(got_sets, ROUNDS);
        tear_down(&f);
}

/* A peer that takes none has few of ours under way, however short their lines are. */
static void descriptors_are_bounded(void)
{
        char buf[4096];
        Fixture f;
        int sent = 0, r;

        test_raise_nofile();
        set_up(&f, 0);
        do {
                int fd = new_fd();

                r = stream_send_line(f.stream, "x", 1, &fd, 1);
                CHECK(++sent < 4096);
        } while (r == 0);
        CHECK_EQ(r, -ENOBUFS);
        say(&f, "not read\n"); /* nor is it served any more */
        run(&f);
        CHECK_EQ(f.n_lines, 0);
        for (bool more = true; more;) {
                int fds[SCM_FDS_MAX];
                size_t n = ELEMENTSOF(fds);

                more = recv_fds(f.peer, buf, sizeof(buf), fds, &n, 0) > 0;
                if (more)
                        close_many(fds, n);
                run(&f);
        }
        CHECK_EQ(f.n_lines, 1);
        CHECK(f.drained);
        tear_down(&f);
}

static void descriptors_are_consumed(void)
{
        int fds[] = { new_fd(), new_fd() }, copy[] = { fds[0], fds[1] };
        Fixture f;

        set_up(&f, 0);
        CHECK_EQ(stream_send_line(f.stream, "x", 1, fds, 1), 0);
        CHECK(!is_open(copy[0]));
        f.peer = safe_close(f.peer);
        CHECK_EQ(stream_send_line(f.stream, "x", 1, fds + 1, 1), -EPIPE);
        CHECK(!is_open(copy[1]));
        tear_down(&f);
}

static void failing_by_hand(void)
{
        Fixture f;

        set_up(&f, 0);
        say(&f, "one\n");
        stream_fail(f.stream, ENOMEM);
        CHECK(!f.ended);
        run(&f);
        CHECK(f.ended);
        CHECK_EQ(f.n_lines, 0);
        CHECK_EQ(f.end, STREAM_END_ERROR);
        CHECK_EQ(f.error, ENOMEM);
        tear_down(&f);
}

static void bad_descriptor(void)
{
        sd_event *event = NULL;
        Stream *s = NULL;

        CHECK(sd_event_new(&event) >= 0);
        CHECK(stream_new(event, -EBADF, 0, &vtable, NULL, &s) < 0);
        CHECK(!s);
        sd_event_unref(event);
}

TEST_MAIN({ "lines_both_ways", lines_both_ways },
                { "many_lines_over_many_turns", many_lines_over_many_turns }, { "end_of_file", end_of_file },
                { "replies_to_nobody", replies_to_nobody }, { "half_close", half_close },
                { "half_close_unwanted", half_close_unwanted },
                { "finish_after_half_close", finish_after_half_close },
                { "too_long_a_line", too_long_a_line }, { "endless_line", endless_line },
                { "quota_chokes_and_releases", quota_chokes_and_releases },
                { "queue_is_bounded", queue_is_bounded },
                { "stalled_peer_is_cut_off", stalled_peer_is_cut_off }, { "pausing", pausing },
                { "free_from_callback", free_from_callback }, { "descriptors_come_in", descriptors_come_in },
                { "unclaimed_descriptors", unclaimed_descriptors },
                { "too_many_descriptors", too_many_descriptors },
                { "descriptors_go_out", descriptors_go_out },
                { "descriptors_are_bounded", descriptors_are_bounded },
                { "descriptors_are_consumed", descriptors_are_consumed },
                { "failing_by_hand", failing_by_hand }, { "bad_descriptor", bad_descriptor });
