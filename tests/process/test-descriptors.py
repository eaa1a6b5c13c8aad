#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""No descriptors left, in the supervisor, the keeper or the logger. Each time: the loop serves on, what fails says why, nothing spins, and
once there are some again all is well.

No other test runs beside this one: a limit on a process's descriptors holds for those under way as well, and of these the kernel
counts what all processes of the user have sent."""

import contextlib
import os
import resource
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from faults import NOFILE, descriptors, idle, limited, prompt, spawn, without_journal  # noqa: E402
from tractor import (BAD_ACTOR, LIMIT, Connection, RpcError, expect_error, gone, kill, main, program, sleeper,  # noqa: E402
                     tractor)

EMFILE = 24


def no_descriptors_for_connections(backend):
    """The supervisor's have run out: newcomers are told so, what is served is served, and all recovers."""
    with tractor(backend) as t:
        t.load(children=[sleeper("a"), sleeper("b")], intensity={"max_restarts": 1000, "within_ms": 1000})
        supervisor, keeper = t.status["pid"], t.status["keeper_pid"]
        old = limited(supervisor, NOFILE, 64)
        crowd, refused = [], None
        while len(crowd) < 100 and not refused:
            c = Connection(t.path)
            c.sock.settimeout(3)
            crowd.append(c)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                c.request("supervisor.ping")
            answer = c.receive()
            refused = answer if "error" in answer else None
        assert refused and refused["error"]["code"] == -32011, refused
        assert "descriptor" in refused["error"]["message"], refused
        told = subprocess.run([program("tractorctl"), "--socket", t.path, "tree"], capture_output=True, text=True)
        assert told.returncode == 5 and "out of descriptors" in told.stderr, told
        prompt(t, 10)
        # What runs is restarted and stopped, or told to be out of descriptors: nothing else.
        try:
            spawn(t, "late")
            t.call("actor.cancel", path="/t/late")
        except RpcError as error:
            assert error.code == -32012 and error.data["errno"] == EMFILE, (error, error.data)
        idle([supervisor, keeper])
        for c in crowd:
            c.close()
        t.call("supervisor.ping")
        c = t.connect()
        assert c.call("supervisor.ping") == {}
        spawn(t, "later")
        assert {t.get(f"/t/{n}")["state"] for n in ("a", "b", "later")} == {"ready"}
        limited(supervisor, NOFILE, old[0])


def no_descriptors_for_actors(backend):
    """Spawned until there is no more: a refusal that says so, an idle loop, those there live on and can be ended, a
    newcomer is heard at the latest when one has ended."""
    with tractor(backend) as t:
        t.load(children=[], intensity={"max_restarts": 1000, "within_ms": 1000})
        supervisor, keeper = t.status["pid"], t.status["keeper_pid"]
        limited(supervisor, NOFILE, 64)
        names, error = [], None
        while len(names) < 64 and not error:
            try:
                name = f"n{len(names)}"
                spawn(t, name, exec=[BAD_ACTOR, "ignore-term", "hang"], grace_ms=100, stdout="null", stderr="null")
                names.append(name)
            except RpcError as e:
                error = e
        assert error.code == -32012 and error.data["errno"] == EMFILE, (error, error.data)
        assert len(names) >= 10, len(names)
        assert error.data["step"] in ("clone", "spec", "stdio", "hold"), error.data
        assert all(child["state"] == "ready" for child in t.get("/t")["children"]), t.get("/t")
        prompt(t)
        c, d = Connection(t.path), Connection(t.path)  # a start takes more than a connection: one may find room
        idle([supervisor, keeper])
        assert d.receive()["error"]["code"] == -32011
        c.close()
        pid = t.pid("/t/n0")
        exit_ = t.call("actor.cancel", path="/t/n0")["exit"]  # asked, told, killed: needs descriptors of its own
        assert exit_["signal"] == "SIGKILL" and gone(pid), exit_
        assert spawn(t, "again", stdout="null", stderr="null")["pid"]
        t.call("actor.cancel", path="/t/n1")
        t.call("actor.cancel", path="/t/n2")
        assert t.connect().call("supervisor.ping") == {}


def nothing_left_at_all(backend):
    """Not even the last reserve: whatever needs a descriptor fails, nothing is believed to be gone that lives, nothing
    spins, and everything is in order once there are some again."""
    with tractor(backend) as t:
        events = t.events()
        t.load(intensity={"max_restarts": 1000, "within_ms": 1000},
               children=[sleeper("a", backoff={"initial_ms": 50, "max_ms": 200}), sleeper("b"), sleeper("c")])
        supervisor, keeper = t.status["pid"], t.status["keeper_pid"]
        a, b, c = (t.pid(f"/t/{n}") for n in "abc")
        old = limited(supervisor, NOFILE, 3)
        kill(a)
        events.wait(lambda e: e["path"] == "/t/a" and e["event"] == "exited")
        error = expect_error(-32012, spawn, t, "new")
        assert error.data["errno"] == EMFILE, error.data
        prompt(t)
        newcomer = Connection(t.path)
        ident = newcomer.request("supervisor.ping")
        idle([supervisor, keeper])
        assert t.pid("/t/b") == b and t.pid("/t/c") == c
        limited(supervisor, NOFILE, old[0])
        assert newcomer.answer(ident) == {}
        deadline = time.monotonic() + LIMIT
        while t.get("/t/a")["state"] != "ready":
            assert time.monotonic() < deadline, t.get("/t/a")
            events.next()
        assert t.pid("/t/a") != a
        assert t.pid("/t/b") == b
        t.call("actor.cancel", path="/t/b")
        spawn(t, "new")


