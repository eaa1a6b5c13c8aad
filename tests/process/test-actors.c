/* SPDX-License-Identifier: Apache-2.0 */
/* Programs on libtractor, root and actors alike, on a private supervisor: what is promised of nurseries of processes. $BACKEND chooses where
 * actors live. */
#include <errno.h>
#include <poll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <tractor/discovery.h>
#include <unistd.h>

#include "handlers.h"
#include "test.h"

/* --- what actors do --- */
static int breaks(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        return tractor_fail("Broken", "%s broke", tractor_name());
}

static int ponders(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        return tractor_sleep_forever();
}

static int dies(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        (void) raise(SIGKILL);
        return 0;
}

static int hangs(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        for (;;)
                (void) poll(NULL, 0, 1000);
        return 0;
}

static struct json_object *one(const char *key, int value)
{
        struct json_object *o = json_object_new_object();

        json_object_object_add(o, key, json_object_new_int(value));
        return o;
}

/* A branch of `depth`, two wide, whose leaves fail. */
static int grow(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        tractor_nursery_options o = { .size = sizeof(o), .strategy = "one_cancels_one" };
        int depth = json_object_get_int(json_object_object_get(args, "depth"));
        TRACTOR_NURSERY(n);
        int r;

        if (depth == 0)
                return tractor_fail("Leaf", "%s fell", tractor_name());
        r = tractor_nursery_open(&o, &n);
        for (int i = 0; i < 2 && r >= 0; i++)
                r = tractor_run_actor(n, i ? "right" : "left", "grow", one("depth", depth - 1), NULL, NULL);
        return tractor_nursery_close(&n, r);
}

/* Has an idle grandchild, and says whose pids these are. */
static int nest(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0)
                r = tractor_start_actor(n, "inner", NULL, &p);
        if (r >= 0)
                r = tractor_context_started(ctx, one("pid", tractor_portal_pid(p)), NULL);
        if (r >= 0)
                r = tractor_portal_call(
                                p, json_object_get_string(json_object_array_get_idx(args, 0)), NULL, NULL);
        tractor_portal_unref(p);
        return tractor_nursery_close(&n, r);
}

static int take_name(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        return tractor_register("phoenix");
}

static const tractor_method methods[] = { { "get_pid", get_pid }, { "echo", echo }, { "breaks", breaks },
        { "ponders", ponders }, { "dies", dies }, { "hangs", hangs }, { "grow", grow }, { "nest", nest },
        { "take_name", take_name }, { NULL } };

static tractor_options options = { .size = sizeof(options), .methods = methods, .flags = TRACTOR_EMBED };

static void run(int (*body)(void *), int expected)
{
        CHECK_EQ(tractor_run(&options, body, NULL), expected);
}

/* A process that is to be gone: not even a zombie is left. */
static int watch(pid_t pid)
{
        int fd = pidfd_open(pid, 0);

        CHECK(fd >= 0);
        return fd;
}

static void check_gone_within(int fd, int ms)
{
        struct pollfd p = { .fd = fd, .events = POLLIN };

        CHECK_EQ(poll(&p, 1, ms), 1);
        (void) close(fd);
}

static void check_gone(int fd)
{
        check_gone_within(fd, 0);
}

/* --- scenarios --- */
static int calls(void *unused)
{
        struct json_object *result = NULL;
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);
        int fd;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "a", NULL, &p), 0);
        CHECK_EQ(tractor_portal_call(p, "get_pid", NULL, &result), 0);
        CHECK_EQ(json_object_get_int(result), tractor_portal_pid(p));
        json_object_put(result);
        CHECK_EQ(tractor_portal_call(p, "breaks", NULL, &result), -EREMOTEIO);
        CHECK_STR(tractor_error_type(tractor_last_error()), "Broken");
        CHECK_EQ(tractor_portal_call(p, "absent", NULL, &result), -ENOSYS);
        fd = watch(tractor_portal_pid(p));
        CHECK_EQ(tractor_portal_cancel_actor(p, "enough"), 0);
        check_gone(fd);
        tractor_portal_unref(p);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        return 0;
}

static void an_actor_is_called(void)
{
        run(calls, 0);
}

static int one_fails(void *unused)
{
        tractor_portal *p[3] = { 0 };
        TRACTOR_NURSERY(n);
        int fds[3];
        char name[8];

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        for (int i = 0; i < 3; i++) {
                (void) snprintf(name, sizeof(name), "d%d", i);
                CHECK_EQ(tractor_start_actor(n, name, NULL, &p[i]), 0);
                fds[i] = watch(tractor_portal_pid(p[i]));
                tractor_portal_unref(p[i]);
        }
        CHECK_EQ(tractor_run_actor(n, "shot", "breaks", NULL, NULL, NULL), 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), -EREMOTEIO);
        CHECK_STR(tractor_error_type(tractor_last_error()), "Broken");
        CHECK_STR(tractor_error_message(tractor_last_error()), "shot broke");
        for (int i = 0; i < 3; i++)
                check_gone(fds[i]);
        return 0;
}

