/* SPDX-License-Identifier: Apache-2.0 */

/* A program on stdio and its adapter (src/stdio/). Two pipes join them and the adapter has the actor's channel, so that no
 * byte of theirs passes here. The adapter is a process of the actor's room with a Life of its own, as a readiness command
 * is: pid and exit of the node are the program's. It is started when the program runs and, with the program's end, is told
 * how that ended and waited for: it answers what is open, and the room is empty before anyone asks whether it is. One that
 * dies before takes the program with it. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/process.h"
#include "base/usec.h"
#include "supervisor/manager.h"
#include "supervisor/node-json.h"
#include "supervisor/process-search.h"
#include "tractor-config.h"

/* For its last answers. It takes a quarter of that for itself. */
#define FAREWELL_USEC USEC_PER_SEC

struct Adapter {
        Member *member; /* weak */
        uint64_t key;   /* of its life; 0: it has none */
        LifeFds fds;    /* its ends, until it is asked for */
        sd_event_source *limit;
        bool farewell, failed;
        bool lost; /* it died, or could not come to be, before its program was known to have ended */
        char *why; /* of one that was never there, for people */
};

Adapter *adapter_free(Adapter *a)
{
        Life *life = a ? map_get_u64(&a->member->manager->lives, a->key) : NULL;

        if (!a)
                return NULL;
        if (life) {
                life->member = NULL;
                life_abort(life);
        }
        sd_event_source_disable_unref(a->limit);
        close_many(a->fds.fds, ELEMENTSOF(a->fds.fds));
        free(a->why);
        free(a);
        return NULL;
}

/* The program may open it again by its name, /dev/stdin, as the user that it is. */
static int open_pipe(const TreeSpec *spec, int *ret_read, int *ret_write)
{
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        if (spec->user && fchown(fds[0], spec->uid, spec->gid) < 0) {
                int r = -errno;

                close_many(fds, 2);
                return r;
        }
        *ret_read = fds[0];
        *ret_write = fds[1];
        return 0;
}

int adapter_open(Member *member, LifeFds *fds)
{
        Adapter *a = calloc(1, sizeof(Adapter));
        int r;

        if (!a)
                return -ENOMEM;
        *a = (Adapter){ .member = member, .fds = LIFE_FDS_NONE };
        member->adapter = a;
        r = open_pipe(member->spec, &fds->fds[LIFE_FD_STDIN], &a->fds.fds[LIFE_FD_STDOUT]);
        if (r >= 0)
                r = open_pipe(member->spec, &a->fds.fds[LIFE_FD_STDIN], &fds->fds[LIFE_FD_STDOUT]);
        if (r >= 0)
                r = member_open_channel(member, &a->fds.fds[LIFE_FD_CHANNEL]);
        if (r >= 0 && fds->fds[LIFE_FD_STDERR] >= 0) {
                a->fds.fds[LIFE_FD_STDERR] = fcntl(fds->fds[LIFE_FD_STDERR], F_DUPFD_CLOEXEC, 3);
                r = a->fds.fds[LIFE_FD_STDERR] < 0 ? -errno : 0;
        }
        return r;
}

static int spawn(Adapter *a)
{
        Member *member = a->member;
        _cleanup_free_ char *path = find_program("tractor-stdio", "../stdio", TRACTOR_LIBEXECDIR);
        char *argv[] = { path, NULL };
        SpawnPlan plan = { .cgroup_fd = -EBADF };
        Life *life;
        int fd, r;

        if (!path)
                return -ENOMEM;
        r = member_backend(member)->home_command(member->home, &plan);
        if (r < 0)
                return r;
        fd = member_encode_adapter(member, argv, &a->fds);
        if (fd < 0)
                return fd;
        life = life_new(member->manager, member);
        if (!life) {
                safe_close(fd);
                return -ENOMEM;
        }
        life->is_adapter = true;
        r = life_send_spawn(life, &plan, fd, &a->fds);
        if (r < 0)
                life_free(life);
        else
                a->key = life->key;
        return r;
}

/* One that is over took its room with it, and that is all that was wrong. */
static bool room_gone(int error, int step)
{
        return step == SPAWN_STEP_CLONE && (error == -ENODEV || error == -ENOENT || error == -ESRCH);
}

