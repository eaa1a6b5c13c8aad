/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/error.h"
#include "base/io.h"
#include "base/usec.h"
#include "dialog/session-internal.h"

/* Calls of ours: from our request to the peer's response. */

/* --- the end of a call --- */

static void pending_free(Pending *p)
{
        talk_done(&p->talk);
        free(p);
}

static void pending_take(Session *s, Pending *p)
{
        list_unlink(&p->node);
        list_unlink(&p->cancelled);
        map_remove_u64(&s->pending, (uint64_t) p->id);
}

/* Made with the first session, and kept. */
static Json *no_memory;

int session_prepare_no_memory(void)
{
        return no_memory ? 0 : message_error_object(&no_memory, ERROR_INTERNAL, NULL, "out of memory");
}

Json *session_no_memory(void)
{
        return json_ref(no_memory);
}

static void finish(Session *s, Pending *p, Json *result, Json *error, int *fds, size_t n_fds)
{
        const ReplyVtable *vtable = p->vtable;
        void *userdata = p->talk.userdata;

        pending_take(s, p);
        pending_free(p);
        if (vtable->on_reply)
                vtable->on_reply(result, error, fds, n_fds, userdata);
}

static void finish_with(Session *s, Pending *p, int code, Json *data, const char *why)
{
        _cleanup_json_ Json *error = NULL;

        /* It is our side that ended it, whatever came of that. */
        if (p->talk.overran) {
                code = ERROR_OVERRUN;
                why = session_overrun_text;
        }
        if (message_error_object(&error, code, data, "%s", why) < 0)
                error = session_no_memory();
        finish(s, p, NULL, error, NULL, 0);
}

void session_fail_pending(Session *s, Json *error)
{
        session_pin(s);
        while (!s->freed && !list_is_empty(&s->pending_list)) {
                Pending *p = LIST_ENTRY(s->pending_list.next, Pending, node);

                (void) dialog_step(&p->talk.dialog, DIALOG_LOST, 0, NULL);
                finish(s, p, NULL, error, NULL, 0);
        }
        session_unpin(s);
}

void session_untold(Session *s)
{
        s->exit_told = false;
        if (s->lingering)
                (void) sd_event_source_set_time(s->linger, 0);
}

/* --- cancelling --- */

static int arm_grace(Session *s);

static int on_grace(sd_event_source *source, uint64_t usec, void *userdata)
{
        Session *s = userdata;

        session_pin(s);
        while (!s->freed && !list_is_empty(&s->cancelled)) {
                Pending *p = LIST_ENTRY(s->cancelled.next, Pending, cancelled);
                Json *data = NULL;

                if (p->grace > now_usec(CLOCK_MONOTONIC))
                        break;
                (void) dialog_step(&p->talk.dialog, DIALOG_EXPIRED, 0, NULL);
                (void) json_pack(&data, "{abandoned:b, canceller:s?}", true, s->path);
                finish_with(s, p, ERROR_CANCELLED, data, "cancelled, and the peer did not end it in time");
        }
        if (!s->freed && arm_grace(s) < 0)
                session_broken(s, -ENOMEM);
        session_unpin(s);
        return 0;
}

/* For the first in line: all have the same time. */
static int arm_grace(Session *s)
{
        uint64_t at;
        int r;

        if (list_is_empty(&s->cancelled))
                return 0;
        at = LIST_ENTRY(s->cancelled.next, Pending, cancelled)->grace;
        if (!s->grace)
                return sd_event_add_time(
                                s->event, &s->grace, CLOCK_MONOTONIC, at, USEC_PER_MSEC, on_grace, s);
        r = sd_event_source_set_time(s->grace, at);
        return r < 0 ? r : sd_event_source_set_enabled(s->grace, SD_EVENT_ONESHOT);
}

static int send_cancel(Session *s, Pending *p, const char *reason)
{
        Json *params = NULL, *v = NULL;
        int r;

        if (!session_may_extend(s))
                return 0;
        r = json_pack(&params, "{id:I, reason:s?}", p->id, reason);
        if (r >= 0)
                r = message_notification(&v, "$/cancel", params);
        return r < 0 ? r : session_post(s, v, true);
}

