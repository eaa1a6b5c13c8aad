/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/usec.h"
#include "tractor-config.h"
#include "tractorctl/context.h"
#include "tractorctl/describe.h"
#include "tractorctl/help.h"
#include "tractorctl/verb-table.h"

int fail_unbuilt(const Context *c)
{
        return fail(c, CTL_FAILED,
                        "not built yet in this version (Unsupported, -32010); see 'tractorctl help' for "
                        "what is");
}

int verb_help(Context *c)
{
        _cleanup_free_ char *text = NULL;
        Verb v = c->o->verb;

        if (v == VERB_HELP)
                v = c->o->n_args > 0 ? verb_by_name(c->o->args[0]) : _VERB_INVALID;
        if (v == VERB_UNBUILT)
                return fail_unbuilt(c);
        text = v < 0 ? help_overview() : help_verb(v);
        if (!text)
                return fail_errno(c, -ENOMEM);
        fputs(text, stdout);
        return CTL_DONE;
}

int verb_ping(Context *c)
{
        _cleanup_json_ Json *result = NULL;
        const char *warning;
        uint64_t start;
        int r = context_connect(c);

        if (r != 0)
                return r;
        start = now_usec(CLOCK_MONOTONIC);
        r = context_call(c, "supervisor.ping", NULL, &result);
        if (r != 0)
                return r;
        warning = json_get_string(result, "warning", NULL);
        if (!print_json(c, result) && is_chatty(c))
                printf("ok\t%.3f ms\n", (double) (now_usec(CLOCK_MONOTONIC) - start) / 1000);
        return warning ? fail(c, CTL_FAILED, "%s", warning) : CTL_DONE;
}

/* Without a supervisor this is no error: the question was about this program first. */
static Json *ask_status(Context *c)
{
        _cleanup_free_ char *error = NULL;
        Json *status = NULL, *reply_error = NULL;
        int fd = -EBADF;

        if (context_dial(c, &fd, &error) < 0)
                return NULL;
        if (client_new(&(ClientOptions){ .event = c->event, .fd = fd }, &c->client) < 0)
                return NULL;
        if (client_call(c->client, "supervisor.status", NULL, &status, &reply_error) < 0)
                return NULL;
        json_unref(reply_error);
        return status;
}

int verb_version(Context *c)
{
        _cleanup_json_ Json *status = ask_status(c), *answer = NULL;
        const char *version = json_get_string(status, "version", NULL);
        int r = json_pack(&answer, "{tractorctl:s, supervisor:s?, socket:s?}", TRACTOR_VERSION, version,
                        version ? c->socket : NULL);

        if (r < 0)
                return fail_errno(c, r);
        if (print_json(c, answer))
                return CTL_DONE;
        printf("tractorctl\t%s\n", TRACTOR_VERSION);
        if (version)
                printf("supervisor\t%s\t%s\n", version, c->socket);
        return CTL_DONE;
}

/* --- events --- */

static void print_item(Json *item, uint64_t lost, void *userdata)
{
        Context *c = userdata;
        _cleanup_free_ char *line = NULL;

        if (lost > 0)
                note(c, "%llu were lost", (unsigned long long) lost);
        if (!print_json(c, item)) {
                line = describe_event_line(item);
                puts(strna(line));
        }
        (void) fflush(stdout);
}

/* The node's present state in the form of an event, then its children's. */
static int print_state(Context *c, const Json *node)
{
        _cleanup_json_ Json *item = NULL;
        const Json *children = json_get(node, "children");
        int r;

        r = json_pack(&item,
                        "{time_us:U, path:s, event:s, to:s, kind:O?, generation:O?, restarts:O?, pid:O?, "
                        "exit:O?}",
                        now_usec(CLOCK_REALTIME), json_get_string(node, "path", "?"), "state",
                        json_get_string(node, "state", "?"), json_get(node, "kind"),
                        json_get(node, "generation"), json_get(node, "restarts"), json_get(node, "pid"),
                        json_get(node, "exit"));
        if (r < 0)
                return r;
        print_item(item, 0, c);
        for (size_t i = 0; r >= 0 && i < json_length(children); i++)
                r = print_state(c, json_item(children, i));
        return r;
}

static int print_snapshot(Context *c, const char *path)
{
        _cleanup_json_ Json *tree = NULL, *error = NULL;
        int r = client_get_tree(c->client, path, -1, &tree, &error);

        if (r >= 0 && error)
                return fail_error(c, path, error);
        if (r >= 0)
                r = print_state(c, tree);
        return r < 0 ? fail_errno(c, r) : CTL_DONE;
}

/* Until the connection ends. An exit code, or 0 to connect again. */
static int follow(Context *c, const char *path)
{
        _cleanup_(pending_dropp) Pending *p = NULL;
        _cleanup_json_ Json *error = NULL;
        int r = client_subscribe(c->client, path, print_item, c, &p, &error);

        if (r < 0)
                return r == -ECONNRESET ? 0 : fail_errno(c, r);
        if (error)
                return fail_error(c, path, error);
        while (!client_lost(c->client) && !p->done) {
                r = sd_event_run(c->event, UINT64_MAX);
                if (r < 0)
                        return fail_errno(c, r);
        }
        return 0;
}

int verb_events(Context *c)
{
        const char *path = c->o->n_args > 0 ? c->o->args[0] : "/";
        int r = context_connect(c);

        if (r != 0)
                return r;
        if (!c->o->follow)
                return print_snapshot(c, path);
        for (;;) {
                r = follow(c, path);
                if (r == 0)
                        r = context_connect_again(c);
                if (r != 0)
                        return r;
        }
}
