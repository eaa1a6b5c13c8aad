/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which answer is whose. The program is asked under numbers of our own, 1, 2, 3 …, that are used once, since the ids of
 * several clients would clash; an answer is found by its number, and one that comes after its asker has given up is told
 * from one that nobody ever asked for. Pure. */

#include "base/map.h"
#include "wire/json.h"

typedef struct Ids {
        Map open; /* number → the asker's value */
        int64_t last;
} Ids;

typedef enum IdsFound {
        IDS_OPEN,
        IDS_LATE,    /* was open before */
        IDS_UNKNOWN, /* never was */
} IdsFound;

/* 0 with a fresh number, -ENOMEM. */
int ids_add(Ids *ids, void *value, int64_t *ret_id);
void *ids_remove(Ids *ids, int64_t id); /* NULL: not open */
/* Removes what an answer's id belongs to; *ret is written with IDS_OPEN alone. There are languages in which every number is
 * a floating one: 7.0 is 7. */
IdsFound ids_take(Ids *ids, const Json *id, void **ret);
void ids_done(Ids *ids); /* never the values */

/* The whole number under "id" in a line that can't be parsed, if that looks like an answer, so that whoever waits for it
 * need not do so for ever. */
bool ids_guess(const char *line, size_t n, int64_t *ret);
