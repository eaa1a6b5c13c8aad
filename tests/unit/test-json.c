/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>

#include "test.h"
#include "wire/json.h"
#include "wire/scan.h"

#define T(text) text, sizeof(text) - 1

static Json *parse(const char *text)
{
        JsonError e;
        Json *v = NULL;
        int r = json_parse(text, strlen(text), NULL, &v, &e);

        if (r < 0) {
                fprintf(stderr, "%s: %s at %zu\n", text, e.message, e.offset);
                abort();
        }
        return v;
}

static void refused(const char *text, size_t n, size_t offset, const char *message)
{
        Json *v = (Json *) 1;
        JsonError e = { 0 };

        CHECK_EQ(json_parse(text, n, NULL, &v, &e), -EBADMSG);
        CHECK(v == (Json *) 1);
        CHECK_STR(e.message, message);
        CHECK_EQ(e.offset, offset);
        CHECK_EQ(json_parse(text, n, NULL, &v, NULL), -EBADMSG);
}

/* What is parsed and printed again is the same text. */
static void round_trips(void)
{
        static const char *const texts[] = {
                "null",
                "true",
                "0",
                "-1",
                "9223372036854775807",
                "-9223372036854775808",
                "9007199254740993",
                "1.10",
                "1E5",
                "-0.0",
                "\"\"",
                "\"a/b \xf0\x9f\x98\x80 \\\" \\\\ \\n\"",
                "\"a\\u0000b\"",
                "\"\\u0001\\u001f\\b\\f\\r\\t\x7f\"",
                "[]",
                "{}",
                "[1,[2,[3]],{\"a\":[]},null,false]",
                "{\"b\":1,\"a\":2,\"\":3,\"\\\"\":4}",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_json_ Json *v = parse(texts[i]);
                size_t n = 0;

                CHECK_STR(json_print(v, &n), texts[i]);
                CHECK_EQ(n, strlen(texts[i]));
        }
}

