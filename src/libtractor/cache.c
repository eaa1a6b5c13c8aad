/* SPDX-License-Identifier: Apache-2.0 */
/* An entry is a task: opening until its function serves, open until the last use is given back, closing
 * until the function has returned. Whoever waits for it to open is handed a use by that; who comes while
 * it closes waits until it has gone, and begins anew. Entries are counted, since a waiter that was woken
 * still reads how it went. */
#include <errno.h>

#include "base/map.h"
#include "libtractor/error-private.h"
#include "libtractor/nursery.h"
#include "libtractor/sync.h"
#include "tractor/cache.h"

typedef enum EntryState {
        ENTRY_OPENING,
        ENTRY_OPEN,
        ENTRY_CLOSING,
} EntryState;

struct tractor_cache {
        unsigned n_ref;   /* its maker's and one an entry */
        Nursery *nursery; /* weak */
        Map entries;
};

struct tractor_entry {
        unsigned n_ref;
        tractor_cache *cache;
        char *key;
        EntryState state;
        tractor_cache_fn fn;
        void *userdata;
        void (*destroy)(void *userdata);
        Scope *scope; /* weak: of its task; NULL: it has not begun, or ends */
        void *value;
        unsigned n_users;
        WaitQueue opening; /* who wants it */
        WaitQueue leaving; /* its own task, until nobody uses it */
        WaitQueue gone;    /* who wants it after it has been closed */
        bool served;
        tractor_error *error; /* how opening failed; NULL: there was no memory to say so */
};

struct tractor_lease {
        tractor_entry *entry;
};

_public_ int tractor_cache_new(tractor_nursery *n, tractor_cache **ret)
{
        tractor_cache *c = calloc(1, sizeof(*c));

        if (!c)
                return -ENOMEM;
        c->n_ref = 1;
        c->nursery = n;
        *ret = c;
        return 0;
}

_public_ tractor_cache *tractor_cache_free(tractor_cache *c)
{
        if (!c || --c->n_ref > 0)
                return NULL;
        map_clear(&c->entries);
        free(c);
        return NULL;
}

_public_ size_t tractor_cache_n_entries(const tractor_cache *c)
{
        return c->entries.n;
}

static tractor_entry *entry_unref(tractor_entry *e)
{
        if (!e || --e->n_ref > 0)
                return NULL;
        tractor_cache_free(e->cache);
        tractor_error_unref(e->error);
        free(e->key);
        free(e);
        return NULL;
}
DEFINE_CLEANUP(tractor_entry *, entry_unref);

static tractor_entry *entry_new(tractor_cache *c, const char *key)
{
        tractor_entry *e = calloc(1, sizeof(*e));

        if (!e)
                return NULL;
        e->n_ref = 1;
        e->cache = c;
        c->n_ref++;
        wait_queue_init(&e->opening);
        wait_queue_init(&e->leaving);
        wait_queue_init(&e->gone);
        e->key = strdup(key);
        return e->key ? e : entry_unref(e);
}

static const char nobody_waits[] = "nobody waits for it any more";

/* All who wait for it to open get a use of it at once, so that it can't be closed before they run. */
static void hand_out(tractor_entry *e)
{
        while (wait_queue_wake(&e->opening, 0))
                e->n_users++;
}

_public_ int tractor_cache_serve(tractor_entry *e, void *value)
{
        int r = 0;

        if (!task_current() || e->served)
                return -EPROTO;
        e->served = true;
        if (e->state == ENTRY_OPENING) {
                e->state = ENTRY_OPEN;
                e->value = value;
                hand_out(e);
        }
        while (e->n_users > 0 && r >= 0)
                r = task_park(&e->leaving, "users", USEC_INFINITY);
        e->state = ENTRY_CLOSING;
        while (e->n_users > 0)
                (void) task_park_shielded(&e->leaving, "users", USEC_INFINITY);
        return r;
}

/* How opening went wrong, for those who wait: the cancellation of another task is none of theirs. */
static tractor_error *opening_error(const tractor_entry *e, int r)
{
        Task *t = task_current();

        if (r == -ECANCELED)
                return error_new(ERROR_CANCELLED, NULL, NULL, "opening '%s' was cancelled", e->key);
        if (r >= 0)
                return error_new(ERROR_INVALID_REQUEST, NULL, NULL, "'%s' was never served", e->key);
        return error_of_result(t ? t->error : NULL, r, e->key);
}

