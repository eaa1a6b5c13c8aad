/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "tractorctl/context.h"
#include "tractorctl/progress.h"
#include "tractorctl/remote.h"

/* A supervisor that ended is replaced by its keeper at once; longer than this nobody waits for one. */
#define FOLLOW_RETRY_USEC (10 * USEC_PER_SEC)
#define FOLLOW_INTERVAL_USEC (50 * USEC_PER_MSEC)
#define REFUSAL_LIMIT_MS 1000

void context_done(Context *c)
{
        c->client = client_free(c->client);
        remote_done(c);
        c->event = sd_event_unref(c->event);
        free(TAKE_PTR(c->socket));
}

int connect_code(int r)
{
        switch (r) {
        case -EACCES:
        case -EPERM:
                return CTL_DENIED;
        case -ENOTUNIQ:
        case -ENAMETOOLONG:
                return CTL_USAGE;
        case -ENOMEM:
                return CTL_FAILED;
        default:
                return CTL_NO_SUPERVISOR;
        }
}

/* The same place again: another supervisor would know nothing of what was asked. */
static int reconnect(bool first, void *userdata)
{
        Context *c = userdata;

        if (first && isatty(STDERR_FILENO) && !c->o->quiet)
                fprintf(stderr, "tractorctl: the connection to the supervisor was lost: reconnecting...\n");
        return connect_to(c->socket);
}

int context_dial(Context *c, int *ret_fd, char **reterr)
{
        *reterr = NULL;
        free(TAKE_PTR(c->socket));
        if (!c->o->host)
                return locate_connect(&(LocateChoice){ .socket = c->o->socket,
                                                      .run = c->o->run,
                                                      .user = c->o->user,
                                                      .system = c->o->system },
                                &c->surroundings, ret_fd, &c->socket, reterr);
        c->socket = strdup(c->o->host);
        return c->socket ? remote_connect(c, ret_fd, reterr) : -ENOMEM;
}

static bool is_interrupted(void *userdata)
{
        return ((const Context *) userdata)->interrupts > 0;
}

/* Who refuses a connection says why before he closes it, which may be before anything was asked: what is written
 * then fails, and what he said is lost with it. So he is listened to once more, in silence. */
static char *why_refused(const char *socket)
{
        static const JsonLimits limits = { .max_depth = 8, .max_values = 64 };
        _cleanup_close_ int fd = connect_to(socket);
        _cleanup_json_ Json *answer = NULL;
        struct pollfd p = { .fd = fd, .events = POLLIN };
        const char *message;
        char line[1024];
        ssize_t n = fd >= 0 && poll(&p, 1, REFUSAL_LIMIT_MS) > 0 ? read(fd, line, sizeof(line)) : -1;

        if (n <= 0 || json_parse(line, (size_t) n, &limits, &answer, NULL) < 0)
                return NULL;
        message = json_get_string(json_get(answer, "error"), "message", NULL);
        return message ? strdup(message) : NULL;
}

int context_connect(Context *c)
{
        _cleanup_free_ char *error = NULL, *why = NULL;
        int r, fd = -EBADF;

        r = context_dial(c, &fd, &error);
        if (r < 0)
                return fail(c, connect_code(r), "%s", error ?: strerror(-r));
        /* Over ssh, somebody might be asked for a password each time. */
        r = client_new(&(ClientOptions){ .event = c->event,
                                       .fd = fd,
                                       .hello_timeout = c->o->host ? USEC_INFINITY : 0,
                                       .aborted = is_interrupted,
                                       .reconnect = c->o->host ? NULL : reconnect,
                                       .userdata = c,
                                       .refusal = &why },
                        &c->client);
        if (r == -ENOMEM || (r == -ECANCELED && c->interrupts > 0))
                return fail_errno(c, r);
        if (r < 0 && c->o->host)
                return remote_failed(c);
        if (!why && (r == -EPIPE || r == -ECONNRESET))
                why = why_refused(c->socket);
        if (why)
                return fail(c, CTL_NO_SUPERVISOR, "%s: refused: %s", c->socket, why);
        if (r < 0)
                return fail(c, CTL_NO_SUPERVISOR,
                                "no supervisor to talk to at %s: it does not answer: %s; try 'tractorctl "
                                "ping'",
                                c->socket, strerror(-r));
        return 0;
}

int context_connect_again(Context *c)
{
        uint64_t end = now_usec(CLOCK_MONOTONIC) + FOLLOW_RETRY_USEC;
        int r = -ECONNREFUSED;

        c->client = client_free(c->client);
        if (c->o->host)
                return fail_errno(c, -ECONNRESET);
        while (now_usec(CLOCK_MONOTONIC) < end && c->interrupts == 0) {
                int fd = connect_to(c->socket);

                r = fd < 0 ? fd : client_new(&(ClientOptions){ .event = c->event, .fd = fd }, &c->client);
                if (r >= 0)
                        return 0;
                if (r == -ENOENT) /* removed: it ended for good */
                        break;
                (void) sd_event_run(c->event, FOLLOW_INTERVAL_USEC);
        }
        return fail(c, CTL_NO_SUPERVISOR,
                        "the supervisor at %s is gone: %s; start one with 'tractorctl run TREE'", c->socket,
                        strerror(-r));
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
        Context *c = userdata;

        c->interrupts++;
        c->signo = (int) si->ssi_signo;
        return 0;
}

int context_watch_signals(Context *c)
{
        static const int signals[] = { SIGINT, SIGTERM };
        sigset_t set;
        int r = 0;

        if (c->watching)
                return 0;
        c->watching = true;
        (void) sigemptyset(&set);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                (void) sigaddset(&set, signals[i]);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                r = -errno;
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(signals); i++)
                r = sd_event_add_signal(c->event, NULL, signals[i], on_signal, c);
        return r < 0 ? fail_errno(c, r) : 0;
}

int context_call(Context *c, const char *method, Json *params, Json **ret)
{
        _cleanup_json_ Json *error = NULL;
        int r = client_call(c->client, method, params, ret, &error);

        if (r < 0)
                return fail_errno(c, r);
        return error ? fail_error(c, NULL, error) : 0;
}

bool print_json(const Context *c, Json *v)
{
        _cleanup_free_ char *pretty = NULL;

        if (c->o->json == JSON_MODE_OFF)
                return false;
        if (c->o->json == JSON_MODE_PRETTY)
                pretty = json_print_pretty(v);
        puts(pretty ?: strna(json_print(v, NULL)));
        return true;
}

bool is_chatty(const Context *c)
{
        return !c->o->quiet && c->o->json == JSON_MODE_OFF;
}

int print_table(const Context *c, Table *t, int r)
{
        if (r >= 0)
                r = table_print(t, &c->style);
        table_done(t);
        return r < 0 ? fail_errno(c, r) : CTL_DONE;
}

int await_outcome(Context *c, const char *path, Pending *p, bool *ret_done)
{
        _cleanup_(pending_dropp) Pending *ping = NULL;
        int r;

        if (!c->o->no_wait) {
                r = progress_wait(c, path, p);
        } else {
                /* Requests are taken in order: what would be refused at once has been when this is answered. */
                r = client_start(c->client, "supervisor.ping", NULL, &ping);
                if (r >= 0)
                        r = client_wait(c->client, ping, USEC_INFINITY);
        }
        if (r < 0)
                return fail_errno(c, r);
        *ret_done = p->done;
        return 0;
}
