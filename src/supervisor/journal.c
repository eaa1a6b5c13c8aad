/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/io.h"
#include "base/log.h"
#include "base/usec.h"
#include "supervisor/journal-internal.h"
#include "tractor/messages.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define FIELD_NAME_MAX 64
/* While the kernel says neither "sent" nor "wait for room": no event will tell when to try again. */
#define RETRY_USEC (500 * USEC_PER_MSEC)
/* Without a journal, each record would else try to connect. */
#define CONNECT_INTERVAL USEC_PER_SEC

typedef struct Spooled {
        ListNode queue;
        size_t n;
        char data[];
} Spooled;

static void append(JournalRecord *r, const void *p, size_t n)
{
        if (r->failed || n > SIZE_MAX / 4 || GROW(r->data, r->cap, r->n + n) < 0) {
                r->failed = true;
                return;
        }
        if (n > 0)
                memcpy(r->data + r->n, p, n);
        r->n += n;
}

static bool field_name_is_valid(const char *key)
{
        size_t n = strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");

        return key[0] >= 'A' && key[0] <= 'Z' && key[n] == 0 && n <= FIELD_NAME_MAX;
}

void journal_field_n(JournalRecord *r, const char *key, const void *value, size_t n)
{
        uint64_t size = n;
        unsigned char length[8];

        if (!field_name_is_valid(key))
                return;
        append(r, key, strlen(key));
        if (memchr(value, '\n', n)) {
                for (size_t i = 0; i < sizeof(length); i++)
                        length[i] = (unsigned char) (size >> (8 * i));
                append(r, "\n", 1);
                append(r, length, sizeof(length));
        } else {
                append(r, "=", 1);
        }
        append(r, value, n);
        append(r, "\n", 1);
}

void journal_field(JournalRecord *r, const char *key, const char *value)
{
        if (value)
                journal_field_n(r, key, value, strlen(value));
}

void journal_fieldf(JournalRecord *r, const char *key, const char *format, ...)
{
        _cleanup_free_ char *value = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&value, format, ap);
        va_end(ap);
        if (n < 0) {
                value = NULL;
                r->failed = true;
                return;
        }
        journal_field_n(r, key, value, (size_t) n);
}

/* A record we built, so its form is known. NULL when the field is missing; *ret_n without terminator. */
static const char *find_field(const char *data, size_t n, const char *key, size_t *ret_n)
{
        size_t k = strlen(key);

        for (const char *p = data, *end = data + n; p < end;) {
                const char *stop = memchr(p, '\n', (size_t) (end - p));
                const char *equals = stop ? memchr(p, '=', (size_t) (stop - p)) : NULL;
                size_t name, size = 0;

                if (!stop)
                        return NULL;
                name = (size_t) ((equals ?: stop) - p);
                if (equals) {
                        size = (size_t) (stop - equals) - 1;
                } else {
                        for (size_t i = 0; i < 8; i++)
                                size |= (size_t) (unsigned char) stop[1 + i] << (8 * i);
                        equals = stop + 8;
                        stop = equals + 1 + size;
                }
                if (name == k && memcmp(p, key, k) == 0) {
                        *ret_n = size;
                        return equals + 1;
                }
                p = stop + 1;
        }
        return NULL;
}

/* No journal at all: the record's text is what people get. */
static void log_instead(const char *data, size_t n)
{
        const char *level, *text;
        size_t level_n, text_n;

        text = find_field(data, n, "MESSAGE", &text_n);
        level = find_field(data, n, "PRIORITY", &level_n);
        if (text)
                log_full(level && level_n == 1 ? *level - '0' : LOG_INFO, "%.*s", (int) MIN(text_n, 4096U),
                                text);
}

static void disconnect(Journal *j)
{
        j->room = sd_event_source_disable_unref(j->room);
        j->fd = safe_close(j->fd);
}

static int on_room(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        journal_flush(userdata);
        return 0;
}

static int connect_journal(Journal *j)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (strlen(j->path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, j->path, strlen(j->path) + 1);
        j->connect_at = now_usec(CLOCK_MONOTONIC);
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        r = sd_event_add_io(j->event, &j->room, fd, EPOLLOUT, on_room, j);
        if (r < 0)
                return r;
        (void) sd_event_source_set_enabled(j->room, SD_EVENT_OFF);
        j->fd = TAKE_FD(fd);
        return 0;
}

static int send_memfd(int sock, const char *data, size_t n)
{
        _cleanup_close_ int fd = memfd_new_sealed("tractor-journal", data, n);
        ssize_t k;

        if (fd < 0)
                return fd;
        k = send_fds(sock, NULL, 0, &fd, 1, MSG_DONTWAIT);
        return k < 0 ? (int) k : 0;
}

