/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "wire/scan.h"

typedef struct Scanner {
        const char *p, *end;
        const char *why;
        unsigned depth, max_depth, values_left;
        uint64_t objects[SCAN_DEPTH_LIMIT / 64]; /* bit set: that level is an object */
} Scanner;

/* What a step expects next. */
typedef enum Expect {
        EXPECT_VALUE,
        EXPECT_KEY,
        EXPECT_MORE, /* a comma or the container's end */
        EXPECT_END,
        EXPECT_NOTHING, /* refused */
} Expect;

static Expect refuse(Scanner *s, const char *why)
{
        s->why = why;
        return EXPECT_NOTHING;
}

static bool in_range(char c, unsigned char lo, unsigned char hi)
{
        return (unsigned char) c >= lo && (unsigned char) c <= hi;
}

size_t scan_utf8(const char *p, const char *end)
{
        unsigned char c = (unsigned char) *p, lo = 0x80, hi = 0xbf;
        size_t n;

        if (c < 0x80)
                return 1;
        if (c < 0xc2 || c > 0xf4)
                return 0;
        n = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        if ((size_t) (end - p) < n)
                return 0;
        /* The second byte alone tells overlong forms, surrogates and what lies beyond U+10FFFF. */
        if (c == 0xe0)
                lo = 0xa0;
        else if (c == 0xed)
                hi = 0x9f;
        else if (c == 0xf0)
                lo = 0x90;
        else if (c == 0xf4)
                hi = 0x8f;
        if (!in_range(p[1], lo, hi))
                return 0;
        for (size_t i = 2; i < n; i++)
                if (!in_range(p[i], 0x80, 0xbf))
                        return 0;
        return n;
}

static bool is_plain(char c)
{
        return in_range(c, 0x20, 0x7f) && c != '"' && c != '\\';
}

/* Most of a message is plain text in strings: eight bytes at a time. The arithmetic may stop early (a borrow),
 * never late; the byte loop after it decides. */
static const char *skip_plain(const char *p, const char *end)
{
        const uint64_t ones = 0x0101010101010101ULL, high = ones << 7;

        while (end - p >= 8) {
                uint64_t w, quote, backslash;

                memcpy(&w, p, sizeof(w));
                quote = w ^ (ones * '"');
                backslash = w ^ (ones * '\\');
                if (((quote - ones) | (backslash - ones) | (w - ones * 0x20) | w) & high)
                        break;
                p += 8;
        }
        while (p < end && is_plain(*p))
                p++;
        return p;
}

static int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c = (char) (c | 0x20);
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits after \u; negative when there are not four. */
static int hex_quad(const char *p, const char *end)
{
        int value = 0;

        if (end - p < 4)
                return -1;
        for (int i = 0; i < 4; i++) {
                int d = hex_digit(p[i]);

                if (d < 0)
                        return -1;
                value = value << 4 | d;
        }
        return value;
}

/* At the character after \u. */
static bool scan_unicode(Scanner *s, bool key)
{
        int code = hex_quad(s->p, s->end), low;

        if (code < 0)
                return s->why = "malformed \\u escape", false;
        if (code == 0 && key)
                return s->why = "NUL in a key", false;
        if (code >= 0xdc00 && code <= 0xdfff)
                return s->why = "lone surrogate", false;
        s->p += 4;
        if (code < 0xd800 || code > 0xdbff)
                return true;
        low = s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u' ? hex_quad(s->p + 2, s->end) : -1;
        if (low < 0xdc00 || low > 0xdfff)
                return s->why = "lone surrogate", false;
        s->p += 6;
        return true;
}

/* At a backslash. */
static bool scan_escape(Scanner *s, bool key)
{
        if (s->end - s->p < 2)
                return s->why = "unterminated string", false;
        s->p += 2;
        switch (s->p[-1]) {
        case '"':
        case '\\':
        case '/':
        case 'b':
        case 'f':
        case 'n':
        case 'r':
        case 't':
                return true;
        case 'u':
                return scan_unicode(s, key);
        default:
                s->p--;
                return s->why = "unknown escape", false;
        }
}

/* At the opening quote. */
static bool scan_string(Scanner *s, bool key)
{
        for (s->p++;;) {
                size_t n;

                s->p = skip_plain(s->p, s->end);
                if (s->p == s->end)
                        return s->why = "unterminated string", false;
                if (*s->p == '"') {
                        s->p++;
                        return true;
                }
                if (*s->p == '\\') {
                        if (!scan_escape(s, key))
                                return false;
                        continue;
                }
                if ((unsigned char) *s->p < 0x20)
                        return s->why = "control character in a string", false;
                n = scan_utf8(s->p, s->end);
                if (n == 0)
                        return s->why = "invalid UTF-8", false;
                s->p += n;
        }
}

static size_t scan_digits(Scanner *s)
{
        const char *start = s->p;

        while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
                s->p++;
        return (size_t) (s->p - start);
}

static bool fits_int64(const char *digits, size_t n, bool negative)
{
        if (n != 19)
                return n < 19;
        return memcmp(digits, negative ? "9223372036854775808" : "9223372036854775807", 19) <= 0;
}

