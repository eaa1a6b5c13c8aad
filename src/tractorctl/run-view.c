/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "tractorctl/describe.h"
#include "tractorctl/run.h"
#include "tractorctl/tree-view.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

/* On the terminal the tree shows where things stand; what can't be seen there any more is worth a line of its own. */
static bool is_remarkable(const Json *item)
{
        const char *event = json_get_string(item, "event", "");
        const char *to = json_get_string(item, "to", "");

        if (access(JOURNAL_SOCKET, F_OK) < 0)
                return false; /* then the supervisor says it on its stderr, which is shown, too */
        if (!streq(event, "state"))
                return streq(event, "gave_up");
        return streq(to, "backoff") || (streq(to, "starting") && json_get(item, "exit"));
}

static void show_line(Run *run, const char *line)
{
        if (run->on_terminal)
                live_log(&run->live, line);
        else
                puts(line);
}

void run_show_item(Run *run, const Json *item, uint64_t lost)
{
        _cleanup_free_ char *line = NULL;

        if (run->c->o->quiet || (run->on_terminal && !is_remarkable(item)))
                return;
        if (print_json(run->c, (Json *) item))
                return;
        if (lost > 0) {
                _cleanup_free_ char *gap = xasprintf("(%llu events were lost)", (unsigned long long) lost);

                show_line(run, strna(gap));
        }
        line = describe_event_line(item);
        show_line(run, strna(line));
}

void run_show_tree(Run *run)
{
        _cleanup_(strv_freep) char **lines = NULL;
        Table t;
        int r;

        if (!run->on_terminal || !run->view || run->c->o->quiet)
                return;
        style_of_stdout(&run->c->style); /* its width may have changed */
        r = tree_view_tree(run->view, &run->c->style, &t);
        if (r >= 0)
                r = table_render(&t, &run->c->style, &lines);
        table_done(&t);
        if (r >= 0)
                live_draw(&run->live, lines);
}

static void show_clean(Run *run, const char *text)
{
        _cleanup_free_ char *clean = text_clean(text);

        if (clean)
                show_line(run, clean);
}

/* What was written may end anywhere: a line is shown when it is whole, or fills the buffer. */
static void show_output(Run *run)
{
        char *text = run->output, *end;

        run->output[run->n_output] = 0;
        while ((end = memchr(text, '\n', run->n_output))) {
                *end = 0;
                show_clean(run, text);
                run->n_output -= (size_t) (end + 1 - text);
                text = end + 1;
        }
        if (run->n_output == sizeof(run->output) - 1) {
                show_clean(run, text);
                run->n_output = 0;
        }
        memmove(run->output, text, run->n_output);
}

/* 1 while there may be more. */
static int read_output(Run *run)
{
        ssize_t n = read(run->daemon->output_fd, run->output + run->n_output,
                        sizeof(run->output) - 1 - run->n_output);

        if (n < 0)
                return errno == EINTR ? 1 : -errno;
        if (n == 0)
                return 0;
        run->n_output += (size_t) n;
        show_output(run);
        return 1;
}

static int on_output(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        int r = read_output(userdata);

        if (r == 0 || (r < 0 && r != -EAGAIN))
                (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        return 0;
}

int run_watch_output(Run *run)
{
        if (run->daemon->output_fd < 0)
                return 0;
        return sd_event_add_io(run->c->event, NULL, run->daemon->output_fd, EPOLLIN, on_output, run);
}

void run_drain_output(Run *run)
{
        if (run->daemon->output_fd < 0)
                return;
        while (read_output(run) > 0)
                ;
}
