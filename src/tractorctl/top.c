/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/usec.h"
#include "tractorctl/context.h"
#include "tractorctl/top-view.h"

/* `top`: on a terminal a screen of its own, drawn anew for each sample and each key; elsewhere, or with -n, as many
 * tables (or JSON arrays) as asked for. Callbacks leave notes; the loop asks, sorts and draws. */

#define DELAY_USEC (2 * USEC_PER_SEC)
#define BATCH_DELAY_USEC USEC_PER_SEC
#define ROWS_DEFAULT 24U
/* Above and below the rows: the summary, the table's head, the keys. */
#define FRAME_LINES 3U

typedef struct Top {
        Context *c;
        const char *path;
        Json *fields;
        TopSample sample;
        TopOrder order;
        uint64_t delay;
        sd_event_source *timer;
        bool due, dirty, quit;
        /* the screen */
        char *selected; /* a path */
        size_t first;
        bool on_screen;
        struct termios before;
} Top;

/* --- samples --- */

static void leave_screen(Top *t)
{
        if (!t->on_screen)
                return;
        fputs("\033[?25h\033[?1049l", stdout);
        (void) fflush(stdout);
        (void) tcsetattr(STDIN_FILENO, TCSAFLUSH, &t->before);
        t->on_screen = false;
}

static int take_sample(Top *t)
{
        _cleanup_json_ Json *error = NULL;
        TopSample next;
        Json *tree = NULL;
        int r = client_get_fields(t->c->client, t->path, -1, t->fields, &tree, &error);

        if (r < 0)
                return r;
        if (error) {
                leave_screen(t); /* what is said there would go with it */
                return fail_error(t->c, t->path, error);
        }
        r = top_sample_init(&next, tree, now_usec(CLOCK_MONOTONIC), t->sample.usec > 0 ? &t->sample : NULL);
        if (r < 0)
                return r;
        top_sample_done(&t->sample);
        t->sample = next;
        top_sort(&t->sample, t->order);
        return 0;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
        ((Top *) userdata)->due = true;
        return 0;
}

/* The next sample is due a delay after this one: a supervisor that is slow to answer is not pressed. */
static int arm(Top *t)
{
        int r;

        t->due = false;
        if (!t->timer)
                return sd_event_add_time_relative(
                                t->c->event, &t->timer, CLOCK_MONOTONIC, t->delay, 1, on_timer, t);
        r = sd_event_source_set_time_relative(t->timer, t->delay);
        return r < 0 ? r : sd_event_source_set_enabled(t->timer, SD_EVENT_ONESHOT);
}

static int await_due(Top *t)
{
        int r = arm(t);

        while (r >= 0 && !t->due && !t->dirty && !t->quit)
                r = t->c->interrupts > 0 ? -ECANCELED : sd_event_run(t->c->event, UINT64_MAX);
        return r;
}

/* --- batches --- */

static int print_sample(Top *t)
{
        _cleanup_json_ Json *v = NULL;
        Table table;
        int r;

        if (t->c->o->json == JSON_MODE_OFF)
                return print_table(t->c, &table,
                                top_view_table(&t->sample, 0, SIZE_MAX / 2, NULL, &t->c->style, &table));
        r = top_view_json(&t->sample, &v);
        if (r < 0)
                return fail_errno(t->c, r);
        (void) print_json(t->c, v);
        return CTL_DONE;
}

static int run_batches(Top *t, int64_t n)
{
        for (int64_t i = 0; i < n; i++) {
                int r = await_due(t);

                if (r >= 0)
                        r = take_sample(t);
                if (r != 0)
                        return r < 0 ? fail_errno(t->c, r) : r;
                if (i > 0 && t->c->o->json == JSON_MODE_OFF)
                        putchar('\n');
                r = print_sample(t);
                if (r != 0)
                        return r;
                (void) fflush(stdout);
        }
        return CTL_DONE;
}

/* --- the screen --- */

