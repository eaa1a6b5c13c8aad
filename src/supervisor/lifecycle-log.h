/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One journal record for each event in the life of an actor, a tree or the supervisor, with the fields of
 * docs/protocol.md §8 and a MESSAGE that is whole by itself: an abnormal end is one record with how, when, why and the
 * last words. Where there is no journal, MESSAGE is a log line. */

#include "supervisor/journal.h"

typedef enum LifecycleKind {
        LIFECYCLE_STARTED,
        LIFECYCLE_READY,
        LIFECYCLE_EXITED, /* as it may */
        LIFECYCLE_CRASHED,
        LIFECYCLE_RESTARTING,
        LIFECYCLE_GAVE_UP,
        LIFECYCLE_STOPPED,
        LIFECYCLE_FAILED,
        LIFECYCLE_TREE_LOADED,
        LIFECYCLE_TREE_UNLOADED,
        LIFECYCLE_SUPERVISOR_STARTED,
        LIFECYCLE_SUPERVISOR_LOST,
        LIFECYCLE_LIMIT_CHANGED,
        LIFECYCLE_OOM_KILL,
        _LIFECYCLE_MAX,
} LifecycleKind;

/* Begin with LIFECYCLE_RECORD(kind, path): what is not set then is left out of the record. */
typedef struct LifecycleRecord {
        LifecycleKind kind;
        const char *path; /* NULL for the supervisor's own */
        const char *tree; /* NULL: the first name of the path */
        const char *actor_id;
        uint32_t generation; /* 0: none */
        const char *cause;   /* "signal" … */
        int exit_code;       /* -1: none */
        int signal;          /* 0: none */
        bool core_dumped;
        int64_t restarts;                             /* -1: none */
        uint64_t runtime_usec, memory_peak, cpu_usec; /* UINT64_MAX: unknown */
        uint64_t restart_usec; /* until the next start; UINT64_MAX: none follows, or nothing to say of it */
        const char *stderr_tail; /* lines, the last one last */
        const char *backtrace,
                        *report; /* lines: what the actor says of its crash, its frames, other threads */
        int object_pid;          /* 0: none. Of a zombie, so that the journal finds its unit */
        const char *unit;
        int priority;     /* syslog level; -1: that of the kind */
        const char *text; /* replaces the kind's own sentence, path and last words excepted */
} LifecycleRecord;

#define LIFECYCLE_RECORD(k, p)                                                                              \
        (LifecycleRecord)                                                                                   \
        {                                                                                                   \
                .kind = (k), .path = (p), .exit_code = -1, .restarts = -1, .runtime_usec = UINT64_MAX,      \
                .memory_peak = UINT64_MAX, .cpu_usec = UINT64_MAX, .restart_usec = UINT64_MAX,              \
                .priority = -1                                                                              \
        }

/* "started" … "oom-kill": TRACTOR_EVENT. */
const char *lifecycle_kind_to_string(LifecycleKind k);
/* The 32 hexadecimal digits. */
const char *lifecycle_message_id(LifecycleKind k);

/* Never fails visibly: what can't be logged is counted by the journal. `j` may be NULL. */
void lifecycle_log(Journal *j, const LifecycleRecord *r);
