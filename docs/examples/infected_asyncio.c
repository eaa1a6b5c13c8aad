/* SPDX-License-Identifier: Apache-2.0 */
/* An asyncio program in Python is an actor of a root in C: a dialog goes back and forth between the two
 * loops, and the mean rate of round trips is printed. The actor's half is asyncio_echo.py.
 *
 * Watch it from another terminal:  watch -n 0.1 tractorctl tree */
#include <json-c/json.h>
#include <stdio.h>
#include <tractor/tractor.h>

#define ROUNDS 2000

static int play(tractor_portal *portal)
{
        TRACTOR_CLEANUP(tractor_context_dropp) tractor_context *ctx = NULL;
        struct json_object *first = NULL, *item, *result = NULL;
        uint64_t began;
        int r = tractor_context_open(portal, "echo", NULL, NULL, &ctx, &first);

        if (r < 0)
                return r;
        printf("the actor says %s\n", json_object_to_json_string(first));
        json_object_put(first);
        began = tractor_now();
        for (int i = 0; i < ROUNDS && r >= 0; i++) {
                r = tractor_send(ctx, json_object_new_int(i));
                if (r >= 0)
                        r = tractor_receive(ctx, &item);
                if (r > 0)
                        json_object_put(item);
        }
        if (r > 0)
                printf("%d round trips, %.0f a second\n", ROUNDS,
                                ROUNDS * (double) TRACTOR_SEC / (double) (tractor_now() - began));
        if (r >= 0)
                r = tractor_stop(ctx);
        r = tractor_context_close(&ctx, r, &result);
        if (r >= 0)
                printf("the actor counted %s\n", json_object_to_json_string(result));
        json_object_put(result);
        return r;
}

static int body(void *unused)
{
        static const char *const exec[] = { "python3", EXAMPLES "/asyncio_echo.py", NULL };
        struct json_object *keys = json_tokener_parse(
                        "{\"channel\":\"fd\",\"ready\":\"channel\",\"env\":{\"PYTHONPATH\":\"" PYTHON
                        "\"}}");
        tractor_actor_options o = { .size = sizeof(o), .exec = exec, .keys = keys };
        tractor_portal *portal = NULL;
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0)
                r = tractor_start_actor(n, "infected", &o, &portal);
        if (r >= 0)
                r = play(portal);
        if (r >= 0)
                r = tractor_portal_cancel_actor(portal, "enough");
        tractor_portal_unref(portal);
        r = tractor_nursery_close(&n, r);
        json_object_put(keys);
        return r;
}

int main(void)
{
        tractor_options options = { .size = sizeof(options) };

        return tractor_main(&options, body, NULL);
}
