/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/random.h>

#include "base/map.h"

static uint64_t seed(void)
{
        static uint64_t s;

        if (s == 0) {
                if (getrandom(&s, sizeof(s), GRND_NONBLOCK) != sizeof(s))
                        s = (uintptr_t) &s; /* early boot: address layout is all the secret there is */
                s |= 1;
        }
        return s;
}

static uint64_t mix(uint64_t x)
{
        x ^= x >> 32;
        x *= 0xd6e8feb86659fd93ULL;
        x ^= x >> 32;
        x *= 0xd6e8feb86659fd93ULL;
        x ^= x >> 32;
        return x;
}

static uint64_t hash_number(uint64_t key)
{
        return mix(key ^ seed()) | 1;
}

static uint64_t hash_string(const char *key)
{
        uint64_t h = seed();

        for (; *key; key++)
                h = mix(h ^ (unsigned char) *key) + 0x9e3779b97f4a7c15ULL;
        return h | 1;
}

static bool slot_is(const MapSlot *s, uint64_t hash, const char *string, uint64_t number)
{
        if (s->hash != hash)
                return false;
        if (string)
                return s->string && streq(s->string, string);
        return !s->string && s->number == number;
}

static MapSlot *find(const Map *m, uint64_t hash, const char *string, uint64_t number)
{
        if (m->cap == 0)
                return NULL;
        for (size_t i = hash & (m->cap - 1); m->slots[i].hash; i = (i + 1) & (m->cap - 1))
                if (slot_is(&m->slots[i], hash, string, number))
                        return &m->slots[i];
        return NULL;
}

static void place(Map *m, MapSlot slot)
{
        size_t i = slot.hash & (m->cap - 1);

        while (m->slots[i].hash)
                i = (i + 1) & (m->cap - 1);
        m->slots[i] = slot;
}

static int reserve(Map *m)
{
        Map old = *m;

        if (m->n + 1 <= m->cap / 4 * 3)
                return 0;
        m->cap = MAX(old.cap * 2, (size_t) 8);
        m->slots = calloc(m->cap, sizeof(MapSlot));
        if (!m->slots) {
                *m = old;
                return -ENOMEM;
        }
        for (size_t i = 0; i < old.cap; i++)
                if (old.slots[i].hash)
                        place(m, old.slots[i]);
        free(old.slots);
        return 0;
}

static int put(Map *m, MapSlot slot)
{
        int r;

        if (find(m, slot.hash, slot.string, slot.number))
                return -EEXIST;
        r = reserve(m);
        if (r < 0)
                return r;
        place(m, slot);
        m->n++;
        return 0;
}

static void *take(Map *m, MapSlot *s)
{
        void *value;
        size_t hole, i, mask = m->cap - 1;

        if (!s)
                return NULL;
        value = s->value;
        hole = (size_t) (s - m->slots);
        for (i = (hole + 1) & mask; m->slots[i].hash; i = (i + 1) & mask) {
                size_t home = m->slots[i].hash & mask;

                if (((i - home) & mask) < ((i - hole) & mask))
                        continue;
                m->slots[hole] = m->slots[i];
                hole = i;
        }
        m->slots[hole] = (MapSlot){ 0 };
        m->n--;
        return value;
}

void map_clear(Map *m)
{
        free(m->slots);
        *m = (Map){ 0 };
}

int map_put(Map *m, const char *key, void *value)
{
        return put(m, (MapSlot){ .hash = hash_string(key), .string = key, .value = value });
}

void *map_get(const Map *m, const char *key)
{
        MapSlot *s = find(m, hash_string(key), key, 0);

        return s ? s->value : NULL;
}

void *map_remove(Map *m, const char *key)
{
        return take(m, find(m, hash_string(key), key, 0));
}

int map_put_u64(Map *m, uint64_t key, void *value)
{
        return put(m, (MapSlot){ .hash = hash_number(key), .number = key, .value = value });
}

void *map_get_u64(const Map *m, uint64_t key)
{
        MapSlot *s = find(m, hash_number(key), NULL, key);

        return s ? s->value : NULL;
}

void *map_remove_u64(Map *m, uint64_t key)
{
        return take(m, find(m, hash_number(key), NULL, key));
}

void *map_next(const Map *m, size_t *pos)
{
        while (*pos < m->cap) {
                MapSlot *s = &m->slots[(*pos)++];

                if (s->hash)
                        return s->value;
        }
        return NULL;
}
