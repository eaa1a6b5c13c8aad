#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Clients from outside against the real supervisor: the scripts that docs/clients.md shows, and the Python package."""
import asyncio
import importlib.util
import os
import shutil
import signal
import subprocess
import sys

SOURCE = os.environ.get("TRACTOR_TEST_SOURCE") or os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
PACKAGE = os.path.join(SOURCE, "contrib/python")
EXAMPLES = os.path.join(SOURCE, "docs/examples")
sys.dont_write_bytecode = True


def load_harness():
    """tests/harness/tractor.py, which has the package's name."""
    spec = importlib.util.spec_from_file_location("harness", os.path.join(SOURCE, "tests/harness/tractor.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


harness = load_harness()
sys.path.insert(0, PACKAGE)
sys.path.append(os.path.join(SOURCE, "tests/harness"))

import node as node_scripts  # noqa: E402
import tractor  # noqa: E402
from tractor import aio  # noqa: E402

SHOWN = {"watch.py": "python", "watch_async.py": "python", "actor.py": "python", "ask.sh": "sh", "node/watch.mjs": "js"}


def run(t, *command, cwd=None):
    """What a script prints when it talks to this supervisor."""
    env = dict(os.environ, TRACTOR_SOCKET=t.path, PYTHONPATH=PACKAGE, PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          timeout=harness.LIMIT, text=True)
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stdout}"
    assert not t.get("/").get("children"), "a tree was left"
    return done.stdout.splitlines()


def needs(*programs):
    for program in programs:
        if not shutil.which(program):
            harness.skip(f"there is no {program}")


def fails(kind, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} from {function} {args}")


# --- what the manual shows ---------------------------------------------------------------------------------------------

def shown_is_what_runs(backend):
    text = open(os.path.join(SOURCE, "docs/clients.md"), encoding="utf-8").read()
    for name, language in SHOWN.items():
        script = open(os.path.join(EXAMPLES, name), encoding="utf-8").read()
        assert f"```{language}\n{script}```" in text, f"docs/clients.md does not show {name} as it is"


def python(backend):
    with harness.tractor(backend) as t:
        out = run(t, sys.executable, os.path.join(EXAMPLES, "watch.py"))
        assert out[:2] == ["ended: signal SIGKILL, cause signal", "runs again: True"] and "SpawnFailed" in out[2], out


def python_asyncio(backend):
    with harness.tractor(backend) as t:
        out = run(t, sys.executable, os.path.join(EXAMPLES, "watch_async.py"))
        assert sorted(out[:3]) == [f"started /from-asyncio/{c}" for c in "abc"], out
        assert out[3:] == ["ended: SIGTERM SIGTERM SIGTERM"], out


def shell(backend):
    needs("socat")
    with harness.tractor(backend) as t:
        out = run(t, os.path.join(EXAMPLES, "ask.sh"))
        assert len(out) == 6 and '"state":"ready"' in out[2] and out[4] == "as expected", out


def node(backend):
    needs("node", "npm")
    folder = node_scripts.install(harness.BUILD, os.path.join(EXAMPLES, "node"), "node")
    with harness.tractor(backend) as t:
        out = run(t, "node", "watch.mjs", cwd=folder)
        assert out == ["ended: SIGKILL", "runs again: ready", "the subscription ended: Cancelled"], out


# --- the package -------------------------------------------------------------------------------------------------------

def actor(backend):
    with harness.tractor(backend) as t, tractor.Client(t.path) as client:
        client.load(actor_tree(os.path.join(EXAMPLES, "actor.py")))
        node = client.tree("/t/a")
        assert node["state"] == "ready" and node["status"] == "adding and doubling"
        for portal in (client.connect("/t/a"), client.attach("/t/a")):
            use(portal)
        # It ended by itself when it was asked by $/cancel: a signal would have told on it.
        end = client.cancel("/t/a")
        assert end.code == 0 and end.signal is None and end.cause == "stop", end


def portals_end(backend):
    """Who holds a portal learns why it ended: who cancelled the actor, or how it died."""
    with harness.tractor(backend) as t, tractor.Client(t.path) as client:
        client.load(actor_tree(os.path.join(SOURCE, "tests/process/python-actor.py")))
        portals = [client.connect("/t/a"), client.attach("/t/a")]
        streams = [p.open("forever") for p in portals]
        os.kill(client.tree("/t/a")["pid"], signal.SIGKILL)
        for stream in streams:
            assert fails(tractor.ActorDied, stream.result).exit.signal == "SIGKILL"
        assert client.wait_for("a", deadline=harness.LIMIT)["path"] == "/t/a"
        portals += [client.connect("/t/a"), client.attach("/t/a")]
        streams = [p.open("forever") for p in portals[2:]]
        client.cancel("/t/a", "enough")
        for stream in streams:
            error = fails(tractor.Cancelled, stream.result)
            assert error.canceller == f"@client/{os.getpid()}" and error.data["reason"] == "enough"
        for portal in portals:
            portal.close()


def actor_tree(script):
    return {"tractor": 1, "name": "t", "children": [{
        "name": "a", "exec": [sys.executable, script], "channel": "fd", "ready": "channel", "watchdog_ms": 10000,
        "start_timeout_ms": 60000, "grace_ms": 30000, "env": {"PYTHONPATH": PACKAGE, "PYTHONDONTWRITEBYTECODE": "1"}}]}


def use(portal):
    with portal:
        assert portal.call("add", [1, 2]) == 3 and portal.methods() == ["add", "double"]
        with portal.open("double", {"limit": 200}) as stream:
            for i in range(100):
                stream.send(i)
                assert stream.receive() == 2 * i
            stream.stop()
            assert stream.result() == 100


def client_methods(backend):
    with harness.tractor(backend) as t, tractor.Client(t.path) as client:
        client.ping(deadline=10)
        assert client.status()["backend"] == backend and client.connection._machine.peer_hello["path"] == "/"
        assert client.load({"tractor": 1, "name": "t", "children": [{"name": "a", "exec": ["sleep", "1000"]}]}) == "/t"
        spawned = client.spawn("/t", "b", ["sleep", "1000"], want=["pidfd"], restart="temporary")
        pidfd = spawned.fds["pidfd"]
        signal.pidfd_send_signal(pidfd, 0)
        assert spawned.pid == client.tree("/t/b")["pid"] and spawned.path == "/t/b"
        os.close(pidfd)
        assert [n["path"] for n in tractor.actors(client.tree())] == ["/t/a", "/t/b"]
        os.close(client.spawn("/t", "p", ["sleep", "1000"], want=["portal"], channel="fd").fds["portal"])
        client.freeze("/t/a")
        assert client.tree("/t/a")["frozen"]
        client.thaw("/t/a")
        before = client.tree("/t/a")["id"]
        client.restart("/t/a")
        assert client.tree("/t/a")["id"] != before
        end = client.cancel("/t/b", "no longer needed", grace=5)
        assert (end.signal, end.cause, end.code) == ("SIGTERM", "stop", None)
        client.unload("/t")
        assert not client.tree().get("children")


def client_errors(backend):
    with harness.tractor(backend) as t, tractor.Client(t.path) as client:
        client.load({"tractor": 1, "name": "t", "children": []})
        assert fails(tractor.NoSuchActor, client.tree, "/no").actor == "/no"
        fails(tractor.AlreadyExists, client.load, {"tractor": 1, "name": "t", "children": []})
        fails(tractor.MethodNotFound, client.call, "no.such")
        error = fails(tractor.SpawnFailed, client.spawn, "/t", "x", ["/no/such"], restart="temporary")
        assert (error.step, error.errno) == ("exec", 2)
        assert {p["pointer"] for p in client.validate({"tractor": 1, "name": "t", "childs": []})} == {"", "/childs"}
        fails(tractor.InvalidRequest, client.call, "events.subscribe")
        fails(ValueError, client.call, "tree.get", {"path": "\ud800"})
        error = fails(tractor.NoSupervisor, tractor.Client(t.path + "-not").ping)
        assert isinstance(error, tractor.ConnectionLost)
        # A deadline takes out again what was being started.
        never = {"name": "x", "exec": ["sleep", "1000"], "ready": "notify", "start_timeout_ms": 600000}
        with client.events("/late") as events:
            fails(tractor.DeadlineExceeded, client.load, {"tractor": 1, "name": "late", "children": [never]}, deadline=0.5)
            assert next(e for e in events if e["event"] == "removed" and e["path"] == "/late")


def many_nodes(backend):
    """A tree that passes the bounds of one reply comes whole all the same."""
    with harness.tractor(backend) as t, tractor.Client(t.path) as client:
        for name in ("wide", "other"):
            children = [{"name": f"c{i}", "children": []} for i in range(3500)]
            client.load({"tractor": 1, "name": name, "children": children})
        assert "more" in str(client.call("tree.get"))
        root = client.tree()
        assert {n["path"]: len(n["children"]) for n in root["children"]} == {"/wide": 3500, "/other": 3500}
        assert "'more'" not in str(root)


def events_of_a_slow_reader(backend):
    with harness.tractor(backend) as t, tractor.Client(t.path) as client:
        client.load({"tractor": 1, "name": "t", "children": [{"name": "a", "exec": ["sleep", "1000"]}]})
        with client.events("/t", window=4) as events:
            for _ in range(100):
                client.freeze("/t/a")
                client.thaw("/t/a")
            assert next(events)["event"] == "frozen" and next(events)["event"] == "thawed"
            client.call("supervisor.ping")  # by its answer our credit has arrived
            seqs = [events.value["seq"] + 1, events.value["seq"] + 2]
            client.unload("/t")
            client.load({"tractor": 1, "name": "t", "children": []})
            for event in events:
                seqs.append(event["seq"])
                if event["seq"] > events.value["seq"] + 200:
                    break
            assert seqs == sorted(set(seqs))
            assert events.lost == seqs[-1] - events.value["seq"] - len(seqs), (events.lost, events.value, seqs)


def the_supervisor_dies(backend):
    with harness.tractor(backend) as t, tractor.Client(t.path) as client:
        client.load({"tractor": 1, "name": "t", "children": [{"name": "a", "exec": ["sleep", "1000"]}]})
        pid = client.status()["pid"]
        with client.events() as events:
            os.kill(pid, signal.SIGKILL)
            fails(tractor.ConnectionLost, list, events)
        # The same client finds its successor.
        assert client.status()["pid"] != pid


def asyncio_client(backend):
    with harness.tractor(backend) as t:
        asyncio.run(asyncio.wait_for(at_once(t.path), harness.LIMIT))


async def at_once(path):
    async with aio.Client(path) as client:
        assert client.path == path
        await client.load({"tractor": 1, "name": "t", "children": []})
        async with await client.events("/t") as events:
            names = [f"c{i}" for i in range(10)]
            spawned = await asyncio.gather(*(client.spawn("/t", n, ["sleep", "1000"]) for n in names))
            assert sorted(s.path for s in spawned) == [f"/t/{n}" for n in names]
            ready = set()
            async for event in events:
                if event["event"] == "state" and event["to"] == "ready" and event["kind"] == "actor":
                    ready.add(event["path"])
                if len(ready) == 10:
                    break
        # To give up waiting is to cancel: what was being started is taken out again.
        never = {"name": "x", "exec": ["sleep", "1000"], "ready": "notify", "start_timeout_ms": 600000}
        async with await client.events("/late") as events:
            try:
                await asyncio.wait_for(client.load({"tractor": 1, "name": "late", "children": [never]}), 0.5)
                raise AssertionError("it became ready")
            except asyncio.TimeoutError:
                pass
            async for event in events:
                if event["event"] == "removed" and event["path"] == "/late":
                    break
        try:
            await client.cancel("/t/none")
            raise AssertionError("there is none")
        except tractor.NoSuchActor:
            pass
        assert len(tractor.actors(await client.tree())) == 10


if __name__ == "__main__":
    harness.main([shown_is_what_runs, python, python_asyncio, shell, node, actor, portals_end, client_methods, client_errors,
                  many_nodes, events_of_a_slow_reader, the_supervisor_dies, asyncio_client])
