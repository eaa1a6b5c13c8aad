/* SPDX-License-Identifier: Apache-2.0 */
/* Items, at either end. */
#include <errno.h>
#include <fcntl.h>

#include "base/io.h"
#include "libtractor/context.h"
#include "libtractor/error-private.h"
#include "libtractor/options.h"
#include "libtractor/scope.h"
#include "libtractor/sync.h"

void context_init(tractor_context *c, bool is_opener, bool is_dialog)
{
        c->is_opener = is_opener;
        c->is_dialog = is_dialog;
        wait_queue_init(&c->readers);
        wait_queue_init(&c->writers);
        wait_queue_init(&c->watchers);
}

static Item take_item(tractor_context *c)
{
        Item item = c->items[c->first];

        c->first = (c->first + 1) % c->n_room;
        c->n_items--;
        if (item.fds)
                c->n_fds -= item.n_fds;
        return item;
}

static void item_done(Item *item)
{
        item->value = json_unref(item->value);
        if (item->fds)
                close_many(item->fds, item->n_fds);
        free(TAKE_PTR(item->fds));
}

static void drop_all(tractor_context *c)
{
        while (c->n_items > 0) {
                Item item = take_item(c);

                item_done(&item);
        }
}

void context_done(tractor_context *c)
{
        drop_all(c);
        free(c->items);
        c->items = NULL;
}

bool context_close(tractor_context *c, void (*release)(tractor_context *c))
{
        c->closed = true;
        c->release = release;
        wait_queue_close(&c->readers);
        wait_queue_close(&c->writers);
        return c->n_parked > 0;
}

int context_park(tractor_context *c, WaitQueue *q, const char *why)
{
        int r;

        c->n_parked++;
        r = task_park(q, why, USEC_INFINITY);
        c->n_parked--;
        if (!c->closed)
                return r;
        if (c->n_parked == 0 && c->release)
                c->release(c);
        return r == -ECANCELED ? r : -EBADF;
}

void context_end(tractor_context *c)
{
        c->over = true;
        wait_queue_wake_all(&c->readers, 0);
        wait_queue_wake_all(&c->writers, 0);
        wait_queue_wake_all(&c->watchers, 0);
}

/* --- in --- */

/* As long as the window is: the session sees to it that no more than that comes. */
static int grow(tractor_context *c)
{
        size_t n = c->n_room > 0 ? c->n_room * 2 : 8;
        Item *items;

        if (c->n_items < c->n_room)
                return 0;
        items = calloc(n, sizeof(*items));
        if (!items)
                return -ENOMEM;
        for (size_t i = 0; i < c->n_items; i++)
                items[i] = c->items[(c->first + i) % c->n_room];
        free(c->items);
        c->items = items;
        c->first = 0;
        c->n_room = n;
        return 0;
}

static void took(tractor_context *c, uint64_t n)
{
        if (!c->is_opener)
                (void) call_took(context_call(c), n);
        else if (c->portal->session)
                (void) session_took(c->portal->session, c->id, n);
}

/* Those that can't be kept are only counted. */
static void take_fds(tractor_context *c, Item *item)
{
        Session *s = c->is_opener ? c->portal->session : call_session(context_call(c));

        item->n_fds = session_n_fds(s);
        if (item->n_fds == 0 || c->n_fds + item->n_fds > CONTEXT_FDS_MAX)
                return;
        item->fds = calloc(item->n_fds, sizeof(int));
        if (!item->fds)
                return;
        (void) session_take_fds(s, item->fds, item->n_fds);
        c->n_fds += item->n_fds;
}

void context_on_next(Json *value, uint64_t lost, void *userdata)
{
        tractor_context *c = userdata;
        Item *item;

        if (grow(c) < 0) {
                c->lost += lost + 1;
                took(c, 1);
                return;
        }
        item = &c->items[(c->first + c->n_items++) % c->n_room];
        *item = (Item){ .value = json_ref(value), .lost = lost + c->lost };
        take_fds(c, item);
        c->lost = 0;
        (void) wait_queue_wake(c->leaving ? &c->watchers : &c->readers, 0);
}

void context_on_stop(void *userdata)
{
        tractor_context *c = userdata;

        c->peer_stopped = true;
        wait_queue_wake_all(&c->readers, 0);
}

