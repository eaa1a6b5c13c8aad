/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "supervisor/journal-internal.h"

#define TAIL_TIMEOUT (2 * USEC_PER_SEC)
/* A tree that dies at once must not become a herd of readers; past the queue there are no last words. */
#define READERS_MAX 4U
#define TAILS_MAX 256U

struct JournalTail {
        Journal *journal; /* weak; NULL once that is gone */
        ListNode queue;
        char pid[16], priority[16], lines[16];
        Helper *reader;
        sd_event_source *timer; /* the whole wait, and the call back of one that could not be read */
        journal_tail_handler_t handler;
        void *userdata;
};

static void start_readers(Journal *j);

static void leave(JournalTail *t)
{
        Journal *j = t->journal;

        if (!j)
                return;
        t->journal = NULL;
        list_unlink(&t->queue);
        j->n_tails--;
        if (!t->reader)
                return;
        j->n_readers--;
        t->reader = helper_free(t->reader);
        start_readers(j);
}

JournalTail *journal_tail_free(JournalTail *t)
{
        if (!t)
                return NULL;
        leave(t);
        t->timer = sd_event_source_disable_unref(t->timer);
        free(t);
        return NULL;
}

void journal_tails_done(Journal *j)
{
        LIST_FOREACH_SAFE(i, &j->tails) {
                JournalTail *t = LIST_ENTRY(i, JournalTail, queue);

                list_unlink(i);
                t->journal = NULL;
                t->reader = helper_free(t->reader);
                t->timer = sd_event_source_disable_unref(t->timer);
        }
}

/* The handler may free the tail, and whatever else. */
static void call_back(JournalTail *t, const char *text)
{
        t->timer = sd_event_source_disable_unref(t->timer);
        t->handler(text, t->userdata);
}

static void on_text(int r, const char *text, size_t n, void *userdata)
{
        JournalTail *t = userdata;

        leave(t);
        call_back(t, r < 0 ? "" : text);
}

static int on_deadline(sd_event_source *s, uint64_t usec, void *userdata)
{
        JournalTail *t = userdata;

        leave(t);
        call_back(t, "");
        return 0;
}

static int start_reader(Journal *j, JournalTail *t)
{
        char *const args[] = { (char *) "--journal-tail", t->pid, t->priority, t->lines, NULL };
        int r;

        r = helper_run(j->event, args, TAIL_MAX, TAIL_TIMEOUT, on_text, t, &t->reader);
        if (r < 0)
                return r;
        j->n_readers++;
        return 0;
}

/* One that can't be started is called back by its timer at once. */
static void start_readers(Journal *j)
{
        LIST_FOREACH(i, &j->tails) {
                JournalTail *t = LIST_ENTRY(i, JournalTail, queue);

                if (j->n_readers >= READERS_MAX)
                        return;
                if (!t->reader && start_reader(j, t) < 0)
                        (void) sd_event_source_set_time(t->timer, 0);
        }
}

int journal_tail(Journal *j, int pid, int priority, unsigned lines, journal_tail_handler_t handler,
                void *userdata, JournalTail **ret)
{
        _cleanup_(journal_tail_freep) JournalTail *t = calloc(1, sizeof(JournalTail));
        int r;

        if (!t)
                return -ENOMEM;
        t->handler = handler;
        t->userdata = userdata;
        (void) snprintf(t->pid, sizeof(t->pid), "%d", pid);
        (void) snprintf(t->priority, sizeof(t->priority), "%d", priority);
        (void) snprintf(t->lines, sizeof(t->lines), "%u", lines);
        r = sd_event_add_time_relative(j->event, &t->timer, CLOCK_MONOTONIC,
                        j->n_tails >= TAILS_MAX || !journal_available(j) ? 0 : TAIL_TIMEOUT, 0, on_deadline,
                        t);
        if (r < 0)
                return r;
        if (j->n_tails < TAILS_MAX && journal_available(j)) {
                t->journal = j;
                list_append(&j->tails, &t->queue);
                j->n_tails++;
                start_readers(j);
        }
        *ret = TAKE_PTR(t);
        return 0;
}

/* From `text` on, the last `lines` lines. */
static const char *last_lines(const char *text, const char *end, unsigned lines)
{
        const char *p = end;

        if (p > text && p[-1] == '\n')
                p--;
        while (p > text) {
                if (p[-1] == '\n' && --lines == 0)
                        return p;
                p--;
        }
        return text;
}

static char *read_tail(int fd, off_t size)
{
        _cleanup_free_ char *buf = malloc(TAIL_MAX + 1);
        off_t from = MAX(size - (off_t) TAIL_MAX, (off_t) 0);
        size_t n = 0;

        if (!buf)
                return NULL;
        while (n < TAIL_MAX) {
                ssize_t k = pread(fd, buf + n, TAIL_MAX - n, from + (off_t) n);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k <= 0)
                        break;
                n += (size_t) k;
        }
        for (size_t i = 0; i < n; i++)
                if (buf[i] == 0)
                        buf[i] = '?';
        buf[n] = 0;
        return TAKE_PTR(buf);
}

char *file_tail(const char *path, unsigned lines)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        _cleanup_free_ char *text = NULL;
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0 || lines == 0)
                return NULL;
        text = read_tail(fd, st.st_size);
        if (!text || !*text)
                return NULL;
        return strdup(last_lines(text, text + strlen(text), lines));
}
