/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The control sockets and their connections. Each connection is a Session whose peer the kernel names. What a user's
 * connections may make us keep is counted over all of them (quotas.h); when descriptors run out the newcomer is told so
 * over a descriptor kept in reserve for that, and accepting goes on when a connection ends. */

#include "supervisor/access.h"
#include "supervisor/manager.h"

/* Consumes the descriptors, on failure too. */
int listener_new(Manager *m, int *fds, size_t n_fds, Listener **ret);
/* No new connections; those there are stay until listener_free(). */
void listener_close(Listener *l);
Listener *listener_free(Listener *l);
/* The connection has become somebody else's: forgets it without a word. The session ends here. */
void listener_release(Session *client);
size_t listener_n_connections(const Listener *l);
