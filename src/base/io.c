/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"

#define SMALL_FILE_MAX (64U * 1024)

int safe_close(int fd)
{
        int saved = errno;

        if (fd >= 0)
                (void) close(fd); /* EINTR on Linux has closed it all the same */
        errno = saved;
        return -EBADF;
}

void close_many(int *fds, size_t n)
{
        for (size_t i = 0; i < n; i++)
                fds[i] = safe_close(fds[i]);
}

int read_file_at(int dirfd, const char *path, char **ret)
{
        _cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        _cleanup_free_ char *buf = NULL;
        size_t n = 0, cap = 0;

        if (fd < 0)
                return -errno;
        for (;;) {
                ssize_t k;

                if (n + 1 >= SMALL_FILE_MAX)
                        return -EFBIG;
                if (GROW(buf, cap, MIN(n + 512, (size_t) SMALL_FILE_MAX)) < 0)
                        return -ENOMEM;
                k = read(fd, buf + n, cap - n - 1);
                if (k < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (k == 0)
                        break;
                n += (size_t) k;
        }
        if (n > 0 && buf[n - 1] == '\n')
                n--;
        buf[n] = 0;
        *ret = TAKE_PTR(buf);
        return 0;
}

int write_file_at(int dirfd, const char *path, const char *text)
{
        _cleanup_close_ int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        size_t n = strlen(text);
        ssize_t k;

        if (fd < 0)
                return -errno;
        k = write(fd, text, n);
        if (k < 0)
                return -errno;
        return (size_t) k == n ? 0 : -EIO;
}

int write_all(int fd, const void *p, size_t n)
{
        const char *s = p;

        while (n > 0) {
                ssize_t k = write(fd, s, n);

                if (k < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                s += k;
                n -= (size_t) k;
        }
        return 0;
}

static int set_flag(int fd, int get, int set, int flag, bool on)
{
        int flags = fcntl(fd, get);

        if (flags < 0)
                return -errno;
        if (fcntl(fd, set, on ? flags | flag : flags & ~flag) < 0)
                return -errno;
        return 0;
}

ssize_t writev_nosignal(int fd, const struct iovec *iov, size_t n)
{
        static const struct timespec now = { 0 };
        sigset_t pipe, before, pending;
        bool was_pending;
        ssize_t k;
        int e;

        (void) sigemptyset(&pipe);
        (void) sigaddset(&pipe, SIGPIPE);
        was_pending = sigpending(&pending) >= 0 && sigismember(&pending, SIGPIPE) > 0;
        if (pthread_sigmask(SIG_BLOCK, &pipe, &before) != 0)
                return -1;
        k = writev(fd, iov, (int) n);
        e = errno;
        if (k < 0 && e == EPIPE && !was_pending)
                (void) sigtimedwait(&pipe, NULL, &now);
        (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
        errno = e;
        return k;
}

int fd_set_nonblock(int fd, bool on)
{
        return set_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

int fd_set_cloexec(int fd, bool on)
{
        return set_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

int open_missing_stdio(void)
{
        for (int fd = 0; fd < 3; fd++)
                if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
                        return -EBADF;
        return 0;
}

int fd_check_reserve(int fd)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return -errno;
        return (rlim_t) fd + FD_RESERVE >= limit.rlim_cur ? -EMFILE : 0;
}

ssize_t send_fds(int sock, const void *p, size_t n, const int *fds, size_t n_fds, int flags)
{
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int) * SCM_FDS_MAX)];
        } control = { 0 };
        struct iovec iov = { .iov_base = (void *) p, .iov_len = n };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
        ssize_t k;

        if (n_fds > SCM_FDS_MAX)
                return -E2BIG;
        if (n_fds > 0) {
                msg.msg_control = &control;
                msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * n_fds);
        }
        do
                k = sendmsg(sock, &msg, flags | MSG_NOSIGNAL);
        while (k < 0 && errno == EINTR);
        return k < 0 ? -errno : k;
}

ssize_t recv_fds(int sock, void *p, size_t n, int *fds, size_t *n_fds, int flags)
{
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int) * SCM_FDS_MAX) + CMSG_SPACE(sizeof(struct ucred))];
        } control;
        struct iovec iov = { .iov_base = p, .iov_len = n };
        struct msghdr msg = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        size_t got = 0, room = *n_fds;
        bool overflow = false;
        ssize_t k;

        do
                k = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
        while (k < 0 && errno == EINTR);
        if (k < 0)
                return -errno;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
                size_t m;

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                m = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < m; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                        if (got < room) {
                                fds[got++] = fd;
                        } else {
                                overflow = true;
                                safe_close(fd);
                        }
                }
        }
        if (overflow || (msg.msg_flags & (MSG_CTRUNC | MSG_TRUNC))) {
                close_many(fds, got);
                return msg.msg_flags & MSG_TRUNC ? -EMSGSIZE : -EXFULL;
        }
        *n_fds = got;
        return k;
}

int memfd_new_sealed(const char *name, const void *p, size_t n)
{
        _cleanup_close_ int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        int r;

        if (fd < 0)
                return -errno;
        r = write_all(fd, p, n);
        if (r < 0)
                return r;
        if (lseek(fd, 0, SEEK_SET) < 0 ||
                        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
                return -errno;
        return TAKE_FD(fd);
}
