/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* journald's native protocol on a non-blocking socket of our own: sd_journal_send() blocks when journald is
 * stopped, and a supervisor may not. A record that can't be sent now is spooled (256 KiB, oldest dropped and
 * counted; the count goes out as a record of its own before the next that does) and sent when the socket has room.
 * Without a journal records become one log line each: their MESSAGE. A large record (over the socket's limit)
 * travels as a sealed memfd. The socket is connected, since only then does the kernel tell when there is room. */

#include <syslog.h>
#include <systemd/sd-event.h>

#include "base/macro.h"

/* What an actor's streams to the journal are opened with (StdioSpec.priority). The facility tells stderr's lines
 * from stdout's even where the program prefixes them with a <N> of its own, which replaces the level alone. */
#define JOURNAL_PRIORITY_STDOUT LOG_INFO
#define JOURNAL_PRIORITY_STDERR (LOG_DAEMON | LOG_WARNING)

#define JOURNAL_SPOOL_MAX (256U * 1024)

typedef struct Journal Journal;

int journal_new(sd_event *event, Journal **ret); /* succeeds without a journal, too */
/* The same, for the socket at `path`. */
int journal_new_at(sd_event *event, const char *path, Journal **ret);
Journal *journal_free(Journal *j);
DEFINE_CLEANUP(Journal *, journal_free);
/* Is there a journald to send to? (its socket took a connection at journal_new() or later, and was not lost since) */
bool journal_available(const Journal *j);
uint64_t journal_dropped(const Journal *j);

/* One record under construction: fields are binary safe (a value with a newline uses the length form). */
typedef struct JournalRecord {
        char *data;
        size_t n, cap;
        bool failed; /* out of memory: journal_send() returns -ENOMEM */
} JournalRecord;
/* `key` is [A-Z][A-Z0-9_]{0,63}; a field with another one is left out, as journald would drop it. */
void journal_field(JournalRecord *r, const char *key, const char *value); /* NULL value: left out */
void journal_fieldf(JournalRecord *r, const char *key, const char *format, ...) _printf_(3, 4);
void journal_field_n(JournalRecord *r, const char *key, const void *value, size_t n);
/* Sends and resets r. 0 (sent, spooled or logged) or -ENOMEM. */
int journal_send(Journal *j, JournalRecord *r);

/* The last lines an actor wrote to its stderr stream, for a crash record, while its zombie still stands: a short-lived
 * process (journal files may be slow to map) asks journald to take in what is queued
 * (io.systemd.Journal.Synchronize on its varlink socket, bounded by 500 ms) and reads backwards. `priority` is what
 * the stream was opened with: by its facility when it has one, else by its level. The lines are those of the process
 * and of all others in its scope, not older than the process. Calls back with at most `lines` lines and 16 KiB; `text`
 * is "" when there is none or it took over 2 s. Always calls back, from the event loop. At most four readers run at a
 * time, others queue. */
typedef struct JournalTail JournalTail;
typedef void (*journal_tail_handler_t)(const char *text, void *userdata);
int journal_tail(Journal *j, int pid, int priority, unsigned lines, journal_tail_handler_t handler,
                void *userdata, JournalTail **ret);
JournalTail *journal_tail_free(JournalTail *t); /* cancels: no call back */
DEFINE_CLEANUP(JournalTail *, journal_tail_free);

/* The reader process: `--journal-tail PID PRIORITY LINES`, the text on stdout. */
int journal_tail_main(int argc, char **argv);

/* The last lines of a file, at most 16 KiB. The caller frees. NULL when there is none. */
char *file_tail(const char *path, unsigned lines);

#define TAIL_MAX (16U * 1024)
