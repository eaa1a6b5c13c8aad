/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/io.h"
#include "test.h"
#include "wire/frame.h"

static void feed(Frame *f, const char *bytes, size_t n)
{
        void *p;
        size_t room;

        CHECK_EQ(frame_reserve(f, n, &p, &room), 0);
        CHECK(room >= n);
        memcpy(p, bytes, n);
        frame_commit(f, n);
}

static void expect(Frame *f, const char *line)
{
        char *got;
        size_t n;

        CHECK_EQ(frame_next(f, &got, &n), 1);
        CHECK_EQ(n, strlen(line));
        CHECK_STR(got, line);
}

static void expect_none(Frame *f)
{
        char *got;
        size_t n;

        CHECK_EQ(frame_next(f, &got, &n), 0);
}

/* However the bytes are cut, the lines are the same. */
static void any_cut(void)
{
        static const char text[] = "one\ntwo\r\n\n\r\nthree\r\rx\n";

        for (size_t step = 1; step < sizeof(text); step++) {
                const char *const lines[] = { "one", "two", "three\r\rx" };
                size_t seen = 0;
                Frame f;

                frame_init(&f, 100);
                for (size_t i = 0; i < sizeof(text) - 1; i += step) {
                        char *got;
                        size_t n;

                        feed(&f, text + i, MIN(step, sizeof(text) - 1 - i));
                        while (frame_next(&f, &got, &n) > 0) {
                                CHECK(seen < ELEMENTSOF(lines));
                                CHECK_STR(got, lines[seen]);
                                CHECK_EQ(n, strlen(lines[seen++]));
                        }
                }
                CHECK_EQ(seen, ELEMENTSOF(lines));
                frame_shrink(&f);
                CHECK(!f.data);
                frame_done(&f);
        }
}

static void bound_is_exact(void)
{
        char *got;
        size_t n;
        Frame f;

        frame_init(&f, 4);
        feed(&f, "1234\n", 5);
        expect(&f, "1234");
        feed(&f, "1234", 4);
        expect_none(&f);
        feed(&f, "\n12345\n1\n", 9);
        expect(&f, "1234");
        CHECK_EQ(frame_next(&f, &got, &n), -EMSGSIZE);
        CHECK_EQ(frame_next(&f, &got, &n), -EMSGSIZE);
        frame_done(&f);
}

/* The hostile peer that never ends its line is stopped as soon as the bound is passed, with bounded memory. */
static void endless_line(void)
{
        enum { LINE = 65536, STEP = 4096 };
        char bytes[STEP], *got;
        size_t fed = 0, n;
        Frame f;

        memset(bytes, 'x', sizeof(bytes));
        frame_init(&f, LINE);
        do {
                feed(&f, bytes, STEP);
                fed += STEP;
                CHECK(f.size <= LINE + 2 * STEP);
        } while (frame_next(&f, &got, &n) == 0);
        CHECK_EQ(fed, LINE + STEP);
        frame_done(&f);
        CHECK(!f.data);
}

static void partial_line_moves(void)
{
        enum { ROUNDS = 10000 };
        Frame f;

        frame_init(&f, 1000);
        for (int i = 0; i < ROUNDS; i++) {
                feed(&f, "abc\nde", 6);
                expect(&f, "abc");
                expect_none(&f);
                feed(&f, "f\n", 2);
                expect(&f, "def");
                expect_none(&f);
                CHECK(f.size < 100);
        }
        frame_done(&f);
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

static void descriptors_in_order(void)
{
        int a[] = { new_fd(), new_fd() }, b = new_fd(), got[3];
        Frame f;

        frame_init(&f, 100);
        CHECK_EQ(frame_take_fds(&f, got, 0), 0);
        CHECK_EQ(frame_take_fds(&f, got, 1), -EBADMSG);
        CHECK_EQ(frame_push_fds(&f, a, 2), 0);
        CHECK_EQ(frame_push_fds(&f, &b, 1), 0);
        CHECK_EQ(frame_take_fds(&f, got, 4), -EBADMSG);
        CHECK_EQ(frame_take_fds(&f, got, 1), 0);
        CHECK_EQ(got[0], a[0]);
        CHECK_EQ(frame_take_fds(&f, got + 1, 2), 0);
        CHECK(got[1] == a[1] && got[2] == b);
        CHECK(!f.fds);
        close_many(got, 3);
        frame_done(&f);
}

static void descriptors_are_bounded(void)
{
        int fds[FRAME_FDS_MAX], more[2];
        Frame f;

        frame_init(&f, 100);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                fds[i] = new_fd();
        CHECK_EQ(frame_push_fds(&f, fds, 31), 0);
        more[0] = fds[31];
        more[1] = new_fd();
        CHECK_EQ(frame_push_fds(&f, more, 2), -EXFULL);
        CHECK(!is_open(more[0]) && !is_open(more[1]));
        frame_done(&f);
        for (size_t i = 0; i < 31; i++)
                CHECK(!is_open(fds[i]));
}

/* A set may be claimed by any line up to the one that holds the last byte it came with, and by no later one. */
static void descriptors_expire(void)
{
        int a = new_fd(), b = new_fd(), got;
        Frame f;

        frame_init(&f, 100);
        feed(&f, "first\nsec", 9);
        CHECK_EQ(frame_push_fds(&f, &a, 1), 0);
        expect(&f, "first");
        CHECK(!frame_fds_overdue(&f));
        expect_none(&f);
        CHECK(!frame_fds_overdue(&f));
        feed(&f, "ond\nthird\n", 10);
        expect(&f, "second");
        CHECK(frame_fds_overdue(&f));
        CHECK_EQ(frame_take_fds(&f, &got, 1), 0);
        CHECK(!frame_fds_overdue(&f));
        CHECK_EQ(frame_push_fds(&f, &b, 1), 0);
        expect(&f, "third");
        CHECK(frame_fds_overdue(&f));
        safe_close(got);
        frame_done(&f);
        CHECK(!is_open(b));
}

TEST_MAIN({ "any_cut", any_cut }, { "bound_is_exact", bound_is_exact }, { "endless_line", endless_line },
                { "partial_line_moves", partial_line_moves },
                { "descriptors_in_order", descriptors_in_order },
                { "descriptors_are_bounded", descriptors_are_bounded },
                { "descriptors_expire", descriptors_expire });
