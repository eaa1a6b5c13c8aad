/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of threads by itself, without tasks: so this also runs under the thread sanitizer, which can't
 * follow fibers:
 *
 *      CC=clang meson setup build-tsan -Db_sanitize=thread -Db_lundef=false */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include "draw.h"
#include "libtractor/thread-pool.h"
#include "threads.h"

#define FOREVER (3600 * USEC_PER_SEC)

static ThreadJob *job(int (*fn)(void *userdata), void *userdata, void (*destroy)(void *userdata))
{
        ThreadJob *j = calloc(1, sizeof(*j));

        CHECK(j);
        *j = (ThreadJob){ .fn = fn, .userdata = userdata, .destroy = destroy };
        return j;
}

static ThreadJob *collect(ThreadPool *p)
{
        ThreadJob *j;

        while (!(j = thread_pool_collect(p))) {
                struct pollfd fd = { .fd = thread_pool_fd(p), .events = POLLIN };

                CHECK_EQ(poll(&fd, 1, 20000), 1);
        }
        return j;
}

/* --- many, at random --- */
#define JOBS 3000U

typedef struct Work {
        unsigned k;
        unsigned spin, runs, destroys;
} Work;

static int compute(void *userdata)
{
        Work *w = userdata;

        for (unsigned i = 0; i < w->spin; i++)
                sched_yield();
        w->runs++;
        return (int) w->k;
}

static void count(void *userdata)
{
        ((Work *) userdata)->destroys++;
}

static void every_job_runs_once(void)
{
        static Work works[JOBS];
        unsigned submitted = 0, collected = 0;
        ThreadPool *p;

        draw_begin(8);
        memset(works, 0, sizeof(works));
        CHECK_EQ(thread_pool_new(FOREVER, &p), 0);
        while (collected < JOBS) {
                if (submitted < JOBS && submitted - collected < 8 && draw(3)) {
                        Work *w = &works[submitted];

                        *w = (Work){ .k = submitted++, .spin = draw(4) };
                        CHECK_EQ(thread_pool_submit(p, job(compute, w, count)), 0);
                } else if (submitted > collected) {
                        ThreadJob *j = collect(p);

                        CHECK_EQ(j->result, ((Work *) j->userdata)->k);
                        thread_job_free(j);
                        collected++;
                }
        }
        CHECK(thread_pool_n_threads(p) <= 8);
        thread_pool_free(p);
        until_n_threads(OWN_THREADS);
        for (unsigned i = 0; i < JOBS; i++)
                CHECK(works[i].runs == 1 && works[i].destroys == 1);
}

/* --- one thread after the other --- */
static void an_idle_thread_is_used_again(void)
{
        Work w = { 0 };
        ThreadPool *p;

        CHECK_EQ(thread_pool_new(FOREVER, &p), 0);
        for (unsigned i = 0; i < 200; i++) {
                CHECK_EQ(thread_pool_submit(p, job(compute, &w, NULL)), 0);
                thread_job_free(collect(p));
                CHECK_EQ(thread_pool_n_threads(p), 1);
        }
        thread_pool_free(p);
        CHECK_EQ(w.runs, 200);
}

static void a_thread_ends_when_it_is_idle(void)
{
        Work w[4] = { 0 };
        ThreadPool *p;

        CHECK_EQ(thread_pool_new(1000, &p), 0);
        for (unsigned i = 0; i < 4; i++)
                CHECK_EQ(thread_pool_submit(p, job(compute, &w[i], NULL)), 0);
        for (unsigned i = 0; i < 4; i++)
                thread_job_free(collect(p));
        while (thread_pool_n_threads(p) > 0) {
                struct pollfd fd = { .fd = thread_pool_fd(p), .events = POLLIN };

                CHECK_EQ(poll(&fd, 1, 20000), 1);
                CHECK(!thread_pool_collect(p));
        }
        until_n_threads(OWN_THREADS);
        CHECK_EQ(thread_pool_submit(p, job(compute, &w[0], NULL)), 0);
        thread_job_free(collect(p));
        thread_pool_free(p);
}

/* --- leaving --- */
static void *release_later(void *userdata)
{
        Held *h = userdata;

        hear(h->began[0]);
        say(h->hold[1]);
        return NULL;
}

