/* SPDX-License-Identifier: Apache-2.0 */
/* An error two processes away arrives with its name, what it is about, and the way it took. Ends with status
 * 1.
 *
 * Watch it from another terminal:  watch -n 0.1 tractorctl tree */
#include <json-c/json.h>
#include <stdio.h>
#include <tractor/tractor.h>

static int divide(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        int a = json_object_get_int(json_object_array_get_idx(args, 0));
        int b = json_object_get_int(json_object_array_get_idx(args, 1));

        if (b == 0)
                return tractor_fail_with(
                                "DivisionByZero", json_object_get(args), "%d can't be divided by 0", a);
        *ret_result = json_object_new_int(a / b);
        return 0;
}

/* Lets an actor of its own do it. */
static int delegate(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        tractor_future *f = NULL;
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0)
                r = tractor_run_actor(n, "divider", "divide", json_object_get(args), NULL, &f);
        if (r >= 0)
                r = tractor_future_wait(f, ret_result);
        r = tractor_nursery_close(&n, r);
        tractor_future_unref(f);
        return r;
}

static const tractor_method methods[] = { { "divide", divide }, { "delegate", delegate }, { NULL } };

static void print(const tractor_error *e)
{
        printf("a %s in %s, passed on by", tractor_error_type(e), tractor_error_actor(e));
        /* The first of its way is where it arose. */
        for (size_t i = 1; i < tractor_error_n_relay(e); i++)
                printf(" %s", tractor_error_relay(e, i));
        printf("\n");
        fflush(stdout);
}

static int body(void *unused)
{
        struct json_object *args = json_object_new_array();
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        json_object_array_add(args, json_object_new_int(1));
        json_object_array_add(args, json_object_new_int(0));
        if (r >= 0)
                r = tractor_run_actor(n, "manager", "delegate", args, NULL, NULL);
        else
                json_object_put(args);
        r = tractor_nursery_close(&n, r);
        if (r < 0 && tractor_last_error())
                print(tractor_last_error());
        return r;
}

int main(void)
{
        tractor_options options = { .size = sizeof(options), .methods = methods };

        return tractor_main(&options, body, NULL);
}
