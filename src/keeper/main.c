/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/process.h"
#include "base/socket.h"
#include "tractor-config.h"
#include "keeper/keeper.h"

#define OOM_SCORE_ADJ "-900"
#define INSTANCE_MAX 16

typedef struct Options {
        const char *instance;
        char random_instance[8];
        const char *listen[KEEPER_LISTEN_MAX];
        size_t n_listen;
        char **passed; /* what the supervisor is told as well, or alone */
} Options;

static const char help[] =
                "tractord [OPTIONS...] [-- SUPERVISOR ARGUMENTS...]\n\n"
                "The parent of all actors: starts tractor-supervisor, and starts it again when it dies.\n\n"
                "  --system           instance \"sys\" (default for root)\n"
                "  --user             instance \"usr\"\n"
                "  --embedded         private to one owner, end with it\n"
                "  --owner-fd=N       socket whose other end the owner holds\n"
                "  --instance=NAME    name of this instance in units and cgroups\n"
                "  --listen=PATH      make a control socket at PATH (may be repeated)\n"
                "  --backend=BACKEND  scope, cgroup or process\n"
                "  --log-level=LEVEL  debug ... emerg\n"
                "  --help --version   show this help, the version\n";

/* The next of a list, unless an earlier one failed. */
static _printf_(3, 4) int add(char ***strv, int r, const char *format, ...)
{
        _cleanup_free_ char *s = NULL;
        va_list ap;

        if (r < 0)
                return r;
        va_start(ap, format);
        if (vasprintf(&s, format, ap) < 0)
                s = NULL;
        va_end(ap);
        return s ? strv_append(strv, s) : -ENOMEM;
}

static int take_instance(Options *o, const char *s)
{
        size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789");

        o->instance = s;
        return n > 0 && n <= INSTANCE_MAX && s[n] == 0 ? 0 : -EINVAL;
}

