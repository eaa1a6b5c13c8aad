#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tractorctl tasks: what an actor says of its tasks, as a tree."""
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from ctl import columns, running  # noqa: E402
from screen import Screen  # noqa: E402
from tractor import main, sleeper  # noqa: E402

ACTOR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers", "tasks-actor.py")
TASKS = [
    {"id": 1, "name": "main", "state": "parked", "wait": "join of a nursery", "nursery": None, "stack": ["#0 join (nursery.c:7)"]},
    {"id": 2, "name": "server", "state": "running", "wait": None, "nursery": 1, "stack": []},
    {"id": 4, "name": "job", "state": "parked", "wait": "sleep 1.2 s", "nursery": 3, "stack": ["#0 a (a.c:1)", "#1 b (b.c:2)"]},
    {"id": 3, "name": "clock", "state": "ready", "wait": None, "nursery": 1, "stack": ["#0 tick (clock.c:9)"]},
]


def actor(name, *arguments, **keys):
    return {"name": name, "exec": [sys.executable, ACTOR, *arguments], "channel": "fd", "ready": "channel", **keys}


def answer(name, value):
    return actor(name, json.dumps(value))


def in_a_pipe(backend):
    with running({"children": [answer("a", TASKS)]}, backend) as r:
        assert columns(r.ctl("tasks", "/t/a")) == [
            ["main", "1", "parked", "join of a nursery", "-", "#0 join (nursery.c:7)"],
            ["server", "2", "running", "-", "1", "-"],
            ["clock", "3", "ready", "-", "1", "#0 tick (clock.c:9)"],
            ["job", "4", "parked", "sleep 1.2 s", "3", "#0 a (a.c:1) < #1 b (b.c:2)"]]
        assert json.loads(r.ctl("--json=short", "tasks", "/t/a")) == TASKS


def on_a_terminal(backend):
    with running({"children": [answer("a", TASKS)]}, backend) as r:
        screen = Screen("--socket", r.socket, "tasks", "/t/a")
        assert screen.end() == 0
        lines = [line.rstrip() for line in re.sub("\33\\[[0-9;]*m", "", screen.text).splitlines()]
        assert lines[0].split("  ")[0] == "TASK", lines
        assert [line.split(" " * 3)[0] if not line.startswith(" ") else line for line in lines[1:3]] == [
            "main", "    #0 join (nursery.c:7)"], lines
        for line in ("  server ", "  clock ", "      #0 tick (clock.c:9)", "    job ", "        #1 b (b.c:2)"):
            assert any(shown.startswith(line) for shown in lines), (line, lines)


def of_any_shape(backend):
    """Each task is shown once, whatever the answer says of who belongs to whom."""
    odd = [{"id": 1, "nursery": 2, "name": "ring"}, {"id": 2, "nursery": 1, "name": "ring"}, {"id": 3, "nursery": 3, "name": "self"},
           {"id": 3, "nursery": 99, "name": "twin", "stack": {"no": "array"}}, 7, None, {"name": "a\33[1m\tb", "state": [], "stack": [1]}]
    deep = [{"id": i, "nursery": i - 1} for i in range(2000)]
    with running({"children": [answer("odd", odd), answer("deep", deep), answer("none", []), answer("wrong", {})]}, backend) as r:
        names = [line[0] for line in columns(r.ctl("tasks", "/t/odd"))]
        assert sorted(names) == sorted(["ring", "ring", "self", "twin", "?", "?", "a\\x1b[1m\\x09b"]), names
        assert len(columns(r.ctl("tasks", "/t/deep"))) == 2000
        assert r.ctl("tasks", "/t/none") == ""
        assert "instead of its tasks" in r.ctl("tasks", "/t/wrong", code=1)


def without(backend):
    with running({"children": [actor("a"), sleeper("plain")]}, backend) as r:
        assert "/t/a has no tasks to show: it is not built on libtractor" in r.ctl("tasks", "/t/a", code=1)
        r.ctl("tasks", "/t/plain", code=1)
        r.ctl("tasks", "/t/nobody", code=3)
        r.ctl("tasks", code=2)


if __name__ == "__main__":
    main([in_a_pipe, on_a_terminal, of_any_shape, without])
