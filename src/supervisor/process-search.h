/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who belongs to an actor, where no cgroup says so. The keeper is a subreaper: whatever an actor's processes leave
 * behind becomes a child of the keeper. So all that belongs to a Room is found without searching the machine: the main
 * process and its descendants, and among the keeper's other children those that carry the actor's id in their
 * environment or are of its session, with their descendants.
 *
 * A pid is acted on through a pidfd only, opened before the process was recognised and alive after. Only when the
 * keeper is gone, and orphans have become another's, are all processes looked at. */

#include "base/list.h"
#include "base/map.h"
#include "supervisor/proc.h"

#define ACTOR_ID_VARIABLE "TRACTOR_ACTOR_ID"
#define ACTOR_ID_LIMIT 80

typedef struct Room {
        char *actor_id;   /* NULL: no room */
        int keeper_pid;   /* 0: only the main process and its descendants count */
        int pid, pidfd;   /* the main process; 0: none yet */
        const Map *mains; /* pid → whoever it is the main process of */
        ListNode awaited; /* of Straggler: known to belong here */
} Room;

/* One of those who belong to a room, held fast. */
typedef struct Found {
        int pid, session, pidfd;
} Found;

typedef struct Straggler {
        ListNode node;
        Found process;
} Straggler;

typedef struct Search {
        Found *found;
        size_t n, cap;
        struct Candidate *queue;
        size_t queue_n, queue_cap;
        PidList ended;      /* known to have ended before this pass: their children are the keeper's */
        bool session_valid; /* the main process's number still names its session and no other */
        bool disturbed;     /* someone ended meanwhile: its children may have been missed */
        unsigned unknown;   /* processes that may belong here: no environment to look into */
} Search;

/* 1: the keeper has no living child but its own (of its session: ourselves, its spawner) and the main processes in
 * `mains`, whose rooms are all still theirs: no main process that had ended before the call left anyone. 0: that can't
 * be said. One answer for any number of deaths, and mostly from one reading of the list. */
int search_no_stragglers(int keeper_pid, const Map *mains);

/* Into a zeroed Search. 0 or a negative errno. */
int search_room(Search *s, const Room *room);
void search_done(Search *s);

int room_signal(const Room *room, int signo);
/* SIGKILL or SIGSTOP to everyone, also to those who were being forked meanwhile. */
int room_signal_all(const Room *room, int signo);

/* SIGKILL to a process and all its descendants. Who has left them, for another parent, is not found. */
int kill_descent(int pid, int pidfd);

bool pidfd_ended(int pidfd);
int pidfd_signal(int pidfd, int signo);

/* SIGKILL to all processes of the machine that are of a session in `mains` or carry an id in `ids`, and their
 * descendants, until none is left or the time is up. Blocks: only for the very end. */
void kill_everywhere(const Map *mains, const Map *ids, uint64_t timeout_usec);

/* SIGKILL to all below the keeper but ourselves: what a supervisor before us left. Blocks: only at the start. */
void kill_below(int keeper_pid, uint64_t timeout_usec);
