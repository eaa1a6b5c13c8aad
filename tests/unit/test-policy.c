/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervisor/policy.h"
#include "test.h"

/* The filter twice: run by an interpreter of our own, which shows every architecture and needs no
 * privilege to tell a refusal from an ordinary EPERM, and by the kernel, on a real program. */

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#define OTHER_ARCH AUDIT_ARCH_I386
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#define OTHER_ARCH AUDIT_ARCH_ARM
#endif

#define REFUSED (SECCOMP_RET_ERRNO | EPERM)

static const struct sock_filter *program;
static size_t program_length;

static void load(void)
{
        const void *bpf;
        size_t size;

        CHECK_EQ(policy_seccomp("default", &bpf, &size), 0);
        CHECK(size > 0 && size % sizeof(struct sock_filter) == 0);
        program = bpf;
        program_length = size / sizeof(struct sock_filter);
        CHECK(program_length <= BPF_MAXINSNS);
}

#ifdef NATIVE_ARCH
static bool jumps(uint16_t code, uint32_t a, uint32_t k)
{
        switch (BPF_OP(code)) {
        case BPF_JEQ:
                return a == k;
        case BPF_JGT:
                return a > k;
        case BPF_JGE:
                return a >= k;
        case BPF_JSET:
                return a & k;
        }
        abort();
}

/* What the kernel would answer to this call: the instructions libseccomp writes, no more. */
static uint32_t run(const struct seccomp_data *data)
{
        uint32_t a = 0;

        for (size_t pc = 0; pc < program_length; pc++) {
                const struct sock_filter *i = &program[pc];

                switch (BPF_CLASS(i->code)) {
                case BPF_LD:
                        CHECK_EQ(i->code, BPF_LD | BPF_W | BPF_ABS);
                        CHECK(i->k + sizeof(a) <= sizeof(*data));
                        memcpy(&a, (const char *) data + i->k, sizeof(a));
                        break;
                case BPF_ALU:
                        CHECK_EQ(i->code, BPF_ALU | BPF_AND | BPF_K);
                        a &= i->k;
                        break;
                case BPF_JMP:
                        if (BPF_OP(i->code) == BPF_JA)
                                pc += i->k;
                        else
                                pc += jumps(i->code, a, i->k) ? i->jt : i->jf;
                        break;
                case BPF_RET:
                        return i->k;
                default:
                        abort();
                }
        }
        abort();
}

static uint32_t call(int nr, uint64_t arg)
{
        return run(&(struct seccomp_data){ .nr = nr, .arch = NATIVE_ARCH, .args = { arg } });
}

static void test_refused(void)
{
        static const int calls[] = {
                SYS_mount,
                SYS_umount2,
                SYS_pivot_root,
                SYS_kexec_load,
                SYS_bpf,
                SYS_ptrace,
                SYS_init_module,
                SYS_finit_module,
                SYS_delete_module,
                SYS_keyctl,
                SYS_add_key,
                SYS_request_key,
                SYS_perf_event_open,
                SYS_setns,
                SYS_settimeofday,
                SYS_clock_settime,
                SYS_reboot,
                SYS_swapon,
                SYS_process_vm_readv,
                SYS_open_by_handle_at,
#ifdef __x86_64__
                SYS_iopl,
                SYS_ioperm,
                SYS_uselib,
                SYS_modify_ldt,
#endif
        };

        load();
        for (size_t i = 0; i < ELEMENTSOF(calls); i++) {
                if (call(calls[i], 0) != REFUSED)
                        fprintf(stderr, "call %d is let through\n", calls[i]);
                CHECK_EQ(call(calls[i], 0), REFUSED);
        }
}

static void test_allowed(void)
{
        static const int calls[] = { SYS_read, SYS_write, SYS_openat, SYS_socket, SYS_bind, SYS_accept4,
                SYS_clone, SYS_execve, SYS_mmap, SYS_futex, SYS_epoll_pwait, SYS_kill, SYS_prctl,
                SYS_setresuid, SYS_setgroups, SYS_fdatasync, SYS_rt_sigaction, SYS_memfd_create,
                SYS_sched_setaffinity, SYS_unshare };

        load();
        for (size_t i = 0; i < ELEMENTSOF(calls); i++) {
                if (call(calls[i], 0) != SECCOMP_RET_ALLOW)
                        fprintf(stderr, "call %d is refused\n", calls[i]);
                CHECK_EQ(call(calls[i], 0), SECCOMP_RET_ALLOW);
        }
}

