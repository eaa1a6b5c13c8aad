/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>

#include "stdio/ids.h"

#define DIGITS_MAX 18

int ids_add(Ids *ids, void *value, int64_t *ret_id)
{
        int r = map_put_u64(&ids->open, (uint64_t) ids->last + 1, value);

        if (r < 0)
                return r;
        *ret_id = ++ids->last;
        return 0;
}

void *ids_remove(Ids *ids, int64_t id)
{
        return map_remove_u64(&ids->open, (uint64_t) id);
}

static bool whole_number(const Json *v, int64_t *ret)
{
        double d = json_double(v);

        if (json_type(v) == JSON_INTEGER) {
                *ret = json_integer(v);
                return true;
        }
        if (json_type(v) != JSON_DOUBLE || !(d >= 1 && d <= 0x1p53) || (double) (int64_t) d != d)
                return false;
        *ret = (int64_t) d;
        return true;
}

IdsFound ids_take(Ids *ids, const Json *id, void **ret)
{
        void *value;
        int64_t i;

        if (!whole_number(id, &i) || i <= 0 || i > ids->last)
                return IDS_UNKNOWN;
        value = ids_remove(ids, i);
        if (!value)
                return IDS_LATE;
        *ret = value;
        return IDS_OPEN;
}

void ids_done(Ids *ids)
{
        map_clear(&ids->open);
}

/* --- a line that is no JSON --- */

static const char *skip_space(const char *p, const char *end)
{
        while (p < end && isspace((unsigned char) *p))
                p++;
        return p;
}

/* Past the closing quote of the string whose opening one is before p. */
static const char *skip_string(const char *p, const char *end)
{
        for (; p < end && *p != '"'; p++)
                if (*p == '\\' && p + 1 < end)
                        p++;
        return p < end ? p + 1 : end;
}

static bool number_at(const char *p, const char *end, int64_t *ret)
{
        const char *start = p;
        int64_t i = 0;

        for (; p < end && isdigit((unsigned char) *p); p++) {
                if (p - start >= DIGITS_MAX)
                        return false;
                i = i * 10 + (*p - '0');
        }
        *ret = i;
        return p > start && (p == end || !strchr(".eE", *p));
}

static bool is(const char *p, size_t n, const char *key)
{
        return n == strlen(key) && memcmp(p, key, n) == 0;
}

/* `p` is at a string of the outermost object. Where it ends; a key's meaning is noted. */
static const char *look_at_string(const char *p, const char *end, bool *found, bool *is_call, int64_t *id)
{
        const char *after = skip_string(p + 1, end), *colon = skip_space(after, end);
        size_t n = (size_t) (after - p) - (after > p + 1 ? 2 : 1);

        if (colon == end || *colon != ':')
                return after;
        if (is(p + 1, n, "method"))
                *is_call = true;
        else if (is(p + 1, n, "id"))
                *found = number_at(skip_space(colon + 1, end), end, id);
        return colon;
}

bool ids_guess(const char *line, size_t n, int64_t *ret)
{
        const char *end = line + n, *p = skip_space(line, end);
        bool found = false, is_call = false;
        int64_t id = 0;
        size_t depth = 0;

        if (p == end || *p != '{')
                return false;
        while (p < end) {
                if (*p == '"') {
                        p = depth == 1 ? look_at_string(p, end, &found, &is_call, &id)
                                       : skip_string(p + 1, end);
                        continue;
                }
                if (*p == '{' || *p == '[')
                        depth++;
                else if ((*p == '}' || *p == ']') && depth > 0)
                        depth--;
                p++;
        }
        if (!found || is_call)
                return false;
        *ret = id;
        return true;
}
