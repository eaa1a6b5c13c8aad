/* SPDX-License-Identifier: Apache-2.0 */

/* Whom a main process leaves behind, on the cgroup and process backends: found when there is somebody, and not looked
 * for one by one when many have ended at once. */

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "backend-rig.h"
#include "supervisor/process-search.h"

#define INSTANCE "r0test1"

/* As the manager does when it hears from the keeper. */
static void tell_ended(Actor *a)
{
        if (a->fixture->vtable->home_ended)
                a->fixture->vtable->home_ended(a->home, now_usec(CLOCK_MONOTONIC));
}

/* Many have ended when the first is looked at; those looked at before may be zombies yet, or reaped. One that left
 * somebody is told apart, and once that one is known to be awaited, so are those after it. */
static void many_ended(BackendKind kind)
{
        enum { N = 40, LEAVES = 25 };
        static Actor actors[N];
        Fixture f;

        rig_open(&f, INSTANCE, kind);
        for (int round = 0; round < 2; round++) {
                for (int i = 0; i < N; i++) {
                        char name[16];

                        snprintf(name, sizeof(name), "n%d", i);
                        actor_new(&f, &actors[i], NULL, name);
                        actor_start(&actors[i], round > 0 && i == LEAVES ? "daemon" : "sleep");
                }
                for (int i = 0; i < N; i++) {
                        if (round > 0 && i == LEAVES)
                                CHECK_EQ(write(actors[i].go[1], "g", 1), 1);
                        else
                                CHECK_EQ(kill(actors[i].pid, SIGTERM), 0);
                        await_exit(&actors[i]);
                        tell_ended(&actors[i]);
                }
                for (int i = 0; i < N; i++) {
                        bool left = round > 0 && i == LEAVES;

                        CHECK_EQ(f.vtable->home_populated(actors[i].home), left);
                        if (left) {
                                CHECK_EQ(f.vtable->home_watch_empty(actors[i].home), 0);
                                CHECK_EQ(f.vtable->home_kill(actors[i].home), 0);
                                WAIT_FOR(&f, actors[i].emptied == 1);
                        }
                        f.vtable->home_leave(actors[i].home);
                        if (i % 3 > 0)
                                actor_reap(&actors[i]);
                }
                for (int i = 0; i < N; i++) {
                        if (i % 3 == 0)
                                actor_reap(&actors[i]);
                        actor_free(&actors[i]);
                }
                rig_reap_all();
        }
        rig_close(&f);
}

/* Who ended after the look is looked for again. */
static void ended_later(BackendKind kind)
{
        Fixture f;
        Actor a, b;

        rig_open(&f, INSTANCE, kind);
        actor_new(&f, &a, NULL, "a");
        actor_new(&f, &b, NULL, "b");
        actor_start(&a, "sleep");
        actor_start(&b, "daemon");
        CHECK_EQ(kill(a.pid, SIGTERM), 0);
        await_exit(&a);
        tell_ended(&a);
        CHECK(!f.vtable->home_populated(a.home));
        f.vtable->home_leave(a.home);
        CHECK_EQ(write(b.go[1], "g", 1), 1);
        await_exit(&b);
        tell_ended(&b);
        CHECK(f.vtable->home_populated(b.home));
        CHECK_EQ(f.vtable->home_kill(b.home), 0);
        CHECK_EQ(f.vtable->home_watch_empty(b.home), 0);
        WAIT_FOR(&f, b.emptied == 1);
        actor_reap(&a);
        actor_reap(&b);
        rig_reap_all();
        f.vtable->home_leave(b.home);
        actor_free(&a);
        actor_free(&b);
        rig_close(&f);
}

