/* SPDX-License-Identifier: Apache-2.0 */
/* A broadcast for each topic that somebody has subscribed to; publishing walks from the topic up to "". */
#include <errno.h>
#include <limits.h>

#include "base/map.h"
#include "libtractor/broadcast.h"
#include "tractor/topics.h"

typedef struct Topic {
        tractor_topics *topics; /* weak */
        tractor_broadcast *broadcast;
        char *name;
} Topic;

struct tractor_topics {
        size_t size;
        Map map;
};

_public_ tractor_topics *tractor_topics_new(size_t size)
{
        tractor_topics *t = calloc(1, sizeof(*t));

        if (t)
                t->size = size;
        return t;
}

static Topic *topic_free(Topic *topic)
{
        if (!topic)
                return NULL;
        tractor_broadcast_free(topic->broadcast);
        free(topic->name);
        free(topic);
        return NULL;
}
DEFINE_CLEANUP(Topic *, topic_free);

_public_ tractor_topics *tractor_topics_free(tractor_topics *t)
{
        if (!t)
                return NULL;
        MAP_FOREACH(Topic, topic, &t->map)
                topic_free(topic);
        map_clear(&t->map);
        free(t);
        return NULL;
}

static void on_unused(tractor_broadcast *b)
{
        Topic *topic = b->userdata;

        (void) map_remove(&topic->topics->map, topic->name);
        topic_free(topic);
}

static int topic_new(tractor_topics *t, const char *name, Topic **ret)
{
        _cleanup_(topic_freep) Topic *topic = calloc(1, sizeof(*topic));
        int r;

        if (!topic)
                return -ENOMEM;
        topic->topics = t;
        topic->name = strdup(name);
        topic->broadcast = tractor_broadcast_new(t->size);
        if (!topic->name || !topic->broadcast)
                return -ENOMEM;
        topic->broadcast->unused = on_unused;
        topic->broadcast->userdata = topic;
        r = map_put(&t->map, topic->name, topic);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(topic);
        return 0;
}

_public_ int tractor_topics_subscribe(tractor_topics *t, const char *topic, tractor_subscription **ret)
{
        Topic *found = map_get(&t->map, topic);
        int r = found ? 0 : topic_new(t, topic, &found);

        if (r >= 0)
                r = tractor_broadcast_subscribe(found->broadcast, ret);
        if (r < 0 && found && tractor_broadcast_n_subscriptions(found->broadcast) == 0)
                on_unused(found->broadcast);
        return r;
}

/* The topic above, in place; false: there is none. */
static bool cut(char *name)
{
        char *slash = strrchr(name, '/');

        if (*name == 0)
                return false;
        *(slash ?: name) = 0;
        return true;
}

_public_ int tractor_topics_publish(tractor_topics *t, const char *topic, struct json_object *value)
{
        _cleanup_json_ Json *item = NULL;
        _cleanup_free_ char *name = strdup(topic);
        size_t n = 0;
        int r = json_pack(&item, "{topic:s, value:o}", topic, value);

        if (r < 0 || !name)
                return -ENOMEM;
        do {
                const Topic *found = map_get(&t->map, name);

                if (!found)
                        continue;
                (void) tractor_broadcast_publish(found->broadcast, json_ref(item));
                n += tractor_broadcast_n_subscriptions(found->broadcast);
        } while (cut(name));
        return (int) MIN(n, (size_t) INT_MAX);
}
