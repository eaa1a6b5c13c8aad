/* SPDX-License-Identifier: Apache-2.0 */
/* To be preloaded: what tractorctl receives next when it has first asked for a tree waits until somebody opens $LATE_FIFO for writing, and
 * no time passes but while it waits for events. So all that has been said by then comes in one turn of its loop, as on a machine that is
 * fast, once it had something else to do. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct timespec still; /* tv_sec 0: time passes */
static int has_asked;         /* 2: and waited */

#define REAL(name)                                                                                          \
        static __typeof__(name) *real;                                                                      \
        if (!real)                                                                                          \
        real = (__typeof__(name) *) dlsym(RTLD_NEXT, #name)

static int is_meant(void)
{
        return strcmp(program_invocation_short_name, "tractorctl") == 0;
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
        REAL(clock_gettime);
        if (clock != CLOCK_MONOTONIC || !is_meant())
                return real(clock, ret);
        if (still.tv_sec == 0 && real(clock, &still) < 0)
                return -1;
        *ret = still;
        return 0;
}

int epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
        int n;

        REAL(epoll_wait);
        n = real(fd, events, max, timeout);
        still.tv_sec = 0;
        return n;
}

ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
        const char *fifo = getenv("LATE_FIFO");

        REAL(recvmsg);
        if (fifo && has_asked == 1) {
                has_asked++;
                (void) close(open(fifo, O_RDONLY));
        }
        return real(fd, m, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
        static const char get[] = "\"tree.get\"";

        REAL(sendmsg);
        if (is_meant() && memmem(m->msg_iov->iov_base, m->msg_iov->iov_len, get, sizeof(get) - 1))
                has_asked = has_asked ?: 1;
        return real(fd, m, flags);
}
