/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/log.h"
#include "base/path.h"
#include "base/usec.h"
#include "tractor-config.h"
#include "supervisor/confine.h"
#include "supervisor/entry.h"
#include "supervisor/events.h"
#include "supervisor/methods.h"
#include "supervisor/node-json.h"
#include "supervisor/quotas.h"
#include "supervisor/resolve.h"
#include "wire/message.h"

typedef enum LoadKind {
        LOAD_TREE,
        LOAD_CHILD,
        LOAD_NAMES, /* they are resolved, and that is all */
        LOAD_CHECK, /* the same, also where we are nobody who may change user */
} LoadKind;

/* A tree or a child on its way in: parsed, then its user names resolved one by one, then added and started, then
 * awaited. Exactly one call of done() ends it. */
struct Loading {
        ListNode queue;   /* in manager->loadings until it is added */
        Manager *manager; /* weak */
        Node *top;        /* weak; once it is added and awaited */
        TreeSpec *spec;
        char *parent; /* by path: it may go while names are being resolved */
        LoadKind kind;
        bool by_peer;
        Resolve *resolve;        /* the look-up under way */
        ConfigProblems problems; /* names that stand for nobody */
        tree_done_t done;
        void *userdata;
        Json *error; /* known already, told once everything is gone again */
};

static void loading_unlist(Loading *l)
{
        if (list_is_empty(&l->queue))
                return;
        list_unlink(&l->queue);
        l->manager->n_lookups -= l->by_peer;
}

static void loading_end(Loading *l, Node *top, Json *error)
{
        if (l->top && l->kind != LOAD_CHILD)
                node_member(l->top)->busy = false;
        l->done(top, error, l->userdata);
        loading_unlist(l);
        l->resolve = resolve_free(l->resolve);
        tree_spec_unref(l->spec);
        config_problems_done(&l->problems);
        json_unref(l->error);
        free(l->parent);
        free(l);
}

static TreeSpec *first_unresolved(TreeSpec *spec)
{
        if (!spec->resolved && (spec->user || spec->group || spec->groups))
                return spec;
        for (size_t i = 0; i < spec->n_children; i++) {
                TreeSpec *found = first_unresolved(spec->children[i]);

                if (found)
                        return found;
        }
        return NULL;
}

/* Where a load stands that has added nothing yet: at the actor whose names are being looked up, else at its top. */
static char *path_at_fault(TreeSpec *spec, const char *parent)
{
        _cleanup_free_ char *path = node_path_join(parent, spec->name);

        for (size_t i = 0; path && i < spec->n_children; i++)
                if (first_unresolved(spec->children[i]))
                        return path_at_fault(spec->children[i], path);
        return TAKE_PTR(path);
}

static void loading_fail(Loading *l, Node *top, int code, const char *what)
{
        _cleanup_free_ char *path = top ? strdup(top->path) : path_at_fault(l->spec, l->parent);
        Json *error = NULL;

        (void) message_error_object(&error, code, NULL, "%s: %s", path ?: l->spec->name, what);
        loading_end(l, NULL, error);
        json_unref(error);
}

/* Fetches why, takes the node out again, and answers at its removal. */
static bool loading_give_up(Loading *l, Node *top)
{
        if (l->error)
                return false;
        if (top->state == NODE_DEAD)
                (void) message_error_object(&l->error, ERROR_ACTOR_STOPPED, NULL,
                                "%s: was stopped while it started", top->path);
        else
                (void) node_error(top, &l->error);
        manager_event(l->manager, EVENT_REMOVE, top);
        return false;
}

void loading_cancel(Loading *l)
{
        if (l->error)
                return; /* on its way out already */
        (void) message_error_object(&l->error, ERROR_CANCELLED, NULL, "the request was cancelled");
        if (l->top)
                manager_event(l->manager, EVENT_REMOVE, l->top);
        else
                loading_end(l, NULL, l->error);
}

void manager_end_loadings(Manager *m)
{
        LIST_FOREACH_SAFE(i, &m->loadings)
                loading_fail(LIST_ENTRY(i, Loading, queue), NULL, ERROR_ACTOR_STOPPED,
                                "the supervisor stops");
}

