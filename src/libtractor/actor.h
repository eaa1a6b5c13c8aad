/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A program as an actor: it takes over the channel it was born with, says hello, serves its methods, and does what it was started for:
 *
 *      TRACTOR_ENTRY         TRACTOR_ARGS
 *      none                                 runs the program's own main; a tree file's actors
 *      "tractor.serve"                      serves until it is cancelled
 *      a method              none           answers the first call of it, and ends: a one-shot
 *      a method              given          runs it with these, tells the result by $/result or $/error, and ends
 *
 * It ends in this order: no new requests, tasks cancelled and awaited, on_stop and at_exit, all that was said has left. */

#include "libtractor/task.h"

#define ACTOR_SERVES "tractor.serve"

/* Whether the environment says that this process was started as an actor: takes the channel over, and its variables out. 0, 1. */
int actor_detect(Runtime *rt);
/* An actor's main task; `userdata` is the runtime. */
int actor_main(void *userdata);
