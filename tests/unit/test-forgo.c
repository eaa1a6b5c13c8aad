/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "supervisor/forgo.h"
#include "test.h"

/* Rights don't come back, so each case gives them up in a process of its own. */
static void alone(void (*run)(void))
{
        pid_t pid = fork();
        int status;

        CHECK(pid >= 0);
        if (pid == 0) {
                forgo_rights();
                run();
                _exit(0);
        }
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK_EQ(status, 0);
}

static unsigned long long status_set(const char *what)
{
        _cleanup_free_ char *text = NULL;
        char *line;

        CHECK(read_file_at(AT_FDCWD, "/proc/self/status", &text) >= 0);
        line = strstr(text, what);
        CHECK(line);
        return strtoull(line + strlen(what), NULL, 16);
}

static void check_status(void)
{
        const unsigned long long few = 1ULL << CAP_CHOWN | 1ULL << CAP_DAC_OVERRIDE | 1ULL << CAP_KILL |
                                       1ULL << CAP_SYS_NICE | 1ULL << CAP_SYS_PTRACE |
                                       1ULL << CAP_SYS_RESOURCE;

        CHECK_EQ(status_set("\nNoNewPrivs:"), 1);
        CHECK_EQ(status_set("\nSeccomp:"), 2);
        CHECK_EQ(status_set("\nCapEff:") & ~few, 0);
        CHECK_EQ(status_set("\nCapPrm:") & ~few, 0);
        CHECK_EQ(status_set("\nCapInh:") & ~few, 0);
        CHECK_EQ(status_set("\nCapAmb:") & ~few, 0);
        if (geteuid() == 0) {
                CHECK_EQ(status_set("\nCapBnd:") & ~few, 0);
                CHECK(status_set("\nCapEff:") & 1ULL << CAP_KILL);
        }
        CHECK_EQ(prctl(PR_GET_DUMPABLE), 1);
}

static void shows(void)
{
        alone(check_status);
}

#define REFUSED(error, ...)                                                                                 \
        do {                                                                                                \
                errno = 0;                                                                                  \
                CHECK(syscall(__VA_ARGS__) < 0);                                                            \
                CHECK_EQ(errno, error);                                                                     \
        } while (0)

/* Arguments that the kernel itself would find another fault with, and no right: without the filter it is not EPERM. */
static void check_refused(void)
{
        static const int numbers[] = { SYS_perf_event_open, SYS_io_uring_setup, SYS_userfaultfd, SYS_setns,
                SYS_keyctl, SYS_process_vm_readv, SYS_process_vm_writev, SYS_process_madvise,
                SYS_pidfd_getfd, SYS_kcmp, SYS_fsconfig, SYS_quotactl };

        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                REFUSED(EPERM, numbers[i], -1, -1, -1, -1, -1, -1);
        REFUSED(EPERM, SYS_unshare, CLONE_FILES);
        REFUSED(EPERM, SYS_unshare, CLONE_NEWUSER);
        REFUSED(EPERM, SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
        REFUSED(ENOSYS, SYS_clone3, NULL, 0);
        REFUSED(EAFNOSUPPORT, SYS_socket, AF_ALG, SOCK_SEQPACKET, 0);
        REFUSED(EAFNOSUPPORT, SYS_socket, AF_VSOCK, SOCK_STREAM, 0);
#ifdef __x86_64__
        REFUSED(EPERM, SYS_modify_ldt, -1, NULL, 0);
        REFUSED(EPERM, 0x40000000 | SYS_getpid);
#endif
}

static void refuses(void)
{
        alone(check_refused);
}

static void *thread(void *userdata)
{
        return userdata;
}

/* What name look-ups and helpers need: threads, processes, the network. */
static void check_works(void)
{
        static const int families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK };
        char *const argv[] = { (char *) "true", NULL };
        pthread_t t;
        pid_t pid;
        void *got;
        int status;

        CHECK_EQ(pthread_create(&t, NULL, thread, &status), 0);
        CHECK_EQ(pthread_join(t, &got), 0);
        CHECK(got == &status);
        CHECK_EQ(posix_spawnp(&pid, "true", NULL, NULL, argv, environ), 0);
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK_EQ(status, 0);
        for (size_t i = 0; i < ELEMENTSOF(families); i++) {
                _cleanup_close_ int fd = socket(families[i], SOCK_DGRAM, 0);

                /* a host may lack a family, but then says so by itself */
                CHECK(fd >= 0 || (families[i] == AF_INET6 && errno == EAFNOSUPPORT));
        }
}

static void lets_pass(void)
{
        alone(check_works);
}

static pid_t other;

/* What is kept, each capability for what it is kept for. */
static void check_others(void)
{
        _cleanup_free_ char *path = xasprintf("/proc/%d/environ", (int) other), *text = NULL;
        int fds[2];

        CHECK(path && pipe2(fds, O_CLOEXEC) >= 0);
        CHECK(read_file_at(AT_FDCWD, path, &text) >= 0);
        CHECK(fchown(fds[1], 65534, (gid_t) -1) >= 0);
        CHECK(kill(other, SIGKILL) >= 0);
}

static void serves_other_users(void)
{
        int status, fds[2];
        char c;

        if (geteuid() != 0)
                return;
        CHECK(pipe2(fds, O_CLOEXEC) >= 0);
        other = fork();
        CHECK(other >= 0);
        if (other == 0) {
                CHECK(setresgid(65534, 65534, 65534) >= 0 && setresuid(65534, 65534, 65534) >= 0);
                CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) >= 0); /* a check that fails leaves nothing behind */
                CHECK_EQ(write(fds[1], "x", 1), 1);
                for (;;)
                        (void) pause();
        }
        CHECK_EQ(read(fds[0], &c, 1), 1);
        alone(check_others);
        CHECK(waitpid(other, &status, 0) == other);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        safe_close(fds[0]);
        safe_close(fds[1]);
}

TEST_MAIN({ "shows", shows }, { "refuses", refuses }, { "lets_pass", lets_pass },
                { "serves_other_users", serves_other_users });
