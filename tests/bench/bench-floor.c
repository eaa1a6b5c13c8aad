/* SPDX-License-Identifier: Apache-2.0 */

/* What the kernel itself needs, without any supervisor. Prints one number of nanoseconds a line.
 *
 *      bench-floor fork N PROGRAM          fork + exec, until the child's datagram; killed and reaped after each
 *      bench-floor clone3 N PROGRAM DIR    mkdir, clone3(CLONE_INTO_CGROUP), exec, likewise
 *      bench-floor fork-many N PROGRAM     N at once: until the last datagram
 *      bench-floor clone3-many N PROGRAM DIR
 *      bench-floor kill N PROGRAM DIR      N processes in N leaves, settled: cgroup.kill, reap, rmdir of all */

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/macro.h"
#include "base/usec.h"

static int inbox;

static uint64_t now_nsec(void)
{
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000000U + (uint64_t) ts.tv_nsec;
}

static _Noreturn void die(const char *what)
{
        perror(what);
        exit(1);
}

static void open_inbox(void)
{
        struct sockaddr_un addr = { .sun_family = AF_UNIX };

        (void) snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/bench-floor-%d", (int) getpid());
        inbox = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (inbox < 0 || bind(inbox, (struct sockaddr *) &addr, sizeof(addr)) < 0)
                die("bind");
        (void) setenv("BENCH_SOCKET", addr.sun_path, 1);
}

/* The main() time that the next datagram tells. */
static uint64_t receive(void)
{
        char line[256] = "", *space;
        ssize_t n = recv(inbox, line, sizeof(line) - 1, 0);

        if (n <= 0)
                die("recv");
        space = strrchr(line, ' ');
        return space ? strtoull(space, NULL, 10) : 0;
}

static pid_t start(const char *program, int cgroup)
{
        struct clone_args args = { .exit_signal = SIGCHLD,
                .flags = cgroup >= 0 ? CLONE_INTO_CGROUP | CLONE_CLEAR_SIGHAND : CLONE_CLEAR_SIGHAND,
                .cgroup = cgroup >= 0 ? (uint64_t) cgroup : 0 };
        pid_t pid = (pid_t) syscall(SYS_clone3, &args, sizeof(args));

        if (pid < 0)
                die("clone3");
        if (pid == 0) {
                execl(program, program, "x", (char *) NULL);
                _exit(1);
        }
        return pid;
}

static int make_leaf(const char *dir, int i, char *ret, size_t size)
{
        int fd;

        if (!dir)
                return -1;
        (void) snprintf(ret, size, "%s/leaf%d", dir, i);
        if (mkdir(ret, 0755) < 0)
                die(ret);
        fd = open(ret, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                die(ret);
        return fd;
}

static void end(pid_t pid, const char *leaf)
{
        (void) kill(pid, SIGKILL);
        if (waitpid(pid, NULL, 0) < 0 || (leaf && rmdir(leaf) < 0))
                die("end");
}

static void one_by_one(int n, const char *program, const char *dir)
{
        for (int i = 0; i < n; i++) {
                char leaf[256];
                uint64_t begin = now_nsec(), at;
                int cgroup = make_leaf(dir, i, leaf, sizeof(leaf));
                pid_t pid = start(program, cgroup);

                at = receive();
                safe_close(cgroup);
                end(pid, dir ? leaf : NULL);
                printf("%llu\n", (unsigned long long) (at - begin));
        }
}

static void all_at_once(int n, const char *program, const char *dir)
{
        pid_t *pids = calloc((size_t) n, sizeof(pid_t));
        uint64_t begin = now_nsec(), last = 0;
        char leaf[256];

        for (int i = 0; i < n; i++) {
                int cgroup = make_leaf(dir, i, leaf, sizeof(leaf));

                pids[i] = start(program, cgroup);
                safe_close(cgroup);
        }
        for (int i = 0; i < n; i++)
                last = MAX(last, receive());
        printf("%llu\n", (unsigned long long) (last - begin));
        for (int i = 0; i < n; i++) {
                (void) snprintf(leaf, sizeof(leaf), "%s/leaf%d", dir ? dir : "", i);
                end(pids[i], dir ? leaf : NULL);
        }
        free(pids);
}

static void kill_all(int n, const char *program, const char *dir)
{
        pid_t *pids = calloc((size_t) n, sizeof(pid_t));
        char leaf[256];
        uint64_t begin;
        int top = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        for (int i = 0; i < n; i++) {
                int cgroup = make_leaf(dir, i, leaf, sizeof(leaf));

                pids[i] = start(program, cgroup);
                safe_close(cgroup);
        }
        for (int i = 0; i < n; i++)
                (void) receive();
        begin = now_nsec();
        if (write_file_at(top, "cgroup.kill", "1") < 0)
                die("cgroup.kill");
        for (int i = 0; i < n; i++) {
                if (waitpid(pids[i], NULL, 0) < 0)
                        die("waitpid");
                (void) snprintf(leaf, sizeof(leaf), "leaf%d", i);
                if (unlinkat(top, leaf, AT_REMOVEDIR) < 0)
                        die("rmdir");
        }
        printf("%llu\n", (unsigned long long) (now_nsec() - begin));
        free(pids);
}

int main(int argc, char **argv)
{
        int n = argc > 2 ? atoi(argv[2]) : 0;
        const char *dir = argc > 4 ? argv[4] : NULL;

        if (argc < 4 || n <= 0)
                return 2;
        open_inbox();
        if (streq(argv[1], "kill"))
                kill_all(n, argv[3], dir);
        else if (streq(argv[1], "fork") || streq(argv[1], "clone3"))
                one_by_one(n, argv[3], dir);
        else
                all_at_once(n, argv[3], dir);
        (void) unlink(getenv("BENCH_SOCKET"));
        return 0;
}
