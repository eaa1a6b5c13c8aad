/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/io.h"
#include "base/list.h"
#include "base/log.h"
#include "base/usec.h"
#include "supervisor/keeper-link.h"

/* One message that the socket did not take. */
typedef struct Pending {
        ListNode queue;
        size_t n_fds;
        int fds[2 + KEEPER_LINK_FDS_MAX];
        size_t size;
        unsigned char data[];
} Pending;

struct KeeperLink {
        int fd;
        sd_event_source *io, *beat;
        const KeeperLinkEvents *events;
        void *userdata;
        ListNode queue;
        uint64_t unread_since; /* 0: the keeper reads, or speaks */
        bool gone, unread_told;
};

typedef union KeeperAny {
        KeeperHeader header;
        KeeperWelcome welcome;
        KeeperEntry entry;
        KeeperSpawned spawned;
        KeeperSetup setup;
        KeeperExited exited;
        unsigned char bytes[sizeof(KeeperEntry) + KEEPER_RECORD_MAX];
} KeeperAny;

static int link_enqueue(KeeperLink *l, const void *p, size_t n, const int *fds, size_t n_fds)
{
        Pending *pending = calloc(1, sizeof(Pending) + n);
        int r;

        if (!pending)
                return -ENOMEM;
        memcpy(pending->data, p, n);
        pending->size = n;
        for (; pending->n_fds < n_fds; pending->n_fds++) {
                int fd = fcntl(fds[pending->n_fds], F_DUPFD_CLOEXEC, 3);

                if (fd < 0) {
                        r = -errno;
                        close_many(pending->fds, pending->n_fds);
                        free(pending);
                        return r;
                }
                pending->fds[pending->n_fds] = fd;
        }
        list_append(&l->queue, &pending->queue);
        return sd_event_source_set_io_events(l->io, EPOLLIN | EPOLLOUT);
}

/* Does the error say that nobody is at the other end, or only that there is no memory or no room for descriptors
 * just now? Taking the one for the other would end every actor. */
static bool means_lost(ssize_t k)
{
        return k == -EPIPE || k == -ECONNRESET || k == -ECONNREFUSED || k == -ENOTCONN || k == -EBADF ||
               k == -EBADMSG;
}

/* What became of a message. A keeper that has ended a moment ago is no failure of what it was asked for: that it is gone
 * is what all are to hear, and the loop says it next. Of what is sent -EBADF says that a descriptor to go along is bad. */
static int sent(ssize_t k)
{
        return k >= 0 || (means_lost(k) && k != -EBADF) ? 0 : (int) k;
}

/* ETOOMANYREFS: all processes of the user together have more descriptors under way than this one may have at all. That
 * passes, and nobody tells when. */
static bool takes_no_more(ssize_t k)
{
        return k == -EAGAIN || k == -ENOBUFS || k == -ETOOMANYREFS;
}

static int link_send(KeeperLink *l, const void *p, size_t n, const int *fds, size_t n_fds)
{
        ssize_t k;

        if (l->gone)
                return -EPIPE;
        if (!list_is_empty(&l->queue))
                return link_enqueue(l, p, n, fds, n_fds);
        k = send_fds(l->fd, p, n, fds, n_fds, MSG_DONTWAIT);
        if (takes_no_more(k))
                return link_enqueue(l, p, n, fds, n_fds);
        return sent(k);
}

static void pending_free(Pending *p)
{
        list_unlink(&p->queue);
        close_many(p->fds, p->n_fds);
        free(p);
}

static int link_flush(KeeperLink *l)
{
        LIST_FOREACH_SAFE(i, &l->queue) {
                Pending *p = LIST_ENTRY(i, Pending, queue);
                ssize_t k = send_fds(l->fd, p->data, p->size, p->fds, p->n_fds, MSG_DONTWAIT);

                if (k == -EAGAIN || k == -ENOBUFS)
                        return sd_event_source_set_io_events(l->io, EPOLLIN | EPOLLOUT);
                if (k < 0 && means_lost(k))
                        return (int) k;
                if (k < 0) /* the next beat tries again */
                        return sd_event_source_set_io_events(l->io, EPOLLIN);
                pending_free(p);
        }
        return sd_event_source_set_io_events(l->io, EPOLLIN);
}

static int send_simple(KeeperLink *l, uint16_t type, uint64_t key)
{
        KeeperSimple m;

        m.header = KEEPER_HEADER(m, type, key);
        return link_send(l, &m, sizeof(m), NULL, 0);
}

static void link_lost(KeeperLink *l)
{
        if (l->gone)
                return;
        l->gone = true;
        l->io = sd_event_source_disable_unref(l->io);
        l->beat = sd_event_source_disable_unref(l->beat);
        l->events->gone(l->userdata);
}

