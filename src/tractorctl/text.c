/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <langinfo.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "tractorctl/text.h"

void style_of_stdout(Style *ret)
{
        const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
        struct winsize w;
        Style s = { 0 };

        if (isatty(STDOUT_FILENO)) {
                bool dumb = !term || !*term || streq(term, "dumb");

                s.terminal = true;
                s.moves = !dumb;
                s.color = !dumb && !(no_color && *no_color);
                s.utf8 = streq(nl_langinfo(CODESET), "UTF-8");
                if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) >= 0)
                        s.width = w.ws_col;
        }
        *ret = s;
}

/* Bytes of the printable character at s and its columns; 0 for one that must be escaped. */
static size_t printable(const char *s, size_t n, size_t *ret_columns)
{
        unsigned char c = (unsigned char) *s;
        mbstate_t state = { 0 };
        wchar_t wide;
        size_t k;
        int w;

        *ret_columns = 1;
        if (c < 0x80)
                return c >= 0x20 && c != 0x7f;
        k = mbrtowc(&wide, s, n, &state);
        if (k == 0 || k > n)
                return 0;
        w = wcwidth(wide);
        if (w < 0)
                return 0;
        *ret_columns = (size_t) w;
        return k;
}

char *text_clean(const char *s)
{
        size_t n = s ? strlen(s) : 0, out = 0, columns;
        char *clean;

        if (n > SIZE_MAX / 4 - 1)
                return NULL;
        clean = malloc(4 * n + 1);
        if (!clean)
                return NULL;
        for (size_t i = 0; i < n;) {
                size_t k = printable(s + i, n - i, &columns);

                if (k == 0)
                        out += (size_t) sprintf(clean + out, "\\x%02x", (unsigned char) s[i++]);
                else {
                        memcpy(clean + out, s + i, k);
                        out += k;
                        i += k;
                }
        }
        clean[out] = 0;
        return clean;
}

size_t text_fit(const char *s, size_t columns)
{
        size_t n = strlen(s), i = 0, used = 0, w;

        while (i < n) {
                size_t k = printable(s + i, n - i, &w);

                if (used + w > columns)
                        break;
                used += w;
                i += MAX(k, (size_t) 1);
        }
        return i;
}

size_t text_width(const char *s)
{
        size_t n = strlen(s), used = 0, w;

        for (size_t i = 0; i < n;) {
                i += MAX(printable(s + i, n - i, &w), (size_t) 1);
                used += w;
        }
        return used;
}

const char *text_duration(char buf[static TEXT_MAX], int64_t ms)
{
        int64_t s = ms / 1000;

        if (ms < 0)
                buf[0] = 0;
        else if (ms < 100)
                (void) snprintf(buf, TEXT_MAX, "%.3f s", (double) ms / 1000);
        else if (ms < 10000)
                (void) snprintf(buf, TEXT_MAX, "%.1f s", (double) ms / 1000);
        else if (s < 60)
                (void) snprintf(buf, TEXT_MAX, "%d s", (int) s);
        else if (s < 3600)
                (void) snprintf(buf, TEXT_MAX, "%d min %d s", (int) (s / 60), (int) (s % 60));
        else if (s < 86400)
                (void) snprintf(buf, TEXT_MAX, "%d h %d min", (int) (s / 3600), (int) (s / 60 % 60));
        else
                (void) snprintf(buf, TEXT_MAX, "%lld d %d h", (long long) (s / 86400),
                                (int) (s / 3600 % 24));
        return buf;
}

const char *text_bytes(char buf[static TEXT_MAX], int64_t bytes)
{
        static const char unit[] = "KMGTPE";
        double v = (double) bytes;
        int u = -1;

        if (bytes < 0) {
                buf[0] = 0;
                return buf;
        }
        while (v >= 1024 && u + 1 < (int) sizeof(unit) - 1) {
                v /= 1024;
                u++;
        }
        if (u < 0)
                (void) snprintf(buf, TEXT_MAX, "%lld", (long long) bytes);
        else
                (void) snprintf(buf, TEXT_MAX, v < 10 ? "%.1f%c" : "%.0f%c", v, unit[u]);
        return buf;
}

void table_init(Table *t, const char *const *head, size_t n_columns)
{
        assert(n_columns > 0 && n_columns <= TABLE_COLUMNS_MAX);
        *t = (Table){ .head = head, .n_columns = n_columns };
}

void table_done(Table *t)
{
        for (size_t i = 0; i < t->n; i++)
                free(t->cells[i].text);
        free(t->cells);
        t->cells = NULL;
        t->n = t->cap = 0;
}

