/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

static const char *log_name = "tractor";
static int max_level = LOG_INFO;
static int to_journal = -1;
static enum { WAIT, POLL, SEND } how = WAIT;
static int log_fd = STDERR_FILENO;
static unsigned long dropped;

void log_setup(const char *name, int level)
{
        log_name = name;
        max_level = level;
        to_journal = getenv("JOURNAL_STREAM") != NULL;
}

/* O_NONBLOCK belongs to the open file, which our stderr shares with others: pipes and terminals are opened anew. Where
 * that can't be, a look at the room comes first. */
void log_never_wait(void)
{
        struct stat st;

        if (how != WAIT || fstat(STDERR_FILENO, &st) < 0 || S_ISREG(st.st_mode))
                return;
        how = S_ISSOCK(st.st_mode) ? SEND : POLL;
        if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) {
                int fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

                if (fd >= 0)
                        log_fd = fd;
        }
}

static bool emit(const char *line, size_t n)
{
        struct pollfd p = { .fd = log_fd, .events = POLLOUT };
        ssize_t k;

        if (how == SEND)
                k = send(log_fd, line, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        else if (how == POLL && (poll(&p, 1, 0) <= 0 || !(p.revents & POLLOUT)))
                return false;
        else
                k = write(log_fd, line, n);
        return k >= 0 || errno != EAGAIN; /* of any other failure there is nowhere left to say so */
}

int log_level(void)
{
        return max_level;
}

int log_level_from_string(const char *s)
{
        static const char *const names[] = { "emerg", "alert", "crit", "err", "warning", "notice", "info",
                "debug" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (streq(s, names[i]))
                        return (int) i;
        return streq(s, "error") ? LOG_ERR : -EINVAL;
}

void log_full(int level, const char *format, ...)
{
        char line[2048];
        int saved = errno, n, k;
        va_list ap;

        if (level > max_level)
                return;
        if (dropped > 0) {
                n = snprintf(line, sizeof(line), "%s%s: %lu lines of log were dropped: nobody read them\n",
                                to_journal > 0 ? "<4>" : "", log_name, dropped);
                if (emit(line, (size_t) n))
                        dropped = 0;
        }
        if (to_journal > 0)
                n = snprintf(line, sizeof(line), "<%d>", level);
        else
                n = snprintf(line, sizeof(line), "%s: ", log_name);
        errno = saved;
        va_start(ap, format);
        k = vsnprintf(line + n, sizeof(line) - (size_t) n - 1, format, ap);
        va_end(ap);
        n = MIN(n + MAX(k, 0), (int) sizeof(line) - 2);
        line[n++] = '\n';
        if (dropped > 0 || !emit(line, (size_t) n))
                dropped++;
        errno = saved;
}
