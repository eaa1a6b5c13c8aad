/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What all headers of tractor share. A function returns 0 or a positive number on success and a negative errno on
 * failure; its `ret_…` are written only on success. All of them are called from tasks of the thread that called
 * tractor_run(), unless they say otherwise; elsewhere they answer -ENOTCONN. A process that was
 * forked in a run has no part in it and gets -ECHILD: it executes something else or ends; where it returns to its
 * tractor_run() instead, that fails so, too, without touching anything. JSON values are json-c's objects: who
 * gives one to a function gives it away (json_object_get() keeps a reference), who gets one in a `ret_…` owns it
 * (json_object_put()). NULL is JSON's null. A struct of options
 * begins with its `size`, its sizeof, and grows at its end: one of an older program has the defaults for what it lacks, one of a newer
 * program is refused (-E2BIG) only where it has something other than 0 that this library does not know. NULL: all defaults. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define TRACTOR_BEGIN_DECLS extern "C" {
#define TRACTOR_END_DECLS }
#else
#define TRACTOR_BEGIN_DECLS
#define TRACTOR_END_DECLS
#endif

#define TRACTOR_PRINTF(a, b) __attribute__((__format__(__printf__, a, b)))
#define TRACTOR_CLEANUP(f) __attribute__((__cleanup__(f)))

/* Durations and absolute times are microseconds (of CLOCK_MONOTONIC); TRACTOR_FOREVER never comes. */
#define TRACTOR_MSEC ((uint64_t) 1000)
#define TRACTOR_SEC ((uint64_t) 1000000)
#define TRACTOR_FOREVER UINT64_MAX

struct json_object;
