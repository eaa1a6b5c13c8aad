/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/usec.h"
#include "supervisor/events.h"
#include "supervisor/forgo.h"
#include "supervisor/listener.h"
#include "supervisor/methods.h"
#include "supervisor/nursery.h"
#include "supervisor/registry.h"
#include "supervisor/remember.h"

/* So many are enough for REMEMBER_MAX answers, each line of theirs being one of STREAM_LINES_PER_TURN. */

static int on_member_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
        Member *member = userdata;

        /* The time to start is the program's, and begins when there is room for it: the backend has its own bound. */
        if (member->node->state == NODE_STARTING && member->life && member->life->phase == LIFE_ADOPTING)
                return 0;
        manager_event(member->manager, EVENT_TIMEOUT, member->node);
        return 0;
}

/* One timer a member, made at its first use and then only re-armed. */
void member_arm(Member *member, uint64_t at)
{
        int r;

        if (at == USEC_INFINITY) {
                if (member->timer)
                        (void) sd_event_source_set_enabled(member->timer, SD_EVENT_OFF);
                return;
        }
        if (!member->timer) {
                r = sd_event_add_time(member->manager->event, &member->timer, CLOCK_MONOTONIC, at,
                                USEC_PER_MSEC, on_member_timer, member);
                if (r < 0)
                        log_errno(r, "%s: no timer", member->node->path);
                return;
        }
        (void) sd_event_source_set_time(member->timer, at);
        (void) sd_event_source_set_enabled(member->timer, SD_EVENT_ONESHOT);
}

uint64_t member_backoff_left(const Member *member)
{
        uint64_t at;

        if (member->node->state != NODE_BACKOFF || !member->timer ||
                        sd_event_source_get_time(member->timer, &at) < 0)
                return UINT64_MAX;
        return usec_sub(at, now_usec(CLOCK_MONOTONIC));
}

static void effect_state(Manager *m, Node *node, NodeState from, NodeState to)
{
        Member *member = node_member(node);

        if (!member)
                return; /* the root */
        if (to != NODE_STOPPING)
                (void) member_set_canceller(member, NULL, NULL);
        if (to == NODE_NEW || to == NODE_STARTING)
                (void) free_and_strdup(&member->gave_up, NULL);
        if (node->spec.kind == NODE_ACTOR && to == NODE_READY && registry_add(m->registry, member) < 0)
                log_warning("%s: out of memory: it is not found by its name", node->path);
        else if (to != NODE_READY)
                registry_remove(member);
        events_state(m->events, node, from, to);
        if (to == NODE_DEAD || to == NODE_FAILED)
                nursery_tell(node);
        manager_log_state(m, node, to);
        member_check_waiters(member, false);
}

static void effect_removed(Manager *m, Node *node)
{
        Member *member = node_member(node);

        if (!member)
                return;
        events_simple(m->events, node, "removed");
        member_check_waiters(member, true);
        member_free(member);
}

static void manager_handle(Manager *m, const Effect *e)
{
        switch (e->type) {
        case EFFECT_SPAWN:
                life_spawn(node_member(e->node));
                break;
        case EFFECT_STOP:
                life_stop(node_member(e->node), e->rung);
                break;
        case EFFECT_THAW:
                (void) member_freeze_alone(node_member(e->node), false);
                break;
        case EFFECT_TIMER:
                if (node_member(e->node))
                        member_arm(node_member(e->node), e->at);
                break;
        case EFFECT_STATE:
                effect_state(m, e->node, e->from, e->to);
                break;
        case EFFECT_CHANGED:
                member_become_next(node_member(e->node));
                break;
        case EFFECT_GIVE_UP:
                manager_give_up(m, e->node, e->about);
                break;
        case EFFECT_REMOVED:
                effect_removed(m, e->node);
                break;
        default:
                assert(false);
        }
}

void manager_step(Manager *m, const Event *event)
{
        core_step(m->core, event);
        manager_drain(m);
}

void manager_drain(Manager *m)
{
        Effect e;

        if (m->stepping)
                return; /* the outer loop takes what this step queued, in order */
        m->stepping = true;
        while (core_next_effect(m->core, &e))
                manager_handle(m, &e);
        m->stepping = false;
        manager_check_stopped(m);
}

static void on_output_finished(void *userdata)
{
        Manager *m = userdata;

        (void) sd_event_exit(m->event, m->exit_code);
}

void manager_check_stopped(Manager *m)
{
        if (!m->stopping || m->stepping || node_is_active(core_root(m->core)) || m->lives.n > 0)
                return;
        if (!output_dir_finish(m->output, on_output_finished, m))
                (void) sd_event_exit(m->event, m->exit_code);
}

void manager_event(Manager *m, EventType type, Node *node)
{
        Event event = {
                .type = type, .node = node, .now = now_usec(CLOCK_MONOTONIC), .grace_usec = USEC_INFINITY
        };

        manager_step(m, &event);
}

void manager_stop(Manager *m, bool fast)
{
        Event event = { .type = EVENT_CANCEL,
                .node = core_root(m->core),
                .now = now_usec(CLOCK_MONOTONIC),
                .grace_usec = USEC_INFINITY,
                .fast = fast };

        m->stopping = true;
        manager_end_loadings(m);
        if (m->serving)
                listener_close(m->listener);
        manager_step(m, &event);
}

