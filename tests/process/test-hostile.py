#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Peers of the control socket that mean harm. Each gets an error or is cut off; the supervisor's memory and descriptors stay
bounded, a bystander's ping is answered in between, and afterwards nothing spins."""

import array
import contextlib
import json
import os
import resource
import select
import socket
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import LIMIT, Connection, connect_as, expect_error, instrumented, main, memory_kib, tractor  # noqa: E402

ACTOR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers", "echo-actor.py")
STRANGER = 61234
PING = b'{"jsonrpc":"2.0","id":1,"method":"supervisor.ping"}\n'
PONG = b'{"jsonrpc":"2.0","id":1,"result":{}}\n'
HELLO = {"jsonrpc": "2.0", "method": "$/hello", "params": {"protocol": "tractor/1"}}
EVERYTHING = [{"name": "all", "who": {"user": STRANGER}, "methods": "*", "allow": True}]


@contextlib.contextmanager
def attacked(backend, kib=32 * 1024, rules=None, **options):
    """A supervisor, of which all that is promised above is checked at the end."""
    # What a sanitizer keeps of freed memory is no part of what is bounded here.
    env = options["env"] = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=16"}
    with contextlib.ExitStack() as stack:
        if rules is not None:
            d = stack.enter_context(tempfile.TemporaryDirectory())
            os.makedirs(os.path.join(d, "tractor", "access.d"))
            with open(os.path.join(d, "tractor", "access.d", "10.json"), "w") as f:
                json.dump(rules, f)
            os.chmod(d, 0o711)
            env["XDG_CONFIG_HOME"] = d
        t = stack.enter_context(tractor(backend, **options))
        os.chmod(t.dir, 0o711)
        os.chmod(t.path, 0o666)
        t.load("warm", children=[{"name": "up", "exec": ["sleep", "1000"]}])  # what is opened once stays open
        t.call("tree.unload", path="/warm")
        fds = descriptors(t)
        yield t
        assert t.call("supervisor.ping") == {}
        memory_kib(t.status["pid"], kib)
        rests(t)
        for connection in t.connections[1:]:
            connection.close()
        del t.connections[1:]
        t.call("supervisor.ping")
        while t.call("supervisor.status")["connections"] > 1:
            pass  # each answer is a turn of its loop
        assert descriptors(t) <= fds, (descriptors(t), fds)


def descriptors(t):
    return len(os.listdir(f"/proc/{t.status['pid']}/fd"))


