/* SPDX-License-Identifier: Apache-2.0 */
/* Dialogs, at both of their ends. */
#include "portal-fixture.h"

/* --- handlers --- */
static char outcome[64]; /* of the handler that ended last */

static int note(int r)
{
        (void) snprintf(outcome, sizeof(outcome), "%s", r < 0 ? strerrorname_np(-r) : "done");
        return r;
}

static Json *integer(int i)
{
        Json *v = NULL;

        CHECK_EQ(json_pack(&v, "i", i), 0);
        return v;
}

static Json *string(const char *s)
{
        Json *v = json_new_string(s, SIZE_MAX);

        CHECK(v);
        return v;
}

static int simple(tractor_context *c, Json *args, Json **ret)
{
        CHECK(tractor_context_is_dialog(c));
        CHECK_EQ(tractor_context_started(c, integer(11), NULL), 0);
        *ret = string("yo");
        return note(0);
}

static int started_twice(tractor_context *c, Json *args, Json **ret)
{
        CHECK_EQ(tractor_context_started(c, NULL, NULL), 0);
        return tractor_context_started(c, NULL, NULL);
}

static int too_early(tractor_context *c, Json *args, Json **ret)
{
        return tractor_send(c, integer(1));
}

static int blocked(tractor_context *c, Json *args, Json **ret)
{
        CHECK_EQ(tractor_context_started(c, NULL, NULL), 0);
        return note(tractor_sleep_forever());
}

/* Fails while it cleans up. */
static int bad_cleanup(tractor_context *c, Json *args, Json **ret)
{
        CHECK_EQ(tractor_context_started(c, NULL, NULL), 0);
        CHECK_EQ(tractor_sleep_forever(), -ECANCELED);
        tractor_scope *s = tractor_shield(TRACTOR_SEC);
        CHECK_EQ(tractor_sleep(TRACTOR_MSEC), 0);
        CHECK_EQ(tractor_scope_close(s, 0), 0);
        return tractor_fail("BadCleanup", "the file is gone");
}

/* Gives each item back until no more come. */
static int echo(tractor_context *c, Json *args, Json **ret)
{
        Json *item;
        int r, n = 0;

        CHECK_EQ(tractor_context_started(c, NULL, NULL), 0);
        while ((r = tractor_receive(c, &item)) > 0) {
                r = tractor_send(c, item);
                if (r < 0)
                        break;
                n++;
        }
        if (r == 0)
                r = tractor_receive(c, &item); /* the end stays */
        *ret = integer(n);
        return note(r);
}

/* Sends numbers, as its argument has it, and never reads. */
static int count(tractor_context *c, Json *args, Json **ret)
{
        int64_t n = json_get_integer(args, "to", 0);
        int r = 0;

        CHECK_EQ(tractor_context_started(c, NULL, NULL), 0);
        for (int i = 0; r >= 0 && i < n; i++)
                r = tractor_send(c, integer(i));
        *ret = integer((int) n);
        return note(r);
}

static int deaf(tractor_context *c, Json *args, Json **ret)
{
        tractor_context_options o = { .size = sizeof(o), .overrun = TRACTOR_OVERRUN_ERROR };
        bool fails = json_get_boolean(args, "error", false);

        CHECK_EQ(tractor_context_started(c, NULL, fails ? &o : NULL), 0);
        return note(tractor_sleep_forever());
}

/* Opens a dialog with the same server over a connection of its own. */
static int relaying(tractor_context *c, Json *args, Json **ret);
static int deep_failure(tractor_context *c, Json *args, Json **ret)
{
        CHECK_EQ(tractor_context_started(c, NULL, NULL), 0);
        return tractor_fail("Deep", "at the bottom");
}

static int plain(tractor_context *c, Json *args, Json **ret)
{
        CHECK_EQ(tractor_context_started(c, NULL, NULL), -EPROTO);
        CHECK_EQ(tractor_try_send(c, NULL), -EPROTO);
        CHECK_EQ(tractor_stop(c), -EPROTO);
        return tractor_send(c, integer(1));
}

