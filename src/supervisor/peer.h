/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who asks. A peer is who the kernel says it is, or who we know it to be, never what a message claims: a client of the
 * control socket by its credentials at connect() (SO_PEERCRED, SO_PEERGROUPS), an actor by the channel it was started
 * with, as the identity that its tree gives it (on a socketpair of our own making SO_PEERCRED would name ourselves). What
 * an actor does to its own identity afterwards makes it nobody else here. */

#include <sys/types.h>

#include "base/list.h"
#include "dialog/session.h"
#include "supervisor/config.h"

/* A process with more can't be judged by its groups without letting it make us keep them all. */
#define PEER_GROUPS_MAX 1024
#define PEER_NAME_SIZE 32

typedef enum PeerKind {
        PEER_CLIENT,
        PEER_ACTOR,
} PeerKind;

typedef struct Peer {
        PeerKind kind;
        uid_t uid;
        gid_t gid;
        pid_t pid;     /* 0: an actor that has none yet */
        gid_t *groups; /* owned; the supplementary ones */
        size_t n_groups;
        char *path, *id;  /* owned; of an actor, NULL for a client */
        TreeSpec *spec;   /* owned reference; what an actor was started as, NULL for a client */
        Session *session; /* weak: the connection or channel, which owns the peer */
        ListNode *held;   /* weak: its portals (portal.h) */
        ListNode *opened; /* weak: a client's nurseries (nursery.h) */
} Peer;

/* The other end of an accepted connection; -E2BIG past PEER_GROUPS_MAX. */
int peer_of_socket(int fd, Peer *ret);
/* An actor; where its tree leaves its identity open, it is this process's. */
int peer_of_actor(const char *path, const char *id, TreeSpec *spec, Peer *ret);
/* Who it is, not where: without connection, portals and the rest that is tied to it. */
int peer_copy(const Peer *p, Peer *ret);
void peer_done(Peer *p);

/* How it is called where another is told of it (`canceller`): an actor's path, "@client/PID". No actor's name begins
 * with '@'. `buf` or the peer's own. */
const char *peer_name(const Peer *p, char buf[PEER_NAME_SIZE]);
/* The user, unless it is root or the supervisor's own: then 0 (quotas.h). */
uid_t peer_guest(const Peer *p);
/* Primary or supplementary. */
bool peer_has_group(const Peer *p, gid_t gid);