def cpu(t):
    fields = open(f"/proc/{t.status['pid']}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rests(t):
    """Time is what is measured here. What it was given to do it may still be doing; then, of half a second, it may use a
    tenth."""
    deadline = time.monotonic() + LIMIT
    used = 1
    while used >= 0.05:
        assert time.monotonic() < deadline, f"{used} s of CPU in half a second of nothing"
        before = cpu(t)
        select.select([], [], [], 0.5)
        used = cpu(t) - before


def stranger(t):
    connection = t.connect_as(STRANGER) if os.geteuid() == 0 else t.connect()
    return connection


def crowd(t, n):
    """Many connections of a stranger; one child makes them."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(STRANGER)
                os.setuid(STRANGER)
            for _ in range(n):
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                sock.connect(t.path)
                socket.send_fds(theirs, [b"x"], [sock.fileno()])
                sock.close()
            os._exit(0)
        os._exit(1)
    theirs.close()
    socks = []
    for _ in range(n):
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
        if not fds:
            break
        socks.append(socket.socket(fileno=fds[0]))
    ours.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 and len(socks) == n
    t.connections += [Connection(t.path, s) for s in socks]
    return t.connections[-n:]


def drain(sock):
    """What there is to be read now; b"" and True at the end."""
    data, over = b"", False
    sock.setblocking(False)
    try:
        while True:
            part = sock.recv(1 << 20)
            if not part:
                over = True
                break
            data += part
    except BlockingIOError:
        pass
    except ConnectionResetError:
        over = True
    return data, over


def flood(t, sock, chunk, total, every=1 << 20):
    """Says chunk again and again, up to `total` bytes, reading what comes, with pings of somebody else in between. The bytes
    that were taken, and what was heard last."""
    sent, heard, asked, offset, over = 0, b"", 0, 0, False
    deadline = time.monotonic() + 6 * LIMIT
    sock.setblocking(False)
    while sent < total and not over:
        assert time.monotonic() < deadline, f"{sent} bytes in {6 * LIMIT} s"
        readable, writable, _ = select.select([sock], [sock], [], LIMIT)
        assert readable or writable, "neither read from nor written to"
        if readable:
            part, over = drain(sock)
            heard = (heard + part)[-4096:]
        if writable and not over:
            try:
                k = sock.send(chunk[offset:])
                sent, offset = sent + k, (offset + k) % len(chunk)
            except (BrokenPipeError, ConnectionResetError):
                over = True
        if sent - asked > every:
            asked = sent
            assert t.call("supervisor.ping") == {}
    return sent, heard + drain(sock)[0]


def error_of(line):
    return json.loads(line)["error"]["code"]


def await_line(connection):
    connection.sock.settimeout(LIMIT)
    try:
        return connection.file.readline()
    except ConnectionResetError:
        return b""


# --- lines ---

def lines(backend):
    def method(text):
        return b'{"jsonrpc":"2.0","id":7,"method":' + text + b"}"

    def params(text):
        return b'{"jsonrpc":"2.0","id":7,"method":"supervisor.ping","params":' + text + b"}"

    bad = [b"[" * 100000, b"[" * 100000 + b"]" * 100000, b'{"a":' * 100000 + b"1" + b"}" * 100000, b"\0", b"\0" * 1000,
           params(b'["\0"]'), params(b'["\xff"]'), params(b'["\xc0\xaf"]'), params(b'["\xed\xa0\x80"]'),
           params(b'["\xf5\x80\x80\x80"]'), params(b'["\\ud800"]'), params(b'["\\udc00\\ud800"]'), params(b'["\\u00"]'),
           params(b'["\x1f"]'), params(b'{"a":1,"a":2}'), params(b'{"a":1,"\\u0061":2}'), params(b'{"\\u0000":1}'),
           params(b"[9223372036854775808]"), params(b"[NaN]"), params(b"[1e]"), params(b"[01]"), params(b"[+1]"),
           params(b"[" + b"0," * 65536 + b"0]"), b"{", b'"', b"\\", b"\xef\xbb\xbf{}", method(b'"x"') + method(b'"x"')]
    wrong = [b"1", b"[]", b"{}", b"null", b'"x"', method(b"7"), method(b'""'), method(b'"x","params":7'), method(b'"a\\u0000b"'),
             b'{"jsonrpc":"1.0","id":7,"method":"x"}', b'{"jsonrpc":"2.0","id":[],"method":"x"}',
             method(b'"x","$":7'), method(b'"x","$":{"credit":-1}'), method(b'"x","$":{"fds":17}'),
             method(b'"' + b"m" * 257 + b'"'), b'{"jsonrpc":"2.0","id":"' + b"i" * 300 + b'","method":"x"}',
             b'[' + method(b'"x"') + b']']
    fine = [(b"9007199254740993", 9007199254740993), (b"-9223372036854775808", -(1 << 63)), (b'"\\ud83d\\ude00"', "\U0001f600")]
    with attacked(backend) as t:
        c = stranger(t)
        for code, texts in ((-32700, bad), (-32600, wrong)):
            for text in texts:
                c.sock.sendall(text + b"\n" + PING)
                assert error_of(await_line(c)) == code, text[:80]
                assert await_line(c) == PONG, text[:80]
        for ident, value in fine:
            c.sock.sendall(b'{"jsonrpc":"2.0","id":' + ident + b',"method":"supervisor.ping"}\r\n\r\n\n')
            assert json.loads(await_line(c)) == {"jsonrpc": "2.0", "id": value, "result": {}}
        deep = b"[" * 62 + b"]" * 62  # two levels are the request's own
        c.sock.sendall(params(b'{"x":' + deep + b"}") + b"\n")
        assert b"result" in await_line(c)
        c.sock.sendall(params(b'{"x":[' + deep + b"]}") + b"\n")
        assert error_of(await_line(c)) == -32700


def gibibyte(backend):
    with attacked(backend) as t:
        c = stranger(t)
        sent, heard = flood(t, c.sock, b"x" * (1 << 16), 1 << 30)
        assert sent < 8 << 20, sent
        assert error_of(heard) == -32700, heard


def one_byte_a_write(backend):
    with attacked(backend) as t:
        c = stranger(t)
        for i in range(len(PING)):
            assert c.sock.send(PING[i:i + 1]) == 1
            assert t.call("supervisor.ping") == {}
        assert await_line(c) == PONG


def million_tiny_lines(backend):
    with attacked(backend) as t:
        tiny = b'{"jsonrpc":"2.0","method":"x"}\n'
        part = 10 if instrumented(t.status["pid"]) else 1  # what a line touches, the first hundred thousand touch as well
        for chunk, n in ((b"\n", 1000000 // part), (tiny, 1000000 // part), (b"1\n", 100000 // part)):
            c = stranger(t)
            sent, _ = flood(t, c.sock, chunk * 1000, n * len(chunk), 100000 // part * len(chunk))
            assert sent >= n * len(chunk)
            c.sock.setblocking(True)
            c.sock.sendall(b'{"jsonrpc":"2.0","id":"last","method":"supervisor.ping"}\n')
            while b'"last"' not in await_line(c):
                pass


# --- descriptors ---

def send_fds(c, data, n):
    fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    fds = array.array("i", [fd] * n)
    try:
        c.sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    finally:
        os.close(fd)


def closed_with(c, code):
    """All that is still heard: an error, then the end."""
    line = await_line(c)
    assert error_of(line) == code, line
    assert await_line(c) == b""


def bad_descriptors(backend):
    with attacked(backend) as t:
        def said(text):
            return b'{"jsonrpc":"2.0","id":1,"method":"supervisor.ping","$":{"fds":' + text + b"}}\n"

        before = descriptors(t)
        for data, n in ((PING, 1), (said(b"1"), 2), (said(b"2"), 1), (said(b"0"), 1), (PING, 33), (PING, 253), (said(b"16"), 200)):
            c = stranger(t)
            send_fds(c, data, n)
            heard = await_line(c)
            while heard == PONG:
                heard = await_line(c)
            assert error_of(heard) == -32600, (data, n, heard)
            assert await_line(c) == b"", (data, n)
        c = stranger(t)
        c.sock.sendall(said(b"3"))
        closed_with(c, -32600)
        c = stranger(t)
        for _ in range(50):
            send_fds(c, said(b"16"), 16)  # they are let go of
            assert await_line(c) == PONG
        while t.call("supervisor.status")["connections"] > 2:
            pass
        assert descriptors(t) <= before + 1


def descriptor_flood(backend):
    """Half lines with descriptors, on many connections: what nobody has taken is bounded for the user."""
    with attacked(backend) as t:
        before = descriptors(t)
        connections = crowd(t, 60)
        for c in connections:
            send_fds(c, b"{", 16)
            assert t.call("supervisor.ping") == {}
        assert descriptors(t) <= before + 60 + 2 * 128, descriptors(t)
        left, deadline = connections, time.monotonic() + LIMIT
        while os.geteuid() == 0 and len(left) > 128 // 16:  # those that came first
            assert time.monotonic() < deadline, len(left)
            select.select([c.sock for c in left], [], [], LIMIT)
            left = [c for c in left if not drain(c.sock)[1]]
        assert t.call("supervisor.ping") == {}
        assert descriptors(t) <= before + 60 + 128, descriptors(t)


# --- conversations ---

def hellos(backend):
    with attacked(backend) as t:
        c = stranger(t)
        c.send(HELLO)
        assert c.receive()["method"] == "$/hello"
        c.send(HELLO)
        assert c.receive()["error"]["code"] == -32600
        for max_line, code in ((64 << 20, None), (1 << 62, None), (0, -32600), (-1, -32600), ("1", None)):
            c = stranger(t)
            c.send({**HELLO, "params": {"protocol": "tractor/1", "max_line": max_line}})
            answer = c.receive()
            assert answer.get("error", {}).get("code") == code, (max_line, answer)
            assert c.call("supervisor.ping") == {}
        c.sock.setblocking(True)
        sent, heard = flood(t, c.sock, b"x" * (1 << 16), 64 << 20)  # what it takes is not what it may say
        assert sent < 8 << 20 and error_of(heard) == -32700, (sent, heard)
        c = stranger(t)
        c.send({**HELLO, "params": {"protocol": "tractor/2"}})
        closed_with(c, -32010)


def half_closed(backend):
    with attacked(backend) as t:
        for n in (0, 1, 500):
            c = stranger(t)
            c.sock.sendall(PING * n + PING[:20])
            c.sock.shutdown(socket.SHUT_WR)
            for _ in range(n):
                assert await_line(c) == PONG
            assert await_line(c) == b""
        c = t.connect()
        ident = c.request("actor.wait_for", {"name": "nobody", "deadline_ms": 100})
        c.sock.shutdown(socket.SHUT_WR)
        assert c.receive()["id"] == ident
        assert await_line(c) == b""


def reused_ids(backend):
    with attacked(backend) as t:
        c = t.connect()
        c.send({"jsonrpc": "2.0", "id": 1, "method": "actor.wait_for", "params": {"name": "x"}})
        c.send({"jsonrpc": "2.0", "id": 1, "method": "supervisor.ping"})
        assert c.receive() == {"jsonrpc": "2.0", "id": None, "error": {
            "code": -32600, "message": "a call with this id is open", "data": {"type": "InvalidRequest"}}}
        subscribe = {"jsonrpc": "2.0", "method": "events.subscribe", "$": {"ctx": True}}
        for ident in (1, 0, -1, 2, "a", 1.5):
            c.send({**subscribe, "id": ident})
            assert c.receive()["error"]["code"] == -32600, ident
        c.send({**subscribe, "id": 3})
        assert c.receive()["method"] == "$/started"
        c.send({**subscribe, "id": 3})
        assert c.receive()["error"]["code"] == -32600
        for frame in ("$/next", "$/stop", "$/credit", "$/started"):
            c.send({"jsonrpc": "2.0", "method": frame, "params": {"id": 3, "n": 1 << 40, "value": 1}})
            answer = c.receive() if frame != "$/stop" else None
            assert not answer or answer["error"]["code"] == -32600, (frame, answer)
        c.send({"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": 3}})
        answer = c.receive()
        assert answer["id"] == 3 and answer["error"]["code"] == -32800, answer
        assert answer["error"]["data"]["canceller"] == f"@client/{os.getpid()}", answer
        c.ids = iter(range(101, 200, 2))
        assert c.call("supervisor.ping") == {}


def too_many_calls(backend):
    with attacked(backend) as t:
        c = t.connect()
        for i in range(1026):
            c.request("actor.wait_for", {"name": f"nobody{i}"})
        for _ in range(2):
            assert c.receive()["error"]["code"] == -32005
        c.close()


def too_many_calls_of_a_user(backend):
    if os.geteuid() != 0:
        return
    with attacked(backend, rules=EVERYTHING) as t:
        refused = 0
        for c in crowd(t, 5):
            c.sock.sendall(b"".join(b'{"jsonrpc":"2.0","id":%d,"method":"actor.wait_for","params":{"name":"x"}}\n' % i
                                    for i in range(1, 2001, 2)))
            c.sock.sendall(PING.replace(b":1,", b":9999,"))
            while True:
                answer = json.loads(await_line(c))
                if answer["id"] == 9999:
                    break
                assert answer["error"]["code"] == -32011, answer
                refused += 1
            if refused:
                break
            assert t.call("supervisor.ping") == {}
        assert refused == 5000 - 4096, refused


def attach_in_a_crowd(backend):
    """A connection is handed over alone, or not at all."""
    with attacked(backend, kib=40 * 1024) as t:
        t.load(children=[{"name": "a", "exec": [sys.executable, ACTOR], "channel": "fd", "ready": "channel"}])
        attach = {"jsonrpc": "2.0", "id": 1, "method": "actor.attach", "params": {"path": "/t/a"}}
        cancel = {"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": 1}}
        for after in (json.dumps(cancel).encode() + b"\n", b"\n", b"{", PING.replace(b":1,", b":3,")):
            c = t.connect()
            c.sock.sendall(json.dumps(attach).encode() + b"\n" + after)
            answer = c.receive()
            assert answer["id"] == 1 and answer["error"]["code"] == -32600, (after, answer)
            if after[:1] == b"{" and len(after) > 1 and b"ping" in after:
                assert c.receive()["id"] == 3
        c = t.connect()
        send_fds(c, json.dumps(attach).encode() + b"\n", 1)
        assert c.receive()["error"]["code"] == -32600
        t.call("tree.unload", path="/t")


def no_credit(backend):
    """Events for one that takes none: told as lost, kept by nobody."""
    with attacked(backend, kib=40 * 1024) as t:
        t.load(children=[])
        others = []
        for credit in (0, 1):
            c = t.connect()
            c.request("events.subscribe", {}, {"ctx": True, "credit": credit})
            assert c.receive()["method"] == "$/started"
            others.append(c)
        for i in range(100):
            t.call("tree.load", tree={"tractor": 1, "name": "x", "children": []})
            t.call("tree.unload", path="/x")
        for c, first in zip(others, (0, 1)):
            if first:
                assert "lost" not in c.receive()["params"]
            c.send({"jsonrpc": "2.0", "method": "$/credit", "params": {"id": 1, "n": 1}})
            assert c.call("supervisor.ping") == {}  # by then it has come
            t.call("tree.load", tree={"tractor": 1, "name": f"x{first}", "children": []})
            assert c.receive()["params"]["lost"] >= 200
            assert c.call("supervisor.ping") == {}


# --- many ---

def never_reading(backend):
    with attacked(backend, kib=64 * 1024) as t:
        connections = crowd(t, 50)
        for c in connections:
            c.sock.setblocking(False)
            with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                for _ in range(100):
                    c.sock.send(PING * 1000)
                    t.call("supervisor.ping")
        assert t.call("supervisor.ping") == {}


def half_lines(backend):
    """256 connections with most of a line each: one user's buffers, not 256 MiB."""
    with attacked(backend, kib=72 * 1024) as t:
        half, ended = b'["' + b"x" * 1000000, 0
        for c in crowd(t, 255 if os.geteuid() != 0 else 256):
            offset = 0
            c.sock.setblocking(False)
            while offset < len(half):
                if not select.select([], [c.sock], [], LIMIT)[1]:
                    break
                try:
                    offset += c.sock.send(half[offset:offset + (1 << 17)])
                except BlockingIOError:
                    continue
                except (BrokenPipeError, ConnectionResetError):
                    break
            assert t.call("supervisor.ping") == {}
            heard, over = drain(c.sock)
            if over:
                assert not heard or error_of(heard) == -32011, heard
                ended += 1
        assert ended > 200 or os.geteuid() != 0, ended


def out_of_descriptors(backend):
    with attacked(backend) as t:
        used = descriptors(t)
        resource.prlimit(t.status["pid"], resource.RLIMIT_NOFILE, (used + 40, used + 40))
        connections = crowd(t, 100)
        refused = 0
        for c in connections:
            with contextlib.suppress(BrokenPipeError):
                c.sock.sendall(PING)
            line = await_line(c) if select.select([c.sock], [], [], LIMIT)[0] else b""
            refused += line != PONG
            assert line == PONG or error_of(line) == -32011, line
        assert 60 <= refused < 100, refused
        assert t.call("supervisor.ping") == {}
        rests(t)
        for c in connections:
            c.close()
        del t.connections[1:]
        c = stranger(t)
        c.sock.sendall(PING)
        assert await_line(c) == PONG


def too_many_actors(backend):
    """What a user's requests may add, whatever the rules allow; root's are not counted with them."""
    if os.geteuid() != 0:
        return
    with attacked(backend, rules=EVERYTHING, kib=48 * 1024) as t:
        c = stranger(t)

        def load(connection, name, n):
            children = [{"name": f"c{i}", "strategy": "one_for_one", "children": []} for i in range(n)]
            return connection.call("tree.load", tree={"tractor": 1, "name": name, "children": children})

        load(t.main, "roots", 1500)
        load(c, "a", 900)
        assert "of this user" in expect_error(-32011, load, c, "b", 100).message
        load(c, "b", 98)
        expect_error(-32011, load, c, "c", 0)
        other = connect_as(t.path, STRANGER)
        expect_error(-32011, load, other, "c", 0)
        other.close()
        load(t.main, "more", 100)
        assert c.call("tree.unload", path="/a") == {}
        load(c, "c", 800)
        for name in ("b", "c", "roots", "more"):
            t.call("tree.unload", path=f"/{name}")


main([lines, gibibyte, one_byte_a_write, million_tiny_lines, bad_descriptors, descriptor_flood, hellos, half_closed, reused_ids,
      too_many_calls, too_many_calls_of_a_user, attach_in_a_crowd, no_credit, never_reading, half_lines, out_of_descriptors,
      too_many_actors])
