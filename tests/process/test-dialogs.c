/* SPDX-License-Identifier: Apache-2.0 */
/* Dialogs between real processes, root and actors of one program on a private supervisor: what opener and handler
 * have of each other, whoever of them ends, fails, is cancelled or does not read. $BACKEND chooses where actors
 * live. */
#include <errno.h>
#include <json-c/json.h>
#include <tractor/tractor.h>
#include <unistd.h>

#include "test.h"

#define WINDOW 64

static struct json_object *one(const char *key, const char *value)
{
        struct json_object *o = json_object_new_object();

        CHECK(o);
        CHECK_EQ(json_object_object_add(o, key, json_object_new_string(value)), 0);
        return o;
}

static const char *text_of(struct json_object *args, const char *key)
{
        return json_object_get_string(json_object_object_get(args, key));
}

/* --- what actors do --- */
static int eleven(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        int r = tractor_context_started(ctx, json_object_new_int(11), NULL);

        *ret_result = json_object_new_string("yo");
        return r;
}

static int starts_twice(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        int r = tractor_context_started(ctx, NULL, NULL);

        return r < 0 ? r : tractor_context_started(ctx, NULL, NULL);
}

static int streams_early(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        return tractor_send(ctx, json_object_new_int(1));
}

static int blocks(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        int r = tractor_context_started(ctx, NULL, NULL);

        r = r < 0 ? r : tractor_sleep_forever();
        /* Here it is told of its own cancellation, as its opener is. */
        if (streq_ptr(tractor_current_reason(), "no more interest"))
                CHECK_STR(tractor_current_canceller(), tractor_context_peer_path(ctx));
        else if (streq_ptr(tractor_current_reason(), "a third one says so"))
                CHECK(strstr(tractor_current_canceller(), "/third"));
        return r;
}

/* Has failed when it is cancelled, and is only tidying up. */
static int fails_then_tidies(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        tractor_error *e;
        int r = tractor_context_started(ctx, NULL, NULL);

        CHECK_EQ(r, 0);
        CHECK_EQ(tractor_fail("Leaked", "the pipe leaks"), -EREMOTEIO);
        e = tractor_error_ref(tractor_last_error());
        CHECK_EQ(tractor_send(ctx, json_object_new_string("tidying up")), 0);
        CHECK_EQ(tractor_sleep_forever(), -ECANCELED);
        return tractor_raise(e);
}

static int fails(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        int r = tractor_context_started(ctx, NULL, NULL);

        return r < 0 ? r : tractor_fail_with("Deep", one("depth", "two"), "%s fell", tractor_name());
}

/* Passes a dialog with an actor of its own on. */
static int relays(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        tractor_context *inner = NULL;
        struct json_object *item;
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        CHECK_EQ(r, 0);
        CHECK_EQ(tractor_start_actor(n, "inner", NULL, &p), 0);
        r = tractor_context_started(ctx, NULL, NULL);
        if (r >= 0)
                r = tractor_context_open(p, "fails", NULL, NULL, &inner, NULL);
        if (r >= 0) {
                r = tractor_receive(inner, &item);
                r = tractor_context_close(&inner, r, NULL);
        }
        tractor_portal_unref(p);
        return tractor_nursery_close(&n, r);
}

/* Holds a dialog with the actor at `path`, and says as what it ended. */
static int holds(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        tractor_context *c = NULL;
        struct json_object *item;
        tractor_portal *p = NULL;
        int r;

        CHECK_EQ(tractor_connect(text_of(args, "path"), &p), 0);
        CHECK_EQ(tractor_context_open(p, "blocks", NULL, NULL, &c, NULL), 0);
        CHECK_EQ(tractor_context_started(ctx, NULL, NULL), 0);
        CHECK_EQ(tractor_receive(c, &item), 0);
        r = tractor_context_close(&c, 0, NULL);
        tractor_portal_unref(p);
        CHECK_EQ(r, -EINTR);
        *ret_result = one("canceller", tractor_error_canceller(tractor_last_error()) ?: "nobody");
        return 0;
}

