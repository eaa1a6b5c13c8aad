/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Tries again what failed for a reason that passes: after a delay that doubles each time up to a cap, drawn
 * from its upper half, so that those who failed together do not come back together. Every try is given the
 * same random key: a control request sent with it (tractor_call_options.key) is done once, even where only
 * its answer was lost.
 *
 *         static int stop(const char *key, void *portal)
 *         {
 *                 tractor_call_options o = { .size = sizeof(o), .key = key };
 *
 *                 return tractor_portal_call_with(portal, "actor.cancel", args(), &o, NULL);
 *         }
 *
 *         r = tractor_retry(NULL, stop, portal);
 *
 * All tries together are bounded by a scope around them (tractor_fail_after()). */

#include <tractor/macros.h>

TRACTOR_BEGIN_DECLS

/* What is 0 or NULL has the default. */
typedef struct tractor_retry_policy {
        size_t size;         /* sizeof(tractor_retry_policy): it may grow */
        uint64_t first_usec; /* the first delay at most; 0: 100 ms */
        uint64_t max_usec;   /* any delay at most; 0: 10 s */
        unsigned max_tries;  /* 0: no end of them */
        bool (*again)(int r,
                        void *userdata); /* whether to try again after that error; NULL: after -ECONNRESET */
} tractor_retry_policy;

/* What `fn` returned at last; -ECANCELED is never tried again. `key`: 32 hexadecimal digits. `policy` may
 * be NULL. */
int tractor_retry(const tractor_retry_policy *policy, int (*fn)(const char *key, void *userdata),
                void *userdata);

TRACTOR_END_DECLS
