/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/macro.h"

int free_and_strdup(char **p, const char *s)
{
        char *copy = NULL;

        if (s) {
                copy = strdup(s);
                if (!copy)
                        return -ENOMEM;
        }
        free(*p);
        *p = copy;
        return 0;
}

char *xasprintf(const char *format, ...)
{
        va_list ap;
        char *s = NULL;
        int r;

        va_start(ap, format);
        r = vasprintf(&s, format, ap);
        va_end(ap);
        return r < 0 ? NULL : s;
}

int grow_array(void *p, size_t *cap, size_t n, size_t size)
{
        void **array = p;
        size_t want;
        void *q;

        if (n <= *cap)
                return 0;
        want = MAX(MAX(*cap * 2, n), (size_t) 4);
        q = reallocarray(*array, want, size);
        if (!q)
                return -ENOMEM;
        memset((char *) q + *cap * size, 0, (want - *cap) * size);
        *array = q;
        *cap = want;
        return 0;
}

void strv_free(char **strv)
{
        if (!strv)
                return;
        for (char **s = strv; *s; s++)
                free(*s);
        free(strv);
}

size_t strv_length(char *const *strv)
{
        size_t n = 0;

        while (strv && strv[n])
                n++;
        return n;
}

int strv_append(char ***strv, const char *s)
{
        size_t n = strv_length(*strv);
        char *copy = strdup(s), **q;

        q = copy ? reallocarray(*strv, n + 2, sizeof(char *)) : NULL;
        if (!q) {
                free(copy);
                return -ENOMEM;
        }
        q[n] = copy;
        q[n + 1] = NULL;
        *strv = q;
        return 0;
}

int strv_copy(char *const *strv, char ***ret)
{
        _cleanup_(strv_freep) char **copy = NULL;
        int r;

        for (size_t i = 0; strv && strv[i]; i++) {
                r = strv_append(&copy, strv[i]);
                if (r < 0)
                        return r;
        }
        if (!copy) {
                copy = calloc(1, sizeof(char *));
                if (!copy)
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(copy);
        return 0;
}
