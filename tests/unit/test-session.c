/* SPDX-License-Identifier: Apache-2.0 */
#include "session-fixture.h"

/* The serving side, the hello, and the end. */

static void plain_calls(void)
{
        static const char *const ids[] = { "1", "\"x\"", "2", "1.50", "-7", "0", "\"\"", "\"1\"",
                "9223372036854775807" };
        Fixture f;

        set_up(&f);
        f.answer_at_once = true;
        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                _cleanup_free_ char *line =
                                xasprintf(V "\"id\":%s,\"method\":\"m\",\"params\":[%zu]}", ids[i], i);
                _cleanup_free_ char *answer = xasprintf(V "\"id\":%s,\"result\":[%zu]}", ids[i], i);

                talk(&f, line, answer);
        }
        CHECK_EQ(session_n_open(f.session), 0);
        tear_down(&f);
}

static void replies_in_any_order(void)
{
        Fixture f;

        set_up(&f);
        talk(&f,
                        V "\"id\":1,\"method\":\"a\"}\n" V "\"id\":\"b\",\"method\":\"b\"}\n" V
                          "\"id\":3,\"method\":\"c\"}",
                        "");
        CHECK_EQ(f.n_calls, 3);
        CHECK_EQ(session_n_open(f.session), 3);
        call_fail(take_call(&f, 2), -32004, NULL, "no %s", "c");
        talk(&f, NULL, ERROR("3", "-32004", "NoSuchActor", "no c"));
        call_reply(take_call(&f, 0), NULL, NULL, 0);
        talk(&f, NULL, V "\"id\":1,\"result\":null}");
        call_reply(take_call(&f, 1), number(2), NULL, 0);
        talk(&f, NULL, V "\"id\":\"b\",\"result\":2}");
        CHECK_EQ(session_n_open(f.session), 0);
        tear_down(&f);
}

static void faults(void)
{
        Fixture f;

        set_up(&f);
        f.answer_at_once = true;
        talk(&f, "nonsense", ERROR("null", "-32700", "ParseError", "unexpected character"));
        talk(&f, "{\"a\":1,\"a\":2}", ERROR("null", "-32700", "ParseError", "duplicate key"));
        talk(&f, "[]", FAULT("not an object"));
        talk(&f, V "\"id\":3}", FAULT("neither request, notification nor response"));
        talk(&f, V "\"id\":3,\"method\":7}", ERROR("3", "-32600", "InvalidRequest", "method is not a name"));
        talk(&f, V "\"id\":99,\"result\":1}", "");
        talk(&f, V "\"id\":\"x\",\"error\":{\"code\":1,\"message\":\"\"}}", "");
        talk(&f, V "\"id\":null,\"error\":{\"code\":1,\"message\":\"\"}}", "");
        /* and on with the next line */
        talk(&f, V "\"id\":4,\"method\":\"m\",\"params\":{}}", V "\"id\":4,\"result\":{}}");
        tear_down(&f);
}

static void one_id_one_call(void)
{
        Fixture f;

        set_up(&f);
        talk(&f, V "\"id\":1,\"method\":\"a\"}\n" V "\"id\":\"1\",\"method\":\"a\"}", "");
        talk(&f, V "\"id\":1,\"method\":\"a\"}", FAULT("a call with this id is open"));
        talk(&f, V "\"id\":\"1\",\"method\":\"a\"}", FAULT("a call with this id is open"));
        CHECK_EQ(session_n_open(f.session), 2);
        call_reply(take_call(&f, 0), NULL, NULL, 0);
        talk(&f, NULL, V "\"id\":1,\"result\":null}");
        talk(&f, V "\"id\":1,\"method\":\"a\"}", "");
        CHECK_EQ(session_n_open(f.session), 2);
        tear_down(&f);
}

