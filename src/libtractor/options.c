/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "libtractor/error-private.h"
#include "libtractor/options.h"

/* More than any will ever have: a size that was never set is not to be believed. */
#define SIZE_LIMIT 4096U

static int check(const uint8_t *o, size_t given, size_t size, size_t first, const char *type)
{
        bool longer = given > SIZE_LIMIT;

        if (given < first)
                return error_fail(ERROR_INVALID_PARAMS, NULL, NULL, "%s.size is not set", type);
        for (size_t i = size; i < given && !longer; i++)
                longer = o[i] != 0;
        if (!longer)
                return 0;
        return error_raise(error_as(
                        error_new(ERROR_UNSUPPORTED, NULL, NULL,
                                        "%s has what this version of libtractor does not know", type),
                        -E2BIG));
}

int options_take(void *ret, size_t size, size_t first, const void *o, const char *type)
{
        size_t given = size;
        int r = 0;

        if (o) {
                memcpy(&given, o, sizeof(given));
                r = check(o, given, size, first, type);
        }
        if (r < 0)
                return r;
        memset(ret, 0, size);
        if (o)
                memcpy(ret, o, given < size ? given : size);
        memcpy(ret, &size, sizeof(size));
        return 0;
}
