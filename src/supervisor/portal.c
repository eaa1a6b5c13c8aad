/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "supervisor/node-json.h"
#include "supervisor/portal.h"

struct Portal {
        ListNode served;  /* in server->served */
        ListNode held;    /* in the holder's list, unless its own connection is the portal */
        Member *server;   /* weak */
        Member *holder;   /* weak; NULL: a client */
        Session *session; /* weak; the client's, with us */
        int fd;           /* the client's connection that was handed over, for the last word */
        sd_event_source *hangup;
};

static void portal_free(Portal *p)
{
        list_unlink(&p->served);
        list_unlink(&p->held);
        sd_event_source_disable_unref(p->hangup);
        safe_close(p->fd);
        free(p);
}

static Portal *portal_add(Member *server)
{
        Portal *p = calloc(1, sizeof(Portal));

        if (!p)
                return NULL;
        *p = (Portal){ .server = server, .fd = -EBADF };
        list_init(&p->held);
        list_append(&server->served, &p->served);
        return p;
}

/* The record of this pair of peers, however many connections they have: 1 when it was there. */
static int portal_get(Member *server, const Peer *holder, Portal **ret)
{
        unsigned n = 0;
        Portal *p;

        LIST_FOREACH(i, holder->held) {
                p = LIST_ENTRY(i, Portal, held);
                if (p->server == server) {
                        *ret = p;
                        return 1;
                }
                if (++n >= PORTALS_PER_HOLDER)
                        return -EDQUOT;
        }
        p = portal_add(server);
        if (!p)
                return -ENOMEM;
        p->session = holder->session;
        if (holder->kind == PEER_ACTOR)
                p->holder = container_of(holder->held, Member, held);
        list_append(holder->held, &p->held);
        *ret = p;
        return 0;
}

/* --- beginnings --- */

static int describe_peer(const Peer *peer, Json **ret)
{
        char name[PEER_NAME_SIZE];

        return json_pack(ret, "{path:s, id:s, uid:I, pid:i}", peer_name(peer, name), peer->id,
                        (int64_t) peer->uid, (int) peer->pid);
}

static int make_pair(int pair[static 2])
{
        int r;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        r = fd_check_reserve(MAX(pair[0], pair[1]));
        if (r < 0)
                close_many(pair, 2);
        return r;
}

static int open_portal(Member *server, const Peer *holder, bool keeps, int *ret_fd)
{
        Json *params = NULL, *peer = NULL;
        int pair[2], r;

        r = make_pair(pair);
        if (r < 0)
                return r;
        r = describe_peer(holder, &peer);
        if (r >= 0)
                r = json_pack(&params, "{peer:o}", peer);
        if (r < 0)
                safe_close(pair[1]);
        else
                r = channel_tell(server->channel, "$/accept", params, pair[1], keeps);
        if (r < 0) {
                safe_close(pair[0]);
                return r;
        }
        *ret_fd = pair[0];
        return 0;
}

int portal_connect(Member *server, const Peer *holder, bool keeps, int *ret_fd)
{
        Portal *p;
        int known = portal_get(server, holder, &p), r;

        if (known < 0)
                return known;
        r = open_portal(server, holder, keeps, ret_fd);
        if (r < 0 && !known)
                portal_free(p);
        return r;
}

/* The client is gone, or the actor has shut the connection down: there is nobody to have a last word with. */
static int on_hangup(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        if (revents & (EPOLLHUP | EPOLLERR))
                portal_free(userdata);
        return 0;
}

static size_t count_kept(const Member *server)
{
        size_t n = 0;

        LIST_FOREACH(i, &server->served)
                n += LIST_ENTRY(i, Portal, served)->fd >= 0;
        return n;
}

/* Without a descriptor for it the client hears an EOF and no more. NULL: so it is. */
static Portal *keep_last_word(Member *server, int fd)
{
        Portal *p = count_kept(server) < LAST_WORDS_MAX ? portal_add(server) : NULL;

        if (!p)
                return NULL;
        p->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (p->fd >= 0 && fd_check_reserve(p->fd) >= 0 &&
                        sd_event_add_io(server->manager->event, &p->hangup, p->fd, 0, on_hangup, p) >= 0)
                return p;
        portal_free(p);
        return NULL;
}

static int accept_params(const Peer *client, int64_t last_id, bool said_hello, size_t max_line, Json **ret)
{
        Json *peer = NULL, *hello = NULL;
        int r;

        r = describe_peer(client, &peer);
        if (r >= 0 && said_hello)
                r = json_pack(&hello, "{max_line:U}", (uint64_t) max_line);
        if (r < 0) {
                json_unref(peer);
                return r;
        }
        return json_pack(ret, "{peer:o, last_id:I, hello:o?}", peer, last_id, hello);
}

int portal_attach(Member *server, const Peer *client, int fd, int64_t last_id, bool said_hello,
                size_t max_line)
{
        Json *params = NULL;
        Portal *p;
        int r;

        p = said_hello ? keep_last_word(server, fd) : NULL;
        r = accept_params(client, last_id, said_hello, max_line, &params);
        if (r < 0)
                safe_close(fd);
        else
                r = channel_tell(server->channel, "$/accept", params, fd, false);
        if (r < 0 && p)
                portal_free(p); /* nobody has it: the client is to see its end */
        return r;
}

/* --- ends --- */

static void last_word(const Portal *p, Json *params)
{
        _cleanup_json_ Json *v = NULL;
        const char *text;
        size_t n;

        if (message_notification(&v, "$/peer_exited", json_ref(params)) < 0 || !(text = json_print(v, &n)))
                return;
        /* What it has no room for, it has not been reading: it gets the EOF. */
        if (send(p->fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1 &&
                        send(p->fd, text, n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t) n)
                (void) send(p->fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void) shutdown(p->fd, SHUT_RDWR);
}

/* Tells the peer at the other end of one portal. */
static void tell(const Portal *p, const Member *dead, Json *params)
{
        if (p->fd >= 0)
                last_word(p, params);
        else if (dead != p->server)
                (void) channel_tell(p->server->channel, "$/peer_exited", json_ref(params), -EBADF, false);
        else if (p->holder)
                (void) channel_tell(p->holder->channel, "$/peer_exited", json_ref(params), -EBADF, false);
        else if (p->session && session_said_hello(p->session))
                (void) session_notify(p->session, "$/peer_exited", json_ref(params));
}

/* Without memory for words there is the EOF. */
static void end_portal(Portal *p, const Member *dead, Json *params)
{
        if (params)
                tell(p, dead, params);
        portal_free(p);
}

static void end_all(Member *member, Json *params)
{
        while (!list_is_empty(&member->served))
                end_portal(LIST_ENTRY(member->served.next, Portal, served), member, params);
        while (!list_is_empty(&member->held))
                end_portal(LIST_ENTRY(member->held.next, Portal, held), member, params);
}

void portals_end(Member *member)
{
        _cleanup_json_ Json *params = NULL;

        if (list_is_empty(&member->served) && list_is_empty(&member->held))
                return;
        (void) exited_to_json(member->node, member->id, &params);
        end_all(member, params);
}

void portals_forget(Member *member)
{
        end_all(member, NULL);
}

void portals_drop(ListNode *held)
{
        while (!list_is_empty(held))
                portal_free(LIST_ENTRY(held->next, Portal, held));
}
