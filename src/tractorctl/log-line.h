/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The bytes of a log file as lines of the actor that wrote them. A record of such a file is
 *
 *      2026-11-22T02:03:04.123456789Z stdout F the line
 *
 * with P for a piece of a line that goes on in the stream's next record. A reader is fed with bytes, cut anywhere, and
 * gives whole lines, in the order of their ends. What is no such record is a line without time and stream: nothing that
 * somebody wrote is kept back. Pure. */

#include "base/macro.h"

/* Of a record, and of a line that comes in pieces; what is longer is given in parts. */
#define LOG_LINE_MAX (1024U * 1024)

typedef struct LogLine {
        const char *time; /* as above; NULL: no such record */
        bool err;         /* stderr */
        const char *text; /* not NUL-terminated, whatever bytes */
        size_t n;
} LogLine;

typedef struct LogPart {
        char *data;
        size_t n, cap;
} LogPart;

typedef struct LogReader {
        void (*on_line)(const LogLine *line, void *userdata);
        void *userdata;
        LogPart record;   /* the one that has not ended */
        LogPart parts[2]; /* of lines: stdout, stderr */
} LogReader;

/* 0 or -ENOMEM. The line is valid within on_line. */
int log_reader_feed(LogReader *r, const char *p, size_t n);
/* The file has ended: so has what was last in it. */
int log_reader_end(LogReader *r);
void log_reader_done(LogReader *r);