void call_fail_loading(Call *call, Json *error)
{
        if (error)
                call_fail_object(call, json_ref(error));
        else
                call_fail(call, ERROR_INTERNAL, NULL, "out of memory");
}

static bool check_tree(Waiter *w, bool removed)
{
        Loading *l = w->userdata;
        Node *top = w->member->node;

        if (removed && l->error)
                loading_end(l, NULL, l->error);
        else if (removed)
                loading_fail(l, top, ERROR_ACTOR_STOPPED, "was stopped while it started");
        else if (l->error)
                return false;
        else if (top->state == NODE_FAILED || (top->state == NODE_DEAD && top->exit.cause == CAUSE_STOP))
                return loading_give_up(l, top);
        else if (top->state == NODE_READY || top->state == NODE_DEAD)
                loading_end(l, top, NULL);
        else
                return false;
        return true;
}

/* A child counts as spawned once its program runs; what comes after is its restart type's. */
static bool check_child(Waiter *w, bool removed)
{
        Loading *l = w->userdata;
        Member *member = w->member;
        Node *node = member->node;

        if (removed && l->error)
                loading_end(l, NULL, l->error);
        else if (removed)
                loading_fail(l, node, ERROR_ACTOR_STOPPED, "was removed while it started");
        else if (l->error)
                return false;
        else if (member->life && member->life->phase == LIFE_RUNNING)
                loading_end(l, node, NULL);
        else if (node->exit.cause == CAUSE_SPAWN || node->state == NODE_FAILED || node->state == NODE_DEAD)
                return loading_give_up(l, node);
        else
                return false;
        return true;
}

static void loading_start(Loading *l)
{
        Manager *m = l->manager;
        Node *parent = core_find(m->core, l->parent), *top = NULL;
        Json *error = NULL;

        loading_unlist(l);
        /* Under one that has ended nothing would ever start. */
        if (!parent || m->stopping || parent->state == NODE_DEAD || parent->state == NODE_FAILED) {
                loading_fail(l, NULL, ERROR_ACTOR_STOPPED, "its supervisor is not running");
                return;
        }
        if (manager_add(m, parent, l->spec, &top, &error) < 0) {
                loading_end(l, NULL, error);
                json_unref(error);
                return;
        }
        if (!member_wait(node_member(top), l->kind == LOAD_CHILD ? check_child : check_tree, l)) {
                manager_event(m, EVENT_REMOVE, top);
                loading_fail(l, NULL, ERROR_INTERNAL, "out of memory");
                return;
        }
        l->top = top;
        node_member(top)->spawned = l->kind == LOAD_CHILD;
        node_member(top)->busy = l->kind != LOAD_CHILD;
        events_simple(m->events, top, l->kind == LOAD_CHILD ? "added" : "loaded");
        manager_event(m, EVENT_START, top);
}

/* Every name is a number now, or there is a problem with it. */
static void loading_resolved(Loading *l)
{
        Json *error = NULL;

        if (l->problems.n == 0 && (l->kind == LOAD_TREE || l->kind == LOAD_CHILD)) {
                loading_start(l);
                return;
        }
        if (l->problems.n > 0)
                (void) problems_to_error(
                                &l->problems, 0, l->kind == LOAD_CHILD ? "the child" : "the tree", &error);
        loading_end(l, l->problems.n > 0 ? NULL : core_root(l->manager->core), error);
        json_unref(error);
}

static void loading_next(Loading *l);

static int take_resolved(TreeSpec *spec, const Resolved *resolved)
{
        gid_t *gids = calloc(resolved->n_gids + 1, sizeof(gid_t));

        if (!gids)
                return -ENOMEM;
        memcpy(gids, resolved->gids, resolved->n_gids * sizeof(gid_t));
        free(spec->gids);
        spec->gids = gids;
        spec->n_gids = resolved->n_gids;
        spec->uid = resolved->uid;
        spec->gid = resolved->gid;
        spec->resolved = true;
        return 0;
}