static void too_many_open(void)
{
        Fixture f;

        set_up(&f);
        for (int i = 0; i < SESSION_OPEN_MAX; i++) {
                _cleanup_free_ char *line = xasprintf(V "\"id\":%d,\"method\":\"a\"}", i);

                talk(&f, line, "");
        }
        talk(&f, V "\"id\":5000,\"method\":\"a\"}",
                        ERROR("5000", "-32005", "MailboxFull", "too many open calls on this connection"));
        call_reply(take_call(&f, 77), NULL, NULL, 0);
        talk(&f, V "\"id\":5000,\"method\":\"a\"}", V "\"id\":77,\"result\":null}");
        CHECK_EQ(session_n_open(f.session), SESSION_OPEN_MAX);
        tear_down(&f);
        CHECK_EQ(f.n_cancelled, SESSION_OPEN_MAX);
}

static void notifications(void)
{
        Fixture f;

        set_up(&f);
        talk(&f, V "\"method\":\"tell\"}", "");
        CHECK_STR(f.note, "tell");
        talk(&f, V "\"method\":\"$/ready\"}", "");
        CHECK_STR(f.note, "$/ready");
        talk(&f, V "\"method\":\"$/cancel\",\"params\":{\"id\":null,\"grace_ms\":1}}", "");
        CHECK_STR(f.note, "$/cancel");
        talk(&f, V "\"method\":\"$/credit\",\"params\":{\"id\":null,\"n\":1}}", "");
        CHECK_EQ(f.n_notes, 3);
        tear_down(&f);
}

static void cancels_plain_calls(void)
{
        Fixture f;

        set_up(&f);
        talk(&f, V "\"id\":2,\"method\":\"a\"}\n" V "\"id\":\"x\",\"method\":\"b\"}", "");
        talk(&f, V "\"method\":\"$/cancel\",\"params\":{\"id\":2}}", "");
        CHECK_EQ(f.n_cancelled, 1);
        talk(&f, V "\"method\":\"$/cancel\",\"params\":{\"id\":2}}", "");
        CHECK_EQ(f.n_cancelled, 1);
        f.fail_in_cancel = true;
        f.calls[1] = NULL;
        talk(&f, V "\"method\":\"$/cancel\",\"params\":{\"id\":\"x\"}}",
                        ERROR("\"x\"", "-32800", "Cancelled", "cancelled"));
        CHECK_EQ(f.n_cancelled, 2);
        call_reply(take_call(&f, 0), number(1), NULL, 0);
        talk(&f, NULL, V "\"id\":2,\"result\":1}");
        /* late ones are dropped, those for what never was are faults */
        talk(&f, V "\"method\":\"$/cancel\",\"params\":{\"id\":2}}", "");
        talk(&f, V "\"method\":\"$/cancel\",\"params\":{\"id\":\"x\"}}", "");
        talk(&f, V "\"method\":\"$/cancel\",\"params\":{\"id\":4}}",
                        FAULT("no call was ever open under this id"));
        talk(&f, V "\"method\":\"$/cancel\",\"params\":{\"id\":1}}",
                        FAULT("no call was ever open under this id"));
        talk(&f, V "\"method\":\"$/cancel\",\"params\":{}}", FAULT("malformed frame"));
        talk(&f, V "\"method\":\"$/cancel\"}", FAULT("malformed frame"));
        tear_down(&f);
}

