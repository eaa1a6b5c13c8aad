/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks that stand where a debugger is to find them, until stdin ends. */
#include <stdio.h>
#include <unistd.h>

#include "tractor/tractor.h"

__attribute__((noinline)) static int sleep_below(unsigned depth)
{
        volatile int r = depth > 0 ? sleep_below(depth - 1) : tractor_sleep_forever();

        return r;
}

static int sleeper(void *unused)
{
        volatile int r = sleep_below(2);

        return r;
}

static int reader(void *unused)
{
        (void) tractor_wait_fd(STDIN_FILENO, 1);
        tractor_cancel_all(NULL);
        return 0;
}

static int body(void *unused)
{
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0)
                r = tractor_start_task(n, "sleeper", sleeper, NULL, NULL);
        if (r >= 0)
                r = tractor_start_task(n, "reader", reader, NULL, NULL);
        if (r >= 0)
                r = tractor_sleep(TRACTOR_MSEC);
        (void) puts("parked");
        (void) fflush(stdout);
        return tractor_nursery_close(&n, r);
}

int main(void)
{
        return tractor_main(NULL, body, NULL);
}
