#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""asyncio programs as a root and its actors, on a private supervisor: nurseries, one-shots, errors, cancellation, discovery, and
a program on libtractor as one of them. The actors are this same file, started once more."""
import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys

SOURCE = os.environ.get("TRACTOR_TEST_SOURCE") or os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
BUILD = os.environ.get("TRACTOR_TEST_BUILD") or os.path.abspath("build")
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(SOURCE, "contrib/python"))

import tractor  # noqa: E402
from tractor import aio  # noqa: E402
from tractor.actor import Actor  # noqa: E402

LIMIT = 60.0
CTL = os.path.join(BUILD, "src/tractorctl/tractorctl")
actor = Actor()


# --- what actors do ----------------------------------------------------------------------------------------------------

@actor.method
def add(a, b):
    return a + b


@actor.method
def breaks():
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise ValueError("outer") from error


@actor.method
async def breaks_twice():
    async def fall(error):
        raise error

    async with asyncio.TaskGroup() as group:
        group.create_task(fall(OSError(5, "io")))
        group.create_task(fall(tractor.NoSuchActor("nobody")))


@actor.method
async def cancels_itself():
    asyncio.current_task().cancel("of my own")
    await asyncio.sleep(0)


@actor.method
async def takes_too_long():
    async with asyncio.timeout(0.01):
        await asyncio.sleep(1000)


seen = []


pondering = asyncio.Event()


@actor.method
async def ponders():
    pondering.set()
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError as cancelled:
        seen.append([cancelled.args[0].canceller, cancelled.args[0].reason])
        raise


@actor.method
async def ponders_now():
    await pondering.wait()
    pondering.clear()


@actor.method
def why():
    return seen.pop()


@actor.method
async def nests(depth):
    """A branch of `depth`, two wide, whose leaves fail."""
    if not depth:
        raise ValueError(actor.path.rpartition("/")[2])
    async with tractor.open_nursery(strategy="one_cancels_one") as n:
        n.run("left", "nests", [depth - 1])
        n.run("right", "nests", [depth - 1])


@actor.dialog
async def echo(ctx):
    await ctx.started(actor.path)
    async for item in ctx:
        if item == "break":
            raise LookupError("in mid-stream")
        await ctx.next(item)


@actor.dialog
async def holds(ctx):
    """Has an actor of its own, and says whose pid that is."""
    async with tractor.open_nursery() as n:
        inner = await n.start_actor("inner")
        await ctx.started(inner.pid)
        await asyncio.sleep(1000)


@actor.method
async def takes_name(name):
    await tractor.register(name)


@actor.method
async def asks(name, method, params):
    async with await tractor.connect(name) as portal:
        return await portal.call(method, params)


# --- what the root sees ------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def fails(kind):
    """Gives the error that the block must end with, in a list."""
    found = []
    try:
        yield found
    except kind as error:
        found.append(error)
        return
    raise AssertionError(f"no {kind.__name__}")


def gone(pidfd):
    """Whether a process has ended, and been reaped or not."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


async def calls_and_one_shots():
    async with tractor.open_nursery() as n:
        p = await n.start_actor("a")
        assert p.path == n.path + "/a" and await p.call("add", [1, 2]) == 3
        assert {"add", "echo"} <= set(await p.methods())
        assert await n.run("one", "add", {"a": 3, "b": 4}) == 7
        assert await n.run("two", exec=["true"]) is None
        pids = [os.pidfd_open(p.pid)]
        async with await p.open("echo") as s:
            for i in range(300):
                await s.send([i])
                assert await s.receive() == [i]
            s.stop()
            assert await s.result() is None
        assert (await p.cancel_actor("enough")).cause == "stop"
        assert all(map(gone, pids))
        await n.start_actor("a")  # the name is free again
        n.cancel()
        await asyncio.sleep(1000)
    assert asyncio.current_task().cancelling() == 0


