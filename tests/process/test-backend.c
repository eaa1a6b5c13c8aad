/* SPDX-License-Identifier: Apache-2.0 */

/* The cgroup and process backends on this machine. */

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

#include "backend-rig.h"

#define INSTANCE "r0test0"

/* --- cases, for both backends --- */

static void alone(BackendKind kind)
{
        uint64_t kills;
        Fixture f;
        Actor a;

        rig_open(&f, INSTANCE, kind);
        actor_new(&f, &a, NULL, "alone");
        for (int i = 0; i < 3; i++) {
                actor_start(&a, "sleep");
                CHECK(f.vtable->home_populated(a.home));
                CHECK_EQ(f.vtable->home_watch_empty(a.home), 0);
                CHECK_EQ(a.emptied, i);
                CHECK_EQ(f.vtable->home_signal(a.home, SIGTERM), 0);
                await_exit(&a);
                CHECK(!f.vtable->home_populated(a.home));
                WAIT_FOR(&f, a.emptied == i + 1);
                actor_reap(&a);
                f.vtable->home_leave(a.home);
                CHECK(!f.vtable->home_populated(a.home));
        }
        CHECK(f.vtable->home_oom_kills(a.home, &kills) < 0 || kills == 0);
        actor_free(&a);
        rig_close(&f);
}

/* Watched when it is empty already: told all the same, but not from within the call. */
static void empty_already(BackendKind kind)
{
        Fixture f;
        Actor a;

        rig_open(&f, INSTANCE, kind);
        actor_new(&f, &a, NULL, "empty");
        actor_start(&a, "exit");
        await_exit(&a);
        CHECK(!f.vtable->home_populated(a.home));
        CHECK_EQ(f.vtable->home_watch_empty(a.home), 0);
        CHECK_EQ(f.vtable->home_watch_empty(a.home), 0);
        CHECK_EQ(a.emptied, 0);
        WAIT_FOR(&f, a.emptied > 0);
        for (int i = 0; i < 5; i++)
                rig_turn(&f);
        CHECK_EQ(a.emptied, 1);
        actor_reap(&a);
        f.vtable->home_leave(a.home);
        actor_free(&a);
        rig_close(&f);
}

/* A whole family is signalled, and one actor's is never another's. */
static void family(BackendKind kind)
{
        Fixture f;
        Actor a, b;

        rig_open(&f, INSTANCE, kind);
        actor_new(&f, &a, NULL, "a");
        actor_new(&f, &b, NULL, "b");
        actor_start(&a, "family");
        actor_start(&b, "family");
        CHECK_EQ(f.vtable->home_kill(a.home), 0);
        await_exit(&a);
        CHECK_EQ(f.vtable->home_watch_empty(a.home), 0);
        WAIT_FOR(&f, a.emptied == 1);
        CHECK(f.vtable->home_populated(b.home));
        CHECK_EQ(syscall(SYS_pidfd_send_signal, b.pidfd, 0, NULL, 0), 0);
        /* Only the main process of the other: its children stay and are what is left. */
        CHECK_EQ(kill(b.pid, SIGKILL), 0);
        await_exit(&b);
        CHECK(f.vtable->home_populated(b.home));
        CHECK_EQ(f.vtable->home_watch_empty(b.home), 0);
        CHECK_EQ(f.vtable->home_signal(b.home, SIGTERM), 0);
        WAIT_FOR(&f, b.emptied == 1);
        actor_reap(&a);
        actor_reap(&b);
        rig_reap_all();
        f.vtable->home_leave(a.home);
        f.vtable->home_leave(b.home);
        actor_free(&a);
        actor_free(&b);
        rig_close(&f);
}

static void drain(int fd)
{
        char buf[65536];

        CHECK_EQ(fd_set_nonblock(fd, true), 0);
        while (read(fd, buf, sizeof(buf)) > 0)
                ;
        CHECK_EQ(fd_set_nonblock(fd, false), 0);
}

static bool is_frozen(Actor *a)
{
        _cleanup_free_ char *text = NULL;
        char path[64];
        uint64_t frozen;

        if (a->fixture->vtable->kind == BACKEND_CGROUP) {
                const char *cgroup = a->fixture->vtable->home_cgroup(a->home);

                CHECK_EQ(cgroup_read_key(a->fixture->root.fd, cgroup, "cgroup.events", "frozen", &frozen),
                                0);
                return frozen;
        }
        snprintf(path, sizeof(path), "/proc/%d/stat", a->pid);
        CHECK_EQ(read_file_at(AT_FDCWD, path, &text), 0);
        return strrchr(text, ')')[2] == 'T';
}

