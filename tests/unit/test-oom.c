/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "dialog/session.h"
#include "failing-malloc.h"
#include "test.h"

/* Out of memory at every place: one conversation is had again and again, and in the nth run the nth allocation fails.
 * Whatever that breaks, every call is replied to or its connection ends, and nothing is left behind. */

typedef struct Run {
        sd_event *event;
        Session *server, *client;
        Call *held;
        int calls, replies, ends;
} Run;

static void serve_dialog(Call *c)
{
        (void) call_started(c, NULL, NULL, NULL);
        for (int i = 0; i < 3; i++) {
                Json *v = NULL;

                if (json_pack(&v, "{i:i, text:s, f:f}", i, "line\n\xff", 0.5) >= 0)
                        (void) call_offer(c, v);
        }
        call_reply(c, NULL, NULL, 0);
}

static void on_request(Session *s, Call *c, const Message *m, void *userdata)
{
        Run *run = userdata;

        if (call_is_dialog(c))
                serve_dialog(c);
        else if (streq(m->method, "hold"))
                run->held = c;
        else if (streq(m->method, "echo"))
                call_reply(c, json_ref(m->params), NULL, 0);
        else
                call_fail(c, -32004, NULL, "no %s", "such thing");
}

static void on_end(Session *s, void *userdata)
{
        ((Run *) userdata)->ends++;
}

static void on_reply(Json *result, Json *error, int *fds, size_t n_fds, void *userdata)
{
        ((Run *) userdata)->replies++;
}

static const SessionVtable vtable = { .on_request = on_request, .on_end = on_end };
static const ReplyVtable reply_vtable = { .on_reply = on_reply };

static int64_t call(Run *run, const char *method, const CallOptions *o)
{
        Json *params = NULL;
        int64_t id = -1;

        if (json_pack(&params, "{list:[s,i,f,b,n,{}], text:s}", "bad \xff", 1, 0.1, 1,
                            "a rather long text, \n\t so "
                            "that buffers have to grow while it is written into them, more than once") >= 0)
                id = session_call(run->client, method, params, o, &reply_vtable, run);
        run->calls += id > 0;
        return id;
}

static void turn(Run *run)
{
        int r;

        do
                r = sd_event_run(run->event, 0);
        while (r > 0);
}

static void converse(Run *run, int a, int b)
{
        const CallOptions dialog = { .ctx = true, .key = "k", .deadline_ms = 5 };
        int64_t held;

        if (session_new(run->event, a, &(SessionOptions){ .name = "server" }, &vtable, run, &run->server) <
                        0) {
                close(b);
                return;
        }
        if (session_new(run->event, b, &(SessionOptions){ .connector = true, .hello = true }, &vtable, run,
                            &run->client) < 0)
                return;
        (void) call(run, "echo", NULL);
        (void) call(run, "dialog", &dialog);
        (void) call(run, "fail", NULL);
        held = call(run, "hold", NULL);
        turn(run);
        if (held > 0)
                (void) session_cancel(run->client, held, "enough");
        turn(run);
        if (run->held)
                call_reply(TAKE_PTR(run->held), NULL, NULL, 0);
        turn(run);
}

/* Whether an allocation was there to fail. */
static bool fail_at(long n)
{
        long before = live;
        Run run = { 0 };
        bool failed;
        int pair[2];

        CHECK(sd_event_new(&run.event) >= 0);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) >= 0);
        countdown = n;
        converse(&run, pair[0], pair[1]);
        failed = countdown == 0;
        countdown = -1;
        if (run.replies != run.calls && run.ends == 0) {
                fprintf(stderr, "at %ld: %d replies to %d calls\n", n, run.replies, run.calls);
                abort();
        }
        if (!failed) {
                CHECK_EQ(run.calls, 4);
                CHECK_EQ(run.ends, 0);
        }
        session_free(run.client);
        session_free(run.server);
        if (run.held)
                call_reply(run.held, NULL, NULL, 0);
        sd_event_unref(run.event);
        if (live != before) {
                fprintf(stderr, "at %ld: %ld blocks left\n", n, live - before);
                abort();
        }
        return failed;
}