/* Waited for until somebody calls. */
static tractor_event *go_on;

static int owns(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0)
                r = tractor_start_actor(n, "target", NULL, &p);
        if (r >= 0)
                r = tractor_context_started(ctx, one("path", tractor_portal_path(p)), NULL);
        if (r >= 0)
                r = tractor_event_wait(go_on);
        if (r >= 0)
                r = tractor_portal_cancel_actor(p, "a third one says so");
        tractor_portal_unref(p);
        return tractor_nursery_close(&n, r);
}

static int plays(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        struct json_object *item;
        int n = 0, r = tractor_context_started(ctx, NULL, NULL);

        while (r >= 0 && (r = tractor_receive(ctx, &item)) > 0) {
                json_object_put(item);
                n++;
                r = tractor_send(ctx, json_object_new_string("pong"));
        }
        *ret_result = json_object_new_int(n);
        return r;
}

static int wakes(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        tractor_event_set(go_on);
        return 0;
}

static int reads_late(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        struct json_object *item;
        int n = 0, r = tractor_context_started(ctx, NULL, NULL);

        if (r >= 0)
                r = tractor_event_wait(go_on);
        while (r >= 0 && (r = tractor_receive(ctx, &item)) > 0) {
                json_object_put(item);
                n++;
        }
        *ret_result = json_object_new_int(n);
        return r;
}

static int wants_no_more(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        tractor_context_options o = { .size = sizeof(o), .overrun = TRACTOR_OVERRUN_ERROR };
        int r = tractor_context_started(ctx, NULL, &o);

        return r < 0 ? r : tractor_sleep_forever();
}

static int counts(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        int r = tractor_context_started(ctx, NULL, NULL);

        for (int i = 0; i < 1000 && r >= 0; i++)
                r = tractor_send(ctx, json_object_new_int(i));
        return r;
}

static const tractor_method methods[] = { { "eleven", eleven }, { "starts_twice", starts_twice },
        { "streams_early", streams_early }, { "blocks", blocks }, { "fails_then_tidies", fails_then_tidies },
        { "fails", fails }, { "relays", relays }, { "holds", holds }, { "owns", owns }, { "plays", plays },
        { "wakes", wakes }, { "reads_late", reads_late }, { "wants_no_more", wants_no_more },
        { "counts", counts }, { NULL } };

/* --- one actor, and a dialog with it --- */
static int start_up(void *unused)
{
        go_on = tractor_event_new();
        return go_on ? 0 : -ENOMEM;
}

static void at_end(void *unused)
{
        go_on = tractor_event_free(go_on);
}

static tractor_options options = { .size = sizeof(options),
        .methods = methods,
        .flags = TRACTOR_EMBED,
        .on_start = start_up,
        .on_stop = at_end };

static int with_actor(void *scenario)
{
        void (*act)(tractor_portal *) = scenario;
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "other", NULL, &p), 0);
        act(p);
        /* Whatever became of the dialog, the connection is of use. */
        CHECK_EQ(tractor_portal_call(p, "wakes", NULL, NULL), 0);
        CHECK_EQ(tractor_portal_cancel_actor(p, "enough"), 0);
        tractor_portal_unref(p);
        return tractor_nursery_close(&n, 0);
}

static void run(void (*scenario)(tractor_portal *))
{
        CHECK_EQ(tractor_run(&options, with_actor, (void *) scenario), 0);
}

static tractor_context *open_dialog(tractor_portal *p, const char *method)
{
        tractor_context *c = NULL;

        CHECK_EQ(tractor_context_open(p, method, NULL, NULL, &c, NULL), 0);
        return c;
}

/* --- scenarios --- */
static void first_and_last(tractor_portal *p)
{
        struct json_object *first = NULL, *last = NULL;
        tractor_context *c = NULL;

        CHECK_EQ(tractor_context_open(p, "eleven", NULL, NULL, &c, &first), 0);
        CHECK_EQ(json_object_get_int(first), 11);
        CHECK_EQ(tractor_context_close(&c, 0, &last), 0);
        CHECK_STR(json_object_get_string(last), "yo");
        json_object_put(first);
        json_object_put(last);
}

