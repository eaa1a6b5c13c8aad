/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Publish and subscribe by topic, inside of a process, as broadcasts by name (broadcast.h): a topic is a
 * path, "orders/eu/new", and a subscription has all that is published to its topic and below: "orders/eu"
 * has "orders/eu" and "orders/eu/new", not "orders/europe". "" has everything. An item arrives as
 * {"topic":"orders/eu/new","value":…}; how many were lost is counted for each subscription by itself.
 * What nobody has subscribed to costs nothing and is kept nowhere. */

#include <tractor/broadcast.h>
#include <tractor/macros.h>

TRACTOR_BEGIN_DECLS

typedef struct tractor_topics tractor_topics;

/* `size`: how many items a subscriber may be behind; 0: 64. NULL: out of memory. */
tractor_topics *tractor_topics_new(size_t size);
/* All subscriptions have what was published, and then end. */
tractor_topics *tractor_topics_free(tractor_topics *t);
/* Consumes value, on failure too. To how many subscriptions it went. Never waits. -ENOMEM. */
int tractor_topics_publish(tractor_topics *t, const char *topic, struct json_object *value);
int tractor_topics_subscribe(tractor_topics *t, const char *topic, tractor_subscription **ret);

TRACTOR_END_DECLS
