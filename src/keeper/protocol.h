/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The conversation of supervisor and keeper: fixed structs on one SOCK_SEQPACKET pair, native byte order (both
 * ends are on one machine and come from one package). Each struct begins with KeeperHeader; `size` is that of
 * the struct as its sender knows it, so that a later version can append members: a receiver takes
 * min(size, sizeof) and reads the rest as zero. Descriptors come by SCM_RIGHTS in the order the struct names.
 *
 * A key is the supervisor's number for one child (one generation of one actor) or for one stored record; 0 is
 * invalid and a key is never used twice. The table `key → child, record, descriptors` outlives the supervisor:
 * what was sent before a SIGKILL is read to the end before a successor starts.
 *
 *      supervisor                                    keeper
 *      HELLO                    ──▶
 *                               ◀──                  WELCOME, then ENTRY… , TABLE_END
 *      SPAWN(key)               ──▶
 *                               ◀──                  SPAWNED(key, pid) + pidfd, or SPAWNED(error)
 *      RELEASE(key) (held only) ──▶
 *                               ◀──                  SETUP(key): execve done, or the step that failed
 *                               ◀──                  EXITED(key): once; the zombie stays
 *      REAP(key)                ──▶                  waitid, child forgotten; a record under the key stays
 *      STORE/FORGET(key)        ──▶
 *      BEAT                     ──▶                  every KEEPER_BEAT_USEC while the loop turns
 *
 * SETUP comes before EXITED even for a child that fails its set-up (exit code 255 after an error was reported).
 * A spawn that fails in the keeper (clone) answers SPAWNED with error ≠ 0 and no EXITED follows. */

#include <sys/types.h>

#include "base/macro.h"

#define KEEPER_PROTOCOL_VERSION 1
#define KEEPER_RECORD_MAX (32U * 1024)
#define KEEPER_FDS_MAX 16
#define KEEPER_BEAT_USEC (1000U * 1000)
#define KEEPER_BEAT_LIMIT_USEC (5U * 1000 * 1000)
/* The first BEAT may take longer: the program has to load and to wait for a systemd that may be busy. Less than the 90 s
 * that systemd itself gives a service to start. */
#define KEEPER_START_LIMIT_USEC (45U * 1000 * 1000)
/* A zombie nobody acknowledges is reaped after this long: pids are not held for ever. */
#define KEEPER_REAP_LIMIT_USEC (30U * 1000 * 1000)

/* What a supervisor's exit code means. Death by a signal always starts a successor. */
#define KEEPER_EXIT_STOPPED 0 /* nothing is left to do: the keeper ends as well */
/* Start a successor, also in embedded mode, where any other code becomes the keeper's own. */
#define KEEPER_EXIT_SUCCESSOR 113

typedef enum KeeperMessageType {
        KEEPER_HELLO = 1,
        KEEPER_SPAWN,
        KEEPER_RELEASE,
        KEEPER_REAP,
        KEEPER_STORE,
        KEEPER_FORGET,
        KEEPER_BEAT,

        KEEPER_WELCOME = 128,
        KEEPER_ENTRY,
        KEEPER_TABLE_END,
        KEEPER_SPAWNED,
        KEEPER_SETUP,
        KEEPER_EXITED,
} KeeperMessageType;

typedef struct KeeperHeader {
        uint32_t size; /* of the whole struct, without a trailing record */
        uint16_t version, type;
        uint64_t key;
} KeeperHeader;

typedef enum KeeperSpawnFlags {
        KEEPER_SPAWN_HELD = 1 << 0,   /* wait for RELEASE before set-up */
        KEEPER_SPAWN_CGROUP = 1 << 1, /* the second descriptor is a cgroup v2 directory to be born in */
} KeeperSpawnFlags;

/* Descriptors: the spec, [cgroup directory], then those the spec refers to by index. */
typedef struct KeeperSpawn {
        KeeperHeader header;
        uint32_t flags, reserved;
} KeeperSpawn;

/* HELLO, RELEASE, REAP, FORGET, BEAT, TABLE_END are a bare header. */
typedef struct KeeperSimple {
        KeeperHeader header;
} KeeperSimple;

/* Followed by record_size bytes; descriptors replace those stored before. */
typedef struct KeeperStore {
        KeeperHeader header;
        uint32_t record_size, reserved;
} KeeperStore;

typedef enum KeeperFlags {
        KEEPER_EMBEDDED = 1 << 0,
        KEEPER_SUCCESSOR = 1 << 1, /* an earlier supervisor served this table */
} KeeperFlags;

typedef struct KeeperWelcome {
        KeeperHeader header;
        uint32_t flags;
        uint32_t n_entries;
        uint64_t start_usec; /* the keeper's start, CLOCK_MONOTONIC */
        int32_t keeper_pid;
        int32_t owner_pid; /* embedded: whom it watches; else 0 */
        uint64_t next_key; /* greater than every key the keeper has seen */
} KeeperWelcome;

typedef enum KeeperChildState {
        KEEPER_CHILD_NONE, /* the entry holds a record alone */
        KEEPER_CHILD_HELD,
        KEEPER_CHILD_SETUP,
        KEEPER_CHILD_RUNNING,
        KEEPER_CHILD_EXITED,
} KeeperChildState;

typedef struct KeeperExit {
        int32_t code;   /* CLD_EXITED, CLD_KILLED, CLD_DUMPED */
        int32_t status; /* exit code or signal */
        uint64_t utime_usec, stime_usec;
        uint64_t maxrss_kib;
        uint64_t time_usec; /* when the keeper saw it, CLOCK_MONOTONIC */
} KeeperExit;

/* Followed by record_size bytes; descriptors: [pidfd while the child is not reaped], then those stored (the last
 * n_stored_fds). It tells the whole state: of what it tells no SPAWNED, SETUP or EXITED follows. A child
 * that is asked for and not yet there is told as none. */
typedef struct KeeperEntry {
        KeeperHeader header;
        uint32_t child_state;
        int32_t pid;
        KeeperExit exit;
        uint32_t record_size, n_stored_fds;
        int32_t setup_error, setup_step; /* as in SETUP, once the state is RUNNING or EXITED */
} KeeperEntry;

typedef struct KeeperSpawned {
        KeeperHeader header;
        int32_t pid;
        int32_t error; /* negative errno, 0 for success */
        int32_t step;  /* where it failed */
        uint32_t reserved;
} KeeperSpawned;

typedef struct KeeperSetup {
        KeeperHeader header;
        int32_t error; /* 0: the program runs */
        int32_t step;  /* SpawnStep; with error == -ECHILD it died there without saying why */
} KeeperSetup;

typedef struct KeeperExited {
        KeeperHeader header;
        int32_t pid;
        uint32_t reserved;
        KeeperExit exit;
} KeeperExited;

#define KEEPER_HEADER(msg, t, k)                                                                            \
        (KeeperHeader)                                                                                      \
        {                                                                                                   \
                .size = sizeof(msg), .version = KEEPER_PROTOCOL_VERSION, .type = (t), .key = (k)            \
        }
