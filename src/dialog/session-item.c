/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/error.h"
#include "base/io.h"
#include "dialog/session-internal.h"

/* The items of a dialog. Out: sent while credit, bytes under way and the connection's room allow it; else the
 * receiver's policy decides. In: handed on as they come, credited when taken. */

int64_t items_credit(const ItemOptions *o)
{
        return o && o->credit > 0 ? MIN(o->credit, CREDIT_FRAME_MAX) : DIALOG_CREDIT_DEFAULT;
}

int talk_init_flow(Talk *t, const ItemVtable *vtable, const ItemOptions *options, MessageOverrun theirs)
{
        t->flow = calloc(1, sizeof(Flow));
        if (!t->flow)
                return -ENOMEM;
        t->flow->vtable = vtable;
        t->flow->theirs = theirs;
        if (!options)
                return 0;
        t->flow->credit = items_credit(options);
        t->flow->ours = options->overrun;
        t->flow->manual = options->manual;
        return 0;
}

static void drop_queue(Flow *f)
{
        for (; f->n_queued > 0; f->n_queued--)
                json_unref(f->queue[(f->first + f->n_queued - 1) % FLOW_QUEUE_MAX]);
}

void talk_done(Talk *t)
{
        if (t->flow) {
                drop_queue(t->flow);
                free(t->flow->queue);
        }
        free(TAKE_PTR(t->flow));
        t->id = json_unref(t->id);
}

/* --- out --- */

/* Most have no descriptors: these are the many, and may go out together. */
static int send_plain(Talk *t, Json *item, size_t *ret_n)
{
        _cleanup_free_ char *text = NULL;
        int r = message_next(&text, ret_n, t->id, item, t->flow->lost);

        if (r < 0)
                return r;
        if (t->session->ended)
                return -EPIPE;
        if (*ret_n > t->session->peer_max_line)
                return -EMSGSIZE;
        return stream_send_soon(t->session->stream, text, *ret_n);
}

/* Consumes the descriptors. */
static int send_with_fds(Talk *t, Json *item, int *fds, size_t n_fds, size_t *ret_n)
{
        Json *params = NULL, *lost = NULL;
        int r = 0;

        if (t->flow->lost > 0)
                r = json_pack(&lost, "U", t->flow->lost);
        if (r >= 0)
                r = json_pack(&params, "{id:O, value:O, lost:o?}", t->id, item, lost);
        if (r < 0) {
                close_many(fds, n_fds);
                return r;
        }
        return session_send_frame_fds(t->session, "$/next", params, fds, n_fds, ret_n);
}

/* Sends it or says why not; consumes it in any case, and the descriptors unless it is -EAGAIN. */
static int send_now(Talk *t, Json *value, int *fds, size_t n_fds)
{
        _cleanup_json_ Json *item = value;
        Dialog next = t->dialog;
        Flow *f = t->flow;
        size_t n = 0;
        int r;

        if (t->dialog.state == DIALOG_OPEN && !t->dialog.out.stopped &&
                        (f->out.bytes >= FLIGHT_BYTES_MAX || session_is_full(t->session))) {
                f->starved = true;
                return -EAGAIN;
        }
        r = dialog_step(&next, DIALOG_SEND_NEXT, 0, NULL);
        if (r == -EAGAIN)
                return r;
        if (r < 0)
                close_many(fds, n_fds);
        else
                r = n_fds > 0 ? send_with_fds(t, item, fds, n_fds, &n) : send_plain(t, item, &n);
        if (r < 0)
                return r;
        t->dialog = next;
        f->lost = 0;
        flight_add(&f->out, n);
        return 0;
}

/* The newest stay. */
static int enqueue(Flow *f, Json *item)
{
        if (!f->queue)
                f->queue = calloc(FLOW_QUEUE_MAX, sizeof(Json *));
        if (!f->queue) {
                json_unref(item);
                f->lost++;
                return -ENOMEM;
        }
        if (f->n_queued == FLOW_QUEUE_MAX) {
                json_unref(f->queue[f->first]);
                f->first = (f->first + 1) % FLOW_QUEUE_MAX;
                f->n_queued--;
                f->lost++;
        }
        f->queue[(f->first + f->n_queued++) % FLOW_QUEUE_MAX] = item;
        return 0;
}

