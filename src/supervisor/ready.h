/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Has an actor come up? A Probe watches one generation for the kinds of readiness that someone must watch: notify
 * (a datagram socket of the actor's own, so that a sender already gone is still known), socket (a connect
 * succeeds), file (exists and is newer than the start), command (a program in the actor's cgroup ends with 0).
 * READY_EXEC, READY_EXITED and READY_CHANNEL need no probe. Event-driven where the kernel has an event: inotify on
 * the nearest existing directory for socket and file, a retried connect only after a change there or, where the
 * path exists but refuses, with a rising interval of at most 100 ms; commands at their interval, one at a time. A
 * look every second finds what inotify does not tell. A command that runs for longer than its interval, and at least
 * READY_COMMAND_LIMIT, is killed and has failed.
 *
 * The notify socket also carries the watchdog: it is opened when the kind is notify or watchdog_usec is set, lives
 * as long as the probe, and its datagrams are believed only from the actor's own processes: the file is private
 * to the actor's uid and its name holds the actor id. Descriptors that come along are closed. */

#include <systemd/sd-event.h>

#include "base/usec.h"
#include "supervisor/config.h"

#define READY_COMMAND_LIMIT (10 * USEC_PER_SEC)

typedef struct Probe Probe;

typedef struct ProbeEvents {
        void (*ready)(void *userdata);                    /* once */
        void (*watchdog)(void *userdata);                 /* WATCHDOG=1 */
        void (*status)(const char *text, void *userdata); /* STATUS=, bounded to 256 bytes, UTF-8 checked */
        void (*stopping)(void *userdata);                 /* STOPPING=1 */
        /* READY_COMMAND: run argv in the actor's cgroup with its environment; the owner calls probe_command_ended(). */
        int (*run_command)(char *const *argv, void *userdata);
        void (*kill_command)(void *userdata); /* it takes too long; probe_command_ended() follows as ever */
} ProbeEvents;

typedef struct ProbeOptions {
        sd_event *event;
        const TreeSpec *spec;    /* kept by reference */
        const char *runtime_dir; /* where notify sockets go: "<dir>/notify/<actor id>" */
        const char *actor_id;
        uid_t uid; /* the actor's, for the socket's ownership */
        const ProbeEvents *events;
        void *userdata;
} ProbeOptions;

/* Opens what must exist before the program starts (the notify socket). */
int probe_new(const ProbeOptions *options, Probe **ret);
/* The program has been executed: begin to look. `start_realtime_usec` is the CLOCK_REALTIME of this generation's start. */
int probe_start(Probe *p, uint64_t start_realtime_usec);
Probe *probe_free(Probe *p); /* unlinks the socket */
DEFINE_CLEANUP(Probe *, probe_free);
/* For NOTIFY_SOCKET; NULL: none. */
const char *probe_notify_path(const Probe *p);
void probe_command_ended(Probe *p, bool success);
/* "waits for /run/x.sock: Connection refused": for status and the start-timeout error. Never NULL. */
const char *probe_waits_for(const Probe *p);
