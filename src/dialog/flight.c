/* SPDX-License-Identifier: Apache-2.0 */
#include "dialog/flight.h"

static void drop_slot(Flight *f, unsigned i)
{
        f->n--;
        memmove(f->slots + i, f->slots + i + 1, (f->n - i) * sizeof(FlightSlot));
}

static void merge_smallest(Flight *f)
{
        unsigned at = 0;
        uint64_t least = UINT64_MAX;

        for (unsigned i = 0; i + 1 < f->n; i++)
                if (f->slots[i].bytes + f->slots[i + 1].bytes < least) {
                        least = f->slots[i].bytes + f->slots[i + 1].bytes;
                        at = i;
                }
        f->slots[at].items += f->slots[at + 1].items;
        f->slots[at].bytes = least;
        drop_slot(f, at + 1);
}

void flight_add(Flight *f, uint64_t bytes)
{
        if (f->n == FLIGHT_SLOTS)
                merge_smallest(f);
        f->slots[f->n++] = (FlightSlot){ .items = 1, .bytes = bytes };
        f->items++;
        f->bytes += bytes;
}

void flight_credit(Flight *f, uint64_t n)
{
        while (n > 0 && f->n > 0) {
                FlightSlot *oldest = &f->slots[0];
                uint64_t taken = MIN(n, oldest->items);

                oldest->items -= taken;
                f->items -= taken;
                n -= taken;
                f->begun = oldest->items > 0;
                if (f->begun)
                        return;
                f->bytes -= oldest->bytes;
                drop_slot(f, 0);
        }
}

/* Entries are credited whole: the sum may name bytes that were credited already, but only the oldest entry's. */
static uint64_t least(const Flight *f)
{
        return f->bytes - (f->begun ? f->slots[0].bytes : 0);
}

bool intake_add(Intake *in, uint64_t bytes, uint64_t max_line)
{
        if (least(&in->flight) >= FLIGHT_BYTES_MAX + max_line)
                return false;
        flight_add(&in->flight, bytes);
        in->untaken++;
        return true;
}

bool intake_take(Intake *in, uint64_t n)
{
        if (n > in->untaken)
                return false;
        in->untaken -= n;
        in->owed += n;
        return true;
}

uint64_t intake_due(const Intake *in, uint64_t size)
{
        return in->owed >= size / 2 || in->flight.bytes >= FLIGHT_BYTES_MAX / 2 ? in->owed : 0;
}

void intake_credited(Intake *in, uint64_t n)
{
        in->owed -= n;
        flight_credit(&in->flight, n);
}
