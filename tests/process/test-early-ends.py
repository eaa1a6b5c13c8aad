#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Actors that die when the connection to them is made and not yet used. That is told as any other end, by every client, also where the
supervisor's word about it comes in one piece with the connection."""

import os
import re
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "harness"))
from ctl import CTL  # noqa: E402
from peers import echo  # noqa: E402
from proxy import holding  # noqa: E402
from tractor import LIMIT, main, program, sleeper, tractor  # noqa: E402

PACKAGE = os.path.join(HERE, "..", "..", "contrib", "python")
BLOCKING = """
import tractor
with tractor.Client() as client:
    with client.connect("/t/a") as portal:
        try:
            portal.call("echo")
        except tractor.TractorError as error:
            print(type(error).__name__, error)
"""
ASYNCIO = """
import asyncio, tractor
from tractor import aio
async def main():
    async with aio.Client() as client:
        async with await client.connect("/t/a") as portal:
            try:
                await portal.call("echo")
            except tractor.TractorError as error:
                print(type(error).__name__, error)
asyncio.run(main())
"""
NURSERY = """
import asyncio, sys, tractor
async def main():
    try:
        async with tractor.open_nursery() as n:
            portal = await n.start_actor("a", sys.argv[1:])
            await portal.call("echo")
    except tractor.TractorError as error:
        while isinstance(error, tractor.ErrorGroup):
            error = error.exceptions[0]
        print(type(error).__name__, error)
asyncio.run(main())
"""


def dies_early(backend, command, joined, victim):
    """`command` is given its connection when the actor at the other end of it has been killed."""
    with tractor(backend) as t, holding(t.path, b'"fds":1', joined and b"$/peer_exited") as proxy:
        t.load(children=[echo("a"), sleeper("keep")])
        events = t.events()
        env = dict(os.environ, TRACTOR_SOCKET=proxy.path, PYTHONPATH=PACKAGE, PYTHONDONTWRITEBYTECODE="1")
        p = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        proxy.await_held()
        path = victim(t)
        os.kill(t.pid(path), signal.SIGKILL)
        events.wait(lambda e: e["event"] == "exited" and e["path"] == path)
        begin = time.monotonic()
        proxy.let_go()
        said, _ = p.communicate(timeout=LIMIT)
        assert "ActorDied" in said and "SIGKILL" in said, f"{command[:3]}, joined: {joined}: {said}"
        if joined:
            assert time.monotonic() - begin < 0.9, f"{command[:3]}: it waited for the word that had come"


def test_of(*command, victim=lambda t: "/t/a"):
    def test(backend):
        for joined in (False, True):
            dies_early(backend, [program(c) if c == "caller" else c for c in command], joined, victim)
    return test


def started(t):
    """What the client has started itself."""
    def look(node):
        if node.get("pid") and re.fullmatch(r"/[^/]+(/[^/]+)?/a", node["path"]) and not node["path"].startswith("/t/"):
            return node["path"]
        return next(filter(None, map(look, node.get("children", []))), None)
    return look(t.get("/", depth=4))


def named(name, test):
    test.__name__ = name
    return test


if __name__ == "__main__":
    main([named("call", test_of(CTL, "call", "/t/a", "echo")),
          named("tell", test_of(CTL, "tell", "/t/a", "echo")),
          named("connect", test_of("caller", "connect", "/t/a")),
          named("start", test_of("caller", "start", victim=started)),
          named("blocking", test_of(sys.executable, "-c", BLOCKING)),
          named("asyncio", test_of(sys.executable, "-c", ASYNCIO)),
          named("nursery", test_of(sys.executable, "-c", NURSERY, *echo("a")["exec"], victim=started))])
