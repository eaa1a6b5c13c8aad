/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The way in and out: what tractor_run() makes, drives and takes down. */

#include "libtractor/scope.h"

extern Runtime *runtime_of_process;

/* What is ready runs, deadlines are armed, and the end is noticed: between two turns of the loop, never from a task. */
void runtime_turn(Runtime *rt);
/* A signal that asks the program to end. */
void runtime_interrupt(Runtime *rt, int signal);
/* tractor_run() that also gives back the error (a new reference, NULL where there is none) and the signal that ended it (or
 * 0); both are only written when it ran at all. */
int runtime_run(const tractor_options *o, int (*main)(void *userdata), void *userdata,
                tractor_error **ret_error, int *ret_signal);
/* Ends what has not ended: all is cancelled, shields do not hold, and what still waits for others after RUNTIME_CLOSE_USEC is left behind
 * with its stack. Returns NULL. */
#define RUNTIME_CLOSE_USEC USEC_PER_SEC
Runtime *runtime_free(Runtime *rt);
/* Whether the task that runs in this thread has come to the end of its stack there. Async-signal-safe; the name lives as long as
 * the task. */
bool runtime_is_stack_guard(const void *address, const char **ret_task, size_t *ret_size);
