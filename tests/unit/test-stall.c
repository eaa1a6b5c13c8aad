/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks that hold up all others, and those that run out of stack. */
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "libtractor/crash-hooks.h"
#include "libtractor/nursery.h"
#include "libtractor/runtime.h"
#include "test.h"

/* What runs `body` writes to stderr, in a process of its own; the caller frees. */
static char *words_of(int (*body)(void *), uint64_t limit, int expected)
{
        tractor_options o = { .size = sizeof(o), .stall_usec = limit };
        char *text = calloc(1, 65536);
        int fds[2], status;
        size_t n = 0;
        ssize_t k;
        pid_t pid;

        CHECK(text);
        CHECK_EQ(pipe(fds), 0);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
                CHECK(dup2(fds[1], STDERR_FILENO) >= 0);
                (void) close(fds[0]);
                (void) close(fds[1]);
                CHECK_EQ(tractor_run(&o, body, NULL), expected);
                _exit(0);
        }
        (void) close(fds[1]);
        while ((k = read(fds[0], text + n, 65535 - n)) > 0)
                n += (size_t) k;
        (void) close(fds[0]);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        if (status != 0)
                fputs(text, stderr);
        CHECK_EQ(status, 0);
        return text;
}

static void check_order(const char *text, const char *first, const char *second)
{
        const char *a = strstr(text, first), *b = strstr(text, second);

        if (!a || !b || a > b)
                fputs(text, stderr);
        CHECK(a && b && a < b);
}

/* Found by name in the backtrace. */
__attribute__((visibility("default"), noinline)) int count_sheep(void *unused);
int count_sheep(void *unused)
{
        volatile unsigned long n = 0;

        while (!runtime->stall.told)
                n++;
        return 0;
}

static int one_counts(void *unused)
{
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, "shepherd", count_sheep, NULL, NULL), 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK(!runtime->stall.told);
        /* And again: each time is told. */
        return count_sheep(NULL);
}

static void who_computes_is_named(void)
{
        _cleanup_free_ char *text = words_of(one_counts, 20 * TRACTOR_MSEC, 0);

        check_order(text, "tractor: task shepherd has run for 0.0 s without a checkpoint",
                        "tractor: task shepherd ran 0.");
        check_order(text, "count_sheep", "tractor: task shepherd ran");
        check_order(text, "tractor: task shepherd ran", "tractor: task main has run for");
        check_order(text, "tractor: task main has run for", "tractor: task main ran");
}

/* Reads what nobody writes until it has been named for it. */
static int hangs(void *unused)
{
        int fds[2], said[2], saved = dup(STDERR_FILENO);
        char c;
        pid_t pid;

        CHECK_EQ(pipe(fds), 0);
        CHECK_EQ(pipe(said), 0);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
                (void) close(said[1]);
                for (bool let_go = false; read(said[0], &c, 1) == 1; let_go = true) {
                        if (!let_go)
                                CHECK_EQ(write(fds[1], "x", 1), 1);
                        CHECK_EQ(write(saved, &c, 1), 1);
                }
                _exit(0);
        }
        /* Time begins anew: named before the child listens, it would hang for good. */
        CHECK_EQ(tractor_checkpoint(), 0);
        CHECK(dup2(said[1], STDERR_FILENO) >= 0);
        CHECK_EQ(read(fds[0], &c, 1), 1); /* no EINTR */
        (void) close(said[1]);
        (void) close(fds[1]);
        CHECK_EQ(tractor_checkpoint(), 0);
        CHECK(dup2(saved, STDERR_FILENO) >= 0);
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
        return 0;
}

static void who_hangs_in_a_system_call_is_named(void)
{
        _cleanup_free_ char *text = words_of(hangs, 20 * TRACTOR_MSEC, 0);

        check_order(text, "tractor: task main has run for 0.", "tractor: task main ran 0.");
        check_order(text, "read", "tractor: task main ran");
}

static unsigned n_settimes;

/* Before the C library's. */
int timer_settime(timer_t t, int flags, const struct itimerspec *new, struct itimerspec *old)
{
        static int (*next)(timer_t, int, const struct itimerspec *, struct itimerspec *);

        if (!next)
                *(void **) &next = dlsym(RTLD_NEXT, "timer_settime");
        n_settimes++;
        return next(t, flags, new, old);
}

static unsigned long n_switched_away(void)
{
        _cleanup_free_ char *text = NULL;
        const char *p;

        CHECK(read_file_at(-1, "/proc/thread-self/status", &text) >= 0);
        p = strstr(text, "\nvoluntary_ctxt_switches:");
        CHECK(p);
        return strtoul(p + strlen("\nvoluntary_ctxt_switches:"), NULL, 10);
}

static int rests(void *unused)
{
        unsigned long before;

        CHECK_EQ(tractor_sleep(TRACTOR_MSEC), 0);
        before = n_switched_away();
        n_settimes = 0;
        CHECK_EQ(tractor_sleep(1000 * TRACTOR_MSEC), 0);
        /* A timer that went on would have been there 20 times. */
        CHECK(n_switched_away() - before <= 10);
        CHECK(n_settimes <= 2);
        return 0;
}

