/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>

#include "libtractor/child-private.h"
#include "libtractor/error-private.h"
#include "libtractor/nursery.h"
#include "tractor/cluster.h"

typedef struct One {
        Nursery *nursery; /* weak */
        char name[80];
        tractor_actor_options options;
        tractor_portal **ret;
} One;

static int start_one(void *userdata)
{
        One *one = userdata;

        return tractor_start_actor(one->nursery, one->name, &one->options, one->ret);
}

static void one_free(void *userdata)
{
        One *one = userdata;

        json_unref(one->options.keys);
        free(one);
}

/* The i-th processor of those we may use, round and round. */
static int nth_cpu(const cpu_set_t *set, size_t i)
{
        size_t nth = i % (size_t) CPU_COUNT(set);

        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
                if (CPU_ISSET((size_t) cpu, set) && nth-- == 0)
                        return cpu;
        return 0;
}

static int keys_for(const tractor_actor_options *o, int cpu, Json **ret)
{
        _cleanup_json_ Json *keys = NULL;

        if (json_pack(&keys, "{cpu_affinity:[i]}", cpu) < 0)
                return -ENOMEM;
        if (merge_keys(keys, o->keys) < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(keys);
        return 0;
}

static int start(Nursery *starters, Nursery *n, const char *name, size_t i, const tractor_actor_options *o,
                const cpu_set_t *cpus, tractor_portal **ret)
{
        One *one = calloc(1, sizeof(*one));

        if (!one)
                return -ENOMEM;
        one->nursery = n;
        one->options = *o;
        one->options.keys = NULL;
        one->ret = ret;
        (void) snprintf(one->name, sizeof(one->name), "%s-%zu", name, i);
        if (keys_for(o, nth_cpu(cpus, i), &one->options.keys) < 0) {
                one_free(one);
                return -ENOMEM;
        }
        return tractor_start_task(starters, one->name, start_one, one, one_free);
}

_public_ void tractor_cluster_done(tractor_cluster *c)
{
        for (size_t i = 0; i < c->n; i++)
                tractor_portal_unref(c->portals[i]);
        free(c->portals);
        *c = (tractor_cluster){ 0 };
}

/* They must not stay where the caller is cancelled; and what failed is what is told. */
static int give_up(tractor_cluster *c, int r)
{
        tractor_error *last = tractor_error_ref(tractor_last_error());
        tractor_scope *s = tractor_shield(TRACTOR_FOREVER);

        for (size_t i = 0; i < c->n; i++)
                if (c->portals[i])
                        (void) tractor_portal_cancel_actor(
                                        c->portals[i], "another one of the cluster could not start");
        (void) tractor_scope_close(s, 0);
        tractor_cluster_done(c);
        if (last)
                (void) error_raise(last);
        return r;
}

_public_ int tractor_open_cluster(tractor_nursery *n, const char *name, size_t count,
                const tractor_actor_options *options, tractor_cluster *ret)
{
        tractor_actor_options o;
        tractor_cluster c = { 0 };
        cpu_set_t cpus;
        Nursery *starters = NULL;
        int r = child_take_options(&o, options) ?: nursery_check_name(name);

        if (r < 0)
                return r;
        if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
                return -errno;
        c.n = count ?: (size_t) CPU_COUNT(&cpus);
        c.portals = calloc(c.n, sizeof(*c.portals));
        if (!c.portals)
                return -ENOMEM;
        r = tractor_nursery_open(NULL, &starters);
        for (size_t i = 0; i < c.n && r >= 0; i++)
                r = start(starters, n, name, i, &o, &cpus, &c.portals[i]);
        r = tractor_nursery_close(&starters, r);
        if (r < 0)
                return give_up(&c, r);
        *ret = c;
        return 0;
}
