/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "supervisor/unit-name.h"
#include "test.h"

static char *slice(const char *parent, unsigned depth, const char *name)
{
        char *s = NULL;

        CHECK_EQ(unit_name_slice(parent, depth, name, 0, &s), 0);
        return s;
}

static void check_slice(const char *parent, unsigned depth, const char *name, const char *want)
{
        _cleanup_free_ char *s = slice(parent, depth, name);

        CHECK_STR(s, want);
}

static void test_plain(void)
{
        _cleanup_free_ char *instance = NULL, *scope = NULL, *cgroup = NULL;

        CHECK_EQ(unit_name_instance("sys", &instance), 0);
        CHECK_STR(instance, "tractor-sys.slice");
        check_slice(instance, 1, "shop", "tractor-sys-shop.slice");
        check_slice("tractor-sys-shop.slice", 2, "web_1.b", "tractor-sys-shop-web_1.b.slice");
        check_slice("tractor-sys-shop.slice", 2, "a-b", "tractor-sys-shop-a\\x2db.slice");
        check_slice("tractor-sys-shop.slice", 2, "abcdefghijklmnopqrstuvwx",
                        "tractor-sys-shop-abcdefghijklmnopqrstuvwx.slice");
        CHECK_EQ(unit_name_scope("tractor-sys-shop-api.slice", 7, &scope), 0);
        CHECK_STR(scope, "tractor-sys-shop-api-7.scope");
        CHECK_EQ(unit_name_cgroup("tractor-sys-shop.slice", &cgroup), 0);
        CHECK_STR(cgroup, "/tractor.slice/tractor-sys.slice/tractor-sys-shop.slice");
}

/* Over 24 characters, escapes counted: 12 of them, '_' and 8 hex digits, never half an escape. */
static void test_shortened(void)
{
        _cleanup_free_ char *a = slice("tractor-sys.slice", 1, "abcdefghijklmnopqrstuvwxy");
        _cleanup_free_ char *b = slice("tractor-sys.slice", 1, "abcdefghijklmnopqrstuvwxz");
        _cleanup_free_ char *c = slice("tractor-sys.slice", 1, "a-b-c-d-e-f-g");
        size_t prefix = strlen("tractor-sys-");

        CHECK(startswith(a, "tractor-sys-abcdefghijkl_"));
        CHECK_EQ(strlen(a), prefix + 21 + strlen(".slice"));
        CHECK_EQ(strspn(a + prefix + 13, "0123456789abcdef"), 8);
        CHECK(!streq(a, b));
        CHECK(startswith(c, "tractor-sys-a\\x2db\\x2dc_"));
}

/* Whatever the names, 30 levels have one, below PATH_MAX as a cgroup and nested by name; then comes an end. */
static unsigned descend(const char *instance, const char *name)
{
        char *here = NULL;
        unsigned depth = 0;

        CHECK_EQ(unit_name_instance(instance, &here), 0);
        for (;;) {
                _cleanup_free_ char *cgroup = NULL, *scope = NULL;
                char *next = NULL;
                int r;

                r = unit_name_slice(here, depth + 1, name, 0, &next);
                if (r < 0) {
                        CHECK_EQ(r, -ENAMETOOLONG);
                        break;
                }
                depth++;
                CHECK(strlen(next) <= UNIT_NAME_MAX);
                CHECK(strncmp(next, here, strlen(here) - strlen(".slice")) == 0);
                CHECK_EQ(next[strlen(here) - strlen(".slice")], '-');
                CHECK(!strchr(next + strlen(here) - strlen(".slice") + 1, '-'));
                CHECK_EQ(unit_name_cgroup(next, &cgroup), 0);
                CHECK(strlen(cgroup) <= UNIT_PATH_MAX);
                CHECK_EQ(unit_name_scope(next, UINT32_MAX, &scope), 0);
                CHECK(strlen(scope) <= UNIT_NAME_MAX);
                CHECK(strlen(cgroup) + strlen(scope) <= UNIT_PATH_MAX + 64);
                CHECK(startswith(scope, "tractor-") && startswith(scope + strlen("tractor-"), instance));
                free(here);
                here = next;
        }
        free(here);
        return depth;
}

static void test_deep(void)
{
        char longest[65];

        memset(longest, 'n', 64);
        longest[64] = 0;
        CHECK(descend("sys", "a") >= UNIT_LEVELS);
        CHECK(descend("r012345", "worker") >= UNIT_LEVELS);
        CHECK(descend("r012345", "abcdefghijklmnopqrstuvwx") >= UNIT_LEVELS);
        CHECK(descend("r012345", longest) >= UNIT_LEVELS);
        CHECK(descend("r012345", "----------------------------------------------------------------") >=
                        UNIT_LEVELS);
        CHECK(descend("r012345", longest) < 64);
}

/* What people write keeps its words. */
static void test_readable(void)
{
        char *here = slice("tractor-r012345.slice", 1, "shop");
        const char *names[] = { "frontend", "workers", "resize", "images" };

        for (unsigned i = 0; i < ELEMENTSOF(names); i++) {
                char *next = slice(here, i + 2, names[i]);

                free(here);
                here = next;
        }
        CHECK_STR(here, "tractor-r012345-shop-frontend-workers-resize-images.slice");
        free(here);
}

static void test_salt(void)
{
        _cleanup_free_ char *a = NULL, *b = NULL, *again = NULL;

        CHECK_EQ(unit_name_slice("tractor-sys.slice", 1, "x", 1, &a), 0);
        CHECK_EQ(unit_name_slice("tractor-sys.slice", 1, "x", 2, &b), 0);
        CHECK_EQ(unit_name_slice("tractor-sys.slice", 1, "x", 2, &again), 0);
        CHECK(!streq(a, b));
        CHECK_STR(b, again);
        CHECK_EQ(strlen(a), strlen("tractor-sys-0123456.slice"));
}

TEST_MAIN({ "plain", test_plain }, { "shortened", test_shortened }, { "deep", test_deep },
                { "readable", test_readable }, { "salt", test_salt });
