/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>

#include "base/forks.h"

unsigned forks_count;

static void forked(void)
{
        forks_count++;
}

/* Without memory for it forks go unseen. */
__attribute__((constructor)) static void watch_forks(void)
{
        (void) pthread_atfork(NULL, NULL, forked);
}
