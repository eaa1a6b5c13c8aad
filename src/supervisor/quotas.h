/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What others may make the supervisor keep: docs/protocol.md §1 names these numbers. `guest`: a user who is neither root
 * nor the one the supervisor runs as. What a single connection may is in wire/ and dialog/: FRAME_…, STREAM_…,
 * SESSION_…. */

#define QUOTA_CONNECTIONS 256 /* a user */
/* In the buffers of a user's connections, of either direction. */
#define QUOTA_BYTES (256U * 1024 * 1024)
#define QUOTA_BYTES_GUEST (32U * 1024 * 1024)
/* Received and not yet taken by a message. */
#define QUOTA_FDS 1024
#define QUOTA_FDS_GUEST 128
/* Calls and dialogs open at a time, of all connections of a user. */
#define QUOTA_CALLS 65536
#define QUOTA_CALLS_GUEST 4096

/* Values in a line of a guest's: to build them takes time that nobody else is served in, up to 10 ms for the 65 536 that
 * others may say, and under 1 ms for these. */
#define QUOTA_VALUES_GUEST 4096

/* Trees and children whose names of users are being looked up, each by a process of ours. None is a guest's: a user who is
 * neither root nor the supervisor's own, and an actor, may name users by number alone (confine.h). */
#define QUOTA_LOOKUPS 64

/* Actors and supervisors, of all trees together: far above what one machine runs, and far below what would use its
 * memory up. Those that a guest's requests have added. */
#define QUOTA_NODES 20000
#define QUOTA_NODES_GUEST 1000
/* Of all that an actor, and whatever runs below it, has opened and spawned: it may not use up what is there for others. */
#define QUOTA_NODES_BELOW_ACTOR 4096
