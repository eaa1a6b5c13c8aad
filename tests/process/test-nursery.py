#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nurseries opened at run time, by clients and by actors; they end with who opened them."""

import os
import resource
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from peers import Client, ask, echo  # noqa: E402
from tractor import LIMIT, RpcError, expect_error, gone, kill, main, program, sleeper, tractor  # noqa: E402


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


def spawner(client):
    return lambda parent, child: spawn_by(client, parent, child)


def spawn_deaf(t, spawn, parent, **keys):
    """One that ignores SIGTERM, once it does."""
    flag = os.path.join(t.dir, f"deaf-{parent.replace('/', '-')}")
    pid = spawn(parent, {"name": "deaf", "exec": ["sh", "-c", "trap '' TERM; : >$1; sleep 1000 & wait; wait", "sh", flag],
                         "ready": {"file": flag}, **keys})
    t.call("actor.wait_for", name=f"{parent}/deaf")
    return pid


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
        pid = spawn_deaf(t, spawner(client), "/t/a/n")
        assert t.call("actor.cancel", path="/t/a")["exit"]["cause"] == "stop"
        assert gone(pid)
        t.call("actor.restart", path="/t/a")
        client = open_by(t, "/t/a")
        pid = spawn_by(client, "/t/a/n", sleeper("child"))
        t.call("tree.unload", path="/t")
        assert gone(pid)




def owner_lost_while_closing(backend):
    """A close in its own good time becomes a fast one when the owner is gone."""
    with tractor(backend) as t:
        t.load(children=[echo("a", restart="temporary")])
        client = open_by(t, "/t/a")
        pid = spawn_deaf(t, spawner(client), "/t/a/n")
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
        spawn_deaf(t, spawner(client), "/t/a/n", grace_ms=300)
        other = t.connect()
        events = t.events()
        ident = other.request("nursery.close", {"path": "/t/a/n"})
        events.wait(lambda e: e["path"] == "/t/a/n" and e.get("to") == "stopping")
        expect_error(-32002, ask, client, "ask", {"method": "actor.spawn", "params": {"parent": "/t/a/n", **sleeper("x")}})
        assert other.answer(ident) == {}
        client.close()


def of_a_client_in_its_own(backend):
    """Nurseries in nurseries of one client: the end of its connection is the end of all, and nobody is told."""
    with tractor(backend) as t:
        t.load(children=[sleeper("first")])
        client = Client(t.path, hello=True)
        for parent in ("/t", "/t/n", "/t/n/n"):
            client.call("nursery.open", parent=parent, name="n")
            client.call("nursery.open", parent=parent, name="m")
        pid = client.call("actor.spawn", parent="/t/n/n/n", **sleeper("child"))["pid"]
        events = t.events()
        client.close()
        removed(events, "/t/n")
        assert gone(pid) and [c["path"] for c in t.get("/t")["children"]] in (["/t/first"], ["/t/first", "/t/m"])
        assert t.call("supervisor.ping") == {}


def failure_is_its_owners(backend):
    """What was opened at run time does not start again by itself; its supervisor goes on."""
    with tractor(backend) as t:
        t.load(children=[sleeper("first")])
        client = Client(t.path, hello=True)
        client.call("nursery.open", parent="/t", name="n")
        deaf = spawn_deaf(t, lambda parent, child: client.call("actor.spawn", parent=parent, **child)["pid"], "/t/n", grace_ms=100)
        client.call("actor.spawn", parent="/t/n", name="ill", exec=["sh", "-c", "exit 3"])
        assert gone(deaf)  # by the ladder, however deaf it is
        ends = {}
        while "/t/n" not in ends:
            frame = client.until("$/child_exited")
            ends[frame["path"]] = frame["exit"]
        # The failure that began it is the one that is told.
        assert (ends["/t/n"]["cause"], ends["/t/n"]["code"]) == ("exit", 3), ends
        assert ends["/t/n/deaf"]["cause"] == "stop", ends
        node = t.get("/t/n")
        assert (node["state"], node["generation"], t.get("/t")["state"]) == ("failed", 1, "ready"), node
        client.close()