void context_on_credit(void *userdata)
{
        tractor_context *c = userdata;

        (void) wait_queue_wake(c->leaving ? &c->watchers : &c->writers, 0);
}

int context_take_options(tractor_context_options *ret, const tractor_context_options *o)
{
        int r = OPTIONS_TAKE(ret, o, tractor_context_options, deadline_usec);

        if (r >= 0 && ret->overrun > TRACTOR_OVERRUN_DROP_OLDEST)
                return error_fail(ERROR_INVALID_PARAMS, NULL, NULL, "%u is no policy for an overrun",
                                (unsigned) ret->overrun);
        return r;
}

ItemOptions context_item_options(const tractor_context_options *o)
{
        static const MessageOverrun overruns[] = {
                [TRACTOR_OVERRUN_WAIT] = OVERRUN_WAIT,
                [TRACTOR_OVERRUN_ERROR] = OVERRUN_ERROR,
                [TRACTOR_OVERRUN_DROP_OLDEST] = OVERRUN_DROP_OLDEST,
        };

        return (ItemOptions){ .credit = o->window, .overrun = overruns[o->overrun], .manual = true };
}

void context_drop_items(tractor_context *c)
{
        size_t n = c->n_items;

        drop_all(c);
        if (n > 0)
                took(c, n);
}

/* Items go through a dialog, and only once it has been accepted. */
static int check_started(const tractor_context *c)
{
        const char *method = tractor_context_method(c);

        if (c->closed)
                return -EBADF;
        if (c->started)
                return 0;
        return error_fail(ERROR_INVALID_REQUEST, NULL, NULL,
                        c->is_dialog ? "%s uses its stream before it has said started"
                                     : "%s was called, not opened: it has no stream",
                        method);
}

/* 1 when there is an item. */
static int look(tractor_context *c)
{
        int r;

        if (c->n_items > 0 && !c->closed)
                return 1;
        r = check_started(c);
        if (r < 0)
                return r;
        return c->peer_stopped || c->over ? 0 : -EAGAIN;
}

static int await_item(tractor_context *c)
{
        int r = task_checkpoint();

        if (r < 0)
                return r;
        do
                r = look(c);
        while (r == -EAGAIN && (r = context_park(c, &c->readers, "item")) >= 0);
        return r;
}

static int receive(tractor_context *c, Json **ret, uint64_t *ret_lost)
{
        Item item = take_item(c);

        took(c, 1);
        if (ret_lost)
                *ret_lost = item.lost;
        *ret = TAKE_PTR(item.value);
        item_done(&item);
        return 1;
}

_public_ int tractor_receive_lost(tractor_context *c, struct json_object **ret, uint64_t *ret_lost)
{
        int r = await_item(c);

        return r > 0 ? receive(c, ret, ret_lost) : r;
}

_public_ int tractor_receive(tractor_context *c, struct json_object **ret)
{
        return tractor_receive_lost(c, ret, NULL);
}

_public_ int tractor_try_receive(tractor_context *c, struct json_object **ret)
{
        int r = task_current() ? look(c) : task_missing();

        return r > 0 ? receive(c, ret, NULL) : r;
}

_public_ int tractor_receive_fds(tractor_context *c, struct json_object **ret, int *fds, size_t *n_fds)
{
        int r = await_item(c);
        size_t n = 0;
        Item *item;

        if (r <= 0)
                return r;
        item = &c->items[c->first];
        /* It can still be received without. */
        if (item->n_fds > 0 && !item->fds)
                return -EMFILE;
        for (; item->fds && n < MIN(item->n_fds, *n_fds); n++)
                fds[n] = TAKE_FD(item->fds[n]);
        *n_fds = n;
        return receive(c, ret, NULL);
}

/* --- out --- */

static int next(tractor_context *c, Json *value)
{
        Session *s = c->is_opener ? c->portal->session : NULL;

        if (c->over || (c->is_opener && !s))
                return -EPIPE;
        value = value ? json_ref(value) : NULL;
        return c->is_opener ? session_next(s, c->id, value) : call_next(context_call(c), value);
}