static int enter_screen(Top *t)
{
        struct termios raw;

        if (tcgetattr(STDIN_FILENO, &t->before) < 0)
                return -errno;
        raw = t->before;
        raw.c_lflag &= ~(tcflag_t) (ICANON | ECHO);
        raw.c_cc[VMIN] = 1;
        raw.c_cc[VTIME] = 0;
        if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw) < 0)
                return -errno;
        t->on_screen = true;
        fputs("\033[?1049h\033[?25l", stdout);
        return 0;
}

static size_t screen_rows(void)
{
        struct winsize w;
        size_t rows = ROWS_DEFAULT;

        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) >= 0 && w.ws_row > 0)
                rows = w.ws_row;
        return rows > FRAME_LINES + 1 ? rows - FRAME_LINES : 1;
}

static size_t selected_row(const Top *t)
{
        for (size_t i = 0; i < t->sample.n; i++)
                if (streq_ptr(t->selected, t->sample.rows[i].path))
                        return i;
        return 0;
}

static void put_line(const Style *style, const char *line)
{
        size_t width = style->width > 0 ? text_fit(line, style->width) : strlen(line);

        printf("%.*s\033[K\n", (int) width, line);
}

static void draw(Top *t)
{
        _cleanup_(strv_freep) char **lines = NULL;
        size_t rows = screen_rows(), at = selected_row(t);
        const Style *style = &t->c->style;
        _cleanup_free_ char *summary = NULL, *footer = top_view_footer(&t->sample);
        Table table;
        int r;

        style_of_stdout(&t->c->style);
        if (at < t->first)
                t->first = at;
        if (at >= t->first + rows)
                t->first = at - rows + 1;
        r = top_view_table(&t->sample, t->first, rows, t->selected, style, &table);
        if (r >= 0)
                r = table_render(&table, style, &lines);
        table_done(&table);
        summary = xasprintf("tractor: %zu nodes below %s, by %s", t->sample.n, t->path,
                        top_order_name(t->order));
        fputs("\033[H", stdout);
        put_line(style, strna(summary));
        for (char **l = lines; r >= 0 && l && *l; l++)
                printf("%s\033[K\n", *l); /* cut already; it may hold colours */
        fputs("\033[J", stdout);
        printf("\033[%zuH", rows + FRAME_LINES);
        (void) printf("%.*s\033[K", (int) (style->width > 0 ? style->width : 80), strna(footer));
        (void) fflush(stdout);
        t->dirty = false;
}

static void select_row(Top *t, size_t row)
{
        if (t->sample.n > 0)
                (void) free_and_strdup(&t->selected, t->sample.rows[MIN(row, t->sample.n - 1)].path);
}

static void handle_key(Top *t, TopKey key)
{
        size_t at = selected_row(t), page = screen_rows();

        switch (key) {
        case TOP_KEY_NONE:
                return;
        case TOP_KEY_QUIT:
                t->quit = true;
                t->c->interrupts++; /* whatever is waited for */
                return;
        case TOP_KEY_UP:
                select_row(t, at > 0 ? at - 1 : 0);
                break;
        case TOP_KEY_DOWN:
                select_row(t, at + 1);
                break;
        case TOP_KEY_PAGE_UP:
                select_row(t, at > page ? at - page : 0);
                break;
        case TOP_KEY_PAGE_DOWN:
                select_row(t, at + page);
                break;
        case TOP_KEY_HOME:
                select_row(t, 0);
                break;
        case TOP_KEY_END:
                select_row(t, t->sample.n);
                break;
        default:
                if (!top_has(&t->sample, (TopOrder) (key - TOP_KEY_ORDER)))
                        return;
                t->order = (TopOrder) (key - TOP_KEY_ORDER);
                top_sort(&t->sample, t->order);
                break;
        }
        t->dirty = true;
}

