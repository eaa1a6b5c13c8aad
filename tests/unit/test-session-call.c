/* SPDX-License-Identifier: Apache-2.0 */
#include "session-fixture.h"

/* The calling side. */

static void on_reply(Json *result, Json *error, int *fds, size_t n_fds, void *userdata)
{
        Fixture *f = userdata;

        f->n_replies++;
        keep(&f->result, result);
        keep(&f->error, error);
        if (n_fds > 0)
                f->reply_fd = TAKE_FD(fds[0]);
        if (f->free_in_reply)
                f->session = session_free(f->session);
}

static void on_started(Json *value, void *userdata)
{
        Fixture *f = userdata;

        f->n_started++;
        keep(&f->item, value);
}

static void on_next(Json *value, uint64_t lost, void *userdata)
{
        Fixture *f = userdata;

        f->n_items++;
        f->lost += lost;
        keep(&f->item, value);
        if (f->free_in_item)
                f->session = session_free(f->session);
}

static const ReplyVtable reply_vtable = { on_reply, on_started, { .on_next = on_next } };

static int64_t call(Fixture *f, const char *method, const CallOptions *o)
{
        return session_call(f->session, method, NULL, o, &reply_vtable, f);
}

static void calls_a_plain_server(void)
{
        const CallOptions key = { .key = "k" }, deadline = { .deadline_ms = 5 };
        Fixture f;

        set_up_as(&f, &(SessionOptions){ .connector = true });
        CHECK_EQ(call(&f, "a", NULL), 1);
        talk(&f, NULL, V "\"id\":1,\"method\":\"a\"}");
        CHECK_EQ(call(&f, "b", &deadline), 3);
        talk(&f, NULL, V "\"id\":3,\"method\":\"b\"}");
        CHECK_EQ(call(&f, "b", &(CallOptions){ .ctx = true }), -EOPNOTSUPP);
        CHECK_EQ(call(&f, "b", &key), -EOPNOTSUPP);
        CHECK_EQ(session_notify(f.session, "$/ready", number(1)), -EOPNOTSUPP);
        CHECK_EQ(session_notify(f.session, "plain", NULL), 0);
        talk(&f, NULL, V "\"method\":\"plain\"}");
        talk(&f, V "\"id\":3,\"result\":{\"x\":1}}", "");
        CHECK_STR(f.result, "{\"x\":1}");
        talk(&f, V "\"id\":3,\"result\":2}", "");
        talk(&f, V "\"id\":1,\"error\":{\"code\":-32601,\"message\":\"no\"}}", "");
        CHECK_STR(f.error, "{\"code\":-32601,\"message\":\"no\"}");
        CHECK_EQ(f.n_replies, 2);
        CHECK_EQ(session_cancel(f.session, 1, NULL), -ENOENT);
        tear_down(&f);
}

static void acceptor_numbers_even(void)
{
        Fixture f;

        set_up(&f);
        CHECK_EQ(call(&f, "a", NULL), 2);
        CHECK_EQ(call(&f, "a", NULL), 4);
        talk(&f, V "\"id\":4,\"result\":null}", NULL);
        CHECK_EQ(f.n_replies, 1);
        CHECK_STR(f.result, "null");
        tear_down(&f);
}

static void connection_lost(void)
{
        Fixture f;

        set_up(&f);
        CHECK_EQ(call(&f, "a", NULL), 2);
        CHECK_EQ(call(&f, "b", NULL), 4);
        f.free_in_reply = true;
        f.peer = safe_close(f.peer);
        run(&f);
        CHECK_EQ(f.n_replies, 1);
        CHECK_EQ(f.n_end, 0);
        CHECK(strstr(f.error, "-32015"));
        tear_down(&f);

        set_up(&f);
        CHECK_EQ(call(&f, "a", NULL), 2);
        CHECK_EQ(call(&f, "b", NULL), 4);
        f.peer = safe_close(f.peer);
        run(&f);
        CHECK_EQ(f.n_replies, 2);
        CHECK_EQ(f.n_end, 1);
        tear_down(&f);

        set_up(&f);
        CHECK_EQ(call(&f, "a", NULL), 2);
        tear_down(&f); /* an owner that gives up is not called back */
        CHECK_EQ(f.n_replies, 0);
}

