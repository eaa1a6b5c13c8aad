/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "base/error.h"
#include "base/log.h"
#include "base/path.h"
#include "supervisor/manager.h"
#include "supervisor/outcome.h"
#include "supervisor/portal.h"
#include "supervisor/registry.h"
#include "supervisor/quotas.h"
#include "wire/message.h"

/* 16 hex digits: a counter under a random multiplier and offset, so that ids are unique in a run and two runs do not meet. */
void member_new_id(Member *member)
{
        Manager *m = member->manager;
        uint64_t id = m->id_base + m->id_next++ * 0x9e3779b97f4a7c15ULL;

        (void) snprintf(member->id, sizeof(member->id), "%016llx", (unsigned long long) id);
}

static void count_member(const Member *member, int by)
{
        size_t *n = member->node->spec.kind == NODE_ACTOR ? &member->manager->n_actors
                                                          : &member->manager->n_supervisors;

        *n += (size_t) by;
}

static int member_new(Manager *m, TreeSpec *spec, Member **ret)
{
        Member *member = calloc(1, sizeof(Member));
        int r;

        if (!member)
                return -ENOMEM;
        member->manager = m;
        list_init(&member->waiters);
        list_init(&member->opened);
        list_init(&member->served);
        list_init(&member->held);
        r = limits_copy(&spec->limits, &member->limits);
        if (r < 0) {
                free(member);
                return r;
        }
        member->spec = tree_spec_ref(spec);
        *ret = member;
        return 0;
}

/* The node's end: a death's record may still be under way, and then keeps what it needs in the Life. */
Member *member_free(Member *member)
{
        if (!member)
                return NULL;
        life_abandon_command(member);
        if (member->life)
                member->life->member = NULL;
        LIST_FOREACH_SAFE(i, &member->waiters)
                waiter_free(LIST_ENTRY(i, Waiter, queue));
        member->probe = probe_free(member->probe);
        member->channel = channel_free(member->channel);
        member->adapter = adapter_free(member->adapter);
        portals_forget(member);
        list_unlink(&member->opened);
        registry_remove(member);
        sd_event_source_disable_unref(member->timer);
        if (member->home)
                member->home->backend->vtable->home_free(member->home);
        if (member->node) {
                count_member(member, -1);
                member->node->userdata = NULL;
        }
        limits_done(&member->limits);
        tree_spec_unref(member->spec);
        tree_spec_unref(member->next_spec);
        free(member->status_text);
        outcome_drop(member);
        free(member->trouble);
        free(member->gave_up);
        crash_report_free(member->crash);
        free(member->canceller);
        free(member->cancel_reason);
        free(member);
        return NULL;
}

/* What a request asked for can't be had on this host: say which part, and how to go on. */
int refuse_home(Json **ret_error, const char *path, int r, Limit limit)
{
        Json *data = NULL;

        (void) json_pack(&data, "{actor:s}", path);
        switch (r) {
        case -EOPNOTSUPP:
                return message_error_object(ret_error, ERROR_UNSUPPORTED, data,
                                "%s: this kernel has no %s; set limits_optional to run without it", path,
                                limit_name(limit));
        case -ENAMETOOLONG:
                return message_error_object(ret_error, ERROR_UNSUPPORTED, data,
                                "%s: too deep: its unit name would pass 255 bytes; use fewer levels", path);
        default:
                return message_error_object(ret_error, ERROR_INTERNAL, data, "%s: can't make its home: %s",
                                path, strerror(-r));
        }
}

static void warn_of_limit(const Member *member, Limit limit)
{
        log_warning("%s: %s can't be enforced here and is ignored, as limits_optional says",
                        member->node->path, limit_name(limit));
}

/* With limits_optional a limit this host can't enforce is dropped with a warning, one after the other. */
static int member_open_home(Member *member, Home *parent, Limit *ret_limit)
{
        Manager *m = member->manager;
        TreeSpec *spec = member->spec;

        for (;;) {
                int r = m->backend->vtable->home_new(m->backend, parent, spec->name, member->node->path,
                                spec->node.kind == NODE_ACTOR, &member->limits, member, &member->home,
                                ret_limit);

                if (r != -EOPNOTSUPP || !spec->limits_optional)
                        return r;
                warn_of_limit(member, *ret_limit);
                member->limits.set &= ~(1U << *ret_limit);
        }
}

