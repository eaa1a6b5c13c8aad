/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "test.h"
#include "wire/scan.h"

/* Texts are written with their length, because some hold NUL. */
#define T(text) text, sizeof(text) - 1

static const struct {
        const char *text;
        size_t n;
} good[] = {
        { T("null") },
        { T("true") },
        { T(" \t\r\n false \n") },
        { T("0") },
        { T("-0") },
        { T("-1.5e+10") },
        { T("1E5") },
        { T("0.0") },
        { T("9223372036854775807") },
        { T("-9223372036854775808") },
        { T("9007199254740993") },
        { T("99999999999999999999.0") }, /* a double may be any size */
        { T("\"\"") },
        { T("\"eight plain bytes and more, to take the fast path\"") },
        { T("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"") },
        { T("\"\\u0000\"") }, /* NUL in a value is a value */
        { T("\"\\ud83d\\ude00\"") },
        { T("\"\\uDBFF\\uDFFF\"") },
        { T("\"\x7f\"") },
        { T("\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf"
            "\xbf\"") },
        { T("[]") },
        { T("{}") },
        { T("[ 1 , [ ] , { } ]") },
        { T("{\"a\":{\"b\":[1,2,{\"c\":null}]},\"\":0}") },
        { T("{ \"a\" : 1 , \"b\" : 2 }") },
};

static const struct {
        const char *text;
        size_t n, offset;
} bad[] = {
        { T(""), 0 },
        { T("   "), 3 },
        { T("\xef\xbb\xbfnull"), 0 }, /* byte order mark */
        { T("nul"), 0 },
        { T("nulL"), 0 },
        { T("NaN"), 0 },
        { T("Infinity"), 0 },
        { T("-Infinity"), 1 },
        { T("[NaN]"), 1 },
        { T("True"), 0 },
        { T("+1"), 0 },
        { T("01"), 2 },
        { T("-"), 1 },
        { T("-01"), 3 },
        { T(".5"), 0 },
        { T("1."), 2 },
        { T("1.e5"), 2 },
        { T("1e"), 2 },
        { T("1e+"), 3 },
        { T("0x10"), 1 },
        { T("1 2"), 2 },
        { T("1,"), 1 },
        { T("9223372036854775808"), 0 },
        { T("-9223372036854775809"), 1 },
        { T("18446744073709551616"), 0 },
        { T("[100000000000000000000]"), 1 },
        { T("\""), 1 },
        { T("\"abc"), 4 },
        { T("\"\\"), 1 },
        { T("\"\\\""), 3 },
        { T("\"\\x41\""), 2 },
        { T("\"\\'\""), 2 },
        { T("'a'"), 0 },
        { T("\"\\u12\""), 3 },
        { T("\"\\u12g4\""), 3 },
        { T("\"\\ud800\""), 7 },
        { T("\"\\ud800\\n\""), 7 },
        { T("\"\\ud800\\u0041\""), 7 },
        { T("\"\\ud800\\ud800\""), 7 },
        { T("\"\\udc00\""), 3 },
        { T("\"\\ud83d"), 7 },
        { T("\"a\nb\""), 2 },
        { T("\"a\tb\""), 2 },
        { T("\"a\x1f\""), 2 },
        { T("\"a\0b\""), 2 },
        { T("\0"), 0 },
        { T("null\0"), 4 },
        { T("[1,\0]"), 3 },
        { T("\"\x80\""), 1 },
        { T("\"\xbf\""), 1 },
        { T("\"\xc0\x80\""), 1 }, /* overlong NUL */
        { T("\"\xc1\xbf\""), 1 },
        { T("\"\xe0\x80\x80\""), 1 },
        { T("\"\xe0\x9f\xbf\""), 1 },
        { T("\"\xed\xa0\x80\""), 1 }, /* surrogates */
        { T("\"\xed\xbf\xbf\""), 1 },
        { T("\"\xf0\x8f\xbf\xbf\""), 1 },
        { T("\"\xf4\x90\x80\x80\""), 1 }, /* beyond U+10FFFF */
        { T("\"\xf5\x80\x80\x80\""), 1 },
        { T("\"\xff\""), 1 },
        { T("\"\xc3\""), 1 },
        { T("\"\xe2\x82\""), 1 },
        { T("\"\xf0\x9f\x98\""), 1 },
        { T("\"\xe2\x82"), 1 },
        { T("\"eight plain \xff\""), 13 },
        { T("[\xc3\xa9]"), 1 },
        { T("["), 1 },
        { T("[1"), 2 },
        { T("[1,"), 3 },
        { T("[1,]"), 3 },
        { T("[,1]"), 1 },
        { T("[1 2]"), 3 },
        { T("[1}"), 2 },
        { T("]"), 0 },
        { T("[]]"), 2 },
        { T("{"), 1 },
        { T("{\"a\""), 4 },
        { T("{\"a\":"), 5 },
        { T("{\"a\":1"), 6 },
        { T("{\"a\":1,"), 7 },
        { T("{\"a\":1,}"), 7 },
        { T("{\"a\" 1}"), 5 },
        { T("{\"a\":1]"), 6 },
        { T("{a:1}"), 1 },
        { T("{1:1}"), 1 },
        { T("{\"a\\u0000b\":1}"), 5 },
        { T("{\"a\0b\":1}"), 3 },
        { T("// comment\n1"), 0 },
        { T("1 /* no */"), 2 },
};

static void accepts(void)
{
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                JsonError e = { 0 };

                if (scan_json(good[i].text, good[i].n, NULL, &e) < 0) {
                        fprintf(stderr, "good %zu (%s): %s at %zu\n", i, good[i].text, e.message, e.offset);
                        abort();
                }
        }
}

static void refuses(void)
{
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                /* Exactly as large as the text, so that a look beyond it is found out. */
                char *copy = malloc(bad[i].n ?: 1);
                JsonError e = { 0 };
                int r;

                CHECK(copy);
                memcpy(copy, bad[i].text, bad[i].n);
                r = scan_json(copy, bad[i].n, NULL, &e);
                free(copy);
                if (r != -EBADMSG || !e.message || e.offset != bad[i].offset) {
                        fprintf(stderr, "bad %zu (%s): %d, %s at %zu\n", i, bad[i].text, r, strna(e.message),
                                        e.offset);
                        abort();
                }
        }
}

