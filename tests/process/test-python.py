#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The Python package with real processes and sockets: its actor served by a channel as a supervisor would, its portals, its
stdio server, and a client whose supervisor goes away in the middle of a request. The supervisor's part is played by this
test, so that what is shown is what the protocol's text says; test-clients.py asks the real one."""
import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

SOURCE = os.environ.get("TRACTOR_TEST_SOURCE") or os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
PACKAGE = os.path.join(SOURCE, "contrib/python")
sys.dont_write_bytecode = True
sys.path.insert(0, PACKAGE)

import tractor  # noqa: E402
from tractor import aio, locate  # noqa: E402
from tractor.core import Machine  # noqa: E402
from tractor.events import Tell  # noqa: E402

LIMIT = 20.0
ENVIRON = dict(os.environ, PYTHONPATH=PACKAGE, PYTHONDONTWRITEBYTECODE="1")


def fails(kind, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} from {function} {args}")


class Channel(tractor.Connection):
    """The supervisor's end of an actor's channel."""

    def __init__(self, sock):
        self.said = []
        super().__init__(sock, Machine(connector=False, hello={"name": "tractor-supervisor", "path": "/"}, channel=True))

    def _dispatch(self, events):
        self.said += [e.method for e in events if isinstance(e, Tell)]
        super()._dispatch(events)

    def frame(self, method, params, fds=()):
        self._machine.tell(method, params, fds)
        self._flush()

    def wait_for(self, method):
        self._wait(lambda: method in self.said)


class Actor:
    """An actor process and its channel, and whatever connections it was handed."""

    def __init__(self, script=os.path.join(SOURCE, "tests/process/python-actor.py")):
        ours, theirs = socket.socketpair()
        env = dict(ENVIRON, TRACTOR_CHANNEL_FD=str(theirs.fileno()), TRACTOR_PATH="/t/a", TRACTOR_ACTOR_ID="i1")
        self.process = subprocess.Popen([sys.executable, script], pass_fds=[theirs.fileno()], env=env, stdin=subprocess.DEVNULL)
        theirs.close()
        self.channel = Channel(ours)
        self.kept = []
        self.channel.wait_for("$/ready")

    def hand_over(self, last_id=None):
        """A new connection to it; our copy of its end stays open, as a supervisor's may."""
        ours, theirs = socket.socketpair()
        self.kept.append(theirs)
        params = {"peer": {"path": "/client", "id": "c1", "uid": os.getuid(), "pid": os.getpid()}}
        if last_id is not None:
            params["last_id"] = last_id
        self.channel.frame("$/accept", params, [os.dup(theirs.fileno())])
        return ours

    def portal(self, **options):
        return tractor.Portal(self.hand_over(), "/t/a", **options)

    def stop(self):
        self.channel.close()
        code = self.process.wait(LIMIT)
        for sock in self.kept:
            sock.close()
        return code


@contextlib.contextmanager
def actor():
    a = Actor()
    try:
        yield a
        assert a.stop() == 0
    finally:
        if a.process.poll() is None:
            a.process.kill()
            a.process.wait()


# --- calls and dialogs -------------------------------------------------------------------------------------------------

def test_calls():
    with actor() as a, a.portal() as p:
        assert p.call("add", [1, 2]) == 3 and p.call("add", {"a": "x", "b": "y"}) == "xy"
        assert "double" in p.methods() and "text.fail" in p.methods()
        error = fails(tractor.RemoteError, p.call, "text.fail")
        assert error.type == "FileNotFoundError" and error.errno == 2 and "text.fail" not in str(error.relay)
        assert any("python-actor" in line for line in error.backtrace)
        fails(tractor.MethodNotFound, p.call, "nothing")
        fails(tractor.InvalidParams, p.call, "add", [1])
        fails(tractor.InvalidRequest, p.call, "double", [1])
        fails(tractor.InvalidRequest, p.open, "add", [1, 2])
        fails(tractor.DeadlineExceeded, p.call, "wait", deadline=0.05)
        for word in range(600):  # more than the credit for tells
            p.tell("note", [word])
        assert p.call("notes") == list(range(600))


def test_dialogs():
    with actor() as a, a.portal() as p:
        with p.open("double", {"limit": 1000}) as s:
            assert s.value == "/client"
            for i in range(300):
                s.send(i)
                assert s.receive() == 2 * i
            s.stop()
            assert s.receive(default="end") == "end" and s.result() == 300
        with p.open("flood", [1000], window=7) as s:
            assert list(s) == list(range(1000)) and s.result() == "all"
        with p.open("flood", [10000], window=5, overrun="drop_oldest") as s:
            p.call("flooded")
            assert list(s) == [*range(5), *range(9936, 10000)] and s.lost == 9931
        with p.open("flood", [1000], window=5, overrun="error") as s:
            p._wait(lambda: s._call.done)
            assert [next(s) for _ in range(5)] == [0, 1, 2, 3, 4]
            fails(tractor.Overrun, next, s)
        for name in ("twice", "never"):
            with contextlib.suppress(tractor.InvalidRequest):
                p.open(name).result()
                raise AssertionError(name)
        assert p.call("add", [1, 2]) == 3