static void started_and_result_arrive(void)
{
        run(first_and_last);
}

static void misuses(tractor_portal *p)
{
        tractor_context *c = open_dialog(p, "starts_twice");

        CHECK_EQ(tractor_context_close(&c, 0, NULL), -EPROTO);
        CHECK(strstr(tractor_error_message(tractor_last_error()), "starts_twice"));
        CHECK_EQ(tractor_context_open(p, "streams_early", NULL, NULL, &c, NULL), -EPROTO);
        CHECK(strstr(tractor_error_message(tractor_last_error()), "streams_early"));
}

static void misuse_is_named_to_the_opener(void)
{
        run(misuses);
}

static void gives_up(tractor_portal *p)
{
        tractor_context *c = open_dialog(p, "blocks");
        tractor_scope *s;
        char self[32];

        /* That is what a root is called that no supervisor has started. */
        (void) snprintf(self, sizeof(self), "@client/%d", (int) getpid());
        tractor_context_cancel(c, "no more interest");
        CHECK_EQ(tractor_context_result(c, NULL), -EINTR);
        CHECK_STR(tractor_error_type(tractor_last_error()), "Cancelled");
        CHECK_STR(tractor_error_canceller(tractor_last_error()), self);
        CHECK_EQ(tractor_context_close(&c, 0, NULL), 0);
        /* The same by a scope around it. */
        c = open_dialog(p, "blocks");
        s = tractor_move_on_after(20 * TRACTOR_MSEC);
        CHECK_EQ(tractor_scope_close(s, tractor_context_close(&c, 0, NULL)), 0);
}

static void a_cancelled_dialog_is_no_error(void)
{
        run(gives_up);
}

static void cancels_late(tractor_portal *p)
{
        struct json_object *item, *last = NULL;
        tractor_context *c = open_dialog(p, "eleven");

        /* The end of its items comes with its result. */
        CHECK_EQ(tractor_receive(c, &item), 0);
        tractor_context_cancel(c, "too late");
        CHECK_EQ(tractor_context_close(&c, 0, &last), 0);
        CHECK_STR(json_object_get_string(last), "yo");
        json_object_put(last);
}

static void a_late_cancel_changes_nothing(void)
{
        run(cancels_late);
}

static int third_party(void *unused)
{
        tractor_portal *holders[2] = { 0 }, *third = NULL;
        tractor_context *held[2] = { 0 }, *owning = NULL;
        struct json_object *target = NULL, *said = NULL;
        TRACTOR_NURSERY(n);
        char name[16];

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "third", NULL, &third), 0);
        CHECK_EQ(tractor_context_open(third, "owns", NULL, NULL, &owning, &target), 0);
        for (int i = 0; i < 2; i++) {
                (void) snprintf(name, sizeof(name), "holder-%d", i);
                CHECK_EQ(tractor_start_actor(n, name, NULL, &holders[i]), 0);
                CHECK_EQ(tractor_context_open(
                                         holders[i], "holds", json_object_get(target), NULL, &held[i], NULL),
                                0);
        }
        CHECK_EQ(tractor_portal_call(third, "wakes", NULL, NULL), 0);
        for (int i = 0; i < 2; i++) {
                CHECK_EQ(tractor_context_close(&held[i], 0, &said), 0);
                CHECK_STR(text_of(said, "canceller"), tractor_portal_path(third));
                json_object_put(said);
                said = NULL;
                tractor_portal_unref(holders[i]);
        }
        CHECK_EQ(tractor_context_close(&owning, 0, NULL), 0);
        json_object_put(target);
        tractor_portal_unref(third);
        tractor_nursery_cancel(n, NULL);
        return tractor_nursery_close(&n, 0);
}

static void who_cancelled_an_actor_is_told(void)
{
        CHECK_EQ(tractor_run(&options, third_party, NULL), 0);
}

