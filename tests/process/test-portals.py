#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Getting at actors: portals by descriptor, one's own connection handed over, names; and who hears of whose end."""

import json
import os
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from peers import ACTOR, Client, ask, echo  # noqa: E402
from tractor import expect_error, gone, main, sleeper, tractor  # noqa: E402

def connect(backend):
    with tractor(backend) as t:
        t.load(children=[echo("a"), sleeper("plain")])
        client = Client(t.path)
        portal = client.portal("/t/a")
        assert portal.call("echo", x=[1, 2.5, "three"]) == {"x": [1, 2.5, "three"]}
        peer = portal.call("who")[0]["peer"]
        assert peer == {"path": f"@client/{os.getpid()}", "id": None, "uid": os.getuid(), "pid": os.getpid()}, peer
        expect_error(-32010, client.call, "actor.connect", path="/t/plain")
        expect_error(-32004, client.call, "actor.connect", path="/t/none")
        expect_error(-32602, client.call, "actor.connect", path="/t")
        # The control connection's end leaves the portal alone.
        client.close()
        assert portal.call("echo", x=1) == {"x": 1}
        portal.close()


def connect_waits_for_ready(backend):
    with tractor(backend) as t:
        t.load(children=[sleeper("first")])
        t.call("actor.spawn", parent="/t", name="a", exec=[sys.executable, ACTOR, "late"], channel="fd",
               ready={"file": os.path.join(t.dir, "flag")})
        client = Client(t.path)
        ident = client.request("actor.connect", {"path": "/t/a"})
        cancelled = t.connect()
        late = cancelled.request("actor.connect", {"path": "/t/a"}, {"deadline_ms": 1})
        expect_error(-32007, cancelled.answer, late)
        open(os.path.join(t.dir, "flag"), "w").close()
        assert client.answer(ident) == {}
        portal = Client(sock=socket.socket(fileno=client.fds.pop()))
        assert portal.call("echo", a=1) == {"a": 1}
        t.call("actor.cancel", path="/t/a")
        assert portal.eof()
        error = expect_error(-32002, client.call, "actor.connect", path="/t/a")
        assert error.data["exit"]["cause"] == "stop", error.data
        portal.close()
        client.close()


def spawn_with_portal(backend):
    with tractor(backend) as t:
        t.load(children=[sleeper("first")])
        client = Client(t.path)
        expect_error(-32602, client.call, "actor.spawn", parent="/t", name="a", exec=["true"], want=["portal"])
        expect_error(-32602, client.call, "actor.spawn", parent="/t", name="a", exec=["true"], want=["pidfd", "pidfd"])
        child = echo("a")
        found = client.call("actor.spawn", parent="/t", want=["pidfd", "portal"], **child)
        pidfd, portal = client.fds[0], Client(sock=socket.socket(fileno=client.fds[1]))
        assert portal.call("echo", a=1) == {"a": 1}
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        assert gone(found["pid"]) and portal.eof()
        os.close(pidfd)
        portal.close()
        client.close()


def attach(backend):
    with tractor(backend) as t:
        t.load(children=[echo("a")])
        client = Client(t.path)
        client.call("supervisor.ping")
        assert client.call("actor.attach", path="/t/a") == {}
        assert client.call("echo", a=1) == {"a": 1}
        accepted = client.call("who")[0]
        assert accepted["last_id"] == 3 and "hello" not in accepted, accepted
        expect_error(-32601, client.call, "supervisor.ping")  # nobody else listens here any more
        assert t.call("supervisor.status")["connections"] == 1
        os.kill(t.pid("/t/a"), signal.SIGKILL)
        assert client.eof()
        client.close()


def attach_is_a_barrier(backend):
    with tractor(backend) as t:
        t.load(children=[echo("a")])
        client = Client(t.path)

        def lines(*messages):
            client.sock.sendall(b"".join(json.dumps({"jsonrpc": "2.0", **m}).encode() + b"\n" for m in messages))

        attach = {"method": "actor.attach", "params": {"path": "/t/a"}}
        lines({"id": 1, **attach}, {"method": "$/cancel", "params": {"id": 1}})
        expect_error(-32600, client.answer, 1)
        lines({"id": 3, **attach}, {"id": 5, "method": "supervisor.ping"})
        expect_error(-32600, client.answer, 3)
        assert client.answer(5) == {}
        ident = client.request("actor.wait_for", {"name": "nobody"})
        expect_error(-32600, client.call, "actor.attach", path="/t/a")
        client.send({"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": ident}})
        expect_error(-32800, client.answer, ident)
        assert client.call("actor.attach", path="/t/a") == {}
        assert client.call("echo", a=1) == {"a": 1}
        client.close()


