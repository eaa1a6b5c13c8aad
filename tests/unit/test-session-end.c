/* SPDX-License-Identifier: Apache-2.0 */
#include "session-fixture.h"

/* How calls end other than by their callee's word: cancels and by whom, deadlines, the death of a peer, the connection's
 * end; and what is counted or bounded for the connection as a whole. */

#define CTX(id) V "\"id\":" id ",\"method\":\"s\",\"$\":{\"ctx\":true}}"
#define CANCEL(id, extra) V "\"method\":\"$/cancel\",\"params\":{\"id\":" id extra "}}"
#define TELL V "\"method\":\"tell\"}"

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

static const ReplyVtable reply_vtable = { .on_reply = on_reply };

static int64_t call(Fixture *f, const CallOptions *o)
{
        return session_call(f->session, "s", NULL, o, &reply_vtable, f);
}

static void set_up_caller(Fixture *f, bool exit_told)
{
        set_up_as(f, &(SessionOptions){ .connector = true, .hello = true, .exit_told = exit_told });
        talk(f, HELLO, NULL);
}

/* --- cancels --- */

static void by_whom(void)
{
        static const struct {
                const char *peer, *says, *canceller;
                bool trusted;
        } rows[] = {
                { NULL, "", NULL, false },
                { "/shop/web", "", "/shop/web", false },
                { "/shop/web", ",\"canceller\":\"/other\"", "/shop/web", false },
                { NULL, ",\"canceller\":\"/other\"", NULL, false },
                { "/", ",\"canceller\":\"/other\"", "/other", true },
                { "/", "", "/", true },
                { "/", ",\"canceller\":7", "/", true },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_free_ char *cancel = xasprintf(V
                                "\"method\":\"$/cancel\",\"params\":{\"id\":1,\"reason\":\"why\"%s}}",
                                rows[i].says);
                _cleanup_free_ char *by =
                                rows[i].canceller ? xasprintf(",\"canceller\":\"%s\"", rows[i].canceller)
                                                  : strdup("");
                _cleanup_free_ char *answer = xasprintf(V
                                "\"id\":1,\"error\":{\"code\":-32800,\"message\":\"no\",\"data\":{\"type\":"
                                "\"Cancelled\"%s}}}",
                                by);
                Fixture f;

                set_up_as(&f, &(SessionOptions){ .peer_path = rows[i].peer,
                                              .trust_canceller = rows[i].trusted });
                talk(&f, V "\"id\":1,\"method\":\"a\"}", "");
                talk(&f, cancel, "");
                talk(&f, cancel, "");
                CHECK_EQ(f.n_cancelled, 1);
                CHECK_STR(call_canceller(f.calls[0]), rows[i].canceller);
                CHECK_STR(call_cancel_reason(f.calls[0]), "why");
                call_fail(take_call(&f, 0), -32800, NULL, "no");
                talk(&f, NULL, answer);
                tear_down(&f);
        }
}

/* What the callee had made before, or fails with of its own, stands. */
static void cancel_masks_nothing(void)
{
        Fixture f;

        set_up_as(&f, &(SessionOptions){ .peer_path = "/p" });
        talk(&f, CTX("1") "\n" CTX("3") "\n" V "\"id\":\"x\",\"method\":\"a\"}", "");
        talk(&f, CANCEL("1", "") "\n" CANCEL("3", "") "\n" CANCEL("\"x\"", ""), "");
        CHECK_EQ(f.n_cancelled, 3);
        CHECK_EQ(call_started(f.calls[0], NULL, NULL, NULL), -EPIPE);
        call_reply(take_call(&f, 0), number(5), NULL, 0);
        call_fail(take_call(&f, 1), -32001, NULL, "own");
        call_reply(take_call(&f, 2), number(6), NULL, 0);
        talk(&f, NULL,
                        V "\"method\":\"$/started\",\"params\":{\"id\":1,\"value\":null,\"credit\":0,"
                          "\"overrun\":\"wait\"}}\n" V "\"id\":1,\"result\":5}\n" ERROR("3", "-32001",
                                          "RemoteError", "own") "\n" V "\"id\":\"x\",\"result\":6}");
        talk(&f, CANCEL("1", "") "\n" CANCEL("\"x\"", ""), "");
        talk(&f, CANCEL("5", ""), FAULT("no call was ever open under this id"));
        talk(&f, CANCEL("[]", ""), FAULT("malformed frame"));
        CHECK_EQ(f.n_notes, 0);
        talk(&f, CANCEL("null", ""), "");
        CHECK_EQ(f.n_notes, 1); /* the actor as a whole: its owner's to know */
        tear_down(&f);
}

