/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A real tractord under test. Its supervisor is the test program again, started by the name tractor-supervisor
 * (fake_supervisor()), which hands its end of the keeper's socket to the test and then does as it is told: so
 * the test itself speaks as the supervisor, and can have it exit, hang or be killed.
 *
 * The test is a subreaper: what the keeper leaves behind comes to it, and rig_expect_nothing_left() sees it. */

#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>

#include "base/io.h"
#include "base/usec.h"
#include "keeper/protocol.h"
#include "keeper/spec.h"
#include "test.h"

typedef struct Rig {
        pid_t keeper;
        int owner_fd;         /* embedded: the end the owner holds */
        int control_listener; /* where fake supervisors report */
        int control;          /* to the current one */
        int fd;               /* its end of the keeper's socket */
        pid_t supervisor;
        char supervisor_argv[1024]; /* joined by spaces */
        char dir[64];
        bool own_spawner; /* the test program is the spawner, too */
        rlim_t nofile;    /* 0: as it is */
        const char *notify_socket;
        int listen_fd; /* passed by LISTEN_FDS; -EBADF: none */
} Rig;

typedef struct Reply {
        union {
                KeeperHeader header;
                KeeperWelcome welcome;
                KeeperEntry entry;
                KeeperSpawned spawned;
                KeeperSetup setup;
                KeeperExited exited;
                uint8_t bytes[sizeof(KeeperEntry) + KEEPER_RECORD_MAX];
        };
        size_t n;
        int fds[SCM_FDS_MAX];
        size_t n_fds;
} Reply;

#define RIG_TIMEOUT_MS 20000

/* First thing in main(): does not return in a process started as the supervisor. */
void rig_init(int argc, char **argv);
/* `args` go to tractord, NULL-terminated; "--embedded" brings an --owner-fd with it. Does not wait. */
void rig_start(Rig *r, char *const *args);
/* Waits for the next supervisor to report. */
void rig_accept(Rig *r);
/* HELLO, and everything up to TABLE_END; entries beyond `max` fail the test. */
size_t rig_hello(Rig *r, Reply *entries, size_t max);
void rig_beat(Rig *r);
/* start, accept, hello (no entries), beat. */
void rig_up(Rig *r, char *const *args);
/* Has the supervisor exit with 0 and checks that the keeper ends with 0 and nothing is left. */
void rig_down(Rig *r);
int rig_wait_keeper(Rig *r); /* its wait status */
void rig_expect_nothing_left(Rig *r);
void rig_supervisor_exit(Rig *r, int code);
char rig_supervisor_signalled(Rig *r); /* waits for a signal to reach it, and says which */

void rig_send(Rig *r, const void *p, size_t n, const int *fds, size_t n_fds);
void rig_simple(Rig *r, KeeperMessageType type, uint64_t key);
void rig_store(Rig *r, uint64_t key, const void *record, size_t n, const int *fds, size_t n_fds);
void rig_spawn_fd(Rig *r, uint64_t key, unsigned flags, int spec, const int *more, size_t n_more);
void rig_spawn(Rig *r, uint64_t key, unsigned flags, const SpawnSpec *spec, const int *more, size_t n_more);
/* A spec that runs `sh -c script` with stdio inherited. */
SpawnSpec *rig_sh(const char *script);
void rig_spawn_sh(Rig *r, uint64_t key, unsigned flags, const char *script);

void rig_receive(Rig *r, Reply *ret);
/* The next message must be this one. */
void rig_expect(Rig *r, KeeperMessageType type, uint64_t key, Reply *ret);
void reply_done(Reply *m);
/* SPAWNED must say success; the pidfd is the caller's to close when asked for. */
pid_t rig_expect_spawned(Rig *r, uint64_t key, int *ret_pidfd);
void rig_expect_setup(Rig *r, uint64_t key, int step, int error);
void rig_expect_exited(Rig *r, uint64_t key, int code, int status);
/* Returns when the keeper has handled all that was sent before. No other message may be on its way. */
void rig_barrier(Rig *r);

/* 'R', 'S', 'Z' … or 0 when there is no such process. */
char process_state(pid_t pid);
void wait_readable(int fd);
uint64_t test_now_usec(void);
