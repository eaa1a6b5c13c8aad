/* SPDX-License-Identifier: Apache-2.0 */
#include "session-fixture.h"

/* The items of dialogs at both ends: credit, windows of bytes, what becomes of those for which there is no room. */

#define CTX(id, extra) V "\"id\":" id ",\"method\":\"s\",\"$\":{\"ctx\":true" extra "}}"
#define STARTED(id, credit, overrun)                                                                        \
        V "\"method\":\"$/started\",\"params\":{\"id\":" id ",\"value\":null,\"credit\":" credit            \
          ",\"overrun\":\"" overrun "\"}}"
#define NEXT(id, value) V "\"method\":\"$/next\",\"params\":{\"id\":" id ",\"value\":" value "}}"
#define CREDIT(id, n) V "\"method\":\"$/credit\",\"params\":{\"id\":" id ",\"n\":" n "}}"

static void on_next(Json *value, uint64_t lost, void *userdata)
{
        Fixture *f = userdata;

        f->n_items++;
        f->lost += lost;
        keep(&f->item, value);
        if (f->free_in_item)
                f->session = session_free(f->session);
}

static const ItemVtable items = { .on_next = on_next, .on_credit = on_credit };

static void on_reply(Json *result, Json *error, int *fds, size_t n_fds, void *userdata)
{
        Fixture *f = userdata;

        f->n_replies++;
        keep(&f->result, result);
        keep(&f->error, error);
}

static const ReplyVtable reply_vtable = { on_reply, NULL, { .on_next = on_next, .on_credit = on_credit } };

/* A dialog that the peer has opened, and that is started. */
static Call *serve(Fixture *f, const char *request, const ItemOptions *o)
{
        Call *c;

        talk(f, request, "");
        c = take_call(f, f->n_calls - 1);
        CHECK_EQ(call_started(c, NULL, o ? &items : NULL, o), 0);
        talk(f, NULL, NULL);
        return c;
}

/* One of ours, id 1. */
static void open_dialog(Fixture *f, ItemOptions o, const char *started)
{
        set_up_as(f, &(SessionOptions){ .connector = true, .hello = true });
        talk(f, HELLO, NULL);
        CHECK_EQ(session_call(f->session, "s", NULL, &(CallOptions){ .ctx = true, .items = o },
                                 &reply_vtable, f),
                        1);
        talk(f, NULL, NULL);
        if (started)
                talk(f, started, "");
}

static void waits(void)
{
        Fixture f;
        Call *c;

        set_up(&f);
        c = serve(&f, CTX("1", ",\"credit\":1"), NULL);
        CHECK_EQ(call_next(c, number(1)), 0);
        CHECK_EQ(call_next(c, number(2)), -EAGAIN); /* nothing is lost by that */
        talk(&f, NULL, NEXT("1", "1"));
        talk(&f, CREDIT("1", "2"), "");
        CHECK_EQ(call_next(c, number(2)), 0);
        CHECK_EQ(call_offer(c, number(3)), 0);
        CHECK_EQ(call_offer(c, number(4)), -EAGAIN);
        CHECK_EQ(call_offer(c, number(5)), -EAGAIN);
        talk(&f, CREDIT("1", "1"), NEXT("1", "2") "\n" NEXT("1", "3"));
        CHECK_EQ(call_next(c, number(6)), 0);
        talk(&f, NULL, NEXT("1", "6,\"lost\":2"));
        CHECK_EQ(call_stop(c), 0);
        CHECK_EQ(call_stop(c), -EALREADY);
        CHECK_EQ(call_next(c, number(7)), -EPIPE);
        talk(&f, NULL, V "\"method\":\"$/stop\",\"params\":{\"id\":1}}");
        call_reply(c, NULL, NULL, 0);
        tear_down(&f);
}

