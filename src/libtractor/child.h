/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The actors of a nursery. The nursery's other half is a supervisor in the tree, opened with the first of them; a Child is known by its path before it is
 * asked for, so that its end can't be told too early. Here is judged what a child's end means: the other half only keeps them, unless it is to restart them.
 *
 *      asked for → runs → ended (told by the supervisor, or by the loss of it) → unloaded, so that its name is free again */

#include "libtractor/nursery.h"
#include "libtractor/tree.h"

/* The supervisor told of an end: `params` is that of $/child_exited. */
void children_exited(Tree *t, Json *params);
/* The supervisor is gone, and with it all of them. */
void children_lost(Tree *t);
/* Whether some nursery's actors are being ended. */
bool families_closing(const Tree *t);