def who_is_told(backend):
    """Whose nursery it is, not below whom it lies."""
    with tractor(backend) as t:
        t.load(children=[echo("a")])
        actor, client = open_by(t, "/t/a"), Client(t.path, hello=True)
        assert ask(actor, "ask", {"method": "nursery.open", "params": {"parent": "/t/a/n", "name": "inner"}})
        client.call("nursery.open", parent="/t/a", name="foreign")
        client.call("actor.spawn", parent="/t/a/foreign", name="x", exec=["true"])
        assert client.until("$/child_exited")["path"] == "/t/a/foreign/x"
        spawn_by(actor, "/t/a/n/inner", {"name": "y", "exec": ["true"]})
        while not (ends := actor.call("children")):
            pass
        assert [e["path"] for e in ends] == ["/t/a/n/inner/y"], ends
        # It ends with the client, and the actor is none the wiser.
        events = t.events()
        client.close()
        removed(events, "/t/a/foreign")
        assert len(actor.call("children")) == 1
        actor.close()


def is_frozen(t, backend, path):
    if backend == "process":
        pid = t.get(path).get("pid")
        return bool(pid) and open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "T"
    mount = next(line.split()[1] for line in open("/proc/mounts") if line.split()[2] == "cgroup2")
    try:
        return "frozen 1" in open(f"{mount}{t.get(path)['cgroup']}/cgroup.events").read().splitlines()
    except FileNotFoundError:
        return False


def until_frozen(t, backend, frozen, *paths):
    """The kernel takes its time, and tells nobody but who watches each file."""
    end = time.monotonic() + LIMIT
    while any(is_frozen(t, backend, path) is not frozen for path in paths):
        assert time.monotonic() < end, f"{paths}: never {'frozen' if frozen else 'thawed'}"


def freezing(backend):
    """A frozen actor's nurseries are frozen with it; one of them that is stopped hears of it all the same."""
    with tractor(backend) as t:
        t.load(children=[echo("a")])
        client = open_by(t, "/t/a")
        for name in ("x", "y"):
            spawn_by(client, "/t/a/n", sleeper(name, grace_ms=20000))
        for path in ("/t/a", "/t/a/n"):
            t.call("actor.freeze", path=path)
            until_frozen(t, backend, True, "/t/a/n/x", "/t/a/n/y")
            t.call("actor.thaw", path="/t/a")
            until_frozen(t, backend, False, "/t/a", "/t/a/n/x", "/t/a/n/y")
        t.call("actor.freeze", path="/t/a")
        ended = t.call("actor.cancel", path="/t/a/n/x")["exit"]
        assert (ended["cause"], ended["signal"]) == ("stop", "SIGTERM"), ended
        until_frozen(t, backend, True, "/t/a", "/t/a/n/y")
        # Opened by another while its actor is frozen: what is in it runs.
        t.call("nursery.open", parent="/t/a", name="m")
        t.call("actor.spawn", parent="/t/a/m", **echo("z"))
        portal = Client(t.path).portal("/t/a/m/z")
        assert portal.call("echo", n=1) == {"n": 1}
        assert is_frozen(t, backend, "/t/a")
        pid = t.pid("/t/a/n/y")
        kill(t.pid("/t/a"))
        assert gone(pid)
        portal.close()
        client.close()


def frozen_before_it_is_there(backend):
    """A frozen branch is frozen whole: whoever is just on the way there as well."""
    with tractor(backend) as t:
        t.load(children=[sleeper("a")])
        one, hits = t.connect(), 0
        for i in range(10):
            spawning = one.request("actor.spawn", {"parent": "/t", **sleeper(f"x{i}")})
            try:
                t.call("actor.freeze", path=f"/t/x{i}")
                hits += 1
            except RpcError as error:
                assert error.code == -32004, error
                one.answer(spawning)
                continue
            until_frozen(t, backend, True, f"/t/x{i}")
            t.call("actor.thaw", path=f"/t/x{i}")
            one.answer(spawning)
        print(f"   {hits} of 10 while they came", file=sys.stderr)


def opened_below_a_frozen_actor(backend):
    """Its first nursery: its processes make room for it, and stay frozen."""
    with tractor(backend) as t:
        t.load(children=[sleeper("a")])
        t.call("actor.freeze", path="/t/a")
        t.call("nursery.open", parent="/t/a", name="n")
        t.call("actor.spawn", parent="/t/a/n", **echo("z"))
        portal = Client(t.path).portal("/t/a/n/z")
        assert portal.call("echo", n=1) == {"n": 1} and is_frozen(t, backend, "/t/a")
        t.call("actor.thaw", path="/t/a")
        until_frozen(t, backend, False, "/t/a")
        ended = t.call("actor.cancel", path="/t/a")["exit"]
        assert ended["signal"] == "SIGTERM", ended
        portal.close()


