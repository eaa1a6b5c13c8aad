/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The way in and out: what tractor_run() makes, drives and takes down. */

#include "libtractor/scope.h"

/* What is ready runs, deadlines are armed, and the end is noticed: between two turns of the loop, never from a task. */
void runtime_turn(Runtime *rt);
/* A signal that asks the program to end. */
void runtime_interrupt(Runtime *rt, int signal);
Runtime *runtime_free(Runtime *rt);
/* What was asked for by tractor_at_exit(), the last first; in the main task, shielded. */
void run_at_exit(Runtime *rt);
void title_restore(Runtime *rt);
