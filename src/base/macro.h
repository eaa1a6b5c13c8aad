/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The few words of the language everything else is written in: scoped cleanup, ownership transfer, and size
 * helpers. Nothing here allocates or calls the kernel. */

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _unused_ __attribute__((unused))
#define _public_ __attribute__((visibility("default")))

#define ELEMENTSOF(x) (sizeof(x) / sizeof((x)[0]))
/* Each argument is evaluated once; the numbered names keep nested uses from shadowing one another. */
#define MIN(a, b) MIN_NAMED(a, b, __COUNTER__)
#define MAX(a, b) MAX_NAMED(a, b, __COUNTER__)
#define MIN_NAMED(a, b, n) MIN_AS(a, b, n)
#define MAX_NAMED(a, b, n) MAX_AS(a, b, n)
#define MIN_AS(a, b, n)                                                                                     \
        ({                                                                                                  \
                typeof(a) _a##n = (a);                                                                      \
                typeof(b) _b##n = (b);                                                                      \
                _a##n < _b##n ? _a##n : _b##n;                                                              \
        })
#define MAX_AS(a, b, n)                                                                                     \
        ({                                                                                                  \
                typeof(a) _a##n = (a);                                                                      \
                typeof(b) _b##n = (b);                                                                      \
                _a##n > _b##n ? _a##n : _b##n;                                                              \
        })
#define CLAMP(x, lo, hi) MIN(MAX(x, lo), hi)

#define container_of(ptr, type, member) ((type *) (void *) ((char *) (ptr) -offsetof(type, member)))

/* Hands a pointer on and forgets it: `*ret = TAKE_PTR(p)` is how a constructor ends. */
#define TAKE_PTR(p)                                                                                         \
        ({                                                                                                  \
                typeof(p) *_pp = &(p), _p = *_pp;                                                           \
                *_pp = NULL;                                                                                \
                _p;                                                                                         \
        })

/* A destructor takes NULL and half-built objects and returns NULL; this makes its `_cleanup_(xp)` form. */
#define DEFINE_CLEANUP(type, func)                                                                          \
        static inline void func##p(type *p)                                                                 \
        {                                                                                                   \
                if (*p)                                                                                     \
                        *p = func(*p);                                                                      \
        }                                                                                                   \
        struct cleanup_semicolon_##func

static inline void freep(void *p)
{
        free(*(void **) p);
}
#define _cleanup_free_ _cleanup_(freep)

static inline bool streq(const char *a, const char *b)
{
        return strcmp(a, b) == 0;
}

/* Like streq(), but NULL equals NULL and nothing else. */
static inline bool streq_ptr(const char *a, const char *b)
{
        return a == b || (a && b && streq(a, b));
}

/* The rest of `s` after `prefix`, or NULL when it does not start so. */
static inline const char *startswith(const char *s, const char *prefix)
{
        size_t n = strlen(prefix);

        return strncmp(s, prefix, n) == 0 ? s + n : NULL;
}

static inline const char *strna(const char *s)
{
        return s ?: "n/a";
}

/* Replaces *p by a copy of s (NULL clears it). -ENOMEM leaves *p as it was. */
int free_and_strdup(char **p, const char *s);
/* asprintf() that answers NULL on failure, so that it can stand in an expression. */
char *xasprintf(const char *format, ...) _printf_(1, 2);

/* Makes room for `n` elements of `size` in *p, doubling; capacity in *cap. Returns 0 or -ENOMEM. */
int grow_array(void *p, size_t *cap, size_t n, size_t size);
#define GROW(array, cap, n) grow_array(&(array), &(cap), (n), sizeof(*(array)))

void strv_free(char **strv);
static inline void strv_freep(char ***p)
{
        strv_free(*p);
        *p = NULL;
}
size_t strv_length(char *const *strv);
/* Appends a copy of s; *strv may be NULL. 0 or -ENOMEM. */
int strv_append(char ***strv, const char *s);
int strv_copy(char *const *strv, char ***ret);