static void cancels_the_failed(tractor_portal *p)
{
        tractor_context *c = open_dialog(p, "fails_then_tidies");
        struct json_object *item = NULL;

        CHECK_EQ(tractor_receive(c, &item), 1);
        json_object_put(item);
        tractor_context_cancel(c, "meanwhile");
        CHECK_EQ(tractor_context_close(&c, 0, NULL), -EREMOTEIO);
        CHECK_STR(tractor_error_type(tractor_last_error()), "Leaked");
}

static void a_failure_outlives_a_cancel(void)
{
        run(cancels_the_failed);
}

static void climbs(tractor_portal *p)
{
        tractor_context *c = open_dialog(p, "relays");
        struct json_object *item;
        const tractor_error *e;
        char *text;

        CHECK_EQ(tractor_receive(c, &item), 0);
        CHECK_EQ(tractor_context_close(&c, 0, NULL), -EREMOTEIO);
        e = tractor_last_error();
        CHECK_STR(tractor_error_type(e), "Deep");
        CHECK_STR(tractor_error_message(e), "inner fell");
        CHECK_STR(text_of(tractor_error_parameters(e), "depth"), "two");
        CHECK(strstr(tractor_error_actor(e), "/inner"));
        CHECK_EQ(tractor_error_n_relay(e), 2);
        CHECK_STR(tractor_error_relay(e, 0), tractor_error_actor(e));
        CHECK_STR(tractor_error_relay(e, 1), tractor_portal_path(p));
        CHECK(tractor_error_n_backtrace(e) > 0);
        CHECK(startswith(strna(tractor_error_backtrace(e, 0)), "#0 ") &&
                        strstr(tractor_error_backtrace(e, 0), "test-dialogs"));
        text = tractor_error_format(e);
        CHECK(strstr(text, "by way of /"));
        free(text);
}

static void a_deep_failure_says_its_way(void)
{
        run(climbs);
}

static void ping_pong(tractor_portal *p)
{
        tractor_context *c = open_dialog(p, "plays");
        struct json_object *item, *count = NULL;

        for (int i = 0; i < 10; i++) {
                CHECK_EQ(tractor_send(c, json_object_new_string("ping")), 0);
                CHECK_EQ(tractor_receive(c, &item), 1);
                CHECK_STR(json_object_get_string(item), "pong");
                json_object_put(item);
        }
        CHECK_EQ(tractor_stop(c), 0);
        CHECK_EQ(tractor_receive(c, &item), 0);
        CHECK_EQ(tractor_receive(c, &item), 0);
        CHECK_EQ(tractor_send(c, json_object_new_string("again")), -EPIPE);
        CHECK_EQ(tractor_context_close(&c, 0, &count), 0);
        CHECK_EQ(json_object_get_int(count), 10);
        json_object_put(count);
}

static void a_stopped_stream_ends_its_reader(void)
{
        run(ping_pong);
}

static void fill(tractor_context *c)
{
        for (int i = 0; i < WINDOW; i++)
                CHECK_EQ(tractor_try_send(c, json_object_new_int(i)), 0);
}

static void waits_for_room(tractor_portal *p)
{
        tractor_context *c = open_dialog(p, "reads_late");
        struct json_object *count = NULL;
        tractor_scope *s;

        fill(c);
        CHECK_EQ(tractor_try_send(c, json_object_new_int(WINDOW)), -EAGAIN);
        s = tractor_fail_after(50 * TRACTOR_MSEC);
        CHECK_EQ(tractor_scope_close(s, tractor_send(c, json_object_new_int(WINDOW))), -ETIMEDOUT);
        CHECK_EQ(tractor_portal_call(p, "wakes", NULL, NULL), 0);
        CHECK_EQ(tractor_send(c, json_object_new_int(WINDOW)), 0);
        CHECK_EQ(tractor_stop(c), 0);
        CHECK_EQ(tractor_context_close(&c, 0, &count), 0);
        CHECK_EQ(json_object_get_int(count), WINDOW + 1);
        json_object_put(count);
}

