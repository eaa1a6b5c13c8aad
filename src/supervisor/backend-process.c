/* SPDX-License-Identifier: Apache-2.0 */

/* Actors where neither systemd nor a cgroup is to be had. An actor is a session of its own under the keeper; who
 * belongs to it is searched for (process-search.h) when asked: at the end of a main process, on the ladder's
 * rungs, and again when all stragglers found have ended. No limits, and no account but the main process's.
 *
 * What can't be found: a process that cleared its environment (some daemons write their title over it), left the
 * session and lost its parent. Such a stray ends with the keeper. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>

#include "base/io.h"
#include "base/usec.h"
#include "supervisor/backend-private.h"
#include "supervisor/cgroup.h"
#include "supervisor/proc.h"
#include "supervisor/process-search.h"
#include "supervisor/process-sweep.h"

/* A process in the middle of execve shows no environment for a moment; one we may not look into never does. */
#define UNKNOWN_DELAY_USEC (20 * USEC_PER_MSEC)
#define UNKNOWN_ROUNDS 5
#define AWAITED_MAX 64
#define KILL_ALL_USEC (2 * USEC_PER_SEC)

typedef struct ProcessBackend {
        Backend backend;
        sd_event *event;
        const BackendEvents *events;
        int keeper_pid;
        Map mains;          /* pid → ProcessHome, from adoption until the room is left */
        Map ids;            /* actor id → ProcessHome, from preparation on */
        size_t n_watching;  /* rooms whose main process may be reaped while it is in `mains` */
        uint64_t none_usec; /* main processes that had ended by then left nobody; 0: not known */
} ProcessBackend;

typedef struct ProcessHome {
        Home home;
        void *userdata;
        Room room;
        bool watching;
        uint64_t ended_usec; /* the main process was a zombie then; 0: not known */
        unsigned unknown_rounds;
        sd_event_source *again; /* watching: next look */
} ProcessHome;

typedef struct Awaited {
        Straggler straggler;
        ProcessHome *home; /* weak */
        sd_event_source *ended;
} Awaited;

static ProcessBackend *backend_of(ProcessHome *h)
{
        return (ProcessBackend *) h->home.backend;
}

/* --- waiting for the last one --- */

static void awaited_free(Awaited *a)
{
        list_unlink(&a->straggler.node);
        sd_event_source_disable_unref(a->ended);
        safe_close(a->straggler.process.pidfd);
        free(a);
}

static void stop_watching(ProcessHome *h)
{
        LIST_FOREACH_SAFE(i, &h->room.awaited)
                awaited_free((Awaited *) LIST_ENTRY(i, Straggler, node));
        h->again = sd_event_source_disable_unref(h->again);
        backend_of(h)->n_watching -= h->watching;
        h->watching = false;
}

static void look_again(ProcessHome *h);

static int on_ended(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Awaited *a = userdata;
        ProcessHome *h = a->home;

        awaited_free(a);
        if (list_is_empty(&h->room.awaited))
                look_again(h);
        return 0;
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata)
{
        look_again(userdata);
        return 0;
}

static int look_in(ProcessHome *h, uint64_t usec)
{
        h->again = sd_event_source_disable_unref(h->again);
        return sd_event_add_time_relative(
                        backend_of(h)->event, &h->again, CLOCK_MONOTONIC, usec, USEC_PER_MSEC, on_again, h);
}

static int await(ProcessHome *h, Found *f)
{
        Awaited *a = malloc(sizeof(*a));
        int r;

        if (!a)
                return -ENOMEM;
        *a = (Awaited){ .home = h, .straggler.process = *f };
        f->pidfd = -EBADF;
        list_append(&h->room.awaited, &a->straggler.node);
        r = sd_event_add_io(
                        backend_of(h)->event, &a->ended, a->straggler.process.pidfd, EPOLLIN, on_ended, a);
        if (r < 0)
                awaited_free(a);
        return r;
}

/* 1: those found are awaited, or a later look will tell; 0: nobody is left. */
static int watch_once(ProcessHome *h)
{
        _cleanup_(search_done) Search s = { 0 };
        int r;

        r = search_room(&s, &h->room);
        if (r < 0)
                return r;
        if (s.n == 0) {
                if (s.unknown == 0 || h->unknown_rounds++ >= UNKNOWN_ROUNDS)
                        return 0;
                r = look_in(h, UNKNOWN_DELAY_USEC);
                return r < 0 ? r : 1;
        }
        /* The others' turn comes when these have ended. */
        for (size_t i = 0; i < MIN(s.n, (size_t) AWAITED_MAX); i++) {
                r = await(h, &s.found[i]);
                if (r < 0 && i == 0)
                        return r;
        }
        return 1;
}

