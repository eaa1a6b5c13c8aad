/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/error.h"
#include "base/path.h"
#include "supervisor/methods.h"
#include "supervisor/node-json.h"

/* Where a page ended may be gone when the next one is asked for. */
static bool has_child(const Node *node, const char *name)
{
        CORE_CHILD_FOREACH(child, node)
                if (streq(child->name, name))
                        return true;
        return false;
}

void method_tree_get(Request *q)
{
        Json *depth = json_get(q->params, "depth"), *result = NULL;
        NodeView view = { .depth = -1, .max_line = session_peer_max_line(call_session(q->call)) };
        Node *node;

        if (!request_check(q, "depth", JSON_INTEGER, false) ||
                        !request_check(q, "fields", JSON_ARRAY, false) ||
                        !request_check(q, "after", JSON_STRING, false))
                return;
        if (depth && (json_integer(depth) < 0 || json_integer(depth) > NODE_DEPTH_MAX)) {
                call_fail(q->call, ERROR_INVALID_PARAMS, NULL, "depth: must be from 0 to %d",
                                NODE_DEPTH_MAX);
                return;
        }
        node = json_has(q->params, "path") ? request_node(q, "path") : core_root(q->manager->core);
        if (!node)
                return;
        view.depth = depth ? (int) json_integer(depth) : -1;
        view.after = json_get_string(q->params, "after", NULL);
        view.fields = json_get(q->params, "fields");
        if (view.after && !has_child(node, view.after)) {
                call_fail(q->call, ERROR_NO_SUCH_ACTOR, NULL,
                                "after: %s has no child %.100s any more; begin anew", node->path,
                                view.after);
                return;
        }
        if (node_to_json(node, &view, &result) < 0)
                request_fail_memory(q);
        else
                call_reply(q->call, result, NULL, 0);
}

/* A load under way: cancelling the request takes the tree out again; losing the connection does not. */
typedef struct Load {
        Call *call;
        Loading *loading;
} Load;

static void on_loaded(Node *top, Json *error, void *userdata)
{
        Load *load = userdata;
        Json *result = NULL;

        if (!top)
                call_fail_loading(load->call, error);
        else if (json_pack(&result, "{path:s}", top->path) < 0)
                call_fail(load->call, ERROR_INTERNAL, NULL, "out of memory");
        else
                call_reply(load->call, result, NULL, 0);
        free(load);
}

static void on_load_cancel(Call *call, void *userdata)
{
        Load *load = userdata;

        if (call_is_wanted(call))
                loading_cancel(load->loading);
}

static Load *load_new(Request *q, void (*on_cancel)(Call *call, void *userdata))
{
        Load *load;

        if (!request_check(q, "tree", JSON_OBJECT, true))
                return NULL;
        load = calloc(1, sizeof(Load));
        if (!load) {
                request_fail_memory(q);
                return NULL;
        }
        load->call = q->call;
        call_set_userdata(q->call, load, on_cancel);
        return load;
}

void method_tree_load(Request *q)
{
        Load *load = load_new(q, on_load_cancel);

        if (!load)
                return;
        manager_load_tree(q->manager, q->peer, json_get(q->params, "tree"), on_loaded, load, &load->loading);
}

/* A change under way: neither cancelling the request nor losing the connection takes anything back. */
typedef struct Apply {
        Call *call;
        Applying *applying;
} Apply;

static void on_applied(Json *result, Json *error, void *userdata)
{
        Apply *apply = userdata;

        if (result)
                call_reply(apply->call, json_ref(result), NULL, 0);
        else
                call_fail_loading(apply->call, error);
        free(apply);
}

static void on_apply_cancel(Call *call, void *userdata)
{
        Apply *apply = userdata;

        applying_cancel(apply->applying, !call_is_wanted(call));
}

void method_tree_apply(Request *q)
{
        Apply *apply;

        if (!request_check(q, "tree", JSON_OBJECT, true) ||
                        !request_check(q, "dry_run", JSON_BOOLEAN, false))
                return;
        apply = calloc(1, sizeof(Apply));
        if (!apply) {
                request_fail_memory(q);
                return;
        }
        apply->call = q->call;
        call_set_userdata(q->call, apply, on_apply_cancel);
        manager_apply_tree(q->manager, q->peer, json_get(q->params, "tree"), NULL,
                        json_get_boolean(q->params, "dry_run", false), on_applied, apply, &apply->applying);
}

static void on_checked(Node *top, Json *error, void *userdata)
{
        Load *load = userdata;

        if (top)
                request_done(load->call);
        else
                call_fail_loading(load->call, error);
        free(load);
}

static void on_check_cancel(Call *call, void *userdata)
{
        Load *load = userdata;

        loading_cancel(load->loading);
}

void method_tree_validate(Request *q)
{
        Load *load = load_new(q, on_check_cancel);

        if (load)
                manager_check_tree(q->manager, q->peer, json_get(q->params, "tree"), on_checked, load,
                                &load->loading);
}

static bool check_unloaded(Waiter *w, bool removed)
{
        if (removed)
                request_done(op_end(w->userdata));
        return removed;
}

void method_tree_unload(Request *q)
{
        Node *node = request_node(q, "path");

        if (!node)
                return;
        if (!node_member(node)) {
                call_fail(q->call, ERROR_INVALID_PARAMS, NULL, "path: / can't be unloaded; name a tree");
                return;
        }
        if (request_set_canceller(q, node) && op_wait(q, node, check_unloaded))
                manager_event(q->manager, EVENT_REMOVE, node);
}
