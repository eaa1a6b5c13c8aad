/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who may do what, decided in one place. In this version: root and the supervisor's own user everything, others
 * supervisor.ping alone. The peer is who the kernel says it is (SO_PEERCRED), never what a message claims. */

#include <sys/types.h>

#include "base/macro.h"

typedef struct Peer {
        uid_t uid;
        gid_t gid;
        pid_t pid;
} Peer;

/* NULL: allowed; else the rule that forbids it (a constant), for the refusal. */
const char *access_check(const Peer *peer, const char *method);
