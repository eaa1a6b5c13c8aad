/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who is there, and a portal to them. A name is the last part of an actor's path, one that it has registered, or a whole path; found are actors
 * that are ready, the one that came first, and only what the asker may know of. Nothing is cached, so nothing is stale. */

#include <tractor/portal.h>

TRACTOR_BEGIN_DECLS

/* Of this actor: one more name, 16 at most. -EEXIST: another has it. It ends with the actor. */
int tractor_register(const char *name);
int tractor_unregister(const char *name);
/* 1 and its path (the caller frees), or 0: nobody of that name is ready. */
int tractor_find(const char *name, char **ret_path);
/* The same, but waits; give it a deadline by a scope. 1. */
int tractor_wait_for(const char *name, char **ret_path);
/* A portal to the actor of that path; waits until it is ready. -ESHUTDOWN: it has ended; -ESRCH: nobody there. */
int tractor_connect(const char *path, tractor_portal **ret);
/* tractor_wait_for() and tractor_connect(). */
int tractor_connect_name(const char *name, tractor_portal **ret);
/* The tree as the supervisor has it, from `path` down (NULL: our own); see tree.get in tractor-protocol(7). */
int tractor_query(const char *path, struct json_object **ret);
/* Asks the supervisor anything: `method` and `args` (consumed) of tractor-protocol(7), done once also if the connection is lost meanwhile. */
int tractor_control(const char *method, struct json_object *args, struct json_object **ret);

TRACTOR_END_DECLS
