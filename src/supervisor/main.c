/* SPDX-License-Identifier: Apache-2.0 */

/* tractor-supervisor: started by tractord with the keeper's socket and the listening ones, never by hand. The same
 * binary is its own short-lived helper for what may block (name look-ups, reading journal files). */

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "tractor-config.h"
#include "supervisor/journal.h"
#include "supervisor/listener.h"
#include "supervisor/methods.h"
#include "supervisor/process-sweep.h"
#include "supervisor/resolve.h"

#define LISTEN_FDS_MAX 16

typedef struct Arguments {
        ManagerOptions manager;
        int n_listen, log_level;
} Arguments;

static int listen_fds[LISTEN_FDS_MAX];
static size_t n_listen_fds;

/* Descriptors are handed down by number, so that the environment stays the actors' own. */
static int parse_number(const char *s, long min, long max, int *ret)
{
        char *end;
        long v;

        errno = 0;
        v = strtol(s, &end, 10);
        if (errno != 0 || *end || end == s || v < min || v > max)
                return -EINVAL;
        *ret = (int) v;
        return 0;
}

static int parse_option(int c, const char *value, Arguments *a)
{
        switch (c) {
        case 'k':
                return parse_number(value, 3, 1 << 20, &a->manager.keeper_fd);
        case 'n':
                return parse_number(value, 0, LISTEN_FDS_MAX, &a->n_listen);
        case 'i':
                a->manager.instance = value;
                return value[0] && strlen(value) <= 16 && !strchr(value, '/') ? 0 : -EINVAL;
        case 'e':
                a->manager.embedded = true;
                return 0;
        case 'o':
                return parse_number(value, 1, INT32_MAX, &a->manager.owner_pid);
        case 'b':
                a->manager.backend = backend_kind_from_string(value);
                return a->manager.backend < 0 ? -EINVAL : 0;
        case 'l':
                a->log_level = log_level_from_string(value);
                return a->log_level < 0 ? -EINVAL : 0;
        default:
                return -EINVAL;
        }
}

static int parse_arguments(int argc, char **argv, Arguments *a)
{
        static const struct option options[] = {
                { "keeper-fd", required_argument, NULL, 'k' },
                { "listen-fds", required_argument, NULL, 'n' },
                { "instance", required_argument, NULL, 'i' },
                { "embedded", no_argument, NULL, 'e' },
                { "owner-pid", required_argument, NULL, 'o' },
                { "backend", required_argument, NULL, 'b' },
                { "log-level", required_argument, NULL, 'l' },
                { NULL },
        };
        int c, index, r;

        while ((c = getopt_long(argc, argv, "", options, &index)) >= 0) {
                if (c == '?')
                        return -EINVAL;
                r = parse_option(c, optarg, a);
                if (r < 0) {
                        log_error("--%s: not valid: %s", options[index].name, strna(optarg));
                        return r;
                }
        }
        if (a->manager.keeper_fd < 0 || !a->manager.instance) {
                log_error("tractor-supervisor is started by tractord; start that, or `tractorctl run TREE`");
                return -EINVAL;
        }
        return 0;
}

static void reload(Manager *m)
{
        if (!m->serving || m->stopping)
                return;
        log_info("reloading");
        manager_apply_directory(m);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
        Manager *m = userdata;

        /* Of an embedded one it is the keeper's word that the owner is lost. */
        if (si->ssi_signo == SIGHUP && !m->embedded)
                reload(m);
        else
                manager_stop(m, si->ssi_signo == SIGHUP);
        return 0;
}

static int watch_signals(sd_event *event, Manager *m)
{
        static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
                r = sd_event_add_signal(event, NULL, signals[i] | SD_EVENT_SIGNAL_PROCMASK, on_signal, m);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void on_serving(Manager *m)
{
        int r;

        r = listener_new(m, listen_fds, n_listen_fds, &m->listener);
        if (r < 0) {
                /* Actors that nobody can ask for or stop are of no use: the next one of us may fare better. */
                log_errno(r, "Can't listen on the control sockets");
                (void) sd_event_exit(m->event, EXIT_FAILURE);
                return;
        }
        keeper_link_beat(m->keeper);
        if (m->stopping)
                manager_stop(m, false);
        else if (!m->embedded)
                manager_apply_directory(m);
}

/* Descriptors are counted by the thousand here: two an actor, and two more where there is no journal. Children get
 * the original limit back. */
static void raise_nofile(void)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return;
        limit.rlim_cur = limit.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &limit);
}

/* sd-event wants it so, to watch the helper processes. */
static void block_sigchld(void)
{
        sigset_t set;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGCHLD);
        (void) sigprocmask(SIG_BLOCK, &set, NULL);
}

static int run(const Arguments *a)
{
        sd_event *event = NULL;
        Manager *m = NULL;
        ManagerOptions options = a->manager;
        int r;

        r = sd_event_new(&event);
        if (r < 0)
                return log_errno(r, "No event loop");
        options.event = event;
        options.on_serving = on_serving;
        r = manager_new(&options, &m);
        if (r >= 0)
                r = watch_signals(event, m);
        if (r >= 0)
                r = sd_event_loop(event);
        if (r < 0)
                log_errno(r, "Can't run");
        manager_free(m);
        sd_event_unref(event);
        return r;
}

int main(int argc, char **argv)
{
        Arguments a = { .manager = { .keeper_fd = -EBADF, .backend = _BACKEND_INVALID },
                .log_level = LOG_INFO };
        int r;

        if (argc > 1 && streq(argv[1], "--resolve"))
                return resolve_main(argc, argv);
        if (argc > 1 && streq(argv[1], "--journal-tail"))
                return journal_tail_main(argc, argv);
        if (argc > 3 && streq(argv[1], "--sweep"))
                return sweep_main(argv[2], argv[3]);
        log_setup("tractor-supervisor", LOG_INFO);
        r = parse_arguments(argc, argv, &a);
        if (r < 0)
                return EXIT_FAILURE;
        log_setup("tractor-supervisor", a.log_level);
        log_never_wait();
        (void) signal(SIGPIPE, SIG_IGN);
        block_sigchld();
        raise_nofile();
        for (int i = 0; i < a.n_listen; i++) {
                listen_fds[n_listen_fds++] = a.manager.keeper_fd + 1 + i;
                (void) fd_set_cloexec(a.manager.keeper_fd + 1 + i, true);
        }
        r = run(&a);
        return r < 0 ? EXIT_FAILURE : r;
}
