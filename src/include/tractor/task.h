/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Tasks: functions that run beside each other in one thread, each on a stack of its own, and give way to each other at
 * blocking calls only. Nurseries start them (nursery.h); here is what a task may wait for. All of these are
 * checkpoints: they look at cancellation before they act, never after they have taken something. */

#include <signal.h>
#include <sys/types.h>

#include <tractor/macros.h>

TRACTOR_BEGIN_DECLS

/* `userdata` is what was given with the function. 0, or a negative errno: the task has failed. */
typedef int (*tractor_task_fn)(void *userdata);

const char *tractor_task_name(void); /* of the running task */

uint64_t tractor_now(void); /* CLOCK_MONOTONIC, microseconds */
int tractor_sleep(uint64_t usec);
int tractor_sleep_until(uint64_t usec); /* absolute */
int tractor_sleep_forever(void);        /* -ECANCELED, some day */
/* Waits until `fd` is ready for one of `events` (EPOLLIN, EPOLLOUT …), which are returned. Several tasks
 * may wait for the same one. The descriptor must not be closed meanwhile. -EPERM for what can't be waited for (a file). */
int tractor_wait_fd(int fd, uint32_t events);
/* Waits for the end of a child process of one's own (never an actor) and reaps it. */
int tractor_wait_child(pid_t pid, siginfo_t *ret);
/* Waits for one of the signals, which must be blocked (they are by the first call). Not for those that a runtime answers by
 * itself: SIGINT and SIGTERM of a root program, unless told otherwise. Returns the signal's number. */
int tractor_wait_signal(const sigset_t *set, siginfo_t *ret /* may be NULL */);

TRACTOR_END_DECLS
