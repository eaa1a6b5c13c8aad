/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/usec.h"
#include "supervisor/bus.h"

#define RETRY_MIN_USEC (50 * USEC_PER_MSEC)
#define RETRY_MAX_USEC (2 * USEC_PER_SEC)
#define CALL_TIMEOUT_USEC (15 * USEC_PER_SEC)
#define DIRECT_ADDRESS "unix:path=/run/systemd/private"
/* A systemd that executes itself anew takes its socket away for a moment. */
#define DIRECT_TRIES 4

typedef enum BusState {
        BUS_DOWN,        /* waiting to try again */
        BUS_SUBSCRIBING, /* connected as far as we know; systemd has not answered yet */
        BUS_UP,
} BusState;

struct Bus {
        sd_event *event;
        bool user, attached;
        bool may_direct, direct;
        unsigned n_direct; /* tries since it was last up */
        BusState state;
        const BusEvents *events;
        void *userdata;
        sd_bus *bus;
        sd_bus_slot *subscribe, *slots[4];
        sd_event_source *retry;
        uint64_t interval;
};

bool bus_is_up(const Bus *b)
{
        return b->state == BUS_UP;
}

bool bus_is_direct(const Bus *b)
{
        return b->direct;
}

sd_bus *bus_connection(Bus *b)
{
        return b->state == BUS_UP ? b->bus : NULL;
}

bool bus_error_is_absence(sd_bus_message *reply)
{
        static const char *const names[] = {
                SD_BUS_ERROR_NO_REPLY,
                SD_BUS_ERROR_SERVICE_UNKNOWN,
                SD_BUS_ERROR_NAME_HAS_NO_OWNER,
                SD_BUS_ERROR_DISCONNECTED,
                SD_BUS_ERROR_TIMEOUT,
                SD_BUS_ERROR_NO_SERVER,
                "org.freedesktop.DBus.Error.TimedOut",
                "org.freedesktop.DBus.Error.Spawn.ChildExited",
                "org.freedesktop.DBus.Error.Spawn.ChildSignaled",
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (sd_bus_message_is_method_error(reply, names[i]))
                        return true;
        return false;
}

/* --- signals --- */

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        const char *job, *unit, *result;
        Bus *b = userdata;
        uint32_t id;

        if (sd_bus_message_read(m, "uoss", &id, &job, &unit, &result) >= 0)
                b->events->job_removed(job, result, b->userdata);
        return 0;
}

static int on_job_new(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        const char *job, *unit;
        Bus *b = userdata;
        uint32_t id;

        if (sd_bus_message_read(m, "uos", &id, &job, &unit) >= 0)
                b->events->job_new(unit, b->userdata);
        return 0;
}

static void subscribe(Bus *b);
static void disconnect(Bus *b);

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        const char *name, *before, *after;
        Bus *b = userdata;

        if (sd_bus_message_read(m, "sss", &name, &before, &after) < 0)
                return 0;
        log_debug("systemd %s the bus", *after ? "is on" : "has left");
        if (*after) {
                subscribe(b);
        } else if (b->state == BUS_UP) {
                b->state = BUS_SUBSCRIBING;
                b->events->down(b->userdata);
        }
        return 0;
}

/* The connection may not be taken down within its own call-back; the timer does it. */
static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        disconnect(userdata);
        return 0;
}

/* The bus daemon takes them in order with what is sent after them, so nobody has to wait for its answers. */
static int add_matches(Bus *b)
{
        static const struct {
                const char *sender, *path, *interface, *member;
                sd_bus_message_handler_t handler;
        } matches[] = {
                { NULL, "/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local", "Disconnected",
                                on_disconnected },
                { SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER, "JobRemoved", on_job_removed },
                { "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                "NameOwnerChanged", on_owner_changed },
                { SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER, "JobNew", on_job_new },
        };
        int r = 0;

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(matches); i++) {
                /* At its own socket, nobody but systemd is there to have sent it. */
                const char *sender = b->direct ? NULL : matches[i].sender;
                _cleanup_free_ char *rule = xasprintf(
                                "type='signal'%s%s%s,path='%s',interface='%s',member='%s'%s",
                                sender ? ",sender='" : "", sender ?: "", sender ? "'" : "", matches[i].path,
                                matches[i].interface, matches[i].member,
                                matches[i].handler == on_owner_changed ? ",arg0='" SYSTEMD_NAME "'" : "");

                if (!rule)
                        return -ENOMEM;
                r = sd_bus_add_match_async(b->bus, &b->slots[i], rule, matches[i].handler, NULL, b);
        }
        return r;
}

/* --- the connection --- */

static void forget_connection(Bus *b)
{
        b->subscribe = sd_bus_slot_unref(b->subscribe);
        for (size_t i = 0; i < ELEMENTSOF(b->slots); i++)
                b->slots[i] = sd_bus_slot_unref(b->slots[i]);
        if (b->attached && b->bus)
                (void) sd_bus_detach_event(b->bus);
        b->bus = sd_bus_close_unref(b->bus);
}

static void retry_later(Bus *b)
{
        b->state = BUS_DOWN;
        (void) sd_event_source_set_time_relative(b->retry, b->interval);
        (void) sd_event_source_set_enabled(b->retry, SD_EVENT_ONESHOT);
        b->interval = MIN(b->interval * 2, RETRY_MAX_USEC);
}

static void disconnect(Bus *b)
{
        bool was_up = b->state == BUS_UP;

        if (!b->attached)
                return;
        retry_later(b);
        if (was_up)
                b->events->down(b->userdata);
}

