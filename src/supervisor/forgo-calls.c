/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/macro.h"
#include "supervisor/forgo.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#else
#define ARCH 0 /* no filter */
#endif

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#define SANITIZED __has_feature(address_sanitizer)
#else
#define SANITIZED 0
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define FAIL(error) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
/* Passes over so many instructions unless it holds. */
#define UNLESS(op, value, n) BPF_JUMP(BPF_JMP | BPF_##op | BPF_K, value, 0, n)
#define REFUSE(name) UNLESS(JEQ, __NR_##name, 1), FAIL(EPERM)
#define IF_FAMILY(family) UNLESS(JEQ, family, 1), ALLOW

#define NAMESPACES                                                                                          \
        (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |       \
                        CLONE_NEWNET)

/* A list of what is refused, not of what is allowed: name look-ups run whatever modules the host has configured, and a
 * later C library's new call must not be what stops a supervisor. By hand, as libseccomp needs longer to make it than a
 * restart may cost. Words of arguments are those of little-endian machines. */
static const struct sock_filter filter[] = {
        LOAD(arch),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
        FAIL(EPERM),
        LOAD(nr),
#ifdef __x86_64__
        UNLESS(JGE, __X32_SYSCALL_BIT, 1),
        FAIL(EPERM),
        REFUSE(iopl),
        REFUSE(ioperm),
        REFUSE(modify_ldt),
#endif
        /* another kernel, or code in this one */
        REFUSE(init_module),
        REFUSE(finit_module),
        REFUSE(delete_module),
        REFUSE(kexec_load),
        REFUSE(kexec_file_load),
        REFUSE(reboot),
        REFUSE(bpf),
        REFUSE(perf_event_open),
        REFUSE(userfaultfd),
        REFUSE(io_uring_setup),
        REFUSE(io_uring_enter),
        REFUSE(io_uring_register),
        /* mounts and namespaces */
        REFUSE(mount),
        REFUSE(umount2),
        REFUSE(pivot_root),
        REFUSE(chroot),
        REFUSE(move_mount),
        REFUSE(open_tree),
        REFUSE(fsopen),
        REFUSE(fsconfig),
        REFUSE(fsmount),
        REFUSE(fspick),
        REFUSE(mount_setattr),
        REFUSE(unshare),
        REFUSE(setns),
        REFUSE(open_by_handle_at),
        REFUSE(fanotify_init),
/* others' memory and descriptors; the leak checker of a sanitizer traces us */
#if !SANITIZED
        REFUSE(ptrace),
#endif
        REFUSE(process_vm_readv),
        REFUSE(process_vm_writev),
        REFUSE(process_madvise),
        REFUSE(pidfd_getfd),
        REFUSE(kcmp),
        REFUSE(add_key),
        REFUSE(request_key),
        REFUSE(keyctl),
        /* the machine's clock, swap, names and accounts */
        REFUSE(settimeofday),
        REFUSE(clock_settime),
        REFUSE(clock_adjtime),
        REFUSE(adjtimex),
        REFUSE(swapon),
        REFUSE(swapoff),
        REFUSE(sethostname),
        REFUSE(setdomainname),
        REFUSE(acct),
        REFUSE(quotactl),
        REFUSE(syslog),
        REFUSE(vhangup),
        /* The flags of clone3 are out of a filter's sight: the C library goes on to clone. */
        UNLESS(JEQ, __NR_clone3, 1),
        FAIL(ENOSYS),
        UNLESS(JEQ, __NR_clone, 4),
        LOAD(args[0]),
        UNLESS(JSET, NAMESPACES, 1),
        FAIL(EPERM),
        ALLOW,
        UNLESS(JEQ, __NR_socket, 10),
        LOAD(args[0]),
        IF_FAMILY(AF_UNIX),
        IF_FAMILY(AF_INET),
        IF_FAMILY(AF_INET6),
        IF_FAMILY(AF_NETLINK),
        FAIL(EAFNOSUPPORT),
        ALLOW,
};

/* SPEC_ALLOW: before Linux 5.16 a filter else turns on mitigations that slow down all of the process. */
int forgo_calls(void)
{
        const struct sock_fprog program = {
                .len = (unsigned short) ELEMENTSOF(filter),
                .filter = (struct sock_filter *) filter,
        };
        const unsigned flags = SECCOMP_FILTER_FLAG_SPEC_ALLOW;

        if (ARCH == 0)
                return -EOPNOTSUPP;
        return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) < 0 ? -errno : 0;
}
