/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "supervisor/unit-name.h"

#define SUFFIX ".slice"
#define SUFFIX_LEN (sizeof(SUFFIX) - 1)
#define HASH_SHORT 3
#define HASH_LONG 7
/* Room for "-4294967295.scope". */
#define SCOPE_TAIL_MAX 17

static uint64_t hash(const char *s, unsigned salt)
{
        uint64_t h = 0xcbf29ce484222325ULL ^ salt;

        for (; *s; s++)
                h = (h ^ (unsigned char) *s) * 0x100000001b3ULL;
        /* FNV's upper bits know little of the last characters. */
        h ^= h >> 32;
        h *= 0xd6e8feb86659fd93ULL;
        return h ^ (h >> 32);
}

int unit_name_instance(const char *instance, char **ret)
{
        *ret = xasprintf("tractor-%s" SUFFIX, instance);
        return *ret ? 0 : -ENOMEM;
}

/* '-' separates levels, so inside of a name it is escaped as systemd does; node names hold nothing else to escape. */
static size_t escape(const char *name, char *buf, size_t size)
{
        size_t n = 0;

        for (; *name && n + 5 < size; name++) {
                if (isalnum((unsigned char) *name) || *name == '_' || *name == '.')
                        buf[n++] = *name;
                else
                        n += (size_t) snprintf(buf + n, size - n, "\\x%02x", (unsigned char) *name);
        }
        buf[n] = 0;
        return n;
}

/* The component as a reader knows it. */
static void component_plain(const char *name, char ret[static UNIT_COMPONENT_MAX + 1])
{
        char escaped[512];
        size_t n = escape(name, escaped, sizeof(escaped)), cut = 12;

        if (n <= UNIT_COMPONENT_MAX) {
                memcpy(ret, escaped, n + 1);
                return;
        }
        for (size_t back = 1; back <= 3; back++)
                if (escaped[cut - back] == '\\') {
                        cut -= back; /* never half an escape */
                        break;
                }
        memcpy(ret, escaped, cut);
        snprintf(ret + cut, UNIT_COMPONENT_MAX + 1 - cut, "_%08" PRIx32, (uint32_t) hash(name, 0));
}

static void component_hash(const char *name, unsigned salt, size_t digits, char *ret)
{
        static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
        uint64_t h = hash(name, salt);

        for (size_t i = 0; i < digits; i++)
                ret[i] = digits == HASH_SHORT ? letters[(h >> (5 * i)) % 32]
                                              : "0123456789abcdef"[(h >> (4 * i)) % 16];
        ret[digits] = 0;
}

static size_t cgroup_length(const char *prefix, size_t n)
{
        size_t total = 0;

        for (size_t i = 0; i <= n; i++)
                if (i == n || prefix[i] == '-')
                        total += 1 + i + SUFFIX_LEN;
        return total;
}

/* May a name of n bytes (without suffix), whose cgroup path is `path` bytes long, stand at this depth? All levels
 * below it up to UNIT_LEVELS must still find a component of HASH_SHORT. */
static bool leaves_room(size_t n, size_t path, unsigned depth)
{
        size_t below = depth < UNIT_LEVELS ? UNIT_LEVELS - depth : 0, step = HASH_SHORT + 1;

        return n + below * step + SUFFIX_LEN <= UNIT_NAME_MAX &&
               path + below * (1 + n + SUFFIX_LEN) + step * below * (below + 1) / 2 <= UNIT_PATH_MAX;
}

int unit_name_slice(const char *parent, unsigned depth, const char *name, unsigned salt, char **ret)
{
        size_t n = strlen(parent) - SUFFIX_LEN, path = cgroup_length(parent, n);
        char component[UNIT_COMPONENT_MAX + 1];

        for (int form = salt == 0 ? 0 : 1; form < 3; form++) {
                size_t length;

                if (form == 0)
                        component_plain(name, component);
                else
                        component_hash(name, salt, form == 1 ? HASH_LONG : HASH_SHORT, component);
                length = n + 1 + strlen(component);
                if (!leaves_room(length, path + 1 + length + SUFFIX_LEN, depth))
                        continue;
                *ret = xasprintf("%.*s-%s" SUFFIX, (int) n, parent, component);
                return *ret ? 0 : -ENOMEM;
        }
        return -ENAMETOOLONG;
}

/* A scope's place is told apart from its name, so a long one gives way to a hash after the instance's part. */
int unit_name_scope(const char *slice, uint32_t generation, char **ret)
{
        size_t n = strlen(slice) - SUFFIX_LEN, instance = 0;
        const char *dash;

        if (n + SCOPE_TAIL_MAX <= UNIT_NAME_MAX && cgroup_length(slice, n) + n <= UNIT_PATH_MAX) {
                *ret = xasprintf("%.*s-%" PRIu32 ".scope", (int) n, slice, generation);
                return *ret ? 0 : -ENOMEM;
        }
        dash = strchr(slice, '-');
        dash = dash ? strchr(dash + 1, '-') : NULL;
        instance = dash ? (size_t) (dash - slice) : n;
        *ret = xasprintf("%.*s-%016" PRIx64 "-%" PRIu32 ".scope", (int) instance, slice, hash(slice, 0),
                        generation);
        return *ret ? 0 : -ENOMEM;
}

int unit_name_cgroup(const char *slice, char **ret)
{
        size_t n = strlen(slice) - SUFFIX_LEN, at = 0;
        char *path = malloc(cgroup_length(slice, n) + 1);

        if (!path)
                return -ENOMEM;
        for (size_t i = 0; i <= n; i++) {
                if (i < n && slice[i] != '-')
                        continue;
                path[at++] = '/';
                memcpy(path + at, slice, i);
                memcpy(path + at + i, SUFFIX, SUFFIX_LEN);
                at += i + SUFFIX_LEN;
        }
        path[at] = 0;
        *ret = path;
        return 0;
}
