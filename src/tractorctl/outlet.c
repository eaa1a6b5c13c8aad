/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "base/io.h"
#include "tractorctl/outlet.h"

typedef struct Line {
        ListNode node;
        size_t n, off;
        char text[];
} Line;

static void drop_line(Line *line)
{
        list_unlink(&line->node);
        free(line);
}

static int write_piece(Outlet *o)
{
        Line *line = LIST_ENTRY(o->lines.next, Line, node);
        ssize_t k = write(o->fd, line->text + line->off, MIN(line->n - line->off, (size_t) PIPE_BUF));

        if (k < 0)
                return errno == EINTR || errno == EAGAIN ? 0 : -errno;
        line->off += (size_t) k;
        if (line->off < line->n)
                return 0;
        drop_line(line);
        if (o->on_written)
                o->on_written(o->userdata);
        return 0;
}

static int on_writable(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        Outlet *o = userdata;

        if (!outlet_is_empty(o) && o->error == 0)
                o->error = write_piece(o);
        if (o->error < 0 && o->on_written)
                o->on_written(o->userdata);
        if (outlet_is_empty(o) || o->error < 0)
                (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        return 0;
}

int outlet_init(Outlet *o, sd_event *event, int fd, void (*on_written)(void *userdata), void *userdata)
{
        int r;

        *o = (Outlet){ .fd = fd, .on_written = on_written, .userdata = userdata };
        list_init(&o->lines);
        r = sd_event_add_io(event, &o->source, fd, EPOLLOUT, on_writable, o);
        if (r == -EPERM) /* what epoll does not know never keeps anyone waiting */
                return 0;
        return r < 0 ? r : sd_event_source_set_enabled(o->source, SD_EVENT_OFF);
}

void outlet_done(Outlet *o)
{
        o->source = sd_event_source_disable_unref(o->source);
        while (o->lines.next && !list_is_empty(&o->lines))
                drop_line(LIST_ENTRY(o->lines.next, Line, node));
}

int outlet_put(Outlet *o, const char *text, size_t n)
{
        Line *line;

        if (o->error < 0)
                return o->error;
        line = malloc(sizeof(Line) + n + 1);
        if (!line)
                return -ENOMEM;
        *line = (Line){ .n = n + 1 };
        memcpy(line->text, text, n);
        line->text[n] = '\n';
        list_append(&o->lines, &line->node);
        if (o->source)
                return sd_event_source_set_enabled(o->source, SD_EVENT_ON);
        while (!outlet_is_empty(o) && o->error == 0)
                o->error = write_piece(o);
        return o->error;
}

bool outlet_is_empty(const Outlet *o)
{
        return list_is_empty(&o->lines);
}
