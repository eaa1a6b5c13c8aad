/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Requests with an effect that carry `"$":{"key"}` have it once, however often they are sent: the first is carried
 * out, those that come meanwhile wait for the same answer, later ones are told it again, also by a successor, since
 * it is kept with the keeper (remember-record.h).
 *
 * Who asks and what is done are apart: one asker's end must not disturb the others. So the request is carried out as a
 * call on a connection that the supervisor has with itself, and its handler knows nothing of all this; the askers'
 * calls only wait for what comes back. An asker that cancels leaves with -32800, the last one takes the request with
 * it; one whose connection is lost leaves in silence, and the request goes on. The connection a request came on is not
 * read from until the request has begun and what is answered at once has been, so that a client may rely on the order
 * of its requests as ever. */

#include "dialog/session.h"
#include "supervisor/manager.h"
#include "supervisor/peer.h"

typedef struct Remember Remember;

int remember_new(Manager *m, Remember **ret);
/* Before the keeper's link: what is remembered stays there. */
Remember *remember_free(Remember *r);
DEFINE_CLEANUP(Remember *, remember_free);

/* False: it is to be carried out as it is, having no key or no effect. True: the call is answered or will be. */
bool remember_request(Remember *r, const Peer *peer, Call *call, const Message *m);
/* A record of an earlier supervisor's, which is to be dropped when this fails (-EBADMSG: not one of ours). */
int remember_restore(Remember *r, uint64_t record, const char *text, size_t n);
size_t remember_n_pending(const Remember *r); /* requests being carried out */