/* --- deadlines --- */

static void deadline_of_the_peer(void)
{
        Fixture f;

        set_up(&f);
        talk(&f, V "\"id\":1,\"method\":\"a\",\"$\":{\"deadline_ms\":0}}",
                        ERROR("1", "-32007", "DeadlineExceeded", "the deadline has passed"));
        CHECK_EQ(f.n_calls, 0);
        talk(&f,
                        V "\"id\":3,\"method\":\"a\",\"$\":{\"deadline_ms\":5}}\n" V
                          "\"id\":5,\"method\":\"a\",\"$\":{\"deadline_ms\":5}}\n" V
                          "\"id\":7,\"method\":\"a\",\"$\":{\"deadline_ms\":3600000}}",
                        NULL);
        CHECK_EQ(f.n_calls, 3);
        while (f.n_cancelled < 2)
                CHECK(sd_event_run(f.event, 10 * 1000 * 1000) > 0);
        call_fail(take_call(&f, 0), -32800, NULL, "cancelled");
        call_reply(take_call(&f, 1), number(1), NULL, 0); /* a result wins */
        talk(&f, NULL,
                        ERROR("3", "-32007", "DeadlineExceeded",
                                        "the deadline has passed") "\n" V "\"id\":5,\"result\":1}");
        /* The owner's own, which is the earlier. */
        CHECK_EQ(call_set_deadline(f.calls[2], 1), 0);
        CHECK_EQ(call_set_deadline(f.calls[2], 100000), 0);
        f.fail_in_cancel = true;
        while (f.n_cancelled < 3)
                CHECK(sd_event_run(f.event, 10 * 1000 * 1000) > 0);
        f.calls[2] = NULL;
        talk(&f, NULL, ERROR("7", "-32007", "DeadlineExceeded", "the deadline has passed"));
        CHECK_EQ(session_n_open(f.session), 0);
        tear_down(&f);
}

static void deadline_ends_the_session(void)
{
        Fixture f;

        set_up(&f);
        f.free_in_cancel = true;
        talk(&f,
                        V "\"id\":3,\"method\":\"a\",\"$\":{\"deadline_ms\":1}}\n" V
                          "\"id\":5,\"method\":\"a\",\"$\":{\"deadline_ms\":1}}",
                        NULL);
        while (f.n_cancelled < 2)
                CHECK(sd_event_run(f.event, 10 * 1000 * 1000) > 0);
        CHECK_EQ(f.n_calls, 2);
        tear_down(&f);
}

/* A peer that does not keep it: ours ends all the same, later. */
static void deadline_of_ours(void)
{
        Fixture f;

        set_up_caller(&f, false);
        CHECK_EQ(call(&f, &(CallOptions){ .deadline_ms = 1 }), 1);
        talk(&f, NULL, V "\"id\":1,\"method\":\"s\",\"$\":{\"deadline_ms\":1}}");
        while (f.n_replies == 0)
                CHECK(sd_event_run(f.event, (SESSION_GRACE_MS + 10000) * 1000) > 0);
        CHECK(strstr(f.error, "-32007") && strstr(f.error, "\"abandoned\":true"));
        talk(&f, NULL, CANCEL("1", ",\"reason\":\"deadline\""));
        talk(&f, V "\"id\":1,\"result\":1}", "");
        CHECK_EQ(f.n_replies, 1);
        tear_down(&f);
}

/* --- the end of the peer --- */

#define EXITED                                                                                              \
        V "\"method\":\"$/peer_exited\",\"params\":{\"path\":\"/a\",\"id\":\"1\",\"exit\":{\"signal\":9}}}"

static void peer_has_exited(void)
{
        Fixture f;

        /* On the connection itself, before its end. */
        set_up_caller(&f, true);
        CHECK_EQ(call(&f, NULL), 1);
        talk(&f, NULL, NULL);
        talk(&f, EXITED, "");
        CHECK_EQ(f.n_replies, 1);
        CHECK(strstr(f.error, "-32003") && strstr(f.error, "\"exit\":{\"signal\":9}"));
        CHECK_EQ(f.n_end, 0);
        tear_down(&f);

        /* Not told to those that are not to believe it. */
        set_up_caller(&f, false);
        CHECK_EQ(call(&f, NULL), 1);
        talk(&f, NULL, NULL);
        talk(&f, EXITED, "");
        CHECK_EQ(f.n_replies, 0);
        CHECK_STR(f.note, "$/peer_exited");
        tear_down(&f);
}

