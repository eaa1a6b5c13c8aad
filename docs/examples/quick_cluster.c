/* SPDX-License-Identifier: Apache-2.0 */
/* One actor a processor, asked for its pid; then the root is interrupted, as by Ctrl-C, and the whole tree
 * goes. Ends with status 130.
 *
 * Watch it from another terminal:  watch -n 0.1 'tractorctl tree; pgrep -a core' */
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <tractor/tractor.h>
#include <unistd.h>

static int pid(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        *ret_result = json_object_new_int(getpid());
        return 0;
}

static const tractor_method methods[] = { { "pid", pid }, { NULL } };

static int ask_all(const tractor_cluster *cluster)
{
        struct json_object *result = NULL;
        int r = 0;

        for (size_t i = 0; i < cluster->n && r >= 0; i++) {
                r = tractor_portal_call(cluster->portals[i], "pid", NULL, &result);
                if (r >= 0)
                        printf("%s is process %s\n", tractor_portal_path(cluster->portals[i]),
                                        json_object_to_json_string(result));
                json_object_put(result);
                result = NULL;
        }
        return r;
}

static int body(void *unused)
{
        tractor_cluster cluster = { 0 };
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0)
                r = tractor_open_cluster(n, "core", 0, NULL, &cluster);
        if (r >= 0)
                r = ask_all(&cluster);
        tractor_cluster_done(&cluster);
        if (r >= 0) {
                printf("Ctrl-C\n");
                fflush(stdout);
                raise(SIGINT);
                r = tractor_sleep_forever();
        }
        return tractor_nursery_close(&n, r);
}

int main(void)
{
        tractor_options options = { .size = sizeof(options), .methods = methods };

        return tractor_main(&options, body, NULL);
}
