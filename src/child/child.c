/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/io.h"
#include "child/child.h"

#define JOURNAL_SOCKET "/run/systemd/journal/stdout"
#define JOURNAL_CONNECT_LIMIT_SEC 2
#define JOURNAL_SNDBUF (8 * 1024 * 1024)
#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"

typedef struct Child {
        const ChildStart *start;
        int setup_fd;
        pid_t pid;
        SpawnSpec spec;
        int fds[SCM_FDS_MAX];
        char channel_env[sizeof("TRACTOR_CHANNEL_FD=3")];
} Child;

static int result(long r)
{
        return r < 0 ? -errno : 0;
}

static int fd_at(const Child *c, int index)
{
        return index >= 0 && (size_t) index < c->start->n_fds ? c->fds[index] : -EBADF;
}

/* Closes all but the few descriptors this child needs, the keeper's own stdio included in those. Comes first of all:
 * a sibling's hold socket kept open here would keep that sibling from seeing the keeper's end. */
static int step_descriptors(Child *c)
{
        int keep[SCM_FDS_MAX + 2], n = 0, from = 3;

        keep[n++] = c->setup_fd;
        keep[n++] = c->start->spec_fd;
        for (size_t i = 0; i < c->start->n_fds; i++)
                keep[n++] = c->fds[i];
        for (int i = 1; i < n; i++)
                for (int j = i; j > 0 && keep[j - 1] > keep[j]; j--) {
                        int t = keep[j];

                        keep[j] = keep[j - 1];
                        keep[j - 1] = t;
                }
        for (int i = 0; i < n; i++) {
                if (keep[i] > from && close_range((unsigned) from, (unsigned) keep[i] - 1, 0) < 0)
                        return -errno;
                from = keep[i] + 1;
        }
        return result(close_range((unsigned) from, ~0U, 0));
}

static int step_hold(Child *c)
{
        char go;
        ssize_t k;

        do
                k = read(c->setup_fd, &go, 1);
        while (k < 0 && errno == EINTR);
        if (k <= 0)
                _exit(255); /* the keeper is gone: nobody is left to hear of it */
        return 0;
}

/* What is handled is so no more by CLONE_CLEAR_SIGHAND. The spawner was started with nothing ignored and ignores these
 * two, see there: sixty calls less than to ask for each. */
static int step_signals(void)
{
        sigset_t none;

        if (signal(SIGPIPE, SIG_DFL) == SIG_ERR || signal(SIGHUP, SIG_DFL) == SIG_ERR)
                return -errno;
        sigemptyset(&none);
        return result(sigprocmask(SIG_SETMASK, &none, NULL));
}

static int step_oom_score_adj(Child *c)
{
        char text[16];

        (void) snprintf(text, sizeof(text), "%d",
                        c->spec.has_oom_score_adj ? c->spec.oom_score_adj : *c->start->oom_score_adj);
        return write_file_at(AT_FDCWD, "/proc/self/oom_score_adj", text);
}

static int step_rlimits(Child *c)
{
        if (setrlimit(RLIMIT_NOFILE, c->start->nofile) < 0)
                return -errno;
        for (unsigned i = 0; i < RLIM_NLIMITS; i++)
                if ((c->spec.rlimit_mask & (1U << i)) && setrlimit((int) i, &c->spec.rlimits[i]) < 0)
                        return -errno;
        return 0;
}

/* A stream of its own to journald; without one, /dev/null. */
static int open_journal(const StdioSpec *s, const char *unit)
{
        const union {
                struct sockaddr sa;
                struct sockaddr_un un;
        } address = { .un = { .sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET } };
        const struct timeval limit = { .tv_sec = JOURNAL_CONNECT_LIMIT_SEC }, none = { 0 };
        const int size = JOURNAL_SNDBUF;
        char header[768]; /* identifier and unit are at most 256 bytes each */
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), n;

        if (fd < 0)
                return -errno;
        n = snprintf(header, sizeof(header), "%.*s\n%.256s\n%d\n1\n0\n0\n0\n",
                        MIN((int) strcspn(s->identifier, "\n"), 256), s->identifier, unit, s->priority);
        /* A backlog that a stopped journald does not empty would hold connect() for ever. */
        (void) setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
        (void) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        if (connect(fd, &address.sa, sizeof(address.un)) < 0 ||
                        send(fd, header, (size_t) n, MSG_NOSIGNAL) != n) {
                (void) close(fd);
                return open("/dev/null", O_RDWR | O_CLOEXEC);
        }
        (void) setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none));
        (void) shutdown(fd, SHUT_RD);
        return fd;
}

