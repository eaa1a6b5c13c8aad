/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "dialog/session.h"

/* A hostile peer's bytes, to a session that serves anything and has calls and dialogs of its own open. The first byte says
 * how the session was made and how its owner behaves, the second in what pieces the rest comes. Whatever it is: each call
 * of ours ends once, items stay within what was credited, and nothing is left. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
        CONNECTOR = 1,
        HELLO_SAID = 2, /* by the peer, before the bytes */
        MANUAL = 4,
        ANSWERS = 8, /* at once; else at the end */
        FREES = 16,  /* the session, from within some callback */
        EXIT_TOLD = 32,
        SMALL = 64, /* room for output, and lines */
        CUT = 128,  /* the peer closes at the end, else it stays */
};

#define OURS 4

typedef struct Ours {
        struct Run *run;
        unsigned n_replies, n_started;
        uint64_t untaken;
        int64_t id;
        bool stopped;
} Ours;

typedef struct Run {
        sd_event *event;
        Session *session;
        unsigned how, n_callbacks;
        bool freed, ended;
        Call *held[SESSION_OPEN_MAX];
        size_t n_held;
        Ours ours[OURS];
} Run;

static void check(bool ok)
{
        if (!ok)
                abort();
}

static void called_back(Run *run)
{
        check(!run->freed);
        if ((run->how & FREES) && ++run->n_callbacks % 5 == 0) {
                run->freed = true;
                run->session = session_free(run->session);
        }
}

static Json *some_value(void)
{
        Json *v = NULL;

        check(json_pack(&v, "{a:[i,s,n]}", 1, "x") >= 0);
        return v;
}

/* --- serving --- */

static void call_got_next(Json *value, uint64_t lost, void *userdata)
{
        called_back(userdata);
}

static void call_got(void *userdata)
{
        called_back(userdata);
}

static const ItemVtable call_items = { call_got_next, call_got, call_got };

static void on_call_cancel(Call *c, void *userdata)
{
        Run *run = userdata;

        for (size_t i = 0; i < run->n_held; i++)
                if (run->held[i] == c) {
                        run->held[i] = run->held[--run->n_held];
                        call_fail(c, ERROR_CANCELLED, NULL, "cancelled");
                        return;
                }
        abort();
}

static void on_request(Session *s, Call *call, const Message *m, void *userdata)
{
        const ItemOptions o = { .credit = 4, .manual = (((Run *) userdata)->how & MANUAL) != 0 };
        Run *run = userdata;
        int fd;

        check(call_method(call) && *call_method(call));
        if (session_take_fds(s, &fd, 1) >= 0)
                safe_close(fd);
        call_set_userdata(call, run, on_call_cancel);
        if (call_is_dialog(call)) {
                check(call_started(call, some_value(), &call_items, &o) <= 0);
                for (int i = 0; i < 70; i++)
                        (void) (i % 2 ? call_next(call, some_value()) : call_offer(call, some_value()));
        }
        if (run->how & ANSWERS)
                call_reply(call, json_ref(m->params), NULL, 0);
        else {
                check(run->n_held < SESSION_OPEN_MAX);
                run->held[run->n_held++] = call;
        }
        called_back(run);
}

static void on_notification(Session *s, const Message *m, void *userdata)
{
        check(m->method && *m->method);
        called_back(userdata);
}

static void on_end(Session *s, void *userdata)
{
        Run *run = userdata;

        check(!run->ended && !session_stream(s));
        run->ended = true;
        for (size_t i = 0; i < OURS; i++)
                check(run->ours[i].id <= 0 || run->ours[i].n_replies == 1);
        called_back(run);
}

static const SessionVtable vtable = {
        .on_request = on_request, .on_notification = on_notification, .on_end = on_end
};

/* --- calling --- */

static void on_reply(Json *result, Json *error, int *fds, size_t n_fds, void *userdata)
{
        Ours *ours = userdata;

        check(++ours->n_replies == 1);
        check(!result || !error);
        called_back(ours->run);
}

static void on_started(Json *value, void *userdata)
{
        Ours *ours = userdata;

        check(++ours->n_started == 1 && ours->n_replies == 0);
        for (int i = 0; i < 3; i++)
                (void) session_offer(ours->run->session, ours->id, some_value());
        called_back(ours->run);
}

