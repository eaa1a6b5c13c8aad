/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

#include "base/error.h"
#include "base/path.h"
#include "base/usec.h"
#include "tractorctl/context.h"
#include "tractorctl/describe.h"
#include "tractorctl/glob.h"
#include "tractorctl/progress.h"
#include "tractorctl/tree-view.h"

/* How often the connection may be lost over one wait. */
#define WATCHES_MAX 8U

/* --- until it has come to something --- */

static void note_item(Json *item, uint64_t lost, void *userdata)
{
        bool *news = userdata;

        *news = true;
}

int fail_settled(Context *c, const char *path, const Json *node)
{
        const char *state = json_get_string(node, "state", "?"), *reason;
        _cleanup_free_ char *exit = describe_exit(json_get(node, "exit"));

        reason = json_get_string(node, "reason", NULL);
        if (!reason && !json_has(node, "exit") && streq(state, "failed"))
                reason = "never started: what it depends on failed";
        return fail(c, CTL_FAILED, "%s is %s%s%s%s%s; see 'tractorctl status %s'", path, state,
                        exit && *exit ? ": " : "", exit ?: "", reason ? ": " : "", reason ?: "", path);
}

/* One look: an exit code in *ret_code once it has settled. */
static int look(Context *c, const char *path, bool *ret_settled, int *ret_code)
{
        _cleanup_json_ Json *node = NULL, *error = NULL;
        int r = client_get_tree(c->client, path, 0, &node, &error);

        if (r < 0)
                return r;
        *ret_settled = true;
        *ret_code = CTL_DONE;
        if (error) {
                *ret_code = fail_error(c, path, error);
                return 0;
        }
        switch (tree_settled(node)) {
        case SETTLED_WELL:
                break;
        case SETTLED_FAILED:
                *ret_code = fail_settled(c, path, node);
                break;
        case SETTLED_NOT_YET:
                *ret_settled = false;
                break;
        }
        return 0;
}

static int wait_for_news(Context *c, const char *path, const Pending *subscription, bool *news)
{
        Progress progress = { .c = c, .path = path };
        int r = 0;

        while (r >= 0 && !*news)
                r = client_lost(c->client) || subscription->done ? -ECONNRESET : progress_turn(&progress);
        progress_done(&progress);
        *news = false;
        return r;
}

/* Looks until it has settled: an exit code in *ret_code. The first look comes before the events that tell when to look
 * again, since most have settled by then. */
static int watch(Context *c, const char *path, int *ret_code)
{
        _cleanup_(pending_dropp) Pending *subscription = NULL;
        _cleanup_json_ Json *error = NULL;
        bool settled = false, news = false;
        int r = look(c, path, &settled, ret_code);

        if (r >= 0 && !settled)
                r = client_subscribe(c->client, path, note_item, &news, &subscription, &error);
        if (error) {
                *ret_code = fail_error(c, path, error);
                return 0;
        }
        while (r >= 0 && !settled) {
                r = look(c, path, &settled, ret_code);
                if (r >= 0 && !settled)
                        r = wait_for_news(c, path, subscription, &news);
        }
        return r;
}

int await_settled(Context *c, const char *path)
{
        int code = CTL_DONE, r = -ECONNRESET;

        /* Requests connect anew by themselves; events have to be asked for again. */
        for (unsigned i = 0; i < WATCHES_MAX && (r == -ECONNRESET || r == -EPIPE); i++)
                r = watch(c, path, &code);
        return r < 0 ? fail_errno(c, r) : code;
}

/* --- verbs of the form VERB PATH… --- */

typedef struct MethodInfo {
        Verb verb;
        const char *method;
        bool settles; /* the reply may come before the outcome */
        GlobKind kind;
        const char *word; /* what has been done */
} MethodInfo;

static const MethodInfo methods[] = {
        { VERB_CANCEL, "actor.cancel", false, GLOB_TOPMOST, "gone" },
        { VERB_KILL, "actor.kill", false, GLOB_ACTORS, "signalled" },
        { VERB_RESTART, "actor.restart", true, GLOB_TOPMOST, "restarted" },
        { VERB_START, "actor.restart", true, GLOB_INACTIVE, "started" },
        { VERB_FREEZE, "actor.freeze", false, GLOB_TOPMOST, "frozen" },
        { VERB_THAW, "actor.thaw", false, GLOB_TOPMOST, "thawed" },
        { VERB_UNLOAD, "tree.unload", false, GLOB_TOPMOST, "unloaded" },
        { VERB_SET_LIMIT, "actor.set_limits", false, GLOB_TOPMOST, "limits set" },
};

static const MethodInfo *method_of(Verb verb)
{
        for (size_t i = 0; i < ELEMENTSOF(methods); i++)
                if (methods[i].verb == verb)
                        return &methods[i];
        return NULL;
}

static int add_integer(Json *object, const char *key, int64_t value)
{
        Json *v;
        int r = json_pack(&v, "I", value);

        return r < 0 ? r : json_set(object, key, v);
}

