/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the three backends share among themselves: how each is opened. An opener returns a negative errno with a
 * sentence in *ret_why (the caller's to free, may stay NULL) when this host or user can't have that backend, and
 * leaves nothing behind then; on success the sentence says what it found. */

#include "supervisor/backend.h"

int backend_scope_open(const BackendOptions *options, Backend **ret, char **ret_why);
int backend_cgroup_open(const BackendOptions *options, Backend **ret, char **ret_why);
int backend_process_open(const BackendOptions *options, Backend **ret, char **ret_why);

void backend_done(Backend *b);

/* home_usage, home_spent and home_oom_kills where the node is a cgroup, which counts for all its rooms and outlives
 * them: by Home.counted. */
int counted_usage(Home *h, Usage *ret);
void counted_spent(Home *h, Usage *ret);
int counted_oom_kills(Home *h, uint64_t *ret);
int counted_tasks(Home *h, uint64_t *ret_tasks, uint64_t *ret_max);