/* Where a node of the file stands in it; NULL: not in `spec`, or no memory. */
static char *pointer_of(const TreeSpec *spec, const TreeSpec *sought, const char *pointer)
{
        char *found = spec == sought ? strdup(pointer) : NULL;

        for (size_t i = 0; !found && i < spec->n_children; i++) {
                _cleanup_free_ char *below = xasprintf("%s/children/%zu", pointer, i);

                if (below)
                        found = pointer_of(spec->children[i], sought, below);
        }
        return found;
}

static int add_unresolved(Loading *l, const TreeSpec *spec, const Unresolved *u)
{
        _cleanup_free_ char *node = pointer_of(l->spec, spec, ""), *pointer = NULL;

        if (node && u->which >= RESOLVE_GROUPS)
                pointer = xasprintf("%s/supplementary_groups/%zu", node, u->which - RESOLVE_GROUPS);
        else if (node)
                pointer = xasprintf("%s/%s", node, u->which == RESOLVE_USER ? "user" : "group");
        return pointer ? config_problem_add(&l->problems, pointer, false, "%s", u->why) : -ENOMEM;
}

/* All that is wrong is to be told at once: the look-ups go on, unless there is nobody to answer them. */
static void on_resolved(
                int r, const Resolved *resolved, const Unresolved *problems, size_t n, void *userdata)
{
        Loading *l = userdata;
        TreeSpec *spec = first_unresolved(l->spec);
        bool broken = resolve_is_broken(r);

        if (r >= 0)
                r = take_resolved(spec, resolved);
        else if (n > 0)
                r = 0;
        for (size_t i = 0; i < n && r >= 0; i++)
                r = add_unresolved(l, spec, &problems[i]);
        if (r < 0) {
                loading_fail(l, NULL, ERROR_INTERNAL, strerror(-r));
                return;
        }
        l->resolve = resolve_free(l->resolve); /* only now: it owns what was found */
        spec->resolved = true;
        if (broken || l->problems.full)
                loading_resolved(l);
        else
                loading_next(l);
}

/* -EDQUOT past what is looked up for others at a time; what our owner has put among the service's trees is not
 * counted. */
static int look_up(Loading *l, const TreeSpec *spec)
{
        Manager *m = l->manager;

        if (list_is_empty(&l->queue)) {
                if (l->by_peer && m->n_lookups >= QUOTA_LOOKUPS)
                        return -EDQUOT;
                list_append(&m->loadings, &l->queue);
                m->n_lookups += l->by_peer;
        }
        return resolve_user(m->event, spec->user, spec->group, spec->groups, on_resolved, l, &l->resolve);
}

static int take_numbers(TreeSpec *spec)
{
        Resolved found;
        int r = resolve_numbers(spec->user, spec->group, spec->groups, &found);

        return r < 0 ? r : take_resolved(spec, &found);
}

static void loading_next(Loading *l)
{
        TreeSpec *spec;
        int r = 0;

        while (r >= 0 && (spec = first_unresolved(l->spec)))
                r = geteuid() != 0 && l->kind != LOAD_CHECK ? -EPERM : take_numbers(spec);
        if (r == -EAGAIN)
                r = look_up(l, spec);
        else if (r >= 0)
                loading_resolved(l);
        if (r == -EPERM)
                loading_fail(l, NULL, ERROR_PERMISSION_DENIED, "only a privileged supervisor changes user");
        else if (r == -EDQUOT)
                loading_fail(l, NULL, ERROR_LIMIT_EXCEEDED,
                                "too many user names are being looked up; try again later");
        else if (r < 0)
                loading_fail(l, NULL, ERROR_INTERNAL, strerror(-r));
}

void config_log_warnings(const ConfigProblems *problems, const char *what)
{
        for (size_t i = 0; i < problems->n; i++)
                if (problems->items[i].warning)
                        log_warning("%s: %s: %s", what, problems->items[i].pointer,
                                        problems->items[i].message);
}