/* Each prefix of a good text is refused, at its end or where its last token begins. */
static void prefixes(void)
{
        static const char text[] =
                        "{\"k\\n\":[1.5e3,\"\\ud83d\\ude00\xf0\x9f\x98\x80\",null,true,{\"a\":-0}]}";
        JsonError e;

        for (size_t n = 0; n < sizeof(text) - 1; n++) {
                char *copy = malloc(n ?: 1);

                CHECK(copy);
                memcpy(copy, text, n);
                CHECK_EQ(scan_json(copy, n, NULL, &e), -EBADMSG);
                CHECK(e.offset <= n);
                free(copy);
        }
        CHECK_EQ(scan_json(text, sizeof(text) - 1, NULL, &e), 0);
}

static char *nest(size_t depth)
{
        char *text = malloc(2 * depth + 1);

        CHECK(text);
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = 0;
        return text;
}

static int scan_nested(size_t depth, const JsonLimits *limits, JsonError *e)
{
        char *text = nest(depth);
        int r = scan_json(text, 2 * depth, limits, e);

        free(text);
        return r;
}

static void depth_is_bounded(void)
{
        JsonError e = { 0 };

        CHECK_EQ(scan_nested(64, NULL, &e), 0);
        CHECK_EQ(scan_nested(65, NULL, &e), -EBADMSG);
        CHECK_STR(e.message, "nested too deeply");
        CHECK_EQ(e.offset, 64);
        CHECK_EQ(scan_nested(100000, NULL, &e), -EBADMSG);
        CHECK_EQ(scan_nested(3, &(JsonLimits){ .max_depth = 3 }, &e), 0);
        CHECK_EQ(scan_nested(4, &(JsonLimits){ .max_depth = 3 }, &e), -EBADMSG);
        CHECK_EQ(scan_nested(SCAN_DEPTH_LIMIT, &(JsonLimits){ .max_depth = 100000 }, &e), 0);
        CHECK_EQ(scan_nested(SCAN_DEPTH_LIMIT + 1, &(JsonLimits){ .max_depth = 100000 }, &e), -EBADMSG);
}

/* A level's kind is forgotten when another container takes its place. */
static void depth_keeps_kinds(void)
{
        JsonError e;

        CHECK_EQ(scan_json(T("[{\"a\":[1,{\"b\":[]}],\"c\":{}},[[{}],{}],{\"d\":1}]"), NULL, &e), 0);
        CHECK_EQ(scan_json(T("[{\"a\":[1,{\"b\":[}]],\"c\":{}}]"), NULL, &e), -EBADMSG);
        CHECK_EQ(scan_json(T("[{},1:2]"), NULL, &e), -EBADMSG);
        CHECK_EQ(scan_json(T("{\"a\":[],1}"), NULL, &e), -EBADMSG);
}

static void values_are_counted(void)
{
        const JsonLimits four = { .max_values = 4 };
        JsonError e = { 0 };

        CHECK_EQ(scan_json(T("[1,2,3]"), &four, &e), 0);
        CHECK_EQ(scan_json(T("[1,2,3,4]"), &four, &e), -EBADMSG);
        CHECK_STR(e.message, "too many values");
        CHECK_EQ(scan_json(T("{\"a\":1,\"b\":2,\"c\":3}"), &four, &e), 0);
        CHECK_EQ(scan_json(T("{\"a\":1,\"b\":2,\"c\":[3]}"), &four, &e), -EBADMSG);
        CHECK_EQ(scan_json(T("[[[[]]]]"), &four, &e), 0);
        CHECK_EQ(scan_json(T("[[[[[]]]]]"), &four, &e), -EBADMSG);
}

static void default_value_bound(void)
{
        for (size_t n = 65535; n <= 65536; n++) {
                char *text = malloc(2 * n + 1), *p = text;
                JsonError e;

                CHECK(text);
                *p++ = '[';
                for (size_t i = 0; i < n; i++) {
                        *p++ = '0';
                        *p++ = i + 1 < n ? ',' : ']';
                }
                CHECK_EQ(scan_json(text, (size_t) (p - text), NULL, &e), n == 65535 ? 0 : -EBADMSG);
                free(text);
        }
}

/* Every position of every byte value relative to the eight-byte steps. */
static void fast_path_misses_nothing(void)
{
        for (unsigned c = 0; c < 256; c++)
                for (size_t at = 0; at < 24; at++) {
                        char text[26];
                        JsonError e;
                        bool plain = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';

                        memset(text, 'x', sizeof(text));
                        text[0] = text[25] = '"';
                        text[at + 1] = (char) c;
                        CHECK_EQ(scan_json(text, sizeof(text), NULL, &e), plain ? 0 : -EBADMSG);
                        if (!plain && c != '"' && c != '\\')
                                CHECK_EQ(e.offset, at + 1);
                }
}

TEST_MAIN({ "accepts", accepts }, { "refuses", refuses }, { "prefixes", prefixes },
                { "depth_is_bounded", depth_is_bounded }, { "depth_keeps_kinds", depth_keeps_kinds },
                { "values_are_counted", values_are_counted }, { "default_value_bound", default_value_bound },
                { "fast_path_misses_nothing", fast_path_misses_nothing });
