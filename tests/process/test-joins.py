#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What comes in one piece: an answer and what happened since it was given, a request and its cancel, a request and the end of the
one who asked. Where lines end, and not where reads do, is what decides."""

import json
import os
import pwd
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "harness"))
from ctl import Run  # noqa: E402
from peers import HELLO, Client, echo  # noqa: E402
from faults import preloaded  # noqa: E402
from proxy import holding  # noqa: E402
from tractor import LIMIT, Events, connect_when_up, main, program, sleeper, tractor  # noqa: E402

PACKAGE = os.path.join(HERE, "..", "..", "contrib", "python")
ENV = {"PYTHONPATH": PACKAGE, "PYTHONDONTWRITEBYTECODE": "1"}


class Asker(subprocess.Popen):
    """A client whose supervisor is behind the proxy."""

    def __init__(self, proxy, *command):
        super().__init__(command, env=os.environ | ENV | {"TRACTOR_SOCKET": proxy.path}, text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def go_on(self):
        self.stdin.write("\n")
        self.stdin.flush()

    def said(self):
        out, _ = self.communicate(timeout=LIMIT)
        assert self.returncode == 0, out
        return out


# --- libtractor: an answer, and ends ---

def gives_up(backend):
    """The answer that it runs comes when it has been restarted as often as it may be."""
    for until in (None, b'/n1","id"'):  # the nursery's own end
        with tractor(backend) as t, holding(t.path, b'"unit"', until) as proxy:
            events = t.events()
            asker = Asker(proxy, program("caller"), "gives-up")
            proxy.await_held()
            actor = events.wait(lambda e: e["event"] == "state" and e["to"] == "failed" and e["path"].endswith("/a"))["path"]
            events.state(os.path.dirname(actor), "failed")
            proxy.let_go()
            assert "RestartLimit(ActorDied)" in (said := asker.said()), said


def same_name(backend):
    """A start that failed, and another of that name that ran and ended: its end is not taken for the first one's."""
    for until in (None, b"$/child_exited"):
        with tractor(backend) as t, holding(t.path, b'"SpawnFailed"', until) as proxy:
            events = t.events()
            asker = Asker(proxy, program("caller"), "twice")
            proxy.await_held()
            asker.go_on()
            events.wait(lambda e: e["event"] == "exited" and e["exit"].get("code") == 3)
            proxy.let_go()
            said = asker.said()
            assert "SpawnFailed" in said and "ActorDied" in said, said


# --- tractorctl ---

def looked_before_it_was_there(backend):
    """The look at a tree whose names are looked up first says that there is none; the answer that it runs comes with it."""
    with tempfile.TemporaryDirectory() as d:
        fifo = os.path.join(d, "late")
        os.mkfifo(fifo)
        user = pwd.getpwuid(os.geteuid()).pw_name
        run = Run({"children": [sleeper("a", user=user)]}, backend, ready=False,
                  env=preloaded("late.so") | {"LATE_FIFO": fifo})
        connect_when_up(run.socket, run.process).close()
        events = Events(run.socket)
        if not any(node["path"] == "/t" for node in events.call("tree.get")["children"]):
            events.state("/t", "ready")
        events.close()
        with open(fifo, "w", encoding="ascii"):
            pass
        run.until(r"/t state starting -> ready")
        run.ctl("kill", "/t/a", "-s", "KILL")
        run.until(r"/t/a state starting -> ready generation=2")
        run.end(0, signal.SIGINT)


# --- Python ---

ATTACH = """
import tractor
with tractor.Client() as client:
    with client.attach("/t/a") as portal:
        try:
            portal.call("echo")
        except tractor.TractorError as error:
            print(type(error).__name__, error)
"""
ATTACH_ASYNCIO = """
import asyncio, tractor
from tractor import aio
async def main():
    async with aio.Client() as client:
        async with await client.attach("/t/a") as portal:
            try:
                await portal.call("echo")
            except tractor.TractorError as error:
                print(type(error).__name__, error)
asyncio.run(main())
"""


def dead_when_attached(backend):
    """The actor that has been given a connection has died: that is said on it, behind the answer."""
    for code in (ATTACH, ATTACH_ASYNCIO):
        for until in (None, b"$/peer_exited"):
            with tractor(backend) as t, holding(t.path, b'"result":{}', until) as proxy:
                t.load(children=[echo("a"), sleeper("keep")])
                events = t.events()
                asker = Asker(proxy, sys.executable, "-c", code)
                proxy.await_held()
                t.call("actor.kill", path="/t/a", signal="SIGKILL")
                events.wait(lambda e: e["event"] == "exited")
                proxy.let_go()
                said = asker.said()
                assert "ActorDied" in said and "SIGKILL" in said, f"{until}: {said}"


CANCELLED = """
import asyncio, os, sys, tractor
from tractor import aio
async def line():
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
async def main():
    async with aio.Client() as client:
        await client.ping()
        await line()
        before = len(os.listdir("/proc/self/fd"))
        task = asyncio.ensure_future(client.connect("/t/a"))
        await line()
        task.cancel()
        await asyncio.wait([task])
        print("cancelled", flush=True)
        await line()
        await client.ping()
        print(task.cancelled(), len(os.listdir("/proc/self/fd")) - before)
asyncio.run(main())
"""


