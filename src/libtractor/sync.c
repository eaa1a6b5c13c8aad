/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>

#include "libtractor/sync.h"

/* --- event --- */
struct tractor_event {
        bool set;
        WaitQueue waiters;
};

_public_ tractor_event *tractor_event_new(void)
{
        tractor_event *e = calloc(1, sizeof(*e));

        if (e)
                wait_queue_init(&e->waiters);
        return e;
}

_public_ tractor_event *tractor_event_free(tractor_event *e)
{
        if (!e)
                return NULL;
        wait_queue_close(&e->waiters);
        free(e);
        return NULL;
}

_public_ void tractor_event_set(tractor_event *e)
{
        e->set = true;
        wait_queue_wake_all(&e->waiters, 0);
}

_public_ bool tractor_event_is_set(const tractor_event *e)
{
        return e->set;
}

_public_ int tractor_event_wait(tractor_event *e)
{
        return e->set ? task_checkpoint() : task_park(&e->waiters, "event", USEC_INFINITY);
}

/* --- lock --- */
struct tractor_lock {
        uint64_t owner; /* the task's id: addresses are used again; 0: nobody */
        WaitQueue waiters;
};

_public_ tractor_lock *tractor_lock_new(void)
{
        tractor_lock *l = calloc(1, sizeof(*l));

        if (l)
                wait_queue_init(&l->waiters);
        return l;
}

_public_ tractor_lock *tractor_lock_free(tractor_lock *l)
{
        if (!l)
                return NULL;
        wait_queue_close(&l->waiters);
        free(l);
        return NULL;
}

_public_ int tractor_lock_try_acquire(tractor_lock *l)
{
        const Task *t = task_current();

        if (!t)
                return task_missing();
        if (l->owner == t->id)
                return -EDEADLK;
        if (l->owner != 0)
                return -EAGAIN;
        l->owner = t->id;
        return 0;
}

_public_ int tractor_lock_acquire(tractor_lock *l)
{
        int r = task_checkpoint();

        if (r < 0)
                return r;
        r = tractor_lock_try_acquire(l);
        return r == -EAGAIN ? task_park(&l->waiters, "lock", USEC_INFINITY) : r;
}

_public_ int tractor_lock_release(tractor_lock *l)
{
        const Task *t = task_current(), *next = wait_queue_first(&l->waiters);

        if (!t)
                return task_missing();
        if (l->owner != t->id)
                return -EPERM;
        l->owner = next ? next->id : 0;
        (void) wait_queue_wake(&l->waiters, 0);
        return 0;
}

/* --- semaphore --- */
struct tractor_semaphore {
        unsigned value; /* above 0 only while nobody waits */
        WaitQueue waiters;
};

_public_ tractor_semaphore *tractor_semaphore_new(unsigned value)
{
        tractor_semaphore *s = calloc(1, sizeof(*s));

        if (!s)
                return NULL;
        s->value = value;
        wait_queue_init(&s->waiters);
        return s;
}

_public_ tractor_semaphore *tractor_semaphore_free(tractor_semaphore *s)
{
        if (!s)
                return NULL;
        wait_queue_close(&s->waiters);
        free(s);
        return NULL;
}

_public_ int tractor_semaphore_try_acquire(tractor_semaphore *s)
{
        if (s->value == 0)
                return -EAGAIN;
        s->value--;
        return 0;
}

_public_ int tractor_semaphore_acquire(tractor_semaphore *s)
{
        int r = task_checkpoint();

        if (r < 0)
                return r;
        r = tractor_semaphore_try_acquire(s);
        return r == -EAGAIN ? task_park(&s->waiters, "semaphore", USEC_INFINITY) : r;
}

_public_ int tractor_semaphore_release(tractor_semaphore *s)
{
        if (wait_queue_wake(&s->waiters, 0))
                return 0;
        if (s->value == UINT_MAX)
                return -EOVERFLOW;
        s->value++;
        return 0;
}
