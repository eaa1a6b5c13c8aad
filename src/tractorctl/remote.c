/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "tractorctl/remote.h"

/* What was written last may still be on its way. */
#define END_PATIENCE_MS 3000
#define NO_SUCH_COMMAND 127

/* $TRACTOR_SSH's words, or "ssh". */
static int add_ssh(char ***argv)
{
        _cleanup_free_ char *copy = strdup(getenv("TRACTOR_SSH") ?: "");
        char *state, *word;
        int r = copy ? 0 : -ENOMEM;

        word = copy ? strtok_r(copy, " ", &state) : NULL;
        if (r >= 0 && !word)
                return strv_append(argv, "ssh");
        for (; r >= 0 && word; word = strtok_r(NULL, " ", &state))
                r = strv_append(argv, word);
        return r;
}

/* What chooses the supervisor there. */
static int add_places(const Options *o, char ***words)
{
        const char *const places[][2] = { { "--socket", o->socket }, { "--run", o->run } };
        int r = 0;

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(places); i++) {
                if (!places[i][1])
                        continue;
                r = strv_append(words, places[i][0]);
                if (r >= 0)
                        r = strv_append(words, places[i][1]);
        }
        if (r >= 0 && o->user)
                r = strv_append(words, "--user");
        return r >= 0 && o->system ? strv_append(words, "--system") : r;
}

/* "ssh -T HOST 'tractorctl … WORDS'" */
static int build_command(const Options *o, char *const *words, char ***ret)
{
        _cleanup_(strv_freep) char **argv = NULL, **there = NULL;
        _cleanup_free_ char *quoted = NULL;
        int r = add_ssh(&argv);

        if (r >= 0)
                r = strv_append(&argv, "-T");
        if (r >= 0)
                r = strv_append(&argv, o->host);
        if (r >= 0)
                r = strv_append(&there, "tractorctl");
        if (r >= 0)
                r = add_places(o, &there);
        for (size_t i = 0; r >= 0 && words[i]; i++)
                r = strv_append(&there, words[i]);
        if (r < 0)
                return r;
        quoted = shell_quote(there);
        r = quoted ? strv_append(&argv, quoted) : -ENOMEM;
        if (r < 0)
                return r;
        *ret = TAKE_PTR(argv);
        return 0;
}

/* A SIGINT of the terminal is for us: we may have something to end in order before the connection goes. */
static _Noreturn void run_ssh(char *const *argv, int fd)
{
        sigset_t none;

        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        (void) signal(SIGINT, SIG_IGN);
        if (dup2(fd, STDIN_FILENO) >= 0 && dup2(fd, STDOUT_FILENO) >= 0)
                execvp(argv[0], argv);
        fprintf(stderr, "tractorctl: %s: %s\n", argv[0], strerror(errno));
        _exit(NO_SUCH_COMMAND);
}

int remote_connect(Context *c, int *ret_fd, char **reterr)
{
        static const char *const modes[_JSON_MODE_MAX] = {
                [JSON_MODE_SHORT] = "--json=short", [JSON_MODE_PRETTY] = "--json=pretty"
        };
        /* Nothing comes after a tell: all of it is there when the bridge has ended. */
        const char *end = c->o->verb == VERB_TELL ? "--until-eof" : NULL, *mode = modes[c->o->json];
        char *words[] = { (char *) "bridge", (char *) (mode ?: end), (char *) (mode ? end : NULL), NULL };
        _cleanup_(strv_freep) char **argv = NULL;
        int pair[2], r;
        pid_t pid;

        if (c->n_remotes == ELEMENTSOF(c->remotes))
                return -EMFILE;
        r = build_command(c->o, words, &argv);
        if (r < 0)
                return r;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        pid = fork();
        if (pid == 0)
                run_ssh(argv, pair[1]);
        (void) safe_close(pair[1]);
        if (pid < 0) {
                *reterr = xasprintf("can't start %s: %s; see 'tractorctl help'", argv[0], strerror(errno));
                (void) safe_close(pair[0]);
                return -EAGAIN;
        }
        c->remotes[c->n_remotes++] = pid;
        *ret_fd = pair[0];
        return 0;
}

/* The status it ended with, by signal: 128 and more. One that does not end is ended. */
static int reap(pid_t pid, int patience_ms)
{
        static const int signals[] = { 0, SIGTERM, SIGKILL };
        _cleanup_close_ int fd = pidfd_open(pid, 0);
        int status = 0;

        for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
                struct pollfd p = { .fd = fd, .events = POLLIN };

                if (signals[i] > 0)
                        (void) kill(pid, signals[i]);
                if (fd < 0 || poll(&p, 1, patience_ms) > 0)
                        break;
        }
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void remote_done(Context *c)
{
        for (size_t i = 0; i < c->n_remotes; i++)
                (void) reap(c->remotes[i], END_PATIENCE_MS);
        c->n_remotes = 0;
}

static int fail_status(const Context *c, int status)
{
        const char *host = c->o->host;

        if (status >= CTL_FAILED && status <= CTL_NO_SUPERVISOR)
                return status; /* the bridge said why */
        if (status == NO_SUCH_COMMAND)
                return fail(c, CTL_NO_SUPERVISOR,
                                "no supervisor to talk to at %s: no tractorctl there, or no ssh here; try "
                                "'ssh %s tractorctl version'",
                                host, host);
        return fail(c, CTL_NO_SUPERVISOR,
                        "no supervisor to talk to at %s: the connection ended (status %d); try 'ssh %s "
                        "tractorctl ping'",
                        host, status, host);
}

int remote_failed(Context *c)
{
        return fail_status(c, c->n_remotes > 0 ? reap(c->remotes[--c->n_remotes], END_PATIENCE_MS) : 0);
}

static int on_end(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        *(bool *) userdata = true;
        return 0;
}

int remote_finish(Context *c)
{
        sd_event_source *source = NULL;
        _cleanup_close_ int fd = -EBADF;
        bool ended = false;
        int r, status;

        if (c->n_remotes == 0)
                return CTL_DONE;
        fd = pidfd_open(c->remotes[c->n_remotes - 1], 0);
        r = fd < 0 ? -errno : sd_event_add_io(c->event, &source, fd, EPOLLIN, on_end, &ended);
        while (r >= 0 && !ended)
                r = c->interrupts > 0 ? -ECANCELED : sd_event_run(c->event, USEC_INFINITY);
        sd_event_source_disable_unref(source);
        if (r < 0)
                return fail_errno(c, r);
        status = reap(c->remotes[--c->n_remotes], 0);
        return status == 0 ? CTL_DONE : fail_status(c, status);
}

int remote_exec(Context *c, char *const *words)
{
        _cleanup_(strv_freep) char **argv = NULL;
        int r = build_command(c->o, words, &argv);

        if (r < 0)
                return fail_errno(c, r);
        execvp(argv[0], argv);
        return fail(c, CTL_FAILED, "can't start %s: %s; check TRACTOR_SSH", argv[0], strerror(errno));
}