static int link_entry(KeeperLink *l, KeeperAny *m, size_t n, int pidfd)
{
        if (m->entry.record_size > n - m->header.size) {
                safe_close(pidfd);
                return -EBADMSG;
        }
        l->events->entry(&m->entry, (const char *) m->bytes + m->header.size, pidfd, l->userdata);
        return 0;
}

/* Decodes one message; a keeper of another version may send shorter structs, so the rest reads as zero. */
static int link_dispatch(KeeperLink *l, KeeperAny *m, size_t n, int *fds, size_t n_fds)
{
        int first = n_fds > 0 ? TAKE_FD(fds[0]) : -EBADF;

        if (n < sizeof(KeeperHeader) || m->header.size < sizeof(KeeperHeader) || m->header.size > n) {
                safe_close(first);
                return -EBADMSG;
        }
        switch (m->header.type) {
        case KEEPER_WELCOME:
                safe_close(first);
                l->events->welcome(&m->welcome, l->userdata);
                return 0;
        case KEEPER_ENTRY:
                return link_entry(l, m, n, first);
        case KEEPER_TABLE_END:
                safe_close(first);
                l->events->table_end(l->userdata);
                return 0;
        case KEEPER_SPAWNED:
                l->events->spawned(m->header.key, m->spawned.pid, first, m->spawned.error, m->spawned.step,
                                l->userdata);
                return 0;
        case KEEPER_SETUP:
                safe_close(first);
                l->events->setup(m->header.key, m->setup.error, m->setup.step, l->userdata);
                return 0;
        case KEEPER_EXITED:
                safe_close(first);
                l->events->exited(m->header.key, m->exited.pid, &m->exited.exit, l->userdata);
                return 0;
        default:
                safe_close(first); /* a newer keeper's word: nothing we could have asked for */
                return 0;
        }
}

static int link_receive(KeeperLink *l)
{
        static KeeperAny m; /* 32 KiB: too much for a stack that signals may share, one loop a process */
        int fds[KEEPER_FDS_MAX + 1];
        size_t n_fds = ELEMENTSOF(fds);
        ssize_t n;
        int r;

        m.header.size = 0;
        n = recv_fds(l->fd, &m, sizeof(m), fds, &n_fds, MSG_DONTWAIT);
        if (n == -EXFULL) { /* we are out of descriptors; what the message says is said all the same */
                n_fds = 0;
                n = MIN((ssize_t) sizeof(m), (ssize_t) m.header.size);
        }
        if (n == -EXFULL) /* out of descriptors: the message is there without them */
                n = (ssize_t) MIN((size_t) m.header.size, sizeof(m));
        if (n < 0)
                return (int) n;
        if (n == 0)
                return -EPIPE;
        if ((size_t) n < sizeof(KeeperEntry))
                memset(m.bytes + n, 0, sizeof(KeeperEntry) - (size_t) n);
        l->unread_since = 0;
        r = link_dispatch(l, &m, (size_t) n, fds, n_fds);
        close_many(fds, n_fds);
        return r;
}

static int on_link_io(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        KeeperLink *l = userdata;
        int r = 0;

        if (revents & EPOLLOUT)
                r = link_flush(l);
        /* A burst of exits is taken in one turn, but not without end. */
        for (int i = 0; i < 64 && r >= 0 && !l->gone && (revents & (EPOLLIN | EPOLLHUP | EPOLLERR)); i++)
                r = link_receive(l);
        if (r < 0 && means_lost(r))
                link_lost(l);
        return 0;
}

/* Past the queue, since what is stuck there for want of resources must not pass for a dead supervisor. */
static int send_beat(KeeperLink *l)
{
        KeeperSimple m;
        ssize_t k;

        m.header = KEEPER_HEADER(m, KEEPER_BEAT, 0);
        k = l->gone ? -EPIPE : send_fds(l->fd, &m, sizeof(m), NULL, 0, MSG_DONTWAIT);
        return k < 0 && means_lost(k) ? (int) k : 0;
}

/* Each beat finds the one before read, by a keeper that runs. */
static void look_whether_read(KeeperLink *l)
{
        int unread = 0;

        if (ioctl(l->fd, SIOCOUTQ, &unread) < 0 || unread == 0)
                l->unread_since = 0;
        else if (l->unread_since == 0)
                l->unread_since = now_usec(CLOCK_MONOTONIC);
        if (keeper_link_is_unread(l) && !l->unread_told)
                log_warning("the keeper does not answer: nothing starts, and no end is told, until it does");
        l->unread_told = keeper_link_is_unread(l);
}