static int on_keys(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        Top *t = userdata;
        char buf[64];
        ssize_t n = read(fd, buf, sizeof(buf));

        if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) {
                (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
                handle_key(t, TOP_KEY_QUIT); /* the terminal has gone */
        }
        for (ssize_t i = 0; i < n;) {
                size_t used;

                handle_key(t, top_key(buf + i, (size_t) (n - i), &used));
                i += (ssize_t) used;
        }
        return 0;
}

static int on_resize(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
        ((Top *) userdata)->dirty = true;
        return 0;
}

/* Ctrl-Z and Ctrl-\: what the signal does by itself, with the terminal as it was. */
static int on_keyboard_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
        Top *t = userdata;
        sigset_t set;

        leave_screen(t);
        (void) raise((int) si->ssi_signo); /* blocked */
        (void) sigemptyset(&set);
        (void) sigaddset(&set, (int) si->ssi_signo);
        (void) sigprocmask(SIG_UNBLOCK, &set, NULL);
        /* continued */
        (void) sigprocmask(SIG_BLOCK, &set, NULL);
        t->dirty = true;
        return enter_screen(t);
}

static int watch_terminal(Top *t)
{
        static const struct {
                int signo;
                sd_event_signal_handler_t handler;
        } signals[] = { { SIGWINCH, on_resize }, { SIGTSTP, on_keyboard_signal },
                { SIGQUIT, on_keyboard_signal } };
        int r = 0;

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(signals); i++) {
                sigset_t set;

                (void) sigemptyset(&set);
                (void) sigaddset(&set, signals[i].signo);
                if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                        return -errno;
                r = sd_event_add_signal(t->c->event, NULL, signals[i].signo, signals[i].handler, t);
        }
        return r < 0 ? r : sd_event_add_io(t->c->event, NULL, STDIN_FILENO, EPOLLIN, on_keys, t);
}

static int run_screen(Top *t)
{
        int r = watch_terminal(t);

        if (r >= 0)
                r = enter_screen(t);
        if (r >= 0)
                select_row(t, 0);
        if (r >= 0)
                r = arm(t);
        t->dirty = true;
        while (r >= 0 && !t->quit) {
                if (t->due) {
                        r = take_sample(t);
                        if (r > 0)
                                break;
                        t->dirty = true;
                        if (r >= 0)
                                r = arm(t);
                }
                if (r >= 0 && t->dirty)
                        draw(t);
                if (r >= 0)
                        r = t->c->interrupts > 0 ? -ECANCELED : sd_event_run(t->c->event, UINT64_MAX);
        }
        leave_screen(t);
        if (t->quit)
                return CTL_DONE;
        return r < 0 ? fail_errno(t->c, r) : r;
}

/* --- */

static bool is_interactive(const Context *c)
{
        return c->style.moves && isatty(STDIN_FILENO) && c->o->number < 0 && c->o->json == JSON_MODE_OFF;
}

static int run(Top *t)
{
        const Options *o = t->c->o;
        bool interactive = is_interactive(t->c);
        int r;

        r = json_pack(&t->fields, "[s,s,s,s,s,s,s]", "path", "kind", "state", "id", "pid", "restarts",
                        "usage");
        if (r < 0)
                return fail_errno(t->c, r);
        t->delay = o->delay > 0 ? o->delay : interactive ? DELAY_USEC : BATCH_DELAY_USEC;
        r = context_watch_signals(t->c);
        if (r == 0)
                r = context_connect(t->c);
        if (r != 0)
                return r;
        r = take_sample(t);
        if (r != 0)
                return r < 0 ? fail_errno(t->c, r) : r;
        return interactive ? run_screen(t) : run_batches(t, o->number < 0 ? 1 : o->number);
}

int verb_top(Context *c)
{
        Top t = { .c = c, .path = c->o->n_args > 0 ? c->o->args[0] : "/" };
        int r = run(&t);

        sd_event_source_disable_unref(t.timer);
        json_unref(t.fields);
        top_sample_done(&t.sample);
        free(t.selected);
        return r;
}
