/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A stack with a guard below it, and the jumps onto it and off again. One that has run its function waits in its pool for the next,
 * so that a new task costs neither mmap() nor makecontext(). ucontext makes a stack's first frame; from then on it is
 * sigsetjmp() and siglongjmp() without signal masks, since swapcontext() asks the kernel for those at every switch.
 *
 * All fibers of a pool belong to one thread, and are entered from its own stack, the host's: fibers never jump to each other. */

#include <setjmp.h>

#include "base/list.h"

#define FIBER_STACK_DEFAULT (256U * 1024)
#define FIBER_STACK_MIN (16U * 1024)
#define FIBER_KEPT_MAX 256U
/* More than a page, which it is on no architecture: what was compiled without -fstack-clash-protection may leap over less. */
#define FIBER_GUARD (64U * 1024)

typedef struct FiberPool FiberPool;

typedef struct Fiber {
        ListNode node;   /* of the pool's free ones */
        FiberPool *pool; /* weak */
        void *map;       /* the guard, then the stack */
        size_t map_size;
        sigjmp_buf env;
        sigjmp_buf *primer; /* weak: who makes the first frame */
        void *prime_fake_stack;
        void (*fn)(void *arg); /* NULL: the fiber is to end */
        void *arg;
        void *fake_stack; /* the address sanitizer's */
        unsigned valgrind_id;
} Fiber;

struct FiberPool {
        ListNode kept;
        unsigned n_kept;
        size_t stack_size;
        sigjmp_buf host_env;
        void *host_fake_stack;
        const void *host_bottom;
        size_t host_size;
};

/* stack_size: 0: FIBER_STACK_DEFAULT; rounded up to pages. */
void fiber_pool_init(FiberPool *p, size_t stack_size);
void fiber_pool_clear(FiberPool *p); /* every fiber must have been given back */
/* The fiber will run fn(arg). -EAGAIN: the system has no room for another stack (vm.max_map_count, memory). */
int fiber_get(FiberPool *p, void (*fn)(void *arg), void *arg, Fiber **ret);
/* Of one whose function has returned, or that was never entered. Returns NULL. */
Fiber *fiber_put(Fiber *f);
/* From the host: runs it until it leaves or its function has returned. */
void fiber_enter(Fiber *f);
/* From the fiber itself: back to the host, until it is entered again. */
void fiber_leave(Fiber *f);
/* From the fiber itself: how many bytes of stack are left to it. */
size_t fiber_room(const Fiber *f);
/* Whether the address lies in the guard; async-signal-safe. */
bool fiber_is_guard(const Fiber *f, const void *address);
