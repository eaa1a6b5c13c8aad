/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Sockets with a name in the file system. */

#include <sys/types.h>
#include <sys/un.h>

#include "base/macro.h"

/* A listening SOCK_STREAM socket at `path`, non-blocking, the inode's mode as given. A socket that nobody listens at
 * any more is replaced; one in use is -EADDRINUSE, and so is whatever is no socket. -EPERM in a directory that is not to be
 * trusted (directory.h). */
int listen_at(const char *path, mode_t mode);
/* The same in two steps: what comes before there is anything to leave behind, and an async-signal-safe rest. */
int listen_prepare(const char *path, mode_t mode, struct sockaddr_un *ret_address);
int listen_begin(int fd, const struct sockaddr_un *address);
/* Removes the name that a listening socket was bound to. */
int unlink_socket(int fd);
