/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One probe at a time in a loop that counts its wake-ups, for test-ready.c and test-ready-notify.c. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "supervisor/ready.h"
#include "test.h"

#define PATIENCE (10 * USEC_PER_SEC)

extern char dir[];
extern sd_event *event;
extern Probe *probe;
extern TreeSpec *spec;
extern const ProbeEvents events;

typedef struct Seen {
        unsigned ready, watchdog, status, stopping, commands, wakeups;
        unsigned running, killed; /* commands */
        char text[512];
        bool free_on_ready;
} Seen;
extern Seen seen;

void set_up(void);
void tear_down(void);

/* A specification and its probe; `path` is relative to `dir`. */
void begin(ReadyKind kind, const char *path);
int open_probe(const char *id);
void start(void);
void end(void);

void turn(uint64_t usec);
void turn_until(const unsigned *counter, unsigned n);

/* In a child, whose exit code f returns; reap() checks that it is 0. */
pid_t run_child(int (*f)(void));
void reap(pid_t pid);

#define CASE(f)                                                                                             \
        {                                                                                                   \
#f, f                                                                                       \
        }
