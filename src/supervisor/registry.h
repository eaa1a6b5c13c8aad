/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Names and the actors that go by them, for actor.find and actor.wait_for. An actor is there under its own name (the last
 * component of its path) and under those it has registered, from the moment it is ready until it no longer is: what is
 * found can be connected to, and nothing stale is. Several may go by one name; the first that came is found first. */

#include "supervisor/manager.h"
#include "supervisor/peer.h"

/* Names an actor may register beside its own. */
#define REGISTRY_ALIASES_MAX 16U

int registry_new(Registry **ret);
/* Ends all that wait with -32002. */
Registry *registry_free(Registry *r);
DEFINE_CLEANUP(Registry *, registry_free);

/* The member became ready, or is not any more (with all its names). Those that waited are answered. -ENOMEM: it is not
 * found by name. */
int registry_add(Registry *r, Member *member);
void registry_remove(Member *member);
/* Another name for a ready member. 0, also when it has it; -EEXIST when another has registered it; -EAGAIN when the
 * member is not ready; -EDQUOT past REGISTRY_ALIASES_MAX; -ENOMEM. */
int registry_register(Registry *r, Member *member, const char *name);
/* -ENOENT when it is no registered name of the member's. */
int registry_unregister(Registry *r, Member *member, const char *name);

/* The first by that name, or with that path, that `peer` may know of; NULL. */
Member *registry_find(const Registry *r, const char *name, const Peer *peer);
/* Answers the call with {path, id} once there is one. Cancelled by the asker, the call fails. */
int registry_wait(Registry *r, const char *name, const Peer *peer, Call *call);
/* {path, id}, or null for NULL */
int registry_answer(const Member *member, Json **ret);