/* The generation fails for want of an adapter, as one whose program can't be run does. */
static void fail_program(Member *member, int error, int step)
{
        Adapter *a = member->adapter;
        Life *program = member->life;

        a->failed = true;
        free(a->why);
        a->why = xasprintf("its adapter, tractor-stdio: %s",
                        spawn_failure_hint(step, error) ?: strerror(-error));
        /* One that is over may be so since nobody was left to talk to. */
        if (!program || program->phase != LIFE_RUNNING ||
                        (program->pidfd >= 0 && pidfd_ended(program->pidfd))) {
                a->lost = !room_gone(error, step);
                return;
        }
        program->fail_errno = error;
        program->fail_step = step;
        (void) free_and_strdup(&program->fail_why, a->why);
        life_abort(program);
}

void adapter_start(Member *member)
{
        Adapter *a = member->adapter;
        int r = spawn(a);

        close_many(a->fds.fds, ELEMENTSOF(a->fds.fds));
        a->fds = LIFE_FDS_NONE;
        if (r < 0)
                fail_program(member, r, SPAWN_STEP_CLONE);
}

void adapter_failed(Life *life, int error, int step)
{
        Member *member = life->member;

        if (member && !life->killed_by_us)
                fail_program(member, error, step);
        if (life->pid > 0)
                return; /* its end is told */
        if (member)
                adapter_ended(life);
        else
                life_end(life);
}

void adapter_running(Life *life)
{
        Member *member = life->member;

        life->phase = LIFE_RUNNING;
        if (member && member->life && member->life->phase == LIFE_RUNNING &&
                        member->spec->ready == READY_EXEC)
                manager_event(member->manager, EVENT_READY, member->node);
}

static int on_limit(sd_event_source *s, uint64_t usec, void *userdata)
{
        Adapter *a = userdata;
        Life *life = map_get_u64(&a->member->manager->lives, a->key);

        log_warning("%s: its adapter does not end: killed", a->member->node->path);
        if (life)
                life_abort(life);
        return 0;
}

static int tell_exit(const Member *member, const ExitInfo *exit)
{
        Json *how = NULL, *params = NULL;
        int r = exit_to_json(exit, &how);

        if (r >= 0)
                r = json_pack(&params, "{path:s, id:s, exit:o}", member->node->path, member->id, how);
        return r < 0 ? r : channel_tell(member->channel, "$/child_exited", params, -EBADF, false);
}

static void explain(Life *program)
{
        life_explain(program, &program->seen);
        program->explained = true;
}

/* A program that ends well since nobody is left to talk to has not ended as it was to. */
static void explain_lost(Life *program)
{
        if (program->seen.cause != CAUSE_EXIT || program->seen.code != 0)
                return;
        program->seen.cause = CAUSE_UNKNOWN;
        (void) free_and_strdup(
                        &program->member->trouble, program->member->adapter->why ?: "its adapter has died");
}

bool adapter_farewell(Life *program)
{
        Member *member = program->member;
        Adapter *a = member->adapter;
        ExitInfo exit;
        Life *life;
        int r;

        if (a && a->lost) {
                explain(program);
                explain_lost(program);
        }
        if (!a || a->key == 0)
                return false;
        life = map_get_u64(&member->manager->lives, a->key);
        a->farewell = true;
        life_abandon_command(member);
        member->probe = probe_free(member->probe);
        explain(program);
        exit = program->seen;
        exit.cause = core_exit_cause(member->node, exit.cause);
        r = sd_event_add_time_relative(member->manager->event, &a->limit, CLOCK_MONOTONIC, FAREWELL_USEC,
                        USEC_PER_MSEC, on_limit, a);
        if (r >= 0)
                r = tell_exit(member, &exit);
        if (r < 0) /* it has not come as far as serving anyone, or does not read */
                life_abort(life);
        return true;
}

static void log_end(const Member *member, const KeeperExit *exit)
{
        if (exit->code == CLD_EXITED)
                log_error("%s: its adapter ended with code %d, so it is killed", member->node->path,
                                exit->status);
        else
                log_error("%s: its adapter was killed by signal %d, so it is killed", member->node->path,
                                exit->status);
}

void adapter_ended(Life *life)
{
        const KeeperExit exit = life->exit;
        bool died = !life->killed_by_us && (exit.code != CLD_EXITED || exit.status != 0);
        Member *member = life->member;
        Life *program;
        Adapter *a;

        if (!member) {
                life_end(life);
                return;
        }
        a = member->adapter;
        program = member->life;
        a->key = 0;
        life->member = NULL;
        life_end(life);
        if (a->farewell) {
                if (a->failed ? a->lost : died)
                        explain_lost(program);
                life_exited(program);
                return;
        }
        a->lost |= !a->failed;
        if (program && program->phase == LIFE_RUNNING && !a->failed) {
                log_end(member, &exit);
                life_abort(program);
        }
}
