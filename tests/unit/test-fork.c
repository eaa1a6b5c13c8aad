/* SPDX-License-Identifier: Apache-2.0 */
/* A program that forks in the middle of a run: the child gets -ECHILD from all it calls, wherever it goes from there, and the parent notices
 * nothing. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "handlers.h"
#include "test.h"

static const tractor_method methods[] = { { "echo", echo }, { "mirror", mirror }, { NULL } };

static unsigned n_steps, n_destroyed, n_at_exit;
static pid_t child;

static int steps(void *unused)
{
        for (;;) {
                int r = tractor_checkpoint();

                if (r < 0)
                        return r;
                n_steps++;
        }
}

static void counts(void *n)
{
        (*(unsigned *) n)++;
}

static void check_open(tractor_nursery *n, tractor_portal *p, tractor_context *c)
{
        struct json_object *item = NULL;
        tractor_nursery *other = NULL;
        tractor_portal *another = NULL;
        int fds[2];

        CHECK_EQ(tractor_checkpoint(), -ECHILD);
        CHECK_EQ(tractor_sleep(0), -ECHILD);
        CHECK_EQ(tractor_nursery_open(NULL, &other), -ECHILD);
        CHECK_EQ(tractor_start_task(n, "late", steps, NULL, NULL), -ECHILD);
        CHECK_EQ(tractor_start_actor(n, "late", NULL, NULL), -ECHILD);
        CHECK_EQ(tractor_portal_call(p, "echo", NULL, NULL), -ECHILD);
        CHECK_EQ(tractor_portal_tell(p, "echo", NULL), -ECHILD);
        CHECK_EQ(tractor_portal_try_tell(p, "echo", NULL), -ECHILD);
        CHECK_EQ(tractor_send(c, NULL), -ECHILD);
        CHECK_EQ(tractor_try_send(c, NULL), -ECHILD);
        CHECK_EQ(tractor_receive(c, &item), -ECHILD);
        CHECK_EQ(tractor_stop(c), -ECHILD);
        CHECK_EQ(tractor_process(), -ECHILD);
        CHECK_EQ(tractor_run(NULL, steps, NULL), -ECHILD);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        CHECK_EQ(tractor_portal_open_fds(fds[0], fds[0], &another), -ECHILD);
        (void) close(fds[1]);
}

/* What is said last is kept for the task's next blocking call, and must go out once. */
static int forks(void *unused)
{
        tractor_scope *s;
        tractor_context *c = NULL;
        tractor_portal *p = NULL;
        struct json_object *item = NULL;
        TRACTOR_NURSERY(n);
        unsigned before;
        int fds[2], status;

        CHECK_EQ(tractor_at_exit(counts, &n_at_exit), 0);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        CHECK_EQ(tractor_serve_fds(n, fds[1], fds[1], methods), 0);
        CHECK_EQ(tractor_start_task(n, "steps", steps, &n_destroyed, counts), 0);
        CHECK_EQ(tractor_portal_open_fds(fds[0], fds[0], &p), 0);
        CHECK_EQ(tractor_context_open(p, "mirror", NULL, NULL, &c, NULL), 0);
        for (int i = 0; i < 3; i++)
                CHECK_EQ(tractor_send(c, json_object_new_int(i)), 0);
        s = tractor_scope_open();
        before = n_steps;
        child = fork();
        CHECK(child >= 0);
        if (child == 0) {
                check_open(n, p, c);
                CHECK_EQ(tractor_scope_close(s, 0), -ECHILD);
                tractor_nursery_cancel(n, "by its fork");
                CHECK_EQ(tractor_context_close(&c, 0, NULL), -ECHILD);
                CHECK(!tractor_portal_unref(p));
                CHECK_EQ(n_steps, before);
                return -EPROTO; /* the nursery is left by its cleanup */
        }
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(status, 0);
        CHECK_EQ(tractor_scope_close(s, 0), 0);
        for (int i = 0; i < 3; i++) {
                CHECK_EQ(tractor_receive(c, &item), 1);
                CHECK_EQ(json_object_get_int(item), i);
                json_object_put(item);
        }
        CHECK_EQ(tractor_stop(c), 0);
        CHECK_EQ(tractor_receive(c, &item), 0);
        CHECK_EQ(tractor_context_close(&c, 0, NULL), 0);
        CHECK_EQ(tractor_portal_call(p, "echo", NULL, NULL), 0);
        CHECK(n_steps > before);
        tractor_portal_unref(p);
        tractor_nursery_cancel(n, NULL);
        return tractor_nursery_close(&n, 0);
}

static int nothing(void *unused)
{
        return tractor_sleep(0);
}

static void a_fork_has_no_part_in_the_run(void)
{
        int r = tractor_run(NULL, forks, NULL);

        if (child == 0) {
                CHECK_EQ(r, -ECHILD);
                CHECK_EQ(n_at_exit, 0);
                CHECK_EQ(n_destroyed, 0);
                /* Having left its parent's, it may have one of its own. */
                CHECK_EQ(tractor_run(NULL, nothing, NULL), 0);
                _exit(0);
        }
        CHECK_EQ(r, 0);
        CHECK_EQ(n_at_exit, 1);
        CHECK_EQ(n_destroyed, 1);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = { { "a_fork_has_no_part_in_the_run",
                        a_fork_has_no_part_in_the_run } };

        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
