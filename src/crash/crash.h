/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* tractor-crash: looks at a process that has crashed from outside, writes one report, and ends. Its parent is that
 * process, and waits in its signal handler (libtractor/crash.c). All its threads are stopped first, so that they hold
 * still while their stacks are walked, and nobody else speaks on the channel while the report is written. An alarm ends
 * whatever takes too long: the process then goes on by itself, with the little it knows.
 *
 * A report is one line well below what a channel takes, so that there is a budget for all text of it: the crashed thread
 * has its share first, and what there is no room for is counted. */

#include <sys/types.h>

#include "libtractor/crash-note.h"
#include "wire/json.h"

#define CRASH_FRAMES_MAX 64U
#define CRASH_THREADS_MAX 64U
#define CRASH_FRAME_SIZE 256U
#define CRASH_TEXT_MAX (80U * 1024)
/* A channel takes lines of 4096 values. */
#define CRASH_VALUES_MAX 3000U
/* When lines of the source are not looked for any more; when no further thread is begun; when all is over. */
#define CRASH_LINES_MS 1500
#define CRASH_THREADS_MS 2500
#define CRASH_ALARM_SEC 4U

typedef struct CrashThread {
        pid_t tid;
        bool stopped;
        char name[32];
        char **frames; /* "#0 name (file.c:12)" */
} CrashThread;

typedef struct CrashProcess {
        CrashNote note;
        CrashThread *threads; /* the crashed one first */
        size_t n_threads, cap;
        size_t unseen; /* threads that are not in `threads` */
        size_t text;   /* bytes of all frames */
        uint64_t begin;
} CrashProcess;

void crash_process_done(CrashProcess *p);
unsigned crash_elapsed_ms(const CrashProcess *p);

/* threads.c: finds and stops them; the crashed one could be stopped, or -errno. They run on when we end. */
int crash_stop_threads(CrashProcess *p);
/* unwind.c: fills in the frames, as far as it gets. */
int crash_unwind(CrashProcess *p);
/* report.c */
int crash_report_line(const CrashProcess *p, char **ret); /* with its newlines, before and after */
char *crash_report_text(const CrashProcess *p);
