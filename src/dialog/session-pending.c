/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/error.h"
#include "base/io.h"
#include "base/usec.h"
#include "dialog/session-internal.h"

/* Calls of ours: from our request to the peer's response; and the frames in between, of either side's calls. */

#define CREDIT_FRAME_MAX ((int64_t) UINT32_MAX)

int session_send_frame(Session *s, const char *method, Json *params)
{
        Json *v = NULL;
        int r = message_notification(&v, method, params);

        return r < 0 ? r : session_send(s, v, NULL, 0);
}

/* --- the end of a call --- */

static void pending_take(Session *s, Pending *p)
{
        list_unlink(&p->node);
        list_unlink(&p->cancelled);
        map_remove_u64(&s->pending, (uint64_t) p->id);
}

static void finish(Session *s, Pending *p, Json *result, Json *error)
{
        const ReplyVtable *vtable = p->vtable;
        void *userdata = p->userdata;

        pending_take(s, p);
        free(p);
        if (vtable->on_reply)
                vtable->on_reply(result, error, s->fds, s->n_fds, userdata);
}

static void finish_with(Session *s, Pending *p, int code, Json *data, const char *why)
{
        _cleanup_json_ Json *error = NULL;

        /* Out of memory: the end is told all the same, by an error that is null. */
        (void) message_error_object(&error, code, data, "%s", why);
        finish(s, p, NULL, error);
}

void session_fail_pending(Session *s, Json *error)
{
        session_pin(s);
        while (!s->freed && !list_is_empty(&s->pending_list)) {
                Pending *p = LIST_ENTRY(s->pending_list.next, Pending, node);

                (void) dialog_step(&p->dialog, DIALOG_LOST, 0, NULL);
                finish(s, p, NULL, error);
        }
        session_unpin(s);
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

                if (p->deadline > now_usec(CLOCK_MONOTONIC))
                        break;
                (void) dialog_step(&p->dialog, DIALOG_EXPIRED, 0, NULL);
                (void) json_pack(&data, "{abandoned:b}", true);
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
        at = LIST_ENTRY(s->cancelled.next, Pending, cancelled)->deadline;
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
        r = dialog_step(&p->dialog, DIALOG_SEND_CANCEL, 0, NULL);
        if (r != DIALOG_DO)
                return MIN(r, 0);
        p->deadline = usec_add(now_usec(CLOCK_MONOTONIC), SESSION_GRACE_MS * USEC_PER_MSEC);
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
        return o->ctx || o->key || o->if_id || o->deadline_ms > 0;
}

static int optional_integer(Json **ret, int64_t value)
{
        return value > 0 ? json_pack(ret, "I", value) : 0;
}

static int build_extra(Json **ret, const CallOptions *o)
{
        _cleanup_json_ Json *credit = NULL, *deadline = NULL, *ctx = NULL;
        int r = 0;

        if (o->ctx)
                r = json_pack(&ctx, "b", true);
        if (r >= 0 && o->ctx)
                r = optional_integer(&credit, o->credit);
        if (r >= 0)
                r = optional_integer(&deadline, o->deadline_ms);
        if (r < 0)
                return r;
        return json_pack(ret, "{ctx:O?, credit:O?, deadline_ms:O?, key:s?, if_id:s?}", ctx, credit, deadline,
                        o->key, o->if_id);
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
        *p = (Pending){ .id = s->next_id, .vtable = vtable, .userdata = userdata };
        list_init(&p->node);
        list_init(&p->cancelled);
        dialog_init(&p->dialog, DIALOG_OPENER, !o->ctx, o->credit > 0 ? o->credit : -1);
        r = map_put_u64(&s->pending, (uint64_t) p->id, p);
        if (r < 0) {
                free(p);
                return r;
        }
        list_append(&s->pending_list, &p->node);
        s->next_id += 2;
        *ret = p;
        return 0;
}

int64_t session_call(Session *s, const char *method, Json *params, const CallOptions *options,
                const ReplyVtable *vtable, void *userdata)
{
        _cleanup_json_ Json *given = params;
        CallOptions o = options ? *options : (CallOptions){ 0 };
        Json *v = NULL;
        Pending *p;
        int r;

        if (s->ended || s->half_closed)
                return -EPIPE;
        if (!session_may_extend(s)) {
                if (o.ctx || o.key || o.if_id)
                        return -EOPNOTSUPP;
                o.deadline_ms = 0;
        }
        r = build_request(&v, s->next_id, method, TAKE_PTR(given), &o);
        if (r < 0)
                return r;
        r = pending_new(s, &o, vtable, userdata, &p);
        if (r < 0) {
                json_unref(v);
                return r;
        }
        r = session_post(s, v, needs_hello(&o));
        if (r < 0) {
                pending_take(s, p);
                free(p);
                return r;
        }
        return p->id;
}