static void the_65th_waits_or_is_refused(void)
{
        run(waits_for_room);
}

static void overruns(tractor_portal *p)
{
        tractor_context *c = open_dialog(p, "wants_no_more");
        int r = 0;

        fill(c);
        r = tractor_send(c, json_object_new_int(WINDOW));
        CHECK_EQ(r, -ENOBUFS);
        CHECK_STR(tractor_error_type(tractor_last_error()), "Overrun");
        CHECK_EQ(tractor_context_close(&c, r, NULL), -ENOBUFS);
}

static void the_65th_breaks_it_where_that_is_asked(void)
{
        run(overruns);
}

/* --- fanned out --- */
typedef struct Subscriber {
        tractor_subscription *subscription;
        tractor_event *gate; /* the slow one takes nothing before it; NULL: it is none */
        unsigned had, leaves_after;
        uint64_t lost;
} Subscriber;

static int subscriber(void *userdata)
{
        Subscriber *s = userdata;
        struct json_object *item;
        uint64_t lost;
        int r = s->gate ? tractor_event_wait(s->gate) : 0;

        if (r < 0)
                return r;
        while ((r = tractor_subscription_receive(s->subscription, &item, &lost)) > 0) {
                json_object_put(item);
                s->had++;
                s->lost += lost;
                if (s->had == s->leaves_after) {
                        s->subscription = tractor_subscription_free(s->subscription);
                        return 0;
                }
        }
        return r;
}

static void fans_out(tractor_portal *p)
{
        tractor_broadcast *b = tractor_broadcast_new(100);
        tractor_event *gate = tractor_event_new();
        Subscriber s[22] = { { .gate = gate }, { .leaves_after = 10 } };
        tractor_context *c = open_dialog(p, "counts");
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        for (size_t i = 0; i < ELEMENTSOF(s); i++) {
                CHECK_EQ(tractor_broadcast_subscribe(b, &s[i].subscription), 0);
                CHECK_EQ(tractor_start_task(n, "subscriber", subscriber, &s[i], NULL), 0);
        }
        CHECK_EQ(tractor_broadcast_feed(b, c), 0);
        CHECK_EQ(tractor_context_close(&c, 0, NULL), 0);
        tractor_event_set(gate);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_EQ(s[0].had, 100);
        CHECK_EQ(s[0].lost, 900);
        CHECK_EQ(s[1].had, 10);
        for (size_t i = 0; i < ELEMENTSOF(s); i++) {
                if (i >= 2)
                        CHECK_EQ(s[i].had, 1000);
                tractor_subscription_free(s[i].subscription);
        }
        tractor_event_free(gate);
        tractor_broadcast_free(b);
}

static void a_slow_subscriber_alone_loses(void)
{
        run(fans_out);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = { { "started_and_result_arrive", started_and_result_arrive },
                { "misuse_is_named_to_the_opener", misuse_is_named_to_the_opener },
                { "a_cancelled_dialog_is_no_error", a_cancelled_dialog_is_no_error },
                { "a_late_cancel_changes_nothing", a_late_cancel_changes_nothing },
                { "who_cancelled_an_actor_is_told", who_cancelled_an_actor_is_told },
                { "a_failure_outlives_a_cancel", a_failure_outlives_a_cancel },
                { "a_deep_failure_says_its_way", a_deep_failure_says_its_way },
                { "a_stopped_stream_ends_its_reader", a_stopped_stream_ends_its_reader },
                { "the_65th_waits_or_is_refused", the_65th_waits_or_is_refused },
                { "the_65th_breaks_it_where_that_is_asked", the_65th_breaks_it_where_that_is_asked },
                { "a_slow_subscriber_alone_loses", a_slow_subscriber_alone_loses } };

        /* The same binary is its actors. */
        if (getenv("TRACTOR_ENTRY"))
                return tractor_main(&options, NULL, NULL);
        options.backend = getenv("BACKEND");
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
