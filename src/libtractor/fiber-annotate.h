/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the address sanitizer and valgrind must be told when a thread changes its stack; nothing where neither is there. */

#include <stddef.h>

#ifdef __SANITIZE_ADDRESS__
#define FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#endif

#ifdef FIBER_ASAN
#include <sanitizer/common_interface_defs.h>
static inline void annotate_leave(void **ret_fake, const void *bottom, size_t size)
{
        __sanitizer_start_switch_fiber(ret_fake, bottom, size);
}
static inline void annotate_arrive(void *fake, const void **ret_bottom, size_t *ret_size)
{
        __sanitizer_finish_switch_fiber(fake, ret_bottom, ret_size);
}
#else
static inline void annotate_leave(void **ret_fake, const void *bottom, size_t size)
{
}
static inline void annotate_arrive(void *fake, const void **ret_bottom, size_t *ret_size)
{
}
#endif

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
static inline unsigned annotate_stack(const void *from, const void *to)
{
        return VALGRIND_STACK_REGISTER(from, to);
}
static inline void annotate_no_stack(unsigned id)
{
        VALGRIND_STACK_DEREGISTER(id);
}
#else
static inline unsigned annotate_stack(const void *from, const void *to)
{
        return 0;
}
static inline void annotate_no_stack(unsigned id)
{
}
#endif
