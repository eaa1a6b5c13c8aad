/* SPDX-License-Identifier: Apache-2.0 */
#include "tractorctl/context.h"

int verb_top(Context *c)
{
        return fail(c, CTL_FAILED,
                        "not built yet in this version (Unsupported, -32010); see 'tractorctl help'");
}
