/* SPDX-License-Identifier: Apache-2.0 */

/* The cgroup and process backends on this machine, with this program as the keeper: it clones the children itself,
 * is their subreaper, and decides when a zombie is reaped. */

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "supervisor/backend.h"
#include "supervisor/cgroup.h"
#include "test.h"

#define PATIENCE_USEC (10 * USEC_PER_SEC)
/* What a child is given: it writes a byte here when it is what it was asked to be. */
#define READY_FD 3

/* --- children: this program again, as asked for by its argument --- */

static void say_ready(void)
{
        if (write(READY_FD, "r", 1) != 1)
                _exit(9);
}

static _Noreturn void sleep_for_ever(void)
{
        for (;;)
                pause();
}

/* A daemon with both parents gone, in a session of its own if so wished. */
static void daemonize(bool session)
{
        if (fork() != 0) {
                char c;

                /* Gone only after the daemon is there, so that its end can't be mistaken for the room's. */
                (void) read(4, &c, 1);
                _exit(0);
        }
        if (session)
                (void) setsid();
        if (fork() != 0)
                _exit(0);
        (void) signal(SIGTERM, SIG_IGN);
}

static int child_main(const char *mode)
{
        if (streq(mode, "sleep")) {
                say_ready();
                sleep_for_ever();
        }
        if (streq(mode, "exit"))
                return 0;
        if (streq(mode, "daemon") || streq(mode, "session")) {
                daemonize(streq(mode, "daemon"));
                say_ready();
                sleep_for_ever();
        }
        if (streq(mode, "cleared")) {
                char *argv[] = { (char *) "/proc/self/exe", (char *) "--child", (char *) "sleep", NULL };
                char *envp[] = { NULL };

                daemonize(false);
                execve("/proc/self/exe", argv, envp);
                return 9;
        }
        if (streq(mode, "family")) {
                for (int i = 0; i < 20; i++)
                        if (fork() == 0)
                                sleep_for_ever();
                say_ready();
                sleep_for_ever();
        }
        if (streq(mode, "spin")) {
                say_ready();
                for (;;) {
                        uint64_t until = now_usec(CLOCK_PROCESS_CPUTIME_ID) + 1000;

                        while (now_usec(CLOCK_PROCESS_CPUTIME_ID) < until)
                                ;
                        (void) write(READY_FD, "s", 1);
                }
        }
        return 9;
}

/* --- the keeper's part --- */

typedef struct Fixture {
        sd_event *event;
        Backend *backend;
        const BackendVtable *vtable;
        CgroupRoot root;
        unsigned n;
} Fixture;

typedef struct Actor {
        Fixture *fixture;
        Home *home;
        char id[40];
        uint32_t generation;
        int pid, pidfd;
        int ready[2], go[2];
        int adopted, emptied;
        void (*on_adopted)(struct Actor *a);
        void (*on_emptied)(struct Actor *a);
} Actor;

static void adopted(void *userdata, int r, const char *why)
{
        Actor *a = userdata;

        CHECK_EQ(r, 0);
        a->adopted++;
        if (a->on_adopted)
                a->on_adopted(a);
}

static void emptied(void *userdata)
{
        Actor *a = userdata;

        a->emptied++;
        if (a->on_emptied)
                a->on_emptied(a);
}

static void stop_requested(void *userdata)
{
        CHECK(!"nobody asks for that here");
}

static const BackendEvents events = {
        .adopted = adopted,
        .emptied = emptied,
        .stop_requested = stop_requested,
};

static int try_open(Fixture *f, BackendKind kind, char **ret_why)
{
        BackendOptions options = { .event = f->event, .instance = "r0test0", .keeper_pid = getpid(),
                .events = &events };

        return backend_open(&options, kind, &f->backend, ret_why);
}

static void fixture_start(Fixture *f, BackendKind kind)
{
        _cleanup_free_ char *why = NULL;
        int r;

        *f = (Fixture){ .root.fd = -EBADF };
        CHECK_EQ(sd_event_new(&f->event), 0);
        CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
        r = try_open(f, kind, &why);
        if (r < 0 && kind == BACKEND_CGROUP)
                skip(why);
        CHECK_EQ(r, 0);
        f->vtable = f->backend->vtable;
        CHECK_EQ(f->vtable->kind, kind);
        CHECK(why && *why);
        if (kind == BACKEND_CGROUP)
                CHECK_EQ(cgroup_root_open(&f->root), 0);
}