static void freeze(BackendKind kind)
{
        struct pollfd p;
        Fixture f;
        Usage usage;
        Actor a;

        rig_open(&f, INSTANCE, kind);
        actor_new(&f, &a, NULL, "freeze");
        actor_start(&a, "spin");
        await_byte(a.ready[0]);
        p = (struct pollfd){ .fd = a.ready[0], .events = POLLIN };
        CHECK_EQ(f.vtable->home_usage(a.home, &usage), 0);
        CHECK_EQ(f.vtable->home_freeze(a.home, true), 0);
        WAIT_FOR(&f, is_frozen(&a));
        drain(a.ready[0]);
        CHECK_EQ(poll(&p, 1, 100), 0); /* it would have written some fifty bytes by now */
        CHECK_EQ(f.vtable->home_freeze(a.home, false), 0);
        for (int i = 0; i < 10; i++)
                await_byte(a.ready[0]);
        /* Accounts are kept in ticks on some kernels: some bytes, each a millisecond, may pass before the first. */
        do {
                await_byte(a.ready[0]);
                CHECK_EQ(f.vtable->home_usage(a.home, &usage), 0);
                CHECK(usage.cpu_usec != UINT64_MAX);
        } while (usage.cpu_usec < 5000);
        if (kind == BACKEND_PROCESS)
                CHECK(usage.memory > 4096 && usage.tasks == 1);
        CHECK_EQ(f.vtable->home_freeze(a.home, true), 0);
        CHECK_EQ(f.vtable->home_kill(a.home), 0); /* the frozen can be killed */
        await_exit(&a);
        actor_reap(&a);
        f.vtable->home_leave(a.home);
        actor_start(&a, "sleep"); /* and the next generation is not born frozen */
        actor_free(&a);
        await_exit(&a);
        actor_reap(&a);
        rig_close(&f);
}

static void limits(BackendKind kind)
{
        Limits l = { .set = 1U << LIMIT_MEMORY_MAX | 1U << LIMIT_TASKS_MAX };
        Limit which = _LIMIT_INVALID;
        Home *home = NULL;
        Fixture f;
        Actor a;

        rig_open(&f, INSTANCE, kind);
        l.values[LIMIT_MEMORY_MAX] = 64U << 20;
        l.values[LIMIT_TASKS_MAX] = 10;
        actor_new(&f, &a, NULL, "plain");
        if (cgroup_list_has(f.backend->controllers, "memory") &&
                        cgroup_list_has(f.backend->controllers, "pids")) {
                uint64_t v;

                CHECK_EQ(f.vtable->home_set_limits(a.home, &l, &which), 0);
                CHECK_EQ(cgroup_read_u64(f.root.fd, f.vtable->home_cgroup(a.home), "memory.max", &v), 0);
                CHECK_EQ(v, 64U << 20);
        } else {
                Limit first = cgroup_list_has(f.backend->controllers, "memory") ? LIMIT_TASKS_MAX
                                                                                : LIMIT_MEMORY_MAX;

                CHECK_EQ(f.vtable->home_set_limits(a.home, &l, &which), -EOPNOTSUPP);
                CHECK_EQ(which, first);
                which = _LIMIT_INVALID;
                CHECK_EQ(f.vtable->home_new(f.backend, NULL, "limited", "/l", true, &l, &a, &home, &which),
                                -EOPNOTSUPP);
                CHECK_EQ(which, first);
                CHECK(!home);
        }
        actor_free(&a);
        rig_close(&f);
}

/* Freeing a home ends whatever is in it, and its name is free again at once. */
static void freed_alive(BackendKind kind)
{
        Home *tree;
        Fixture f;
        Actor a, again;

        rig_open(&f, INSTANCE, kind);
        tree = supervisor_new(&f, NULL, "tree");
        actor_new(&f, &a, tree, "x");
        actor_start(&a, "family");
        CHECK_EQ(kind == BACKEND_CGROUP, f.vtable->home_populated(tree));
        actor_free(&a);
        actor_new(&f, &again, tree, "x");
        actor_start(&again, "sleep");
        await_exit(&a);
        actor_reap(&a);
        CHECK(f.vtable->home_populated(again.home));
        actor_free(&again);
        await_exit(&again);
        actor_reap(&again);
        f.vtable->home_free(tree);
        f.vtable->home_free(NULL);
        rig_close(&f);
}

