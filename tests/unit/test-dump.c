/* SPDX-License-Identifier: Apache-2.0 */
/* What all tasks are doing: dumps, from a task and by SIGUSR1. */
#include <alloca.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"
#include "libtractor/dump.h"
#include "libtractor/nursery.h"
#include "test.h"

static const Json *task_named(const Json *tasks, const char *name)
{
        for (size_t i = 0; i < json_length(tasks); i++)
                if (streq_ptr(json_get_string(json_item(tasks, i), "name", NULL), name))
                        return json_item(tasks, i);
        fprintf(stderr, "no task %s\n", name);
        abort();
}

static bool stack_has(const Json *task, size_t i, const char *what)
{
        const char *frame = json_string(json_item(json_get(task, "stack"), i));

        return frame && strstr(frame, what);
}

/* By name in the stacks. */
__attribute__((visibility("default"))) int deep_sleep(void *unused);
__attribute__((visibility("default"), noinline)) int deeper_sleep(unsigned n);

int deeper_sleep(unsigned n)
{
        volatile int r = n > 0 ? deeper_sleep(n - 1) : tractor_sleep(3600 * TRACTOR_SEC);

        return r;
}

int deep_sleep(void *unused)
{
        volatile int r = deeper_sleep(3);

        return r;
}

static int reads(void *fd)
{
        return tractor_wait_fd(*(int *) fd, 1);
}

static tractor_scope *shield;

static int shielded(void *unused)
{
        shield = tractor_shield(3600 * TRACTOR_SEC);
        return tractor_scope_close(shield, tractor_sleep_forever());
}

static int parent(void *unused)
{
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, "child", deep_sleep, NULL, NULL), 0);
        return tractor_nursery_close(&n, 0);
}

static int turns(void *count)
{
        for (int i = 0; i < 4; i++) {
                (*(int *) count)++;
                CHECK_EQ(tractor_checkpoint(), 0);
        }
        return 0;
}

static void check_dump(const Json *tasks, int fd)
{
        _cleanup_free_ char *wait = xasprintf("descriptor %d", fd);
        const Json *t = task_named(tasks, "main"), *child = task_named(tasks, "child");
        bool found = false;

        CHECK_STR(json_get_string(t, "state", NULL), "running");
        CHECK(!json_get(t, "wait") && !json_get(t, "nursery"));
        CHECK(json_length(json_get(t, "stack")) > 0);
        CHECK_EQ(json_get_integer(child, "nursery", 0),
                        json_get_integer(task_named(tasks, "parent"), "id", -1));
        CHECK(startswith(json_get_string(child, "wait", ""), "sleep 3"));
        CHECK_STR(json_get_string(child, "state", NULL), "parked");
        for (size_t i = 0; i < 5; i++)
                found |= stack_has(child, i, "deeper_sleep+0x");
        CHECK(found);
        for (size_t i = 0; i + 1 < json_length(json_get(child, "stack")); i++)
                CHECK(!stack_has(child, i, "deep_sleep"));
        CHECK(stack_has(child, json_length(json_get(child, "stack")) - 1, "deep_sleep+0x"));
        CHECK(stack_has(child, json_length(json_get(child, "stack")) - 1, "(test-dump)"));
        CHECK_STR(json_get_string(task_named(tasks, "reader"), "wait", NULL), wait);
        CHECK_STR(json_get_string(task_named(tasks, "parent"), "wait", NULL), "nursery");
        t = json_get(task_named(tasks, "shielded"), "scope");
        CHECK(json_get_boolean(t, "shield", false) && !json_get_boolean(t, "cancelled", true));
        CHECK(json_get_integer(t, "deadline_ms", 0) > 3500 * 1000);
        CHECK_STR(json_get_string(task_named(tasks, "turns"), "state", NULL), "ready");
        t = task_named(tasks, "new");
        CHECK_STR(json_get_string(t, "state", NULL), "ready");
        CHECK_EQ(json_length(json_get(t, "stack")), 0);
}

