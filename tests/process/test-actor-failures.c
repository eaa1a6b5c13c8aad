/* SPDX-License-Identifier: Apache-2.0 */
/* What nurseries of processes come to when something in them, or around them, goes wrong. $BACKEND chooses where actors live. */
#include <errno.h>
#include <json-c/json.h>
#include <signal.h>
#include <tractor/tractor.h>

#include "test.h"

static int breaks(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        return tractor_fail("Broken", "%s broke", tractor_name());
}

static int dies(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        (void) raise(SIGKILL);
        return 0;
}

static const tractor_method methods[] = { { "breaks", breaks }, { "dies", dies }, { NULL } };

static tractor_options options = { .size = sizeof(options), .methods = methods, .flags = TRACTOR_EMBED };

static void run(int (*body)(void *), int expected)
{
        CHECK_EQ(tractor_run(&options, body, NULL), expected);
}

static int cut_short(void *unused)
{
        TRACTOR_NURSERY(n);
        tractor_scope *s;
        int r;

        s = tractor_fail_after(TRACTOR_FOREVER);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "idle", NULL, NULL), 0);
        tractor_scope_set_deadline(s, tractor_now() + TRACTOR_SEC / 5);
        r = tractor_nursery_close(&n, 0);
        CHECK_EQ(r, -ECANCELED);
        CHECK_EQ(tractor_scope_close(s, r), -ETIMEDOUT);
        return 0;
}

static void a_deadline_while_leaving_is_told(void)
{
        run(cut_short, 0);
}

/* What its own program does not have is no death without a reason. */
static int has_no_entry(void *unused)
{
        tractor_actor_options a = { .size = sizeof(a), .entry = "nowhere" };
        char *text;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "a", &a, NULL), 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), -ENOSYS);
        CHECK_STR(tractor_error_type(tractor_last_error()), "MethodNotFound");
        CHECK_STR(tractor_error_message(tractor_last_error()), "this program has no method 'nowhere'");
        CHECK(strstr(tractor_error_actor(tractor_last_error()), "/n1/a"));
        /* Who is not there is named once. */
        CHECK_EQ(tractor_query("/nobody", NULL), -ESRCH);
        text = tractor_error_format(tractor_last_error());
        CHECK_STR(text, "NoSuchActor: there is no /nobody\n");
        free(text);
        return 0;
}

static void an_entry_that_is_none_is_told(void)
{
        run(has_no_entry, 0);
}

static int fails_again(void *waits)
{
        struct json_object *keys =
                        json_tokener_parse("{\"intensity\":{\"max_restarts\":2,\"within_ms\":10000}}");
        tractor_nursery_options o = { .size = sizeof(o), .strategy = "one_for_one", .keys = keys };
        tractor_actor_options a = { .size = sizeof(a), .entry = "breaks", .restart = "permanent" };
        const tractor_error *e;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(&o, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "broken", &a, NULL), 0);
        CHECK_EQ(tractor_nursery_close(&n, waits ? tractor_sleep_forever() : 0), -ELOOP);
        e = tractor_last_error();
        CHECK_EQ(tractor_error_n_causes(e), 1);
        CHECK_STR(tractor_error_type(tractor_error_cause(e, 0)), "Broken");
        json_object_put(keys);
        return 0;
}

static void a_nursery_gives_up_restarting(void)
{
        CHECK_EQ(tractor_run(&options, fails_again, &options), 0);
        CHECK_EQ(tractor_run(&options, fails_again, NULL), 0);
}

static int dies_in_a_call(void *unused)
{
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);
        int r;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "victim", NULL, &p), 0);
        r = tractor_portal_call(p, "dies", NULL, NULL);
        tractor_portal_unref(p);
        CHECK_EQ(tractor_nursery_close(&n, r), -EOWNERDEAD);
        return 0;
}

static void one_death_is_one_error(void)
{
        run(dies_in_a_call, 0);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = { { "a_deadline_while_leaving_is_told",
                                                          a_deadline_while_leaving_is_told },
                { "an_entry_that_is_none_is_told", an_entry_that_is_none_is_told },
                { "a_nursery_gives_up_restarting", a_nursery_gives_up_restarting },
                { "one_death_is_one_error", one_death_is_one_error } };

        /* The same binary is its actors. */
        if (getenv("TRACTOR_ENTRY"))
                return tractor_main(&options, NULL, NULL);
        options.backend = getenv("BACKEND");
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