static int add_node(Manager *m, Node *parent, TreeSpec *spec, Node **ret, Json **ret_error)
{
        int r;

        spec->node.name = spec->name;
        spec->node.depends = spec->depends;
        r = core_add(m->core, parent, &spec->node, NULL, ret);
        if (r == -EEXIST)
                (void) message_error_object(ret_error, ERROR_ALREADY_EXISTS, NULL, "%s/%s exists",
                                streq(parent->path, "/") ? "" : parent->path, spec->name);
        else if (r == -ESHUTDOWN)
                (void) message_error_object(
                                ret_error, ERROR_ACTOR_STOPPED, NULL, "%s is not running", parent->path);
        else if (r == -ENAMETOOLONG)
                (void) message_error_object(ret_error, ERROR_UNSUPPORTED, NULL,
                                "%s/%s: too deep: at most %d levels", parent->path, spec->name,
                                NODE_DEPTH_MAX);
        return r;
}

int manager_add_nodes(Manager *m, Node *parent, TreeSpec *spec, Node **ret, Json **ret_error)
{
        Node *top = NULL;
        int r = add_node(m, parent, spec, &top, ret_error);

        for (size_t i = 0; i < spec->n_children && r >= 0; i++)
                r = manager_add_nodes(m, top, spec->children[i], NULL, ret_error);
        if (r >= 0 && ret)
                *ret = top;
        else if (r < 0 && top)
                core_discard(m->core, top);
        return r;
}

static int add_member(Manager *m, Node *node, TreeSpec *spec, Json **ret_error)
{
        Member *above = node_member(node->parent), *member = NULL;
        Limit limit = _LIMIT_INVALID;
        int r = member_new(m, spec, &member);

        if (r < 0)
                return r;
        member->node = node;
        node->userdata = member;
        count_member(member, 1);
        member_new_id(member);
        r = member_open_home(member, above ? above->home : NULL, &limit);
        if (r < 0)
                (void) refuse_home(ret_error, node->path, r, limit);
        return r;
}

/* A node's children are in the order of its specification's: both were made together. */
int manager_add_members(Manager *m, Node *node, TreeSpec *spec, Json **ret_error)
{
        int r = add_member(m, node, spec, ret_error);
        size_t i = 0;

        CORE_CHILD_FOREACH(child, node)
                if (r >= 0)
                        r = manager_add_members(m, child, spec->children[i++], ret_error);
        return r;
}

static void drop_members(Node *node)
{
        CORE_CHILD_FOREACH(child, node)
                drop_members(child);
        member_free(node_member(node));
}

static size_t count_nodes(const TreeSpec *spec)
{
        size_t n = 1;

        for (size_t i = 0; i < spec->n_children; i++)
                n += count_nodes(spec->children[i]);
        return n;
}

void manager_discard(Manager *m, Node *top)
{
        drop_members(top);
        core_discard(m->core, top);
}

/* Counted when a guest asks, so that it can't be counted wrong: there are not many. */
static size_t count_guests(const Node *node, uid_t guest)
{
        size_t n = node_member(node) && node_member(node)->spec && node_member(node)->spec->guest == guest;

        CORE_CHILD_FOREACH(child, node)
                n += count_guests(child, guest);
        return n;
}

int manager_check_room(const Manager *m, size_t n, const TreeSpec *spec, Json **ret_error)
{
        if (m->n_actors + m->n_supervisors + n > QUOTA_NODES)
                (void) message_error_object(ret_error, ERROR_LIMIT_EXCEEDED, NULL,
                                "%s: more than %d actors and supervisors are not served", spec->name,
                                QUOTA_NODES);
        else if (spec->guest && count_guests(core_root(m->core), spec->guest) + n > QUOTA_NODES_GUEST)
                (void) message_error_object(ret_error, ERROR_LIMIT_EXCEEDED, NULL,
                                "%s: more than %d actors and supervisors of this user are not served",
                                spec->name, QUOTA_NODES_GUEST);
        else
                return 0;
        return -EDQUOT;
}