static void reap_all(void)
{
        while (waitpid(-1, NULL, WNOHANG) > 0)
                ;
}

static void fixture_end(Fixture *f)
{
        _cleanup_free_ char *instance = f->backend->cgroup ? strdup(f->backend->cgroup) : NULL;

        f->vtable->free(f->backend);
        if (instance)
                CHECK(!cgroup_exists(f->root.fd, instance));
        cgroup_root_close(&f->root);
        sd_event_unref(f->event);
        reap_all();
        CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1); /* no child of ours is left, adopted ones included */
}

static void turn(Fixture *f)
{
        CHECK(sd_event_run(f->event, 20 * USEC_PER_MSEC) >= 0);
}

#define WAIT_FOR(f, condition)                                                                              \
        do {                                                                                                \
                uint64_t _deadline = now_usec(CLOCK_MONOTONIC) + PATIENCE_USEC;                             \
                while (!(condition)) {                                                                      \
                        CHECK(now_usec(CLOCK_MONOTONIC) < _deadline);                                       \
                        turn(f);                                                                            \
                }                                                                                           \
        } while (0)

static void actor_init(Fixture *f, Actor *a)
{
        *a = (Actor){ .fixture = f, .pidfd = -EBADF, .ready = { -EBADF, -EBADF }, .go = { -EBADF, -EBADF } };
        snprintf(a->id, sizeof(a->id), "%08x-%d", f->n++, (int) getpid());
}

static void actor_new(Fixture *f, Actor *a, Home *parent, const char *name)
{
        Limit limit;

        actor_init(f, a);
        CHECK_EQ(f->vtable->home_new(f->backend, parent, name, "/t/x", true, NULL, a, &a->home, &limit), 0);
}

static void in_child(Actor *a, const char *mode)
{
        char variable[64];
        char *argv[] = { (char *) "/proc/self/exe", (char *) "--child", (char *) mode, NULL };
        char *envp[] = { variable, NULL };

        snprintf(variable, sizeof(variable), "TRACTOR_ACTOR_ID=%s", a->id);
        (void) setsid();
        if (dup2(a->ready[1], 10) < 0 || dup2(a->go[0], 11) < 0 || dup2(10, READY_FD) < 0 || dup2(11, 4) < 0)
                _exit(8);
        (void) close_range(5, ~0U, 0);
        (void) execve("/proc/self/exe", argv, envp);
        _exit(8);
}

static int clone_into(int cgroup_fd, int *ret_pidfd)
{
        struct clone_args args = { .flags = CLONE_PIDFD, .pidfd = (uintptr_t) ret_pidfd,
                .exit_signal = SIGCHLD };

        if (cgroup_fd >= 0) {
                args.flags |= CLONE_INTO_CGROUP;
                args.cgroup = (uint64_t) cgroup_fd;
        }
        return (int) syscall(SYS_clone3, &args, sizeof(args));
}

static void await_byte(int fd)
{
        struct pollfd p = { .fd = fd, .events = POLLIN };
        char c;

        CHECK_EQ(poll(&p, 1, 10000), 1);
        CHECK_EQ(read(fd, &c, 1), 1);
}

static void actor_clone(Actor *a, const char *mode)
{
        const BackendVtable *v = a->fixture->vtable;
        SpawnPlan plan;

        CHECK_EQ(pipe2(a->ready, O_CLOEXEC), 0);
        CHECK_EQ(pipe2(a->go, O_CLOEXEC), 0);
        CHECK_EQ(v->home_prepare(a->home, ++a->generation, a->id, USEC_PER_SEC, &plan), 0);
        CHECK(!plan.held);
        CHECK_EQ(plan.cgroup_fd >= 0, v->kind == BACKEND_CGROUP);
        a->pid = clone_into(plan.cgroup_fd, &a->pidfd);
        CHECK(a->pid >= 0);
        if (a->pid == 0)
                in_child(a, mode);
}

static void actor_start(Actor *a, const char *mode)
{
        int before = a->adopted;

        actor_clone(a, mode);
        CHECK_EQ(a->fixture->vtable->home_adopt(a->home, a->pid, a->pidfd), 0);
        CHECK_EQ(a->adopted, before + 1);
        if (!streq(mode, "exit"))
                await_byte(a->ready[0]);
}

