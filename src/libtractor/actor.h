/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What makes a program part of a tree: as an actor its channel, as a root its connection to a supervisor. */

#include "libtractor/task.h"

/* Whether the environment says that this process was started as an actor; takes the channel over. 0, 1. */
int actor_detect(Runtime *rt);
/* An actor's main task: says hello, serves until cancelled, and ends in order. `userdata` is the runtime. */
int actor_main(void *userdata);
void actor_free(Runtime *rt);
