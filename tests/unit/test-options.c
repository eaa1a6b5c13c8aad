/* SPDX-License-Identifier: Apache-2.0 */
/* Structs of options of programs that were compiled with an older or a newer header. */
#include <errno.h>

#include "libtractor/options.h"
#include "test.h"
#include "tractor/tractor.h"

typedef struct Options {
        size_t size;
        const char *name;
        unsigned number;
        /* The first version ended here. */
        unsigned more;
        const char *text;
} Options;

static int take(Options *ret, const Options *o)
{
        return OPTIONS_TAKE(ret, o, Options, number);
}

static void an_older_one_is_filled_up(void)
{
        Options o = { .size = sizeof(o), .name = "n", .number = 1, .more = 2, .text = "t" }, taken;

        CHECK_EQ(take(&taken, &o), 0);
        CHECK(memcmp(&taken, &o, sizeof(o)) == 0);
        o.size = offsetof(Options, text);
        CHECK_EQ(take(&taken, &o), 0);
        CHECK(taken.size == sizeof(taken) && taken.more == 2 && !taken.text);
        o.size = offsetof(Options, more);
        CHECK_EQ(take(&taken, &o), 0);
        CHECK(taken.size == sizeof(taken) && taken.number == 1 && taken.more == 0 && !taken.text);
        CHECK_EQ(take(&taken, NULL), 0);
        CHECK(taken.size == sizeof(taken) && !taken.name && taken.number == 0);
}

static void what_is_no_version_is_refused(void)
{
        Options o = { .name = "n" }, taken = { .name = "as it was" };

        for (; o.size < offsetof(Options, more); o.size++)
                CHECK_EQ(take(&taken, &o), -EINVAL);
        for (o.size = 4097; o.size > 4096; o.size *= 2)
                CHECK_EQ(take(&taken, &o), -E2BIG);
        CHECK_STR(taken.name, "as it was");
}

static int nothing(void *unused)
{
        return 0;
}

static int nothing_with_key(const char *key, void *unused)
{
        return 0;
}

static struct json_object *no_args;

/* Each with one of `size` bytes whose last one is `last`, where that lies behind what is known. */
#define TRY(type, call)                                                                                     \
        ({                                                                                                  \
                union {                                                                                     \
                        type o;                                                                             \
                        uint8_t bytes[sizeof(type) + 16];                                                   \
                } u = { .bytes = { 0 } };                                                                   \
                const type *o = &u.o;                                                                       \
                                                                                                            \
                u.o.size = sizeof(type) - 1;                                                                \
                CHECK_EQ((call), -EINVAL);                                                                  \
                u.o.size = sizeof(u);                                                                       \
                u.bytes[sizeof(u) - 1] = 1;                                                                 \
                CHECK_EQ((call), -E2BIG);                                                                   \
                u.bytes[sizeof(u) - 1] = 0;                                                                 \
        })

static int calls(void *unused)
{
        tractor_cluster cluster;
        tractor_context *c;
        tractor_portal *p;

        TRY(tractor_nursery_options, ({
                tractor_nursery *n = NULL;
                int r = tractor_nursery_open(o, &n);

                r < 0 ? r : tractor_nursery_close(&n, 0);
        }));
        TRY(tractor_actor_options, tractor_start_actor(NULL, "a", o, &p));
        CHECK_STR(tractor_error_message(tractor_last_error()),
                        "tractor_actor_options has what this version of libtractor does not know");
        TRY(tractor_actor_options, tractor_run_actor(NULL, "a", "m", no_args, o, NULL));
        TRY(tractor_actor_options, tractor_open_cluster(NULL, "a", 1, o, &cluster));
        TRY(tractor_call_options, tractor_portal_call_with(NULL, "m", no_args, o, NULL));
        TRY(tractor_context_options, tractor_context_open(NULL, "m", no_args, o, &c, NULL));
        TRY(tractor_retry_policy, tractor_retry(o, nothing_with_key, NULL));
        return 0;
}

static int longer(void *unused)
{
        struct {
                tractor_nursery_options o;
                const char *later;
        } nursery = { .o = { .size = sizeof(nursery) } };
        struct {
                tractor_retry_policy o;
                const char *later;
        } retry = { .o = { .size = sizeof(retry) } };
        tractor_nursery *n = NULL;

        CHECK_EQ(tractor_nursery_open(&nursery.o, &n), 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        return tractor_retry(&retry.o, nothing_with_key, NULL);
}

static void each_call_looks_at_the_size(void)
{
        struct {
                tractor_options o;
                const char *later;
        } run = { .o = { .size = sizeof(run) } };

        TRY(tractor_options, tractor_run(o, nothing, NULL));
        CHECK_EQ(tractor_run(NULL, calls, NULL), 0);
        CHECK_EQ(tractor_run(&run.o, longer, NULL), 0);
}

/* No supervisor is asked: there is none. */
static int names(void *unused)
{
        static const char *const bad[] = { "bad/name", "", ".", "-a", "a b", "\303\251",
                "a23456789a23456789a23456789a23456789a23456789a23456789a23456789a2345" };
        tractor_actor_options exec = { .size = sizeof(exec), .exec = (const char *const[]){ "true", NULL } };
        tractor_cluster cluster;
        tractor_nursery *n = NULL, *inner = NULL;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                tractor_nursery_options o = { .size = sizeof(o), .name = bad[i] };
                char quoted[100];

                (void) snprintf(quoted, sizeof(quoted), "\"%s\" is no name", bad[i]);
                CHECK_EQ(tractor_nursery_open(&o, &inner), -EINVAL);
                CHECK(strstr(tractor_error_message(tractor_last_error()), quoted));
                CHECK_EQ(tractor_start_actor(n, bad[i], NULL, NULL), -EINVAL);
                CHECK(strstr(tractor_error_message(tractor_last_error()), quoted));
                CHECK_EQ(tractor_run_actor(n, bad[i], NULL, NULL, &exec, NULL), -EINVAL);
                CHECK_EQ(tractor_open_cluster(n, bad[i], 1, NULL, &cluster), -EINVAL);
                CHECK_STR(tractor_error_type(tractor_last_error()), "InvalidParams");
        }
        CHECK_EQ(tractor_start_actor(n, NULL, NULL, NULL), -EINVAL);
        return tractor_nursery_close(&n, 0);
}

static void names_are_looked_at(void)
{
        CHECK_EQ(tractor_run(NULL, names, NULL), 0);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = { { "an_older_one_is_filled_up", an_older_one_is_filled_up },
                { "what_is_no_version_is_refused", what_is_no_version_is_refused },
                { "each_call_looks_at_the_size", each_call_looks_at_the_size },
                { "names_are_looked_at", names_are_looked_at } };

        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
