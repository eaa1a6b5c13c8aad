/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The inside of a Probe, for ready.c (its life and commands), ready-look.c (sockets and files) and ready-notify.c
 * (datagrams). All looking is done by one timer: whatever else happens only moves the timer, so that neither a busy
 * directory nor a busy sender can make the supervisor look more often than every LOOK_GAP.
 *
 * A call-back may free the probe it comes from. Callers of call-backs therefore pin it, and probe_free() ends
 * everything at once but leaves the memory to the last pin. */

#include <sys/stat.h>

#include "base/io.h"
#include "base/usec.h"
#include "supervisor/ready.h"

struct Probe {
        sd_event *event;
        TreeSpec *spec;
        const ProbeEvents *events;
        void *userdata;
        unsigned pins;
        bool freed, started;
        bool succeeded, reported; /* what was waited for has come; the owner was told */
        sd_event_source *timer;
        char *waits;

        char *notify_path;
        int notify_fd;
        sd_event_source *notify;

        char *path;         /* socket or file, absolute */
        struct stat before; /* the file before the program was started; st_nlink 0: there was none */
        uint64_t opened_realtime, start_realtime;
        sd_event_source *watch;
        char *watched; /* the directory */
        uint64_t looked_at, interval;

        bool command_runs, command_killed;
        uint64_t command_at;
};

Probe *probe_pin(Probe *p);
Probe *probe_unpin(Probe *p); /* returns NULL */
void probe_wake_at(Probe *p, uint64_t at);
void probe_succeed(Probe *p);
void probe_set_waits(Probe *p, const char *what, const char *why);

int probe_notify_open(Probe *p, const ProbeOptions *options);

int probe_look_prepare(Probe *p);
/* Looks once, and sees to it that it is called again when there may be something new. */
void probe_look(Probe *p);