static size_t count_below(const Node *node, size_t limit)
{
        size_t n = 0;

        CORE_CHILD_FOREACH(child, node) {
                if (n >= limit)
                        break;
                n += 1 + count_below(child, limit - n);
        }
        return n;
}

/* The topmost actor answers for all that lies below it. */
static int check_room_below_actor(const Node *parent, size_t n, Json **ret_error)
{
        const Node *actor = NULL;

        for (const Node *a = parent; a; a = a->parent)
                if (a->spec.kind == NODE_ACTOR)
                        actor = a;
        if (!actor || count_below(actor, QUOTA_NODES_BELOW_ACTOR) + n <= QUOTA_NODES_BELOW_ACTOR)
                return 0;
        (void) message_error_object(ret_error, ERROR_LIMIT_EXCEEDED, NULL,
                        "%s: more than %d actors and supervisors below an actor are not served", actor->path,
                        QUOTA_NODES_BELOW_ACTOR);
        return -EDQUOT;
}

int manager_add(Manager *m, Node *parent, TreeSpec *spec, Node **ret, Json **ret_error)
{
        const char *depends = NULL;
        Node *top = NULL, *at = NULL;
        int r = manager_check_room(m, count_nodes(spec), spec, ret_error);

        if (r >= 0)
                r = check_room_below_actor(parent, count_nodes(spec), ret_error);
        if (r >= 0)
                r = manager_check_limits(m, spec, parent->path, ret_error);
        if (r >= 0)
                r = manager_add_nodes(m, parent, spec, &top, ret_error);
        if (r >= 0)
                r = manager_add_members(m, top, spec, ret_error);
        if (r >= 0) {
                r = core_link(m->core, top, &at, &depends);
                if (r < 0 && at)
                        (void) message_error_object(ret_error, ERROR_INVALID_PARAMS, NULL,
                                        "%s: depends on %s, %s", at->path, depends,
                                        r == -ELOOP ? "which makes a cycle" : "which is not there");
        }
        if (r < 0) {
                if (top)
                        manager_discard(m, top);
                if (!*ret_error)
                        (void) message_error_object(
                                        ret_error, ERROR_INTERNAL, NULL, "%s: %s", spec->name, strerror(-r));
                return r;
        }
        *ret = top;
        return 0;
}

int member_set_canceller(Member *member, const char *canceller, const char *reason)
{
        int r = free_and_strdup(&member->cancel_reason, reason);

        return r < 0 ? r : free_and_strdup(&member->canceller, canceller);
}

Waiter *member_wait(Member *member, bool (*check)(Waiter *w, bool removed), void *userdata)
{
        Waiter *w = calloc(1, sizeof(Waiter));

        if (!w)
                return NULL;
        *w = (Waiter){ .member = member,
                .check = check,
                .userdata = userdata,
                .generation = member->node->generation };
        list_append(&member->waiters, &w->queue);
        return w;
}

Waiter *waiter_free(Waiter *w)
{
        if (!w)
                return NULL;
        list_unlink(&w->queue);
        free(w);
        return NULL;
}

void member_check_waiters(Member *member, bool removed)
{
        LIST_FOREACH_SAFE(i, &member->waiters) {
                Waiter *w = LIST_ENTRY(i, Waiter, queue);

                if (w->check(w, removed))
                        waiter_free(w);
        }
}