async def errors_are_relayed():
    async with tractor.open_nursery() as n:
        p = await n.start_actor("a")
        with fails(tractor.RemoteError) as found:
            await p.call("breaks")
        error = found[0]
        assert (error.type, error.message, error.relay) == ("ValueError", "outer", [p.path]), error.data
        assert error.backtrace[0].startswith("#0 breaks (test-python-actors.py:") and error.causes[0].type == "KeyError"
        with fails(tractor.ErrorGroup) as found:
            await p.call("breaks_twice")
        assert {e.type for e in found[0].exceptions} == {"OSError", "NoSuchActor"}
        errno, rest = found[0].split(tractor.RemoteError)
        assert errno.exceptions[0].errno == 5 and isinstance(rest.exceptions[0], tractor.NoSuchActor)
        with fails(tractor.Cancelled) as found:
            await p.call("cancels_itself")
        assert found[0].canceller == p.path
        with fails(tractor.DeadlineExceeded):
            await p.call("takes_too_long")
        async with await p.open("echo") as s:
            await s.send("break")
            with fails(tractor.RemoteError) as found:
                await s.receive()
            assert found[0].type == "LookupError"
        n.cancel()
    with fails(BaseExceptionGroup) as found:
        async with tractor.open_nursery() as n:
            n.run("top", "nests", [2])
    group = found[0].exceptions[0]
    leaves = [e for middle in group.exceptions for e in middle.exceptions]
    assert [len(found[0].exceptions), len(group.exceptions), len(leaves)] == [1, 2, 4]
    assert sorted(e.message for e in leaves) == ["left", "left", "right", "right"]
    assert all(len(e.relay) == 1 for e in leaves) and len(group.relay) == 1


async def cancellation_is_one_both_ways():
    async with tractor.open_nursery() as n:
        p = await n.start_actor("a")
        async def expire(scope):
            await p.call("ponders_now")
            scope.reschedule(0)

        with fails(TimeoutError):
            async with asyncio.timeout(None) as scope:
                expiring = asyncio.create_task(expire(scope))
                await p.call("ponders")
        await expiring
        assert (await p.call("why"))[0].startswith("@client/")
        task = asyncio.create_task(p.call("ponders"))
        await p.call("ponders_now")
        task.cancel("for a reason")
        with fails(asyncio.CancelledError):
            await task
        assert (await p.call("why"))[1] == "for a reason"
        with fails(tractor.DeadlineExceeded):
            await p.call("ponders", deadline=0.05)
        n.cancel()


async def deaths_are_told():
    with fails(BaseExceptionGroup) as found:
        async with tractor.open_nursery() as n:
            p, q = await n.start_actor("a"), await n.start_actor("b")
            s = await p.open("holds")
            pidfds = [os.pidfd_open(pid) for pid in (p.pid, q.pid, s.value)]
            task = asyncio.create_task(p.call("ponders"))
            await p.call("add", [1, 1])
            os.kill(p.pid, signal.SIGKILL)
            with fails(tractor.ActorDied) as died:
                await asyncio.shield(task)
            assert died[0].exit.signal == "SIGKILL"
    assert [type(e) for e in found[0].exceptions] == [tractor.ActorDied] and found[0].exceptions[0].actor == p.path
    with fails(tractor.ActorDied):
        await s.receive()
    assert all(map(gone, pidfds))


async def one_cancels_one():
    with fails(BaseExceptionGroup) as found:
        async with tractor.open_nursery(strategy="one_cancels_one") as n:
            p = await n.start_actor("a")
            with fails(tractor.RemoteError):
                await n.run("b", "breaks")
            n.run("c", exec=["sh", "-c", "exit 3"])
            q = await n.start_actor("d")
            os.kill(q.pid, signal.SIGKILL)
            with fails(tractor.ActorDied):
                await q.call("ponders")
            assert await p.call("add", [1, 2]) == 3
            await p.cancel_actor()
    assert sorted(type(e).__name__ for e in found[0].exceptions) == ["ActorDied", "ActorDied", "RemoteError"]
    with fails(BaseExceptionGroup) as found:
        async with tractor.open_nursery() as n:
            await n.start_actor("a")
            1 // 0
    assert [type(e) for e in found[0].exceptions] == [ZeroDivisionError]


async def entries_tell_what_they_came_to():
    async with tractor.open_nursery() as n:
        await n.start_actor("well", entry="add", args=[1, 2])
    with fails(BaseExceptionGroup) as found:
        async with tractor.open_nursery() as n:
            await n.start_actor("ill", entry="breaks", args=[])
    error = found[0].exceptions[0]
    assert (error.type, error.message, error.relay) == ("ValueError", "outer", [n.path + "/ill"]), error.data


