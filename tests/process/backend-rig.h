/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A keeper for tests of backends: the test program itself. It clones the children as a SpawnPlan says, held or into a
 * cgroup, is their subreaper, and decides when a zombie is reaped. Children are the program again, in one of the
 * modes of rig_child_main(). */

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "supervisor/backend.h"
#include "supervisor/cgroup.h"
#include "test.h"

#define PATIENCE_USEC (15 * USEC_PER_SEC)

typedef struct Fixture {
        sd_event *event;
        Backend *backend;
        const BackendVtable *vtable;
        CgroupRoot root;
        char *why;
        unsigned n;
} Fixture;

typedef struct Actor {
        Fixture *fixture;
        Home *home;
        char id[40];
        uint32_t generation;
        int pid, pidfd;
        int ready[2]; /* the child writes here when it is what it was asked to be */
        int go[2];    /* and waits here where its mode says so */
        int hold[2];
        bool held;
        int adopted, emptied, stops, consulted, refused; /* how often; refused: adopted() with an error */
        int error;
        char why[256];
        void (*on_adopted)(struct Actor *a);
        void (*on_emptied)(struct Actor *a);
} Actor;

/* For main(): `argv[1]` is "--child". */
int rig_child_main(const char *mode);

int rig_try_open(Fixture *f, const char *instance, BackendKind kind);
/* Skips where this machine has no such backend. */
void rig_open(Fixture *f, const char *instance, BackendKind kind);
/* Nothing may be left: no cgroup of the instance, no child. */
void rig_close(Fixture *f);
void rig_reap_all(void);
void rig_turn(Fixture *f);

#define WAIT_FOR(f, condition)                                                                              \
        do {                                                                                                \
                uint64_t _deadline = now_usec(CLOCK_MONOTONIC) + PATIENCE_USEC;                             \
                while (!(condition)) {                                                                      \
                        CHECK(now_usec(CLOCK_MONOTONIC) < _deadline);                                       \
                        rig_turn(f);                                                                        \
                }                                                                                           \
        } while (0)

void actor_init(Fixture *f, Actor *a);
void actor_new(Fixture *f, Actor *a, Home *parent, const char *name);
Home *supervisor_new(Fixture *f, Home *parent, const char *name);
/* A process by the plan, held where it says so. */
int rig_clone(int cgroup_fd, int *ret_pidfd);
/* prepare, clone, adopt: the answer to come. */
void actor_clone(Actor *a, const char *mode);
void actor_adopt(Actor *a);
void actor_release_hold(Actor *a);
/* … and the answer awaited, the child what it was asked to be. */
void actor_start(Actor *a, const char *mode);
void await_byte(int fd);
/* The main process has ended; its zombie is there as long as the test wants. */
void await_exit(Actor *a);
void actor_reap(Actor *a);
void actor_free(Actor *a);
