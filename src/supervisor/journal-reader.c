/* SPDX-License-Identifier: Apache-2.0 */

/* The process that reads an actor's last words back from the journal (see journal.h): it may block, within limits. An
 * entry is the actor's when it came by stdout transport, in this boot, in the stderr stream's facility, not before the
 * process began, and either from the process itself or from the scope that its zombie still names: a shell's words
 * are mostly those of the programs it runs. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-id128.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "supervisor/helper.h"
#include "supervisor/journal.h"

#define VARLINK_SOCKET "/run/systemd/journal/io.systemd.journal"
#define SYNC_USEC (500 * USEC_PER_MSEC)
/* Where we may not ask for it (the socket is root's), journald gets a moment to take in what is queued. */
#define SETTLE_USEC (50 * USEC_PER_MSEC)
#define MATCH_MAX 320
#define DATA_MAX (64U * 1024) /* above journald's LineMax= */

typedef struct Question {
        char pid[16], scope[256];
        int priority;
        unsigned lines;
        uint64_t since; /* CLOCK_REALTIME; 0: unknown */
} Question;

/* Any answer will do: all it tells is that journald has been through its queues. */
static int synchronize(void)
{
        static const char request[] = "{\"method\":\"io.systemd.Journal.Synchronize\"}";
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = VARLINK_SOCKET };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct pollfd p = { .fd = fd, .events = POLLIN };

        if (fd < 0 || connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        if (send(fd, request, sizeof(request), MSG_NOSIGNAL) != sizeof(request))
                return -EIO;
        return poll(&p, 1, (int) (SYNC_USEC / USEC_PER_MSEC)) > 0 ? 0 : -ETIMEDOUT;
}

/* The last component of a zombie's cgroup, even after the cgroup itself has gone (" (deleted)"). */
static void find_scope(Question *q)
{
        _cleanup_free_ char *path = xasprintf("/proc/%s/cgroup", q->pid), *text = NULL;
        char *line, *end;

        if (!path || read_file_at(AT_FDCWD, path, &text) < 0)
                return;
        line = startswith(text, "0::") ? text : strstr(text, "\n0::");
        line = line ? strrchr(line, '/') : NULL;
        end = line ? strstr(line, ".scope") : NULL;
        if (!end || (size_t) (end - line) > sizeof(q->scope) - 8)
                return;
        (void) snprintf(q->scope, sizeof(q->scope), "%.*s", (int) (end - line - 1 + 6), line + 1);
}

/* Field 22 of stat, after the parenthesised name which may hold anything: ticks since boot. */
static void find_start(Question *q)
{
        _cleanup_free_ char *path = xasprintf("/proc/%s/stat", q->pid), *text = NULL;
        uint64_t ticks = (uint64_t) sysconf(_SC_CLK_TCK), start, ago;
        char *p;

        if (!path || read_file_at(AT_FDCWD, path, &text) < 0)
                return;
        p = strrchr(text, ')');
        for (int field = 2; p && field < 22; field++)
                p = strchr(p + 1, ' ');
        if (!p)
                return;
        start = strtoull(p, NULL, 10) * (USEC_PER_SEC / ticks);
        ago = usec_sub(now_usec(CLOCK_BOOTTIME), start);
        q->since = usec_sub(now_usec(CLOCK_REALTIME), ago + USEC_PER_SEC / ticks);
}

static int add_match(sd_journal *j, const char *key, const char *value)
{
        char match[MATCH_MAX];
        int n = snprintf(match, sizeof(match), "%s=%s", key, value);

        return sd_journal_add_match(j, match, (size_t) n);
}

static int add_writers(sd_journal *j, const Question *q)
{
        static const char *const scopes[] = { "_SYSTEMD_UNIT", "_SYSTEMD_USER_UNIT" };
        int r = add_match(j, "_PID", q->pid);

        for (size_t i = 0; q->scope[0] && r >= 0 && i < ELEMENTSOF(scopes); i++) {
                r = sd_journal_add_disjunction(j);
                if (r >= 0)
                        r = add_match(j, scopes[i], q->scope);
        }
        return r < 0 ? r : sd_journal_add_conjunction(j);
}

static int add_matches(sd_journal *j, const Question *q)
{
        char boot[SD_ID128_STRING_MAX], number[16];
        sd_id128_t id;
        int r;

        r = sd_id128_get_boot(&id);
        if (r < 0)
                return r;
        r = add_writers(j, q);
        if (r < 0)
                return r;
        r = add_match(j, "_BOOT_ID", sd_id128_to_string(id, boot));
        if (r >= 0)
                r = add_match(j, "_TRANSPORT", "stdout");
        if (r < 0)
                return r;
        (void) snprintf(number, sizeof(number), "%d", q->priority >= 8 ? LOG_FAC(q->priority) : q->priority);
        return add_match(j, q->priority >= 8 ? "SYSLOG_FACILITY" : "PRIORITY", number);
}

/* Fills buf from its end with whole lines; of a last line too long for it, with the end. Returns where the text begins. */
static char *collect(sd_journal *j, const Question *q, char *buf, char *end)
{
        char *p = end;

        (void) sd_journal_set_data_threshold(j, DATA_MAX);
        if (sd_journal_seek_tail(j) < 0)
                return p;
        for (unsigned i = 0; i < q->lines && sd_journal_previous(j) > 0; i++) {
                static const char key[] = "MESSAGE=";
                const char *data;
                uint64_t at;
                size_t n;

                if (sd_journal_get_realtime_usec(j, &at) < 0 || at < q->since)
                        break;
                if (sd_journal_get_data(j, "MESSAGE", (const void **) &data, &n) < 0)
                        continue;
                data += MIN(n, strlen(key));
                n -= MIN(n, strlen(key));
                if (p == end && n > TAIL_MAX - 1) {
                        data += n - (TAIL_MAX - 1);
                        n = TAIL_MAX - 1;
                }
                if (n + 1 > (size_t) (p - buf))
                        break;
                *--p = '\n';
                p -= n;
                memcpy(p, data, n);
        }
        return p;
}

static int answer(const Question *q)
{
        _cleanup_free_ char *buf = malloc(TAIL_MAX);
        sd_journal *j = NULL;
        char *text;
        int r;

        if (!buf)
                return -ENOMEM;
        r = sd_journal_open(&j, SD_JOURNAL_LOCAL_ONLY);
        if (r < 0)
                return r;
        r = add_matches(j, q);
        if (r >= 0) {
                text = collect(j, q, buf, buf + TAIL_MAX);
                for (char *p = text; p < buf + TAIL_MAX; p++)
                        if (*p == 0)
                                *p = '?';
                r = write_all(STDOUT_FILENO, text, (size_t) (buf + TAIL_MAX - text));
        }
        sd_journal_close(j);
        return r;
}

int journal_tail_main(int argc, char **argv)
{
        Question q = { 0 };

        if (argc != 5)
                return EXIT_FAILURE;
        helper_begin("tractor-tail", 5);
        (void) snprintf(q.pid, sizeof(q.pid), "%s", argv[2]);
        q.priority = (int) strtol(argv[3], NULL, 10);
        q.lines = (unsigned) strtoul(argv[4], NULL, 10);
        /* Both are read from the zombie, which may be reaped while we wait. */
        find_scope(&q);
        find_start(&q);
        if (synchronize() < 0)
                (void) poll(NULL, 0, (int) (SETTLE_USEC / USEC_PER_MSEC));
        return answer(&q) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
