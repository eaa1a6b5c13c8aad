/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/filter.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/io.h"
#include "supervisor/policy.h"

/* Names and not numbers: an architecture that lacks a call skips it. */
static const char *const refused[] = {
        /* replacing the kernel, or what runs in it */
        "kexec_load",
        "kexec_file_load",
        "init_module",
        "finit_module",
        "delete_module",
        "create_module",
        "get_kernel_syms",
        "query_module",
        "bpf",
        "perf_event_open",
        /* raw hardware */
        "iopl",
        "ioperm",
        "pciconfig_iobase",
        "pciconfig_read",
        "pciconfig_write",
        /* mounts and namespaces; clone and unshare are refused by flag below */
        "mount",
        "umount",
        "umount2",
        "pivot_root",
        "move_mount",
        "open_tree",
        "fsopen",
        "fsconfig",
        "fsmount",
        "fspick",
        "mount_setattr",
        "setns",
        "open_by_handle_at",
        /* other processes' memory and descriptors */
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "process_madvise",
        "kcmp",
        "pidfd_getfd",
        /* keyrings are shared across the processes of a user */
        "add_key",
        "request_key",
        "keyctl",
        /* the machine's clock, power, swap, accounting, names */
        "settimeofday",
        "clock_settime",
        "clock_settime64",
        "stime",
        "adjtimex",
        "clock_adjtime",
        "clock_adjtime64",
        "reboot",
        "swapon",
        "swapoff",
        "acct",
        "quotactl",
        "quotactl_fd",
        "sethostname",
        "setdomainname",
        "vhangup",
        /* obsolete */
        "_sysctl",
        "uselib",
        "ustat",
        "sysfs",
        "nfsservctl",
        "afs_syscall",
        "getpmsg",
        "putpmsg",
        "tuxcall",
        "vserver",
        "security",
        "bdflush",
        "lookup_dcookie",
        "vm86",
        "vm86old",
        "modify_ldt",
};

static const uint64_t namespaces[] = {
        CLONE_NEWNS,
        CLONE_NEWCGROUP,
        CLONE_NEWUTS,
        CLONE_NEWIPC,
        CLONE_NEWUSER,
        CLONE_NEWPID,
        CLONE_NEWNET,
};

static int refuse(scmp_filter_ctx ctx, const char *name)
{
        int nr = seccomp_syscall_resolve_name(name), r;

        if (nr == __NR_SCMP_ERROR)
                return 0;
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), nr, 0);
        /* a call this architecture has under another one's number only */
        return r == -EDOM ? 0 : r;
}

/* The flags of clone3 lie behind a pointer, which a filter can't follow: ENOSYS sends the C library to
 * clone, whose flags are in a register. */
static int refuse_namespaces(scmp_filter_ctx ctx)
{
#ifdef __s390__
        const unsigned clone_arg = 1;
#else
        const unsigned clone_arg = 0;
#endif
        int r;

        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(namespaces); i++) {
                const uint64_t flag = namespaces[i];

                r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                SCMP_CMP64(clone_arg, SCMP_CMP_MASKED_EQ, flag, flag));
                if (r >= 0)
                        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), 1,
                                        SCMP_CMP64(0, SCMP_CMP_MASKED_EQ, flag, flag));
        }
        /* shares its bit with clone's exit signal, so for unshare alone */
        if (r >= 0)
                r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), 1,
                                SCMP_CMP64(0, SCMP_CMP_MASKED_EQ, 0x80, 0x80));
        return r;
}

static int build_default(scmp_filter_ctx ctx)
{
        int r;

        r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM));
        if (r >= 0)
                r = seccomp_attr_set(
                                ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree: a few steps for each call */
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(refused); i++)
                r = refuse(ctx, refused[i]);
        return r >= 0 ? refuse_namespaces(ctx) : r;
}

static const char *const profile_names[] = { "default", NULL };

static struct {
        int (*build)(scmp_filter_ctx ctx);
        void *bpf; /* NULL: not compiled yet */
        size_t size;
} profiles[] = {
        { .build = build_default },
};

/* libseccomp 2.5 writes to descriptors only. */
static int export_bpf(scmp_filter_ctx ctx, void **ret, size_t *ret_size)
{
        _cleanup_free_ void *bpf = NULL;
        _cleanup_close_ int fd = -EBADF;
        off_t size;
        int r;

        fd = memfd_create("tractor-seccomp", MFD_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = seccomp_export_bpf(ctx, fd);
        if (r < 0)
                return r;
        size = lseek(fd, 0, SEEK_CUR);
        if (size <= 0 || (size_t) size % sizeof(struct sock_filter) != 0)
                return -EIO;
        bpf = malloc((size_t) size);
        if (!bpf)
                return -ENOMEM;
        if (pread(fd, bpf, (size_t) size, 0) != size)
                return -EIO;
        *ret = TAKE_PTR(bpf);
        *ret_size = (size_t) size;
        return 0;
}

bool policy_profile_exists(const char *name)
{
        for (size_t i = 0; profile_names[i]; i++)
                if (streq(profile_names[i], name))
                        return true;
        return false;
}

const char *const *policy_profiles(void)
{
        return profile_names;
}

static int compile(size_t i)
{
        scmp_filter_ctx ctx;
        int r;

        if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0 && errno == EINVAL)
                return -EOPNOTSUPP;
        ctx = seccomp_init(SCMP_ACT_ALLOW);
        if (!ctx)
                return -ENOMEM;
        r = profiles[i].build(ctx);
        if (r >= 0)
                r = export_bpf(ctx, &profiles[i].bpf, &profiles[i].size);
        seccomp_release(ctx);
        return r;
}

int policy_seccomp(const char *name, const void **ret, size_t *ret_size)
{
        int r;

        for (size_t i = 0; i < ELEMENTSOF(profiles); i++) {
                if (!streq(profile_names[i], name))
                        continue;
                if (!profiles[i].bpf) {
                        r = compile(i);
                        if (r < 0)
                                return r;
                }
                *ret = profiles[i].bpf;
                *ret_size = profiles[i].size;
                return 0;
        }
        return -ENOENT;
}
