/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The conversation of the keeper and its spawner: one request a child on a SOCK_SEQPACKET pair, one answer to each, in
 * that order. A fork costs by what the process has mapped and open: the keeper has much of both, the spawner next to
 * nothing. It clones with CLONE_PARENT, so that the child is the keeper's and the spawner has none; what it needs
 * comes with each request, so that it holds no state a successor would lack.
 *
 * Its arguments, if any, are a program and two of that one's: what it becomes when the keeper was killed, with "cgroup" or
 * "process" for where the children are as the third. It is the third process of an instance, and knows no other end of
 * the keeper: so it takes more than keeper and supervisor killed at once to leave something that runs.
 *
 * Descriptors: the child's end of the set-up socket, the spec, [cgroup directory], those the spec refers to. */

#include <sys/resource.h>
#include <sys/types.h>

#include "base/macro.h"

#define SPAWNER_VERSION 1
#define SPAWNER_FD 3 /* where the spawner finds its end */

typedef struct SpawnerRequest {
        uint64_t key;
        uint32_t version; /* a package may be renewed under a keeper that runs: another one is refused */
        bool held, in_cgroup, has_oom_score_adj;
        int32_t oom_score_adj; /* this and nofile: what the child is given back, see ChildStart */
        pid_t keeper;
        struct rlimit nofile;
} SpawnerRequest;

typedef struct SpawnerAnswer {
        uint64_t key;
        int32_t pid; /* or negative errno: there is no child */
        uint32_t reserved;
} SpawnerAnswer;
