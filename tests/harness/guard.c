/* SPDX-License-Identifier: Apache-2.0 */

/* Runs one test and afterwards looks for what it left behind.
 *
 * The guard is the subreaper of all the test starts, so a process without a parent comes to it and is seen. As
 * root it also gives the test a mount namespace with an empty /run, and a cgroup of its own that is the root of
 * what the test sees of cgroup v2: whatever is still there at the end is the test's. Every test has a private
 * $TMPDIR for the same reason. A leak fails the test even if it passed; the guard ends and removes the leftovers.
 *
 * Sanitizer reports of every process in the test, daemons included, are written below $TMPDIR and fail it too.
 *
 *     guard [-t SECONDS] [-r] COMMAND [ARGUMENT...]        (-r: leave /run as it is)
 *
 * The exit status is the test's, 124 after a time-out, 99 after a leak, 1 for a skip under TRACTOR_TEST_STRICT=1. */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "harness/leaks.h"

enum {
        STATUS_SKIP = 77,
        STATUS_LEAK = 99,
        STATUS_TIMEOUT = 124,
        STATUS_GUARD = 125,
};

/* A process that was told to end may still be on its way out when its teller has been reaped. */
#define SETTLE_USEC (500 * USEC_PER_MSEC)
#define END_USEC (5 * USEC_PER_SEC)

typedef struct Guard {
        uint64_t timeout;
        bool shared_run;
        bool isolated; /* own mount namespace */
        char **command;
        pid_t main;
        int status; /* of the main process, as waitpid() gives it */
        int signal; /* that ended the guard itself, or 0 */
        char tmp[64];
        int hierarchy; /* the real one: the test sees another mounted in its place */
        char mount_point[PATH_MAX];
        char cgroup[64]; /* our directory in the hierarchy; empty: none */
        unsigned leaks;
} Guard;

static void leak(Guard *g, const char *kind, const char *what)
{
        fprintf(stderr, "guard: left behind: %s %s\n", kind, what);
        g->leaks++;
}

static _Noreturn void die(const char *what)
{
        fprintf(stderr, "guard: %s: %m\n", what);
        exit(STATUS_GUARD);
}

/* ---- the test's surroundings ---- */

static void make_directory(const char *base, const char *name, mode_t mode, const char *variable)
{
        _cleanup_free_ char *path = xasprintf("%s/%s", base, name);

        if (!path || mkdir(path, mode) < 0 || chmod(path, mode) < 0 || setenv(variable, path, 1) < 0)
                die("cannot make a directory for the test");
}

/* Reports go to files because a daemon's stderr may be a journal or /dev/null; any user may write one. */
static void redirect_sanitizer(const Guard *g, const char *variable, const char *defaults)
{
        const char *old = getenv(variable);
        _cleanup_free_ char *text = xasprintf("%s:%s:log_path=%s/sanitizer", defaults, old ?: "", g->tmp);

        if (!text || setenv(variable, text, 1) < 0)
                die("cannot set up the environment");
}

static void make_tmp(Guard *g)
{
        snprintf(g->tmp, sizeof(g->tmp), "/tmp/tractor-test-XXXXXX");
        if (!mkdtemp(g->tmp) || chmod(g->tmp, 01777) < 0 || setenv("TMPDIR", g->tmp, 1) < 0)
                die("cannot make a temporary directory");
        make_directory(g->tmp, "state", 0755, "STATE_DIRECTORY");
        if (geteuid() == 0)
                unsetenv("XDG_RUNTIME_DIR");
        else
                make_directory(g->tmp, "run", 0700, "XDG_RUNTIME_DIR");
        redirect_sanitizer(g, "ASAN_OPTIONS", "abort_on_error=1:detect_stack_use_after_return=1");
        redirect_sanitizer(g, "UBSAN_OPTIONS", "halt_on_error=1:abort_on_error=1:print_stacktrace=1");
}

