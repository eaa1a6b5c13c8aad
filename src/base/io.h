/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Descriptors: born CLOEXEC, invalid is -EBADF, closed once. Whole-file helpers for the small files of /proc
 * and cgroupfs. All functions return a negative errno on failure. */

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/macro.h"

/* Closes fd if it is one, keeps errno, returns -EBADF: `fd = safe_close(fd)`. */
int safe_close(int fd);
static inline void closep(int *fd)
{
        *fd = safe_close(*fd);
}
#define _cleanup_close_ _cleanup_(closep)
#define TAKE_FD(fd)                                                                                         \
        ({                                                                                                  \
                int *_fdp = &(fd), _fd = *_fdp;                                                             \
                *_fdp = -EBADF;                                                                             \
                _fd;                                                                                        \
        })
void close_many(int *fds, size_t n);

/* Reads a small file (at most 64 KiB) relative to dirfd (AT_FDCWD allowed) as a string without its last
 * newline. *ret is the caller's to free. */
int read_file_at(int dirfd, const char *path, char **ret);
/* One write(2) of the whole string to an existing file: what cgroupfs and procfs want. Short write: -EIO. */
int write_file_at(int dirfd, const char *path, const char *text);
/* Writes all of it to a blocking descriptor; retries EINTR and short writes. */
int write_all(int fd, const void *p, size_t n);

/* writev(2) to a descriptor that may be a pipe whose reader is gone: EPIPE, and no signal. Sets errno. */
ssize_t writev_nosignal(int fd, const struct iovec *iov, size_t n);

int fd_set_nonblock(int fd, bool on);
int fd_set_cloexec(int fd, bool on);
/* Descriptors 0 to 2 are taken for stdio everywhere: no socket may get such a number. */
int open_missing_stdio(void);

/* The last descriptors before the limit are kept by nobody, so that what is opened for a moment (a file of /proc or
 * cgroupfs, a message's) always can be. -EMFILE when fd, the lowest that was free, is one of them. */
#define FD_RESERVE 16
int fd_check_reserve(int fd);

/* One sendmsg/recvmsg with up to SCM_FDS_MAX descriptors. recv: *n_fds in/out; a truncated control message
 * closes what came and returns -EXFULL; the return value is the number of bytes (0: EOF). With SOCK_SEQPACKET a
 * longer message than the buffer returns -EMSGSIZE. */
#define SCM_FDS_MAX 32
ssize_t send_fds(int sock, const void *p, size_t n, const int *fds, size_t n_fds, int flags);
ssize_t recv_fds(int sock, void *p, size_t n, int *fds, size_t *n_fds, int flags);

/* A sealed memfd holding n bytes, offset at 0. Returns the descriptor. */
int memfd_new_sealed(const char *name, const void *p, size_t n);
