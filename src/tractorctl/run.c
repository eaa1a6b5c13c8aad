/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/usec.h"
#include "tractorctl/describe.h"
#include "tractorctl/run.h"
#include "tractorctl/tree-file.h"
#include "tractorctl/tree-view.h"

/* Looking costs the supervisor a walk over the tree: a burst of events is worth one look. */
#define LOOK_INTERVAL_USEC (25 * USEC_PER_MSEC)
#define LOOK_INTERVAL_LIVE_USEC (100 * USEC_PER_MSEC)
#define REFRESH_USEC USEC_PER_SEC
/* What goes as planned is told by the events; crashes and their last words, and what gave up and why, only here. */
#define LOG_LEVEL "warning"

static void run_over(Run *run, int code)
{
        if (run->over)
                return;
        run->over = true;
        run->code = code;
}

/* --- notes left by callbacks --- */

static int on_stop_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
        Run *run = userdata;

        run->stops++;
        return 0;
}

/* Another size, or continued after a stop. */
static int on_screen_lost(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
        run_show_tree(userdata);
        return 0;
}

static int on_look_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
        Run *run = userdata;

        run->news |= run->on_terminal; /* times and counters move without events */
        return 0;
}

static void on_item(Json *item, uint64_t lost, void *userdata)
{
        Run *run = userdata;

        run->news = true;
        if (streq(json_get_string(item, "to", ""), "failed") &&
                        streq(json_get_string(item, "path", ""), run->path))
                run->gave_up = true; /* the tree itself: not one child of it that was isolated */
        run_show_item(run, item, lost);
        if (ferror(stdout)) /* whoever read us has left */
                run->stops = MAX(run->stops, 1U);
}

static bool must_hurry(void *userdata)
{
        const Run *run = userdata;

        return run->stops > 1 || run->daemon->exited;
}

/* --- requests --- */

static void drop_requests(Run *run)
{
        run->load = pending_drop(run->load);
        run->unload = pending_drop(run->unload);
        run->look = pending_drop(run->look);
        run->events = pending_drop(run->events);
}

static int start_load(Run *run)
{
        Json *params;
        int r = json_pack(&params, "{tree:O}", run->tree);

        return r < 0 ? r : client_start(run->c->client, "tree.load", params, &run->load);
}

static int start_unload(Run *run)
{
        Json *params;
        int r = json_pack(&params, "{path:s}", run->path);

        return r < 0 ? r : client_start(run->c->client, "tree.unload", params, &run->unload);
}

/* Without `usage`, which costs files to read and isn't shown. */
static int start_look(Run *run)
{
        Json *params;
        int r = json_pack(&params, "{path:s, fields:[s,s,s,s,s,s,s,s,s,s]}", run->path, "path", "kind",
                        "state", "strategy", "pid", "restarts", "since_ms", "exit", "reason", "unit");

        if (r < 0)
                return r;
        run->news = false;
        run->look_counts = run->loaded;
        run->next_look = now_usec(CLOCK_MONOTONIC) +
                         (run->on_terminal ? LOOK_INTERVAL_LIVE_USEC : LOOK_INTERVAL_USEC);
        return client_start(run->c->client, "tree.get", params, &run->look);
}

static int subscribe(Run *run)
{
        _cleanup_json_ Json *error = NULL;
        int r = client_subscribe(run->c->client, "/", on_item, run, &run->events, &error);

        if (r < 0 || !error)
                return r;
        run_over(run, fail_error(run->c, NULL, error));
        return 0;
}

/* Connects, or connects again after the supervisor was replaced; what was asked and never answered is asked once
 * more. */
static int reconnect(Run *run)
{
        const char *sock = run->published ?: run->listen;
        int r;

        drop_requests(run);
        r = daemon_connect(run->c, run->daemon, sock, must_hurry, run);
        if (r >= 0)
                r = subscribe(run);
        if (r < 0 || run->over)
                return r;
        run->news = true;
        return run->loaded || run->stops > 0 ? 0 : start_load(run);
}

/* --- what came of them --- */

static void finish_load(Run *run)
{
        Pending *p = run->load;

        if (p->error && run->stops == 0 && json_get_integer(p->error, "code", 0) != ERROR_CONNECTION_LOST) {
                live_done(&run->live, true);
                (void) fail_error(run->c, run->path, p->error);
                run_over(run, CTL_FAILED);
        }
        run->loaded = !p->error;
        run->news = true;
        run->load = pending_drop(run->load);
}

static void finish_unload(Run *run)
{
        int64_t code = json_get_integer(run->unload->error, "code", 0);

        run->unload = pending_drop(run->unload);
        if (code == ERROR_CONNECTION_LOST)
                return; /* asked again after the reconnect */
        run_over(run, CTL_DONE);
}

