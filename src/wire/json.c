/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <math.h>

#include "wire/json-internal.h"
#include "wire/json.h"
#include "wire/scan.h"

/* json-c's own parser is not used: what it lets pass the scanner would have to refuse anyway, and building the
 * tree from a text known to be good takes a fraction of its time. */
typedef struct Builder {
        const char *p, *end;
        char *scratch; /* unescaped text, terminated */
        size_t scratch_size;
        const char *why;
        locale_t locale;
} Builder;

static int build_value(Builder *b, Json **ret);

static void skip_space(Builder *b)
{
        while (b->p < b->end && (*b->p == ' ' || *b->p == '\n' || *b->p == '\r' || *b->p == '\t'))
                b->p++;
}

static int hex_quad(const char *p)
{
        int value = 0;

        for (int i = 0; i < 4; i++) {
                char c = p[i];

                value = value << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
        }
        return value;
}

static char *put_utf8(char *out, unsigned code)
{
        if (code < 0x80) {
                *out++ = (char) code;
                return out;
        }
        if (code < 0x800) {
                *out++ = (char) (0xc0 | code >> 6);
        } else {
                if (code < 0x10000) {
                        *out++ = (char) (0xe0 | code >> 12);
                } else {
                        *out++ = (char) (0xf0 | code >> 18);
                        *out++ = (char) (0x80 | (code >> 12 & 0x3f));
                }
                *out++ = (char) (0x80 | (code >> 6 & 0x3f));
        }
        *out++ = (char) (0x80 | (code & 0x3f));
        return out;
}

