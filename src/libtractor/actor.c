/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "libtractor/actor.h"

int actor_detect(Runtime *rt)
{
        return 0;
}

int actor_main(void *userdata)
{
        return -EOPNOTSUPP;
}

void actor_free(Runtime *rt)
{
}

_public_ const char *tractor_path(void)
{
        return NULL;
}
