/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the supervisor gives up of its own rights before it reads a first byte of a peer. Actors are cloned by the
 * spawner and supervisors by the keeper, so it reaches neither; only our own short-lived helpers and the logger inherit
 * it. It keeps six capabilities, gains none by execve, and a filter refuses what it never calls: the kernel's less
 * visited entries, which a fault in reading hostile input could lead to. It is no wall around a supervisor that was
 * taken over: that one can ask the keeper for any program, as any user. */

/* What this kernel or host does not let us give up stays, with a warning. */
void forgo_rights(void);
/* Of these, the filter: -EOPNOTSUPP where there is none for this architecture. */
int forgo_calls(void);
