/* SPDX-License-Identifier: Apache-2.0 */
/* Events, locks, semaphores and channels. The random ones drive tasks in lockstep with an oracle: a few
 * arrays that say who waits, in what order, and who must have got what, also where it was cancelled
 * between being handed something and running. */
#include <errno.h>

#include "draw.h"
#include "tractor/tractor.h"

#ifdef __SANITIZE_ADDRESS__
#define ROUNDS 200U
#else
#define ROUNDS 2000U
#endif
#define WORKERS 40U

static void run(int (*body)(void *))
{
        CHECK_EQ(tractor_run(NULL, body, NULL), 0);
}

/* All that are ready run until they park or end. */
static void settle(void)
{
        for (unsigned i = 0; i < 3; i++)
                CHECK_EQ(tractor_checkpoint(), 0);
}

/* --- a task that makes one blocking call --- */
typedef struct Worker {
        int (*call)(struct Worker *w);
        void *object, *item;
        tractor_scope *scope;
        tractor_event *leave; /* a lock's owner keeps it until then */
        bool waiting, done;
        int r, expected;
        void *expected_item;
} Worker;

static Worker workers[WORKERS];
static unsigned n_workers;

static int work(void *userdata)
{
        Worker *w = userdata;

        w->scope = tractor_scope_open();
        w->r = w->call(w);
        w->done = true;
        (void) tractor_scope_close(TAKE_PTR(w->scope), w->r);
        return 0;
}

static Worker *begin(tractor_nursery *n, void *object, int (*call)(Worker *w), void *item)
{
        Worker *w = &workers[n_workers++];

        *w = (Worker){ .call = call, .object = object, .item = item };
        CHECK_EQ(tractor_start_task(n, "worker", work, w, NULL), 0);
        settle();
        return w;
}

/* --- who waits, in order --- */
typedef struct Row {
        Worker *w[WORKERS];
        unsigned n;
} Row;

static void row_add(Row *q, Worker *w)
{
        w->waiting = true;
        q->w[q->n++] = w;
}

static Worker *row_remove(Row *q, unsigned i)
{
        Worker *w = q->w[i];

        memmove(&q->w[i], &q->w[i + 1], (--q->n - i) * sizeof(Worker *));
        w->waiting = false;
        return w;
}

static void row_cancel(Row *q, unsigned i)
{
        Worker *w = row_remove(q, i);

        w->expected = -ECANCELED;
        tractor_scope_cancel(w->scope, "drawn");
}

static void check_workers(void)
{
        for (unsigned i = 0; i < n_workers; i++) {
                CHECK_EQ(workers[i].done, !workers[i].waiting);
                if (!workers[i].done)
                        continue;
                CHECK_EQ(workers[i].r, workers[i].expected);
                CHECK(workers[i].item == workers[i].expected_item);
        }
}

/* One that has been handed something and has not run yet is cancelled: too late. */
static void cancel_in_vain(Worker *w)
{
        if (draw(2))
                tractor_scope_cancel(w->scope, "too late");
}

/* --- event --- */
static int wait_event(Worker *w)
{
        return tractor_event_wait(w->object);
}

