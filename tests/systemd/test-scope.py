#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The scope backend against a real systemd and journald: names, outside stops, faults of the bus, crash records."""

import glob
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import BAD_ACTOR, Tractor, gone, kill, main, sleeper, tractor  # noqa: E402


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def show(unit, *properties):
    lines = run("systemctl", "show", unit, *(f"-p{p}" for p in properties)).splitlines()
    return dict(line.split("=", 1) for line in lines)


def journal(*matches):
    run("journalctl", "--sync")
    out = run("journalctl", "-ojson", "--no-pager", *matches)
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def names(backend):
    with tractor(backend) as t:
        instance = t.status["instance"]
        t.load("shop", description="A shop", children=[
            {"name": "web", "children": [sleeper("api-1", description="front")]}, sleeper("a" * 40)])
        node = t.get("/shop/web/api-1")
        assert node["unit"] == f"tractor-{instance}-shop-web-api\\x2d1-1.scope", node["unit"]
        got = show(node["unit"], "ActiveState", "Slice", "Description", "OOMPolicy", "ControlGroup")
        assert got["ActiveState"] == "active" and got["OOMPolicy"] == "continue", got
        assert got["Slice"] == f"tractor-{instance}-shop-web-api\\x2d1.slice", got
        assert "/shop/web/api-1" in got["Description"], got
        assert open(f"/proc/{node['pid']}/cgroup").read().strip().endswith(got["ControlGroup"])
        long = t.get("/shop/" + "a" * 40)["unit"]
        assert "aaaaaaaaaaaa_" in long and len(long) < 100, long
        slices = run("systemctl", "list-units", "--plain", "--no-legend", f"tractor-{instance}-*.slice").splitlines()
        assert len(slices) == 4, slices
        t.call("tree.unload", path="/shop")


def generations(backend):
    """A restart makes the next scope in the same slice; what the last one used is still told."""
    with tractor(backend) as t:
        events = t.events()
        t.load(children=[sleeper("a")])
        first = t.get("/t/a")
        kill(first["pid"])
        events.wait(lambda e: e["event"] == "exited")
        events.state("/t/a", "ready")
        second = t.get("/t/a")
        assert first["unit"].endswith("-1.scope") and second["unit"].endswith("-2.scope"), (first, second)
        assert first["id"] != second["id"]


def stops():
    """Children that die of the stop signal, end well, end badly, are asked by another one, or do not mind it."""
    return [sleeper("dies", restart="permanent"),
            {"name": "ends", "exec": [BAD_ACTOR, "term-exit=0", "hang"]},
            {"name": "errs", "exec": [BAD_ACTOR, "term-exit=143", "hang"]},
            {"name": "asked", "exec": [BAD_ACTOR, "ignore-term", "hang"], "stop_signal": "SIGUSR1"},
            {"name": "minds", "exec": [BAD_ACTOR, "ignore-term", "hang"], "grace_ms": 300}]


def stopped_from_outside(backend):
    with tractor(backend) as t:
        events = t.events()
        t.load(children=[*stops(), sleeper("other")], intensity={"max_restarts": 0, "within_ms": 1000})
        for generation in range(1, 21):
            for child in stops():
                node = t.get(f"/t/{child['name']}")
                run("systemctl", "stop", node["unit"])
                events.state(node["path"], "dead")
                after = t.get(node["path"])
                assert after["exit"]["cause"] == "stop" and after["generation"] == generation, after
                t.call("actor.restart", path=node["path"])
                assert t.get(node["path"])["state"] == "ready"
        assert t.get("/t/other")["generation"] == 1


def signal_is_no_stop(backend):
    """What systemd has no part in stays the actor's own end, and an end that is asked after costs next to nothing."""
    with tractor(backend) as t:
        events = t.events()
        t.load(children=[sleeper("a", backoff={"initial_ms": 10, "max_ms": 10})],
               intensity={"max_restarts": 1000, "within_ms": 1000})
        took = {signal.SIGTERM: [], signal.SIGKILL: []}
        for i in range(40):
            signo = (signal.SIGTERM, signal.SIGKILL)[i % 2]
            pid = t.pid("/t/a")
            start = time.monotonic()
            kill(pid, signo)
            died = events.wait(lambda e: e["event"] == "exited")
            took[signo].append(time.monotonic() - start)
            assert died["exit"]["cause"] == "signal" and died["exit"]["signal"] == signo.name, died
            events.state("/t/a", "ready")
        asked, own = (sorted(took[s])[10] * 1000 for s in took)
        print(f"   told after {asked:.2f} ms, {own:.2f} ms where nobody is asked", file=sys.stderr)
        assert asked < own + 100, (asked, own)


def slice_stopped_from_outside(backend):
    """All below it are stopped, none is started again."""
    with tractor(backend) as t:
        for i in range(5):
            t.load(children=[{"name": "s", "strategy": "one_for_all", "children": [
                sleeper(f"a{n}", restart="permanent") for n in range(30)]}, sleeper("other")])
            run("systemctl", "stop", f"tractor-{t.status['instance']}-t-s.slice")
            events = t.events()
            children = t.get("/t/s")["children"]
            for child in children:
                if child["state"] != "dead":
                    events.state(child["path"], "dead")
            children = t.get("/t/s")["children"]
            assert [(c["exit"]["cause"], c["generation"]) for c in children] == [("stop", 1)] * 30, children
            assert t.get("/t/other")["state"] == "ready"
            t.call("tree.unload", path="/t")


