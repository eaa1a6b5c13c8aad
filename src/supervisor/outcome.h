/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What an actor says it has come to: the first `$/result` or `$/error` of a generation. It may be said long before the end and
 * is told with it, so it is kept until then, as text and within one bound for all actors: what goes past that is replaced
 * by an error that says so, since its owner waits for one of the two. Only the owner of a nursery is told; elsewhere nothing
 * is kept. */

#include "supervisor/manager.h"

#define OUTCOMES_MAX (32U * 1024 * 1024)

/* `params` of what it said. */
void outcome_say(Member *member, const Json *params, bool is_error);
/* Puts it into what its owner is told, as `result` or `error`. */
int outcome_add(const Member *member, Json *told);
/* In its place an error: it can't be told. */
void outcome_refuse(Member *member, const char *why);
/* Forgets it; with the next generation another may be said. */
void outcome_drop(Member *member);
void outcome_reset(Member *member);