static int send_once(int sock, const char *data, size_t n)
{
        if (send(sock, data, n, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
                return 0;
        if (errno == EMSGSIZE)
                return send_memfd(sock, data, n);
        return -errno;
}

/* 0: sent; -EAGAIN: later, and someone will tell when; -ENOTCONN: there is no journal; other: never. */
static int try_send(Journal *j, const char *data, size_t n)
{
        int r = -ENOTCONN;

        for (int i = 0; i < 2; i++) {
                if (j->fd < 0 && (j->connect_at + CONNECT_INTERVAL > now_usec(CLOCK_MONOTONIC) && i == 0))
                        return -ENOTCONN;
                if (j->fd < 0 && connect_journal(j) < 0)
                        return -ENOTCONN;
                r = send_once(j->fd, data, n);
                if (r != -ECONNREFUSED && r != -ENOTCONN && r != -ECONNRESET && r != -EPIPE && r != -ENOENT)
                        return r;
                /* journald was replaced behind its socket: once more, by a new connection */
                disconnect(j);
        }
        return -ENOTCONN;
}

static void spool_drop(Journal *j, Spooled *s)
{
        list_unlink(&s->queue);
        j->spooled -= s->n;
        free(s);
}

static void count_dropped(Journal *j)
{
        j->dropped++;
        j->unreported++;
}

static int spool(Journal *j, const char *data, size_t n)
{
        Spooled *s;

        if (n > JOURNAL_SPOOL_MAX) {
                count_dropped(j);
                return 0;
        }
        s = malloc(sizeof(Spooled) + n);
        if (!s) {
                count_dropped(j);
                return -ENOMEM;
        }
        while (j->spooled + n > JOURNAL_SPOOL_MAX) {
                spool_drop(j, LIST_ENTRY(j->spool.next, Spooled, queue));
                count_dropped(j);
        }
        s->n = n;
        memcpy(s->data, data, n);
        list_append(&j->spool, &s->queue);
        j->spooled += n;
        return 0;
}

/* EAGAIN has its event, all else a timer. */
static void wait_for_room(Journal *j, int r)
{
        if (j->fd >= 0 && r == -EAGAIN) {
                (void) sd_event_source_set_enabled(j->room, SD_EVENT_ONESHOT);
                return;
        }
        (void) sd_event_source_set_time_relative(j->retry, RETRY_USEC);
        (void) sd_event_source_set_enabled(j->retry, SD_EVENT_ONESHOT);
}

static bool is_temporary(int r)
{
        return r == -EAGAIN || r == -ENOBUFS || r == -ENOMEM || r == -EMFILE || r == -ENFILE ||
               r == -ETOOMANYREFS || r == -EINTR;
}

/* What was lost is older than all that is spooled, so it is told first. */
static int report_dropped(Journal *j)
{
        _cleanup_free_ char *text = NULL;
        int r;

        if (j->unreported == 0)
                return 0;
        text = xasprintf("MESSAGE_ID=" TRACTOR_MESSAGE_RECORDS_DROPPED "\nPRIORITY=%d\n"
                         "SYSLOG_IDENTIFIER=tractor\nTRACTOR_EVENT=records-dropped\nTRACTOR_DROPPED=%llu\n"
                         "MESSAGE=%llu journal records were lost: the journal did not take them in time\n",
                        LOG_WARNING, (unsigned long long) j->unreported, (unsigned long long) j->unreported);
        if (!text)
                return -ENOMEM;
        r = try_send(j, text, strlen(text));
        if (r >= 0)
                j->unreported = 0;
        return r;
}

/* Sends what waits, in order, until the socket is full. */
int journal_flush(Journal *j)
{
        int r = 0;

        while (!list_is_empty(&j->spool)) {
                Spooled *s = LIST_ENTRY(j->spool.next, Spooled, queue);

                r = report_dropped(j);
                if (r >= 0)
                        r = try_send(j, s->data, s->n);
                if (r == -ENOTCONN || is_temporary(r)) {
                        wait_for_room(j, r);
                        return r;
                }
                if (r < 0)
                        count_dropped(j);
                spool_drop(j, s);
        }
        return report_dropped(j);
}

static int send_or_spool(Journal *j, const char *data, size_t n)
{
        int r = journal_flush(j);

        if (r >= 0)
                r = try_send(j, data, n);
        if (r == -ENOTCONN) {
                log_instead(data, n);
                return 0;
        }
        if (r < 0 && !is_temporary(r)) {
                count_dropped(j);
                return 0;
        }
        if (r < 0) {
                wait_for_room(j, r);
                return spool(j, data, n);
        }
        return 0;
}

int journal_send(Journal *j, JournalRecord *r)
{
        int k = -ENOMEM;

        if (r->failed)
                count_dropped(j);
        else
                k = send_or_spool(j, r->data, r->n);
        free(r->data);
        *r = (JournalRecord){ 0 };
        return k;
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
        journal_flush(userdata);
        return 0;
}

int journal_new_at(sd_event *event, const char *path, Journal **ret)
{
        _cleanup_(journal_freep) Journal *j = calloc(1, sizeof(Journal));
        int r;

        if (!j)
                return -ENOMEM;
        j->fd = -EBADF;
        list_init(&j->spool);
        list_init(&j->tails);
        j->event = sd_event_ref(event);
        j->path = strdup(path);
        if (!j->path)
                return -ENOMEM;
        r = sd_event_add_time(event, &j->retry, CLOCK_MONOTONIC, 0, 0, on_retry, j);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(j->retry, SD_EVENT_OFF);
        if (r < 0)
                return r;
        r = connect_journal(j);
        if (r < 0)
                log_debug("No journal at %s: %s", path, strerror(-r));
        *ret = TAKE_PTR(j);
        return 0;
}

int journal_new(sd_event *event, Journal **ret)
{
        return journal_new_at(event, JOURNAL_SOCKET, ret);
}

Journal *journal_free(Journal *j)
{
        if (!j)
                return NULL;
        journal_tails_done(j);
        while (!list_is_empty(&j->spool))
                spool_drop(j, LIST_ENTRY(j->spool.next, Spooled, queue));
        disconnect(j);
        j->retry = sd_event_source_disable_unref(j->retry);
        sd_event_unref(j->event);
        free(j->path);
        free(j);
        return NULL;
}

bool journal_available(const Journal *j)
{
        return j->fd >= 0;
}

uint64_t journal_dropped(const Journal *j)
{
        return j->dropped;
}
