/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/usec.h"
#include "dialog/session-internal.h"
#include "wire/frame.h"

#define PROTOCOL "tractor/1"
/* Room for an error reply; a peer that takes less can't be spoken to. */
#define MAX_LINE_MIN 4096

void session_unpin(Session *s)
{
        if (--s->pins == 0 && s->freed)
                free(s);
}

static void forget(Session *s)
{
        s->grace = sd_event_source_disable_unref(s->grace);
        s->deadlines = sd_event_source_disable_unref(s->deadlines);
        s->linger = sd_event_source_disable_unref(s->linger);
        for (size_t i = 0; i < s->n_held; i++)
                json_unref(s->held[i]);
        s->n_held = 0;
        while (!list_is_empty(&s->pending_list)) {
                Pending *p = LIST_ENTRY(s->pending_list.next, Pending, node);

                list_unlink(&p->node);
                talk_done(&p->talk);
                free(p);
        }
        list_init(&s->cancelled);
        map_clear(&s->pending);
}

Session *session_free(Session *s)
{
        if (!s || s->freed)
                return NULL;
        session_pin(s);
        s->freed = s->ended = true;
        forget(s);
        session_detach_calls(s);
        map_clear(&s->calls);
        s->stream = stream_free(s->stream);
        sd_event_unref(s->event);
        free(s->held);
        free(s->name);
        free(s->path);
        free(s->id);
        free(s->peer_path);
        session_unpin(s);
        return NULL;
}

static void fail_lost(Session *s)
{
        _cleanup_json_ Json *error = NULL;

        if (message_error_object(&error, ERROR_CONNECTION_LOST, NULL, "the connection was lost") < 0)
                error = session_no_memory();
        session_fail_pending(s, error);
}

/* Nobody waits any more. */
static void conclude(Session *s)
{
        session_pin(s);
        s->lingering = false;
        s->linger = sd_event_source_disable_unref(s->linger);
        if (!s->freed)
                fail_lost(s);
        if (!s->freed)
                s->vtable->on_end(s, s->userdata);
        session_unpin(s);
}

static int on_linger(sd_event_source *source, uint64_t usec, void *userdata)
{
        conclude(userdata);
        return 0;
}

/* Whether the word about the peer's end is worth waiting for, and waited for. */
static bool linger(Session *s)
{
        if (!s->exit_told || list_is_empty(&s->pending_list))
                return false;
        s->lingering = sd_event_add_time_relative(s->event, &s->linger, CLOCK_MONOTONIC,
                                       SESSION_LINGER_MS * USEC_PER_MSEC, USEC_PER_MSEC, on_linger, s) >= 0;
        return s->lingering;
}

/* The stream is over, or is to be. */
static void end(Session *s)
{
        if (s->ended)
                return;
        session_pin(s);
        s->ended = true;
        stream_flush_and_free(TAKE_PTR(s->stream));
        session_detach_calls(s);
        if (!s->freed && !linger(s))
                conclude(s);
        session_unpin(s);
}

static void peer_died(Session *s, Json *exit, Json *backtrace, const char *message)
{
        _cleanup_json_ Json *error = NULL;
        Json *data = NULL;

        if (s->freed)
                return;
        (void) json_pack(&data, "{exit:O, backtrace:O?}", exit, backtrace);
        if (message_error_object(&error, ERROR_ACTOR_DIED, data, "the actor has died%s%s",
                            message ? ": " : "", message ?: "") < 0)
                error = session_no_memory();
        session_pin(s);
        session_fail_pending(s, error);
        if (!s->freed && s->lingering)
                conclude(s);
        session_unpin(s);
}

void session_peer_exited(Session *s, Json *exit)
{
        peer_died(s, exit, NULL, NULL);
}

void session_peer_told(Session *s, const Json *params)
{
        peer_died(s, json_get(params, "exit"), json_get(params, "backtrace"),
                        json_get_string(params, "message", NULL));
}

/* --- out --- */

