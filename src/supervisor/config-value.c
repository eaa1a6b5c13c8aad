/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/usec.h"
#include "supervisor/config-parse.h"

/* Warnings past these are left out: many of them must not turn a good tree into a wrong one. */
#define WARNINGS_MAX 64U
#define NEAR_MAX 48U /* longer words are compared by nobody */

static const char *const type_words[] = {
        [JSON_NULL] = "null",
        [JSON_BOOLEAN] = "a boolean",
        [JSON_INTEGER] = "an integer",
        [JSON_DOUBLE] = "a fraction",
        [JSON_STRING] = "a string",
        [JSON_ARRAY] = "an array",
        [JSON_OBJECT] = "an object",
};

static void print_pointer(FILE *f, const Where *w)
{
        if (!w)
                return;
        print_pointer(f, w->up);
        fputc('/', f);
        if (!w->key)
                fprintf(f, "%zu", w->index);
        for (const char *c = w->key; c && *c; c++) {
                if (*c == '~')
                        fputs("~0", f);
                else if (*c == '/')
                        fputs("~1", f);
                else
                        fputc(*c, f);
        }
}

static int pointer_new(const Where *w, char **ret)
{
        size_t n;
        FILE *f;

        f = open_memstream(ret, &n);
        if (!f)
                return -ENOMEM;
        print_pointer(f, w);
        if (fclose(f) != 0) {
                free(*ret);
                *ret = NULL;
                return -ENOMEM;
        }
        return 0;
}

char *where_pointer(const Where *w)
{
        char *s = NULL;

        return pointer_new(w, &s) < 0 ? NULL : s;
}

static int vproblem(
                Parse *p, const Where *w, bool unsupported, bool is_warning, const char *format, va_list ap)
{
        _cleanup_free_ char *pointer = NULL, *message = NULL;
        size_t n;
        int r;

        if (p->problems->full || (is_warning && p->problems->n_warnings >= WARNINGS_MAX))
                return 0;
        r = pointer_new(w, &pointer);
        if (r < 0)
                return r;
        if (vasprintf(&message, format, ap) < 0) {
                message = NULL;
                return -ENOMEM;
        }
        n = p->problems->n;
        r = config_problem_add(p->problems, pointer, unsupported, "%s", message);
        if (r < 0)
                return r;
        if (is_warning && !p->problems->full) {
                p->problems->items[n].warning = true;
                p->problems->n_warnings++;
        }
        return 0;
}

int problem(Parse *p, const Where *w, const char *format, ...)
{
        va_list ap;
        int r;

        va_start(ap, format);
        r = vproblem(p, w, false, false, format, ap);
        va_end(ap);
        return r;
}

int problem_unsupported(Parse *p, const Where *w, const char *format, ...)
{
        va_list ap;
        int r;

        va_start(ap, format);
        r = vproblem(p, w, true, false, format, ap);
        va_end(ap);
        return r;
}

int problem_warning(Parse *p, const Where *w, const char *format, ...)
{
        va_list ap;
        int r;

        va_start(ap, format);
        r = vproblem(p, w, false, true, format, ap);
        va_end(ap);
        return r;
}

int problem_type(Parse *p, const Where *w, const Json *v, const char *wanted)
{
        return problem(p, w, "must be %s, not %s", wanted, type_words[json_type(v)]);
}

const char *shown(char buffer[static SHOWN_MAX], const char *s)
{
        size_t n = strlen(s), max = SHOWN_MAX - sizeof("…");

        if (n <= max)
                max = n;
        else
                while (max > 0 && ((unsigned char) s[max] & 0xc0) == 0x80)
                        max--;
        for (size_t i = 0; i < max; i++)
                buffer[i] = (unsigned char) s[i] < 0x20 || s[i] == 0x7f ? '?' : s[i];
        strcpy(buffer + max, n > max ? "…" : "");
        return buffer;
}

/* Edits are insertions, deletions, replacements and swaps of neighbours. */
static size_t distance(const char *a, size_t na, const char *b, size_t nb)
{
        size_t rows[3][NEAR_MAX + 1], *before = rows[0], *last = rows[1], *row = rows[2];

        for (size_t j = 0; j <= nb; j++)
                last[j] = j;
        for (size_t i = 1; i <= na; i++) {
                size_t *next = before;

                row[0] = i;
                for (size_t j = 1; j <= nb; j++) {
                        row[j] = MIN(last[j - 1] + (a[i - 1] != b[j - 1]), MIN(last[j], row[j - 1]) + 1);
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                                row[j] = MIN(row[j], before[j - 2] + 1);
                }
                before = last;
                last = row;
                row = next;
        }
        return last[nb];
}

/* A word of two letters is within two edits of everything; so an edit must leave most of it. A word cut
 * short ("grace") is near, too. */
