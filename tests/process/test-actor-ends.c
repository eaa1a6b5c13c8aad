/* SPDX-License-Identifier: Apache-2.0 */
/* What is seen of an actor from outside while it runs, and how it ends: its title, its tasks, what it calls at its
 * beginning and end, and what its owner is told when it crashes. $BACKEND chooses where actors live. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <sys/epoll.h>
#include <tractor/tractor.h>
#include <unistd.h>

#include "base/io.h"
#include "test.h"

#if defined(__SANITIZE_ADDRESS__)
#define INSTRUMENTED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define INSTRUMENTED 1
#endif
#endif

/* --- what actors do --- */
static int ponders(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        int r = tractor_context_started(ctx, NULL, NULL);

        return r < 0 ? r : tractor_sleep_forever();
}

static int where(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        *ret_result = json_object_new_string(getenv("TRACTOR_SOCKET"));
        return 0;
}

static int retitles(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        return tractor_set_title("busy %d", 7);
}

static int busy(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        for (uint64_t until = tractor_now() + 500 * TRACTOR_MSEC; tractor_now() < until;)
                ;
        return 0;
}

__attribute__((noinline)) static int follows_nothing(const int *volatile p)
{
        return *p + 1;
}

static int crashes(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        *ret_result = json_object_new_int(follows_nothing(NULL));
        return 0;
}

__attribute__((noinline)) static int descends(volatile int *from)
{
        volatile int room[256] = { *from };

        return *from < 0 ? 0 : descends(room) + room[1];
}

static int overflows(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        int first = 0;

        *ret_result = json_object_new_int(descends(&first));
        return 0;
}

static const tractor_method methods[] = { { "ponders", ponders }, { "where", where },
        { "retitles", retitles }, { "busy", busy }, { "crashes", crashes }, { "overflows", overflows },
        { NULL } };

static void says(void *text)
{
        (void) fprintf(stderr, "%s\n", (const char *) text);
}

static int on_start(void *text)
{
        /* Calls wait meanwhile: else the first one would be answered, and its actor cancelled, before this is over. */
        CHECK_EQ(tractor_sleep(20 * TRACTOR_MSEC), 0);
        says((void *) "on_start");
        CHECK_EQ(tractor_at_exit(says, (void *) "at_exit, the first"), 0);
        CHECK_EQ(tractor_at_exit(says, (void *) "at_exit, the second"), 0);
        return 0;
}

static tractor_options options = { .size = sizeof(options),
        .methods = methods,
        .flags = TRACTOR_EMBED,
        .stall_usec = 50 * TRACTOR_MSEC,
        .on_start = on_start,
        .on_stop = says,
        .userdata = (void *) "on_stop" };

/* --- a root whose stderr, and that of its actors, is read --- */
static struct {
        int fd, own;
        size_t n;
        char text[65536];
} said;

