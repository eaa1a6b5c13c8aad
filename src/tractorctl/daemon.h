/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A private tractord (embed/daemon.h) as the command line has it: what goes wrong is said, and the loop runs until it
 * answers. */

#include "embed/daemon.h"
#include "tractorctl/context.h"

/* These say so; an exit code. */
int daemon_start_failed(const Context *c, int r);
int daemon_ended_early(const Context *c, const Daemon *d);

/* Starts one for a question, out of everyone's sight, and connects c to it. An exit code. */
int daemon_start_private(Context *c, Daemon **ret);
/* Connects c to `path` as soon as someone answers there; gives up when d ends or `aborted` says so (then
 * -ECANCELED). */
int daemon_connect(Context *c, Daemon *d, const char *path, ClientAbort aborted, void *userdata);
