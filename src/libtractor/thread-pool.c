/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "libtractor/crash.h"
#include "libtractor/thread-pool.h"

typedef struct Worker {
        ListNode node;
        ThreadPool *pool;
        pthread_t thread;
        ThreadJob *job;   /* that it runs */
        bool left_behind; /* the pool's owner has gone and does not wait for it */
} Worker;

struct ThreadPool {
        pthread_mutex_t mutex;
        pthread_cond_t wanted; /* there is a job, or it is over */
        pthread_cond_t gone;   /* a worker is to be joined */
        unsigned n_ref;        /* the owner's, and one for each worker it left behind */
        uint64_t idle_usec;
        int fd;
        bool over;
        ListNode queue, done;
        size_t n_queued;
        size_t n_idle; /* workers without a job, those that begin, too: never fewer than are queued */
        ListNode workers, ended; /* all but those left behind; the latter need only be joined */
};

ThreadJob *thread_job_free(ThreadJob *j)
{
        if (!j)
                return NULL;
        if (j->destroy)
                j->destroy(j->userdata);
        free(j);
        return NULL;
}

int thread_pool_new(uint64_t idle_usec, ThreadPool **ret)
{
        ThreadPool *p = calloc(1, sizeof(*p));
        pthread_condattr_t attributes;

        if (!p)
                return -ENOMEM;
        p->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (p->fd < 0) {
                int r = -errno;

                free(p);
                return r;
        }
        p->n_ref = 1;
        p->idle_usec = idle_usec;
        list_init(&p->queue);
        list_init(&p->done);
        list_init(&p->workers);
        list_init(&p->ended);
        /* None of these can fail on Linux with these arguments. */
        (void) pthread_mutex_init(&p->mutex, NULL);
        (void) pthread_condattr_init(&attributes);
        (void) pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        (void) pthread_cond_init(&p->wanted, &attributes);
        (void) pthread_cond_init(&p->gone, NULL);
        (void) pthread_condattr_destroy(&attributes);
        *ret = p;
        return 0;
}

int thread_pool_fd(const ThreadPool *p)
{
        return p->fd;
}

static void unref(ThreadPool *p)
{
        bool last;

        (void) pthread_mutex_lock(&p->mutex);
        last = --p->n_ref == 0;
        (void) pthread_mutex_unlock(&p->mutex);
        if (!last)
                return;
        (void) pthread_cond_destroy(&p->wanted);
        (void) pthread_cond_destroy(&p->gone);
        (void) pthread_mutex_destroy(&p->mutex);
        safe_close(p->fd);
        free(p);
}

static void tell(ThreadPool *p)
{
        uint64_t one = 1;

        /* It is only full where nobody has read it for ever. */
        (void) !write(p->fd, &one, sizeof(one));
}

/* The next job, or NULL when the worker is to end. Locked. */
static ThreadJob *next_job(ThreadPool *p)
{
        uint64_t until = usec_add(now_usec(CLOCK_MONOTONIC), p->idle_usec);
        struct timespec ts = { .tv_sec = (time_t) (until / USEC_PER_SEC),
                .tv_nsec = (long) (until % USEC_PER_SEC * NSEC_PER_USEC) };
        bool waited_enough = false;
        ThreadJob *j;

        while (list_is_empty(&p->queue) && !p->over && !waited_enough)
                waited_enough = pthread_cond_timedwait(&p->wanted, &p->mutex, &ts) == ETIMEDOUT;
        p->n_idle--;
        if (list_is_empty(&p->queue))
                return NULL;
        j = LIST_ENTRY(p->queue.next, ThreadJob, node);
        list_unlink(&j->node);
        p->n_queued--;
        j->running = true;
        return j;
}

/* A job that is done is seen together with the idle worker, so that the next one does not take another
 * thread. */
static void *work(void *arg)
{
        Worker *w = arg;
        ThreadPool *p = w->pool;

        (void) pthread_mutex_lock(&p->mutex);
        while ((w->job = next_job(p))) {
                (void) pthread_mutex_unlock(&p->mutex);
                w->job->result = w->job->fn(w->job->userdata);
                (void) pthread_mutex_lock(&p->mutex);
                if (w->left_behind)
                        break;
                list_append(&p->done, &TAKE_PTR(w->job)->node);
                p->n_idle++;
                tell(p);
        }
        if (!w->left_behind) {
                list_unlink(&w->node);
                list_append(&p->ended, &w->node);
                (void) pthread_cond_signal(&p->gone);
                tell(p);
        }
        (void) pthread_mutex_unlock(&p->mutex);
        if (!w->job)
                return NULL;
        thread_job_free(w->job);
        free(w);
        unref(p);
        return NULL;
}

