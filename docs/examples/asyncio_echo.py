#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The actor of infected_asyncio.c: an ordinary asyncio program that answers each item with the same."""
import asyncio

from tractor.actor import Actor

actor = Actor()


@actor.dialog
async def echo(ctx):
    await ctx.started("asyncio is here")
    count = 0
    async for item in ctx:
        await ctx.next(item)
        count += 1
        if count % 500 == 0:
            await asyncio.sleep(0)
    return count


actor.run()
