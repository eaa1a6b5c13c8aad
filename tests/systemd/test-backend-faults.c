/* SPDX-License-Identifier: Apache-2.0 */

/* The scope backend while systemd or the bus come and go, which needs a systemd of its own. */

#include <fcntl.h>
#include <stdio.h>

#include "scope-rig.h"

#define N 50

/* Whatever happens to systemd or the bus, every spawn ends one way or the other, and the view agrees afterwards. */
static void disturbed(const char *a, const char *b, const char *c)
{
        static Actor actors[N];
        int pid = -1, adopted = 0;
        Home *tree;
        Fixture f;

        rig_open(&f, INSTANCE, BACKEND_SCOPE);
        tree = supervisor_new(&f, NULL, "tree");
        for (int i = 0; i < N; i++) {
                char name[16];

                snprintf(name, sizeof(name), "n%d", i);
                actor_new(&f, &actors[i], tree, name);
                actor_clone(&actors[i], "sleep");
                actor_adopt(&actors[i]);
                if (i == N / 4)
                        pid = begin(a, b, c);
                if (i > N / 4)
                        rig_turn(&f);
        }
        for (int i = 0; i < N; i++) {
                uint64_t deadline = now_usec(CLOCK_MONOTONIC) + 25 * USEC_PER_SEC;

                while (actors[i].adopted + actors[i].refused == 0) {
                        CHECK(now_usec(CLOCK_MONOTONIC) < deadline);
                        rig_turn(&f);
                }
                CHECK_EQ(actors[i].adopted + actors[i].refused, 1);
                adopted += actors[i].adopted;
                if (actors[i].adopted)
                        check_in_scope(&actors[i]);
                else
                        fprintf(stderr, "n%d: %s\n", i, actors[i].why);
        }
        fprintf(stderr, "%d of %d adopted\n", adopted, N);
        CHECK_EQ(adopted, N);
        WAIT_FOR(&f, has_ended(pid));
        for (int i = 0; i < N; i++) {
                CHECK_EQ(kill(actors[i].pid, SIGKILL), 0);
                await_exit(&actors[i]);
                actor_reap(&actors[i]);
                f.vtable->home_leave(actors[i].home);
                actor_free(&actors[i]);
        }
        f.vtable->home_free(tree);
        WAIT_FOR(&f, count_units() == 0);
        rig_close(&f);
}

/* Where systemd would be asked without it, the bus has to be insisted on. */
static void force_bus(void)
{
        CHECK_EQ(setenv("TRACTOR_FORCE_BUS", "1", 1), 0);
}

static void test_reexec(void)
{
        CHECK_EQ(unsetenv("TRACTOR_FORCE_BUS"), 0);
        disturbed("systemctl", "daemon-reexec", NULL);
}

static void test_reexec_bus(void)
{
        force_bus();
        disturbed("systemctl", "daemon-reexec", NULL);
}

static void test_reload(void)
{
        CHECK_EQ(unsetenv("TRACTOR_FORCE_BUS"), 0);
        disturbed("systemctl", "daemon-reload", NULL);
}

static void test_reload_bus(void)
{
        force_bus();
        disturbed("systemctl", "daemon-reload", NULL);
}

/* By itself, without those who want it: the harness is one. */
#define BUS(verb, units) "systemctl $0 --job-mode=ignore-dependencies " verb " " units

static void test_bus_restarted(void)
{
        force_bus();
        disturbed("sh", "-c", BUS("restart", "dbus.service"));
}

/* Starts of the bus are limited to five in ten seconds. */
static void test_bus_killed(void)
{
        force_bus();
        disturbed("sh", "-c",
                        "systemctl $0 reset-failed dbus.service; systemctl $0 kill -s KILL dbus.service");
}