int context_stop(tractor_context *c)
{
        if (c->over || (c->is_opener && !c->portal->session))
                return -EPIPE;
        return c->is_opener ? session_stop(c->portal->session, c->id) : call_stop(context_call(c));
}

static int send_failed(int r)
{
        switch (r) {
        case -ENOENT:
        case -EPIPE:
                /* Room may have come just before the cancel that ended the dialog: what is to be told is the cancel. */
                return tractor_is_cancelled() ? -ECANCELED : -EPIPE;
        case -ENOBUFS:
                return error_fail(ERROR_OVERRUN, NULL, NULL, "the stream's receiver could not keep up");
        case -EMSGSIZE:
                return error_fail(
                                ERROR_LIMIT_EXCEEDED, NULL, NULL, "the item is longer than the peer takes");
        case -EBADMSG:
                return error_fail(ERROR_INVALID_PARAMS, NULL, NULL, SESSION_UNFIT);
        default:
                return r;
        }
}

/* Who waits goes first; who has been served calls the next one. */
static int send_waiting(tractor_context *c, Json *value)
{
        int r = wait_queue_is_empty(&c->writers) ? next(c, value) : -EAGAIN;

        while (r == -EAGAIN) {
                r = context_park(c, &c->writers, "room for an item");
                if (r < 0)
                        return r;
                r = next(c, value);
        }
        (void) wait_queue_wake(&c->writers, 0);
        return r;
}

_public_ int tractor_send(tractor_context *c, struct json_object *value)
{
        _cleanup_json_ Json *given = value;
        int r = task_checkpoint();

        if (r >= 0)
                r = check_started(c);
        if (r < 0)
                return r;
        error_clear();
        return send_failed(send_waiting(c, given));
}

_public_ int tractor_try_send(tractor_context *c, struct json_object *value)
{
        _cleanup_json_ Json *given = value;
        int r = task_current() ? check_started(c) : task_missing();

        if (r < 0)
                return r;
        error_clear();
        return send_failed(wait_queue_is_empty(&c->writers) ? next(c, given) : -EAGAIN);
}

_public_ int tractor_stop(tractor_context *c)
{
        int r = task_checkpoint();

        if (r >= 0)
                r = check_started(c);
        if (r < 0)
                return r;
        /* The receiver wants the newest: those kept for it go first. */
        do
                r = context_stop(c);
        while (r == -EAGAIN && (r = context_park(c, &c->writers, "room for items")) >= 0);
        return send_failed(r);
}

/* The descriptors are gone, unless there was no room. */
static int next_fds(tractor_context *c, Json *value, int *fds, size_t n_fds)
{
        Session *s = c->is_opener ? c->portal->session : NULL;

        if (c->over || (c->is_opener && !s)) {
                close_many(fds, n_fds);
                return -EPIPE;
        }
        value = value ? json_ref(value) : NULL;
        return c->is_opener ? session_next_fds(s, c->id, value, fds, n_fds)
                            : call_next_fds(context_call(c), value, fds, n_fds);
}

/* One that is none would only be found out by sendmsg(), which breaks the connection. */
static int check_fds(const int *fds, size_t n_fds)
{
        if (n_fds > MESSAGE_FDS_MAX)
                return -E2BIG;
        for (size_t i = 0; i < n_fds; i++)
                if (fcntl(fds[i], F_GETFD) < 0)
                        return -errno;
        return 0;
}

_public_ int tractor_send_fds(tractor_context *c, struct json_object *value, int *fds, size_t n_fds)
{
        _cleanup_json_ Json *given = value;
        int r = task_checkpoint();

        if (r >= 0)
                r = check_fds(fds, n_fds);
        if (r >= 0)
                r = check_started(c);
        if (r < 0) {
                close_many(fds, n_fds);
                return r;
        }
        error_clear();
        r = wait_queue_is_empty(&c->writers) ? next_fds(c, given, fds, n_fds) : -EAGAIN;
        while (r == -EAGAIN) {
                r = context_park(c, &c->writers, "room for an item");
                if (r < 0) {
                        close_many(fds, n_fds);
                        return r;
                }
                r = next_fds(c, given, fds, n_fds);
        }
        (void) wait_queue_wake(&c->writers, 0);
        return send_failed(r);
}
