/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Text for people and pipes. What comes from a supervisor may hold anything a program chose to say, so that all
 * of it is cleaned before it meets a terminal: control characters and broken UTF-8 become \xNN. A Style says once
 * what the output is; a Table knows nothing of JSON and renders the same rows as aligned columns for a terminal or
 * as tab-separated ones, with '-' for what is empty and without a head, for a pipe. */

#include "base/macro.h"

typedef struct Style {
        bool terminal; /* aligned, with a head */
        bool color;
        bool moves;     /* the cursor can: drawing in place is possible */
        bool utf8;      /* box characters and arrows are understood */
        unsigned width; /* lines are cut to this many columns; 0: never */
} Style;

/* What descriptor 1 is, from NO_COLOR, TERM and the locale (main() has called setlocale()). */
void style_of_stdout(Style *ret);

/* A copy with nothing a terminal would obey. NULL when out of memory, "" for NULL. */
char *text_clean(const char *s);
/* Columns that `s` (clean) takes; and the bytes of it that fit `columns`. */
size_t text_width(const char *s);
size_t text_fit(const char *s, size_t columns);

#define TEXT_MAX 32
/* "0.2 s", "12 s", "3 min 4 s", "2 h 5 min", "3 d 4 h"; negative: "". */
const char *text_duration(char buf[static TEXT_MAX], int64_t ms);
/* "512", "1.5K", "12M"; negative: "". */
const char *text_bytes(char buf[static TEXT_MAX], int64_t bytes);

typedef enum Hue {
        HUE_PLAIN,
        HUE_DIM,
        HUE_GOOD,
        HUE_BUSY,
        HUE_BAD,
} Hue;

typedef struct Cell {
        char *text;
        Hue hue;
} Cell;

#define TABLE_COLUMNS_MAX 10
typedef struct Table {
        const char *const *head; /* weak */
        size_t n_columns;
        Cell *cells; /* row after row */
        size_t n, cap;
} Table;

void table_init(Table *t, const char *const *head, size_t n_columns);
void table_done(Table *t);
/* Fills the next cell, row by row; `text` is cleaned and copied (NULL: empty). 0 or -ENOMEM. */
int table_add(Table *t, Hue hue, const char *text);
/* One string a line, the head included on a terminal. */
int table_render(const Table *t, const Style *style, char ***ret);
int table_print(const Table *t, const Style *style);

/* The words as one command for a shell. NULL: out of memory. */
char *shell_quote(char *const *words);