/* The main process has ended; its zombie is there as long as the test wants. */
static void await_exit(Actor *a)
{
        siginfo_t si;

        CHECK_EQ(waitid(P_PIDFD, (id_t) a->pidfd, &si, WEXITED | WNOWAIT), 0);
}

static void actor_reap(Actor *a)
{
        siginfo_t si;

        CHECK_EQ(waitid(P_PIDFD, (id_t) a->pidfd, &si, WEXITED), 0);
        a->pidfd = safe_close(a->pidfd);
        close_many(a->ready, 2);
        close_many(a->go, 2);
}

static void actor_release(Actor *a)
{
        a->fixture->vtable->home_free(a->home);
        a->home = NULL;
}

/* --- cases, for both backends --- */

static void alone(BackendKind kind)
{
        Fixture f;
        Actor a;

        fixture_start(&f, kind);
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
        CHECK_EQ(f.vtable->home_oom_kills(a.home), 0);
        actor_release(&a);
        fixture_end(&f);
}

/* Watched when it is empty already: told all the same, but not from within the call. */
static void empty_already(BackendKind kind)
{
        Fixture f;
        Actor a;

        fixture_start(&f, kind);
        actor_new(&f, &a, NULL, "empty");
        actor_start(&a, "exit");
        await_exit(&a);
        CHECK(!f.vtable->home_populated(a.home));
        CHECK_EQ(f.vtable->home_watch_empty(a.home), 0);
        CHECK_EQ(f.vtable->home_watch_empty(a.home), 0);
        CHECK_EQ(a.emptied, 0);
        WAIT_FOR(&f, a.emptied > 0);
        for (int i = 0; i < 5; i++)
                turn(&f);
        CHECK_EQ(a.emptied, 1);
        actor_reap(&a);
        f.vtable->home_leave(a.home);
        actor_release(&a);
        fixture_end(&f);
}

/* A process that outlives its parents and ignores SIGTERM: seen, awaited, killed. */
static void straggler(BackendKind kind, const char *mode)
{
        Fixture f;
        Actor a;

        fixture_start(&f, kind);
        actor_new(&f, &a, NULL, "straggler");
        actor_start(&a, mode);
        CHECK_EQ(write(a.go[1], "g", 1), 1);
        await_exit(&a);
        CHECK(f.vtable->home_populated(a.home));
        CHECK_EQ(f.vtable->home_watch_empty(a.home), 0);
        actor_reap(&a);
        CHECK(f.vtable->home_populated(a.home));
        if (!streq(mode, "cleared")) {
                CHECK_EQ(f.vtable->home_signal(a.home, SIGTERM), 0);
                for (int i = 0; i < 5; i++)
                        turn(&f);
                CHECK_EQ(a.emptied, 0);
                CHECK(f.vtable->home_populated(a.home));
        }
        CHECK_EQ(f.vtable->home_kill(a.home), 0);
        WAIT_FOR(&f, a.emptied == 1);
        reap_all();
        CHECK(!f.vtable->home_populated(a.home));
        f.vtable->home_leave(a.home);
        actor_release(&a);
        fixture_end(&f);
}

static void stragglers(BackendKind kind)
{
        straggler(kind, "daemon");
        straggler(kind, "session");
        straggler(kind, "cleared");
}

/* A whole family is signalled, and one actor's is never another's. */
static void family(BackendKind kind)
{
        Fixture f;
        Actor a, b;

        fixture_start(&f, kind);
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
        reap_all();
        f.vtable->home_leave(a.home);
        f.vtable->home_leave(b.home);
        actor_release(&a);
        actor_release(&b);
        fixture_end(&f);
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

                CHECK_EQ(cgroup_read_key(a->fixture->root.fd, cgroup, "cgroup.events", "frozen", &frozen), 0);
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

        fixture_start(&f, kind);
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
        CHECK_EQ(f.vtable->home_usage(a.home, &usage), 0);
        CHECK(usage.cpu_usec >= 5000 && usage.cpu_usec != UINT64_MAX);
        if (kind == BACKEND_PROCESS)
                CHECK(usage.memory > 4096 && usage.tasks == 1);
        CHECK_EQ(f.vtable->home_freeze(a.home, true), 0);
        CHECK_EQ(f.vtable->home_kill(a.home), 0); /* the frozen can be killed */
        await_exit(&a);
        actor_reap(&a);
        f.vtable->home_leave(a.home);
        actor_start(&a, "sleep"); /* and the next generation is not born frozen */
        actor_release(&a);
        await_exit(&a);
        actor_reap(&a);
        fixture_end(&f);
}