int session_cancel(Session *s, int64_t id, const char *reason)
{
        Pending *p = map_get_u64(&s->pending, (uint64_t) id);
        int r;

        if (!p || s->ended)
                return -ENOENT;
        r = dialog_step(&p->talk.dialog, DIALOG_SEND_CANCEL, 0, NULL);
        if (r != DIALOG_DO)
                return MIN(r, 0);
        p->grace = usec_add(now_usec(CLOCK_MONOTONIC), SESSION_GRACE_MS * USEC_PER_MSEC);
        list_append(&s->cancelled, &p->cancelled);
        r = arm_grace(s);
        if (r >= 0)
                r = send_cancel(s, p, reason);
        if (r < 0 && r != -EPIPE)
                session_broken(s, r);
        return 0;
}

/* --- calling --- */

static bool needs_hello(const CallOptions *o)
{
        return o->ctx || o->key || o->if_id || o->deadline_ms > 0 || o->n_fds > 0;
}

static int optional_integer(Json **ret, int64_t value)
{
        return value > 0 ? json_pack(ret, "I", value) : 0;
}

static int build_extra(Json **ret, const CallOptions *o)
{
        _cleanup_json_ Json *credit = NULL, *deadline = NULL, *ctx = NULL, *fds = NULL;
        int r = 0;

        if (o->ctx)
                r = json_pack(&ctx, "b", true);
        if (r >= 0 && o->ctx)
                r = optional_integer(&credit, MIN(o->items.credit, CREDIT_FRAME_MAX));
        if (r >= 0)
                r = optional_integer(&deadline, o->deadline_ms);
        if (r >= 0)
                r = optional_integer(&fds, (int64_t) o->n_fds);
        if (r < 0)
                return r;
        return json_pack(ret, "{ctx:O?, credit:O?, overrun:s?, deadline_ms:O?, key:s?, if_id:s?, fds:O?}",
                        ctx, credit,
                        o->items.overrun == OVERRUN_WAIT ? NULL
                                                         : message_overrun_to_string(o->items.overrun),
                        deadline, o->key, o->if_id, fds);
}

static int build_request(Json **ret, int64_t id, const char *method, Json *params, const CallOptions *o)
{
        _cleanup_json_ Json *given = params, *v = NULL, *number = NULL;
        Json *extra = NULL;
        int r;

        r = json_pack(&number, "I", id);
        if (r >= 0)
                r = message_request(&v, number, method, TAKE_PTR(given));
        if (r >= 0 && needs_hello(o))
                r = build_extra(&extra, o);
        if (r >= 0 && extra)
                r = json_set(v, "$", extra);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(v);
        return 0;
}

static int pending_new(
                Session *s, const CallOptions *o, const ReplyVtable *vtable, void *userdata, Pending **ret)
{
        Pending *p = calloc(1, sizeof(*p));
        int r;

        if (!p)
                return -ENOMEM;
        *p = (Pending){ .id = s->next_id, .vtable = vtable, .deadline = USEC_INFINITY };
        p->talk.session = s;
        p->talk.userdata = userdata;
        list_init(&p->node);
        list_init(&p->cancelled);
        dialog_init(&p->talk.dialog, DIALOG_OPENER, !o->ctx, items_credit(&o->items));
        r = json_pack(&p->talk.id, "I", p->id);
        if (r >= 0 && o->ctx)
                r = talk_init_flow(&p->talk, &vtable->items, &o->items, OVERRUN_WAIT);
        if (r >= 0)
                r = map_put_u64(&s->pending, (uint64_t) p->id, p);
        if (r < 0) {
                pending_free(p);
                return r;
        }
        list_append(&s->pending_list, &p->node);
        s->next_id += 2;
        *ret = p;
        return 0;
}

static int set_deadline(Pending *p, int64_t ms)
{
        if (ms <= 0)
                return 0;
        p->deadline = session_deadline(ms);
        /* What waits for the hello is not with the peer, whose end of it would have to be awaited. */
        if (!p->talk.session->hello_due)
                p->deadline = usec_add(p->deadline, SESSION_GRACE_MS * USEC_PER_MSEC);
        return session_arm_deadlines(p->talk.session, p->deadline);
}

