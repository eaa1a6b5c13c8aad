/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/io.h"
#include "wire/turns.h"

static int on_turn(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Turns *t = userdata;
        Turn *first;

        if (list_is_empty(&t->queue))
                return sd_event_source_set_enabled(source, SD_EVENT_OFF);
        first = LIST_ENTRY(t->queue.next, Turn, node);
        turn_drop(first);
        first->run(first);
        return 0;
}

int turns_init(Turns *t, sd_event *event)
{
        int r, fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

        list_init(&t->queue);
        if (fd < 0)
                return -errno;
        r = sd_event_add_io(event, &t->source, fd, EPOLLIN, on_turn, t);
        if (r < 0) {
                safe_close(fd);
                return r;
        }
        (void) sd_event_source_set_io_fd_own(t->source, true);
        r = sd_event_source_set_enabled(t->source, SD_EVENT_OFF);
        if (r < 0)
                turns_done(t);
        return r;
}

void turns_done(Turns *t)
{
        assert(list_is_empty(&t->queue));
        t->source = sd_event_source_disable_unref(t->source);
}

int turns_queue(Turns *t, Turn *turn)
{
        if (!list_is_empty(&turn->node))
                return 0;
        list_append(&t->queue, &turn->node);
        return sd_event_source_set_enabled(t->source, SD_EVENT_ON);
}
