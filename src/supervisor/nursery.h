/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Nurseries: supervisors that code opens at run time and that end with who opened them. One below an actor ends with the
 * actor's main process, which the core sees to; one opened by a client, wherever it is, with that client's connection. The
 * owner hears of each end in it by $/child_exited, if it has said hello. */

#include "supervisor/manager.h"
#include "supervisor/peer.h"

/* Of one client: all of them may have to go in one turn. */
#define NURSERIES_PER_CLIENT 1024U

/* Consumes spec. On failure nothing is left; *ret_error may be a protocol error object. */
int nursery_open(Manager *m, Node *parent, TreeSpec *spec, const Peer *owner, Node **ret, Json **ret_error);
/* The owner is gone, with the list of what it has opened: all of that is stopped, fast, and removed. */
void nurseries_lose_owner(ListNode *opened);
/* A node came to its end (dead or failed): its nursery's owner is told. */
void nursery_tell(const Node *node);
