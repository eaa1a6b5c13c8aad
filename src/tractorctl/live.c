/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tractorctl/live.h"

#define ROWS_DEFAULT 24

static unsigned terminal_rows(void)
{
        struct winsize w;

        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) < 0 || w.ws_row == 0)
                return ROWS_DEFAULT;
        return w.ws_row;
}

/* To the region's first line. What stands there is overwritten line by line: clearing it first would flicker. */
static void go_up(Live *l)
{
        /* A terminal made smaller has scrolled the region's top out of reach. */
        unsigned up = l->rows > 0 ? MIN(l->drawn, l->rows - 1) : l->drawn;

        if (up > 0)
                printf("\033[%uA\r", up);
        l->drawn = 0;
}

static void put_line(const char *line)
{
        printf("%s\033[K\n", line);
}

static void paint(Live *l)
{
        size_t n = l->lines ? strv_length(l->lines) : 0, shown = n;

        l->rows = MAX(terminal_rows(), 2U);
        if (n > l->rows - 1)
                shown = l->rows - 2;
        for (size_t i = 0; i < shown; i++)
                put_line(l->lines[i]);
        l->drawn = (unsigned) shown;
        if (shown < n) {
                printf("... and %zu more; 'tractorctl tree' shows all\033[K\n", n - shown);
                l->drawn++;
        }
        fputs("\033[J", stdout);
        (void) fflush(stdout);
}

void live_draw(Live *l, char *const *lines)
{
        char **copy = NULL;

        if (lines && strv_copy(lines, &copy) < 0)
                return;
        strv_free(l->lines);
        l->lines = copy;
        if (!l->hidden) {
                fputs("\033[?25l", stdout);
                l->hidden = true;
        }
        go_up(l);
        paint(l);
}

void live_log(Live *l, const char *line)
{
        go_up(l);
        put_line(line);
        paint(l);
}

void live_done(Live *l, bool keep)
{
        if (!keep && l->drawn > 0) {
                go_up(l);
                fputs("\033[J", stdout);
        }
        l->drawn = 0;
        if (l->hidden)
                fputs("\033[?25h", stdout);
        l->hidden = false;
        strv_free(l->lines);
        l->lines = NULL;
        (void) fflush(stdout);
}
