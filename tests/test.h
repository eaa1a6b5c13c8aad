/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What every test program needs. Checks never compile away; a skip (77) says why and is a failure under
 * TRACTOR_TEST_STRICT=1, which ctest's caller sees as such. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/macro.h"

#define CHECK(expr)                                                                                         \
        do {                                                                                                \
                if (!(expr)) {                                                                              \
                        fprintf(stderr, "%s:%d: %s: check failed: %s\n", __FILE__, __LINE__, __func__,      \
                                        #expr);                                                             \
                        abort();                                                                            \
                }                                                                                           \
        } while (0)
#define CHECK_EQ(a, b)                                                                                      \
        do {                                                                                                \
                long long _a = (long long) (a), _b = (long long) (b);                                       \
                if (_a != _b) {                                                                             \
                        fprintf(stderr, "%s:%d: %s: %s is %lld, not %lld (%s)\n", __FILE__, __LINE__,       \
                                        __func__, #a, _a, _b, #b);                                          \
                        abort();                                                                            \
                }                                                                                           \
        } while (0)
#define CHECK_STR(a, b)                                                                                     \
        do {                                                                                                \
                const char *_a = (a), *_b = (b);                                                            \
                if (!streq_ptr(_a, _b)) {                                                                   \
                        fprintf(stderr, "%s:%d: %s: %s is \"%s\", not \"%s\"\n", __FILE__, __LINE__,        \
                                        __func__, #a, strna(_a), strna(_b));                                \
                        abort();                                                                            \
                }                                                                                           \
        } while (0)

static inline _Noreturn void skip(const char *why)
{
        const char *strict = getenv("TRACTOR_TEST_STRICT");

        fprintf(stderr, "skipped: %s\n", why);
        exit(strict && streq(strict, "1") ? 1 : 77);
}

typedef struct TestCase {
        const char *name;
        void (*run)(void);
} TestCase;

/* For who needs more descriptors than the 1024 of a login. */
static inline void test_raise_nofile(void)
{
        struct rlimit limit;

        CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur = limit.rlim_max;
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* Runs all cases, or those named on the command line. */
static inline int test_main(int argc, char **argv, const TestCase *cases, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                bool wanted = argc < 2;

                for (int k = 1; k < argc; k++)
                        wanted |= streq(argv[k], cases[i].name);
                if (!wanted)
                        continue;
                fprintf(stderr, "-- %s\n", cases[i].name);
                cases[i].run();
        }
        return 0;
}
#define TEST_MAIN(...)                                                                                      \
        int main(int argc, char **argv)                                                                     \
        {                                                                                                   \
                static const TestCase cases[] = { __VA_ARGS__ };                                            \
                return test_main(argc, argv, cases, ELEMENTSOF(cases));                                     \
        }                                                                                                   \
        struct test_main_semicolon