/* A process that outlives its parents and ignores SIGTERM: seen, awaited, killed. */
static void straggler(BackendKind kind, const char *mode, bool told)
{
        Fixture f;
        Actor a;

        rig_open(&f, INSTANCE, kind);
        actor_new(&f, &a, NULL, "straggler");
        actor_start(&a, mode);
        CHECK_EQ(write(a.go[1], "g", 1), 1);
        await_exit(&a);
        if (told)
                tell_ended(&a);
        CHECK(f.vtable->home_populated(a.home));
        CHECK_EQ(f.vtable->home_watch_empty(a.home), 0);
        actor_reap(&a);
        CHECK(f.vtable->home_populated(a.home));
        if (!streq(mode, "cleared")) {
                CHECK_EQ(f.vtable->home_signal(a.home, SIGTERM), 0);
                for (int i = 0; i < 5; i++)
                        rig_turn(&f);
                CHECK_EQ(a.emptied, 0);
                CHECK(f.vtable->home_populated(a.home));
        }
        CHECK_EQ(f.vtable->home_kill(a.home), 0);
        WAIT_FOR(&f, a.emptied == 1);
        rig_reap_all();
        CHECK(!f.vtable->home_populated(a.home));
        f.vtable->home_leave(a.home);
        actor_free(&a);
        rig_close(&f);
}

static void stragglers(BackendKind kind)
{
        straggler(kind, "daemon", false);
        straggler(kind, "daemon", true);
        straggler(kind, "session", false);
        straggler(kind, "session", true);
        straggler(kind, "cleared", false);
        straggler(kind, "cleared", true);
}

static void both(void (*run)(BackendKind kind))
{
        run(BACKEND_PROCESS);
        run(BACKEND_CGROUP);
}

/* A child of ours, for we are the keeper here. */
static int fork_child(bool session)
{
        int ready[2], pid;
        char c;

        CHECK(pipe2(ready, O_CLOEXEC) >= 0);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (session && setsid() < 0)
                        _exit(1);
                (void) write(ready[1], "r", 1);
                for (;;)
                        (void) pause();
        }
        CHECK_EQ(read(ready[0], &c, 1), 1);
        (void) close(ready[0]);
        (void) close(ready[1]);
        return pid;
}

static void end_child(int pid)
{
        CHECK_EQ(kill(pid, SIGKILL), 0);
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

/* The keeper has children of its own, such as the spawner: they are no reason to look for anyone. */
static void test_keepers_own(void)
{
        Map mains = { 0 };
        siginfo_t si;
        int own, straggler;

        CHECK_EQ(search_no_stragglers(getpid(), &mains), 1);
        own = fork_child(false);
        CHECK_EQ(search_no_stragglers(getpid(), &mains), 1);
        straggler = fork_child(true);
        CHECK_EQ(search_no_stragglers(getpid(), &mains), 0);
        CHECK_EQ(map_put_u64(&mains, (uint64_t) straggler, &mains), 0);
        CHECK_EQ(search_no_stragglers(getpid(), &mains), 1);
        CHECK_EQ(map_remove_u64(&mains, (uint64_t) straggler), &mains);
        /* A zombie has nobody with it, whosever it is. */
        CHECK_EQ(kill(straggler, SIGKILL), 0);
        CHECK_EQ(waitid(P_PID, (id_t) straggler, &si, WEXITED | WNOWAIT), 0);
        CHECK_EQ(search_no_stragglers(getpid(), &mains), 1);
        CHECK_EQ(waitpid(straggler, NULL, 0), straggler);
        end_child(own);
        map_clear(&mains);
}

/* The kernel's list of children comes in pieces: complete whatever their number, zombies among them. */
static void test_children(void)
{
        enum { N = 900 }; /* more than 4 KiB */
        static int pids[N];
        PidList l = { 0 };

        for (size_t n = 0; n < N; n++) {
                pids[n] = fork();
                CHECK(pids[n] >= 0);
                if (pids[n] == 0)
                        _exit(0);
                l.n = 0;
                CHECK_EQ(proc_children(getpid(), &l), 0);
                CHECK_EQ(l.n, n + 1);
                CHECK_EQ(memcmp(l.pids, pids, l.n * sizeof(int)), 0);
        }
        for (size_t n = 0; n < N; n++)
                CHECK_EQ(waitpid(pids[n], NULL, 0), pids[n]);
        pid_list_done(&l);
}

static void test_stragglers(void)
{
        both(stragglers);
}

static void test_many_ended(void)
{
        both(many_ended);
}

static void test_ended_later(void)
{
        both(ended_later);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = {
                { "stragglers", test_stragglers },
                { "many-ended", test_many_ended },
                { "ended-later", test_ended_later },
                { "keepers-own", test_keepers_own },
                { "children", test_children },
        };

        if (argc == 3 && streq(argv[1], "--child"))
                return rig_child_main(argv[2]);
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