/* What is left of the function's result for the nursery. */
static int conclude(tractor_entry *e, int r)
{
        e->state = ENTRY_CLOSING;
        if (e->served)
                return r;
        e->error = opening_error(e, r);
        wait_queue_wake_all(&e->opening, e->error ? tractor_error_errno(e->error) : -ENOMEM);
        return r == -ECANCELED ? r : 0;
}

static int entry_main(void *userdata)
{
        tractor_entry *e = userdata;
        Scope *scope = tractor_scope_open();
        int r = scope ? 0 : -ENOMEM;

        /* All who wanted it may have given up before this task ran. */
        e->scope = scope;
        if (e->state == ENTRY_CLOSING)
                scope_cancel(scope, nobody_waits, NULL);
        else if (r >= 0)
                r = e->fn(e, e->userdata);
        r = conclude(e, r);
        if (e->destroy)
                e->destroy(e->userdata);
        e->scope = NULL;
        if (scope)
                r = tractor_scope_close(scope, r);
        (void) map_remove(&e->cache->entries, e->key);
        wait_queue_wake_all(&e->gone, 0);
        entry_unref(e);
        return r;
}

static int begin(tractor_cache *c, const char *key, tractor_cache_fn fn, void *userdata,
                void (*destroy)(void *userdata), tractor_entry **ret)
{
        tractor_entry *e = entry_new(c, key);
        int r = e ? map_put(&c->entries, e->key, e) : -ENOMEM;

        if (r >= 0) {
                r = tractor_start_task(c->nursery, key, entry_main, e, NULL);
                if (r < 0)
                        (void) map_remove(&c->entries, key);
        }
        if (r < 0) {
                entry_unref(e);
                /* Not the caller's own cancellation. */
                return r != -ECANCELED ? r
                                       : error_fail(ERROR_CANCELLED, NULL, NULL,
                                                         "the cache's nursery was cancelled");
        }
        e->fn = fn;
        e->userdata = userdata;
        e->destroy = destroy;
        *ret = e;
        return 0;
}

/* 1: the caller has a use of it; 0: it has gone. */
static int join(tractor_entry *entry)
{
        _cleanup_(entry_unrefp) tractor_entry *e = entry;
        int r;

        e->n_ref++;
        switch (e->state) {
        case ENTRY_OPEN:
                e->n_users++;
                return 1;
        case ENTRY_CLOSING:
                return task_park(&e->gone, "a resource to be closed", USEC_INFINITY);
        case ENTRY_OPENING:
                break;
        }
        r = task_park(&e->opening, "a resource to be opened", USEC_INFINITY);
        if (r >= 0)
                return 1;
        if (r != -ECANCELED)
                return error_raise(e->error ? tractor_error_ref(e->error) : NULL);
        if (e->state == ENTRY_OPENING && wait_queue_is_empty(&e->opening)) {
                e->state = ENTRY_CLOSING;
                scope_cancel(e->scope, nobody_waits, NULL);
        }
        return r;
}

static int use(tractor_cache *c, const char *key, tractor_cache_fn fn, void *userdata,
                void (*destroy)(void *userdata), bool *opens, tractor_entry **ret)
{
        int r = task_checkpoint();

        /* Who waits for one to be gone comes back to it. */
        c->n_ref++;
        while (r == 0) {
                *ret = map_get(&c->entries, key);
                if (!*ret) {
                        r = begin(c, key, fn, userdata, destroy, ret);
                        *opens = r >= 0;
                }
                if (r >= 0)
                        r = join(*ret);
        }
        tractor_cache_free(c);
        return r;
}

_public_ int tractor_maybe_open(tractor_cache *c, const char *key, tractor_cache_fn fn, void *userdata,
                void (*destroy)(void *userdata), tractor_lease **ret)
{
        _cleanup_free_ tractor_lease *l = calloc(1, sizeof(*l));
        bool opens = false;
        int r = l ? use(c, key, fn, userdata, destroy, &opens, &l->entry) : -ENOMEM;

        if (!opens && destroy)
                destroy(userdata);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(l);
        return opens ? 1 : 0;
}

_public_ void *tractor_lease_value(const tractor_lease *l)
{
        return l->entry->value;
}

_public_ tractor_lease *tractor_lease_free(tractor_lease *l)
{
        if (!l)
                return NULL;
        if (--l->entry->n_users == 0)
                wait_queue_wake_all(&l->entry->leaving, 0);
        free(l);
        return NULL;
}