static void one_failure_ends_all(void)
{
        run(one_fails, 0);
}

static int many_fail(void *unused)
{
        tractor_nursery_options o = { .size = sizeof(o), .strategy = "one_cancels_one" };
        TRACTOR_NURSERY(n);
        char name[8];

        CHECK_EQ(tractor_nursery_open(&o, &n), 0);
        for (int i = 0; i < 25; i++) {
                (void) snprintf(name, sizeof(name), "s%d", i);
                CHECK_EQ(tractor_run_actor(n, name, "breaks", NULL, NULL, NULL), 0);
        }
        CHECK_EQ(tractor_nursery_close(&n, 0), -ETOOMANYREFS);
        CHECK_EQ(tractor_error_n_causes(tractor_last_error()), 25);
        return 0;
}

static void twenty_five_failures_are_told(void)
{
        run(many_fail, 0);
}

static int cancel_later(void *portal)
{
        CHECK_EQ(tractor_sleep(20 * TRACTOR_MSEC), 0);
        CHECK_EQ(tractor_portal_cancel_actor(portal, "now"), 0);
        return 0;
}

static int idle_daemon(void *unused)
{
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "idle", NULL, &p), 0);
        CHECK_EQ(tractor_start_task(n, "later", cancel_later, p, NULL), 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        tractor_portal_unref(p);
        return 0;
}

static void an_idle_daemon_is_waited_for(void)
{
        run(idle_daemon, 0);
}

static int nulls(void *unused)
{
        struct json_object *result = json_object_new_int(1), *first = result;
        tractor_future *f = NULL;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_run_actor(n, "null", "echo", NULL, NULL, &f), 0);
        CHECK_EQ(tractor_future_wait(f, &result), 0);
        CHECK(!result);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        result = first;
        CHECK_EQ(tractor_future_wait(f, &result), 0);
        CHECK(!result);
        json_object_put(first);
        tractor_future_unref(f);
        return 0;
}

static void null_is_a_result(void)
{
        run(nulls, 0);
}

static unsigned count_leaves(const tractor_error *e, size_t hops)
{
        unsigned n = 0;

        if (tractor_error_n_causes(e) == 0) {
                CHECK_STR(tractor_error_type(e), "Leaf");
                CHECK_EQ(tractor_error_n_relay(e), hops);
                return 1;
        }
        for (size_t i = 0; i < tractor_error_n_causes(e); i++)
                n += count_leaves(tractor_error_cause(e, i), hops);
        return n;
}

static int deep_failure(void *unused)
{
        TRACTOR_NURSERY(n);
        const tractor_error *e;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_run_actor(n, "tree", "grow", one("depth", 2), NULL, NULL), 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), -ETOOMANYREFS);
        e = tractor_last_error();
        CHECK_EQ(tractor_error_n_causes(e), 2);
        CHECK_EQ(count_leaves(e, 1), 4);
        return 0;
}

static void both_branches_are_told(void)
{
        run(deep_failure, 0);
}

static int interrupted(void *fds)
{
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);
        char name[8];

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        for (int i = 0; i < 3; i++) {
                (void) snprintf(name, sizeof(name), "d%d", i);
                CHECK_EQ(tractor_start_actor(n, name, NULL, &p), 0);
                ((int *) fds)[i] = watch(tractor_portal_pid(p));
                tractor_portal_unref(p);
        }
        CHECK_EQ(raise(SIGINT), 0);
        return tractor_nursery_close(&n, tractor_sleep_forever());
}

static void an_interrupt_ends_the_tree(void)
{
        int fds[3];

        CHECK_EQ(tractor_run(&options, interrupted, fds), -EINTR);
        for (int i = 0; i < 3; i++)
                check_gone(fds[i]);
}

