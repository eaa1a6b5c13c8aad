/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The bytes of one direction's items that were sent and for which no credit has come back (at the sender), or that
 * came and were not credited (at the receiver). Credit counts items, and names the oldest: so the sizes have to be
 * remembered in order. Memory is fixed: past FLIGHT_SLOTS entries neighbours are merged, the smallest pair first, and
 * a merged entry is given back when all of its items are. The sum is therefore never too small, and too large by at
 * most one such pair: about FLIGHT_BYTES_MAX / 16 unless the items themselves are larger. */

#include "base/macro.h"

#define FLIGHT_SLOTS 32U
/* A sender with this much under way waits for credit; a receiver credits at the latest at half of it. */
#define FLIGHT_BYTES_MAX (4U * 1024 * 1024)

typedef struct FlightSlot {
        uint64_t items, bytes;
} FlightSlot;

typedef struct Flight {
        FlightSlot slots[FLIGHT_SLOTS]; /* oldest first */
        unsigned n;
        uint64_t items, bytes;
} Flight;

void flight_add(Flight *f, uint64_t bytes);
/* The oldest n items have been credited; more than there are is all of them. */
void flight_credit(Flight *f, uint64_t n);