static void drops_the_oldest(void)
{
        Fixture f;
        Call *c;

        set_up(&f);
        c = serve(&f, CTX("1", ",\"credit\":1,\"overrun\":\"drop_oldest\""), NULL);
        for (int i = 1; i <= 70; i++)
                CHECK_EQ(i % 2 ? call_next(c, number(i)) : call_offer(c, number(i)), 0);
        talk(&f, NULL, NEXT("1", "1"));
        CHECK_EQ(call_stop(c), -EAGAIN); /* not before the items that wait */
        talk(&f, CREDIT("1", "2"), NEXT("1", "7,\"lost\":5") "\n" NEXT("1", "8"));
        CHECK_EQ(call_next(c, number(71)), 0);
        talk(&f, CREDIT("1", "100"), NULL);
        CHECK(startswith(f.heard, NEXT("1", "9") "\n"));
        CHECK(strstr(f.heard, NEXT("1", "71")));
        CHECK_EQ(call_stop(c), 0);
        talk(&f, NULL, V "\"method\":\"$/stop\",\"params\":{\"id\":1}}");
        call_reply(c, NULL, NULL, 0);
        tear_down(&f);

        /* Cancelled meanwhile, nobody takes them. */
        set_up(&f);
        c = serve(&f, CTX("1", ",\"credit\":0,\"overrun\":\"drop_oldest\""), NULL);
        CHECK_EQ(call_next(c, number(1)), 0);
        talk(&f, V "\"method\":\"$/cancel\",\"params\":{\"id\":1,\"lost\":\"unknown here\"}}", "");
        CHECK_EQ(f.n_cancelled, 1);
        CHECK_EQ(call_next(c, number(2)), -EPIPE);
        CHECK_EQ(call_stop(c), -EPIPE);
        call_reply(c, NULL, NULL, 0);
        talk(&f, NULL, V "\"id\":1,\"result\":null}");
        tear_down(&f);
}

static void tells_of_an_overrun(void)
{
        Fixture f;
        Call *c;

        set_up(&f);
        c = serve(&f, CTX("1", ",\"credit\":1,\"overrun\":\"error\""), NULL);
        CHECK_EQ(call_offer(c, number(1)), 0);
        CHECK_EQ(call_offer(c, number(2)), -ENOBUFS);
        CHECK_EQ(call_offer(c, number(3)), -EPIPE);
        talk(&f, NULL, NEXT("1", "1"));
        call_reply(c, number(1), NULL, 0);
        talk(&f, NULL, ERROR("1", "-32006", "Overrun", "the stream's receiver could not keep up"));
        tear_down(&f);

        open_dialog(&f, (ItemOptions){ 0 }, STARTED("1", "1", "error"));
        CHECK_EQ(session_next(f.session, 1, number(1)), 0);
        CHECK_EQ(session_next(f.session, 1, number(2)), -ENOBUFS);
        talk(&f, NULL,
                        NEXT("1", "1") "\n" V "\"method\":\"$/"
                                       "cancel\",\"params\":{\"id\":1,\"reason\":\"overrun\"}}");
        talk(&f, V "\"id\":1,\"result\":7}", "");
        CHECK(strstr(f.error, "-32006"));
        CHECK_EQ(session_next(f.session, 1, number(3)), -ENOENT);
        tear_down(&f);
}

/* Credit comes back by halves of the window, and when it is taken. */
static void credit_when_taken(void)
{
        Fixture f;
        Call *c;

        set_up(&f);
        c = serve(&f, CTX("1", ""), &(ItemOptions){ .credit = 4 });
        CHECK_STR(f.heard, STARTED("1", "4", "wait"));
        talk(&f, NEXT("1", "1"), "");
        talk(&f, NEXT("1", "2"), CREDIT("1", "2"));
        call_reply(c, NULL, NULL, 0);
        tear_down(&f);

        set_up(&f);
        c = serve(&f, CTX("1", ""),
                        &(ItemOptions){ .credit = 4, .manual = true, .overrun = OVERRUN_DROP_OLDEST });
        CHECK_STR(f.heard, STARTED("1", "4", "drop_oldest"));
        talk(&f, NEXT("1", "1") "\n" NEXT("1", "2") "\n" NEXT("1", "3") "\n" NEXT("1", "4"), "");
        CHECK_EQ(f.n_items, 4);
        talk(&f, NEXT("1", "5"), FAULT("$/next without credit"));
        CHECK_EQ(f.n_items, 4);
        CHECK_EQ(call_took(c, 1), 0);
        talk(&f, NULL, "");
        CHECK_EQ(call_took(c, 4), -EINVAL);
        CHECK_EQ(call_took(c, 1), 0);
        talk(&f, NULL, CREDIT("1", "2"));
        talk(&f, V "\"method\":\"$/stop\",\"params\":{\"id\":1}}", "");
        CHECK_EQ(call_took(c, 2), 0);
        talk(&f, NULL, ""); /* there is nothing left to be credited for */
        call_reply(c, NULL, NULL, 0);
        tear_down(&f);
}

