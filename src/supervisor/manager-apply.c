/* SPDX-License-Identifier: Apache-2.0 */

/* A tree that runs is made into the one a file describes, with only what differs touched:
 *
 *      parse ─▶ names resolved ─▶ plan ─▶ checked as a whole ─▶ limits, live keys, stops and starts ─▶ awaited
 *
 * Nothing is touched before all is checked, and from then on nothing is taken back. A name whose old bearer has to leave
 * first (an actor that becomes a supervisor) costs a round of its own: that one leaves, then the plan is made again. A
 * request that is cancelled or lost ends the waiting, not what it began. */

#include <errno.h>

#include "base/error.h"
#include "base/log.h"
#include "base/path.h"
#include "supervisor/events.h"
#include "supervisor/confine.h"
#include "supervisor/manager-apply.h"
#include "supervisor/methods.h"
#include "supervisor/node-json.h"
#include "wire/message.h"

static Member *top_member(const Applying *a)
{
        Node *top = core_find(a->manager->core, a->path);

        return top ? node_member(top) : NULL;
}

static void drop_waiters(Applying *a)
{
        for (size_t i = 0; i < a->n_waiters; i++)
                waiter_free(a->waiters[i]);
        free(a->waiters);
        a->waiters = NULL;
        a->n_waiters = a->n_waiting = 0;
}

static void applying_free(Applying *a)
{
        drop_waiters(a);
        sd_event_source_disable_unref(a->later);
        plan_done(&a->plan);
        tree_spec_unref(a->spec);
        json_unref(a->replaced);
        json_unref(a->result);
        json_unref(a->error);
        json_unref(a->failed);
        free(a->path);
        free(a);
}

static void not_busy(const Applying *a)
{
        Member *top = top_member(a);

        if (top)
                top->busy = false;
}

/* Ends it: with an error if there is one, else with the result. */
static void applying_end(Applying *a)
{
        a->done(a->error ? NULL : a->result, a->error, a->userdata);
        applying_free(a);
}

static void applying_fail(Applying *a, int code, const char *what)
{
        json_unref(a->error);
        a->error = NULL;
        (void) message_error_object(&a->error, code, NULL, "%s: %s", a->path, what);
        applying_end(a);
}

/* What was applied stays: told with what failed. */
static void merge_into(Json *data, const Json *more)
{
        JsonIterator i = { 0 };

        while (json_next(more, &i))
                if (json_set(data, i.key, json_ref(i.value)) < 0)
                        return;
}

static void applying_finish(Applying *a)
{
        Json *data = NULL;

        not_busy(a);
        if (a->error && json_pack(&data, "{failed:O}", a->failed) >= 0) {
                merge_into(data, json_get(a->error, "data"));
                merge_into(data, a->result);
                (void) json_set(a->error, "data", data);
        }
        if (!a->error)
                log_info("%s: applied: %zu added, %zu removed, %zu restarted, %zu updated", a->path,
                                json_length(json_get(a->result, "added")),
                                json_length(json_get(a->result, "removed")),
                                json_length(json_get(a->result, "restarted")),
                                json_length(json_get(a->result, "updated")));
        applying_end(a);
}

/* --- awaiting --- */

static void applying_round(Applying *a);

static int on_later(sd_event_source *s, void *userdata)
{
        applying_round(userdata);
        return 0;
}

/* The last to leave has not left yet: its home is in the way of its successor's. */
static void one_is_done(Applying *a, Waiter *w)
{
        for (size_t i = 0; i < a->n_waiters; i++)
                if (a->waiters[i] == w)
                        a->waiters[i] = NULL;
        if (--a->n_waiting > 0)
                return;
        if (!a->clearing)
                applying_finish(a);
        else if (sd_event_add_defer(a->manager->event, &a->later, on_later, a) < 0) {
                not_busy(a);
                applying_fail(a, ERROR_INTERNAL, "out of memory");
        }
}

static bool check_gone(Waiter *w, bool removed)
{
        if (removed)
                one_is_done(w->userdata, w);
        return removed;
}