def not_before_it_runs(backend):
    """A program that is not there yet owns nothing."""
    with tractor(backend) as t:
        t.load(children=[sleeper("first")])
        one, two = t.connect(), t.connect()
        refused = 0
        for i in range(20):
            child = one.request("actor.spawn", {"parent": "/t", **sleeper(f"a{i}", restart="temporary")})
            opened = two.request("nursery.open", {"parent": f"/t/a{i}", "name": "n"})
            assert one.answer(child)["path"] == f"/t/a{i}"
            try:
                two.answer(opened)
            except RpcError as error:
                assert error.code in (-32002, -32004), error
                refused += 1
        assert all(c["state"] == "ready" for c in t.get("/t")["children"])
        print(f"   {refused} of 20 were refused", file=sys.stderr)


def no_file_s(backend):
    """tree.apply keeps its hands off what was opened at run time."""
    with tractor(backend) as t:
        tree = {"tractor": 1, "name": "t", "strategy": "one_for_one", "children": [echo("a")]}
        t.call("tree.load", tree=tree)
        client = Client(t.path)
        client.call("nursery.open", parent="/t", name="n")
        client.call("nursery.open", parent="/", name="top")
        client.call("nursery.open", parent="/t/a", name="n")
        pid = client.call("actor.spawn", parent="/t/a/n", **sleeper("x"))["pid"]
        named = {**tree, "children": [*tree["children"], {"name": "n", "strategy": "one_for_one", "children": []}]}
        expect_error(-32008, t.call, "tree.apply", tree=named)
        expect_error(-32008, t.call, "tree.apply", tree={**tree, "name": "top"})
        assert t.call("tree.apply", tree=tree)["unchanged"] == 2
        assert t.pid("/t/a/n/x") == pid
        applied = t.call("tree.apply", tree={**tree, "children": [echo("a", env={"A": "1"})]})
        assert applied["restarted"] == ["/t/a"] and gone(pid), applied
        assert "children" not in t.get("/t/a") and t.get("/t/n")["state"] == "ready"
        client.close()


def limits_that_cannot_be_had(backend):
    """Refused by name, or left out where that is optional; nothing is left of the refused."""
    with tractor(backend) as t:
        t.load(children=[sleeper("a")])
        client = Client(t.path)
        if "memory" in t.status["controllers"].split():
            assert client.call("nursery.open", parent="/t/a", name="n", limits={"MemoryMax": "64M"})
            assert t.get("/t/a/n")["limits"] == {"MemoryMax": "64M"}
        else:
            error = expect_error(-32010, client.call, "nursery.open", parent="/t/a", name="n", limits={"MemoryMax": "64M"})
            assert "MemoryMax" in error.message, error.message
            assert "children" not in t.get("/t/a")
            client.call("nursery.open", parent="/t/a", name="n", limits={"MemoryMax": "64M"}, limits_optional=True)
        client.close()


def open_many(client, parent):
    """By hundreds, so that neither side's buffers fill, until it is refused."""
    opened, refused = 0, 0
    while not refused:
        for ident in [client.request("nursery.open", {"parent": parent}) for _ in range(100)]:
            try:
                client.answer(ident)
                opened += 1
            except RpcError as error:
                assert error.code == -32011, error
                refused += 1
    return opened


def bounds(backend):
    """An actor can't use up what is there for others, nor hide its tree from them by its depth."""
    with tractor(backend) as t:
        t.load(children=[sleeper("a"), sleeper("b")])
        client = Client(t.path)
        path, deep = "/t/a", 0
        try:
            for deep in range(64):
                client.call("nursery.open", parent=path, name="n")
                path += "/n"
        except RpcError as error:
            assert error.code == -32010, error
            deep -= 1
        assert deep > 5
        node, levels = t.get("/"), 0
        while node.get("children"):
            node, levels = node["children"][0], levels + 1
        assert levels == min(deep + 3, 30), (levels, deep)
        assert t.get(path)["state"] == "ready"
        clients = [client]
        opened = deep + 1 + open_many(client, "/t/a/n")
        assert opened == 1024, opened
        while opened < 4096:
            clients.append(Client(t.path))
            more = open_many(clients[-1], "/t/a/n")
            opened += more
            assert more == 1024 or opened == 4096, (more, opened)
        clients[-1].call("nursery.close", path="/t/a/n")
        clients[-1].call("nursery.open", parent="/t", name="n")
        assert t.call("supervisor.ping") == {}
        t.call("actor.restart", path="/t/a")
        assert "children" not in t.get("/t/a")
        for each in clients:
            each.close()