static int open_stdio(Child *c, int i)
{
        const StdioSpec *s = &c->spec.stdio[i];
        int fd;

        switch (s->kind) {
        case STDIO_INHERIT:
                return i;
        case STDIO_JOURNAL:
                return open_journal(s, c->spec.journal_unit);
        case STDIO_FD:
                return fd_at(c, s->fd_index);
        case STDIO_FILE:
                fd = open(s->path,
                                (i == 0 ? O_RDONLY : O_WRONLY | O_APPEND | O_CREAT) | O_CLOEXEC | O_NOCTTY,
                                0640);
                break;
        case STDIO_NULL:
        default:
                fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        }
        return fd < 0 ? -errno : fd;
}

/* One stream for both keeps their lines in order. */
static bool same_journal(const StdioSpec *a, const StdioSpec *b)
{
        return a->kind == STDIO_JOURNAL && b->kind == STDIO_JOURNAL && a->priority == b->priority &&
               streq(a->identifier, b->identifier);
}

static int move_up(int *fd)
{
        int r = fcntl(*fd, F_DUPFD_CLOEXEC, 4);

        if (r < 0)
                return -errno;
        (void) close(*fd);
        *fd = r;
        return 0;
}

/* The channel becomes descriptor 3: a plain sh can name no descriptor above 9. */
static int give_channel(Child *c)
{
        char **env = (char **) c->spec.envp;
        int fd = fd_at(c, c->spec.channel_fd_index), r = 0;

        if (fd < 0)
                return fd;
        if (c->setup_fd == 3)
                r = move_up(&c->setup_fd);
        if (r >= 0 && c->spec.exec_fd_index >= 0 && fd_at(c, c->spec.exec_fd_index) == 3)
                r = move_up(&c->fds[c->spec.exec_fd_index]);
        if (r < 0)
                return r;
        if (fd == 3 ? fcntl(fd, F_SETFD, 0) < 0 : dup2(fd, 3) < 0)
                return -errno;
        while (*env && !startswith(*env, "TRACTOR_CHANNEL_FD="))
                env++;
        *env = c->channel_env; /* where it replaces the NULL, the spare slot is the new one */
        return 0;
}

static int step_stdio(Child *c)
{
        for (int i = 0; i < 3; i++) {
                int fd = i == 2 && same_journal(&c->spec.stdio[1], &c->spec.stdio[2]) ? 1 : open_stdio(c, i);

                if (fd < 0)
                        return fd;
                if (fd != i && dup2(fd, i) < 0)
                        return -errno;
        }
        return c->spec.channel_fd_index >= 0 ? give_channel(c) : 0;
}

static bool wants_cap(const SpawnSpec *s, unsigned cap)
{
        return cap < 64 && (s->caps & (UINT64_C(1) << cap));
}