/* *p at the character after a backslash; leaves it behind the escape. */
static char *put_escape(char *out, const char **p)
{
        static const char plain[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
        char c = *(*p)++;
        int code;

        if (c != 'u') {
                *out++ = means[strchr(plain, c) - plain];
                return out;
        }
        code = hex_quad(*p);
        *p += 4;
        if (code >= 0xd800 && code <= 0xdbff) {
                code = 0x10000 + ((code - 0xd800) << 10) + (hex_quad(*p + 2) - 0xdc00);
                *p += 6;
        }
        return put_utf8(out, (unsigned) code);
}

/* The closing quote of the string that starts here; *ret_escaped is whether anything before it is. */
static const char *find_quote(const char *start, const char *end, bool *ret_escaped)
{
        const char *stop = memchr(start, '"', (size_t) (end - start));

        *ret_escaped = memchr(start, '\\', (size_t) (stop - start)) != NULL;
        if (*ret_escaped)
                for (stop = start; *stop != '"';)
                        stop += *stop == '\\' ? 2 : 1;
        return stop;
}

/* At the opening quote; leaves p behind the closing one. The result is borrowed: from the text itself, or from
 * the scratch space when something is escaped. */
static int take_string(Builder *b, const char **ret, size_t *ret_n)
{
        const char *start = b->p + 1, *stop;
        bool escaped;
        char *out;

        stop = find_quote(start, b->end, &escaped);
        b->p = stop + 1;
        if (!escaped) {
                *ret = start;
                *ret_n = (size_t) (stop - start);
                return 0;
        }
        if (GROW(b->scratch, b->scratch_size, (size_t) (stop - start) + 1) < 0)
                return -ENOMEM;
        out = b->scratch;
        while (start < stop) {
                const char *plain = memchr(start, '\\', (size_t) (stop - start)) ?: stop;

                out = mempcpy(out, start, (size_t) (plain - start));
                start = plain;
                if (start < stop) {
                        start++;
                        out = put_escape(out, &start);
                }
        }
        *out = 0;
        *ret = b->scratch;
        *ret_n = (size_t) (out - b->scratch);
        return 0;
}

static int build_string(Builder *b, Json **ret)
{
        const char *s;
        size_t n;
        int r = take_string(b, &s, &n);

        if (r < 0)
                return r;
        *ret = json_object_new_string_len(s, (int) n);
        return *ret ? 0 : -ENOMEM;
}

static Json *build_integer(const char *p, const char *stop)
{
        bool negative = *p == '-';
        uint64_t value = 0;

        for (p += negative; p < stop; p++)
                value = value * 10 + (uint64_t) (*p - '0');
        return json_object_new_int64((int64_t) (negative ? 0 - value : value));
}

static int build_double(Builder *b, const char *start, size_t n, Json **ret)
{
        char buf[64];
        _cleanup_free_ char *heap = NULL;
        char *text = buf;
        double value;

        if (n >= sizeof(buf)) {
                text = heap = malloc(n + 1);
                if (!heap)
                        return -ENOMEM;
        }
        memcpy(text, start, n);
        text[n] = 0;
        value = strtod_l(text, NULL, b->locale);
        if (!isfinite(value)) {
                b->p = start;
                b->why = "number out of range";
                return -EBADMSG;
        }
        /* The text is kept, so that a number is echoed as it came; an absurdly long one is not worth it. */
        *ret = heap ? json_object_new_double(value) : json_object_new_double_s(value, text);
        return *ret ? 0 : -ENOMEM;
}

static int build_number(Builder *b, Json **ret)
{
        const char *start = b->p;
        bool integer = true;

        for (; b->p < b->end; b->p++) {
                char c = *b->p;

                if (c == '.' || c == 'e' || c == 'E')
                        integer = false;
                else if (!((c >= '0' && c <= '9') || c == '-' || c == '+'))
                        break;
        }
        if (!integer)
                return build_double(b, start, (size_t) (b->p - start), ret);
        *ret = build_integer(start, b->p);
        return *ret ? 0 : -ENOMEM;
}

/* The key as a constant, for those that are in nearly all messages: json-c need not keep a copy of it then. */
static const char *known_key(const char *key)
{
        static const char *const known[] = { "jsonrpc", "method", "params", "id", "value", "result", "$" };

        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if (*key == *known[i] && streq(key, known[i]))
                        return known[i];
        return NULL;
}

static int add_member(Json *object, const char *key, Json *value)
{
        const char *known = known_key(key);

        return json_object_object_add_ex(
                        object, known ?: key, value, known ? JSON_C_OBJECT_KEY_IS_CONSTANT : 0);
}

static int build_member(Builder *b, Json *object)
{
        const char *at = b->p, *key;
        int before = json_object_object_length(object), r;
        _cleanup_free_ char *copy = NULL;
        char small[64];
        Json *value = NULL;
        size_t n;

        r = take_string(b, &key, &n);
        if (r < 0)
                return r;
        /* The value's strings use the same scratch space. */
        if (n >= sizeof(small)) {
                copy = strndup(key, n);
                if (!copy)
                        return -ENOMEM;
                key = copy;
        } else {
                *(char *) mempcpy(small, key, n) = 0;
                key = small;
        }
        skip_space(b);
        b->p++;
        skip_space(b);
        r = build_value(b, &value);
        if (r < 0)
                return r;
        if (add_member(object, key, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        if (json_object_object_length(object) == before) {
                b->p = at;
                b->why = "duplicate key";
                return -EBADMSG;
        }
        return 0;
}

/* Behind the opening bracket of `container`; whether there is another element, at which it stands then. */
static bool more(Builder *b, bool *first)
{
        skip_space(b);
        if (*b->p == '}' || *b->p == ']') {
                b->p++;
                return false;
        }
        if (!*first) {
                b->p++;
                skip_space(b);
        }
        *first = false;
        return true;
}

static int build_object(Builder *b, Json **ret)
{
        _cleanup_json_ Json *object = json_object_new_object();
        bool first = true;

        if (!object)
                return -ENOMEM;
        b->p++;
        while (more(b, &first)) {
                int r = build_member(b, object);

                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(object);
        return 0;
}

static int build_array(Builder *b, Json **ret)
{
        _cleanup_json_ Json *array = json_object_new_array_ext(4);
        bool first = true;

        if (!array)
                return -ENOMEM;
        b->p++;
        while (more(b, &first)) {
                Json *value = NULL;
                int r = build_value(b, &value);

                if (r < 0)
                        return r;
                r = json_append(array, value);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(array);
        return 0;
}

static int build_value(Builder *b, Json **ret)
{
        switch (*b->p) {
        case '{':
                return build_object(b, ret);
        case '[':
                return build_array(b, ret);
        case '"':
                return build_string(b, ret);
        case 't':
        case 'f':
                *ret = json_object_new_boolean(*b->p == 't');
                b->p += *b->p == 't' ? 4 : 5;
                return *ret ? 0 : -ENOMEM;
        case 'n':
                *ret = NULL;
                b->p += 4;
                return 0;
        default:
                return build_number(b, ret);
        }
}

int json_parse(const char *text, size_t n, const JsonLimits *limits, Json **ret, JsonError *reterr)
{
        _cleanup_json_ Json *value = NULL;
        _cleanup_free_ char *scratch = NULL;
        Builder b = { .p = text, .end = text + n };
        JsonError error;
        int r;

        if (!reterr)
                reterr = &error;
        if (n > INT_MAX) {
                *reterr = (JsonError){ .message = "text too long" };
                return -EBADMSG;
        }
        r = scan_json(text, n, limits, reterr);
        if (r < 0)
                return r;
        /* glibc's "C" is static: nothing to free. */
        b.locale = newlocale(LC_ALL_MASK, "C", (locale_t) 0);
        if (!b.locale)
                return -ENOMEM;
        skip_space(&b);
        r = build_value(&b, &value);
        scratch = b.scratch;
        if (r == -EBADMSG)
                *reterr = (JsonError){ .offset = (size_t) (b.p - text), .message = b.why };
        if (r < 0)
                return r;
        *ret = TAKE_PTR(value);
        return 0;
}

void json_position(const char *text, size_t offset, unsigned *ret_line, unsigned *ret_column)
{
        unsigned line = 1, column = 1;

        for (size_t i = 0; i < offset; i++) {
                if (text[i] == '\n') {
                        line++;
                        column = 1;
                } else if (((unsigned char) text[i] & 0xc0) != 0x80)
                        column++;
        }
        *ret_line = line;
        *ret_column = column;
}

Json *json_ref(Json *v)
{
        return json_object_get(v);
}

Json *json_unref(Json *v)
{
        json_object_put(v);
        return NULL;
}

JsonType json_type(const Json *v)
{
        switch (json_object_get_type(v)) {
        case json_type_boolean:
                return JSON_BOOLEAN;
        case json_type_int:
                return JSON_INTEGER;
        case json_type_double:
                return JSON_DOUBLE;
        case json_type_string:
                return JSON_STRING;
        case json_type_array:
                return JSON_ARRAY;
        case json_type_object:
                return JSON_OBJECT;
        case json_type_null:
                break;
        }
        return JSON_NULL;
}

const char *json_type_name(JsonType t)
{
        static const char *const names[] = {
                [JSON_NULL] = "null",
                [JSON_BOOLEAN] = "boolean",
                [JSON_INTEGER] = "integer",
                [JSON_DOUBLE] = "number",
                [JSON_STRING] = "string",
                [JSON_ARRAY] = "array",
                [JSON_OBJECT] = "object",
        };

        return (size_t) t < ELEMENTSOF(names) ? names[t] : NULL;
}

bool json_boolean(const Json *v)
{
        return json_type(v) == JSON_BOOLEAN && json_object_get_boolean(v);
}

int64_t json_integer(const Json *v)
{
        return json_type(v) == JSON_INTEGER ? json_object_get_int64(v) : 0;
}

double json_double(const Json *v)
{
        JsonType t = json_type(v);

        return t == JSON_INTEGER || t == JSON_DOUBLE ? json_object_get_double(v) : 0;
}

const char *json_string(const Json *v)
{
        /* json-c's getter only caches for other types. */
        return json_type(v) == JSON_STRING ? json_object_get_string((Json *) v) : NULL;
}

size_t json_string_length(const Json *v)
{
        return json_type(v) == JSON_STRING ? (size_t) json_object_get_string_len(v) : 0;
}

size_t json_length(const Json *v)
{
        switch (json_type(v)) {
        case JSON_ARRAY:
                return json_object_array_length(v);
        case JSON_OBJECT:
                return (size_t) json_object_object_length(v);
        default:
                return 0;
        }
}

Json *json_item(const Json *array, size_t i)
{
        return json_type(array) == JSON_ARRAY ? json_object_array_get_idx(array, i) : NULL;
}

Json *json_get(const Json *object, const char *key)
{
        Json *value;

        if (json_type(object) != JSON_OBJECT || !json_object_object_get_ex(object, key, &value))
                return NULL;
        return value;
}

bool json_has(const Json *object, const char *key)
{
        return json_type(object) == JSON_OBJECT && json_object_object_get_ex(object, key, NULL);
}

bool json_next(const Json *object, JsonIterator *i)
{
        struct lh_entry *entry = i->entry;

        if (json_type(object) != JSON_OBJECT)
                return false;
        entry = entry ? lh_entry_next(entry) : lh_table_head(json_object_get_object(object));
        *i = (JsonIterator){ .entry = entry };
        if (!entry)
                return false;
        i->key = lh_entry_k(entry);
        i->value = lh_entry_v(entry);
        return true;
}

bool json_equal(const Json *a, const Json *b)
{
        return json_object_equal((Json *) a, (Json *) b);
}

const char *json_get_string(const Json *object, const char *key, const char *otherwise)
{
        const Json *v = json_get(object, key);
        const char *s = json_string(v);

        /* With a NUL inside, what a C string shows is not what was sent. */
        return s && strlen(s) == json_string_length(v) ? s : otherwise;
}

int64_t json_get_integer(const Json *object, const char *key, int64_t otherwise)
{
        const Json *v = json_get(object, key);

        return json_type(v) == JSON_INTEGER ? json_integer(v) : otherwise;
}

bool json_get_boolean(const Json *object, const char *key, bool otherwise)
{
        const Json *v = json_get(object, key);

        return json_type(v) == JSON_BOOLEAN ? json_boolean(v) : otherwise;
}
