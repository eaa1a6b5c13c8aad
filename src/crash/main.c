/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "crash/crash.h"

void crash_process_done(CrashProcess *p)
{
        for (size_t i = 0; i < p->n_threads; i++)
                strv_free(p->threads[i].frames);
        free(p->threads);
}

unsigned crash_elapsed_ms(const CrashProcess *p)
{
        return (unsigned) ((now_usec(CLOCK_MONOTONIC) - p->begin) / USEC_PER_MSEC);
}

/* Comes once we may look at the process; what comes short of that is its end. */
static int receive_note(int fd, CrashNote *ret)
{
        CrashNote note;
        ssize_t n;

        do
                n = recv(fd, &note, sizeof(note), MSG_WAITALL);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        if (n != sizeof(note) || note.size != sizeof(note))
                return -EBADMSG;
        note.task[sizeof(note.task) - 1] = note.message[sizeof(note.message) - 1] = 0;
        *ret = note;
        return 0;
}

/* The channel's reader may be slow, but not for ever; whether it blocks is the crashed process's to say, so we never do. */
static int send_line(int fd, const char *line)
{
        uint64_t until = now_usec(CLOCK_MONOTONIC) + CRASH_WRITE_MS * USEC_PER_MSEC;
        size_t n = strlen(line);

        while (n > 0) {
                ssize_t k = send(fd, line, n, MSG_DONTWAIT | MSG_NOSIGNAL);
                uint64_t now = now_usec(CLOCK_MONOTONIC);

                if (k < 0 && errno != EAGAIN && errno != EINTR)
                        return -errno;
                if (k > 0) {
                        line += k;
                        n -= (size_t) k;
                } else if (now >= until) {
                        return -ETIMEDOUT;
                } else {
                        struct pollfd p = { .fd = fd, .events = POLLOUT };

                        (void) poll(&p, 1, (int) ((until - now) / USEC_PER_MSEC) + 1);
                }
        }
        return 0;
}

/* By the channel, else for whoever reads stderr. */
static int tell(const CrashProcess *p, int channel)
{
        _cleanup_free_ char *line = NULL, *text = NULL;
        int r;

        if (channel >= 0) {
                r = crash_report_line(p, &line);
                if (r >= 0)
                        r = send_line(channel, line);
                if (r >= 0)
                        return 0;
        }
        text = crash_report_text(p);
        return text ? write_all(STDERR_FILENO, text, strlen(text)) : -ENOMEM;
}

static int number(const char *s)
{
        char *end;
        long n = strtol(s, &end, 10);

        return end == s || *end != 0 || n < 0 ? -EBADF : (int) n;
}

int main(int argc, char **argv)
{
        _cleanup_(crash_process_done) CrashProcess p = { .begin = now_usec(CLOCK_MONOTONIC) };
        int r;

        if (argc != 3) {
                (void) fputs("tractor-crash is started by programs that crash\n", stderr);
                return EXIT_FAILURE;
        }
        (void) signal(SIGPIPE, SIG_IGN);
        (void) alarm(CRASH_ALARM_SEC);
        if (receive_note(number(argv[1]), &p.note) < 0)
                return EXIT_FAILURE;
        /* Without a look at it there is still what it said of itself. */
        r = crash_stop_threads(&p);
        if (r >= 0)
                (void) crash_unwind(&p);
        return tell(&p, number(argv[2])) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
