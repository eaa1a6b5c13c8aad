/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#include "failing-malloc.h"
#include "portal-fixture.h"

/* Out of memory at every place of a run: a program with tasks, scopes and a portal to itself is run again and again, and in the nth run
 * the nth allocation fails. Whatever that breaks, the run ends, says so, and leaves nothing behind. */

/* --- what is asked for --- */
static int echo(tractor_context *c, Json *args, Json **ret)
{
        *ret = json_ref(args);
        return 0;
}

static int breaks(tractor_context *c, Json *args, Json **ret)
{
        return tractor_fail("Broken", "it %s", "broke");
}

static int forever(tractor_context *c, Json *args, Json **ret)
{
        return tractor_sleep_forever();
}

static int three(tractor_context *c, Json *args, Json **ret)
{
        int r = tractor_context_started(c, json_new_string("here", SIZE_MAX), NULL);

        for (int i = 0; i < 3 && r >= 0; i++)
                r = tractor_send(c, json_new_string("an item", SIZE_MAX));
        return r;
}

static int nothing(tractor_context *c, Json *args, Json **ret)
{
        return 0;
}

static const tractor_method methods[] = { { "echo", echo, NULL, NULL }, { "breaks", breaks, NULL, NULL },
        { "forever", forever, NULL, NULL }, { "three", three, NULL, NULL },
        { "nothing", nothing, NULL, NULL }, { NULL } };

/* --- the program --- */
static int quick(void *unused)
{
        return tractor_checkpoint();
}

static int begins(void *unused)
{
        int r = tractor_task_started(json_new_string("begun", SIZE_MAX));

        return r < 0 ? r : tractor_sleep_forever();
}

static int falls(void *unused)
{
        return tractor_fail("Fallen", "it fell");
}

/* -ENOMEM, or the failure that was to be: never success. */
static int failing(void)
{
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0)
                r = tractor_start_task(n, NULL, falls, NULL, NULL);
        r = tractor_nursery_close(&n, r);
        CHECK(r < 0);
        return r == -EREMOTEIO ? 0 : r;
}

static int tasks(void)
{
        tractor_nursery_options o = { .size = sizeof(o), .name = "named", .strategy = "one_cancels_one" };
        Json *value = NULL;
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(&o, &n);

        if (r >= 0)
                r = tractor_start_task(n, "quick", quick, NULL, NULL);
        if (r >= 0)
                r = tractor_start(n, "begins", begins, NULL, NULL, &value);
        json_unref(value);
        if (r >= 0)
                tractor_nursery_cancel(n, "enough");
        r = tractor_nursery_close(&n, r);
        return r < 0 ? r : failing();
}

static int calls(tractor_portal *p)
{
        Json *answer = NULL, *args = NULL;
        int r = json_pack(&args, "[s]", "text");

        if (r >= 0)
                r = tractor_portal_call(p, "echo", args, &answer);
        if (r >= 0)
                CHECK_STR(json_string(json_item(answer, 0)), "text");
        json_unref(answer);
        if (r < 0)
                return r;
        r = tractor_portal_call(p, "breaks", NULL, NULL);
        CHECK(r < 0);
        if (r != -EREMOTEIO)
                return r;
        return tractor_portal_tell(p, "nothing", NULL);
}

static int given_up(tractor_portal *p)
{
        tractor_scope *s = tractor_move_on_after(1000);
        int r = s ? tractor_portal_call(p, "forever", NULL, NULL) : 0;

        return tractor_scope_close(s, r);
}

static int dialog(tractor_portal *p)
{
        Json *first = NULL, *item = NULL;
        tractor_context *c = NULL;
        int r = tractor_context_open(p, "three", NULL, NULL, &c, &first);

        json_unref(first);
        if (r < 0)
                return r;
        while ((r = tractor_receive(c, &item)) > 0)
                item = json_unref(item);
        return tractor_context_close(&c, r, NULL);
}

static int on_portal(void)
{
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);
        int fds[2], r;

        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        r = tractor_nursery_open(NULL, &n);
        if (r >= 0)
                r = tractor_serve_fds(n, fds[1], fds[1], methods);
        else
                (void) close(fds[1]);
        if (r >= 0)
                r = tractor_portal_open_fds(fds[0], fds[0], &p);
        else
                (void) close(fds[0]);
        if (r >= 0)
                r = calls(p);
        if (r >= 0)
                r = given_up(p);
        if (r >= 0)
                r = dialog(p);
        tractor_portal_unref(p);
        return tractor_nursery_close(&n, r);
}

static int body(void *unused)
{
        int r = tasks();

        return r < 0 ? r : on_portal();
}

static int n_fds(void)
{
        int n = 0;

        for (int fd = 0; fd < 64; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

/* Whether an allocation was there to fail. */
static bool fail_at(long n)
{
        int r, before_fds = n_fds();
        long before = live;
        bool failed;

        (void) alarm(60);
        countdown = n;
        r = tractor_run(NULL, body, NULL);
        failed = countdown == 0;
        countdown = -1;
        if (live != before || n_fds() != before_fds || (!failed && r != 0)) {
                (void) fprintf(stderr, "at %ld: %d; %ld blocks and %d descriptors left\n", n, r,
                                live - before, n_fds() - before_fds);
                abort();
        }
        return failed;
}

static void every_allocation(void)
{
        long n = 1;

        CHECK_EQ(tractor_run(NULL, body, NULL), 0); /* what libraries keep for good they take now */
        while (fail_at(n))
                n++;
        (void) fprintf(stderr, "%ld allocations\n", n - 1);
        CHECK(n > 300);
}

TEST_MAIN({ "every_allocation", every_allocation });