static void serves_a_dialog(void)
{
        Fixture f;
        Call *c;

        set_up(&f);
        talk(&f, V "\"id\":5,\"method\":\"events.subscribe\",\"$\":{\"ctx\":true,\"credit\":2}}", "");
        c = take_call(&f, 0);
        CHECK(call_is_dialog(c));
        CHECK_EQ(call_offer(c, number(0)), -EPROTO);
        CHECK_EQ(call_started(c, number(11), &credit_items, NULL), 0);
        talk(&f, NULL,
                        V "\"method\":\"$/"
                          "started\",\"params\":{\"id\":5,\"value\":11,\"credit\":0,\"overrun\":\"wait\"}}");
        CHECK_EQ(call_started(c, NULL, &credit_items, NULL), -EALREADY);
        CHECK_EQ(call_credit(c), 2);
        CHECK_EQ(call_offer(c, number(1)), 0);
        CHECK_EQ(call_offer(c, number(2)), 0);
        CHECK_EQ(call_offer(c, number(3)), -EAGAIN);
        CHECK_EQ(call_offer(c, number(4)), -EAGAIN);
        talk(&f, NULL,
                        V "\"method\":\"$/next\",\"params\":{\"id\":5,\"value\":1}}\n" V
                          "\"method\":\"$/next\",\"params\":{\"id\":5,\"value\":2}}");
        talk(&f, V "\"method\":\"$/credit\",\"params\":{\"id\":5,\"n\":1}}", "");
        CHECK_EQ(f.n_credit, 1);
        CHECK_EQ(call_offer(c, NULL), 0);
        talk(&f, NULL, V "\"method\":\"$/next\",\"params\":{\"id\":5,\"value\":null,\"lost\":2}}");
        talk(&f, V "\"method\":\"$/next\",\"params\":{\"id\":5,\"value\":1}}",
                        FAULT("$/next without credit"));
        talk(&f, V "\"method\":\"$/started\",\"params\":{\"id\":5}}", FAULT("only the callee may say this"));
        talk(&f, V "\"method\":\"$/credit\",\"params\":{\"id\":5}}", FAULT("malformed frame"));
        talk(&f, V "\"method\":\"$/credit\",\"params\":{\"id\":5,\"n\":-1}}", FAULT("malformed frame"));
        talk(&f, V "\"method\":\"$/credit\",\"params\":{\"id\":5,\"n\":9223372036854775807}}",
                        FAULT("malformed frame"));
        talk(&f, V "\"method\":\"$/stop\",\"params\":{\"id\":5}}", "");
        call_reply(c, number(9), NULL, 0);
        talk(&f, NULL, V "\"id\":5,\"result\":9}");
        talk(&f, V "\"method\":\"$/credit\",\"params\":{\"id\":5,\"n\":1}}", "");
        tear_down(&f);
}

static void cancelled_dialog(void)
{
        Fixture f;
        Call *c;

        set_up(&f);
        talk(&f, V "\"id\":1,\"method\":\"e\",\"$\":{\"ctx\":true}}", "");
        c = take_call(&f, 0);
        CHECK_EQ(call_credit(c), DIALOG_CREDIT_DEFAULT);
        CHECK_EQ(call_started(c, NULL, NULL, NULL), 0);
        talk(&f, V "\"method\":\"$/cancel\",\"params\":{\"id\":1,\"reason\":\"enough\"}}", NULL);
        CHECK_EQ(f.n_cancelled, 1);
        CHECK_EQ(call_offer(c, number(1)), -EPIPE);
        call_fail(c, -32800, NULL, "cancelled");
        talk(&f, NULL, ERROR("1", "-32800", "Cancelled", "cancelled"));
        tear_down(&f);
}

/* A method that knows nothing of dialogs still answers one by the rules, cancelled or not. */
static void dialog_started_by_itself(void)
{
        Fixture f;

        set_up(&f);
        f.answer_at_once = true;
        talk(&f, V "\"id\":1,\"method\":\"m\",\"$\":{\"ctx\":true}}",
                        V "\"method\":\"$/"
                          "started\",\"params\":{\"id\":1,\"value\":null,\"credit\":0,\"overrun\":\"wait\"}}"
                          "\n" V "\"id\":1,\"result\":null}");
        f.answer_at_once = false;
        talk(&f, V "\"id\":3,\"method\":\"m\",\"$\":{\"ctx\":true}}", "");
        talk(&f, V "\"method\":\"$/cancel\",\"params\":{\"id\":3}}", "");
        CHECK_EQ(call_started(f.calls[0], NULL, NULL, NULL), -EPIPE);
        call_reply(take_call(&f, 0), number(7), NULL, 0);
        talk(&f, NULL,
                        V "\"method\":\"$/"
                          "started\",\"params\":{\"id\":3,\"value\":null,\"credit\":0,\"overrun\":\"wait\"}}"
                          "\n" V "\"id\":3,\"result\":7}");
        talk(&f, V "\"id\":5,\"method\":\"m\"}", "");
        CHECK_EQ(call_started(f.calls[1], NULL, NULL, NULL), -EPROTO);
        tear_down(&f);
}