static int send_as(Session *s, Json *v, int *fds, size_t n_fds, bool asked)
{
        _cleanup_json_ Json *envelope = v;
        const char *text;
        size_t n = 0;
        int r = 0;

        text = s->ended ? NULL : json_print_line(envelope, &n);
        if (s->ended)
                r = -EPIPE;
        else if (!text)
                r = -errno;
        else if (n > s->peer_max_line)
                r = -EMSGSIZE;
        if (r < 0) {
                close_many(fds, n_fds);
                return r;
        }
        return (asked ? stream_send_line : stream_send_unasked)(s->stream, text, n, fds, n_fds);
}

int session_answer(Session *s, Json *v, int *fds, size_t n_fds)
{
        return send_as(s, v, fds, n_fds, true);
}

int session_send(Session *s, Json *v, int *fds, size_t n_fds)
{
        return send_as(s, v, fds, n_fds, false);
}

bool session_may_extend(const Session *s)
{
        return s->got_hello || s->hello_due;
}

void session_broken(Session *s, int r)
{
        /* A peer that takes no more is read to its end, which comes by itself. What it would have refused to read is lost. */
        if (r != -EPIPE && r != -EBADMSG && s->stream)
                stream_fail(s->stream, -r);
}

static int send_error(Session *s, Json *id, int code, Json *data, const char *why)
{
        Json *error = NULL, *v = NULL;
        int r;

        r = message_error_object(&error, code, data, "%s", why);
        if (r >= 0)
                r = message_error(&v, id, error);
        if (r >= 0)
                r = session_answer(s, v, NULL, 0);
        return r;
}

void session_fault(Session *s, Json *id, int code, const char *why)
{
        int r = send_error(s, id, code, NULL, why);

        if (r < 0)
                session_broken(s, r);
}

void session_close(Session *s)
{
        if (s->stream)
                stream_finish(s->stream);
}

void session_read_out(Session *s)
{
        if (s->stream)
                stream_read_out(s->stream);
}

/* --- hello --- */

static int send_hello(Session *s)
{
        Json *params = NULL, *v = NULL;
        int r;

        s->sent_hello = true;
        r = json_pack(&params, "{protocol:s, name:s?, path:s?, id:s?, pid:i, max_line:U}", PROTOCOL, s->name,
                        s->path, s->id, (int) getpid(), (uint64_t) s->max_line);
        if (r >= 0)
                r = message_notification(&v, "$/hello", params);
        return r < 0 ? r : session_send(s, v, NULL, 0);
}

static void tell_room(Session *s)
{
        if (!s->ended && s->vtable->on_room)
                s->vtable->on_room(s, s->userdata);
}

/* Minor versions are additions. */
static bool speaks_our_major(const char *protocol)
{
        const char *rest = startswith(protocol, PROTOCOL);

        return rest && (*rest == 0 || *rest == '.');
}

static void refuse_version(Session *s)
{
        Json *data = NULL;
        int r = json_pack(&data, "{supported:[s]}", PROTOCOL);

        if (r >= 0)
                (void) send_error(s, NULL, ERROR_UNSUPPORTED, data, "unknown protocol version");
        end(s);
}

static void take_hello(Session *s, int64_t max_line)
{
        s->got_hello = true;
        s->peer_max_line = (size_t) MIN(max_line, (int64_t) FRAME_MAX_LINE_LIMIT);
}

static void got_hello(Session *s, const Message *m)
{
        const char *protocol = json_get_string(m->params, "protocol", NULL);
        int64_t max_line = json_get_integer(m->params, "max_line", FRAME_MAX_LINE_DEFAULT);
        int r = 0;

        if (!protocol || s->got_hello || max_line < MAX_LINE_MIN) {
                session_fault(s, NULL, ERROR_INVALID_REQUEST,
                                s->got_hello ? "$/hello came twice" : "malformed $/hello");
                return;
        }
        if (!speaks_our_major(protocol)) {
                refuse_version(s);
                return;
        }
        take_hello(s, max_line);
        if (!s->sent_hello)
                r = send_hello(s);
        if (r < 0)
                session_broken(s, r);
        if (s->hello_due) {
                session_release_held(s);
                if (session_is_flushed(s))
                        tell_room(s);
        }
        if (!s->freed && s->vtable->on_hello)
                s->vtable->on_hello(s, m, s->userdata);
}