static void test_namespaces(void)
{
        static const int flags[] = { CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER,
                CLONE_NEWPID, CLONE_NEWNET };
        const uint64_t thread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                                CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

        load();
        CHECK_EQ(call(SYS_clone, thread), SECCOMP_RET_ALLOW);
        CHECK_EQ(call(SYS_unshare, CLONE_FILES | CLONE_FS), SECCOMP_RET_ALLOW);
        for (size_t i = 0; i < ELEMENTSOF(flags); i++) {
                CHECK_EQ(call(SYS_clone, (unsigned) flags[i]), REFUSED);
                CHECK_EQ(call(SYS_clone, thread | (unsigned) flags[i]), REFUSED);
                CHECK_EQ(call(SYS_unshare, CLONE_FILES | (unsigned) flags[i]), REFUSED);
        }
        CHECK_EQ(call(SYS_unshare, 0x80), REFUSED); /* CLONE_NEWTIME */
        CHECK_EQ(call(SYS_clone, 0x80), SECCOMP_RET_ALLOW);
        CHECK_EQ(call(SYS_clone3, 0), SECCOMP_RET_ERRNO | ENOSYS);
}

static void test_other_architectures(void)
{
        load();
        for (int nr = 0; nr < 500; nr++)
                CHECK_EQ(run(&(struct seccomp_data){ .nr = nr, .arch = OTHER_ARCH }), REFUSED);
#ifdef __x86_64__
        /* x32 shares the architecture, not the numbers. */
        CHECK_EQ(call(0x40000000 | SYS_read, 0), REFUSED);
#endif
}
#endif

/* Runs f under the filter in a child; its exit status. */
static int under_filter(int (*f)(void))
{
        struct sock_fprog prog;
        int status;
        pid_t pid;

        load();
        prog = (struct sock_fprog){
                .len = (unsigned short) program_length,
                .filter = (struct sock_filter *) program,
        };
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
                if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
                                prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
                        _exit(126);
                _exit(f());
        }
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static int run_true(void)
{
        execl("/bin/sh", "sh", "-c", "/bin/true && x=$(echo y | cat) && [ \"$x\" = y ]", (char *) NULL);
        return 127;
}

/* Bad arguments: a call that got through says EFAULT, EINVAL, ESRCH … where the caller is privileged. */
static int try_refused(void)
{
        static const int calls[] = { SYS_mount, SYS_kexec_load, SYS_bpf, SYS_ptrace, SYS_init_module };

        for (size_t i = 0; i < ELEMENTSOF(calls); i++)
                if (syscall(calls[i], -1L, -1L, -1L, -1L, -1L) != -1 || errno != EPERM)
                        return (int) i + 1;
        return 0;
}

static void test_kernel(void)
{
        CHECK_EQ(under_filter(run_true), 0);
        CHECK_EQ(under_filter(try_refused), 0);
}

static void test_profiles(void)
{
        const void *a, *b;
        size_t size;

        CHECK(policy_profile_exists("default"));
        CHECK(!policy_profile_exists("") && !policy_profile_exists("Default"));
        CHECK_STR(policy_profiles()[0], "default");
        CHECK_EQ(policy_seccomp("nothing", &a, &size), -ENOENT);
        CHECK_EQ(policy_seccomp("default", &a, &size), 0);
        CHECK_EQ(policy_seccomp("default", &b, &size), 0);
        CHECK(a == b);
}

TEST_MAIN({ "profiles", test_profiles },
#ifdef NATIVE_ARCH
                { "refused", test_refused }, { "allowed", test_allowed }, { "namespaces", test_namespaces },
                { "other-architectures", test_other_architectures },
#endif
                { "kernel", test_kernel });
