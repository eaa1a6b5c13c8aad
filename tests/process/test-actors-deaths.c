/* SPDX-License-Identifier: Apache-2.0 */
/* Trees in which actors, their owners or the root are killed: what is told, by which way, and that nothing is left. $BACKEND chooses where
 * actors live. */
#include <fcntl.h>
#include <json-c/json.h>
#include <sys/wait.h>
#include <tractor/discovery.h>

#include "actors-rig.h"

#define GUEST "--guest"
#define QUIET_GUEST "--quiet-guest"

static tractor_options options;

static int ponders(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        return tractor_sleep_forever();
}

static int silent(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        int r = tractor_context_started(ctx, NULL, NULL);

        return r < 0 ? r : tractor_sleep_forever();
}

static int dies(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        (void) raise(SIGKILL);
        return 0;
}

/* --- ends of one-shots, with all that hangs on them --- */
static struct json_object *branch(int depth)
{
        struct json_object *o = json_object_new_object();

        json_object_object_add(o, "depth", json_object_new_int(depth));
        return o;
}

/* Of `depth`, two wide, whose leaves are killed. */
static int grow(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        tractor_nursery_options keep = { .size = sizeof(keep), .strategy = "one_cancels_one" };
        int r, depth = json_object_get_int(json_object_object_get(args, "depth"));
        TRACTOR_NURSERY(n);

        r = tractor_nursery_open(&keep, &n);
        for (int i = 0; i < 2 && r >= 0; i++)
                r = tractor_run_actor(n, i ? "right" : "left", depth > 1 ? "grow" : "dies",
                                branch(depth - 1), NULL, NULL);
        return tractor_nursery_close(&n, r);
}

static unsigned count_leaves(const tractor_error *e)
{
        unsigned n = 0;

        if (tractor_error_n_causes(e) == 0) {
                CHECK_EQ(tractor_error_errno(e), -EOWNERDEAD);
                CHECK_STR(json_object_get_string(json_object_object_get(tractor_error_exit(e), "signal")),
                                "SIGKILL");
                CHECK(strstr(tractor_error_actor(e), "/n1/"));
        } else
                CHECK(tractor_error_n_relay(e) > 0);
        for (size_t i = 0; i < tractor_error_n_causes(e); i++)
                n += count_leaves(tractor_error_cause(e, i));
        return tractor_error_n_causes(e) == 0 ? 1 : n;
}

static int leaves_die(void *unused)
{
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_run_actor(n, "tree", "grow", branch(2), NULL, NULL), 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), -ETOOMANYREFS);
        CHECK_EQ(count_leaves(tractor_last_error()), 4);
        return 0;
}

static void killed_leaves_are_told_with_their_paths(void)
{
        rig_run(&options, leaves_die, NULL);
}

static int one_of_four(void *unused)
{
        TRACTOR_NURSERY(n);
        char name[8];

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        for (int i = 0; i < 3; i++) {
                (void) snprintf(name, sizeof(name), "d%d", i);
                CHECK_EQ(tractor_start_actor(n, name, NULL, NULL), 0);
        }
        CHECK_EQ(tractor_run_actor(n, "shot", "dies", NULL, NULL, NULL), 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), -EOWNERDEAD);
        CHECK(strstr(tractor_error_message(tractor_last_error()), "/n1/shot killed by SIGKILL"));
        return 0;
}

static void one_that_is_killed_ends_all(void)
{
        rig_run(&options, one_of_four, NULL);
}

static int many_die(void *unused)
{
        tractor_nursery_options keep = { .size = sizeof(keep), .strategy = "one_cancels_one" };
        TRACTOR_NURSERY(n);
        char name[8];

        CHECK_EQ(tractor_nursery_open(&keep, &n), 0);
        for (int i = 0; i < 25; i++) {
                (void) snprintf(name, sizeof(name), "s%d", i);
                CHECK_EQ(tractor_run_actor(n, name, "dies", NULL, NULL, NULL), 0);
        }
        CHECK_EQ(tractor_nursery_close(&n, 0), -ETOOMANYREFS);
        CHECK_EQ(tractor_error_n_causes(tractor_last_error()), 25);
        for (size_t i = 0; i < 25; i++)
                CHECK_EQ(tractor_error_errno(tractor_error_cause(tractor_last_error(), i)), -EOWNERDEAD);
        return 0;
}

static void twenty_five_killed_are_told(void)
{
        rig_run(&options, many_die, NULL);
}

/* --- dialogs that others have a hand in --- */
/* Holds a dialog with an actor that isn't its own, and passes its end on. */
static int holds(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        tractor_context *c = NULL;
        tractor_portal *p = NULL;
        int r;

        CHECK_EQ(tractor_connect_name("victim", &p), 0);
        CHECK_EQ(tractor_context_open(p, "silent", NULL, NULL, &c, NULL), 0);
        CHECK_EQ(tractor_context_started(ctx, NULL, NULL), 0);
        r = tractor_context_close(&c, 0, NULL);
        tractor_portal_unref(p);
        return r;
}

