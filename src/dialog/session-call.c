/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/error.h"
#include "base/io.h"
#include "dialog/session-internal.h"

/* Calls the peer makes: from its request to our response. */

static unsigned parity(int64_t id)
{
        return (unsigned) (id & 1);
}

static Call *call_free(Call *c)
{
        Session *s = c->session;

        if (s && !list_is_empty(&c->node)) {
                list_unlink(&c->node);
                if (c->key)
                        map_remove(&s->calls, c->key);
                else
                        map_remove_u64(&s->calls, (uint64_t) json_integer(c->id));
                s->n_calls--;
                if (s->half_closed && s->n_calls == 0)
                        session_close(s);
        }
        json_unref(c->id);
        free(c->key);
        free(c->method);
        free(c);
        return NULL;
}
DEFINE_CLEANUP(Call *, call_free);

static int call_new(Session *s, const Message *m, Call **ret)
{
        _cleanup_(call_freep) Call *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        list_init(&c->node);
        c->id = json_ref(m->id);
        dialog_init(&c->dialog, DIALOG_CALLEE, !m->ctx, m->credit);
        r = free_and_strdup(&c->method, m->method);
        if (r < 0)
                return r;
        if (json_type(m->id) == JSON_INTEGER) {
                r = map_put_u64(&s->calls, (uint64_t) json_integer(m->id), c);
        } else {
                r = free_and_strdup(&c->key, json_print(m->id, NULL));
                if (r >= 0)
                        r = map_put(&s->calls, c->key, c);
        }
        if (r < 0)
                return r;
        c->session = s;
        list_append(&s->call_list, &c->node);
        s->n_calls++;
        *ret = TAKE_PTR(c);
        return 0;
}

/* What keeps a request from being taken on; NULL when nothing does. */
static const char *refuse_id(const Session *s, const Message *m)
{
        int64_t id = json_integer(m->id);

        if (!m->ctx)
                return NULL;
        if (json_type(m->id) != JSON_INTEGER || id <= 0 || session_gives_out(s, id))
                return "a dialog's id is a number of its opener's";
        if (id <= s->seen[parity(id)])
                return "a dialog's id must be higher than those before";
        return NULL;
}

void session_got_request(Session *s, const Message *m)
{
        const char *why = refuse_id(s, m);
        int64_t id = json_integer(m->id);
        Call *c = NULL;
        int r;

        if (why) {
                session_fault(s, m->id, ERROR_INVALID_REQUEST, why);
                return;
        }
        if (s->n_calls >= SESSION_OPEN_MAX) {
                session_fault(s, m->id, ERROR_MAILBOX_FULL, "too many open calls on this connection");
                return;
        }
        r = call_new(s, m, &c);
        if (r == -EEXIST) {
                /* Under its id the open call's reply is waited for. */
                session_fault(s, NULL, ERROR_INVALID_REQUEST, "a call with this id is open");
                return;
        }
        if (r < 0) {
                session_fault(s, m->id, ERROR_INTERNAL, "out of memory");
                return;
        }
        if (json_type(m->id) == JSON_INTEGER && id > s->seen[parity(id)])
                s->seen[parity(id)] = id;
        s->vtable->on_request(s, c, m, s->userdata);
}

void session_tell_cancelled(Call *c)
{
        if (c->told)
                return;
        c->told = true;
        if (c->on_cancel)
                c->on_cancel(c, c->userdata);
}

void session_detach_calls(Session *s)
{
        while (!list_is_empty(&s->call_list)) {
                Call *c = LIST_ENTRY(s->call_list.next, Call, node);

                list_unlink(&c->node);
                c->session = NULL;
                (void) dialog_step(&c->dialog, DIALOG_LOST, 0, NULL);
                session_tell_cancelled(c);
        }
        map_clear(&s->calls);
        s->n_calls = 0;
}

static Call *next_starved(Session *s)
{
        LIST_FOREACH(i, &s->call_list) {
                Call *c = LIST_ENTRY(i, Call, node);

                if (c->starved)
                        return c;
        }
        return NULL;
}

/* Callbacks may end any call: look anew each time. */
void session_wake_starved(Session *s)
{
        Call *c;

        session_pin(s);
        while ((c = next_starved(s))) {
                c->starved = false;
                if (c->on_credit)
                        c->on_credit(c, c->userdata);
        }
        session_unpin(s);
}

Session *call_session(Call *c)
{
        return c->session;
}

const char *call_method(Call *c)
{
        return c->method;
}

void *call_userdata(Call *c)
{
        return c->userdata;
}

void call_set_userdata(Call *c, void *userdata, void (*on_cancel)(Call *c, void *userdata))
{
        c->userdata = userdata;
        c->on_cancel = on_cancel;
}