static bool scan_number(Scanner *s)
{
        bool negative = *s->p == '-', integer = true;
        const char *digits;
        size_t n;

        s->p += negative;
        digits = s->p;
        n = scan_digits(s);
        if (n == 0 || (n > 1 && *digits == '0'))
                return s->why = "malformed number", false;
        if (s->p < s->end && *s->p == '.') {
                integer = false;
                s->p++;
                if (scan_digits(s) == 0)
                        return s->why = "malformed number", false;
        }
        if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
                integer = false;
                s->p++;
                if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
                        s->p++;
                if (scan_digits(s) == 0)
                        return s->why = "malformed number", false;
        }
        if (integer && !fits_int64(digits, n, negative)) {
                s->p = digits;
                return s->why = "integer beyond 64 bits", false;
        }
        return true;
}

static bool scan_literal(Scanner *s, const char *literal)
{
        size_t n = strlen(literal);

        if ((size_t) (s->end - s->p) < n || memcmp(s->p, literal, n) != 0)
                return s->why = "unexpected character", false;
        s->p += n;
        return true;
}

static void skip_space(Scanner *s)
{
        while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
                s->p++;
}

static bool inside_object(const Scanner *s)
{
        unsigned level = s->depth - 1;

        return s->objects[level / 64] >> (level % 64) & 1;
}

static Expect after_value(const Scanner *s)
{
        return s->depth > 0 ? EXPECT_MORE : EXPECT_END;
}

/* At '{' or '['. */
static Expect open_container(Scanner *s, bool object)
{
        uint64_t bit = 1ULL << (s->depth % 64);

        if (s->depth >= s->max_depth)
                return refuse(s, "nested too deeply");
        if (object)
                s->objects[s->depth / 64] |= bit;
        else
                s->objects[s->depth / 64] &= ~bit;
        s->depth++;
        s->p++;
        skip_space(s);
        if (s->p < s->end && *s->p == (object ? '}' : ']')) {
                s->p++;
                s->depth--;
                return after_value(s);
        }
        return object ? EXPECT_KEY : EXPECT_VALUE;
}

static Expect scan_value(Scanner *s)
{
        bool ok;

        if (s->p == s->end)
                return refuse(s, "unexpected end");
        if (s->values_left-- == 0)
                return refuse(s, "too many values");
        switch (*s->p) {
        case '{':
                return open_container(s, true);
        case '[':
                return open_container(s, false);
        case '"':
                ok = scan_string(s, false);
                break;
        case 't':
                ok = scan_literal(s, "true");
                break;
        case 'f':
                ok = scan_literal(s, "false");
                break;
        case 'n':
                ok = scan_literal(s, "null");
                break;
        case '-':
        case '0' ... '9':
                ok = scan_number(s);
                break;
        default:
                return refuse(s, "unexpected character");
        }
        return ok ? after_value(s) : EXPECT_NOTHING;
}

static Expect scan_key(Scanner *s)
{
        if (s->p == s->end)
                return refuse(s, "unexpected end");
        if (*s->p != '"')
                return refuse(s, "a key is due");
        if (!scan_string(s, true))
                return EXPECT_NOTHING;
        skip_space(s);
        if (s->p == s->end)
                return refuse(s, "unexpected end");
        if (*s->p != ':')
                return refuse(s, "':' is due");
        s->p++;
        return EXPECT_VALUE;
}

static Expect scan_more(Scanner *s)
{
        bool object = inside_object(s);

        if (s->p == s->end)
                return refuse(s, "unexpected end");
        if (*s->p == ',') {
                s->p++;
                return object ? EXPECT_KEY : EXPECT_VALUE;
        }
        if (*s->p != (object ? '}' : ']'))
                return refuse(s, object ? "',' or '}' is due" : "',' or ']' is due");
        s->p++;
        s->depth--;
        return after_value(s);
}

int scan_json(const char *text, size_t n, const JsonLimits *limits, JsonError *reterr)
{
        Scanner s = { .p = text, .end = text + n, .max_depth = SCAN_DEPTH_DEFAULT };
        Expect expect = EXPECT_VALUE;

        s.values_left = limits && limits->max_values ? limits->max_values : SCAN_VALUES_DEFAULT;
        if (limits && limits->max_depth)
                s.max_depth = MIN(limits->max_depth, SCAN_DEPTH_LIMIT);
        for (;;) {
                skip_space(&s);
                if (expect == EXPECT_VALUE)
                        expect = scan_value(&s);
                else if (expect == EXPECT_KEY)
                        expect = scan_key(&s);
                else if (expect == EXPECT_MORE)
                        expect = scan_more(&s);
                else if (s.p == s.end)
                        return 0;
                else
                        expect = refuse(&s, "text after the value");
                if (expect == EXPECT_NOTHING) {
                        *reterr = (JsonError){ .offset = (size_t) (s.p - text), .message = s.why };
                        return -EBADMSG;
                }
        }
}
