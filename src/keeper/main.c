/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "config.h"
#include "keeper/keeper.h"

#define SUPERVISOR "tractor-supervisor"
#define LISTEN_BACKLOG 4096
#define OOM_SCORE_ADJ "-900"
#define INSTANCE_MAX 16

typedef struct Options {
        bool system, user;
        const char *instance, *backend, *log_level;
        const char *listen[KEEPER_LISTEN_MAX]; /* whose sockets are the last of the keeper's */
        size_t n_listen;
        char **extra;
        char random_instance[8];
} Options;

static int help(void)
{
        printf("tractord [OPTIONS...] [-- SUPERVISOR ARGUMENTS...]\n\n"
               "The parent of all actors: starts tractor-supervisor, and starts it again when it dies.\n\n"
               "     --system           instance \"sys\" (default for root)\n"
               "     --user             instance \"usr\"\n"
               "     --embedded         private to one owner, end with it\n"
               "     --owner-fd=N       socket whose other end the owner holds\n"
               "     --instance=NAME    name of this instance in units and cgroups\n"
               "     --listen=PATH      make a control socket at PATH (may be repeated)\n"
               "     --backend=BACKEND  scope, cgroup or process\n"
               "     --log-level=LEVEL  debug ... emerg\n"
               "  -h --help             show this help\n"
               "     --version          show the version\n");
        return 0;
}

static bool instance_is_valid(const char *s)
{
        size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789");

        return n > 0 && n <= INSTANCE_MAX && s[n] == 0;
}

static int parse_fd(const char *s)
{
        char *end;
        long fd = strtol(s, &end, 10);

        return end == s || *end || fd < 0 || fd > INT_MAX || fcntl((int) fd, F_GETFD) < 0 ? -EBADF
                                                                                          : (int) fd;
}

/* One option; false where its value is wrong. */
static bool take_option(Keeper *k, Options *o, int c)
{
        switch (c) {
        case 's':
                return o->system = true;
        case 'u':
                return o->user = true;
        case 'e':
                return k->embedded = true;
        case 'o':
                k->owner_fd = parse_fd(optarg);
                return k->owner_fd >= 0;
        case 'i':
                o->instance = optarg;
                return instance_is_valid(optarg);
        case 'l':
                if (o->n_listen >= ELEMENTSOF(o->listen))
                        return false;
                o->listen[o->n_listen++] = optarg;
                return *optarg;
        case 'b':
                o->backend = optarg;
                return streq(optarg, "scope") || streq(optarg, "cgroup") || streq(optarg, "process");
        case 'L':
                o->log_level = optarg;
                if (log_level_from_string(optarg) < 0)
                        return false;
                log_setup("tractord", log_level_from_string(optarg));
                return true;
        default:
                return false;
        }
}

/* 1: go on; 0: all is said; negative: wrong, and said so. */
static int parse_arguments(Keeper *k, Options *o, int argc, char **argv)
{
        static const struct option options[] = {
                { "system", no_argument, NULL, 's' },
                { "user", no_argument, NULL, 'u' },
                { "embedded", no_argument, NULL, 'e' },
                { "owner-fd", required_argument, NULL, 'o' },
                { "instance", required_argument, NULL, 'i' },
                { "listen", required_argument, NULL, 'l' },
                { "backend", required_argument, NULL, 'b' },
                { "log-level", required_argument, NULL, 'L' },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' },
                { 0 },
        };

        for (int c, index = -1; (c = getopt_long(argc, argv, "h", options, &index)) >= 0; index = -1) {
                if (c == 'h')
                        return help();
                if (c == 'v')
                        return printf("tractor %s\n", TRACTOR_VERSION) < 0 ? -EIO : 0;
                if (take_option(k, o, c))
                        continue;
                if (c != '?')
                        log_error("--%s: wrong value \"%s\"", options[index].name, optarg);
                return -EINVAL;
        }
        if (optind < argc && !streq(argv[optind - 1], "--")) {
                log_error("unexpected argument \"%s\"; what is for the supervisor comes after --",
                                argv[optind]);
                return -EINVAL;
        }
        if ((o->system && o->user) || (k->owner_fd >= 0 && !k->embedded)) {
                log_error("--system excludes --user, and --owner-fd needs --embedded");
                return -EINVAL;
        }
        o->extra = argv + optind;
        return 1;
}

/* Descriptors 0 to 2 are taken for stdio everywhere: no socket may get such a number. */
static int open_missing_stdio(void)
{
        for (int fd = 0; fd < 3; fd++)
                if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
                        return -EBADF;
        return 0;
}

/* What the keeper takes for itself is given back in each child. A refusal is no failure: it does without. */
static int protect(Keeper *k)
{
        _cleanup_free_ char *text = NULL;
        struct rlimit raised;

        if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGHUP, SIG_IGN) == SIG_ERR ||
                        getrlimit(RLIMIT_NOFILE, &k->nofile) < 0)
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

