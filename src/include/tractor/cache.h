/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What many tasks need and one is enough of, by name (after Python tractor's maybe_open_context): the first
 * who asks has it opened, the others wait for that and share it, and when the last has given it back it is
 * closed. It is opened, kept and closed by a task of its own in the cache's nursery, from a function that
 * has all of its life in it, as a block would:
 *
 *         static int connect(tractor_entry *e, void *userdata)
 *         {
 *                 r = tractor_context_open(…, &c, NULL);
 *                 if (r < 0)
 *                         return r;                      all who wait are told
 *                 r = tractor_cache_serve(e, c);         it can be used; returns when nobody does
 *                 return tractor_context_close(&c, r, NULL);
 *         }
 *
 *         r = tractor_maybe_open(cache, "prices", connect, NULL, NULL, &lease);
 *         … tractor_lease_value(lease) …
 *         tractor_lease_free(lease);
 *
 * So it outlives whoever asked first, and scopes and nurseries may be open in it meanwhile. Nobody who
 * asked and gave up takes others with him: opening goes on as long as one task waits for it, and is
 * cancelled when none does. */

#include <tractor/macros.h>
#include <tractor/nursery.h>

TRACTOR_BEGIN_DECLS

typedef struct tractor_cache tractor_cache;
typedef struct tractor_entry tractor_entry;
typedef struct tractor_lease tractor_lease;

/* What opens, serves and closes. Its failure before tractor_cache_serve() is that of all who wait
 * (-EPROTO where it returns 0 without), one after it is the nursery's. */
typedef int (*tractor_cache_fn)(tractor_entry *e, void *userdata);

/* Its resources live in tasks of `n`, which must not have been closed when one is asked for. -ENOMEM. */
int tractor_cache_new(tractor_nursery *n, tractor_cache **ret);
/* What is in use or waited for stays so. */
tractor_cache *tractor_cache_free(tractor_cache *c);
/* 1: it was opened for this call, among others; 0: it was there. Waits until it is open, and for one of
 * the same name that is just being closed. `key` is copied. `userdata` is the cache's from here on, on
 * failure too: `destroy` (may be NULL) is called with it, by then where another's is in use, else when
 * `fn` has returned. Fails as `fn` did; -EINTR: the nursery was cancelled meanwhile; as
 * tractor_start_task(). */
int tractor_maybe_open(tractor_cache *c, const char *key, tractor_cache_fn fn, void *userdata,
                void (*destroy)(void *userdata), tractor_lease **ret);
size_t tractor_cache_n_entries(const tractor_cache *c); /* those being opened and closed, too */

/* In `fn`, once: `value` is what all leases answer. Waits until the last lease is freed: 0, or -ECANCELED
 * where the nursery was cancelled before that. Even then it waits for those who still use it, and who
 * would otherwise use what is gone: so leases are held by tasks that the nursery's cancellation reaches,
 * or given back before it is closed. */
int tractor_cache_serve(tractor_entry *e, void *value);

void *tractor_lease_value(const tractor_lease *l);
/* Gives it back, without waiting until it is closed. */
tractor_lease *tractor_lease_free(tractor_lease *l);

static inline void tractor_lease_freep(tractor_lease **l)
{
        *l = tractor_lease_free(*l);
}

TRACTOR_END_DECLS
