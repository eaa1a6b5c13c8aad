/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A program's way in and out. The same binary is the root and its actors: tractor_run() looks at its environment and either runs
 * `main` as the first task, or is the actor that somebody started it as, and serves its table of methods.
 *
 *         static const tractor_method methods[] = { { "add", add }, { "count", count }, { NULL } };
 *
 *         int main(void)
 *         {
 *                 tractor_options options = { .size = sizeof(options), .methods = methods };
 *
 *                 return tractor_main(&options, body, NULL);
 *         }
 *
 * A root asks the supervisor that runs on this machine for its actors ($TRACTOR_SOCKET, the user's, the system's), or starts a private one
 * that ends with it. Nothing of that happens before its first actor.
 *
 * SIGUSR1 prints all tasks to stderr, with what they wait for and where they stand, unless the program itself handles, ignores or blocks it. */

#include <tractor/context.h>
#include <tractor/macros.h>
#include <tractor/task.h>

TRACTOR_BEGIN_DECLS

typedef struct tractor_method {
        const char *name; /* [A-Za-z_][A-Za-z0-9_.]*; NULL ends the table */
        tractor_handler handler;
        void *userdata;          /* tractor_context_userdata() */
        const char *description; /* may be NULL */
} tractor_method;

enum {
        TRACTOR_EMBED = 1, /* always start a private supervisor */
        TRACTOR_NO_SIGNALS =
                        2, /* leave SIGINT and SIGTERM alone: else they cancel main, and the run ends with -EINTR */
};

typedef struct tractor_options {
        size_t size;      /* sizeof(tractor_options): it may grow */
        const char *name; /* of a root in the tree and of its process; NULL: the program's name */
        const tractor_method *methods;   /* what actors of this program serve; must stay */
        void *userdata;                  /* of the two below */
        int (*on_start)(void *userdata); /* in an actor, as its first task, before it is ready */
        void (*on_stop)(void *userdata); /* in an actor, when all tasks have ended */
        unsigned flags;
        size_t stack_size;  /* of a task, bytes; 0: 256 KiB. Memory is used as it is touched */
        unsigned max_tasks; /* 0: 30 000 */
        uint64_t stall_usec; /* a task that runs that long without a checkpoint is named on stderr; 0: 1 s, TRACTOR_FOREVER: never */
        const char *backend; /* of a private supervisor; NULL: $TRACTOR_BACKEND, else the best there is */
} tractor_options;

/* Runs all of it, and returns when everything has ended: what `main` returned, or 0 where it was cancelled by tractor_cancel_all(); -EINTR
 * after SIGINT or SIGTERM; a second one breaks all shields and has the actors killed. In an actor `main` is called only where it was started for nothing in particular (by a tree file). Not within
 * another; one thread of a process at a time. `o` may be NULL. */
int tractor_run(const tractor_options *o, int (*main)(void *userdata), void *userdata);
/* The same for main(): prints the error to stderr, and returns an exit status: 0, 1, or 128 + the signal that interrupted it. */
int tractor_main(const tractor_options *o, int (*main)(void *userdata), void *userdata);

const char *tractor_name(void); /* the last part of the path */
/* In the tree; of a root that of its nurseries' parent, NULL before its first actor. */
const char *tractor_path(void);
const char *tractor_id(void); /* one a generation; NULL: a root */
bool tractor_is_actor(void);
struct sd_event *tractor_get_event(
                void); /* for sources of one's own; sd_event_run() on it is never called from a task */

/* Called when the actor or root ends, the last one first, after its tasks. -ENOMEM. */
int tractor_at_exit(void (*fn)(void *userdata), void *userdata);
/* What `ps` shows. */
int tractor_set_title(const char *format, ...) TRACTOR_PRINTF(1, 2);
/* Replaces what this actor serves, for calls from now on (an actor decides how it answers the next message). The table must stay. */
int tractor_become(const tractor_method *methods);
/* Cancels the actor, or the root's main. */
void tractor_cancel_all(const char *reason);
/* How this actor's end was asked for: NULL, or the reason given. */
const char *tractor_cancel_reason(void);

/* --- in a foreign event loop: the poll interface, as sd-bus has it --- */
/* Starts without blocking; `on_end` gets what tractor_run() would return, and then tractor_close() is due. */
int tractor_open(const tractor_options *o, int (*main)(void *userdata), void *userdata,
                void (*on_end)(int r, void *userdata));
int tractor_get_fd(void);     /* to be polled for tractor_get_events() */
int tractor_get_events(void); /* POLLIN */
int tractor_get_timeout(
                uint64_t *ret); /* absolute, CLOCK_MONOTONIC; 0: at once; TRACTOR_FOREVER: when the descriptor says so */
int tractor_process(void); /* works off what is due, and returns; 0: on_end was called */
void tractor_close(
                void); /* ends what has not ended, without waiting for actors; not what tractor_run() runs */

TRACTOR_END_DECLS
