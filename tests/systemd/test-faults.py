#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Faults of systemd, its bus and its journal while trees start, run and stop: each start ends running or failed with
its reason, what we show agrees with what systemd shows five seconds later, nobody waits longer than need be, and all
works again afterwards."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import BAD_ACTOR, LIMIT, RpcError, Tractor, gone, kill, main, sleeper, survivors, tractor  # noqa: E402

STARTS = 40


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def prompt(t, rounds=20, limit=1.0):
    """The loop is not stalled: the slowest answer of many."""
    slowest = 0.0
    for _ in range(rounds):
        start = time.monotonic()
        assert t.call("supervisor.ping") == {}
        slowest = max(slowest, time.monotonic() - start)
    assert slowest < limit, f"a ping took {slowest:.3f} s"


def scopes(t):
    """systemd's scopes of this instance's actors: unit → its active state."""
    lines = run("systemctl", "list-units", "--all", "--plain", "--no-legend",
                f"tractor-{t.status['instance']}-*.scope").splitlines()
    return {line.split()[0]: line.split()[2] for line in lines}


def leaves(node):
    for child in node.get("children", []):
        yield from leaves(child)
    if node["kind"] == "actor":
        yield node


def disagreements(t):
    actors = list(leaves(t.get("/")))
    running = {a["unit"]: a for a in actors if a["state"] in ("starting", "ready", "stopping")}
    known = {unit: state for unit, state in scopes(t).items() if state == "active"}
    wrong = [f"{unit}: only systemd's" for unit in known.keys() - running.keys()]
    wrong += [f"{unit}: only ours" for unit in running.keys() - known.keys()]
    for unit, actor in running.items():
        with contextlib.suppress(FileNotFoundError):
            if unit in open(f"/proc/{actor['pid']}/cgroup").read():
                continue
        wrong.append(f"{unit}: {actor['pid']} is not in it")
    return wrong


def agree(t):
    """Looked at until it is so, at the latest after five seconds. There is no event for that: what would tell of a change
    on systemd's side is the bus that may be dead."""
    deadline = time.monotonic() + 5
    while True:
        wrong = disagreements(t)
        if not wrong or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert not wrong, wrong


def works_again(t):
    t.call("tree.load", tree={"tractor": 1, "name": "after", "children": [sleeper("a")]})
    got = t.call("actor.spawn", parent="/after", name="b", exec=["sleep", "1000"])
    assert got["unit"] in open(f"/proc/{got['pid']}/cgroup").read()
    agree(t)
    t.call("actor.restart", path="/after/a")
    start = time.monotonic()
    t.call("actor.cancel", path="/after/b")
    t.call("tree.unload", path="/after")
    assert time.monotonic() - start < 5, time.monotonic() - start


BUS = {"TRACTOR_FORCE_BUS": "1"}  # else systemd is asked directly, and the bus makes no difference


@contextlib.contextmanager
def bounded_end(backend, env=None):
    """The end of tractord takes no longer for what happened to it."""
    with tractor(backend, env=env) as t:
        yield t
        agree(t)
        start = time.monotonic()
    took = time.monotonic() - start
    print(f"   the end took {took:.2f} s", file=sys.stderr)
    assert took < 4, took


def during_starts(backend, after, fault, env=None):
    """The fault comes when so many of the tree's actors run."""
    with bounded_end(backend, env) as t:
        events = t.events()
        connection = t.connect()
        connection.sock.settimeout(60)
        start = time.monotonic()
        ident = connection.request("tree.load", {"tree": {"tractor": 1, "name": "t", "children": [
            sleeper(f"s{i}", start_timeout_ms=30000) for i in range(STARTS)]}})
        for _ in range(after):
            events.wait(lambda e: e["event"] == "spawned")
        fault()
        prompt(t)
        try:
            connection.answer(ident)
            states = [a["state"] for a in leaves(t.get("/t"))]
            assert states == ["ready"] * STARTS, states
        except RpcError as error:
            assert error.data.get("causes"), error.data
        took = time.monotonic() - start
        print(f"   the starts took {took:.2f} s", file=sys.stderr)
        assert took < 15, took
        agree(t)
        works_again(t)
        with contextlib.suppress(RpcError):
            t.call("tree.unload", path="/t")


