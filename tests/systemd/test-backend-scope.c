/* SPDX-License-Identifier: Apache-2.0 */

/* The scope backend under a real systemd. */

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

#include "scope-rig.h"
#include "supervisor/unit-name.h"

#define N 50

static void test_one(void)
{
        const char *scope = "tractor-" INSTANCE "-shop-web-1.scope";
        char want[256];
        Home *shop;
        Fixture f;
        Actor a;

        rig_open(&f, INSTANCE, BACKEND_SCOPE);
        CHECK(strstr(f.why, geteuid() == 0 ? "asked directly" : "on the user bus"));
        shop = supervisor_new(&f, NULL, "shop");
        CHECK_STR(f.vtable->home_unit(shop), "tractor-" INSTANCE "-shop.slice");
        actor_new(&f, &a, shop, "web");
        actor_start(&a, "sleep");
        CHECK_STR(f.vtable->home_unit(a.home), scope);
        snprintf(want, sizeof(want),
                        "%s/tractor-" INSTANCE "-shop.slice/tractor-" INSTANCE "-shop-web.slice/%s",
                        f.backend->cgroup, scope);
        CHECK_STR(f.vtable->home_cgroup(a.home), want);
        check_in_scope(&a);
        CHECK_STR(property(scope, "Description"), "/t/x");
        CHECK_STR(property(scope, "OOMPolicy"), "continue");
        CHECK_STR(property(scope, "CollectMode"), "inactive-or-failed");
        CHECK_STR(property(scope, "TimeoutStopUSec"), "1s");
        CHECK_STR(property(scope, "BindsTo"), "tractor-" INSTANCE ".scope");
        CHECK(strstr(property(scope, "Before"), "tractor-" INSTANCE ".scope"));
        CHECK_STR(property(scope, "Controller"), "");
        CHECK_STR(property(scope, "KillSignal"), "15");
        CHECK_STR(property("tractor-" INSTANCE "-shop.slice", "Description"), "/t/s");
        CHECK_STR(property("tractor-" INSTANCE "-shop-web.slice", "Description"), "/t/x");
        CHECK(f.vtable->home_populated(a.home));
        actor_end(&a);
        /* The next generation has a scope of its own in the same slice. */
        actor_start(&a, "sleep");
        CHECK_STR(f.vtable->home_unit(a.home), "tractor-" INSTANCE "-shop-web-2.scope");
        check_in_scope(&a);
        actor_end(&a);
        actor_free(&a);
        f.vtable->home_free(shop);
        WAIT_FOR(&f, count_units() == 0);
        rig_close(&f);
}

/* Many at once: all in their own scopes, none left when they have ended. */
static void test_crowd(void)
{
        static Actor actors[N];
        uint64_t start;
        Home *tree;
        Fixture f;

        rig_open(&f, INSTANCE, BACKEND_SCOPE);
        tree = supervisor_new(&f, NULL, "tree");
        start = now_usec(CLOCK_MONOTONIC);
        for (int i = 0; i < N; i++) {
                char name[16];

                snprintf(name, sizeof(name), "n%d", i);
                actor_new(&f, &actors[i], tree, name);
                actor_clone(&actors[i], i % 5 == 0 ? "family" : "sleep");
                actor_adopt(&actors[i]);
        }
        for (int i = 0; i < N; i++)
                WAIT_FOR(&f, actors[i].adopted == 1);
        fprintf(stderr, "%d scopes in %.1f ms\n", N, (double) (now_usec(CLOCK_MONOTONIC) - start) / 1000);
        for (int i = 0; i < N; i++) {
                check_in_scope(&actors[i]);
                actor_release_hold(&actors[i]);
                await_byte(actors[i].ready[0]);
        }
        for (int i = 0; i < N; i++) {
                CHECK_EQ(f.vtable->home_watch_empty(actors[i].home), 0);
                CHECK_EQ(f.vtable->home_signal(actors[i].home, SIGTERM), 0);
        }
        for (int i = 0; i < N; i++) {
                WAIT_FOR(&f, actors[i].emptied == 1);
                actor_reap(&actors[i]);
                f.vtable->home_leave(actors[i].home);
        }
        rig_reap_all();
        /* The slices alone. */
        WAIT_FOR(&f, count_units() == N + 1);
        for (int i = 0; i < N; i++)
                actor_free(&actors[i]);
        f.vtable->home_free(tree);
        WAIT_FOR(&f, count_units() == 0);
        rig_close(&f);
}

