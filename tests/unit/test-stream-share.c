/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "test.h"
#include "wire/stream.h"

/* Streams that have something in common: what one user may keep, whose turn it is; and what a full queue does. */

#define STREAMS 4

typedef struct Side {
        Stream *stream;
        int peer;
        size_t n_lines;
        bool ended;
        StreamEnd end;
} Side;

static sd_event *event;
static Turns turns;
static Quota quota;
static Side sides[STREAMS];

static void on_line(Stream *s, char *line, size_t n, void *userdata)
{
        ((Side *) userdata)->n_lines++;
}

static void on_end(Stream *s, StreamEnd end, int error, void *userdata)
{
        Side *side = userdata;

        side->ended = true;
        side->end = end;
        if (end == STREAM_END_QUOTA)
                CHECK_EQ(stream_send_text(s, "sorry", 5), 0);
        stream_flush_and_free(TAKE_PTR(side->stream));
}

static const StreamVtable vtable = { .on_line = on_line, .on_end = on_end };

static void set_up(size_t bytes_max, size_t fds_max, bool with_turns)
{
        CHECK(sd_event_new(&event) >= 0);
        quota = (Quota){ .bytes_max = bytes_max, .fds_max = fds_max };
        CHECK(turns_init(&turns, event) >= 0);
        for (int i = 0; i < STREAMS; i++) {
                int pair[2];

                CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) >= 0);
                sides[i] = (Side){ .peer = pair[1] };
                CHECK_EQ(stream_new(event, pair[0], 0, &vtable, &sides[i], &sides[i].stream), 0);
                stream_share(sides[i].stream, &quota, with_turns ? &turns : NULL);
        }
}

static void tear_down(void)
{
        for (int i = 0; i < STREAMS; i++) {
                sides[i].stream = stream_free(sides[i].stream);
                safe_close(sides[i].peer);
        }
        CHECK_EQ(quota.bytes, 0);
        CHECK_EQ(quota.fds, 0);
        turns_done(&turns);
        CHECK(sd_event_unref(event) == NULL);
}

static void run(void)
{
        while (sd_event_run(event, 0) > 0)
                ;
}

static void say(int i, const char *text, size_t n)
{
        while (n > 0) {
                ssize_t k = send(sides[i].peer, text, n, MSG_NOSIGNAL);

                CHECK(k > 0 || errno == EAGAIN || errno == EPIPE);
                if (k < 0 && errno == EPIPE)
                        return;
                text += MAX(k, 0);
                n -= (size_t) MAX(k, 0);
                run();
        }
}

static void half_lines_of_one_user(void)
{
        static char half[120000];
        char heard[16] = "";

        memset(half, 'x', sizeof(half));
        set_up(600000, 0, true);
        say(0, half, sizeof(half));
        say(1, half, sizeof(half));
        CHECK(quota.bytes >= 2 * sizeof(half) && quota.bytes <= quota.bytes_max);
        for (int i = 0; i < 5 && !sides[2].ended; i++)
                say(2, half, sizeof(half));
        run();
        /* Who asked for more, and nobody else. */
        CHECK(sides[2].ended && sides[2].end == STREAM_END_QUOTA);
        CHECK(read(sides[2].peer, heard, sizeof(heard)) == 6 && memcmp(heard, "sorry\n", 6) == 0);
        CHECK(!sides[0].ended && !sides[1].ended);
        /* What needs nothing is served all the same. */
        say(3, "a\n", 2);
        CHECK_EQ(sides[3].n_lines, 1);
        CHECK(!sides[3].ended);
        say(0, "\n", 1);
        CHECK_EQ(sides[0].n_lines, 1);
        CHECK(quota.bytes < quota.bytes_max / 2);
        tear_down();
}

static void output_of_one_user(void)
{
        static char line[50000];
        int n = 0;

        memset(line, 'x', sizeof(line));
        set_up(2000000, 0, true);
        for (; !sides[n % 2].ended && n < 1000; n++) {
                CHECK_EQ(stream_send_text(sides[n % 2].stream, line, sizeof(line)), 0);
                run();
        }
        CHECK(n < 100 && sides[n % 2].end == STREAM_END_QUOTA);
        CHECK(!sides[1 - n % 2].ended && sides[1 - n % 2].stream);
        CHECK(quota.bytes <= quota.bytes_max);
        tear_down();
}

