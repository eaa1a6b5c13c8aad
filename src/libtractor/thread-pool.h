/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Threads that run jobs, and an eventfd that says when some are done. It knows nothing of tasks, so that
 * it can be looked at by tools that know threads but no fibers. One mutex guards all of it; what a job
 * works on is seen by one thread at a time. The pool is counted: a thread that its owner has left behind
 * keeps it, and is then the one that ends its job. */

#include "base/list.h"

typedef struct ThreadPool ThreadPool;

typedef struct ThreadJob {
        ListNode node;
        int (*fn)(void *userdata);
        void *userdata;
        void (*destroy)(void *userdata); /* may be NULL */
        int result;
        bool running;   /* the pool's: it has begun */
        bool abandoned; /* the pool's: nobody waits for it, nor does freeing the pool */
        void *owner;    /* the submitter's own */
} ThreadJob;

#define THREAD_IDLE_USEC (10 * (uint64_t) 1000000)

int thread_pool_new(uint64_t idle_usec, ThreadPool **ret);
/* Waits for all threads, but those that run abandoned jobs; these free their jobs and the last one the
 * pool. Jobs that were done and not collected are freed. Returns NULL. */
ThreadPool *thread_pool_free(ThreadPool *p);
/* Borrowed; readable when a job is done or a thread has ended. */
int thread_pool_fd(const ThreadPool *p);
/* A malloc()ed job, which is the pool's until it is collected. -EAGAIN: no thread could be started, and
 * it is still the caller's. */
int thread_pool_submit(ThreadPool *p, ThreadJob *j);
/* Nobody waits for it; it is collected like others. One that has not begun is done at once, and its fn is
 * never called. */
void thread_pool_abandon(ThreadPool *p, ThreadJob *j);
/* One that is done, or NULL when there is none, and then threads that have ended are reaped: to be called
 * until it says so. */
ThreadJob *thread_pool_collect(ThreadPool *p);
/* Calls its `destroy`, and frees it. NULL. */
ThreadJob *thread_job_free(ThreadJob *j);
unsigned thread_pool_n_threads(ThreadPool *p); /* that have not been reaped */
