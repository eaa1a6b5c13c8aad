/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Structured concurrency across processes: all of libtractor. */

#include <tractor/cluster.h>
#include <tractor/broadcast.h>
#include <tractor/cache.h>
#include <tractor/context.h>
#include <tractor/discovery.h>
#include <tractor/error.h>
#include <tractor/gather.h>
#include <tractor/macros.h>
#include <tractor/nursery.h>
#include <tractor/portal.h>
#include <tractor/retry.h>
#include <tractor/runtime.h>
#include <tractor/scope.h>
#include <tractor/sync.h>
#include <tractor/task.h>
#include <tractor/thread.h>
#include <tractor/topics.h>
