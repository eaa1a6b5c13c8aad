/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/process.h"
#include "base/usec.h"
#include "keeper/keeper.h"

/* How long a supervisor has for its tree once the owner is gone. */
#define OWNER_LOST_LIMIT_USEC (3 * USEC_PER_SEC)
#define END_LIMIT_USEC (3 * USEC_PER_SEC)
/* Room for later, longer structs before the record. */
#define MESSAGE_MAX (4096 + KEEPER_RECORD_MAX)

typedef struct Message {
        union {
                KeeperHeader header;
                KeeperSpawn spawn;
                KeeperStore store;
                uint8_t bytes[MESSAGE_MAX];
        };
        size_t n, n_fds;
        int fds[SCM_FDS_MAX];
        bool fds_lost; /* there were some, but no room in our table */
} Message;

static void handle_spawn(Keeper *k, Message *m)
{
        if (m->fds_lost || m->header.size < sizeof(KeeperSpawn))
                keeper_refuse(k, m->header.key, m->fds_lost ? -EMFILE : -EBADMSG);
        else
                keeper_spawn(k, m->header.key, m->spawn.flags, m->fds, m->n_fds);
}

static void handle_store(Keeper *k, Message *m)
{
        size_t size = m->n - m->header.size;
        int r = -EBADMSG;

        if (m->header.size >= sizeof(KeeperStore) && size == m->store.record_size)
                r = keeper_store(k, m->header.key, m->bytes + m->header.size, size, m->fds, m->n_fds);
        if (m->fds_lost)
                r = -EMFILE; /* the record is kept without them */
        if (r < 0)
                log_errno(r, "storing under key %" PRIu64, m->header.key);
}

static void dispatch(Keeper *k, Message *m)
{
        Entry *e = map_get_u64(&k->entries, m->header.key);

        if (!e && (m->header.type == KEEPER_RELEASE || m->header.type == KEEPER_REAP ||
                                  m->header.type == KEEPER_FORGET))
                return;
        switch (m->header.type) {
        case KEEPER_HELLO:
                supervisor_alive(k, false);
                keeper_hello(k);
                return;
        case KEEPER_BEAT:
                supervisor_alive(k, true);
                return;
        case KEEPER_SPAWN:
                handle_spawn(k, m);
                return;
        case KEEPER_STORE:
                handle_store(k, m);
                return;
        case KEEPER_RELEASE:
                entry_release(e);
                return;
        case KEEPER_REAP:
                entry_acknowledge(e);
                return;
        case KEEPER_FORGET:
                entry_forget(e);
                return;
        default:
                log_warning("message of unknown type %u ignored", m->header.type);
        }
}

int keeper_receive(Keeper *k)
{
        static Message m;
        /* The length is asked for first: where descriptors are cut off, recv_fds() can't give it. */
        ssize_t length = recv(k->supervisor.fd, NULL, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT), n = length;

        m.n_fds = ELEMENTSOF(m.fds);
        if (length >= 0)
                n = recv_fds(k->supervisor.fd, m.bytes, sizeof(m.bytes), m.fds, &m.n_fds, MSG_DONTWAIT);
        else
                n = -errno;
        /* ECONNRESET: its side was closed with something unread there. What it sent is still to be read here. */
        if (n == -EINTR || n == -ECONNRESET)
                return 1;
        m.fds_lost = n == -EXFULL;
        if (m.fds_lost) {
                m.n_fds = 0;
                n = length;
        }
        if (n <= 0 && n != -EMSGSIZE)
                return (int) n;
        m.n = (size_t) MAX(n, (ssize_t) 0);
        if (m.n >= sizeof(KeeperHeader) && m.header.size >= sizeof(KeeperHeader) && m.header.size <= m.n)
                dispatch(k, &m);
        else
                log_warning("malformed message of %zd bytes ignored", length);
        if (n > 0)
                close_many(m.fds, m.n_fds);
        return 1;
}

