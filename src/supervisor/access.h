/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who may do what, decided in one place. Root and the supervisor's own user may do everything, other clients
 * `supervisor.ping` alone. An actor on its channel is judged by its place in the tree, whatever its user: it may ask about
 * and act on itself and what is below it, and find and connect to others of its own tree. */

#include "supervisor/peer.h"

/* NULL: allowed; else the rule that forbids it (a constant), for the refusal. `path` is what the request is about,
 * with all below; NULL: about nothing in particular yet, as a search, whose finds are asked about one by one. */
const char *access_check(const Peer *peer, const char *method, const char *path);