/* Another generation is ready, or has ended as it may; a failure without one is a dependency's. */
static bool check_started(Waiter *w, bool removed)
{
        Applying *a = w->userdata;
        const Node *node = w->member->node;
        bool again = node->generation != w->generation;
        Json *error = NULL;

        if (!removed && (node->state == NODE_READY ||
                                        (node->state == NODE_DEAD && node->exit.cause != CAUSE_STOP))) {
                if (!again)
                        return false;
        } else if (!removed && node->state == NODE_FAILED) {
                (void) node_error(node, &error);
                applying_failed_at(a, node->path, error);
        } else if (removed || node->state == NODE_DEAD) {
                (void) message_error_object(&error, ERROR_ACTOR_STOPPED, NULL,
                                "%s: was stopped while it started", node->path);
                applying_failed_at(a, node->path, error);
        } else {
                return false;
        }
        one_is_done(a, w);
        return true;
}

static int wait_for(Applying *a, Node *node, bool (*check)(Waiter *w, bool removed))
{
        Waiter *w = member_wait(node_member(node), check, a);

        if (!w)
                return -ENOMEM;
        a->waiters[a->n_waiters++] = w;
        a->n_waiting++;
        return 0;
}

static int add_waiters(Applying *a)
{
        int r = 0;

        a->waiters = calloc(a->plan.n + 1, sizeof(Waiter *));
        if (!a->waiters)
                return -ENOMEM;
        for (size_t i = 0; i < a->plan.n && r >= 0; i++) {
                const PlanItem *item = &a->plan.items[i];

                if (item->action == PLAN_REMOVE && (!a->clearing || item->replaced))
                        r = wait_for(a, item->node, check_gone);
                else if (!a->clearing && item->starts && !item->covered &&
                                (item->action == PLAN_ADD || item->action == PLAN_RESTART))
                        r = wait_for(a, item->node, check_started);
        }
        return r;
}

/* --- doing --- */

static int make_result(Applying *a)
{
        int r;

        json_unref(a->result);
        a->result = NULL;
        r = json_pack(&a->result, "{}");
        if (r >= 0)
                r = plan_to_json(&a->plan, a->result);
        for (size_t i = 0; i < json_length(a->replaced) && r >= 0; i++)
                r = json_append(json_get(a->result, "removed"), json_ref(json_item(a->replaced, i)));
        return r;
}

/* Those whose names others are to take leave alone, and first. */
static int clear_names(Applying *a, Node *top)
{
        int r;

        drop_waiters(a);
        applying_forget(a, top);
        a->clearing = true;
        r = add_waiters(a);
        for (size_t i = 0; i < a->plan.n && r >= 0; i++) {
                const PlanItem *item = &a->plan.items[i];

                if (item->action != PLAN_REMOVE || !item->replaced)
                        continue;
                r = core_change(a->manager->core, item->node, CHANGE_REMOVE, NULL);
                if (r >= 0)
                        r = json_append(a->replaced, json_new_string(item->node->path, SIZE_MAX));
        }
        return r;
}

static int carry_out(Applying *a, Node *top)
{
        int r;

        a->clearing = false;
        r = applying_add_members(a);
        if (r >= 0)
                r = add_waiters(a);
        if (r < 0)
                return r;
        for (size_t i = 0; i < a->plan.n; i++)
                applying_carry_out(a, &a->plan.items[i]);
        return 0;
}

/* Nothing was touched, but for what had to leave in the round before. */
static void fail_round(Applying *a, Node *top, int r)
{
        Json *result = NULL;

        drop_waiters(a);
        applying_forget(a, top);
        not_busy(a);
        if (!a->error && r == -EEXIST)
                (void) message_error_object(&a->error, ERROR_ALREADY_EXISTS, NULL,
                                "%s: a name in it is that of a nursery, opened at run time", a->path);
        else if (!a->error)
                (void) message_error_object(
                                &a->error, ERROR_INTERNAL, NULL, "%s: %s", a->path, strerror(-r));
        if (json_length(a->replaced) > 0 &&
                        json_pack(&result, "{added:[], removed:O, restarted:[], updated:[], unchanged:i}",
                                        a->replaced, 0) >= 0) {
                json_unref(a->result);
                a->result = result;
                applying_finish(a);
        } else
                applying_end(a);
}

