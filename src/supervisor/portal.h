/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who holds a connection to whom. A portal is a socketpair whose ends go to two peers, or a client's own connection that
 * was handed to an actor; after that no byte of it passes here. What stays is one record a pair of peers, so that each is told at
 * once how the other has ended, which an EOF alone could not say: an actor and a client by $/peer_exited on the connection they
 * have with us; a client that gave its connection away, on that one.
 *
 * For that last case we keep a descriptor of the client's connection, if the client has said hello and so knows the frame.
 * It is written to once, when the actor is dead, after a newline that ends what the actor may have been saying. (While we
 * keep it, close() at the actor's side is no EOF to the client: shutdown() is.) */

#include "supervisor/manager.h"
#include "supervisor/peer.h"

/* Actors that one peer may hold portals to. */
#define PORTALS_PER_HOLDER 1024U
/* Connections that clients gave away to one actor, of which we keep a descriptor. The clients of further ones hear an EOF. */
#define LAST_WORDS_MAX 1024U

typedef struct Portal Portal;

/* A new connection to the member's actor, which hears of it by $/accept as soon as it can. *ret_fd is the holder's
 * end. -EOPNOTSUPP: it has no channel; -EDQUOT: PORTALS_PER_HOLDER; -EBUSY: too many wait for its hello; -EMFILE. */
int portal_connect(Member *server, const Peer *holder, bool keeps, int *ret_fd);
/* Hands a client's connection over: `fd` (consumed, on failure too) is it. */
int portal_attach(Member *server, const Peer *client, int fd, int64_t last_id, bool said_hello,
                size_t max_line);
/* The member's generation has ended: everyone concerned is told how. */
void portals_end(Member *member);
/* Nobody is told: the member leaves the tree; a client's connection, with the portals it held, has ended. */
void portals_forget(Member *member);
void portals_drop(ListNode *held);
