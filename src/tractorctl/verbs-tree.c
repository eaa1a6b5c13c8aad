/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

#include "base/path.h"
#include "tractorctl/apply-view.h"
#include "tractorctl/context.h"
#include "tractorctl/daemon.h"
#include "tractorctl/tree-file.h"
#include "tractorctl/tree-view.h"

static const char *argument(const Context *c, size_t i, const char *otherwise)
{
        return i < c->o->n_args ? c->o->args[i] : otherwise;
}

/* Connects and gets the tree below `path`. */
static int get_tree(Context *c, const char *path, int depth, Json **ret)
{
        _cleanup_json_ Json *error = NULL;
        int r = context_connect(c);

        if (r != 0)
                return r;
        r = client_get_tree(c->client, path, depth, ret, &error);
        if (r < 0)
                return fail_errno(c, r);
        return error ? fail_error(c, path, error) : 0;
}

int verb_tree(Context *c)
{
        _cleanup_json_ Json *v = NULL;
        int r = get_tree(c, argument(c, 0, "/"), -1, &v);
        Table t;

        if (r != 0)
                return r;
        if (print_json(c, v))
                return CTL_DONE;
        return print_table(c, &t, tree_view_tree(v, &c->style, &t));
}

int verb_list(Context *c)
{
        const char *glob = argument(c, 0, NULL);
        _cleanup_json_ Json *v = NULL;
        int r = get_tree(c, "/", -1, &v);
        bool none;
        Table t;

        if (r != 0)
                return r;
        if (c->o->json != JSON_MODE_OFF) {
                _cleanup_json_ Json *list = NULL;

                r = tree_view_matching(v, glob, &list);
                if (r < 0)
                        return fail_errno(c, r);
                (void) print_json(c, list);
                none = json_length(list) == 0;
        } else {
                r = tree_view_list(v, glob, &c->style, &t);
                none = t.n == 0;
                r = print_table(c, &t, r);
        }
        if (r == CTL_DONE && none && glob)
                return fail(c, CTL_NOT_FOUND, "nothing matches '%s'; see 'tractorctl list'", glob);
        return r;
}

/* For validate problems are the answer. */
static int print_broken(Context *c, const char *text)
{
        _cleanup_json_ Json *problems = NULL;
        int r = json_pack(&problems, "[{pointer:s, message:s}]", "", text);

        if (r < 0)
                return fail_errno(c, r);
        if (!print_json(c, problems))
                puts(text);
        return CTL_FAILED;
}

/* The file's tree as the parameters of load and validate. */
static int read_tree(Context *c, Json **ret)
{
        _cleanup_free_ char *error = NULL;
        Json *tree = NULL;
        int r = tree_file_read(c->o->args[0], &tree, &error);

        if (r == -EBADMSG)
                return c->o->verb == VERB_VALIDATE ? print_broken(c, error) : fail_tree_file(c, error);
        if (r < 0)
                return fail(c, CTL_FAILED, "%s", error ?: strerror(-r));
        r = json_pack(ret, "{tree:o}", tree);
        return r < 0 ? fail_errno(c, r) : 0;
}

/* Of the tree that the parameters are about. */
static int tree_path(const Context *c, const Json *params, char **ret)
{
        *ret = xasprintf("/%s", json_get_string(json_get(params, "tree"), "name", ""));
        return *ret ? 0 : fail_errno(c, -ENOMEM);
}

/* Starts the request and waits for its outcome; *ret is NULL when --no-wait left it running. */
static int call_and_wait(Context *c, const char *subject, const char *path, const char *method, Json *params,
                Json **ret)
{
        _cleanup_(pending_dropp) Pending *p = NULL;
        bool done = false;
        int r = client_start(c->client, method, params, &p);

        if (r < 0)
                return fail_errno(c, r);
        r = await_outcome(c, path, p, &done);
        if (r != 0 || !done)
                return r;
        if (p->error)
                return fail_error(c, subject, p->error);
        *ret = TAKE_PTR(p->result);
        return 0;
}

