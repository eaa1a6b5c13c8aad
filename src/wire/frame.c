/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/io.h"
#include "wire/frame.h"

struct FrameFds {
        size_t n;
        int fds[FRAME_FDS_MAX];
        uint64_t until[FRAME_FDS_MAX]; /* the stream's position behind the recv that brought it; rising */
};

void frame_init(Frame *f, size_t max_line)
{
        *f = (Frame){ .max_line = max_line };
}

void frame_done(Frame *f)
{
        if (f->fds)
                close_many(f->fds->fds, f->fds->n);
        free(f->fds);
        free(f->data);
        *f = (Frame){ .max_line = f->max_line };
}

int frame_reserve(Frame *f, size_t want, void **ret, size_t *ret_n)
{
        size_t used = f->end - f->start;

        if (f->size - f->end < want && f->start > 0) {
                /* At most once a line, because a line is only waited for when no complete one is left. */
                memmove(f->data, f->data + f->start, used);
                f->scanned -= f->start;
                f->start = 0;
                f->end = used;
        }
        if (f->size - f->end < want) {
                size_t size = MAX(used + want, MIN(f->size * 2, f->max_line + want));
                char *data = realloc(f->data, size);

                if (!data)
                        return -ENOMEM;
                f->data = data;
                f->size = size;
        }
        *ret = f->data + f->end;
        *ret_n = f->size - f->end;
        return 0;
}

void frame_commit(Frame *f, size_t n)
{
        assert(n <= f->size - f->end);
        f->end += n;
}

int frame_push_fds(Frame *f, const int *fds, size_t n)
{
        FrameFds *q = f->fds;
        int r = 0;

        if (n == 0)
                return 0;
        if (!q)
                q = f->fds = calloc(1, sizeof(FrameFds));
        if (!q)
                r = -ENOMEM;
        else if (n > FRAME_FDS_MAX - q->n)
                r = -EXFULL;
        for (size_t i = 0; i < n; i++) {
                if (r < 0) {
                        safe_close(fds[i]);
                        continue;
                }
                q->until[q->n] = f->consumed + (f->end - f->start);
                q->fds[q->n++] = fds[i];
        }
        return r;
}

size_t frame_n_fds(const Frame *f)
{
        return f->fds ? f->fds->n : 0;
}

int frame_take_fds(Frame *f, int *fds, size_t n)
{
        FrameFds *q = f->fds;

        if (n == 0)
                return 0;
        if (!q || q->n < n)
                return -EBADMSG;
        memcpy(fds, q->fds, n * sizeof(int));
        q->n -= n;
        memmove(q->fds, q->fds + n, q->n * sizeof(q->fds[0]));
        memmove(q->until, q->until + n, q->n * sizeof(q->until[0]));
        if (q->n == 0) {
                free(q);
                f->fds = NULL;
        }
        return 0;
}

bool frame_fds_overdue(const Frame *f)
{
        return f->fds && f->fds->n > 0 && f->fds->until[0] <= f->consumed;
}

/* The line in data[start, newline), which is taken out; false when it is empty. */
static bool take_line(Frame *f, char *newline, char **ret_line, size_t *ret_n)
{
        char *line = f->data + f->start, *stop = newline;
        size_t taken = (size_t) (newline - line) + 1;

        f->start += taken;
        f->consumed += taken;
        f->scanned = f->start;
        if (stop > line && stop[-1] == '\r')
                stop--;
        *stop = 0;
        *ret_line = line;
        *ret_n = (size_t) (stop - line);
        return stop > line;
}

int frame_next(Frame *f, char **ret_line, size_t *ret_n)
{
        if (f->broken)
                return -EMSGSIZE;
        while (f->scanned < f->end) {
                char *newline = memchr(f->data + f->scanned, '\n', f->end - f->scanned);
                size_t n = (newline ? (size_t) (newline - f->data) : f->end) - f->start;

                if (n > f->max_line) {
                        f->broken = true;
                        return -EMSGSIZE;
                }
                if (!newline) {
                        f->scanned = f->end;
                        break;
                }
                if (take_line(f, newline, ret_line, ret_n))
                        return 1;
        }
        return 0;
}

void frame_shrink(Frame *f)
{
        if (f->start < f->end || !f->data)
                return;
        free(f->data);
        f->data = NULL;
        f->start = f->end = f->scanned = f->size = 0;
}
