#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tractorctl whose connection is cut at chosen points, by a proxy: it connects anew and repeats what it asked, and what
it asked is done once."""

import contextlib
import json
import os
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from proxy import cutting  # noqa: E402
from tractor import LIMIT, await_change, gone, kill, main, program, sleeper, tractor  # noqa: E402

CTL = program("tractorctl")


def noting(t, name):
    """A command that leaves one character a start in a file; and how many there are."""
    path = os.path.join(t.dir, f"starts-{name}")

    def starts():
        return await_change(t.dir, lambda: os.path.exists(path) and os.path.getsize(path))
    return ["/bin/sh", "-c", f"printf x >>{path}; exec sleep 1000"], starts


def write_tree(t, *children):
    path = os.path.join(t.dir, "w.json")
    with open(path, "w") as f:
        json.dump({"tractor": 1, "name": "w", "children": list(children)}, f)
    return path


def ctl(path, *args, code=0):
    r = subprocess.run([CTL, "--socket", path, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, timeout=LIMIT)
    assert r.returncode == code, f"{args}: {r.returncode}, not {code}: {r.stdout}{r.stderr}"
    return r


def cut_points(method):
    """Before the request goes on, amid it, after it (the answer never comes), amid the answer."""
    def request_cut(n):
        return lambda direction, data: n(data) if direction == "up" and method.encode() in data else None
    state = {}

    def answer_cut(n):
        def cut(direction, data):
            if direction == "up" and method.encode() in data:
                state["asked"] = True
            return n(data) if direction == "down" and state.get("asked") else None
        return cut
    yield "before", request_cut(lambda data: 0)
    yield "amid the request", request_cut(lambda data: len(data) // 2)
    yield "after", request_cut(len)
    state.clear()
    yield "before the answer", answer_cut(lambda data: 0)
    state.clear()
    yield "amid the answer", answer_cut(lambda data: len(data) // 2)


def repeats(backend):
    with tractor(backend) as t:
        t.load(children=[])
        t.call("actor.spawn", parent="/t", **sleeper("r"))
        for i, (where, cut) in enumerate(cut_points("actor.spawn")):
            command, starts = noting(t, f"x{i}")
            with cutting(t.path, cut) as p:
                r = ctl(p.path, "spawn", "/t", f"x{i}", "--", *command)
                assert p.cuts == 1 and p.connections == 2, where
                assert f"/t/x{i}" in r.stdout and r.stderr == "", (where, r)  # no terminal, no progress
            assert starts() == 1, where
            pid = t.pid(f"/t/x{i}")
            assert str(pid) in r.stdout, where
        for i, (where, cut) in enumerate(cut_points("actor.cancel")):
            with cutting(t.path, cut) as p:
                r = ctl(p.path, "cancel", f"/t/x{i}")
                assert p.cuts == 1 and "SIGTERM" in r.stdout, (where, r.stdout)
        for where, cut in cut_points("actor.restart"):
            generation = t.get("/t/r")["generation"]
            with cutting(t.path, cut) as p:
                ctl(p.path, "restart", "/t/r")
                assert p.cuts == 1 and t.get("/t/r")["generation"] == generation + 1, where
        path = write_tree(t, sleeper("a"))
        for where, cut in cut_points("tree.load"):
            with cutting(t.path, cut) as p:
                assert ctl(p.path, "load", path).stdout == "/w\n" and p.cuts == 1, where
            with cutting(t.path, lambda direction, data: len(data) if b"tree.unload" in data else None) as p:
                ctl(p.path, "unload", "/w")
                assert p.cuts == 1, where
        for where, cut in cut_points("tree.get"):
            with cutting(t.path, cut) as p:
                assert "/t/r" in ctl(p.path, "list").stdout and p.cuts == 1, where


def successor(backend):
    """The supervisor dies over a request: what is not known is said, and nothing is done twice."""
    with tractor(backend) as t:
        path = write_tree(t, sleeper("n", ready={"command": ["false"]}, start_timeout_ms=60000))
        events = t.events()
        c = subprocess.Popen([CTL, "--socket", t.path, "load", path], stderr=subprocess.PIPE, text=True)
        events.state("/w/n", "starting")
        kill(t.status["pid"])
        _, said = c.communicate(timeout=LIMIT)
        assert c.returncode == 1 and "not known" in said and said.count("\n") == 1, (c.returncode, said)
        assert t.connect().call("tree.get")["children"] == []
        events.close()
        t.main = t.connect()
        t.status = t.call("supervisor.status")


def gives_up(backend):
    """Nobody comes back: the end is in bounded time and says so; and on a terminal, that it was tried."""
    with tractor(backend) as t:
        t.load(children=[sleeper("a")])

        def cut(direction, data):
            if b"actor.restart" not in data:
                return None
            p.listening.shutdown(socket.SHUT_RDWR)
            return 0
        with cutting(t.path, cut) as p:
            ours, theirs = os.openpty()
            c = subprocess.Popen([CTL, "--socket", p.path, "restart", "/t/a"], stdout=subprocess.DEVNULL, stderr=theirs)
            os.close(theirs)
            assert c.wait(LIMIT) == 5
            said = ""
            with contextlib.suppress(OSError):  # EIO is how a terminal ends
                while data := os.read(ours, 4096):
                    said += data.decode()
            os.close(ours)
        assert "reconnecting..." in said and "connection to the supervisor was lost; try" in said, said
        assert t.get("/t/a")["generation"] == 1


if __name__ == "__main__":
    main([repeats, successor, gives_up])
