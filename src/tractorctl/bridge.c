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
 * more to say, or nobody reads stdout any more, all is over. */

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

/* 0 at the end, or negative errno. */
static int pass(Direction *up, Direction *down)
{
        while (!down->over) {
                struct pollfd p[] = {
                        { .fd = up->over || up->n > 0 ? -1 : up->from, .events = POLLIN },
                        { .fd = up->n > 0 ? up->to : -1, .events = POLLOUT },
                        { .fd = down->n > 0 ? -1 : down->from, .events = POLLIN },
                        { .fd = down->to, .events = down->n > 0 ? POLLOUT : 0 },
                };
                int r;

                if (poll(p, ELEMENTSOF(p), -1) < 0) {
                        if (errno != EINTR)
                                return -errno;
                        continue;
                }
                if (p[3].revents & (POLLERR | POLLHUP | POLLNVAL))
                        return 0; /* nobody reads */
                r = turn(up, p[0].revents, p[1].revents);
                if (r >= 0)
                        r = turn(down, p[2].revents, p[3].revents);
                if (r < 0)
                        return r == -EPIPE || r == -ECONNRESET ? 0 : r;
        }
        return 0;
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
        r = pass(up, down);
        /* They may be another's as well. */
        (void) fd_set_nonblock(STDIN_FILENO, false);
        (void) fd_set_nonblock(STDOUT_FILENO, false);
        return r < 0 ? fail_errno(c, r) : CTL_DONE;
}
