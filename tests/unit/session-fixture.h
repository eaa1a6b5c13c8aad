/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "dialog/session.h"
#include "test.h"

/* A session on one end of a socketpair. The test speaks for the peer, in lines; what it is to hear is written out in
 * full, because it is what other people's programs will see. */
typedef struct Fixture {
        sd_event *event;
        Session *session;
        int peer;
        char heard[1 << 16];
        Call *calls[SESSION_OPEN_MAX + 1];
        size_t n_calls, n_cancelled, n_credit, n_end, n_notes, n_hello;
        char *note;
        bool answer_at_once, free_in_request, free_in_cancel, fail_in_cancel, free_in_end;
        int took; /* a descriptor */
        /* calls of ours */
        size_t n_replies, n_started, n_items;
        uint64_t lost;
        char *result, *error, *item;
        bool free_in_reply, free_in_item;
        int reply_fd;
} Fixture;

#define V "{\"jsonrpc\":\"2.0\","

static inline void keep(char **slot, Json *v)
{
        CHECK_EQ(free_and_strdup(slot, json_print(v, NULL)), 0);
}

static inline void on_cancel(Call *c, void *userdata)
{
        Fixture *f = userdata;

        f->n_cancelled++;
        if (f->free_in_cancel)
                f->session = session_free(f->session);
        if (f->fail_in_cancel)
                call_fail(c, -32800, NULL, "cancelled");
}

static inline void on_credit(void *userdata)
{
        ((Fixture *) userdata)->n_credit++;
}

static const ItemVtable credit_items = { .on_credit = on_credit };

static inline void on_request(Session *s, Call *call, const Message *m, void *userdata)
{
        Fixture *f = userdata;

        CHECK(call_session(call) == s);
        CHECK_STR(call_method(call), m->method);
        call_set_userdata(call, f, on_cancel);
        CHECK(call_userdata(call) == f);
        if (m->n_fds > 0 && f->took < 0)
                CHECK_EQ(session_take_fds(s, &f->took, 1), 0);
        if (f->free_in_request)
                f->session = session_free(f->session);
        if (f->answer_at_once)
                call_reply(call, json_ref(m->params), NULL, 0);
        else
                f->calls[f->n_calls++] = call;
}

static inline void on_notification(Session *s, const Message *m, void *userdata)
{
        Fixture *f = userdata;

        f->n_notes++;
        CHECK_EQ(free_and_strdup(&f->note, m->method), 0);
}

static inline void on_end(Session *s, void *userdata)
{
        Fixture *f = userdata;

        f->n_end++;
        CHECK(!session_stream(s));
        if (f->free_in_end)
                f->session = session_free(f->session);
}

static inline void on_hello(Session *s, const Message *m, void *userdata)
{
        ((Fixture *) userdata)->n_hello++;
}

static const SessionVtable vtable = { on_request, on_notification, on_end, on_hello };

static inline void set_up_as(Fixture *f, const SessionOptions *options)
{
        int pair[2];

        memset(f, 0, sizeof(*f));
        f->took = f->reply_fd = -EBADF;
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) >= 0);
        f->peer = pair[1];
        CHECK(fd_set_nonblock(f->peer, true) >= 0);
        CHECK(sd_event_new(&f->event) >= 0);
        CHECK_EQ(session_new(f->event, pair[0], options, &vtable, f, &f->session), 0);
        CHECK(session_userdata(f->session) == f);
}

static inline void set_up(Fixture *f)
{
        set_up_as(f, &(SessionOptions){ .name = "test" });
}

static inline void tear_down(Fixture *f)
{
        f->session = session_free(f->session);
        for (size_t i = 0; i < f->n_calls; i++)
                if (f->calls[i]) {
                        CHECK(!call_session(f->calls[i]));
                        call_reply(f->calls[i], NULL, NULL, 0);
                }
        safe_close(f->peer);
        safe_close(f->took);
        safe_close(f->reply_fd);
        free(f->note);
        free(f->result);
        free(f->error);
        free(f->item);
        CHECK(sd_event_unref(f->event) == NULL);
}

static inline void run(Fixture *f)
{
        int r;

        do
                r = sd_event_run(f->event, 0);
        while (r > 0);
        CHECK(r >= 0);
}

/* Says a line (NULL: nothing) and compares all that is heard then. */
static inline void talk(Fixture *f, const char *line, const char *answer)
{
        size_t n = 0;
        ssize_t k;

        if (line) {
                _cleanup_free_ char *text = xasprintf("%s\n", line);

                CHECK_EQ(write(f->peer, text, strlen(text)), (ssize_t) strlen(text));
        }
        run(f);
        while ((k = read(f->peer, f->heard + n, sizeof(f->heard) - 1 - n)) > 0) {
                n += (size_t) k;
                run(f);
        }
        f->heard[n] = 0;
        if (n > 0 && f->heard[n - 1] == '\n')
                f->heard[n - 1] = 0;
        if (answer)
                CHECK_STR(f->heard, answer);
}

static inline Call *take_call(Fixture *f, size_t i)
{
        CHECK(i < f->n_calls && f->calls[i]);
        return TAKE_PTR(f->calls[i]);
}

static inline Json *number(int64_t n)
{
        Json *v = NULL;

        CHECK_EQ(json_pack(&v, "I", n), 0);
        return v;
}

#define ERROR(id, code, type, text)                                                                         \
        V "\"id\":" id ",\"error\":{\"code\":" code ",\"message\":\"" text "\",\"data\":{\"type\":\"" type  \
          "\"}}}"
#define FAULT(text) ERROR("null", "-32600", "InvalidRequest", text)
#define HELLO V "\"method\":\"$/hello\",\"params\":{\"protocol\":\"tractor/1\"}}"

static inline char *our_hello(const char *name)
{
        char *text = xasprintf(V "\"method\":\"$/hello\",\"params\":{\"protocol\":\"tractor/"
                                 "1\",\"name\":\"%s\",\"pid\":%d,"
                                 "\"max_line\":1048576}}",
                        name, (int) getpid());

        CHECK(text);
        return text;
}

static inline int new_fd(void)
{
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        CHECK(fd >= 0);
        return fd;
}

static inline void say_with_fds(Fixture *f, const char *line, size_t n)
{
        int fds[SCM_FDS_MAX];

        for (size_t i = 0; i < n; i++)
                fds[i] = new_fd();
        CHECK_EQ(send_fds(f->peer, line, strlen(line), fds, n, 0), (ssize_t) strlen(line));
        CHECK_EQ(write(f->peer, "\n", 1), 1);
        close_many(fds, n);
}

static inline size_t count_fds(void)
{
        size_t n = 0;

        for (int fd = 0; fd < 256; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}