static bool nearer(const char *s, const char *word, size_t *best)
{
        size_t n = strlen(s), m = strlen(word), d;

        if (n >= 4 && startswith(word, s))
                d = 1;
        else if (n > NEAR_MAX || m > NEAR_MAX || n + 2 < m || m + 2 < n)
                return false;
        else
                d = distance(s, n, word, m);
        if (d >= *best || d * 2 > m)
                return false;
        *best = d;
        return true;
}

const char *nearest_word(const char *s, const char *(*word)(int), int n)
{
        const char *found = NULL;
        size_t best = 3;

        for (int i = 0; i < n; i++)
                if (word(i) && nearer(s, word(i), &best))
                        found = word(i);
        return found;
}

int value_text(Parse *p, const Where *w, Json *v, size_t max, const char **ret)
{
        const char *s = json_string(v);

        if (json_type(v) != JSON_STRING)
                return problem_type(p, w, v, "a string");
        if (strlen(s) != json_string_length(v))
                return problem(p, w, "must not hold a NUL character");
        if (strlen(s) > max)
                return problem(p, w, "must be at most %zu bytes long, not %zu", max, strlen(s));
        *ret = s;
        return 1;
}

int value_string(Parse *p, const Where *w, Json *v, size_t max, const char **ret)
{
        const char *s;
        int r;

        r = value_text(p, w, v, max, &s);
        if (r <= 0)
                return r;
        if (!*s)
                return problem(p, w, "must not be empty");
        *ret = s;
        return 1;
}

int value_integer(Parse *p, const Where *w, Json *v, int64_t min, int64_t max, int64_t *ret)
{
        int64_t n = json_integer(v);

        if (json_type(v) != JSON_INTEGER)
                return problem_type(p, w, v, "an integer");
        if (n < min || n > max)
                return problem(p, w, "must be between %lld and %lld, not %lld", (long long) min,
                                (long long) max, (long long) n);
        *ret = n;
        return 1;
}

int value_number(Parse *p, const Where *w, Json *v, double min, double max, double *ret)
{
        double n = json_double(v);

        if (json_type(v) != JSON_INTEGER && json_type(v) != JSON_DOUBLE)
                return problem_type(p, w, v, "a number");
        if (!isfinite(n) || n < min || n > max)
                return problem(p, w, "must be between %g and %g, not %g", min, max, n);
        *ret = n;
        return 1;
}

int value_path(Parse *p, const Where *w, Json *v, const char *cwd, char **ret)
{
        const char *s = "";
        char *path;
        int r;

        r = value_string(p, w, v, PATH_MAX - 1, &s);
        if (r <= 0)
                return r;
        if (*s != '/' && !cwd)
                return problem(p, w, "must be an absolute path, or the child needs an absolute `cwd`");
        if (*s == '/')
                path = strdup(s);
        else
                path = xasprintf("%s/%s", streq(cwd, "/") ? "" : cwd, s);
        if (!path)
                return -ENOMEM;
        *ret = path;
        return 1;
}

/* "a, b, c" into a bounded buffer */
static void list_words(char *buffer, size_t size, const char *(*word)(int), int n)
{
        size_t used = 0;

        buffer[0] = 0;
        for (int i = 0; i < n && used < size; i++)
                used += (size_t) snprintf(buffer + used, size - used, "%s%s", i > 0 ? ", " : "", word(i));
}

int value_word(Parse *p, const Where *w, Json *v, const char *(*word)(int), int n, const char *otherwise,
                int *ret)
{
        char list[512], buffer[SHOWN_MAX];
        const char *s = json_string(v);
        bool whole = s && strlen(s) == json_string_length(v);

        for (int i = 0; whole && i < n; i++)
                if (streq(s, word(i))) {
                        *ret = i;
                        return 1;
                }
        list_words(list, sizeof(list), word, n);
        if (!s)
                return problem(p, w, "must be one of %s%s, not %s", list, otherwise ?: "",
                                type_words[json_type(v)]);
        return problem(p, w, "must be one of %s%s, not \"%s\"", list, otherwise ?: "", shown(buffer, s));
}

static bool program_relative(const char *program)
{
        return program[0] != '/' && strchr(program, '/');
}

int value_command(Parse *p, const Where *w, Json *v, const char *cwd, char ***ret)
{
        _cleanup_(strv_freep) char **argv = NULL;
        bool good = true;
        const char *s;
        int r;

        if (json_type(v) != JSON_ARRAY)
                return problem_type(p, w, v, "an array of strings");
        if (json_length(v) == 0)
                return problem(p, w, "must name a program");
        for (size_t i = 0; i < json_length(v); i++) {
                Where at = { .up = w, .index = i };

                r = (i == 0 ? value_string : value_text)(p, &at, json_item(v, i), CONFIG_ARG_MAX, &s);
                if (r < 0)
                        return r;
                if (r > 0 && i == 0 && !cwd && program_relative(s))
                        r = problem(p, &at, "a relative program needs an absolute `cwd`");
                if (r > 0)
                        r = strv_append(&argv, s) ?: 1;
                if (r < 0)
                        return r;
                good = good && r > 0;
        }
        if (good)
                *ret = TAKE_PTR(argv);
        return good;
}

