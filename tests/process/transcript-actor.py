#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The actor /shop/calc of the transcripts in docs/protocol.md."""
import asyncio

from tractor.actor import Actor

actor = Actor()
notes = []


@actor.method
def add(a, b):
    return a + b


@actor.method
def divide(a, b):
    return a // b


@actor.method
async def ponder():
    await asyncio.sleep(1000)


@actor.method
def note(word):
    notes.append(word)


@actor.method("note.count")
def note_count():
    return len(notes)


@actor.dialog
async def double(ctx):
    """Twice of each number that comes, until the opener stops; then a last item, and an end of its own."""
    await ctx.started("numbers, please")
    count = 0
    async for number in ctx:
        count += 1
        await ctx.next(number * 2)
    await ctx.next("enough")
    ctx.stop()
    return {"doubled": count}


@actor.dialog
async def count(ctx, to):
    await ctx.started()
    for i in range(to):
        await ctx.next(i)
    through.set()
    return "all"


@actor.method
async def counted():
    """Answered when `count` is through with its numbers, whatever became of them."""
    await through.wait()
    return True


async def start():
    global through
    through = asyncio.Event()


actor.run(start)