static int unaware(tractor_context *c, Json *args, Json **ret)
{
        *ret = integer(5);
        return 0;
}

static const tractor_method methods[] = {
        { "simple", simple, NULL, NULL },
        { "started_twice", started_twice, NULL, NULL },
        { "too_early", too_early, NULL, NULL },
        { "blocked", blocked, NULL, NULL },
        { "bad_cleanup", bad_cleanup, NULL, NULL },
        { "echo", echo, NULL, NULL },
        { "count", count, NULL, NULL },
        { "deaf", deaf, NULL, NULL },
        { "relaying", relaying, NULL, NULL },
        { "deep_failure", deep_failure, NULL, NULL },
        { "plain", plain, NULL, NULL },
        { "unaware", unaware, NULL, NULL },
        { NULL },
};

static int relaying(tractor_context *c, Json *args, Json **ret)
{
        tractor_context *inner = NULL;
        tractor_portal *p = NULL;
        Json *item;
        int fds[2], r;
        TRACTOR_NURSERY(n);

        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        CHECK_EQ(tractor_context_started(c, NULL, NULL), 0);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_serve_fds(n, fds[1], fds[1], methods), 0);
        CHECK_EQ(tractor_portal_open_fds(fds[0], fds[0], &p), 0);
        r = tractor_context_open(p, "deep_failure", NULL, NULL, &inner, NULL);
        CHECK_EQ(r, 0);
        r = tractor_receive(inner, &item);
        r = tractor_context_close(&inner, r, NULL);
        tractor_portal_unref(p);
        return tractor_nursery_close(&n, r);
}

/* --- openers --- */
static int gets_both(tractor_portal *p, Nursery *n)
{
        _cleanup_json_ Json *first = NULL, *result = NULL;
        tractor_context *c = NULL;
        Json *item;

        CHECK_EQ(tractor_context_open(p, "simple", NULL, NULL, &c, &first), 0);
        CHECK_EQ(json_integer(first), 11);
        CHECK_EQ(tractor_receive(c, &item), 0);
        CHECK_EQ(tractor_receive(c, &item), 0);
        CHECK_EQ(tractor_send(c, integer(1)), -EPIPE);
        CHECK_EQ(tractor_context_close(&c, 0, &result), 0);
        CHECK(!c);
        CHECK_STR(json_string(result), "yo");
        return 0;
}

static void the_opener_gets_started_and_result(void)
{
        run_beside(methods, gets_both);
}

static int out_of_turn(tractor_portal *p, Nursery *n)
{
        tractor_context *c = NULL;
        _cleanup_json_ Json *result = NULL;

        CHECK_EQ(tractor_context_open(p, "started_twice", NULL, NULL, &c, NULL), 0);
        CHECK_EQ(tractor_context_close(&c, 0, NULL), -EPROTO);
        CHECK_STR(tractor_error_message(tractor_last_error()), "started_twice has said started twice");
        CHECK_EQ(tractor_context_open(p, "too_early", NULL, NULL, &c, NULL), -EPROTO);
        CHECK_STR(tractor_error_message(tractor_last_error()),
                        "too_early uses its stream before it has said started");
        CHECK_EQ(tractor_portal_call(p, "plain", NULL, NULL), -EPROTO);
        CHECK_STR(tractor_error_message(tractor_last_error()),
                        "plain was called, not opened: it has no stream");
        CHECK_EQ(tractor_context_open(p, "unaware", NULL, NULL, &c, NULL), 0);
        CHECK_EQ(tractor_context_close(&c, 0, &result), 0);
        CHECK_EQ(json_integer(result), 5);
        return 0;
}

static void what_is_out_of_turn_is_named(void)
{
        run_beside(methods, out_of_turn);
}

