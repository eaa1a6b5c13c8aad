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

static const BackendVtable *vtable_of(const Member *member)
{
        return member->home->backend->vtable;
}

Life *life_free(Life *life)
{
        if (!life)
                return NULL;
        (void) map_remove_u64(&life->manager->lives, life->key);
        if (life->member && life->member->life == life)
                life->member->life = NULL;
        life->obituary = obituary_free(life->obituary);
        safe_close(life->pidfd);
        free(life->fail_why);
        free(life->unit);
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

static Life *life_new(Manager *m, Member *member)
{
        Life *life = calloc(1, sizeof(Life));

        if (!life)
                return NULL;
        *life = (Life){ .manager = m,
                .member = member,
                .key = ++m->next_key,
                .pidfd = -EBADF,
                .generation = member->node->generation,
                .started_usec = now_usec(CLOCK_MONOTONIC),
                .started_realtime_usec = now_usec(CLOCK_REALTIME) };
        if (map_put_u64(&m->lives, life->key, life) < 0) {
                free(life);
                return NULL;
        }
        return life;
}

/* A spawn that came to nothing before the keeper knew of it. */
static void spawn_failed(Member *member, int error, int step, const char *why)
{
        Event event = { .type = EVENT_EXITED, .node = member->node, .now = now_usec(CLOCK_MONOTONIC) };

        event.exit = (ExitInfo){
                .cause = CAUSE_SPAWN, .code = -1, .spawn_step = step, .spawn_errno = -error
        };
        free(member->trouble);
        member->trouble = why ? strdup(why) : NULL;
        if (member->life)
                life_free(member->life);
        if (member->home)
                vtable_of(member)->home_leave(member->home);
        manager_log_spawn_failure(member->manager, member, &event.exit);
        events_exited(member->manager->events, member->node, member->node->generation, &event.exit);
        manager_step(member->manager, &event);
}

/* The ladder's length, for a systemd that has to stop the scope in our place. */
static uint64_t stop_usec(const TreeSpec *spec)
{
        return usec_add(spec->node.grace_usec, 2 * USEC_PER_SEC);
}

static void probe_is_ready(void *userdata)
{
        Member *member = userdata;

        manager_event(member->manager, EVENT_READY, member->node);
}

/* Said by any actor with a channel, but waited for only where the tree says so. */
static void channel_ready(void *userdata)
{
        Member *member = userdata;

        if (member->spec->ready == READY_CHANNEL)
                manager_event(member->manager, EVENT_READY, member->node);
}

static void probe_watchdog(void *userdata)
{
        Member *member = userdata;

        manager_event(member->manager, EVENT_WATCHDOG, member->node);
}

static void probe_status(const char *text, void *userdata)
{
        Member *member = userdata;
        Json *extra = NULL;

        (void) free_and_strdup(&member->status_text, text);
        if (events_wanted(member->manager->events) && json_pack(&extra, "{text:s}", text) < 0)
                return;
        events_publish(member->manager->events, member->node->path, "status", extra);
}

static void probe_stopping(void *userdata)
{
        /* Its own end follows; nothing to do before. */
}

/* A readiness command runs in the actor's room, as a child of the keeper, with a Life that no node owns. */
static int probe_command(char *const *argv, void *userdata)
{
        Member *member = userdata;
        SpawnPlan plan = { .cgroup_fd = -EBADF };
        Life *life;
        int fd, r;

        if (!member->life)
                return -ESRCH;
        fd = member_encode_command(member, argv);
        if (fd < 0)
                return fd;
        r = vtable_of(member)->home_command(member->home, &plan);
        life = r < 0 ? NULL : life_new(member->manager, member);
        if (!life) {
                safe_close(fd);
                return r < 0 ? r : -ENOMEM;
        }
        life->is_command = true;
        life->phase = LIFE_SETUP;
        r = keeper_link_spawn(member->manager->keeper, life->key, 0, fd, plan.cgroup_fd, -EBADF);
        if (r < 0)
                life_free(life);
        else
                member->command_key = life->key;
        return r;
}

static const ProbeEvents probe_events = {
        .ready = probe_is_ready,
        .watchdog = probe_watchdog,
        .status = probe_status,
        .stopping = probe_stopping,
        .run_command = probe_command,
};

static int open_probe(Member *member)
{
        const TreeSpec *spec = member->spec;
        ProbeOptions options = { .event = member->manager->event,
                .spec = spec,
                .runtime_dir = member->manager->runtime_dir,
                .actor_id = member->id,
                .uid = spec->user ? spec->uid : geteuid(),
                .events = &probe_events,
                .userdata = member };

        if (spec->node.watchdog_usec == 0 && (spec->ready == READY_EXEC || spec->ready == READY_EXITED ||
                                                             spec->ready == READY_CHANNEL))
                return 0;
        return probe_new(&options, &member->probe);
}

static const ChannelEvents channel_events = {
        .ready = channel_ready,
        .watchdog = probe_watchdog,
        .status = probe_status,
};

static int open_channel(Member *member, int *ret_fd)
{
        if (member->spec->channel != CHANNEL_FD)
                return 0;
        return channel_new(member->manager->event, &channel_events, member, &member->channel, ret_fd);
}

static bool wants_journal(const Output *output)
{
        return output->kind == OUTPUT_DEFAULT || output->kind == OUTPUT_JOURNAL;
}

static int open_output(Member *member)
{
        Manager *m = member->manager;
        const TreeSpec *spec = member->spec;

        if (!m->output || member->output_path || !(wants_journal(&spec->out) || wants_journal(&spec->err)))
                return 0;
        return output_dir_open(m->output, member->node->path, spec->user ? spec->uid : geteuid(),
                        spec->user ? spec->gid : getegid(), &member->output_path);
}

static void take_oom_baseline(Member *member, Life *life)
{
        Usage usage = { .cpu_usec = UINT64_MAX };

        (void) vtable_of(member)->home_oom_kills(member->home);
        if (vtable_of(member)->home_usage(member->home, &usage) >= 0 && usage.cpu_usec != UINT64_MAX)
                life->cpu_base_usec = usage.cpu_usec;
}

static int try_spawn(Member *member, int *ret_step)
{
        _cleanup_close_ int channel_fd = -EBADF;
        Manager *m = member->manager;
        SpawnPlan plan = { .cgroup_fd = -EBADF };
        Life *life;
        int fd, r;

        *ret_step = SPAWN_STEP_CLONE;
        life = life_new(m, member);
        if (!life)
                return -ENOMEM;
        member->life = life;
        memcpy(life->id, member->id, sizeof(life->id));
        r = vtable_of(member)->home_prepare(
                        member->home, life->generation, life->id, stop_usec(member->spec), &plan);
        if (r < 0)
                return r;
        life->phase = LIFE_CLONING;
        life->held = plan.held;
        take_oom_baseline(member, life);
        *ret_step = SPAWN_STEP_STDIO;
        r = open_output(member);
        if (r < 0)
                return r;
        *ret_step = SPAWN_STEP_SPEC;
        r = open_probe(member);
        if (r < 0)
                return r;
        r = open_channel(member, &channel_fd);
        if (r < 0)
                return r;
        fd = member_encode(member, channel_fd >= 0, ret_step);
        if (fd < 0)
                return fd;
        *ret_step = SPAWN_STEP_CLONE;
        return keeper_link_spawn(m->keeper, life->key, plan.held ? KEEPER_SPAWN_HELD : 0, fd, plan.cgroup_fd,
                        channel_fd);
}

void life_spawn(Member *member)
{
        int step = SPAWN_STEP_CLONE, r;

        member->probe = probe_free(member->probe);
        member->channel = channel_free(member->channel);
        (void) free_and_strdup(&member->status_text, NULL);
        if (member->node->generation > 1)
                member_new_id(member);
        r = try_spawn(member, &step);
        if (r < 0)
                spawn_failed(member, r, step, NULL);
}

int life_signal(Life *life, int signo)
{
        if (life->pidfd < 0 || life->phase == LIFE_ENDED)
                return -ESRCH;
        if (syscall(SYS_pidfd_send_signal, life->pidfd, signo, NULL, 0) < 0)
                return -errno;
        return 0;
}

/* A child that has not become the program yet has nothing to be asked: it is ended where it stands. */
static void life_abort(Life *life)
{
        life->doomed = true;
        if (life->phase != LIFE_CLONING)
                (void) life_signal(life, SIGKILL);
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
                if (life && !channel_cancel(member->channel, "stop", member->spec->node.grace_usec))
                        (void) life_signal(life, member->spec->stop_signal);
                break;
        case RUNG_TERM:
                if (!life || life_signal(life, SIGTERM) < 0)
                        (void) vtable_of(member)->home_signal(member->home, SIGTERM);
                break;
        case RUNG_KILL:
                log_info("%s: did not end when asked to: killed", member->node->path);
                if (life)
                        (void) life_signal(life, SIGKILL);
                (void) vtable_of(member)->home_kill(member->home);
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
        if (w->flags & KEEPER_SUCCESSOR)
                log_warning("the supervisor before this one died: its trees are ended before new ones "
                            "start");
}

/* What an earlier supervisor left. Its intent is not known in this version, so it is ended. */
static void on_entry(const KeeperEntry *e, int pidfd, void *userdata)
{
        Manager *m = userdata;

        if (e->child_state == KEEPER_CHILD_NONE) {
                safe_close(pidfd);
                (void) keeper_link_forget(m->keeper, e->header.key);
                return;
        }
        if (e->child_state == KEEPER_CHILD_EXITED) {
                (void) keeper_link_reap(m->keeper, e->header.key);
        } else if (pidfd >= 0) {
                m->n_leftovers++;
                (void) syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
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
        bool asked = member && member->command_key == life->key && member->probe;

        if (member)
                member->command_key = 0;
        life_end(life);
        if (asked)
                probe_command_ended(member->probe, success);
}

static void clone_failed(Life *life, int error, int step)
{
        Member *member = life->member;

        if (life->is_command)
                command_ended(life, false);
        else if (!member || member->life != life)
                life_end(life);
        else
                spawn_failed(member, error, step, NULL);
}

static void on_spawned(uint64_t key, int pid, int pidfd, int error, int step, void *userdata)
{
        Manager *m = userdata;
        Life *life = map_get_u64(&m->lives, key);
        int r;

        if (!life) {
                safe_close(pidfd);
                return;
        }
        life->pid = pid;
        life->pidfd = pidfd;
        if (error < 0) {
                clone_failed(life, error, step);
                return;
        }
        if (life->is_command)
                return;
        life->phase = life->held ? LIFE_ADOPTING : LIFE_SETUP;
        if (life->doomed || !life->member) {
                life_abort(life);
                return;
        }
        r = vtable_of(life->member)->home_adopt(life->member->home, pid, pidfd);
        if (r < 0) {
                life->fail_errno = r;
                life_abort(life);
        }
}

static void on_adopted(void *userdata, int r, const char *why)
{
        Member *member = userdata;
        Life *life = member->life;

        if (!life || life->phase == LIFE_ENDED)
                return;
        if (r < 0) {
                life->fail_errno = r;
                life->fail_step = SPAWN_STEP_HOLD;
                (void) free_and_strdup(&life->fail_why, why);
                life_abort(life);
                return;
        }
        (void) free_and_strdup(&life->unit, vtable_of(member)->home_unit(member->home));
        if (life->phase != LIFE_ADOPTING || life->doomed)
                return;
        life->phase = LIFE_SETUP;
        (void) keeper_link_release(member->manager->keeper, life->key);
}

static void life_running(Life *life)
{
        Member *member = life->member;
        int r;

        life->phase = LIFE_RUNNING;
        if (!member)
                return;
        (void) free_and_strdup(&member->trouble, NULL);
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
        if (member->spec->ready == READY_EXEC && member->life == life)
                manager_event(member->manager, EVENT_READY, member->node);
}

static void on_setup(uint64_t key, int error, int step, void *userdata)
{
        Manager *m = userdata;
        Life *life = map_get_u64(&m->lives, key);

        if (!life)
                return;
        if (error < 0) {
                /* EXITED follows and ends the life; this is why. */
                life->fail_errno = error;
                life->fail_step = step;
        } else if (!life->is_command && life->phase < LIFE_RUNNING) {
                life_running(life);
        }
}

/* Main process gone. Is anything left in its room? */
static void life_exited(Life *life)
{
        Member *member = life->member;
        Event event = { .type = EVENT_EXITED, .node = member->node, .now = now_usec(CLOCK_MONOTONIC) };

        event.populated = vtable_of(member)->home_populated(member->home);
        life_explain(life, &event.exit);
        member->probe = probe_free(member->probe);
        member->channel = channel_free(member->channel);
        if (event.populated && vtable_of(member)->home_watch_empty(member->home) < 0) {
                log_warning("%s: can't watch for the end of what it left: killed", member->node->path);
                (void) vtable_of(member)->home_kill(member->home);
                event.populated = false;
        }
        core_step(member->manager->core, &event);
        /* The core has had its say on the cause, and the member is still there. The successor is started before the
         * record of this end is written. */
        life_write_obituary(life, &member->node->exit);
        events_exited(member->manager->events, member->node, life->generation, &member->node->exit);
        member->life = NULL;
        life->member = NULL;
        if (!event.populated)
                vtable_of(member)->home_leave(member->home);
        manager_drain(life->manager);
        life_bury(life);
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
        life->exit = *exit;
        life->phase = LIFE_ENDED;
        if (life->is_command)
                command_ended(life, life->fail_errno == 0 && exit->code == CLD_EXITED && exit->status == 0);
        else if (!life->member || life->member->life != life)
                life_end(life);
        else
                life_exited(life);
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
        vtable_of(member)->home_leave(member->home);
        manager_event(member->manager, EVENT_EMPTY, member->node);
}

static void on_stop_requested(void *userdata)
{
        Member *member = userdata;

        log_notice("%s: stopped from outside", member->node->path);
        manager_event(member->manager, EVENT_CANCEL, member->node);
}

const BackendEvents manager_backend_events = {
        .adopted = on_adopted,
        .emptied = on_emptied,
        .stop_requested = on_stop_requested,
};