/* What is made with the first session is. */
static void keep(void)
{
        sd_event *event = NULL;
        Session *s = NULL;
        int pair[2];

        CHECK(sd_event_new(&event) >= 0);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) >= 0);
        CHECK_EQ(session_new(event, pair[0], &(SessionOptions){ 0 }, &vtable, NULL, &s), 0);
        session_free(s);
        close(pair[1]);
        sd_event_unref(event);
}

static void every_allocation(void)
{
        long n = 1;

        keep();
        (void) fail_at(LONG_MAX); /* what libraries keep for good they take now */
        while (fail_at(n))
                n++;
        fprintf(stderr, "%ld allocations\n", n - 1);
        CHECK(n > 100);
}

static void parsing(void)
{
        static const char text[] =
                        "{\"a\":[1,2.5,\"x\\n\",{\"b\":null}],\"a long key, longer than what is kept on the "
                        "stack for keys of the usual "
                        "size\":\"a\\u00e9\",\"n\":33333333333333333333333333333333333"
                        "333333333333333333333333333333333333.5,\"t\":[true,[],{},\"y\"]}";
        long before = live;
        int r;

        for (long n = 1;; n++) {
                Json *v = NULL;

                countdown = n;
                r = json_parse(text, sizeof(text) - 1, NULL, &v, NULL);
                if (r < 0)
                        CHECK_EQ(r, -ENOMEM);
                else if (!json_print(v, NULL))
                        r = -ENOMEM;
                CHECK(r < 0 || countdown > 0);
                countdown = -1;
                json_unref(v);
                CHECK_EQ(live, before);
                if (r >= 0)
                        break;
        }
}

/* --- dialogs, tells, deadlines, the end --- */

static int64_t dialog_id;

static void took_one(Json *value, uint64_t lost, void *userdata)
{
        Run *run = userdata;

        if (run->held)
                (void) call_took(run->held, 1);
}

static const ItemVtable up = { .on_next = took_one };

/* Two more than the opener takes: one waits in the queue, one is dropped from it or lost. */
static void serve_items(Session *s, Call *c, const Message *m, void *userdata)
{
        Run *run = userdata;

        if (!call_is_dialog(c)) {
                call_reply(c, json_ref(m->params), NULL, 0);
                return;
        }
        run->held = c;
        call_set_userdata(c, run, NULL);
        (void) call_started(c, NULL, &up, &(ItemOptions){ .credit = 2, .manual = true });
        for (int i = 0; i < 70; i++)
                (void) call_offer(c, json_new_string("item", SIZE_MAX));
}

static void item_came(Json *value, uint64_t lost, void *userdata)
{
        (void) session_took(((Run *) userdata)->client, dialog_id, 1);
}

static void dialog_started(Json *value, void *userdata)
{
        Run *run = userdata;

        for (int i = 0; i < 3; i++)
                (void) session_offer(run->client, dialog_id, json_new_string("item", SIZE_MAX));
}

static const SessionVtable items_vtable = { .on_request = serve_items, .on_end = on_end };
static const ReplyVtable dialog_vtable = { on_reply, dialog_started, { .on_next = item_came } };

static void say_line(int fd, const char *line)
{
        CHECK_EQ(write(fd, line, strlen(line)), (ssize_t) strlen(line));
}

/* Ids that are strings come of other people's clients alone. */
static void foreign_client(Run *run, int a, int b)
{
        Session *s = NULL;

        if (session_new(run->event, a, &(SessionOptions){ .peer_path = "/p" }, &items_vtable, run, &s) >=
                        0) {
                say_line(b, "{\"jsonrpc\":\"2.0\",\"id\":\"abc\",\"method\":\"x\",\"$\":{\"deadline_ms\":"
                            "1000}}\n");
                say_line(b, "{\"jsonrpc\":\"2.0\",\"method\":\"$/"
                            "cancel\",\"params\":{\"id\":\"abc\",\"reason\":\"r\"}}\n");
                turn(run);
        }
        session_free(s);
        run->ends = 0;
        close(b);
}

