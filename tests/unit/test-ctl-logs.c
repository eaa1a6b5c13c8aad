/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "tractorctl/log-line.h"

#define T "2026-11-22T02:03:04.123456789Z"

static char seen[8192];

static void on_line(const LogLine *line, void *userdata)
{
        size_t n = strlen(seen);

        (void) snprintf(seen + n, sizeof(seen) - n, "%s%.*s|",
                        !line->time ? "?"
                        : line->err ? "e"
                                    : "o",
                        (int) line->n, line->text);
}

/* The same bytes cut in every way come out the same. */
static void check(const char *text, const char *due)
{
        for (size_t step = 1; step <= strlen(text); step++) {
                LogReader r = { .on_line = on_line };

                seen[0] = 0;
                for (size_t i = 0; i < strlen(text); i += step)
                        CHECK_EQ(log_reader_feed(&r, text + i, MIN(step, strlen(text) - i)), 0);
                CHECK_EQ(log_reader_end(&r), 0);
                CHECK_STR(seen, due);
                log_reader_done(&r);
        }
}

static void test_lines(void)
{
        check(T " stdout F hello\n" T " stderr F oops\n", "ohello|eoops|");
        check(T " stdout F \n" T " stdout F  two \n", "o|o two |");
        check(T " stdout F no end", "ono end|");
}

static void test_pieces(void)
{
        check(T " stdout P one \n" T " stderr F other\n" T " stdout P two \n" T " stdout F three\n",
                        "eother|oone two three|");
        check(T " stderr P a\n" T " stdout P b\n" T " stdout F c\n" T " stderr F d\n", "obc|ead|");
}

static void test_foreign(void)
{
        check("plain\n\n" T " stdin F x\n" T " stdout X x\n",
                        "?plain|?|?" T " stdin F x|?" T " stdout X x|");
        check(T "\n" T " stdout F", "?" T "|?" T " stdout F|");
        check("2026-11-22 02:03:04.123456789Z stdout F x\n", "?2026-11-22 02:03:04.123456789Z stdout F x|");
}

/* Nothing grows without bound: neither a line without an end, nor one that is all pieces. */
static void test_long(void)
{
        static char big[LOG_LINE_MAX + 10];
        LogReader r = { .on_line = on_line };

        memset(big, 'x', sizeof(big));
        seen[0] = 0;
        CHECK_EQ(log_reader_feed(&r, big, sizeof(big)), 0);
        CHECK(seen[0] == '?');
        CHECK_EQ(r.record.n, 0);
        for (size_t i = 0; i < 300; i++) {
                CHECK_EQ(log_reader_feed(&r, T " stdout P ", 41), 0);
                CHECK_EQ(log_reader_feed(&r, big, 8192), 0);
                CHECK_EQ(log_reader_feed(&r, "\n", 1), 0);
                CHECK(r.parts[0].n < LOG_LINE_MAX + 8192);
        }
        log_reader_done(&r);
}

TEST_MAIN({ "lines", test_lines }, { "pieces", test_pieces }, { "foreign", test_foreign },
                { "long", test_long });
