/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "supervisor/backend-private.h"

int backend_scope_open(const BackendOptions *options, Backend **ret, char **ret_why)
{
        *ret_why = xasprintf("not built yet");
        return -EOPNOTSUPP;
}
