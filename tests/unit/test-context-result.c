/* SPDX-License-Identifier: Apache-2.0 */
/* How a dialog has ended, as far as it can be asked for; and until when it may go on. */
#include "portal-fixture.h"

static Json *integer(int i)
{
        Json *v = NULL;

        CHECK_EQ(json_pack(&v, "i", i), 0);
        return v;
}

/* --- handlers --- */
static int echo(tractor_context *c, Json *args, Json **ret)
{
        Json *item;
        int r = tractor_context_started(c, NULL, NULL), n = 0;

        for (; r >= 0 && (r = tractor_receive(c, &item)) > 0; n++)
                r = tractor_send(c, item);
        *ret = integer(n);
        return r;
}

static int count(tractor_context *c, Json *args, Json **ret)
{
        int r = tractor_context_started(c, NULL, NULL);

        CHECK_EQ(tractor_context_result(c, NULL), -EPROTO);
        for (int i = 0; r >= 0 && i < 200; i++)
                r = tractor_send(c, integer(i));
        *ret = integer(200);
        return r;
}

static int blocked(tractor_context *c, Json *args, Json **ret)
{
        CHECK_EQ(tractor_context_started(c, NULL, NULL), 0);
        return tractor_sleep_forever();
}

static char *why, *by;

/* What it was told while it cleans up. */
static int asks_why(tractor_context *c, Json *args, Json **ret)
{
        tractor_scope *inner;
        int r;

        CHECK(!tractor_current_reason() && !tractor_current_canceller());
        CHECK_EQ(tractor_context_started(c, NULL, NULL), 0);
        inner = tractor_scope_open();
        r = tractor_sleep_forever();
        why = tractor_current_reason() ? strdup(tractor_current_reason()) : NULL;
        by = tractor_current_canceller() ? strdup(tractor_current_canceller()) : NULL;
        /* Nearer is what its own scope has come to; a shield hides both. */
        tractor_scope_cancel(inner, "enough");
        CHECK_STR(tractor_current_reason(), "enough");
        CHECK(!tractor_current_canceller());
        CHECK_EQ(tractor_scope_close(inner, r), -ECANCELED);
        inner = tractor_shield(TRACTOR_SEC);
        CHECK(!tractor_current_reason() && !tractor_current_canceller());
        return tractor_scope_close(inner, r);
}

static int breaks(tractor_context *c, Json *args, Json **ret)
{
        CHECK_EQ(tractor_context_started(c, NULL, NULL), 0);
        return tractor_fail("Deep", "at the bottom");
}

/* In ms; -1: for ever. */
static int time_left(tractor_context *c, Json *args, Json **ret)
{
        tractor_scope *s = tractor_move_on_after(TRACTOR_FOREVER);
        uint64_t at = tractor_current_deadline();

        *ret = integer(at == TRACTOR_FOREVER ? -1 : (int) ((at - tractor_now()) / TRACTOR_MSEC));
        return tractor_scope_close(s, 0);
}

static const tractor_method methods[] = { { "echo", echo }, { "count", count }, { "blocked", blocked },
        { "asks_why", asks_why }, { "breaks", breaks }, { "time_left", time_left }, { NULL } };

/* --- openers --- */
static int is_cancelled(tractor_portal *p, Nursery *unused)
{
        tractor_context *c = NULL;

        CHECK_EQ(tractor_context_open(p, "blocked", NULL, NULL, &c, NULL), 0);
        tractor_context_cancel(c, "changed my mind");
        for (int i = 0; i < 2; i++) {
                CHECK_EQ(tractor_context_result(c, NULL), -EINTR);
                CHECK_STR(tractor_error_type(tractor_last_error()), "Cancelled");
        }
        CHECK_EQ(tractor_context_close(&c, 0, NULL), 0);
        /* Who has asked may pass on what was answered. */
        CHECK_EQ(tractor_context_open(p, "blocked", NULL, NULL, &c, NULL), 0);
        tractor_context_cancel(c, NULL);
        CHECK_EQ(tractor_context_close(&c, tractor_context_result(c, NULL), NULL), -EINTR);
        return 0;
}

static void a_cancelled_dialog_is_told_from_one_that_finished(void)
{
        run_beside(methods, is_cancelled);
}

