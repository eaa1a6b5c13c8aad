#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs on stdin and stdout: what passes between them and those who are connected, what does not, and every end."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from peers import Client, adapter, attached, say, stdio  # noqa: E402
from tractor import expect_error, main, memory_kib, tractor  # noqa: E402

SHELL = r"""while read -r line; do
        id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
        [ -z "$id" ] || printf '{"jsonrpc":"2.0","id":%s,"result":"from sh"}\n' "$id"
done"""


def check_pipes(program, server):
    """Whoever else held an end would keep an EOF from being one."""
    stdin, stdout = (os.readlink(f"/proc/{program}/fd/{n}") for n in (0, 1))
    holders = {stdin: [], stdout: []}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    link = os.readlink(f"/proc/{pid}/fd/{fd}")
                    if link in holders:
                        flags = int(re.search(r"flags:\s*(\d+)", open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii").read())[1], 8)
                        holders[link].append((int(pid), flags & os.O_ACCMODE))
    assert sorted(holders[stdin]) == sorted([(program, os.O_RDONLY), (server, os.O_WRONLY)]), holders
    assert sorted(holders[stdout]) == sorted([(program, os.O_WRONLY), (server, os.O_RDONLY)]), holders


def calls(backend):
    with tractor(backend) as t:
        t.load(children=[stdio("a"), {"name": "sh", "exec": ["sh", "-c", SHELL], "channel": "stdio"}])
        client = Client(t.path)
        portal, shell = client.portal("/t/a"), client.portal("/t/sh")
        assert shell.call("anything", a=1) == "from sh"
        assert t.get("/t/a")["pid"] != adapter(t, "/t/a")
        # Values are not read and written anew: digits, order, and what is beyond a double stay as they are.
        text = '{"b":1.0,"a":[1e5,-0.10,9007199254740993,1.7976931348623157e308,null,true],"":"\\u0001 ü"}'
        portal.sock.sendall(b'{"jsonrpc":"2.0","id":"mine","method":"raw","params":%s}\n' % text.encode())
        portal.sock.settimeout(20)
        line = b""
        while not line.endswith(b"\n"):
            line += portal.sock.recv(65536)
        assert line.decode() == '{"jsonrpc":"2.0","id":"mine","result":%s}\n' % text, line
        error = expect_error(-32601, portal.call, "nothing")
        assert error.message == "no nothing" and error.data == {"mine": 1.5}
        # What is the protocol's own stays here.
        expect_error(-32601, portal.call, "$/methods")
        expect_error(-32010, lambda: portal.answer(portal.request("raw", {}, {"ctx": True})))
        portal.send({"jsonrpc": "2.0", "method": "$/anything"})
        portal.send({"jsonrpc": "2.0", "method": "hear", "params": {"x": 1}, "$": {"trace": "00-1"}})
        assert say(portal, "seen") == ['{"jsonrpc":"2.0","method":"hear","params":{"x":1}}\n']
        check_pipes(t.pid("/t/a"), adapter(t, "/t/a"))
        # No descriptor but its own three: nothing of the supervisor's, nothing of the adapter's.
        assert [re.sub(r"\d+", "N", fd) for fd in say(portal, "fds")[:2]] == ["pipe:[N]", "pipe:[N]"]
        assert len(say(portal, "fds")) == 3
        for connection in portal, shell, client:
            connection.close()


def two_ways(backend):
    with tractor(backend) as t:
        t.load(children=[stdio("a")])
        client = Client(t.path)
        first, second = client.portal("/t/a"), attached(t, "/t/a", hello=True)
        assert say(second, "tell", "news", {"n": [1.50]}) is None
        for who in first, second:
            assert who.until("news") == {"n": [1.5]}
        # To the earliest of them; what is in $/ goes nowhere.
        ident = second.request("ask", ["question", {"a": 1}])
        asked = first.receive()
        assert asked["method"] == "question" and asked["params"] == {"a": 1} and set(asked) == {
            "jsonrpc", "id", "method", "params"}, asked
        first.send({"jsonrpc": "2.0", "id": asked["id"], "result": [1, 2]})
        assert second.answer(ident) == {"jsonrpc": "2.0", "id": "q1", "result": [1, 2]}
        assert say(second, "ask", "$/question", {})["error"]["code"] == -32601
        assert say(second, "tell", "$/progress", {}) is None
        # It goes while it is asked: the asker is told, and the next is the earliest.
        ident = second.request("ask", ["question", {}])
        first.receive()
        first.close()
        assert second.answer(ident)["error"]["code"] == -32015
        ident = second.request("ask", ["question", {}])
        asked = second.receive()
        second.send({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": 5, "message": "no"}})
        assert second.answer(ident)["error"] == {"code": 5, "message": "no"}
        assert not second.told
        second.close()
        client.close()


def nobody_is_there(backend):
    with tractor(backend) as t:
        flag = os.path.join(t.dir, "flag")
        t.load(children=[stdio("a", "hello=" + flag, ready={"file": flag})])
        client = attached(t, "/t/a")
        answers = say(client, "seen")
        assert len(answers) == 1 and json.loads(answers[0])["error"]["code"] == -32004, answers
        client.close()


def parallel(backend):
    """64 calls from 8 connections, answered in reverse order."""
    with tractor(backend) as t:
        t.load(children=[stdio("a")])
        client = Client(t.path)
        portals = [client.portal("/t/a") for _ in range(8)]
        waiting = [(p, p.request("hold", {"portal": i, "n": n})) for n in range(8) for i, p in enumerate(portals)]
        for _ in range(64):
            portals[0].until("held")
        assert say(client.portal("/t/a"), "release") == 64
        for k, (portal, ident) in reversed(list(enumerate(waiting))):
            message = portal.receive()
            while "method" in message:
                message = portal.receive()
            assert message == {"jsonrpc": "2.0", "id": ident, "result": {"portal": k % 8, "n": k // 8}}, message
        for portal in portals:
            portal.close()
        client.close()


def cancelled(backend):
    with tractor(backend) as t:
        t.load(children=[stdio("a")])
        client = Client(t.path)
        portal = client.portal("/t/a")
        ident = portal.request("hold", [1])
        portal.send({"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": ident}})
        error = expect_error(-32800, portal.answer, ident)
        assert error.data["canceller"] == f"@client/{os.getpid()}", error.data
        late = portal.request("hold", [2], {"deadline_ms": 1})
        expect_error(-32007, portal.answer, late)
        gone_away = client.portal("/t/a")
        gone_away.request("hold", [3])
        gone_away.close()
        other = client.portal("/t/a")
        ident = other.request("hold", [4])
        # Answers to three that nobody waits for are dropped, and the fourth finds its asker.
        while portal.until("held") != [4]:
            pass
        assert say(portal, "release") == 4
        assert other.answer(ident) == [4]
        assert say(portal, "seen") == []
        for connection in portal, other, client:
            connection.close()


def garbage(backend):
    with tractor(backend) as t:
        t.load(children=[stdio("a", stderr="file:" + os.path.join(t.dir, "err"))])
        client = Client(t.path)
        portal = client.portal("/t/a")
        portal.request("say", ["Listening on port 80\n\n[1,2]\n{\"jsonrpc\":\"2.0\",\"id\":999,\"result\":1}\n"])
        assert say(portal, "big", 3) == "xxx"
        # An answer that is none is told to who waits for it.
        for text in ('{"jsonrpc":"2.0","result":NaN,"id":$ID}\n', '{"id":$ID,"jsonrpc":"2.0","result":123456789012345678901}\n',
                     '{"jsonrpc":"2.0","id":$ID,"result":1,"error":null}\n', '{"jsonrpc":"2.0","id":$ID.0,"result":1,,}\n'):
            if ".0" in text:
                portal.request("say", [text])
            else:
                expect_error(-32603, say, portal, "say", text)
        assert say(portal, "say", '{"jsonrpc":"2.0","id":$ID.0,"result":7}\n') == 7
        for _ in range(30):
            portal.request("say", ["rubbish\n" * 100])
        assert say(portal, "big", 3) == "xxx"
        log = open(os.path.join(t.dir, "err"), encoding="utf-8").read()
        assert "Listening on port 80" in log and "never asked" in log, log
        assert len(log.splitlines()) < 60, log
        portal.close()
        client.close()


def long_lines(backend):
    with tractor(backend) as t:
        t.load(children=[stdio("a")])
        client = Client(t.path)
        portal = client.portal("/t/a")
        text = "y" * ((1 << 20) - 100)
        assert portal.call("raw", text=text) == {"text": text}
        # Longer than the asker takes: it is told, and the next answer comes.
        expect_error(-32011, say, portal, "big", 3 << 20)
        assert say(portal, "big", 5) == "xxxxx"
        other = client.portal("/t/a")
        other.sock.sendall(b'{"jsonrpc":"2.0","id":1,"method":"raw","params":["' + b"z" * (1 << 20))
        assert other.receive()["error"]["code"] == -32700 and other.eof()
        assert say(portal, "big", 5) == "xxxxx"
        for connection in portal, other, client:
            connection.close()


def fill(sock, line):
    """Sends until nothing more is taken for a while; the bytes that were."""
    sock.settimeout(0.5)
    sent = 0
    try:
        while sent < 64 << 20:
            sent += sock.send(line)
    except socket.timeout:
        pass
    sock.settimeout(20)
    return sent


def slow_program(backend):
    """Its clients are slowed down, in little memory, and none of them keeps the others from being heard."""
    with tractor(backend) as t:
        t.load(children=[stdio("a")])
        client = Client(t.path)
        portal, other = client.portal("/t/a"), client.portal("/t/a")
        pid, server = t.pid("/t/a"), adapter(t, "/t/a")
        os.kill(pid, signal.SIGSTOP)
        line = json.dumps({"jsonrpc": "2.0", "method": "hear", "params": "x"}).replace('"x"', '["%s"]' % ("x" * 1000))
        line = line.encode() + b"\n"
        sent = fill(portal.sock, line)
        assert sent < 4 << 20, sent
        ident = other.request("raw", {"k": 1})
        memory_kib(server, 40 << 10)
        os.kill(pid, signal.SIGCONT)
        assert other.answer(ident) == {"k": 1}
        # The cut line's rest, then an answer that comes after all of it.
        portal.sock.sendall(line[sent % len(line):] if sent % len(line) else b"")
        assert len(say(portal, "seen")) == -(-sent // len(line))
        for connection in portal, other, client:
            connection.close()


def slow_client(backend):
    """One that does not read is cut off, or, where it has said hello, misses what it has no room for; the others, and the
    program, go on."""
    with tractor(backend) as t:
        t.load(children=[stdio("a")])
        client = Client(t.path)
        portal, idle = client.portal("/t/a"), client.portal("/t/a")
        # Of those who said hello the supervisor keeps the connection open, too.
        given, known = attached(t, "/t/a"), attached(t, "/t/a", hello=True)
        assert say(portal, "flood", "news", 100, 100000) is None
        assert [m["params"][0] for m in portal.told] == list(range(100))
        assert idle.eof() and given.eof()
        assert say(known, "big", 4) == "xxxx" and 0 < len(known.told) < 100, len(known.told)
        assert say(portal, "big", 4) == "xxxx"
        for connection in portal, idle, given, known, client:
            connection.close()


def half_closed(backend):
    """What a shell does: requests, the end of them, and then the answers."""
    with tractor(backend) as t:
        t.load(children=[stdio("a")])
        requests = [{"id": 1, "method": "actor.attach", "params": {"path": "/t/a"}}, {"id": "x", "method": "raw", "params": [1.0]}]
        program = subprocess.Popen(["socat", "-t", "20", "-", f"UNIX-CONNECT:{t.path}"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
        program.stdin.write(json.dumps({"jsonrpc": "2.0", **requests[0]}).encode() + b"\n")
        program.stdin.flush()
        assert json.loads(program.stdout.readline())["result"] == {}
        out, _ = program.communicate(json.dumps({"jsonrpc": "2.0", **requests[1]}).encode() + b"\n", timeout=20)
        assert out == b'{"jsonrpc":"2.0","id":"x","result":[1.0]}\n', out


def quota(backend):
    with tractor(backend) as t:
        t.load(children=[stdio("a")])
        client = Client(t.path)
        portals = [client.portal("/t/a") for _ in range(256)]
        assert say(portals[255], "big", 1) == "x"
        more = client.portal("/t/a")
        assert more.receive()["error"]["code"] == -32011 and more.eof()
        more.close()
        portals.pop().close()
        # Its end is not told to us: it is there when the next one is taken.
        while True:
            more = client.portal("/t/a")
            ident = more.request("big", [1])
            message = more.receive()
            if message["id"] == ident:
                break
            more.close()
        # A connection has so many calls open, and no more.
        for _ in range(1024):
            more.request("hold", [])
        expect_error(-32005, say, more, "big", 1)
        for portal in portals:
            portal.close()
        more.close()
        client.close()


if __name__ == "__main__":
    main([calls, two_ways, nobody_is_there, parallel, cancelled, garbage, long_lines, slow_program, slow_client, half_closed,
          quota])
