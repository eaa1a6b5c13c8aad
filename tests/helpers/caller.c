/* SPDX-License-Identifier: Apache-2.0 */
/* Gets a portal to an actor, calls its method "echo", and prints how that went: errno, the error's type, the signal that it names.
 *
 * usage: caller connect PATH | caller start
 *
 * Or has actors fail in a nursery, and prints how that was left: the errors' types, each with those of its causes. gives-up: one that
 * ends at once is restarted until the supervisor gives up. twice: one whose program is missing, and another by its name, begun when a
 * line comes on stdin.
 *
 * usage: caller gives-up | caller twice
 *
 * Or tells an actor a long "note" as the last it does.
 *
 * usage: caller tell PATH */
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "handlers.h"
#include "test.h"

#define TOLD 1000000

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

static void print_types(const tractor_error *e)
{
        (void) printf("%s", strna(tractor_error_type(e)));
        for (size_t i = 0; i < tractor_error_n_causes(e); i++) {
                (void) printf(i == 0 ? "(" : " ");
                print_types(tractor_error_cause(e, i));
        }
        (void) printf(tractor_error_n_causes(e) > 0 ? ")" : "");
}

static int say_types(int r)
{
        (void) printf("%d ", r);
        if (r < 0)
                print_types(tractor_last_error());
        (void) printf("\n");
        return 0;
}

static const char *const fails[] = { "sh", "-c", "exit 3", NULL }, *const missing[] = { "/nonexistent",
        NULL };

static int gives_up(void *unused)
{
        const tractor_actor_options actor = { .size = sizeof(actor), .exec = fails, .restart = "permanent" };
        struct json_object *keys =
                        json_tokener_parse("{\"intensity\":{\"max_restarts\":1,\"within_ms\":10000}}");
        const tractor_nursery_options o = { .size = sizeof(o), .strategy = "one_for_one", .keys = keys };
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(&o, &n);

        if (r >= 0)
                r = tractor_start_actor(n, "a", &actor, NULL);
        r = tractor_nursery_close(&n, r);
        json_object_put(keys);
        return say_types(r);
}

static int start_missing(void *nursery)
{
        const tractor_actor_options actor = { .size = sizeof(actor), .exec = missing };

        return tractor_start_actor(nursery, "a", &actor, NULL);
}

static int twice(void *unused)
{
        const tractor_actor_options actor = { .size = sizeof(actor), .exec = fails };
        const tractor_nursery_options o = { .size = sizeof(o), .strategy = "one_cancels_one" };
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(&o, &n);

        if (r >= 0)
                r = tractor_start_task(n, "missing", start_missing, n, NULL);
        if (r >= 0)
                r = tractor_wait_fd(STDIN_FILENO, EPOLLIN);
        if (r >= 0)
                r = tractor_start_actor(n, "a", &actor, NULL);
        return say_types(tractor_nursery_close(&n, r));
}

/* More than a socket takes at once, and the end. */
static int tells(void *path)
{
        _cleanup_free_ char *text = calloc(1, TOLD + 1);
        struct json_object *args = json_object_new_array();
        tractor_portal *p = NULL;
        int r = text ? tractor_connect(path, &p) : -ENOMEM;

        if (r < 0) {
                json_object_put(args);
                return r;
        }
        memset(text, 'x', TOLD);
        (void) json_object_array_add(args, json_object_new_string(text));
        r = tractor_portal_tell(p, "note", args);
        tractor_portal_unref(p);
        return r;
}

int main(int argc, char **argv)
{
        if (argc == 3 && streq(argv[1], "connect"))
                return tractor_main(&options, connects, argv[2]);
        if (argc == 3 && streq(argv[1], "tell"))
                return tractor_main(&options, tells, argv[2]);
        if (argc == 2 && streq(argv[1], "gives-up"))
                return tractor_main(&options, gives_up, NULL);
        if (argc == 2 && streq(argv[1], "twice"))
                return tractor_main(&options, twice, NULL);
        return tractor_main(&options, starts, NULL);
}