static void isolate(Guard *g)
{
        if (geteuid() != 0)
                return;
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
                die("cannot make a mount namespace");
        if (!g->shared_run && mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") < 0)
                die("cannot mount an empty /run");
        g->isolated = true;
}

static bool find_hierarchy(char *ret, size_t size)
{
        FILE *f = setmntent("/proc/self/mounts", "re");
        bool found = false;

        for (struct mntent *m; f && !found && (m = getmntent(f));)
                if (streq(m->mnt_type, "cgroup2"))
                        found = snprintf(ret, size, "%s", m->mnt_dir) < (int) size;
        if (f)
                endmntent(f);
        return found;
}

/* The test's processes sit in `main`, so that the directory above it may have controllers enabled for whatever
 * cgroups the test makes beside it. */
static void make_cgroup(Guard *g)
{
        _cleanup_free_ char *controllers = NULL, *inner = NULL;
        _cleanup_close_ int dir = -EBADF;

        if (!g->isolated || !find_hierarchy(g->mount_point, sizeof(g->mount_point)))
                return;
        g->hierarchy = open(g->mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        /* The name of our temporary directory, which nobody has had: a PID would come back, and others may see the
         * hierarchy who have PIDs of their own. */
        snprintf(g->cgroup, sizeof(g->cgroup), "%s", basename(g->tmp));
        inner = xasprintf("%s/main", g->cgroup);
        if (g->hierarchy < 0 || !inner || mkdirat(g->hierarchy, g->cgroup, 0755) < 0 ||
                        mkdirat(g->hierarchy, inner, 0755) < 0)
                die("cannot make a cgroup");
        dir = openat(g->hierarchy, g->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0 || read_file_at(dir, "cgroup.controllers", &controllers) < 0)
                die("cannot read cgroup.controllers");
        for (char *p = NULL, *c = strtok_r(controllers, " ", &p); c; c = strtok_r(NULL, " ", &p)) {
                _cleanup_free_ char *plus = xasprintf("+%s", c);

                if (plus)
                        (void) write_file_at(dir, "cgroup.subtree_control", plus);
        }
}

static void enter_cgroup(const Guard *g)
{
        _cleanup_free_ char *outer = xasprintf("%s/cgroup.procs", g->cgroup);

        if (!g->cgroup[0])
                return;
        if (!outer || write_file_at(g->hierarchy, outer, "0") < 0)
                die("cannot enter the test's cgroup");
        if (unshare(CLONE_NEWCGROUP) < 0)
                die("cannot make a cgroup namespace");
        /* The kernel refuses the same file system twice at one place. */
        if (umount2(g->mount_point, MNT_DETACH) < 0 ||
                        mount("cgroup2", g->mount_point, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) <
                                        0)
                die("cannot mount the test's cgroup2");
}

static _Noreturn void run_command(const Guard *g, const sigset_t *mask)
{
        _cleanup_free_ char *procs = xasprintf("%s/main/cgroup.procs", g->cgroup);

        if (setsid() < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
                die("cannot start a session");
        enter_cgroup(g);
        if (g->cgroup[0] && (!procs || write_file_at(g->hierarchy, procs, "0") < 0))
                die("cannot enter main/");
        if (close_range(3, UINT_MAX, 0) < 0 || sigprocmask(SIG_SETMASK, mask, NULL) < 0)
                die("cannot clean up before the test");
        execvp(g->command[0], g->command);
        die(g->command[0]);
}

/* ---- while it runs ---- */

static void block_signals(sigset_t *ret_set, sigset_t *ret_old)
{
        static const int wanted[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP };

        sigemptyset(ret_set);
        for (size_t i = 0; i < ELEMENTSOF(wanted); i++)
                sigaddset(ret_set, wanted[i]);
        sigprocmask(SIG_BLOCK, ret_set, ret_old);
}

/* Waits for one signal at most; reaps what has come to us and notes the test's own end. False: time is up. */
static bool turn(Guard *g, const sigset_t *set, uint64_t until)
{
        uint64_t left = usec_sub(until, now_usec(CLOCK_MONOTONIC));
        struct timespec ts = { (time_t) (left / USEC_PER_SEC),
                (long) (left % USEC_PER_SEC * NSEC_PER_USEC) };
        int sig = sigtimedwait(set, NULL, &ts), status;

        if (sig > 0 && sig != SIGCHLD)
                g->signal = sig;
        for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
                if (pid == g->main) {
                        g->main = 0;
                        g->status = status;
                }
        return sig > 0;
}

static void report_processes(Guard *g, const Proc *procs, size_t n, bool as_leak)
{
        for (size_t i = 0; i < n; i++) {
                char text[512];

                name_process(&procs[i], text, sizeof(text));
                if (as_leak)
                        leak(g, "process", text);
                else
                        fprintf(stderr, "guard: still running: %s\n", text);
        }
}

/* After an ordinary end, what does not end by itself very soon is a leak. Otherwise all goes at once. */
static void end_processes(Guard *g, const sigset_t *set, bool settle)
{
        uint64_t start = now_usec(CLOCK_MONOTONIC), patience = settle ? SETTLE_USEC : 0;
        bool killing = false;

        while (now_usec(CLOCK_MONOTONIC) < start + END_USEC) {
                _cleanup_free_ Proc *procs = NULL;
                size_t n = find_descendants(&procs);

                if (n == 0)
                        break;
                if (!killing && now_usec(CLOCK_MONOTONIC) >= start + patience) {
                        report_processes(g, procs, n, settle);
                        killing = true;
                }
                for (size_t i = 0; killing && i < n; i++)
                        (void) kill(procs[i].pid, SIGKILL);
                (void) turn(g, set, now_usec(CLOCK_MONOTONIC) + 10 * USEC_PER_MSEC);
        }
}

/* ---- what is left ---- */

static void visit_run(void *userdata, int dirfd, const char *name, const char *path, bool is_dir)
{
        if (!is_dir)
                leak(userdata, "file", path);
}

static void visit_cgroup(void *userdata, int dirfd, const char *name, const char *path, bool is_dir)
{
        if (is_dir && !streq(path, "/main"))
                leak(userdata, "cgroup", path);
}

/* That makecontext() is used at all is said once by each process that runs tasks; it is told of every change of stacks. A process
 * that is killed while it looks for leaks at its end takes its threads from under the one that looks. */
static bool is_known(const char *line)
{
        return strstr(line, "ASan doesn't fully support makecontext/swapcontext functions") ||
               strstr(line, "Unable to get registers from thread");
}

static void print_report(Guard *g, const char *path)
{
        FILE *f = fopen(path, "re");
        bool told = false;
        char line[1024];

        while (f && fgets(line, sizeof(line), f)) {
                if (is_known(line))
                        continue;
                if (!told)
                        fprintf(stderr, "guard: a sanitizer reported:\n");
                told = true;
                fputs(line, stderr);
        }
        if (told || !f)
                g->leaks++;
        if (f)
                fclose(f);
}

static void visit_tmp(void *userdata, int dirfd, const char *name, const char *path, bool is_dir)
{
        Guard *g = userdata;
        const char *inside = path + strlen(g->tmp) + 1;

        if (startswith(inside, "sanitizer."))
                print_report(g, path);
        else if (!startswith(inside, "state") && !streq(inside, "run"))
                leak(g, is_dir ? "directory" : "file", path);
}

static void visit_tree(const char *path, visit_t visit, void *userdata)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd >= 0)
                walk(fd, path, visit, userdata);
}

static void remove_cgroup(Guard *g, bool report)
{
        _cleanup_close_ int dir = -EBADF;
        int r = -1;

        if (!g->cgroup[0])
                return;
        dir = openat(g->hierarchy, g->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0)
                die("cannot look at the test's cgroup");
        if (report)
                walk(dir, "", visit_cgroup, g);
        (void) write_file_at(dir, "cgroup.kill", "1");
        for (int i = 0; i < 250 && (r = unlinkat(g->hierarchy, g->cgroup, AT_REMOVEDIR)) < 0; i++) {
                walk(dir, "", visit_remove, NULL);
                usleep(20 * USEC_PER_MSEC); /* cgroupfs tells nobody that a directory can go now */
        }
        if (r < 0)
                leak(g, "cgroup", g->cgroup);
}

static void look_for_leaks(Guard *g, bool report)
{
        remove_cgroup(g, report);
        if (g->isolated && !g->shared_run && report)
                visit_tree("/run", visit_run, g);
        /* Even an interrupted test says what its sanitizers found. */
        visit_tree(g->tmp, visit_tmp, g);
        visit_tree(g->tmp, visit_remove, g);
        if (rmdir(g->tmp) < 0)
                fprintf(stderr, "guard: cannot remove %s: %m\n", g->tmp);
}

static int verdict(const Guard *g, bool timed_out)
{
        const char *strict = getenv("TRACTOR_TEST_STRICT");
        int status = WIFEXITED(g->status) ? WEXITSTATUS(g->status) : 128 + WTERMSIG(g->status);

        if (g->signal)
                return 128 + g->signal;
        if (timed_out) {
                fprintf(stderr, "guard: timed out after %llu s\n",
                                (unsigned long long) (g->timeout / USEC_PER_SEC));
                return STATUS_TIMEOUT;
        }
        if (WIFSIGNALED(g->status))
                fprintf(stderr, "guard: ended by signal %d (%s)\n", WTERMSIG(g->status),
                                strsignal(WTERMSIG(g->status)));
        if (g->leaks > 0 && (status == 0 || status == STATUS_SKIP))
                return STATUS_LEAK;
        if (status == STATUS_SKIP && strict && streq(strict, "1")) {
                fprintf(stderr, "guard: a skip is a failure under TRACTOR_TEST_STRICT=1\n");
                return 1;
        }
        return status;
}

static void parse_arguments(Guard *g, int argc, char **argv)
{
        for (int c; (c = getopt(argc, argv, "+t:r")) >= 0;)
                if (c == 't')
                        g->timeout = strtoull(optarg, NULL, 10) * USEC_PER_SEC;
                else if (c == 'r')
                        g->shared_run = true;
                else
                        exit(STATUS_GUARD);
        if (optind >= argc || g->timeout == 0) {
                fprintf(stderr, "usage: guard [-t SECONDS] [-r] COMMAND [ARGUMENT...]\n");
                exit(STATUS_GUARD);
        }
        g->command = argv + optind;
}

int main(int argc, char **argv)
{
        Guard g = { .timeout = 60 * USEC_PER_SEC, .hierarchy = -EBADF };
        sigset_t set, old;
        uint64_t until;
        bool timed_out;

        parse_arguments(&g, argc, argv);
        block_signals(&set, &old);
        if (close_range(3, UINT_MAX, 0) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                die("cannot become a subreaper");
        make_tmp(&g);
        isolate(&g);
        make_cgroup(&g);
        g.main = fork();
        if (g.main < 0)
                die("cannot fork");
        if (g.main == 0)
                run_command(&g, &old);
        until = usec_add(now_usec(CLOCK_MONOTONIC), g.timeout);
        while (g.main > 0 && !g.signal && now_usec(CLOCK_MONOTONIC) < until)
                (void) turn(&g, &set, until);
        timed_out = g.main > 0 && !g.signal;
        end_processes(&g, &set, g.main == 0);
        look_for_leaks(&g, !timed_out && !g.signal);
        return verdict(&g, timed_out);
}
