/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Structs of options in the public API grow at their ends alone, and say by their `size` how long they were when the program was compiled. One
 * of an older program is shorter: what is missing has its default, which is 0. One of a newer program is longer: what this library does not know
 * must be 0, since it would otherwise be ignored. A member is never put where there was padding, which nobody has cleared. (After
 * the kernel's extensible structs, openat2(2).) */

#include <stddef.h>

/* Copies `o` (NULL: all defaults) into `ret` of `size` bytes. `first`: as long it was in the version it was published in. What is wrong is
 * raised: -EINVAL for a size that is less, -E2BIG for one that is too much. */
int options_take(void *ret, size_t size, size_t first, const void *o, const char *type);
/* The same by types; `last` is the last member of the version it was published in. */
#define OPTIONS_TAKE(ret, o, type, last)                                                                    \
        options_take((ret), sizeof(type), offsetof(type, last) + sizeof((ret)->last),                       \
                        (1 ? (o) : (type *) NULL), #type)
