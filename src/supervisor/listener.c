/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/log.h"
#include "base/usec.h"
#include "supervisor/listener.h"
#include "supervisor/methods.h"
#include "supervisor/nursery.h"
#include "supervisor/portal.h"
#include "supervisor/quotas.h"
#include "wire/message.h"

#define ACCEPTS_PER_TURN 16
/* Descriptors are given back by more than connections: how long until we look again. */
#define PAUSE_USEC (500 * USEC_PER_MSEC)

/* There while it has connections. */
typedef struct User {
        uid_t uid;
        bool guest;
        size_t n_connections;
        Quota quota;
} User;

typedef struct Connection {
        ListNode queue;
        Listener *listener; /* weak */
        User *user;
        Session *session;
        ListNode portals, nurseries; /* that the client holds */
        Peer peer;
} Connection;

typedef struct ListeningSocket {
        Listener *listener; /* weak */
        int fd;
        sd_event_source *source;
} ListeningSocket;

struct Listener {
        Manager *manager; /* weak */
        ListeningSocket *sockets;
        size_t n_sockets;
        Map users; /* by uid */
        ListNode connections;
        size_t n_connections;
        int reserve; /* given up to answer a newcomer when descriptors have run out */
        bool paused;
        sd_event_source *resume;
};

static void listener_pause(Listener *l, bool paused)
{
        l->paused = paused;
        for (size_t i = 0; i < l->n_sockets; i++)
                if (l->sockets[i].source)
                        (void) sd_event_source_set_enabled(
                                        l->sockets[i].source, paused ? SD_EVENT_OFF : SD_EVENT_ON);
        if (paused)
                (void) sd_event_source_set_time_relative(l->resume, PAUSE_USEC);
        (void) sd_event_source_set_enabled(l->resume, paused ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static int on_resume(sd_event_source *s, uint64_t usec, void *userdata)
{
        listener_pause(userdata, false);
        return 0;
}

static int open_reserve(void)
{
        return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int user_join(Listener *l, uid_t uid, User **ret)
{
        User *u = map_get_u64(&l->users, uid);
        int r;

        if (u && u->n_connections >= QUOTA_CONNECTIONS)
                return -EDQUOT;
        if (!u) {
                u = calloc(1, sizeof(User));
                if (!u)
                        return -ENOMEM;
                u->uid = uid;
                u->guest = uid != 0 && uid != geteuid();
                u->quota.bytes_max = u->guest ? QUOTA_BYTES_GUEST : QUOTA_BYTES;
                u->quota.fds_max = u->guest ? QUOTA_FDS_GUEST : QUOTA_FDS;
                u->quota.calls_max = u->guest ? QUOTA_CALLS_GUEST : QUOTA_CALLS;
                r = map_put_u64(&l->users, uid, u);
                if (r < 0) {
                        free(u);
                        return r;
                }
        }
        u->n_connections++;
        *ret = u;
        return 0;
}

static void user_leave(Listener *l, User *u)
{
        if (!u || --u->n_connections > 0)
                return;
        map_remove_u64(&l->users, u->uid);
        free(u);
}

static void connection_free(Connection *c)
{
        Listener *l = c->listener;

        if (!list_is_empty(&c->queue)) {
                list_unlink(&c->queue);
                l->n_connections--;
        }
        c->session = session_free(c->session);
        user_leave(l, c->user);
        portals_drop(&c->portals);
        nurseries_lose_owner(&c->nurseries);
        peer_done(&c->peer);
        free(c);
        if (l->reserve < 0)
                l->reserve = open_reserve();
        if (l->paused)
                listener_pause(l, false);
}

/* All that its client had to say has been heard, but for its end. */
static bool has_ended(const Connection *c)
{
        const Stream *s = session_stream(c->session);
        struct pollfd p = { .fd = s ? stream_fd(s) : -EBADF };

        return s && poll(&p, 1, 0) > 0 && (p.revents & POLLHUP) && !stream_has_input(s);
}

static Connection *find_ended(Listener *l, uid_t uid)
{
        LIST_FOREACH(i, &l->connections) {
                Connection *c = LIST_ENTRY(i, Connection, queue);

                if (c->peer.uid == uid && has_ended(c))
                        return c;
        }
        return NULL;
}

/* Who closes one connection and opens another may be heard of the other way round. */
static int user_join_late(Listener *l, uid_t uid, User **ret)
{
        Connection *c;
        int r = user_join(l, uid, ret);

        while (r == -EDQUOT && (c = find_ended(l, uid))) {
                connection_free(c);
                r = user_join(l, uid, ret);
        }
        return r;
}

static void on_request(Session *s, Call *call, const Message *m, void *userdata)
{
        Connection *c = userdata;

        methods_dispatch(c->listener->manager, &c->peer, call, m);
}

static void on_session_end(Session *s, void *userdata)
{
        connection_free(userdata);
}

static const SessionVtable session_vtable = {
        .on_request = on_request,
        .on_end = on_session_end,
};

/* One line and good-bye, without a session: for those who can't be served. Consumes fd. */
static void turn_away(int fd, const char *why)
{
        _cleanup_json_ Json *m = NULL;
        Json *error = NULL;
        const char *text;
        size_t n;

        if (message_error_object(&error, ERROR_LIMIT_EXCEEDED, NULL, "%s", why) >= 0 &&
                        message_error(&m, NULL, error) >= 0) {
                text = json_print(m, &n);
                if (text && send(fd, text, n, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE) >= 0)
                        (void) send(fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        safe_close(fd);
}

static int connection_start(Connection *c, int fd)
{
        char name[PEER_NAME_SIZE];
        SessionOptions options = { .name = "tractor-supervisor",
                .path = "/",
                .peer_path = peer_name(&c->peer, name),
                .limits = { .max_values = c->user->guest ? QUOTA_VALUES_GUEST : 0 },
                .quota = &c->user->quota,
                .turns = &c->listener->manager->turns,
                .cork = &c->listener->manager->cork };

        return session_new(c->listener->manager->event, fd, &options, &session_vtable, c, &c->session);
}

/* Consumes fd. */
static int connection_new(Listener *l, int fd)
{
        Connection *c;
        Peer peer;
        int r;

        r = peer_of_socket(fd, &peer);
        if (r == -E2BIG) {
                turn_away(fd, "this process has too many supplementary groups");
                return 0;
        }
        if (r < 0) {
                safe_close(fd);
                return r;
        }
        c = calloc(1, sizeof(Connection));
        if (!c) {
                peer_done(&peer);
                turn_away(fd, "out of memory");
                return -ENOMEM;
        }
        *c = (Connection){ .listener = l, .peer = peer };
        list_init(&c->queue);
        list_init(&c->portals);
        list_init(&c->nurseries);
        r = user_join_late(l, peer.uid, &c->user);
        if (r < 0)
                turn_away(fd, r == -EDQUOT ? "too many connections of this user; close some"
                                           : "out of memory");
        else
                r = connection_start(c, fd);
        if (r < 0) {
                connection_free(c);
                return r == -EDQUOT ? 0 : r;
        }
        c->peer.session = c->session;
        c->peer.held = &c->portals;
        c->peer.opened = &c->nurseries;
        list_append(&l->connections, &c->queue);
        l->n_connections++;
        return 0;
}

static const char out_of_descriptors[] = "the supervisor is out of descriptors; try again later";

/* Descriptors have run out: the reserve takes the newcomer just long enough to tell it. */
static void on_exhausted(Listener *l, int listening)
{
        int fd;

        l->reserve = safe_close(l->reserve);
        fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
                turn_away(fd, out_of_descriptors);
        l->reserve = open_reserve();
        if (fd < 0 || l->reserve < 0) {
                log_debug("out of descriptors: newcomers wait");
                listener_pause(l, true);
        }
}

static int on_connection(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        ListeningSocket *socket = userdata;
        Listener *l = socket->listener;

        for (int i = 0; i < ACCEPTS_PER_TURN && !l->paused; i++) {
                int r, client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (client < 0) {
                        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
                                on_exhausted(l, fd);
                        return 0; /* EAGAIN, ECONNABORTED …: the kernel tells again when there is more */
                }
                if (fd_check_reserve(client) < 0) {
                        turn_away(client, out_of_descriptors);
                        continue;
                }
                r = connection_new(l, client);
                if (r < 0)
                        log_errno(r, "Can't serve a connection");
        }
        return 0;
}

/* Actors find their supervisor by it; abstract and unnamed sockets have no path to tell. */
static void remember_path(Manager *m, int fd)
{
        union {
                struct sockaddr sa;
                struct sockaddr_un un;
        } addr = { 0 };
        socklen_t size = sizeof(addr);

        if (m->socket_path || getsockname(fd, &addr.sa, &size) < 0 || addr.un.sun_path[0] != '/')
                return;
        m->socket_path = strndup(addr.un.sun_path, sizeof(addr.un.sun_path));
}

static int listen_on(Listener *l, ListeningSocket *socket)
{
        int r;

        socket->listener = l;
        r = fd_set_nonblock(socket->fd, true);
        if (r < 0)
                return r;
        remember_path(l->manager, socket->fd);
        return sd_event_add_io(
                        l->manager->event, &socket->source, socket->fd, EPOLLIN, on_connection, socket);
}

int listener_new(Manager *m, int *fds, size_t n_fds, Listener **ret)
{
        Listener *l = calloc(1, sizeof(Listener));
        int r = 0;

        if (l)
                l->sockets = calloc(n_fds + 1, sizeof(ListeningSocket));
        if (!l || !l->sockets) {
                free(l);
                close_many(fds, n_fds);
                return -ENOMEM;
        }
        l->manager = m;
        list_init(&l->connections);
        l->reserve = open_reserve();
        r = sd_event_add_time(m->event, &l->resume, CLOCK_MONOTONIC, USEC_INFINITY, 0, on_resume, l);
        for (; l->n_sockets < n_fds; l->n_sockets++) {
                l->sockets[l->n_sockets].fd = TAKE_FD(fds[l->n_sockets]);
                if (r >= 0)
                        r = listen_on(l, &l->sockets[l->n_sockets]);
        }
        if (r < 0) {
                listener_free(l);
                return r;
        }
        *ret = l;
        return 0;
}

void listener_close(Listener *l)
{
        if (!l)
                return;
        for (size_t i = 0; i < l->n_sockets; i++) {
                l->sockets[i].source = sd_event_source_disable_unref(l->sockets[i].source);
                l->sockets[i].fd = safe_close(l->sockets[i].fd);
        }
}

Listener *listener_free(Listener *l)
{
        if (!l)
                return NULL;
        listener_close(l);
        l->paused = false;
        LIST_FOREACH_SAFE(i, &l->connections)
                connection_free(LIST_ENTRY(i, Connection, queue));
        assert(l->users.n == 0);
        map_clear(&l->users);
        sd_event_source_disable_unref(l->resume);
        safe_close(l->reserve);
        free(l->sockets);
        free(l);
        return NULL;
}

void listener_release(Session *client)
{
        connection_free(session_userdata(client));
}

size_t listener_n_connections(const Listener *l)
{
        return l ? l->n_connections : 0;
}
