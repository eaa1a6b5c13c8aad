/* SPDX-License-Identifier: Apache-2.0 */
/* To be preloaded: a kernel in a bad mood, as far as UNIX stream sockets are concerned. What is received comes in pieces of any size,
 * down to single bytes, or late, and then joined with what came behind it; what a socket that does not block is to send it takes
 * in part, or not at all for the moment; and of several that are ready any may be told of first. Descriptors stay with their bytes, since
 * it is the kernel still that moves both. All that is allowed to it: whoever behaves otherwise for it has read more into a recv() than it
 * says.
 *
 * The draws come from $TORN_SEED and from who the program is (its name, $TRACTOR_PATH and $TRACTOR_GENERATION). */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PIECES_MAX 1024
#define DELAY_NSEC_MAX 1500000
#define FULL 8192 /* of what the kernel counts for it */

static uint64_t state; /* 0: off */

static uint64_t draw(uint64_t below)
{
        uint64_t x = __atomic_add_fetch(&state, 0x9e3779b97f4a7c15U, __ATOMIC_RELAXED);

        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
        return (x ^ (x >> 31)) % below;
}

static uint64_t mix(uint64_t h, const char *text)
{
        for (; text && *text; text++)
                h = (h ^ (unsigned char) *text) * 0x100000001b3U;
        return h ^ 0x1f;
}

__attribute__((constructor)) static void begin(void)
{
        const char *seed = getenv("TORN_SEED");

        if (!seed)
                return;
        /* The test that has it preloaded for those it starts. */
        if (getenv("TORN_OTHERS")) {
                (void) unsetenv("TORN_OTHERS");
                return;
        }
        state = mix(strtoull(seed, NULL, 10) * 0x2545f4914f6cdd1dU, program_invocation_short_name);
        state = mix(mix(state, getenv("TRACTOR_PATH")), getenv("TRACTOR_GENERATION")) | 1;
}

static int is_stream(int fd)
{
        int domain = 0, type = 0;
        socklen_t n = sizeof(int), k = sizeof(int);

        return state && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 && domain == AF_UNIX &&
               getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &k) == 0 && type == SOCK_STREAM;
}

/* What is short fits into a socket whose peer has read most of what it had. */
static int takes_all(int fd, int flags)
{
        int unread = 0;

        return !is_stream(fd) || ioctl(fd, SIOCOUTQ, &unread) < 0 || unread < FULL ||
               (!(flags & MSG_DONTWAIT) && !(fcntl(fd, F_GETFL) & O_NONBLOCK));
}

/* So many of n bytes. */
static size_t piece(size_t n)
{
        static const unsigned sizes[] = { 1, 16, 256, PIECES_MAX };
        uint64_t i = draw(6);

        if (n == 0 || i >= 4)
                return n;
        i = 1 + draw(sizes[i]);
        return i < n ? (size_t) i : n;
}

static void dawdle(void)
{
        struct timespec t = { .tv_nsec = (long) draw(DELAY_NSEC_MAX) };
        int error = errno;

        if (draw(12) == 0)
                (void) nanosleep(&t, NULL);
        errno = error;
}

/* A message of no more than the first bytes of m's. */
static struct msghdr cut(const struct msghdr *m, struct iovec *iov, size_t max)
{
        struct msghdr part = *m;
        size_t n = 0;

        for (size_t i = 0; i < m->msg_iovlen; i++)
                n += m->msg_iov[i].iov_len;
        n = piece(n);
        part.msg_iov = iov;
        for (part.msg_iovlen = 0; n > 0 && part.msg_iovlen < m->msg_iovlen && part.msg_iovlen < max;) {
                struct iovec *v = &iov[part.msg_iovlen];

                *v = m->msg_iov[part.msg_iovlen++];
                v->iov_len = v->iov_len < n ? v->iov_len : n;
                n -= v->iov_len;
        }
        return part;
}

#define REAL(name)                                                                                          \
        static __typeof__(name) *real;                                                                      \
        if (!real)                                                                                          \
        real = (__typeof__(name) *) dlsym(RTLD_NEXT, #name)

ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
        struct iovec iov[8];
        struct msghdr part;
        ssize_t k;

        REAL(recvmsg);
        if (!is_stream(fd) || flags & (MSG_PEEK | MSG_WAITALL))
                return real(fd, m, flags);
        dawdle();
        part = cut(m, iov, sizeof(iov) / sizeof(*iov));
        k = real(fd, &part, flags);
        m->msg_namelen = part.msg_namelen;
        m->msg_controllen = part.msg_controllen;
        m->msg_flags = part.msg_flags;
        return k;
}

ssize_t recv(int fd, void *p, size_t n, int flags)
{
        REAL(recv);
        if (!is_stream(fd) || flags & (MSG_PEEK | MSG_WAITALL))
                return real(fd, p, n, flags);
        dawdle();
        return real(fd, p, piece(n), flags);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
        struct iovec iov[8];
        struct msghdr part;

        REAL(sendmsg);
        if (takes_all(fd, flags))
                return real(fd, m, flags);
        if (draw(16) == 0) {
                errno = EAGAIN;
                return -1;
        }
        part = cut(m, iov, sizeof(iov) / sizeof(*iov));
        return real(fd, &part, flags);
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
        REAL(send);
        /* Who says so itself tries once, and has nothing to keep the rest in. */
        if (flags & MSG_DONTWAIT || takes_all(fd, flags))
                return real(fd, p, n, flags);
        if (draw(16) == 0) {
                errno = EAGAIN;
                return -1;
        }
        return real(fd, p, piece(n), flags);
}

static int shuffle(struct epoll_event *events, int n)
{
        for (int i = n - 1; state && i > 0; i--) {
                int k = (int) draw((uint64_t) i + 1);
                struct epoll_event e = events[i];

                events[i] = events[k];
                events[k] = e;
        }
        return n;
}

int epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
        REAL(epoll_wait);
        if (state && timeout != 0)
                dawdle();
        return shuffle(events, real(fd, events, max, timeout));
}

int epoll_pwait2(int fd, struct epoll_event *events, int max, const struct timespec *timeout,
                const sigset_t *mask)
{
        REAL(epoll_pwait2);
        if (state && (!timeout || timeout->tv_sec > 0 || timeout->tv_nsec > 0))
                dawdle();
        return shuffle(events, real(fd, events, max, timeout, mask));
}