int verb_load(Context *c)
{
        _cleanup_json_ Json *params = NULL, *result = NULL;
        _cleanup_free_ char *path = NULL;
        int r = read_tree(c, &params);

        if (r != 0)
                return r;
        r = context_connect(c);
        if (r != 0)
                return r;
        r = tree_path(c, params, &path);
        if (r != 0)
                return r;
        r = call_and_wait(c, c->o->args[0], path, "tree.load", TAKE_PTR(params), &result);
        if (r != 0 || !result)
                return r;
        if (!print_json(c, result) && is_chatty(c))
                puts(json_get_string(result, "path", "?"));
        return CTL_DONE;
}

static int show_changes(Context *c, Json *result)
{
        _cleanup_free_ char *text = NULL;

        if (print_json(c, result))
                return CTL_DONE;
        text = apply_view(result, &c->style);
        if (!text)
                return fail_errno(c, -ENOMEM);
        if (c->o->dry_run || is_chatty(c))
                fputs(text, stdout);
        if (!*text && is_chatty(c))
                puts("nothing to change");
        return CTL_DONE;
}

/* What was applied before it failed stays, and is told of before the reason. */
static int apply_failed(Context *c, const Json *error)
{
        Json *data = json_get(error, "data");
        const char *subject = json_string(json_item(json_get(data, "failed"), 0));

        if (json_has(data, "restarted") && c->o->json == JSON_MODE_OFF) {
                _cleanup_free_ char *text = apply_view(data, &c->style);

                fputs(text ?: "", stdout);
                (void) fflush(stdout);
        } else if (json_has(data, "restarted"))
                (void) print_json(c, data);
        return fail_error(c, subject ?: c->o->args[0], error);
}

int verb_apply(Context *c)
{
        _cleanup_(pending_dropp) Pending *p = NULL;
        _cleanup_free_ char *path = NULL;
        Json *params = NULL, *dry_run;
        bool done = false;
        int r = read_tree(c, &params);

        if (r != 0)
                return r;
        r = tree_path(c, params, &path);
        if (r == 0)
                r = context_connect(c);
        if (r != 0) {
                json_unref(params);
                return r;
        }
        r = json_pack(&dry_run, "b", c->o->dry_run);
        if (r >= 0)
                r = json_set(params, "dry_run", dry_run);
        if (r >= 0)
                r = client_start(c->client, "tree.apply", params, &p);
        else
                json_unref(params);
        if (r < 0)
                return fail_errno(c, r);
        r = await_outcome(c, path, p, &done);
        if (r != 0 || !done)
                return r;
        return p->error ? apply_failed(c, p->error) : show_changes(c, p->result);
}

/* Asks the supervisor that c is connected to. */
static int validate_there(Context *c, Json *params)
{
        _cleanup_json_ Json *result = NULL, *error = NULL;
        const Json *problems;
        int r = client_call(c->client, "tree.validate", params, &result, &error);

        if (r < 0)
                return fail_errno(c, r);
        if (!error) {
                if (!print_json(c, result) && is_chatty(c) && c->style.terminal)
                        puts("ok");
                return CTL_DONE;
        }
        problems = json_get(json_get(error, "data"), "problems");
        if (json_length(problems) == 0)
                return fail_error(c, c->o->args[0], error);
        if (!print_json(c, (Json *) problems))
                print_problems(stdout, problems);
        return CTL_FAILED;
}

static int validate_in_private(Context *c, Json *params)
{
        _cleanup_json_ Json *owned = params;
        Daemon *d = NULL;
        int r = daemon_start_private(c, &d);

        if (r == 0)
                r = validate_there(c, TAKE_PTR(owned));
        c->client = client_free(c->client);
        (void) daemon_end(d);
        return r;
}

int verb_validate(Context *c)
{
        const Options *o = c->o;
        Json *params = NULL;
        int r = read_tree(c, &params);

        if (r != 0)
                return r;
        if (!o->socket && !o->run && !o->host && !o->user && !o->system && !c->surroundings.socket)
                return validate_in_private(c, params);
        r = context_connect(c);
        if (r != 0) {
                json_unref(params);
                return r;
        }
        return validate_there(c, params);
}
