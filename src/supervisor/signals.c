/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <strings.h>

#include "supervisor/config.h"

static const char *const names[] = {
        [SIGHUP] = "SIGHUP",
        [SIGINT] = "SIGINT",
        [SIGQUIT] = "SIGQUIT",
        [SIGILL] = "SIGILL",
        [SIGTRAP] = "SIGTRAP",
        [SIGABRT] = "SIGABRT",
        [SIGBUS] = "SIGBUS",
        [SIGFPE] = "SIGFPE",
        [SIGKILL] = "SIGKILL",
        [SIGUSR1] = "SIGUSR1",
        [SIGSEGV] = "SIGSEGV",
        [SIGUSR2] = "SIGUSR2",
        [SIGPIPE] = "SIGPIPE",
        [SIGALRM] = "SIGALRM",
        [SIGTERM] = "SIGTERM",
        [SIGSTKFLT] = "SIGSTKFLT",
        [SIGCHLD] = "SIGCHLD",
        [SIGCONT] = "SIGCONT",
        [SIGSTOP] = "SIGSTOP",
        [SIGTSTP] = "SIGTSTP",
        [SIGTTIN] = "SIGTTIN",
        [SIGTTOU] = "SIGTTOU",
        [SIGURG] = "SIGURG",
        [SIGXCPU] = "SIGXCPU",
        [SIGXFSZ] = "SIGXFSZ",
        [SIGVTALRM] = "SIGVTALRM",
        [SIGPROF] = "SIGPROF",
        [SIGWINCH] = "SIGWINCH",
        [SIGIO] = "SIGIO",
        [SIGPWR] = "SIGPWR",
        [SIGSYS] = "SIGSYS",
};

/* Other names of the same numbers. */
static const struct {
        const char *name;
        int signo;
} aliases[] = {
        { "SIGIOT", SIGABRT },
        { "SIGCLD", SIGCHLD },
        { "SIGPOLL", SIGIO },
};

static bool signal_valid(int signo)
{
        /* What lies between belongs to the C library's threads. */
        return (signo > 0 && signo < (int) ELEMENTSOF(names)) || (signo >= SIGRTMIN && signo <= SIGRTMAX);
}

static bool name_matches(const char *name, const char *s)
{
        return strcasecmp(name, s) == 0 || strcasecmp(name + strlen("SIG"), s) == 0;
}

static int parse_number(const char *s)
{
        char *end;
        long n;

        if (*s < '0' || *s > '9')
                return -EINVAL;
        errno = 0;
        n = strtol(s, &end, 10);
        return errno || *end || n > SIGRTMAX ? -EINVAL : (int) n;
}

/* "RTMIN", "RTMIN+3", "SIGRTMAX-1" */
static int parse_realtime(const char *s)
{
        static const struct {
                const char *name;
                char sign;
        } forms[] = { { "RTMIN", '+' }, { "RTMAX", '-' } };
        int base, offset = 0;
        size_t i;

        if (strncasecmp(s, "SIG", 3) == 0)
                s += 3;
        for (i = 0; i < ELEMENTSOF(forms); i++)
                if (strncasecmp(s, forms[i].name, 5) == 0)
                        break;
        if (i == ELEMENTSOF(forms))
                return -EINVAL;
        base = i == 0 ? SIGRTMIN : SIGRTMAX;
        s += 5;
        if (*s) {
                if (*s != forms[i].sign)
                        return -EINVAL;
                offset = parse_number(s + 1);
                if (offset < 0)
                        return offset;
        }
        base += i == 0 ? offset : -offset;
        return base >= SIGRTMIN && base <= SIGRTMAX ? base : -EINVAL;
}

int signal_from_name(const char *s)
{
        int r;

        r = parse_number(s);
        if (r >= 0)
                return signal_valid(r) ? r : -EINVAL;
        for (int i = 1; i < (int) ELEMENTSOF(names); i++)
                if (name_matches(names[i], s))
                        return i;
        for (size_t i = 0; i < ELEMENTSOF(aliases); i++)
                if (name_matches(aliases[i].name, s))
                        return aliases[i].signo;
        return parse_realtime(s);
}

const char *signal_to_name(int signo)
{
        static char realtime[NSIG][sizeof("SIGRTMIN+") + 3];

        if (!signal_valid(signo))
                return NULL;
        if (signo < (int) ELEMENTSOF(names))
                return names[signo];
        if (signo == SIGRTMIN)
                return "SIGRTMIN";
        if (!realtime[signo][0])
                (void) snprintf(realtime[signo], sizeof(realtime[signo]), "SIGRTMIN+%u",
                                (unsigned) (signo - SIGRTMIN) % 100);
        return realtime[signo];
}
