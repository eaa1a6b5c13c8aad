#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""An actor: run with "channel": "fd" and "ready": "channel", it serves whoever gets a portal to it."""
from tractor.actor import Actor

actor = Actor()


@actor.method
def add(a, b):
    return a + b


@actor.dialog
async def double(ctx, limit):
    """Sends back twice of each number that comes, up to `limit` of them; the result is how many there were."""
    await ctx.started("ready for numbers")
    count = 0
    async for number in ctx:
        count += 1
        await ctx.next(number * 2)
        if count == limit:
            break
    return count


async def start():
    await actor.status("adding and doubling")


actor.run(start)
