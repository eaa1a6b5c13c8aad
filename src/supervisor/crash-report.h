/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What an actor said of its own crash by `$/crash` on its channel, as far as it is kept: what happened, the frames of the
 * thread that crashed, and a text of all threads for the journal. All of it is the actor's word: each piece is one line
 * without anything a terminal would obey, and the whole is bounded. */

#include "wire/json.h"

#define CRASH_REPORT_ID_SIZE 33
#define CRASH_REPORT_FRAMES 32U
#define CRASH_REPORT_LINE_MAX 300U
#define CRASH_REPORT_TEXT_MAX (32U * 1024)

typedef struct CrashReport {
        char id[CRASH_REPORT_ID_SIZE]; /* random: 128 bits */
        char *message;
        Json *backtrace; /* array of "#0 name (file.c:12)" */
        char *text;      /* the message, the frames, then the other threads, a line each */
} CrashReport;

/* -EBADMSG when it is no report. */
int crash_report_new(const Json *params, CrashReport **ret);
CrashReport *crash_report_free(CrashReport *c);
DEFINE_CLEANUP(CrashReport *, crash_report_free);
