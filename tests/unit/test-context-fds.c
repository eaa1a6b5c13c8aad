/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors that come with items. */
#include <fcntl.h>

#include "portal-fixture.h"

static bool all_sent;

static Json *number(int64_t i)
{
        Json *v = NULL;

        CHECK_EQ(json_pack(&v, "I", i), 0);
        return v;
}

static Json *to(int n)
{
        Json *args = NULL;

        CHECK_EQ(json_pack(&args, "{to:i}", n), 0);
        return args;
}

/* Hands out pipes with a letter in them. */
static int pipes(tractor_context *c, Json *args, Json **ret)
{
        int64_t n = json_get_integer(args, "to", 0);
        int r = tractor_context_started(c, NULL, NULL);

        for (int64_t i = 0; r >= 0 && i < n; i++) {
                int fds[2];

                CHECK_EQ(pipe(fds), 0);
                CHECK_EQ(write(fds[1], &"abcdefghijklmnopqrstuvwxyz"[i % 26], 1), 1);
                r = tractor_send_fds(c, number(i), fds, 2);
                CHECK(fds[0] < 0 && fds[1] < 0);
        }
        all_sent = r >= 0;
        return r;
}

static int nothing(tractor_context *c, Json *args, Json **ret)
{
        return 0;
}

static const tractor_method methods[] = { { "pipes", pipes, NULL, NULL }, { "nothing", nothing, NULL, NULL },
        { NULL } };

static void check_letter(int *fds, size_t n, char expected)
{
        char c = 0;

        CHECK_EQ(n, 2);
        CHECK_EQ(read(fds[0], &c, 1), 1);
        CHECK_EQ(c, expected);
        close_many(fds, n);
}

static int gets_pipes(tractor_portal *p, Nursery *unused)
{
        tractor_context *c = NULL;
        int fds[MESSAGE_FDS_MAX];
        size_t n = ELEMENTSOF(fds);
        Json *item;

        CHECK_EQ(tractor_context_open(p, "pipes", to(200), NULL, &c, NULL), 0);
        CHECK_EQ(tractor_send_fds(c, NULL, &(int){ -EBADF }, 1), -EBADF); /* and the dialog goes on */
        for (int i = 0; i < 200; i++) {
                n = ELEMENTSOF(fds);
                CHECK_EQ(tractor_receive_fds(c, &item, fds, &n), 1);
                CHECK_EQ(json_integer(item), i);
                check_letter(fds, n, (char) ('a' + i % 26));
                json_unref(item);
        }
        n = ELEMENTSOF(fds);
        CHECK_EQ(tractor_receive_fds(c, &item, fds, &n), 0);
        CHECK_EQ(tractor_context_close(&c, 0, NULL), 0);
        CHECK_EQ(tractor_context_open(p, "pipes", to(3), NULL, &c, NULL), 0);
        CHECK_EQ(tractor_receive(c, &item), 1); /* who does not want them closes them */
        json_unref(item);
        n = 1;
        CHECK_EQ(tractor_receive_fds(c, &item, fds, &n), 1);
        CHECK_EQ(n, 1);
        close_many(fds, n);
        json_unref(item);
        CHECK_EQ(tractor_context_close(&c, 0, NULL), 0); /* nor does who leaves */
        return 0;
}

static int no_more(void *unused)
{
        return 0;
}

/* What the first run opens for the whole process counts as open before. */
static unsigned n_open(void)
{
        unsigned n = 0;

        CHECK_EQ(tractor_run(NULL, no_more, NULL), 0);
        for (int fd = 0; fd < 1024; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

static void descriptors_come_with_items(void)
{
        unsigned before = n_open();

        run_beside(methods, gets_pipes);
        CHECK_EQ(n_open(), before);
}

static int too_many_pipes(tractor_portal *p, Nursery *unused)
{
        tractor_context *c = NULL;
        int fds[MESSAGE_FDS_MAX], r = 1;
        size_t n;
        Json *item;

        all_sent = false;
        CHECK_EQ(tractor_context_open(p, "pipes", to(40), NULL, &c, NULL), 0);
        while (!all_sent)
                CHECK_EQ(tractor_sleep(100), 0);
        CHECK_EQ(tractor_portal_call(p, "nothing", NULL, NULL), 0); /* all have come */
        for (int i = 0; i < 40; i++) {
                n = ELEMENTSOF(fds);
                r = tractor_receive_fds(c, &item, fds, &n);
                CHECK_EQ(r, i < 32 ? 1 : -EMFILE);
                if (r < 0)
                        CHECK_EQ(tractor_receive(c, &item), 1);
                else
                        close_many(fds, n);
                CHECK_EQ(json_integer(item), i);
                json_unref(item);
        }
        CHECK_EQ(tractor_context_close(&c, 0, NULL), 0);
        return 0;
}

static void descriptors_that_wait_are_bounded(void)
{
        unsigned before = n_open();

        run_beside(methods, too_many_pipes);
        CHECK_EQ(n_open(), before);
}

static int over_pipes(void *unused)
{
        tractor_context *c = NULL;
        tractor_portal *p = NULL;
        int there[2], back[2];
        TRACTOR_NURSERY(n);

        CHECK(pipe2(there, O_CLOEXEC) == 0 && pipe2(back, O_CLOEXEC) == 0);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_serve_fds(n, there[0], back[1], methods), 0);
        CHECK_EQ(tractor_portal_open_fds(back[0], there[1], &p), 0);
        CHECK_EQ(tractor_context_open(p, "pipes", to(1), NULL, &c, NULL), 0);
        CHECK_EQ(tractor_context_close(&c, 0, NULL), -EOPNOTSUPP);
        CHECK_EQ(tractor_portal_call(p, "nothing", NULL, NULL), 0); /* nothing else is lost by that */
        tractor_portal_unref(p);
        return tractor_nursery_close(&n, 0);
}

static void bytes_alone_carry_none(void)
{
        unsigned before = n_open();

        CHECK_EQ(tractor_run(NULL, over_pipes, NULL), 0);
        CHECK_EQ(n_open(), before);
}

TEST_MAIN({ "descriptors_come_with_items", descriptors_come_with_items },
                { "descriptors_that_wait_are_bounded", descriptors_that_wait_are_bounded },
                { "bytes_alone_carry_none", bytes_alone_carry_none });