/* The owner is whoever made the socket's pair. */
static int take_owner(Keeper *k, Options *o, const char *s)
{
        struct ucred peer;
        socklen_t size = sizeof(peer);
        char *end;
        long fd = strtol(s, &end, 10);

        if (end == s || *end || fd < 3 || fd > INT_MAX || fd_set_cloexec((int) fd, true) < 0)
                return -EBADF;
        if (getsockopt((int) fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return -errno;
        k->owner_fd = (int) fd;
        k->owner_pid = peer.pid;
        return add(&o->passed, 0, "--owner-pid=%d", peer.pid);
}

static int take_argument(Keeper *k, Options *o, const char *s)
{
        const char *v;

        if (streq(s, "--system"))
                return take_instance(o, "sys");
        if (streq(s, "--user"))
                return take_instance(o, "usr");
        if ((v = startswith(s, "--instance=")))
                return take_instance(o, v);
        if ((v = startswith(s, "--owner-fd=")))
                return take_owner(k, o, v);
        if ((v = startswith(s, "--log-level=")) && log_level_from_string(v) >= 0) {
                log_setup("tractord", log_level_from_string(v));
                return strv_append(&o->passed, s);
        }
        if ((v = startswith(s, "--backend=")))
                return streq(v, "scope") || streq(v, "cgroup") || streq(v, "process")
                                       ? strv_append(&o->passed, s)
                                       : -EINVAL;
        if ((v = startswith(s, "--listen=")) && o->n_listen < ELEMENTSOF(o->listen)) {
                o->listen[o->n_listen++] = v;
                return 0;
        }
        if (!streq(s, "--embedded"))
                return -EINVAL;
        k->embedded = true;
        return strv_append(&o->passed, s);
}

/* 1: go on; 0: all is said; negative: wrong, and said so. */
static int parse_arguments(Keeper *k, Options *o, char **argv)
{
        int r = 0;

        while (*++argv && !streq(*argv, "--")) {
                if (streq(*argv, "--help") || streq(*argv, "-h"))
                        return printf("%s", help) < 0 ? -EIO : 0;
                if (streq(*argv, "--version"))
                        return printf("tractor %s\n", TRACTOR_VERSION) < 0 ? -EIO : 0;
                r = take_argument(k, o, *argv);
                if (r < 0)
                        return log_errno(r, "%s (try --help)", *argv);
        }
        while (*argv && *++argv)
                r = add(&o->passed, r, "%s", *argv);
        if (r >= 0 && k->owner_fd >= 0 && !k->embedded)
                r = -EINVAL;
        return r < 0 ? log_errno(r, "--owner-fd needs --embedded") : 1;
}

/* What the keeper takes for itself is given back in each child. A refusal is no failure: it does without. */
static int protect(Keeper *k)
{
        _cleanup_free_ char *text = NULL;
        struct rlimit raised;

        if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || getrlimit(RLIMIT_NOFILE, &k->nofile) < 0)
                return -errno;
        raised = (struct rlimit){ k->nofile.rlim_max, k->nofile.rlim_max };
        (void) setrlimit(RLIMIT_NOFILE, &raised);
        if (read_file_at(AT_FDCWD, "/proc/self/oom_score_adj", &text) >= 0 &&
                        write_file_at(AT_FDCWD, "/proc/self/oom_score_adj", OOM_SCORE_ADJ) >= 0) {
                k->oom_score_adj = atoi(text);
                k->oom_score_adj_changed = true;
        }
        return 0;
}

static int open_listeners(Keeper *k, Options *o)
{
        int n = sd_listen_fds(0);

        if (n < 0 || (size_t) n + o->n_listen > KEEPER_LISTEN_MAX)
                return log_errno(n < 0 ? n : -E2BIG, "taking the listening sockets");
        for (int i = 0; i < n; i++)
                k->listen_fds[k->n_listen_fds++] = SD_LISTEN_FDS_START + i;
        for (size_t i = 0; i < o->n_listen; i++) {
                int fd = listen_at(o->listen[i], 0600);

                if (fd < 0)
                        return log_errno(fd, "listening at %s", o->listen[i]);
                k->listen_fds[k->n_listen_fds++] = fd;
        }
        return 0;
}

static void close_listeners(Keeper *k)
{
        for (size_t i = 0; k->embedded && i < k->n_listen_fds; i++)
                (void) unlink_socket(k->listen_fds[i]);
        close_many(k->listen_fds, k->n_listen_fds);
}

static int add_program(char ***argv, const char *name, const char *build_dir)
{
        _cleanup_free_ char *path = find_program(name, build_dir, TRACTOR_LIBEXECDIR);

        if (!path || access(path, X_OK) < 0)
                return log_errno(path ? -errno : -ENOMEM, "%s", path ?: name);
        return strv_append(argv, path);
}

static int build_argv(Keeper *k, const Options *o)
{
        char ***v = &k->supervisor_argv, ***w = &k->spawner_argv;
        int r = add_program(v, "tractor-supervisor", "../supervisor");

        if (r >= 0)
                r = add_program(w, "tractor-spawner", "../keeper");
        r = add(v, r, "--keeper-fd=3");
        r = add(v, r, "--listen-fds=%zu", k->n_listen_fds);
        r = add(v, r, "--instance=%s", o->instance);
        for (char **s = o->passed; s && *s; s++)
                r = add(v, r, "%s", *s);
        if (k->embedded && r >= 0) { /* nobody starts an instance of that name again, which would clear up */
                r = add(w, r, "%s", k->supervisor_argv[0]);
                r = add(w, add(w, r, "--sweep"), "%s", o->instance);
        }
        return r;
}

static int name_instance(const Keeper *k, Options *o)
{
        unsigned n;

        if (o->instance)
                return 0;
        o->instance = k->embedded ? o->random_instance : geteuid() == 0 ? "sys" : "usr";
        if (getrandom(&n, sizeof(n), 0) != sizeof(n))
                return -errno;
        (void) snprintf(o->random_instance, sizeof(o->random_instance), "r%06x", n & 0xffffff);
        return 0;
}

static int run(Keeper *k, Options *o)
{
        int r;

        if ((r = protect(k)) < 0 || (r = name_instance(k, o)) < 0)
                return log_errno(r, "preparing");
        /* A terminal's signals are for the owner, who decides. Fails for a group's leader, who gets none. */
        if (k->embedded)
                (void) setsid();
        if (open_listeners(k, o) < 0 || build_argv(k, o) < 0)
                return EXIT_FAILURE;
        return keeper_run(k);
}

int main(int argc, char **argv)
{
        Keeper keeper = { .owner_fd = -EBADF };
        Options options = { 0 };
        int r;

        log_setup("tractord", LOG_INFO);
        r = open_missing_stdio(); /* before anything else takes such a number */
        if (r >= 0)
                r = parse_arguments(&keeper, &options, argv);
        if (r > 0) {
                log_never_wait();
                r = run(&keeper, &options);
                close_listeners(&keeper);
        } else if (r < 0) {
                r = 2;
        }
        strv_free(keeper.supervisor_argv);
        strv_free(keeper.spawner_argv);
        strv_free(options.passed);
        return r < 0 ? EXIT_FAILURE : r;
}