/* No bus at all for a while: those that run stay, homes freed meanwhile are cleaned up after, and it works again. */
static void test_bus_away(void)
{
        char out[256];
        Fixture f;
        Actor a, b, c;
        int pid;

        force_bus();
        rig_open(&f, INSTANCE, BACKEND_SCOPE);
        CHECK(strstr(f.why, geteuid() == 0 ? "on the system bus" : "on the user bus"));
        actor_new(&f, &a, NULL, "a");
        actor_new(&f, &b, NULL, "b");
        actor_new(&f, &c, NULL, "c");
        actor_start(&a, "sleep");
        actor_start(&b, "sleep");
        CHECK_EQ(RUN(out, (char *) "sh", (char *) "-c", (char *) BUS("stop", "dbus.socket dbus.service"),
                                 MODE),
                        0);
        for (int i = 0; i < 5; i++)
                rig_turn(&f);
        CHECK(f.vtable->home_populated(a.home));
        actor_free(&b);
        await_exit(&b);
        actor_reap(&b);
        actor_clone(&c, "sleep");
        actor_adopt(&c);
        for (int i = 0; i < 5; i++)
                rig_turn(&f);
        CHECK_EQ(c.adopted + c.refused, 0);
        CHECK_EQ(RUN(out, (char *) "sh", (char *) "-c", (char *) BUS("start", "dbus.socket dbus.service"),
                                 MODE),
                        0);
        WAIT_FOR(&f, c.adopted == 1);
        check_in_scope(&a);
        check_in_scope(&c);
        actor_release_hold(&c);
        await_byte(c.ready[0]);
        /* Two slices, two scopes. */
        WAIT_FOR(&f, count_units() == 4);
        /* Of the one that was there before, too, a stop from outside is told, once. */
        pid = begin("systemctl", "stop", f.vtable->home_unit(a.home));
        WAIT_FOR(&f, a.stops == 1 && has_ended(pid));
        CHECK_EQ(a.stops, 1);
        CHECK_EQ(c.stops, 0);
        actor_end(&a);
        /* An end while there is no bus is nobody's but its own. */
        CHECK_EQ(RUN(out, (char *) "sh", (char *) "-c", (char *) BUS("stop", "dbus.socket dbus.service"),
                                 MODE),
                        0);
        CHECK_EQ(kill(c.pid, SIGTERM), 0);
        await_exit(&c);
        for (int i = 0; i < 5; i++)
                rig_turn(&f);
        CHECK_EQ(f.vtable->home_consult(c.home), 0);
        CHECK_EQ(RUN(out, (char *) "sh", (char *) "-c", (char *) BUS("start", "dbus.socket dbus.service"),
                                 MODE),
                        0);
        actor_reap(&c);
        f.vtable->home_leave(c.home);
        CHECK_EQ(c.stops, 0);
        actor_free(&a);
        actor_free(&c);
        WAIT_FOR(&f, count_units() == 0);
        rig_close(&f);
}

/* systemd itself, asked directly, needs no bus: starts, ends and stops from outside go on without. */
static void test_without_bus(void)
{
        char out[256];
        Fixture f;
        Actor a, b;
        int pid;

        if (geteuid() != 0)
                return;
        CHECK_EQ(unsetenv("TRACTOR_FORCE_BUS"), 0);
        rig_open(&f, INSTANCE, BACKEND_SCOPE);
        CHECK(strstr(f.why, "asked directly"));
        actor_new(&f, &a, NULL, "a");
        actor_new(&f, &b, NULL, "b");
        actor_start(&a, "sleep");
        CHECK_EQ(RUN(out, (char *) "sh", (char *) "-c", (char *) BUS("stop", "dbus.socket dbus.service"),
                                 MODE),
                        0);
        actor_start(&b, "sleep");
        check_in_scope(&b);
        pid = begin("systemctl", "stop", f.vtable->home_unit(a.home));
        WAIT_FOR(&f, a.stops == 1 && has_ended(pid));
        CHECK_EQ(b.stops, 0);
        actor_end(&a);
        actor_end(&b);
        CHECK_EQ(RUN(out, (char *) "sh", (char *) "-c", (char *) BUS("start", "dbus.socket dbus.service"),
                                 MODE),
                        0);
        actor_free(&a);
        actor_free(&b);
        WAIT_FOR(&f, count_units() == 0);
        rig_close(&f);
}

static void test_socket_gone(void)
{
        Fixture f;
        Actor a;

        if (geteuid() != 0)
                return;
        CHECK_EQ(unsetenv("TRACTOR_FORCE_BUS"), 0);
        CHECK_EQ(rename("/run/systemd/private", "/run/systemd/private.away"), 0);
        rig_open(&f, INSTANCE, BACKEND_SCOPE);
        CHECK_EQ(rename("/run/systemd/private.away", "/run/systemd/private"), 0);
        CHECK(strstr(f.why, "on the system bus"));
        actor_new(&f, &a, NULL, "a");
        actor_start(&a, "sleep");
        check_in_scope(&a);
        actor_end(&a);
        actor_free(&a);
        WAIT_FOR(&f, count_units() == 0);
        rig_close(&f);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = {
                { "reload", test_reload },
                { "reload-bus", test_reload_bus },
                { "reexec", test_reexec },
                { "reexec-bus", test_reexec_bus },
                { "without-bus", test_without_bus },
                { "socket-gone", test_socket_gone },
                { "bus-restarted", test_bus_restarted },
                { "bus-killed", test_bus_killed },
                { "bus-away", test_bus_away },
        };

        if (argc == 3 && streq(argv[1], "--child"))
                return rig_child_main(argv[2]);
        if (!getenv("TRACTOR_TEST_SYSTEMD"))
                skip("wants a systemd of its own: run-in-systemd");
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