static void word_after_the_end(void)
{
        const CallOptions dialog = { .ctx = true };
        Fixture f;

        set_up_caller(&f, true);
        CHECK_EQ(call(&f, &dialog), 1);
        CHECK_EQ(call(&f, NULL), 3);
        talk(&f, V "\"method\":\"$/started\",\"params\":{\"id\":1,\"credit\":9}}", NULL);
        f.peer = safe_close(f.peer);
        run(&f);
        /* It waits, and whatever is done to it meanwhile finds that it is over. */
        CHECK_EQ(f.n_replies + f.n_end, 0);
        CHECK(!session_stream(f.session));
        CHECK_EQ(session_next(f.session, 1, number(1)), -EPIPE);
        CHECK_EQ(session_offer(f.session, 1, number(1)), -EPIPE);
        CHECK_EQ(session_stop(f.session, 1), -EPIPE);
        CHECK_EQ(session_took(f.session, 1, 0), -EPIPE);
        CHECK_EQ(session_cancel(f.session, 1, NULL), -ENOENT);
        CHECK_EQ(call(&f, NULL), -EPIPE);
        CHECK_EQ(session_notify(f.session, "x", NULL), -EPIPE);
        session_close(f.session);
        session_peer_exited(f.session, NULL);
        CHECK_EQ(f.n_replies, 2);
        CHECK_EQ(f.n_end, 1);
        CHECK(strstr(f.error, "-32003"));
        session_peer_exited(f.session, NULL);
        CHECK_EQ(f.n_end, 1);
        tear_down(&f);
}

static void no_word_after_the_end(void)
{
        Fixture f;

        set_up_caller(&f, true);
        CHECK_EQ(call(&f, NULL), 1);
        f.peer = safe_close(f.peer);
        while (f.n_end == 0)
                CHECK(sd_event_run(f.event, 10 * 1000 * 1000) > 0);
        CHECK_EQ(f.n_replies, 1);
        CHECK(strstr(f.error, "-32015"));
        tear_down(&f);

        /* Whose word it was is gone, before or after the end: then none is waited for. */
        for (unsigned i = 0; i < 2; i++) {
                set_up_caller(&f, true);
                CHECK_EQ(call(&f, NULL), 1);
                if (i == 0)
                        session_untold(f.session);
                f.peer = safe_close(f.peer);
                run(&f);
                CHECK_EQ(f.n_end, i == 0);
                if (i == 1)
                        session_untold(f.session);
                run(&f);
                CHECK_EQ(f.n_end, 1);
                CHECK_EQ(f.n_replies, 1);
                CHECK(strstr(f.error, "-32015"));
                tear_down(&f);
        }

        /* Nothing is open: there is nothing to wait for. */
        set_up_caller(&f, true);
        f.peer = safe_close(f.peer);
        run(&f);
        CHECK_EQ(f.n_end, 1);
        tear_down(&f);

        set_up_caller(&f, true);
        CHECK_EQ(call(&f, NULL), 1);
        CHECK_EQ(call(&f, NULL), 3);
        f.peer = safe_close(f.peer);
        f.free_in_reply = true;
        run(&f);
        session_peer_exited(f.session, NULL);
        CHECK_EQ(f.n_replies, 1);
        CHECK_EQ(f.n_end, 0);
        tear_down(&f);

        set_up_caller(&f, true);
        CHECK_EQ(call(&f, NULL), 1);
        f.peer = safe_close(f.peer);
        run(&f);
        tear_down(&f); /* freed while it waits */
        CHECK_EQ(f.n_replies + f.n_end, 0);
}

/* One call's on_cancel speaks to another, whose turn has not come. */
static Call *other;

static void speak_to_the_other(Call *c, void *userdata)
{
        Fixture *f = userdata;

        f->n_cancelled++;
        CHECK(!call_session(c) && !call_session(other));
        CHECK_EQ(call_next(other, number(1)), -EPIPE);
        CHECK_EQ(call_offer(other, number(1)), -EPIPE);
        CHECK_EQ(call_stop(other), -EPIPE);
        CHECK_EQ(call_took(other, 0), -EPIPE);
        CHECK_EQ(call_set_deadline(other, 1), -EPIPE);
        CHECK_EQ(call_credit(other), 0);
        call_fail(TAKE_PTR(other), -32004, NULL, "over");
        call_fail(c, -32800, NULL, "over");
}

