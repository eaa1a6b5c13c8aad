/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who may do what, decided in one place. Root and the supervisor's own user may do everything as clients. All others are
 * judged by the rules of access.d (tractor-access(5), access-rules.h), and where none is about a request, by default:
 * a client may `supervisor.ping` alone; an actor on its channel is judged by its place in the tree, whatever its user: it
 * may ask about and act on itself and what is below it, and find and connect to others of its own tree.
 *
 * Rules that are wrong serve nobody: until all of them are read and their names looked up, or while one file of them is
 * wrong, all but root and the owner are refused. Refusals are journal records, so many a user and second and no more,
 * lest a stranger wrote our log full. */

#include "supervisor/access-rules.h"
#include "supervisor/journal.h"

typedef struct Access Access;

/* Reads the rules; `known` tells whether a name, or "prefix.*", is of a method of ours. `journal` may be NULL. */
int access_new(sd_event *event, Journal *journal, const char *instance, bool (*known)(const char *method),
                Access **ret);
Access *access_free(Access *a);
DEFINE_CLEANUP(Access *, access_free);
/* Reads them anew; those before hold until all names are looked up. */
void access_reload(Access *a);

/* NULL: allowed; else the rule that forbids it, for the refusal; good until the next reload. `path` is what the request
 * is about, with all below; NULL: about nothing in particular yet, as a search, whose finds are asked about one by one. */
const char *access_check(const Access *a, const Peer *peer, const char *method, const char *path);
/* A refusal goes on record. `method` is one of ours, or NULL. */
void access_audit(Access *a, const Peer *peer, const char *method, const char *path, const char *rule);
/* For supervisor.status: {state, rules, problems, refused, unlogged} */
int access_to_json(const Access *a, Json **ret);
