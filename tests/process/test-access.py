#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who asks and what they may do: clients by their credentials, actors by their channel and their place in the tree."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import LIMIT, Connection, RpcError, expect_error, gone, main, sleeper, tractor  # noqa: E402

# An actor whose channel is the test's: what is written to a socket of its own goes to the supervisor and back.
RELAY = """
import os, select, socket, sys
channel = socket.socket(fileno=int(os.environ["TRACTOR_CHANNEL_FD"]))
door = socket.socket(socket.AF_UNIX)
door.bind(sys.argv[1])
door.listen(1)
channel.sendall(b'{"jsonrpc":"2.0","method":"$/ready"}\\n')
test = door.accept()[0]
while True:
    for s in select.select([channel, test], [], [])[0]:
        data = s.recv(65536)
        if not data:
            sys.exit(0)
        (test if s is channel else channel).sendall(data)
"""


def relay(directory, name, **keys):
    script = os.path.join(directory, "relay.py")
    if not os.path.exists(script):
        with open(script, "w") as f:
            f.write(RELAY)
    return {"name": name, "exec": [sys.executable, script, os.path.join(directory, name + ".sock")], "channel": "fd",
            "ready": "channel", "restart": "temporary", "start_timeout_ms": 20000, **keys}


def through(t, directory, name):
    """A connection that is an actor's channel."""
    connection = Connection(os.path.join(directory, name + ".sock"))
    t.connections.append(connection)
    return connection


def actor_requests(backend):
    """An actor's requests are served as its own: itself and below, nobody else's."""
    with tempfile.TemporaryDirectory() as d, tractor(backend) as t:
        t.load(name="shop", children=[relay(d, "api"), sleeper("db")])
        t.load(name="other", children=[sleeper("x")])
        actor = through(t, d, "api")
        assert actor.call("supervisor.ping") == {}
        node = actor.call("tree.get", path="/shop/api")
        assert node["path"] == "/shop/api" and node["pid"] == t.pid("/shop/api"), node
        for path in ("/shop", "/shop/db", "/other", "/other/x", "/"):
            error = expect_error(-32009, actor.call, "tree.get", path=path)
            assert "default: an actor" in error.message, error.message
            expect_error(-32009, actor.call, "actor.cancel", path=path)
        expect_error(-32009, actor.call, "supervisor.status")
        expect_error(-32009, actor.call, "tree.load", tree={"tractor": 1, "name": "new", "children": []})
        expect_error(-32009, actor.call, "actor.set_limits", path="/shop/api", limits={})
        expect_error(-32009, actor.call, "actor.spawn", parent="/shop", **sleeper("more"))
        expect_error(-32009, actor.call, "no.such.method")
        names = [c["path"] for tree in t.get("/")["children"] for c in tree["children"]]
        assert names == ["/shop/api", "/shop/db", "/other/x"], names
        assert t.get("/shop/db")["state"] == t.get("/other/x")["state"] == "ready"


def actor_dialog(backend):
    """A dialog on a channel, and an actor that ends itself by a request: both end with the channel, nobody else's does."""
    with tempfile.TemporaryDirectory() as d, tractor(backend) as t:
        t.load(name="shop", children=[relay(d, "api"), sleeper("db")])
        events = t.events()
        actor = through(t, d, "api")
        actor.request("events.subscribe", {"path": "/shop/api"}, {"ctx": True})
        assert actor.receive()["method"] == "$/started"
        pid = t.pid("/shop/api")
        actor.request("actor.cancel", {"path": "/shop/api", "grace_ms": 0})
        events.state("/shop/api", "dead")
        assert gone(pid)
        assert t.get("/shop/db")["state"] == "ready"
        assert t.get("/shop/api")["exit"]["cause"] == "stop"


def bounds_of_channel(backend):
    """Lines of 128 KiB and 4096 values, as the protocol says; a longer reply than the actor takes is an error."""
    with tempfile.TemporaryDirectory() as d, tractor(backend) as t:
        t.load(name="shop", children=[relay(d, "api", description="x" * 900), relay(d, "web")])
        actor = through(t, d, "api")
        actor.request("tree.validate", {"tree": [[]] * 5000})
        assert actor.receive()["error"]["code"] == -32700
        assert actor.call("supervisor.ping") == {}
        actor.send({"jsonrpc": "2.0", "method": "$/hello", "params": {"protocol": "tractor/1", "max_line": 4096}})
        assert actor.receive()["params"]["max_line"] == 128 * 1024
        assert actor.call("tree.get", path="/shop/api")["description"] == "x" * 900
        web = through(t, d, "web")
        web.request("supervisor.ping", {"x": "y" * (129 * 1024)})
        assert web.receive()["error"]["code"] == -32700
        assert actor.call("supervisor.ping") == {}


def canceller(backend):
    """Those who are asked to stop hear from whom: the client or the actor that asked, or the supervisor itself."""
    hello = {"jsonrpc": "2.0", "method": "$/hello", "params": {"protocol": "tractor/1"}}
    with tempfile.TemporaryDirectory() as d, tractor(backend) as t:
        t.load(name="shop", children=[relay(d, n) for n in ("a", "b", "c")])
        actors = {n: through(t, d, n) for n in "abc"}
        for actor in actors.values():
            actor.send(hello)
            assert actor.receive()["method"] == "$/hello"
        t.main.request("actor.cancel", {"path": "/shop/a", "reason": "enough"})
        cancel = actors["a"].receive()
        assert cancel["method"] == "$/cancel", cancel
        assert cancel["params"]["canceller"] == f"@client/{os.getpid()}", cancel
        assert cancel["params"]["reason"] == "enough" and cancel["params"]["id"] is None, cancel
        actors["b"].request("actor.cancel", {"path": "/shop/b"})
        cancel = actors["b"].receive()
        assert cancel["params"]["canceller"] == "/shop/b" and cancel["params"]["reason"] == "stop", cancel
        expect_error(-32602, t.connect().call, "tree.unload", path="/shop", reason="x" * 1025)
        t.connect().request("tree.unload", {"path": "/shop"})
        cancel = actors["c"].receive()
        assert cancel["params"]["canceller"] == f"@client/{os.getpid()}", cancel
        for actor in actors.values():
            actor.close()


if __name__ == "__main__":
    main([actor_requests, actor_dialog, bounds_of_channel, canceller])
