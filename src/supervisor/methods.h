/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The control socket's methods (docs/protocol.md §5): one table of name → handler. Requests that wait for an outcome
 * (a tree is ready, an actor is gone) are Ops: a call together with a Waiter on the node it is about. */

#include "dialog/session.h"
#include "supervisor/access.h"
#include "supervisor/manager.h"

typedef struct Request {
        Manager *manager;
        const Peer *peer; /* good as long as its session */
        Call *call;       /* the handler's to answer */
        Session *session; /* weak, while the handler is called: for the descriptors that came with it */
        const Json *params;
        const char *if_id;
} Request;

typedef void (*method_handler_t)(Request *q);

/* Answers or keeps `call`. */
void methods_dispatch(Manager *m, const Peer *peer, Call *call, const Message *message);

/* Is it the name of a method, or "prefix.*" of some? */
bool method_is_known(const char *name);

/* --- shared by methods-*.c --- */
/* The node at params.<key>; answers the call and returns NULL when there is none. */
Node *request_node(Request *q, const char *key);
/* The one at params.path, which has to be an actor. */
Node *request_actor(Request *q);
/* Refuses a parameter that is there but not of that type. */
bool request_check(Request *q, const char *key, JsonType type, bool required);
void request_fail_memory(Request *q);
/* {} */
void request_done(Call *call);
/* The node is about to be stopped by this request: what is told to the actors concerned. False: answered already. */
bool request_set_canceller(Request *q, Node *node);

/* A request that is answered when a node has come to something. It ends with the answer, by `$/cancel` with -32800 (what
 * was asked for goes on), or with its connection. */
typedef struct Op {
        Call *call;
        Manager *manager; /* weak */
        const Peer *peer; /* who asked */
        Waiter *waiter;   /* weak */
} Op;

/* Makes `check` wait for the node, with the Op as its userdata; false: the call is answered already. */
bool op_wait(Request *q, Node *node, bool (*check)(Waiter *w, bool removed));
/* From within check(): frees it and gives the call back to be answered. */
Call *op_end(Op *op);

/* methods-tree.c */
void method_tree_get(Request *q);
void method_tree_load(Request *q);
void method_tree_apply(Request *q);
void method_tree_validate(Request *q);
void method_tree_unload(Request *q);
/* methods-actor.c */
void method_actor_spawn(Request *q);
void method_actor_cancel(Request *q);
void method_actor_kill(Request *q);
void method_actor_restart(Request *q);
void method_actor_freeze(Request *q);
void method_actor_thaw(Request *q);
void method_actor_set_limits(Request *q);
/* methods-nursery.c */
void method_nursery_open(Request *q);
void method_nursery_close(Request *q);
/* methods-portal.c */
void method_actor_connect(Request *q);
void method_actor_attach(Request *q);
void method_actor_find(Request *q);
void method_actor_wait_for(Request *q);
void method_actor_register(Request *q);
void method_actor_unregister(Request *q);

/* --- trees (trees.c) --- */
/* Parses, resolves users, adds and starts a tree, then calls done() once: error == NULL when it is ready. The tree
 * is gone again after an error. `tree` is borrowed; `peer` is who asks, NULL for ourselves. */
typedef struct Loading Loading;
/* `top` is NULL when it failed; `error` is borrowed, and NULL when there was no memory even for that. */
typedef void (*tree_done_t)(Node *top, Json *error, void *userdata);
/* *ret is good until done() is called, which may be at once. */
void manager_load_tree(
                Manager *m, const Peer *peer, Json *tree, tree_done_t done, void *userdata, Loading **ret);
/* The same for one child under `parent`; done() when its program runs. `entry` (may be empty) is taken over. */
typedef struct Entry Entry;
void manager_spawn_child(Manager *m, const Peer *peer, Node *parent, Json *child, Entry *entry,
                tree_done_t done, void *userdata, Loading **ret);
/* What was parsed for a peer, held to its rights (confine.h). False: *ret_error (NULL: out of memory) says why not. */
bool peer_may_start(const Peer *peer, TreeSpec *spec, const char *what, Json **ret_error);
/* Takes out again what was added; done() follows, with -32800. */
void loading_cancel(Loading *l);
/* For a tree_done_t that answers a request: the failure, passed on. */
void call_fail_loading(Call *call, Json *error);
/* -32602 or -32010 with data.problems; `code` 0 is the choice between these two. */
int problems_to_error(const ConfigProblems *problems, int code, const char *what, Json **ret);
void config_log_warnings(const ConfigProblems *problems, const char *what);
/* As manager_load_tree(), of a tree that is parsed; `spec` is consumed. And the first step of it alone: done() with the
 * root when all names of users and groups in `spec` have become numbers. `by_peer`: it counts for QUOTA_LOOKUPS. */
void manager_load_spec(
                Manager *m, bool by_peer, TreeSpec *spec, tree_done_t done, void *userdata, Loading **ret);
void manager_resolve_names(
                Manager *m, bool by_peer, TreeSpec *spec, tree_done_t done, void *userdata, Loading **ret);
/* Whether a file is right: parses it and looks its names up, on behalf of `peer`; done() with the root if so. */
void manager_check_tree(
                Manager *m, const Peer *peer, Json *tree, tree_done_t done, void *userdata, Loading **ret);
/* Applies every *.json in the configuration directory of a service; errors are logged. */
void manager_apply_directory(Manager *m);

/* --- changes (manager-apply.c) --- */
typedef struct Applying Applying;
/* `result` or `error`, both borrowed; neither when there was no memory even for that. */
typedef void (*apply_done_t)(Json *result, Json *error, void *userdata);
/* Makes the tree of that name what `tree` says, loading it if it is not there; done() once, when all that was changed has
 * come to something. `cwd` (may be NULL) is for actors that name none. *ret (where asked for) as for manager_load_tree(). */
void manager_apply_tree(Manager *m, const Peer *peer, Json *tree, const char *cwd, bool dry_run,
                apply_done_t done, void *userdata, Applying **ret);
/* Ends the waiting; done() follows, with -32800. A tree that is being loaded is taken out again, unless the connection was
 * `lost`. */
void applying_cancel(Applying *a, bool lost);