/* By the root, which may: others act on what is below them only. */
static int hold_two(bool killed)
{
        tractor_nursery_options keep = { .size = sizeof(keep), .strategy = "one_cancels_one" };
        tractor_portal *victim = NULL, *p[2] = { 0 };
        tractor_context *c[2] = { 0 };
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(&keep, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "victim", NULL, &victim), 0);
        for (int i = 0; i < 2; i++) {
                CHECK_EQ(tractor_start_actor(n, i ? "second" : "first", NULL, &p[i]), 0);
                CHECK_EQ(tractor_context_open(p[i], "holds", NULL, NULL, &c[i], NULL), 0);
        }
        if (killed)
                CHECK_EQ(kill(tractor_portal_pid(victim), SIGKILL), 0);
        else
                CHECK_EQ(tractor_portal_cancel_actor(victim, "a third one wants it"), 0);
        for (int i = 0; i < 2; i++) {
                const tractor_error *e;

                CHECK_EQ(tractor_context_close(&c[i], 0, NULL), killed ? -EOWNERDEAD : -EINTR);
                e = tractor_last_error();
                if (killed)
                        CHECK_STR(tractor_error_actor(e), tractor_portal_path(victim));
                else
                        CHECK(startswith(strna(tractor_error_canceller(e)), "@client/"));
                CHECK_STR(tractor_error_relay(e, tractor_error_n_relay(e) - 1), tractor_portal_path(p[i]));
                tractor_portal_unref(p[i]);
        }
        tractor_portal_unref(victim);
        tractor_nursery_cancel(n, NULL);
        CHECK_EQ(tractor_nursery_close(&n, 0), killed ? -EOWNERDEAD : 0);
        return 0;
}

static int held_and_cancelled(void *unused)
{
        return hold_two(false);
}

static int held_and_killed(void *unused)
{
        return hold_two(true);
}

static void a_third_ones_doing_is_told_to_both(void)
{
        rig_run(&options, held_and_cancelled, NULL);
        rig_run(&options, held_and_killed, NULL);
}

/* --- an owner that is held up, or killed --- */
static int owns(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);
        int r;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "inner", NULL, &p), 0);
        CHECK_EQ(tractor_context_started(ctx, NULL, NULL), 0);
        r = tractor_portal_call(p, "ponders", NULL, NULL);
        tractor_portal_unref(p);
        return tractor_nursery_close(&n, r);
}

static int lose_owner(void *signal)
{
        tractor_nursery_options keep = { .size = sizeof(keep), .strategy = "one_cancels_one" };
        tractor_actor_options quick = { .size = sizeof(quick), .grace_usec = 300 * TRACTOR_MSEC };
        bool killed = streq(signal, "KILL");
        tractor_context *c = NULL;
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(&keep, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "owner", &quick, &p), 0);
        CHECK_EQ(tractor_context_open(p, "owns", NULL, NULL, &c, NULL), 0);
        CHECK_EQ(kill(tractor_portal_pid(p), killed ? SIGKILL : SIGSTOP), 0);
        if (killed)
                CHECK_EQ(tractor_context_close(&c, 0, NULL), -EOWNERDEAD);
        else
                CHECK_EQ(tractor_portal_cancel_actor(p, "it hangs"), 0);
        tractor_context_dropp(&c);
        CHECK_EQ(tractor_find("inner", &(char *){ NULL }), 0);
        tractor_portal_unref(p);
        CHECK_EQ(tractor_nursery_close(&n, 0), killed ? -EOWNERDEAD : 0);
        return 0;
}

static void an_owners_end_is_that_of_all_below(void)
{
        rig_run(&options, lose_owner, (void *) "KILL");
        rig_run(&options, lose_owner, (void *) "STOP");
}

/* --- a root that is killed at any moment --- */
static int live(void *unused)
{
        tractor_nursery_options keep = { .size = sizeof(keep), .strategy = "one_cancels_one" };

        for (;;) {
                TRACTOR_NURSERY(n);

                CHECK_EQ(tractor_nursery_open(&keep, &n), 0);
                CHECK_EQ(tractor_start_actor(n, "idle", NULL, NULL), 0);
                CHECK_EQ(tractor_run_actor(n, "tree", "grow", branch(2), NULL, NULL), 0);
                CHECK_EQ(tractor_sleep(50 * TRACTOR_MSEC), 0);
                tractor_nursery_cancel(n, NULL);
                (void) tractor_nursery_close(&n, 0);
        }
}

