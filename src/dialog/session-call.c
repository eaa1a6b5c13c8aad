/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/error.h"
#include "base/io.h"
#include "base/usec.h"
#include "dialog/session-internal.h"

/* Calls the peer makes: from its request to our response. */

static unsigned parity(int64_t id)
{
        return (unsigned) (id & 1);
}

static void count_calls(Session *s, int n)
{
        s->n_calls += (unsigned) n;
        if (s->quota)
                s->quota->calls += (size_t) n;
}

static Call *call_free(Call *c)
{
        Session *s = c->talk.session;

        if (s && !list_is_empty(&c->node)) {
                list_unlink(&c->node);
                if (c->key)
                        map_remove(&s->calls, c->key);
                else
                        map_remove_u64(&s->calls, (uint64_t) json_integer(c->talk.id));
                count_calls(s, -1);
                if (s->half_closed && s->n_calls == 0)
                        session_close(s);
        }
        talk_done(&c->talk);
        free(c->canceller);
        free(c->reason);
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
        c->talk.id = json_ref(m->id);
        c->deadline = USEC_INFINITY;
        dialog_init(&c->talk.dialog, DIALOG_CALLEE, !m->ctx, m->credit);
        r = m->ctx ? talk_init_flow(&c->talk, NULL, NULL, m->overrun) : 0;
        if (r >= 0)
                r = free_and_strdup(&c->method, m->method);
        if (r < 0)
                return r;
        if (json_type(m->id) == JSON_INTEGER) {
                r = map_put_u64(&s->calls, (uint64_t) json_integer(m->id), c);
        } else {
                const char *text = json_print(m->id, NULL);

                r = text ? free_and_strdup(&c->key, text) : -ENOMEM;
                if (r >= 0)
                        r = map_put(&s->calls, c->key, c);
        }
        if (r < 0)
                return r;
        c->talk.session = s;
        list_append(&s->call_list, &c->node);
        count_calls(s, 1);
        *ret = TAKE_PTR(c);
        return 0;
}

