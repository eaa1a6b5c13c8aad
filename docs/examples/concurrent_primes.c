/* SPDX-License-Identifier: Apache-2.0 */
/* A pool of workers on a nursery that may use 64 MiB in all. One of them leaks: the kernel ends that one
 * alone, the nursery keeps what became of it, and the others find their primes. Where this host can't
 * enforce limits of memory, nobody leaks.
 *
 * Watch it from another terminal:  tractorctl top */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tractor/discovery.h>
#include <tractor/tractor.h>

#define WORKERS 3

static const int64_t candidates[] = { 1099726899285419, 1570341764013157, 1637027521802551, 1880450821379411,
        1893530391196711, 2447109360961063, 2, 5, 1, 4 };
#define N_CANDIDATES (sizeof(candidates) / sizeof(candidates[0]))

static int is_prime(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        int64_t n = json_object_get_int64(json_object_array_get_idx(args, 0));
        bool prime = n > 1 && (n == 2 || n % 2 != 0);

        for (int64_t d = 3; prime && d <= n / d && d < 4000000; d += 2)
                prime = n % d != 0;
        *ret_result = json_object_new_boolean(prime);
        return 0;
}

static int leak(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        for (;;) {
                void *p = malloc(1 << 20);

                if (p)
                        memset(p, 1, 1 << 20);
                if (tractor_checkpoint() < 0)
                        return -ECANCELED;
        }
}

static const tractor_method methods[] = { { "is_prime", is_prime }, { "leak", leak }, { NULL } };

/* Work and those who do it: each worker has a task here that hands it the next number. */
typedef struct Pool {
        size_t next;
        tractor_portal *workers[WORKERS];
} Pool;

typedef struct Hand {
        Pool *pool;
        tractor_portal *worker;
} Hand;

static int hand_out(void *userdata)
{
        Hand *hand = userdata;
        Pool *pool = hand->pool;
        int r = 0;

        while (r >= 0 && pool->next < N_CANDIDATES) {
                int64_t n = candidates[pool->next++];
                struct json_object *args = json_object_new_array(), *result = NULL;

                json_object_array_add(args, json_object_new_int64(n));
                r = tractor_portal_call(hand->worker, "is_prime", args, &result);
                if (r >= 0)
                        printf("%lld is prime: %s\n", (long long) n, json_object_to_json_string(result));
                json_object_put(result);
        }
        return r;
}

static int work_off(Pool *pool)
{
        Hand hands[WORKERS];
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        for (int i = 0; i < WORKERS && r >= 0; i++) {
                hands[i] = (Hand){ pool, pool->workers[i] };
                r = tractor_start_task(n, tractor_portal_path(pool->workers[i]), hand_out, &hands[i], NULL);
        }
        return tractor_nursery_close(&n, r);
}

/* Whether a limit of memory would hold here. */
static bool limits_hold(void)
{
        struct json_object *status = NULL, *controllers;
        bool hold = false;

        if (tractor_control("supervisor.status", NULL, &status) >= 0 &&
                        json_object_object_get_ex(status, "controllers", &controllers))
                hold = controllers && strstr(json_object_get_string(controllers), "memory");
        json_object_put(status);
        return hold;
}

static int start_workers(tractor_nursery *n, Pool *pool)
{
        char name[16];
        int r = 0;

        for (int i = 0; i < WORKERS && r >= 0; i++) {
                snprintf(name, sizeof(name), "worker-%d", i);
                r = tractor_start_actor(n, name, NULL, &pool->workers[i]);
        }
        return r;
}

static int leak_and_tell(tractor_nursery *n)
{
        tractor_future *leaking = NULL;
        int r = tractor_run_actor(n, "leaking", "leak", NULL, NULL, &leaking);

        if (r >= 0)
                r = tractor_future_wait(leaking, NULL);
        tractor_future_unref(leaking);
        if (r == -EOWNERDEAD) {
                printf("the leaking one: %s\n", tractor_error_message(tractor_last_error()));
                r = 0;
        }
        return r;
}

static int body(void *unused)
{
        struct json_object *limits = json_object_new_object();
        tractor_nursery_options o = { .size = sizeof(o),
                .name = "pool",
                .strategy = "one_cancels_one",
                .limits = limits,
                .limits_optional = true };
        Pool pool = { 0 };
        TRACTOR_NURSERY(n);
        int r;

        json_object_object_add(limits, "MemoryMax", json_object_new_string("64M"));
        r = tractor_nursery_open(&o, &n);
        if (r >= 0)
                r = start_workers(n, &pool);
        if (r >= 0 && limits_hold())
                r = leak_and_tell(n);
        if (r >= 0)
                r = work_off(&pool);
        for (int i = 0; i < WORKERS; i++)
                tractor_portal_unref(pool.workers[i]);
        if (r >= 0)
                tractor_nursery_cancel(n, "all is done");
        r = tractor_nursery_close(&n, r);
        json_object_put(limits);
        return r;
}

int main(void)
{
        tractor_options options = { .size = sizeof(options), .methods = methods };

        return tractor_main(&options, body, NULL);
}
