/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/usec.h"
#include "supervisor/events.h"
#include "supervisor/lifecycle-log.h"
#include "supervisor/manager.h"
#include "supervisor/proc.h"

#define LAST_WORDS 20U

/* What is to be written of an end, copied while its member is sure to be there: the member may be gone, or at its next
 * generation, when the last words have been found. */
struct Obituary {
        ListNode open; /* in manager->obituaries, until its record is written */
        uint64_t number;
        Life *life; /* weak: the obituary is the life's */
        char *path, *unit, *text, *last_words, *backtrace;
        JournalTail *tail;
        OutputTail *output_tail;
        ExitInfo exit;
        uint32_t restarts;
        uint64_t memory_peak, cpu_usec, restart_usec;
        bool abnormal, ask;
};

/* What followed from ends: a record that waits for theirs, so that a reader comes upon the reason first. */
typedef struct Verdict {
        ListNode queue; /* in manager->verdicts */
        uint64_t after; /* the last of the obituaries it waits for */
        LifecycleRecord record;
        char *path, *text, *unit, *actor_id;
} Verdict;

static Verdict *verdict_free(Verdict *v)
{
        if (!v)
                return NULL;
        list_unlink(&v->queue);
        free(v->path);
        free(v->text);
        free(v->unit);
        free(v->actor_id);
        free(v);
        return NULL;
}
DEFINE_CLEANUP(Verdict *, verdict_free);

static bool copied(const char *s, char **ret)
{
        *ret = s ? strdup(s) : NULL;
        return !s || *ret;
}

/* False: is to be written at once, for want of memory if for nothing else. */
static bool verdict_waits(Manager *m, const LifecycleRecord *r)
{
        _cleanup_(verdict_freep) Verdict *v = NULL;

        if (list_is_empty(&m->obituaries) || (r->kind != LIFECYCLE_FAILED && r->kind != LIFECYCLE_GAVE_UP &&
                                                             r->kind != LIFECYCLE_TREE_UNLOADED))
                return false;
        v = calloc(1, sizeof(Verdict));
        if (!v || !copied(r->path, &v->path) || !copied(r->text, &v->text) || !copied(r->unit, &v->unit) ||
                        !copied(r->actor_id, &v->actor_id))
                return false;
        v->after = m->n_obituaries;
        v->record = *r;
        v->record.path = v->path;
        v->record.text = v->text;
        v->record.unit = v->unit;
        v->record.actor_id = v->actor_id;
        list_append(&m->verdicts, &v->queue);
        TAKE_PTR(v);
        return true;
}

void manager_log_verdicts(Manager *m)
{
        uint64_t oldest = UINT64_MAX;

        if (!list_is_empty(&m->obituaries))
                oldest = LIST_ENTRY(m->obituaries.next, Obituary, open)->number;
        while (!list_is_empty(&m->verdicts)) {
                Verdict *v = LIST_ENTRY(m->verdicts.next, Verdict, queue);

                if (v->after >= oldest)
                        return;
                lifecycle_log(m->journal, &v->record);
                verdict_free(v);
        }
}

Obituary *obituary_free(Obituary *o)
{
        if (!o)
                return NULL;
        list_unlink(&o->open);
        manager_log_verdicts(o->life->manager);
        o->tail = journal_tail_free(o->tail);
        o->output_tail = output_tail_free(o->output_tail);
        free(o->path);
        free(o->unit);
        free(o->text);
        free(o->last_words);
        free(o->backtrace);
        free(o);
        return NULL;
}

const char *obituary_path(const Obituary *o)
{
        return o->path;
}

/* --- why --- */

const CrashReport *node_crash(const Node *node)
{
        const Member *member = node_member(node);

        return member && member->crash && streq(member->crash->id, node->exit.report) ? member->crash : NULL;
}

const char *spawn_failure_hint(int step, int error)
{
        if (step == SPAWN_STEP_CLONE && error == -ECONNABORTED)
                return "tractor-spawner, which was to clone it, has died";
        return error == -ECHILD ? "ended there without an error of its own" : NULL;
}

static void explain_failure(const Life *life, ExitInfo *ret)
{
        Member *member = life->member;

        ret->cause = CAUSE_SPAWN;
        ret->spawn_step = life->fail_step;
        ret->spawn_errno = -life->fail_errno;
        (void) free_and_strdup(&member->trouble,
                        life->fail_why ?: spawn_failure_hint(life->fail_step, life->fail_errno));
}