def kill_bus():
    run("systemctl", "reset-failed", "dbus.service")  # its starts are limited to five in ten seconds
    run("systemctl", "kill", "-s", "KILL", "dbus.service")


def bus_killed_before_the_first(backend):
    during_starts(backend, 0, kill_bus, BUS)


def bus_killed_in_the_middle(backend):
    during_starts(backend, STARTS // 2, kill_bus, BUS)


def bus_killed_twice(backend):
    def twice():
        daemon = int(run("systemctl", "show", "-PMainPID", "dbus.service"))
        kill_bus()
        assert gone(daemon)
        run("systemctl", "start", "dbus.service")  # unless somebody has needed it; either way it is up again
        assert int(run("systemctl", "show", "-PMainPID", "dbus.service")) not in (0, daemon)
        kill_bus()

    during_starts(backend, 5, twice, BUS)


def reexec_before_the_first(backend):
    during_starts(backend, 0, lambda: run("systemctl", "daemon-reexec"))


def reexec_in_the_middle(backend):
    during_starts(backend, STARTS // 2, lambda: run("systemctl", "daemon-reexec"))


def reexec_in_the_middle_bus(backend):
    during_starts(backend, STARTS // 2, lambda: run("systemctl", "daemon-reexec"), BUS)


def reload_in_the_middle(backend):
    during_starts(backend, 5, lambda: run("systemctl", "daemon-reload"))


def bus_killed_during_stops(backend):
    with bounded_end(backend, BUS) as t:
        t.load(children=[sleeper(f"s{i}") for i in range(STARTS)])
        pids = [a["pid"] for a in leaves(t.get("/t"))]
        connection = t.connect()
        start = time.monotonic()
        ident = connection.request("tree.unload", {"path": "/t"})
        kill_bus()
        connection.answer(ident)
        assert time.monotonic() - start < 5, time.monotonic() - start
        assert all(gone(pid) for pid in pids)
        agree(t)
        works_again(t)


def bus_hangs(backend):
    """A bus that is there and says nothing: what runs is served and ended, what wants to start waits for its return."""
    with bounded_end(backend, BUS) as t:
        t.load(children=[sleeper("a"), sleeper("b", grace_ms=500)])
        a, b = t.pid("/t/a"), t.pid("/t/b")
        run("systemctl", "kill", "-s", "STOP", "dbus.service")
        try:
            connection = t.connect()
            # Its own time has not begun while there is no room for it.
            ident = connection.request("actor.spawn", {"parent": "/t", "name": "c", "exec": ["sleep", "1000"],
                                                       "start_timeout_ms": 1500})
            kill(a)
            prompt(t)
            start = time.monotonic()
            t.call("actor.cancel", path="/t/b")
            assert time.monotonic() - start < 4 and gone(b)
            time.sleep(2)  # it is time itself that is the test: nothing comes of such a bus, and no wait of ours ends
            prompt(t)
        finally:
            run("systemctl", "kill", "-s", "CONT", "dbus.service")
        thawed = time.monotonic()
        pid = connection.answer(ident)["pid"]
        assert t.get("/t/c")["generation"] == 1
        agree(t)
        assert t.pid("/t/a") != a
        events = t.events("/t/c")
        kill(pid)
        exited = events.wait(lambda e: e["event"] == "exited")
        lived = 1000 * (time.monotonic() - thawed)
        assert exited["exit"]["runtime_ms"] < lived + 1000, (exited, lived)  # and not the two seconds it waited before
        works_again(t)


def bus_is_not_needed(backend):
    """Nothing waits for a bus that says nothing where systemd is asked directly."""
    with bounded_end(backend) as t:
        t.load(children=[sleeper("a")])
        a = t.pid("/t/a")
        run("systemctl", "kill", "-s", "STOP", "dbus.service")
        try:
            got = t.call("actor.spawn", parent="/t", name="c", exec=["sleep", "1000"])
            assert got["unit"] in open(f"/proc/{got['pid']}/cgroup").read()
            kill(a)
            t.call("actor.cancel", path="/t/c")
        finally:
            run("systemctl", "kill", "-s", "CONT", "dbus.service")
        agree(t)
        works_again(t)


def await_records(n, event, *matches):
    """Follows the journal until it holds so many records of this kind, or tells of their loss: how many of each."""
    counts = {event: 0, "records-dropped": 0}
    with subprocess.Popen(["journalctl", "-f", "--no-tail", "-ojson", f"TRACTOR_EVENT={event}", *matches],
                          stdout=subprocess.PIPE, text=True) as journal:
        limit = threading.Timer(LIMIT, journal.kill)
        limit.start()
        for record in map(json.loads, journal.stdout):
            counts[record["TRACTOR_EVENT"]] += int(record.get("TRACTOR_DROPPED", 1))
            if sum(counts.values()) >= n:
                break
        limit.cancel()
        journal.kill()
    assert sum(counts.values()) >= n, counts
    return counts


def journald_stopped(backend):
    """600 ends while journald stands still: nobody waits for it, and it gets them, or their number, when it goes on."""
    crashes = 600
    with bounded_end(backend) as t:
        events = t.events()
        run("systemctl", "kill", "-s", "STOP", "systemd-journald.service")
        try:
            t.connect().request("tree.load", {"tree": {
                "tractor": 1, "name": "j", "intensity": {"max_restarts": 10000, "within_ms": 1000}, "children": [
                    {"name": f"n{i}", "exec": ["sh", "-c", "exit 7"], "stdout": "null", "stderr": "null",
                     "backoff": {"initial_ms": 10, "max_ms": 10}} for i in range(20)]}})
            ends, deadline = 0, time.monotonic() + 60
            while ends < crashes:
                assert time.monotonic() < deadline, ends
                ends += events.next()["event"] == "exited"
                events.seen.clear()
                if ends % 100 == 0:
                    prompt(t, 1)
            prompt(t)
            unload = t.connect()
            ident = unload.request("tree.unload", {"path": "/j"})
            start = time.monotonic()
            unload.answer(ident)
            assert time.monotonic() - start < 10, time.monotonic() - start
        finally:
            run("systemctl", "kill", "-s", "CONT", "systemd-journald.service")
        counts = await_records(crashes, "crashed", "TRACTOR_EVENT=records-dropped")
        print(f"   {counts}", file=sys.stderr)
        t.load(children=[{"name": "x", "exec": ["sh", "-c", "echo words >&2; exit 3"], "restart": "temporary"}])
        events.state("/t/x", "failed")
        works_again(t)


def journald_killed(backend):
    """It comes back by itself; what is written meanwhile is there afterwards."""
    with bounded_end(backend) as t:
        events = t.events()
        t.load(children=[sleeper("a", backoff={"initial_ms": 10, "max_ms": 10})],
               intensity={"max_restarts": 1000, "within_ms": 1000})
        run("systemctl", "kill", "-s", "KILL", "systemd-journald.service")
        for _ in range(20):
            kill(t.pid("/t/a"))
            events.wait(lambda e: e["event"] == "exited")
            events.state("/t/a", "ready")
        prompt(t)
        await_records(20, "crashed", "TRACTOR_PATH=/t/a")


def both_killed(backend):
    """Keeper and supervisor at once: PID 1 ends what is bound to their unit, also what PDEATHSIG does not reach."""
    with tempfile.TemporaryDirectory() as d:
        t = Tractor(backend)
        t.load(children=[sleeper("a"), {
            "name": "b", "exec": [BAD_ACTOR, "ignore-term", f"double-fork={d}/pid", f"touch={d}/up", "hang"],
            "grace_ms": 500, "ready": {"file": f"{d}/up"}}])
        pids = [t.pid("/t/a"), t.pid("/t/b"), int(open(f"{d}/pid").read())]
        kill(t.status["pid"], signal.SIGSTOP)
        t.process.kill()
        t.process.wait()
        kill(t.status["pid"])
        assert all(gone(pid) for pid in pids)
        assert survivors(t.status["instance"]) == []
        with tractor(backend, args=[f"--instance={t.status['instance']}"]) as successor:  # and sweeps the slices
            successor.load(children=[sleeper("a")])


if __name__ == "__main__":
    main([bus_killed_before_the_first, bus_killed_in_the_middle, bus_killed_twice, reexec_before_the_first,
          reexec_in_the_middle, reexec_in_the_middle_bus, reload_in_the_middle, bus_killed_during_stops, bus_hangs,
          bus_is_not_needed, journald_stopped, journald_killed, both_killed])