static int cancels_blocked(tractor_portal *p, Nursery *n)
{
        tractor_context *c = NULL;

        CHECK_EQ(tractor_context_open(p, "blocked", NULL, NULL, &c, NULL), 0);
        tractor_context_cancel(c, "changed my mind");
        CHECK_EQ(tractor_context_close(&c, 0, NULL), 0);
        CHECK_STR(outcome, "ECANCELED");
        CHECK_EQ(tractor_context_open(p, "blocked", NULL, NULL, &c, NULL), 0);
        CHECK_EQ(tractor_context_close(&c, -ENOENT, NULL), -ENOENT);
        CHECK_EQ(tractor_context_open(p, "blocked", NULL, NULL, &c, NULL), 0);
        tractor_scope *s = tractor_move_on_after(2 * TRACTOR_MSEC);
        CHECK_EQ(tractor_context_close(&c, 0, NULL), -ECANCELED);
        CHECK_EQ(tractor_scope_close(s, -ECANCELED), 0);
        return gets_both(p, n);
}

static void an_opener_that_cancels_leaves_without_error(void)
{
        run_beside(methods, cancels_blocked);
}

/* Half of its window taken, the sender is woken for room and hears of the cancel in the same turn. */
static int cancels_as_room_comes(tractor_portal *p, Nursery *n)
{
        tractor_context_options o = { .size = sizeof(o), .window = 8 };
        tractor_context *c = NULL;
        Json *args = NULL, *item;

        CHECK_EQ(json_pack(&args, "{to:i}", 100000), 0);
        CHECK_EQ(tractor_context_open(p, "count", args, &o, &c, NULL), 0);
        for (int i = 0; i < 4; i++) {
                CHECK_EQ(tractor_receive(c, &item), 1);
                json_unref(item);
        }
        tractor_context_cancel(c, "that will do");
        CHECK_EQ(tractor_context_close(&c, 0, NULL), 0);
        CHECK_STR(outcome, "ECANCELED");
        return 0;
}

static void a_sender_is_cancelled_as_room_comes(void)
{
        run_beside(methods, cancels_as_room_comes);
}

static int cancels_late(tractor_portal *p, Nursery *n)
{
        _cleanup_json_ Json *result = NULL;
        tractor_context *c = NULL;
        Json *item;

        CHECK_EQ(tractor_context_open(p, "simple", NULL, NULL, &c, NULL), 0);
        CHECK_EQ(tractor_receive(c, &item), 0);
        tractor_context_cancel(c, NULL);
        CHECK_EQ(tractor_context_close(&c, 0, &result), 0);
        CHECK_STR(json_string(result), "yo");
        return 0;
}

static void a_cancel_after_the_end_changes_nothing(void)
{
        run_beside(methods, cancels_late);
}

static int sees_failure(tractor_portal *p, Nursery *n)
{
        tractor_context *c = NULL;

        CHECK_EQ(tractor_context_open(p, "bad_cleanup", NULL, NULL, &c, NULL), 0);
        tractor_context_cancel(c, NULL);
        CHECK_EQ(tractor_context_close(&c, 0, NULL), -EREMOTEIO);
        CHECK_STR(tractor_error_type(tractor_last_error()), "BadCleanup");
        CHECK_EQ(tractor_context_open(p, "bad_cleanup", NULL, NULL, &c, NULL), 0);
        CHECK_EQ(tractor_context_close(&c, -EIO, NULL), -EREMOTEIO);
        CHECK_EQ(tractor_context_open(p, "bad_cleanup", NULL, NULL, &c, NULL), 0);
        CHECK_EQ(tractor_fail("Mine", "of the block"), -EREMOTEIO);
        tractor_context_dropp(&c);
        CHECK_STR(tractor_error_type(tractor_last_error()), "Mine");
        return 0;
}

static void a_failure_in_cleanup_beats_the_cancel(void)
{
        run_beside(methods, sees_failure);
}

