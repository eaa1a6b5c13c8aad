#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nurseries opened at run time, by clients and by actors; they end with who opened them."""

import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from peers import Client, ask, echo  # noqa: E402
from tractor import expect_error, gone, main, sleeper, tractor  # noqa: E402


def removed(events, path):
    return events.wait(lambda e: e["event"] == "removed" and e["path"] == path, f"{path} removed")


def of_a_client(backend):
    with tractor(backend) as t:
        t.load(children=[sleeper("first")])
        client = Client(t.path, hello=True)
        path = client.call("nursery.open", parent="/t", name="n", strategy="one_cancels_one")["path"]
        assert path == "/t/n"
        assert client.call("nursery.open", parent="/", strategy="one_for_one")["path"] == "/nursery-1"
        node = t.get(path)
        assert (node["kind"], node["state"], node["strategy"]) == ("supervisor", "ready", "one_cancels_one"), node
        expect_error(-32008, client.call, "nursery.open", parent="/t", name="n", strategy="one_for_one")
        expect_error(-32602, client.call, "nursery.open", parent="/t", name="m", strategy="of_no_kind")
        expect_error(-32602, client.call, "nursery.open", parent="/t", name="m", children=[])
        expect_error(-32602, client.call, "nursery.open", parent="/t", name="a/b")
        expect_error(-32602, client.call, "nursery.close", path="/t")
        expect_error(-32602, client.call, "nursery.close", path="/t/first")
        # It stays when its last child has ended, and its owner hears of each end.
        client.call("actor.spawn", parent=path, name="well", exec=["true"])
        assert client.until("$/child_exited")["exit"]["code"] == 0
        client.call("actor.spawn", parent=path, name="ill", exec=["sh", "-c", "exit 3"])
        frame = client.until("$/child_exited")
        assert (frame["path"], frame["exit"]["code"]) == ("/t/n/ill", 3), frame
        assert t.get(path)["state"] == "ready"
        pid = client.call("actor.spawn", parent=path, **sleeper("child"))["pid"]
        assert client.call("nursery.close", path=path) == {}
        assert gone(pid)
        expect_error(-32004, t.call, "tree.get", path=path)
        # The end of the connection is the end of what it opened.
        events = t.events()
        pid = client.call("actor.spawn", parent="/nursery-1", **sleeper("child"))["pid"]
        client.close()
        removed(events, "/nursery-1")
        assert gone(pid)
        assert t.get("/t")["state"] == "ready"


def one_cancels_all(backend):
    with tractor(backend) as t:
        client = Client(t.path, hello=True)
        client.call("nursery.open", parent="/", name="n")
        pids = [client.call("actor.spawn", parent="/n", **sleeper(f"s{i}"))["pid"] for i in range(3)]
        client.call("actor.spawn", parent="/n", name="ill", exec=["sh", "-c", "exit 3"])
        assert all(gone(pid) for pid in pids)
        ends = {}
        while "/n" not in ends:
            frame = client.until("$/child_exited")
            ends[frame["path"]] = frame["exit"]
        assert ends["/n/ill"]["code"] == 3 and ends["/n/s1"]["cause"] == "stop", ends
        assert t.get("/n")["state"] == "failed"
        expect_error(-32002, client.call, "actor.spawn", parent="/n", **sleeper("late"))
        client.call("nursery.close", path="/n")
        client.close()


def open_by(t, path, name="n", **keys):
    """An actor's nursery, asked for by a client that has attached to it."""
    client = Client(t.path)
    client.call("actor.attach", path=path)
    assert ask(client, "ask", {"method": "nursery.open", "params": {"name": name, **keys}}) == {"path": f"{path}/{name}"}
    return client


def spawn_by(client, parent, child):
    return ask(client, "ask", {"method": "actor.spawn", "params": {"parent": parent, **child}})["pid"]


