/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The files of one folder, and their bounds. A file is open only while something is written to it: so it may be removed,
 * renamed or truncated by anyone at any time, an actor that is silent costs no descriptor, and one that never says
 * anything has no file. Records are gathered (store_put) and written as a whole or not at all (store_flush): what the
 * disk does not take is dropped and counted, and the next thing that it takes is a record of how much that was. */

#include "base/map.h"
#include "logger/cri.h"
#include "logger/protocol.h"

typedef struct Store Store;

/* One file, while anybody writes to it. */
typedef struct LogFile {
        Store *store; /* weak */
        unsigned refs;
        bool looked; /* its end is known to be that of a record */
        bool told;   /* our own log has it that something is lost */
        int error;   /* why */
        uint64_t lost;
        char name[];
} LogFile;

struct Store {
        int dir_fd; /* borrowed */
        uint64_t file_max, total_max, files_max;
        uint64_t total, files; /* as far as we know */
        bool counted;
        uint64_t retry_usec; /* no room is looked for before */
        Map open;            /* name → LogFile */
        size_t n, content;   /* gathered; content: without what we add */
        char batch[192 * 1024];
};

/* -EINVAL for what is no name of a log file. Each get needs its put, which says what was lost to the end. */
int log_file_get(Store *s, const char *name, LogFile **ret);
LogFile *log_file_put(LogFile *f);

/* The time is that of cri_time(), the stream "stdout" or "stderr". One file at a time: flush before the next. */
void store_put(LogFile *f, const char *time, const char *stream, const Piece *piece);
void store_flush(LogFile *f, const char *time);
