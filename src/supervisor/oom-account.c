/* SPDX-License-Identifier: Apache-2.0 */
#include "base/usec.h"
#include "supervisor/oom-account.h"

/* An actor that goes on in spite of its losses may lose many. */
#define TELL_EVERY_USEC (10 * USEC_PER_SEC)

void oom_account_begin(OomAccount *a, uint64_t count)
{
        *a = (OomAccount){ .cleared = count };
}

void oom_account_look(OomAccount *a, uint64_t count, bool doomed)
{
        if (count < a->cleared)
                a->cleared = 0; /* the slice was stopped by somebody and made anew */
        if (doomed)
                return;
        a->untold += count - a->cleared;
        a->cleared = count;
}

bool oom_account_judge(OomAccount *a, uint64_t count, bool by_sigkill)
{
        oom_account_look(a, count, by_sigkill);
        return count > a->cleared;
}

uint64_t oom_account_tell(OomAccount *a, uint64_t now)
{
        uint64_t n = a->untold;

        if (n == 0 || (a->told_usec > 0 && now < usec_add(a->told_usec, TELL_EVERY_USEC)))
                return 0;
        a->untold = 0;
        a->told_usec = now;
        return n;
}
