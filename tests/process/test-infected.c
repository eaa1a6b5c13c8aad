/* SPDX-License-Identifier: Apache-2.0 */
/* A root in C and an actor in asyncio (python-actor.py): what either sees when the other fails, is killed, hangs or is cancelled. */
#include <errno.h>
#include <json-c/json.h>
#include <signal.h>
#include <tractor/tractor.h>

#include "test.h"

static tractor_options options = { .size = sizeof(options), .flags = TRACTOR_EMBED };
static tractor_nursery *nursery;

static tractor_portal *start_actor(void)
{
        static const char *const exec[] = { "python3", SCRIPT, NULL };
        struct json_object *keys = json_tokener_parse(
                        "{\"channel\":\"fd\",\"ready\":\"channel\",\"env\":{\"PYTHONPATH\":\"" PYTHON
                        "\",\"PYTHONDONTWRITEBYTECODE\":\"1\"}}");
        tractor_actor_options o = { .size = sizeof(o), .exec = exec, .keys = keys };
        tractor_nursery_options own = { .size = sizeof(own), .strategy = "one_cancels_one" };
        tractor_portal *p = NULL;

        CHECK_EQ(tractor_nursery_open(&own, &nursery), 0);
        CHECK_EQ(tractor_start_actor(nursery, "infected", &o, &p), 0);
        json_object_put(keys);
        return p;
}

static int end(tractor_portal *p, int r)
{
        tractor_portal_unref(p);
        return tractor_nursery_close(&nursery, r);
}

static struct json_object *pair(int a, int b)
{
        struct json_object *o = json_object_new_array();

        json_object_array_add(o, json_object_new_int(a));
        json_object_array_add(o, json_object_new_int(b));
        return o;
}

static void check_add(tractor_portal *p)
{
        struct json_object *sum = NULL;

        CHECK_EQ(tractor_portal_call(p, "add", pair(20, 22), &sum), 0);
        CHECK_EQ(json_object_get_int(sum), 42);
        json_object_put(sum);
}

static int raises(void *unused)
{
        tractor_portal *p = start_actor();
        tractor_context *ctx = NULL;
        struct json_object *item;
        const tractor_error *e;

        CHECK_EQ(tractor_portal_call(p, "text.fail", NULL, NULL), -EREMOTEIO);
        e = tractor_last_error();
        CHECK_STR(tractor_error_type(e), "FileNotFoundError");
        CHECK(tractor_error_n_backtrace(e) > 0);
        CHECK(strncmp(tractor_error_backtrace(e, 0), "#0 fail (python-actor.py:", 25) == 0);
        CHECK_EQ(tractor_error_n_relay(e), 1);
        CHECK_STR(tractor_error_relay(e, 0), tractor_portal_path(p));
        CHECK_EQ(tractor_context_open(p, "breaks", NULL, NULL, &ctx, NULL), 0);
        for (int i = 0; i < 3; i++) {
                CHECK_EQ(tractor_send(ctx, json_object_new_int(i)), 0);
                CHECK_EQ(tractor_receive(ctx, &item), 1);
                CHECK_EQ(json_object_get_int(item), i);
                json_object_put(item);
        }
        CHECK_EQ(tractor_send(ctx, json_object_new_int(3)), 0);
        CHECK_EQ(tractor_receive(ctx, &item), 0);
        CHECK_EQ(tractor_context_close(&ctx, 0, NULL), -EREMOTEIO);
        CHECK_STR(tractor_error_type(tractor_last_error()), "LookupError");
        check_add(p);
        CHECK_EQ(tractor_portal_cancel_actor(p, "enough"), 0);
        return end(p, 0);
}

static int is_killed(void *unused)
{
        tractor_portal *p = start_actor();
        tractor_context *ctx = NULL;
        struct json_object *item;

        CHECK_EQ(tractor_context_open(p, "forever", NULL, NULL, &ctx, NULL), 0);
        CHECK_EQ(kill(tractor_portal_pid(p), SIGKILL), 0);
        CHECK_EQ(tractor_receive(ctx, &item), 0);
        CHECK(tractor_context_close(&ctx, 0, NULL) < 0);
        CHECK_STR(tractor_error_type(tractor_last_error()), "ActorDied");
        CHECK_STR(json_object_get_string(json_object_object_get(
                                  tractor_error_exit(tractor_last_error()), "signal")),
                        "SIGKILL");
        CHECK(end(p, 0) < 0);
        CHECK_STR(tractor_error_type(tractor_last_error()), "ActorDied");
        return 0;
}

static int is_stopped(void *unused)
{
        const tractor_call_options soon = { .size = sizeof(soon), .deadline_usec = TRACTOR_SEC / 10 };
        tractor_portal *p = start_actor();

        check_add(p);
        CHECK_EQ(kill(tractor_portal_pid(p), SIGSTOP), 0);
        CHECK_EQ(tractor_portal_call_with(p, "add", pair(1, 2), &soon, NULL), -ETIMEDOUT);
        CHECK_EQ(kill(tractor_portal_pid(p), SIGCONT), 0);
        check_add(p);
        /* The other side keeps it, too. */
        CHECK_EQ(tractor_portal_call_with(p, "wait", NULL, &soon, NULL), -ETIMEDOUT);
        CHECK_EQ(kill(tractor_portal_pid(p), SIGSTOP), 0);
        CHECK_EQ(tractor_portal_cancel_actor(p, "enough"), 0);
        return end(p, 0);
}

static int is_cancelled(void *unused)
{
        tractor_portal *p = start_actor();
        tractor_context *ctx = NULL;

        CHECK_EQ(tractor_context_open(p, "says_why", NULL, NULL, &ctx, NULL), 0);
        tractor_context_cancel(ctx, "enough");
        CHECK_EQ(tractor_context_close(&ctx, 0, NULL), -EREMOTEIO);
        CHECK_STR(tractor_error_type(tractor_last_error()), "ValueError");
        CHECK_STR(tractor_error_message(tractor_last_error()), "enough");
        check_add(p);
        CHECK_EQ(tractor_context_open(p, "forever", NULL, NULL, &ctx, NULL), 0);
        CHECK_EQ(tractor_portal_cancel_actor(p, "enough"), 0);
        CHECK_EQ(tractor_context_close(&ctx, 0, NULL), -EINTR);
        CHECK_STR(tractor_error_message(tractor_last_error()), "cancelled: enough");
        CHECK(strncmp(tractor_error_canceller(tractor_last_error()), "@client/", 8) == 0);
        return end(p, 0);
}

static void run(int (*body)(void *))
{
        CHECK_EQ(tractor_run(&options, body, NULL), 0);
}

static void an_exception_is_told(void)
{
        run(raises);
}

static void a_killed_one_is_told(void)
{
        run(is_killed);
}

static void a_stopped_one_is_waited_for_no_longer(void)
{
        run(is_stopped);
}

static void a_cancel_reaches_its_tasks(void)
{
        run(is_cancelled);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = { { "an_exception_is_told", an_exception_is_told },
                { "a_killed_one_is_told", a_killed_one_is_told },
                { "a_stopped_one_is_waited_for_no_longer", a_stopped_one_is_waited_for_no_longer },
                { "a_cancel_reaches_its_tasks", a_cancel_reaches_its_tasks } };

        options.backend = getenv("BACKEND");
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