static void ids_of_dialogs(void)
{
        Fixture f;

        set_up(&f);
#define OPEN(id) V "\"id\":" id ",\"method\":\"m\",\"$\":{\"ctx\":true}}"
#define NOT_OURS "a dialog's id is a number of its opener's"
#define NOT_HIGHER "a dialog's id must be higher than those before"
        talk(&f, OPEN("2"), ERROR("2", "-32600", "InvalidRequest", NOT_OURS));
        talk(&f, OPEN("\"x\""), ERROR("\"x\"", "-32600", "InvalidRequest", NOT_OURS));
        talk(&f, OPEN("1.5"), ERROR("1.5", "-32600", "InvalidRequest", NOT_OURS));
        talk(&f, OPEN("-1"), ERROR("-1", "-32600", "InvalidRequest", NOT_OURS));
        talk(&f, OPEN("3"), "");
        talk(&f, OPEN("3"), ERROR("3", "-32600", "InvalidRequest", NOT_HIGHER));
        talk(&f, OPEN("1"), ERROR("1", "-32600", "InvalidRequest", NOT_HIGHER));
        talk(&f, V "\"id\":7,\"method\":\"plain\"}", "");
        talk(&f, OPEN("5"), ERROR("5", "-32600", "InvalidRequest", NOT_HIGHER));
        talk(&f, OPEN("9"), "");
        CHECK_EQ(f.n_calls, 3);
        tear_down(&f);

        set_up_as(&f, &(SessionOptions){ .connector = true });
        talk(&f, OPEN("1"), ERROR("1", "-32600", "InvalidRequest", NOT_OURS));
        talk(&f, OPEN("2"), "");
        tear_down(&f);
}

/* --- the end of a connection --- */

static void end_tells_callees(void)
{
        Fixture f;
        Call *dialog;

        set_up(&f);
        talk(&f, V "\"id\":1,\"method\":\"a\"}\n" V "\"id\":3,\"method\":\"b\",\"$\":{\"ctx\":true}}", "");
        dialog = take_call(&f, 1);
        CHECK_EQ(call_started(dialog, NULL, NULL, NULL), 0);
        f.peer = safe_close(f.peer);
        run(&f);
        CHECK_EQ(f.n_cancelled, 2);
        CHECK_EQ(f.n_end, 1);
        CHECK(!call_session(dialog));
        CHECK_EQ(call_credit(dialog), 0);
        CHECK_EQ(call_offer(dialog, number(1)), -EPIPE);
        CHECK_EQ(call_started(dialog, number(1), NULL, NULL), -EPIPE);
        call_fail(dialog, -32603, number(1), "too late");
        CHECK_EQ(session_n_open(f.session), 0);
        CHECK_EQ(session_notify(f.session, "x", NULL), -EPIPE);
        CHECK_EQ(session_call(f.session, "x", number(1), NULL, &(ReplyVtable){ 0 }, NULL), -EPIPE);
        tear_down(&f);
        CHECK_EQ(f.n_cancelled, 2);
}

