/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Nodes as the protocol shows them (docs/protocol.md §5). A reply is bounded twice, in bytes (max_line) and in values:
 * where a subtree would pass either, the node whose children were cut says `more`: the name of the last child
 * shown, to be given back as `after` with that node's path. */

#include "supervisor/core/core.h"
#include "wire/json.h"

typedef struct NodeView {
        int depth;          /* -1: the whole subtree; 0: the node alone */
        const char *after;  /* of the top node: only children after this name */
        const Json *fields; /* array of member names to show; NULL: all, usage in small replies only */
        size_t max_line;    /* of who will read it */
} NodeView;

/* The state's event members: from, to, generation, restarts, pid?, exit?, reason? */
int node_state_event(const Node *node, NodeState from, NodeState to, Json **ret);
int node_to_json(const Node *node, const NodeView *view, Json **ret);
/* What comes only where `fields` (may be NULL) names it, a bit each (node-json-detail.c), and an upper bound of its cost. */
uint32_t node_details_named(const Json *fields);
int node_details_to_json(const Node *node, uint32_t named, Json *v);
void node_details_cost(uint32_t named, size_t *bytes, size_t *values);
/* The params of $/peer_exited and $/child_exited: with the actor's own word of its crash, where there is one. */
int exited_to_json(const Node *node, const char *id, Json **ret);
int exit_to_json(const ExitInfo *e, Json **ret); /* NULL value (null) when it has not ended */
/* A protocol error that says why the node failed: RestartLimit, ActorDied, SpawnFailed, with causes below. */
int node_error(const Node *node, Json **ret);
