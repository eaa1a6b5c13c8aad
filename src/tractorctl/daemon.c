/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

#include "base/usec.h"
#include "tractorctl/daemon.h"

#define CONNECT_INTERVAL_USEC (2 * USEC_PER_MSEC)
#define CONNECT_INTERVAL_MAX_USEC (50 * USEC_PER_MSEC)

static int on_tick(sd_event_source *s, uint64_t usec, void *userdata)
{
        return 0; /* the turn is all that is wanted */
}

/* Lets the loop run for `usec`, or less when something happens. */
static int pause_loop(sd_event *event, uint64_t usec)
{
        sd_event_source *timer = NULL;
        int r = sd_event_add_time_relative(event, &timer, CLOCK_MONOTONIC, usec, 1, on_tick, NULL);

        if (r >= 0)
                r = sd_event_run(event, UINT64_MAX);
        sd_event_source_disable_unref(timer);
        return r;
}

/* One attempt: 0 connected; -EAGAIN nobody there yet. */
static int try_connect(Context *c, const char *path, ClientAbort aborted, void *userdata)
{
        const ClientOptions options = {
                .event = c->event, .fd = connect_to(path), .aborted = aborted, .userdata = userdata
        };
        int r;

        if (options.fd == -ENOENT || options.fd == -ECONNREFUSED)
                return -EAGAIN;
        if (options.fd < 0)
                return options.fd;
        r = client_new(&options, &c->client);
        return r == -ECONNRESET || r == -ETIMEDOUT || r == -EPIPE ? -EAGAIN : r;
}

int daemon_connect(Context *c, Daemon *d, const char *path, ClientAbort aborted, void *userdata)
{
        uint64_t interval = CONNECT_INTERVAL_USEC;

        c->client = client_free(c->client);
        for (;;) {
                int r;

                if (d->exited)
                        return -ECHILD;
                if (aborted && aborted(userdata))
                        return -ECANCELED;
                r = try_connect(c, path, aborted, userdata);
                if (r != -EAGAIN)
                        return r;
                r = pause_loop(c->event, interval);
                if (r < 0)
                        return r;
                interval = MIN(interval * 2, CONNECT_INTERVAL_MAX_USEC);
        }
}

static bool daemon_is_gone(void *userdata)
{
        const Daemon *d = userdata;

        return d->exited;
}

int daemon_start_failed(const Context *c, int r)
{
        _cleanup_free_ char *why = daemon_describe_failure(r);

        return fail(c, CTL_FAILED, "%s", strna(why));
}

int daemon_ended_early(const Context *c, const Daemon *d)
{
        _cleanup_free_ char *end = daemon_describe_end(d);

        return fail(c, CTL_FAILED, "tractord ended before it answered: %s; see what it said above",
                        strna(end));
}

int daemon_start_private(Context *c, Daemon **ret)
{
        char dir[] = "/tmp/tractor-question-XXXXXX";
        _cleanup_free_ char *sock = NULL;
        Daemon *d = NULL;
        int r;

        if (!mkdtemp(dir))
                return fail(c, CTL_FAILED, "can't make a directory in /tmp: %s; see 'ls -ld /tmp'",
                                strerror(errno));
        sock = xasprintf("%s/s", dir);
        r = sock ? daemon_start(&(DaemonOptions){ .event = c->event,
                                                .listen = { sock },
                                                .backend = "process",
                                                .log_level = "err" },
                                   &d)
                 : -ENOMEM;
        if (r < 0) {
                (void) rmdir(dir);
                return daemon_start_failed(c, r);
        }
        *ret = d;
        d->private_dir = strdup(dir);
        r = daemon_connect(c, d, sock, daemon_is_gone, d);
        if (r == -ECHILD || r == -ECANCELED)
                return daemon_ended_early(c, d);
        return r < 0 ? fail_errno(c, r) : 0;
}
