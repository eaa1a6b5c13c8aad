/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/io.h"
#include "stdio/ids.h"
#include "stdio/lines.h"
#include "test.h"

/* --- whose answer --- */

static IdsFound take(Ids *ids, const char *text, void **ret)
{
        _cleanup_json_ Json *id = NULL;

        CHECK_EQ(json_parse(text, strlen(text), NULL, &id, NULL), 0);
        return ids_take(ids, id, ret);
}

static void test_ids(void)
{
        Ids ids = { 0 };
        int a, b, c;
        int64_t n[3];
        void *p;

        CHECK_EQ(take(&ids, "1", &p), IDS_UNKNOWN);
        CHECK_EQ(ids_add(&ids, &a, &n[0]), 0);
        CHECK_EQ(ids_add(&ids, &b, &n[1]), 0);
        CHECK_EQ(ids_add(&ids, &c, &n[2]), 0);
        CHECK(n[0] == 1 && n[1] == 2 && n[2] == 3);
        CHECK(ids_remove(&ids, 2) == &b && !ids_remove(&ids, 2));
        CHECK_EQ(take(&ids, "2", &p), IDS_LATE);
        CHECK(take(&ids, "3.0", &p) == IDS_OPEN && p == &c);
        CHECK_EQ(take(&ids, "3", &p), IDS_LATE);
        CHECK(take(&ids, "1", &p) == IDS_OPEN && p == &a);
        for (const char *const *t = (const char *const[]){ "0", "-1", "4", "1.5", "1e300", "-1.0", "\"1\"",
                             "null", NULL };
                        *t; t++)
                CHECK_EQ(take(&ids, *t, &p), IDS_UNKNOWN);
        CHECK_EQ(ids.open.n, 0);
        /* A number is used once. */
        CHECK_EQ(ids_add(&ids, &a, &n[0]), 0);
        CHECK_EQ(n[0], 4);
        ids_done(&ids);
}

/* Against a plain array: many open at once, taken in an order of their own. */
static void test_many(void)
{
        enum { N = 5000 };
        static int values[N + 1];
        Ids ids = { 0 };
        int64_t id;
        void *p;

        for (int i = 1; i <= N; i++) {
                CHECK_EQ(ids_add(&ids, &values[i], &id), 0);
                CHECK_EQ(id, i);
        }
        for (int i = 1; i <= N; i++) {
                int k = (int) (i * 3779LL % N) + 1; /* each once: 3779 and 5000 have no common divisor */
                char text[16];

                (void) snprintf(text, sizeof(text), "%d", k);
                CHECK(take(&ids, text, &p) == IDS_OPEN && p == &values[k]);
                CHECK_EQ(take(&ids, text, &p), IDS_LATE);
        }
        CHECK_EQ(ids.open.n, 0);
        ids_done(&ids);
}