static int events(void *unused)
{
        TRACTOR_NURSERY(n);
        tractor_event *e = tractor_event_new();

        n_workers = 0;
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        for (unsigned i = 0; i < 3; i++)
                CHECK(!begin(n, e, wait_event, NULL)->done);
        tractor_scope_cancel(workers[1].scope, NULL);
        workers[1].expected = -ECANCELED;
        tractor_event_set(e);
        CHECK(tractor_event_is_set(e));
        tractor_scope_cancel(workers[2].scope, NULL); /* it has happened before */
        settle();
        check_workers();
        CHECK_EQ(tractor_event_wait(e), 0);
        tractor_scope *s = tractor_scope_open();
        tractor_scope_cancel(s, NULL);
        CHECK_EQ(tractor_event_wait(e), -ECANCELED);
        CHECK_EQ(tractor_scope_close(s, -ECANCELED), 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK(!tractor_event_free(e));
        CHECK(!tractor_event_free(NULL));
        return 0;
}

static void an_event_wakes_all(void)
{
        run(events);
}

/* --- lock --- */
static int hold_lock(Worker *w)
{
        int r;

        w->leave = tractor_event_new();
        w->r = r = tractor_lock_acquire(w->object);
        w->done = true;
        if (r < 0)
                return r;
        CHECK_EQ(tractor_lock_acquire(w->object), tractor_is_cancelled() ? -ECANCELED : -EDEADLK);
        CHECK_EQ(tractor_lock_try_acquire(w->object), -EDEADLK);
        tractor_scope *shield = tractor_shield(TRACTOR_FOREVER);
        CHECK_EQ(tractor_event_wait(w->leave), 0);
        CHECK_EQ(tractor_scope_close(shield, 0), 0);
        CHECK_EQ(tractor_lock_release(w->object), 0);
        CHECK_EQ(tractor_lock_release(w->object), -EPERM);
        return r;
}

static void lock_step(tractor_nursery *n, tractor_lock *l, Row *row, Worker **owner)
{
        unsigned what = draw(4);
        Worker *w;

        if (what <= 1 && n_workers < WORKERS) {
                w = begin(n, l, hold_lock, NULL);
                if (*owner)
                        row_add(row, w);
                else
                        *owner = w;
        } else if (what == 2 && row->n > 0)
                row_cancel(row, draw(row->n));
        else if (what == 3 && *owner) {
                CHECK_EQ(tractor_lock_release(l), -EPERM);
                CHECK_EQ(tractor_lock_try_acquire(l), -EAGAIN);
                tractor_event_set((*owner)->leave);
                *owner = row->n > 0 ? row_remove(row, 0) : NULL;
                CHECK_EQ(tractor_checkpoint(), 0); /* the last owner has run, the next has not */
                if (*owner)
                        cancel_in_vain(*owner);
        }
        settle();
        check_workers();
}

static int locks(void *unused)
{
        for (unsigned round = 0; round < ROUNDS; round++) {
                TRACTOR_NURSERY(n);
                tractor_lock *l = tractor_lock_new();
                Worker *owner = NULL;
                Row row = { 0 };

                n_workers = 0;
                CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
                for (unsigned i = 0; i < 60; i++)
                        lock_step(n, l, &row, &owner);
                for (unsigned i = 0; i < n_workers; i++)
                        tractor_event_set(workers[i].leave);
                CHECK_EQ(tractor_nursery_close(&n, 0), 0);
                CHECK_EQ(tractor_lock_try_acquire(l), 0);
                CHECK_EQ(tractor_lock_release(l), 0);
                CHECK(!tractor_lock_free(l));
                for (unsigned i = 0; i < n_workers; i++)
                        tractor_event_free(workers[i].leave);
        }
        return 0;
}

static void a_lock_is_handed_over_in_order(void)
{
        draw_begin(1);
        run(locks);
}

/* --- semaphore --- */
static int take_permit(Worker *w)
{
        return tractor_semaphore_acquire(w->object);
}

static void semaphore_step(tractor_nursery *n, tractor_semaphore *s, Row *row, unsigned *value)
{
        unsigned what = draw(5);

        if (what <= 1 && n_workers < WORKERS) {
                Worker *w = begin(n, s, take_permit, NULL);

                if (*value > 0)
                        (*value)--;
                else
                        row_add(row, w);
        } else if (what == 2 && row->n > 0)
                row_cancel(row, draw(row->n));
        else if (what == 3) {
                CHECK_EQ(tractor_semaphore_try_acquire(s), *value > 0 ? 0 : -EAGAIN);
                *value -= *value > 0;
        } else {
                CHECK_EQ(tractor_semaphore_release(s), 0);
                if (row->n > 0)
                        cancel_in_vain(row_remove(row, 0));
                else
                        (*value)++;
        }
        if (draw(3) == 0) {
                settle();
                check_workers();
        }
}

static int semaphores(void *unused)
{
        for (unsigned round = 0; round < ROUNDS; round++) {
                TRACTOR_NURSERY(n);
                unsigned value = draw(4);
                tractor_semaphore *s = tractor_semaphore_new(value);
                Row row = { 0 };

                n_workers = 0;
                CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
                for (unsigned i = 0; i < 60; i++)
                        semaphore_step(n, s, &row, &value);
                while (row.n > 0)
                        row_cancel(&row, 0);
                CHECK_EQ(tractor_nursery_close(&n, 0), 0);
                check_workers();
                for (; value > 0; value--)
                        CHECK_EQ(tractor_semaphore_try_acquire(s), 0);
                CHECK_EQ(tractor_semaphore_try_acquire(s), -EAGAIN);
                CHECK(!tractor_semaphore_free(s));
        }
        return 0;
}

static void a_permit_is_never_lost(void)
{
        draw_begin(2);
        run(semaphores);
}

static int overflows(void *unused)
{
        tractor_semaphore *s = tractor_semaphore_new(UINT32_MAX);

        CHECK_EQ(tractor_semaphore_release(s), -EOVERFLOW);
        CHECK_EQ(tractor_semaphore_acquire(s), 0);
        CHECK_EQ(tractor_semaphore_release(s), 0);
        tractor_semaphore_free(s);
        return 0;
}

static void a_semaphore_has_an_end(void)
{
        run(overflows);
}

/* --- channel --- */
typedef struct Model {
        tractor_channel *channel;
        size_t size, n;
        void *items[8];
        Row senders, receivers;
        bool closed;
        uintptr_t last;
} Model;

static unsigned n_destroyed;

static void count_destroyed(void *item)
{
        n_destroyed++;
}

static int send_item(Worker *w)
{
        return tractor_channel_send(w->object, w->item);
}

static int receive_item(Worker *w)
{
        return tractor_channel_receive(w->object, &w->item);
}

/* What a send comes to: the receiver that gets it, 0, -EAGAIN, -EPIPE. */
static int model_send(Model *m, void *item)
{
        if (m->closed)
                return -EPIPE;
        if (m->receivers.n > 0) {
                Worker *w = row_remove(&m->receivers, 0);

                w->expected = 1;
                w->expected_item = item;
                cancel_in_vain(w);
                return 0;
        }
        if (m->n == m->size)
                return -EAGAIN;
        m->items[m->n++] = item;
        return 0;
}

static int model_receive(Model *m, void **ret)
{
        if (m->n == 0 && m->senders.n == 0)
                return m->closed ? 0 : -EAGAIN;
        if (m->senders.n > 0) {
                Worker *w = row_remove(&m->senders, 0);

                m->items[m->n++] = w->item;
                cancel_in_vain(w);
        }
        *ret = m->items[0];
        memmove(m->items, m->items + 1, --m->n * sizeof(void *));
        return 1;
}

/* The model goes second: it cancels whom the channel has handed something. */
static void try_both(Model *m)
{
        void *item = (void *) ++m->last, *expected = NULL;
        int r;

        if (draw(2)) {
                r = tractor_channel_try_send(m->channel, item);
                CHECK_EQ(r, model_send(m, item));
                return;
        }
        item = NULL;
        r = tractor_channel_try_receive(m->channel, &item);
        CHECK_EQ(r, model_receive(m, &expected));
        CHECK(item == expected);
}

static void start_sender(tractor_nursery *n, Model *m)
{
        void *item = (void *) ++m->last;
        Worker *w = begin(n, m->channel, send_item, item);
        int r = model_send(m, item);

        w->expected_item = item;
        if (r == -EAGAIN)
                row_add(&m->senders, w);
        else
                w->expected = r;
}

static void start_receiver(tractor_nursery *n, Model *m)
{
        Worker *w = begin(n, m->channel, receive_item, NULL);
        int r = model_receive(m, &w->expected_item);

        if (r == -EAGAIN)
                row_add(&m->receivers, w);
        else
                w->expected = r;
}

static void model_close(Model *m)
{
        tractor_channel_close(m->channel);
        m->closed = true;
        while (m->senders.n > 0)
                row_remove(&m->senders, 0)->expected = -EPIPE;
        while (m->receivers.n > 0)
                row_remove(&m->receivers, 0)->expected = 0;
}

static void channel_step(tractor_nursery *n, Model *m)
{
        unsigned what = draw(100);

        if (what < 30)
                try_both(m);
        else if (what < 50 && n_workers < WORKERS)
                start_sender(n, m);
        else if (what < 70 && n_workers < WORKERS)
                start_receiver(n, m);
        else if (what < 80 && m->senders.n > 0)
                row_cancel(&m->senders, draw(m->senders.n));
        else if (what < 90 && m->receivers.n > 0)
                row_cancel(&m->receivers, draw(m->receivers.n));
        else if (what == 99)
                model_close(m);
        CHECK_EQ(tractor_channel_length(m->channel), m->n);
        if (draw(3) == 0) {
                settle();
                check_workers();
        }
}

static int channels(void *unused)
{
        for (unsigned round = 0; round < ROUNDS; round++) {
                TRACTOR_NURSERY(n);
                Model m = { .size = draw(5) };

                n_workers = 0;
                m.channel = tractor_channel_new(m.size, count_destroyed);
                CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
                for (unsigned i = 0; i < 80; i++)
                        channel_step(n, &m);
                settle();
                model_close(&m);
                CHECK_EQ(tractor_nursery_close(&n, 0), 0);
                check_workers();
                n_destroyed = 0;
                CHECK(!tractor_channel_free(m.channel));
                CHECK_EQ(n_destroyed, m.n);
        }
        return 0;
}

static void a_channel_keeps_order_and_loses_nothing(void)
{
        draw_begin(3);
        run(channels);
}

/* --- two that never wait still let others run --- */
static int chatter(void *channel)
{
        void *item;

        for (unsigned i = 0; i < 1000; i++) {
                CHECK_EQ(tractor_channel_send(channel, NULL), 0);
                CHECK_EQ(tractor_channel_receive(channel, &item), 1);
        }
        tractor_channel_close(channel);
        return 0;
}

static int shares(void *unused)
{
        TRACTOR_NURSERY(n);
        tractor_channel *c = tractor_channel_new(1, NULL);
        unsigned turns = 0;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, "chatter", chatter, c, NULL), 0);
        while (tractor_channel_try_send(c, NULL) != -EPIPE) {
                void *item;

                (void) tractor_channel_try_receive(c, &item);
                CHECK_EQ(tractor_checkpoint(), 0);
                turns++;
        }
        CHECK(turns > 30);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        tractor_channel_free(c);
        return 0;
}

static void who_never_waits_gives_way(void)
{
        run(shares);
}

static void outside_of_a_task(void)
{
        tractor_lock *l = tractor_lock_new();
        tractor_channel *c = tractor_channel_new(1, NULL);

        CHECK_EQ(tractor_lock_acquire(l), -ENOTCONN);
        CHECK_EQ(tractor_lock_try_acquire(l), -ENOTCONN);
        CHECK_EQ(tractor_channel_send(c, NULL), -ENOTCONN);
        CHECK_EQ(tractor_channel_try_send(c, NULL),
                        0); /* never waits: from a callback of the loop, for one */
        tractor_lock_free(l);
        tractor_channel_free(c);
}

TEST_MAIN({ "an_event_wakes_all", an_event_wakes_all },
                { "a_lock_is_handed_over_in_order", a_lock_is_handed_over_in_order },
                { "a_permit_is_never_lost", a_permit_is_never_lost },
                { "a_semaphore_has_an_end", a_semaphore_has_an_end },
                { "a_channel_keeps_order_and_loses_nothing", a_channel_keeps_order_and_loses_nothing },
                { "who_never_waits_gives_way", who_never_waits_gives_way },
                { "outside_of_a_task", outside_of_a_task });
