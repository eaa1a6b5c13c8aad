/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The keeper: one table of entries (a child, a record with descriptors, or both under one key) and one supervisor
 * process at a time that is told of it. What the supervisor is owed is kept as bits in the entries, never as
 * queued messages: so a slow or dead supervisor costs no memory and nothing is lost; a successor is told the
 * table's state instead. All memory a child needs is taken when it is spawned; noticing its exit and reaping it
 * allocate nothing. */

#include <sys/resource.h>
#include <systemd/sd-event.h>

#include "base/list.h"
#include "base/map.h"
#include "keeper/protocol.h"

/* Quotas of the table: past them a supervisor is refused, never the machine harmed. */
#define KEEPER_ENTRIES_MAX (64U * 1024)
#define KEEPER_RECORDS_MAX (256U * 1024 * 1024)
#define KEEPER_LISTEN_MAX 16

/* In the order they are sent. */
typedef enum Due {
        DUE_ENTRY = 1 << 0,
        DUE_SPAWNED = 1 << 1,
        DUE_SETUP = 1 << 2,
        DUE_EXITED = 1 << 3,
} Due;

typedef struct Keeper Keeper;

typedef struct Entry {
        Keeper *keeper; /* weak */
        uint64_t key;
        ListNode all, pending, zombies;
        ListNode asked; /* linked: the spawner has not answered yet, there is no pid */
        unsigned due;   /* Due: what the supervisor has not been told yet */

        KeeperChildState state;
        pid_t pid;
        int pidfd, setup_fd;
        sd_event_source *pidfd_source, *setup_source;
        int spawn_error;
        int step, error; /* where set-up is or ended */
        KeeperExit exit;
        bool zombie; /* exited and not reaped: the pid is still ours */

        bool stored; /* there is a record, be it empty */
        void *record;
        size_t record_size, n_fds;
        int fds[KEEPER_FDS_MAX];
} Entry;

typedef struct Supervisor {
        pid_t pid;
        int pidfd, fd;
        sd_event_source *pidfd_source, *fd_source, *beat, *retry;
        uint64_t deadline;  /* of the next BEAT */
        bool hello, served; /* said HELLO; and BEAT after it */
        bool blocked;       /* its socket is full; EPOLLOUT tells when not */
        bool unheard;       /* not read from: the spawner has enough to do */
        unsigned failures;  /* ended before they served, in a row */
} Supervisor;

/* One spawner at a time, which clones for us what becomes our child; see child/spawner.h. It lives as long as a
 * supervisor serves: only then is it settled which cgroup we are in, and a successor finds under us what it expects.
 *
 * Between a request and its answer there may be a child whose pid we do not know. So no orphan is looked for meanwhile,
 * no successor is started, and only so many of them are on their way: then the supervisor is not read until some are
 * answered. A spawner that does not answer is killed, and a spawn that was on its way has failed: whoever was cloned
 * for it can't take another step once its set-up socket is shut down, and one beyond its last step has said its pid
 * there and is killed. */
typedef struct Spawner {
        int pidfd, fd; /* -EBADF: there is none, and none was asked for anything */
        sd_event_source *pidfd_source, *fd_source, *limit;
        ListNode asked; /* entries, the oldest first */
        size_t n_asked;
        uint64_t deadline; /* of the next answer, while any is due */
} Spawner;

struct Keeper {
        sd_event *event;
        Map entries, children; /* by key; by pid, zombies included */
        ListNode all, pending, zombies;
        ListNode welcome, table_end; /* among the pending: stand for these messages */
        sd_event_source *reap_timer, *orphan_timer;
        bool orphans_due; /* as soon as no answer is due */
        size_t record_bytes;
        uint64_t next_key, start_usec;
        Supervisor supervisor;
        Spawner spawner;

        /* From the command line, set by main() before keeper_run(). */
        bool embedded;
        int owner_fd, owner_pidfd;
        pid_t owner_pid;
        char **supervisor_argv, **spawner_argv; /* [0] is the path */
        int listen_fds[KEEPER_LISTEN_MAX];
        size_t n_listen_fds;

        bool stopping, owner_lost, ready_sent;
        pid_t pid;
        struct rlimit nofile; /* these two as inherited: what children get back */
        int oom_score_adj;
        bool oom_score_adj_changed; /* ours differs from it */
};

/* keeper.c */
int keeper_run(Keeper *k);    /* returns the exit code; kills and reaps all that is left before it returns */
void keeper_go_on(Keeper *k); /* with what waits for the spawner's answers, where it need not any more */
int keeper_receive(Keeper *k); /* one message; 1, 0 at EOF or negative errno */

/* spawn.c */
void keeper_spawn(Keeper *k, uint64_t key, unsigned flags, int *fds, size_t n_fds);
void entry_spawned(Entry *e, pid_t pid_or_error); /* the answer; the last use of e */
void entry_spawn_lost(Entry *e);                  /* there will be none; likewise */
void entry_release(Entry *e);
void entry_finish_setup(Entry *e);

/* spawner.c */
int spawner_start(Keeper *k); /* unless there is one */
void spawner_drop(Keeper *k); /* kills it; spawns on their way fail */
int spawner_ask(Entry *e, bool held, bool in_cgroup, const int *fds, size_t n_fds);
bool spawner_is_full(const Keeper *k); /* takes no more until it has answered */

/* reap.c */
int on_child_ended(sd_event_source *s, int fd, uint32_t revents, void *userdata); /* of an entry's pidfd */
void entry_reap(Entry *e);
void entry_acknowledge(Entry *e); /* REAP: the last use of e */
void keeper_expect_orphans(Keeper *k);
int on_sigchld(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata);
void keeper_reap_orphans(Keeper *k);
int keeper_add_reap_timers(Keeper *k); /* before any child, so that no exit has to allocate them */

/* store.c */
int entry_acquire(Keeper *k, uint64_t key, Entry **ret); /* the one there is, or a new one */
void entry_settle(Entry *e);                             /* frees it unless something keeps it */
void entry_tell(Entry *e, Due due);                      /* the last use of e: settles it */
int keeper_store(Keeper *k, uint64_t key, const void *record, size_t size, int *fds, size_t n_fds);
void entry_forget(Entry *e);
void keeper_hello(Keeper *k);
void keeper_owe_nothing(Keeper *k); /* the supervisor is gone; the next one asks for the table */
void keeper_flush(Keeper *k);
void keeper_refuse(Keeper *k, uint64_t key, int error); /* SPAWNED for what got no entry */
void keeper_clear(Keeper *k);

/* successor.c */
void supervisor_start(Keeper *k);
void supervisor_alive(Keeper *k, bool beat); /* HELLO or BEAT came */
void supervisor_signal(Keeper *k, int signo);
void supervisor_go_on(Keeper *k); /* where keeper_go_on() may */
void supervisor_clear(Keeper *k);