static void ending_calls_meet(void)
{
        for (int freed = 0; freed < 2; freed++) {
                Fixture f;

                set_up(&f);
                talk(&f, CTX("1") "\n" CTX("3"), "");
                for (size_t i = 0; i < 2; i++)
                        CHECK_EQ(call_started(f.calls[i], NULL, NULL, NULL), 0);
                call_set_userdata(take_call(&f, 0), &f, speak_to_the_other);
                other = take_call(&f, 1);
                call_set_userdata(other, &f, NULL);
                if (freed)
                        f.session = session_free(f.session);
                else
                        f.peer = safe_close(f.peer);
                run(&f);
                CHECK_EQ(f.n_cancelled, 1);
                tear_down(&f);
        }
}

static void half_closed(void)
{
        Fixture f;

        set_up_caller(&f, false);
        CHECK_EQ(call(&f, NULL), 1);
        talk(&f, V "\"id\":2,\"method\":\"a\"}", NULL);
        CHECK(shutdown(f.peer, SHUT_WR) >= 0);
        run(&f);
        CHECK_EQ(f.n_replies, 1);
        CHECK(strstr(f.error, "-32015"));
        CHECK_EQ(call(&f, NULL), -EPIPE);
        CHECK_EQ(f.n_end, 0);
        CHECK_STR(session_handover_refused(f.session, f.calls[0]), "the connection is closing");
        call_reply(take_call(&f, 0), number(1), NULL, 0);
        talk(&f, NULL, V "\"id\":2,\"result\":1}");
        CHECK_EQ(f.n_end, 1);
        tear_down(&f);
}

/* --- the connection as a whole --- */

static size_t n_tell_credit;

static void on_tell_credit(Session *s, void *userdata)
{
        n_tell_credit++;
}

static void tells_are_counted(void)
{
        static const SessionVtable counting = { on_request, on_notification, on_end, on_hello,
                on_tell_credit };
        Fixture f;

        set_up(&f);
        for (int i = 0; i < 1000; i++) {
                talk(&f, TELL, ""); /* who said no hello is read as fast as it is served */
                CHECK_EQ(session_notify(f.session, "tell", NULL), 0);
                talk(&f, NULL, TELL);
        }
        tear_down(&f);

        set_up(&f);
        f.session = session_free(f.session);
        close(f.peer);
        {
                int pair[2];

                CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) >= 0);
                f.peer = pair[1];
                CHECK_EQ(session_new(f.event, pair[0], &(SessionOptions){ 0 }, &counting, &f, &f.session),
                                0);
        }
        talk(&f, HELLO, NULL);
        for (int i = 0; i < SESSION_TELLS; i++)
                CHECK_EQ(session_notify(f.session, "tell", NULL), 0);
        CHECK_EQ(session_notify(f.session, "tell", NULL), -EAGAIN);
        CHECK_EQ(session_notify(f.session, "$/status", NULL), 0); /* the protocol's own are not */
        talk(&f, NULL, NULL);
        n_tell_credit = 0;
        talk(&f, V "\"method\":\"$/credit\",\"params\":{\"id\":null,\"n\":2}}", "");
        CHECK_EQ(n_tell_credit, 1);
        talk(&f, V "\"method\":\"$/credit\",\"params\":{\"id\":null,\"n\":2}}", "");
        CHECK_EQ(n_tell_credit, 1);
        for (int i = 0; i < 4; i++)
                CHECK_EQ(session_notify(f.session, "tell", NULL), 0);
        CHECK_EQ(session_notify(f.session, "tell", NULL), -EAGAIN);
        talk(&f, V "\"method\":\"$/credit\",\"params\":{\"id\":null,\"n\":-1}}", NULL);
        CHECK(strstr(f.heard, "malformed frame"));
        tear_down(&f);

        set_up(&f);
        talk(&f, HELLO, NULL);
        for (int i = 1; i <= 2 * SESSION_TELLS; i++)
                talk(&f, TELL,
                                i % (SESSION_TELLS / 2) ? ""
                                                        : V "\"method\":\"$/"
                                                            "credit\",\"params\":{\"id\":null,\"n\":128}}");
        CHECK_EQ(f.n_notes, 2 * SESSION_TELLS);
        tear_down(&f);
}

