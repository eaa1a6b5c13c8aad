/* SPDX-License-Identifier: Apache-2.0 */
/* Portals and what serves them: both ends in one process, and a peer of its own that dies. */
#include "portal-fixture.h"

static int add(tractor_context *c, Json *args, Json **ret)
{
        CHECK(!tractor_context_is_dialog(c));
        CHECK_STR(tractor_context_method(c), "add");
        return json_pack(ret, "I", json_integer(json_item(args, 0)) + json_integer(json_item(args, 1)));
}

static int nothing(tractor_context *c, Json *args, Json **ret)
{
        return 0;
}

static int fail(tractor_context *c, Json *args, Json **ret)
{
        Json *parameters = NULL;

        CHECK_EQ(json_pack(&parameters, "{left:i}", 3), 0);
        return tractor_fail_with("OutOfStock", parameters, "no %s left", "bolts");
}

static int fail_plainly(tractor_context *c, Json *args, Json **ret)
{
        return -EINVAL;
}

static int forever(tractor_context *c, Json *args, Json **ret)
{
        unsigned *started = tractor_context_userdata(c);

        if (started)
                (*started)++;
        return tractor_sleep_forever();
}

static unsigned waiting, told;
static int64_t told_sum;
static bool gate; /* tells wait for it */

static int note(tractor_context *c, Json *args, Json **ret)
{
        while (!gate) {
                int r = tractor_sleep(100);

                if (r < 0)
                        return r;
        }
        told++;
        told_sum += json_integer(json_item(args, 0));
        return 0;
}

static int noted(tractor_context *c, Json *args, Json **ret)
{
        return json_pack(ret, "i", (int) told);
}

static const tractor_method methods[] = {
        { "nothing", nothing, NULL, NULL },
        { "add", add, NULL, NULL },
        { "fail", fail, NULL, NULL },
        { "fail_plainly", fail_plainly, NULL, NULL },
        { "forever", forever, &waiting, NULL },
        { "note", note, NULL, NULL },
        { "noted", noted, NULL, NULL },
        { NULL },
};

static void run(FixtureBody body)
{
        run_beside(methods, body);
}

static int calls(tractor_portal *p, Nursery *n)
{
        _cleanup_json_ Json *sum = NULL, *none = NULL;
        Json *args = NULL;

        CHECK_EQ(json_pack(&args, "[ii]", 3, 4), 0);
        CHECK_EQ(tractor_portal_call(p, "add", args, &sum), 0);
        CHECK_EQ(json_integer(sum), 7);
        CHECK_EQ(tractor_portal_call(p, "nothing", NULL, &none), 0);
        CHECK(!none);
        return 0;
}

static void a_call_is_answered(void)
{
        run(calls);
}

static int failures(tractor_portal *p, Nursery *n)
{
        const tractor_error *e;

        CHECK_EQ(tractor_portal_call(p, "fail", NULL, NULL), -EREMOTEIO);
        e = tractor_last_error();
        CHECK_STR(tractor_error_type(e), "OutOfStock");
        CHECK_STR(tractor_error_message(e), "no bolts left");
        CHECK_EQ(json_get_integer(tractor_error_parameters(e), "left", 0), 3);
        CHECK_EQ(tractor_portal_call(p, "fail_plainly", NULL, NULL), -EINVAL);
        CHECK_EQ(tractor_portal_call(p, "unheard_of", NULL, NULL), -ENOSYS);
        CHECK_EQ(tractor_portal_call(p, "$/unheard_of", NULL, NULL), -ENOSYS);
        CHECK_STR(tractor_error_type(tractor_last_error()), "MethodNotFound");
        return 0;
}

static void a_failure_arrives_as_it_was(void)
{
        run(failures);
}

static int cancels(tractor_portal *p, Nursery *n)
{
        tractor_scope *s = tractor_move_on_after(5 * TRACTOR_MSEC);
        int r;

        waiting = 0;
        r = tractor_portal_call(p, "forever", NULL, NULL);
        CHECK_EQ(r, -ECANCELED);
        CHECK_EQ(tractor_scope_close(s, r), 0);
        CHECK_EQ(waiting, 1);
        return calls(p, n);
}