def test_cancel():
    with actor() as a, a.portal() as p:
        with p.open("forever") as s:
            s.cancel("enough")
            assert fails(tractor.Cancelled, s.result).canceller == "/client"
        with p.open("forever"):
            pass
        with p.open("fails_in_cleanup") as s:
            s.cancel()
            assert fails(tractor.RemoteError, s.result).type == "ValueError"
        with p.open("flood", [10**9]) as s:
            assert next(s) == 0
        assert p.call("add", [1, 2]) == 3


def test_plain_clients_are_served_and_see_nothing_of_ours():
    with actor() as a:
        with a.hand_over(last_id=7) as sock, sock.makefile("rb") as lines:
            for ident in ("a", 9, 2):
                sock.sendall(b'{"jsonrpc":"2.0","id":%s,"method":"add","params":[1,2]}\r\n\r\n' % json.dumps(ident).encode())
                assert json.loads(lines.readline()) == {"jsonrpc": "2.0", "id": ident, "result": 3}
            sock.sendall(b'{"jsonrpc":"2.0","method":"note","params":["x"]}\n' * 300 + b"nonsense\n")
            assert json.loads(lines.readline())["error"]["code"] == -32700
            sock.sendall(b'{"jsonrpc":"2.0","id":1,"method":"$/methods"}\n')
            assert "add" in json.loads(lines.readline())["result"]


# --- ends --------------------------------------------------------------------------------------------------------------

def test_a_third_one_cancels_the_actor():
    with actor() as a, a.portal() as p, a.portal() as q:
        streams = [p.open("forever"), q.open("forever")]
        a.channel.frame("$/cancel", {"id": None, "reason": "r", "canceller": "/third", "grace_ms": 1000})
        for s in streams:
            assert fails(tractor.Cancelled, s.result).canceller == "/third"
        assert a.process.wait(LIMIT) == 0
        # The connection has ended though this test still holds the actor's end open.
        fails(tractor.ConnectionLost, p.call, "add", [1, 2])


def test_the_supervisor_goes():
    with actor() as a, a.portal() as p:
        s = p.open("forever")
        a.channel.close()
        fails(tractor.ActorStopped, s.result)
        assert a.process.wait(LIMIT) == 0


def test_death():
    exit = {"signal": "SIGKILL", "cause": "signal", "core": False, "oom": False, "pid": 1, "runtime_ms": 5}
    for told in ("beside", "within", None):
        a = Actor()
        control, theirs = socket.socketpair()
        beside = Channel(theirs)
        control = tractor.Connection(control, Machine(connector=True, hello={}, trusted=True))
        sock = a.hand_over()
        p = tractor.Portal(sock, "/t/a", beside=control if told != "within" else None)
        fails(tractor.DeadlineExceeded, p.call, "wait", deadline=0.01)
        s = p.open("forever")
        a.process.kill()
        assert a.process.wait(LIMIT) == -signal.SIGKILL
        notice = {"path": "/t/a", "id": "i1", "exit": exit}
        if told == "beside":
            a.kept.pop().close()
            beside.frame("$/peer_exited", notice)
        elif told == "within":  # after what was left of a line
            line = json.dumps({"jsonrpc": "2.0", "method": "$/peer_exited", "params": notice})
            a.kept[-1].sendall(b'{"jsonrpc":"2.0","method":"$/ne\n' + line.encode() + b"\n")
        else:
            a.kept.pop().close()
        start = time.monotonic()
        if told:
            assert fails(tractor.ActorDied, s.result).exit.signal == "SIGKILL"
        else:
            fails(tractor.ConnectionLost, s.result)
            assert time.monotonic() - start >= 0.9
        for connection in (p, control, beside):
            connection.close()
        a.stop()


# --- asyncio -----------------------------------------------------------------------------------------------------------

def test_asyncio():
    with actor() as a:
        asyncio.run(asyncio.wait_for(asyncio_portal(a), LIMIT))


async def asyncio_portal(a):
    async with aio.Portal(a.hand_over(), "/t/a") as p:
        assert await asyncio.gather(*(p.call("add", [i, i]) for i in range(500))) == [2 * i for i in range(500)]
        try:
            await asyncio.wait_for(p.call("wait"), 0.05)
            raise AssertionError("it came to an end")
        except asyncio.TimeoutError:
            pass
        async with await p.open("double", {"limit": 2000}) as s:
            async def up():
                for i in range(1000):
                    await s.send(i)
                s.stop()

            sending = asyncio.ensure_future(up())
            assert [item async for item in s] == [2 * i for i in range(1000)]
            await sending
            assert await s.result() == 1000
        async with await p.open("flood", [10000], window=3, overrun="drop_oldest") as s:
            await p.call("flooded")
            assert [item async for item in s] == [*range(3), *range(9936, 10000)] and s.lost == 9933
        async with await p.open("forever"):
            pass
        for i in range(600):
            await p.tell("note", [i])
        assert len(await p.call("notes")) == 600
        s = await p.open("forever")
        a.channel.frame("$/cancel", {"id": None, "canceller": "/third"})
        try:
            await s.result()
            raise AssertionError("it came to an end")
        except tractor.Cancelled as error:
            assert error.canceller == "/third"


