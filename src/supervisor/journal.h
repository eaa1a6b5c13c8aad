/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* journald's native protocol on a non-blocking socket of our own: sd_journal_send() blocks when journald is
 * stopped, and a supervisor may not. A record that can't be sent now is spooled (256 KiB, oldest dropped and
 * counted; the count goes out with the next record that does) and sent when the socket has room. Without a journal
 * records become one log line each. A large record (over the socket's limit) travels as a sealed memfd. */

#include <systemd/sd-event.h>

#include "base/macro.h"

typedef struct Journal Journal;

int journal_new(sd_event *event, Journal **ret); /* succeeds without a journal, too */
Journal *journal_free(Journal *j);
DEFINE_CLEANUP(Journal *, journal_free);
/* Is there a journald to send to? (its socket existed at journal_new() or later) */
bool journal_available(const Journal *j);
uint64_t journal_dropped(const Journal *j);

/* One record under construction: fields are binary safe (a value with a newline uses the length form). */
typedef struct JournalRecord {
        char *data;
        size_t n, cap;
        bool failed; /* out of memory: journal_send() returns -ENOMEM */
} JournalRecord;
void journal_field(JournalRecord *r, const char *key, const char *value); /* NULL value: left out */
void journal_fieldf(JournalRecord *r, const char *key, const char *format, ...) _printf_(3, 4);
void journal_field_n(JournalRecord *r, const char *key, const void *value, size_t n);
/* Sends and resets r. 0 (sent or spooled) or -ENOMEM. */
int journal_send(Journal *j, JournalRecord *r);

/* The last lines one process wrote to its stderr stream (priority `priority`), for a crash record: asks journald to
 * take in what is queued (io.systemd.Journal.Synchronize on its varlink socket, bounded by 500 ms), then reads
 * backwards by _PID and boot in a short-lived child process (journal files may be slow to map), and calls back
 * with at most `lines` lines and 16 KiB. `text` is "" when there is none. Always calls back, from the event loop. */
typedef struct JournalTail JournalTail;
typedef void (*journal_tail_handler_t)(const char *text, void *userdata);
int journal_tail(Journal *j, int pid, int priority, unsigned lines, journal_tail_handler_t handler,
                void *userdata, JournalTail **ret);
JournalTail *journal_tail_free(JournalTail *t); /* cancels: no call back */

/* The last lines of a file, at most 16 KiB; skips holes. The caller frees. NULL when there is none. */
char *file_tail(const char *path, unsigned lines);
