/* SPDX-License-Identifier: Apache-2.0 */

/* A generation until its child exists: from EFFECT_SPAWN to the request to the keeper. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/usec.h"
#include "supervisor/events.h"
#include "supervisor/methods.h"
#include "supervisor/outcome.h"
#include "supervisor/portal.h"

Life *life_new(Manager *m, Member *member)
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
void life_spawn_failed(Member *member, int error, int step, const char *why)
{
        Event event = { .type = EVENT_EXITED, .node = member->node, .now = now_usec(CLOCK_MONOTONIC) };

        event.exit = (ExitInfo){
                .cause = CAUSE_SPAWN, .code = -1, .spawn_step = step, .spawn_errno = -error
        };
        (void) free_and_strdup(&member->trouble, why ?: spawn_failure_hint(step, error));
        member->probe = probe_free(member->probe);
        member->channel = channel_free(member->channel);
        member->adapter = adapter_free(member->adapter);
        if (member->life)
                life_free(member->life);
        if (member->home)
                member_backend(member)->home_leave(member->home);
        manager_log_spawn_failure(member->manager, member, &event.exit);
        events_exited(member->manager->events, member->node, member->node->generation, &event.exit);
        portals_forget(member);
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
        r = member_backend(member)->home_command(member->home, &plan);
        life = r < 0 ? NULL : life_new(member->manager, member);
        if (!life) {
                safe_close(fd);
                return r < 0 ? r : -ENOMEM;
        }
        life->is_command = true;
        r = keeper_link_spawn(member->manager->keeper, life->key, 0, fd, plan.cgroup_fd, NULL, 0);
        if (r < 0)
                life_free(life);
        else
                member->command_key = life->key;
        return r;
}

static void probe_kill_command(void *userdata)
{
        life_kill_command(userdata);
}

static const ProbeEvents probe_events = {
        .ready = probe_is_ready,
        .watchdog = probe_watchdog,
        .status = probe_status,
        .stopping = probe_stopping,
        .run_command = probe_command,
        .kill_command = probe_kill_command,
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

static void channel_request(Peer *peer, Call *call, const Message *message, void *userdata)
{
        Member *member = userdata;

        peer->pid = member->life ? member->life->pid : 0;
        methods_dispatch(member->manager, peer, call, message);
}

static void channel_outcome(const Json *params, bool is_error, void *userdata)
{
        outcome_say(userdata, params, is_error);
}

/* The last one counts. It holds once the process has died of it. */
static void channel_crash(const Json *params, void *userdata)
{
        Member *member = userdata;
        CrashReport *report;

        if (!member->life || member->adapter || crash_report_new(params, &report) < 0)
                return;
        crash_report_free(member->life->crash);
        member->life->crash = report;
}

/* It can be connected to from now on. */
static void channel_hello(void *userdata)
{
        Member *member = userdata;

        /* An adapter that was not there yet when its program was asked to stop. */
        if (member->adapter && member->node->state == NODE_STOPPING)
                (void) member_ask_by_channel(member);
        member_check_waiters(member, false);
}

static const ChannelEvents channel_events = {
        .hello = channel_hello,
        .crash = channel_crash,
        .request = channel_request,
        .ready = channel_ready,
        .watchdog = probe_watchdog,
        .status = probe_status,
        .outcome = channel_outcome,
};

int member_open_channel(Member *member, int *ret_fd)
{
        Peer peer;
        int r;

        r = peer_of_actor(member->node->path, member->id, member->spec, &peer);
        if (r < 0)
                return r;
        peer.held = &member->held;
        return channel_new(member->manager->event, &member->manager->turns, &member->manager->cork, &peer,
                        &channel_events, member, &member->channel, ret_fd);
}

/* Pipes to the logger, where there is no journal. */
static int open_output(const Member *member, LifeFds *f)
{
        Manager *m = member->manager;
        const TreeSpec *spec = member->spec;
        bool out = spec->channel != CHANNEL_STDIO && output_is_logged(&spec->out);
        unsigned streams = (out ? 1U : 0) | (output_is_logged(&spec->err) ? 2U : 0);

        if (!m->output || streams == 0 || journal_available(m->journal))
                return 0;
        return output_open(m->output, member->life->key, member->node->path, streams,
                        spec->user ? spec->uid : (uid_t) -1, f->fds + LIFE_FD_STDOUT);
}

