/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What journal.c (sending) and journal-tail.c (reading) share. */

#include "base/list.h"
#include "supervisor/helper.h"
#include "supervisor/journal.h"

struct Journal {
        sd_event *event;
        char *path;
        int fd; /* -EBADF: not connected */
        uint64_t connect_at;
        sd_event_source *room, *retry;
        ListNode spool;
        size_t spooled; /* bytes */
        uint64_t dropped, unreported;
        ListNode tails; /* all that have not called back, in order of arrival */
        unsigned n_tails, n_readers;
};

int journal_flush(Journal *j);
/* Cuts the bond of tails that outlive the journal: they never call back. */
void journal_tails_done(Journal *j);
