/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The event stream: each subscriber is a dialog call that carries items `{epoch, seq, time_us, path, event, …}`. With
 * nobody listening an event costs a comparison. A slow subscriber loses items and is told how many; it never
 * slows the supervisor. `epoch` is random and new with each supervisor, `seq` rises by one an event. */

#include "dialog/session.h"
#include "supervisor/core/core.h"

typedef struct Events Events;

int events_new(sd_event *event, Cork *cork, Events **ret); /* the cork of all who may subscribe */
Events *events_free(Events *e);

/* Turns a call into a subscription to `path` and all below. Takes the call. */
void events_subscribe(Events *e, Call *call, const char *path);

/* All take a NULL Events. */
void events_state(Events *e, const Node *node, NodeState from, NodeState to);
void events_give_up(Events *e, const Node *node, const Node *about, const char *reason);
void events_spawned(Events *e, const Node *node, int pid);
void events_exited(Events *e, const Node *node, uint32_t generation, const ExitInfo *exit);
void events_simple(Events *e, const Node *node, const char *event);
/* `extra` is an object whose members are added; consumed. */
void events_publish(Events *e, const char *path, const char *event, Json *extra);
bool events_wanted(const Events *e);