static void limits(BackendKind kind)
{
        Limits l = { .set = 1U << LIMIT_MEMORY_MAX | 1U << LIMIT_TASKS_MAX };
        Limit which = _LIMIT_INVALID;
        Home *home = NULL;
        Fixture f;
        Actor a;

        fixture_start(&f, kind);
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
                Limit first = cgroup_list_has(f.backend->controllers, "memory") ? LIMIT_TASKS_MAX : LIMIT_MEMORY_MAX;

                CHECK_EQ(f.vtable->home_set_limits(a.home, &l, &which), -EOPNOTSUPP);
                CHECK_EQ(which, first);
                which = _LIMIT_INVALID;
                CHECK_EQ(f.vtable->home_new(
                                 f.backend, NULL, "limited", "/l", true, &l, &a, &home, &which),
                        -EOPNOTSUPP);
                CHECK_EQ(which, first);
                CHECK(!home);
        }
        actor_release(&a);
        fixture_end(&f);
}

/* Freeing a home ends whatever is in it, and its name is free again at once. */
static void freed_alive(BackendKind kind)
{
        Limit limit;
        Home *tree;
        Fixture f;
        Actor a, again;

        fixture_start(&f, kind);
        CHECK_EQ(f.vtable->home_new(f.backend, NULL, "tree", "/tree", false, NULL, NULL, &tree, &limit), 0);
        actor_new(&f, &a, tree, "x");
        actor_start(&a, "family");
        CHECK_EQ(kind == BACKEND_CGROUP, f.vtable->home_populated(tree));
        actor_release(&a);
        actor_new(&f, &again, tree, "x");
        actor_start(&again, "sleep");
        await_exit(&a);
        actor_reap(&a);
        CHECK(f.vtable->home_populated(again.home));
        actor_release(&again);
        await_exit(&again);
        actor_reap(&again);
        f.vtable->home_free(tree);
        f.vtable->home_free(NULL);
        fixture_end(&f);
}

static void release_it(Actor *a)
{
        actor_release(a);
}

/* A home may go in any of its call-backs. */
static void freed_inside(BackendKind kind)
{
        Fixture f;
        Actor a, b;

        fixture_start(&f, kind);
        actor_new(&f, &a, NULL, "a");
        a.on_adopted = release_it;
        actor_clone(&a, "sleep");
        CHECK_EQ(f.vtable->home_adopt(a.home, a.pid, a.pidfd), 0);
        CHECK(!a.home);
        await_exit(&a);
        actor_reap(&a);
        actor_new(&f, &b, NULL, "b");
        b.on_emptied = release_it;
        actor_start(&b, "sleep");
        CHECK_EQ(f.vtable->home_watch_empty(b.home), 0);
        CHECK_EQ(f.vtable->home_kill(b.home), 0);
        WAIT_FOR(&f, !b.home);
        actor_reap(&b);
        fixture_end(&f);
}

/* Many at once: watched, killed, and nothing of them stays. */
static void crowd(BackendKind kind)
{
        enum { N = 60 };
        static Actor actors[N];
        Fixture f;

        fixture_start(&f, kind);
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
                actor_release(&actors[i]);
        }
        reap_all();
        fixture_end(&f);
}

/* The end without a loop: nobody is left when it returns. */
static void kill_all(BackendKind kind)
{
        Fixture f;
        Actor a, b;

        fixture_start(&f, kind);
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
        reap_all();
        f.vtable->home_leave(a.home);
        f.vtable->home_leave(b.home);
        actor_release(&a);
        actor_release(&b);
        fixture_end(&f);
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
BOTH(stragglers)
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
        _cleanup_free_ char *why = NULL;
        Backend *first;
        Fixture f;
        Actor a;

        fixture_start(&f, BACKEND_CGROUP);
        actor_new(&f, &a, NULL, "left");
        actor_start(&a, "family");
        first = f.backend;
        CHECK_EQ(try_open(&f, BACKEND_CGROUP, &why), 0);
        await_exit(&a);
        actor_reap(&a);
        reap_all();
        a.home->backend = first;
        actor_release(&a);
        first->vtable->free(first);
        fixture_end(&f);
}