int member_set_limits(Member *member, const Limits *limits, Limit *ret_limit)
{
        Limits merged, old = member->limits;
        int r;

        r = limits_copy(&member->limits, &merged);
        if (r < 0)
                return r;
        for (Limit l = 0; l < _LIMIT_MAX; l++) {
                if (!(limits->set & (1U << l)))
                        continue;
                merged.set |= 1U << l;
                merged.values[l] = limits->values[l];
        }
        if (limits->set & (1U << LIMIT_ALLOWED_CPUS))
                r = free_and_strdup(&merged.allowed_cpus, limits->allowed_cpus);
        if (r >= 0)
                r = member->home->backend->vtable->home_set_limits(member->home, &merged, ret_limit);
        if (r < 0) {
                limits_done(&merged);
                return r;
        }
        member->limits = merged;
        limits_done(&old);
        return 0;
}

/* What holds where nothing is said. */
static uint64_t limit_default(Limit l)
{
        switch (l) {
        case LIMIT_MEMORY_LOW:
        case LIMIT_ALLOWED_CPUS:
                return 0;
        case LIMIT_CPU_WEIGHT:
        case LIMIT_IO_WEIGHT:
                return 100;
        default:
                return LIMIT_INFINITY;
        }
}

static bool limit_agrees(const Limits *a, const Limits *b, Limit l)
{
        bool set = a->set & (1U << l);

        if (set != (bool) (b->set & (1U << l)))
                return false;
        return !set || (l == LIMIT_ALLOWED_CPUS ? streq_ptr(a->allowed_cpus, b->allowed_cpus)
                                                : a->values[l] == b->values[l]);
}

/* Of `to`, what differs from `from`; what is no longer said goes back to its default, and is in *ret_dropped. */
static int limits_between(const Limits *from, const Limits *to, Limits *ret, uint32_t *ret_dropped)
{
        int r = limits_copy(to, ret);

        *ret_dropped = 0;
        for (Limit l = 0; l < _LIMIT_MAX && r >= 0; l++) {
                if (limit_agrees(from, to, l)) {
                        ret->set &= ~(1U << l);
                        continue;
                }
                if (to->set & (1U << l))
                        continue;
                ret->set |= 1U << l;
                ret->values[l] = limit_default(l);
                *ret_dropped |= 1U << l;
                if (l == LIMIT_ALLOWED_CPUS)
                        r = free_and_strdup(
                                        &ret->allowed_cpus, "\n"); /* nothing at all would not be written */
        }
        if (r < 0)
                limits_done(ret);
        return r;
}

int member_change_limits(Member *member, const TreeSpec *to, Limit *ret_limit)
{
        const TreeSpec *from = member->next_spec ?: member->spec;
        uint32_t dropped;
        Limits changed;
        int r = limits_between(&from->limits, &to->limits, &changed, &dropped);

        while (r >= 0 && changed.set) {
                r = member_set_limits(member, &changed, ret_limit);
                if (r != -EOPNOTSUPP || !to->limits_optional)
                        break;
                /* One that is to go and can't be enforced was never there. */
                if (!(dropped & (1U << *ret_limit)))
                        warn_of_limit(member, *ret_limit);
                changed.set &= ~(1U << *ret_limit);
                r = 0;
        }
        if (r >= 0)
                member->limits.set &= ~dropped;
        limits_done(&changed);
        return r;
}

void member_become_next(Member *member)
{
        TreeSpec *next = TAKE_PTR(member->next_spec);

        if (!next)
                return;
        tree_spec_unref(member->spec);
        member->spec = next;
}

/* Frozen are those that the core holds for it: one being ended has to hear of that. Thawed is all that is left of a
 * generation, also after its main process. */
int member_freeze_alone(Member *member, bool frozen)
{
        const Node *node = member->node;

        if (node->spec.kind != NODE_ACTOR || !node->alive ||
                        (frozen && node->state != NODE_STARTING && node->state != NODE_READY))
                return 0;
        return member_backend(member)->home_freeze(member->home, frozen);
}

/* Actor by actor: each is thawed by itself when it is to be stopped, and a frozen slice above it would keep it from
 * hearing that. */
int member_freeze(Member *member, bool frozen)
{
        int r = member_freeze_alone(member, frozen);

        CORE_CHILD_FOREACH(child, member->node) {
                int k = member_freeze(node_member(child), frozen);

                if (k < 0)
                        r = k;
        }
        return r;
}