void keeper_go_on(Keeper *k)
{
        if (k->spawner.n_asked == 0 && k->orphans_due)
                keeper_reap_orphans(k);
        supervisor_go_on(k);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
        Keeper *k = userdata;

        if (si->ssi_signo == SIGHUP) { /* to a service: its trees are to be read anew */
                if (!k->embedded && k->supervisor.served)
                        supervisor_signal(k, SIGHUP);
                return 0;
        }
        log_info("stopping on signal %u", si->ssi_signo);
        if (!k->stopping && !k->embedded)
                (void) sd_notify(0, "STOPPING=1");
        k->stopping = true;
        supervisor_signal(k, SIGTERM);
        return 0;
}

static int on_owner_limit(sd_event_source *s, uint64_t usec, void *userdata)
{
        log_warning("the supervisor did not end its tree in time after the owner's end");
        return sd_event_exit(sd_event_source_get_event(s), EXIT_FAILURE);
}

static int on_owner_lost(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        Keeper *k = userdata;
        int r;

        (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        if (k->owner_lost)
                return 0;
        log_debug("the owner ended");
        k->owner_lost = k->stopping = true;
        r = sd_event_add_time_relative(
                        k->event, NULL, CLOCK_MONOTONIC, OWNER_LOST_LIMIT_USEC, 1, on_owner_limit, k);
        /* One that starts is told when it serves: only it can remove what the one before it left. */
        if (r < 0 || k->supervisor.pid == 0)
                (void) sd_event_exit(k->event, EXIT_FAILURE);
        supervisor_signal(k, SIGHUP);
        return 0;
}

static int watch_owner(Keeper *k)
{
        int r;

        if (k->owner_fd < 0)
                return 0;
        r = sd_event_add_io(k->event, NULL, k->owner_fd, EPOLLHUP | EPOLLRDHUP, on_owner_lost, k);
        if (r < 0 || k->owner_pid <= 0)
                return r;
        /* A copy of the socket in some child of the owner's may outlive it. */
        k->owner_pidfd = (int) syscall(SYS_pidfd_open, k->owner_pid, 0);
        if (k->owner_pidfd < 0)
                return -errno;
        return sd_event_add_io(k->event, NULL, k->owner_pidfd, EPOLLIN, on_owner_lost, k);
}

static int set_up(Keeper *k)
{
        static const struct {
                int signo;
                sd_event_signal_handler_t handler;
        } signals[] = { { SIGCHLD, on_sigchld }, { SIGTERM, on_signal }, { SIGINT, on_signal },
                { SIGHUP, on_signal } };
        int r = sd_event_new(&k->event);

        for (size_t i = 0; i < ELEMENTSOF(signals) && r >= 0; i++)
                r = sd_event_add_signal(k->event, NULL, signals[i].signo | SD_EVENT_SIGNAL_PROCMASK,
                                signals[i].handler, k);
        if (r >= 0 && (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || prctl(PR_SET_NAME, "tractord") < 0))
                return -errno;
        r = r < 0 ? r : keeper_add_reap_timers(k);
        return r < 0 ? r : watch_owner(k);
}

int keeper_run(Keeper *k)
{
        int r;

        k->pid = getpid();
        k->start_usec = now_usec(CLOCK_MONOTONIC);
        k->next_key = 1;
        k->supervisor.fd = k->supervisor.pidfd = k->owner_pidfd = -EBADF;
        k->spawner.fd = k->spawner.pidfd = -EBADF;
        list_init(&k->spawner.asked);
        list_init(&k->all);
        list_init(&k->pending);
        list_init(&k->zombies);
        r = set_up(k);
        if (r >= 0) {
                supervisor_start(k);
                r = sd_event_loop(k->event);
        }
        if (r < 0) {
                log_errno(r, "the keeper's loop");
                r = EXIT_FAILURE;
        }
        spawner_drop(k);
        if (end_children(END_LIMIT_USEC) < 0)
                log_error("children are left that SIGKILL did not end");
        supervisor_clear(k);
        keeper_clear(k);
        sd_event_source_disable_unref(k->reap_timer);
        sd_event_source_disable_unref(k->orphan_timer);
        sd_event_unref(k->event);
        safe_close(k->owner_pidfd);
        return r;
}
