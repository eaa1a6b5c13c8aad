/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The supervisor's end of the conversation with the keeper (keeper/protocol.h). The socket is non-blocking; what
 * it does not take at once waits in a queue bounded by the number of children (each has at most a spawn, a
 * release and a reap outstanding) and of remembered answers, so the loop never stalls on a slow keeper. EOF means
 * the keeper is gone: what is sent to it before that is told by `gone` comes to nothing, without an error. */

#include <systemd/sd-event.h>

#include "keeper/protocol.h"
#include "keeper/spec.h"

typedef struct KeeperLink KeeperLink;

typedef struct KeeperLinkEvents {
        void (*welcome)(const KeeperWelcome *w, void *userdata);
        /* pidfd is consumed; stored descriptors were closed by the link: none are stored yet. `record` (of
         * e->record_size bytes) is borrowed. */
        void (*entry)(const KeeperEntry *e, const char *record, int pidfd, void *userdata);
        void (*table_end)(void *userdata);
        void (*spawned)(uint64_t key, int pid, int pidfd, int error, int step,
                        void *userdata); /* pidfd consumed */
        void (*setup)(uint64_t key, int error, int step, void *userdata);
        void (*exited)(uint64_t key, int pid, const KeeperExit *exit, void *userdata);
        void (*gone)(void *userdata); /* the last call */
} KeeperLinkEvents;

/* Consumes fd, on failure too; says HELLO and beats from then on, first after KEEPER_BEAT_USEC. */
int keeper_link_new(
                sd_event *event, int fd, const KeeperLinkEvents *events, void *userdata, KeeperLink **ret);
KeeperLink *keeper_link_free(KeeperLink *l);
DEFINE_CLEANUP(KeeperLink *, keeper_link_free);

/* The keeper does not read, as we would be killed for by now: it was stopped (SIGSTOP). */
bool keeper_link_is_unread(const KeeperLink *l);
/* Beats now: the first one tells the keeper that we serve. */
void keeper_link_beat(KeeperLink *l);
/* Consumes spec_fd; cgroup_fd (or -EBADF) and `fds`, those the spec refers to by index, are borrowed. -ENOMEM, -EPIPE. */
#define KEEPER_LINK_FDS_MAX 4
int keeper_link_spawn(KeeperLink *l, uint64_t key, uint32_t flags, int spec_fd, int cgroup_fd,
                const int *fds, size_t n_fds);
int keeper_link_release(KeeperLink *l, uint64_t key);
int keeper_link_reap(KeeperLink *l, uint64_t key);
/* A record under a key of its own, in place of the one before; it outlives us. Without `queue` it is sent at once or
 * not at all: -EAGAIN. -E2BIG, -ENOMEM, -EPIPE. */
int keeper_link_store(KeeperLink *l, uint64_t key, const char *record, size_t n, bool queue);
int keeper_link_forget(KeeperLink *l, uint64_t key);