static void test_guess(void)
{
        static const struct {
                const char *line;
                int64_t id; /* 0: none */
        } cases[] = {
                { "{\"jsonrpc\":\"2.0\",\"id\":17,\"result\":NaN}", 17 },
                { " { \"result\" : {\"id\":1,\"x\":[{}]} , \"id\" : 18 }", 18 },
                { "{\"result\":\"\\\"id\\\":3\",\"id\":19", 19 },
                { "{\"id\":20,\"result\":\"cut", 20 },
                { "{\"id\":21", 21 },
                { "{\"id\":22,\"method\":\"x\",\"params\":NaN}", 0 },
                { "{\"id\":\"23\",\"result\":NaN}", 0 },
                { "{\"id\":24.5,\"result\":NaN}", 0 },
                { "{\"id\":-25,\"result\":NaN}", 0 },
                { "{\"id\":1234567890123456789012,\"result\":1}", 0 },
                { "{\"result\":{\"id\":26}}", 0 },
                { "[{\"id\":27}]", 0 },
                { "{\"x\":\"id\",\"y\":28}", 0 },
                { "{\"id\"", 0 },
                { "{\"id\":", 0 },
                { "{\"", 0 },
                { "{\"\\", 0 },
                { "{", 0 },
                { "", 0 },
                { "}}}}\"id\":29", 0 },
                { "rubbish \"id\":30", 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                size_t n = strlen(cases[i].line);
                char *exact = malloc(n + 1); /* its end is where a sanitizer sees a step beyond it */
                int64_t id = 0;

                CHECK(exact);
                memcpy(exact, cases[i].line, n);
                CHECK_EQ(ids_guess(exact, n, &id), cases[i].id > 0);
                CHECK_EQ(id, cases[i].id);
                free(exact);
        }
}

/* --- pipes --- */

typedef struct Rig {
        sd_event *event;
        Lines *lines;
        int to, from; /* the program's side: what is written to `to` comes in, what we send is read at `from` */
        unsigned n_lines, n_written, n_broken;
        size_t last;
        bool ended;
        int end;
} Rig;

static void on_line(char *line, size_t n, void *userdata)
{
        Rig *r = userdata;

        r->n_lines++;
        r->last = n;
}

static void on_end(int error, void *userdata)
{
        Rig *r = userdata;

        CHECK(!r->ended);
        r->ended = true;
        r->end = error;
}

static void on_written(void *userdata)
{
        ((Rig *) userdata)->n_written++;
}

static void on_broken(void *userdata)
{
        ((Rig *) userdata)->n_broken++;
}

static const LinesVtable vtable = {
        .on_line = on_line, .on_end = on_end, .on_written = on_written, .on_broken = on_broken
};

static void rig_open(Rig *r, size_t max_line)
{
        int in[2], out[2];

        *r = (Rig){ 0 };
        CHECK(pipe2(in, O_CLOEXEC) >= 0 && pipe2(out, O_CLOEXEC) >= 0);
        CHECK(sd_event_new(&r->event) >= 0);
        CHECK_EQ(lines_new(r->event, in[0], out[1], max_line, &vtable, r, &r->lines), 0);
        r->to = in[1];
        r->from = out[0];
}

static void rig_close(Rig *r)
{
        lines_free(r->lines);
        sd_event_unref(r->event);
        safe_close(r->to);
        safe_close(r->from);
}

static void turn(Rig *r)
{
        CHECK(sd_event_run(r->event, 10 * 1000 * 1000) > 0);
}

static void put(Rig *r, const char *text)
{
        CHECK_EQ(write(r->to, text, strlen(text)), (long long) strlen(text));
}

static void test_lines_in(void)
{
        Rig r;

        rig_open(&r, 64);
        put(&r, "one\r\n\ntwo\nthr");
        turn(&r);
        CHECK(r.n_lines == 2 && r.last == 3);
        lines_pause(r.lines, true);
        put(&r, "ee\n");
        CHECK_EQ(sd_event_run(r.event, 0), 0);
        lines_drain(r.lines, 4096);
        CHECK(r.n_lines == 3 && r.last == 5);
        lines_pause(r.lines, false);
        put(&r, "cut");
        r.to = safe_close(r.to);
        while (!r.ended)
                turn(&r);
        CHECK(r.n_lines == 3 && r.end == 0);
        lines_drain(r.lines, 4096);
        rig_close(&r);

        rig_open(&r, 8);
        put(&r, "12345678\n123456789\n1\n");
        turn(&r);
        CHECK(r.n_lines == 1 && r.ended && r.end == -EMSGSIZE);
        rig_close(&r);
}

/* All comes out in order, and positions count it. */
static void test_lines_out(void)
{
        char line[1000], in[4096];
        uint64_t total = 0, got = 0;
        ssize_t k;
        Rig r;

        rig_open(&r, 64);
        memset(line, 'x', sizeof(line));
        for (int i = 0; i < 300; i++) {
                size_t n = (size_t) (i * 7 % 1000);

                CHECK_EQ(lines_send(r.lines, line, n), 0);
                total += n + 1;
                CHECK_EQ(lines_written(r.lines) + lines_queued(r.lines), total);
        }
        CHECK(lines_queued(r.lines) > 0 && r.n_written == 0);
        lines_finish(r.lines);
        CHECK_EQ(lines_send(r.lines, line, 1), -EPIPE);
        CHECK(fd_set_nonblock(r.from, true) >= 0);
        while ((k = read(r.from, in, sizeof(in))) != 0) {
                if (k > 0)
                        got += (uint64_t) k;
                else
                        turn(&r);
        }
        CHECK_EQ(got, total);
        CHECK(r.n_written > 0 && r.n_broken == 0 && lines_queued(r.lines) == 0);
        rig_close(&r);
}

static void test_lines_broken(void)
{
        static char line[256 * 1024];
        Rig r;

        rig_open(&r, 64);
        CHECK_EQ(lines_send(r.lines, line, sizeof(line)), 0);
        r.from = safe_close(r.from);
        turn(&r);
        CHECK(r.n_broken == 1 && lines_queued(r.lines) == 0);
        CHECK_EQ(lines_written(r.lines), sizeof(line) + 1);
        CHECK_EQ(lines_send(r.lines, line, 1), -EPIPE);
        CHECK_EQ(r.n_broken, 1);
        rig_close(&r);

        /* Also when nothing waits to be written. */
        rig_open(&r, 64);
        r.from = safe_close(r.from);
        turn(&r);
        CHECK_EQ(r.n_broken, 1);
        rig_close(&r);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = {
                { "ids", test_ids },
                { "many", test_many },
                { "guess", test_guess },
                { "lines_in", test_lines_in },
                { "lines_out", test_lines_out },
                { "lines_broken", test_lines_broken },
        };

        (void) signal(SIGPIPE, SIG_IGN);
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
