/* SPDX-License-Identifier: Apache-2.0 */
/* bench-calls WHAT N [BACKEND]: what libtractor costs between a root and its actor, two processes; prints numbers.
 *
 *   call    N calls one at a time: ns each         echo    N items there and back over a stream, one at a time: ns each
 *   up      N items of 64 bytes to the actor, until it has had all of them: ns each      down    the same, from the actor
 *   big     N items of 64 KiB to the actor         spawn   N times tractor_start_actor() and a call: ns, a line each
 *   first   one actor and a call: the time, CLOCK_MONOTONIC       idle    the same, then the actor's pid; until stdin ends */

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <tractor/tractor.h>

#define BIG 65536

static unsigned long n_rounds;
static const char *what;

static uint64_t now_nsec(void)
{
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000000 + (uint64_t) t.tv_nsec;
}

static struct json_object *make_item(size_t n)
{
        static char text[BIG];

        memset(text, 'x', n);
        return json_object_new_string_len(text, (int) n);
}

/* --- in the actor --- */

static int ping(tractor_context *c, struct json_object *args, struct json_object **ret_result)
{
        *ret_result = json_object_new_object();
        return 0;
}

static int echo(tractor_context *c, struct json_object *args, struct json_object **ret_result)
{
        struct json_object *item;
        int r = tractor_context_started(c, NULL, NULL);

        while (r >= 0 && (r = tractor_receive(c, &item)) > 0)
                r = tractor_send(c, item);
        return r;
}

static int swallow(tractor_context *c, struct json_object *args, struct json_object **ret_result)
{
        struct json_object *item;
        int64_t n = 0;
        int r = tractor_context_started(c, NULL, NULL);

        for (; r >= 0 && (r = tractor_receive(c, &item)) > 0; n++)
                json_object_put(item);
        *ret_result = json_object_new_int64(n);
        return r;
}

static int pour(tractor_context *c, struct json_object *args, struct json_object **ret_result)
{
        int64_t n = json_object_get_int64(json_object_array_get_idx(args, 0));
        int r = tractor_context_started(c, NULL, NULL);

        for (; n > 0 && r >= 0; n--)
                r = tractor_send(c, make_item(64));
        return r;
}

/* --- in the root --- */

static int ask(tractor_portal *p)
{
        struct json_object *result = NULL;
        int r = tractor_portal_call(p, "ping", NULL, &result);

        json_object_put(result);
        return r;
}

static int do_calls(tractor_portal *p, tractor_context *c, unsigned long n)
{
        int r = 0;

        while (n-- > 0 && r >= 0)
                r = ask(p);
        return r;
}

static int do_echoes(tractor_portal *p, tractor_context *c, unsigned long n)
{
        struct json_object *item;
        int r = 0;

        while (n-- > 0 && r >= 0) {
                r = tractor_send(c, json_object_new_int64((int64_t) n));
                if (r >= 0 && (r = tractor_receive(c, &item)) > 0)
                        json_object_put(item);
        }
        return r >= 0 ? tractor_stop(c) : r;
}

static int do_sends(tractor_context *c, unsigned long n, size_t size)
{
        int r = 0;

        while (n-- > 0 && r >= 0)
                r = tractor_send(c, make_item(size));
        return r >= 0 ? tractor_stop(c) : r;
}

static int do_up(tractor_portal *p, tractor_context *c, unsigned long n)
{
        return do_sends(c, n, 64);
}

static int do_big(tractor_portal *p, tractor_context *c, unsigned long n)
{
        return do_sends(c, n, BIG);
}

static int do_down(tractor_portal *p, tractor_context *c, unsigned long n)
{
        struct json_object *item;
        int r;

        while ((r = tractor_receive(c, &item)) > 0)
                json_object_put(item);
        return r;
}

static const struct {
        const char *name, *method;
        int (*run)(tractor_portal *p, tractor_context *c, unsigned long n);
} talks[] = { { "call", NULL, do_calls }, { "echo", "echo", do_echoes }, { "up", "swallow", do_up },
        { "down", "pour", do_down }, { "big", "swallow", do_big } };

/* The dialog's end is part of it: by then all items have been received. */
static int talk(tractor_portal *p, size_t i, unsigned long n)
{
        struct json_object *args = json_object_new_array();
        tractor_context *c = NULL;
        int r;

        json_object_array_add(args, json_object_new_int64((int64_t) n));
        if (!talks[i].method) {
                json_object_put(args);
                return talks[i].run(p, NULL, n);
        }
        r = tractor_context_open(p, talks[i].method, args, NULL, &c, NULL);
        if (r < 0)
                return r;
        r = talks[i].run(p, c, n);
        return tractor_context_close(&c, r, NULL);
}

static int measure_talk(tractor_portal *p)
{
        for (size_t i = 0; i < sizeof(talks) / sizeof(talks[0]); i++) {
                uint64_t begin;
                int r;

                if (strcmp(what, talks[i].name) != 0)
                        continue;
                r = talk(p, i, n_rounds / 10 + 1);
                begin = now_nsec();
                if (r >= 0)
                        r = talk(p, i, n_rounds);
                printf("%.1f\n", (double) (now_nsec() - begin) / (double) n_rounds);
                return r;
        }
        return -EINVAL;
}

static int measure_spawn(tractor_nursery *n)
{
        int r = 0;

        for (unsigned long i = 0; i < n_rounds && r >= 0; i++) {
                tractor_portal *p = NULL;
                uint64_t begin = now_nsec();
                char name[32];

                (void) snprintf(name, sizeof(name), "a%lu", i);
                r = tractor_start_actor(n, name, NULL, &p);
                if (r >= 0)
                        r = ask(p);
                printf("%llu\n", (unsigned long long) (now_nsec() - begin));
                if (r >= 0)
                        r = tractor_portal_cancel_actor(p, NULL);
                tractor_portal_unref(p);
        }
        return r;
}

static int measure_first(tractor_portal *p)
{
        int r = ask(p);

        printf("%llu\n", (unsigned long long) now_nsec());
        if (r < 0 || strcmp(what, "first") == 0)
                return r;
        printf("%i\n", (int) tractor_portal_pid(p));
        (void) fflush(stdout);
        return tractor_wait_fd(STDIN_FILENO, 1);
}

static int body(void *unused)
{
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0 && strcmp(what, "spawn") == 0)
                return tractor_nursery_close(&n, measure_spawn(n));
        if (r >= 0)
                r = tractor_start_actor(n, "peer", NULL, &p);
        if (r >= 0)
                r = strcmp(what, "first") == 0 || strcmp(what, "idle") == 0 ? measure_first(p)
                                                                            : measure_talk(p);
        if (r >= 0)
                tractor_nursery_cancel(n, NULL);
        tractor_portal_unref(p);
        return tractor_nursery_close(&n, r);
}

int main(int argc, char **argv)
{
        static const tractor_method methods[] = { { "ping", ping }, { "echo", echo }, { "swallow", swallow },
                { "pour", pour }, { NULL } };
        const tractor_options options = { .size = sizeof(options),
                .methods = methods,
                .flags = TRACTOR_EMBED,
                .backend = argc > 3 ? argv[3] : NULL };

        what = argc > 2 ? argv[1] : "";
        n_rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
        return tractor_main(&options, body, NULL);
}
