/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A context from inside: what both of its ends share is the queue of items that have come and not been taken, as long as the
 * credit given out, and two queues of tasks that wait. Each end adds to that the session's half it stands on: an opener a call of ours, a
 * handler a call of the peer's. A one-shot's, a tell's and a plain call's handler has a context, too, through which no items go. */

#include "libtractor/portal.h"
#include "libtractor/serve.h"
#include "tractor/context.h"

typedef struct Item {
        Json *value;
        uint64_t lost; /* before it */
        int *fds;      /* NULL: none */
        size_t n_fds;
} Item;

/* Descriptors in a context's queue: those of an item that finds more there are closed, and its receiver is told. */
#define CONTEXT_FDS_MAX 64U

struct tractor_context {
        bool is_opener, is_dialog;
        bool started;
        bool peer_stopped; /* no more items will come */
        bool over;         /* the conversation is, or is being cancelled */
        Item *items;       /* a ring */
        size_t first, n_items, n_room;
        size_t n_fds;  /* in it */
        uint64_t lost; /* by ourselves, for want of memory */
        WaitQueue readers, writers;
        unsigned n_parked; /* at these two */
        bool closed;       /* another task leaves it, or its handler has ended: they get -EBADF */
        /* By the last of them, where its end did not wait for that; else NULL. */
        void (*release)(tractor_context *c);

        /* the opener's */
        tractor_portal *portal; /* a reference */
        int64_t id;
        bool cancelled; /* by us */
        bool leaving;   /* in close: all that happens is of interest */
        Answer answer;
        Json *first_value;
        WaitQueue watchers; /* for started and the end */

        struct Served *served; /* the handler's (serve.c) */
};

/* What is in the queue and who waits; not the context itself. */
void context_init(tractor_context *c, bool is_opener, bool is_dialog);
void context_done(tractor_context *c);
/* Who waits for items or room gets -EBADF. Whether there is somebody: then `release` is called when they have gone, who may be among the
 * last to look at it. */
bool context_close(tractor_context *c, void (*release)(tractor_context *c));
/* Parks for an item or for room; on failure the context is not to be looked at any more. */
int context_park(tractor_context *c, WaitQueue *q, const char *why);
/* The conversation is over: whoever waits looks again. */
void context_end(tractor_context *c);
/* -EAGAIN while items are kept for a receiver that wants the newest. */
int context_stop(tractor_context *c);
/* Gives up what is queued, and the credit back. */
void context_drop_items(tractor_context *c);
void context_on_next(Json *value, uint64_t lost, void *userdata);
void context_on_stop(void *userdata);
void context_on_credit(void *userdata);
#define CONTEXT_ITEMS                                                                                       \
        {                                                                                                   \
                .on_next = context_on_next, .on_stop = context_on_stop, .on_credit = context_on_credit      \
        }
/* Those of a program of any version (may be NULL), raised where they are wrong. */
int context_take_options(tractor_context_options *ret, const tractor_context_options *o);
ItemOptions context_item_options(const tractor_context_options *o);

/* The handler's half (serve.c). */
Call *context_call(const tractor_context *c);
int context_flush(tractor_context *c);