/* With a stack for the report, should it crash by running out of its own. */
static void *worker_main(void *arg)
{
        void *stack = NULL;

        (void) crash_enter_thread(&stack);
        (void) work(arg);
        crash_leave_thread(stack);
        return NULL;
}

/* Those that the kernel raises for what the thread itself does must not be blocked: it would be killed
 * without a word. */
static int create_blocked(Worker *w)
{
        static const int own[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT };
        sigset_t all, old;
        int r;

        (void) sigfillset(&all);
        for (size_t i = 0; i < ELEMENTSOF(own); i++)
                (void) sigdelset(&all, own[i]);
        (void) pthread_sigmask(SIG_SETMASK, &all, &old);
        r = pthread_create(&w->thread, NULL, worker_main, w);
        (void) pthread_sigmask(SIG_SETMASK, &old, NULL);
        return -r;
}

static int add_worker(ThreadPool *p)
{
        Worker *w = calloc(1, sizeof(*w));
        int r;

        if (!w)
                return -ENOMEM;
        w->pool = p;
        list_append(&p->workers, &w->node);
        r = create_blocked(w);
        if (r < 0) {
                list_unlink(&w->node);
                free(w);
                return r;
        }
        p->n_idle++;
        return 0;
}

int thread_pool_submit(ThreadPool *p, ThreadJob *j)
{
        int r = 0;

        (void) pthread_mutex_lock(&p->mutex);
        if (p->n_queued < p->n_idle)
                (void) pthread_cond_signal(&p->wanted);
        else
                r = add_worker(p);
        if (r >= 0) {
                list_append(&p->queue, &j->node);
                p->n_queued++;
        }
        (void) pthread_mutex_unlock(&p->mutex);
        return r;
}

void thread_pool_abandon(ThreadPool *p, ThreadJob *j)
{
        (void) pthread_mutex_lock(&p->mutex);
        j->abandoned = true;
        if (!j->running) {
                list_unlink(&j->node);
                p->n_queued--;
                list_append(&p->done, &j->node);
                tell(p);
        }
        (void) pthread_mutex_unlock(&p->mutex);
}

static Worker *take_ended(ThreadPool *p)
{
        Worker *w = NULL;

        if (!list_is_empty(&p->ended)) {
                w = LIST_ENTRY(p->ended.next, Worker, node);
                list_unlink(&w->node);
        }
        return w;
}

static void reap(Worker *w)
{
        (void) pthread_join(w->thread, NULL);
        free(w);
}

static ThreadJob *take_done(ThreadPool *p)
{
        ThreadJob *j = NULL;

        if (!list_is_empty(&p->done)) {
                j = LIST_ENTRY(p->done.next, ThreadJob, node);
                list_unlink(&j->node);
        }
        return j;
}

ThreadJob *thread_pool_collect(ThreadPool *p)
{
        uint64_t n;
        ThreadJob *j;
        Worker *w = NULL;

        /* Before looking: what comes later makes it readable again. */
        (void) !read(p->fd, &n, sizeof(n));
        do {
                (void) pthread_mutex_lock(&p->mutex);
                j = take_done(p);
                w = j ? NULL : take_ended(p);
                (void) pthread_mutex_unlock(&p->mutex);
                if (w)
                        reap(w);
        } while (w);
        return j;
}

/* Locked. */
static void leave_behind(ThreadPool *p)
{
        LIST_FOREACH_SAFE(i, &p->workers) {
                Worker *w = LIST_ENTRY(i, Worker, node);

                if (!w->job || !w->job->abandoned)
                        continue;
                list_unlink(&w->node);
                w->left_behind = true;
                p->n_ref++;
                (void) pthread_detach(w->thread);
        }
}

ThreadPool *thread_pool_free(ThreadPool *p)
{
        ThreadJob *j;

        if (!p)
                return NULL;
        (void) pthread_mutex_lock(&p->mutex);
        p->over = true;
        leave_behind(p);
        (void) pthread_cond_broadcast(&p->wanted);
        while (!list_is_empty(&p->workers) || !list_is_empty(&p->ended)) {
                Worker *w = take_ended(p);

                if (!w) {
                        (void) pthread_cond_wait(&p->gone, &p->mutex);
                        continue;
                }
                (void) pthread_mutex_unlock(&p->mutex);
                reap(w);
                (void) pthread_mutex_lock(&p->mutex);
        }
        (void) pthread_mutex_unlock(&p->mutex);
        while ((j = take_done(p)))
                thread_job_free(j);
        unref(p);
        return NULL;
}

unsigned thread_pool_n_threads(ThreadPool *p)
{
        unsigned n = 0;

        (void) pthread_mutex_lock(&p->mutex);
        LIST_FOREACH(i, &p->workers)
                n++;
        LIST_FOREACH(i, &p->ended)
                n++;
        (void) pthread_mutex_unlock(&p->mutex);
        return n;
}
