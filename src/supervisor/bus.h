/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The connection to systemd's manager, and its coming and going. Opened once with patience, since at start-up nothing
 * else can be done; from then on never waited for. When it breaks, or systemd leaves the bus, down() is told, and
 * it is tried again with rising intervals until systemd has taken our subscription, which up() tells. Between
 * the two, signals may have been missed: whoever waits for one asks anew in up(). Nothing here ends the process.
 *
 * The system's manager is met at its own socket, root's way in, and where that is not to be had on the bus. Over the bus
 * systemd asks the daemon twice during each start, and waits: who is this, and is he still there? Directly the daemon
 * is not needed at all. The price is every signal that systemd sends, not only those we match.
 *
 * up() comes after every return of systemd, without a down() before it where systemd changed its owner of the name
 * in one step; it doesn't come for the first connection, which bus_open() has made. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "base/macro.h"

#define SYSTEMD_NAME "org.freedesktop.systemd1"
#define SYSTEMD_PATH "/org/freedesktop/systemd1"
#define SYSTEMD_MANAGER "org.freedesktop.systemd1.Manager"
#define SYSTEMD_UNIT_PATH SYSTEMD_PATH "/unit"

typedef struct Bus Bus;

typedef struct BusEvents {
        void (*up)(void *userdata);
        void (*down)(void *userdata);
        void (*job_removed)(const char *job, const char *result, void *userdata);
        /* systemd is to do something with a unit. Told before that is begun. */
        void (*job_new)(const char *unit, void *userdata);
} BusEvents;

/* Connects and subscribes before `deadline` (CLOCK_MONOTONIC), not yet attached to the event loop. */
int bus_open(sd_event *event, bool user, uint64_t deadline, const BusEvents *events, void *userdata,
                Bus **ret);
/* From here on the loop drives it. */
int bus_attach(Bus *b);
Bus *bus_free(Bus *b);
DEFINE_CLEANUP(Bus *, bus_free);

bool bus_is_up(const Bus *b);
/* At systemd's own socket, without the bus daemon. */
bool bus_is_direct(const Bus *b);
/* NULL while it is down. */
sd_bus *bus_connection(Bus *b);

/* An error by which an answer says nothing of the question: the connection or systemd went away meanwhile. */
bool bus_error_is_absence(sd_bus_message *reply);

/* One call of the manager with a deadline, before bus_attach() or at the very end. */
int bus_call(Bus *b, sd_bus_message *m, uint64_t deadline, sd_bus_error *reterr, sd_bus_message **ret);
/* Processes what has come or waits for it. -ETIMEDOUT after the deadline. */
int bus_wait(Bus *b, uint64_t deadline);
