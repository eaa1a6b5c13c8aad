/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>

#include "wire/json-internal.h"
#include "wire/json.h"
#include "wire/scan.h"

/* Building values. Once memory has run out the rest of a description is still walked, because arguments handed
 * over with it must be released. */
typedef struct Packer {
        const char *f;
        va_list ap;
        int r;
} Packer;

static bool pack_value(Packer *p, Json **ret);

int json_set(Json *object, const char *key, Json *value)
{
        if (json_object_object_add(object, key, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

int json_append(Json *array, Json *value)
{
        if (json_object_array_add(array, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

/* Where the first invalid byte is; `end` when there is none. */
static const char *valid_until(const char *s, const char *end)
{
        while (s < end) {
                size_t n = scan_utf8(s, end);

                if (n == 0)
                        break;
                s += n;
        }
        return s;
}

/* What programs write to their stderr need not be UTF-8, but a line that isn't would be refused as a whole. */
static Json *new_repaired_string(const char *s, const char *end)
{
        static const char replacement[] = "\xef\xbf\xbd";
        _cleanup_free_ char *copy = NULL;
        char *out;

        if (end - s > INT_MAX / 3)
                return NULL;
        out = copy = malloc(3 * (size_t) (end - s));
        if (!copy)
                return NULL;
        while (s < end) {
                const char *bad = valid_until(s, end);

                out = mempcpy(out, s, (size_t) (bad - s));
                s = bad;
                if (s < end) {
                        out = mempcpy(out, replacement, 3);
                        s++;
                }
        }
        return json_object_new_string_len(copy, (int) (out - copy));
}

Json *json_new_string(const char *s, size_t n)
{
        if (n == SIZE_MAX)
                n = strlen(s);
        if (n > INT_MAX)
                return NULL;
        if (valid_until(s, s + n) != s + n)
                return new_repaired_string(s, s + n);
        return json_object_new_string_len(s, (int) n);
}

static Json *new_double(double value)
{
        char text[40];

        if (!isfinite(value))
                return NULL; /* JSON has no such number: null */
        /* The shortest of the two that means the same number, and none that a locale has spoilt. */
        snprintf(text, sizeof(text), "%.15g", value);
        if (strtod(text, NULL) != value || text[strspn(text, "0123456789+-.e")] ||
                        !text[strcspn(text, ".e")])
                return json_object_new_double(value);
        return json_object_new_double_s(value, text);
}

static void skip_decoration(Packer *p)
{
        while (*p->f == ' ' || *p->f == ',' || *p->f == ':' || *p->f == '\n')
                p->f++;
}

/* Keeps `value` or notes that there is none though there should be. */
static Json *made(Packer *p, Json *value)
{
        if (!value)
                p->r = -ENOMEM;
        return value;
}

static void pack_key(Packer *p, char *key, size_t size)
{
        size_t n = *p->f == '\'' ? strcspn(++p->f, "'") : strcspn(p->f, " ,:\n'{}[]");

        assert(n > 0 && n < size);
        memcpy(key, p->f, n);
        key[n] = 0;
        p->f += n;
        if (*p->f == '\'')
                p->f++;
}

static Json *pack_object(Packer *p)
{
        Json *object = made(p, json_object_new_object());

        for (skip_decoration(p); *p->f != '}'; skip_decoration(p)) {
                char key[64];
                Json *value = NULL;
                bool wanted;

                pack_key(p, key, sizeof(key));
                wanted = pack_value(p, &value);
                if (!object || !wanted)
                        json_object_put(value);
                else if (json_set(object, key, value) < 0)
                        p->r = -ENOMEM;
        }
        p->f++;
        return object;
}

static Json *pack_array(Packer *p)
{
        Json *array = made(p, json_object_new_array_ext(4));

        for (skip_decoration(p); *p->f != ']'; skip_decoration(p)) {
                Json *value = NULL;
                bool wanted = pack_value(p, &value);

                if (!array || !wanted)
                        json_object_put(value);
                else if (json_append(array, value) < 0)
                        p->r = -ENOMEM;
        }
        p->f++;
        return array;
}

static Json *pack_string(Packer *p, const char *s)
{
        return s ? made(p, json_new_string(s, SIZE_MAX)) : NULL;
}

static Json *pack_unsigned(Packer *p, uint64_t value)
{
        return made(p, json_object_new_int64((int64_t) MIN(value, (uint64_t) INT64_MAX)));
}

/* One value; false when its '?' says to leave it out. */
static bool pack_value(Packer *p, Json **ret)
{
        char c;

        skip_decoration(p);
        c = *p->f++;
        switch (c) {
        case '{':
                *ret = pack_object(p);
                break;
        case '[':
                *ret = pack_array(p);
                break;
        case 'n':
                *ret = NULL;
                break;
        case 'b':
                *ret = made(p, json_object_new_boolean(va_arg(p->ap, int) != 0));
                break;
        case 's':
                *ret = pack_string(p, va_arg(p->ap, const char *));
                break;
        case 'i':
                *ret = made(p, json_object_new_int64(va_arg(p->ap, int)));
                break;
        case 'I':
                *ret = made(p, json_object_new_int64(va_arg(p->ap, int64_t)));
                break;
        case 'U':
                *ret = pack_unsigned(p, va_arg(p->ap, uint64_t));
                break;
        case 'f':
                *ret = new_double(va_arg(p->ap, double));
                break;
        case 'o':
                *ret = va_arg(p->ap, Json *);
                break;
        case 'O':
                *ret = json_ref(va_arg(p->ap, Json *));
                break;
        default:
                assert(false);
        }
        if (*p->f != '?')
                return true;
        assert(c == 's' || c == 'o' || c == 'O');
        p->f++;
        return *ret != NULL;
}

int json_vpack(Json **ret, const char *format, va_list ap)
{
        Packer p = { .f = format };
        Json *value = NULL;

        va_copy(p.ap, ap);
        pack_value(&p, &value);
        va_end(p.ap);
        skip_decoration(&p);
        assert(!*p.f);
        if (p.r < 0) {
                json_object_put(value);
                return p.r;
        }
        *ret = value;
        return 0;
}

int json_pack(Json **ret, const char *format, ...)
{
        va_list ap;
        int r;

        va_start(ap, format);
        r = json_vpack(ret, format, ap);
        va_end(ap);
        return r;
}