static void half_closed_peer_gets_replies(void)
{
        Fixture f;

        set_up(&f);
        talk(&f, V "\"id\":1,\"method\":\"a\"}\n" V "\"id\":2,\"method\":\"b\"}", "");
        CHECK(shutdown(f.peer, SHUT_WR) >= 0);
        run(&f);
        CHECK_EQ(f.n_end, 0);
        call_reply(take_call(&f, 0), number(1), NULL, 0);
        talk(&f, NULL, V "\"id\":1,\"result\":1}");
        CHECK_EQ(f.n_end, 0);
        call_reply(take_call(&f, 1), number(2), NULL, 0);
        CHECK_EQ(f.n_end, 0);
        talk(&f, NULL, V "\"id\":2,\"result\":2}");
        CHECK_EQ(f.n_end, 1);
        CHECK_EQ(f.n_cancelled, 0);
        tear_down(&f);

        set_up(&f);
        CHECK(shutdown(f.peer, SHUT_WR) >= 0);
        run(&f);
        CHECK_EQ(f.n_end, 1);
        tear_down(&f);
}

static void freeing_in_callbacks(void)
{
        Fixture f;

        set_up(&f);
        f.free_in_request = true;
        talk(&f, V "\"id\":1,\"method\":\"a\"}\n" V "\"id\":2,\"method\":\"b\"}", "");
        CHECK_EQ(f.n_calls, 1);
        CHECK_EQ(f.n_cancelled, 1);
        tear_down(&f);

        set_up(&f);
        f.free_in_request = f.answer_at_once = true;
        talk(&f, V "\"id\":1,\"method\":\"a\"}", "");
        tear_down(&f);

        set_up(&f);
        f.free_in_cancel = true;
        talk(&f, V "\"id\":1,\"method\":\"a\"}\n" V "\"id\":2,\"method\":\"b\"}", "");
        talk(&f, V "\"method\":\"$/cancel\",\"params\":{\"id\":1}}", "");
        CHECK_EQ(f.n_cancelled, 2);
        tear_down(&f);

        set_up(&f);
        f.free_in_end = f.fail_in_cancel = true;
        talk(&f, V "\"id\":1,\"method\":\"a\"}\n" V "\"id\":2,\"method\":\"b\"}", "");
        f.n_calls = 0;
        f.peer = safe_close(f.peer);
        run(&f);
        CHECK_EQ(f.n_end, 1);
        CHECK_EQ(f.n_cancelled, 2);
        tear_down(&f);
}

static void closing_lets_output_out(void)
{
        Fixture f;

        set_up(&f);
        CHECK_EQ(session_notify(f.session, "bye", NULL), 0);
        session_close(f.session);
        CHECK_EQ(f.n_end, 0);
        talk(&f, NULL, V "\"method\":\"bye\"}");
        CHECK_EQ(f.n_end, 1);
        tear_down(&f);
}

static void too_long_lines(void)
{
        Fixture f;

        set_up_as(&f, &(SessionOptions){ .max_line = 20 });
        talk(&f, "[1,2,3,4,5,6,7,8,9,10,11]", ERROR("null", "-32700", "ParseError", "line too long"));
        CHECK_EQ(f.n_end, 1);
        tear_down(&f);
}

static void replies_too_long_for_the_peer(void)
{
        char text[5000];
        Fixture f;

        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = 0;
        set_up(&f);
        talk(&f, V "\"method\":\"$/hello\",\"params\":{\"protocol\":\"tractor/1.7\",\"max_line\":4096}}",
                        NULL);
        CHECK_EQ(session_peer_max_line(f.session), 4096);
        talk(&f, V "\"id\":1,\"method\":\"a\"}\n" V "\"id\":3,\"method\":\"a\",\"$\":{\"ctx\":true}}", "");
        call_reply(take_call(&f, 0), json_new_string(text, SIZE_MAX), NULL, 0);
        talk(&f, NULL,
                        ERROR("1", "-32011", "LimitExceeded",
                                        "the reply is longer than the peer's max_line"));
        CHECK_EQ(call_started(f.calls[1], NULL, NULL, NULL), 0);
        talk(&f, NULL, NULL);
        CHECK_EQ(call_offer(f.calls[1], json_new_string(text, SIZE_MAX)), -EMSGSIZE);
        CHECK_EQ(call_credit(f.calls[1]), DIALOG_CREDIT_DEFAULT);
        CHECK_EQ(call_offer(f.calls[1], NULL), 0);
        talk(&f, NULL, V "\"method\":\"$/next\",\"params\":{\"id\":3,\"value\":null,\"lost\":1}}");
        CHECK_EQ(session_notify(f.session, "x", json_new_string(text, SIZE_MAX)), -EMSGSIZE);
        tear_down(&f);
}

