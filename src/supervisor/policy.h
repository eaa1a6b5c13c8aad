/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Seccomp by libseccomp, the one file that knows it. Profiles are compiled once in the supervisor and handed to
 * children as BPF. The built-in "default" refuses (EPERM) what an ordinary service never needs and an attacker
 * does: kexec, module loading, raw I/O ports, mount and namespace surgery, ptrace of others, keyrings, bpf, perf,
 * clock setting, reboot, swap, obsolete calls; other architectures' entry points get EPERM, too. */

#include "base/macro.h"

bool policy_profile_exists(const char *name);
/* Names, NULL-terminated, for error messages. */
const char *const *policy_profiles(void);
/* BPF (array of struct sock_filter) that stays valid for the process's life. -ENOENT, -EOPNOTSUPP (no kernel seccomp). */
int policy_seccomp(const char *name, const void **ret, size_t *ret_size);
