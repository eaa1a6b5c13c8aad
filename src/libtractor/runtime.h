/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The way in and out: what tractor_run() makes, drives and takes down. */

#include "libtractor/scope.h"

extern Runtime *runtime_of_process;

/* What is ready runs, deadlines are armed, and the end is noticed: between two turns of the loop, never from a task. */
void runtime_turn(Runtime *rt);
/* A signal that asks the program to end. */
void runtime_interrupt(Runtime *rt, int signal);
/* Ends what has not ended: all is cancelled, shields do not hold, and what still waits for others after RUNTIME_CLOSE_USEC is left behind
 * with its stack. Returns NULL. */
#define RUNTIME_CLOSE_USEC USEC_PER_SEC
Runtime *runtime_free(Runtime *rt);
/* Whether the task that runs in this thread has come to the end of its stack there. Async-signal-safe; the name lives as long as
 * the task. */
bool runtime_is_stack_guard(const void *address, const char **ret_task, size_t *ret_size);
/* What was asked for by tractor_at_exit(), the last first; in the main task, shielded. */
void run_at_exit(Runtime *rt);
void title_restore(Runtime *rt);
