/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/usec.h"
#include "supervisor/events.h"
#include "supervisor/manager.h"
#include "supervisor/node-json.h"
#include "supervisor/portal.h"
#include "supervisor/proc.h"
#include "supervisor/process-search.h"
#include "supervisor/remember.h"

Life *life_free(Life *life)
{
        if (!life)
                return NULL;
        (void) map_remove_u64(&life->manager->lives, life->key);
        if (life->member && life->member->life == life)
                life->member->life = NULL;
        life->obituary = obituary_free(life->obituary);
        output_end(life->manager->output, life->key);
        safe_close(life->pidfd);
        free(life->fail_why);
        free(life->unit);
        crash_report_free(life->crash);
        free(life);
        return NULL;
}

/* Lets the zombie go and forgets the life. */
void life_end(Life *life)
{
        Manager *m = life->manager;

        (void) keeper_link_reap(m->keeper, life->key);
        life_free(life);
        manager_check_stopped(m);
}

int life_signal(Life *life, int signo)
{
        if (life->pid <= 0 || life->phase == LIFE_ENDED)
                return -ESRCH;
        /* Its pidfd was lost on the way to us, but the keeper holds its pid until we let it go. */
        if (life->pidfd < 0)
                return kill(life->pid, signo) < 0 ? -errno : 0;
        if (syscall(SYS_pidfd_send_signal, life->pidfd, signo, NULL, 0) < 0)
                return -errno;
        return 0;
}

/* A readiness command goes with its children: its room is the actor's, which stays. One that dies of a SIGKILL already,
 * maybe the kernel's for want of memory, does not die of ours. */
static void life_kill(Life *life)
{
        bool there = life->pid > 0 && life->phase != LIFE_ENDED;
        bool all = life->is_command && there && life->pidfd >= 0;
        bool dying = there && proc_kill_pending(life->pid) > 0;

        if ((all ? kill_descent(life->pid, life->pidfd) : life_signal(life, SIGKILL)) >= 0 && !dying)
                life->killed_by_us = true;
}

/* A child that has not become the program yet has nothing to be asked: it is ended where it stands. */
void life_abort(Life *life)
{
        life->doomed = true;
        if (life->phase != LIFE_CLONING)
                life_kill(life);
}

void life_kill_command(Member *member)
{
        Life *life = map_get_u64(&member->manager->lives, member->command_key);

        if (life)
                life_abort(life);
}

void life_abandon_command(Member *member)
{
        Life *life = map_get_u64(&member->manager->lives, member->command_key);

        member->command_key = 0;
        if (!life)
                return;
        life->member = NULL;
        life_abort(life);
}

/* $/cancel says who asked for the end: the nearest, from the actor upwards, that a request named. */
bool member_ask_by_channel(const Member *member)
{
        const char *canceller = NULL, *reason = NULL;

        for (const Node *n = member->node; n && node_member(n) && !canceller; n = n->parent) {
                canceller = node_member(n)->canceller;
                reason = node_member(n)->cancel_reason;
        }
        return channel_cancel(member->channel, canceller && reason ? reason : "stop", canceller ?: "/",
                        member->spec->node.grace_usec);
}

void life_stop(Member *member, StopRung rung)
{
        Life *life = member->life;

        if (life && (life->phase == LIFE_CLONING || life->phase == LIFE_ADOPTING)) {
                life_abort(life);
                return;
        }
        switch (rung) {
        case RUNG_ASK:
                /* Of an adapter this asks for EOF on its program's stdin, beside the signal. Many a program takes a second
                 * signal for impatience. */
                if (life && (!member_ask_by_channel(member) || member->adapter) && !life->stopped_outside)
                        (void) life_signal(life, member->spec->stop_signal);
                break;
        case RUNG_TERM:
                if (!life || life_signal(life, SIGTERM) < 0)
                        (void) member_backend(member)->home_signal(member->home, SIGTERM);
                break;
        case RUNG_KILL:
                log_info("%s: did not end when asked to: killed", member->node->path);
                if (life)
                        life_kill(life);
                (void) member_backend(member)->home_kill(member->home);
                break;
        default:
                break;
        }
}

