/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A short-lived process of our own program, for work that may block: name look-ups, journal files. It is started as
 * `/proc/self/exe ARGS…`, answers on stdout, which is a memory file, so that an answer of any size never makes it
 * wait for us, and has a time limit. Whoever gives it up early neither waits for it nor leaves it behind. */

#include <spawn.h>
#include <systemd/sd-event.h>

#include "base/macro.h"

typedef struct Helper Helper;
/* r: 0 after exit code 0, -ETIMEDOUT, or -EPROTO for any other end. `text` is terminated and borrowed. */
typedef void (*helper_handler_t)(int r, const char *text, size_t n, void *userdata);

/* `args` without the program, terminated by NULL. At most `max` bytes of the answer are read. The handler is called
 * once, from the loop, unless the helper is freed before; *ret is the caller's to free then, too. */
int helper_run(sd_event *event, char *const *args, size_t max, uint64_t timeout_usec,
                helper_handler_t handler, void *userdata, Helper **ret);
Helper *helper_free(Helper *h);
DEFINE_CLEANUP(Helper *, helper_free);

/* First call of a helper's main function: names the process, ends it with its parent, and after `seconds`. */
void helper_begin(const char *name, unsigned seconds);

/* A program of ours with no signal blocked, ignored or handled. A negative errno, that of exec too. */
int child_spawn(const char *path, char *const *argv, const posix_spawn_file_actions_t *actions, pid_t *ret);

/* The loop's watch on a child of ours, for this module and for output.c. The handler gets what waitid(2) says; the
 * child is reaped after it. Abandoned, the watch keeps itself in the loop until the child has ended, and calls no one;
 * `userdata` of the handler is NULL then. */
int child_watch(sd_event *event, pid_t pid, sd_event_child_handler_t handler, void *userdata,
                sd_event_source **ret);
sd_event_source *child_abandon(sd_event_source *s); /* returns NULL */