/* A subscriber with any credit that does not read loses items, never the connection. */
static void slow_reader_loses_items(void)
{
        enum { ITEM = 20000 };
        char text[ITEM + 1];
        size_t lost = 0;
        Fixture f;
        Call *c;

        memset(text, 'x', ITEM);
        text[ITEM] = 0;
        set_up(&f);
        stream_set_output_max(session_stream(f.session), 200000, STREAM_STALL_USEC_DEFAULT);
        talk(&f, V "\"id\":1,\"method\":\"e\",\"$\":{\"ctx\":true,\"credit\":4294967295}}", "");
        c = take_call(&f, 0);
        CHECK_EQ(call_started(c, NULL, &credit_items, NULL), 0);
        for (int i = 0; i < 1000; i++) {
                int r = call_offer(c, json_new_string(text, SIZE_MAX));

                CHECK(r == 0 || r == -EAGAIN);
                lost += r == -EAGAIN;
        }
        CHECK(lost > 900);
        CHECK(stream_queued(session_stream(f.session)) < 200000 + 2 * ITEM);
        CHECK_EQ(f.n_credit, 0);
        while (f.n_credit == 0) {
                ssize_t k = read(f.peer, f.heard, sizeof(f.heard));

                CHECK(k > 0);
                run(&f);
        }
        while (stream_queued(session_stream(f.session)) > 0) {
                talk(&f, NULL, NULL);
                run(&f);
        }
        talk(&f, NULL, NULL);
        CHECK_EQ(call_offer(c, NULL), 0);
        talk(&f, NULL, NULL);
        {
                _cleanup_free_ char *want = xasprintf(V
                                "\"method\":\"$/next\",\"params\":{\"id\":1,\"value\":null,\"lost\":%zu}}",
                                lost);

                CHECK_STR(f.heard, want);
        }
        call_reply(c, NULL, NULL, 0);
        tear_down(&f);
}

/* --- descriptors --- */

static void requests_with_descriptors(void)
{
        size_t before;
        Fixture f;

        set_up(&f);
        f.answer_at_once = true;
        before = count_fds();
        say_with_fds(&f, V "\"id\":1,\"method\":\"m\",\"$\":{\"fds\":3}}", 3);
        talk(&f, NULL, V "\"id\":1,\"result\":null}");
        CHECK(f.took >= 0);
        CHECK_EQ(count_fds(), before + 1);
        say_with_fds(&f, V "\"method\":\"m\",\"$\":{\"fds\":2}}", 2);
        talk(&f, NULL, "");
        CHECK_EQ(count_fds(), before + 1);
        tear_down(&f);
}

static void undeclared_descriptors(void)
{
        size_t before;
        Fixture f;

        before = count_fds();
        set_up(&f);
        say_with_fds(&f, V "\"method\":\"m\"}", 1);
        talk(&f, NULL, FAULT("undeclared or too many descriptors"));
        CHECK_EQ(f.n_end, 1);
        tear_down(&f);
        CHECK_EQ(count_fds(), before);
}

static void missing_descriptors(void)
{
        Fixture f;

        set_up(&f);
        talk(&f, V "\"id\":1,\"method\":\"m\",\"$\":{\"fds\":1}}\n" V "\"id\":3,\"method\":\"m\"}",
                        FAULT("fewer descriptors than declared"));
        CHECK_EQ(f.n_end, 1);
        CHECK_EQ(f.n_calls, 0);
        tear_down(&f);
}

