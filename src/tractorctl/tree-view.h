/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Nodes of tree.get as tables: the tree, drawn with box characters on a UTF-8 terminal and indented elsewhere; the
 * flat list; one node in detail. A frozen node's state says so on a terminal; elsewhere the state stays one word
 * and a last column says it. And what `run` must know of a tree: is anything still going on, did anything
 * fail. Pure. */

#include "tractorctl/text.h"
#include "wire/json.h"

/* The table's head is static; the caller renders and ends it. */
int tree_view_tree(const Json *node, const Style *style, Table *ret);
/* Only paths that match `glob` (fnmatch(3), where '*' crosses '/'); NULL: all but the root. */
int tree_view_list(const Json *node, const char *glob, const Style *style, Table *ret);
/* The same nodes in an array, without their children. */
int tree_view_matching(const Json *node, const char *glob, Json **ret);
/* Two columns, key and value; also for supervisor.status. Numbers with their units for a terminal, bare elsewhere. */
int tree_view_details(const Json *object, const Style *style, Table *ret);

/* One line a node that is on its way to something: its path, its state, and what it waits for. NULL: none. */
int tree_view_unready(const Json *node, const Style *style, char ***ret);

typedef enum Settled {
        SETTLED_NOT_YET,
        SETTLED_WELL, /* ready, or ended as it should */
        SETTLED_FAILED,
} Settled;
/* Has what was started there come to something? NULL: not there yet. */
Settled tree_settled(const Json *node);

/* Is any actor of it alive, starting or in backoff? */
bool tree_is_active(const Json *node);
/* The path of the first node that ended `failed`, an actor's where there is one; NULL: none. Borrowed. */
const char *tree_first_failed(const Json *node, const Json **ret_node);
/* The node at `path` in or below `node`, or NULL. Borrowed. */
Json *tree_find(Json *node, const char *path);
