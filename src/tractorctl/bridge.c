/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "tractorctl/context.h"

/* `bridge`: bytes from stdin to the control socket and back to stdout, knowing nothing of what they mean. Each
 * direction has a buffer and ends by itself: EOF is passed on as the end of that half alone. Once the socket has no
 * more to say, or nobody reads stdout any more, all is over; with --until-eof as soon as all of stdin has been passed
 * on. */

#define BUFFER_SIZE (64U * 1024)

typedef struct Direction {
        int from, to;
        bool socket; /* `to` is: its half is shut down at the end */
        bool eof, over;
        size_t n, off;
        char data[BUFFER_SIZE];
} Direction;

static bool is_transient(int error)
{
        return error == EAGAIN || error == EINTR;
}

static int fill(Direction *d)
{
        ssize_t k = read(d->from, d->data, sizeof(d->data));

        if (k < 0)
                return is_transient(errno) ? 0 : -errno;
        d->eof = k == 0;
        d->n = (size_t) k;
        d->off = 0;
        return 0;
}

static int drain(Direction *d)
{
        ssize_t k = d->n == d->off ? 0 : write(d->to, d->data + d->off, d->n - d->off);

        if (k < 0)
                return is_transient(errno) ? 0 : -errno;
        d->off += (size_t) k;
        if (d->off < d->n)
                return 0;
        d->n = d->off = 0;
        d->over = d->eof;
        if (d->over && d->socket)
                (void) shutdown(d->to, SHUT_WR);
        return 0;
}

static int turn(Direction *d, short from, short to)
{
        int r = 0;

        if (!d->over && d->n == 0 && from != 0)
                r = fill(d);
        if (r >= 0 && !d->over && (d->n > 0 ? to != 0 : d->eof))
                r = drain(d);
        return r;
}

static bool is_broken(int r)
{
        return r == -EPIPE || r == -ECONNRESET;
}

/* Waits for one of them to be able to go on, and lets both. With `until_eof` what comes down is passed on as long as
 * somebody takes it, and matters no further. */
static int pass_once(Direction *up, Direction *down, bool until_eof)
{
        struct pollfd p[] = {
                { .fd = up->over || up->n > 0 ? -1 : up->from, .events = POLLIN },
                { .fd = up->n > 0 ? up->to : -1, .events = POLLOUT },
                { .fd = down->over || down->n > 0 ? -1 : down->from, .events = POLLIN },
                { .fd = down->over ? -1 : down->to, .events = down->n > 0 ? POLLOUT : 0 },
        };
        int r;

        if (poll(p, ELEMENTSOF(p), -1) < 0)
                return errno == EINTR ? 0 : -errno;
        if (p[3].revents & (POLLERR | POLLHUP | POLLNVAL))
                r = -EPIPE; /* nobody reads */
        else
                r = turn(down, p[2].revents, p[3].revents);
        if (is_broken(r))
                down->over = true;
        else if (r < 0)
                return r;
        if (down->over && !until_eof)
                return 0;
        return turn(up, p[0].revents, p[1].revents);
}

/* 0 at the end, or negative errno. */
static int pass(Direction *up, Direction *down, bool until_eof)
{
        int r = 0;

        while (r >= 0 && !(until_eof ? up->over : down->over))
                r = pass_once(up, down, until_eof);
        return is_broken(r) ? 0 : r;
}

/* A socket that is closed with something unread in it tells its peer of a reset in place of an end. */
static void discard(int fd, char *buf)
{
        while (read(fd, buf, BUFFER_SIZE) > 0)
                ;
}

int verb_bridge(Context *c)
{
        _cleanup_free_ Direction *up = calloc(1, sizeof(Direction)), *down = calloc(1, sizeof(Direction));
        _cleanup_free_ char *error = NULL;
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (!up || !down)
                return fail_errno(c, -ENOMEM);
        r = context_dial(c, &fd, &error);
        if (r < 0)
                return fail(c, connect_code(r), "%s", error ?: strerror(-r));
        (void) signal(SIGPIPE, SIG_IGN);
        (void) fd_set_nonblock(fd, true);
        (void) fd_set_nonblock(STDIN_FILENO, true);
        (void) fd_set_nonblock(STDOUT_FILENO, true);
        up->from = STDIN_FILENO;
        up->to = fd;
        up->socket = true;
        down->from = fd;
        down->to = STDOUT_FILENO;
        r = pass(up, down, c->o->until_eof);
        if (c->o->until_eof && r >= 0)
                discard(fd, down->data);
        /* They may be another's as well. */
        (void) fd_set_nonblock(STDIN_FILENO, false);
        (void) fd_set_nonblock(STDOUT_FILENO, false);
        return r < 0 ? fail_errno(c, r) : CTL_DONE;
}