static int on_subscribed(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        Bus *b = userdata;

        b->subscribe = sd_bus_slot_unref(b->subscribe);
        if (sd_bus_message_is_method_error(m, NULL) &&
                        !sd_bus_message_is_method_error(m, "org.freedesktop.systemd1.AlreadySubscribed")) {
                log_debug("systemd does not take our subscription: %s",
                                sd_bus_message_get_error(m)->message);
                disconnect(b);
                return 0;
        }
        b->interval = RETRY_MIN_USEC;
        b->n_direct = 0;
        b->state = BUS_UP;
        b->events->up(b->userdata);
        return 0;
}

static void subscribe(Bus *b)
{
        b->subscribe = sd_bus_slot_unref(b->subscribe);
        if (sd_bus_call_method_async(b->bus, &b->subscribe, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER,
                            "Subscribe", on_subscribed, b, NULL) < 0)
                disconnect(b);
}

static int open_direct(sd_bus **ret)
{
        _cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
        int r;

        r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_address(bus, DIRECT_ADDRESS);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r >= 0)
                *ret = TAKE_PTR(bus);
        return r;
}

static int new_connection(Bus *b)
{
        bool may = b->may_direct && b->n_direct < DIRECT_TRIES;
        int r = may ? open_direct(&b->bus) : -EOPNOTSUPP;

        b->n_direct++;
        if (r < 0 && may && b->direct)
                return r; /* where it was met, it will be back */
        b->direct = r >= 0;
        if (!b->direct)
                r = b->user ? sd_bus_open_user(&b->bus) : sd_bus_open_system(&b->bus);
        if (r < 0)
                return r;
        (void) sd_bus_set_exit_on_disconnect(b->bus, false);
        return sd_bus_set_method_call_timeout(b->bus, CALL_TIMEOUT_USEC);
}

static int connect_again(Bus *b)
{
        int r;

        r = new_connection(b);
        if (r >= 0)
                r = add_matches(b);
        if (r >= 0)
                r = sd_bus_attach_event(b->bus, b->event, SD_EVENT_PRIORITY_NORMAL);
        return r;
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
        Bus *b = userdata;

        forget_connection(b);
        if (connect_again(b) < 0) {
                forget_connection(b);
                retry_later(b);
                return 0;
        }
        b->state = BUS_SUBSCRIBING;
        subscribe(b);
        return 0;
}

int bus_wait(Bus *b, uint64_t deadline)
{
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        int r;

        r = sd_bus_process(b->bus, NULL);
        if (r != 0)
                return MIN(r, 0);
        if (now >= deadline)
                return -ETIMEDOUT;
        r = sd_bus_wait(b->bus, deadline - now);
        return r == -EINTR ? 0 : MIN(r, 0);
}

int bus_call(Bus *b, sd_bus_message *m, uint64_t deadline, sd_bus_error *reterr, sd_bus_message **ret)
{
        uint64_t now = now_usec(CLOCK_MONOTONIC);

        if (!b->bus)
                return -ENOTCONN;
        return now >= deadline ? -ETIMEDOUT : sd_bus_call(b->bus, m, deadline - now, reterr, ret);
}

/* sd_bus_call() would wait for the greeting without a bound. */
static int await_greeting(Bus *b, uint64_t deadline)
{
        int r;

        for (;;) {
                r = sd_bus_is_ready(b->bus);
                if (r != 0)
                        return MIN(r, 0);
                r = bus_wait(b, deadline);
                if (r < 0)
                        return r;
        }
}

static int connect_first(Bus *b, uint64_t deadline)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = new_connection(b);
        if (r >= 0)
                r = await_greeting(b, deadline);
        if (r >= 0)
                r = add_matches(b);
        if (r >= 0)
                r = sd_bus_message_new_method_call(
                                b->bus, &m, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER, "Subscribe");
        return r < 0 ? r : bus_call(b, m, deadline, NULL, NULL);
}

static int open_first(Bus *b, uint64_t deadline)
{
        int r;

        r = connect_first(b, deadline);
        if (r < 0 && b->direct) {
                forget_connection(b);
                b->n_direct = DIRECT_TRIES;
                r = connect_first(b, deadline);
        }
        b->n_direct = 0;
        if (r >= 0)
                r = sd_event_add_time(b->event, &b->retry, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_retry, b);
        if (r >= 0)
                r = sd_event_source_set_enabled(b->retry, SD_EVENT_OFF);
        return r;
}

int bus_open(sd_event *event, bool user, uint64_t deadline, const BusEvents *events, void *userdata,
                Bus **ret)
{
        Bus *b = malloc(sizeof(*b));
        int r;

        if (!b)
                return -ENOMEM;
        *b = (Bus){ .event = event,
                .user = user,
                .may_direct = !user && geteuid() == 0 && !streq(getenv("TRACTOR_FORCE_BUS") ?: "", "1"),
                .events = events,
                .userdata = userdata,
                .interval = RETRY_MIN_USEC,
                .state = BUS_UP };
        r = open_first(b, deadline);
        if (r < 0) {
                bus_free(b);
                return r;
        }
        *ret = b;
        return 0;
}

int bus_attach(Bus *b)
{
        b->attached = true;
        return sd_bus_attach_event(b->bus, b->event, SD_EVENT_PRIORITY_NORMAL);
}

Bus *bus_free(Bus *b)
{
        if (!b)
                return NULL;
        sd_event_source_disable_unref(b->retry);
        forget_connection(b);
        free(b);
        return NULL;
}
