/* SPDX-License-Identifier: Apache-2.0 */
/* Out of memory at every place of what starts, asks and ends actors: none may crash the owner, hang it or stay behind. */
#include <errno.h>
#include <json-c/json.h>
#include <tractor/tractor.h>
#include <unistd.h>

#include "failing-malloc.h"
#include "test.h"

static int get_pid(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        *ret_result = json_object_new_int(getpid());
        return 0;
}

static int breaks(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        return tractor_fail("Broken", "it broke");
}

static const tractor_method methods[] = { { "get_pid", get_pid }, { "breaks", breaks }, { NULL } };
static tractor_options options = { .size = sizeof(options), .methods = methods, .flags = TRACTOR_EMBED };

static int daemon_actor(void)
{
        struct json_object *result = NULL;
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0)
                r = tractor_start_actor(n, "daemon", NULL, &p);
        if (r >= 0)
                r = tractor_portal_call(p, "get_pid", NULL, &result);
        json_object_put(result);
        tractor_portal_unref(p);
        if (r >= 0)
                tractor_nursery_cancel(n, "enough");
        return tractor_nursery_close(&n, r);
}

/* Its failure is told, or that there was no memory to. */
static int failing_shot(void)
{
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0)
                r = tractor_run_actor(n, "shot", "breaks", NULL, NULL, NULL);
        r = tractor_nursery_close(&n, r);
        CHECK(r < 0);
        return r == -EREMOTEIO ? 0 : r;
}

typedef struct Progress {
        int (*what)(void);
        long n;
        bool done;
} Progress;

/* Until all is done, or the connection is lost of it. */
static int body(void *userdata)
{
        Progress *p = userdata;
        int r = p->what();
        bool reached;

        CHECK_EQ(r, 0);
        while (r != -ECONNRESET && !p->done) {
                (void) alarm(60);
                countdown = p->n;
                r = p->what();
                reached = countdown == 0;
                countdown = -1;
                p->n += reached;
                /* The connection may have been lost of the one before. */
                p->done = !reached && r != -ECONNRESET;
        }
        CHECK(!p->done || r == 0);
        return 0;
}

static void run(int (*what)(void))
{
        Progress p = { .what = what, .n = 1 };

        while (!p.done)
                CHECK_EQ(tractor_run(&options, body, &p), 0);
        (void) fprintf(stderr, "%ld allocations\n", p.n - 1);
        CHECK(p.n > 100);
}

static void a_daemon(void)
{
        run(daemon_actor);
}

static void a_one_shot_that_fails(void)
{
        run(failing_shot);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = { { "a_daemon", a_daemon },
                { "a_one_shot_that_fails", a_one_shot_that_fails } };

        /* The same binary is its actors. */
        if (getenv("TRACTOR_ENTRY"))
                return tractor_main(&options, NULL, NULL);
        options.backend = getenv("BACKEND");
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