/* A home may go in any of its call-backs. */
static void freed_inside(BackendKind kind)
{
        Fixture f;
        Actor a, b;

        rig_open(&f, INSTANCE, kind);
        actor_new(&f, &a, NULL, "a");
        a.on_adopted = actor_free;
        actor_clone(&a, "sleep");
        actor_adopt(&a);
        CHECK(!a.home);
        await_exit(&a);
        actor_reap(&a);
        actor_new(&f, &b, NULL, "b");
        b.on_emptied = actor_free;
        actor_start(&b, "sleep");
        CHECK_EQ(f.vtable->home_watch_empty(b.home), 0);
        CHECK_EQ(f.vtable->home_kill(b.home), 0);
        WAIT_FOR(&f, !b.home);
        actor_reap(&b);
        rig_close(&f);
}

/* Many at once: watched, killed, and nothing of them stays. */
static void crowd(BackendKind kind)
{
        enum { N = 60 };
        static Actor actors[N];
        Fixture f;

        rig_open(&f, INSTANCE, kind);
        for (int i = 0; i < N; i++) {
                char name[16];

                snprintf(name, sizeof(name), "n%d", i);
                actor_new(&f, &actors[i], NULL, name);
                actor_start(&actors[i], i % 3 == 0 ? "family" : "sleep");
        }
        for (int i = 0; i < N; i++) {
                CHECK_EQ(f.vtable->home_watch_empty(actors[i].home), 0);
                CHECK_EQ(f.vtable->home_kill(actors[i].home), 0);
        }
        for (int i = 0; i < N; i++) {
                WAIT_FOR(&f, actors[i].emptied == 1);
                actor_reap(&actors[i]);
                f.vtable->home_leave(actors[i].home);
                actor_free(&actors[i]);
        }
        rig_reap_all();
        rig_close(&f);
}

/* The end without a loop: nobody is left when it returns. */
static void kill_all(BackendKind kind)
{
        Fixture f;
        Actor a, b;

        rig_open(&f, INSTANCE, kind);
        actor_new(&f, &a, NULL, "a");
        actor_new(&f, &b, NULL, "b");
        actor_start(&a, "family");
        actor_start(&b, "daemon");
        CHECK_EQ(write(b.go[1], "g", 1), 1);
        await_exit(&b);
        f.vtable->kill_all(f.backend);
        CHECK(!f.vtable->home_populated(a.home));
        CHECK(!f.vtable->home_populated(b.home));
        await_exit(&a);
        actor_reap(&a);
        actor_reap(&b);
        rig_reap_all();
        f.vtable->home_leave(a.home);
        f.vtable->home_leave(b.home);
        actor_free(&a);
        actor_free(&b);
        rig_close(&f);
}

static void both(void (*run)(BackendKind kind))
{
        run(BACKEND_PROCESS);
        run(BACKEND_CGROUP);
}

#define BOTH(name)                                                                                          \
        static void test_##name(void)                                                                       \
        {                                                                                                   \
                both(name);                                                                                 \
        }
BOTH(alone)
BOTH(empty_already)
BOTH(family)
BOTH(freeze)
BOTH(limits)
BOTH(freed_alive)
BOTH(freed_inside)
BOTH(crowd)
BOTH(kill_all)

/* --- cases of one backend --- */

/* What an earlier run of the same instance left is ended when the next one opens. */
static void test_leftovers(void)
{
        Backend *first;
        Fixture f;
        Actor a;

        rig_open(&f, INSTANCE, BACKEND_CGROUP);
        actor_new(&f, &a, NULL, "left");
        actor_start(&a, "family");
        first = f.backend;
        CHECK_EQ(rig_try_open(&f, INSTANCE, BACKEND_CGROUP), 0);
        await_exit(&a);
        actor_reap(&a);
        rig_reap_all();
        a.home->backend = first;
        actor_free(&a);
        first->vtable->free(first);
        rig_close(&f);
}

/* Supervisors nest; a leaf's name is no node's; a directory is in its parent's. */
static void test_nesting(void)
{
        enum { DEPTH = 40 };
        Home *chain[DEPTH];
        char want[512];
        Fixture f;
        Actor a;

        rig_open(&f, INSTANCE, BACKEND_CGROUP);
        for (int i = 0; i < DEPTH; i++)
                chain[i] = supervisor_new(&f, i > 0 ? chain[i - 1] : NULL, "level");
        actor_new(&f, &a, chain[0], "actor");
        snprintf(want, sizeof(want), "%s/level/actor", f.backend->cgroup);
        CHECK_STR(f.vtable->home_cgroup(a.home), want);
        actor_start(&a, "sleep");
        CHECK_STR(f.vtable->home_cgroup(a.home), want);
        CHECK(!f.vtable->home_unit(a.home));
        CHECK(f.vtable->home_populated(chain[0]));
        CHECK(!f.vtable->home_populated(chain[1]));
        CHECK_EQ(f.vtable->home_kill(chain[0]), 0);
        await_exit(&a);
        actor_reap(&a);
        f.vtable->home_leave(a.home);
        actor_start(&a, "sleep");
        snprintf(want, sizeof(want), "%s/level/actor/@2", f.backend->cgroup);
        CHECK_STR(f.vtable->home_cgroup(a.home), want);
        CHECK_EQ(f.vtable->home_kill(a.home), 0);
        await_exit(&a);
        actor_reap(&a);
        f.vtable->home_leave(a.home);
        actor_free(&a);
        for (int i = DEPTH - 1; i >= 0; i--)
                f.vtable->home_free(chain[i]);
        rig_close(&f);
}

