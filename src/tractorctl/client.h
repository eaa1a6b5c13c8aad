/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One connection to a supervisor for a program that asks and waits. Requests are started as Pending objects;
 * client_wait() turns the loop until one is answered, so that the verbs read top to bottom while events, signals
 * and other replies are still served. Never called from within a callback: callbacks leave notes, the verb's own
 * loop acts on them.
 *
 * A lost connection answers every Pending with -32015 and stays lost, unless the owner can make another: then each
 * request carries a key, and whoever waits connects anew and repeats what was not answered, which is done once all the
 * same. Event streams aren't repeated: they end with -32015. */

#include <systemd/sd-event.h>

#include "base/list.h"
#include "dialog/session.h"

typedef struct Client Client;

typedef struct Pending {
        Client *client; /* weak; NULL once the client is gone */
        ListNode link;
        bool done, started, dropped;
        Json *result, *error; /* one of them once done */
        int fd;               /* the first that came with the result */
        bool has_fd;
        void (*on_item)(Json *item, uint64_t lost, void *userdata);
        void *userdata;
        /* What can be repeated: NULL where it can't be, as all below. */
        char *method;
        Json *params;
        char key[33];
        bool unsent; /* the connection went before the answer came */
} Pending;

/* Asked on every turn of a wait: true ends it with -ECANCELED. */
typedef bool (*ClientAbort)(void *userdata);

typedef struct ClientOptions {
        sd_event *event;
        int fd;              /* consumed, on failure too */
        ClientAbort aborted; /* may be NULL */
        /* May be NULL. A new connection in place of one that was lost, or negative errno: it is called again until
         * that has lasted too long. `first`: of such a row. */
        int (*reconnect)(bool first, void *userdata);
        void *userdata;
        uint64_t hello_timeout; /* microseconds; 0: ten seconds */
        char **refusal; /* may be NULL. Set with -EBUSY: what the supervisor said; the caller's to free */
} ClientOptions;

/* Says hello and returns once the supervisor has answered a ping: -ETIMEDOUT, -ECONNRESET otherwise, -EBUSY where it
 * serves nobody else for the moment. */
int client_new(const ClientOptions *options, Client **ret);
Client *client_free(Client *c);
DEFINE_CLEANUP(Client *, client_free);
bool client_lost(const Client *c); /* NULL is */

/* Consumes params. The Pending belongs to the caller, who drops it. */
int client_start(Client *c, const char *method, Json *params, Pending **ret);
/* The event stream of `path` and all below; returns once it flows, or with an error object. */
int client_subscribe(Client *c, const char *path, void (*on_item)(Json *item, uint64_t lost, void *userdata),
                void *userdata, Pending **ret, Json **reterr);
/* Forgets a Pending, answered or not. */
Pending *pending_drop(Pending *p);
DEFINE_CLEANUP(Pending *, pending_drop);

/* Until p->done (or p->started), or -ETIMEDOUT, -ECANCELED, -ECONNRESET. timeout in microseconds; USEC_INFINITY: none. */
int client_wait(Client *c, Pending *p, uint64_t timeout);
/* start, wait, drop: 0 with *ret, or with *reterr set and *ret untouched; negative errno for our own faults. */
int client_call(Client *c, const char *method, Json *params, Json **ret, Json **reterr);

/* A connection to the actor at `path`, once that is ready; how it ends is then told by $/peer_exited. */
int client_connect_actor(Client *c, const char *path, int *ret_fd, Json **reterr);
/* What the supervisor tells unasked. */
void client_on_notification(Client *c, void (*handler)(const Message *m, void *userdata), void *userdata);

/* The whole node at `path` ("/" for all), with what a first reply left out fetched and put in its place. */
int client_get_tree(Client *c, const char *path, int depth, Json **ret, Json **reterr);
/* The same, with these members alone (an array of names; NULL: all that come unasked). */
int client_get_fields(Client *c, const char *path, int depth, const Json *fields, Json **ret, Json **reterr);