bool keeper_link_is_unread(const KeeperLink *l)
{
        return l->unread_since > 0 &&
               now_usec(CLOCK_MONOTONIC) >= usec_add(l->unread_since, KEEPER_BEAT_LIMIT_USEC);
}

static int on_beat(sd_event_source *s, uint64_t usec, void *userdata)
{
        KeeperLink *l = userdata;

        look_whether_read(l);
        if (send_beat(l) < 0 || link_flush(l) < 0) {
                link_lost(l);
                return 0;
        }
        (void) sd_event_source_set_time_relative(s, KEEPER_BEAT_USEC);
        (void) sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
        return 0;
}

int keeper_link_new(
                sd_event *event, int fd, const KeeperLinkEvents *events, void *userdata, KeeperLink **ret)
{
        _cleanup_(keeper_link_freep) KeeperLink *l = calloc(1, sizeof(KeeperLink));
        int r;

        if (!l) {
                safe_close(fd);
                return -ENOMEM;
        }
        *l = (KeeperLink){ .fd = fd, .events = events, .userdata = userdata };
        list_init(&l->queue);
        r = fd_set_nonblock(fd, true);
        if (r < 0)
                return r;
        r = fd_set_cloexec(fd, true);
        if (r < 0)
                return r;
        r = sd_event_add_io(event, &l->io, fd, EPOLLIN, on_link_io, l);
        if (r < 0)
                return r;
        /* Before everything else a turn has to do: the keeper's news are why we are here. */
        (void) sd_event_source_set_priority(l->io, SD_EVENT_PRIORITY_IMPORTANT);
        r = sd_event_add_time_relative(event, &l->beat, CLOCK_MONOTONIC, KEEPER_BEAT_USEC,
                        KEEPER_BEAT_USEC / 8, on_beat, l);
        if (r < 0)
                return r;
        r = send_simple(l, KEEPER_HELLO, 0);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(l);
        return 0;
}

KeeperLink *keeper_link_free(KeeperLink *l)
{
        if (!l)
                return NULL;
        sd_event_source_disable_unref(l->io);
        sd_event_source_disable_unref(l->beat);
        LIST_FOREACH_SAFE(i, &l->queue)
                pending_free(LIST_ENTRY(i, Pending, queue));
        safe_close(l->fd);
        free(l);
        return NULL;
}

void keeper_link_beat(KeeperLink *l)
{
        (void) send_beat(l); /* when it fails, the timer's next one tells */
}

int keeper_link_spawn(KeeperLink *l, uint64_t key, uint32_t flags, int spec_fd, int cgroup_fd,
                const int *fds, size_t n_fds)
{
        KeeperSpawn m = { .flags = flags };
        int all[2 + KEEPER_LINK_FDS_MAX] = { spec_fd }, r;
        size_t n = 1;

        assert(n_fds <= KEEPER_LINK_FDS_MAX);
        m.header = KEEPER_HEADER(m, KEEPER_SPAWN, key);
        if (cgroup_fd >= 0) {
                m.flags |= KEEPER_SPAWN_CGROUP;
                all[n++] = cgroup_fd;
        }
        for (size_t i = 0; i < n_fds; i++)
                all[n++] = fds[i];
        r = link_send(l, &m, sizeof(m), all, n);
        safe_close(spec_fd);
        return r;
}

int keeper_link_release(KeeperLink *l, uint64_t key)
{
        return send_simple(l, KEEPER_RELEASE, key);
}

int keeper_link_reap(KeeperLink *l, uint64_t key)
{
        return send_simple(l, KEEPER_REAP, key);
}

int keeper_link_store(KeeperLink *l, uint64_t key, const char *record, size_t n, bool queue)
{
        static union {
                KeeperStore store;
                unsigned char bytes[sizeof(KeeperStore) + KEEPER_RECORD_MAX];
        } m; /* too much for a stack, as in link_receive() */
        ssize_t k;

        if (n > KEEPER_RECORD_MAX)
                return -E2BIG;
        m.store = (KeeperStore){ .record_size = (uint32_t) n };
        m.store.header = KEEPER_HEADER(m.store, KEEPER_STORE, key);
        memcpy(m.bytes + sizeof(m.store), record, n);
        if (queue)
                return link_send(l, &m, sizeof(m.store) + n, NULL, 0);
        if (l->gone || !list_is_empty(&l->queue))
                return l->gone ? -EPIPE : -EAGAIN;
        k = send_fds(l->fd, &m, sizeof(m.store) + n, NULL, 0, MSG_DONTWAIT);
        return sent(k);
}

int keeper_link_forget(KeeperLink *l, uint64_t key)
{
        return send_simple(l, KEEPER_FORGET, key);
}