static int all_kinds(void *unused)
{
        TRACTOR_NURSERY(n);
        _cleanup_json_ Json *tasks = NULL;
        int fds[2], count = 0;

        CHECK_EQ(pipe(fds), 0);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, "parent", parent, NULL, NULL), 0);
        CHECK_EQ(tractor_start_task(n, "reader", reads, &fds[0], NULL), 0);
        CHECK_EQ(tractor_start_task(n, "shielded", shielded, NULL, NULL), 0);
        CHECK_EQ(tractor_start_task(n, "turns", turns, &count, NULL), 0);
        CHECK_EQ(tractor_checkpoint(), 0);
        CHECK_EQ(tractor_checkpoint(), 0);
        CHECK_EQ(count, 2);
        CHECK_EQ(tractor_start_task(n, "new", turns, &count, NULL), 0);
        CHECK_EQ(dump_tasks(runtime, &tasks), 0);
        CHECK_EQ(count, 2); /* nothing has moved */
        check_dump(tasks, fds[0]);
        CHECK_EQ(json_length(tasks), 7);
        tasks = json_unref(tasks);
        CHECK_EQ(dump_tasks(runtime, &tasks), 0);
        check_dump(tasks, fds[0]);
        /* And all go on as they would have. */
        CHECK_EQ(write(fds[1], "x", 1), 1);
        while (tractor_nursery_n_tasks(n) > 2)
                CHECK_EQ(tractor_checkpoint(), 0);
        CHECK_EQ(count, 8);
        tractor_scope_set_shield(shield, false);
        tractor_nursery_cancel(n, NULL);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        (void) close(fds[0]);
        (void) close(fds[1]);
        return 0;
}

static void a_dump_tells_what_tasks_do(void)
{
        CHECK_EQ(tractor_run(NULL, all_kinds, NULL), 0);
}

static int idle(void *unused)
{
        return tractor_sleep_forever();
}

static int too_many(void *name)
{
        TRACTOR_NURSERY(n);
        _cleanup_json_ Json *tasks = NULL;
        const Json *last;
        size_t size;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        for (unsigned i = 0; i < 2999; i++)
                CHECK_EQ(tractor_start_task(n, name, idle, NULL, NULL), 0);
        CHECK_EQ(tractor_sleep(0), 0);
        CHECK_EQ(dump_tasks(runtime, &tasks), 0);
        CHECK(json_length(tasks) <= DUMP_TASKS_MAX + 1);
        last = json_item(tasks, json_length(tasks) - 1);
        CHECK_EQ(json_get_integer(last, "more", 0), 3000 - (json_length(tasks) - 1));
        CHECK(json_print(tasks, &size));
        CHECK(size < DUMP_BYTES_MAX + 100);
        tractor_nursery_cancel(n, NULL);
        return tractor_nursery_close(&n, 0);
}

/* Parked with too little of its stack left to look at it. */
static int parks_low(void *unused)
{
        const Task *t = task_current();
        volatile char *waste;

        CHECK(t);
        waste = alloca(fiber_room(t->fiber) - 5800);
        waste[0] = 1;
        return tractor_sleep_forever();
}

static int low_stack(void *unused)
{
        TRACTOR_NURSERY(n);
        _cleanup_json_ Json *tasks = NULL;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, "low", parks_low, NULL, NULL), 0);
        CHECK_EQ(tractor_sleep(0), 0);
        CHECK_EQ(dump_tasks(runtime, &tasks), 0);
        CHECK_EQ(json_length(json_get(task_named(tasks, "low"), "stack")), 0);
        CHECK_STR(json_get_string(task_named(tasks, "low"), "wait", NULL), "cancellation");
        tractor_nursery_cancel(n, NULL);
        return tractor_nursery_close(&n, 0);
}

