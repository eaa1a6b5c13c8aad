/* SPDX-License-Identifier: Apache-2.0 */
/* Where a failure of one's own arose, here and over there. */
#include <alloca.h>

#include "portal-fixture.h"

/* By name in the backtraces. */
__attribute__((visibility("default"), noinline)) int falls(unsigned n);
__attribute__((visibility("default"), noinline)) int falls_with(unsigned n);
__attribute__((visibility("default"), noinline)) int deep(tractor_context *c, Json *args, Json **ret);

/* The last thing it does: the compiler would leave its frame. */
int falls_with(unsigned n)
{
        return tractor_fail_with("Fell", NULL, "from %u", n);
}

int falls(unsigned n)
{
        volatile int r;

        if (n == 0)
                return tractor_fail("Fell", "deep");
        r = falls(n - 1);
        return r;
}

int deep(tractor_context *c, Json *args, Json **ret)
{
        volatile int r = falls(2);

        return r;
}

static int plain(tractor_context *c, Json *args, Json **ret)
{
        return -ENOENT;
}

static int relays(tractor_context *c, Json *args, Json **ret);
static const tractor_method methods[] = { { "deep", deep }, { "plain", plain }, { "relays", relays },
        { NULL } };

static int asks(tractor_portal *p, Nursery *n)
{
        return tractor_portal_call(p, "deep", NULL, NULL);
}

/* Asks the same server over a connection of its own. */
static int relays(tractor_context *c, Json *args, Json **ret)
{
        Fixture f = { .methods = methods, .body = asks };

        return fixture_main(&f);
}

static bool frame_has(size_t i, const char *what)
{
        const char *frame = tractor_error_backtrace(tractor_last_error(), i);
        _cleanup_free_ char *begin = xasprintf("#%zu %s", i, what);

        CHECK(begin);
        return frame && startswith(frame, begin);
}

/* `around`: as many may be around its first function, where the compiler leaves them. */
static void check_deep(size_t around)
{
        size_t n = tractor_error_n_backtrace(tractor_last_error());

        for (size_t i = 0; i < 3; i++)
                CHECK(frame_has(i, "falls+0x"));
        CHECK(strstr(tractor_error_backtrace(tractor_last_error(), 0), " (test-backtrace)"));
        CHECK(frame_has(3, "deep+0x"));
        /* What every stack begins with is left out. */
        CHECK(n >= 4 && n <= 4 + around);
        CHECK(!tractor_error_backtrace(tractor_last_error(), n));
}

/* --- here --- */
static int fails_here(void *unused)
{
        _cleanup_free_ char *text = NULL;

        CHECK_EQ(deep(NULL, NULL, NULL), -EREMOTEIO);
        check_deep(2);
        check_deep(2);
        text = tractor_error_format(tractor_last_error());
        CHECK(text && strstr(text, "\n    #0 falls+0x"));
        CHECK_EQ(falls_with(7), -EREMOTEIO);
        CHECK(frame_has(0, "falls_with+0x"));
        CHECK(!frame_has(1, "falls_with+0x"));
        CHECK_STR(tractor_error_message(tractor_last_error()), "from 7");
        CHECK_EQ(falls(100), -EREMOTEIO);
        CHECK_EQ(tractor_error_n_backtrace(tractor_last_error()), 32);
        CHECK(frame_has(0, "falls+0x") && frame_has(31, "falls+0x"));
        CHECK_EQ(tractor_error_n_backtrace(NULL), 0);
        return 0;
}

static void it_begins_where_it_failed(void)
{
        CHECK_EQ(tractor_run(NULL, fails_here, NULL), 0);
}

/* With too little of its stack left to look at it. */
static int looks_low(void *unused)
{
        const Task *t = task_current();
        void *frames[4];
        volatile char *waste;

        CHECK(t);
        CHECK(task_stack(NULL, frames, ELEMENTSOF(frames)) > 0);
        waste = alloca(fiber_room(t->fiber) - 5800);
        waste[0] = 1;
        CHECK_EQ(task_stack(NULL, frames, ELEMENTSOF(frames)), 0);
        return 0;
}

static void to_look_overflows_no_stack(void)
{
        CHECK_EQ(tractor_run(NULL, looks_low, NULL), 0);
}

static int fails_one(void *unused)
{
        volatile int r = falls(2);

        return r;
}

static int fails_all(void *unused)
{
        tractor_nursery_options o = { .size = sizeof(o), .strategy = "one_cancels_one" };
        const tractor_error *e;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(&o, &n), 0);
        for (unsigned i = 0; i < 40; i++)
                CHECK_EQ(tractor_start_task(n, NULL, fails_one, NULL, NULL), 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), -ETOOMANYREFS);
        e = tractor_last_error();
        CHECK_EQ(tractor_error_n_causes(e), 40);
        for (size_t i = 0; i < 40; i++) {
                CHECK_STR(tractor_error_type(tractor_error_cause(e, i)), "Fell");
                CHECK((tractor_error_n_backtrace(tractor_error_cause(e, i)) > 0) == (i < 16));
        }
        return 0;
}

static void a_group_has_that_of_its_first_causes(void)
{
        CHECK_EQ(tractor_run(NULL, fails_all, NULL), 0);
}

/* --- over there --- */
static int comes_back(tractor_portal *p, Nursery *n)
{
        CHECK_EQ(tractor_portal_call(p, "deep", NULL, NULL), -EREMOTEIO);
        check_deep(1);
        CHECK_EQ(tractor_portal_call(p, "relays", NULL, NULL), -EREMOTEIO);
        CHECK_STR(tractor_error_type(tractor_last_error()), "Fell");
        check_deep(1);
        /* Of an errno alone nobody knows. */
        CHECK_EQ(tractor_portal_call(p, "plain", NULL, NULL), -EREMOTEIO);
        CHECK_EQ(tractor_error_n_backtrace(tractor_last_error()), 0);
        return 0;
}

static void it_comes_along_unchanged(void)
{
        run_beside(methods, comes_back);
}

TEST_MAIN({ "it_begins_where_it_failed", it_begins_where_it_failed },
                { "to_look_overflows_no_stack", to_look_overflows_no_stack },
                { "a_group_has_that_of_its_first_causes", a_group_has_that_of_its_first_causes },
                { "it_comes_along_unchanged", it_comes_along_unchanged });