static void a_cancelled_call_is_cancelled_over_there(void)
{
        run(cancels);
}

static Json *list(int i)
{
        Json *v = NULL;

        CHECK_EQ(json_pack(&v, "[i]", i), 0);
        return v;
}

static int open_gate(void *unused)
{
        CHECK_EQ(tractor_sleep(TRACTOR_MSEC), 0);
        CHECK_EQ(told, 0);
        gate = true;
        return 0;
}

static int tells(tractor_portal *p, Nursery *n)
{
        _cleanup_json_ Json *answer = NULL;
        int k = 0, r;

        told = 0;
        told_sum = 0;
        gate = false;
        CHECK_EQ(calls(p, n), 0); /* so that hellos have been said */
        while ((r = tractor_portal_try_tell(p, "note", list(k))) >= 0)
                k++;
        CHECK_EQ(r, -EAGAIN);
        CHECK_EQ(k, SESSION_TELLS);
        /* It takes no more until some are done with. */
        tractor_scope *s = tractor_move_on_after(2 * TRACTOR_MSEC);
        r = tractor_portal_tell(p, "note", list(-1));
        CHECK_EQ(r, -ECANCELED);
        CHECK_EQ(tractor_scope_close(s, r), 0);
        CHECK_EQ(tractor_start_task(n, NULL, open_gate, NULL, NULL), 0);
        for (; k < 2000; k++)
                CHECK_EQ(tractor_portal_tell(p, "note", list(k)), 0);
        CHECK_EQ(tractor_portal_tell(p, "unheard_of", NULL), 0);
        while (told < 2000)
                CHECK_EQ(tractor_sleep(100), 0);
        CHECK_EQ(tractor_portal_call(p, "noted", NULL, &answer), 0);
        CHECK_EQ(json_integer(answer), 2000);
        CHECK_EQ(told_sum, 1999 * 1000);
        return 0;
}

static void tells_wait_for_credit(void)
{
        run(tells);
}

static int one_of_many(void *userdata)
{
        Json *args = NULL;

        for (int i = 0; i < 10; i++) {
                _cleanup_json_ Json *sum = NULL;

                CHECK_EQ(json_pack(&args, "[ii]", i, 100), 0);
                CHECK_EQ(tractor_portal_call(userdata, "add", args, &sum), 0);
                CHECK_EQ(json_integer(sum), i + 100);
        }
        return 0;
}

static int many(tractor_portal *p, Nursery *unused)
{
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        for (int i = 0; i < 500; i++)
                CHECK_EQ(tractor_start_task(n, NULL, one_of_many, p, NULL), 0);
        return tractor_nursery_close(&n, 0);
}

static void many_tasks_share_a_portal(void)
{
        run(many);
}

static int too_long(tractor_portal *p, Nursery *n)
{
        _cleanup_free_ char *text = calloc(1, 2U << 20);
        Json *args = NULL;

        CHECK(text);
        memset(text, 'x', 2U << 20);
        CHECK_EQ(calls(p, n), 0);
        CHECK_EQ(json_pack(&args, "[o]", json_new_string(text, 2U << 20)), 0);
        CHECK_EQ(tractor_portal_call(p, "nothing", args, NULL), -EDQUOT);
        return calls(p, n);
}

static void what_is_too_long_is_refused(void)
{
        run(too_long);
}

/* json-c's own, whose headers clash with ours: it takes any bytes. */
Json *json_object_new_string_len(const char *s, int n);

static int binary(tractor_context *c, Json *args, Json **ret)
{
        *ret = json_object_new_string_len("\xff", 1);
        return 0;
}

static const tractor_method odd_methods[] = { { .name = "binary", .handler = binary }, { .name = NULL } };