static void open_items(Run *run)
{
        const CallOptions o = { .ctx = true,
                .items = { .credit = 4, .manual = true, .overrun = OVERRUN_DROP_OLDEST },
                .deadline_ms = 100000 };

        dialog_id = session_call(run->client, "items", NULL, &o, &dialog_vtable, run);
        run->calls += dialog_id > 0;
        turn(run);
        for (int i = 0; i < 130; i++)
                (void) session_notify(run->client, "tell", NULL);
        turn(run);
        (void) session_stop(run->client, dialog_id);
        turn(run);
        if (run->held)
                (void) call_stop(run->held);
}

static void converse_in_items(Run *run, int a, int b)
{
        Quota quota = { .bytes_max = 1 << 20, .calls_max = 10 };
        const SessionOptions serving = { .name = "server", .quota = &quota },
                             calling = { .connector = true, .hello = true, .exit_told = true };
        int pair[2];

        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) >= 0);
        foreign_client(run, pair[0], pair[1]);
        if (session_new(run->event, a, &serving, &items_vtable, run, &run->server) < 0) {
                close(b);
                return;
        }
        if (session_new(run->event, b, &calling, &vtable, run, &run->client) >= 0) {
                open_items(run);
                (void) call(run, "echo", NULL);
                turn(run);
        }
        /* The server goes; its client waits for the word about how. */
        run->server = session_free(run->server);
        if (run->held)
                call_reply(TAKE_PTR(run->held), NULL, NULL, 0);
        CHECK_EQ(quota.calls + quota.bytes, 0);
        turn(run);
        if (run->client)
                session_peer_exited(run->client, NULL);
        turn(run);
}

static bool fail_items_at(long n)
{
        long before = live;
        Run run = { 0 };
        bool failed;
        int pair[2];

        CHECK(sd_event_new(&run.event) >= 0);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) >= 0);
        countdown = n;
        converse_in_items(&run, pair[0], pair[1]);
        failed = countdown == 0;
        countdown = -1;
        CHECK_EQ(run.replies, run.calls);
        if (!failed)
                CHECK_EQ(run.calls, 2);
        session_free(run.client);
        session_free(run.server);
        sd_event_unref(run.event);
        if (live != before) {
                fprintf(stderr, "at %ld: %ld blocks left\n", n, live - before);
                abort();
        }
        return failed;
}

static void every_allocation_of_items(void)
{
        long n = 1;

        keep();
        (void) fail_items_at(LONG_MAX);
        while (fail_items_at(n))
                n++;
        fprintf(stderr, "%ld allocations\n", n - 1);
        CHECK(n > 500);
}

static int told_code;

static void on_told(Json *result, Json *error, int *fds, size_t n_fds, void *userdata)
{
        CHECK(!result && error);
        told_code = (int) json_get_integer(error, "code", 0);
        ((Run *) userdata)->replies++;
}

/* A loss, a death, a cancel that nobody heard: never a result that is null. */
static void an_end_is_told_without_memory(void)
{
        static const ReplyVtable told = { .on_reply = on_told };

        for (int how = 0; how < 3; how++) {
                Run run = { 0 };
                int pair[2];
                int64_t id;

                CHECK(sd_event_new(&run.event) >= 0);
                CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) >= 0);
                CHECK_EQ(session_new(run.event, pair[0], &(SessionOptions){ .connector = true }, &vtable,
                                         &run, &run.client),
                                0);
                id = session_call(run.client, "hold", NULL, NULL, &told, &run);
                CHECK(id > 0);
                turn(&run);
                if (how == 1)
                        CHECK_EQ(session_cancel(run.client, id, NULL), 0);
                if (how == 0)
                        close(TAKE_FD(pair[1]));
                none = true;
                if (how == 2)
                        session_peer_exited(run.client, NULL);
                while (run.replies == 0)
                        (void) sd_event_run(run.event, UINT64_MAX);
                none = false;
                CHECK_EQ(told_code, -32603);
                session_free(run.client);
                safe_close(pair[1]);
                sd_event_unref(run.event);
        }
}

TEST_MAIN({ "every_allocation", every_allocation },
                { "every_allocation_of_items", every_allocation_of_items },
                { "an_end_is_told_without_memory", an_end_is_told_without_memory }, { "parsing", parsing });