static int step_bounding_set(const SpawnSpec *s)
{
        for (unsigned cap = 0; cap < 64; cap++) {
                int r = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);

                if (r < 0)
                        break; /* past the last one this kernel knows */
                if (r > 0 && !wants_cap(s, cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
                        return -errno;
        }
        return 0;
}

static int step_capabilities(const SpawnSpec *s)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        uint32_t low = (uint32_t) s->caps, high = (uint32_t) (s->caps >> 32);
        const struct __user_cap_data_struct data[2] = { { low, low, low }, { high, high, high } };

        if (syscall(SYS_capset, &header, data) < 0 ||
                        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
                return -errno;
        for (unsigned cap = 0; cap < 64; cap++)
                if (wants_cap(s, cap) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
                        return -errno;
        return 0;
}

static int step_pdeathsig(Child *c)
{
        if (prctl(PR_SET_PDEATHSIG, c->spec.pdeathsig) < 0)
                return -errno;
        if (getppid() != c->start->keeper)
                _exit(255); /* it died before it could be asked to tell */
        return 0;
}

static int step_seccomp(const SpawnSpec *s)
{
        const struct sock_fprog program = {
                .len = (unsigned short) (s->seccomp_size / sizeof(struct sock_filter)),
                .filter = (struct sock_filter *) s->seccomp,
        };

        return result(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

/* As execvp() does, but with the PATH the program is to have and no shell for a file without "#!". */
static int exec_in_path(const SpawnSpec *s)
{
        const char *path = DEFAULT_PATH, *file = s->argv[0];
        char full[4096];
        int r = -ENOENT;

        for (char *const *e = s->envp; *e; e++)
                path = startswith(*e, "PATH=") ?: path;
        for (const char *p = path;; p++) {
                size_t n = strcspn(p, ":");

                if ((size_t) snprintf(full, sizeof(full), "%.*s%s%s", (int) n, p, n > 0 ? "/" : "", file) <
                                sizeof(full))
                        (void) execve(full, s->argv, s->envp);
                else
                        errno = ENAMETOOLONG;
                if (errno == EACCES)
                        r = -EACCES; /* told only when no later directory has it */
                else if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG)
                        return -errno;
                p += n;
                if (!*p)
                        return r;
        }
}

static int step_exec(Child *c)
{
        const SpawnSpec *s = &c->spec;
        int fd = -EBADF;

        if (s->exec_fd_index >= 0) {
                fd = fd_at(c, s->exec_fd_index);
                if (fd < 0)
                        return fd;
                return result(execveat(fd, "", s->argv, s->envp, AT_EMPTY_PATH));
        }
        if (strchr(s->argv[0], '/'))
                return result(execve(s->argv[0], s->argv, s->envp));
        return *s->argv[0] ? exec_in_path(s) : -ENOENT;
}

/* What this child has to do: a step that is none is not named either, since each name is a message to the keeper. */
static bool is_due(const Child *c, SpawnStep step)
{
        const SpawnSpec *s = &c->spec;

        switch (step) {
        case SPAWN_STEP_HOLD:
                return c->start->held;
        case SPAWN_STEP_SETSID:
                return s->setsid;
        case SPAWN_STEP_OOM_SCORE_ADJ:
                return s->has_oom_score_adj || c->start->oom_score_adj;
        case SPAWN_STEP_NICE:
                return s->has_nice;
        case SPAWN_STEP_CPU_AFFINITY:
                return s->has_affinity;
        case SPAWN_STEP_UMASK:
                return s->has_umask;
        case SPAWN_STEP_GROUP:
                return s->has_groups || s->has_gid;
        case SPAWN_STEP_USER:
                return s->has_uid;
        case SPAWN_STEP_BOUNDING_SET:
        case SPAWN_STEP_CAPABILITIES:
                return s->has_caps;
        case SPAWN_STEP_PDEATHSIG:
                return s->pdeathsig > 0;
        case SPAWN_STEP_NO_NEW_PRIVS:
                return s->no_new_privs;
        case SPAWN_STEP_SECCOMP:
                return s->seccomp_size > 0;
        default:
                return true;
        }
}

static int take_step(Child *c, SpawnStep step)
{
        const SpawnSpec *s = &c->spec;

        switch (step) {
        case SPAWN_STEP_DESCRIPTORS:
                return step_descriptors(c);
        case SPAWN_STEP_HOLD:
                return step_hold(c);
        case SPAWN_STEP_SPEC:
                return spawn_spec_decode(c->start->spec_fd, &c->spec);
        case SPAWN_STEP_SIGNALS:
                return step_signals();
        case SPAWN_STEP_SETSID:
                return result(setsid());
        case SPAWN_STEP_OOM_SCORE_ADJ:
                return step_oom_score_adj(c);
        case SPAWN_STEP_RLIMITS:
                return step_rlimits(c);
        case SPAWN_STEP_NICE:
                return result(setpriority(PRIO_PROCESS, 0, s->nice));
        case SPAWN_STEP_CPU_AFFINITY:
                return result(sched_setaffinity(0, sizeof(cpu_set_t), &s->affinity));
        case SPAWN_STEP_UMASK:
                return result((long) umask(s->umask & 0777));
        case SPAWN_STEP_STDIO:
                return step_stdio(c);
        case SPAWN_STEP_BOUNDING_SET:
                return step_bounding_set(s);
        case SPAWN_STEP_GROUP:
                if (s->has_groups && setgroups(s->n_groups, s->groups) < 0)
                        return -errno;
                return s->has_gid ? result(setresgid(s->gid, s->gid, s->gid)) : 0;
        case SPAWN_STEP_USER:
                if (s->has_caps && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
                        return -errno;
                return result(setresuid(s->uid, s->uid, s->uid));
        case SPAWN_STEP_CAPABILITIES:
                return step_capabilities(s);
        case SPAWN_STEP_CWD:
                return result(chdir(s->cwd ?: "/"));
        case SPAWN_STEP_PDEATHSIG:
                return step_pdeathsig(c);
        case SPAWN_STEP_NO_NEW_PRIVS:
                return result(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        case SPAWN_STEP_SECCOMP:
                return step_seccomp(s);
        case SPAWN_STEP_EXEC:
                return step_exec(c);
        default:
                return 0;
        }
}

/* write(), since a seccomp filter may allow it where it denies send(). */
static void say(const Child *c, int step, int error)
{
        SetupMessage m = { .step = step, .error = error, .pid = c->pid };

        if (write(c->setup_fd, &m, sizeof(m)) != sizeof(m))
                _exit(255); /* no keeper */
}

_Noreturn void child_run(const ChildStart *start)
{
        Child c = { .start = start,
                .setup_fd = start->setup_fd,
                .pid = getpid(),
                .channel_env = "TRACTOR_CHANNEL_FD=3" };

        memcpy(c.fds, start->fds, start->n_fds * sizeof(int));
        for (int step = SPAWN_STEP_DESCRIPTORS; step < _SPAWN_STEP_MAX; step++) {
                int r;

                if (!is_due(&c, (SpawnStep) step))
                        continue;
                say(&c, step, 0);
                r = take_step(&c, (SpawnStep) step);
                if (r < 0) {
                        say(&c, step, r);
                        break;
                }
        }
        _exit(255);
}
