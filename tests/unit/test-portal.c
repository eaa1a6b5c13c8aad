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

static unsigned waiting;

static const tractor_method methods[] = {
        { "nothing", nothing, NULL, NULL },
        { "add", add, NULL, NULL },
        { "fail", fail, NULL, NULL },
        { "fail_plainly", fail_plainly, NULL, NULL },
        { "forever", forever, &waiting, NULL },
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

TEST_MAIN({ "a_call_is_answered", a_call_is_answered },
                { "a_failure_arrives_as_it_was", a_failure_arrives_as_it_was },
                { "a_cancelled_call_is_cancelled_over_there", a_cancelled_call_is_cancelled_over_there });
