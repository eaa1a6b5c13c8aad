#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""peer-trio.py switch|spawn N: what bench-tasks measures, of trio: nanoseconds each."""
import sys
import time

import trio

what, rounds = sys.argv[1], int(sys.argv[2])


async def give_way():
    for _ in range(rounds // 2):
        await trio.lowlevel.checkpoint()


async def nothing():
    pass


async def main():
    begin = time.monotonic_ns()
    if what == "switch":
        async with trio.open_nursery() as nursery:
            nursery.start_soon(give_way)
            nursery.start_soon(give_way)
    else:
        for _ in range(rounds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(nothing)
    print((time.monotonic_ns() - begin) / rounds)


trio.run(main)