/* Who gives no credit gets nothing, and says so by none. */
static void callee_takes_no_items(void)
{
        Fixture f;
        Call *c;

        set_up(&f);
        c = serve(&f, CTX("1", ""), NULL);
        CHECK_STR(f.heard, STARTED("1", "0", "wait"));
        talk(&f, NEXT("1", "1"), FAULT("$/next without credit"));
        call_reply(c, NULL, NULL, 0);
        tear_down(&f);
}

static void options_are_bounded(void)
{
        Fixture f;
        Call *c;

        set_up(&f);
        c = serve(&f, CTX("1", ""), &(ItemOptions){ .credit = INT64_MAX });
        CHECK_STR(f.heard, STARTED("1", "4294967295", "wait"));
        call_reply(c, NULL, NULL, 0);
        talk(&f, NULL, NULL);
        talk(&f, CTX("3", ",\"credit\":4294967296"),
                        ERROR("3", "-32600", "InvalidRequest", "$.credit is not a number of items"));
        talk(&f, CTX("3", ",\"overrun\":\"maybe\""),
                        ERROR("3", "-32600", "InvalidRequest",
                                        "$.overrun is none of wait, error, drop_oldest"));
        tear_down(&f);
        open_dialog(&f, (ItemOptions){ .credit = INT64_MAX }, NULL);
        talk(&f, STARTED("1", "4294967296", "wait"), FAULT("malformed frame"));
        tear_down(&f);
}

/* A value that the peer's line has no room for: the dialog is where it was. */
static void started_too_long(void)
{
        char text[5000];
        Fixture f;
        Call *c;

        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = 0;
        for (int fails = 0; fails < 2; fails++) {
                set_up(&f);
                talk(&f,
                                V "\"method\":\"$/hello\",\"params\":{\"protocol\":\"tractor/"
                                  "1\",\"max_line\":4096}}",
                                NULL);
                talk(&f, CTX("1", ""), "");
                c = take_call(&f, 0);
                CHECK_EQ(call_next(c, number(1)), -EPROTO);
                CHECK_EQ(call_started(c, json_new_string(text, SIZE_MAX), &items, NULL), -EMSGSIZE);
                CHECK_EQ(call_next(c, number(1)), -EPROTO);
                if (fails)
                        call_fail(c, -32603, NULL, "too long");
                else
                        call_reply(c, number(1), NULL, 0);
                talk(&f, NULL,
                                fails ? ERROR("1", "-32603", "InternalError", "too long")
                                      : STARTED("1", "64", "wait") "\n" V "\"id\":1,\"result\":1}");
                tear_down(&f);
        }
}

static char *filler(size_t n)
{
        char *text = malloc(n + 1);

        CHECK(text);
        memset(text, 'y', n);
        text[n] = 0;
        return text;
}

/* Bytes under way are a window, too: 4 MiB, whatever the credit. */
static void sender_keeps_to_bytes(void)
{
        _cleanup_free_ char *text = filler(600000);
        size_t n = 0;
        Fixture f;
        Call *c;

        set_up(&f);
        stream_set_output_max(session_stream(f.session), 64 << 20, STREAM_STALL_USEC_DEFAULT);
        c = serve(&f, CTX("1", ",\"credit\":1000"), NULL);
        call_set_userdata(c, &f, on_cancel);
        while (call_next(c, json_new_string(text, SIZE_MAX)) == 0)
                n++;
        CHECK_EQ(n, 7); /* the seventh began below 4 MiB */
        talk(&f, CREDIT("1", "1"), NULL);
        CHECK_EQ(call_next(c, json_new_string(text, SIZE_MAX)), 0);
        CHECK_EQ(call_next(c, json_new_string(text, SIZE_MAX)), -EAGAIN);
        call_reply(c, NULL, NULL, 0);
        while (stream_queued(session_stream(f.session)) > 0)
                talk(&f, NULL, NULL);
        tear_down(&f);
}

