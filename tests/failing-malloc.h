/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An allocator for a test program and the libraries it uses, in place of the C library's: an allocation that is counted down to
 * fails, and those that live are counted. A sanitizer has its own and goes with no other. To be included by one file of a program. */

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);

/* Visible, so that the libraries use them too. */
#define VISIBLE __attribute__((visibility("default")))

static long countdown = -1, live;
static bool none; /* there is none at all */

static inline bool fails(void)
{
        return none || (countdown > 0 && --countdown == 0);
}

static inline void *counted(void *p)
{
        live += p != NULL;
        return p;
}

VISIBLE void *malloc(size_t n)
{
        return fails() ? (errno = ENOMEM, NULL) : counted(__libc_malloc(n));
}

VISIBLE void *calloc(size_t n, size_t size)
{
        return fails() ? (errno = ENOMEM, NULL) : counted(__libc_calloc(n, size));
}

VISIBLE void *realloc(void *p, size_t n)
{
        void *q;

        if (fails()) {
                errno = ENOMEM;
                return NULL;
        }
        q = __libc_realloc(p, n);
        live += !p && q;
        return q;
}

VISIBLE void free(void *p)
{
        live -= p != NULL;
        __libc_free(p);
}
