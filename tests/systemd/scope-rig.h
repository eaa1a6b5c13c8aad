/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* For tests of the scope backend: what systemd itself says of the units it has. They run as root, or as a user under a
 * manager of its own. */

#include "../process/backend-rig.h"

#define INSTANCE "r0test0"

/* Which systemd: that of the machine, or the user's own. */
#define MODE ((char *) (geteuid() == 0 ? "--system" : "--user"))

/* Runs a program to its end; its output, cut to size. Returns the wait status. */
int run(char *const *argv, char *ret, size_t size);
#define RUN(buf, ...) run((char *const[]){ __VA_ARGS__, NULL }, (buf), sizeof(buf))

const char *property(const char *unit, const char *name);
size_t count_units(void);
int begin(const char *a, const char *b, const char *c);
bool has_ended(int pid);

/* In the cgroup of the very unit the backend names. */
void check_in_scope(Actor *a);
/* Killed, reaped and left. */
void actor_end(Actor *a);