static void an_idle_program_is_left_alone(void)
{
        /* Longer than a busy machine lets a runnable task wait, which would be told with good reason. */
        _cleanup_free_ char *text = words_of(rests, 100 * TRACTOR_MSEC, 0);

        CHECK(!strstr(text, "tractor: "));
}

static int is_busy(void *unused)
{
        uint64_t begin = tractor_now(), n = 0;

        n_settimes = 0;
        while (tractor_now() - begin < 200 * TRACTOR_MSEC) {
                CHECK_EQ(tractor_checkpoint(), 0);
                n++;
        }
        /* Two a limit, however many switches: and as many more as late ticks find the same switch again. */
        CHECK(n_settimes <= 2 * (tractor_now() - begin) / (20 * TRACTOR_MSEC) + 2);
        CHECK(n_settimes > 0);
        CHECK(n > n_settimes);
        return 0;
}

static void a_busy_program_pays_little(void)
{
        free(words_of(is_busy, 20 * TRACTOR_MSEC, 0));
}

static int takes_long(void *unused)
{
        uint64_t begin = tractor_now();

        while (tractor_now() - begin < 30 * TRACTOR_MSEC)
                ;
        return 0;
}

static void who_may_is_not_named(void)
{
        _cleanup_free_ char *text = words_of(takes_long, TRACTOR_FOREVER, 0);
        struct sigaction sa;

        CHECK(!strstr(text, "tractor: "));
        /* Nothing stays behind. */
        CHECK_EQ(tractor_run(NULL, takes_long, NULL), 0);
        for (int i = SIGRTMIN; i <= SIGRTMAX; i++) {
                CHECK_EQ(sigaction(i, NULL, &sa), 0);
                CHECK(sa.sa_handler == SIG_DFL);
        }
}

/* --- the end of a stack --- */
static void on_fault(int signo, siginfo_t *si, void *context)
{
        const char *task;
        size_t size;

        if (!runtime_crash_hooks.is_stack_guard(si->si_addr, &task, &size))
                _exit(3);
        if (!streq_ptr(runtime_crash_hooks.task_name(), task))
                _exit(8);
        _exit(streq(task, "deep") && size == 32768 ? 0 : 4);
}

static volatile unsigned depth_max = 1000000;

static unsigned recurse(unsigned depth)
{
        volatile char room[512];

        room[0] = (char) depth;
        return (depth < depth_max ? recurse(depth + 1) : 0) + (unsigned) room[depth % sizeof(room)];
}

/* Leaps over more than the guard: without probes it would land in a neighbour's stack. */
static unsigned leap(unsigned depth)
{
        char room[100000];

        room[0] = (char) depth;
        /* All of it may be used, for all that is known. */
        __asm__ volatile("" : : "r"(room) : "memory");
        return (unsigned) room[0] + (depth > 0 ? leap(depth - 1) : 0);
}

static int runs_away(void *how)
{
        unsigned n = streq(how, "leap") ? leap(3) : recurse(0);

        _exit(n > 0 ? 6 : 7);
}

static int neighbour(void *unused)
{
        return tractor_sleep_forever();
}

static int has_neighbours(void *how)
{
        TRACTOR_NURSERY(n);
        struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };
        stack_t alternate = { .ss_size = 65536, .ss_sp = malloc(65536) };
        const char *task;
        size_t size;

        CHECK(!runtime_is_stack_guard(NULL, &task, &size));
        CHECK(!runtime_is_stack_guard(&n, &task, &size));
        CHECK(alternate.ss_sp && sigaltstack(&alternate, NULL) == 0);
        CHECK_EQ(sigaction(SIGSEGV, &sa, NULL), 0);
        CHECK_EQ(sigaction(SIGBUS, &sa, NULL), 0);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        for (unsigned i = 0; i < 4; i++)
                CHECK_EQ(tractor_start_task(n, "neighbour", neighbour, NULL, NULL), 0);
        CHECK_EQ(tractor_start_task(n, "deep", runs_away, how, NULL), 0);
        for (unsigned i = 0; i < 4; i++)
                CHECK_EQ(tractor_start_task(n, "neighbour", neighbour, NULL, NULL), 0);
        return tractor_nursery_close(&n, 0);
}

static void overflow(const char *how)
{
        tractor_options o = { .size = sizeof(o), .stack_size = 32768 };
        pid_t pid = fork();
        int status;

        CHECK(pid >= 0);
        if (pid == 0) {
                (void) tractor_run(&o, has_neighbours, (void *) how);
                _exit(5);
        }
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
}

static void a_runaway_recursion_hits_the_guard(void)
{
        overflow("recursion");
}

static void a_leap_hits_the_guard(void)
{
        overflow("leap");
}

TEST_MAIN({ "who_computes_is_named", who_computes_is_named },
                { "who_hangs_in_a_system_call_is_named", who_hangs_in_a_system_call_is_named },
                { "an_idle_program_is_left_alone", an_idle_program_is_left_alone },
                { "a_busy_program_pays_little", a_busy_program_pays_little },
                { "who_may_is_not_named", who_may_is_not_named },
                { "a_runaway_recursion_hits_the_guard", a_runaway_recursion_hits_the_guard },
                { "a_leap_hits_the_guard", a_leap_hits_the_guard });
