/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a tree or a child may ask for on behalf of a peer that may start programs, but is not to gain by it: every
 * client other than root and the supervisor's own user, and every actor, whose children get no more than it has itself.
 * It runs as the peer's own user and groups, whether it says so or not, and what the supervisor would do for it with
 * its own rights (open files, look into paths, raise limits) it does not ask for. */

#include "supervisor/config.h"
#include "supervisor/peer.h"

#define CONFINE_RULE "default: nobody starts a program with more than their own rights"

bool peer_is_confined(const Peer *peer);
/* Fills in what is implied; -EACCES with `problems`, or -ENOMEM. The names of users in `spec` are not resolved yet, so
 * only numbers can be accepted. */
int confine_spec(TreeSpec *spec, const Peer *peer, ConfigProblems *problems);