def killed_client(backend):
    """An owner that is killed is one whose connection ends."""
    with tractor(backend) as t:
        t.load(children=[sleeper("first")])
        code = ("import sys; sys.path.insert(0, sys.argv[1]); from peers import Client; c = Client(sys.argv[2])\n"
                "c.call('nursery.open', parent='/t', name='n')\n"
                "print(c.call('actor.spawn', parent='/t/n', name='x', exec=['sleep', '1000'])['pid'], flush=True)\n"
                "c.receive()")
        harness = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness")
        owner = subprocess.Popen([sys.executable, "-c", code, harness, t.path], stdout=subprocess.PIPE, text=True)
        pid = int(owner.stdout.readline())
        events = t.events()
        start = time.monotonic()
        owner.kill()
        assert gone(pid)
        removed(events, "/t/n")
        print(f"   all was gone after {time.monotonic() - start:.3f} s", file=sys.stderr)
        owner.communicate()


def stop_with_all_of_it(backend):
    """The supervisor's own end, with owners, waiters and handed-over connections there."""
    with tractor(backend) as t:
        t.load(children=[echo("a"), echo("b")])
        client, actor = Client(t.path, hello=True), open_by(t, "/t/a")
        pids = [spawn_deaf(t, spawner(actor), "/t/a/n")]
        client.call("nursery.open", parent="/", name="n")
        client.call("nursery.open", parent="/n", name="n")
        pids.append(client.call("actor.spawn", parent="/n/n", **echo("c"))["pid"])
        client.call("nursery.open", parent="/n/n/c", name="n")
        pids.append(client.call("actor.spawn", parent="/n/n/c/n", **sleeper("d"))["pid"])
        waiting = t.connect()
        waits = [waiting.request("actor.wait_for", {"name": "nobody"}) for _ in range(3)]
        closing = waiting.request("nursery.close", {"path": "/t/a/n"})
        attached = Client(t.path, hello=True)
        attached.call("actor.attach", path="/t/b")
        bridge = Client(t.path)
        bridge.call("actor.attach", path="/t/b")
        held = bridge.request("ask", {"method": "actor.wait_for", "params": {"name": "nobody"}})
        assert held and waits and closing
    assert all(gone(pid) for pid in pids)
    for c in (client, actor, attached, bridge):
        c.close()


def out_of_descriptors(backend):
    """Refused with a reason, for portals as for anything else; afterwards all is as it was."""
    with tractor(backend) as t:
        t.load(children=[echo("a"), sleeper("deaf", channel="fd")])
        pid = t.status["pid"]
        client = Client(t.path)
        client.portal("/t/a").close()
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) + 1, limits[1]))
        for params in ({"path": "/t/a"},):
            expect_error(-32011, client.call, "actor.connect", **params)
            expect_error(-32011, client.call, "actor.attach", **params)
        assert client.call("supervisor.ping") == {}
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        portal = client.portal("/t/a")
        assert portal.call("echo", n=1) == {"n": 1}
        portal.close()
        client.close()


ASYNCIO = """
import asyncio, sys, tractor
async def main():
    async with await tractor.connect(sys.argv[1]) as portal:
        print(await portal.call("echo"))
sys.argv[0] = "caller"
asyncio.run(main())
"""


def of_a_root_whose_number_was_used(backend):
    """The place of a program in somebody's supervisor has its PID in its name, which another may have left there."""
    package = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "contrib", "python")
    for command in ([program("caller"), "connect", "/t/a"], [sys.executable, "-c", ASYNCIO, "/t/a"]):
        with tractor(backend) as t:
            t.load(children=[echo("a")])
            p = subprocess.Popen(["sh", "-c", 'read go; exec "$@"', "sh", *command], text=True, stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 env=dict(os.environ, TRACTOR_SOCKET=t.path, PYTHONPATH=package, PYTHONDONTWRITEBYTECODE="1"))
            t.load(f"caller-{p.pid}", children=[sleeper("first")])
            t.load(f"caller-{p.pid}-2", children=[sleeper("second")])
            events = t.events()
            said, _ = p.communicate("go\n", timeout=LIMIT)
            assert p.returncode == 0 and said.strip() in ("0 - -", "None"), said
            removed(events, f"/caller-{p.pid}-3")


if __name__ == "__main__":
    main([of_a_client, one_cancels_all, of_an_actor, closed_by_its_actor, deep, stopped_from_above, owner_lost_while_closing,
          spawn_while_stopping, of_a_client_in_its_own, failure_is_its_owners, who_is_told, freezing,
          frozen_before_it_is_there, opened_below_a_frozen_actor, not_before_it_runs, no_file_s, limits_that_cannot_be_had, bounds, killed_client, stop_with_all_of_it,
          out_of_descriptors, of_a_root_whose_number_was_used])