static void a_killed_root_leaves_nothing(void)
{
        for (int delay = 1; delay < 400; delay += delay / 3 + 1) {
                pid_t root = rig_fork(&options, live, NULL);
                int status;

                (void) poll(NULL, 0, delay);
                status = rig_kill(root);
                CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        }
}

/* --- a supervisor that stands still --- */
/* With an actor there, and after its nursery has ended. */
static int stop_keeper(void *unused)
{
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "idle", NULL, NULL), 0);
        CHECK_EQ(kill(rig_keeper(), SIGSTOP), 0);
        tractor_nursery_cancel(n, NULL);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_EQ(kill(rig_keeper(), SIGSTOP), 0);
        return 0;
}

/* Its keeper has another one for it, in a while. */
static int stop_supervisor(void *unused)
{
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "idle", NULL, NULL), 0);
        CHECK_EQ(kill(rig_supervisor(), SIGSTOP), 0);
        tractor_nursery_cancel(n, NULL);
        CHECK_EQ(tractor_nursery_close(&n, 0), -ECONNRESET);
        return 0;
}

static int stop_both(void *unused)
{
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "idle", NULL, NULL), 0);
        CHECK_EQ(kill(rig_supervisor(), SIGSTOP), 0);
        CHECK_EQ(kill(rig_keeper(), SIGSTOP), 0);
        tractor_nursery_cancel(n, NULL);
        CHECK_EQ(tractor_nursery_close(&n, 0), -ECONNRESET);
        return 0;
}

static void a_stopped_supervisor_holds_no_end(void)
{
        rig_run(&options, stop_keeper, NULL);
        rig_run(&options, stop_supervisor, NULL);
        rig_run(&options, stop_both, NULL);
}

/* --- a root that is interrupted twice --- */
/* An actor that takes its time, and a cleanup that does. */
static int lingers(void *unused)
{
        static const char *const stubborn[] = { "sh", "-c", "trap '' TERM INT; while :; do sleep 100; done",
                NULL };
        tractor_actor_options slow = {
                .size = sizeof(slow), .exec = stubborn, .grace_usec = 2 * RIG_PATIENCE_SEC * TRACTOR_SEC
        };
        tractor_scope *s;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "stubborn", &slow, NULL), 0);
        s = tractor_shield(TRACTOR_FOREVER);
        CHECK_EQ(raise(SIGINT), 0);
        while (!tractor_cancel_reason())
                CHECK_EQ(tractor_sleep(TRACTOR_MSEC), 0);
        CHECK_EQ(raise(SIGINT), 0);
        CHECK_EQ(tractor_sleep_forever(), -ECANCELED);
        return tractor_nursery_close(&n, tractor_scope_close(s, -ECANCELED));
}

static void a_second_interrupt_waits_for_nobody(void)
{
        int status = rig_join(rig_fork(&options, lingers, NULL));

        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), EINTR);
}

static int where(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        *ret_result = json_object_new_string(getenv("TRACTOR_SOCKET"));
        return 0;
}

/* Of all but the host, who was there before. */
static void await_departure(void)
{
        struct json_object *tree = NULL, *all = NULL;

        do {
                json_object_put(tree);
                CHECK_EQ(tractor_query("/", &tree), 0);
                CHECK(json_object_object_get_ex(tree, "children", &all));
                CHECK_EQ(tractor_sleep(TRACTOR_MSEC), 0);
        } while (json_object_array_length(all) > 1);
        json_object_put(tree);
}

/* The same at a supervisor that is not the root's own, but ours: which goes on with others. */
static int hosts(void *unused)
{
        struct json_object *socket = NULL;
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);
        siginfo_t end;
        pid_t pid;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "host", NULL, &p), 0);
        CHECK_EQ(tractor_portal_call(p, "where", NULL, &socket), 0);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
                CHECK_EQ(setenv("TRACTOR_SOCKET", json_object_get_string(socket), 1), 0);
                (void) execl("/proc/self/exe", "root", GUEST, NULL);
                _exit(1);
        }
        CHECK_EQ(tractor_wait_child(pid, &end), 0);
        CHECK_EQ(end.si_code, CLD_EXITED);
        CHECK_EQ(end.si_status, 128 + SIGINT);
        await_departure();
        json_object_put(socket);
        CHECK_EQ(tractor_portal_call(p, "where", NULL, NULL), 0);
        tractor_portal_unref(p);
        tractor_nursery_cancel(n, NULL);
        return tractor_nursery_close(&n, 0);
}

static void a_guest_that_is_interrupted_twice_leaves_nothing(void)
{
        rig_run(&options, hosts, NULL);
}

/* With a nursery that only its supervisor can end. */
static int idles(void *unused)
{
        TRACTOR_NURSERY(n);
        int r;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "idle", NULL, NULL), 0);
        CHECK_EQ(write(STDOUT_FILENO, "\n", 1), 1);
        r = tractor_sleep_forever();
        return tractor_nursery_close(&n, r);
}