/* A process that outlives its main one, and the end of all by freeing the home. */
static void test_stragglers(void)
{
        Fixture f;
        Actor a;

        rig_open(&f, INSTANCE, BACKEND_SCOPE);
        actor_new(&f, &a, NULL, "straggler");
        actor_start(&a, "daemon");
        CHECK_EQ(write(a.go[1], "g", 1), 1);
        await_exit(&a);
        CHECK(f.vtable->home_populated(a.home));
        CHECK_EQ(f.vtable->home_watch_empty(a.home), 0);
        actor_reap(&a);
        CHECK_EQ(f.vtable->home_signal(a.home, SIGTERM), 0);
        for (int i = 0; i < 5; i++)
                rig_turn(&f);
        CHECK_EQ(a.emptied, 0);
        CHECK_EQ(f.vtable->home_kill(a.home), 0);
        WAIT_FOR(&f, a.emptied == 1);
        f.vtable->home_leave(a.home);
        actor_start(&a, "family");
        actor_free(&a);
        await_exit(&a);
        actor_reap(&a);
        WAIT_FOR(&f, count_units() == 0);
        rig_close(&f);
}

static void test_freeze(void)
{
        uint64_t frozen = 0, kills;
        Fixture f;
        Usage usage;
        Actor a;

        rig_open(&f, INSTANCE, BACKEND_SCOPE);
        actor_new(&f, &a, NULL, "freeze");
        actor_start(&a, "spin");
        await_byte(a.ready[0]);
        CHECK_EQ(f.vtable->home_freeze(a.home, true), 0);
        WAIT_FOR(&f, cgroup_read_key(f.root.fd, f.vtable->home_cgroup(a.home), "cgroup.events", "frozen",
                                     &frozen) >= 0 &&
                                        frozen == 1);
        CHECK_EQ(f.vtable->home_freeze(a.home, false), 0);
        for (int i = 0; i < 10; i++)
                await_byte(a.ready[0]);
        CHECK_EQ(f.vtable->home_usage(a.home, &usage), 0);
        CHECK(usage.cpu_usec >= 1000 && usage.cpu_usec != UINT64_MAX);
        CHECK(f.vtable->home_oom_kills(a.home, &kills) < 0 || kills == 0);
        actor_end(&a);
        /* The account outlives the scope: it is the slice's. */
        CHECK_EQ(f.vtable->home_usage(a.home, &usage), 0);
        CHECK(usage.cpu_usec >= 1000 && usage.cpu_usec != UINT64_MAX);
        actor_free(&a);
        rig_close(&f);
}

static void set(Limits *l, Limit which, uint64_t value)
{
        l->set |= 1U << which;
        l->values[which] = value;
}

/* Refused by name where the controller is missing, else put where the kernel enforces it. Weights of slices are
 * accepted by systemd anywhere, so what it took is asked of systemd itself. */