int problems_to_error(const ConfigProblems *problems, int code, const char *what, Json **ret)
{
        Json *list = NULL, *data = NULL;
        bool later = true;
        const ConfigProblem *first = NULL;

        for (size_t i = 0; i < problems->n; i++) {
                const ConfigProblem *p = &problems->items[i];

                if (p->warning)
                        continue;
                later &= p->unsupported;
                first = first ?: p;
        }
        if (config_problems_to_json(problems, &list) < 0 || json_pack(&data, "{problems:o}", list) < 0)
                return -ENOMEM;
        if (code == 0)
                code = later ? ERROR_UNSUPPORTED : ERROR_INVALID_PARAMS;
        return message_error_object(ret, code, data, "%s: %zu problem%s, the first%s%s: %s", what,
                        config_problems_errors(problems), config_problems_errors(problems) == 1 ? "" : "s",
                        first && first->pointer[0] ? " at " : "", first ? first->pointer : "",
                        first ? first->message : "n/a");
}

static void loading_begin(Manager *m, bool by_peer, const char *parent, TreeSpec *spec, LoadKind kind,
                tree_done_t done, void *userdata, Loading **ret)
{
        Loading *l = calloc(1, sizeof(Loading));
        Json *error = NULL;

        if (l)
                l->parent = strdup(parent);
        if (!l || !l->parent) {
                free(l);
                tree_spec_unref(spec);
                (void) message_error_object(&error, ERROR_INTERNAL, NULL, "out of memory");
                done(NULL, error, userdata);
                json_unref(error);
                return;
        }
        list_init(&l->queue);
        l->manager = m;
        l->spec = spec;
        l->kind = kind;
        spec->node.on_trial = kind == LOAD_CHILD;
        l->done = done;
        l->userdata = userdata;
        l->by_peer = by_peer;
        *ret = l;
        loading_next(l);
}

static void set_guest(TreeSpec *spec, uid_t guest)
{
        spec->guest = guest;
        for (size_t i = 0; i < spec->n_children; i++)
                set_guest(spec->children[i], guest);
}

bool peer_may_start(const Peer *peer, TreeSpec *spec, const char *what, Json **ret_error)
{
        ConfigProblems problems = { 0 };
        int r = 0;

        if (peer && peer_is_confined(peer))
                r = confine_spec(spec, peer, &problems);
        if (peer)
                set_guest(spec, peer_guest(peer));
        if (r == -EACCES)
                (void) problems_to_error(&problems, ERROR_PERMISSION_DENIED, what, ret_error);
        config_problems_done(&problems);
        return r >= 0;
}

static void refuse_parsed(
                int r, const ConfigProblems *problems, const char *what, tree_done_t done, void *userdata)
{
        Json *error = NULL;

        if (r == -EINVAL)
                (void) problems_to_error(problems, 0, what, &error);
        else
                (void) message_error_object(&error, ERROR_INTERNAL, NULL, "%s", strerror(-r));
        done(NULL, error, userdata);
        json_unref(error);
}

static void parsed(Manager *m, const Peer *peer, const char *parent, int r, TreeSpec *spec,
                ConfigProblems *problems, bool child, tree_done_t done, void *userdata, Loading **ret)
{
        Json *error = NULL;

        if (r < 0) {
                refuse_parsed(r, problems, child ? "the child" : "the tree", done, userdata);
        } else if (!peer_may_start(peer, spec, CONFINE_RULE, &error)) {
                tree_spec_unref(spec);
                done(NULL, error, userdata);
                json_unref(error);
        } else {
                config_log_warnings(problems, spec->name);
                loading_begin(m, peer, parent, spec, child ? LOAD_CHILD : LOAD_TREE, done, userdata, ret);
        }
        config_problems_done(problems);
}

void manager_load_tree(
                Manager *m, const Peer *peer, Json *tree, tree_done_t done, void *userdata, Loading **ret)
{
        ConfigProblems problems = { 0 };
        TreeSpec *spec = NULL;
        int r = config_parse_tree(tree, &spec, &problems);

        parsed(m, peer, "/", r, spec, &problems, false, done, userdata, ret);
}

void manager_load_spec(
                Manager *m, bool by_peer, TreeSpec *spec, tree_done_t done, void *userdata, Loading **ret)
{
        loading_begin(m, by_peer, "/", spec, LOAD_TREE, done, userdata, ret);
}