/* --- the keeper's messages --- */

static void on_welcome(const KeeperWelcome *w, void *userdata)
{
        Manager *m = userdata;

        m->keeper_pid = w->keeper_pid;
        m->next_key = w->next_key;
        m->successor = w->flags & KEEPER_SUCCESSOR;
        if (m->successor)
                log_warning("the supervisor before this one died: its trees are ended before new ones "
                            "start");
}

/* What an earlier supervisor left: what it remembered, and children. Its intent with those is not known in this
 * version, so they are ended. */
static void on_entry(const KeeperEntry *e, const char *record, int pidfd, void *userdata)
{
        Manager *m = userdata;

        if (e->child_state == KEEPER_CHILD_NONE) {
                safe_close(pidfd);
                if (remember_restore(m->remember, e->header.key, record, e->record_size) < 0)
                        (void) keeper_link_forget(m->keeper, e->header.key);
                return;
        }
        if (e->child_state == KEEPER_CHILD_EXITED) {
                (void) keeper_link_reap(m->keeper, e->header.key);
        } else {
                m->n_leftovers++;
                if (e->pid > 0)
                        (void) kill(e->pid, SIGKILL); /* ours to name until it is acknowledged */
        }
        safe_close(pidfd);
}

static void on_table_end(void *userdata)
{
        manager_maybe_open(userdata);
}

static void command_ended(Life *life, bool success)
{
        Member *member = life->member;

        if (member)
                member->command_key = 0;
        life_end(life);
        if (member && member->probe)
                probe_command_ended(member->probe, success);
}

static void clone_failed(Life *life, int error, int step)
{
        Member *member = life->member;
        _cleanup_free_ char *why = error == -EAGAIN && member ? member_full_branch(member) : NULL;

        if (life->is_command)
                command_ended(life, false);
        else if (life->is_adapter)
                adapter_failed(life, error, step);
        else if (!member || member->life != life)
                life_end(life);
        else
                life_spawn_failed(member, error, step, why);
}

static void on_spawned(uint64_t key, int pid, int pidfd, int error, int step, void *userdata)
{
        Manager *m = userdata;
        Life *life = map_get_u64(&m->lives, key);
        int r;

        if (!life) {
                if (pid > 0)
                        (void) kill(pid, SIGKILL); /* nobody's: EXITED follows and lets it go */
                safe_close(pidfd);
                return;
        }
        life->pid = pid;
        life->pidfd = pidfd;
        if (error < 0) {
                clone_failed(life, error, step);
                return;
        }
        life->phase = life->held ? LIFE_ADOPTING : LIFE_SETUP;
        if (life->doomed || !life->member) {
                life_abort(life);
                return;
        }
        if (life->is_command || life->is_adapter)
                return;
        /* One there is no room for, or lost for want of it: others were asked for at the same time. */
        r = pidfd < 0 ? -EMFILE : fd_check_reserve(pidfd);
        if (r >= 0)
                r = member_backend(life->member)->home_adopt(life->member->home, pid, pidfd);
        if (r < 0) {
                life->fail_errno = r;
                life_abort(life);
        }
}

/* `why` is consumed. */
static void room_failed(Life *life, int r, int step, char *why)
{
        life->fail_errno = r;
        life->fail_step = step;
        free(life->fail_why);
        life->fail_why = why;
        life_abort(life);
}

