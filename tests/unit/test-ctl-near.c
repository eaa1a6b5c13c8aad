/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "tractorctl/near.h"

static void check_distance(const char *a, const char *b, size_t due)
{
        CHECK_EQ(near_distance(a, b), due);
        CHECK_EQ(near_distance(b, a), due);
}

static void test_distance(void)
{
        check_distance("", "", 0);
        check_distance("", "abc", 3);
        check_distance("restart", "restart", 0);
        check_distance("Restart", "reSTART", 0);
        check_distance("restrat", "restart", 1); /* swapped */
        check_distance("restar", "restart", 1);
        check_distance("rrestart", "restart", 1);
        check_distance("rextart", "restart", 1);
        check_distance("kitten", "sitting", 3);
        check_distance("ca", "abc", 3); /* what was swapped stays side by side */
}

/* The longest there may be, and one more: nothing is written beyond the rows. */
static void test_long(void)
{
        char a[NEAR_WORD_MAX + 2], b[NEAR_WORD_MAX + 2];

        memset(a, 'a', sizeof(a));
        memset(b, 'b', sizeof(b));
        a[NEAR_WORD_MAX] = b[NEAR_WORD_MAX] = 0;
        CHECK_EQ(near_distance(a, b), (size_t) NEAR_WORD_MAX);
        CHECK_EQ(near_distance(a, ""), (size_t) NEAR_WORD_MAX);
        a[NEAR_WORD_MAX] = 'a';
        a[NEAR_WORD_MAX + 1] = 0;
        CHECK_EQ(near_distance(a, "a"), SIZE_MAX);
        CHECK_EQ(near_distance("a", a), SIZE_MAX);
}

static const char *nearest(const char *word, const char *const *words, size_t n)
{
        Near near = { .word = word };

        for (size_t i = 0; i < n; i++)
                near_consider(&near, words[i]);
        return strna(near.found);
}

static void test_nearest(void)
{
        static const char *const words[] = { "run", "status", "start", "restart", "freeze", "find" };

        CHECK_STR(nearest("restar", words, ELEMENTSOF(words)), "restart");
        CHECK_STR(nearest("statr", words, ELEMENTSOF(words)), "start");
        CHECK_STR(nearest("staus", words, ELEMENTSOF(words)), "status");
        CHECK_STR(nearest("FREZE", words, ELEMENTSOF(words)), "freeze");
        CHECK_STR(nearest("frobnicate", words, ELEMENTSOF(words)), strna(NULL));
        CHECK_STR(nearest("ls", words, ELEMENTSOF(words)), strna(NULL));
        CHECK_STR(nearest("", words, ELEMENTSOF(words)), strna(NULL));
}

TEST_MAIN({ "distance", test_distance }, { "long", test_long }, { "nearest", test_nearest });
