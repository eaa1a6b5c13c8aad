#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs as people write them, in a shell, in Python and with a stock library for Node.js: none was made for this."""

import os
import shutil
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
import node  # noqa: E402
from peers import Client, attached  # noqa: E402
from tractor import BUILD, expect_error, main, skip, tractor  # noqa: E402

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SHELL = r"""
n=0
while read -r line; do
        id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
        case $line in
        *'"method":"count"'*) n=$((n + 1)); printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$n" ;;
        *'"method":"quit"'*) exit 4 ;;
        *) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no such method"}}\n' "$id" ;;
        esac
done
"""
PYTHON = """
from tractor.stdio import Server
server = Server()
@server.method
def add(a, b):
    return a + b
@server.method
def shout(text):
    print("not an answer")
    server.notify("heard", {"text": text.upper()})
    return len(text)
server.run()
"""


def shell(backend):
    with tractor(backend) as t:
        t.load(children=[{"name": "sh", "exec": ["sh", "-c", SHELL], "channel": "stdio", "restart": "transient"}])
        events = t.events("/t/sh")
        client = attached(t, "/t/sh")
        assert [client.call("count") for _ in range(3)] == [1, 2, 3]
        expect_error(-32601, client.call, "else")
        error = expect_error(-32003, client.call, "quit")
        assert error.data["exit"]["code"] == 4, error.data
        assert client.eof()
        events.state("/t/sh", "ready")
        client.close()
        client = attached(t, "/t/sh")
        assert client.call("count") == 1
        client.close()


def python(backend):
    with tractor(backend) as t:
        t.load(children=[{"name": "py", "exec": [sys.executable, "-c", PYTHON], "channel": "stdio",
                          "env": {"PYTHONPATH": os.path.join(ROOT, "contrib/python")}}])
        client = Client(t.path)
        portal = client.portal("/t/py")
        assert portal.call("add", a=2, b=3) == 5
        assert portal.call("shout", text="ho") == 2
        assert portal.until("heard") == {"text": "HO"}
        expect_error(-32601, portal.call, "none")
        expect_error(-32602, portal.call, "add", a=1)
        assert t.call("actor.cancel", path="/t/py")["exit"]["cause"] == "stop"
        portal.close()
        client.close()


def stock_node(backend):
    if not shutil.which("node") or not shutil.which("npm"):
        skip("no node and npm")
    folder = node.install(BUILD, os.path.join(ROOT, "tests/node"), "node-stdio")
    with tractor(backend) as t:
        t.load(children=[{"name": "js", "exec": ["node", "server.mjs"], "cwd": folder, "channel": "stdio"}])
        client = Client(t.path)
        first, second = client.portal("/t/js"), attached(t, "/t/js", hello=True)
        assert first.call("add", a=2, b=0.5) == 2.5
        slow = first.request("hold", {"value": "slow"})
        assert first.call("add", a=1, b=1) == 2 and first.told == []
        freed = first.request("release", {})
        assert {m["id"]: m["result"] for m in (first.receive(), first.receive())} == {slow: "slow", freed: "released"}
        error = expect_error(0, second.call, "fail")
        assert error.message == "as asked", error
        # It asks the earliest, while another waits for what becomes of that.
        ident = second.request("greet", {})
        asked = first.receive()
        assert asked["method"] == "name" and asked["params"] == {"of": "you"}, asked
        first.send({"jsonrpc": "2.0", "id": asked["id"], "result": "Ada"})
        assert second.answer(ident) == "hello Ada"
        for who in first, second:
            assert who.until("greeted") == {"name": "Ada"}
        first.close()
        second.close()
        client.close()


def throughput(backend):
    """Many calls at once, from several connections: each has its answers, in the order in which the program gives them."""
    with tractor(backend) as t:
        t.load(children=[{"name": "cat", "exec": ["sed", "-u", 's/"method":.*/"result":7}/'], "channel": "stdio"}])
        client = Client(t.path)
        portals = [client.portal("/t/cat") for _ in range(4)]
        lines = b"".join(b'{"jsonrpc":"2.0","id":%d,"method":"x"}\n' % n for n in range(1, 2001, 2))
        senders = [threading.Thread(target=lambda s=p.sock: s.sendall(lines)) for p in portals]
        for sender in senders:
            sender.start()
        for portal in portals:
            for n in range(1, 2001, 2):
                assert portal.receive() == {"jsonrpc": "2.0", "id": n, "result": 7}
        for sender in senders:
            sender.join()
        for portal in portals:
            portal.sock.shutdown(socket.SHUT_RDWR)
            portal.close()
        client.close()


if __name__ == "__main__":
    main([shell, python, stock_node, throughput])
