/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/io.h"
#include "base/usec.h"
#include "dialog/session.h"
#include "supervisor/channel.h"

#define STATUS_MAX 256U

typedef struct Kept {
        const char *method; /* a constant */
        Json *params;
        int fd;
} Kept;

struct Channel {
        Session *session; /* NULL once it has ended */
        Kept kept[CHANNEL_KEPT_MAX];
        size_t n_kept;
        Peer peer; /* the actor */
        const ChannelEvents *events;
        void *userdata;
        bool over; /* the actor has ended, and is heard out */
};

static void on_request(Session *s, Call *call, const Message *m, void *userdata)
{
        Channel *c = userdata;

        if (c->over)
                call_fail(call, ERROR_ACTOR_STOPPED, NULL, "the actor has ended");
        else
                c->events->request(&c->peer, call, m, c->userdata);
}

static void on_status(Channel *c, const Message *m)
{
        const char *text = json_get_string(m->params, "text", NULL);

        if (text && strlen(text) <= STATUS_MAX)
                c->events->status(text, c->userdata);
}

/* Each call-back may free the channel: nothing is touched after it. */
static void on_notification(Session *s, const Message *m, void *userdata)
{
        Channel *c = userdata;

        if (streq(m->method, "$/crash"))
                c->events->crash(m->params, c->userdata);
        else if (streq(m->method, "$/result") || streq(m->method, "$/error"))
                c->events->outcome(m->params, streq(m->method, "$/error"), c->userdata);
        else if (c->over)
                return;
        else if (streq(m->method, "$/ready"))
                c->events->ready(c->userdata);
        else if (streq(m->method, "$/watchdog"))
                c->events->watchdog(c->userdata);
        else if (streq(m->method, "$/status"))
                on_status(c, m);
}

static int send_now(Channel *c, const char *method, Json *params, int fd)
{
        return fd < 0 ? session_notify(c->session, method, params)
                      : session_notify_fds(c->session, method, params, &fd, 1);
}

static void drop_kept(Channel *c)
{
        for (; c->n_kept > 0; c->n_kept--) {
                json_unref(c->kept[c->n_kept - 1].params);
                safe_close(c->kept[c->n_kept - 1].fd);
        }
}

static void on_hello(Session *s, const Message *m, void *userdata)
{
        Channel *c = userdata;

        for (size_t i = 0; i < c->n_kept; i++)
                (void) send_now(c, c->kept[i].method, c->kept[i].params, c->kept[i].fd);
        c->n_kept = 0;
        if (!c->over)
                c->events->hello(c->userdata);
}

static void on_end(Session *s, void *userdata)
{
        Channel *c = userdata;

        c->session = c->peer.session = session_free(s);
        drop_kept(c); /* who waits at their other ends sees it */
}

static const SessionVtable vtable = {
        .on_request = on_request,
        .on_notification = on_notification,
        .on_end = on_end,
        .on_hello = on_hello,
};

int channel_new(sd_event *event, Turns *turns, Cork *cork, Peer *peer, const ChannelEvents *events,
                void *userdata, Channel **ret, int *ret_actor_fd)
{
        SessionOptions options = { .max_line = CHANNEL_MAX_LINE,
                .limits = { .max_values = CHANNEL_MAX_VALUES },
                .name = "tractor-supervisor",
                .path = "/",
                .peer_path = peer->path,
                .turns = turns,
                .cork = cork };
        _cleanup_(channel_freep) Channel *c = calloc(1, sizeof(Channel));
        int pair[2], r;

        if (!c) {
                peer_done(peer);
                return -ENOMEM;
        }
        c->peer = *peer;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        r = fd_set_nonblock(pair[0], true);
        if (r < 0) {
                close_many(pair, 2);
                return r;
        }
        c->events = events;
        c->userdata = userdata;
        r = session_new(event, pair[0], &options, &vtable, c, &c->session);
        if (r < 0) {
                safe_close(pair[1]);
                return r;
        }
        c->peer.session = c->session;
        *ret = TAKE_PTR(c);
        *ret_actor_fd = pair[1];
        return 0;
}

Channel *channel_free(Channel *c)
{
        if (!c)
                return NULL;
        drop_kept(c);
        c->session = session_free(c->session);
        peer_done(&c->peer);
        free(c);
        return NULL;
}

bool channel_said_hello(const Channel *c)
{
        return c && c->session && session_said_hello(c->session);
}

void channel_hear_out(Channel *c)
{
        if (!c || !c->session)
                return;
        c->over = true;
        session_read_out(c->session);
}

int channel_tell(Channel *c, const char *method, Json *params, int fd, bool keeps)
{
        int r;

        /* Of an actor that is going or has gone already, who is at the descriptor's other end hears an EOF there. */
        if (channel_said_hello(c)) {
                r = send_now(c, method, params, fd);
                return keeps && (r == -EPIPE || r == -ECONNRESET) ? 0 : r;
        }
        r = !c || !keeps ? -EOPNOTSUPP : c->n_kept >= CHANNEL_KEPT_MAX ? -EBUSY : 0;
        if (r < 0 || !c->session) {
                json_unref(params);
                safe_close(fd);
                return r;
        }
        c->kept[c->n_kept++] = (Kept){ .method = method, .params = params, .fd = fd };
        return 0;
}

bool channel_cancel(Channel *c, const char *reason, const char *canceller, uint64_t grace_usec)
{
        Json *params = NULL;

        if (!channel_said_hello(c))
                return false;
        if (json_pack(&params, "{id:n, reason:s, canceller:s, grace_ms:U}", reason, canceller,
                            grace_usec == USEC_INFINITY ? 0 : grace_usec / USEC_PER_MSEC) < 0)
                return false;
        return session_notify(c->session, "$/cancel", params) >= 0;
}