static int listen_at(const char *path)
{
        union {
                struct sockaddr sa;
                struct sockaddr_un un;
        } address = { .un = { .sun_family = AF_UNIX } };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
                            probe = -EBADF;

        if (fd < 0)
                return -errno;
        if (strlen(path) >= sizeof(address.un.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.un.sun_path, path, strlen(path) + 1);
        probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (probe < 0)
                return -errno;
        if (connect(probe, &address.sa, sizeof(address.un)) >= 0 || errno == EAGAIN)
                return -EADDRINUSE;
        if (errno == ECONNREFUSED && unlink(path) < 0) /* a socket nobody listens on: its owner is dead */
                return -errno;
        /* The mode of the inode that bind() makes is the socket's own. */
        if (fchmod(fd, 0600) < 0 || bind(fd, &address.sa, sizeof(address.un)) < 0)
                return -errno;
        if (listen(fd, LISTEN_BACKLOG) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int open_listeners(Keeper *k, const Options *o)
{
        int n = k->embedded ? 0 : sd_listen_fds(0);

        if (n < 0 || (size_t) n + o->n_listen > KEEPER_LISTEN_MAX)
                return log_errno(n < 0 ? n : -E2BIG, "taking the listening sockets");
        for (int i = 0; i < n; i++)
                k->listen_fds[k->n_listen_fds++] = SD_LISTEN_FDS_START + i;
        for (size_t i = 0; i < o->n_listen; i++) {
                int fd = listen_at(o->listen[i]);

                if (fd < 0)
                        return log_errno(fd, "listening at %s", o->listen[i]);
                k->listen_fds[k->n_listen_fds++] = fd;
        }
        return 0;
}

static void close_listeners(Keeper *k, const Options *o)
{
        size_t passed = k->n_listen_fds - MIN(k->n_listen_fds, o->n_listen);

        for (size_t i = 0; i < k->n_listen_fds; i++)
                safe_close(k->listen_fds[i]);
        /* Only those that were really made: the list may have ended at a failure. */
        for (size_t i = 0; k->embedded && i + passed < k->n_listen_fds; i++)
                (void) unlink(o->listen[i]);
}

static char *find_supervisor(void)
{
        static const char *const places[] = { "%s/" SUPERVISOR, "%s/../supervisor/" SUPERVISOR };
        const char *override = getenv("TRACTOR_LIBEXECDIR");
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        char *path;

        if (override)
                return xasprintf("%s/" SUPERVISOR, override);
        self[MAX(n, 0)] = 0;
        if (strrchr(self, '/'))
                *strrchr(self, '/') = 0;
        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                path = xasprintf(places[i], self);
                if (!path || access(path, X_OK) >= 0)
                        return path;
                free(path);
        }
        return xasprintf("%s/" SUPERVISOR, TRACTOR_LIBEXECDIR);
}

static int add(char ***argv, const char *name, const char *value)
{
        _cleanup_free_ char *s = value ? xasprintf("--%s=%s", name, value) : xasprintf("--%s", name);

        return s ? strv_append(argv, s) : -ENOMEM;
}

static int name_instance(const Keeper *k, Options *o)
{
        unsigned n;

        if (o->instance)
                return 0;
        if (!k->embedded) {
                o->instance = o->user || (!o->system && geteuid() != 0) ? "usr" : "sys";
                return 0;
        }
        if (getrandom(&n, sizeof(n), 0) != sizeof(n))
                return -errno;
        (void) snprintf(o->random_instance, sizeof(o->random_instance), "r%06x", n & 0xffffff);
        o->instance = o->random_instance;
        return 0;
}

static int build_argv(Keeper *k, const Options *o)
{
        char ***v = &k->supervisor_argv, number[16];
        _cleanup_free_ char *path = find_supervisor();
        int r;

        if (!path)
                return -ENOMEM;
        if (access(path, X_OK) < 0)
                return log_errno(-errno, "%s", path);
        (void) snprintf(number, sizeof(number), "%zu", k->n_listen_fds);
        if ((r = strv_append(v, path)) < 0 || (r = add(v, "keeper-fd", "3")) < 0 ||
                        (r = add(v, "listen-fds", number)) < 0 ||
                        (r = add(v, "instance", o->instance)) < 0 ||
                        (k->embedded && (r = add(v, "embedded", NULL)) < 0) ||
                        (o->backend && (r = add(v, "backend", o->backend)) < 0) ||
                        (o->log_level && (r = add(v, "log-level", o->log_level)) < 0))
                return r;
        (void) snprintf(number, sizeof(number), "%d", k->owner_pid);
        r = k->owner_pid > 0 ? add(v, "owner-pid", number) : 0;
        for (char **extra = o->extra; r >= 0 && *extra; extra++)
                r = strv_append(v, *extra);
        return r;
}

static int find_owner(Keeper *k)
{
        struct ucred peer;
        socklen_t size = sizeof(peer);

        if (k->owner_fd < 0)
                return 0;
        if (fd_set_cloexec(k->owner_fd, true) < 0 ||
                        getsockopt(k->owner_fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return log_errno(-errno, "--owner-fd=%d", k->owner_fd);
        k->owner_pid = peer.pid;
        return 0;
}

static int run(Keeper *k, Options *o)
{
        int r;

        if ((r = open_missing_stdio()) < 0 || (r = protect(k)) < 0 || (r = name_instance(k, o)) < 0)
                return log_errno(r, "preparing");
        /* A terminal's signals are for the owner, who decides. Fails for a group's leader, who gets none. */
        if (k->embedded)
                (void) setsid();
        if (find_owner(k) < 0 || open_listeners(k, o) < 0 || build_argv(k, o) < 0)
                return EXIT_FAILURE;
        log_debug("instance %s", o->instance);
        return keeper_run(k);
}

int main(int argc, char **argv)
{
        Keeper keeper = { .owner_fd = -EBADF };
        Options options = { 0 };
        int r;

        log_setup("tractord", LOG_INFO);
        r = parse_arguments(&keeper, &options, argc, argv);
        if (r <= 0)
                return r < 0 ? 2 : EXIT_SUCCESS;
        r = run(&keeper, &options);
        close_listeners(&keeper, &options);
        strv_free(keeper.supervisor_argv);
        return r < 0 ? EXIT_FAILURE : r;
}
