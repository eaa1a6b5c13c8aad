/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>

#include "tractorctl/log-line.h"

#define TIME_FORM "dddd-dd-ddTdd:dd:dd.dddddddddZ"
#define TIME_SIZE (sizeof(TIME_FORM) - 1)

static bool is_time(const char *s)
{
        for (size_t i = 0; i < TIME_SIZE; i++)
                if (TIME_FORM[i] == 'd' ? !isdigit((unsigned char) s[i]) : s[i] != TIME_FORM[i])
                        return false;
        return true;
}

/* " stdout F " */
static bool parse_record(const char *p, size_t n, LogLine *ret, bool *ret_full)
{
        size_t at = TIME_SIZE;
        bool err;

        if (n < TIME_SIZE + 10 || !is_time(p))
                return false;
        err = strncmp(p + at, " stderr ", 8) == 0;
        if (!err && strncmp(p + at, " stdout ", 8) != 0)
                return false;
        at += 8;
        if ((p[at] != 'F' && p[at] != 'P') || p[at + 1] != ' ')
                return false;
        *ret_full = p[at] == 'F';
        *ret = (LogLine){ .time = p, .err = err, .text = p + at + 2, .n = n - at - 2 };
        return true;
}

static int part_add(LogPart *part, const char *p, size_t n)
{
        int r = GROW(part->data, part->cap, part->n + n);

        if (r < 0)
                return r;
        memcpy(part->data + part->n, p, n);
        part->n += n;
        return 0;
}

static int take_record(LogReader *r, const char *p, size_t n)
{
        LogLine line = { .text = p, .n = n };
        bool full = true;
        LogPart *part;
        int k;

        if (!parse_record(p, n, &line, &full)) {
                r->on_line(&line, r->userdata);
                return 0;
        }
        part = &r->parts[line.err];
        if (full && part->n == 0) {
                r->on_line(&line, r->userdata);
                return 0;
        }
        k = part_add(part, line.text, line.n);
        if (k < 0)
                return k;
        if (!full && part->n < LOG_LINE_MAX)
                return 0;
        line.text = part->data;
        line.n = part->n;
        r->on_line(&line, r->userdata);
        part->n = 0;
        return 0;
}

int log_reader_feed(LogReader *r, const char *p, size_t n)
{
        int k = 0;

        while (k >= 0 && n > 0) {
                const char *end = memchr(p, '\n', n);
                size_t m = end ? (size_t) (end - p) : n;

                if (end && r->record.n == 0)
                        k = take_record(r, p, m);
                else
                        k = part_add(&r->record, p, m);
                if (k >= 0 && r->record.n > 0 && (end || r->record.n >= LOG_LINE_MAX)) {
                        k = take_record(r, r->record.data, r->record.n);
                        r->record.n = 0;
                }
                p += m + (end ? 1 : 0);
                n -= m + (end ? 1 : 0);
        }
        return k;
}

int log_reader_end(LogReader *r)
{
        size_t n = r->record.n;

        r->record.n = 0;
        return n > 0 ? take_record(r, r->record.data, n) : 0;
}

void log_reader_done(LogReader *r)
{
        free(r->record.data);
        for (size_t i = 0; i < ELEMENTSOF(r->parts); i++)
                free(r->parts[i].data);
}