int life_fds_index(const LifeFds *f, int which)
{
        int index = 0;

        for (int i = 0; i < which; i++)
                index += f->fds[i] >= 0;
        return f->fds[which] >= 0 ? index : -1;
}

void life_take_baseline(Life *life)
{
        Member *member = life->member;
        uint64_t kills = 0;
        Usage usage;

        /* A home that is new counts from 0; but a slice may have stood here before. */
        if (life->generation <= 1 && member_backend(member)->kind != BACKEND_SCOPE)
                return;
        (void) member_backend(member)->home_oom_kills(member->home, &kills);
        oom_account_begin(&member->oom, kills);
        member_backend(member)->home_spent(member->home, &usage);
        if (usage.cpu_usec != UINT64_MAX)
                life->cpu_base_usec = usage.cpu_usec;
}

int life_send_spawn(const Life *life, const SpawnPlan *plan, int spec_fd, const LifeFds *f)
{
        int fds[_LIFE_FDS];
        size_t n = 0;

        for (int i = 0; i < _LIFE_FDS; i++)
                if (f->fds[i] >= 0)
                        fds[n++] = f->fds[i];
        return keeper_link_spawn(life->manager->keeper, life->key, plan->held ? KEEPER_SPAWN_HELD : 0,
                        spec_fd, plan->cgroup_fd, fds, n);
}

static int open_streams(Member *member, LifeFds *f)
{
        switch (member->spec->channel) {
        case CHANNEL_FD:
                return member_open_channel(member, &f->fds[LIFE_FD_CHANNEL]);
        case CHANNEL_STDIO:
                return adapter_open(member, f);
        default:
                return 0;
        }
}

static int open_entry(const Member *member, LifeFds *f)
{
        if (member->spec->entry_fd < 0)
                return 0;
        f->fds[LIFE_FD_EXEC] = fcntl(member->spec->entry_fd, F_DUPFD_CLOEXEC, 3);
        return f->fds[LIFE_FD_EXEC] < 0 ? -errno : 0;
}

static int open_and_spawn(Member *member, const SpawnPlan *plan, LifeFds *f, int *ret_step)
{
        int fd, r;

        *ret_step = SPAWN_STEP_STDIO;
        r = open_output(member, f);
        if (r < 0)
                return r;
        *ret_step = SPAWN_STEP_SPEC;
        r = open_probe(member);
        if (r < 0)
                return r;
        r = open_streams(member, f);
        if (r >= 0)
                r = open_entry(member, f);
        if (r < 0)
                return r;
        fd = member_encode(member, f, ret_step);
        if (fd < 0)
                return fd;
        *ret_step = SPAWN_STEP_CLONE;
        r = fd_check_reserve(fd);
        if (r < 0) {
                safe_close(fd);
                return r;
        }
        return life_send_spawn(member->life, plan, fd, f);
}

static int try_spawn(Member *member, int *ret_step)
{
        Manager *m = member->manager;
        SpawnPlan plan = { .cgroup_fd = -EBADF };
        LifeFds fds = LIFE_FDS_NONE;
        Life *life;
        int r;

        *ret_step = SPAWN_STEP_CLONE;
        life = life_new(m, member);
        if (!life)
                return -ENOMEM;
        member->life = life;
        memcpy(life->id, member->id, sizeof(life->id));
        r = member_backend(member)->home_prepare(member->home, life->generation, life->id,
                        member->spec->stop_signal, stop_usec(member->spec), &plan);
        if (r < 0)
                return r;
        life->phase = LIFE_CLONING;
        life->held = plan.held;
        if (!plan.held)
                life_take_baseline(life);
        r = open_and_spawn(member, &plan, &fds, ret_step);
        close_many(fds.fds, ELEMENTSOF(fds.fds));
        return r;
}

void life_spawn(Member *member)
{
        int step = SPAWN_STEP_CLONE, r;

        member->probe = probe_free(member->probe);
        member->channel = channel_free(member->channel);
        member->adapter = adapter_free(member->adapter);
        (void) free_and_strdup(&member->status_text, NULL);
        outcome_reset(member);
        if (member->node->generation > 1)
                member_new_id(member);
        r = try_spawn(member, &step);
        if (r < 0)
                life_spawn_failed(member, r, step, NULL);
}
