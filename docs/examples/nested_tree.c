/* SPDX-License-Identifier: Apache-2.0 */
/* Actors that start actors: a tree two wide and three deep, whose leaves are asked through it.
 *
 * Watch it from another terminal:  watch -n 0.1 tractorctl tree */
#include <json-c/json.h>
#include <stdio.h>
#include <tractor/tractor.h>

#define WIDTH 2

static struct json_object *depth_args(int depth)
{
        struct json_object *args = json_object_new_object();

        json_object_object_add(args, "depth", json_object_new_int(depth));
        return args;
}

/* One-shots of `grow` below the caller; their sum. */
static int grow_below(int depth, int *ret_leaves)
{
        tractor_future *branches[WIDTH] = { 0 };
        struct json_object *leaves = NULL;
        TRACTOR_NURSERY(n);
        char name[16];
        int r = tractor_nursery_open(NULL, &n);

        for (int i = 0; i < WIDTH && r >= 0; i++) {
                snprintf(name, sizeof(name), "branch-%d", i);
                r = tractor_run_actor(n, name, "grow", depth_args(depth), NULL, &branches[i]);
        }
        for (int i = 0; i < WIDTH && r >= 0; i++) {
                r = tractor_future_wait(branches[i], &leaves);
                if (r >= 0)
                        *ret_leaves += json_object_get_int(leaves);
                json_object_put(leaves);
                leaves = NULL;
        }
        r = tractor_nursery_close(&n, r);
        for (int i = 0; i < WIDTH; i++)
                tractor_future_unref(branches[i]);
        return r;
}

static int grow(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        int depth = json_object_get_int(json_object_object_get(args, "depth")), leaves = 0, r = 0;

        printf("%s\n", tractor_path());
        fflush(stdout);
        if (depth > 1)
                r = grow_below(depth - 1, &leaves);
        else
                leaves = 1;
        if (r >= 0)
                *ret_result = json_object_new_int(leaves);
        return r;
}

static const tractor_method methods[] = { { "grow", grow }, { NULL } };

static int body(void *unused)
{
        int leaves = 0, r = grow_below(3, &leaves);

        if (r >= 0)
                printf("%d leaves\n", leaves);
        return r;
}

int main(void)
{
        tractor_options options = { .size = sizeof(options), .methods = methods };

        return tractor_main(&options, body, NULL);
}