/* Consumes v and the descriptors. */
static int post_call(Session *s, Json *v, CallOptions *o)
{
        size_t n_fds = o->n_fds;

        o->n_fds = 0;
        return n_fds > 0 ? session_send(s, v, o->fds, n_fds) : session_post(s, v, needs_hello(o));
}

static int64_t call(Session *s, const char *method, Json *params, int64_t deadline_ms, CallOptions *o,
                const ReplyVtable *vtable, void *userdata)
{
        _cleanup_json_ Json *given = params;
        Json *v = NULL;
        Pending *p;
        int r;

        if (s->ended || s->half_closed)
                return -EPIPE;
        if (o->n_fds > 0 && !s->got_hello)
                return -EOPNOTSUPP;
        if (!session_may_extend(s)) {
                if (o->ctx || o->key || o->if_id)
                        return -EOPNOTSUPP;
                o->deadline_ms = 0;
        }
        r = build_request(&v, s->next_id, method, TAKE_PTR(given), o);
        if (r < 0)
                return r;
        r = pending_new(s, o, vtable, userdata, &p);
        if (r < 0) {
                json_unref(v);
                return r;
        }
        r = set_deadline(p, deadline_ms);
        if (r < 0)
                json_unref(v);
        else
                r = post_call(s, v, o);
        if (r < 0) {
                pending_take(s, p);
                pending_free(p);
                return r;
        }
        return p->id;
}

int64_t session_call(Session *s, const char *method, Json *params, const CallOptions *options,
                const ReplyVtable *vtable, void *userdata)
{
        CallOptions o = options ? *options : (CallOptions){ 0 };
        int64_t id = call(s, method, params, o.deadline_ms, &o, vtable, userdata);

        close_many(o.fds, o.n_fds);
        return id;
}

/* Whether the peer's taking of users' notifications is counted, and has come to its end, or the connection's room. */
static int check_tell(Session *s, const char *method, bool *ret_counted)
{
        bool ours = startswith(method, "$/");

        if (ours && !session_may_extend(s))
                return -EOPNOTSUPP;
        *ret_counted = !ours && session_may_extend(s);
        if (!*ret_counted || s->ended)
                return 0;
        s->tells_starved = s->tells_left == 0 || session_is_full(s);
        return s->tells_starved ? -EAGAIN : 0;
}

int session_notify(Session *s, const char *method, Json *params)
{
        _cleanup_json_ Json *given = params;
        bool counted = false;
        Json *v = NULL;
        int r;

        r = check_tell(s, method, &counted);
        if (r >= 0)
                r = message_notification(&v, method, TAKE_PTR(given));
        if (r >= 0)
                r = session_post(s, v, startswith(method, "$/"));
        if (r >= 0 && counted)
                s->tells_left--;
        return r;
}

int session_notify_fds(Session *s, const char *method, Json *params, int *fds, size_t n_fds)
{
        _cleanup_json_ Json *given = params;
        Json *v = NULL, *extra = NULL;
        bool counted = false;
        int r;

        r = s->got_hello ? check_tell(s, method, &counted) : -EOPNOTSUPP;
        if (r >= 0)
                r = message_notification(&v, method, TAKE_PTR(given));
        if (r >= 0)
                r = json_pack(&extra, "{fds:U}", (uint64_t) n_fds);
        if (r >= 0)
                r = json_set(v, "$", extra);
        if (r < 0) {
                json_unref(v);
                close_many(fds, n_fds);
                return r;
        }
        r = session_send(s, v, fds, n_fds);
        if (r >= 0 && counted)
                s->tells_left--;
        return r;
}

/* --- items --- */

static Talk *find_talk(Session *s, int64_t id)
{
        Pending *p = map_get_u64(&s->pending, (uint64_t) id);

        return p ? &p->talk : NULL;
}

static int next(Session *s, int64_t id, Json *value, bool offer)
{
        Talk *t = find_talk(s, id);
        int r;

        if (!t) {
                json_unref(value);
                return -ENOENT;
        }
        r = talk_next(t, value, offer);
        if (r == -ENOBUFS)
                (void) session_cancel(s, id, "overrun");
        return r;
}

