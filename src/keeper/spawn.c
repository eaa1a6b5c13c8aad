/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "child/child.h"
#include "keeper/keeper.h"

/* Reads what the child has said so far. True at the end: exec has closed its side, or it is dead. */
static bool read_setup(Entry *e)
{
        for (;;) {
                SetupMessage m;
                ssize_t k = recv(e->setup_fd, &m, sizeof(m), MSG_DONTWAIT);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0 && errno == EAGAIN)
                        return false;
                if (k != sizeof(m))
                        return true;
                e->step = m.step;
                e->error = m.error;
        }
}

static void close_setup(Entry *e)
{
        e->setup_source = sd_event_source_disable_unref(e->setup_source);
        e->setup_fd = safe_close(e->setup_fd);
}

void entry_finish_setup(Entry *e)
{
        if (e->setup_fd < 0 || !read_setup(e))
                return;
        close_setup(e);
        if (e->error == 0 && e->step != SPAWN_STEP_EXEC)
                e->error = -ECHILD;
        e->state = KEEPER_CHILD_RUNNING;
        entry_tell(e, DUE_SETUP);
}

static int on_setup(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        entry_finish_setup(userdata);
        return 0;
}

void entry_release(Entry *e)
{
        if (e->state != KEEPER_CHILD_HELD)
                return;
        e->state = KEEPER_CHILD_SETUP;
        /* A child that died meanwhile is told of by its own sources. */
        (void) send(e->setup_fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Watches the child there is. */
static int watch(Entry *e, pid_t pid)
{
        Keeper *k = e->keeper;
        int r;

        e->pidfd = (int) syscall(SYS_pidfd_open, pid, 0);
        if (e->pidfd < 0)
                return -errno;
        r = map_put_u64(&k->children, (uint64_t) pid, e);
        if (r < 0)
                return r;
        e->pid = pid;
        /* No event but the hang-up, which is always told: the steps are read in one go then. */
        r = sd_event_add_io(k->event, &e->setup_source, e->setup_fd, EPOLLHUP, on_setup, e);
        if (r >= 0)
                r = sd_event_add_io(k->event, &e->pidfd_source, e->pidfd, EPOLLIN, on_child_ended, e);
        return r < 0 ? r : 0;
}

/* Whatever was cloned becomes an orphan, which the next search reaps. */
static void fail(Entry *e, pid_t pid, int error)
{
        log_warning("spawn for key %" PRIu64 " failed: %s", e->key, strerror(-error));
        close_setup(e);
        e->pidfd_source = sd_event_source_disable_unref(e->pidfd_source);
        e->pidfd = safe_close(e->pidfd);
        if (e->pid > 0)
                (void) map_remove_u64(&e->keeper->children, (uint64_t) e->pid);
        if (pid > 0) {
                (void) kill(pid, SIGKILL);
                keeper_expect_orphans(e->keeper);
        }
        e->pid = 0;
        e->state = KEEPER_CHILD_NONE;
        e->spawn_error = error;
        entry_tell(e, DUE_SPAWNED);
}

void entry_spawned(Entry *e, pid_t pid)
{
        int r = pid < 0 ? pid : watch(e, pid);

        e->spawn_error = 0;
        if (r < 0)
                fail(e, pid, r);
        else
                entry_tell(e, DUE_SPAWNED);
}

void entry_spawn_lost(Entry *e)
{
        siginfo_t si;
        SetupMessage m;
        pid_t pid = 0;

        /* What it says from now on fails, and so does the child. */
        (void) shutdown(e->setup_fd, SHUT_RDWR);
        while (recv(e->setup_fd, &m, sizeof(m), MSG_DONTWAIT) == sizeof(m))
                pid = m.pid;
        if (pid > 0 && waitid(P_PID, (id_t) pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0)
                pid = 0; /* none of ours */
        fail(e, pid, -ECONNABORTED);
}

/* Asks for the child: its answer comes later. */
static int ask(Entry *e, unsigned flags, const int *fds, size_t n_fds)
{
        bool in_cgroup = flags & KEEPER_SPAWN_CGROUP;
        int pair[2], all[1 + SCM_FDS_MAX], r;

        if (n_fds < (in_cgroup ? 2 : 1))
                return -EINVAL;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        e->setup_fd = pair[0];
        all[0] = pair[1];
        memcpy(all + 1, fds, n_fds * sizeof(int));
        r = spawner_ask(e, flags & KEEPER_SPAWN_HELD, in_cgroup, all, 1 + n_fds);
        safe_close(pair[1]);
        return r;
}

void keeper_spawn(Keeper *k, uint64_t key, unsigned flags, int *fds, size_t n_fds)
{
        Entry *e;
        int r = entry_acquire(k, key, &e);

        if (r < 0) {
                keeper_refuse(k, key, r);
                return;
        }
        if (e->state != KEEPER_CHILD_NONE || (e->due & DUE_SPAWNED)) {
                keeper_refuse(k, key, -EEXIST);
                return;
        }
        e->step = SPAWN_STEP_CLONE;
        e->error = 0;
        r = ask(e, flags, fds, n_fds);
        if (r < 0)
                fail(e, 0, r);
        else
                e->state = (flags & KEEPER_SPAWN_HELD) ? KEEPER_CHILD_HELD : KEEPER_CHILD_SETUP;
}
