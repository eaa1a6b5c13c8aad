/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Was it the main process that the kernel killed for want of memory, or another of the same actor? The kernel counts
 * its kills by cgroup (oom_kill in memory.events) and does not say whom it struck; from outside, its SIGKILL looks like
 * anyone's. But a kill is counted first and signalled then, both under the task lock of the victim: if a main process
 * is looked at after the count was read, and no SIGKILL is pending for it, then none of the kills counted so far was
 * its own. They are cleared. A main process that dies of a SIGKILL nobody asked us for was killed for memory when the
 * count has gone beyond what is cleared.
 *
 * What stays open is a kill that no look came after: the main process died before the news of it had reached us. Then
 * the kernel's kill, which is counted, goes before somebody else's, which nothing speaks for. This module is pure. */

#include "base/macro.h"

typedef struct OomAccount {
        uint64_t cleared;   /* of the kills counted, these did not strike the main process */
        uint64_t untold;    /* of those, what no warning has told of */
        uint64_t told_usec; /* the last warning; 0: none in this generation */
} OomAccount;

/* A generation begins. */
void oom_account_begin(OomAccount *a, uint64_t count);
/* The main process was looked at after `count` was read; doomed: a SIGKILL was pending for it. */
void oom_account_look(OomAccount *a, uint64_t count, bool doomed);
/* The main process has ended. Was it killed for memory? */
bool oom_account_judge(OomAccount *a, uint64_t count, bool by_sigkill);
/* How many kills are to be told of now: 0, or all that were not, which are told from then on. */
uint64_t oom_account_tell(OomAccount *a, uint64_t now);
