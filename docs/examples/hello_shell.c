/* SPDX-License-Identifier: Apache-2.0 */
/* An actor in shell: a program that reads a request a line and prints an answer a line is one. Its half is
 * greeter.sh.
 *
 * Watch it from another terminal:  watch -n 0.1 tractorctl tree */
#include <json-c/json.h>
#include <stdio.h>
#include <tractor/tractor.h>

static int body(void *unused)
{
        static const char *const exec[] = { "sh", EXAMPLES "/greeter.sh", NULL };
        struct json_object *keys = json_tokener_parse("{\"channel\":\"stdio\"}"),
                           *args = json_object_new_object(), *answer = NULL;
        tractor_actor_options o = { .size = sizeof(o), .exec = exec, .keys = keys };
        tractor_portal *portal = NULL;
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        json_object_object_add(args, "name", json_object_new_string("world"));
        if (r >= 0)
                r = tractor_start_actor(n, "greeter", &o, &portal);
        if (r >= 0)
                r = tractor_portal_call(portal, "greet", args, &answer);
        else
                json_object_put(args);
        if (r >= 0)
                printf("%s\n", json_object_get_string(answer));
        json_object_put(answer);
        if (r >= 0)
                r = tractor_portal_cancel_actor(portal, "that was all");
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