static void escapes(void)
{
        _cleanup_json_ Json *v = parse("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"");
        _cleanup_json_ Json *o = parse("{\"\\u0061\\n\":{\"k\":\"v\\t\"}}");

        CHECK_STR(json_string(v), "\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
        CHECK_STR(json_get_string(json_get(o, "a\n"), "k", NULL), "v\t");
}

static void long_keys(void)
{
        char text[400];
        _cleanup_json_ Json *o = NULL;

        memset(text, 'k', sizeof(text));
        memcpy(text, "{\"", 2);
        memcpy(text + 300, "\":\"a\\nvalue\"}", sizeof("\":\"a\\nvalue\"}"));
        o = parse(text);
        text[300] = 0;
        CHECK_STR(json_get_string(o, text + 2, NULL), "a\nvalue");
}

static void numbers(void)
{
        _cleanup_json_ Json *v = parse("[-0,1.0,1e2,-2.5,9223372036854775807]");
        char many[202];

        CHECK_EQ(json_type(json_item(v, 0)), JSON_INTEGER);
        CHECK_EQ(json_integer(json_item(v, 0)), 0);
        CHECK_EQ(json_type(json_item(v, 1)), JSON_DOUBLE);
        CHECK_EQ(json_integer(json_item(v, 1)), 0);
        CHECK(json_double(json_item(v, 2)) > 99.9 && json_double(json_item(v, 2)) < 100.1);
        CHECK(json_double(json_item(v, 3)) < -2.4);
        CHECK_EQ(json_integer(json_item(v, 4)), INT64_MAX);
        refused(T("[1,1e400]"), 3, "number out of range");
        refused(T("-1e999999999"), 0, "number out of range");
        refused(T("9223372036854775808"), 0, "integer beyond 64 bits");

        memset(many, '3', sizeof(many) - 1);
        many[1] = '.';
        many[sizeof(many) - 1] = 0;
        json_unref(v);
        v = parse(many);
        CHECK(fabs(json_double(v) - 10.0 / 3) < 1e-9);
}

static void duplicate_keys(void)
{
        refused(T("{\"a\":1,\"b\":2,\"a\":3}"), 13, "duplicate key");
        refused(T("{\"a\":1,\"\\u0061\":3}"), 7, "duplicate key");
        refused(T("[{\"a\":{\"x\":1,\"x\":1}}]"), 13, "duplicate key");
        refused(T("{\"\":1,\"\":1}"), 6, "duplicate key");
        refused(T("{\"a\":null,\"a\":null}"), 10, "duplicate key");
        json_unref(parse("{\"a\":{\"a\":{\"a\":1}}}"));
}

/* What json-c would have let pass (acceptance: hostile input). */
static void hostile(void)
{
        refused(T("NaN"), 0, "unexpected character");
        refused(T("\"\xc0\xaf\""), 1, "invalid UTF-8");
        refused(T("\"\xed\xa0\x80\""), 1, "invalid UTF-8");
        refused(T("\"\\ud800\""), 7, "lone surrogate");
        refused(T("\"a\nb\""), 2, "control character in a string");
        refused(T("{\"a\\u0000b\":1}"), 5, "NUL in a key");
        refused(T("{\"a\":1}{\"b\":1}"), 7, "text after the value");
        refused(T("18446744073709551616"), 0, "integer beyond 64 bits");
}

static void accessors(void)
{
        _cleanup_json_ Json *o =
                        parse("{\"s\":\"x\",\"i\":7,\"b\":true,\"n\":null,\"z\":\"a\\u0000b\",\"d\":1.5}");

        CHECK_EQ(json_length(o), 6);
        CHECK(json_has(o, "n") && !json_get(o, "n") && !json_has(o, "m"));
        CHECK_STR(json_get_string(o, "s", "d"), "x");
        CHECK_STR(json_get_string(o, "i", "d"), "d");
        CHECK_STR(json_get_string(o, "n", "d"), "d");
        CHECK_STR(json_get_string(o, "z", "d"), "d");
        CHECK_EQ(json_string_length(json_get(o, "z")), 3);
        CHECK_EQ(json_get_integer(o, "i", -1), 7);
        CHECK_EQ(json_get_integer(o, "d", -1), -1);
        CHECK_EQ(json_get_integer(o, "s", -1), -1);
        CHECK_EQ(json_get_boolean(o, "b", false), true);
        CHECK_EQ(json_get_boolean(o, "i", false), false);
        CHECK(json_get(NULL, "a") == NULL && json_get(json_get(o, "s"), "a") == NULL);
        CHECK(json_item(o, 0) == NULL && json_string(o) == NULL && !json_boolean(NULL));
        CHECK_EQ(json_type(NULL), JSON_NULL);
        CHECK_STR(json_type_name(json_type(o)), "object");
}

static void iterates_in_order(void)
{
        _cleanup_json_ Json *o = parse("{\"z\":1,\"a\":null,\"m\":3}");
        JsonIterator i = { 0 };

        CHECK(json_next(o, &i));
        CHECK_STR(i.key, "z");
        CHECK_EQ(json_integer(i.value), 1);
        CHECK(json_next(o, &i));
        CHECK_STR(i.key, "a");
        CHECK(i.value == NULL);
        CHECK(json_next(o, &i));
        CHECK_STR(i.key, "m");
        CHECK(!json_next(o, &i));
        i = (JsonIterator){ 0 };
        CHECK(!json_next(NULL, &i));
}

static void packs(void)
{
        _cleanup_json_ Json *v = NULL, *shared = parse("[1]");
        Json *given = parse("{}");

        CHECK_EQ(json_pack(&v, "{a:s, 'b c':i, d:[I,U,f,f,n,b], e:s?, s:s?, g:o, h:O, k:o?, l:s, m:f}", "x",
                                 -3, INT64_MIN, UINT64_MAX, 0.1, 2.0, 1, NULL, "y", given, shared, NULL,
                                 NULL, NAN),
                        0);
        CHECK_STR(json_print(v, NULL),
                        "{\"a\":\"x\",\"b "
                        "c\":-3,\"d\":[-9223372036854775808,9223372036854775807,0.1,2.0,null,true],"
                        "\"s\":\"y\",\"g\":{},\"h\":[1],\"l\":null,\"m\":null}");
        CHECK(json_item(shared, 0));
}

static void replaces(void)
{
        _cleanup_json_ Json *o = parse("{\"a\":1}");

        CHECK_EQ(json_set(o, "a", json_new_string("two", SIZE_MAX)), 0);
        CHECK_EQ(json_set(o, "b", NULL), 0);
        CHECK_STR(json_print(o, NULL), "{\"a\":\"two\",\"b\":null}");
}

/* Output of other programs need not be UTF-8; our lines must be. */
static void repairs_strings(void)
{
        static const struct {
                const char *text;
                size_t n;
                const char *shown;
        } rows[] = {
                { T("plain"), "plain" },
                { T("\xff"), "\xef\xbf\xbd" },
                { T("a\xc0\x80z"), "a\xef\xbf\xbd\xef\xbf\xbdz" },
                { T("\xe2\x82"), "\xef\xbf\xbd\xef\xbf\xbd" },
                { T("ok \xe2\x82\xac \xed\xa0\x80"),
                                "ok \xe2\x82\xac \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_json_ Json *v = json_new_string(rows[i].text, rows[i].n), *again = NULL;

                CHECK_STR(json_string(v), rows[i].shown);
                again = parse(json_print(v, NULL));
                CHECK(json_equal(v, again));
        }
}

static void positions(void)
{
        unsigned line, column;

        json_position("ab\nc\xc3\xa9"
                      "d",
                        6, &line, &column);
        CHECK_EQ(line, 2);
        CHECK_EQ(column, 3);
        json_position("ab", 0, &line, &column);
        CHECK_EQ(line, 1);
        CHECK_EQ(column, 1);
}

static void equality(void)
{
        _cleanup_json_ Json *a = parse("{\"a\":[1,2],\"b\":1.5}"), *b = parse("{\"b\":1.50,\"a\":[1,2]}"),
                            *c = parse("{\"a\":[2,1],\"b\":1.5}");

        CHECK(json_equal(a, b));
        CHECK(!json_equal(a, c));
        CHECK(json_equal(NULL, NULL));
        CHECK(!json_equal(a, NULL));
}

static void pretty(void)
{
        _cleanup_json_ Json *v = parse("{\"a\":[1]}");
        _cleanup_free_ char *text = json_print_pretty(v);
        _cleanup_json_ Json *again = parse(text);

        CHECK(strchr(text, '\n') && strstr(text, "  \"a\""));
        CHECK(json_equal(v, again));
}

/* json-c's own, whose headers clash with ours: it takes any bytes. */
Json *json_object_new_string_len(const char *s, int n);

static Json *nested(unsigned depth)
{
        Json *v = NULL;

        while (depth-- > 0) {
                Json *outer = NULL;

                CHECK_EQ(json_pack(&outer, "[o?]", v), 0);
                v = outer;
        }
        return v;
}

static Json *wide(unsigned n_values)
{
        Json *v = NULL;

        CHECK_EQ(json_pack(&v, "[]"), 0);
        while (--n_values > 0)
                CHECK_EQ(json_append(v, NULL), 0);
        return v;
}

/* A line is printed just if it could be read again. */
static void lines(void)
{
        Json *fit[] = { nested(64), wide(65536), json_new_string("\xc3\xa4", 2) },
             *unfit[] = { nested(65), wide(65537), json_object_new_string_len("a\xc3", 2) };

        for (size_t i = 0; i < 3; i++) {
                JsonError e;
                size_t n;
                const char *text = json_print_line(fit[i], &n);

                CHECK(text && scan_json(text, n, NULL, &e) == 0);
                errno = 0;
                CHECK(!json_print_line(unfit[i], &n));
                CHECK_EQ(errno, EBADMSG);
                text = json_print(unfit[i], &n);
                CHECK(text && scan_json(text, n, NULL, &e) == -EBADMSG);
                json_unref(fit[i]);
                json_unref(unfit[i]);
        }
}

TEST_MAIN({ "round_trips", round_trips }, { "escapes", escapes }, { "long_keys", long_keys },
                { "numbers", numbers }, { "duplicate_keys", duplicate_keys }, { "hostile", hostile },
                { "accessors", accessors }, { "iterates_in_order", iterates_in_order }, { "packs", packs },
                { "replaces", replaces }, { "repairs_strings", repairs_strings }, { "positions", positions },
                { "equality", equality }, { "pretty", pretty }, { "lines", lines });