static pid_t start_guest(const char *socket, const char *what, int *ret_out, int *ret_err)
{
        int out[2], err[2];
        pid_t pid;

        CHECK_EQ(pipe2(out, O_CLOEXEC), 0);
        CHECK_EQ(pipe2(err, O_CLOEXEC), 0);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
                CHECK_EQ(setenv("TRACTOR_SOCKET", socket, 1), 0);
                CHECK(dup2(out[1], STDOUT_FILENO) >= 0 && dup2(err[1], STDERR_FILENO) >= 0);
                (void) execl("/proc/self/exe", "guest", what, NULL);
                _exit(1);
        }
        (void) close(out[1]);
        (void) close(err[1]);
        *ret_out = out[0];
        *ret_err = err[0];
        return pid;
}

/* One interrupt, and nobody else's help: it ends, and says why before its time. */
static void part(const char *socket, pid_t supervisor, const char *word)
{
        pid_t keeper = rig_keeper(), guest;
        char text[512] = "", due[256];
        int out, err;
        siginfo_t end;

        guest = start_guest(socket, QUIET_GUEST, &out, &err);
        CHECK(tractor_wait_fd(out, POLLIN) > 0);
        CHECK_EQ(kill(keeper, SIGSTOP), 0);
        if (supervisor > 0)
                CHECK_EQ(kill(supervisor, SIGSTOP), 0);
        CHECK_EQ(kill(guest, SIGINT), 0);
        CHECK_EQ(tractor_wait_child(guest, &end), 0);
        if (supervisor > 0)
                CHECK_EQ(kill(supervisor, SIGCONT), 0);
        CHECK_EQ(kill(keeper, SIGCONT), 0);
        CHECK_EQ(end.si_status, 128 + SIGINT);
        CHECK(read(err, text, sizeof(text) - 1) > 0);
        (void) snprintf(due, sizeof(due), "interrupted by SIGINT; the supervisor at %s%s", socket, word);
        if (!strstr(text, due))
                fprintf(stderr, "said: %s", text);
        CHECK(strstr(text, due));
        (void) close(out);
        (void) close(err);
        await_departure();
}

static int hosts_quietly(void *unused)
{
        struct json_object *socket = NULL;
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "host", NULL, &p), 0);
        CHECK_EQ(tractor_portal_call(p, "where", NULL, &socket), 0);
        part(json_object_get_string(socket), rig_supervisor(), " does not answer");
        part(json_object_get_string(socket), 0, ": the keeper (tractord, process ");
        json_object_put(socket);
        tractor_portal_unref(p);
        tractor_nursery_cancel(n, NULL);
        return tractor_nursery_close(&n, 0);
}

static void a_stopped_supervisor_holds_no_guest(void)
{
        rig_run(&options, hosts_quietly, NULL);
}

static const tractor_method methods[] = { { "ponders", ponders }, { "silent", silent }, { "dies", dies },
        { "grow", grow }, { "holds", holds }, { "owns", owns }, { "where", where }, { NULL } };

static tractor_options options = { .size = sizeof(options), .methods = methods, .flags = TRACTOR_EMBED };

int main(int argc, char **argv)
{
        static const TestCase cases[] = { { "killed_leaves_are_told_with_their_paths",
                                                          killed_leaves_are_told_with_their_paths },
                { "one_that_is_killed_ends_all", one_that_is_killed_ends_all },
                { "twenty_five_killed_are_told", twenty_five_killed_are_told },
                { "a_third_ones_doing_is_told_to_both", a_third_ones_doing_is_told_to_both },
                { "an_owners_end_is_that_of_all_below", an_owners_end_is_that_of_all_below },
                { "a_second_interrupt_waits_for_nobody", a_second_interrupt_waits_for_nobody },
                { "a_guest_that_is_interrupted_twice_leaves_nothing",
                                a_guest_that_is_interrupted_twice_leaves_nothing },
                { "a_stopped_supervisor_holds_no_end", a_stopped_supervisor_holds_no_end },
                { "a_killed_root_leaves_nothing", a_killed_root_leaves_nothing },
                { "a_stopped_supervisor_holds_no_guest", a_stopped_supervisor_holds_no_guest } };
        size_t n = ELEMENTSOF(cases);

        if (getenv("TRACTOR_ENTRY"))
                return rig_main(&options);
        if (argc == 2 && streq(argv[1], GUEST))
                return tractor_main(NULL, lingers, NULL);
        if (argc == 2 && streq(argv[1], QUIET_GUEST))
                return tractor_main(NULL, idles, NULL);
        options.backend = getenv("BACKEND");
        /* The last takes its time, and where actors live has no part in it. */
        return test_main(argc, argv, cases, streq_ptr(options.backend, "process") ? n : n - 1);
}