static void test_limits(void)
{
        Limit which = _LIMIT_INVALID;
        Limits l = { 0 };
        Home *tree = NULL;
        uint64_t v;
        Fixture f;
        Actor a;

        rig_open(&f, INSTANCE, BACKEND_SCOPE);
        set(&l, LIMIT_MEMORY_MAX, 64U << 20);
        set(&l, LIMIT_TASKS_MAX, 20);
        if (!cgroup_list_has(f.backend->controllers, "memory")) {
                CHECK_EQ(f.vtable->home_new(f.backend, NULL, "tree", "/t", false, &l, NULL, &tree, &which),
                                -EOPNOTSUPP);
                CHECK_EQ(which, LIMIT_MEMORY_MAX);
                actor_new(&f, &a, NULL, "plain");
                CHECK_EQ(f.vtable->home_set_limits(a.home, &l, &which), -EOPNOTSUPP);
                /* As if they could be: that systemd takes what we send is another question. */
                free(f.backend->controllers);
                f.backend->controllers = strdup("cpu cpuset io memory pids");
        } else {
                actor_new(&f, &a, NULL, "plain");
        }
        set(&l, LIMIT_CPU_QUOTA, 1500000);
        set(&l, LIMIT_CPU_WEIGHT, 50);
        set(&l, LIMIT_ALLOWED_CPUS, 1);
        set(&l, LIMIT_IO_WEIGHT, 200);
        l.allowed_cpus = (char *) "0";
        CHECK_EQ(f.vtable->home_new(f.backend, NULL, "tree", "/t", false, &l, NULL, &tree, &which), 0);
        CHECK_EQ(f.vtable->home_set_limits(a.home, &l, &which), 0);
        actor_start(&a, "sleep");
        for (int i = 0; i < 2; i++) {
                const char *unit = i == 0 ? "tractor-" INSTANCE "-tree.slice"
                                          : "tractor-" INSTANCE "-plain.slice";

                CHECK_STR(property(unit, "MemoryMax"), "67108864");
                CHECK_STR(property(unit, "TasksMax"), "20");
                CHECK_STR(property(unit, "CPUQuotaPerSecUSec"), "1.500000s");
                CHECK_STR(property(unit, "CPUWeight"), "50");
                CHECK_STR(property(unit, "AllowedCPUs"), "0");
                CHECK_STR(property(unit, "IOWeight"), "200");
        }
        l = (Limits){ 0 };
        set(&l, LIMIT_TASKS_MAX, 30);
        CHECK_EQ(f.vtable->home_set_limits(a.home, &l, &which), 0);
        WAIT_FOR(&f, streq(property("tractor-" INSTANCE "-plain.slice", "TasksMax"), "30"));
        if (cgroup_read_u64(f.root.fd, f.backend->cgroup, "pids.max", &v) >= 0) {
                _cleanup_free_ char *dir =
                                xasprintf("%s/tractor-" INSTANCE "-plain.slice", f.backend->cgroup);

                CHECK_EQ(cgroup_read_u64(f.root.fd, dir, "pids.max", &v), 0);
                CHECK_EQ(v, 30);
        }
        actor_end(&a);
        actor_free(&a);
        f.vtable->home_free(tree);
        WAIT_FOR(&f, count_units() == 0);
        rig_close(&f);
}

/* A slice that systemd refuses is the spawn's failure below it, with systemd's own words. */
static void test_refused(void)
{
        Limit which = _LIMIT_INVALID;
        Limits l = { 0 };
        Home *tree = NULL;
        Fixture f;
        Actor a;

        rig_open(&f, INSTANCE, BACKEND_SCOPE);
        free(f.backend->controllers);
        f.backend->controllers = strdup("cpu cpuset io memory pids");
        set(&l, LIMIT_CPU_WEIGHT, 123456789); /* no parser of ours lets that through */
        CHECK_EQ(f.vtable->home_new(f.backend, NULL, "tree", "/t", false, &l, NULL, &tree, &which), 0);
        actor_new(&f, &a, tree, "a");
        actor_clone(&a, "sleep");
        actor_adopt(&a);
        WAIT_FOR(&f, a.refused == 1);
        CHECK_EQ(a.adopted, 0);
        CHECK(strstr(a.why, "CPUWeight"));
        CHECK_EQ(kill(a.pid, SIGKILL), 0);
        await_exit(&a);
        actor_reap(&a);
        f.vtable->home_leave(a.home);
        actor_free(&a);
        f.vtable->home_free(tree);
        WAIT_FOR(&f, count_units() == 0);
        rig_close(&f);
}

