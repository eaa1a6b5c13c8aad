/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/error.h"
#include "base/usec.h"
#include "tractorctl/describe.h"
#include "tractorctl/progress.h"
#include "tractorctl/tree-view.h"

/* --- find --- */

int verb_find(Context *c)
{
        _cleanup_json_ Json *found = NULL;
        Json *params;
        int r = context_connect(c);

        if (r != 0)
                return r;
        r = json_pack(&params, "{name:s}", c->o->args[0]);
        if (r < 0)
                return fail_errno(c, r);
        r = context_call(c, "actor.find", params, &found);
        if (r != 0)
                return r;
        if (!json_has(found, "path"))
                return fail(c, CTL_NOT_FOUND, "no actor that is ready is called '%s'; see 'tractorctl list'",
                                c->o->args[0]);
        if (!print_json(c, found)) {
                _cleanup_free_ char *id = text_clean(json_get_string(found, "id", "-"));

                printf("%s\t%s\n", json_get_string(found, "path", "?"), strna(id));
        }
        return CTL_DONE;
}

/* --- wait --- */

typedef struct Wait {
        Context *c;
        const char *path;
        bool gone; /* waited for */
        bool news, timed_out;
        Json *node; /* when last looked at; NULL: not there */
} Wait;

static void note_item(Json *item, uint64_t lost, void *userdata)
{
        ((Wait *) userdata)->news = true;
}

static int on_timeout(sd_event_source *s, uint64_t usec, void *userdata)
{
        ((Wait *) userdata)->timed_out = true;
        return 0;
}

/* An exit code in *ret_code once it has come to what is waited for, or can't any more. */
static int look(Wait *w, bool *ret_over, int *ret_code)
{
        _cleanup_json_ Json *error = NULL;
        const char *state;
        int r;

        w->news = false;
        w->node = json_unref(w->node);
        r = client_get_tree(w->c->client, w->path, 0, &w->node, &error);
        if (r < 0)
                return r;
        *ret_code = CTL_DONE;
        *ret_over = true;
        if (error && json_get_integer(error, "code", 0) != ERROR_NO_SUCH_ACTOR) {
                *ret_code = fail_error(w->c, w->path, error);
                return 0;
        }
        state = json_get_string(w->node, "state", "");
        if (w->gone)
                *ret_over = error || streq(state, "dead") || streq(state, "failed");
        else if (tree_settled(w->node) == SETTLED_FAILED)
                *ret_code = fail_settled(w->c, w->path, w->node);
        else
                *ret_over = tree_settled(w->node) == SETTLED_WELL;
        return 0;
}

static int fail_timeout(const Wait *w)
{
        const char *state = json_get_string(w->node, "state", NULL);
        const char *reason = json_get_string(w->node, "reason", NULL);

        if (!state)
                return fail(w->c, CTL_FAILED, "%s is still not there; see 'tractorctl list'", w->path);
        return fail(w->c, CTL_FAILED, "%s is still %s%s%s; see 'tractorctl status %s'", w->path, state,
                        reason ? ": " : "", reason ?: "", w->path);
}

/* Subscribed before the first look, so that nothing that happens after it is missed. */
static int wait_there(Wait *w, int *ret_code)
{
        Progress progress = { .c = w->c, .path = w->path };
        _cleanup_(pending_dropp) Pending *subscription = NULL;
        _cleanup_json_ Json *error = NULL;
        bool over = false;
        int r;

        r = client_subscribe(w->c->client, w->path, note_item, w, &subscription, &error);
        if (r >= 0 && error) {
                *ret_code = fail_error(w->c, w->path, error);
                return 0;
        }
        while (r >= 0) {
                r = look(w, &over, ret_code);
                while (r >= 0 && !over && !w->news && !w->timed_out)
                        r = client_lost(w->c->client) || subscription->done ? -ECONNRESET
                                                                            : progress_turn(&progress);
                if (r < 0 || over || w->timed_out)
                        break;
        }
        progress_done(&progress);
        if (r >= 0 && !over)
                *ret_code = fail_timeout(w);
        return r;
}

static int print_outcome(Wait *w)
{
        if (w->node)
                (void) print_json(w->c, w->node);
        return CTL_DONE;
}

int verb_wait(Context *c)
{
        Wait w = { .c = c, .path = c->o->args[0], .gone = streq_ptr(c->o->wait_for, "gone") };
        int code = CTL_DONE, r = 0;

        if (c->o->timeout != USEC_INFINITY)
                r = sd_event_add_time_relative(
                                c->event, NULL, CLOCK_MONOTONIC, c->o->timeout, 1, on_timeout, &w);
        if (r < 0)
                return fail_errno(c, r);
        code = context_connect(c);
        while (code == 0) {
                r = wait_there(&w, &code);
                if (r != -ECONNRESET && r != -EPIPE)
                        break;
                code = context_connect_again(c); /* a successor may make it ready yet */
                r = 0;
        }
        if (r < 0)
                code = fail_errno(c, r);
        if (code == CTL_DONE)
                code = print_outcome(&w);
        json_unref(w.node);
        return code;
}
