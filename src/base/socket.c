/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/directory.h"
#include "base/io.h"
#include "base/socket.h"

#define BACKLOG 4096

static int connect_fd(int fd, const struct sockaddr_un *address)
{
        return connect(fd, (const struct sockaddr *) address, sizeof(*address));
}

/* Removes what a dead process has left. connect() says ECONNREFUSED of any other kind of file, too. */
static int remove_stale(const struct sockaddr_un *address)
{
        _cleanup_close_ int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct stat st;

        if (probe < 0)
                return -errno;
        if (lstat(address->sun_path, &st) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (!S_ISSOCK(st.st_mode) || connect_fd(probe, address) >= 0 || errno != ECONNREFUSED)
                return -EADDRINUSE;
        return unlink(address->sun_path) < 0 ? -errno : 0;
}

int listen_prepare(const char *path, mode_t mode, struct sockaddr_un *ret_address)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int r;

        if (fd < 0)
                return -errno;
        if (!*path || strlen(path) >= sizeof(address.sun_path))
                return *path ? -ENAMETOOLONG : -EINVAL;
        memcpy(address.sun_path, path, strlen(path) + 1);
        r = directory_check_parent(path);
        if (r < 0)
                return r;
        r = remove_stale(&address);
        if (r < 0)
                return r;
        /* The inode that bind() makes gets the mode that the socket has. */
        if (fchmod(fd, mode) < 0)
                return -errno;
        *ret_address = address;
        return TAKE_FD(fd);
}

int listen_begin(int fd, const struct sockaddr_un *address)
{
        if (bind(fd, (const struct sockaddr *) address, sizeof(*address)) < 0 || listen(fd, BACKLOG) < 0)
                return -errno;
        return 0;
}

int listen_at(const char *path, mode_t mode)
{
        struct sockaddr_un address;
        _cleanup_close_ int fd = listen_prepare(path, mode, &address);
        int r = fd < 0 ? fd : listen_begin(fd, &address);

        return r < 0 ? r : TAKE_FD(fd);
}

int unlink_socket(int fd)
{
        struct sockaddr_un address = { 0 };
        socklen_t n = sizeof(address);

        if (getsockname(fd, (struct sockaddr *) &address, &n) < 0)
                return -errno;
        if (address.sun_family != AF_UNIX || !address.sun_path[0])
                return -ENOENT;
        return unlink(address.sun_path) < 0 ? -errno : 0;
}