static int path_params(const Options *o, const char *path, Json **ret)
{
        _cleanup_json_ Json *params = NULL;
        bool number = o->signal && strspn(o->signal, "0123456789") == strlen(o->signal);
        int r;

        r = json_pack(&params, "{path:s, reason:s?, signal:s?}", path, o->reason, number ? NULL : o->signal);
        if (r >= 0 && number)
                r = add_integer(params, "signal", atol(o->signal));
        if (r >= 0 && o->grace_ms >= 0)
                r = add_integer(params, "grace_ms", o->grace_ms);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(params);
        return 0;
}

/* `start` leaves alone what runs. */
static int needs_start(Context *c, const char *path, bool *ret)
{
        _cleanup_json_ Json *node = NULL, *error = NULL;
        const char *state;
        int r = client_get_tree(c->client, path, 0, &node, &error);

        if (r < 0)
                return fail_errno(c, r);
        if (error)
                return fail_error(c, path, error);
        state = json_get_string(node, "state", "");
        *ret = streq(state, "dead") || streq(state, "failed");
        return 0;
}

static int start_one(Context *c, const char *path, const char *method, Pending **ret)
{
        Json *params = NULL;
        bool needed = true;
        int r;

        if (c->o->verb == VERB_START) {
                r = needs_start(c, path, &needed);
                if (r != 0 || !needed)
                        return r;
        }
        r = path_params(c->o, path, &params);
        if (r >= 0)
                r = client_start(c->client, method, params, ret);
        return r < 0 ? fail_errno(c, r) : 0;
}

/* One line a path; with --json a member of `report`, null where there is no answer. `p` as for finish_one(). */
static int report_one(
                const Context *c, const MethodInfo *m, const char *path, const Pending *p, Json *report)
{
        Json *result = p && p->result ? p->result : NULL;
        _cleanup_free_ char *exit = describe_exit(json_get(result, "exit"));
        const char *word = m->word;

        if (c->o->json != JSON_MODE_OFF)
                return json_set(report, path, result ? json_ref(result) : NULL);
        if (!is_chatty(c))
                return 0;
        if (!p)
                word = "runs already";
        else if (c->o->no_wait)
                word = "asked";
        else if (exit && *exit)
                word = exit;
        printf("%s\t%s\n", path, word);
        (void) fflush(stdout);
        return 0;
}

/* `p` is NULL where there was nothing to ask: a `start` of what is on its way already still waits for it. */
static int finish_one(Context *c, const MethodInfo *m, const char *path, Pending *p, Json *report)
{
        bool done = !p;
        int r;

        if (p) {
                r = await_outcome(c, path, p, &done);
                if (r != 0)
                        return r;
                if (done && p->error)
                        return fail_error(c, path, p->error);
        }
        if (m->settles && !c->o->no_wait) {
                r = await_settled(c, path);
                if (r != 0)
                        return r;
        }
        r = report_one(c, m, path, p, report);
        return r < 0 ? fail_errno(c, r) : 0;
}

/* Nothing is to be started when all that matches is running. */
static bool runs(const Json *tree, const char *pattern, GlobKind kind)
{
        _cleanup_(strv_freep) char **all = NULL;

        return kind == GLOB_INACTIVE && glob_expand(tree, pattern, GLOB_TOPMOST, &all) >= 0 && all;
}

/* The paths that the arguments stand for. 0 or an exit code. */
static int expand(Context *c, GlobKind kind, char ***paths)
{
        _cleanup_json_ Json *tree = NULL, *error = NULL;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < c->o->n_args; i++) {
                size_t before = *paths ? strv_length(*paths) : 0;

                if (!glob_is(c->o->args[i])) {
                        r = strv_append(paths, c->o->args[i]);
                        continue;
                }
                if (!tree)
                        r = client_get_tree(c->client, "/", -1, &tree, &error);
                if (r >= 0 && error)
                        return fail_error(c, "/", error);
                if (r >= 0)
                        r = glob_expand(tree, c->o->args[i], kind, paths);
                if (r >= 0 && (*paths ? strv_length(*paths) : 0) == before &&
                                !runs(tree, c->o->args[i], kind))
                        return fail(c, CTL_NOT_FOUND, "nothing matches '%s'; see 'tractorctl list'",
                                        c->o->args[i]);
        }
        return r < 0 ? fail_errno(c, r) : 0;
}

/* All are asked before any is waited for: they end side by side. The first code that isn't 0 is the verb's. */
static int on_each(Context *c, const MethodInfo *m, char *const *paths, size_t n, Json *report)
{
        _cleanup_free_ Pending **pending = calloc(n + 1, sizeof(Pending *));
        _cleanup_free_ int *codes = calloc(n + 1, sizeof(int));
        int code = 0;

        if (!pending || !codes)
                return fail_errno(c, -ENOMEM);
        for (size_t i = 0; i < n; i++)
                codes[i] = start_one(c, paths[i], m->method, &pending[i]);
        for (size_t i = 0; i < n; i++) {
                if (codes[i] == 0)
                        codes[i] = finish_one(c, m, paths[i], pending[i], report);
                pending_drop(pending[i]);
                code = code ?: codes[i];
        }
        return code;
}

