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
                if (oldest->items > 0)
                        return;
                f->bytes -= oldest->bytes;
                drop_slot(f, 0);
        }
}
