/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Whether this is still the process that something was made in. After fork() the child has a copy of all that its parent has, and shares the
 * descriptors: what it wrote to a connection, or took from an epoll instance, would be done to its parent. So whoever owns such a thing keeps the
 * number of when it was made, and leaves it alone under another one. Looking costs no system call. A clone() that goes past the C library is not
 * seen. */

/* How many forks lie between this process and the one that began with this program. */
extern unsigned forks_count;