static int ping_pong(tractor_portal *p, Nursery *n)
{
        _cleanup_json_ Json *result = NULL;
        tractor_context *c = NULL;
        Json *item;

        CHECK_EQ(tractor_context_open(p, "echo", NULL, NULL, &c, NULL), 0);
        CHECK_EQ(tractor_try_receive(c, &item), -EAGAIN);
        for (int i = 0; i < 10; i++) {
                CHECK_EQ(tractor_send(c, integer(i)), 0);
                CHECK_EQ(tractor_receive(c, &item), 1);
                CHECK_EQ(json_integer(item), i);
                json_unref(item);
        }
        CHECK_EQ(tractor_stop(c), 0);
        CHECK_EQ(tractor_stop(c), -EALREADY);
        CHECK_EQ(tractor_send(c, integer(1)), -EPIPE);
        CHECK_EQ(tractor_receive(c, &item), 0);
        CHECK_EQ(tractor_context_close(&c, 0, &result), 0);
        CHECK_EQ(json_integer(result), 10);
        CHECK_STR(outcome, "done");
        /* Leaving it says so, too. */
        CHECK_EQ(tractor_context_open(p, "echo", NULL, NULL, &c, NULL), 0);
        CHECK_EQ(tractor_context_close(&c, 0, NULL), 0);
        return 0;
}

static void a_loop_ends_when_the_other_side_stops(void)
{
        run_beside(methods, ping_pong);
}

typedef struct Sender {
        tractor_context *c;
        unsigned sent;
        int r;
} Sender;

static int send_all(void *userdata)
{
        Sender *s = userdata;

        while ((s->r = tractor_send(s->c, integer(0))) >= 0)
                s->sent++;
        return s->r;
}

static int fills_up(tractor_portal *p, Nursery *unused)
{
        tractor_context *c = NULL;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_context_open(p, "deaf", NULL, NULL, &c, NULL), 0);
        Sender s = { .c = c };
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, NULL, send_all, &s, NULL), 0);
        while (s.sent < 64)
                CHECK_EQ(tractor_checkpoint(), 0);
        CHECK_EQ(tractor_checkpoint(), 0);
        CHECK_EQ(tractor_try_send(c, integer(1)), -EAGAIN);
        tractor_nursery_cancel(n, NULL);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_EQ(s.sent, 64);
        CHECK_EQ(s.r, -ECANCELED);
        CHECK_EQ(tractor_context_close(&c, -EIO, NULL), -EIO);
        return 0;
}

static void the_65th_waits(void)
{
        run_beside(methods, fills_up);
}

static int overruns(tractor_portal *p, Nursery *unused)
{
        tractor_context *c = NULL;
        Json *args = NULL;
        int sent = 0, r;

        CHECK_EQ(json_pack(&args, "{error:b}", true), 0);
        CHECK_EQ(tractor_context_open(p, "deaf", args, NULL, &c, NULL), 0);
        while ((r = tractor_send(c, integer(0))) >= 0)
                sent++;
        CHECK_EQ(r, -ENOBUFS);
        CHECK_EQ(sent, 64);
        CHECK_EQ(tractor_context_close(&c, r, NULL), -ENOBUFS);
        CHECK_STR(tractor_error_type(tractor_last_error()), "Overrun");
        return 0;
}

static void an_overrun_ends_it(void)
{
        run_beside(methods, overruns);
}

static Json *to(int n)
{
        Json *args = NULL;

        CHECK_EQ(json_pack(&args, "{to:i}", n), 0);
        return args;
}

static int waits_for_reader(tractor_portal *p, Nursery *unused)
{
        tractor_context_options o = { .size = sizeof(o), .window = 3 };
        _cleanup_json_ Json *result = NULL;
        tractor_context *c = NULL;
        Json *item;

        CHECK_EQ(tractor_context_open(p, "count", to(1000), &o, &c, NULL), 0);
        for (int i = 0; i < 500; i++) {
                CHECK_EQ(tractor_receive(c, &item), 1);
                CHECK_EQ(json_integer(item), i);
                json_unref(item);
        }
        /* The rest is dropped: else it would never end. */
        CHECK_EQ(tractor_context_close(&c, 0, &result), 0);
        CHECK_EQ(json_integer(result), 1000);
        CHECK_EQ(tractor_context_open(p, "count", to(1000), &o, &c, NULL), 0);
        CHECK_EQ(tractor_context_close(&c, -EIO, NULL), -EIO);
        CHECK_STR(outcome, "ECANCELED");
        return 0;
}