/* 137 is not OOM: only the kernel's own count says so, and only of a SIGKILL. After another abnormal end it may tell what
 * led to it. */
static bool killed_for_memory(const Life *life)
{
        bool by_sigkill = life->exit.code != CLD_EXITED && life->exit.status == SIGKILL;
        Member *member = life->member;
        uint64_t kills;

        if (life->killed_by_us || life->exit.status == 0 ||
                        (!by_sigkill && member->node->state == NODE_STOPPING) ||
                        member_backend(member)->home_oom_kills(member->home, &kills) < 0)
                return false;
        return oom_account_judge(&member->oom, kills, by_sigkill);
}

void life_explain(Life *life, ExitInfo *ret)
{
        const KeeperExit *exit = &life->exit;

        *ret = (ExitInfo){
                .code = -1, .pid = life->pid, .runtime_usec = usec_sub(exit->time_usec, life->started_usec)
        };
        if (exit->code == CLD_EXITED) {
                ret->cause = CAUSE_EXIT;
                ret->code = exit->status;
        } else if (exit->code == CLD_KILLED || exit->code == CLD_DUMPED) {
                ret->cause = CAUSE_SIGNAL;
                ret->signal = exit->status;
                ret->core_dumped = exit->code == CLD_DUMPED;
        } else {
                ret->cause = CAUSE_UNKNOWN;
        }
        if (life->crash)
                memcpy(ret->report, life->crash->id, sizeof(ret->report));
        if (life->fail_errno < 0)
                explain_failure(life, ret);
        else if (killed_for_memory(life))
                ret->cause = CAUSE_OOM;
}

/* --- the record --- */

/* The home's counters know of all processes, but are files to read: of an end that was asked for, the keeper's account of
 * the main process and those it waited for says enough. */
static void take_usage(const Life *life, Obituary *o)
{
        Home *home = life->member->home;
        Usage u = { .cpu_usec = UINT64_MAX, .memory_peak = UINT64_MAX };

        if (o->exit.cause != CAUSE_STOP)
                home->backend->vtable->home_spent(home, &u);
        o->memory_peak = u.memory_peak != UINT64_MAX ? u.memory_peak : life->exit.maxrss_kib * 1024;
        o->cpu_usec = u.cpu_usec != UINT64_MAX ? usec_sub(u.cpu_usec, life->cpu_base_usec)
                                               : life->exit.utime_usec + life->exit.stime_usec;
}

/* Files are read at once, before a next generation appends to them; journal and logger are asked later. */
static void take_last_words(const Member *member, Obituary *o)
{
        const Output *err = &member->spec->err;

        if (err->kind == OUTPUT_FILE)
                o->last_words = file_tail(err->path, LAST_WORDS);
        o->ask = err->kind == OUTPUT_DEFAULT || err->kind == OUTPUT_JOURNAL;
}

static char *spawn_text(const Member *member, const ExitInfo *e)
{
        return xasprintf("can't start: %s: %s", strna(spawn_step_name(e->spawn_step)),
                        member->trouble ?: strerror(e->spawn_errno));
}

void life_write_obituary(Life *life, const ExitInfo *exit)
{
        Member *member = life->member;
        Obituary *o;

        manager_log_losses(member, USEC_INFINITY);
        o = calloc(1, sizeof(Obituary));
        if (!o)
                return;
        life->obituary = o;
        o->life = life;
        o->number = ++life->manager->n_obituaries;
        list_append(&life->manager->obituaries, &o->open);
        o->exit = *exit;
        o->path = strdup(member->node->path);
        o->unit = life->unit ? strdup(life->unit) : NULL;
        o->restarts = member->node->restarts;
        o->restart_usec = UINT64_MAX;
        o->abnormal = exit->cause != CAUSE_STOP && (exit->cause != CAUSE_EXIT || exit->code != 0);
        take_usage(life, o);
        if (exit->report[0] && member->crash)
                o->backtrace = TAKE_PTR(member->crash->text);
        if (exit->cause == CAUSE_SPAWN)
                o->text = spawn_text(member, exit);
        else if (o->abnormal)
                take_last_words(member, o);
        else if (exit->cause == CAUSE_STOP && exit->signal == SIGKILL && life->killed_by_us && !life->doomed)
                o->text = strdup("stopped: did not end when asked to, so it was killed");
}

