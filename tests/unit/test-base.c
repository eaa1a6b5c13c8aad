/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/list.h"
#include "base/map.h"
#include "base/path.h"
#include "base/usec.h"
#include "test.h"

/* The map against the plainest oracle there is: an array indexed by key. */
static void map_against_array(void)
{
        enum { KEYS = 512, STEPS = 200000 };
        static void *oracle[KEYS];
        Map m = { 0 };
        unsigned seed = 42;
        size_t n = 0;

        for (int i = 0; i < STEPS; i++) {
                size_t key = (size_t) rand_r(&seed) % KEYS;

                if (rand_r(&seed) % 2) {
                        int r = map_put_u64(&m, key, &oracle[key]);

                        CHECK_EQ(r, oracle[key] ? -EEXIST : 0);
                        n += !oracle[key];
                        oracle[key] = &oracle[key];
                } else {
                        void *v = map_remove_u64(&m, key);

                        CHECK(v == oracle[key]);
                        n -= v != NULL;
                        oracle[key] = NULL;
                }
                CHECK_EQ(m.n, n);
        }
        for (size_t key = 0; key < KEYS; key++)
                CHECK(map_get_u64(&m, key) == oracle[key]);
        map_clear(&m);
}

static void map_strings(void)
{
        Map m = { 0 };
        int a, b;

        CHECK_EQ(map_put(&m, "a", &a), 0);
        CHECK_EQ(map_put(&m, "b", &b), 0);
        CHECK_EQ(map_put(&m, "a", &b), -EEXIST);
        CHECK(map_get(&m, "a") == &a);
        CHECK(map_get(&m, "c") == NULL);
        CHECK(map_remove(&m, "a") == &a);
        CHECK(map_get(&m, "a") == NULL);
        MAP_FOREACH(int, v, &m)
                CHECK(v == &b);
        map_clear(&m);
}

static void names_and_paths(void)
{
        char longest[NODE_NAME_MAX + 2];

        memset(longest, 'x', sizeof(longest) - 1);
        longest[NODE_NAME_MAX] = 0;
        CHECK(node_name_is_valid(longest));
        longest[NODE_NAME_MAX] = 'x';
        longest[NODE_NAME_MAX + 1] = 0;
        CHECK(!node_name_is_valid(longest));
        CHECK(node_name_is_valid("a.b-c_9"));
        CHECK(!node_name_is_valid(""));
        CHECK(!node_name_is_valid(".."));
        CHECK(!node_name_is_valid("-x"));
        CHECK(!node_name_is_valid("a/b"));
        CHECK(!node_name_is_valid("a b"));
        CHECK(node_path_is_valid("/"));
        CHECK(node_path_is_valid("/a/b"));
        CHECK(!node_path_is_valid(""));
        CHECK(!node_path_is_valid("a"));
        CHECK(!node_path_is_valid("/a/"));
        CHECK(!node_path_is_valid("//a"));
        CHECK(!node_path_is_valid("/a/../b"));
}

static void lists(void)
{
        ListNode head = LIST_INIT(head), a, b;

        list_init(&a);
        list_unlink(&a);
        list_append(&head, &a);
        list_append(&head, &b);
        CHECK(head.next == &a && head.prev == &b);
        LIST_FOREACH_SAFE(i, &head)
                list_unlink(i);
        CHECK(list_is_empty(&head));
}

static void times(void)
{
        CHECK(usec_add(USEC_INFINITY, 1) == USEC_INFINITY);
        CHECK(usec_add(1, 2) == 3);
        CHECK(usec_sub(1, 2) == 0);
        CHECK(usec_sub(USEC_INFINITY, 2) == USEC_INFINITY);
}

TEST_MAIN({ "map_against_array", map_against_array }, { "map_strings", map_strings },
                { "names_and_paths", names_and_paths }, { "lists", lists }, { "times", times });