async def a_stopped_actor_is_ended():
    async with tractor.open_nursery() as n:
        p = await n.start_actor("a", grace=0.1)
        pidfd = os.pidfd_open(p.pid)
        os.kill(p.pid, signal.SIGSTOP)
        p.machine.waits_for_exit = True
        with fails(TimeoutError):
            async with asyncio.timeout(0.1):
                await p.call("add", [1, 2])
        n.cancel()
    assert gone(pidfd)


async def who_is_there():
    async with tractor.open_nursery() as n:
        p, q = await n.start_actor("p"), await n.start_actor("q")
        assert await tractor.find("phoenix") is None
        waiting = asyncio.create_task(tractor.wait_for("phoenix"))
        await p.call("takes_name", ["phoenix"])
        assert (await waiting)["path"] == p.path
        with fails(tractor.AlreadyExists):
            await q.call("takes_name", ["phoenix"])
        assert await q.call("asks", ["phoenix", "add", [20, 22]]) == 42
        with fails(tractor.RemoteError) as found:
            await q.call("asks", ["phoenix", "breaks", []])
        assert found[0].relay == [p.path, q.path]
        with fails(tractor.NoSuchActor):
            await tractor.connect("nobody")
        n.cancel()


async def tasks_are_shown():
    async with tractor.open_root() as root, tractor.open_nursery() as n:
        p = await n.start_actor("a")
        async with await p.open("holds"):
            env = dict(os.environ, TRACTOR_SOCKET=root.daemon.path)
            process = await asyncio.create_subprocess_exec(CTL, "--json=short", "tasks", p.path, env=env, stdout=subprocess.PIPE)
            tasks = {t["name"]: t for t in json.loads((await process.communicate())[0])}
        assert tasks["holds"]["wait"] == "sleep" and tasks["holds"]["state"] == "parked"
        assert any(frame.startswith("#1 holds (test-python-actors.py:") for frame in tasks["holds"]["stack"])
        inner = tasks[f"actor {p.path}/n1/inner"]
        assert inner["nursery"] == tasks["holds"]["id"] and tasks["$/tasks"]["state"] == "running"
        n.cancel()


async def a_program_in_c_is_an_actor():
    program = ["env", "TRACTOR_ENTRY=tractor.serve", os.path.join(BUILD, "tests/process/test-actors")]
    async with tractor.open_nursery() as n:
        p = await n.start_actor("c", program, expose=["echo", "breaks", "ponders", "get_pid"])
        assert await p.call("echo", {"a": [1, None]}) == {"a": [1, None]} and await p.call("get_pid") == p.pid
        with fails(tractor.RemoteError) as found:
            await p.call("breaks")
        assert (found[0].type, found[0].relay) == ("Broken", [p.path])
        with fails(tractor.MethodNotFound):
            await p.call("grow")
        with fails(TimeoutError):
            async with asyncio.timeout(0.05):
                await p.call("ponders")
        q = await n.start_actor("q")
        assert await q.call("asks", [p.path, "echo", [1]]) == [1]
        n.cancel()


TESTS = [calls_and_one_shots, errors_are_relayed, cancellation_is_one_both_ways, deaths_are_told, one_cancels_one,
         entries_tell_what_they_came_to, a_stopped_actor_is_ended, who_is_there, tasks_are_shown, a_program_in_c_is_an_actor]


async def main():
    names = [a for a in sys.argv[1:] if "=" not in a]
    backend = ([a.split("=")[1] for a in sys.argv[1:] if a.startswith("BACKEND=")] or ["process"])[0]
    for test in TESTS:
        if names and test.__name__ not in names:
            continue
        print(f"-- {test.__name__} ({backend})", file=sys.stderr, flush=True)
        async with asyncio.timeout(LIMIT), tractor.open_root(private=True, backend=backend):
            await test()


if __name__ == "__main__":
    # The tractord of this build, and no supervisor that happens to run.
    os.environ["PATH"] = os.path.dirname(CTL) + ":" + os.environ["PATH"]
    actor.run(main=main)
