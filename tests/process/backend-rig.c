/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "backend-rig.h"

#define READY_FD 3
#define GO_FD 4

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
                (void) read(GO_FD, &c, 1);
                _exit(0);
        }
        if (session)
                (void) setsid();
        if (fork() != 0)
                _exit(0);
        (void) signal(SIGTERM, SIG_IGN);
}

int rig_child_main(const char *mode)
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

static void adopted(void *userdata, int r, const char *why)
{
        Actor *a = userdata;

        if (r < 0) {
                a->refused++;
                a->error = r;
                snprintf(a->why, sizeof(a->why), "%s", strna(why));
                return;
        }
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
        Actor *a = userdata;

        a->stops++;
}

static void memory_changed(void *userdata)
{
}

static void consulted(void *userdata)
{
        Actor *a = userdata;

        a->consulted++;
}

static const BackendEvents events = {
        .adopted = adopted,
        .emptied = emptied,
        .stop_requested = stop_requested,
        .consulted = consulted,
        .memory_changed = memory_changed,
};

int rig_try_open(Fixture *f, const char *instance, BackendKind kind)
{
        BackendOptions options = {
                .event = f->event, .instance = instance, .keeper_pid = getpid(), .events = &events
        };

        free(f->why);
        return backend_open(&options, kind, &f->backend, &f->why);
}

void rig_open(Fixture *f, const char *instance, BackendKind kind)
{
        int r;

        *f = (Fixture){ .root.fd = -EBADF };
        CHECK_EQ(sd_event_new(&f->event), 0);
        CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
        r = rig_try_open(f, instance, kind);
        if (r < 0 && kind != BACKEND_PROCESS)
                skip(f->why);
        CHECK_EQ(r, 0);
        f->vtable = f->backend->vtable;
        CHECK_EQ(f->vtable->kind, kind);
        CHECK(f->why && *f->why);
        if (kind != BACKEND_PROCESS)
                CHECK_EQ(cgroup_root_open(&f->root), 0);
}

void rig_reap_all(void)
{
        while (waitpid(-1, NULL, WNOHANG) > 0)
                ;
}

void rig_close(Fixture *f)
{
        _cleanup_free_ char *instance = f->backend->cgroup ? strdup(f->backend->cgroup) : NULL;

        f->vtable->free(f->backend);
        if (instance)
                CHECK(!cgroup_exists(f->root.fd, instance));
        cgroup_root_close(&f->root);
        sd_event_unref(f->event);
        free(f->why);
        /* No child of ours lives on, adopted ones included. What was killed may still be ending; what was not, is waited for
         * until the test's time is over. */
        while (waitpid(-1, NULL, 0) > 0)
                ;
        CHECK_EQ(errno, ECHILD);
}

void rig_turn(Fixture *f)
{
        CHECK(sd_event_run(f->event, 20 * USEC_PER_MSEC) >= 0);
}

void actor_init(Fixture *f, Actor *a)
{
        *a = (Actor){ .fixture = f,
                .pidfd = -EBADF,
                .ready = { -EBADF, -EBADF },
                .go = { -EBADF, -EBADF },
                .hold = { -EBADF, -EBADF } };
        snprintf(a->id, sizeof(a->id), "%08x-%d", f->n++, (int) getpid());
}

void actor_new(Fixture *f, Actor *a, Home *parent, const char *name)
{
        Limit limit;

        actor_init(f, a);
        CHECK_EQ(f->vtable->home_new(f->backend, parent, name, "/t/x", true, NULL, a, &a->home, &limit), 0);
}

Home *supervisor_new(Fixture *f, Home *parent, const char *name)
{
        Home *home = NULL;
        Limit limit;

        CHECK_EQ(f->vtable->home_new(f->backend, parent, name, "/t/s", false, NULL, NULL, &home, &limit), 0);
        return home;
}

static void in_child(Actor *a, const char *mode)
{
        char variable[64], c;
        char *argv[] = { (char *) "/proc/self/exe", (char *) "--child", (char *) mode, NULL };
        char *envp[] = { variable, NULL };

        safe_close(a->hold[1]);
        if (a->held && read(a->hold[0], &c, 1) != 1)
                _exit(7);
        snprintf(variable, sizeof(variable), "TRACTOR_ACTOR_ID=%s", a->id);
        (void) setsid();
        if (dup2(a->ready[1], 10) < 0 || dup2(a->go[0], 11) < 0 || dup2(10, READY_FD) < 0 ||
                        dup2(11, GO_FD) < 0)
                _exit(8);
        (void) close_range(5, ~0U, 0);
        (void) execve("/proc/self/exe", argv, envp);
        _exit(8);
}

int rig_clone(int cgroup_fd, int *ret_pidfd)
{
        struct clone_args args = {
                .flags = CLONE_PIDFD, .pidfd = (uintptr_t) ret_pidfd, .exit_signal = SIGCHLD
        };

        if (cgroup_fd >= 0) {
                args.flags |= CLONE_INTO_CGROUP;
                args.cgroup = (uint64_t) cgroup_fd;
        }
        return (int) syscall(SYS_clone3, &args, sizeof(args));
}

void await_byte(int fd)
{
        struct pollfd p = { .fd = fd, .events = POLLIN };
        char c;

        CHECK_EQ(poll(&p, 1, 10000), 1);
        CHECK_EQ(read(fd, &c, 1), 1);
}

void actor_clone(Actor *a, const char *mode)
{
        const BackendVtable *v = a->fixture->vtable;
        SpawnPlan plan;

        CHECK_EQ(pipe2(a->ready, O_CLOEXEC), 0);
        CHECK_EQ(pipe2(a->go, O_CLOEXEC), 0);
        CHECK_EQ(pipe2(a->hold, O_CLOEXEC), 0);
        CHECK_EQ(v->home_prepare(a->home, ++a->generation, a->id, SIGTERM, USEC_PER_SEC, &plan), 0);
        CHECK_EQ(plan.held, v->kind == BACKEND_SCOPE);
        CHECK_EQ(plan.cgroup_fd >= 0, v->kind == BACKEND_CGROUP);
        a->held = plan.held;
        a->pid = rig_clone(plan.cgroup_fd, &a->pidfd);
        CHECK(a->pid >= 0);
        if (a->pid == 0)
                in_child(a, mode);
}

void actor_adopt(Actor *a)
{
        CHECK_EQ(a->fixture->vtable->home_adopt(a->home, a->pid, a->pidfd), 0);
}

void actor_release_hold(Actor *a)
{
        if (a->held)
                CHECK_EQ(write(a->hold[1], "h", 1), 1);
}

void actor_start(Actor *a, const char *mode)
{
        int before = a->adopted;

        actor_clone(a, mode);
        actor_adopt(a);
        if (a->held)
                WAIT_FOR(a->fixture, a->adopted > before);
        CHECK_EQ(a->adopted, before + 1);
        actor_release_hold(a);
        if (!streq(mode, "exit"))
                await_byte(a->ready[0]);
}

void await_exit(Actor *a)
{
        siginfo_t si;

        CHECK_EQ(waitid(P_PIDFD, (id_t) a->pidfd, &si, WEXITED | WNOWAIT), 0);
}

void actor_reap(Actor *a)
{
        siginfo_t si;

        CHECK_EQ(waitid(P_PIDFD, (id_t) a->pidfd, &si, WEXITED), 0);
        a->pidfd = safe_close(a->pidfd);
        close_many(a->ready, 2);
        close_many(a->go, 2);
        close_many(a->hold, 2);
}

void actor_free(Actor *a)
{
        a->fixture->vtable->home_free(a->home);
        a->home = NULL;
}
