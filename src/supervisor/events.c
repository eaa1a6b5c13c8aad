/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/random.h>

#include "base/error.h"
#include "base/list.h"
#include "base/path.h"
#include "base/usec.h"
#include "supervisor/events.h"
#include "supervisor/node-json.h"

typedef struct Subscription {
        ListNode queue;
        Events *events; /* weak */
        Call *call;
        char *path;
} Subscription;

struct Events {
        ListNode subscriptions;
        Cork *cork; /* weak; on while an event is published: those of one turn go to a subscriber together */
        sd_event_source *release;
        char epoch[17];
        uint64_t seq;
};

static int on_release(sd_event_source *source, void *userdata)
{
        Events *e = userdata;

        cork_release(e->cork);
        return 0;
}

int events_new(sd_event *event, Cork *cork, Events **ret)
{
        Events *e = calloc(1, sizeof(Events));
        uint64_t epoch;
        int r;

        if (!e)
                return -ENOMEM;
        e->cork = cork;
        r = getrandom(&epoch, sizeof(epoch), 0) < 0 ? -errno : 0;
        if (r >= 0)
                r = sd_event_add_defer(event, &e->release, on_release, e);
        if (r >= 0)
                r = sd_event_source_set_enabled(e->release, SD_EVENT_OFF);
        if (r < 0) {
                sd_event_source_disable_unref(e->release);
                free(e);
                return r;
        }
        for (int i = 0; i < 16; i++)
                e->epoch[i] = "0123456789abcdef"[(epoch >> (4 * i)) & 15];
        list_init(&e->subscriptions);
        *ret = e;
        return 0;
}

static void subscription_free(Subscription *s)
{
        list_unlink(&s->queue);
        free(s->path);
        free(s);
}

Events *events_free(Events *e)
{
        if (!e)
                return NULL;
        LIST_FOREACH_SAFE(i, &e->subscriptions) {
                Subscription *s = LIST_ENTRY(i, Subscription, queue);

                call_fail(s->call, ERROR_ACTOR_STOPPED, NULL, "the supervisor stops");
                subscription_free(s);
        }
        sd_event_source_disable_unref(e->release);
        free(e);
        return NULL;
}

/* Cancelled by the subscriber or gone with its connection. */
static void on_subscription_cancel(Call *call, void *userdata)
{
        subscription_free(userdata);
        call_fail(call, ERROR_CANCELLED, NULL, "the subscription was cancelled");
}

void events_subscribe(Events *e, Call *call, const char *path)
{
        Subscription *s = calloc(1, sizeof(Subscription));
        Json *value = NULL;

        if (s)
                s->path = strdup(path);
        if (!s || !s->path || json_pack(&value, "{epoch:s, seq:U}", e->epoch, e->seq) < 0) {
                if (s)
                        free(s->path);
                free(s);
                call_fail(call, ERROR_INTERNAL, NULL, "out of memory");
                return;
        }
        s->events = e;
        s->call = call;
        list_append(&e->subscriptions, &s->queue);
        call_set_userdata(call, s, on_subscription_cancel);
        (void) call_started(call, value, NULL, NULL);
}

bool events_wanted(const Events *e)
{
        return e && !list_is_empty(&e->subscriptions);
}

void events_publish(Events *e, const char *path, const char *event, Json *extra)
{
        _cleanup_json_ Json *item = NULL, *rest = extra;
        JsonIterator i = { 0 };

        if (!e)
                return;
        e->seq++;
        if (!events_wanted(e))
                return;
        if (json_pack(&item, "{epoch:s, seq:U, time_us:U, path:s, event:s}", e->epoch, e->seq,
                            now_usec(CLOCK_REALTIME), path, event) < 0)
                return;
        while (rest && json_next(rest, &i))
                if (json_set(item, i.key, json_ref(i.value)) < 0)
                        return;
        e->cork->on = true;
        LIST_FOREACH_SAFE(n, &e->subscriptions) {
                Subscription *s = LIST_ENTRY(n, Subscription, queue);

                if (node_path_covers(s->path, path) && call_offer(s->call, json_ref(item)) == -ENOBUFS) {
                        call_fail(s->call, ERROR_OVERRUN, NULL, "the subscriber could not keep up");
                        subscription_free(s);
                }
        }
        e->cork->on = false;
        if (!list_is_empty(&e->cork->streams))
                (void) sd_event_source_set_enabled(e->release, SD_EVENT_ONESHOT);
}

void events_state(Events *e, const Node *node, NodeState from, NodeState to)
{
        Json *extra = NULL;

        if (events_wanted(e) && node_state_event(node, from, to, &extra) < 0)
                return;
        events_publish(e, node->path, "state", extra);
}

void events_give_up(Events *e, const Node *node, const Node *about, const char *reason)
{
        Json *extra = NULL, *exit = NULL;

        if (events_wanted(e)) {
                if (exit_to_json(&about->exit, &exit) < 0 ||
                                json_pack(&extra, "{about:s, exit:o, reason:s?}", about->path, exit,
                                                reason) < 0)
                        return;
        }
        events_publish(e, node->path, "gave_up", extra);
}

void events_spawned(Events *e, const Node *node, int pid)
{
        Json *extra = NULL;

        if (events_wanted(e) && json_pack(&extra, "{pid:i, generation:i}", pid, (int) node->generation) < 0)
                return;
        events_publish(e, node->path, "spawned", extra);
}

void events_exited(Events *e, const Node *node, uint32_t generation, const ExitInfo *exit)
{
        Json *extra = NULL, *v = NULL;

        if (events_wanted(e)) {
                if (exit_to_json(exit, &v) < 0 ||
                                json_pack(&extra, "{generation:i, exit:o}", (int) generation, v) < 0)
                        return;
        }
        events_publish(e, node->path, "exited", extra);
}

void events_simple(Events *e, const Node *node, const char *event)
{
        events_publish(e, node->path, event, NULL);
}