static int sends_binary(tractor_portal *p, Nursery *unused)
{
        Json *args = list(1);

        CHECK_EQ(tractor_portal_call(p, "binary", NULL, NULL), -ENOTRECOVERABLE);
        CHECK_EQ(json_append(args, json_object_new_string_len("\xff", 1)), 0);
        CHECK_EQ(tractor_portal_call(p, "binary", json_ref(args), NULL), -EINVAL);
        CHECK(strstr(tractor_error_message(tractor_last_error()), "UTF-8"));
        CHECK_EQ(tractor_portal_tell(p, "binary", args), -EINVAL);
        return 0;
}

/* Sent all the same, nobody would ever answer it. */
static void what_is_no_json_is_refused(void)
{
        run_beside(odd_methods, sends_binary);
}

static int lists_methods(tractor_portal *p, Nursery *n)
{
        _cleanup_json_ Json *names = NULL;

        CHECK_EQ(tractor_portal_methods(p, &names), 0);
        CHECK_STR(json_print(names, NULL),
                        "[\"add\",\"fail\",\"fail_plainly\",\"forever\",\"note\",\"noted\",\"nothing\"]");
        CHECK_EQ(tractor_portal_cancel_actor(p, NULL), -EOPNOTSUPP);
        return 0;
}

static void methods_are_listed(void)
{
        run(lists_methods);
}

static int refuses(tractor_portal *p, Nursery *unused)
{
        tractor_call_options o = { .size = 1 };
        tractor_context *c = NULL;

        CHECK_EQ(tractor_portal_call_with(p, "add", list(1), &o, NULL), -EINVAL);
        CHECK_EQ(tractor_portal_call(p, "add", json_new_string("x", 1), NULL), -EINVAL);
        CHECK(strstr(tractor_error_message(tractor_last_error()), "not string"));
        CHECK_EQ(tractor_portal_tell(p, "add", json_new_string("x", 1)), -EINVAL);
        CHECK_EQ(tractor_portal_try_tell(p, "add", json_new_string("x", 1)), -EINVAL);
        CHECK_EQ(tractor_context_open(p, "add", json_new_string("x", 1), NULL, &c, NULL), -EINVAL);
        tractor_scope *s = tractor_scope_open();
        tractor_scope_cancel(s, NULL);
        waiting = 0;
        CHECK_EQ(tractor_portal_call(p, "forever", list(1), NULL), -ECANCELED);
        CHECK_EQ(tractor_portal_tell(p, "forever", list(1)), -ECANCELED);
        CHECK_EQ(tractor_context_open(p, "forever", list(1), NULL, &c, NULL), -ECANCELED);
        CHECK_EQ(tractor_scope_close(s, -ECANCELED), 0);
        CHECK_EQ(calls(p, NULL), 0);
        CHECK_EQ(waiting, 0); /* nothing was sent */
        return 0;
}

static void a_cancelled_task_asks_nothing(void)
{
        run(refuses);
        CHECK_EQ(tractor_portal_call(NULL, "add", list(1), NULL), -ENOTCONN);
        CHECK_EQ(tractor_portal_tell(NULL, "add", list(1)), -ENOTCONN);
        CHECK_EQ(tractor_portal_try_tell(NULL, "add", list(1)), -ENOTCONN);
}

TEST_MAIN({ "tells_wait_for_credit", tells_wait_for_credit },
                { "many_tasks_share_a_portal", many_tasks_share_a_portal },
                { "what_is_too_long_is_refused", what_is_too_long_is_refused },
                { "what_is_no_json_is_refused", what_is_no_json_is_refused },
                { "methods_are_listed", methods_are_listed },
                { "a_cancelled_task_asks_nothing", a_cancelled_task_asks_nothing },
                { "a_call_is_answered", a_call_is_answered },
                { "a_failure_arrives_as_it_was", a_failure_arrives_as_it_was },
                { "a_cancelled_call_is_cancelled_over_there", a_cancelled_call_is_cancelled_over_there });
