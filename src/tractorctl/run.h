/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* `tractorctl run`: a tractord of our own, one tree in it, and this program in front. Signals, events and replies
 * only leave notes in a Run; run_turn() looks at them after each turn of the loop and does what is due:
 *
 *      connected ──▶ loading ──▶ loaded ──▶ over      a first SIGINT on the way: unload; a second one: over
 *
 * Once it is over the owner socket is closed, which makes what is left end with every wait cut short, and
 * tractord's own end awaited: the exit code is given only when nothing is left. */

#include "tractorctl/context.h"
#include "tractorctl/daemon.h"
#include "tractorctl/live.h"

typedef struct Run {
        Context *c;
        Daemon *daemon;
        Json *tree;
        char *path;               /* of the tree: "/name" */
        char *published, *listen; /* sockets; either may be NULL */
        bool on_terminal;
        Live live;
        char output[4096]; /* of a captured tractord: the line that isn't whole yet */
        size_t n_output;
        Pending *load, *unload, *look, *events;
        Json *view; /* the tree when last looked at */
        sd_event_source *look_timer;
        uint64_t next_look;
        unsigned stops; /* times a stop was asked for */
        bool told;      /* that it stops */
        bool news, loaded, gave_up, over;
        bool look_counts; /* it was asked for when the tree had been loaded */
        int code;
} Run;

/* run-view.c: what is shown */
void run_show_item(Run *run, const Json *item, uint64_t lost);
void run_show_tree(Run *run);
int run_watch_output(Run *run); /* lines of a captured tractord go above the tree */
void run_drain_output(Run *run);
/* run-sockets.c: where it listens */
int run_choose_sockets(Run *run);