def keeper_stopped_from_outside(backend):
    """The supervisor ends its trees itself, in their order."""
    for i in range(5):
        t = Tractor(backend)
        events = t.events()
        t.load(children=[sleeper("a"), sleeper("b", depends=["a"]), sleeper("c", depends=["b"]), sleeper("d", depends=["c"])])
        run("systemctl", "stop", f"tractor-{t.status['instance']}.scope")
        ended = [events.wait(lambda e: e["event"] == "exited")["path"] for _ in range(4)]
        assert ended == ["/t/d", "/t/c", "/t/b", "/t/a"], ended
        t.stop()


def crash_record(backend):
    with tractor(backend) as t:
        events = t.events()
        t.load(on_give_up="isolate", intensity={"max_restarts": 0, "within_ms": 1000}, children=[
            {"name": "x", "exec": ["sh", "-c", "echo out; for i in $(seq 30); do echo line $i >&2; done; kill -SEGV $$"]}])
        died = events.wait(lambda e: e["event"] == "exited")
        assert died["exit"]["signal"] == "SIGSEGV", died
        pid = died["exit"]["pid"]
        wait_for = "TRACTOR_EVENT=crashed"
        subprocess.run(["timeout", "10", "sh", "-c", f"journalctl -f -n all {wait_for} | grep -q -m1 SIGSEGV"])
        (record,) = journal("TRACTOR_PATH=/t/x", wait_for)
        assert record["TRACTOR_CAUSE"] == "signal" and record["TRACTOR_SIGNAL"] in ("11", "SIGSEGV"), record
        assert record["OBJECT_PID"] == str(pid), record
        words = record["TRACTOR_STDERR"].splitlines()
        assert words == [f"line {i}" for i in range(11, 31)], words
        for key in ("TRACTOR_TREE", "TRACTOR_ACTOR_ID", "TRACTOR_GENERATION", "TRACTOR_RUNTIME_US", "TRACTOR_CPU_US",
                    "TRACTOR_MEMORY_PEAK", "MESSAGE_ID"):
            assert key in record, key
        instance = t.status["instance"]
        by_unit = journal("-u", f"tractor-{instance}-t-x-1.scope", wait_for)
        assert len(by_unit) == 1, by_unit


def keeper_killed(backend):
    """SIGKILL of the keeper leaves nothing, not even what ignores SIGTERM or has left its session."""
    with tempfile.TemporaryDirectory() as d:
        t = Tractor(backend)
        t.load(children=[
            {"name": "a", "exec": [BAD_ACTOR, "ignore-term", f"double-fork={d}/pid", f"touch={d}/up", "hang"],
             "ready": {"file": f"{d}/up"}},
            sleeper("b")])
        pids = [t.pid("/t/a"), t.pid("/t/b"), int(open(f"{d}/pid").read()), t.status["pid"]]
        t.process.kill()
        t.process.wait()
        for pid in pids:
            assert gone(pid), pid


def reexec_during_starts(backend):
    """Each start ends running or failed with a reason, and systemd agrees."""
    with tractor(backend) as t:
        connection = t.connect()
        ident = connection.request("tree.load", {"tree": {"tractor": 1, "name": "t", "children": [
            sleeper(f"s{i}") for i in range(60)]}})
        run("systemctl", "daemon-reexec")
        connection.answer(ident)
        agree(t, 60)


def agree(t, n):
    tree = t.get("/t")
    running = [c for c in tree["children"] if c["state"] == "ready"]
    assert len(running) == n, {c["path"]: c["state"] for c in tree["children"]}
    active = run("systemctl", "list-units", "--state=active", "--plain", "--no-legend", "tractor-*.scope").split()
    for node in running:
        assert node["unit"] in active, node
        assert node["unit"] in open(f"/proc/{node['pid']}/cgroup").read()


def many_at_once(backend):
    """More than a bus connection may have unanswered calls: none is lost."""
    with tractor(backend) as t:
        t.load(children=[sleeper(f"s{i}") for i in range(400)])
        agree(t, 400)


def thirty_levels(backend):
    with tractor(backend) as t:
        node = sleeper("leaf")
        for i in range(28):
            node = {"name": f"l{i}", "children": [node]}
        t.load(children=[node])
        path = "/t/" + "/".join(f"l{i}" for i in reversed(range(28))) + "/leaf"
        assert t.get(path)["state"] == "ready"


def nothing_left(backend):
    """After a tree and its owner are gone there is no unit, no failed one either, and no cgroup."""
    with tractor(backend) as t:
        instance = t.status["instance"]
        t.load(children=[sleeper("a"), {"name": "x", "exec": ["false"], "restart": "temporary"}])
        t.call("tree.unload", path="/t")
    left = run("systemctl", "list-units", "--all", "--plain", "--no-legend", f"tractor-{instance}*")
    assert left == "", left
    assert glob.glob(f"/sys/fs/cgroup/**/tractor-{instance}*", recursive=True) == []


if __name__ == "__main__":
    main([names, generations, stopped_from_outside, signal_is_no_stop, slice_stopped_from_outside,
          keeper_stopped_from_outside, crash_record, keeper_killed, reexec_during_starts,
          many_at_once, thirty_levels, nothing_left])
