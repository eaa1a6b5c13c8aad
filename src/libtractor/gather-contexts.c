/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "libtractor/task.h"
#include "tractor/gather.h"
#include "wire/json.h"

typedef struct Opening {
        tractor_context_request request;
        tractor_context *context;
} Opening;

static int open_one(void *userdata, Json **ret_started)
{
        Opening *o = userdata;

        return tractor_context_open(o->request.portal, o->request.method, TAKE_PTR(o->request.args),
                        o->request.options, &o->context, ret_started);
}

static int open_all(Opening *openings, size_t n, Json **started)
{
        _cleanup_free_ tractor_work *works = calloc(MAX(n, 1U), sizeof(*works));

        if (!works)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                works[i] = (tractor_work){
                        .fn = open_one, .userdata = &openings[i], .name = openings[i].request.method
                };
        return tractor_gather(works, n, started);
}

static void give(Opening *openings, size_t n, Json **started, tractor_context **ret, Json **ret_started)
{
        for (size_t i = 0; i < n; i++) {
                ret[i] = openings[i].context;
                if (ret_started)
                        ret_started[i] = started[i];
                else
                        json_unref(started[i]);
        }
}

static void give_up(Opening *openings, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                /* Of those whose task was never started. */
                json_unref(openings[i].request.args);
                if (openings[i].context)
                        tractor_context_dropp(&openings[i].context);
        }
}

_public_ int tractor_gather_contexts(const tractor_context_request *requests, size_t n,
                tractor_context **ret, struct json_object **ret_started)
{
        _cleanup_free_ Opening *openings = calloc(MAX(n, 1U), sizeof(*openings));
        _cleanup_free_ Json **started = calloc(MAX(n, 1U), sizeof(Json *));
        _cleanup_(tractor_error_unrefp) tractor_error *e = NULL;
        int r;

        if (!openings || !started) {
                for (size_t i = 0; i < n; i++)
                        json_unref(requests[i].args);
                return -ENOMEM;
        }
        for (size_t i = 0; i < n; i++)
                openings[i].request = requests[i];
        r = open_all(openings, n, started);
        if (r >= 0) {
                give(openings, n, started, ret, ret_started);
                return 0;
        }
        /* Closing those that are open must not take the place of why. */
        e = tractor_error_ref(tractor_last_error());
        give_up(openings, n);
        return e && tractor_error_errno(e) == r ? tractor_raise(TAKE_PTR(e)) : r;
}