/* What keeps a request from being taken on; NULL when nothing does. */
static const char *refuse(const Session *s, const Message *m)
{
        int64_t id = json_integer(m->id);

        if (strlen(m->method) > SESSION_NAME_MAX)
                return "a method's name is at most 256 bytes long";
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
        const char *why = refuse(s, m);
        int64_t id = json_integer(m->id);
        Call *c = NULL;
        size_t n;
        int r;

        if (json_print(m->id, &n) && n > SESSION_NAME_MAX) {
                session_fault(s, NULL, ERROR_INVALID_REQUEST, "an id is at most 256 bytes long");
                return;
        }
        if (why) {
                session_fault(s, m->id, ERROR_INVALID_REQUEST, why);
                return;
        }
        if (s->n_calls >= SESSION_OPEN_MAX) {
                session_fault(s, m->id, ERROR_MAILBOX_FULL, "too many open calls on this connection");
                return;
        }
        if (s->quota && quota_exceeded(s->quota->calls + 1, s->quota->calls_max)) {
                session_fault(s, m->id, ERROR_LIMIT_EXCEEDED, "too many open calls of this user");
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
        if (m->has_deadline && m->deadline_ms <= 0) {
                c->expired = true;
                call_fail(c, ERROR_CANCELLED, NULL, "the deadline has passed");
                return;
        }
        if (m->has_deadline)
                r = call_set_deadline(c, m->deadline_ms);
        if (r < 0)
                call_fail(c, ERROR_INTERNAL, NULL, "out of memory");
        else
                s->vtable->on_request(s, c, m, s->userdata);
}

void session_tell_cancelled(Call *c)
{
        if (c->told)
                return;
        c->told = true;
        if (c->on_cancel)
                c->on_cancel(c, c->talk.userdata);
}

/* Who cancels is who sits at the other end; only of the supervisor it is believed that it speaks for another. Without
 * memory it stays untold. */
static void note_canceller(Call *c, const Json *params)
{
        Session *s = c->talk.session;
        const char *named = json_get_string(params, "canceller", NULL);

        (void) free_and_strdup(&c->canceller, s->trust_canceller && named ? named : s->peer_path);
        (void) free_and_strdup(&c->reason, json_get_string(params, "reason", NULL));
}

void session_got_call_frame(Call *c, DialogEvent event, const Message *m)
{
        if (event != DIALOG_GOT_CANCEL)
                return;
        note_canceller(c, m->params);
        session_tell_cancelled(c);
}

void session_detach_calls(Session *s)
{
        while (!list_is_empty(&s->call_list)) {
                Call *c = LIST_ENTRY(s->call_list.next, Call, node);

                list_unlink(&c->node);
                count_calls(s, -1);
                c->talk.session = NULL;
                (void) dialog_step(&c->talk.dialog, DIALOG_LOST, 0, NULL);
                session_tell_cancelled(c);
        }
        map_clear(&s->calls);
}

int64_t session_last_id(const Session *s)
{
        return s->seen[s->connector ? 0 : 1];
}

const char *session_handover_refused(Session *s, const Call *c)
{
        if (s->ended || s->half_closed)
                return "the connection is closing";
        if (s->n_calls > 1 || !list_is_empty(&s->pending_list) || c->talk.session != s)
                return "other calls are open on this connection";
        if (stream_has_input(s->stream))
                return "bytes followed the request";
        return stream_queued(s->stream) > 0 ? "earlier answers were not yet read" : NULL;
}

unsigned session_n_open(const Session *s)
{
        return s->n_calls;
}

Session *call_session(Call *c)
{
        return talk_session(&c->talk);
}

const char *call_method(Call *c)
{
        return c->method;
}

void *call_userdata(Call *c)
{
        return c->talk.userdata;
}

void call_set_userdata(Call *c, void *userdata, void (*on_cancel)(Call *c, void *userdata))
{
        c->talk.userdata = userdata;
        c->on_cancel = on_cancel;
}

int call_set_deadline(Call *c, int64_t ms)
{
        c->deadline = MIN(c->deadline, session_deadline(ms));
        return talk_session(&c->talk) ? session_arm_deadlines(c->talk.session, c->deadline) : -EPIPE;
}

uint64_t call_deadline(const Call *c)
{
        return c->deadline;
}

const char *call_canceller(const Call *c)
{
        return c->canceller;
}

const char *call_cancel_reason(const Call *c)
{
        return c->reason;
}

bool call_is_dialog(const Call *c)
{
        return !c->talk.dialog.plain;
}

uint64_t call_credit(const Call *c)
{
        return talk_session(&c->talk) ? (uint64_t) c->talk.dialog.out.credit : 0;
}

unsigned call_queued(const Call *c)
{
        bool open = talk_session(&c->talk) && c->talk.dialog.state == DIALOG_OPEN;

        return open && c->talk.flow ? c->talk.flow->n_queued : 0;
}

static int send_started(Call *c, Json *value)
{
        _cleanup_json_ Json *given = value;
        const Flow *f = c->talk.flow;
        Json *params = NULL;
        int r;

        if (!f)
                return -EPROTO;
        r = json_pack(&params, "{id:O, value:o, credit:I, overrun:s}", c->talk.id, TAKE_PTR(given),
                        f->credit, message_overrun_to_string(f->ours));
        return r < 0 ? r : talk_say(&c->talk, DIALOG_SEND_STARTED, f->credit, "$/started", params, NULL);
}

int call_started(Call *c, Json *value, const ItemVtable *items, const ItemOptions *options)
{
        Flow *f = c->talk.flow;

        if (!talk_session(&c->talk) || c->talk.dialog.state == DIALOG_CANCELLING) {
                json_unref(value);
                return -EPIPE;
        }
        if (f && items && !c->talk.dialog.started) {
                f->vtable = items;
                f->ours = options ? options->overrun : OVERRUN_WAIT;
                f->manual = options && options->manual;
                /* Who takes no items gives no credit. */
                if (items->on_next)
                        f->credit = items_credit(options);
        }
        return send_started(c, value);
}

int call_next(Call *c, Json *value)
{
        return talk_next(&c->talk, value, false);
}

int call_offer(Call *c, Json *value)
{
        return talk_next(&c->talk, value, true);
}

int call_next_fds(Call *c, Json *value, int *fds, size_t n_fds)
{
        return talk_next_fds(&c->talk, value, fds, n_fds);
}

int call_stop(Call *c)
{
        return talk_stop(&c->talk);
}

int call_took(Call *c, uint64_t n)
{
        return talk_took(&c->talk, n);
}

/* The response; `v` is consumed. */
static void send_response(Call *c, Json *v, int *fds, size_t n_fds)
{
        Session *s = c->talk.session;
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
                r = session_answer(s, v, fds, n_fds);
        if (r == -EMSGSIZE)
                session_fault(s, c->talk.id, ERROR_LIMIT_EXCEEDED,
                                "the reply is longer than the peer's max_line");
        else if (r == -EBADMSG)
                session_fault(s, c->talk.id, ERROR_INTERNAL, SESSION_UNFIT);
        else if (r < 0)
                session_broken(s, r);
}

/* --- detached --- */

int call_new_detached(const char *method, call_answer_t on_answer, void *userdata, Call **ret)
{
        _cleanup_(call_freep) Call *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        list_init(&c->node);
        c->deadline = USEC_INFINITY;
        dialog_init(&c->talk.dialog, DIALOG_CALLEE, true, 0);
        r = free_and_strdup(&c->method, method);
        if (r < 0)
                return r;
        c->on_answer = on_answer;
        c->asker = userdata;
        *ret = TAKE_PTR(c);
        return 0;
}

void call_cancel(Call *c, const char *canceller, const char *reason)
{
        (void) free_and_strdup(&c->canceller, canceller);
        (void) free_and_strdup(&c->reason, reason);
        session_tell_cancelled(c);
}

void call_abandon(Call *c)
{
        c->on_answer = NULL;
}

bool call_is_wanted(const Call *c)
{
        return talk_session(&c->talk) || c->on_answer;
}

static void answer_detached(Call *c, Json *result, Json *error, int *fds, size_t n_fds)
{
        if (c->on_answer)
                c->on_answer(result, error, fds, n_fds, c->asker);
        close_many(fds, n_fds);
}

const char session_overrun_text[] = "the stream's receiver could not keep up";

void call_reply(Call *call, Json *result, int *fds, size_t n_fds)
{
        _cleanup_(call_freep) Call *c = call;
        _cleanup_json_ Json *value = result;
        Json *v = NULL;
        int r = 0;

        assert(n_fds <= MESSAGE_FDS_MAX);
        if (!c->talk.session) {
                answer_detached(c, value, NULL, fds, n_fds);
                return;
        }
        if (c->talk.overran) {
                close_many(fds, n_fds);
                call_fail(TAKE_PTR(c), ERROR_OVERRUN, NULL, session_overrun_text);
                return;
        }
        if (!c->talk.dialog.plain && !c->talk.dialog.started)
                r = send_started(c, NULL);
        if (r >= 0)
                r = message_result(&v, c->talk.id, TAKE_PTR(value));
        if (r < 0) {
                close_many(fds, n_fds);
                session_broken(c->talk.session, r);
                return;
        }
        (void) dialog_step(&c->talk.dialog, DIALOG_SEND_RESULT, 0, NULL);
        send_response(c, v, fds, n_fds);
}

/* A cancellation says by whom, and is called what it was when it came of a deadline. Consumes `error`. */
static int finish_error(const Call *c, Json *error, Json **ret)
{
        _cleanup_json_ Json *given = error;
        Json *data = json_get(given, "data"), *by = NULL;
        int r = 0;

        if (c->talk.overran)
                return message_error_object(ret, ERROR_OVERRUN, NULL, session_overrun_text);
        if (json_get_integer(given, "code", 0) == ERROR_CANCELLED) {
                if (c->expired)
                        return message_error_object(
                                        ret, ERROR_DEADLINE_EXCEEDED, NULL, "the deadline has passed");
                if (c->canceller && json_type(data) == JSON_OBJECT && !json_has(data, "canceller")) {
                        r = json_pack(&by, "s", c->canceller);
                        if (r >= 0)
                                r = json_set(data, "canceller", by);
                }
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(given);
        return 0;
}

void call_fail_object(Call *call, Json *error)
{
        _cleanup_(call_freep) Call *c = call;
        Json *v = NULL, *told = NULL;
        int r;

        r = finish_error(c, error, &told);
        if (!c->talk.session) {
                answer_detached(c, NULL, told, NULL, 0);
                json_unref(told);
                return;
        }
        if (r >= 0)
                r = message_error(&v, c->talk.id, told);
        if (r < 0) {
                session_broken(c->talk.session, r);
                return;
        }
        (void) dialog_step(&c->talk.dialog, DIALOG_SEND_ERROR, 0, NULL);
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
        if (r < 0 && c->talk.session)
                session_broken(c->talk.session, r);
        if (r < 0) {
                answer_detached(c, NULL, NULL, NULL, 0);
                call_free(c);
        } else
                call_fail_object(c, error);
}