/* By path where several were or may have been meant; of the one that was named its result alone. */
static void print_report(const Context *c, Json *report)
{
        JsonIterator i = { 0 };
        bool one = c->o->n_args == 1 && !glob_is(c->o->args[0]);

        if (one && json_next(report, &i))
                (void) print_json(c, i.value);
        else if (!one)
                (void) print_json(c, report);
}

int verb_on_paths(Context *c)
{
        const MethodInfo *m = method_of(c->o->verb);
        _cleanup_(strv_freep) char **paths = NULL;
        _cleanup_json_ Json *report = NULL;
        int r = context_connect(c);

        if (r == 0)
                r = expand(c, m->kind, &paths);
        if (r != 0)
                return r;
        r = json_pack(&report, "{}");
        if (r < 0)
                return fail_errno(c, r);
        r = on_each(c, m, paths, paths ? strv_length(paths) : 0, report);
        print_report(c, report);
        return r;
}

/* --- limits --- */

static int limits_from_args(const Options *o, Json *limits)
{
        for (size_t i = 1; i < o->n_args; i++) {
                const char *eq = strchr(o->args[i], '=');
                _cleanup_free_ char *key = strndup(o->args[i], (size_t) (eq - o->args[i]));
                Json *v;
                int r;

                if (!key)
                        return -ENOMEM;
                r = json_limit_value(eq + 1, &v);
                if (r >= 0)
                        r = json_set(limits, key, v);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int set_limits(Context *c, Pending **ret)
{
        Json *params;
        int r = json_pack(&params, "{path:s, limits:{}}", c->o->args[0]);

        if (r < 0)
                return r;
        r = limits_from_args(c->o, json_get(params, "limits"));
        if (r < 0) {
                json_unref(params);
                return r;
        }
        return client_start(c->client, "actor.set_limits", params, ret);
}

int verb_set_limit(Context *c)
{
        _cleanup_(pending_dropp) Pending *p = NULL;
        _cleanup_json_ Json *report = NULL;
        int r = context_connect(c);

        if (r != 0)
                return r;
        r = json_pack(&report, "{}");
        if (r >= 0)
                r = set_limits(c, &p);
        if (r < 0)
                return fail_errno(c, r);
        r = finish_one(c, method_of(VERB_SET_LIMIT), c->o->args[0], p, report);
        if (r == 0 && p->result)
                (void) print_json(c, p->result);
        return r;
}

/* --- spawn --- */

static int child_from_options(const Options *o, Json **ret)
{
        _cleanup_json_ Json *child = NULL;
        Json *exec, *v;
        char cwd[4096];
        int r = 0;

        if (o->child)
                child = json_ref(o->child);
        else
                r = json_pack(&child, "{}");
        if (r >= 0)
                r = json_pack(&exec, "[]");
        if (r >= 0)
                r = json_set(child, "exec", exec);
        for (size_t i = 0; r >= 0 && o->command[i]; i++) {
                r = json_pack(&v, "s", o->command[i]);
                if (r >= 0)
                        r = json_append(exec, v);
        }
        /* As a shell would: where the user stands. */
        if (r >= 0 && !json_has(child, "cwd") && getcwd(cwd, sizeof(cwd))) {
                r = json_pack(&v, "s", cwd);
                if (r >= 0)
                        r = json_set(child, "cwd", v);
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(child);
        return 0;
}

static int spawn_params(const Options *o, Json **ret)
{
        _cleanup_json_ Json *child = NULL;
        Json *v;
        int r = child_from_options(o, &child);

        if (r >= 0)
                r = json_pack(&v, "s", o->args[0]);
        if (r >= 0)
                r = json_set(child, "parent", v);
        if (r >= 0)
                r = json_pack(&v, "s", o->args[1]);
        if (r >= 0)
                r = json_set(child, "name", v);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(child);
        return 0;
}

static void print_spawned(Context *c, Json *result)
{
        if (!print_json(c, result) && is_chatty(c))
                printf("%s\t%lld\t%s\n", json_get_string(result, "path", "-"),
                                (long long) json_get_integer(result, "pid", 0),
                                json_get_string(result, "unit", "-"));
}

int verb_spawn(Context *c)
{
        _cleanup_(pending_dropp) Pending *p = NULL;
        _cleanup_free_ char *path = node_path_join(c->o->args[0], c->o->args[1]);
        Json *params = NULL;
        bool done = false;
        int r;

        if (!path)
                return fail_errno(c, -ENOMEM);
        r = context_connect(c);
        if (r != 0)
                return r;
        r = spawn_params(c->o, &params);
        if (r >= 0)
                r = client_start(c->client, "actor.spawn", params, &p);
        if (r < 0)
                return fail_errno(c, r);
        r = await_outcome(c, path, p, &done);
        if (r != 0 || !done)
                return r;
        if (p->error)
                return fail_error(c, path, p->error);
        r = c->o->no_wait ? CTL_DONE : await_settled(c, path);
        if (r == CTL_DONE)
                print_spawned(c, p->result);
        return r;
}
