/* SPDX-License-Identifier: Apache-2.0 */
#include "logger/cri.h"

static Piece take(const char *text, size_t n, bool full)
{
        return (Piece){ .text = text, .n = n, .full = full };
}

/* Without a copy, when nothing is kept and a newline is in reach. */
static bool next_in_place(const char **p, size_t *n, Piece *ret)
{
        const char *start = *p, *newline = memchr(start, '\n', MIN(*n, (size_t) CRI_PIECE_MAX + 1));
        size_t k = newline ? (size_t) (newline - start) : CRI_PIECE_MAX;

        if (!newline && *n <= CRI_PIECE_MAX)
                return false;
        *ret = take(start, k, newline);
        *p += k + (newline != NULL);
        *n -= k + (newline != NULL);
        return true;
}

bool line_next(Line *l, const char **p, size_t *n, Piece *ret)
{
        const char *newline;
        size_t k;

        if (l->n == 0 && *n > 0 && next_in_place(p, n, ret))
                return true;
        if (*n == 0)
                return false;
        if (l->n == CRI_PIECE_MAX && **p != '\n') {
                *ret = take(l->data, l->n, false);
                l->n = 0;
                return true;
        }
        newline = memchr(*p, '\n', MIN(*n, CRI_PIECE_MAX - l->n + 1));
        k = newline ? (size_t) (newline - *p) : MIN(*n, CRI_PIECE_MAX - l->n);
        if (GROW(l->data, l->cap, MAX(l->n + k, (size_t) 1)) < 0) {
                *ret = l->n > 0 ? take(l->data, l->n, false) : take(*p, k, newline);
                if (l->n == 0) {
                        *p += k + (newline != NULL);
                        *n -= k + (newline != NULL);
                }
                l->n = 0;
                return true;
        }
        memcpy(l->data + l->n, *p, k);
        *p += k;
        *n -= k;
        l->n += k;
        if (!newline)
                return *n > 0 && line_next(l, p, n, ret);
        (*p)++;
        (*n)--;
        *ret = take(l->data, l->n, true);
        l->n = 0;
        return true;
}

bool line_rest(Line *l, Piece *ret)
{
        if (l->n == 0)
                return false;
        *ret = take(l->data, l->n, true);
        l->n = 0;
        return true;
}

void line_done(Line *l)
{
        free(l->data);
        *l = (Line){ 0 };
}

static char *digits(char *p, unsigned long v, int n)
{
        for (int i = n - 1; i >= 0; i--, v /= 10)
                p[i] = (char) ('0' + v % 10);
        return p + n;
}

/* Days since 1970 → a date, in eras of 400 years that begin in March, so that leap days come last. */
static void civil(int64_t days, unsigned *year, unsigned *month, unsigned *day)
{
        int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
        unsigned doe = (unsigned) (z - era * 146097);
        unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
        unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;

        *day = doy - (153 * mp + 2) / 5 + 1;
        *month = mp < 10 ? mp + 3 : mp - 9;
        *year = (unsigned) (yoe + era * 400) + (*month <= 2);
}

/* Not gmtime(), which reads the time zone's files. */
void cri_time(int64_t sec, long nsec, char ret[static CRI_TIME_SIZE])
{
        char *p = ret;
        int64_t days = sec / 86400, rest = sec % 86400;
        unsigned year, month, day;

        if (rest < 0) {
                rest += 86400;
                days--;
        }
        civil(days, &year, &month, &day);
        p = digits(p, year, 4);
        *p++ = '-';
        p = digits(p, month, 2);
        *p++ = '-';
        p = digits(p, day, 2);
        *p++ = 'T';
        p = digits(p, (unsigned long) rest / 3600, 2);
        *p++ = ':';
        p = digits(p, (unsigned long) rest / 60 % 60, 2);
        *p++ = ':';
        p = digits(p, (unsigned long) rest % 60, 2);
        *p++ = '.';
        p = digits(p, (unsigned long) nsec, 9);
        *p = 'Z';
}

void cri_record(char *out, const char *time, const char *stream, const Piece *piece)
{
        memcpy(out, time, CRI_TIME_SIZE);
        out += CRI_TIME_SIZE;
        *out++ = ' ';
        memcpy(out, stream, 6);
        out += 6;
        *out++ = ' ';
        *out++ = piece->full ? 'F' : 'P';
        *out++ = ' ';
        memcpy(out, piece->text, piece->n);
        out[piece->n] = '\n';
}

void tail_put(Tail *t, const char *p, size_t n)
{
        if (!t->data)
                t->data = malloc(TAIL_SIZE);
        if (!t->data)
                return;
        if (n > TAIL_SIZE) {
                p += n - TAIL_SIZE;
                n = TAIL_SIZE;
        }
        while (n > 0) {
                size_t at = t->n % TAIL_SIZE, k = MIN(n, TAIL_SIZE - at);

                memcpy(t->data + at, p, k);
                t->n += k;
                p += k;
                n -= k;
        }
}

size_t tail_get(const Tail *t, unsigned lines, char *ret)
{
        size_t kept = MIN(t->n, (uint64_t) TAIL_SIZE), n = 0;

        /* Back from the end, the last newline being the last line's own. */
        while (n < kept) {
                char c = t->data[(t->n - n - 1) % TAIL_SIZE];

                if (c == '\n' && n > 0 && --lines == 0)
                        break;
                n++;
        }
        for (size_t i = 0; i < n; i++) {
                char c = t->data[(t->n - n + i) % TAIL_SIZE];

                ret[i] = c ?: '?';
        }
        return n;
}

void tail_done(Tail *t)
{
        free(t->data);
        *t = (Tail){ 0 };
}