/* --- in --- */

static const struct {
        const char *method;
        DialogEvent event;
} frames[] = {
        { "$/started", DIALOG_GOT_STARTED },
        { "$/next", DIALOG_GOT_NEXT },
        { "$/credit", DIALOG_GOT_CREDIT },
        { "$/stop", DIALOG_GOT_STOP },
        { "$/cancel", DIALOG_GOT_CANCEL },
};

static bool is_for_whole_actor(const Message *m)
{
        return streq(m->method, "$/cancel") && json_has(m->params, "id") && !json_get(m->params, "id");
}

static void got_notification(Session *s, const Message *m)
{
        if (startswith(m->method, "$/") && !is_for_whole_actor(m)) {
                if (streq(m->method, "$/hello")) {
                        got_hello(s, m);
                        return;
                }
                if (s->exit_told && streq(m->method, "$/peer_exited")) {
                        session_peer_told(s, m->params);
                        return;
                }
                for (size_t i = 0; i < ELEMENTSOF(frames); i++)
                        if (streq(m->method, frames[i].method)) {
                                session_got_frame(s, frames[i].event, m);
                                return;
                        }
        }
        session_got_tell(s, m);
}

static void dispatch(Session *s, const Message *m)
{
        switch (m->kind) {
        case MESSAGE_REQUEST:
                session_got_request(s, m);
                break;
        case MESSAGE_NOTIFICATION:
                got_notification(s, m);
                break;
        case MESSAGE_RESULT:
        case MESSAGE_ERROR:
                session_got_response(s, m);
                break;
        }
}

static void on_line(Stream *stream, char *line, size_t n, void *userdata)
{
        Session *s = userdata;
        MessageFault fault;
        const char *why = NULL;
        Message m = { 0 };
        int r;

        r = message_parse(line, n, &s->limits, &m, &fault, &why);
        if (r < 0) {
                session_broken(s, r);
                return;
        }
        session_pin(s);
        if (fault != MESSAGE_OK) {
                session_fault(s, m.id, fault == MESSAGE_FAULT_PARSE ? ERROR_PARSE : ERROR_INVALID_REQUEST,
                                why);
        } else if (stream_take_fds(stream, s->fds, m.n_fds) < 0) {
                session_fault(s, NULL, ERROR_INVALID_REQUEST, "fewer descriptors than declared");
                end(s);
        } else {
                s->n_fds = m.n_fds;
                s->n_line = n;
                dispatch(s, &m);
                close_many(s->fds, s->n_fds);
                s->n_fds = 0;
        }
        message_done(&m);
        session_unpin(s);
}

static void on_end(Stream *stream, StreamEnd why, int error, void *userdata)
{
        Session *s = userdata;

        if (why == STREAM_END_TOO_LONG)
                session_fault(s, NULL, ERROR_PARSE, "line too long");
        else if (why == STREAM_END_BAD_FDS)
                session_fault(s, NULL, ERROR_INVALID_REQUEST, "undeclared or too many descriptors");
        else if (why == STREAM_END_QUOTA)
                session_fault(s, NULL, ERROR_LIMIT_EXCEEDED,
                                "what this user's connections have under way is more than is kept for one");
        end(s);
}

static void on_drained(Stream *stream, void *userdata)
{
        Session *s = userdata;

        session_pin(s);
        session_wake_starved(s);
        tell_room(s);
        session_unpin(s);
}

static void on_written(Stream *stream, void *userdata)
{
        tell_room(userdata);
}

/* The usual shell client: it sends its requests, closes that half and waits. */
static bool on_half_closed(Stream *stream, void *userdata)
{
        Session *s = userdata;

        session_pin(s);
        s->half_closed = true;
        fail_lost(s);
        if (!s->freed && s->n_calls == 0)
                stream_finish(stream);
        session_unpin(s);
        return true;
}

