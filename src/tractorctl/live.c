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

static void erase(Live *l)
{
        /* A terminal made smaller has scrolled the region's top out of reach. */
        unsigned up = l->rows > 0 ? MIN(l->drawn, l->rows - 1) : l->drawn;

        if (up > 0)
                printf("\033[%uA\r", up);
        if (l->drawn > 0)
                fputs("\033[J", stdout);
        l->drawn = 0;
}

static void paint(Live *l)
{
        size_t n = l->lines ? strv_length(l->lines) : 0, shown;

        shown = n;
        if (n > l->rows - 1)
                shown = l->rows > 2 ? l->rows - 2 : 0;
        for (size_t i = 0; i < shown; i++)
                puts(l->lines[i]);
        l->drawn = (unsigned) shown;
        if (shown < n) {
                printf("... and %zu more; 'tractorctl tree' shows all\n", n - shown);
                l->drawn++;
        }
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
        erase(l);
        l->rows = MAX(terminal_rows(), 2U);
        paint(l);
}

void live_log(Live *l, const char *line)
{
        erase(l);
        puts(line);
        l->rows = MAX(terminal_rows(), 2U);
        paint(l);
}

void live_done(Live *l, bool keep)
{
        if (!keep)
                erase(l);
        l->drawn = 0;
        if (l->hidden)
                fputs("\033[?25h", stdout);
        l->hidden = false;
        strv_free(l->lines);
        l->lines = NULL;
        (void) fflush(stdout);
}