static void replies_with_descriptors(void)
{
        int fds[] = { new_fd(), new_fd() }, got[SCM_FDS_MAX];
        size_t n = ELEMENTSOF(got);
        Fixture f;

        set_up(&f);
        talk(&f, V "\"id\":1,\"method\":\"m\"}", "");
        call_reply(take_call(&f, 0), number(1), fds, 2);
        CHECK(recv_fds(f.peer, f.heard, sizeof(f.heard), got, &n, 0) > 0);
        CHECK(startswith(f.heard, V "\"id\":1,\"result\":1,\"$\":{\"fds\":2}}\n"));
        CHECK_EQ(n, 2);
        close_many(got, n);
        tear_down(&f);
}

/* --- hello --- */

static void hello_is_answered(void)
{
        _cleanup_free_ char *ours = our_hello("test");
        Fixture f;

        set_up(&f);
        CHECK(!session_said_hello(f.session));
        talk(&f, HELLO, ours);
        CHECK(session_said_hello(f.session));
        CHECK_EQ(f.n_hello, 1);
        talk(&f, HELLO, FAULT("$/hello came twice"));
        tear_down(&f);
}

static void bad_hellos(void)
{
        static const char *const malformed[] = {
                V "\"method\":\"$/hello\"}",
                V "\"method\":\"$/hello\",\"params\":[]}",
                V "\"method\":\"$/hello\",\"params\":{\"protocol\":1}}",
                V "\"method\":\"$/hello\",\"params\":{\"protocol\":\"tractor/1\",\"max_line\":0}}",
        };
        static const char *const unknown[] = { "tractor/2", "tractor/10", "tractor/1x", "actor/1", "" };
        Fixture f;

        set_up(&f);
        for (size_t i = 0; i < ELEMENTSOF(malformed); i++)
                talk(&f, malformed[i], FAULT("malformed $/hello"));
        CHECK(!session_said_hello(f.session));
        tear_down(&f);
        for (size_t i = 0; i < ELEMENTSOF(unknown); i++) {
                _cleanup_free_ char *line = xasprintf(
                                V "\"method\":\"$/hello\",\"params\":{\"protocol\":\"%s\"}}", unknown[i]);

                set_up(&f);
                talk(&f, line,
                                V "\"id\":null,\"error\":{\"code\":-32010,\"message\":\"unknown protocol "
                                  "version\","
                                  "\"data\":{\"type\":\"Unsupported\",\"supported\":[\"tractor/1\"]}}}");
                CHECK_EQ(f.n_end, 1);
                tear_down(&f);
        }
}

TEST_MAIN({ "plain_calls", plain_calls }, { "replies_in_any_order", replies_in_any_order },
                { "faults", faults }, { "one_id_one_call", one_id_one_call },
                { "too_many_open", too_many_open }, { "notifications", notifications },
                { "cancels_plain_calls", cancels_plain_calls }, { "serves_a_dialog", serves_a_dialog },
                { "cancelled_dialog", cancelled_dialog },
                { "dialog_started_by_itself", dialog_started_by_itself },
                { "ids_of_dialogs", ids_of_dialogs }, { "end_tells_callees", end_tells_callees },
                { "half_closed_peer_gets_replies", half_closed_peer_gets_replies },
                { "freeing_in_callbacks", freeing_in_callbacks },
                { "closing_lets_output_out", closing_lets_output_out }, { "too_long_lines", too_long_lines },
                { "replies_too_long_for_the_peer", replies_too_long_for_the_peer },
                { "slow_reader_loses_items", slow_reader_loses_items },
                { "requests_with_descriptors", requests_with_descriptors },
                { "undeclared_descriptors", undeclared_descriptors },
                { "missing_descriptors", missing_descriptors },
                { "replies_with_descriptors", replies_with_descriptors },
                { "hello_is_answered", hello_is_answered }, { "bad_hellos", bad_hellos });