/* Nothing goes on any more: how did it end? */
static void judge_end(Run *run)
{
        _cleanup_free_ char *exit = NULL;
        const Json *node = NULL;
        const char *path = tree_first_failed(run->view, &node);

        run_show_tree(run);
        if (!path) {
                run_over(run, run->gave_up ? CTL_FAILED : CTL_DONE);
                return;
        }
        exit = describe_exit(json_get(node, "exit"));
        live_done(&run->live, true);
        run_over(run, fail(run->c, CTL_FAILED, "%s failed%s%s%s", path, exit && *exit ? ": " : "",
                                      exit ?: "", run->gave_up ? "; the tree gave up" : ""));
}

static void finish_look(Run *run)
{
        Pending *p = run->look;

        if (p->result) {
                json_unref(run->view);
                run->view = json_ref(p->result);
        }
        if (p->error && run->look_counts && json_get_integer(p->error, "code", 0) == ERROR_NO_SUCH_ACTOR)
                /* Unloaded from elsewhere, or it gave up and was taken out. */
                run_over(run, run->gave_up ? CTL_FAILED : CTL_DONE);
        else if (p->result && run->look_counts && run->stops == 0 && !tree_is_active(run->view))
                judge_end(run);
        else if (p->result)
                run_show_tree(run);
        run->look = pending_drop(run->look);
}

static int act_on_stop(Run *run)
{
        if (run->stops == 0 || run->unload)
                return 0;
        if (run->on_terminal && !run->told) {
                live_log(&run->live, "stopping; once more to make it quick");
                run->told = true;
        }
        return start_unload(run);
}

static void daemon_ended(Run *run)
{
        _cleanup_free_ char *end = daemon_describe_end(run->daemon);

        if (run->over)
                return;
        live_done(&run->live, true);
        if (run->stops > 0)
                run_over(run, CTL_DONE);
        else
                run_over(run, fail(run->c, CTL_FAILED,
                                              "tractord ended by itself: %s; try 'tractorctl run %s' again",
                                              strna(end), run->c->o->args[0]));
}

/* All that the notes call for. */
static int run_turn(Run *run)
{
        int r = 0;

        if (run->load && run->load->done)
                finish_load(run);
        if (run->unload && run->unload->done)
                finish_unload(run);
        if (run->look && run->look->done)
                finish_look(run);
        if (run->daemon->exited)
                daemon_ended(run);
        if (run->stops > 1)
                run_over(run, CTL_DONE); /* wait_for_end() hurries */
        if (run->over)
                return 0;
        if (client_lost(run->c->client) || (run->events && run->events->done))
                r = reconnect(run);
        if (r >= 0 && !run->over)
                r = act_on_stop(run);
        if (r >= 0 && !run->over && run->news && !run->look && now_usec(CLOCK_MONOTONIC) >= run->next_look)
                r = start_look(run);
        return r == -EPIPE || r == -ECONNRESET ? 0 : r;
}

static int arm_timer(Run *run)
{
        uint64_t at = run->news ? run->next_look : UINT64_MAX;

        if (run->on_terminal)
                at = MIN(at, now_usec(CLOCK_MONOTONIC) + REFRESH_USEC);
        if (at == UINT64_MAX || run->look)
                return sd_event_source_set_enabled(run->look_timer, SD_EVENT_OFF);
        if (sd_event_source_set_time(run->look_timer, at) < 0)
                return -EIO;
        return sd_event_source_set_enabled(run->look_timer, SD_EVENT_ONESHOT);
}

static int run_loop(Run *run)
{
        int r = 0;

        while (r >= 0) {
                r = run_turn(run);
                if (r == -ECHILD || r == -ECANCELED) {
                        r = 0; /* tractord ended or a second stop came meanwhile: the next turn sees it */
                        continue;
                }
                if (r < 0 || run->over)
                        break;
                r = arm_timer(run);
                if (r >= 0)
                        r = sd_event_run(run->c->event, UINT64_MAX);
        }
        return r;
}

/* --- beginning and end --- */

static int set_up_signals(Run *run)
{
        static const int stops[] = { SIGINT, SIGTERM, SIGHUP };
        struct sigaction hangup;
        sigset_t set;
        int r = 0;

        sigemptyset(&set);
        for (size_t i = 0; i < ELEMENTSOF(stops); i++)
                sigaddset(&set, stops[i]);
        sigaddset(&set, SIGWINCH);
        sigaddset(&set, SIGCONT);
        if (sigaction(SIGHUP, NULL, &hangup) < 0)
                return -errno;
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
                return -errno;
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(stops); i++)
                if (stops[i] != SIGHUP || hangup.sa_handler != SIG_IGN) /* nohup */
                        r = sd_event_add_signal(run->c->event, NULL, stops[i], on_stop_signal, run);
        if (r >= 0)
                r = sd_event_add_signal(run->c->event, NULL, SIGWINCH, on_screen_lost, run);
        if (r >= 0)
                r = sd_event_add_signal(run->c->event, NULL, SIGCONT, on_screen_lost, run);
        if (r >= 0)
                r = sd_event_add_time(run->c->event, &run->look_timer, CLOCK_MONOTONIC, UINT64_MAX, 1,
                                on_look_timer, run);
        return r;
}

