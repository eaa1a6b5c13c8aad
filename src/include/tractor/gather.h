/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Several things at once, and all of their results in order (after asyncio's gather and Python tractor's
 * gather_contexts): a nursery around a task for each. The first failure cancels the rest, and nobody is
 * left when these return. */

#include <tractor/context.h>
#include <tractor/macros.h>
#include <tractor/portal.h>

TRACTOR_BEGIN_DECLS

/* *ret_result is NULL (null) before, and given away; written only on success. */
typedef int (*tractor_work_fn)(void *userdata, struct json_object **ret_result);

typedef struct tractor_work {
        tractor_work_fn fn;
        void *userdata;
        const char *name; /* of its task; NULL: the function's address */
} tractor_work;

/* 0, and results[i] is what works[i] came to: the caller's. Else nothing is written, and it fails as
 * tractor_nursery_close() does: with the one failure there was, or with -ETOOMANYREFS. */
int tractor_gather(const tractor_work *works, size_t n, struct json_object **results);

typedef struct tractor_context_request {
        tractor_portal *portal;
        const char *method;
        struct json_object *args;               /* consumed, on failure too */
        const tractor_context_options *options; /* may be NULL */
} tractor_context_request;

/* Opens `n` contexts at once: ret[i] and ret_started[i] (the array may be NULL) belong to requests[i].
 * Where one fails those that were open are cancelled and closed. */
int tractor_gather_contexts(const tractor_context_request *requests, size_t n, tractor_context **ret,
                struct json_object **ret_started);

TRACTOR_END_DECLS
