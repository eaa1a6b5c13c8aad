/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The one place that knows json-c. A Json is a reference-counted value (json-c's own struct, opaque here).
 * Parsing is strict RFC 8259: scan.c bounds depth and value count and refuses what json-c lets pass before
 * json-c sees a byte; duplicate keys are found while the tree is built, by an object that does not grow.
 * Integers up to int64 are exact; strings may hold NUL (use json_string_length), keys may not. */

#include <stdarg.h>

#include "base/macro.h"

typedef struct json_object Json;

typedef enum JsonType {
        JSON_NULL,
        JSON_BOOLEAN,
        JSON_INTEGER,
        JSON_DOUBLE,
        JSON_STRING,
        JSON_ARRAY,
        JSON_OBJECT,
} JsonType;

typedef struct JsonLimits {
        unsigned max_depth;  /* 0: 64 */
        unsigned max_values; /* 0: 65 536; every value counts one, containers included */
} JsonLimits;

/* Where and why a text was refused. `message` is a constant. */
typedef struct JsonError {
        size_t offset; /* bytes from the start */
        const char *message;
} JsonError;

/* Parses exactly one value with optional white space around; a depth above 256 is taken as 256. A number keeps the
 * text it came with, -0 is the integer 0. 0, -EBADMSG (see *reterr, may be NULL) or -ENOMEM. */
int json_parse(const char *text, size_t n, const JsonLimits *limits, Json **ret, JsonError *reterr);
/* Line and column (from 1) of an offset, for errors about files. */
void json_position(const char *text, size_t offset, unsigned *ret_line, unsigned *ret_column);

Json *json_ref(Json *v);
Json *json_unref(Json *v); /* returns NULL */
DEFINE_CLEANUP(Json *, json_unref);
#define _cleanup_json_ _cleanup_(json_unrefp)

JsonType json_type(const Json *v); /* NULL is JSON_NULL */
const char *json_type_name(JsonType t);
bool json_boolean(const Json *v);
int64_t json_integer(const Json *v);
double json_double(const Json *v);      /* integers too */
const char *json_string(const Json *v); /* NULL unless a string */
size_t json_string_length(const Json *v);
size_t json_length(const Json *v);                   /* of an array or object, else 0 */
Json *json_item(const Json *array, size_t i);        /* borrowed */
Json *json_get(const Json *object, const char *key); /* borrowed; NULL when absent, not an object, or null */
bool json_has(const Json *object, const char *key);
/* Walks members in order: `JsonIterator i = { 0 }; while (json_next(o, &i)) use(i.key, i.value);` */
typedef struct JsonIterator {
        const char *key; /* weak */
        Json *value;     /* borrowed; NULL is null */
        void *entry;
} JsonIterator;
bool json_next(const Json *object, JsonIterator *i);
bool json_equal(const Json *a, const Json *b);

/* Convenience for members: the default when absent or of another type; a string that holds a NUL counts as of
 * another type, because a C string would show something else than what was sent. */
const char *json_get_string(const Json *object, const char *key, const char *otherwise);
int64_t json_get_integer(const Json *object, const char *key, int64_t otherwise);
bool json_get_boolean(const Json *object, const char *key, bool otherwise);

/* Builds a value from a description; white space, ',' and ':' between items are decoration.
 *   {  }  object: string keys in single quotes or bare words: "{jsonrpc:s, id:i}"
 *   [  ]  array          n  null          b  int as boolean
 *   s  const char * (NULL: null)          s?  const char * (NULL: the member is left out)
 *   i  int      I  int64_t      U  uint64_t (above INT64_MAX: saturates)
 *   f  double (not finite: null)
 *   o  Json *, ownership taken, on failure too (NULL: null)      o?  same (NULL: the member is left out)
 *   O  Json *, a new reference is taken (NULL: null)             O?  same (NULL: left out)
 * 0 or -ENOMEM; a description that is wrong is a bug and asserts. */
int json_pack(Json **ret, const char *format, ...);
int json_vpack(Json **ret, const char *format, va_list ap);
/* Takes `value` on failure too. Setting replaces. */
int json_set(Json *object, const char *key, Json *value);
int json_append(Json *array, Json *value);
/* NULL when out of memory; n may be SIZE_MAX for strlen. Bytes that are no UTF-8 become U+FFFD. */
Json *json_new_string(const char *s, size_t n);

/* Serialises compactly, no newline; the text lives until the next call on the same value or its end. NULL when out of
 * memory, never a part. (It is kept as the value's user data, of which nothing else here makes use.) */
const char *json_print(Json *v, size_t *ret_n);
/* What a peer would refuse to read (strings that are no UTF-8, too deep, too many values) is not printed: NULL with errno
 * EBADMSG, else ENOMEM. Sent all the same, it would be a message that nobody ever answers. */
const char *json_print_line(Json *v, size_t *ret_n);
/* The same, piece by piece: `text` is its owner's to free, and without a terminator; nothing of it holds once it has failed. */
typedef struct JsonText {
        char *text;
        size_t n, size, n_values;
        unsigned depth;     /* of what it is written into, at first */
        bool failed, unfit; /* out of memory; for a line, as json_print_line() has it */
} JsonText;
void json_text_put(JsonText *t, const char *s); /* as it is */
void json_text_value(JsonText *t, Json *v);
/* Indented by two, for people; the caller frees. */
char *json_print_pretty(Json *v);
