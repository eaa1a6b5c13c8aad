/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The inherited channel of an actor that speaks the protocol (`"channel":"fd"`): one socketpair a generation, the actor's
 * end named by TRACTOR_CHANNEL_FD. It is control plane: lines of at most 128 KiB and 4096 values. The actor may say
 * $/ready, $/status, $/watchdog and $/crash, and what it has come to, is asked to stop by $/cancel once it has said hello, and its requests are served as
 * a client's are, with the actor as the Peer. A channel that breaks says nothing about the actor's life: its pidfd does. */

#include <systemd/sd-event.h>

#include "base/macro.h"
#include "supervisor/peer.h"

#define CHANNEL_MAX_LINE (128U * 1024)
#define CHANNEL_MAX_VALUES 4096U
#define CHANNEL_KEPT_MAX 16U

typedef struct Channel Channel;

typedef struct ChannelEvents {
        void (*ready)(void *userdata);
        void (*watchdog)(void *userdata);
        void (*status)(const char *text, void *userdata);
        void (*hello)(void *userdata);
        /* $/result, $/error */
        void (*outcome)(const Json *params, bool is_error, void *userdata);
        void (*crash)(const Json *params, void *userdata); /* it says that it has crashed */
        /* The callee's to answer, now or later, as a session's on_request. */
        void (*request)(Peer *peer, Call *call, const Message *m, void *userdata);
} ChannelEvents;

/* *ret_actor_fd is the actor's end, the caller's to pass on and close. Takes what `peer` owns, on failure too. */
int channel_new(sd_event *event, Turns *turns, Cork *cork, Peer *peer, const ChannelEvents *events,
                void *userdata, Channel **ret, int *ret_actor_fd);
Channel *channel_free(Channel *c);
DEFINE_CLEANUP(Channel *, channel_free);
bool channel_said_hello(const Channel *c); /* NULL: no */
/* The actor's process has ended: reads what it said last. Only what it came to, and of what it died, still counts, and nothing is done for it. */
void channel_hear_out(Channel *c);
/* Tells the actor something, with a descriptor or -EBADF (consumed, on failure too): now, or what `keeps` as soon as it
 * has said hello; what is kept for one that has gone is dropped. -EOPNOTSUPP when it has not, -EBUSY when CHANNEL_KEPT_MAX are
 * kept already. */
int channel_tell(Channel *c, const char *method, Json *params, int fd, bool keeps);
/* Asks by $/cancel. False when the actor never said hello: it is asked by its stop signal then. */
bool channel_cancel(Channel *c, const char *reason, const char *canceller, uint64_t grace_usec);