/* The first line is the hello; what needs the peer's waits for it, and so does what follows. */
static void waits_for_hello(void)
{
        _cleanup_free_ char *ours = our_hello("cli");
        const SessionOptions o = { .connector = true, .hello = true, .name = "cli" };
        Fixture f;

        set_up_as(&f, &o);
        CHECK_EQ(call(&f, "first", NULL), 1);
        CHECK_EQ(call(&f, "s", &(CallOptions){ .ctx = true, .items.credit = 2, .key = "k" }), 3);
        CHECK_EQ(session_notify(f.session, "last", NULL), 0);
        talk(&f, NULL, NULL);
        CHECK(startswith(f.heard, ours));
        CHECK_STR(f.heard + strlen(ours), "\n" V "\"id\":1,\"method\":\"first\"}");
        talk(&f, HELLO,
                        V "\"id\":3,\"method\":\"s\",\"$\":{\"ctx\":true,\"credit\":2,\"key\":\"k\"}}\n" V
                          "\"method\":\"last\"}");
        CHECK_EQ(session_notify(f.session, "$/ready", NULL), 0);
        talk(&f, NULL, V "\"method\":\"$/ready\"}");
        tear_down(&f);

        set_up_as(&f, &o);
        CHECK_EQ(call(&f, "s", &(CallOptions){ .ctx = true }), 1);
        talk(&f, V "\"id\":null,\"error\":{\"code\":-32010,\"message\":\"unknown version\"}}", ours);
        CHECK_EQ(f.n_replies, 1);
        CHECK_STR(f.error, "{\"code\":-32010,\"message\":\"unknown version\"}");
        tear_down(&f);

        set_up_as(&f, &o);
        CHECK_EQ(call(&f, "s", &(CallOptions){ .ctx = true }), 1);
        f.peer = safe_close(f.peer);
        run(&f);
        CHECK(strstr(f.error, "-32015"));
        tear_down(&f);
}

/* A connector that has exchanged hellos and opened a dialog with two credits, id 1. */
static void set_up_dialog(Fixture *f)
{
        set_up_as(f, &(SessionOptions){ .connector = true, .hello = true });
        talk(f, HELLO, NULL);
        CHECK_EQ(call(f, "s", &(CallOptions){ .ctx = true, .items.credit = 2 }), 1);
        talk(f, NULL, V "\"id\":1,\"method\":\"s\",\"$\":{\"ctx\":true,\"credit\":2}}");
}

#define STARTED V "\"method\":\"$/started\",\"params\":{\"id\":1,\"value\":11,\"credit\":0}}"
#define NEXT(value) V "\"method\":\"$/next\",\"params\":{\"id\":1,\"value\":" value "}}"

static void opens_a_dialog(void)
{
        Fixture f;

        set_up_dialog(&f);
        talk(&f, STARTED, "");
        CHECK_EQ(f.n_started, 1);
        CHECK_STR(f.item, "11");
        talk(&f, NEXT("{\"n\":1}"), V "\"method\":\"$/credit\",\"params\":{\"id\":1,\"n\":1}}");
        CHECK_STR(f.item, "{\"n\":1}");
        talk(&f, NEXT("2,\"lost\":3"), V "\"method\":\"$/credit\",\"params\":{\"id\":1,\"n\":1}}");
        CHECK_EQ(f.lost, 3);
        talk(&f, NEXT("2,\"lost\":-3"), FAULT("malformed frame"));
        talk(&f, V "\"method\":\"$/stop\",\"params\":{\"id\":1}}", "");
        talk(&f, NEXT("5"), FAULT("$/next after $/stop"));
        CHECK_EQ(f.n_items, 2);
        talk(&f, V "\"method\":\"$/cancel\",\"params\":{\"id\":1}}", FAULT("only the opener may say this"));
        talk(&f, V "\"id\":1,\"result\":\"yo\"}", "");
        CHECK_STR(f.result, "\"yo\"");
        talk(&f, NEXT("6"), "");
        talk(&f, V "\"method\":\"$/next\",\"params\":{\"id\":3,\"value\":1}}",
                        FAULT("no call was ever open under this id"));
        tear_down(&f);
}

