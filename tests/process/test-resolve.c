/* SPDX-License-Identifier: Apache-2.0 */

/* Names by the real user database, and helper processes that answer, fail, hang, or are not waited for. This program
 * is its own helper. */

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "supervisor/helper.h"
#include "supervisor/resolve.h"

/* The helpers' main comes before the tests' own. */
static int test_program(int argc, char **argv);
#define main test_program
#include "test.h"

static sd_event *event;

static struct Answer {
        unsigned calls;
        int r;
        Resolved resolved;
        size_t n, which;
        char text[512]; /* of the last */
        Helper *helper;
} answer;

static void on_resolved(
                int r, const Resolved *resolved, const Unresolved *problems, size_t n, void *userdata)
{
        answer.calls++;
        answer.r = r;
        if (resolved)
                answer.resolved = *resolved;
        CHECK_EQ(n > 0, r < 0);
        answer.n = n;
        if (n > 0) {
                answer.which = problems[n - 1].which;
                (void) snprintf(answer.text, sizeof(answer.text), "%s", problems[n - 1].why);
        }
}

static void turn_until_answered(void)
{
        uint64_t until = now_usec(CLOCK_MONOTONIC) + 20 * USEC_PER_SEC;

        while (answer.calls == 0) {
                CHECK(now_usec(CLOCK_MONOTONIC) < until);
                CHECK(sd_event_run(event, USEC_PER_SEC) >= 0);
        }
        CHECK_EQ(answer.calls, 1);
}

static int ask(const char *user, const char *group, char *const *groups)
{
        _cleanup_(resolve_freep) Resolve *r = NULL;
        int k;

        answer = (struct Answer){ 0 };
        k = resolve_user(event, user, group, groups, on_resolved, NULL, &r);
        if (k < 0)
                return k;
        CHECK_EQ(answer.calls, 0);
        turn_until_answered();
        return answer.r;
}

static void no_child_is_left(void)
{
        uint64_t until = now_usec(CLOCK_MONOTONIC) + 10 * USEC_PER_SEC;

        /* What was killed a moment ago is reaped by the loop. */
        for (;;) {
                siginfo_t si = { 0 };

                if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) < 0)
                        break;
                CHECK(now_usec(CLOCK_MONOTONIC) < until);
                CHECK(sd_event_run(event, 10 * USEC_PER_MSEC) >= 0);
        }
        CHECK_EQ(errno, ECHILD);
}

static void numbers_need_no_process(void)
{
        char *groups[] = { (char *) "7", (char *) "8", (char *) "7", NULL };
        char *bad[] = { (char *) "4294967295", NULL };
        Resolved r;

        CHECK_EQ(resolve_numbers("1000", NULL, NULL, &r), 0);
        CHECK(r.has_uid && r.has_gid && r.uid == 1000 && r.gid == 1000 && r.n_gids == 0);
        CHECK_EQ(resolve_numbers("1000", "50", groups, &r), 0);
        CHECK(r.gid == 50 && r.n_gids == 2 && r.gids[0] == 7 && r.gids[1] == 8);
        CHECK_EQ(resolve_numbers(NULL, "50", NULL, &r), 0);
        CHECK(!r.has_uid && r.has_gid && r.gid == 50);
        CHECK_EQ(resolve_numbers(NULL, NULL, NULL, &r), 0);
        CHECK(!r.has_uid && !r.has_gid);
        CHECK_EQ(resolve_numbers("root", NULL, NULL, &r), -EAGAIN);
        CHECK_EQ(resolve_numbers("0", "-1", NULL, &r), -EAGAIN);
        CHECK_EQ(resolve_numbers("", NULL, NULL, &r), -EAGAIN);
        CHECK_EQ(resolve_numbers("4294967295", NULL, NULL, &r), -EINVAL);
        CHECK_EQ(resolve_numbers("99999999999999999999999", NULL, NULL, &r), -EINVAL);
        CHECK_EQ(resolve_numbers("0", "0", bad, &r), -EINVAL);
}

static void names_are_looked_up(void)
{
        struct passwd *pw = getpwnam("nobody");
        struct group *gr = getgrnam("daemon");
        char *groups[] = { (char *) "daemon", (char *) "4242", NULL };
        bool found = false;

        CHECK(pw && gr);
        CHECK_EQ(ask("nobody", NULL, groups), 0);
        CHECK(answer.resolved.has_uid && answer.resolved.uid == pw->pw_uid);
        CHECK(answer.resolved.has_gid && answer.resolved.gid == pw->pw_gid);
        for (size_t i = 0; i < answer.resolved.n_gids; i++)
                found |= answer.resolved.gids[i] == gr->gr_gid;
        CHECK(found);
        CHECK_EQ(answer.resolved.gids[answer.resolved.n_gids - 1], 4242);
        CHECK_EQ(ask("nobody", "daemon", NULL), 0);
        CHECK_EQ(answer.resolved.gid, gr->gr_gid);
        CHECK_EQ(ask(NULL, "daemon", NULL), 0);
        CHECK(!answer.resolved.has_uid && answer.resolved.gid == gr->gr_gid);
        CHECK_EQ(ask("7", "daemon", NULL), 0);
        CHECK(answer.resolved.uid == 7 && answer.resolved.gid == gr->gr_gid);
        no_child_is_left();
}

