/* SPDX-License-Identifier: Apache-2.0 */
/* An actor a processor, each a process; then one of them fails, and all of them are gone. Ends with status
 * 1, and says why.
 *
 * Watch it from another terminal:  watch -n 0.1 'pgrep -a worker; tractorctl tree' */
#include <json-c/json.h>
#include <stdio.h>
#include <tractor/tractor.h>
#include <unistd.h>

/* Runs in each actor, until it is cancelled. */
static int target(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        int r;

        printf("%s is process %d, and %d is above it\n", tractor_path(), getpid(), getppid());
        fflush(stdout);
        r = tractor_sleep_forever();
        printf("%s is going\n", tractor_name());
        fflush(stdout);
        return r;
}

static int fails(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        (void) tractor_sleep(200 * TRACTOR_MSEC);
        return tractor_fail("ProcessesAreReal", "%s (pid %d) had enough", tractor_name(), getpid());
}

static const tractor_method methods[] = { { "target", target }, { "fails", fails }, { NULL } };

static int body(void *unused)
{
        TRACTOR_NURSERY(n);
        char name[32];
        int r = tractor_nursery_open(NULL, &n);

        for (int i = 0; i < 4 && r >= 0; i++) {
                snprintf(name, sizeof(name), "worker-%d", i);
                r = tractor_run_actor(n, name, "target", NULL, NULL, NULL);
        }
        if (r >= 0)
                r = tractor_run_actor(n, "failing", "fails", NULL, NULL, NULL);
        /* Waits for all of them; the first failure cancels the others. */
        return tractor_nursery_close(&n, r);
}

int main(void)
{
        tractor_options options = { .size = sizeof(options), .methods = methods };

        return tractor_main(&options, body, NULL);
}
