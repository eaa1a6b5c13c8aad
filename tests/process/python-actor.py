#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What test-python.py asks: an actor of the Python package, with handlers that fail, wait, flood and take long to clean up."""
import asyncio
import os

from tractor.actor import Actor

actor = Actor()
told = []


@actor.method
def add(a, b):
    return a + b


@actor.method("text.fail")
def fail():
    raise FileNotFoundError(2, "no such thing")


@actor.method
async def wait():
    await asyncio.sleep(1000)


@actor.method
def note(word):
    told.append(word)


@actor.method
def notes():
    return told


@actor.method
def die():
    os.kill(os.getpid(), 9)


@actor.dialog
async def double(ctx, limit):
    await ctx.started(ctx.peer["path"])
    count = 0
    async for number in ctx:
        count += 1
        await ctx.next(number * 2)
        if count == limit:
            break
    return count


@actor.dialog
async def flood(ctx, items):
    flooding.clear()
    await ctx.started()
    for i in range(items):
        await ctx.next(i)
    flooding.set()
    ctx.stop()
    return "all"


@actor.method
async def flooded():
    await flooding.wait()


@actor.dialog
async def forever(ctx):
    await ctx.started()
    await asyncio.sleep(1000)


@actor.dialog
async def fails_in_cleanup(ctx):
    await ctx.started()
    try:
        await asyncio.sleep(1000)
    finally:
        raise ValueError("mine")


@actor.dialog
async def breaks(ctx):
    await ctx.started()
    async for item in ctx:
        if item == 3:
            raise LookupError("three")
        await ctx.next(item)


@actor.dialog
async def says_why(ctx):
    await ctx.started()
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError as cancelled:
        raise ValueError(cancelled.args[0].reason) from None


@actor.dialog
async def twice(ctx):
    await ctx.started()
    await ctx.started()


@actor.dialog
async def never(ctx):
    return 1


async def start():
    global flooding
    flooding = asyncio.Event()


actor.run(start)