int key_bool(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        if (json_type(v) != JSON_BOOLEAN)
                return problem_type(p, w, v, "true or false");
        *(bool *) key_field(key, target) = json_boolean(v);
        return 0;
}

int key_integer(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        int64_t n;
        int r;

        r = value_integer(p, w, v, key->min, key->max, &n);
        if (r <= 0)
                return r;
        *(int *) key_field(key, target) = (int) n;
        return 0;
}

int key_msec(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        int64_t n;
        int r;

        r = value_integer(p, w, v, key->min, key->max ?: CONFIG_MSEC_MAX, &n);
        if (r <= 0)
                return r;
        *(uint64_t *) key_field(key, target) = (uint64_t) n * USEC_PER_MSEC;
        return 0;
}

int key_word(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        int i, r;

        r = value_word(p, w, v, key->word, (int) key->max, NULL, &i);
        if (r <= 0)
                return r;
        *(int *) key_field(key, target) = i;
        return 0;
}

int key_text(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        const char *s;
        int r;

        r = value_text(p, w, v, (size_t) key->max, &s);
        if (r <= 0)
                return r;
        return free_and_strdup(key_field(key, target), s);
}

int key_unsupported(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        return problem_unsupported(p, w, "`%s` is not built yet", key->name);
}

int key_cgroups(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        const char *s = json_string(v);

        if (s && streq(s, "scope"))
                return 0; /* the default */
        if (s && streq(s, "delegated"))
                return problem_unsupported(p, w, "`cgroups`: \"delegated\" is not built yet");
        return problem(p, w, "must be one of \"scope\", \"delegated\"");
}

static int refuse_misplaced(Parse *p, const Where *w, const Key *key, unsigned kinds)
{
        if (key->kinds == KEY_TOP)
                return problem(p, w, "`%s` belongs at the top of the file only", key->name);
        if (kinds == KEY_TOP && key->kinds == KEY_CHILD)
                return problem(p, w, "`%s` belongs to a child, not to the tree itself", key->name);
        if (key->kinds == KEY_ACTOR)
                return problem(p, w, "`%s` belongs to an actor (a child with `exec`), not to a supervisor",
                                key->name);
        return problem(p, w, "`%s` belongs to a supervisor (a node with `children`), not to an actor",
                        key->name);
}

static int refuse_unknown(Parse *p, const Where *w, const Key *keys, size_t n, unsigned kinds)
{
        char buffer[SHOWN_MAX];
        const char *found = NULL;
        size_t best = 3;

        for (size_t i = 0; i < n; i++)
                if ((keys[i].kinds & kinds) && nearer(w->key, keys[i].name, &best))
                        found = keys[i].name;
        if (found)
                return problem(p, w, "unknown key `%s`; did you mean `%s`?", shown(buffer, w->key), found);
        return problem(p, w, "unknown key `%s`", shown(buffer, w->key));
}

static const Key *key_find(const Key *keys, size_t n, const char *name)
{
        for (size_t i = 0; i < n; i++)
                if (keys[i].name[0] == name[0] && streq(keys[i].name, name))
                        return &keys[i];
        return NULL;
}

#define KEYS_MAX 64

/* Keys are read in the table's order, so that one may build on another (`children` on `strategy`). An object has few of
 * the keys there are, so they are looked up by what it has. */
int read_object(Parse *p, const Where *w, Json *v, const Key *keys, size_t n, unsigned kinds, void *target)
{
        Json *values[KEYS_MAX];
        bool given[KEYS_MAX] = { false };
        JsonIterator i = { 0 };
        int r;

        assert(n <= KEYS_MAX);
        if (json_type(v) != JSON_OBJECT)
                return problem_type(p, w, v, "an object");
        while (json_next(v, &i)) {
                Where at = { .up = w, .key = i.key };
                const Key *key = key_find(keys, n, i.key);

                if (key && (key->kinds & kinds)) {
                        given[key - keys] = true;
                        values[key - keys] = i.value;
                        continue;
                }
                r = key ? refuse_misplaced(p, &at, key, kinds) : refuse_unknown(p, &at, keys, n, kinds);
                if (r < 0)
                        return r;
        }
        for (size_t k = 0; k < n; k++) {
                Where at = { .up = w, .key = keys[k].name };

                r = given[k] ? keys[k].read(p, &at, values[k], &keys[k], target) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}
