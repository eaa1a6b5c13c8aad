/* SPDX-License-Identifier: Apache-2.0 */
/* bench-tasks WHAT N: what tasks of one process cost; prints one number, nanoseconds each (idle: bytes each).
 *
 *   switch   two tasks that give way to each other      turns    the same, with one that waits for a descriptor
 *   spawn    a task is started and awaited              timers   a deadline is set and dropped, with 1 000 others
 *   idle     N tasks that sleep: resident memory */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "tractor/tractor.h"

static unsigned long n_rounds;

static uint64_t now_nsec(void)
{
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000000 + (uint64_t) t.tv_nsec;
}

static void tell(uint64_t total)
{
        printf("%.2f\n", (double) total / (double) n_rounds);
}

static int give_way(void *unused)
{
        for (unsigned long i = 0; i < n_rounds / 2; i++)
                if (tractor_checkpoint() < 0)
                        return -ECANCELED;
        return 0;
}

static int take_turns(void)
{
        TRACTOR_NURSERY(n);
        uint64_t begin;
        int r = tractor_nursery_open(NULL, &n);

        for (unsigned i = 0; i < 2 && r >= 0; i++)
                r = tractor_start_task(n, "turn", give_way, NULL, NULL);
        begin = now_nsec();
        r = tractor_nursery_close(&n, r);
        tell(now_nsec() - begin);
        return r;
}

static int bench_switch(void *unused)
{
        return take_turns();
}

static int wait_for_pipe(void *fd)
{
        return tractor_wait_fd(*(int *) fd, 1);
}

static int bench_turns(void *unused)
{
        TRACTOR_NURSERY(n);
        int fds[2], r = tractor_nursery_open(NULL, &n);

        if (r < 0 || pipe(fds) < 0)
                return -EIO;
        r = tractor_start_task(n, "reader", wait_for_pipe, &fds[0], NULL);
        if (r >= 0)
                r = take_turns();
        tractor_nursery_cancel(n, NULL);
        r = tractor_nursery_close(&n, r);
        (void) close(fds[0]);
        (void) close(fds[1]);
        return r;
}

static int nothing(void *unused)
{
        return 0;
}

static int bench_spawn(void *unused)
{
        uint64_t begin = now_nsec();

        for (unsigned long i = 0; i < n_rounds; i++) {
                TRACTOR_NURSERY(n);
                int r = tractor_nursery_open(NULL, &n);

                if (r >= 0)
                        r = tractor_start_task(n, "one", nothing, NULL, NULL);
                r = tractor_nursery_close(&n, r);
                if (r < 0)
                        return r;
        }
        tell(now_nsec() - begin);
        return 0;
}

static long resident(void)
{
        _cleanup_free_ char *text = NULL;
        long pages = -1;

        if (read_file_at(AT_FDCWD, "/proc/self/statm", &text) < 0 || sscanf(text, "%*d %ld", &pages) != 1)
                return -1;
        return pages * sysconf(_SC_PAGESIZE);
}

static int sleeper(void *unused)
{
        return tractor_sleep_forever();
}

static int bench_idle(void *unused)
{
        TRACTOR_NURSERY(n);
        long before = resident(), after;
        int r = tractor_nursery_open(NULL, &n);

        for (unsigned long i = 0; i < n_rounds && r >= 0; i++)
                r = tractor_start_task(n, "idle", sleeper, NULL, NULL);
        if (r >= 0)
                r = tractor_sleep(10 * TRACTOR_MSEC);
        after = resident();
        if (before < 0 || after < 0)
                r = -EIO;
        if (r >= 0)
                tell((uint64_t) (after - before));
        tractor_nursery_cancel(n, NULL);
        return tractor_nursery_close(&n, r);
}

static int late_sleeper(void *unused)
{
        return tractor_sleep(3600 * TRACTOR_SEC);
}

static int bench_timers(void *unused)
{
        TRACTOR_NURSERY(n);
        uint64_t begin;
        int r = tractor_nursery_open(NULL, &n);

        for (unsigned i = 0; i < 1000 && r >= 0; i++)
                r = tractor_start_task(n, "late", late_sleeper, NULL, NULL);
        if (r >= 0)
                r = tractor_sleep(TRACTOR_MSEC);
        begin = now_nsec();
        for (unsigned long i = 0; i < n_rounds && r >= 0; i++)
                r = tractor_scope_close(tractor_move_on_after(TRACTOR_SEC), 0);
        if (r >= 0)
                tell(now_nsec() - begin);
        tractor_nursery_cancel(n, NULL);
        return tractor_nursery_close(&n, r);
}

int main(int argc, char **argv)
{
        static const struct {
                const char *name;
                int (*run)(void *unused);
        } benches[] = { { "switch", bench_switch }, { "turns", bench_turns }, { "spawn", bench_spawn },
                { "idle", bench_idle }, { "timers", bench_timers } };

        n_rounds = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
        for (size_t i = 0; i < ELEMENTSOF(benches) && n_rounds > 0; i++)
                if (streq(argv[1], benches[i].name))
                        return tractor_main(NULL, benches[i].run, NULL);
        (void) fprintf(stderr, "usage: bench-tasks switch|turns|spawn|idle|timers N\n");
        return 2;
}