def keeper_without_descriptors(backend):
    with tractor(backend) as t:
        t.load(children=[sleeper("a")], intensity={"max_restarts": 1000, "within_ms": 1000})
        supervisor, keeper = t.status["pid"], t.status["keeper_pid"]
        old = limited(keeper, NOFILE, descriptors(keeper) + 1)
        error = expect_error(-32012, spawn, t, "b")
        assert error.data["step"] == "clone" and error.data["errno"] == EMFILE, error.data
        prompt(t)
        idle([supervisor, keeper])
        t.call("actor.cancel", path="/t/a")
        limited(keeper, NOFILE, old[0])
        spawn(t, "b")
        # A supervisor that dies meanwhile has its successor at the latest when there are descriptors again.
        limited(keeper, NOFILE, 3)
        kill(supervisor)
        with contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                t.main.receive()
        idle([keeper])
        limited(keeper, NOFILE, old[0])
        t.main = t.connect()
        assert t.call("supervisor.status")["keeper_pid"] == keeper
        t.load(children=[sleeper("a")])


def crowd_without_descriptors(backend):
    """Many answers of the keeper at once, and no descriptors for what comes along: the newcomers fail, nobody else."""
    with tractor(backend) as t:
        t.load("old", children=[sleeper(f"o{i}") for i in range(5)])
        pids = {f"o{i}": t.pid(f"/old/o{i}") for i in range(5)}
        supervisor = t.status["pid"]
        old = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
        used = max(int(fd) for fd in os.listdir(f"/proc/{supervisor}/fd"))
        for spare in (4, 8, 12, 20, 30):
            resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (used + spare, old[1]))
            error = expect_error(-32014, t.load, intensity={"max_restarts": 0, "within_ms": 1000},
                                 children=[sleeper(f"n{i}") for i in range(60)])
            assert any(c["data"].get("errno") == 24 for c in error.data["causes"]), error.data
            resource.prlimit(supervisor, resource.RLIMIT_NOFILE, old)
            assert {n: t.pid(f"/old/{n}") for n in pids} == pids
            assert t.call("supervisor.status")["actors"] == 5
        t.load(children=[sleeper(f"n{i}") for i in range(60)])


def no_descriptors_for_pipes(backend):
    """A start that can have none is refused and says so; what others say is kept; all is well once there are some."""
    without_journal()
    with tractor(backend) as t:
        t.load(children=[], intensity={"max_restarts": 1000, "within_ms": 1000})
        old = limited(t.status["pid"], NOFILE, 64)
        names, error = [], None
        while len(names) < 64 and not error:
            try:
                spawn(t, f"n{len(names)}", exec=["sh", "-c", "echo here; sleep 1000"])
                names.append(f"n{len(names)}")
            except RpcError as e:
                error = e
        assert error.code == -32012 and error.data["errno"] == EMFILE, (error, error.data)
        assert len(names) >= 5, names
        for name in names:
            t.await_output(f"/t/{name}", lambda said: said == [("stdout", "here")])
        prompt(t)
        limited(t.status["pid"], NOFILE, old[0])
        spawn(t, "again", exec=["sh", "-c", "echo here; sleep 1000"])
        t.await_output("/t/again", lambda said: said == [("stdout", "here")])


def logger_without_descriptors(backend):
    """It asks to be asked again, and takes what waited in the pipe meanwhile."""
    without_journal()
    with tractor(backend) as t:
        t.load(children=[])
        spawn(t, "x", exec=["sh", "-c", "echo up; sleep 1000"])
        t.await_output("/t/x", lambda said: said)
        logger = t.logger()
        old = limited(logger, NOFILE, descriptors(logger) + 1)
        spawn(t, "y", exec=["sh", "-c", "echo waits; sleep 1000"])
        t.await_log("the logger has no descriptor free for t+y.log")
        prompt(t)
        limited(logger, NOFILE, old[0])
        t.await_output("/t/y", lambda said: said == [("stdout", "waits")])


if __name__ == "__main__":
    main([no_descriptors_for_connections, no_descriptors_for_actors, nothing_left_at_all, keeper_without_descriptors,
          crowd_without_descriptors, no_descriptors_for_pipes, logger_without_descriptors])