/* Supervisors nest; a leaf's name is no node's; a directory is in its parent's. */
static void test_nesting(void)
{
        enum { DEPTH = 40 };
        Home *chain[DEPTH];
        char want[512];
        Limit limit;
        Fixture f;
        Actor a;

        fixture_start(&f, BACKEND_CGROUP);
        for (int i = 0; i < DEPTH; i++)
                CHECK_EQ(f.vtable->home_new(f.backend, i > 0 ? chain[i - 1] : NULL, "level", "/l", false, NULL, NULL,
                                 &chain[i], &limit),
                        0);
        actor_new(&f, &a, chain[0], "actor");
        snprintf(want, sizeof(want), "%s/level/actor", f.backend->cgroup);
        CHECK_STR(f.vtable->home_cgroup(a.home), want);
        actor_start(&a, "sleep");
        snprintf(want, sizeof(want), "%s/level/actor/@1", f.backend->cgroup);
        CHECK_STR(f.vtable->home_cgroup(a.home), want);
        CHECK(!f.vtable->home_unit(a.home));
        CHECK(f.vtable->home_populated(chain[0]));
        CHECK(!f.vtable->home_populated(chain[1]));
        CHECK_EQ(f.vtable->home_kill(chain[0]), 0);
        await_exit(&a);
        actor_reap(&a);
        f.vtable->home_leave(a.home);
        actor_release(&a);
        for (int i = DEPTH - 1; i >= 0; i--)
                f.vtable->home_free(chain[i]);
        fixture_end(&f);
}

static void test_command(void)
{
        SpawnPlan plan = { .cgroup_fd = -EBADF };
        int pidfd, pid;
        Fixture f;
        Actor a;

        fixture_start(&f, BACKEND_CGROUP);
        actor_new(&f, &a, NULL, "ready");
        CHECK_EQ(f.vtable->home_command(a.home, &plan), -ESRCH);
        actor_start(&a, "exit");
        await_exit(&a);
        CHECK_EQ(f.vtable->home_command(a.home, &plan), 0);
        pid = clone_into(plan.cgroup_fd, &pidfd);
        CHECK(pid >= 0);
        if (pid == 0)
                sleep_for_ever();
        CHECK(f.vtable->home_populated(a.home));
        CHECK_EQ(f.vtable->home_watch_empty(a.home), 0);
        CHECK_EQ(f.vtable->home_kill(a.home), 0);
        WAIT_FOR(&f, a.emptied == 1);
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
        safe_close(pidfd);
        actor_reap(&a);
        actor_release(&a);
        fixture_end(&f);
}

static void test_selection(void)
{
        _cleanup_free_ char *why = NULL, *why_not = NULL;
        Fixture f = { .root.fd = -EBADF };

        CHECK_EQ(sd_event_new(&f.event), 0);
        for (int k = 0; k < _BACKEND_MAX; k++)
                CHECK_EQ(backend_kind_from_string(backend_kind_to_string(k)), k);
        CHECK_EQ(backend_kind_from_string("tractor"), _BACKEND_INVALID);
        CHECK(!backend_kind_to_string(_BACKEND_INVALID));
        CHECK_EQ(try_open(&f, _BACKEND_INVALID, &why), 0);
        CHECK(why && *why);
        f.backend->vtable->free(f.backend);
        if (access("/run/systemd/system", F_OK) < 0) {
                CHECK(try_open(&f, BACKEND_SCOPE, &why_not) < 0);
                CHECK(strstr(why_not, "systemd"));
        }
        sd_event_unref(f.event);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = {
                { "alone", test_alone },
                { "empty-already", test_empty_already },
                { "stragglers", test_stragglers },
                { "family", test_family },
                { "freeze", test_freeze },
                { "limits", test_limits },
                { "freed-alive", test_freed_alive },
                { "freed-inside", test_freed_inside },
                { "crowd", test_crowd },
                { "kill-all", test_kill_all },
                { "leftovers", test_leftovers },
                { "nesting", test_nesting },
                { "command", test_command },
                { "selection", test_selection },
        };

        if (argc == 3 && streq(argv[1], "--child"))
                return child_main(argv[2]);
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
