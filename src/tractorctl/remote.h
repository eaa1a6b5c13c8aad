/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Supervisors of other machines. -H HOST runs `ssh -T HOST tractorctl bridge`, whose stdin and stdout then are the
 * control socket over there; $TRACTOR_SSH may name another command for ssh, with options, split at spaces. The
 * options that choose a supervisor go along, and count there. ssh says on stderr itself what it has to say; no
 * descriptor passes it. */

#include "tractorctl/context.h"

/* The bridge's end, a socket. 0, or negative errno with *reterr the sentence to print. */
int remote_connect(Context *c, int *ret_fd, char **reterr);
/* Why nobody answers at the other end of it: an exit code, with the line printed where ssh or the bridge has not
 * printed one. */
int remote_failed(Context *c);
/* Runs the verb there, in place of this process; returns only when it can't. */
int remote_exec(Context *c, char *const *words);
/* A bridge that ends with its stdin, which has been closed, has passed all of it on when it has ended: waits for that.
 * An exit code, with the line printed. */
int remote_finish(Context *c);
/* Ends what remote_connect() began, once all that was written has been passed on. */
void remote_done(Context *c);
