/* SPDX-License-Identifier: Apache-2.0 */
/* One function, run in a process of its own; its result comes back.
 *
 * Watch it from another terminal:  watch -n 0.1 'pgrep -a single_func; tractorctl tree' */
#include <json-c/json.h>
#include <stdio.h>
#include <tractor/tractor.h>
#include <unistd.h>

static int64_t fibonacci(int64_t n)
{
        return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

/* Runs in the actor. */
static int burn_cpu(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        int64_t n = json_object_get_int64(json_object_object_get(args, "n"));

        printf("%s (pid %d) burns a processor\n", tractor_name(), getpid());
        fflush(stdout);
        *ret_result = json_object_new_int64(fibonacci(n));
        return 0;
}

static const tractor_method methods[] = { { "burn_cpu", burn_cpu }, { NULL } };

static int body(void *unused)
{
        tractor_future *burning = NULL;
        struct json_object *args = json_object_new_object(), *result = NULL;
        TRACTOR_NURSERY(n);
        int r;

        json_object_object_add(args, "n", json_object_new_int(25));
        r = tractor_nursery_open(NULL, &n);
        if (r >= 0)
                r = tractor_run_actor(n, "burner", "burn_cpu", args, NULL, &burning);
        /* Here the root could burn its own processor. */
        if (r >= 0)
                r = tractor_future_wait(burning, &result);
        r = tractor_nursery_close(&n, r);
        if (r >= 0)
                printf("fibonacci(25) is %s\n", json_object_to_json_string(result));
        json_object_put(result);
        tractor_future_unref(burning);
        return r;
}

int main(void)
{
        tractor_options options = { .size = sizeof(options), .methods = methods };

        return tractor_main(&options, body, NULL);
}