int session_notify(Session *s, const char *method, Json *params)
{
        bool ours = startswith(method, "$/");
        Json *v = NULL;
        int r;

        if (ours && !session_may_extend(s)) {
                json_unref(params);
                return -EOPNOTSUPP;
        }
        r = message_notification(&v, method, params);
        return r < 0 ? r : session_post(s, v, ours);
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
        const char *why;

        if (!m->id) {
                got_nameless_error(s, m);
                return;
        }
        if (!p)
                return;
        switch (dialog_step(&p->dialog, event, 0, &why)) {
        case DIALOG_DO:
                finish(s, p, m->result, m->error);
                break;
        case DIALOG_BREAK:
                finish_with(s, p, ERROR_INVALID_REQUEST, NULL, why);
                break;
        default:
                break;
        }
}

/* --- frames --- */

static void give_credit(Session *s, Pending *p)
{
        int64_t n = dialog_credit_due(&p->dialog);
        Json *params = NULL;
        int r;

        if (n == 0)
                return;
        r = dialog_step(&p->dialog, DIALOG_SEND_CREDIT, n, NULL);
        if (r >= 0)
                r = json_pack(&params, "{id:I, n:I}", p->id, n);
        if (r >= 0)
                r = session_send_frame(s, "$/credit", params);
        if (r < 0)
                session_broken(s, r);
}

/* A frame of a dialog of ours. */
static void do_pending(Session *s, Pending *p, DialogEvent event, const Json *params)
{
        int64_t id = p->id;

        if (event == DIALOG_GOT_STARTED && p->vtable->on_started)
                p->vtable->on_started(json_get(params, "value"), p->userdata);
        if (event != DIALOG_GOT_NEXT)
                return;
        if (p->vtable->on_next)
                p->vtable->on_next(json_get(params, "value"), (uint64_t) json_get_integer(params, "lost", 0),
                                p->userdata);
        if (s->ended)
                return;
        p = map_get_u64(&s->pending, (uint64_t) id);
        if (p)
                give_credit(s, p);
}

/* A frame of a call of the peer's. */
static void do_call(Call *c, DialogEvent event)
{
        if (event == DIALOG_GOT_CANCEL)
                session_tell_cancelled(c);
        else if (event == DIALOG_GOT_CREDIT && c->on_credit)
                c->on_credit(c, c->userdata);
}

/* The number a frame carries; false when it is out of bounds. */
static bool frame_number(DialogEvent event, const Json *params, int64_t *ret)
{
        const char *key = event == DIALOG_GOT_STARTED ? "credit" : event == DIALOG_GOT_CREDIT ? "n" : "lost";
        int64_t n;

        *ret = 0;
        if (!json_has(params, key))
                return event != DIALOG_GOT_CREDIT;
        n = json_get_integer(params, key, -1);
        *ret = n;
        return n >= 0 && (event == DIALOG_GOT_NEXT || n <= CREDIT_FRAME_MAX);
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

void session_got_frame(Session *s, DialogEvent event, const Message *m)
{
        Json *id = json_get(m->params, "id");
        const char *why = NULL;
        Pending *p;
        Call *c;
        int64_t n;

        /* The window for tells, which are not counted yet. */
        if (event == DIALOG_GOT_CREDIT && json_has(m->params, "id") && !id)
                return;
        if ((json_type(id) != JSON_INTEGER && json_type(id) != JSON_STRING &&
                            json_type(id) != JSON_DOUBLE) ||
                        !frame_number(event, m->params, &n)) {
                session_fault(s, NULL, ERROR_INVALID_REQUEST, "malformed frame");
                return;
        }
        find_conversation(s, event, id, &c, &p);
        if (!c && !p) {
                if (!was_open(s, id))
                        session_fault(s, NULL, ERROR_INVALID_REQUEST, "no call was ever open under this id");
                return;
        }
        switch (dialog_step(c ? &c->dialog : &p->dialog, event, n, &why)) {
        case DIALOG_DO:
                if (c)
                        do_call(c, event);
                else if (p)
                        do_pending(s, p, event, m->params);
                break;
        case DIALOG_FAULT:
                session_fault(s, NULL, ERROR_INVALID_REQUEST, why);
                break;
        case DIALOG_BREAK:
                /* Only the opener's table has it. The callee is told to stop what it does in vain. */
                (void) send_cancel(s, p, why);
                finish_with(s, p, ERROR_INVALID_REQUEST, NULL, why);
                break;
        default:
                break;
        }
}
