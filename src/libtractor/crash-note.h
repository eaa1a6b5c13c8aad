/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a crashing process knows of its crash, as it tells tractor-crash: one record on a socket, which is also the word
 * that it may be looked at now. Filled in and printed within a signal handler: nothing here allocates, locks or uses
 * stdio. Both ends are of one build. */

#include <signal.h>
#include <sys/types.h>

#include "base/macro.h"

/* How long a crashing process waits for whoever looks at it, and for a reader of its report. */
#define CRASH_WAIT_MS 5000
#define CRASH_WRITE_MS 1000

typedef struct CrashNote {
        uint32_t size; /* of this */
        pid_t pid, tid;
        int32_t signo;
        bool has_address;
        uint64_t address; /* that could not be accessed, or where it happened */
        bool has_registers;
        uint64_t pc, sp; /* of the thread as it crashed, where we know this architecture */
        char task[64];   /* "": none */
        char message[192];
} CrashNote;

/* "SIGSEGV"; "signal N" is left to the caller: NULL. */
const char *crash_signal_name(int signo);

/* A text under construction, cut where it would pass the end; always terminated. */
typedef struct CrashText {
        char *p;
        size_t n, size;
} CrashText;
void crash_put(CrashText *t, const char *s);
void crash_put_number(CrashText *t, uint64_t v, unsigned base);
/* As the inside of a JSON string; what is no printable ASCII becomes '?'. */
void crash_put_quoted(CrashText *t, const char *s);

/* note->message, from the rest of it. */
void crash_note_describe(CrashNote *note, const siginfo_t *si);
/* The report without any backtrace: the line for a channel with a newline before it, or text for people. */
void crash_note_line(const CrashNote *note, CrashText *t);
void crash_note_text(const CrashNote *note, CrashText *t);