int session_next(Session *s, int64_t id, Json *value)
{
        return next(s, id, value, false);
}

int session_offer(Session *s, int64_t id, Json *value)
{
        return next(s, id, value, true);
}

int session_next_fds(Session *s, int64_t id, Json *value, int *fds, size_t n_fds)
{
        Talk *t = find_talk(s, id);
        int r;

        if (!t) {
                json_unref(value);
                close_many(fds, n_fds);
                return -ENOENT;
        }
        r = talk_next_fds(t, value, fds, n_fds);
        if (r == -ENOBUFS)
                (void) session_cancel(s, id, "overrun");
        return r;
}

int session_stop(Session *s, int64_t id)
{
        Talk *t = find_talk(s, id);

        return t ? talk_stop(t) : -ENOENT;
}

int session_took(Session *s, int64_t id, uint64_t n)
{
        Talk *t = find_talk(s, id);

        return t ? talk_took(t, n) : -ENOENT;
}

/* --- what comes back --- */

/* An error under no id is about a line of ours that the peer could not read. Before its hello it means that it
 * does not speak as we do: what waits for the hello would wait for ever. */
static void got_nameless_error(Session *s, const Message *m)
{
        if (s->hello_due)
                session_fail_pending(s, m->error);
}

void session_got_response(Session *s, const Message *m)
{
        DialogEvent event = m->kind == MESSAGE_RESULT ? DIALOG_GOT_RESULT : DIALOG_GOT_ERROR;
        Pending *p = json_type(m->id) == JSON_INTEGER
                                     ? map_get_u64(&s->pending, (uint64_t) json_integer(m->id))
                                     : NULL;
        const char *why = NULL;

        if (!m->id) {
                got_nameless_error(s, m);
                return;
        }
        if (!p)
                return;
        switch (dialog_step(&p->talk.dialog, event, 0, &why)) {
        case DIALOG_DO:
                if (p->talk.overran)
                        finish_with(s, p, ERROR_OVERRUN, NULL, session_overrun_text);
                else
                        finish(s, p, m->result, m->error, s->fds, s->n_fds);
                break;
        case DIALOG_BREAK:
                finish_with(s, p, ERROR_INVALID_REQUEST, NULL, why);
                break;
        default:
                break;
        }
}

/* --- frames --- */

void session_got_pending_frame(Pending *p, DialogEvent event, const Message *m)
{
        MessageOverrun overrun = OVERRUN_WAIT;

        if (event != DIALOG_GOT_STARTED)
                return;
        (void) message_overrun_from_string(json_get_string(m->params, "overrun", "wait"), &overrun);
        p->talk.flow->theirs = overrun;
        if (p->vtable->on_started)
                p->vtable->on_started(json_get(m->params, "value"), p->talk.userdata);
}

void session_break_pending(Pending *p, const char *why)
{
        Session *s = p->talk.session;

        (void) send_cancel(s, p, why);
        finish_with(s, p, ERROR_INVALID_REQUEST, NULL, why);
}

static Pending *pending_of(Session *s, const Json *request)
{
        return map_get_u64(&s->pending, (uint64_t) json_get_integer(request, "id", 0));
}

bool session_is_cancelled(Session *s, const Json *request)
{
        const Pending *p = pending_of(s, request);

        return p && !list_is_empty(&p->cancelled);
}

void session_refuse_held(Session *s, const Json *request, int code, const char *why)
{
        bool cancelled = session_is_cancelled(s, request);
        Pending *p = pending_of(s, request);

        if (!p)
                return;
        (void) dialog_step(&p->talk.dialog, DIALOG_LOST, 0, NULL);
        finish_with(s, p, cancelled ? ERROR_CANCELLED : code, NULL,
                        cancelled ? "cancelled before it was sent" : why);
}

void session_expire_pending(Pending *p)
{
        Session *s = p->talk.session;
        Json *data = NULL;

        if (!session_drop_held(s, p->id)) {
                (void) send_cancel(s, p, "deadline");
                (void) json_pack(&data, "{abandoned:b}", true);
        }
        finish_with(s, p, ERROR_DEADLINE_EXCEEDED, data, "no answer within the deadline");
}