static LifecycleKind obituary_kind(const Obituary *o)
{
        if (o->abnormal)
                return LIFECYCLE_CRASHED;
        return o->exit.cause == CAUSE_STOP ? LIFECYCLE_STOPPED : LIFECYCLE_EXITED;
}

static void obituary_log(const Obituary *o)
{
        const Life *life = o->life;
        LifecycleRecord r = LIFECYCLE_RECORD(obituary_kind(o), o->path);

        r.actor_id = life->id;
        r.generation = life->generation;
        r.cause = exit_cause_to_string(o->exit.cause);
        r.exit_code = o->exit.code;
        r.signal = o->exit.signal;
        r.core_dumped = o->exit.core_dumped;
        r.restarts = o->restarts;
        r.runtime_usec = o->exit.runtime_usec;
        r.memory_peak = o->memory_peak;
        r.cpu_usec = o->cpu_usec;
        r.restart_usec = o->restart_usec;
        r.stderr_tail = o->last_words;
        r.backtrace = o->backtrace;
        r.report = o->exit.report[0] ? o->exit.report : NULL;
        r.object_pid = life->pid;
        r.unit = o->unit;
        r.text = o->text;
        lifecycle_log(life->manager->journal, &r);
}

static void on_tail(const char *text, void *userdata)
{
        Life *life = userdata;

        (void) free_and_strdup(&life->obituary->last_words, *text ? text : NULL);
        obituary_log(life->obituary);
        life_end(life);
}

/* How long until the next generation, once the core has decided. */
static uint64_t time_to_restart(Manager *m, const char *path)
{
        Node *node = path ? core_find(m->core, path) : NULL;

        if (!node || !node_member(node))
                return UINT64_MAX;
        return node->state == NODE_STARTING ? 0 : member_backoff_left(node_member(node));
}

/* Each generation's stderr went one way. */
static int ask_last_words(Life *life)
{
        Manager *m = life->manager;
        Obituary *o = life->obituary;
        int r = output_end_tail(m->output, life->key, LAST_WORDS, on_tail, life, &o->output_tail);

        if (r != -ENOENT || !journal_available(m->journal))
                return r;
        return journal_tail(
                        m->journal, life->pid, JOURNAL_PRIORITY_STDERR, LAST_WORDS, on_tail, life, &o->tail);
}

void life_bury(Life *life)
{
        Obituary *o = life->obituary;

        if (o) {
                o->restart_usec = time_to_restart(life->manager, o->path);
                if (o->ask && ask_last_words(life) >= 0)
                        return; /* the zombie stands until its record is written */
                obituary_log(o);
        }
        life_end(life);
}

/* --- what happens to nodes --- */

void manager_log_spawn_failure(Manager *m, const Member *member, const ExitInfo *exit)
{
        LifecycleRecord r = LIFECYCLE_RECORD(LIFECYCLE_CRASHED, member->node->path);
        _cleanup_free_ char *text = spawn_text(member, exit);

        r.actor_id = member->id;
        r.generation = member->node->generation;
        r.cause = exit_cause_to_string(exit->cause);
        r.restarts = member->node->restarts;
        r.text = text;
        lifecycle_log(m->journal, &r);
}

static void log_node(Manager *m, LifecycleKind kind, const Node *node, const char *text)
{
        const Member *member = node_member(node);
        LifecycleRecord r = LIFECYCLE_RECORD(kind, node->path);

        r.text = text;
        if (member && node->spec.kind == NODE_ACTOR) {
                r.actor_id = member->id;
                r.generation = node->generation;
                r.restarts = node->restarts;
                if (member->life) {
                        r.object_pid = member->life->pid;
                        r.unit = member->life->unit;
                }
        }
        if (!verdict_waits(m, &r))
                lifecycle_log(m->journal, &r);
}

void manager_log_started(Manager *m, const Node *node)
{
        log_node(m, LIFECYCLE_STARTED, node, NULL);
}

