/* SPDX-License-Identifier: Apache-2.0 */

/* One supervisor at a time. What it sent before it died is read to the end, and each spawn it asked for has come about
 * or failed, before the next one starts. That is at once, unless the last came to an end before it served, which backs
 * off. Its death is told by its pidfd: EOF on the socket can come late (a copy elsewhere) or early (it closed its own). */

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/usec.h"
#include "child/child.h"
#include "keeper/keeper.h"

#define BACKOFF_MIN_USEC (100 * USEC_PER_MSEC)
#define BACKOFF_MAX_USEC (10 * USEC_PER_SEC)
#define MESSAGES_A_TURN 64

void supervisor_clear(Keeper *k)
{
        Supervisor *s = &k->supervisor;

        s->pidfd_source = sd_event_source_disable_unref(s->pidfd_source);
        s->fd_source = sd_event_source_disable_unref(s->fd_source);
        s->beat = sd_event_source_disable_unref(s->beat);
        s->retry = sd_event_source_disable_unref(s->retry);
        s->pidfd = safe_close(s->pidfd);
        s->fd = safe_close(s->fd);
        s->pid = 0;
        s->hello = s->served = s->blocked = s->unheard = false;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
        supervisor_clear(userdata);
        supervisor_start(userdata);
        return 0;
}

static void start_later(Keeper *k)
{
        Supervisor *s = &k->supervisor;
        uint64_t delay = BACKOFF_MIN_USEC << s->failures;
        int r;

        if (delay < BACKOFF_MAX_USEC)
                s->failures++;
        delay = MIN(delay, BACKOFF_MAX_USEC);
        log_notice("the next supervisor starts in %u ms", (unsigned) (delay / USEC_PER_MSEC));
        r = sd_event_add_time_relative(k->event, &s->retry, CLOCK_MONOTONIC, delay, 1, on_retry, k);
        if (r < 0) {
                log_errno(r, "timer for the next supervisor");
                (void) sd_event_exit(k->event, EXIT_FAILURE);
        }
}

/* Whether its end is also ours, with which exit code; -1: it has a successor. */
static int verdict(const Keeper *k, const siginfo_t *si, bool served)
{
        bool exited = si->si_code == CLD_EXITED;

        if (exited && si->si_status == KEEPER_EXIT_STOPPED)
                return EXIT_SUCCESS;
        if (exited && k->embedded && si->si_status != KEEPER_EXIT_SUCCESSOR)
                return si->si_status;
        /* One that is asked to stop and dies has a successor that goes on with it, but no endless row of them. */
        if (k->stopping && !served)
                return EXIT_FAILURE;
        return -1;
}