static int tells_why(tractor_portal *p, Nursery *unused)
{
        tractor_context *c = NULL;

        CHECK_EQ(tractor_context_open(p, "asks_why", NULL, NULL, &c, NULL), 0);
        tractor_context_cancel(c, "changed my mind");
        CHECK_EQ(tractor_context_result(c, NULL), -EINTR);
        CHECK_STR(why, "changed my mind");
        CHECK_STR(by, tractor_error_canceller(tractor_last_error()));
        CHECK_EQ(tractor_context_close(&c, 0, NULL), 0);
        free(why);
        free(by);
        return 0;
}

static void a_handler_may_ask_why_it_is_cancelled(void)
{
        run_beside(methods, tells_why);
}

typedef struct Asker {
        tractor_context *c;
        int r;
} Asker;

static int asks(void *asker)
{
        Asker *a = asker;

        a->r = tractor_context_result(a->c, NULL);
        return 0;
}

static int tells_result(tractor_portal *p, Nursery *unused)
{
        tractor_context *c = NULL;
        Json *result = NULL;
        TRACTOR_NURSERY(n);

        /* More than its window: what it sends is dropped. */
        CHECK_EQ(tractor_context_open(p, "count", NULL, NULL, &c, NULL), 0);
        for (int i = 0; i < 2; i++) {
                CHECK_EQ(tractor_context_result(c, &result), 0);
                CHECK_EQ(json_integer(result), 200);
                result = json_unref(result);
        }
        CHECK_EQ(tractor_context_close(&c, 0, &result), 0);
        CHECK_EQ(json_integer(result), 200);
        result = json_unref(result);
        CHECK_EQ(tractor_context_open(p, "breaks", NULL, NULL, &c, NULL), 0);
        CHECK_EQ(tractor_context_result(c, &result), -EREMOTEIO);
        CHECK_STR(tractor_error_type(tractor_last_error()), "Deep");
        CHECK_EQ(tractor_context_close(&c, 0, NULL), -EREMOTEIO);
        /* Who asks can be cancelled, and the dialog goes on; who closes it sends others away. */
        CHECK_EQ(tractor_context_open(p, "echo", NULL, NULL, &c, NULL), 0);
        tractor_scope *s = tractor_move_on_after(TRACTOR_MSEC);
        CHECK_EQ(tractor_scope_close(s, tractor_context_result(c, &result)), 0);
        CHECK(!result);
        CHECK_EQ(tractor_send(c, integer(1)), 0);
        CHECK_EQ(tractor_receive(c, &result), 1);
        result = json_unref(result);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        Asker a = { .c = c };
        CHECK_EQ(tractor_start_task(n, NULL, asks, &a, NULL), 0);
        CHECK_EQ(tractor_checkpoint(), 0);
        CHECK_EQ(tractor_context_close(&c, 0, &result), 0);
        CHECK_EQ(json_integer(result), 1);
        json_unref(result);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_EQ(a.r, -EBADF);
        return 0;
}

static void an_end_can_be_asked_for(void)
{
        run_beside(methods, tells_result);
}

static int64_t time_of(tractor_portal *p, uint64_t usec)
{
        tractor_context_options o = { .size = sizeof(o), .deadline_usec = usec };
        tractor_call_options co = { .size = sizeof(co), .deadline_usec = usec };
        _cleanup_json_ Json *called = NULL, *opened = NULL;
        tractor_context *c = NULL;

        CHECK_EQ(tractor_portal_call_with(p, "time_left", NULL, &co, &called), 0);
        CHECK_EQ(tractor_context_open(p, "time_left", NULL, &o, &c, NULL), 0);
        CHECK_EQ(tractor_context_close(&c, 0, &opened), 0);
        CHECK((json_integer(called) < 0) == (json_integer(opened) < 0));
        return json_integer(opened);
}

static int knows_deadline(tractor_portal *p, Nursery *unused)
{
        int64_t left = time_of(p, 3600 * TRACTOR_SEC);

        CHECK(left > 0 && left <= 3600 * 1000);
        CHECK_EQ(time_of(p, 0), -1);
        return 0;
}

static void a_handler_knows_its_deadline(void)
{
        run_beside(methods, knows_deadline);
}

TEST_MAIN({ "a_cancelled_dialog_is_told_from_one_that_finished",
                          a_cancelled_dialog_is_told_from_one_that_finished },
                { "an_end_can_be_asked_for", an_end_can_be_asked_for },
                { "a_handler_may_ask_why_it_is_cancelled", a_handler_may_ask_why_it_is_cancelled },
                { "a_handler_knows_its_deadline", a_handler_knows_its_deadline });