static int start_daemon(Run *run)
{
        int r = daemon_start(
                        &(DaemonOptions){
                                        .event = run->c->event,
                                        .listen = { run->listen, run->published },
                                        .backend = run->c->o->backend,
                                        .capture = run->on_terminal,
                                        .log_level = LOG_LEVEL,
                        },
                        &run->daemon);

        if (r < 0)
                return daemon_start_failed(run->c, r);
        r = run_watch_output(run);
        return r < 0 ? fail_errno(run->c, r) : 0;
}

/* Until it answers, or has ended, or nobody wants it any more. */
static int first_connect(Run *run)
{
        int r = reconnect(run);

        if (run->daemon->exited) {
                run_drain_output(run);
                return daemon_ended_early(run->c, run->daemon);
        }
        if (r < 0 && r != -ECANCELED)
                return fail_errno(run->c, r);
        if (r < 0)
                run_over(run, CTL_DONE);
        return 0;
}

/* Everything of ours is gone when tractord is: it waits for its actors. */
static void wait_for_end(Run *run)
{
        daemon_release(run->daemon);
        while (!run->daemon->exited)
                if (sd_event_run(run->c->event, UINT64_MAX) < 0)
                        break;
        run_drain_output(run);
}

/* Where the actors live is worth a line: it decides what limits and guarantees there are. */
static void show_backend(Run *run)
{
        _cleanup_json_ Json *status = NULL, *error = NULL;
        _cleanup_free_ char *line = NULL, *clean = NULL;

        if (!run->on_terminal ||
                        client_call(run->c->client, "supervisor.status", NULL, &status, &error) < 0 || error)
                return;
        line = xasprintf("backend %s: %s", json_get_string(status, "backend", "?"),
                        json_get_string(status, "why", "?"));
        clean = text_clean(line);
        puts(strna(clean));
}

static int run_tree(Run *run)
{
        int r = start_daemon(run);

        if (r != 0)
                return r;
        r = first_connect(run);
        if (r == 0) {
                if (!run->over)
                        show_backend(run);
                r = run->over ? 0 : run_loop(run);
                r = r < 0 ? fail_errno(run->c, r) : run->code;
        }
        drop_requests(run);
        run->c->client = client_free(run->c->client);
        wait_for_end(run);
        return r;
}

static void run_done(Run *run)
{
        bool shown = run->view != NULL;

        live_done(&run->live, shown && run->stops == 0);
        if (run->on_terminal && run->stops > 0 && !run->c->o->quiet)
                printf("%s stopped\n", run->path);
        if (run->daemon)
                drop_requests(run);
        run->c->client = client_free(run->c->client);
        (void) daemon_end(run->daemon);
        /* tractord removes what it listened at; one that was killed couldn't. */
        if (run->published)
                (void) unlink(run->published);
        if (run->listen && run->daemon)
                (void) unlink(run->listen);
        sd_event_source_disable_unref(run->look_timer);
        free(run->published);
        free(run->listen);
        free(run->path);
        json_unref(run->tree);
        json_unref(run->view);
}

static int read_tree(Run *run)
{
        _cleanup_free_ char *error = NULL;
        int r = tree_file_read(run->c->o->args[0], &run->tree, &error);

        if (r == -EBADMSG)
                return fail_tree_file(run->c, error);
        if (r < 0)
                return fail(run->c, CTL_FAILED, "%s", error ?: strerror(-r));
        run->path = xasprintf("/%s", json_get_string(run->tree, "name", "?"));
        return run->path ? 0 : fail_errno(run->c, -ENOMEM);
}

int verb_run(Context *c)
{
        Run run = { .c = c };
        int r;

        run.on_terminal = c->style.moves && c->o->json == JSON_MODE_OFF && !c->o->quiet;
        if (!run.on_terminal) /* also on one: each event is due at once */
                (void) setvbuf(stdout, NULL, _IOLBF, 0);
        r = read_tree(&run);
        if (r == 0)
                r = run_choose_sockets(&run);
        if (r == 0) {
                r = set_up_signals(&run);
                if (r < 0)
                        r = fail_errno(c, r);
        }
        if (r == 0)
                r = run_tree(&run);
        run_done(&run);
        return r;
}