static void callee_breaks_the_rules(void)
{
        static const struct {
                const char *line, *why;
                bool started;
        } rows[] = {
                { NEXT("1"), "$/next before $/started", false },
                { V "\"method\":\"$/stop\",\"params\":{\"id\":1}}", "$/stop before $/started", false },
                { STARTED, "$/started came twice", true },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_free_ char *cancel = xasprintf(V
                                "\"method\":\"$/cancel\",\"params\":{\"id\":1,\"reason\":\"%s\"}}",
                                rows[i].why);
                Fixture f;

                set_up_dialog(&f);
                if (rows[i].started)
                        talk(&f, STARTED, "");
                talk(&f, rows[i].line, cancel);
                CHECK_EQ(f.n_replies, 1);
                CHECK(strstr(f.error, rows[i].why) && strstr(f.error, "-32600"));
                talk(&f, V "\"id\":1,\"result\":1}", "");
                CHECK_EQ(f.n_replies, 1);
                tear_down(&f);
        }
        {
                Fixture f;

                set_up_dialog(&f);
                talk(&f, V "\"id\":1,\"result\":1}", "");
                CHECK(strstr(f.error, "a result before $/started"));
                tear_down(&f);
        }
}

static void cancels(void)
{
        Fixture f;

        set_up_dialog(&f);
        talk(&f, STARTED, "");
        CHECK_EQ(session_cancel(f.session, 1, "enough"), 0);
        CHECK_EQ(session_cancel(f.session, 1, "enough"), 0);
        talk(&f, NULL, V "\"method\":\"$/cancel\",\"params\":{\"id\":1,\"reason\":\"enough\"}}");
        talk(&f, NEXT("1"), "");
        CHECK_EQ(f.n_items, 0);
        CHECK_EQ(f.n_replies, 0);
        talk(&f, V "\"id\":1,\"error\":{\"code\":-32800,\"message\":\"\"}}", "");
        CHECK_EQ(f.n_replies, 1);
        tear_down(&f);
}

/* A peer that never heard of $/cancel is not told, and not waited for longer than the others. */
static void cancel_of_a_deaf_peer(void)
{
        Fixture f;

        set_up(&f);
        CHECK_EQ(call(&f, "a", NULL), 2);
        talk(&f, NULL, NULL);
        CHECK_EQ(session_cancel(f.session, 2, NULL), 0);
        talk(&f, NULL, "");
        while (f.n_replies == 0)
                CHECK(sd_event_run(f.event, (SESSION_GRACE_MS + 10000) * 1000) > 0);
        CHECK(strstr(f.error, "-32800") && strstr(f.error, "\"abandoned\":true"));
        talk(&f, V "\"id\":2,\"result\":1}", "");
        CHECK_EQ(f.n_replies, 1);
        tear_down(&f);
}

static void freeing_in_reply_callbacks(void)
{
        Fixture f;

        set_up_dialog(&f);
        f.free_in_item = true;
        talk(&f, STARTED "\n" NEXT("1") "\n" NEXT("2"), "");
        CHECK_EQ(f.n_items, 1);
        tear_down(&f);

        set_up_dialog(&f);
        f.free_in_reply = true;
        talk(&f, STARTED "\n" V "\"id\":1,\"result\":1}\n" V "\"id\":2,\"method\":\"m\"}", "");
        CHECK_EQ(f.n_replies, 1);
        CHECK_EQ(f.n_calls, 0);
        tear_down(&f);
}

static void reply_brings_descriptors(void)
{
        size_t before;
        Fixture f;

        set_up_dialog(&f);
        before = count_fds();
        say_with_fds(&f, V "\"id\":1,\"error\":{\"code\":1,\"message\":\"\"},\"$\":{\"fds\":2}}", 2);
        talk(&f, NULL, "");
        CHECK_EQ(f.n_replies, 1);
        CHECK(f.reply_fd >= 0);
        CHECK_EQ(count_fds(), before + 1);
        tear_down(&f);
}

TEST_MAIN({ "calls_a_plain_server", calls_a_plain_server },
                { "acceptor_numbers_even", acceptor_numbers_even }, { "connection_lost", connection_lost },
                { "waits_for_hello", waits_for_hello }, { "opens_a_dialog", opens_a_dialog },
                { "callee_breaks_the_rules", callee_breaks_the_rules }, { "cancels", cancels },
                { "cancel_of_a_deaf_peer", cancel_of_a_deaf_peer },
                { "freeing_in_reply_callbacks", freeing_in_reply_callbacks },
                { "reply_brings_descriptors", reply_brings_descriptors });
