/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Methods that any test program may serve. */

#include <json-c/json.h>
#include <tractor/tractor.h>
#include <unistd.h>

static inline int get_pid(tractor_context *c, struct json_object *args, struct json_object **ret)
{
        *ret = json_object_new_int(getpid());
        return 0;
}

static inline int echo(tractor_context *c, struct json_object *args, struct json_object **ret)
{
        *ret = json_object_get(args);
        return 0;
}

/* Sends back each item that comes. */
static inline int mirror(tractor_context *c, struct json_object *args, struct json_object **ret)
{
        struct json_object *item;
        int r = tractor_context_started(c, NULL, NULL);

        while (r >= 0 && (r = tractor_receive(c, &item)) > 0)
                r = tractor_send(c, item);
        return r;
}