static const StreamVtable stream_vtable = {
        .on_line = on_line,
        .on_end = on_end,
        .on_drained = on_drained,
        .on_written = on_written,
        .on_half_closed = on_half_closed,
};

/* --- owner's side --- */

static int copy_options(Session *s, const SessionOptions *o)
{
        s->limits = o->limits;
        s->max_line = MIN(o->max_line ?: FRAME_MAX_LINE_DEFAULT, FRAME_MAX_LINE_LIMIT);
        s->peer_max_line = FRAME_MAX_LINE_DEFAULT;
        s->connector = o->connector;
        s->next_id = o->connector ? 1 : 2;
        s->trust_canceller = o->trust_canceller;
        s->exit_told = o->exit_told;
        s->manual_tells = o->manual_tells;
        s->quota = o->quota;
        s->tells_left = s->tells_in = SESSION_TELLS;
        s->deadlines_at = USEC_INFINITY;
        s->seen[o->last_id & 1] = o->last_id;
        if (o->peer_hello) {
                s->sent_hello = true;
                take_hello(s, MAX(json_get_integer(o->peer_hello, "max_line", FRAME_MAX_LINE_DEFAULT),
                                              MAX_LINE_MIN));
        }
        if (free_and_strdup(&s->name, o->name) < 0 || free_and_strdup(&s->path, o->path) < 0 ||
                        free_and_strdup(&s->id, o->id) < 0 ||
                        free_and_strdup(&s->peer_path, o->peer_path) < 0)
                return -ENOMEM;
        return 0;
}

/* Consumes both descriptors. */
static int open_stream(Session *s, int fd, int output)
{
        int r = stream_new(s->event, fd, s->max_line, &stream_vtable, s, &s->stream);

        if (r >= 0 && output >= 0)
                return stream_set_output(s->stream, output);
        safe_close(output);
        return r;
}

int session_new(sd_event *event, int fd, const SessionOptions *options, const SessionVtable *vtable,
                void *userdata, Session **ret)
{
        _cleanup_(session_freep) Session *s = calloc(1, sizeof(*s));
        _cleanup_close_ int in = fd, out = options->has_output ? options->output : -EBADF;
        int r;

        if (!s)
                return -ENOMEM;
        s->event = sd_event_ref(event);
        s->vtable = vtable;
        s->userdata = userdata;
        list_init(&s->call_list);
        list_init(&s->pending_list);
        list_init(&s->cancelled);
        r = session_prepare_no_memory();
        if (r >= 0)
                r = copy_options(s, options);
        if (r >= 0)
                r = open_stream(s, TAKE_FD(in), TAKE_FD(out));
        if (r < 0)
                return r;
        stream_share(s->stream, options->quota, options->turns);
        stream_set_cork(s->stream, options->cork);
        if (options->connector && options->hello) {
                /* A peer that is gone already is told by on_end, as at any other time. */
                r = send_hello(s);
                if (r < 0 && r != -EPIPE)
                        return r;
                s->hello_due = true;
        }
        *ret = TAKE_PTR(s);
        return 0;
}

Stream *session_stream(Session *s)
{
        return s->stream;
}

void *session_userdata(Session *s)
{
        return s->userdata;
}

bool session_said_hello(const Session *s)
{
        return s->got_hello;
}

bool session_has_room(const Session *s)
{
        return s->ended || !session_is_full(s);
}

bool session_is_flushed(const Session *s)
{
        return s->ended || (s->n_held == 0 && stream_queued(s->stream) == 0);
}

size_t session_peer_max_line(const Session *s)
{
        return s->peer_max_line;
}

size_t session_n_fds(const Session *s)
{
        return s->n_fds;
}

int session_take_fds(Session *s, int *fds, size_t n)
{
        if (n > s->n_fds)
                return -EBADMSG;
        memcpy(fds, s->fds, n * sizeof(int));
        s->n_fds -= n;
        memmove(s->fds, s->fds + n, s->n_fds * sizeof(int));
        return 0;
}