static int names(void *unused)
{
        tractor_portal *p = NULL, *other = NULL;
        char *path = NULL;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_find("phoenix", &path), 0);
        CHECK_EQ(tractor_register("phoenix"), -EOPNOTSUPP);
        CHECK_EQ(tractor_connect("/nobody", &other), -ESRCH);
        CHECK_EQ(tractor_start_actor(n, "first", NULL, &p), 0);
        CHECK_EQ(tractor_portal_call(p, "take_name", NULL, NULL), 0);
        CHECK_EQ(tractor_find("phoenix", &path), 1);
        CHECK_STR(path, tractor_portal_path(p));
        CHECK_EQ(tractor_connect(path, &other), 0);
        CHECK_EQ(tractor_portal_pid(other), tractor_portal_pid(p));
        CHECK_STR(tractor_portal_id(other), tractor_portal_id(p));
        tractor_portal_unref(other);
        free(path);
        CHECK_EQ(tractor_portal_cancel_actor(p, NULL), 0);
        tractor_portal_unref(p);
        CHECK_EQ(tractor_find("phoenix", &path), 0);
        tractor_scope *s = tractor_move_on_after(20 * TRACTOR_MSEC);
        CHECK_EQ(tractor_scope_close(s, tractor_wait_for("phoenix", &path)), 0);
        CHECK_EQ(tractor_start_actor(n, "second", NULL, &p), 0);
        CHECK_EQ(tractor_portal_call(p, "take_name", NULL, NULL), 0);
        CHECK_EQ(tractor_wait_for("phoenix", &path), 1);
        CHECK_STR(path, tractor_portal_path(p));
        free(path);
        tractor_portal_unref(p);
        tractor_nursery_cancel(n, NULL);
        return tractor_nursery_close(&n, 0);
}

static void names_are_never_stale(void)
{
        run(names, 0);
}

static int killed(void *unused)
{
        tractor_nursery_options o = { .size = sizeof(o), .strategy = "one_cancels_one" };
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(&o, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "victim", NULL, &p), 0);
        CHECK_EQ(tractor_portal_call(p, "dies", NULL, NULL), -EOWNERDEAD);
        CHECK_STR(json_object_get_string(json_object_object_get(
                                  tractor_error_exit(tractor_last_error()), "signal")),
                        "SIGKILL");
        CHECK_EQ(tractor_portal_call(p, "echo", NULL, NULL), -EOWNERDEAD);
        tractor_portal_unref(p);
        CHECK_EQ(tractor_nursery_close(&n, 0), -EOWNERDEAD);
        CHECK_STR(tractor_error_actor(tractor_last_error()) ? "told" : NULL, "told");
        return 0;
}

static void a_killed_actor_is_told(void)
{
        run(killed, 0);
}

static int owner_to_be_killed(void *out)
{
        struct json_object *first = NULL, *args = json_object_new_array();
        tractor_context *ctx = NULL;
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);
        pid_t pids[2];

        json_object_array_add(args, json_object_new_string("ponders"));
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "outer", NULL, &p), 0);
        CHECK_EQ(tractor_context_open(p, "nest", args, NULL, &ctx, &first), 0);
        pids[0] = tractor_portal_pid(p);
        pids[1] = json_object_get_int(json_object_object_get(first, "pid"));
        CHECK_EQ(write(*(int *) out, pids, sizeof(pids)), (ssize_t) sizeof(pids));
        return tractor_sleep_forever();
}

static void a_killed_owner_takes_all_along(void)
{
        pid_t owner, pids[2];
        int out[2], fds[2];

        CHECK_EQ(pipe(out), 0);
        owner = fork();
        CHECK(owner >= 0);
        if (owner == 0)
                _exit(tractor_run(&options, owner_to_be_killed, &out[1]) < 0);
        CHECK_EQ(read(out[0], pids, sizeof(pids)), (ssize_t) sizeof(pids));
        for (int i = 0; i < 2; i++)
                fds[i] = watch(pids[i]);
        CHECK_EQ(kill(owner, SIGKILL), 0);
        CHECK_EQ(waitpid(owner, NULL, 0), owner);
        for (int i = 0; i < 2; i++)
                check_gone_within(fds[i], 10000);
        (void) close(out[0]);
        (void) close(out[1]);
}

static int stuck(void *unused)
{
        struct json_object *first = NULL, *args = json_object_new_array();
        tractor_actor_options o = { .size = sizeof(o), .grace_usec = 200 * TRACTOR_MSEC };
        tractor_context *ctx = NULL;
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);
        int fd, r;

        json_object_array_add(args, json_object_new_string("hangs"));
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "outer", &o, &p), 0);
        CHECK_EQ(tractor_context_open(p, "nest", args, NULL, &ctx, &first), 0);
        fd = watch(json_object_get_int(json_object_object_get(first, "pid")));
        json_object_put(first);
        r = tractor_fail("RootCause", "the root failed");
        tractor_error *e = tractor_error_ref(tractor_last_error());
        tractor_context_dropp(&ctx);
        tractor_portal_unref(p);
        r = tractor_nursery_close(&n, tractor_raise(e));
        CHECK_EQ(r, -EREMOTEIO);
        CHECK_STR(tractor_error_type(tractor_last_error()), "RootCause");
        check_gone(fd);
        return 0;
}

