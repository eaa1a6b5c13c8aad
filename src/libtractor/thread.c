/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "libtractor/thread.h"

#define LIMIT_DEFAULT 40U

typedef struct Threads {
        ThreadPool *pool;
        sd_event_source *source;
        unsigned limit;
        unsigned n_calls; /* that run, or are about to */
        WaitQueue waiters;
} Threads;

typedef struct Call {
        Task *task;
        bool done;
} Call;

/* Whose turn it is counts from now on, before it runs. */
static void let_in(Threads *threads)
{
        while (threads->n_calls < threads->limit && wait_queue_wake(&threads->waiters, 0))
                threads->n_calls++;
}

static void call_over(Threads *threads)
{
        threads->n_calls--;
        let_in(threads);
}

static int on_done(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Threads *threads = userdata;
        ThreadJob *j;

        while ((j = thread_pool_collect(threads->pool))) {
                Call *call = j->owner;

                call_over(threads);
                if (call) {
                        call->done = true;
                        task_wake(call->task, 0);
                } else
                        thread_job_free(j);
        }
        return 0;
}

void threads_free(Runtime *rt)
{
        Threads *threads = TAKE_PTR(rt->threads);

        if (!threads)
                return;
        sd_event_source_disable_unref(threads->source);
        thread_pool_free(threads->pool);
        free(threads);
}

static int threads_get(Threads **ret)
{
        Threads *threads = runtime ? runtime->threads : NULL;
        int r;

        if (!runtime || runtime_is_foreign())
                return task_missing();
        if (threads) {
                *ret = threads;
                return 0;
        }
        threads = runtime->threads = calloc(1, sizeof(*threads));
        if (!threads)
                return -ENOMEM;
        threads->limit = LIMIT_DEFAULT;
        wait_queue_init(&threads->waiters);
        r = thread_pool_new(THREAD_IDLE_USEC, &threads->pool);
        if (r >= 0)
                r = sd_event_add_io(runtime->event, &threads->source, thread_pool_fd(threads->pool), EPOLLIN,
                                on_done, threads);
        if (r < 0) {
                threads_free(runtime);
                return r;
        }
        *ret = threads;
        return 0;
}

_public_ int tractor_thread_set_limit(unsigned n)
{
        Threads *threads;
        int r = threads_get(&threads);

        if (r < 0)
                return r;
        threads->limit = MAX(n, 1U);
        let_in(threads);
        return 0;
}

static int wait_for_turn(Threads *threads)
{
        if (threads->n_calls >= threads->limit)
                return task_park(&threads->waiters, "a turn among threads", USEC_INFINITY);
        threads->n_calls++;
        return 0;
}

static int begin(Threads *threads, ThreadJob *j)
{
        int r = wait_for_turn(threads);

        if (r < 0)
                return r;
        r = thread_pool_submit(threads->pool, j);
        if (r < 0)
                call_over(threads);
        return r;
}

static int await(Threads *threads, ThreadJob *j, Call *call, bool may_abandon)
{
        int r = 0;

        while (!call->done && r >= 0)
                r = may_abandon ? task_park(NULL, "thread", USEC_INFINITY)
                                : task_park_shielded(NULL, "thread", USEC_INFINITY);
        /* Done is done, even where it was cancelled by the time the task runs. */
        if (!call->done) {
                j->owner = NULL;
                thread_pool_abandon(threads->pool, j);
                return r;
        }
        r = j->result;
        thread_job_free(j);
        return r;
}

_public_ int tractor_to_thread(
                int (*fn)(void *userdata), void *userdata, void (*destroy)(void *userdata), unsigned flags)
{
        Call call = { .task = task_current() };
        ThreadJob *j = calloc(1, sizeof(*j));
        Threads *threads;
        int r = j ? task_checkpoint() : -ENOMEM;

        if (r >= 0)
                r = flags & ~(unsigned) TRACTOR_THREAD_ABANDON ? -EINVAL : threads_get(&threads);
        if (!j) {
                if (destroy)
                        destroy(userdata);
                return r;
        }
        *j = (ThreadJob){ .fn = fn, .userdata = userdata, .destroy = destroy, .owner = &call };
        if (r >= 0)
                r = begin(threads, j);
        if (r < 0) {
                thread_job_free(j);
                return r;
        }
        return await(threads, j, &call, flags & TRACTOR_THREAD_ABANDON);
}