static void on_adopted(void *userdata, int r, const char *why)
{
        Member *member = userdata;
        Life *life = member->life;
        char *full = NULL;

        if (!life || life->phase == LIFE_ENDED)
                return;
        if (r < 0) {
                room_failed(life, r, SPAWN_STEP_HOLD, why ? strdup(why) : NULL);
                return;
        }
        (void) free_and_strdup(&life->unit, member_backend(member)->home_unit(member->home));
        if (life->phase != LIFE_ADOPTING || life->doomed)
                return;
        r = life_admit(life, &full);
        if (r < 0) {
                /* As where the kernel itself refuses it. */
                room_failed(life, r, SPAWN_STEP_CLONE, full);
                return;
        }
        life_take_baseline(life);
        life->phase = LIFE_SETUP;
        life->started_usec = now_usec(CLOCK_MONOTONIC); /* that it waited for its room is not its own time */
        member_arm(member, usec_add(life->started_usec, member->spec->node.start_timeout_usec));
        r = keeper_link_release(member->manager->keeper, life->key);
        if (r < 0)
                room_failed(life, r, SPAWN_STEP_HOLD, NULL);
}

static void life_running(Life *life)
{
        Member *member = life->member;
        int r;

        life->phase = LIFE_RUNNING;
        if (!member)
                return;
        (void) free_and_strdup(&member->trouble, NULL);
        if (member->node->frozen)
                (void) member_freeze_alone(member, true); /* asked for before there was anything to freeze */
        events_spawned(member->manager->events, member->node, life->pid);
        manager_log_started(member->manager, member->node);
        member_check_waiters(member, false);
        if (member->life != life)
                return;
        if (member->probe) {
                r = probe_start(member->probe, life->started_realtime_usec);
                if (r < 0)
                        log_errno(r, "%s: can't watch for its readiness", member->node->path);
        }
        if (member->adapter)
                adapter_start(member); /* without which it is not ready */
        else if (member->spec->ready == READY_EXEC && member->life == life)
                manager_event(member->manager, EVENT_READY, member->node);
}

static void on_setup(uint64_t key, int error, int step, void *userdata)
{
        Manager *m = userdata;
        Life *life = map_get_u64(&m->lives, key);

        if (!life)
                return;
        if (life->is_adapter && error < 0) {
                adapter_failed(life, error, step);
        } else if (life->is_adapter) {
                adapter_running(life);
        } else if (life->fail_errno < 0) {
                /* The reason is known: this is its consequence. */
        } else if (error < 0) {
                /* EXITED follows and ends the life; this is why. */
                life->fail_errno = error;
                life->fail_step = step;
        } else if (!life->is_command && life->phase < LIFE_RUNNING) {
                life_running(life);
        }
}

/* The commonest first mistake: a daemon that detaches itself ends well and is restarted until it is given up. An end that
 * was asked for says nothing. */
static void hint_background(const Member *member)
{
        const ExitInfo *exit = &member->node->exit;

        if (exit->cause == CAUSE_EXIT && exit->code == 0)
                log_warning("%s: ended with code 0 and left processes behind: have it stay in the "
                            "foreground",
                                member->node->path);
}

/* Main process gone. Is anything left in its room? */
void life_exited(Life *life)
{
        Member *member = life->member;
        Event event = { .type = EVENT_EXITED, .node = member->node, .now = now_usec(CLOCK_MONOTONIC) };

        life_abandon_command(member);
        if (member_backend(member)->home_ended)
                member_backend(member)->home_ended(member->home, life->exit.time_usec);
        event.populated = member_backend(member)->home_populated(member->home);
        if (!life->explained)
                life_explain(life, &life->seen);
        event.exit = life->seen;
        member->probe = probe_free(member->probe);
        member->channel = channel_free(member->channel);
        member->adapter = adapter_free(member->adapter);
        if (event.populated && member_backend(member)->home_watch_empty(member->home) < 0) {
                log_warning("%s: can't watch for the end of what it left: killed", member->node->path);
                (void) member_backend(member)->home_kill(member->home);
                event.populated = false;
        }
        crash_report_free(member->crash);
        member->crash = TAKE_PTR(life->crash);
        core_step(member->manager->core, &event);
        /* The core has had its say on the cause, and the member is still there. The successor is started before the
         * record of this end is written. */
        if (event.populated)
                hint_background(member);
        life_write_obituary(life, &member->node->exit);
        events_exited(member->manager->events, member->node, life->generation, &member->node->exit);
        portals_end(member);
        member->life = NULL;
        life->member = NULL;
        if (!event.populated)
                member_backend(member)->home_leave(member->home);
        manager_drain(life->manager);
        life_bury(life);
}

