/* SPDX-License-Identifier: Apache-2.0 */
/* A dialog: values stream both ways until the opener has had enough, while plain calls go beside it.
 *
 * Watch it from another terminal:  watch -n 0.1 tractorctl tree */
#include <json-c/json.h>
#include <stdio.h>
#include <tractor/tractor.h>

/* In the actor: answers each ping with a pong, until the opener stops. */
static int pinger(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        struct json_object *item;
        int count = 0, r;

        r = tractor_context_started(ctx, json_object_new_string("ready to play"), NULL);
        while (r >= 0 && (r = tractor_receive(ctx, &item)) > 0) {
                json_object_put(item);
                count++;
                r = tractor_send(ctx, json_object_new_string("pong"));
        }
        /* 0: the opener has stopped. Not an error, and our items have come to their end as well. */
        if (r >= 0)
                *ret_result = json_object_new_int(count);
        return r;
}

static int simple_rpc(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        *ret_result = json_object_new_string("beside the stream");
        return 0;
}

static const tractor_method methods[] = { { "pinger", pinger }, { "simple_rpc", simple_rpc }, { NULL } };

static int play(tractor_portal *portal)
{
        TRACTOR_CLEANUP(tractor_context_dropp) tractor_context *ctx = NULL;
        struct json_object *first = NULL, *item, *result = NULL, *answer = NULL;
        int r = tractor_context_open(portal, "pinger", NULL, NULL, &ctx, &first);

        if (r < 0)
                return r;
        printf("started with %s\n", json_object_to_json_string(first));
        json_object_put(first);
        r = tractor_portal_call(portal, "simple_rpc", NULL, &answer);
        if (r >= 0)
                printf("a call answers %s\n", json_object_to_json_string(answer));
        json_object_put(answer);
        for (int i = 0; i < 10 && r >= 0; i++) {
                r = tractor_send(ctx, json_object_new_string("ping"));
                if (r >= 0)
                        r = tractor_receive(ctx, &item);
                if (r > 0)
                        json_object_put(item);
        }
        if (r >= 0)
                r = tractor_stop(ctx);
        r = tractor_context_close(&ctx, r, &result);
        if (r >= 0)
                printf("it counted %s pings\n", json_object_to_json_string(result));
        json_object_put(result);
        return r;
}

static int body(void *unused)
{
        tractor_portal *portal = NULL;
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0)
                r = tractor_start_actor(n, "player", NULL, &portal);
        if (r >= 0)
                r = play(portal);
        if (r >= 0)
                r = tractor_portal_cancel_actor(portal, "the game is over");
        tractor_portal_unref(portal);
        return tractor_nursery_close(&n, r);
}

int main(void)
{
        tractor_options options = { .size = sizeof(options), .methods = methods };

        return tractor_main(&options, body, NULL);
}
