/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/io.h"
#include "libtractor/error-private.h"
#include "libtractor/retry.h"
#include "libtractor/tree.h"
#include "tractor/discovery.h"

static int ask(const char *method, const char *key, const char *value, Json **ret)
{
        Json *params = NULL;
        Tree *t;
        int r;

        error_clear();
        r = tree_get(&t);
        if (r < 0)
                return r;
        if (json_pack(&params, "{}") < 0 || json_set(params, key, json_new_string(value, SIZE_MAX)) < 0) {
                json_unref(params);
                return -ENOMEM;
        }
        return tractor_portal_call(t->control, method, params, ret);
}

/* A root is no node of the tree: nobody could connect to it. */
static int ask_as_actor(const char *method, const char *name)
{
        if (task_current() && !tractor_is_actor()) {
                error_clear();
                return error_fail(ERROR_UNSUPPORTED, NULL, NULL,
                                "only an actor can have names, and %s was not started as one",
                                tractor_name());
        }
        return ask(method, "name", name, NULL);
}

_public_ int tractor_register(const char *name)
{
        return ask_as_actor("actor.register", name);
}

_public_ int tractor_unregister(const char *name)
{
        return ask_as_actor("actor.unregister", name);
}

static int found(const char *method, const char *name, char **ret_path)
{
        _cleanup_json_ Json *result = NULL;
        const char *path;
        char *copy;
        int r = ask(method, "name", name, &result);

        if (r < 0)
                return r;
        path = json_get_string(result, "path", NULL);
        if (!path)
                return 0;
        copy = strdup(path);
        if (!copy)
                return -ENOMEM;
        *ret_path = copy;
        return 1;
}

_public_ int tractor_find(const char *name, char **ret_path)
{
        return found("actor.find", name, ret_path);
}

_public_ int tractor_wait_for(const char *name, char **ret_path)
{
        return found("actor.wait_for", name, ret_path);
}

/* How often a generation may be gone by the time it is connected to, before that is what is told. */
#define CONNECT_TRIES 5

/* Waits until the actor is ready, or says why that is never; `id` (NULL: any) is the generation meant: -ESRCH once there is
 * another. */
static int get_connection(Tree *t, const char *path, const char *id, int *ret)
{
        int fds[1] = { -EBADF }, r;
        size_t n_fds = 1;
        Json *params = NULL;

        if (json_pack(&params, "{path:s}", path) < 0)
                return -ENOMEM;
        r = portal_call_if(t->control, "actor.connect", params, id, NULL, fds, &n_fds);
        if (r < 0)
                return r;
        if (n_fds == 0)
                return error_fail(
                                ERROR_INTERNAL, NULL, NULL, "the supervisor sent no connection to %s", path);
        *ret = fds[0];
        return 0;
}

/* Whose generation is there and ready: an object with its id, and its pid if that may be known. 1: look again. */
static int look_for(Tree *t, const char *path, Json **ret)
{
        _cleanup_close_ int fd = -EBADF;
        Json *params = NULL;
        bool secret;
        int r;

        if (json_pack(&params, "{path:s, fields:[s, s, s]}", path, "id", "pid", "state") < 0)
                return -ENOMEM;
        r = tractor_portal_call(t->control, "tree.get", params, ret);
        if (r >= 0 && streq(json_get_string(*ret, "state", ""), "ready"))
                return 0;
        /* Rules may allow the one and not the other. */
        secret = r == -EACCES;
        if (r >= 0 || secret)
                r = get_connection(t, path, NULL, &fd);
        if (r < 0)
                return r;
        return secret ? ask("actor.wait_for", "name", path, ret) : 1;
}

/* To that generation, whose end will be told. */
static int connect_generation(Tree *t, const char *path, const Json *generation, tractor_portal **ret)
{
        PortalOptions o = { .path = path,
                .id = json_get_string(generation, "id", NULL),
                .pid = (pid_t) json_get_integer(generation, "pid", 0),
                .exit_told = true };
        Awaited awaited;
        int fd = -EBADF, r = tree_await_ends(t, path, &awaited);

        if (r < 0)
                return r;
        r = get_connection(t, path, o.id, &fd);
        if (r >= 0)
                r = portal_new(t->runtime, fd, &o, ret);
        tree_awaited(t, &awaited, r < 0 ? NULL : *ret);
        return r;
}

_public_ int tractor_connect(const char *path, tractor_portal **ret)
{
        Tree *t;
        int r = 1;

        error_clear();
        for (unsigned i = 0; i < CONNECT_TRIES && r > 0; i++) {
                _cleanup_json_ Json *generation = NULL;

                r = tree_get(&t);
                if (r >= 0)
                        r = look_for(t, path, &generation);
                if (r != 0)
                        continue;
                r = connect_generation(t, path, generation, ret);
                if (r == -ESRCH)
                        r = 1;
        }
        return r > 0 ? -ESRCH : r;
}

_public_ int tractor_connect_name(const char *name, tractor_portal **ret)
{
        _cleanup_free_ char *path = NULL;
        int r = tractor_wait_for(name, &path);

        return r < 0 ? r : tractor_connect(path, ret);
}

_public_ int tractor_query(const char *path, struct json_object **ret)
{
        Tree *t;
        int r = tree_get(&t);

        return r < 0 ? r : ask("tree.get", "path", path ?: t->path, ret);
}

/* How often a request is repeated whose answer was lost: each time another supervisor has died over it. */
#define CONTROL_TRIES 5

_public_ int tractor_control(const char *method, struct json_object *args, struct json_object **ret)
{
        _cleanup_json_ Json *given = args;
        char key[RETRY_KEY_SIZE];
        tractor_call_options o = { .size = sizeof(o), .key = key };
        Tree *t = NULL;
        int r = retry_draw_key(key);

        error_clear();
        if (r < 0)
                return r;
        for (unsigned i = 0; i < CONTROL_TRIES; i++) {
                r = tree_get(&t);
                if (r >= 0)
                        r = tractor_portal_call_with(
                                        t->control, method, given ? json_ref(given) : NULL, &o, ret);
                if (r != -ECONNRESET || !t || t->is_actor)
                        return r;
        }
        return r;
}

_public_ int tractor_portal_cancel_actor(tractor_portal *p, const char *reason)
{
        const char *path = tractor_portal_path(p);
        Json *params = NULL;
        Tree *t;
        int r;

        error_clear();
        if (!path)
                return error_fail(ERROR_UNSUPPORTED, NULL, NULL,
                                "who is at the other end of this connection is not known to the supervisor");
        r = tree_get(&t);
        if (r < 0)
                return r;
        if (json_pack(&params, "{path:s, reason:s?}", path, reason) < 0)
                return -ENOMEM;
        r = tractor_portal_call(t->control, "actor.cancel", params, NULL);
        /* It was gone before, and its name is free again. */
        return r == -ESRCH ? 0 : r;
}
