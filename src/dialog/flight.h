/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The bytes of one direction's items that were sent and for which no credit has come back (at the sender), or that
 * came and were not credited (at the receiver). Credit counts items, and names the oldest: so the sizes have to be
 * remembered in order. Memory is fixed: past FLIGHT_SLOTS entries neighbours are merged, the smallest pair first, and
 * a merged entry is given back when all of its items are. The sum is therefore never too small, and too large by at
 * most one such pair: about FLIGHT_BYTES_MAX / 16 unless the items themselves are larger.
 *
 * Intake is the receiver's side of it: what came, what its taker has not yet taken, and what is to be credited. */

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
        bool begun; /* of the oldest entry's items some are credited */
        uint64_t items, bytes;
} Flight;

void flight_add(Flight *f, uint64_t bytes);
/* The oldest n items have been credited; more than there are is all of them. */
void flight_credit(Flight *f, uint64_t n);

typedef struct Intake {
        Flight flight;
        uint64_t untaken; /* items handed on and not yet taken */
        uint64_t owed;    /* taken and not yet credited */
} Intake;

/* An item came. False: no sender that looks before it sends, each line at most `max_line`, would have this much under
 * way; it is not taken in. */
bool intake_add(Intake *in, uint64_t bytes, uint64_t max_line);
/* The taker is done with n of them; false when there are fewer. */
bool intake_take(Intake *in, uint64_t n);
/* The credit to be given now, of a window of `size` items; 0: none. */
uint64_t intake_due(const Intake *in, uint64_t size);
/* It was given. */
void intake_credited(Intake *in, uint64_t n);
