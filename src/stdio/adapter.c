/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/io.h"
#include "base/log.h"
#include "base/usec.h"
#include "stdio/adapter.h"

/* The channel's, as the supervisor's side has them. */
#define CHANNEL_MAX_LINE (128U * 1024)
#define CHANNEL_MAX_VALUES 4096U
/* What a dead program has said, pipes being no larger. */
#define DRAIN_MAX (1024U * 1024)
/* For last answers to be read: the next generation waits for us. */
#define LEAVE_USEC (250 * USEC_PER_MSEC)

static void stop(Adapter *a, int code)
{
        (void) sd_event_exit(a->event, code);
}

void adapter_broken(Adapter *a)
{
        log_error("out of memory");
        stop(a, EXIT_FAILURE);
}

static int arm(Adapter *a, uint64_t usec, sd_event_time_handler_t handler)
{
        a->timer = sd_event_source_disable_unref(a->timer);
        return sd_event_add_time_relative(
                        a->event, &a->timer, CLOCK_MONOTONIC, usec, USEC_PER_MSEC, handler, a);
}

/* --- the program's end --- */

static int on_deaf(sd_event_source *s, uint64_t usec, void *userdata)
{
        Adapter *a = userdata;

        a->deaf = true;
        log_warning("the program has closed its standard input or output, and runs on: it is asked nothing "
                    "any more");
        program_fail_all(a, ERROR_CONNECTION_LOST, NULL,
                        "the program has closed its standard input or output");
        return 0;
}

void adapter_lost_program(Adapter *a)
{
        if (!a->leaving && !a->deaf && !a->timer && arm(a, SESSION_LINGER_MS * USEC_PER_MSEC, on_deaf) < 0)
                adapter_broken(a);
}

static int on_left(sd_event_source *s, uint64_t usec, void *userdata)
{
        stop(userdata, EXIT_SUCCESS);
        return 0;
}

void adapter_lost_connection(Adapter *a)
{
        if (a->leaving && list_is_empty(&a->connections))
                stop(a, EXIT_SUCCESS);
}

/* Whatever had come by then has been answered. The supervisor has the last word on connections that know it, so that
 * they are left open here. */
static int on_all_heard(sd_event_source *s, void *userdata)
{
        Adapter *a = userdata;

        connections_close(a);
        adapter_lost_connection(a);
        return 0;
}

/* After everything that is to be read already: a request in a socket is as open as one that was passed on. */
static int hear_all(Adapter *a)
{
        int r = sd_event_add_defer(a->event, &a->last, on_all_heard, a);

        return r < 0 ? r : sd_event_source_set_priority(a->last, SD_EVENT_PRIORITY_IDLE);
}

/* People read the text alone. */
static void describe_death(Adapter *a, const Json *exit)
{
        const char *signal = json_get_string(exit, "signal", NULL),
                   *cause = json_get_string(exit, "cause", "unknown");

        if (signal)
                (void) snprintf(a->death_text, sizeof(a->death_text), "%.400s killed by %s (%s)", a->path,
                                signal, cause);
        else
                (void) snprintf(a->death_text, sizeof(a->death_text), "%.400s ended with code %d (%s)",
                                a->path, (int) json_get_integer(exit, "code", -1), cause);
}

static void leave(Adapter *a, const Json *params)
{
        if (a->leaving)
                return;
        /* What it said before it died counts. Others may still hold its stdout: it is not waited for. */
        lines_drain(a->program, DRAIN_MAX);
        a->leaving = true;
        describe_death(a, json_get(params, "exit"));
        if (json_pack(&a->death, "{actor:s, exit:O}", a->path, json_get(params, "exit")) < 0 ||
                        arm(a, LEAVE_USEC, on_left) < 0 || hear_all(a) < 0) {
                adapter_broken(a);
                return;
        }
        program_fail_all(a, ERROR_ACTOR_DIED, a->death, a->death_text);
}

/* --- the channel --- */

static void refuse(int fd)
{
        _cleanup_json_ Json *v = NULL;
        Json *error = NULL;
        const char *text;
        size_t n;

        if (message_error_object(&error, ERROR_LIMIT_EXCEEDED, NULL, "more than %u connections of one user",
                            CONNECTIONS_PER_UID) >= 0 &&
                        message_error(&v, NULL, error) >= 0 && (text = json_print(v, &n))) {
                (void) send(fd, text, n, MSG_NOSIGNAL | MSG_DONTWAIT);
                (void) send(fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        (void) shutdown(fd, SHUT_RDWR);
}

static void on_accept(Adapter *a, Session *s, const Message *m)
{
        int64_t uid = json_get_integer(json_get(m->params, "peer"), "uid", -1);
        int fd = -EBADF, r = 0;

        if (session_take_fds(s, &fd, 1) < 0)
                return;
        if (!a->leaving && connections_of(a, uid) < CONNECTIONS_PER_UID)
                r = connection_new(a, TAKE_FD(fd), m->params);
        else if (!a->leaving)
                refuse(fd);
        safe_close(fd);
        if (r < 0)
                log_errno(r, "can't serve a connection");
}

static void on_notification(Session *s, const Message *m, void *userdata)
{
        Adapter *a = userdata;

        if (streq(m->method, "$/accept"))
                on_accept(a, s, m);
        else if (streq(m->method, "$/peer_exited"))
                connections_peer_exited(a, m->params);
        else if (streq(m->method, "$/child_exited") && streq(json_get_string(m->params, "id", ""), a->id))
                leave(a, m->params);
        else if (streq(m->method, "$/cancel")) {
                a->stopping = true;
                lines_finish(a->program);
        }
}

static void on_request(Session *s, Call *call, const Message *m, void *userdata)
{
        call_fail(call, ERROR_METHOD_NOT_FOUND, NULL, "%s: an adapter has no methods of its own", m->method);
}

/* Without a supervisor there is nobody to serve: the program sees the end of its input. */
static void on_end(Session *s, void *userdata)
{
        stop(userdata, EXIT_SUCCESS);
}

static const SessionVtable vtable = {
        .on_request = on_request,
        .on_notification = on_notification,
        .on_end = on_end,
};

/* --- the adapter --- */

Adapter *adapter_free(Adapter *a)
{
        if (!a)
                return NULL;
        a->leaving = true; /* nobody is told anything any more */
        while (!list_is_empty(&a->connections))
                connections_drop_first(a);
        a->program = lines_free(a->program);
        if (a->channel)
                session_free(a->channel);
        sd_event_source_disable_unref(a->timer);
        sd_event_source_disable_unref(a->last);
        json_unref(a->death);
        sd_event_unref(a->event);
        ids_done(&a->ids);
        free(a);
        return NULL;
}

int adapter_new(sd_event *event, int channel_fd, int in, int out, const char *path, const char *id,
                Adapter **ret)
{
        SessionOptions options = { .max_line = CHANNEL_MAX_LINE,
                .limits = { .max_values = CHANNEL_MAX_VALUES },
                .name = ADAPTER_NAME,
                .path = path,
                .id = id,
                .connector = true,
                .hello = true,
                .trust_canceller = true };
        _cleanup_(adapter_freep) Adapter *a = calloc(1, sizeof(Adapter));
        int r;

        if (!a)
                return -ENOMEM;
        a->event = sd_event_ref(event);
        a->path = path;
        a->id = id;
        list_init(&a->asked);
        list_init(&a->connections);
        r = program_open(a, in, out);
        if (r >= 0)
                r = session_new(event, channel_fd, &options, &vtable, a, &a->channel);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(a);
        return 0;
}