static void a_small_window_holds_the_sender_back(void)
{
        run_beside(methods, waits_for_reader);
}

static int loses(tractor_portal *p, Nursery *unused)
{
        tractor_context_options o = {
                .size = sizeof(o), .window = 1, .overrun = TRACTOR_OVERRUN_DROP_OLDEST
        };
        _cleanup_json_ Json *result = NULL;
        tractor_context *c = NULL;
        uint64_t lost = 1, sum = 0;
        Json *item;
        int r, k = 0;

        outcome[0] = 0;
        CHECK_EQ(tractor_context_open(p, "count", to(100), &o, &c, NULL), 0);
        while (!streq(outcome, "done"))
                CHECK_EQ(tractor_checkpoint(), 0);
        while ((r = tractor_receive_lost(c, &item, &lost)) > 0) {
                CHECK_EQ(json_integer(item), k == 0 ? 0 : k + 35);
                sum += lost;
                k++;
                json_unref(item);
        }
        CHECK_EQ(r, 0);
        CHECK_EQ(k, 65);
        CHECK_EQ(sum, 35);
        CHECK_EQ(tractor_context_close(&c, 0, &result), 0);
        CHECK_EQ(json_integer(result), 100);
        return 0;
}

static void who_is_slow_is_told_what_it_lost(void)
{
        run_beside(methods, loses);
}

static int relays(tractor_portal *p, Nursery *unused)
{
        tractor_context *c = NULL;
        const tractor_error *e;
        Json *item;

        CHECK_EQ(tractor_context_open(p, "relaying", NULL, NULL, &c, NULL), 0);
        CHECK_EQ(tractor_receive(c, &item), 0);
        CHECK_EQ(tractor_context_close(&c, 0, NULL), -EREMOTEIO);
        e = tractor_last_error();
        CHECK_STR(tractor_error_type(e), "Deep");
        CHECK_STR(tractor_error_message(e), "at the bottom");
        return 0;
}

static void a_failure_climbs_two_hops(void)
{
        run_beside(methods, relays);
}

static int passes_deadline(tractor_portal *p, Nursery *unused)
{
        tractor_context_options o = { .size = sizeof(o), .deadline_usec = 5 * TRACTOR_MSEC };
        tractor_context *c = NULL;
        Json *item;

        CHECK_EQ(tractor_context_open(p, "blocked", NULL, &o, &c, NULL), 0);
        CHECK_EQ(tractor_receive(c, &item), 0);
        CHECK_EQ(tractor_context_close(&c, 0, NULL), -ETIMEDOUT);
        CHECK_STR(outcome, "ECANCELED");
        return 0;
}

static void a_deadline_is_kept_over_there(void)
{
        run_beside(methods, passes_deadline);
}

TEST_MAIN({ "the_opener_gets_started_and_result", the_opener_gets_started_and_result },
                { "what_is_out_of_turn_is_named", what_is_out_of_turn_is_named },
                { "an_opener_that_cancels_leaves_without_error",
                                an_opener_that_cancels_leaves_without_error },
                { "a_sender_is_cancelled_as_room_comes", a_sender_is_cancelled_as_room_comes },
                { "a_cancel_after_the_end_changes_nothing", a_cancel_after_the_end_changes_nothing },
                { "a_failure_in_cleanup_beats_the_cancel", a_failure_in_cleanup_beats_the_cancel },
                { "a_loop_ends_when_the_other_side_stops", a_loop_ends_when_the_other_side_stops },
                { "the_65th_waits", the_65th_waits }, { "an_overrun_ends_it", an_overrun_ends_it },
                { "a_small_window_holds_the_sender_back", a_small_window_holds_the_sender_back },
                { "who_is_slow_is_told_what_it_lost", who_is_slow_is_told_what_it_lost },
                { "a_failure_climbs_two_hops", a_failure_climbs_two_hops },
                { "a_deadline_is_kept_over_there", a_deadline_is_kept_over_there });