void manager_log_state(Manager *m, Node *node, NodeState to)
{
        bool tree = !node_member(node->parent) && node->spec.kind == NODE_SUPERVISOR;

        switch (to) {
        case NODE_READY:
                if (tree)
                        log_node(m, LIFECYCLE_TREE_LOADED, node, NULL);
                else if (node->spec.kind == NODE_ACTOR && node_member(node)->spec->ready != READY_EXEC)
                        log_node(m, LIFECYCLE_READY, node, NULL);
                break;
        case NODE_FAILED:
                if (node->exit.cause == CAUSE_NONE && node->spec.kind == NODE_ACTOR)
                        log_node(m, LIFECYCLE_FAILED, node, "not started: what it depends on failed");
                else
                        log_node(m, LIFECYCLE_FAILED, node, NULL);
                break;
        case NODE_DEAD:
                if (tree)
                        log_node(m, LIFECYCLE_TREE_UNLOADED, node, NULL);
                break;
        default:
                break;
        }
}

/* --- giving up --- */

static char *last_end(const Node *about)
{
        const ExitInfo *e = &about->exit;
        const Member *member = node_member(about);
        bool plain = e->cause == CAUSE_EXIT || e->cause == CAUSE_SIGNAL;
        char code[32];

        /* Of a supervisor's own reason, whom it was about: the rest is told there. No path has a colon. */
        if (member->gave_up && about->spec.kind == NODE_SUPERVISOR)
                return strndup(member->gave_up, strcspn(member->gave_up, ":"));
        if (e->cause == CAUSE_SPAWN)
                return spawn_text(member, e);
        if (e->cause == CAUSE_NONE)
                return strdup("what it depends on failed");
        (void) snprintf(code, sizeof(code), "exit code %d", e->code);
        if (e->cause == CAUSE_UNKNOWN && member->trouble)
                return xasprintf("%s, but %s", code, member->trouble);
        return xasprintf("%s%s%s%s", e->signal > 0 ? strna(signal_to_name(e->signal)) : code,
                        plain ? "" : " (cause ", plain ? "" : exit_cause_to_string(e->cause),
                        plain ? "" : ")");
}

/* Under `isolate` only the child's own restarts count, else those of all children together. */
static char *give_up_text(const Node *node, const Node *about)
{
        _cleanup_free_ char *end = last_end(about);
        const Intensity *i = &node->spec.intensity;
        bool own = node->spec.on_give_up == GIVE_UP_ISOLATE;
        double seconds = (double) i->within_usec / (double) USEC_PER_SEC;

        if (!end)
                return NULL;
        if (i->max_restarts == 0)
                return xasprintf("no restart is allowed; last end: %s", end);
        return xasprintf("%u restart%s%s%s within %g s %s not enough; last end: %s", i->max_restarts,
                        i->max_restarts == 1 ? "" : "s", own ? "" : " below ", own ? "" : node->path,
                        seconds, i->max_restarts == 1 ? "was" : "were", end);
}

void manager_give_up(Manager *m, Node *node, Node *about)
{
        _cleanup_free_ char *why = give_up_text(node, about), *text = NULL;

        text = xasprintf("gave up on %s: %s", about->path, strna(why));
        events_give_up(m->events, node, about, why);
        log_node(m, LIFECYCLE_GAVE_UP, node, text);
        (void) free_and_strdup(&node_member(about)->gave_up, why);
        if (node->spec.on_give_up == GIVE_UP_ESCALATE && node_member(node))
                (void) free_and_strdup(&node_member(node)->gave_up, text);
}

/* --- losses that it survives --- */

void manager_log_losses(Member *member, uint64_t now)
{
        unsigned long long n = oom_account_tell(&member->oom, now);
        _cleanup_free_ char *text = NULL;

        if (n == 0)
                return;
        text = n == 1 ? strdup("the kernel killed a process of it for want of memory, not its main process")
                      : xasprintf("the kernel killed %llu processes of it for want of memory, not its main "
                                  "process",
                                        n);
        log_node(member->manager, LIFECYCLE_OOM_KILL, member->node, text);
}

/* First the count, then the main process: the order is what makes it evidence. */
void manager_memory_changed(void *userdata)
{
        Member *member = userdata;
        Life *life = member->life;
        uint64_t kills;
        int doomed;

        if (!life || life->pid <= 0 || life->phase == LIFE_ENDED)
                return;
        if (member_backend(member)->home_oom_kills(member->home, &kills) < 0 || kills == member->oom.cleared)
                return;
        doomed = proc_kill_pending(life->pid);
        if (doomed < 0)
                return;
        oom_account_look(&member->oom, kills, doomed);
        manager_log_losses(member, now_usec(CLOCK_MONOTONIC));
}
