/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What all tasks are doing: the answer to `$/tasks`, and on stderr after SIGUSR1, which is how one asks a program that nobody can
 * call. Each parked task is entered to say where it stands, and nothing else about it changes. Bounded: what does not fit is counted.
 *
 * SIGUSR1 is handled only where nobody else does: a program that blocks it (to wait for it), ignores it or sets a handler of its own has it.
 * Names of functions come from the dynamic symbols (a program's own functions are there when it was linked with -rdynamic); others
 * are a module and an offset, for addr2line. */

#include <stdio.h>

#include "libtractor/task.h"

#define DUMP_TASKS_MAX 1000U
#define DUMP_FRAMES_MAX 32U
/* An answer has to fit a line of the protocol. */
#define DUMP_BYTES_MAX (900U * 1024)

#define DUMP_FRAME_SIZE 200U

/* Where a return address is: "function+0x12 (module)", else "module+0x1234". */
void dump_frame(void *address, char *buf, size_t n);
/* An array of {id, name, state, wait, nursery, scope, stack}, the oldest task first, as docs/protocol.md has them; where some are left out, the
 * last element is {name, more}. Not a checkpoint. */
int dump_tasks(Runtime *rt, Json **ret);
/* The same as lines. */
int dump_print(Runtime *rt, FILE *f);
/* Answers SIGUSR1 until dump_close(). */
int dump_open(Runtime *rt);
void dump_close(Runtime *rt);
