/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/error.h"
#include "base/io.h"
#include "dialog/session-internal.h"

/* Frames: which conversation one belongs to, and whether it may come now. */

static int declare_fds(Json *v, size_t n_fds)
{
        Json *extra = NULL;
        int r = n_fds > 0 ? json_pack(&extra, "{fds:U}", (uint64_t) n_fds) : 0;

        return r >= 0 && extra ? json_set(v, "$", extra) : r;
}

int session_send_frame_fds(
                Session *s, const char *method, Json *params, int *fds, size_t n_fds, size_t *ret_n)
{
        _cleanup_json_ Json *v = NULL;
        const char *text = NULL;
        size_t n = 0;
        int r = message_notification(&v, method, params);

        if (r >= 0)
                r = s->ended ? -EPIPE : declare_fds(v, n_fds);
        if (r >= 0) {
                text = json_print_line(v, &n);
                r = !text ? -errno : n > s->peer_max_line ? -EMSGSIZE : 0;
        }
        if (r < 0) {
                close_many(fds, n_fds);
                return r;
        }
        if (ret_n)
                *ret_n = n;
        return (streq(method, "$/next") ? stream_send_unasked : stream_send_line)(
                        s->stream, text, n, fds, n_fds);
}

int session_send_frame(Session *s, const char *method, Json *params, size_t *ret_n)
{
        return session_send_frame_fds(s, method, params, NULL, 0, ret_n);
}

int talk_say(Talk *t, DialogEvent event, int64_t n, const char *method, Json *params, size_t *ret_n)
{
        _cleanup_json_ Json *given = params;
        Dialog next = t->dialog;
        int r;

        r = talk_session(t) ? dialog_step(&next, event, n, NULL) : -EPIPE;
        if (r >= 0)
                r = session_send_frame(t->session, method, TAKE_PTR(given), ret_n);
        if (r >= 0)
                t->dialog = next;
        return r;
}

/* The number a frame carries, if it is of a kind that does; false when it is out of bounds. */
static bool frame_number(DialogEvent event, const Json *params, int64_t *ret)
{
        static const char *const keys[_DIALOG_EVENT_MAX] = {
                [DIALOG_GOT_STARTED] = "credit", [DIALOG_GOT_CREDIT] = "n", [DIALOG_GOT_NEXT] = "lost"
        };
        const char *key = keys[event];

        *ret = 0;
        if (!key || !json_has(params, key))
                return event != DIALOG_GOT_CREDIT;
        *ret = json_get_integer(params, key, -1);
        return *ret >= 0 && (event == DIALOG_GOT_NEXT || *ret <= CREDIT_FRAME_MAX);
}

/* Late frames are dropped, those for what never was are faults. Of strings no record is kept. */
static bool was_open(const Session *s, const Json *id)
{
        int64_t i = json_integer(id);

        if (json_type(id) != JSON_INTEGER)
                return true;
        return i <= s->seen[i & 1] || (session_gives_out(s, i) && i > 0 && i < s->next_id);
}

static Call *find_call(Session *s, Json *id)
{
        const char *text;

        if (json_type(id) == JSON_INTEGER)
                return map_get_u64(&s->calls, (uint64_t) json_integer(id));
        text = json_print(id, NULL);
        return text ? map_get(&s->calls, text) : NULL;
}

/* Only its caller cancels a call, under any id it liked; the other frames belong to dialogs, whose numbers tell whose
 * they are. */
static void find_conversation(
                Session *s, DialogEvent event, Json *id, Call **ret_call, Pending **ret_pending)
{
        bool integer = json_type(id) == JSON_INTEGER,
             ours = integer && session_gives_out(s, json_integer(id));

        *ret_call = event == DIALOG_GOT_CANCEL || !ours ? find_call(s, id) : NULL;
        *ret_pending = ours && !*ret_call ? map_get_u64(&s->pending, (uint64_t) json_integer(id)) : NULL;
}

bool session_is_full(const Session *s)
{
        return stream_queued(s->stream) > stream_output_max(s->stream);
}

static void wake_teller(Session *s)
{
        if (!s->tells_starved || s->tells_left == 0 || session_is_full(s))
                return;
        s->tells_starved = false;
        if (s->vtable->on_tell_credit)
                s->vtable->on_tell_credit(s, s->userdata);
}

/* For the connection's tells. */
static void got_tell_credit(Session *s, int64_t n)
{
        s->tells_left = s->tells_left > DIALOG_CREDIT_MAX - n ? DIALOG_CREDIT_MAX : s->tells_left + n;
        wake_teller(s);
}

/* --- notifications of users' methods --- */

