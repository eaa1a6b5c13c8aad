/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "supervisor/forgo.h"

/* Each for actors, most for those of other users: */
static const uint64_t kept =
                1ULL << CAP_CHOWN |        /* gives them their pipes and notify sockets */
                1ULL << CAP_DAC_OVERRIDE | /* opens their outputs, looks for their files and sockets, cgroups */
                1ULL << CAP_KILL |         /* signals them */
                1ULL << CAP_SYS_NICE | /* moves who has more rights than we: the cpuset controller asks for it */
                1ULL << CAP_SYS_PTRACE | /* reads their environ; and where /proc is hidden (hidepid=), any of it */
                1ULL << CAP_SYS_RESOURCE; /* more pipes, and descriptors on their way, than one user may have */

static int forgo_gains(void)
{
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/* Who may not change the bounding set, as an ordinary user, gains nothing from what is in it: no_new_privs. */
static int forgo_bounds(void)
{
        for (unsigned cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
                if (!(kept >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
                        return errno == EPERM ? 0 : -errno;
        return 0;
}

static int forgo_capabilities(void)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2];

        if (syscall(SYS_capget, &header, data) < 0)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(data); i++) {
                data[i].permitted &= (uint32_t) (kept >> 32 * i);
                data[i].effective &= data[i].permitted;
                data[i].inheritable &= data[i].permitted; /* and with it the ambient ones */
        }
        return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

void forgo_rights(void)
{
        static const struct {
                int (*forgo)(void);
                const char *what;
        } rights[] = {
                { forgo_gains, "gaining privileges" },
                { forgo_bounds, "the bounding set" },
                { forgo_capabilities, "capabilities" },
                { forgo_calls, "system calls" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rights); i++) {
                int r = rights[i].forgo();

                if (r < 0)
                        log_warning("Can't forgo %s, and go on with them: %s", rights[i].what, strerror(-r));
        }
}