/* `systemctl stop` of a scope signals at once; whose doing it was is known before the end is judged. */
static void test_stop_requested(void)
{
        Fixture f;
        Actor a;
        int pid;

        rig_open(&f, INSTANCE, BACKEND_SCOPE);
        actor_new(&f, &a, NULL, "stopped");
        for (int i = 0; i < 20; i++) {
                actor_start(&a, "sleep");
                pid = begin("systemctl", "stop", f.vtable->home_unit(a.home));
                await_exit(&a);
                CHECK_EQ(f.vtable->home_consult(a.home), 1);
                WAIT_FOR(&f, a.consulted == i + 1);
                CHECK_EQ(a.stops, i + 1);
                actor_reap(&a);
                f.vtable->home_leave(a.home);
                WAIT_FOR(&f, has_ended(pid));
        }
        CHECK_EQ(a.stops, 20);
        actor_free(&a);
        rig_close(&f);
}

/* An end of its own is told apart, many at once share a question, and an actor that has gone on asks none. */
static void test_consult(void)
{
        static Actor actors[N];
        uint64_t start;
        Fixture f;

        rig_open(&f, INSTANCE, BACKEND_SCOPE);
        for (int i = 0; i < N; i++) {
                char name[16];

                snprintf(name, sizeof(name), "n%d", i);
                actor_new(&f, &actors[i], NULL, name);
                CHECK_EQ(f.vtable->home_consult(actors[i].home), 0);
                actor_start(&actors[i], "sleep");
                CHECK_EQ(kill(actors[i].pid, SIGTERM), 0);
                await_exit(&actors[i]);
        }
        start = now_usec(CLOCK_MONOTONIC);
        CHECK_EQ(f.vtable->home_consult(actors[0].home), 1);
        WAIT_FOR(&f, actors[0].consulted == 1);
        fprintf(stderr, "asked in %.2f ms\n", (double) (now_usec(CLOCK_MONOTONIC) - start) / 1000);
        for (int i = 1; i < N; i++)
                CHECK_EQ(f.vtable->home_consult(actors[i].home), 1);
        for (int i = 0; i < N; i++) {
                if (i % 5 != 4)
                        WAIT_FOR(&f, actors[i].consulted == 1);
                CHECK_EQ(actors[i].stops, 0);
                actor_reap(&actors[i]);
                f.vtable->home_leave(actors[i].home);
                CHECK_EQ(f.vtable->home_consult(actors[i].home), 0);
                actor_free(&actors[i]);
        }
        WAIT_FOR(&f, count_units() == 0);
        rig_close(&f);
}

/* Not every job is a stop. */
static void test_started_again(void)
{
        char out[256];
        Fixture f;
        Actor a;

        rig_open(&f, INSTANCE, BACKEND_SCOPE);
        actor_new(&f, &a, NULL, "a");
        actor_start(&a, "sleep");
        for (int i = 0; i < 5; i++) {
                CHECK_EQ(RUN(out, (char *) "systemctl", MODE, (char *) "start",
                                         (char *) f.vtable->home_unit(a.home)),
                                0);
                for (int k = 0; k < 5; k++)
                        rig_turn(&f);
                CHECK_EQ(a.stops, 0);
        }
        actor_end(&a);
        actor_free(&a);
        rig_close(&f);
}

