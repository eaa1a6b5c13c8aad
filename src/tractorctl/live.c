/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tractorctl/live.h"

#define ROWS_DEFAULT 24
#define CURSOR_HIDE "\033[?25l"
#define CURSOR_SHOW "\033[?25h"

static const int keyboard_signals[] = { SIGQUIT, SIGTSTP };
static volatile sig_atomic_t was_stopped;

/* What the signal does by itself, once the cursor is back. An orphan is not stopped by SIGTSTP, and goes on. */
static void on_keyboard_signal(int signo)
{
        struct sigaction ours, plain = { .sa_handler = SIG_DFL };
        int error = errno;
        sigset_t set;

        if (write(STDOUT_FILENO, CURSOR_SHOW, sizeof(CURSOR_SHOW) - 1) < 0)
                errno = 0; /* then nothing is shown there any more */
        (void) sigaction(signo, &plain, &ours);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, signo);
        (void) raise(signo);
        (void) sigprocmask(SIG_UNBLOCK, &set, NULL);
        /* continued */
        (void) sigprocmask(SIG_BLOCK, &set, NULL);
        (void) sigaction(signo, &ours, NULL);
        was_stopped = true;
        errno = error;
}

static void catch_keyboard(bool ours)
{
        struct sigaction action = { .sa_handler = ours ? on_keyboard_signal : SIG_DFL,
                .sa_flags = SA_RESTART };
        struct sigaction old;

        (void) sigemptyset(&action.sa_mask);
        for (size_t i = 0; i < ELEMENTSOF(keyboard_signals); i++)
                if (sigaction(keyboard_signals[i], NULL, &old) >= 0 && old.sa_handler != SIG_IGN)
                        (void) sigaction(keyboard_signals[i], &action, NULL);
}

/* Neither comes in the middle of a sequence. */
static void hold_keyboard(sigset_t *ret_old)
{
        sigset_t set;

        (void) sigemptyset(&set);
        for (size_t i = 0; i < ELEMENTSOF(keyboard_signals); i++)
                (void) sigaddset(&set, keyboard_signals[i]);
        (void) sigprocmask(SIG_BLOCK, &set, ret_old);
}

static void release_keyboard(const sigset_t *old)
{
        (void) sigprocmask(SIG_SETMASK, old, NULL);
}

static bool in_foreground(void)
{
        pid_t group = tcgetpgrp(STDOUT_FILENO);

        /* ≤ 0: not the terminal that controls us, or of another namespace. */
        return group <= 0 || group == getpgrp();
}

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

        if (was_stopped) {
                up = 0;
                was_stopped = false;
                l->hidden = false;
        }
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

        if (!in_foreground()) {
                (void) fflush(stdout);
                return;
        }
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
        sigset_t old;

        if (lines && strv_copy(lines, &copy) < 0)
                return;
        strv_free(l->lines);
        l->lines = copy;
        hold_keyboard(&old);
        go_up(l);
        if (!l->hidden && in_foreground()) {
                catch_keyboard(true);
                fputs(CURSOR_HIDE, stdout);
                l->hidden = true;
        }
        paint(l);
        release_keyboard(&old);
}

void live_log(Live *l, const char *line)
{
        sigset_t old;

        hold_keyboard(&old);
        go_up(l);
        put_line(line);
        paint(l);
        release_keyboard(&old);
}

void live_done(Live *l, bool keep)
{
        sigset_t old;

        hold_keyboard(&old);
        if (!keep && l->drawn > 0) {
                go_up(l);
                fputs("\033[J", stdout);
        }
        l->drawn = 0;
        if (l->hidden)
                fputs(CURSOR_SHOW, stdout);
        l->hidden = false;
        strv_free(l->lines);
        l->lines = NULL;
        (void) fflush(stdout);
        catch_keyboard(false);
        release_keyboard(&old);
}