def of_an_actor(backend):
    with tractor(backend) as t:
        t.load(children=[echo("a"), sleeper("b")])
        b = t.pid("/t/b")
        client = open_by(t, "/t/a")
        pid = spawn_by(client, "/t/a/n", sleeper("child"))
        assert [c["path"] for c in t.get("/t/a")["children"]] == ["/t/a/n"]
        expect_error(-32009, ask, client, "ask", {"method": "nursery.open", "params": {"parent": "/t", "name": "m"}})
        expect_error(-32009, ask, client, "ask", {"method": "nursery.close", "params": {"path": "/t/b"}})
        spawn_by(client, "/t/a/n", {"name": "well", "exec": ["true"]})
        while not (ends := client.call("children")):
            pass
        assert (ends[0]["path"], ends[0]["exit"]["code"]) == ("/t/a/n/well", 0), ends
        # Its main process's death is the end of all it has opened, before it starts again.
        events = t.events()
        start = time.monotonic()
        os.kill(t.pid("/t/a"), signal.SIGKILL)
        assert gone(pid)
        print(f"   its child was gone after {time.monotonic() - start:.3f} s", file=sys.stderr)
        removed(events, "/t/a/n")
        events.state("/t/a", "ready")
        assert "children" not in t.get("/t/a") and t.pid("/t/b") == b
        assert t.get("/t/a")["restarts"] == 1
        client.close()


def closed_by_its_actor(backend):
    with tractor(backend) as t:
        t.load(children=[echo("a")])
        client = open_by(t, "/t/a")
        pid = spawn_by(client, "/t/a/n", sleeper("child"))
        assert ask(client, "ask", {"method": "nursery.close", "params": {"path": "/t/a/n"}}) == {}
        assert gone(pid) and "children" not in t.get("/t/a")
        open_by(t, "/t/a").close()
        client.close()


def deep(backend):
    """Actors in nurseries open nurseries: the end of the first is the end of all."""
    with tractor(backend) as t:
        t.load(children=[echo("a", restart="temporary"), sleeper("b")])
        path, pids, clients = "/t/a", [], []
        for _ in range(4):
            client = open_by(t, path)
            clients.append(client)
            pids.append(spawn_by(client, f"{path}/n", echo("a")))
            path += "/n/a"
            t.call("actor.wait_for", name=path)
        events = t.events()
        start = time.monotonic()
        os.kill(t.pid("/t/a"), signal.SIGKILL)
        assert all(gone(pid) for pid in pids)
        took = time.monotonic() - start
        print(f"   four levels were gone after {took:.3f} s", file=sys.stderr)
        assert took < 5, took
        events.state("/t/a", "failed")
        assert t.get("/t/b")["state"] == "ready"
        for client in clients:
            client.close()


def stopped_from_above(backend):
    """The actor is asked first and closes what it opened, or loses it with its end."""
    with tractor(backend) as t:
        t.load(children=[echo("a"), sleeper("b")])
        client = open_by(t, "/t/a")
        pid = spawn_by(client, "/t/a/n", DEAF)
        assert t.call("actor.cancel", path="/t/a")["exit"]["cause"] == "stop"
        assert gone(pid)
        t.call("actor.restart", path="/t/a")
        client = open_by(t, "/t/a")
        pid = spawn_by(client, "/t/a/n", sleeper("child"))
        t.call("tree.unload", path="/t")
        assert gone(pid)


DEAF = {"name": "deaf", "exec": ["sh", "-c", "trap '' TERM; sleep 1000 & wait; wait"]}


def owner_lost_while_closing(backend):
    """A close in its own good time becomes a fast one when the owner is gone."""
    with tractor(backend) as t:
        t.load(children=[echo("a", restart="temporary")])
        client = open_by(t, "/t/a")
        pid = spawn_by(client, "/t/a/n", DEAF)
        events = t.events()
        closing = t.connect().request("nursery.close", {"path": "/t/a/n"})
        events.wait(lambda e: e["path"] == "/t/a/n" and e.get("to") == "stopping")
        os.kill(t.pid("/t/a"), signal.SIGKILL)
        assert gone(pid)
        assert t.connections[-1].answer(closing) == {}
        client.close()


def spawn_while_stopping(backend):
    with tractor(backend) as t:
        t.load(children=[echo("a")])
        client = open_by(t, "/t/a")
        spawn_by(client, "/t/a/n", {**DEAF, "grace_ms": 300})
        other = t.connect()
        events = t.events()
        ident = other.request("nursery.close", {"path": "/t/a/n"})
        events.wait(lambda e: e["path"] == "/t/a/n" and e.get("to") == "stopping")
        expect_error(-32002, ask, client, "ask", {"method": "actor.spawn", "params": {"parent": "/t/a/n", **sleeper("x")}})
        assert other.answer(ident) == {}
        client.close()


if __name__ == "__main__":
    main([of_a_client, one_cancels_all, of_an_actor, closed_by_its_actor, deep, stopped_from_above, owner_lost_while_closing,
          spawn_while_stopping])
