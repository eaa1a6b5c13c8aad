/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What tests of threads share: how many there are, and jobs that are held up by a pipe. */

#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include "base/usec.h"
#include "test.h"

/* The thread sanitizer has one of its own. */
#ifdef __has_feature
#define TSAN __has_feature(thread_sanitizer)
#elif defined(__SANITIZE_THREAD__)
#define TSAN 1
#else
#define TSAN 0
#endif
#define OWN_THREADS (TSAN ? 2U : 1U)

/* Of this process, as the kernel has it. */
static inline unsigned n_threads(void)
{
        DIR *d = opendir("/proc/self/task");
        unsigned n = 0;

        CHECK(d);
        for (struct dirent *e; (e = readdir(d));)
                n += e->d_name[0] != '.';
        closedir(d);
        return n;
}

/* The kernel still lists one for a moment that has been joined; one that nobody joins tells nobody at
 * all. */
static inline void until_n_threads(unsigned n)
{
        uint64_t until = now_usec(CLOCK_MONOTONIC) + 20 * USEC_PER_SEC;

        while (n_threads() != n) {
                CHECK(now_usec(CLOCK_MONOTONIC) < until);
                sched_yield();
        }
}

/* Held up until somebody writes to `hold`; says on `began` and `destroyed` how far it is. */
typedef struct Held {
        int hold[2], began[2], destroyed[2];
} Held;

static inline void held_init(Held *h)
{
        CHECK_EQ(pipe(h->hold), 0);
        CHECK_EQ(pipe(h->began), 0);
        CHECK_EQ(pipe(h->destroyed), 0);
}

static inline void held_clear(Held *h)
{
        for (unsigned i = 0; i < 2; i++) {
                close(h->hold[i]);
                close(h->began[i]);
                close(h->destroyed[i]);
        }
}

static inline void say(int fd)
{
        CHECK_EQ(write(fd, "x", 1), 1);
}

static inline void hear(int fd)
{
        char c;

        CHECK_EQ(read(fd, &c, 1), 1);
}

static inline bool is_said(int fd)
{
        struct pollfd p = { .fd = fd, .events = POLLIN };

        return poll(&p, 1, 0) == 1;
}

static inline int held(void *userdata)
{
        Held *h = userdata;

        say(h->began[1]);
        hear(h->hold[0]);
        return 5;
}

static inline void held_destroyed(void *userdata)
{
        say(((Held *) userdata)->destroyed[1]);
}