/* These speak for themselves, unless they are how the actor is to be stopped. */
static bool is_own_end(const Life *life)
{
        static const int signals[] = { SIGKILL, SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGTRAP, SIGSYS };
        int signo = life->exit.status;

        if (life->exit.code == CLD_EXITED || signo == life->member->spec->stop_signal)
                return false;
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                if (signals[i] == signo)
                        return true;
        return false;
}

/* An end that nobody asked us for may have been asked for elsewhere: is it to be judged later, when that is known? */
static bool life_consult(Life *life)
{
        Member *member = life->member;

        if (life->fail_errno < 0 || member->node->state == NODE_STOPPING || is_own_end(life) ||
                        !member_backend(member)->home_consult)
                return false;
        life_abandon_command(member);
        member->probe = probe_free(member->probe);
        if (!member->adapter)
                member->channel = channel_free(member->channel);
        return member_backend(member)->home_consult(member->home) > 0;
}

/* Nobody has more to say on it. */
static void life_over(Life *life)
{
        if (!adapter_farewell(life))
                life_exited(life);
}

static void on_exited(uint64_t key, int pid, const KeeperExit *exit, void *userdata)
{
        Manager *m = userdata;
        Life *life = map_get_u64(&m->lives, key);

        if (!life) {
                (void) keeper_link_reap(m->keeper, key);
                if (m->n_leftovers > 0) {
                        m->n_leftovers--;
                        manager_maybe_open(m);
                }
                return;
        }
        if (life->member && life->member->life == life && !life->member->adapter) {
                channel_hear_out(life->member->channel);
                life = map_get_u64(&m->lives, key);
        }
        life->exit = *exit;
        life->phase = LIFE_ENDED;
        if (exit->code == CLD_EXITED)
                life->crash = crash_report_free(life->crash); /* it has not died of that */
        if (life->is_command)
                command_ended(life, life->fail_errno == 0 && exit->code == CLD_EXITED && exit->status == 0);
        else if (life->is_adapter)
                adapter_ended(life);
        else if (!life->member || life->member->life != life)
                life_end(life);
        else if (!life_consult(life))
                life_over(life);
}

static void on_keeper_gone(void *userdata)
{
        Manager *m = userdata;

        log_error("The keeper is gone: ending everything it was the parent of");
        if (m->backend)
                m->backend->vtable->kill_all(m->backend);
        /* What the core still believes to be alive is not: no orderly end is possible now. */
        _exit(EXIT_FAILURE);
}

const KeeperLinkEvents manager_keeper_events = {
        .welcome = on_welcome,
        .entry = on_entry,
        .table_end = on_table_end,
        .spawned = on_spawned,
        .setup = on_setup,
        .exited = on_exited,
        .gone = on_keeper_gone,
};

/* --- the backend's --- */

static void on_emptied(void *userdata)
{
        Member *member = userdata;

        if (!member->node->alive)
                return;
        member_backend(member)->home_leave(member->home);
        manager_event(member->manager, EVENT_EMPTY, member->node);
}

static void on_stop_requested(void *userdata)
{
        Member *member = userdata;

        if (member->node->state != NODE_STOPPING)
                log_notice("%s: stopped from outside", member->node->path);
        if (member->life)
                member->life->stopped_outside = true;
        manager_event(member->manager, EVENT_CANCEL, member->node);
}

static void on_consulted(void *userdata)
{
        Member *member = userdata;

        if (member->life && member->life->phase == LIFE_ENDED)
                life_over(member->life);
}

const BackendEvents manager_backend_events = {
        .adopted = on_adopted,
        .emptied = on_emptied,
        .stop_requested = on_stop_requested,
        .consulted = on_consulted,
        .memory_changed = manager_memory_changed,
};