/* Opens what a serving supervisor has; called when the keeper's table has been read and is empty of leftovers. */
static int manager_open(Manager *m)
{
        BackendOptions options = { .event = m->event,
                .instance = m->instance,
                .successor = m->successor,
                .keeper_pid = m->keeper_pid,
                .keeper_unit = m->embedded ? NULL : "tractord.service",
                .events = &manager_backend_events };
        int r;

        r = backend_open(&options, m->forced_backend, &m->backend, &m->backend_why);
        if (r < 0)
                return log_errno(r, "No backend: %s", strna(m->backend_why));
        log_info("backend %s: %s", backend_kind_to_string(m->backend->vtable->kind), strna(m->backend_why));
        forgo_rights(); /* a delegated cgroup's attribute is root's with all capabilities to read, just now */
        r = journal_new(m->event, &m->journal);
        if (r < 0)
                return log_errno(r, "Can't set up the journal");
        if (!journal_available(m->journal)) {
                r = output_dir_new(m->event, m->instance, &m->output);
                if (r < 0)
                        log_errno(r, "No folder for the actors' output, which goes to /dev/null");
        }
        r = events_new(m->event, &m->cork, &m->events);
        if (r >= 0)
                r = registry_new(&m->registry);
        if (r >= 0)
                r = access_new(m->event, m->journal, m->instance, method_is_known, &m->access);
        if (r < 0)
                return r;
        m->serving = true;
        m->on_serving(m);
        return 0;
}

/* Leftovers of a supervisor that died are ended and reaped before anything new begins. */
void manager_maybe_open(Manager *m)
{
        if (m->serving || m->n_leftovers > 0)
                return;
        if (manager_open(m) < 0)
                (void) sd_event_exit(m->event, EXIT_FAILURE);
}

static int manager_paths(Manager *m)
{
        const char *dir = getenv("RUNTIME_DIRECTORY"), *xdg = getenv("XDG_RUNTIME_DIR");

        if (dir && dir[0] == '/' && !strchr(dir, ':'))
                m->runtime_dir = xasprintf("%s", dir);
        else if (geteuid() == 0)
                m->runtime_dir = xasprintf("/run/tractor/%s", m->instance);
        else if (xdg && xdg[0] == '/')
                m->runtime_dir = xasprintf("%s/tractor/%s", xdg, m->instance);
        else
                m->runtime_dir = xasprintf("/tmp/tractor-%u/%s", (unsigned) geteuid(), m->instance);
        return m->runtime_dir ? 0 : -ENOMEM;
}

int manager_new(const ManagerOptions *options, Manager **ret)
{
        _cleanup_(manager_freep) Manager *m = calloc(1, sizeof(Manager));
        uint64_t seed;
        int r;

        if (!m) {
                safe_close(options->keeper_fd);
                return -ENOMEM;
        }
        list_init(&m->loadings);
        list_init(&m->obituaries);
        list_init(&m->verdicts);
        m->event = sd_event_ref(options->event);
        m->embedded = options->embedded;
        m->owner_pid = options->owner_pid;
        m->forced_backend = options->backend;
        m->on_serving = options->on_serving;
        m->start_usec = now_usec(CLOCK_MONOTONIC);
        if (getrandom(&m->id_base, sizeof(m->id_base), 0) < 0 || getrandom(&seed, sizeof(seed), 0) < 0)
                return -errno;
        r = keeper_link_new(m->event, options->keeper_fd, &manager_keeper_events, m, &m->keeper);
        if (r < 0)
                return r;
        list_init(&m->cork.streams);
        m->cork.in_order = true;
        r = turns_init(&m->turns, m->event);
        if (r < 0)
                return r;
        m->instance = strdup(options->instance);
        if (!m->instance)
                return -ENOMEM;
        r = remember_new(m, &m->remember);
        if (r < 0)
                return r;
        r = manager_paths(m);
        if (r < 0)
                return r;
        r = core_new(seed, &m->core);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

/* Only reached with nothing alive, or with the keeper gone: what stayed `dead` or `failed` leaves the tree. */
static void manager_drop_trees(Manager *m)
{
        Node *root = core_root(m->core);

        while (!list_is_empty(&root->children)) {
                Node *top = LIST_ENTRY(root->children.next, Node, siblings);

                manager_event(m, EVENT_REMOVE, top);
                if (!list_is_empty(&root->children) && root->children.next == &top->siblings)
                        break; /* still alive: it must be reported by core_free(), not hidden */
        }
}

Manager *manager_free(Manager *m)
{
        if (!m)
                return NULL;
        manager_end_loadings(m);
        m->listener = listener_free(m->listener);
        m->remember = remember_free(m->remember);
        m->events = events_free(m->events);
        m->keeper = keeper_link_free(m->keeper);
        if (m->core) {
                manager_drop_trees(m);
                m->core = core_free(m->core);
        }
        if (m->turns.source)
                turns_done(&m->turns);
        m->registry = registry_free(m->registry);
        map_clear(&m->lives);
        if (m->backend)
                m->backend->vtable->free(m->backend);
        m->access = access_free(m->access);
        while (!list_is_empty(&m->obituaries)) /* of lives that nobody has seen the end of */
                list_unlink(m->obituaries.next);
        manager_log_verdicts(m);
        m->journal = journal_free(m->journal);
        m->output = output_dir_free(m->output, m->embedded);
        sd_event_unref(m->event);
        free(m->backend_why);
        free(m->instance);
        free(m->runtime_dir);
        free(m->socket_path);
        free(m);
        return NULL;
}