void manager_resolve_names(
                Manager *m, bool by_peer, TreeSpec *spec, tree_done_t done, void *userdata, Loading **ret)
{
        loading_begin(m, by_peer, "/", spec, LOAD_NAMES, done, userdata, ret);
}

void manager_check_tree(
                Manager *m, const Peer *peer, Json *tree, tree_done_t done, void *userdata, Loading **ret)
{
        ConfigProblems problems = { 0 };
        TreeSpec *spec = NULL;
        int r = config_parse_tree(tree, &spec, &problems);

        if (r < 0)
                refuse_parsed(r, &problems, "the tree", done, userdata);
        else if (peer_is_confined(peer)) { /* may give no names, so we work for none of theirs */
                tree_spec_unref(spec);
                done(core_root(m->core), NULL, userdata);
        } else
                loading_begin(m, peer, "/", spec, LOAD_CHECK, done, userdata, ret);
        config_problems_done(&problems);
}

void manager_spawn_child(Manager *m, const Peer *peer, Node *parent, Json *child, Entry *entry,
                tree_done_t done, void *userdata, Loading **ret)
{
        ConfigProblems problems = { 0 };
        TreeSpec *spec = NULL;
        int r = config_parse_child(child, parent->spec.strategy, &spec, &problems);

        if (r >= 0 && entry->name)
                entry_give(entry, spec);
        entry_done(entry);
        parsed(m, peer, parent->path, r, spec, &problems, true, done, userdata, ret);
}

/* --- the service's own trees --- */

static void on_own_tree(Json *result, Json *error, void *userdata)
{
        _cleanup_free_ char *file = userdata;

        if (!result)
                log_error("%s: %s", file, json_get_string(error, "message", "can't be applied"));
        else
                log_info("%s: is what runs", file);
}

static int read_tree(const char *path, Json **ret, const char **ret_why)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        _cleanup_free_ char *text = NULL;
        JsonError error = { 0 };
        size_t n = 0, cap = 0;
        ssize_t k;
        int r;

        if (fd < 0)
                return -errno;
        do {
                if (GROW(text, cap, n + 4096) < 0)
                        return -ENOMEM;
                k = read(fd, text + n, cap - n);
                if (k < 0)
                        return -errno;
                n += (size_t) k;
        } while (k > 0 && n < 4 * 1024 * 1024);
        r = json_parse(text, n, NULL, ret, &error);
        *ret_why = error.message;
        return r;
}

static void load_file(Manager *m, const char *path)
{
        _cleanup_json_ Json *tree = NULL;
        _cleanup_free_ char *real = realpath(path, NULL);
        const char *why = NULL;
        char *name;
        int r;

        r = read_tree(path, &tree, &why);
        if (r < 0) {
                log_error("%s: %s", path, why ?: strerror(-r));
                return;
        }
        name = strdup(path);
        if (name && real)
                manager_apply_tree(m, NULL, tree, dirname(real), false, on_own_tree, name, NULL);
        else
                free(name);
}

static int is_tree_file(const struct dirent *e)
{
        size_t n = strlen(e->d_name);

        return e->d_name[0] != '.' && n > 5 && streq(e->d_name + n - 5, ".json");
}

/* At the start and at each reload. A tree whose file is gone stays: unload it by name. */
void manager_apply_directory(Manager *m)
{
        const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
        _cleanup_free_ char *dir = NULL;
        struct dirent **entries = NULL;
        int n;

        if (streq(m->instance, "sys"))
                dir = strdup(TRACTOR_SYSCONFDIR "/trees");
        else if (config && config[0] == '/')
                dir = xasprintf("%s/tractor/trees", config);
        else
                dir = xasprintf("%s/.config/tractor/trees", home ?: "");
        n = dir ? scandir(dir, &entries, is_tree_file, alphasort) : -1;
        for (int i = 0; i < n; i++) {
                _cleanup_free_ char *path = xasprintf("%s/%s", dir, entries[i]->d_name);

                if (path)
                        load_file(m, path);
                free(entries[i]);
        }
        free(entries);
}