/* A receiver that takes nothing is sent at most that; a sender that goes on has its items dropped. */
static void receiver_keeps_to_bytes(void)
{
        _cleanup_free_ char *text = filler(600000), *line = xasprintf(NEXT("1", "\"%s\""), text);
        Fixture f;

        open_dialog(&f, (ItemOptions){ .credit = 1000, .manual = true }, STARTED("1", "0", "wait"));
        CHECK(fd_set_nonblock(f.peer, false) >= 0);
        for (int i = 0; i < 12; i++) {
                const char *p = line;
                size_t left = strlen(line);

                while (left > 0) {
                        size_t n = MIN(left, (size_t) 50000);

                        CHECK_EQ(write(f.peer, p, n), (ssize_t) n);
                        run(&f);
                        p += n;
                        left -= n;
                }
                CHECK_EQ(write(f.peer, "\n", 1), 1);
                run(&f);
        }
        CHECK(fd_set_nonblock(f.peer, true) >= 0);
        CHECK_EQ(f.n_items, 9); /* 4 MiB and a line of 1 MiB */
        talk(&f, NULL, NULL);
        CHECK(startswith(f.heard, FAULT("more bytes under way than a window holds") "\n"));
        CHECK_EQ(session_took(f.session, 1, 1), 0);
        talk(&f, NULL, CREDIT("1", "1"));
        CHECK_EQ(session_took(f.session, 1, 9), -EINVAL);
        tear_down(&f);
}

static void freed_by_an_item(void)
{
        Fixture f;

        open_dialog(&f, (ItemOptions){ .credit = 2 }, STARTED("1", "1", "wait"));
        f.free_in_item = true;
        talk(&f, NEXT("1", "1") "\n" NEXT("1", "2"), "");
        CHECK_EQ(f.n_items, 1);
        CHECK_EQ(f.n_replies, 0);
        tear_down(&f);
}

/* Items of one that fill the queue leave the connection alive and read, and the others wait for room. */
static void full_queue_is_still_read(void)
{
        _cleanup_free_ char *text = filler(1000);
        Call *a, *b;
        Fixture f;

        set_up(&f);
        stream_set_output_max(session_stream(f.session), 3000, STREAM_STALL_USEC_DEFAULT);
        a = serve(&f, CTX("1", ",\"credit\":1000000"), &(ItemOptions){ 0 });
        b = serve(&f, CTX("3", ",\"credit\":1000000"), &(ItemOptions){ 0 });
        while (call_next(a, json_new_string(text, SIZE_MAX)) == 0)
                ;
        CHECK_EQ(call_next(b, number(1)), -EAGAIN);
        CHECK_EQ(session_notify(f.session, "uncounted", NULL), 0);
        CHECK_EQ(write(f.peer, NEXT("1", "5") "\n", strlen(NEXT("1", "5")) + 1),
                        (ssize_t) strlen(NEXT("1", "5")) + 1);
        run(&f);
        CHECK_EQ(f.n_items, 1);
        CHECK_EQ(f.n_credit, 0);
        while (f.n_credit < 2)
                talk(&f, NULL, NULL);
        CHECK_EQ(call_next(b, number(1)), 0);
        call_reply(a, NULL, NULL, 0);
        call_reply(b, NULL, NULL, 0);
        tear_down(&f);
}

TEST_MAIN({ "waits", waits }, { "drops_the_oldest", drops_the_oldest },
                { "tells_of_an_overrun", tells_of_an_overrun }, { "credit_when_taken", credit_when_taken },
                { "callee_takes_no_items", callee_takes_no_items },
                { "options_are_bounded", options_are_bounded }, { "started_too_long", started_too_long },
                { "sender_keeps_to_bytes", sender_keeps_to_bytes },
                { "receiver_keeps_to_bytes", receiver_keeps_to_bytes },
                { "freed_by_an_item", freed_by_an_item },
                { "full_queue_is_still_read", full_queue_is_still_read });
