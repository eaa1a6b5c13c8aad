/* SPDX-License-Identifier: Apache-2.0 */
/* Gets a portal to an actor, calls its method "echo", and prints how that went: errno, the error's type, the signal that it names.
 *
 * usage: caller connect PATH | caller start */
#include <errno.h>

#include "handlers.h"
#include "test.h"

static const tractor_method methods[] = { { "echo", echo }, { NULL } };
static const tractor_options options = { .size = sizeof(options), .methods = methods, .name = "caller" };

static int call(tractor_portal *p)
{
        int r = tractor_portal_call(p, "echo", NULL, NULL);

        tractor_portal_unref(p);
        return r;
}

static int say(int r)
{
        const tractor_error *e = r < 0 ? tractor_last_error() : NULL;

        /* Of a nursery the one that counts is the actor's. */
        while (e && tractor_error_n_causes(e) > 0)
                e = tractor_error_cause(e, 0);
        (void) printf("%d %s %s\n", r, e ? strna(tractor_error_type(e)) : "-",
                        e ? strna(json_object_get_string(
                                            json_object_object_get(tractor_error_exit(e), "signal")))
                          : "-");
        return 0;
}

static int connects(void *path)
{
        tractor_portal *p = NULL;
        int r = tractor_connect(path, &p);

        return say(r < 0 ? r : call(p));
}

static int starts(void *unused)
{
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0)
                r = tractor_start_actor(n, "a", NULL, &p);
        if (r >= 0)
                r = call(p);
        return say(tractor_nursery_close(&n, r));
}

int main(int argc, char **argv)
{
        if (argc == 3 && streq(argv[1], "connect"))
                return tractor_main(&options, connects, argv[2]);
        return tractor_main(&options, starts, NULL);
}
