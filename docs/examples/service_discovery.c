/* SPDX-License-Identifier: Apache-2.0 */
/* An actor registers a name; others, who know nothing but that, find it, wait for it, and learn at once that
 * it has gone.
 *
 * Watch it from another terminal:  watch -n 0.1 tractorctl tree */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <tractor/cluster.h>
#include <tractor/discovery.h>
#include <tractor/tractor.h>

static int greet(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        *ret_result = json_object_new_string("good day");
        return 0;
}

/* Takes a name when it is asked to. */
static int serve_as(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        return tractor_register(json_object_get_string(json_object_object_get(args, "name")));
}

static const tractor_method methods[] = { { "greet", greet }, { "serve_as", serve_as }, { NULL } };

/* A task that only knows the name. */
static int client(void *unused)
{
        tractor_portal *portal = NULL;
        struct json_object *answer = NULL;
        int r;

        printf("waiting for 'greeter'\n");
        r = tractor_connect_name("greeter", &portal);
        if (r >= 0)
                r = tractor_portal_call(portal, "greet", NULL, &answer);
        if (r >= 0)
                printf("%s says %s\n", tractor_portal_path(portal), json_object_to_json_string(answer));
        json_object_put(answer);
        tractor_portal_unref(portal);
        return r;
}

static int look(const char *when)
{
        char *path = NULL;
        int r = tractor_find("greeter", &path);

        if (r >= 0)
                printf("%s: %s\n", when, path ? path : "nobody");
        free(path);
        return r;
}

/* The client is there before what it asks for; leaving the inner nursery waits for it. */
static int meet(tractor_nursery *actors, tractor_portal **ret)
{
        struct json_object *args;
        TRACTOR_NURSERY(clients);
        int r = tractor_nursery_open(NULL, &clients);

        if (r >= 0)
                r = tractor_start_task(clients, "client", client, NULL, NULL);
        if (r >= 0)
                r = tractor_start_actor(actors, "polite", NULL, ret);
        if (r >= 0) {
                args = json_object_new_object();
                json_object_object_add(args, "name", json_object_new_string("greeter"));
                r = tractor_portal_call(*ret, "serve_as", args, NULL);
        }
        if (r >= 0)
                r = look("now");
        return tractor_nursery_close(&clients, r);
}

static int body(void *unused)
{
        tractor_portal *portal = NULL;
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0)
                r = look("before");
        if (r >= 0)
                r = meet(n, &portal);
        if (r >= 0)
                r = tractor_portal_cancel_actor(portal, "done");
        if (r >= 0)
                r = look("after");
        tractor_portal_unref(portal);
        return tractor_nursery_close(&n, r);
}

int main(void)
{
        tractor_options options = { .size = sizeof(options), .methods = methods };

        return tractor_main(&options, body, NULL);
}
