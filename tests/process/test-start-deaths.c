/* SPDX-License-Identifier: Apache-2.0 */

/* A root, or the private supervisor it starts, is killed at each step of the start, on the spot: what the C library does there
 * is put in the way. Whoever lives on removes what there is, and a root that lives on says what has happened.
 *
 * The root is a child of this program's, on a test's own /run; the keeper, once alone, becomes ours as well. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <tractor/tractor.h>
#include <unistd.h>

#include "base/io.h"
#include "tests/test.h"

typedef enum Moment {
        NO_MOMENT,
        ROOT_BEFORE_FORK,      /* the root is killed where it is about to make the keeper's process */
        ROOT_BEFORE_EXEC,      /* … as that is about to become tractord */
        KEEPER_BEFORE_EXEC,    /* that one is killed there */
        KEEPER_BEFORE_CONNECT, /* tractord is, as the root is about to connect to it */
        STOPPED_BEFORE_EXEC,   /* … only stopped, and the root has little time */
        STOPPED_BEFORE_CONNECT
} Moment;

static Moment moment;
static pid_t root, keeper;
static bool in_loop; /* of the root */

/* --- in the way of the C library, in the root and in what it forks --- */

_public_ pid_t fork(void)
{
        pid_t pid;

        if (getpid() == root && moment == ROOT_BEFORE_FORK)
                (void) raise(SIGKILL);
        pid = (pid_t) syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0UL);
        if (getpid() == root)
                keeper = pid;
        return pid;
}

_public_ int execve(const char *path, char *const argv[], char *const envp[])
{
        if (getppid() == root && moment == ROOT_BEFORE_EXEC)
                (void) kill(root, SIGKILL);
        if (getppid() == root && moment == KEEPER_BEFORE_EXEC)
                (void) raise(SIGKILL);
        if (getppid() == root && moment == STOPPED_BEFORE_EXEC)
                (void) raise(SIGSTOP);
        return (int) syscall(SYS_execve, path, argv, envp);
}

_public_ int connect(int fd, const struct sockaddr *address, socklen_t size)
{
        siginfo_t si;

        if (keeper > 0 && getpid() == root && moment == KEEPER_BEFORE_CONNECT) {
                (void) kill(keeper, SIGKILL);
                (void) waitid(P_PID, (id_t) keeper, &si, WEXITED | WNOWAIT);
        }
        if (keeper > 0 && getpid() == root && moment == STOPPED_BEFORE_CONNECT)
                (void) kill(keeper, SIGSTOP);
        return (int) syscall(SYS_connect, fd, address, size);
}

/* In a task nobody may wait for a process: all others would. */
_public_ int waitid(idtype_t type, id_t id, siginfo_t *ret, int options)
{
        CHECK(!in_loop || getpid() != root || (options & WNOHANG));
        return (int) syscall(SYS_waitid, type, id, ret, options, NULL);
}

/* --- */

static int body(void *unused)
{
        tractor_actor_options o = { .size = sizeof(o), .exec = (const char *const[]){ "true", NULL } };
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0)
                r = tractor_start_actor(n, "actor", &o, NULL);
        return tractor_nursery_close(&n, r);
}

/* Its time is over before the supervisor is there; then there is one all the same. */
static int body_in_haste(void *unused)
{
        struct json_object *status = NULL;
        tractor_scope *s = tractor_move_on_after(100 * TRACTOR_MSEC);
        pid_t first;
        int r;

        in_loop = true;
        r = tractor_control("supervisor.status", NULL, &status);
        CHECK_EQ(r, -ECANCELED);
        CHECK_EQ(tractor_scope_close(s, r), 0);
        CHECK(!status);
        first = keeper;
        CHECK(first > 0);
        if (moment == STOPPED_BEFORE_CONNECT)
                CHECK_EQ(kill(first, SIGCONT), 0);
        else
                CHECK_EQ(kill(first, 0), -1);
        moment = NO_MOMENT;
        r = tractor_control("supervisor.status", NULL, &status);
        json_object_put(status);
        in_loop = false;
        return r;
}

static _Noreturn void run_root(int err)
{
        tractor_options o = { .size = sizeof(o), .name = "started", .flags = TRACTOR_EMBED };
        bool in_haste = moment == STOPPED_BEFORE_EXEC || moment == STOPPED_BEFORE_CONNECT;

        root = getpid();
        if (dup2(err, STDERR_FILENO) < 0)
                _exit(99);
        exit(tractor_main(&o, in_haste ? body_in_haste : body, NULL));
}

static size_t count_files(const char *path)
{
        DIR *d = opendir(path);
        size_t n = 0;

        CHECK(d);
        for (struct dirent *e; (e = readdir(d));)
                n += e->d_name[0] != '.';
        (void) closedir(d);
        return n;
}

static const char *run_dir(void)
{
        static char path[200];
        const char *dir = getenv("XDG_RUNTIME_DIR");

        (void) snprintf(path, sizeof(path), "%s/tractor/run", geteuid() == 0 || !dir ? "/run" : dir);
        return path;
}

/* The root's status as waitpid() gives it; all that it had started is gone then. */
static int run(Moment m, char *said, size_t size)
{
        int fds[2], status = -1, other;
        ssize_t k = 0, n = 0;
        pid_t pid, ended;

        moment = m;
        CHECK(pipe2(fds, O_CLOEXEC) >= 0);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
                run_root(fds[1]);
        (void) close(fds[1]);
        while ((k = read(fds[0], said + n, size - 1 - (size_t) n)) > 0)
                n += k;
        said[n] = 0;
        (void) close(fds[0]);
        while ((ended = waitpid(-1, &other, 0)) > 0)
                if (ended == pid)
                        status = other;
        CHECK_EQ(errno, ECHILD);
        CHECK_EQ(count_files(run_dir()), 0);
        return status;
}

static void root_dies(Moment m)
{
        char said[4096];
        int status = run(m, said, sizeof(said));

        CHECK(WIFSIGNALED(status));
        CHECK_EQ(WTERMSIG(status), SIGKILL);
        CHECK_STR(said, "");
}

static void keeper_dies(Moment m)
{
        char said[4096];
        int status = run(m, said, sizeof(said));

        if (!strstr(said, "SpawnFailed: a private supervisor was started and ended at once"))
                fprintf(stderr, "it said: %s", said);
        CHECK(strstr(said, "SpawnFailed: a private supervisor was started and ended at once"));
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), 1);
}

static void root_before_fork(void)
{
        root_dies(ROOT_BEFORE_FORK);
}

static void root_before_exec(void)
{
        root_dies(ROOT_BEFORE_EXEC);
}

static void keeper_before_exec(void)
{
        keeper_dies(KEEPER_BEFORE_EXEC);
}

static void keeper_before_connect(void)
{
        keeper_dies(KEEPER_BEFORE_CONNECT);
}

static void comes_back(Moment m)
{
        char said[4096];
        int status = run(m, said, sizeof(said));

        CHECK_STR(said, "");
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), 0);
}

static void stopped_before_exec(void)
{
        comes_back(STOPPED_BEFORE_EXEC);
}

static void stopped_before_connect(void)
{
        comes_back(STOPPED_BEFORE_CONNECT);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = { { "root_before_fork", root_before_fork },
                { "root_before_exec", root_before_exec }, { "keeper_before_exec", keeper_before_exec },
                { "keeper_before_connect", keeper_before_connect },
                { "stopped_before_exec", stopped_before_exec },
                { "stopped_before_connect", stopped_before_connect } };

        CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) >= 0);
        CHECK(setenv("TRACTOR_BACKEND", "process", 1) >= 0);
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
