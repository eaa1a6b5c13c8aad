/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/directory.h"
#include "base/io.h"
#include "base/socket.h"

#define BACKLOG 4096

typedef union Address {
        struct sockaddr sa;
        struct sockaddr_un un;
} Address;

/* Removes what a dead process has left. connect() says ECONNREFUSED of any other kind of file, too. */
static int remove_stale(const Address *address)
{
        _cleanup_close_ int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct stat st;

        if (probe < 0)
                return -errno;
        if (lstat(address->un.sun_path, &st) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (!S_ISSOCK(st.st_mode) || connect(probe, &address->sa, sizeof(address->un)) >= 0 ||
                        errno != ECONNREFUSED)
                return -EADDRINUSE;
        return unlink(address->un.sun_path) < 0 ? -errno : 0;
}

int listen_at(const char *path, mode_t mode)
{
        Address address = { .un = { .sun_family = AF_UNIX } };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int r;

        if (fd < 0)
                return -errno;
        if (!*path || strlen(path) >= sizeof(address.un.sun_path))
                return *path ? -ENAMETOOLONG : -EINVAL;
        memcpy(address.un.sun_path, path, strlen(path) + 1);
        r = directory_check_parent(path);
        if (r < 0)
                return r;
        r = remove_stale(&address);
        if (r < 0)
                return r;
        /* The inode that bind() makes gets the mode that the socket has. */
        if (fchmod(fd, mode) < 0 || bind(fd, &address.sa, sizeof(address.un)) < 0 || listen(fd, BACKLOG) < 0)
                return -errno;
        return TAKE_FD(fd);
}

int unlink_socket(int fd)
{
        Address address = { 0 };
        socklen_t n = sizeof(address);

        if (getsockname(fd, &address.sa, &n) < 0)
                return -errno;
        if (address.sa.sa_family != AF_UNIX || !address.un.sun_path[0])
                return -ENOENT;
        return unlink(address.un.sun_path) < 0 ? -errno : 0;
}
