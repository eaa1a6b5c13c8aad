/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/epoll.h>

#include "base/io.h"
#include "base/log.h"
#include "base/process.h"
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

/* Clones and begins to watch. On failure nothing runs and the entry has no child. */
static int spawn(Entry *e, unsigned flags, const int *fds, size_t n_fds)
{
        Keeper *k = e->keeper;
        size_t skip = (flags & KEEPER_SPAWN_CGROUP) ? 2 : 1;
        int pair[2], r;
        ChildStart start = { .held = flags & KEEPER_SPAWN_HELD,
                .keeper = k->pid,
                .nofile = &k->nofile,
                .oom_score_adj = k->oom_score_adj_changed ? &k->oom_score_adj : NULL };

        if (n_fds < skip)
                return -EINVAL;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        start.setup_fd = pair[1];
        start.spec_fd = fds[0];
        start.fds = fds + skip;
        start.n_fds = n_fds - skip;
        e->pid = clone_process(skip == 2 ? fds[1] : -EBADF, &e->pidfd);
        if (e->pid == 0)
                child_run(&start);
        e->setup_fd = pair[0];
        safe_close(pair[1]);
        r = e->pid < 0 ? e->pid : map_put_u64(&k->children, (uint64_t) e->pid, e);
        if (r >= 0) /* no event but the hang-up, which is always told: the steps are read in one go then */
                r = sd_event_add_io(k->event, &e->setup_source, e->setup_fd, EPOLLHUP, on_setup, e);
        if (r >= 0)
                r = sd_event_add_io(k->event, &e->pidfd_source, e->pidfd, EPOLLIN, on_child_ended, e);
        if (r >= 0)
                return 0;
        close_setup(e);
        if (e->pid > 0) {
                (void) kill(e->pid, SIGKILL);
                e->zombie = true; /* soon: entry_reap() waits for the end of a killed child that has done nothing */
                entry_reap(e);
        }
        e->pid = 0;
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
        r = e->spawn_error = spawn(e, flags, fds, n_fds);
        if (r < 0)
                log_warning("spawn for key %" PRIu64 " failed: %s", key, strerror(-r));
        else
                e->state = (flags & KEEPER_SPAWN_HELD) ? KEEPER_CHILD_HELD : KEEPER_CHILD_SETUP;
        entry_tell(e, DUE_SPAWNED);
}