/* A slice stopped behind our back comes back as it was. */
static void test_slice_stopped(void)
{
        Limit which = _LIMIT_INVALID;
        Limits l = { 0 };
        char out[256];
        Fixture f;
        Actor a;

        rig_open(&f, INSTANCE, BACKEND_SCOPE);
        free(f.backend->controllers);
        f.backend->controllers = strdup("cpu cpuset io memory pids");
        set(&l, LIMIT_TASKS_MAX, 77);
        actor_init(&f, &a);
        CHECK_EQ(f.vtable->home_new(f.backend, NULL, "a", "/t/x", true, &l, &a, &a.home, &which), 0);
        actor_start(&a, "sleep");
        actor_end(&a);
        CHECK_EQ(RUN(out, (char *) "systemctl", MODE, (char *) "stop",
                                 (char *) "tractor-" INSTANCE "-a.slice"),
                        0);
        actor_start(&a, "sleep");
        CHECK_STR(property("tractor-" INSTANCE "-a.slice", "TasksMax"), "77");
        CHECK_STR(property("tractor-" INSTANCE "-a.slice", "Description"), "/t/x");
        actor_end(&a);
        /* And one that systemd has put there before us, without any of our limits, is made as ours. */
        actor_free(&a);
        WAIT_FOR(&f, count_units() == 0);
        CHECK_EQ(RUN(out, (char *) "systemctl", MODE, (char *) "start",
                                 (char *) "tractor-" INSTANCE "-a.slice"),
                        0);
        actor_init(&f, &a);
        CHECK_EQ(f.vtable->home_new(f.backend, NULL, "a", "/t/x", true, &l, &a, &a.home, &which), 0);
        actor_start(&a, "sleep");
        CHECK_STR(property("tractor-" INSTANCE "-a.slice", "TasksMax"), "77");
        actor_end(&a);
        actor_free(&a);
        /* A name is free again at once, while systemd still stops what had it. */
        for (int i = 0; i < 5; i++) {
                actor_init(&f, &a);
                CHECK_EQ(f.vtable->home_new(f.backend, NULL, "a", "/t/x", true, &l, &a, &a.home, &which), 0);
                actor_start(&a, "sleep");
                check_in_scope(&a);
                CHECK_STR(property("tractor-" INSTANCE "-a.slice", "TasksMax"), "77");
                actor_free(&a);
                await_exit(&a);
                actor_reap(&a);
        }
        WAIT_FOR(&f, count_units() == 0);
        rig_close(&f);
}

static void deep(const char *name)
{
        Home *chain[64];
        Limit limit;
        unsigned n = 0;
        Fixture f;
        Actor a;
        int r;

        rig_open(&f, INSTANCE, BACKEND_SCOPE);
        while (n < UNIT_LEVELS - 1) {
                chain[n] = supervisor_new(&f, n > 0 ? chain[n - 1] : NULL, name);
                n++;
        }
        actor_new(&f, &a, chain[n - 1], name);
        actor_start(&a, "sleep");
        check_in_scope(&a);
        CHECK(f.vtable->home_populated(chain[0]));
        CHECK_EQ(f.vtable->home_kill(chain[0]), 0);
        await_exit(&a);
        actor_reap(&a);
        f.vtable->home_leave(a.home);
        actor_free(&a);
        do {
                r = f.vtable->home_new(
                                f.backend, chain[n - 1], name, "/t/s", false, NULL, NULL, &chain[n], &limit);
                if (r >= 0)
                        n++;
        } while (r >= 0 && n < ELEMENTSOF(chain));
        CHECK(n == ELEMENTSOF(chain) || r == -ENAMETOOLONG);
        while (n > 0)
                f.vtable->home_free(chain[--n]);
        WAIT_FOR(&f, count_units() == 0);
        rig_close(&f);
}

static void test_deep(void)
{
        deep("worker");
        deep("a-name-as-long-as-names-may-be-and-with-dashes-that-are-escaped--");
}