int table_add(Table *t, Hue hue, const char *text)
{
        int r = GROW(t->cells, t->cap, t->n + 1);

        if (r < 0)
                return r;
        t->cells[t->n] = (Cell){ .text = text_clean(text), .hue = hue };
        if (!t->cells[t->n].text)
                return -ENOMEM;
        t->n++;
        return 0;
}

/* A column with nothing in it has width 0, and is left out, unless there is no row at all. */
static void measure(const Table *t, size_t widths[TABLE_COLUMNS_MAX])
{
        for (size_t c = 0; c < t->n_columns; c++)
                widths[c] = t->n > 0 ? 0 : strlen(t->head[c]);
        for (size_t i = 0; i < t->n; i++) {
                size_t w = text_width(t->cells[i].text), *max = &widths[i % t->n_columns];

                if (w > 0)
                        *max = MAX(MAX(*max, w), strlen(t->head[i % t->n_columns]));
        }
}

static void put_colored(FILE *f, const Style *style, Hue hue, const char *text, size_t n)
{
        static const char *const codes[] = {
                [HUE_DIM] = "2", [HUE_GOOD] = "32", [HUE_BUSY] = "33", [HUE_BAD] = "1;31"
        };

        if (style->color && hue != HUE_PLAIN && n > 0)
                fprintf(f, "\033[%sm%.*s\033[0m", codes[hue], (int) n, text);
        else
                fprintf(f, "%.*s", (int) n, text);
}

/* Aligned and cut to the terminal's width; colours cost no column. */
static void put_aligned(FILE *f, const Style *style, const Cell *row, size_t n_columns, const size_t *widths)
{
        size_t room = style->width > 0 ? style->width : SIZE_MAX;

        for (size_t c = 0; c < n_columns && room > 0; c++) {
                size_t w = text_width(row[c].text), pad = c + 1 < n_columns ? widths[c] + 2 - w : 0;

                if (widths[c] == 0)
                        continue;
                put_colored(f, style, row[c].hue, row[c].text, text_fit(row[c].text, room));
                room -= MIN(room, w);
                for (; pad > 0 && room > 0; pad--, room--)
                        fputc(' ', f);
        }
}

static void put_plain(FILE *f, const Cell *row, size_t n_columns)
{
        for (size_t c = 0; c < n_columns; c++)
                fprintf(f, "%s%s", c > 0 ? "\t" : "", *row[c].text ? row[c].text : "-");
}

static int put_row(
                const Style *style, const Cell *row, size_t n_columns, const size_t *widths, char ***lines)
{
        _cleanup_free_ char *line = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&line, &n);

        if (!f)
                return -ENOMEM;
        if (style->terminal)
                put_aligned(f, style, row, n_columns, widths);
        else
                put_plain(f, row, n_columns);
        if (fclose(f) != 0)
                return -ENOMEM;
        while (n > 0 && line[n - 1] == ' ')
                line[--n] = 0;
        return strv_append(lines, line);
}

int table_render(const Table *t, const Style *style, char ***ret)
{
        _cleanup_(strv_freep) char **lines = NULL;
        size_t widths[TABLE_COLUMNS_MAX];
        int r;

        measure(t, widths);
        if (style->terminal) {
                Cell head[TABLE_COLUMNS_MAX];

                for (size_t c = 0; c < t->n_columns; c++)
                        head[c] = (Cell){ .text = (char *) t->head[c], .hue = HUE_DIM };
                r = put_row(style, head, t->n_columns, widths, &lines);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i + t->n_columns <= t->n; i += t->n_columns) {
                r = put_row(style, t->cells + i, t->n_columns, widths, &lines);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(lines);
        return 0;
}

int table_print(const Table *t, const Style *style)
{
        _cleanup_(strv_freep) char **lines = NULL;
        int r = table_render(t, style, &lines);

        if (r < 0)
                return r;
        for (char **l = lines; l && *l; l++)
                puts(*l);
        return 0;
}

static bool is_plain(const char *word)
{
        return *word &&
               strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:@") ==
                               strlen(word);
}

char *shell_quote(char *const *words)
{
        char *text = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&text, &n);

        if (!f)
                return NULL;
        for (size_t i = 0; words[i]; i++) {
                if (i > 0)
                        fputc(' ', f);
                if (is_plain(words[i])) {
                        fputs(words[i], f);
                        continue;
                }
                fputc('\'', f);
                for (const char *s = words[i]; *s; s++)
                        if (*s == '\'')
                                fputs("'\\''", f);
                        else
                                fputc(*s, f);
                fputc('\'', f);
        }
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}