static void credit_tells(Session *s)
{
        Json *params = NULL;
        int r;

        if (s->tells_owed < SESSION_TELLS / 2)
                return;
        r = json_pack(&params, "{id:n, n:I}", s->tells_owed);
        if (r >= 0)
                r = session_send_frame(s, "$/credit", params, NULL);
        if (r < 0) {
                session_broken(s, r);
                return;
        }
        s->tells_in += s->tells_owed;
        s->tells_owed = 0;
}

void session_took_tells(Session *s, unsigned n)
{
        if (s->ended || !s->got_hello)
                return;
        s->tells_owed += n;
        credit_tells(s);
}

/* A notification for our owner. Users' methods are counted where the peer knows that they are. */
void session_got_tell(Session *s, const Message *m)
{
        bool counted = s->got_hello && !startswith(m->method, "$/");

        if (counted && s->tells_in == 0) {
                session_fault(s, NULL, ERROR_INVALID_REQUEST, "a notification without credit");
                return;
        }
        if (s->vtable->on_notification)
                s->vtable->on_notification(s, m, s->userdata);
        if (!counted || s->ended)
                return;
        s->tells_in--;
        if (!s->manual_tells)
                session_took_tells(s, 1);
}

/* --- frames --- */

static bool is_frame_id(const Json *id)
{
        return json_type(id) == JSON_INTEGER || json_type(id) == JSON_STRING || json_type(id) == JSON_DOUBLE;
}

/* Handing it on may have ended the talk. */
static void got_next(Talk *t, const Message *m)
{
        Json *id = json_get(m->params, "id");
        Session *s = t->session;
        Pending *p = NULL;
        Call *c = NULL;

        talk_got_next(t, m->params, s->n_line);
        if (!s->ended)
                find_conversation(s, DIALOG_GOT_NEXT, id, &c, &p);
        t = c ? &c->talk : p ? &p->talk : NULL;
        if (t && t->flow)
                (void) talk_took(t, t->flow->manual ? 0 : t->flow->in.untaken);
}

static void do_frame(Talk *t, Call *c, Pending *p, DialogEvent event, const Message *m)
{
        if (event == DIALOG_GOT_NEXT)
                got_next(t, m);
        else if (event == DIALOG_GOT_CREDIT) {
                flight_credit(&t->flow->out, (uint64_t) json_get_integer(m->params, "n", 0));
                talk_got_room(t);
        } else if (event == DIALOG_GOT_STOP) {
                if (t->flow->vtable && t->flow->vtable->on_stop)
                        t->flow->vtable->on_stop(t->userdata);
        } else if (c)
                session_got_call_frame(c, event, m);
        else
                session_got_pending_frame(p, event, m);
}

void session_got_frame(Session *s, DialogEvent event, const Message *m)
{
        Json *id = json_get(m->params, "id");
        bool tells = event == DIALOG_GOT_CREDIT && json_has(m->params, "id") && !id;
        const char *why = NULL;
        Pending *p;
        Call *c;
        Talk *t;
        int64_t n;

        if ((!tells && !is_frame_id(id)) || !frame_number(event, m->params, &n)) {
                session_fault(s, NULL, ERROR_INVALID_REQUEST, "malformed frame");
                return;
        }
        if (tells) {
                got_tell_credit(s, n);
                return;
        }
        find_conversation(s, event, id, &c, &p);
        if (!c && !p) {
                if (!was_open(s, id))
                        session_fault(s, NULL, ERROR_INVALID_REQUEST, "no call was ever open under this id");
                return;
        }
        t = c ? &c->talk : &p->talk;
        switch (dialog_step(&t->dialog, event, n, &why)) {
        case DIALOG_DO:
                do_frame(t, c, p, event, m);
                break;
        case DIALOG_FAULT:
                session_fault(s, NULL, ERROR_INVALID_REQUEST, why);
                break;
        case DIALOG_BREAK: /* only the opener's table has it */
                session_break_pending(p, why);
                break;
        default:
                break;
        }
}

/* --- room --- */

static bool is_starved(const Talk *t)
{
        return t->flow && t->flow->starved && t->flow->out.bytes < FLIGHT_BYTES_MAX;
}

static Talk *next_starved(Session *s)
{
        LIST_FOREACH(i, &s->call_list)
                if (is_starved(&LIST_ENTRY(i, Call, node)->talk))
                        return &LIST_ENTRY(i, Call, node)->talk;
        LIST_FOREACH(i, &s->pending_list)
                if (is_starved(&LIST_ENTRY(i, Pending, node)->talk))
                        return &LIST_ENTRY(i, Pending, node)->talk;
        return NULL;
}

/* Callbacks may end any call: look anew each time. One that is refused again has filled the connection. */
void session_wake_starved(Session *s)
{
        Talk *t;

        session_pin(s);
        while (!s->ended && !session_is_full(s) && (t = next_starved(s)))
                talk_got_room(t);
        if (!s->ended)
                wake_teller(s);
        session_unpin(s);
}
