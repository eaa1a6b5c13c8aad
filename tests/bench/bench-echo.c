/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/io.h"
#include "dialog/session.h"

/* An actor that answers every request on every connection it is given with {}. */

static sd_event *event;

static void on_request(Session *s, Call *call, const Message *m, void *userdata)
{
        Json *result = NULL;

        if (json_pack(&result, "{}") < 0)
                abort();
        call_reply(call, result, NULL, 0);
}

static void on_end(Session *s, void *userdata)
{
        session_free(s);
}

static const SessionVtable portal_vtable = { .on_request = on_request, .on_end = on_end };

static void on_notification(Session *s, const Message *m, void *userdata)
{
        const SessionOptions options = { .last_id = json_get_integer(m->params, "last_id", 0) };
        Session *portal;
        int fd;

        if (streq(m->method, "$/cancel"))
                (void) sd_event_exit(event, 0);
        if (!streq(m->method, "$/accept") || session_take_fds(s, &fd, 1) < 0)
                return;
        if (session_new(event, fd, &options, &portal_vtable, NULL, &portal) < 0)
                abort();
}

static void on_channel_end(Session *s, void *userdata)
{
        (void) sd_event_exit(event, 0);
}

static const SessionVtable channel_vtable = {
        .on_request = on_request, .on_notification = on_notification, .on_end = on_channel_end
};

int main(void)
{
        const SessionOptions options = { .connector = true, .hello = true, .name = "bench-echo" };
        const char *fd = getenv("TRACTOR_CHANNEL_FD");
        Session *channel;

        if (!fd || sd_event_new(&event) < 0 ||
                        session_new(event, atoi(fd), &options, &channel_vtable, NULL, &channel) < 0 ||
                        session_notify(channel, "$/ready", NULL) < 0)
                abort();
        return sd_event_loop(event);
}