static bool has_pending(const Node *node)
{
        if (node_member(node)->next_spec || node_is_changing(node))
                return true;
        CORE_CHILD_FOREACH(child, node)
                if (has_pending(child))
                        return true;
        return false;
}

/* With the names resolved, and again after names have become free. Nothing but memory stands between the check and the
 * deed, so that a tree is what it was planned for. */
static void applying_round(Applying *a)
{
        Manager *m = a->manager;
        Node *top = core_find(m->core, a->path);
        int r;

        a->later = sd_event_source_disable_unref(a->later);
        if (!top || node_is_leaving(top) || m->stopping) {
                not_busy(a);
                applying_fail(a, ERROR_ACTOR_STOPPED, "is being unloaded");
                return;
        }
        if (has_pending(top)) {
                not_busy(a);
                applying_fail(a, ERROR_ALREADY_EXISTS,
                                "the last change is still being carried out: something has not stopped yet");
                return;
        }
        drop_waiters(a);
        plan_done(&a->plan);
        r = plan_make(m, top, a->spec, &a->plan);
        if (r >= 0)
                r = make_result(a);
        if (r >= 0)
                r = applying_prepare(a, top);
        if (r >= 0 && a->dry_run) {
                drop_waiters(a);
                applying_forget(a, top);
                not_busy(a);
                applying_end(a);
                return;
        }
        if (r >= 0)
                r = a->plan.replaces ? clear_names(a, top) : carry_out(a, top);
        if (r < 0) {
                fail_round(a, top, r);
                return;
        }
        a->n_waiting++; /* until all effects are through */
        manager_event(m, EVENT_CHANGE, top);
        one_is_done(a, NULL);
}

static void on_names(Node *top, Json *error, void *userdata)
{
        Applying *a = userdata;

        a->loading = NULL;
        if (top) {
                applying_round(a);
                return;
        }
        not_busy(a);
        a->error = error ? json_ref(error) : NULL;
        if (a->error)
                applying_end(a);
        else
                applying_fail(a, ERROR_INTERNAL, "out of memory");
}

/* A tree that is not there is loaded. */
static int result_of_load(Applying *a)
{
        return json_pack(&a->result,
                        "{added:[s], removed:[], restarted:[], updated:[], unchanged:i, changes:{}}",
                        a->path, 0);
}

static void on_tree(Node *top, Json *error, void *userdata)
{
        Applying *a = userdata;

        a->loading = NULL;
        if (!top)
                on_names(NULL, error, a);
        else if (result_of_load(a) < 0)
                applying_fail(a, ERROR_INTERNAL, "out of memory");
        else
                applying_end(a);
}

static bool same_names(char *const *a, char *const *b)
{
        if (strv_length(a) != strv_length(b))
                return false;
        for (; a && *a; a++, b++)
                if (!streq(*a, *b))
                        return false;
        return true;
}

static void take_identity(TreeSpec *to, const TreeSpec *from)
{
        gid_t *gids;

        if (to->resolved || !from->resolved || !streq_ptr(to->user, from->user) ||
                        !streq_ptr(to->group, from->group) || !same_names(to->groups, from->groups))
                return;
        gids = calloc(from->n_gids + 1, sizeof(gid_t));
        if (!gids)
                return; /* looked up, then */
        free(to->gids);
        to->gids = gids;
        for (size_t i = 0; i < from->n_gids; i++)
                to->gids[i] = from->gids[i];
        to->n_gids = from->n_gids;
        to->uid = from->uid;
        to->gid = from->gid;
        to->resolved = true;
}

/* Numbers of users and groups that are known already are not asked for again. */
static void inherit_names(Manager *m, const Node *node, TreeSpec *spec)
{
        const TreeSpec *known = node_member(node)->next_spec ?: node_member(node)->spec;

        take_identity(spec, known);
        for (size_t i = 0; i < spec->n_children; i++) {
                _cleanup_free_ char *path = NULL;
                Node *child;

                if (spec->children[i]->resolved)
                        continue;
                path = node_path_join(node->path, spec->children[i]->name);
                child = path ? core_find(m->core, path) : NULL;
                if (child)
                        inherit_names(m, child, spec->children[i]);
        }
}

