/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One hash table for both kinds of key the project needs: strings (borrowed: the value must own its key) and
 * 64-bit numbers. Open addressing with linear probing and backward-shift deletion; the hash is seeded once a
 * process, so that a peer who chooses names can't choose collisions. A zeroed Map is an empty one. */

#include "base/macro.h"

typedef struct MapSlot {
        uint64_t hash; /* 0: free */
        uint64_t number;
        const char *string; /* weak; NULL for number keys */
        void *value;
} MapSlot;

typedef struct Map {
        MapSlot *slots;
        size_t n, cap; /* cap is 0 or a power of two */
} Map;

void map_clear(Map *m); /* frees the table, never the values */

/* 0, -EEXIST or -ENOMEM. `key` must stay valid while the entry is in the map. */
int map_put(Map *m, const char *key, void *value);
void *map_get(const Map *m, const char *key);
void *map_remove(Map *m, const char *key);

int map_put_u64(Map *m, uint64_t key, void *value);
void *map_get_u64(const Map *m, uint64_t key);
void *map_remove_u64(Map *m, uint64_t key);

/* Walks values in table order; the map must not change meanwhile. *pos starts at 0. NULL at the end. */
void *map_next(const Map *m, size_t *pos);
#define MAP_FOREACH(type, v, m)                                                                             \
        for (size_t v##_pos = 0, v##_once = 1; v##_once; v##_once = 0)                                      \
                for (type * v; (v = map_next((m), &v##_pos));)