def death_is_told(backend):
    """Holders of portals hear at once how an actor ended; so do those that handed their connection over."""
    with tractor(backend) as t:
        t.load(children=[echo("a", restart="temporary"), echo("b")])
        holder, attached = Client(t.path, hello=True), Client(t.path, hello=True)
        portals = [holder.portal("/t/a") for _ in range(3)]
        assert attached.call("actor.attach", path="/t/a") == {}
        attached.send({"jsonrpc": "2.0", "id": 9, "method": "hold"})
        bridge = Client(t.path, hello=True)
        assert bridge.call("actor.attach", path="/t/b") == {}
        assert ask(bridge, "talk", {"path": "/t/a", "method": "echo", "params": {"n": 1}}) == {"n": 1}
        identity, pid = t.get("/t/a")["id"], t.pid("/t/a")
        start = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        told = [attached.until("$/peer_exited"), holder.until("$/peer_exited")]
        took = time.monotonic() - start
        for frame in told:
            assert (frame["path"], frame["id"]) == ("/t/a", identity), frame
            assert frame["exit"]["signal"] == "SIGKILL" and frame["exit"]["cause"] == "signal", frame
            assert frame["exit"]["pid"] == pid
        print(f"   told after {took * 1000:.1f} ms", file=sys.stderr)
        assert attached.eof() and all(p.eof() for p in portals)
        while not (exits := bridge.call("exits")):
            pass
        assert [e["path"] for e in exits] == ["/t/a"] and exits[0]["exit"]["signal"] == "SIGKILL", exits
        holder.call("supervisor.ping")
        assert not holder.told, holder.told  # once, for all of its portals
        # Who was connected to hears of the one that connected, too.
        t.call("actor.restart", path="/t/a")
        portal = holder.portal("/t/a")
        assert ask(bridge, "talk", {"path": "/t/a", "method": "echo", "params": {"n": 2}}) == {"n": 2}
        os.kill(t.pid("/t/b"), signal.SIGKILL)
        bridge.until("$/peer_exited")
        while not (exits := portal.call("exits")):
            pass
        assert exits[0]["path"] == "/t/b", exits
        for c in (holder, attached, bridge, portal, *portals):
            c.close()


def shutdown_of_an_attached_connection(backend):
    with tractor(backend) as t:
        t.load(children=[echo("a")])
        fds = os.listdir(f"/proc/{t.status['pid']}/fd")
        clients = [Client(t.path, hello=True) for _ in range(20)]
        for c in clients:
            c.call("actor.attach", path="/t/a")
            c.call("echo")
        for c in clients:
            c.close()
        t.call("supervisor.ping")
        again = Client(t.path)
        again.call("actor.attach", path="/t/a")
        again.call("echo")
        again.close()
        t.call("supervisor.ping")
        assert len(os.listdir(f"/proc/{t.status['pid']}/fd")) <= len(fds) + 2


def names(backend):
    with tractor(backend) as t:
        t.load(children=[echo("a"), sleeper("plain")])
        found = t.call("actor.find", name="a")
        assert found == {"path": "/t/a", "id": t.get("/t/a")["id"]}, found
        assert t.call("actor.find", name="/t/plain")["path"] == "/t/plain"
        assert t.call("actor.find", name="b") is None and t.call("actor.find", name="/t") is None
        expect_error(-32602, t.call, "actor.find", name="a b")
        expect_error(-32602, t.call, "actor.find")
        expect_error(-32007, t.call, "actor.wait_for", name="b", deadline_ms=10)
        waiter = t.connect()
        ident = waiter.request("actor.wait_for", {"name": "b"})
        t.call("actor.spawn", parent="/t", **echo("b"))
        assert waiter.answer(ident)["path"] == "/t/b"
        t.call("actor.cancel", path="/t/b")
        assert t.call("actor.find", name="b") is None
        ident = waiter.request("actor.wait_for", {"name": "b"})
        t.call("actor.restart", path="/t/b")
        assert waiter.answer(ident)["id"] == t.get("/t/b")["id"]
        # A dead one is not found, at once.
        identity, events = t.get("/t/a")["id"], t.events("/t/a")
        os.kill(t.pid("/t/a"), signal.SIGKILL)
        events.wait(lambda e: e["event"] == "exited")
        found = t.call("actor.find", name="a")
        assert found is None or found["id"] != identity, found
        # Names an actor gives itself.
        a = Client(t.path)
        a.call("actor.attach", path="/t/b")
        ident = waiter.request("actor.wait_for", {"name": "alias"})
        assert ask(a, "ask", {"method": "actor.register", "params": {"name": "alias"}}) == {}
        assert waiter.answer(ident)["path"] == "/t/b"
        assert ask(a, "ask", {"method": "actor.register", "params": {"name": "alias"}}) == {}
        assert ask(a, "ask", {"method": "actor.find", "params": {"name": "alias"}})["path"] == "/t/b"
        assert ask(a, "ask", {"method": "actor.unregister", "params": {"name": "alias"}}) == {}
        expect_error(-32004, ask, a, "ask", {"method": "actor.unregister", "params": {"name": "alias"}})
        assert t.call("actor.find", name="alias") is None
        expect_error(-32600, t.call, "actor.register", name="x")
        for i in range(16):
            ask(a, "ask", {"method": "actor.register", "params": {"name": f"n{i}"}})
        expect_error(-32011, ask, a, "ask", {"method": "actor.register", "params": {"name": "n16"}})
        t.call("actor.cancel", path="/t/b")
        assert t.call("actor.find", name="n3") is None
        a.close()


def many_portals(backend):
    """A connection may open and close any number of them."""
    with tractor(backend) as t:
        t.load(children=[echo("a")])
        client = Client(t.path, hello=True)
        for _ in range(1500):
            client.call("actor.connect", path="/t/a")
            os.close(client.fds.pop())
        portal = client.portal("/t/a")
        assert portal.call("echo", a=1) == {"a": 1}
        os.kill(t.pid("/t/a"), signal.SIGKILL)
        client.until("$/peer_exited")
        client.call("supervisor.ping")
        assert not client.told
        portal.close()
        client.close()


if __name__ == "__main__":
    main([connect, connect_waits_for_ready, spawn_with_portal, attach, attach_is_a_barrier, death_is_told,
          shutdown_of_an_attached_connection, names, many_portals])
