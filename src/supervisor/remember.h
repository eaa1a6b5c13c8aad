/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Requests with an effect that carry `"$":{"key"}` have it once, however often they are sent: the first is carried
 * out, those that come meanwhile wait for the same answer, later ones are told it again, also by a successor, since
 * it is kept with the keeper (remember-record.h).
 *
 * Who asks and what is done are apart: one asker's end must not disturb the others. So the request is carried out as a
 * call of our own, which no connection carries, and its handler knows nothing of all this; the askers' calls only wait for
 * what comes back. An asker that cancels leaves with -32800, the last one takes the request with it; one whose connection is
 * lost leaves in silence, and the request goes on. */

#include "dialog/session.h"
#include "supervisor/methods.h"

typedef struct Remember Remember;

int remember_new(Manager *m, Remember **ret);
/* Before the keeper's link: what is remembered stays there. */
Remember *remember_free(Remember *r);
DEFINE_CLEANUP(Remember *, remember_free);

/* True: the call is answered or will be. False: `q` is to be carried out, as it is or, with a key, as made our own. */
bool remember_request(Remember *r, Request *q, const Message *m);
/* A record of an earlier supervisor's, which is to be dropped when this fails (-EBADMSG: not one of ours). */
int remember_restore(Remember *r, uint64_t record, const char *text, size_t n);