/* A spawn given up while systemd works on it leaves no unit. */
static void test_given_up(void)
{
        static Actor actors[N];
        Fixture f;

        rig_open(&f, INSTANCE, BACKEND_SCOPE);
        for (int i = 0; i < N; i++) {
                char name[16];

                snprintf(name, sizeof(name), "n%d", i);
                actor_new(&f, &actors[i], NULL, name);
                actor_clone(&actors[i], "sleep");
                actor_adopt(&actors[i]);
                if (i % 3 == 0)
                        rig_turn(&f);
                CHECK_EQ(kill(actors[i].pid, SIGKILL), 0);
                await_exit(&actors[i]);
                actor_reap(&actors[i]);
                if (i % 2 == 0)
                        f.vtable->home_leave(actors[i].home);
                else
                        actor_free(&actors[i]);
        }
        WAIT_FOR(&f, count_units() <= N / 2);
        for (int i = 0; i < N; i += 2)
                actor_free(&actors[i]);
        WAIT_FOR(&f, count_units() == 0);
        rig_close(&f);
}

/* What an earlier run of the same instance left is ended when the next one opens. */
static void test_leftovers(void)
{
        Backend *first;
        Fixture f;
        Actor a;

        rig_open(&f, INSTANCE, BACKEND_SCOPE);
        actor_new(&f, &a, NULL, "left");
        actor_start(&a, "family");
        first = f.backend;
        CHECK_EQ(rig_try_open(&f, INSTANCE, BACKEND_SCOPE), 0);
        await_exit(&a);
        actor_reap(&a);
        rig_reap_all();
        CHECK_EQ(count_units(), 0);
        actor_free(&a);
        first->vtable->free(first);
        f.backend->vtable->free(f.backend);
        CHECK_EQ(rig_try_open(&f, INSTANCE, BACKEND_SCOPE), 0);
        rig_close(&f);
}

static void test_kill_all(void)
{
        Fixture f;
        Actor a, b;

        rig_open(&f, INSTANCE, BACKEND_SCOPE);
        actor_new(&f, &a, NULL, "a");
        actor_new(&f, &b, NULL, "b");
        actor_start(&a, "family");
        actor_start(&b, "daemon");
        f.vtable->kill_all(f.backend);
        CHECK(!f.vtable->home_populated(a.home));
        CHECK(!f.vtable->home_populated(b.home));
        await_exit(&a);
        await_exit(&b);
        actor_reap(&a);
        actor_reap(&b);
        rig_reap_all();
        actor_free(&a);
        actor_free(&b);
        rig_close(&f);
}

/* A readiness command is cloned straight into the scope. */
static void test_command(void)
{
        SpawnPlan plan = { .cgroup_fd = -EBADF };
        _cleanup_free_ char *cgroup = NULL;
        int pidfd, pid;
        Fixture f;
        Actor a;

        rig_open(&f, INSTANCE, BACKEND_SCOPE);
        actor_new(&f, &a, NULL, "a");
        actor_start(&a, "sleep");
        CHECK_EQ(f.vtable->home_command(a.home, &plan), 0);
        pid = rig_clone(plan.cgroup_fd, &pidfd);
        CHECK(pid >= 0);
        if (pid == 0)
                for (;;)
                        pause();
        CHECK_EQ(cgroup_of(&f.root, pid, &cgroup), 0);
        CHECK_STR(cgroup, f.vtable->home_cgroup(a.home));
        CHECK_EQ(f.vtable->home_kill(a.home), 0);
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
        safe_close(pidfd);
        await_exit(&a);
        actor_reap(&a);
        actor_free(&a);
        rig_close(&f);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = {
                { "one", test_one },
                { "crowd", test_crowd },
                { "stragglers", test_stragglers },
                { "freeze", test_freeze },
                { "limits", test_limits },
                { "refused", test_refused },
                { "stop-requested", test_stop_requested },
                { "consult", test_consult },
                { "started-again", test_started_again },
                { "slice-stopped", test_slice_stopped },
                { "given-up", test_given_up },
                { "command", test_command },
                { "leftovers", test_leftovers },
                { "kill-all", test_kill_all },
                { "deep", test_deep },
        };

        if (argc == 3 && streq(argv[1], "--child"))
                return rig_child_main(argv[2]);
        if (!getenv("TRACTOR_TEST_SYSTEMD"))
                skip("wants a systemd of its own: run-in-systemd");
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
