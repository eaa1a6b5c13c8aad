/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "wire/frame.h"

/* The framer against the plainest oracle: however the bytes are cut, and whenever memory is given back, the lines are
 * those one finds by looking for newlines in the whole. The first byte chooses the bound, the second the cuts. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
        if (!ok)
                abort();
}

/* The next line that is not empty; false when there is none. *ret_long: it passes the bound first. */
static bool next_line(const char **p, const char *end, size_t max_line, const char **ret, size_t *ret_n,
                bool *ret_long)
{
        while (*p < end) {
                const char *line = *p, *newline = memchr(line, '\n', (size_t) (end - line));
                size_t n = (size_t) ((newline ?: end) - line);

                *ret_long = n > max_line;
                if (*ret_long)
                        return true;
                if (!newline)
                        return false;
                *p = newline + 1;
                if (n > 0 && line[n - 1] == '\r')
                        n--;
                if (n == 0)
                        continue;
                *ret = line;
                *ret_n = n;
                return true;
        }
        return false;
}

/* Takes all lines out; false once one was too long. */
static bool drain(Frame *f, const char **p, const char *fed)
{
        for (;;) {
                const char *want = NULL;
                size_t n, want_n = 0;
                bool too_long = false, any = next_line(p, fed, f->max_line, &want, &want_n, &too_long);
                char *line;
                int r = frame_next(f, &line, &n);

                if (too_long) {
                        check(r == -EMSGSIZE && frame_next(f, &line, &n) == -EMSGSIZE);
                        return false;
                }
                check(r == (any ? 1 : 0));
                if (!any)
                        return true;
                check(n == want_n && memcmp(line, want, n) == 0 && line[n] == 0);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *bytes = (const char *) data + 2, *p = bytes, *fed = bytes, *end;
        unsigned cuts;
        Frame f;

        if (size < 2)
                return 0;
        frame_init(&f, data[0] + 1U);
        cuts = data[1];
        end = (const char *) data + size;
        while (fed < end) {
                size_t step = MIN((size_t) (end - fed), (cuts & 31) + 1), room;
                void *into;

                check(frame_reserve(&f, step, &into, &room) == 0 && room >= step);
                memcpy(into, fed, step);
                frame_commit(&f, step);
                fed += step;
                if (!drain(&f, &p, fed))
                        break;
                check(f.end - f.start <= f.max_line && f.size <= f.max_line + 64);
                frame_shrink(&f);
                cuts = cuts * 5 + 3;
        }
        frame_done(&f);
        return 0;
}