static int on_ended(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Keeper *k = userdata;
        siginfo_t si = { 0 };
        bool served = k->supervisor.served;
        int code;

        if (waitid(P_PIDFD, (id_t) fd, &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid == 0)
                return 0;
        k->supervisor.hello = false;
        while (!spawner_is_full(k) && keeper_receive(k) > 0)
                ;
        if (k->spawner.n_asked > 0) /* supervisor_go_on() comes back here */
                return sd_event_source_set_enabled(source, SD_EVENT_OFF);
        (void) waitid(P_PIDFD, (id_t) fd, &si, WEXITED | WNOHANG);
        supervisor_clear(k);
        keeper_owe_nothing(k);
        spawner_drop(k);
        code = verdict(k, &si, served);
        log_full(code == EXIT_SUCCESS ? LOG_DEBUG : LOG_WARNING, "the supervisor ended: %s %d",
                        si.si_code == CLD_EXITED ? "exit code" : "signal", si.si_status);
        if (code >= 0)
                (void) sd_event_exit(k->event, code);
        else if (served)
                supervisor_start(k);
        else
                start_later(k);
        return 0;
}

static int on_message(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Keeper *k = userdata;
        int r = 1;

        for (int i = 0; i < MESSAGES_A_TURN && r > 0 && !spawner_is_full(k); i++)
                r = keeper_receive(k);
        if (r == 0) { /* EOF: nothing more to hear; its pidfd or the missing BEAT tells the rest */
                k->supervisor.hello = false;
                (void) sd_event_source_set_enabled(source, SD_EVENT_OFF);
        } else if (spawner_is_full(k)) {
                k->supervisor.unheard = true;
                (void) sd_event_source_set_enabled(source, SD_EVENT_OFF);
        }
        keeper_flush(k);
        return 0;
}

void supervisor_go_on(Keeper *k)
{
        Supervisor *s = &k->supervisor;

        if (s->unheard && !spawner_is_full(k)) {
                s->unheard = false;
                (void) sd_event_source_set_enabled(s->fd_source, SD_EVENT_ON);
        }
        if (s->pidfd_source && k->spawner.n_asked == 0)
                (void) sd_event_source_set_enabled(s->pidfd_source, SD_EVENT_ON);
}

static int on_beat_missed(sd_event_source *source, uint64_t usec, void *userdata)
{
        Keeper *k = userdata;
        Supervisor *s = &k->supervisor;
        uint64_t now = now_usec(CLOCK_MONOTONIC);

        /* Late ourselves: the machine stood still, and the supervisor has had no more time than we; or we have not listened. */
        if (now > s->deadline + KEEPER_BEAT_USEC || (now >= s->deadline && s->unheard))
                s->deadline = now + KEEPER_BEAT_USEC;
        if (now < s->deadline) {
                (void) sd_event_source_set_time(source, s->deadline);
                return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        }
        log_error("the supervisor missed its heartbeat: killed");
        (void) syscall(SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0);
        return 0;
}

static int start(Keeper *k)
{
        const ChildProgram program = { k->supervisor_argv, k->listen_fds, k->n_listen_fds, false };
        Supervisor *s = &k->supervisor;
        int r;

        s->pid = child_start(&program, &s->fd, &s->pidfd);
        if (s->pid < 0)
                return s->pid;
        s->deadline = now_usec(CLOCK_MONOTONIC) + KEEPER_START_LIMIT_USEC;
        r = sd_event_add_io(k->event, &s->fd_source, s->fd, EPOLLIN, on_message, k);
        if (r >= 0)
                r = sd_event_add_io(k->event, &s->pidfd_source, s->pidfd, EPOLLIN, on_ended, k);
        if (r >= 0)
                r = sd_event_add_time(
                                k->event, &s->beat, CLOCK_MONOTONIC, s->deadline, 1, on_beat_missed, k);
        if (r < 0) {
                (void) kill(s->pid, SIGKILL);
                keeper_expect_orphans(k); /* now it is one */
                return r;
        }
        /* What it has sent is read before its end or its silence is looked at. */
        (void) sd_event_source_set_priority(s->fd_source, SD_EVENT_PRIORITY_NORMAL - 10);
        (void) sd_event_source_set_priority(s->beat, SD_EVENT_PRIORITY_NORMAL + 10);
        return 0;
}

void supervisor_start(Keeper *k)
{
        int r = start(k);

        if (r >= 0)
                return;
        log_errno(r, "starting the supervisor");
        supervisor_clear(k);
        start_later(k);
}

void supervisor_alive(Keeper *k, bool beat)
{
        Supervisor *s = &k->supervisor;

        s->deadline = now_usec(CLOCK_MONOTONIC) + KEEPER_BEAT_LIMIT_USEC;
        if (!beat || !s->hello || s->served)
                return;
        s->served = true;
        s->failures = 0;
        (void) spawner_start(k); /* else the first spawn tries, and says why not */
        /* From now on the shorter limit holds: the timer stands at that of a start. */
        (void) sd_event_source_set_time(s->beat, s->deadline);
        if (!k->ready_sent && !k->embedded)
                (void) sd_notify(0, "READY=1");
        k->ready_sent = true;
        if (k->owner_lost || k->stopping)
                supervisor_signal(k, k->owner_lost ? SIGHUP : SIGTERM);
}

/* One that does not serve yet may not have its handlers: it is told when it does. */
void supervisor_signal(Keeper *k, int signo)
{
        if (k->supervisor.served)
                (void) syscall(SYS_pidfd_send_signal, k->supervisor.pidfd, signo, NULL, 0);
}