static void listen_to_stderr(void)
{
        int fds[2];

        CHECK_EQ(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
        CHECK_EQ(fd_set_nonblock(fds[1], false), 0);
        said.own = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        CHECK(said.own >= 0);
        said.fd = fds[0];
        said.n = 0;
        said.text[0] = 0;
        CHECK_EQ(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
        (void) close(fds[1]);
}

static bool read_stderr(void)
{
        ssize_t n = read(said.fd, said.text + said.n, sizeof(said.text) - said.n - 1);

        if (n > 0) {
                said.n += (size_t) n;
                said.text[said.n] = 0;
        }
        return n > 0;
}

static void await_on_stderr(const char *text)
{
        tractor_scope *s = tractor_fail_after(20 * TRACTOR_SEC);
        int r = 0;

        while (r >= 0 && !strstr(said.text, text)) {
                r = tractor_wait_fd(said.fd, EPOLLIN);
                if (r >= 0)
                        (void) read_stderr();
        }
        CHECK_EQ(tractor_scope_close(s, r < 0 ? r : 0), 0);
}

static void hear_the_rest(void)
{
        CHECK_EQ(dup2(said.own, STDERR_FILENO), STDERR_FILENO);
        while (read_stderr())
                ;
        said.own = safe_close(said.own);
        said.fd = safe_close(said.fd);
}

/* A check that fails in between says so there. */
static void on_abort(int signo)
{
        if (said.own > 0) {
                hear_the_rest();
                (void) !write(STDERR_FILENO, said.text, said.n);
        }
        (void) signal(SIGABRT, SIG_DFL);
}

static int with_actor(void *scenario)
{
        void (*act)(tractor_portal *) = scenario;
        tractor_nursery_options o = { .size = sizeof(o), .strategy = "one_cancels_one" };
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(&o, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "a", NULL, &p), 0);
        act(p);
        tractor_portal_unref(p);
        tractor_nursery_cancel(n, NULL);
        return tractor_nursery_close(&n, 0);
}

static int run(void (*scenario)(tractor_portal *))
{
        int r;

        listen_to_stderr();
        r = tractor_run(&options, with_actor, (void *) scenario);
        hear_the_rest();
        return r;
}

/* --- scenarios --- */
static void check_title(pid_t pid, const char *expected)
{
        char path[64], text[256] = "";
        int fd;

        (void) snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        CHECK(fd >= 0);
        CHECK(read(fd, text, sizeof(text) - 1) > 0);
        CHECK_STR(text, expected);
        (void) close(fd);
}

static void looks_at_title(tractor_portal *p)
{
        CHECK_EQ(tractor_portal_call(p, "where", NULL, NULL), 0);
        check_title(tractor_portal_pid(p), tractor_portal_path(p));
        CHECK_EQ(tractor_portal_call(p, "retitles", NULL, NULL), 0);
        check_title(tractor_portal_pid(p), "busy 7");
}

static void its_title_is_its_path(void)
{
        CHECK_EQ(run(looks_at_title), 0);
}

static void just_calls(tractor_portal *p)
{
        CHECK_EQ(tractor_portal_call(p, "where", NULL, NULL), 0);
}

static void callbacks_come_in_order(void)
{
        CHECK_EQ(run(just_calls), 0);
        CHECK_STR(said.text, "on_start\non_stop\nat_exit, the second\nat_exit, the first\n");
}

static void ask_tractorctl(tractor_portal *p, char *text, size_t size)
{
        struct json_object *path = NULL;
        char command[1024];
        FILE *f;

        CHECK_EQ(tractor_portal_call(p, "where", NULL, &path), 0);
        (void) snprintf(command, sizeof(command), "TRACTOR_SOCKET='%s' '%s' tasks '%s' 2>&1",
                        json_object_get_string(path), TRACTORCTL, tractor_portal_path(p));
        json_object_put(path);
        f = popen(command, "r");
        CHECK(f);
        text[fread(text, 1, size - 1, f)] = 0;
        CHECK_EQ(pclose(f), 0);
}

static void looks_at_tasks(tractor_portal *p)
{
        TRACTOR_CLEANUP(tractor_context_dropp) tractor_context *c = NULL;
        char text[16384];

        CHECK_EQ(tractor_context_open(p, "ponders", NULL, NULL, &c, NULL), 0);
        ask_tractorctl(p, text, sizeof(text));
        CHECK(strstr(text, "ponders"));
        CHECK(strstr(text, "parked"));
        CHECK(strstr(text, "cancellation"));
        CHECK_EQ(kill(tractor_portal_pid(p), SIGUSR1), 0);
        await_on_stderr("ponders");
}

static void its_tasks_are_shown(void)
{
        CHECK_EQ(run(looks_at_tasks), 0);
}

static void stalls(tractor_portal *p)
{
        CHECK_EQ(tractor_portal_call(p, "busy", NULL, NULL), 0);
}

static void who_never_yields_is_named(void)
{
        CHECK_EQ(run(stalls), 0);
        CHECK(strstr(said.text, "busy"));
}

#ifndef INSTRUMENTED /* a sanitizer has its own say of what follows */
static void check_crash(const char *function)
{
        const tractor_error *e = tractor_last_error();
        const char *report;
        bool found = false;

        CHECK_STR(json_object_get_string(json_object_object_get(tractor_error_exit(e), "signal")),
                        "SIGSEGV");
        report = json_object_get_string(json_object_object_get(tractor_error_exit(e), "report"));
        CHECK(report && strlen(report) == 32);
        for (size_t i = 0; i < tractor_error_n_backtrace(e); i++)
                found |= strstr(tractor_error_backtrace(e, i), function) != NULL;
        CHECK(found);
}

static void crash(tractor_portal *p)
{
        CHECK_EQ(tractor_portal_call(p, "crashes", NULL, NULL), -EOWNERDEAD);
        check_crash("follows_nothing");
}

static void a_crash_names_its_function(void)
{
        CHECK_EQ(run(crash), -EOWNERDEAD);
}

static void overflow(tractor_portal *p)
{
        CHECK_EQ(tractor_portal_call(p, "overflows", NULL, NULL), -EOWNERDEAD);
        check_crash("descends");
        CHECK(strstr(tractor_error_message(tractor_last_error()), "overflowed"));
}

static void an_overflow_is_called_one(void)
{
        CHECK_EQ(run(overflow), -EOWNERDEAD);
}
#endif

int main(int argc, char **argv)
{
        static const TestCase cases[] = {
                { "its_title_is_its_path", its_title_is_its_path },
                { "callbacks_come_in_order", callbacks_come_in_order },
                { "its_tasks_are_shown", its_tasks_are_shown },
                { "who_never_yields_is_named", who_never_yields_is_named },
#ifndef INSTRUMENTED
                { "a_crash_names_its_function", a_crash_names_its_function },
                { "an_overflow_is_called_one", an_overflow_is_called_one },
#endif
        };

        /* The same binary is its actors. */
        if (getenv("TRACTOR_ENTRY"))
                return tractor_main(&options, NULL, NULL);
        CHECK(signal(SIGABRT, on_abort) != SIG_ERR);
        options.backend = getenv("BACKEND");
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
