/* SPDX-License-Identifier: Apache-2.0 */

/* A child's end is noticed on its pidfd and looked at with WNOWAIT: the zombie keeps its pid, so that the supervisor
 * can read and log what it wants, until it acknowledges or the limit passes. An orphan adopted by us is nobody's
 * business and reaped once SIGCHLD names it. Signals merge, so others are searched for by waitid(P_ALL), which walks all
 * children, hence once for all that happens in a short while, and shows the oldest zombie only: a held one hides those
 * behind it until it goes. A child looks like an orphan before the spawner has told its pid: then none is reaped. */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/usec.h"
#include "keeper/keeper.h"

#define ORPHANS_A_TURN 256
#define ORPHANS_DELAY_USEC (100 * USEC_PER_MSEC)

static uint64_t timeval_usec(const struct timeval *t)
{
        return (uint64_t) t->tv_sec * USEC_PER_SEC + (uint64_t) t->tv_usec;
}

static void arm_reap_timer(Keeper *k)
{
        uint64_t at;

        if (list_is_empty(&k->zombies))
                return;
        at = LIST_ENTRY(k->zombies.next, Entry, zombies)->exit.time_usec + KEEPER_REAP_LIMIT_USEC;
        (void) sd_event_source_set_time(k->reap_timer, at);
        (void) sd_event_source_set_enabled(k->reap_timer, SD_EVENT_ONESHOT);
}

int on_child_ended(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        Entry *e = userdata;
        siginfo_t si = { 0 };
        struct rusage ru = { 0 };

        /* The C library's waitid() hides the fifth argument. */
        if (syscall(SYS_waitid, P_PIDFD, fd, &si, WEXITED | WNOHANG | WNOWAIT, &ru) < 0)
                log_errno(errno, "waitid for %d", e->pid); /* code 0: how it ended is unknown */
        else if (si.si_pid == 0)
                return 0;
        (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        entry_finish_setup(e);
        e->exit = (KeeperExit){
                .code = si.si_code,
                .status = si.si_status,
                .utime_usec = timeval_usec(&ru.ru_utime),
                .stime_usec = timeval_usec(&ru.ru_stime),
                .maxrss_kib = (uint64_t) ru.ru_maxrss,
                .time_usec = now_usec(CLOCK_MONOTONIC),
        };
        e->state = KEEPER_CHILD_EXITED;
        e->zombie = true;
        list_append(&e->keeper->zombies, &e->zombies);
        arm_reap_timer(e->keeper);
        entry_tell(e, DUE_EXITED);
        return 0;
}

/* Lets the zombie go; how it ended stays in the entry. */
void entry_reap(Entry *e)
{
        if (!e->zombie)
                return;
        (void) waitid(P_PIDFD, (id_t) e->pidfd, NULL, WEXITED); /* waits for nothing: it is a zombie */
        e->zombie = false;
        list_unlink(&e->zombies);
        if (map_get_u64(&e->keeper->children, (uint64_t) e->pid) == e)
                (void) map_remove_u64(&e->keeper->children, (uint64_t) e->pid);
        e->pidfd_source = sd_event_source_disable_unref(e->pidfd_source);
        e->pidfd = safe_close(e->pidfd);
}

void entry_acknowledge(Entry *e)
{
        Keeper *k = e->keeper;

        /* Only what was told can be acknowledged. */
        if (e->state != KEEPER_CHILD_EXITED || (e->due & DUE_EXITED)) {
                log_warning("REAP for key %" PRIu64 " comes too early: ignored", e->key);
                return;
        }
        entry_reap(e);
        e->state = KEEPER_CHILD_NONE;
        e->pid = 0;
        entry_settle(e);
        keeper_expect_orphans(k);
}

static void search_in(Keeper *k, uint64_t usec)
{
        (void) sd_event_source_set_time(k->orphan_timer, now_usec(CLOCK_MONOTONIC) + usec);
        (void) sd_event_source_set_enabled(k->orphan_timer, SD_EVENT_ONESHOT);
}

void keeper_expect_orphans(Keeper *k)
{
        if (sd_event_source_get_enabled(k->orphan_timer, NULL) == SD_EVENT_OFF)
                search_in(k, ORPHANS_DELAY_USEC);
}

static bool is_orphan(const Keeper *k, pid_t pid)
{
        return pid != k->supervisor.pid && !map_get_u64(&k->children, (uint64_t) pid);
}

int on_sigchld(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
        Keeper *k = userdata;

        if (k->spawner.n_asked == 0 && is_orphan(k, (pid_t) si->ssi_pid))
                (void) waitid(P_PID, (id_t) si->ssi_pid, NULL, WEXITED | WNOHANG);
        keeper_expect_orphans(k);
        return 0;
}

void keeper_reap_orphans(Keeper *k)
{
        k->orphans_due = k->spawner.n_asked > 0;
        if (k->orphans_due)
                return;
        for (int i = 0; i < ORPHANS_A_TURN; i++) {
                siginfo_t si = { 0 };

                if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid == 0 ||
                                !is_orphan(k, si.si_pid))
                        return;
                (void) waitid(P_PID, (id_t) si.si_pid, &si, WEXITED | WNOHANG);
        }
        search_in(k, 0); /* the rest in another turn of the loop */
}

static int on_orphan_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
        keeper_reap_orphans(userdata);
        return 0;
}

static int on_reap_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
        Keeper *k = userdata;

        LIST_FOREACH_SAFE(i, &k->zombies) {
                Entry *e = LIST_ENTRY(i, Entry, zombies);

                if (e->exit.time_usec + KEEPER_REAP_LIMIT_USEC > now_usec(CLOCK_MONOTONIC))
                        break;
                log_warning("nobody acknowledged the end of %d: reaped", e->pid);
                entry_reap(e);
        }
        keeper_expect_orphans(k);
        arm_reap_timer(k);
        return 0;
}

int keeper_add_reap_timers(Keeper *k)
{
        int r = sd_event_add_time(k->event, &k->reap_timer, CLOCK_MONOTONIC, USEC_INFINITY, USEC_PER_SEC,
                        on_reap_timer, k);

        if (r >= 0)
                r = sd_event_add_time(k->event, &k->orphan_timer, CLOCK_MONOTONIC, USEC_INFINITY,
                                USEC_PER_MSEC, on_orphan_timer, k);
        return r < 0 ? r : sd_event_source_set_enabled(k->orphan_timer, SD_EVENT_OFF);
}