static void unknown_names_are_named(void)
{
        char *groups[] = { (char *) "no-such-group", NULL }, name[300];

        CHECK_EQ(ask("no-such-user", NULL, NULL), -ENOENT);
        CHECK_STR(answer.text, "no user is called no-such-user");
        CHECK_EQ(ask("nobody", NULL, groups), -ENOENT);
        CHECK_STR(answer.text, "no group is called no-such-group");
        CHECK(answer.n == 1 && answer.which == RESOLVE_GROUPS);
        CHECK_EQ(ask("no-such-user", "no-such-team", groups), -ENOENT);
        CHECK(answer.n == 3 && answer.which == RESOLVE_GROUPS);
        CHECK_EQ(ask("no-such-user", "no-such-team", NULL), -ENOENT);
        CHECK(answer.n == 2 && answer.which == RESOLVE_GROUP);
        CHECK_STR(answer.text, "no group is called no-such-team");
        CHECK_EQ(ask("--help", NULL, NULL), -ENOENT);
        CHECK_EQ(ask("nobody", "4294967295", NULL), -EINVAL);
        CHECK_EQ(ask("no\nbody", NULL, NULL), -ENOENT);
        memset(name, 'x', sizeof(name) - 1);
        name[sizeof(name) - 1] = 0;
        CHECK_EQ(ask(name, NULL, NULL), -ENAMETOOLONG);
        no_child_is_left();
}

static void question_can_be_dropped(void)
{
        answer = (struct Answer){ 0 };
        for (int i = 0; i < 20; i++) {
                Resolve *r = NULL;

                CHECK_EQ(resolve_user(event, "nobody", NULL, NULL, on_resolved, NULL, &r), 0);
                resolve_free(r);
        }
        no_child_is_left();
        CHECK_EQ(answer.calls, 0);
}

static void on_helper(int r, const char *text, size_t n, void *userdata)
{
        answer.calls++;
        answer.r = r;
        CHECK_EQ(strlen(text), n);
        (void) snprintf(answer.text, sizeof(answer.text), "%s", text);
        answer.helper = helper_free(answer.helper); /* from within its own call-back */
}

static int helper(const char *what, size_t max, uint64_t timeout)
{
        char *const args[] = { (char *) "--helper", (char *) what, NULL };

        answer = (struct Answer){ 0 };
        CHECK_EQ(helper_run(event, args, max, timeout, on_helper, NULL, &answer.helper), 0);
        turn_until_answered();
        no_child_is_left();
        return answer.r;
}

static void helpers_end_in_every_way(void)
{
        uint64_t start;

        CHECK_EQ(helper("hello", 64, USEC_PER_SEC * 10), 0);
        CHECK_STR(answer.text, "hello");
        CHECK_EQ(helper("fail", 64, USEC_PER_SEC * 10), -EPROTO);
        CHECK_STR(answer.text, "");
        CHECK_EQ(helper("kill", 64, USEC_PER_SEC * 10), -EPROTO);
        /* More than fits a pipe, so that it would wait for a reader: cut, not stuck. */
        CHECK_EQ(helper("flood", 100, USEC_PER_SEC * 10), 0);
        CHECK_EQ(strlen(answer.text), 100);
        start = now_usec(CLOCK_MONOTONIC);
        CHECK_EQ(helper("hang", 64, 200 * USEC_PER_MSEC), -ETIMEDOUT);
        CHECK(now_usec(CLOCK_MONOTONIC) - start >= 200 * USEC_PER_MSEC);
        /* Signals of the supervisor are blocked or ignored, those of its helpers are not. */
        CHECK_EQ(helper("signals", 64, USEC_PER_SEC * 10), 0);
        CHECK_STR(answer.text, "default");
}

static int helper_main(const char *what)
{
        helper_begin("helper", 30);
        if (streq(what, "hello"))
                return printf("hello") == 5 ? 0 : 1;
        if (streq(what, "fail"))
                return printf("text") == 4 ? 1 : 2;
        if (streq(what, "kill"))
                return raise(SIGKILL);
        if (streq(what, "flood"))
                for (int i = 0; i < 1000; i++)
                        printf("%01000d", i);
        if (streq(what, "hang"))
                for (;;)
                        pause();
        if (streq(what, "signals")) {
                sigset_t mask;

                (void) sigprocmask(SIG_SETMASK, NULL, &mask);
                printf("%s", sigismember(&mask, SIGTERM) || signal(SIGPIPE, SIG_DFL) != SIG_DFL ? "blocked"
                                                                                                : "default");
        }
        return 0;
}

static void set_up(void)
{
        sigset_t mask;

        CHECK_EQ(sigemptyset(&mask), 0);
        CHECK_EQ(sigaddset(&mask, SIGTERM), 0);
        CHECK_EQ(sigprocmask(SIG_BLOCK, &mask, NULL), 0);
        CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
        CHECK(sd_event_new(&event) >= 0);
}

static void tear_down(void)
{
        event = sd_event_unref(event);
}

#define CASE(f)                                                                                             \
        {                                                                                                   \
#f, f                                                                                       \
        }

TEST_MAIN(CASE(set_up), CASE(numbers_need_no_process), CASE(names_are_looked_up),
                CASE(unknown_names_are_named), CASE(question_can_be_dropped), CASE(helpers_end_in_every_way),
                CASE(tear_down));

#undef main
int main(int argc, char **argv)
{
        if (argc > 1 && streq(argv[1], "--resolve"))
                return resolve_main(argc, argv);
        if (argc > 2 && streq(argv[1], "--helper"))
                return helper_main(argv[2]);
        return test_program(argc, argv);
}
