#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Starts three programs at once, and waits for all of their ends, in whatever order they come."""
import asyncio

from tractor import aio

TREE = {"tractor": 1, "name": "from-asyncio", "children": []}


async def ended(client, path):
    """How the actor at `path` ends."""
    async with await client.events(path) as events:
        spawned = await client.spawn("/from-asyncio", path.rpartition("/")[2], ["sleep", "1000"], restart="temporary")
        print("started", spawned.path)
        await client.kill(path)
        async for event in events:
            if event["event"] == "exited":
                return event["exit"]["signal"]


async def main():
    async with aio.Client() as client:
        await client.load(TREE)
        paths = [f"/from-asyncio/{name}" for name in ("a", "b", "c")]
        print("ended:", *await asyncio.gather(*(ended(client, path) for path in paths)))
        await client.unload("/from-asyncio")


asyncio.run(main())