/* What the receiver wants done with an item for which it has no room. */
static int overrun(Talk *t, Json *item, bool offer)
{
        Flow *f = t->flow;

        if (f->theirs == OVERRUN_DROP_OLDEST)
                return enqueue(f, json_ref(item));
        if (f->theirs == OVERRUN_ERROR) {
                t->overran = true;
                return -ENOBUFS;
        }
        if (offer)
                f->lost++;
        return -EAGAIN;
}

int talk_next(Talk *t, Json *value, bool offer)
{
        _cleanup_json_ Json *item = value;
        int r;

        if (!talk_session(t) || t->overran)
                return -EPIPE;
        if (!t->flow)
                return -EPROTO;
        if (t->flow->n_queued > 0 && t->dialog.state == DIALOG_OPEN)
                return enqueue(t->flow, TAKE_PTR(item));
        r = send_now(t, json_ref(item), NULL, 0);
        if (r == -EAGAIN)
                return overrun(t, item, offer);
        if (r < 0 && r != -EPIPE && r != -EPROTO)
                t->flow->lost += offer;
        return r;
}

int talk_next_fds(Talk *t, Json *value, int *fds, size_t n_fds)
{
        _cleanup_json_ Json *item = value;
        int r;

        if (!talk_session(t) || t->overran || !t->flow) {
                close_many(fds, n_fds);
                return talk_session(t) && !t->overran ? -EPROTO : -EPIPE;
        }
        if (t->flow->n_queued > 0 && t->dialog.state == DIALOG_OPEN)
                return -EAGAIN;
        r = send_now(t, TAKE_PTR(item), fds, n_fds);
        if (r == -EAGAIN && t->flow->theirs == OVERRUN_ERROR) {
                close_many(fds, n_fds);
                t->overran = true;
                return -ENOBUFS;
        }
        return r;
}

static bool flush_queue(Talk *t)
{
        Flow *f = t->flow;

        while (f->n_queued > 0) {
                int r = send_now(t, json_ref(f->queue[f->first]), NULL, 0);

                if (r == -EAGAIN)
                        return false;
                json_unref(f->queue[f->first]);
                f->first = (f->first + 1) % FLOW_QUEUE_MAX;
                f->n_queued--;
                f->lost += r < 0;
        }
        return true;
}

int talk_stop(Talk *t)
{
        Json *params = NULL;
        int r;

        if (t->flow && t->flow->n_queued > 0 && t->dialog.state == DIALOG_OPEN)
                return talk_session(t) ? -EAGAIN : -EPIPE;
        r = json_pack(&params, "{id:O}", t->id);
        return r < 0 ? r : talk_say(t, DIALOG_SEND_STOP, 0, "$/stop", params, NULL);
}

/* Credit has come, or the connection has drained. */
void talk_got_room(Talk *t)
{
        Flow *f = t->flow;

        f->starved = false;
        if (t->dialog.state != DIALOG_OPEN || !flush_queue(t))
                return;
        if (f->vtable && f->vtable->on_credit)
                f->vtable->on_credit(t->userdata);
}

/* --- in --- */

static int give_credit(Talk *t)
{
        uint64_t n = dialog_takes_items(&t->dialog) ? intake_due(&t->flow->in, (uint64_t) t->dialog.in.size)
                                                    : 0;
        Json *params = NULL;
        int r;

        if (n == 0)
                return 0;
        r = json_pack(&params, "{id:O, n:U}", t->id, n);
        if (r >= 0)
                r = talk_say(t, DIALOG_SEND_CREDIT, (int64_t) n, "$/credit", params, NULL);
        if (r < 0) {
                session_broken(t->session, r);
                return r;
        }
        intake_credited(&t->flow->in, n);
        return 0;
}

int talk_took(Talk *t, uint64_t n)
{
        if (!talk_session(t) || !t->flow)
                return -EPIPE;
        return intake_take(&t->flow->in, n) ? give_credit(t) : -EINVAL;
}

void talk_got_next(Talk *t, const Json *params, size_t n_line)
{
        uint64_t lost = (uint64_t) json_get_integer(params, "lost", 0);
        const ItemVtable *vtable = t->flow->vtable;
        Session *s = t->session;

        if (!intake_add(&t->flow->in, n_line, s->max_line)) {
                session_fault(s, NULL, ERROR_INVALID_REQUEST, "more bytes under way than a window holds");
                return;
        }
        if (vtable && vtable->on_next)
                vtable->on_next(json_get(params, "value"), lost, t->userdata);
}