static void descriptors_of_one_user(void)
{
        int fds[10];

        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                CHECK((fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0);
        set_up(0, 25, true);
        for (int i = 0; i < 3; i++) {
                CHECK_EQ(send_fds(sides[i].peer, "half", 4, fds, ELEMENTSOF(fds), 0), 4);
                run();
        }
        CHECK(!sides[0].ended && !sides[1].ended);
        CHECK(sides[2].ended && sides[2].end == STREAM_END_QUOTA);
        CHECK_EQ(quota.fds, 20);
        close_many(fds, ELEMENTSOF(fds));
        tear_down();
}

/* Three that never stop, and one that asks now and then: what it waits for is one turn of one of them. */
static void the_quiet_one_comes_first(void)
{
        static char flood[64 * 1024];

        for (size_t i = 0; i < sizeof(flood); i++)
                flood[i] = i % 8 == 7 ? '\n' : 'x';
        set_up(0, 0, true);
        for (int round = 0; round < 200; round++) {
                size_t before = 0, after = 0, dispatches = 0;

                for (int i = 0; i < 3; i++)
                        (void) !write(sides[i].peer, flood, sizeof(flood));
                for (int i = 0; i < 5; i++)
                        CHECK(sd_event_run(event, 0) > 0);
                CHECK_EQ(write(sides[3].peer, "a\n", 2), 2);
                for (int i = 0; i < 3; i++)
                        before += sides[i].n_lines;
                for (; sides[3].n_lines <= (size_t) round; dispatches++)
                        CHECK(sd_event_run(event, 0) > 0);
                for (int i = 0; i < 3; i++)
                        after += sides[i].n_lines;
                CHECK(dispatches <= 6); /* each of the others once, the queue twice */
                CHECK(after - before <= 5 * STREAM_LINES_PER_TURN);
        }
        run();
        for (int i = 0; i < 3; i++)
                CHECK(sides[i].n_lines > 0);
        tear_down();
}

/* None of those that wait for turns waits for ever, and none goes before its time. */
static void turns_go_round(void)
{
        static char flood[64 * 1024];

        memset(flood, '\n', sizeof(flood));
        for (size_t i = 0; i + 1 < sizeof(flood); i += 2)
                flood[i] = 'x';
        set_up(0, 0, true);
        for (int i = 0; i < STREAMS; i++)
                (void) !write(sides[i].peer, flood, sizeof(flood));
        for (int turn = 0; turn < 400; turn++) {
                size_t least = SIZE_MAX, most = 0;

                CHECK(sd_event_run(event, 0) > 0);
                if (turn < 2 * STREAMS)
                        continue;
                for (int i = 0; i < STREAMS; i++) {
                        least = MIN(least, sides[i].n_lines);
                        most = MAX(most, sides[i].n_lines);
                }
                CHECK(least > 0 && most <= (size_t) (turn + 1) * STREAM_LINES_PER_TURN);
        }
        tear_down();
}

/* A queue full of what the peer did not ask for is no reason not to read it. */
static void only_the_asked_for_chokes(void)
{
        static char line[5000];
        Side *s = &sides[0];

        memset(line, 'x', sizeof(line));
        set_up(0, 0, false);
        stream_set_output_max(s->stream, 20000, STREAM_STALL_USEC_DEFAULT);
        while (stream_queued(s->stream) <= 40000)
                CHECK_EQ(stream_send_unasked(s->stream, line, sizeof(line), NULL, 0), 0);
        say(0, "a\n", 2);
        CHECK_EQ(s->n_lines, 1);
        for (int i = 0; i < 5; i++)
                CHECK_EQ(stream_send_text(s->stream, line, sizeof(line)), 0);
        CHECK_EQ(write(s->peer, "b\n", 2), 2);
        run();
        CHECK_EQ(s->n_lines, 1);
        while (s->n_lines < 2) {
                CHECK(read(s->peer, line, sizeof(line)) > 0);
                run();
        }
        CHECK(stream_queued(s->stream) <= 10000);
        tear_down();
}

/* However much of either kind has gone through it: an empty queue is read from. */
static void choking_is_forgotten(void)
{
        static char line[3000];
        unsigned seed = 11;
        size_t said = 0;
        Side *s = &sides[0];

        memset(line, 'x', sizeof(line));
        set_up(0, 0, false);
        stream_set_output_max(s->stream, 20000, STREAM_STALL_USEC_DEFAULT);
        for (int i = 0; i < 20000; i++) {
                char heard[8192];
                size_t n = 1 + (size_t) rand_r(&seed) % sizeof(line);

                if (stream_queued(s->stream) < 40000 && rand_r(&seed) % 3)
                        CHECK_EQ(rand_r(&seed) % 2 ? stream_send_text(s->stream, line, n)
                                                   : stream_send_unasked(s->stream, line, n, NULL, 0),
                                        0);
                else if (rand_r(&seed) % 2)
                        (void) !read(s->peer, heard, 1 + (size_t) rand_r(&seed) % sizeof(heard));
                run();
                if (i % 50)
                        continue;
                while (read(s->peer, heard, sizeof(heard)) > 0)
                        run();
                say(0, "a\n", 2);
                CHECK_EQ(s->n_lines, ++said);
        }
        tear_down();
}

static int waiting(int i)
{
        int n;

        CHECK(ioctl(stream_fd(sides[i].stream), FIONREAD, &n) >= 0);
        return n;
}

/* Of a long line a turn takes its part, however much has come and however much room is there for it. */
static void a_read_is_bounded(void)
{
        static char part[100000];
        bool bounded = false;

        memset(part, 'x', sizeof(part));
        set_up(0, 0, true);
        for (int i = 0; i < 4; i++)
                say(0, part, sizeof(part));
        CHECK_EQ(send(sides[0].peer, part, sizeof(part), 0), sizeof(part));
        for (int before = waiting(0), after; before > 0; before = after) {
                CHECK(sd_event_run(event, 0) > 0);
                after = waiting(0);
                CHECK(before - after <= (int) STREAM_READ_MAX);
                bounded |= before - after == (int) STREAM_READ_MAX;
        }
        CHECK(bounded);
        say(0, "\n", 1);
        CHECK_EQ(sides[0].n_lines, 1);
        tear_down();
}

/* --- what is said soon --- */

static Cork cork;

static void set_up_corked(void)
{
        set_up(0, 0, false);
        cork = (Cork){ .on = true };
        list_init(&cork.streams);
        for (int i = 0; i < STREAMS; i++)
                stream_set_cork(sides[i].stream, &cork);
}

static void soon(int i, const char *text)
{
        CHECK_EQ(stream_send_soon(sides[i].stream, text, strlen(text)), 0);
}

static void expect_heard(int i, const char *text)
{
        char heard[64] = "";
        ssize_t n = recv(sides[i].peer, heard, sizeof(heard) - 1, 0);

        CHECK(n >= 0 || errno == EAGAIN);
        CHECK_STR(heard, text);
}

static void the_first_goes_at_once(void)
{
        set_up_corked();
        for (int round = 0; round < 2; round++) {
                cork.on = true;
                soon(0, "a");
                soon(1, "b");
                soon(0, "c");
                soon(0, "d");
                expect_heard(0, "a\n");
                expect_heard(1, "b\n");
                cork_release(&cork);
                expect_heard(0, "c\nd\n");
                expect_heard(1, "");
                soon(0, "e");
                soon(0, "f");
                expect_heard(0, "e\nf\n");
        }
        tear_down();
}

static void others_take_it_along(void)
{
        set_up_corked();
        soon(0, "a");
        soon(0, "b");
        CHECK_EQ(stream_send_text(sides[0].stream, "c", 1), 0);
        expect_heard(0, "a\nb\nc\n");
        soon(0, "d");
        expect_heard(0, "");
        stream_finish(sides[0].stream);
        cork_release(&cork);
        expect_heard(0, "d\n");
        soon(1, "a");
        tear_down();
}

static void what_was_kept_outlives_the_stream(void)
{
        set_up_corked();
        soon(0, "a");
        soon(0, "b");
        sides[0].stream = stream_free(sides[0].stream);
        expect_heard(0, "a\nb\n");
        CHECK(list_is_empty(&cork.streams));
        tear_down();
}

/* More than the socket takes: the rest goes when there is room, whether it began before the cork or behind it. */
static void a_full_socket_is_waited_for(void)
{
        static char line[10000], heard[100000];
        size_t said = 0, n = 0;

        memset(line, 'x', sizeof(line));
        set_up_corked();
        for (; stream_queued(sides[0].stream) < 60000; said += sizeof(line) + 1)
                CHECK_EQ(stream_send_soon(sides[0].stream, line, sizeof(line)), 0);
        cork_release(&cork);
        CHECK(stream_queued(sides[0].stream) > 0);
        cork.on = true;
        soon(0, "x");
        cork_release(&cork);
        said += 2;
        for (int i = 0; n < said && i < 10000; i++) {
                ssize_t k = recv(sides[0].peer, heard, sizeof(heard), 0);

                n += k > 0 ? (size_t) k : 0;
                CHECK(sd_event_run(event, 0) >= 0);
        }
        CHECK_EQ(n, said);
        tear_down();
}

TEST_MAIN({ "half_lines_of_one_user", half_lines_of_one_user }, { "output_of_one_user", output_of_one_user },
                { "descriptors_of_one_user", descriptors_of_one_user },
                { "the_quiet_one_comes_first", the_quiet_one_comes_first },
                { "turns_go_round", turns_go_round }, { "a_read_is_bounded", a_read_is_bounded },
                { "only_the_asked_for_chokes", only_the_asked_for_chokes },
                { "choking_is_forgotten", choking_is_forgotten },
                { "the_first_goes_at_once", the_first_goes_at_once },
                { "others_take_it_along", others_take_it_along },
                { "what_was_kept_outlives_the_stream", what_was_kept_outlives_the_stream },
                { "a_full_socket_is_waited_for", a_full_socket_is_waited_for });