static void look_again(ProcessHome *h)
{
        int r;

        r = watch_once(h);
        if (r < 0)
                r = look_in(h, UNKNOWN_DELAY_USEC) < 0 ? 0 : 1;
        if (r > 0)
                return;
        /* Also without even a timer to look by: the ladder's kill searches once more. */
        stop_watching(h);
        backend_of(h)->events->emptied(h->userdata);
}

/* --- homes --- */

static void room_leave(ProcessHome *h)
{
        ProcessBackend *b = backend_of(h);

        stop_watching(h);
        if (h->room.pid > 0)
                map_remove_u64(&b->mains, (uint64_t) h->room.pid);
        if (h->room.actor_id)
                map_remove(&b->ids, h->room.actor_id);
        h->room.pid = 0;
        h->room.pidfd = safe_close(h->room.pidfd);
        h->ended_usec = 0;
        h->unknown_rounds = 0;
        free(h->room.actor_id);
        h->room.actor_id = NULL;
}

static int process_home_new(Backend *backend, Home *parent, const char *name, const char *path, bool actor,
                const Limits *limits, void *userdata, Home **ret, Limit *ret_limit)
{
        ProcessHome *h;

        *ret_limit = cgroup_unenforceable(limits, "");
        if (*ret_limit != _LIMIT_INVALID)
                return -EOPNOTSUPP;
        h = malloc(sizeof(*h));
        if (!h)
                return -ENOMEM;
        *h = (ProcessHome){ .home.backend = backend, .userdata = userdata, .room.pidfd = -EBADF };
        h->room.keeper_pid = backend_of(h)->keeper_pid;
        h->room.mains = &backend_of(h)->mains;
        list_init(&h->room.awaited);
        *ret = &h->home;
        return 0;
}

static void process_home_free(Home *home)
{
        ProcessHome *h = (ProcessHome *) home;

        if (!h)
                return;
        if (h->room.actor_id)
                (void) room_signal_all(&h->room, SIGKILL);
        room_leave(h);
        free(h);
}

static int process_home_prepare(Home *home, uint32_t generation, const char *actor_id, int stop_signal,
                uint64_t stop_usec, SpawnPlan *ret)
{
        ProcessHome *h = (ProcessHome *) home;
        int r;

        room_leave(h);
        if (strlen(actor_id) >= ACTOR_ID_LIMIT)
                return -EINVAL;
        h->room.actor_id = strdup(actor_id);
        if (!h->room.actor_id)
                return -ENOMEM;
        r = map_put(&backend_of(h)->ids, h->room.actor_id, h);
        if (r < 0) {
                free(h->room.actor_id);
                h->room.actor_id = NULL;
                return r;
        }
        *ret = (SpawnPlan){ .cgroup_fd = -EBADF };
        return 0;
}

static int process_home_adopt(Home *home, int pid, int pidfd)
{
        ProcessHome *h = (ProcessHome *) home;
        ProcessBackend *b = backend_of(h);
        _cleanup_close_ int copy = fcntl(pidfd, F_DUPFD_CLOEXEC, 3);
        int r;

        if (copy < 0)
                return -errno;
        if (!h->room.actor_id)
                return -ESRCH;
        r = map_put_u64(&b->mains, (uint64_t) pid, h);
        if (r < 0)
                return r;
        h->room.pid = pid;
        h->room.pidfd = TAKE_FD(copy);
        b->events->adopted(h->userdata, 0, NULL);
        return 0;
}

/* Found by its environment. */
static int process_home_command(Home *home, SpawnPlan *ret)
{
        *ret = (SpawnPlan){ .cgroup_fd = -EBADF };
        return 0;
}

static void process_home_leave(Home *home)
{
        room_leave((ProcessHome *) home);
}

static void process_home_ended(Home *home, uint64_t at)
{
        ((ProcessHome *) home)->ended_usec = at;
}

/* The usual end: nobody is left by anyone. What was seen once holds for all whose end the keeper had told by then, so
 * that a hundred deaths at once are one search. */
static bool left_nobody(ProcessHome *h)
{
        ProcessBackend *b = backend_of(h);
        uint64_t now;

        if (h->ended_usec == 0 || h->room.pid == 0 || b->n_watching > 0)
                return false;
        if (h->ended_usec <= b->none_usec)
                return true;
        now = now_usec(CLOCK_MONOTONIC);
        if (search_no_stragglers(b->keeper_pid, &b->mains) == 0)
                return false;
        b->none_usec = now;
        return h->ended_usec <= now;
}

static bool process_home_populated(Home *home)
{
        ProcessHome *h = (ProcessHome *) home;
        _cleanup_(search_done) Search s = { 0 };
        int r;

        if (!h->room.actor_id)
                return false;
        if (h->room.pid > 0 && !pidfd_ended(h->room.pidfd))
                return true;
        if (left_nobody(h))
                return false;
        r = search_room(&s, &h->room);
        return r < 0 || s.n > 0 || (s.unknown > 0 && h->unknown_rounds < UNKNOWN_ROUNDS);
}