def descriptors_behind_a_cancel(backend):
    """They came with an answer that nobody waits for any more."""
    with tractor(backend) as t, holding(t.path, b'"fds":1') as proxy:
        t.load(children=[echo("a")])
        asker = Asker(proxy, sys.executable, "-c", CANCELLED)
        asker.go_on()
        proxy.await_held()
        asker.go_on()
        assert asker.stdout.readline() == "cancelled\n"
        proxy.let_go()
        asker.go_on()
        assert asker.said() == "True 0\n"


ABANDONED = """
import asyncio, sys, tractor
async def main():
    async with tractor.open_nursery() as n:
        task = asyncio.ensure_future(n.start_program("a", ["sleep", "1000"]))
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        task.cancel()
        print("cancelled", flush=True)
        await asyncio.wait([task])
        print(task.cancelled(), await n.start_program("a", ["true"]))
asyncio.run(main())
"""


def start_behind_a_cancel(backend):
    """It runs, and nobody has it: it is ended, and its name is free."""
    with tractor(backend) as t, holding(t.path, b'"unit"') as proxy:
        asker = Asker(proxy, sys.executable, "-c", ABANDONED)
        proxy.await_held()
        asker.go_on()
        assert asker.stdout.readline() == "cancelled\n"
        proxy.let_go()
        said = asker.said()
        assert said.startswith("True /") and said.endswith("/n1/a\n"), said


ACTOR = """
import asyncio
from tractor.actor import Actor
actor = Actor()
@actor.method
def add(a, b):
    return a + b
@actor.method
async def ponder():
    await asyncio.sleep(1000)
notes = asyncio.Semaphore(0)
@actor.method
def note(text):
    notes.release()
@actor.method
async def notes_of(n):
    for _ in range(n):
        await asyncio.wait_for(notes.acquire(), 10)
    return n
actor.run()
"""


def lines(*messages):
    return b"".join(json.dumps({"jsonrpc": "2.0", **m}).encode() + b"\n" for m in messages)


def python_actor(backend):
    return tractor(backend, env=ENV), {"name": "a", "exec": [sys.executable, "-c", ACTOR], "channel": "fd", "ready": "channel"}


def request_and_cancel(backend):
    """Whoever cancels waits for the end of what it asked; a Python actor gives one."""
    server, actor = python_actor(backend)
    with server as t:
        t.load(children=[actor])
        client = Client(t.path, hello=True)
        portal = client.portal("/t/a")
        portal.send(HELLO)
        assert portal.receive()["method"] == "$/hello"
        portal.sock.sendall(lines({"id": 1, "method": "ponder"}, {"method": "$/cancel", "params": {"id": 1}},
                                  {"id": 3, "method": "add", "params": [1, 2]}))
        answers = {m["id"]: m for m in (portal.receive(), portal.receive())}
        assert answers[1]["error"]["code"] == -32800 and answers[3]["result"] == 3, answers
        portal.close()
        client.close()


def request_and_end(backend):
    """Who has closed the sending half is told the answers; who is gone is not waited for."""
    server, actor = python_actor(backend)
    with server as t:
        t.load(children=[actor])
        client = Client(t.path)
        tasks = client.portal("/t/a")
        for method, params, answer in (("add", [1, 2], 3), ("notes_of", [1], 1)):
            portal = client.portal("/t/a")
            portal.sock.sendall(lines({"id": 1, "method": method, "params": params}))
            portal.sock.shutdown(1)
            if method == "notes_of":  # answers when it is told to, long after it was asked
                while method not in [task["name"] for task in ask(tasks, "$/tasks")]:
                    pass
                tasks.answer(tasks.request("note", ["now"]))
            assert portal.receive()["result"] == answer and portal.eof()
            portal.close()
        portal = client.portal("/t/a")
        portal.sock.sendall(lines({"id": 1, "method": "ponder"}))
        portal.sock.shutdown(1)
        while "ponder" not in [task["name"] for task in ask(tasks, "$/tasks")]:
            pass
        portal.close()
        while "ponder" in [task["name"] for task in ask(tasks, "$/tasks")]:
            pass
        tasks.close()
        client.close()


TELLS = """
import sys, tractor
with tractor.Client() as client:
    for size in (1, 1000000):
        with client.connect("/t/a") as portal:
            portal.tell("note", ["x" * size])
"""
TELLS_ASYNCIO = """
import asyncio
from tractor import aio
async def main():
    async with aio.Client() as client:
        for size in (1, 1000000):
            async with await client.connect("/t/a") as portal:
                await portal.methods()
                await portal.tell("note", ["x"])
                await portal.tell("note", ["x" * size])
        portal = await client.connect("/t/a")
        await portal.tell("note", ["x"])
        portal.close()
asyncio.run(main())
"""


def told_and_left(backend):
    """What is told last is told."""
    server, actor = python_actor(backend)
    with server as t:
        t.load(children=[actor])
        client = Client(t.path)
        portal = client.portal("/t/a")
        python = [sys.executable, "-c"]
        for command, n in (([program("caller"), "tell", "/t/a"], 1), ([*python, TELLS], 2), ([*python, TELLS_ASYNCIO], 5)):
            subprocess.run(command, env=os.environ | ENV | {"TRACTOR_SOCKET": t.path}, check=True)
            assert portal.answer(portal.request("notes_of", [n])) == n
        portal.close()
        client.close()


def ask(client, method):
    return client.answer(client.request(method))


if __name__ == "__main__":
    main([gives_up, same_name, looked_before_it_was_there, dead_when_attached, descriptors_behind_a_cancel, start_behind_a_cancel,
          request_and_cancel, request_and_end, told_and_left])
