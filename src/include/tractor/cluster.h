/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One actor a core, each kept to its own: for work that keeps processors busy. */

#include <tractor/nursery.h>
#include <tractor/portal.h>

TRACTOR_BEGIN_DECLS

typedef struct tractor_cluster {
        size_t n;
        tractor_portal **portals;
} tractor_cluster;

/* Starts `n` actors NAME-0, NAME-1 … side by side (0: one a processor that this process may use), with `o` (may be NULL) for each, unless
 * it says otherwise with its processor as `cpu_affinity`. Only all of them or none. */
int tractor_open_cluster(tractor_nursery *n, const char *name, size_t count, const tractor_actor_options *o,
                tractor_cluster *ret);
/* Gives the portals back (as a TRACTOR_CLEANUP, too); the actors are the nursery's. */
void tractor_cluster_done(tractor_cluster *c);

TRACTOR_END_DECLS