static void a_dump_overflows_no_stack(void)
{
        CHECK_EQ(tractor_run(NULL, low_stack, NULL), 0);
}

static void a_dump_is_bounded(void)
{
        _cleanup_free_ char *name = calloc(1, 2000);

        CHECK(name);
        CHECK_EQ(tractor_run(NULL, too_many, (void *) "idle"), 0);
        memset(name, 1, 1999); /* six bytes each */
        CHECK_EQ(tractor_run(NULL, too_many, name), 0);
}

/* What is written to stderr meanwhile; the caller frees. */
static int catch_stderr(int *ret_saved)
{
        int fd = memfd_create("stderr", MFD_CLOEXEC);

        CHECK(fd >= 0);
        (void) fflush(stderr);
        *ret_saved = dup(STDERR_FILENO);
        CHECK(dup2(fd, STDERR_FILENO) >= 0);
        return fd;
}

static char *caught(int fd, int saved)
{
        char *text = calloc(1, 65536);

        CHECK(dup2(saved, STDERR_FILENO) >= 0);
        CHECK(text && pread(fd, text, 65535, 0) >= 0);
        (void) close(saved);
        (void) close(fd);
        return text;
}

static int is_asked(void *unused)
{
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, "sleeper", deep_sleep, NULL, NULL), 0);
        CHECK_EQ(tractor_checkpoint(), 0);
        CHECK_EQ(kill(getpid(), SIGUSR1), 0);
        CHECK_EQ(tractor_sleep(TRACTOR_MSEC), 0);
        tractor_nursery_cancel(n, NULL);
        return tractor_nursery_close(&n, 0);
}

static void a_signal_has_it_printed(void)
{
        struct sigaction sa;
        int saved, fd = catch_stderr(&saved);
        _cleanup_free_ char *text = NULL;

        CHECK_EQ(tractor_run(NULL, is_asked, NULL), 0);
        text = caught(fd, saved);
        CHECK(startswith(text, "tractor: 2 tasks of process "));
        CHECK(strstr(text, "\"main\": parked, waits for sleep 0.0 s\n"));
        CHECK(strstr(text, "\"sleeper\" of task 1: parked, waits for sleep 3"));
        CHECK(strstr(text, "deep_sleep+0x"));
        CHECK_EQ(sigaction(SIGUSR1, NULL, &sa), 0);
        CHECK(sa.sa_handler == SIG_DFL);
}

static int waits_for_it(void *unused)
{
        sigset_t set;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGUSR1);
        CHECK_EQ(sigprocmask(SIG_BLOCK, &set, NULL), 0);
        CHECK_EQ(kill(getpid(), SIGUSR1), 0);
        CHECK_EQ(tractor_wait_signal(&set, NULL), SIGUSR1);
        return 0;
}

static volatile sig_atomic_t n_signals;

static void on_usr1(int signo)
{
        n_signals++;
}

static int handles_it(void *unused)
{
        CHECK_EQ(kill(getpid(), SIGUSR1), 0);
        return tractor_sleep(TRACTOR_MSEC);
}

static void a_program_may_have_the_signal(void)
{
        int saved, fd = catch_stderr(&saved);
        _cleanup_free_ char *text = NULL;
        struct sigaction sa = { .sa_handler = on_usr1 };

        CHECK_EQ(tractor_run(NULL, waits_for_it, NULL), 0);
        CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
        CHECK_EQ(tractor_run(NULL, handles_it, NULL), 0);
        text = caught(fd, saved);
        CHECK_STR(text, "");
        CHECK_EQ(n_signals, 1);
}

TEST_MAIN({ "a_dump_tells_what_tasks_do", a_dump_tells_what_tasks_do },
                { "a_dump_overflows_no_stack", a_dump_overflows_no_stack },
                { "a_dump_is_bounded", a_dump_is_bounded },
                { "a_signal_has_it_printed", a_signal_has_it_printed },
                { "a_program_may_have_the_signal", a_program_may_have_the_signal });
