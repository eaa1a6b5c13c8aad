/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "wire/json-internal.h"
#include "wire/json.h"
#include "wire/scan.h"

/* Compact text. json-c's own printer leaves a hole in the text where memory runs out and says nothing; the line
 * would be refused by the peer, and the call behind it would wait for ever. */

/* Most lines are no longer. */
#define TEXT_MIN 256U

static void put(JsonText *p, const char *s, size_t n)
{
        if (p->failed || GROW(p->text, p->size, MAX(p->n + n + 1, TEXT_MIN)) < 0) {
                p->failed = true;
                return;
        }
        memcpy(p->text + p->n, s, n);
        p->n += n;
}

void json_text_put(JsonText *p, const char *s)
{
        put(p, s, strlen(s));
}

static void put_char(JsonText *p, char c)
{
        put(p, &c, 1);
}

static void put_escape(JsonText *p, char c)
{
        static const char named[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
        const char *at = c ? strchr(named, c) : NULL;
        char text[8];

        if (at)
                snprintf(text, sizeof(text), "\\%c", letters[at - named]);
        else
                snprintf(text, sizeof(text), "\\u%04x", (unsigned) (unsigned char) c);
        put(p, text, strlen(text));
}

static void print_string(JsonText *p, const char *s, size_t n)
{
        const char *end = s + n;

        put_char(p, '"');
        while (s < end) {
                const char *plain = s;
                size_t k = 1;

                while (plain < end && (unsigned char) *plain >= 0x20 && *plain != '"' && *plain != '\\') {
                        if ((unsigned char) *plain >= 0x80) {
                                k = scan_utf8(plain, end);
                                p->unfit |= k == 0;
                        }
                        plain += MAX(k, 1U);
                        k = 1;
                }
                put(p, s, (size_t) (plain - s));
                if (plain < end)
                        put_escape(p, *plain++);
                s = plain;
        }
        put_char(p, '"');
}

static void print_integer(JsonText *p, const Json *v)
{
        char text[24];
        int n = snprintf(text, sizeof(text), "%" PRIi64, json_integer(v));

        put(p, text, (size_t) n);
}

/* The text it came with, which json-c keeps, or one that it makes. */
static void print_double(JsonText *p, Json *v)
{
        size_t n = 0;
        const char *text = isfinite(json_double(v))
                                           ? json_object_to_json_string_length(v, JSON_C_TO_STRING_PLAIN, &n)
                                           : "null";

        if (!text || !*text)
                p->failed = true;
        else
                put(p, text, strlen(text));
}

static void print_array(JsonText *p, const Json *v)
{
        put_char(p, '[');
        for (size_t i = 0; i < json_length(v); i++) {
                if (i > 0)
                        put_char(p, ',');
                json_text_value(p, json_item(v, i));
        }
        put_char(p, ']');
}

static void print_object(JsonText *p, const Json *v)
{
        bool first = true;

        put_char(p, '{');
        for (JsonIterator i = { 0 }; json_next(v, &i);) {
                if (!first)
                        put_char(p, ',');
                first = false;
                print_string(p, i.key, strlen(i.key));
                put_char(p, ':');
                json_text_value(p, i.value);
        }
        put_char(p, '}');
}

static void print_container(JsonText *p, Json *v)
{
        p->unfit |= p->depth >= SCAN_DEPTH_DEFAULT;
        if (p->depth >= SCAN_DEPTH_LIMIT) {
                p->failed = true;
                return;
        }
        p->depth++;
        if (json_type(v) == JSON_ARRAY)
                print_array(p, v);
        else
                print_object(p, v);
        p->depth--;
}

void json_text_value(JsonText *p, Json *v)
{
        p->unfit |= ++p->n_values > SCAN_VALUES_DEFAULT;
        switch (json_type(v)) {
        case JSON_NULL:
                put(p, "null", 4);
                break;
        case JSON_BOOLEAN:
                put(p, json_boolean(v) ? "true" : "false", json_boolean(v) ? 4 : 5);
                break;
        case JSON_INTEGER:
                print_integer(p, v);
                break;
        case JSON_DOUBLE:
                print_double(p, v);
                break;
        case JSON_STRING:
                print_string(p, json_string(v), json_string_length(v));
                break;
        case JSON_ARRAY:
        case JSON_OBJECT:
                print_container(p, v);
                break;
        }
}

static const char *print(Json *v, bool line, size_t *ret_n)
{
        JsonText p = { 0 };

        json_text_value(&p, v);
        if (p.failed || (line && p.unfit)) {
                free(p.text);
                errno = p.unfit ? EBADMSG : ENOMEM;
                return NULL;
        }
        p.text[p.n] = 0;
        if (ret_n)
                *ret_n = p.n;
        switch (json_type(v)) {
        case JSON_NULL:
                free(p.text);
                return "null";
        case JSON_DOUBLE:
                /* Its user data is the number's own text. */
                free(p.text);
                return json_object_to_json_string_ext(v, JSON_C_TO_STRING_PLAIN);
        default:
                json_object_set_userdata(v, p.text, json_object_free_userdata);
                return p.text;
        }
}

const char *json_print(Json *v, size_t *ret_n)
{
        return print(v, false, ret_n);
}

const char *json_print_line(Json *v, size_t *ret_n)
{
        return print(v, true, ret_n);
}

char *json_print_pretty(Json *v)
{
        const int flags = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE;
        const char *s = v ? json_object_to_json_string_ext(v, flags) : "null";

        return s ? strdup(s) : NULL;
}
