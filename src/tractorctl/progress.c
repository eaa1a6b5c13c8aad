/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/usec.h"
#include "tractorctl/progress.h"
#include "tractorctl/tree-view.h"

#define INTERVAL_USEC USEC_PER_SEC

static bool is_shown(const Context *c)
{
        return c->style.moves && !c->o->quiet && c->o->json == JSON_MODE_OFF;
}

/* One that is there, and on its way to nothing; or not there. */
static int describe_whole(const char *path, const Json *node, char ***lines)
{
        _cleanup_free_ char *line = xasprintf("waiting for %s, which is %s", path,
                        json_get_string(node, "state", "not there yet"));

        return line ? strv_append(lines, line) : -ENOMEM;
}

/* Asks and draws. What goes wrong here is for the wait itself to find out. While something is drawn a signal may not
 * end us, since the terminal would be left without its cursor: it ends the wait. */
static void show(Progress *p)
{
        _cleanup_(strv_freep) char **lines = NULL;
        _cleanup_json_ Json *node = NULL, *error = NULL;
        Context *c = p->c;
        int r;

        if (client_lost(c->client) || client_get_tree(c->client, p->path, -1, &node, &error) < 0)
                return;
        style_of_stdout(&c->style); /* its width may have changed */
        r = node ? tree_view_unready(node, &c->style, &lines) : 0;
        if (r >= 0 && !lines)
                r = describe_whole(p->path, node, &lines);
        if (r >= 0 && context_watch_signals(c) == 0)
                live_draw(&p->live, lines);
}

int progress_wait(Context *c, const char *path, Pending *p)
{
        Progress shown = { .c = c, .path = path };
        int r = client_wait(c->client, p, is_shown(c) ? INTERVAL_USEC : USEC_INFINITY);

        while (r == -ETIMEDOUT) {
                show(&shown);
                r = client_wait(c->client, p, INTERVAL_USEC);
        }
        progress_done(&shown);
        return r;
}

int progress_turn(Progress *p)
{
        int r = p->c->interrupts > 0
                                ? -ECANCELED
                                : sd_event_run(p->c->event, is_shown(p->c) ? INTERVAL_USEC : UINT64_MAX);

        if (r == 0) /* nothing came: time to show something */
                show(p);
        return r < 0 ? r : 0;
}

void progress_done(Progress *p)
{
        if (p->live.drawn > 0)
                live_done(&p->live, false);
}
