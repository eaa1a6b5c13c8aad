/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

#include "libtractor/options.h"
#include "libtractor/retry.h"
#include "libtractor/task.h"

#define FIRST_DEFAULT (100 * USEC_PER_MSEC)
#define MAX_DEFAULT (10 * USEC_PER_SEC)

uint64_t retry_delay(const tractor_retry_policy *p, unsigned n, uint64_t random)
{
        uint64_t max = p && p->max_usec ? p->max_usec : MAX_DEFAULT;
        uint64_t delay = p && p->first_usec ? p->first_usec : FIRST_DEFAULT;

        /* Its half is looked at, which can't overflow. */
        for (; n > 1 && delay < max; n--)
                delay = delay > max / 2 ? max : delay * 2;
        delay = MIN(delay, max);
        return delay - random % (delay / 2 + 1);
}

/* It only fails where a program forbids it by a filter. */
static int draw_random(void *p, size_t n)
{
        return getrandom(p, n, 0) == (ssize_t) n ? 0 : -EIO;
}

int retry_draw_key(char key[RETRY_KEY_SIZE])
{
        uint64_t id[2];
        int r = draw_random(id, sizeof(id));

        if (r >= 0)
                (void) snprintf(key, RETRY_KEY_SIZE, "%016llx%016llx", (unsigned long long) id[0],
                                (unsigned long long) id[1]);
        return r;
}

static bool is_tried_again(const tractor_retry_policy *p, unsigned n, int r, void *userdata)
{
        if (r >= 0 || r == -ECANCELED || (p->max_tries && n >= p->max_tries))
                return false;
        return p->again ? p->again(r, userdata) : r == -ECONNRESET;
}

_public_ int tractor_retry(const tractor_retry_policy *given, int (*fn)(const char *key, void *userdata),
                void *userdata)
{
        tractor_retry_policy policy;
        char key[RETRY_KEY_SIZE];
        uint64_t random;
        int r = OPTIONS_TAKE(&policy, given, tractor_retry_policy, again);

        if (r < 0)
                return r;
        r = retry_draw_key(key);
        if (r < 0)
                return r;
        for (unsigned n = 1;; n++) {
                int slept;

                r = fn(key, userdata);
                if (!is_tried_again(&policy, n, r, userdata))
                        return r;
                slept = draw_random(&random, sizeof(random));
                if (slept >= 0)
                        slept = tractor_sleep(retry_delay(&policy, n, random));
                if (slept < 0)
                        return slept;
        }
}