static int process_home_watch_empty(Home *home)
{
        ProcessHome *h = (ProcessHome *) home;
        int r;

        if (!h->room.actor_id)
                return -ESRCH;
        if (h->watching)
                return 0;
        r = watch_once(h);
        if (r == 0)
                r = look_in(h, 0);
        if (r < 0)
                stop_watching(h);
        else {
                h->watching = true;
                backend_of(h)->n_watching++;
        }
        return MIN(r, 0);
}

static int process_home_signal(Home *home, int signo)
{
        return room_signal(&((ProcessHome *) home)->room, signo);
}

static int process_home_kill(Home *home)
{
        return room_signal_all(&((ProcessHome *) home)->room, SIGKILL);
}

/* A stopped process forks no more either; SIGCONT needs one pass, since nobody forks while stopped. */
static int process_home_freeze(Home *home, bool frozen)
{
        ProcessHome *h = (ProcessHome *) home;

        return frozen ? room_signal_all(&h->room, SIGSTOP) : room_signal(&h->room, SIGCONT);
}

static int process_home_set_limits(Home *home, const Limits *limits, Limit *ret_limit)
{
        *ret_limit = cgroup_unenforceable(limits, "");
        return *ret_limit == _LIMIT_INVALID ? 0 : -EOPNOTSUPP;
}

/* The main process's alone: there is no account of the others. */
static int process_home_usage(Home *home, Usage *ret)
{
        ProcessHome *h = (ProcessHome *) home;
        ProcStat stat;

        *ret = usage_unknown;
        if (h->room.pid == 0 || proc_stat(h->room.pid, &stat) < 0 || pidfd_signal(h->room.pidfd, 0) < 0)
                return 0;
        ret->cpu_usec = stat.cpu_usec;
        ret->memory = stat.memory;
        ret->tasks = stat.tasks;
        return 0;
}

/* The keeper's account of the main process's end says more than is left in /proc by then. */
static void process_home_spent(Home *home, Usage *ret)
{
        *ret = usage_unknown;
}

static int process_home_oom_kills(Home *home, uint64_t *ret)
{
        return -EOPNOTSUPP;
}

static const char *process_home_none(Home *home)
{
        return NULL;
}

/* Orphans of a keeper that died belong to another parent: nothing but a search of all processes finds them. */
static void process_kill_all(Backend *backend)
{
        ProcessBackend *b = (ProcessBackend *) backend;

        kill_everywhere(&b->mains, &b->ids, KILL_ALL_USEC);
}

static void process_backend_free(Backend *backend)
{
        ProcessBackend *b = (ProcessBackend *) backend;

        assert(b->mains.n == 0 && b->ids.n == 0);
        map_clear(&b->mains);
        map_clear(&b->ids);
        backend_done(backend);
        free(b);
}

static const BackendVtable process_vtable = {
        .kind = BACKEND_PROCESS,
        .free = process_backend_free,
        .home_new = process_home_new,
        .home_free = process_home_free,
        .home_prepare = process_home_prepare,
        .home_adopt = process_home_adopt,
        .home_command = process_home_command,
        .home_ended = process_home_ended,
        .home_leave = process_home_leave,
        .home_populated = process_home_populated,
        .home_watch_empty = process_home_watch_empty,
        .home_signal = process_home_signal,
        .home_kill = process_home_kill,
        .home_freeze = process_home_freeze,
        .home_set_limits = process_home_set_limits,
        .home_usage = process_home_usage,
        .home_spent = process_home_spent,
        .home_oom_kills = process_home_oom_kills,
        .home_unit = process_home_none,
        .home_cgroup = process_home_none,
        .kill_all = process_kill_all,
};

int backend_process_open(const BackendOptions *options, Backend **ret, char **ret_why)
{
        ProcessBackend *b = malloc(sizeof(*b));

        if (!b)
                return -ENOMEM;
        *b = (ProcessBackend){ .backend.vtable = &process_vtable,
                .event = options->event,
                .events = options->events,
                .keeper_pid = options->keeper_pid };
        b->backend.controllers = strdup("");
        if (!b->backend.controllers) {
                process_backend_free(&b->backend);
                return -ENOMEM;
        }
        /* The keeper has ended the main processes; those they left have become its children. */
        if (options->successor)
                kill_below(options->keeper_pid, KILL_ALL_USEC);
        else if (options->keeper_unit) /* an embedded instance has a name of its own each time */
                sweep_instance(options->instance, KILL_ALL_USEC);
        *ret_why = xasprintf("sessions under the keeper, no limits");
        *ret = &b->backend;
        return 0;
}