/* A node below an actor's: the actor's processes make room, and it can still be told who is whose. */
static void test_below_actor(void)
{
        char want[512];
        Home *nursery;
        Fixture f;
        Actor a, b;

        rig_open(&f, INSTANCE, BACKEND_CGROUP);
        actor_new(&f, &a, NULL, "a");
        actor_start(&a, "family");
        nursery = supervisor_new(&f, a.home, "nursery");
        snprintf(want, sizeof(want), "%s/a/@1", f.backend->cgroup);
        CHECK_STR(f.vtable->home_cgroup(a.home), want);
        CHECK(f.vtable->home_populated(a.home));
        actor_new(&f, &b, nursery, "b");
        actor_start(&b, "sleep");
        CHECK_EQ(f.vtable->home_kill(a.home), 0);
        await_exit(&a);
        CHECK_EQ(f.vtable->home_watch_empty(a.home), 0);
        WAIT_FOR(&f, a.emptied == 1);
        CHECK(!f.vtable->home_populated(a.home));
        CHECK(f.vtable->home_populated(b.home));
        actor_reap(&a);
        rig_reap_all();
        f.vtable->home_leave(a.home);
        CHECK(f.vtable->home_populated(b.home));
        CHECK_EQ(f.vtable->home_kill(b.home), 0);
        await_exit(&b);
        actor_reap(&b);
        f.vtable->home_leave(b.home);
        actor_free(&b);
        f.vtable->home_free(nursery);
        actor_free(&a);
        rig_close(&f);
}

static void test_command(void)
{
        SpawnPlan plan = { .cgroup_fd = -EBADF };
        int pidfd, pid;
        Fixture f;
        Actor a;

        rig_open(&f, INSTANCE, BACKEND_CGROUP);
        actor_new(&f, &a, NULL, "ready");
        CHECK_EQ(f.vtable->home_command(a.home, &plan), -ESRCH);
        actor_start(&a, "exit");
        await_exit(&a);
        CHECK_EQ(f.vtable->home_command(a.home, &plan), 0);
        pid = rig_clone(plan.cgroup_fd, &pidfd);
        CHECK(pid >= 0);
        if (pid == 0)
                for (;;)
                        pause();
        CHECK(f.vtable->home_populated(a.home));
        CHECK_EQ(f.vtable->home_watch_empty(a.home), 0);
        CHECK_EQ(f.vtable->home_kill(a.home), 0);
        WAIT_FOR(&f, a.emptied == 1);
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
        safe_close(pidfd);
        actor_reap(&a);
        actor_free(&a);
        rig_close(&f);
}

static void test_selection(void)
{
        Fixture f = { .root.fd = -EBADF };

        CHECK_EQ(sd_event_new(&f.event), 0);
        for (int k = 0; k < _BACKEND_MAX; k++)
                CHECK_EQ(backend_kind_from_string(backend_kind_to_string(k)), k);
        CHECK_EQ(backend_kind_from_string("tractor"), _BACKEND_INVALID);
        CHECK(!backend_kind_to_string(_BACKEND_INVALID));
        CHECK_EQ(rig_try_open(&f, INSTANCE, _BACKEND_INVALID), 0);
        CHECK(f.why && *f.why);
        f.backend->vtable->free(f.backend);
        if (access("/run/systemd/system", F_OK) < 0) {
                CHECK(rig_try_open(&f, INSTANCE, BACKEND_SCOPE) < 0);
                CHECK(strstr(f.why, "systemd"));
        }
        free(f.why);
        sd_event_unref(f.event);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = {
                { "alone", test_alone },
                { "empty-already", test_empty_already },
                { "family", test_family },
                { "freeze", test_freeze },
                { "limits", test_limits },
                { "freed-alive", test_freed_alive },
                { "freed-inside", test_freed_inside },
                { "crowd", test_crowd },
                { "kill-all", test_kill_all },
                { "leftovers", test_leftovers },
                { "nesting", test_nesting },
                { "below-actor", test_below_actor },
                { "command", test_command },
                { "selection", test_selection },
        };

        if (argc == 3 && streq(argv[1], "--child"))
                return rig_child_main(argv[2]);
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