static void freeing_waits_for_what_runs(void)
{
        pthread_t helper;
        ThreadPool *p;
        Held h;

        held_init(&h);
        CHECK_EQ(thread_pool_new(FOREVER, &p), 0);
        CHECK_EQ(thread_pool_submit(p, job(held, &h, held_destroyed)), 0);
        CHECK_EQ(pthread_create(&helper, NULL, release_later, &h), 0);
        thread_pool_free(p);
        CHECK(is_said(h.destroyed[0]));
        CHECK_EQ(pthread_join(helper, NULL), 0);
        until_n_threads(OWN_THREADS);
        held_clear(&h);
}

static void what_was_abandoned_is_left_behind(void)
{
        ThreadJob *early, *late[2];
        ThreadPool *p;
        Held h, hl;

        held_init(&h);
        held_init(&hl);
        CHECK_EQ(thread_pool_new(FOREVER, &p), 0);
        early = job(held, &h, held_destroyed);
        CHECK_EQ(thread_pool_submit(p, early), 0);
        for (unsigned i = 0; i < 2; i++) {
                late[i] = job(held, &hl, held_destroyed);
                CHECK_EQ(thread_pool_submit(p, late[i]), 0);
                hear(hl.began[0]);
        }
        hear(h.began[0]);
        /* It ends while the pool is there, and is collected. */
        thread_pool_abandon(p, early);
        say(h.hold[1]);
        CHECK(collect(p) == early);
        thread_job_free(early);
        hear(h.destroyed[0]);
        thread_pool_abandon(p, late[0]);
        thread_pool_abandon(p, late[1]);
        thread_pool_free(p);
        CHECK(!is_said(hl.destroyed[0]));
        until_n_threads(OWN_THREADS + 2);
        for (unsigned i = 0; i < 2; i++)
                say(hl.hold[1]);
        for (unsigned i = 0; i < 2; i++)
                hear(hl.destroyed[0]);
        until_n_threads(OWN_THREADS);
        held_clear(&h);
        held_clear(&hl);
}

/* Whether a thread has begun it by then is a race; how often it is over is none. */
static void one_that_is_abandoned_at_once_is_over_once(void)
{
        ThreadPool *p;

        CHECK_EQ(thread_pool_new(FOREVER, &p), 0);
        for (unsigned i = 0; i < 2000; i++) {
                Work w = { 0 };
                ThreadJob *j = job(compute, &w, count);

                CHECK_EQ(thread_pool_submit(p, j), 0);
                thread_pool_abandon(p, j);
                CHECK(collect(p) == j);
                thread_job_free(j);
                CHECK(w.runs <= 1 && w.destroys == 1);
        }
        thread_pool_free(p);
}

static int blocked_signals(void *userdata)
{
        return pthread_sigmask(SIG_SETMASK, NULL, userdata);
}

static void signals_are_blocked(void)
{
        sigset_t mine, theirs, after;
        ThreadPool *p;

        CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &mine), 0);
        CHECK_EQ(thread_pool_new(FOREVER, &p), 0);
        CHECK_EQ(thread_pool_submit(p, job(blocked_signals, &theirs, NULL)), 0);
        thread_job_free(collect(p));
        thread_pool_free(p);
        CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
        CHECK_EQ(sigismember(&after, SIGTERM), sigismember(&mine, SIGTERM));
        CHECK_EQ(sigismember(&after, SIGUSR2), 0);
        CHECK(sigismember(&theirs, SIGTERM) && sigismember(&theirs, SIGINT) &&
                        sigismember(&theirs, SIGCHLD));
        CHECK(!sigismember(&theirs, SIGSEGV));
}

TEST_MAIN({ "every_job_runs_once", every_job_runs_once },
                { "an_idle_thread_is_used_again", an_idle_thread_is_used_again },
                { "a_thread_ends_when_it_is_idle", a_thread_ends_when_it_is_idle },
                { "freeing_waits_for_what_runs", freeing_waits_for_what_runs },
                { "what_was_abandoned_is_left_behind", what_was_abandoned_is_left_behind },
                { "one_that_is_abandoned_at_once_is_over_once", one_that_is_abandoned_at_once_is_over_once },
                { "signals_are_blocked", signals_are_blocked });