static void on_next(Json *value, uint64_t lost, void *userdata)
{
        Ours *ours = userdata;

        check(ours->n_started == 1 && ours->n_replies == 0 && !ours->stopped);
        if (ours->run->how & MANUAL)
                check(++ours->untaken <= 8);
        if (ours->untaken == 6) {
                check(session_took(ours->run->session, ours->id, 5) <= 0);
                ours->untaken = 1;
        }
        called_back(ours->run);
}

static void on_stop(void *userdata)
{
        Ours *ours = userdata;

        check(!ours->stopped && ours->n_replies == 0);
        ours->stopped = true;
        called_back(ours->run);
}

static void on_credit(void *userdata)
{
        Ours *ours = userdata;

        (void) session_next(ours->run->session, ours->id, some_value());
        called_back(ours->run);
}

static const ReplyVtable reply_vtable = { on_reply, on_started, { on_next, on_stop, on_credit } };

static void open_calls(Run *run)
{
        for (size_t i = 0; i < OURS; i++) {
                Ours *ours = &run->ours[i];
                const CallOptions o = { .ctx = i > 0,
                        .items = { .credit = 8, .manual = (run->how & MANUAL) != 0 } };

                ours->run = run;
                ours->id = session_call(run->session, "m", some_value(), &o, &reply_vtable, ours);
        }
        if (run->ours[OURS - 1].id > 0)
                (void) session_cancel(run->session, run->ours[OURS - 1].id, "enough");
}

/* --- the peer --- */

static void turn(Run *run, int peer)
{
        char heard[4096];

        while (sd_event_run(run->event, 0) > 0)
                if (peer >= 0)
                        while (read(peer, heard, sizeof(heard)) > 0)
                                ;
}

static void say(Run *run, int *peer, const uint8_t *data, size_t n, size_t piece)
{
        while (n > 0 && !run->freed && !run->ended) {
                size_t now = MIN(n, piece);
                ssize_t k = send(*peer, data, now, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (k < 0 && errno != EAGAIN)
                        break;
                data += MAX(k, 0);
                n -= (size_t) MAX(k, 0);
                turn(run, *peer);
        }
}

static void finish(Run *run, int peer)
{
        if (run->how & CUT)
                peer = safe_close(peer);
        turn(run, peer);
        if ((run->how & EXIT_TOLD) && !run->freed)
                session_peer_exited(run->session, NULL);
        while (run->n_held > 0)
                call_reply(run->held[--run->n_held], NULL, NULL, 0);
        turn(run, peer);
        safe_close(peer);
        run->session = session_free(run->session);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char hello[] = "{\"jsonrpc\":\"2.0\",\"method\":\"$/hello\",\"params\":{\"protocol\":"
                                    "\"tractor/1\"}}\n";
        Run *run;
        int pair[2];

        if (size < 2)
                return 0;
        run = calloc(1, sizeof(Run));
        check(run && sd_event_new(&run->event) >= 0);
        run->how = data[0];
        check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) >= 0);
        check(session_new(run->event, pair[0],
                              &(SessionOptions){ .connector = (run->how & CONNECTOR) != 0,
                                              .hello = (run->how & CONNECTOR) != 0,
                                              .exit_told = (run->how & EXIT_TOLD) != 0,
                                              .max_line = run->how & SMALL ? 300 : 0,
                                              .limits = { .max_values = 500 } },
                              &vtable, run, &run->session) >= 0);
        if (run->how & SMALL)
                stream_set_output_max(session_stream(run->session), 500, STREAM_STALL_USEC_DEFAULT);
        if (run->how & HELLO_SAID)
                say(run, &pair[1], (const uint8_t *) hello, sizeof(hello) - 1, SIZE_MAX);
        if (!run->freed && !run->ended)
                open_calls(run);
        say(run, &pair[1], data + 2, size - 2, data[1] ? (size_t) data[1] * data[1] : SIZE_MAX);
        finish(run, pair[1]);
        sd_event_unref(run->event);
        free(run);
        return 0;
}
