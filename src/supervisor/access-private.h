/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What access.c and access-load.c share. */

#include "supervisor/access.h"
#include "supervisor/resolve.h"

#define AUDIT_SLOTS 64U

typedef enum AccessState {
        ACCESS_READING, /* for the first time */
        ACCESS_READ,
        ACCESS_WRONG,
} AccessState;

/* Of the users whose number ends so. */
typedef struct AuditSlot {
        uint64_t filled_usec;
        unsigned tokens;
        uint64_t unlogged;
} AuditSlot;

struct Access {
        sd_event *event;
        Journal *journal; /* weak */
        char *instance;
        bool (*known)(const char *method);
        AccessState state;
        AccessRules rules;       /* in force */
        AccessRules next;        /* read, their names being looked up */
        ConfigProblems problems; /* of the last reading */
        Resolve *resolve;
        size_t rule, name; /* whose name in `next` is being looked up */
        AuditSlot slots[AUDIT_SLOTS];
        uint64_t refused, unlogged;
};
