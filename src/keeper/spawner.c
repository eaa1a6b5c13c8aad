/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/usec.h"
#include "child/child.h"
#include "child/spawner.h"
#include "keeper/keeper.h"

#define ASKED_MAX 64
/* Less than KEEPER_BEAT_LIMIT_USEC: the supervisor may have to wait for us that long. */
#define ANSWER_LIMIT_USEC (3 * USEC_PER_SEC)

bool spawner_is_full(const Keeper *k)
{
        return k->spawner.n_asked >= ASKED_MAX || (k->orphans_due && k->spawner.n_asked > 0);
}

static void forget_asked(Entry *e)
{
        list_unlink(&e->asked);
        e->keeper->spawner.n_asked--;
}

/* False when there are no more answers. */
static bool take_answer(Keeper *k)
{
        Spawner *s = &k->spawner;
        SpawnerAnswer m;
        ssize_t n = recv(s->fd, &m, sizeof(m), MSG_DONTWAIT);
        Entry *e;

        if (n != sizeof(m))
                return n < 0 && (errno == EINTR || errno == ECONNRESET);
        e = map_get_u64(&k->entries, m.key);
        if (!e || list_is_empty(&e->asked))
                return true;
        s->deadline = now_usec(CLOCK_MONOTONIC) + ANSWER_LIMIT_USEC;
        forget_asked(e);
        entry_spawned(e, m.pid);
        return true;
}

static int on_answer(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Keeper *k = userdata;

        while (take_answer(k))
                ;
        if (revents & EPOLLHUP) /* its pidfd tells */
                (void) sd_event_source_set_enabled(source, SD_EVENT_OFF);
        keeper_go_on(k);
        return 0;
}

static void clear(Spawner *s)
{
        s->fd_source = sd_event_source_disable_unref(s->fd_source);
        s->pidfd_source = sd_event_source_disable_unref(s->pidfd_source);
        s->limit = sd_event_source_disable_unref(s->limit);
        s->pidfd = safe_close(s->pidfd);
        s->fd = safe_close(s->fd);
}

void spawner_drop(Keeper *k)
{
        Spawner *s = &k->spawner;

        while (s->fd >= 0 && take_answer(k))
                ;
        if (s->pidfd >= 0)
                (void) syscall(SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0);
        clear(s);
        LIST_FOREACH_SAFE(i, &s->asked) {
                Entry *e = LIST_ENTRY(i, Entry, asked);

                forget_asked(e);
                entry_spawn_lost(e);
        }
        keeper_expect_orphans(k); /* it is one */
        keeper_go_on(k);
}

static int on_ended(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Keeper *k = userdata;

        log_warning("the spawner ended");
        spawner_drop(k);
        return 0;
}

static int on_limit(sd_event_source *source, uint64_t usec, void *userdata)
{
        Keeper *k = userdata;
        Spawner *s = &k->spawner;
        uint64_t now = now_usec(CLOCK_MONOTONIC);

        while (take_answer(k))
                ;
        keeper_go_on(k);
        if (s->n_asked == 0)
                return 0;
        /* Late ourselves: the machine stood still. */
        if (now > s->deadline + USEC_PER_SEC)
                s->deadline = now + ANSWER_LIMIT_USEC;
        if (now < s->deadline) {
                (void) sd_event_source_set_time(source, s->deadline);
                return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        }
        log_error("the spawner does not answer: killed");
        spawner_drop(k);
        return 0;
}

static int start(Keeper *k)
{
        Spawner *s = &k->spawner;
        const ChildProgram program = { .argv = k->spawner_argv, .keep_stdio = true };
        pid_t pid = child_start(&program, &s->fd, &s->pidfd);
        int r = pid < 0 ? pid : sd_event_add_io(k->event, &s->fd_source, s->fd, EPOLLIN, on_answer, k);

        if (r >= 0)
                r = sd_event_add_io(k->event, &s->pidfd_source, s->pidfd, EPOLLIN, on_ended, k);
        if (r >= 0)
                r = sd_event_add_time(k->event, &s->limit, CLOCK_MONOTONIC, USEC_INFINITY, 1, on_limit, k);
        return r < 0 ? r : sd_event_source_set_enabled(s->limit, SD_EVENT_OFF);
}

int spawner_start(Keeper *k)
{
        int r = k->spawner.fd >= 0 ? 0 : start(k);

        if (r < 0)
                spawner_drop(k);
        return r;
}

int spawner_ask(Entry *e, bool held, bool in_cgroup, const int *fds, size_t n_fds)
{
        Keeper *k = e->keeper;
        Spawner *s = &k->spawner;
        SpawnerRequest m = { .key = e->key,
                .version = SPAWNER_VERSION,
                .held = held,
                .in_cgroup = in_cgroup,
                .has_oom_score_adj = k->oom_score_adj_changed,
                .oom_score_adj = k->oom_score_adj,
                .keeper = k->pid,
                .nofile = k->nofile };
        ssize_t n = -EPIPE;

        /* One may have ended unnoticed so far; a fresh one can't have closed its side. */
        for (int i = 0; i < 2 && (n == -EPIPE || n == -ECONNRESET); i++) {
                int r;

                if (i > 0)
                        spawner_drop(k);
                r = spawner_start(k);
                if (r < 0)
                        return r;
                n = send_fds(s->fd, &m, sizeof(m), fds, n_fds, MSG_DONTWAIT);
        }
        if (n < 0)
                return (int) n;
        if (s->n_asked++ == 0)
                s->deadline = now_usec(CLOCK_MONOTONIC) + ANSWER_LIMIT_USEC;
        list_append(&s->asked, &e->asked);
        if (sd_event_source_get_enabled(s->limit, NULL) == SD_EVENT_OFF) {
                (void) sd_event_source_set_time(s->limit, s->deadline);
                (void) sd_event_source_set_enabled(s->limit, SD_EVENT_ONESHOT);
        }
        return 0;
}