static char *filler(size_t n)
{
        char *text = calloc(1, n + 1);

        CHECK(text);
        memset(text, 'x', n);
        return text;
}

static void names_are_bounded(void)
{
        _cleanup_free_ char *longest = filler(SESSION_NAME_MAX);
        _cleanup_free_ char *good = xasprintf(V "\"id\":\"%s\",\"method\":\"%s\"}", longest + 2, longest);
        _cleanup_free_ char *answer = xasprintf(V "\"id\":\"%s\",\"result\":null}", longest + 2);
        _cleanup_free_ char *id = xasprintf(V "\"id\":\"%s\",\"method\":\"m\"}", longest + 1);
        _cleanup_free_ char *method = xasprintf(V "\"id\":7,\"method\":\"x%s\"}", longest);
        Fixture f;

        set_up(&f);
        f.answer_at_once = true;
        talk(&f, good, answer);
        talk(&f, id, FAULT("an id is at most 256 bytes long"));
        talk(&f, method,
                        ERROR("7", "-32600", "InvalidRequest", "a method's name is at most 256 bytes long"));
        tear_down(&f);
}

/* The peer's hello says that it takes less than what waited for it. */
static void held_request_too_long(void)
{
        _cleanup_free_ char *text = filler(5000);
        Fixture f;

        for (int freed = 0; freed < 2; freed++) {
                set_up_as(&f, &(SessionOptions){ .connector = true, .hello = true });
                CHECK_EQ(session_call(f.session, "a", json_new_string(text, SIZE_MAX),
                                         &(CallOptions){ .key = "k" }, &reply_vtable, &f),
                                1);
                CHECK_EQ(call(&f, NULL), 3);
                CHECK_EQ(session_notify(f.session, "b", NULL), 0);
                talk(&f, NULL, NULL);
                f.free_in_reply = freed;
                talk(&f,
                                V "\"method\":\"$/hello\",\"params\":{\"protocol\":\"tractor/"
                                  "1\",\"max_line\":4096}}",
                                freed ? "" : V "\"id\":3,\"method\":\"s\"}\n" V "\"method\":\"b\"}");
                CHECK_EQ(f.n_replies, 1);
                CHECK(strstr(f.error, "-32011"));
                CHECK_EQ(f.n_end, 0);
                tear_down(&f);
        }
}

/* What waits for a hello that does not come ends at its deadline; the peer never hears of it. */
static void deadline_of_what_is_held(void)
{
        const CallOptions soon = { .deadline_ms = 5 };
        Fixture f;

        set_up_as(&f, &(SessionOptions){ .connector = true, .hello = true });
        CHECK_EQ(call(&f, &soon), 1);
        CHECK_EQ(call(&f, &(CallOptions){ .key = "k" }), 3);
        while (f.n_replies == 0)
                CHECK(sd_event_run(f.event, 10 * 1000 * 1000) > 0);
        CHECK(strstr(f.error, "-32007"));
        talk(&f, NULL, NULL);
        talk(&f, HELLO, V "\"id\":3,\"method\":\"s\",\"$\":{\"key\":\"k\"}}");
        CHECK_EQ(f.n_replies, 1);
        tear_down(&f);
}

/* It is said as a plain peer takes it, where that can be. */
static void given_up_hello(void)
{
        const CallOptions late = { .deadline_ms = 3600000 }, keyed = { .key = "k" };
        Fixture f;

        set_up_as(&f, &(SessionOptions){ .connector = true, .hello = true });
        CHECK_EQ(call(&f, &late), 1);
        CHECK_EQ(call(&f, NULL), 3);
        CHECK_EQ(session_notify(f.session, "tell", NULL), 0);
        CHECK_EQ(call(&f, &late), 5);
        CHECK_EQ(session_cancel(f.session, 5, NULL), 0);
        CHECK_EQ(f.n_replies, 0);
        talk(&f, NULL, NULL);
        session_give_up_hello(f.session);
        talk(&f, NULL, V "\"id\":1,\"method\":\"s\"}\n" V "\"id\":3,\"method\":\"s\"}\n" TELL);
        CHECK_EQ(f.n_replies, 1);
        CHECK(strstr(f.error, "-32800"));
        talk(&f, V "\"id\":1,\"result\":1}", "");
        CHECK_EQ(f.n_replies, 2);
        tear_down(&f);

        set_up_as(&f, &(SessionOptions){ .connector = true, .hello = true });
        CHECK_EQ(call(&f, &keyed), 1);
        f.free_in_reply = true;
        CHECK_EQ(call(&f, &late), 3);
        session_give_up_hello(f.session);
        CHECK(strstr(f.error, "-32010"));
        CHECK_EQ(f.n_replies, 1);
        tear_down(&f);
}