static void a_stuck_grandchild_is_ended(void)
{
        run(stuck, 0);
}

static int programs(void *unused)
{
        static const char *const well[] = { "true", NULL }, *const badly[] = { "sh", "-c", "exit 3", NULL },
                                 *const missing[] = { "/no/such/program", NULL };
        tractor_nursery_options keep = { .size = sizeof(keep), .strategy = "one_cancels_one" };
        tractor_actor_options o = { .size = sizeof(o), .exec = well };
        tractor_future *f = NULL;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(&keep, &n), 0);
        CHECK_EQ(tractor_run_actor(n, "well", NULL, NULL, &o, &f), 0);
        CHECK_EQ(tractor_future_wait(f, NULL), 0);
        f = tractor_future_unref(f);
        o.exec = badly;
        CHECK_EQ(tractor_run_actor(n, "badly", NULL, NULL, &o, &f), 0);
        CHECK_EQ(tractor_future_wait(f, NULL), -EOWNERDEAD);
        CHECK_EQ(json_object_get_int(
                                 json_object_object_get(tractor_error_exit(tractor_last_error()), "code")),
                        3);
        f = tractor_future_unref(f);
        o.exec = missing;
        CHECK_EQ(tractor_start_actor(n, "missing", &o, NULL), -ECHILD);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        return 0;
}

static void any_program_is_an_actor(void)
{
        run(programs, 0);
}

static int cancelled_start(void *unused)
{
        TRACTOR_NURSERY(n);

        for (unsigned i = 0; i < 8; i++) {
                CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
                tractor_scope *s = tractor_move_on_after(i * 400);
                CHECK_EQ(tractor_scope_close(s, tractor_start_actor(n, "x", NULL, NULL)), 0);
                tractor_nursery_cancel(n, NULL);
                CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        }
        return 0;
}

static void a_start_can_be_given_up_at_any_moment(void)
{
        run(cancelled_start, 0);
}

static int after_a_kill(void *unused)
{
        tractor_nursery_options keep = { .size = sizeof(keep), .strategy = "one_cancels_one" };
        struct json_object *status = NULL;
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);
        int fd, r;

        CHECK_EQ(tractor_nursery_open(&keep, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "a", NULL, &p), 0);
        fd = watch(tractor_portal_pid(p));
        CHECK_EQ(tractor_control("supervisor.status", NULL, &status), 0);
        CHECK_EQ(kill(json_object_get_int(json_object_object_get(status, "pid")), SIGKILL), 0);
        json_object_put(status);
        /* The actor ends by itself when its channel does, unless the successor was quicker. */
        r = tractor_portal_call(p, "ponders", NULL, NULL);
        CHECK(r == -EINTR || r == -EOWNERDEAD || r == -ECONNRESET);
        tractor_portal_unref(p);
        CHECK_EQ(tractor_start_actor(n, "b", NULL, NULL), -ECONNRESET);
        r = tractor_nursery_close(&n, 0);
        CHECK_EQ(r, -ECONNRESET);
        /* Nobody is there to say that it has ended; the successor sees to that. */
        check_gone_within(fd, 10000);
        /* What is begun from now on is the successor's. */
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "a", NULL, &p), 0);
        CHECK_EQ(tractor_portal_call(p, "echo", NULL, NULL), 0);
        tractor_portal_unref(p);
        tractor_nursery_cancel(n, NULL);
        return tractor_nursery_close(&n, 0);
}

static void a_killed_supervisor_is_told(void)
{
        run(after_a_kill, 0);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = { { "an_actor_is_called", an_actor_is_called },
                { "one_failure_ends_all", one_failure_ends_all },
                { "twenty_five_failures_are_told", twenty_five_failures_are_told },
                { "an_idle_daemon_is_waited_for", an_idle_daemon_is_waited_for },
                { "null_is_a_result", null_is_a_result },
                { "both_branches_are_told", both_branches_are_told },
                { "an_interrupt_ends_the_tree", an_interrupt_ends_the_tree },
                { "names_are_never_stale", names_are_never_stale },
                { "a_killed_actor_is_told", a_killed_actor_is_told },
                { "a_killed_owner_takes_all_along", a_killed_owner_takes_all_along },
                { "a_stuck_grandchild_is_ended", a_stuck_grandchild_is_ended },
                { "any_program_is_an_actor", any_program_is_an_actor },
                { "a_killed_supervisor_is_told", a_killed_supervisor_is_told },
                { "a_start_can_be_given_up_at_any_moment", a_start_can_be_given_up_at_any_moment } };

        /* The same binary is its actors. */
        if (getenv("TRACTOR_ENTRY"))
                return tractor_main(&options, NULL, NULL);
        options.backend = getenv("BACKEND");
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