# --- programs on stdio -------------------------------------------------------------------------------------------------

STDIO = """
import sys
from tractor.stdio import Server
server = Server()
@server.method
def add(a, b):
    print("this is for stderr")
    server.notify("adding", [a, b])
    return a + b
@server.method("big")
def big():
    return "x" * (2 << 20)
server.run()
"""


def test_stdio():
    process = subprocess.Popen([sys.executable, "-c", STDIO], env=ENVIRON, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)

    def ask(line):
        process.stdin.write(line + b"\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    assert ask(b'{"jsonrpc":"2.0","id":1,"method":"add","params":[1,2]}')["method"] == "adding"
    assert json.loads(process.stdout.readline()) == {"jsonrpc": "2.0", "id": 1, "result": 3}
    assert ask(b'{"jsonrpc":"2.0","id":2,"method":"add"}')["error"]["code"] == -32602
    assert ask(b'{"jsonrpc":"2.0","id":2,"method":"sub"}')["error"]["code"] == -32601
    assert ask(b'{"jsonrpc":"2.0","id":"b","method":"big"}')["error"]["code"] == -32603
    assert ask(b'{"jsonrpc":"2.0","id":4,"method":"$/methods"}')["result"] == ["add", "big"]
    assert ask(b"{")["error"]["code"] == -32700 and ask(b"[]")["error"]["code"] == -32600
    process.stdin.close()
    assert process.stdout.read() == b"" and process.wait(LIMIT) == 0
    process.stdout.close()


# --- a supervisor that goes away ---------------------------------------------------------------------------------------

class Supervisor(threading.Thread):
    """Accepts connections one after the other; a spawn is lost with the first one, and answered by its key on the next."""

    def __init__(self, path, features):
        super().__init__(daemon=True)
        self.features, self.keys = features, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                self.serve(self.listener.accept()[0])

    def serve(self, sock):
        with sock, sock.makefile("rwb") as lines:
            for line in lines:
                message = json.loads(line)
                answer = {"jsonrpc": "2.0", "id": message.get("id"), "result": {"features": self.features}}
                if message["method"] == "$/hello":
                    answer = {"jsonrpc": "2.0", "method": "$/hello", "params": {"protocol": "tractor/1"}}
                elif message["method"] == "actor.restart":
                    self.keys.append(message["$"]["key"])
                    if len(self.keys) % 2:
                        return
                lines.write(json.dumps(answer).encode() + b"\n")
                lines.flush()

    def end(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.join(LIMIT)
        self.listener.close()


def test_repeated_under_the_same_key():
    for face in (restart_blocking, restart_asyncio):
        for features in (["key"], []):
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "s")
                supervisor = Supervisor(path, features)
                if features:
                    face(path)
                    assert len(supervisor.keys) == 2 and len(set(supervisor.keys)) == 1
                else:  # whose supervisor would do it twice
                    fails(tractor.ConnectionLost, face, path)
                    assert len(supervisor.keys) == 1
                supervisor.end()


def restart_blocking(path):
    with tractor.Client(path) as client:
        client.restart("/t/a")


def restart_asyncio(path):
    async def main():
        async with aio.Client(path) as client:
            await client.restart("/t/a")

    asyncio.run(asyncio.wait_for(main(), LIMIT))


def test_which_supervisor():
    saved = {k: os.environ.pop(k, None) for k in ("TRACTOR_SOCKET", "XDG_RUNTIME_DIR")}
    runtime = locate._runtime
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        def listen(name):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            sock.bind(path)
            sock.listen()
            return path

        locate._runtime = lambda: folder
        os.environ["XDG_RUNTIME_DIR"] = folder
        service = listen("tractor/control.sock")
        with socket.socket(socket.AF_UNIX) as dead:
            os.makedirs(os.path.join(folder, "run"))
            dead.bind(os.path.join(folder, "run/dead-1.sock"))
        assert locate.find() == service
        one = listen("run/shop-12.sock")
        assert locate.find() == one == locate.find("shop") == locate.find("shop-12")
        fails(tractor.NoSupervisor, locate.find, "sho")
        listen("run/other-tree-13.sock")
        assert "several" in str(fails(tractor.NoSupervisor, locate.find)) and locate.find("other-tree").endswith("-13.sock")
        os.environ["TRACTOR_SOCKET"] = "/no/such"
        assert locate.find() == "/no/such" and locate.find("shop") == one
        assert "/no/such" in str(fails(tractor.NoSupervisor, tractor.Client().ping))
    locate._runtime = runtime
    for key, value in saved.items():
        os.environ.pop(key, None)
        if value is not None:
            os.environ[key] = value


for name, test in list(globals().items()):
    if name.startswith("test_") and (len(sys.argv) < 2 or name in sys.argv[1:]):
        print(f"-- {name}", file=sys.stderr, flush=True)
        test()
