/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The line between the two sessions of test-session-model.c: bytes leave one end, wait, and reach the other in pieces of
 * any length. Whoever watches it knows what the peers may know: for each direction of each dialog, what credit has
 * reached the sender, and how many items have left it since. It reads lines by looking for words, so that it owes
 * nothing to the code under test. */

#include <errno.h>
#include <inttypes.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "test.h"

#define IDS 64
#define WINDOW_BYTES (4U * 1024 * 1024)
#define PUMP_MAX (256U * 1024)

typedef struct Line {
        char *data; /* of the way from one end to the other */
        size_t start, end, size;
        size_t left, arrived; /* in data: what the watch has seen of what left, of what arrived */
} Line;

/* Items of a dialog from one end. */
typedef struct Wire {
        int64_t credit;     /* that has reached the sender; -1: not yet said */
        int64_t items;      /* that have left it */
        int64_t sizes[128]; /* no window is larger */
        int64_t n_given;    /* items for which credit has reached it */
        uint64_t bytes;     /* of those under way */
        bool stopped;
} Wire;

typedef struct Pump {
        int fds[2];    /* the pump's ends, -EBADF once the connection is lost */
        Line lines[2]; /* [0]: from end 0 to end 1 */
        Wire wires[IDS][2];
        int64_t tells[2], tell_credit[2];
        bool hello[2];       /* has left: from then on tells are counted */
        unsigned ended[IDS]; /* responses that have left */
        size_t longest;
} Pump;

static inline int64_t number_after(const char *line, const char *word)
{
        const char *p = strstr(line, word);

        return p ? strtoll(p + strlen(word), NULL, 10) : -1;
}

static inline bool is_frame(const char *line, const char *name)
{
        const char *p = strstr(line, "\"method\":\"");

        return p && startswith(p + strlen("\"method\":\""), name);
}

static inline void pump_check_item(Pump *p, unsigned from, int64_t id, size_t n)
{
        Wire *w = &p->wires[id][from];

        CHECK(w->credit > 0);
        CHECK(!w->stopped);
        CHECK(from == (id % 2 ? 0U : 1U) || !p->ended[id]); /* the opener may not have heard of it */
        CHECK(w->bytes < WINDOW_BYTES);
        w->credit--;
        w->sizes[w->items % (int64_t) ELEMENTSOF(w->sizes)] = (int64_t) n;
        w->items++;
        w->bytes += n;
        p->longest = MAX(p->longest, n);
}

/* A line has left end `from`. */
static inline void pump_left(Pump *p, unsigned from, const char *line, size_t n)
{
        int64_t id = number_after(line, "\"id\":");

        if (is_frame(line, "$/next"))
                pump_check_item(p, from, id, n);
        else if (is_frame(line, "$/stop")) {
                CHECK(!p->wires[id][from].stopped);
                p->wires[id][from].stopped = true;
        } else if (is_frame(line, "$/hello"))
                p->hello[from] = true;
        else if (is_frame(line, "tell")) {
                p->tells[from] += p->hello[from];
                CHECK(p->tells[from] <= 256 + p->tell_credit[from]);
        } else if (!strstr(line, "\"method\"") && id >= 0) {
                CHECK(id < IDS);
                p->ended[id]++;
                CHECK_EQ(p->ended[id], 1);
        }
}

static inline void pump_got_credit(Wire *w, int64_t n)
{
        CHECK(n > 0);
        w->credit += n;
        for (; n > 0; n--) {
                CHECK(w->n_given < w->items);
                w->bytes -= (uint64_t) w->sizes[w->n_given++ % (int64_t) ELEMENTSOF(w->sizes)];
        }
}

/* A line has reached end `to`: what it allows, it allows from now on. */
static inline void pump_arrived(Pump *p, unsigned to, const char *line)
{
        int64_t id = number_after(line, "\"id\":"), credit;

        if (is_frame(line, "$/credit")) {
                int64_t n = number_after(line, "\"n\":");

                if (strstr(line, "\"id\":null"))
                        p->tell_credit[to] += n;
                else
                        pump_got_credit(&p->wires[id][to], n);
        } else if (is_frame(line, "$/started")) {
                CHECK_EQ(p->wires[id][to].credit, 0);
                p->wires[id][to].credit = number_after(line, "\"credit\":");
        } else if (strstr(line, "\"ctx\":true")) {
                credit = number_after(line, "\"credit\":");
                p->wires[id][to].credit = credit >= 0 ? credit : 64;
        }
}

static inline void pump_init(Pump *p, int sessions[2])
{
        memset(p, 0, sizeof(*p));
        for (int i = 0; i < 2; i++) {
                int pair[2], size = 2048;

                CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) >= 0);
                CHECK(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) >= 0);
                sessions[i] = pair[0];
                p->fds[i] = pair[1];
        }
}

static inline void pump_cut(Pump *p)
{
        for (int i = 0; i < 2; i++)
                p->fds[i] = safe_close(p->fds[i]);
}

static inline void pump_done(Pump *p)
{
        pump_cut(p);
        for (int i = 0; i < 2; i++)
                free(p->lines[i].data);
}

static inline bool pump_lost(const Pump *p)
{
        return p->fds[0] < 0;
}

/* The bytes up to `until` have passed a point; `seen` is how far whole lines were looked at there. */
static inline void pump_look(Pump *p, unsigned from, size_t *seen, size_t until, bool leaving)
{
        Line *l = &p->lines[from];
        char *newline;

        while (*seen < until && (newline = memchr(l->data + *seen, '\n', until - *seen))) {
                size_t n = (size_t) (newline - (l->data + *seen));

                *newline = 0;
                if (leaving)
                        pump_left(p, from, l->data + *seen, n);
                else
                        pump_arrived(p, 1 - from, l->data + *seen);
                *newline = '\n';
                *seen += n + 1;
        }
}

static inline void pump_compact(Line *l)
{
        size_t gone = MIN(l->start, MIN(l->left, l->arrived));

        if (gone < 65536 || gone < l->end / 2)
                return;
        memmove(l->data, l->data + gone, l->end - gone);
        l->start -= gone;
        l->end -= gone;
        l->left -= gone;
        l->arrived -= gone;
}

/* Takes at most n bytes from end `from`; the number. */
static inline size_t pump_take(Pump *p, unsigned from, size_t n)
{
        Line *l = &p->lines[from];
        ssize_t k;

        if (pump_lost(p) || l->end - l->start > PUMP_MAX)
                return 0;
        pump_compact(l);
        CHECK_EQ(GROW(l->data, l->size, l->end + n + 1), 0);
        k = read(p->fds[from], l->data + l->end, n);
        if (k <= 0)
                return 0;
        l->end += (size_t) k;
        pump_look(p, from, &l->left, l->end, true);
        return (size_t) k;
}

/* Gives at most n bytes to the other end. */
static inline size_t pump_give(Pump *p, unsigned from, size_t n)
{
        Line *l = &p->lines[from];
        ssize_t k;

        n = MIN(n, l->end - l->start);
        if (pump_lost(p) || n == 0)
                return 0;
        /* What it may do with a line it may do as soon as it could have read it. */
        k = send(p->fds[1 - from], l->data + l->start, n, MSG_NOSIGNAL);
        if (k <= 0)
                return 0;
        l->start += (size_t) k;
        pump_look(p, from, &l->arrived, l->start, false);
        return (size_t) k;
}