static int applying_new(Manager *m, bool by_peer, TreeSpec *spec, bool dry_run, apply_done_t done,
                void *userdata, Applying **ret)
{
        Applying *a = calloc(1, sizeof(Applying));

        if (!a)
                return -ENOMEM;
        *a = (Applying){
                .manager = m, .by_peer = by_peer, .dry_run = dry_run, .done = done, .userdata = userdata
        };
        a->spec = tree_spec_ref(spec);
        a->path = node_path_join("/", spec->name);
        if (!a->path || json_pack(&a->failed, "[]") < 0 || json_pack(&a->replaced, "[]") < 0) {
                applying_free(a);
                return -ENOMEM;
        }
        *ret = a;
        return 0;
}

/* What a load would check without adding anything that lasts. */
static void try_load(Applying *a)
{
        Manager *m = a->manager;
        const char *depends = NULL;
        Node *top = NULL, *at = NULL;
        int r;

        r = manager_check_limits(a->manager, a->spec, "/", &a->error);
        if (r >= 0)
                r = manager_add_nodes(m, core_root(m->core), a->spec, &top, &a->error);
        if (r >= 0)
                r = core_link(m->core, top, &at, &depends);
        if (r < 0 && at)
                (void) message_error_object(&a->error, ERROR_INVALID_PARAMS, NULL,
                                "%s: depends on %s, which %s", at->path, depends,
                                r == -ELOOP ? "makes a cycle" : "is not there");
        if (top)
                core_discard(m->core, top);
        if (r >= 0)
                r = result_of_load(a);
        if (r < 0 && !a->error)
                applying_fail(a, ERROR_INTERNAL, strerror(-r));
        else
                applying_end(a);
}

static void applying_begin(Applying *a)
{
        Manager *m = a->manager;
        Node *top = core_find(m->core, a->path);

        if (!top && a->dry_run)
                try_load(a);
        else if (!top)
                manager_load_spec(m, a->by_peer, tree_spec_ref(a->spec), on_tree, a, &a->loading);
        else if (node_is_leaving(top))
                applying_fail(a, ERROR_ACTOR_STOPPED, "is being unloaded");
        else if (node_member(top)->busy)
                applying_fail(a, ERROR_ALREADY_EXISTS,
                                "is being loaded or changed already: wait for that, or cancel it");
        else {
                node_member(top)->busy = true;
                inherit_names(m, top, a->spec);
                manager_resolve_names(m, a->by_peer, tree_spec_ref(a->spec), on_names, a, &a->loading);
        }
}

void manager_apply_tree(Manager *m, const Peer *peer, Json *tree, const char *cwd, bool dry_run,
                apply_done_t done, void *userdata, Applying **ret)
{
        ConfigProblems problems = { 0 };
        TreeSpec *spec = NULL;
        Applying *a = NULL;
        Json *error = NULL;
        int r;

        r = config_parse_tree_in(tree, cwd, &spec, &problems);
        if (r >= 0 && !peer_may_start(peer, spec, CONFINE_RULE, &error))
                r = -EPERM;
        if (r >= 0)
                r = applying_new(m, peer, spec, dry_run, done, userdata, &a);
        if (r >= 0) {
                config_log_warnings(&problems, spec->name);
                if (ret)
                        *ret = a;
                applying_begin(a);
        } else {
                if (r == -EINVAL)
                        (void) problems_to_error(&problems, 0, "the tree", &error);
                else if (r != -EPERM)
                        (void) message_error_object(&error, ERROR_INTERNAL, NULL, "%s", strerror(-r));
                done(NULL, error, userdata);
                json_unref(error);
        }
        tree_spec_unref(spec);
        config_problems_done(&problems);
}

static void nobody_waits(Json *result, Json *error, void *userdata)
{
}

void applying_cancel(Applying *a, bool lost)
{
        apply_done_t done = a->done;
        Json *error = NULL;

        if (a->loading && lost)
                return; /* as with a load */
        if (a->loading) {
                loading_cancel(a->loading);
                return;
        }
        (void) message_error_object(&error, ERROR_CANCELLED, NULL,
                        "%s: the request was cancelled; what it began goes on", a->path);
        a->done = nobody_waits;
        done(NULL, error, a->userdata);
        json_unref(error);
        if (a->clearing)
                return;
        not_busy(a);
        applying_free(a);
}
