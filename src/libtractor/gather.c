/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "libtractor/task.h"
#include "tractor/gather.h"
#include "wire/json.h"

typedef struct Job {
        const tractor_work *work;
        Json *result;
} Job;

static int job_main(void *userdata)
{
        Job *j = userdata;

        return j->work->fn(j->work->userdata, &j->result);
}

static int run_all(Job *jobs, const tractor_work *works, size_t n)
{
        TRACTOR_NURSERY(nursery);
        int r = task_checkpoint();

        if (r < 0)
                return r;
        r = tractor_nursery_open(NULL, &nursery);
        for (size_t i = 0; i < n && r >= 0; i++) {
                jobs[i].work = &works[i];
                r = tractor_start_task(nursery, works[i].name, job_main, &jobs[i], NULL);
        }
        return tractor_nursery_close(&nursery, r);
}

_public_ int tractor_gather(const tractor_work *works, size_t n, struct json_object **results)
{
        _cleanup_free_ Job *jobs = calloc(MAX(n, 1U), sizeof(*jobs));
        int r;

        if (!jobs)
                return -ENOMEM;
        r = run_all(jobs, works, n);
        for (size_t i = 0; i < n; i++)
                if (r >= 0)
                        results[i] = jobs[i].result;
                else
                        json_unref(jobs[i].result);
        return MIN(r, 0);
}