bool call_is_dialog(const Call *c)
{
        return !c->dialog.plain;
}

uint64_t call_credit(const Call *c)
{
        return c->session ? (uint64_t) c->dialog.out.credit : 0;
}

/* The opener sends nothing up yet: nobody here would take it, so no credit is given. */
static int send_started(Call *c, Json *value)
{
        _cleanup_json_ Json *given = value;
        Json *params = NULL;
        int r;

        r = dialog_step(&c->dialog, DIALOG_SEND_STARTED, 0, NULL);
        if (r < 0)
                return r;
        r = json_pack(&params, "{id:O, value:o, credit:i, overrun:s}", c->id, TAKE_PTR(given), 0, "wait");
        return r < 0 ? r : session_send_frame(c->session, "$/started", params);
}

int call_started(Call *c, Json *value, void (*on_credit)(Call *c, void *userdata))
{
        int r;

        if (!c->session || c->dialog.state == DIALOG_CANCELLING) {
                json_unref(value);
                return -EPIPE;
        }
        r = send_started(c, value);
        if (r >= 0)
                c->on_credit = on_credit;
        return r;
}

int call_next(Call *c, Json *value)
{
        _cleanup_json_ Json *item = value;
        Json *params = NULL, *lost_count = NULL;
        Session *s = c->session;
        uint64_t lost;
        int r;

        if (!s)
                return -EPIPE;
        if (c->dialog.state == DIALOG_OPEN && stream_queued(s->stream) > stream_output_max(s->stream)) {
                dialog_not_sent(&c->dialog, false, 0);
                c->starved = true;
                return -EAGAIN;
        }
        r = dialog_step(&c->dialog, DIALOG_SEND_NEXT, 0, NULL);
        if (r < 0)
                return r;
        lost = dialog_take_lost(&c->dialog);
        if (lost > 0)
                r = json_pack(&lost_count, "U", lost);
        if (r >= 0)
                r = json_pack(&params, "{id:O, value:o, lost:o?}", c->id, TAKE_PTR(item), lost_count);
        if (r >= 0)
                r = session_send_frame(s, "$/next", params);
        if (r < 0)
                dialog_not_sent(&c->dialog, true, lost);
        return r < 0 ? r : 0;
}

/* The response; `v` is consumed. */
static void send_response(Call *c, Json *v, int *fds, size_t n_fds)
{
        Session *s = c->session;
        Json *extra = NULL;
        int r = 0;

        if (n_fds > 0) {
                r = json_pack(&extra, "{fds:U}", (uint64_t) n_fds);
                if (r >= 0)
                        r = json_set(v, "$", extra);
        }
        if (r < 0) {
                json_unref(v);
                close_many(fds, n_fds);
        } else
                r = session_send(s, v, fds, n_fds);
        if (r == -EMSGSIZE)
                session_fault(s, c->id, ERROR_LIMIT_EXCEEDED,
                                "the reply is longer than the peer's max_line");
        else if (r < 0)
                session_broken(s, r);
}

void call_reply(Call *call, Json *result, int *fds, size_t n_fds)
{
        _cleanup_(call_freep) Call *c = call;
        _cleanup_json_ Json *value = result;
        Json *v = NULL;
        int r = 0;

        assert(n_fds <= MESSAGE_FDS_MAX);
        if (!c->session) {
                close_many(fds, n_fds);
                return;
        }
        if (!c->dialog.plain && !c->dialog.started)
                r = send_started(c, NULL);
        if (r >= 0)
                r = message_result(&v, c->id, TAKE_PTR(value));
        if (r < 0) {
                close_many(fds, n_fds);
                session_broken(c->session, r);
                return;
        }
        (void) dialog_step(&c->dialog, DIALOG_SEND_RESULT, 0, NULL);
        send_response(c, v, fds, n_fds);
}

void call_fail_object(Call *call, Json *error)
{
        _cleanup_(call_freep) Call *c = call;
        Json *v = NULL;
        int r;

        if (!c->session) {
                json_unref(error);
                return;
        }
        r = message_error(&v, c->id, error);
        if (r < 0) {
                session_broken(c->session, r);
                return;
        }
        (void) dialog_step(&c->dialog, DIALOG_SEND_ERROR, 0, NULL);
        send_response(c, v, NULL, 0);
}

void call_fail(Call *c, int code, Json *data, const char *format, ...)
{
        _cleanup_free_ char *text = NULL;
        Json *error = NULL;
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(&text, format, ap);
        va_end(ap);
        if (r < 0)
                text = NULL;
        r = message_error_object(&error, code, data, "%s", text ?: "out of memory");
        if (r < 0 && c->session)
                session_broken(c->session, r);
        if (r < 0)
                call_free(c);
        else
                call_fail_object(c, error);
}
