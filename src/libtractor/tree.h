/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Our place in the tree and the connection to the supervisor that keeps it: an actor's is the channel it was born with, a root's is made
 * when it is first needed, to a supervisor that runs, or to a private one that ends with us. What the supervisor says unasked is given to whom it
 * is about: portals (their peers' ends), nurseries (their children's ends), the server (new connections), and main (a cancel).
 *
 * A root's nurseries hang below one of its own, which is the root's path: `/NAME` in a private supervisor, `/NAME-PID` elsewhere, or
 * `/NAME-PID-2` and so on where that is taken. */

#include "base/map.h"
#include "embed/daemon.h"
#include "libtractor/portal.h"
#include "libtractor/serve.h"

typedef struct Tree {
        Runtime *runtime; /* weak */
        tractor_portal *control;
        Daemon *daemon; /* the private supervisor's, or NULL */
        char *path;     /* a root's: NULL until its nursery is open */
        char *name, *id;
        char *socket; /* a root's: where its supervisor listens, and the successor of that */
        int channel;  /* an actor's, weak: its number, for the report of a crash */
        bool is_actor;
        bool is_private;   /* of a root: output goes where ours goes */
        bool lost;         /* the supervisor has gone, or was given up */
        bool asked;        /* whether it is there */
        char *silent;      /* why it was given up, for people */
        Server *server;    /* weak, while there is one: what $/accept is for */
        ListNode portals;  /* that are told of their peer's end */
        ListNode awaited;  /* ends that may be told before there is a portal */
        ListNode families; /* of nurseries (child.h) */
        WaitQueue ended;   /* who waits for the end of a private supervisor that is given up */
        Timer reminder;    /* while some are being closed, and the supervisor may have been stopped */
        unsigned n_nurseries, n_connections; /* for names */
} Tree;

/* The tree of the running program; a root connects where that has not been done, and again to a successor once nothing of what went with
 * the predecessor is left. In a task; may wait. */
int tree_get(Tree **ret);
Tree *tree_free(Tree *t);
/* Of a root whose tasks have ended: ends its private supervisor, where it has one. -ETIMEDOUT: it had to be killed. */
int tree_end_daemon(Tree *t);
/* Of a root in a hurry: all its actors are ended with every wait cut short, and the connection with them. */
void tree_let_go(Tree *t);
/* A nursery is being closed: what is to hear of it must not stand still. A private supervisor that was stopped goes on. Of another's a
 * root that was cancelled has to be told so that it ends all the same: one that does not answer is given up, and ends what was ours when
 * it goes on. */
void tree_remind(Tree *t);
/* Why there is no connection, for people. */
const char *tree_loss(const Tree *t);
/* Takes the channel over, for an actor. */
int tree_new_actor(Runtime *rt, int channel, Tree **ret);
/* Portals whose peer's end the supervisor tells: it may tell it together with the connection, before there is a portal. So ends at
 * that path are kept from before the connection is asked for until there is one (p; or NULL: there will be none). */
typedef struct Awaited {
        ListNode node;
        const char *path; /* weak */
        Json *ends;
} Awaited; /* on the task's stack */
int tree_await_ends(Tree *t, const char *path, Awaited *a);
void tree_awaited(Tree *t, Awaited *a, tractor_portal *p);
/* Asks the supervisor for something whose answer nobody waits for. Consumes params. */
int tree_ask(Tree *t, const char *method, Json *params);