/* Descriptors of one message are not another's. */
static void descriptors_stay_with_their_message(void)
{
        Fixture f;

        set_up_caller(&f, true);
        CHECK_EQ(call(&f, NULL), 1);
        talk(&f, NULL, NULL);
        say_with_fds(&f, V "\"method\":\"$/peer_exited\",\"params\":{\"exit\":null},\"$\":{\"fds\":1}}", 1);
        run(&f);
        CHECK_EQ(f.n_replies, 1);
        CHECK(f.reply_fd < 0);
        tear_down(&f);
}

/* Open calls are counted over all connections of a user, and given back however they end. */
static void calls_of_one_user(void)
{
        Quota quota = { .calls_max = 3 };
        const SessionOptions o = { .quota = &quota };
        Fixture a, b;

        set_up_as(&a, &o);
        set_up_as(&b, &o);
        talk(&a, V "\"id\":1,\"method\":\"a\"}\n" CTX("3"), "");
        talk(&b, V "\"id\":1,\"method\":\"a\"}", "");
        CHECK_EQ(quota.calls, 3);
        talk(&b, V "\"id\":3,\"method\":\"a\"}",
                        ERROR("3", "-32011", "LimitExceeded", "too many open calls of this user"));
        call_reply(take_call(&a, 0), NULL, NULL, 0);
        CHECK_EQ(quota.calls, 2);
        talk(&b, V "\"id\":3,\"method\":\"a\"}", "");
        CHECK_EQ(quota.calls, 3);
        b.peer = safe_close(b.peer);
        run(&b);
        CHECK_EQ(quota.calls, 1);
        tear_down(&a);
        tear_down(&b);
        CHECK_EQ(quota.calls, 0);
        CHECK_EQ(quota.bytes, 0);
}

/* A connection that had another end before. */
static void taken_over(void)
{
        Json *hello = NULL;
        Fixture f;

        CHECK_EQ(json_pack(&hello, "{max_line:i}", 4096), 0);
        set_up_as(&f, &(SessionOptions){ .last_id = 7, .peer_hello = hello });
        json_unref(hello);
        CHECK(session_said_hello(f.session));
        CHECK_EQ(session_peer_max_line(f.session), 4096);
        CHECK_EQ(session_last_id(f.session), 7);
        talk(&f, CANCEL("7", ""), "");
        talk(&f, CTX("7"),
                        ERROR("7", "-32600", "InvalidRequest",
                                        "a dialog's id must be higher than those before"));
        talk(&f, CTX("8"),
                        ERROR("8", "-32600", "InvalidRequest", "a dialog's id is a number of its opener's"));
        talk(&f, CTX("9"), "");
        CHECK_STR(session_handover_refused(f.session, f.calls[0]), NULL);
        CHECK_EQ(call(&f, &(CallOptions){ .ctx = true }), 2);
        CHECK_STR(session_handover_refused(f.session, f.calls[0]),
                        "other calls are open on this connection");
        tear_down(&f);
}

TEST_MAIN({ "by_whom", by_whom }, { "cancel_masks_nothing", cancel_masks_nothing },
                { "deadline_of_the_peer", deadline_of_the_peer },
                { "deadline_ends_the_session", deadline_ends_the_session },
                { "deadline_of_ours", deadline_of_ours }, { "peer_has_exited", peer_has_exited },
                { "word_after_the_end", word_after_the_end },
                { "no_word_after_the_end", no_word_after_the_end },
                { "ending_calls_meet", ending_calls_meet }, { "half_closed", half_closed },
                { "tells_are_counted", tells_are_counted }, { "names_are_bounded", names_are_bounded },
                { "held_request_too_long", held_request_too_long },
                { "deadline_of_what_is_held", deadline_of_what_is_held },
                { "given_up_hello", given_up_hello },
                { "descriptors_stay_with_their_message", descriptors_stay_with_their_message },
                { "calls_of_one_user", calls_of_one_user }, { "taken_over", taken_over });
