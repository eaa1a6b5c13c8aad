/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "supervisor/probe.h"

#define COMMAND_INTERVAL_MIN (10 * USEC_PER_MSEC)

static const char *waits_for_text(const Probe *p)
{
        switch (p->spec->ready) {
        case READY_NOTIFY:
                return "waits for READY=1 on its notify socket";
        case READY_CHANNEL:
                return "waits for $/ready on its channel";
        case READY_EXITED:
                return "waits for its own end with code 0";
        default:
                return "waits for nothing";
        }
}

const char *probe_waits_for(const Probe *p)
{
        return p->waits ?: waits_for_text(p);
}

/* The sentence is for people: without memory for it the general one stands in. */
void probe_set_waits(Probe *p, const char *what, const char *why)
{
        free(p->waits);
        p->waits = xasprintf("waits for %s: %s", what, why);
}

Probe *probe_pin(Probe *p)
{
        p->pins++;
        return p;
}

Probe *probe_unpin(Probe *p)
{
        if (--p->pins > 0 || !p->freed)
                return NULL;
        free(p->notify_path);
        free(p->path);
        free(p->watched);
        free(p->waits);
        tree_spec_unref(p->spec);
        sd_event_unref(p->event);
        free(p);
        return NULL;
}

Probe *probe_free(Probe *p)
{
        if (!p || p->freed)
                return NULL;
        p->freed = true;
        p->notify = sd_event_source_disable_unref(p->notify);
        p->timer = sd_event_source_disable_unref(p->timer);
        p->watch = sd_event_source_disable_unref(p->watch);
        p->notify_fd = safe_close(p->notify_fd);
        if (p->notify_path)
                (void) unlink(p->notify_path);
        return probe_unpin(probe_pin(p));
}

/* The event wakes at `at`; an earlier appointment is replaced. */
void probe_wake_at(Probe *p, uint64_t at)
{
        (void) sd_event_source_set_time(p->timer, at);
        (void) sd_event_source_set_enabled(p->timer, SD_EVENT_ONESHOT);
}

/* Always from the loop, so that no caller is called back from within its own call. */
void probe_succeed(Probe *p)
{
        p->succeeded = true;
        p->watch = sd_event_source_disable_unref(p->watch);
        if (p->started)
                probe_wake_at(p, 0);
}

static void report_ready(Probe *p)
{
        if (p->reported)
                return;
        p->reported = true;
        p->events->ready(p->userdata);
}

static void run_command(Probe *p)
{
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        int r;

        p->command_at = now;
        p->command_runs = true;
        p->command_killed = false;
        r = p->events->run_command(p->spec->ready_command, p->userdata);
        if (p->freed)
                return;
        if (r >= 0) {
                probe_wake_at(p, usec_add(now, MAX(p->spec->ready_interval_usec, READY_COMMAND_LIMIT)));
                return;
        }
        p->command_runs = false;
        probe_set_waits(p, p->spec->ready_command[0], strerror(-r));
        probe_wake_at(p, now + MAX(p->spec->ready_interval_usec, COMMAND_INTERVAL_MIN));
}

/* Its end comes as that of any other. */
static void kill_command(Probe *p)
{
        p->command_killed = true;
        p->events->kill_command(p->userdata);
}

void probe_command_ended(Probe *p, bool success)
{
        if (!p->command_runs)
                return;
        p->command_runs = false;
        if (success) {
                probe_succeed(p);
                return;
        }
        probe_set_waits(p, p->spec->ready_command[0],
                        p->command_killed ? "took too long and was killed"
                                          : "has not ended with code 0 yet");
        /* From its start, so that a slow command does not stretch the interval; one that takes longer than the
         * interval is asked again at once, but never without a breath. */
        probe_wake_at(p, MAX(p->command_at + p->spec->ready_interval_usec,
                                         now_usec(CLOCK_MONOTONIC) + COMMAND_INTERVAL_MIN));
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
        Probe *p = probe_pin(userdata);

        if (p->succeeded)
                report_ready(p);
        else if (p->command_runs)
                kill_command(p);
        else if (p->spec->ready == READY_COMMAND)
                run_command(p);
        else
                probe_look(p);
        probe_unpin(p);
        return 0;
}

int probe_new(const ProbeOptions *options, Probe **ret)
{
        _cleanup_(probe_freep) Probe *p = calloc(1, sizeof(Probe));
        bool notify = options->spec->ready == READY_NOTIFY || options->spec->node.watchdog_usec > 0;
        int r;

        if (!p)
                return -ENOMEM;
        p->notify_fd = -EBADF;
        p->event = sd_event_ref(options->event);
        /* The count of references is no part of what the specification says. */
        p->spec = tree_spec_ref((TreeSpec *) options->spec);
        p->events = options->events;
        p->userdata = options->userdata;
        r = sd_event_add_time(p->event, &p->timer, CLOCK_MONOTONIC, 0, 1, on_timer, p);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        if (p->spec->ready == READY_SOCKET || p->spec->ready == READY_FILE) {
                r = probe_look_prepare(p);
                if (r < 0)
                        return r;
        }
        if (notify) {
                r = probe_notify_open(p, options);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(p);
        return 0;
}

int probe_start(Probe *p, uint64_t start_realtime_usec)
{
        if (p->started)
                return -EALREADY;
        p->started = true;
        p->start_realtime = start_realtime_usec;
        switch (p->spec->ready) {
        case READY_COMMAND:
                probe_set_waits(p, p->spec->ready_command[0], "has not ended with code 0 yet");
                probe_wake_at(p, 0);
                break;
        case READY_SOCKET:
        case READY_FILE:
                probe_wake_at(p, 0);
                break;
        default:
                if (p->succeeded)
                        probe_wake_at(p, 0);
        }
        return 0;
}

const char *probe_notify_path(const Probe *p)
{
        return p->notify_path;
}
