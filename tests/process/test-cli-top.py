#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tractorctl top: batches for a pipe, and the screen that sorts, scrolls and gives the terminal back."""

import json
import os
import re
import signal
import sys
import termios

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from ctl import columns, running  # noqa: E402
from screen import Job, Screen  # noqa: E402
from tractor import main, sleeper  # noqa: E402

TREE = {"children": [{"name": "busy", "exec": ["sh", "-c", "while :; do :; done"]}, sleeper("idle"),
                     {"name": "n", "children": [sleeper("x")]}]}
ENTER = "\x1b[?1049h"
LEAVE = "\x1b[?1049l"


def frames(text):
    """The screens drawn so far, without their controls."""
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", f) for f in text.split("\x1b[H")[1:]]


def rows(frame):
    """(path, marked) of each node, in order."""
    found = [re.match(r"(>?) *\S.*\s(/\S+)$", line.strip("\r")) for line in frame.split("\n")[2:]]
    return [(m[2], m[1] == ">") for m in found if m]


def paths(text):
    drawn = frames(text)
    return [p for p, _ in rows(drawn[-1])] if drawn else []


def marked(text):
    drawn = frames(text)
    return [p for p, m in rows(drawn[-1]) if m] if drawn else []


def batches(backend):
    with running(TREE, backend) as r:
        every = {"/t", "/t/busy", "/t/idle", "/t/n", "/t/n/x"}
        table = columns(r.ctl("top", "-n1", "-d", "0.2"), 5)
        assert {row[-1] for row in table} == every and all(len(row) == 7 for row in table)
        assert {row[-1] for row in columns(r.ctl("top", "-d", "0.1", "/t/n"), 2)} == {"/t/n", "/t/n/x"}
        out = r.ctl("--json=short", "top", "-n", "2", "-d", "0.3").splitlines()
        assert len(out) == 2
        for sample in map(json.loads, out):
            by_path = {row["path"]: row for row in sample}
            assert set(by_path) == every and set(by_path["/t/n/x"]) == {
                "path", "kind", "state", "pid", "cpu", "memory", "tasks", "pressure", "restarts"}
            if backend == "cgroup" or by_path["/t/busy"]["cpu"] is not None:
                assert sample[0]["path"] in ("/t", "/t/busy") and by_path["/t/busy"]["cpu"] > by_path["/t/idle"]["cpu"]
        assert len(r.ctl("top", "-n2", "-d", "0.1").split("\n\n")) == 2
        r.ctl("top", "/nobody", code=3)
        r.ctl("top", "-n", "-1", code=2)


def screen(backend):
    with running(TREE, backend) as r:
        s = Screen("--socket", r.socket, "top", "-d", "0.2")
        s.until(lambda text: len(paths(text)) == 5, "all five")
        assert s.text.startswith(ENTER)
        s.until(lambda text: "r restarts" in frames(text)[-1], "the keys")
        footer = frames(s.text)[-1].replace("\r", "").split("\n")[-1]
        shown = [(key, order) for key, order in re.findall(r" (\w) (\w+)", footer.split("sort:")[1])]
        every = [("c", "CPU"), ("m", "memory"), ("t", "tasks"), ("p", "pressure"), ("r", "restarts")]
        assert ("r", "restarts") in shown and set(shown) <= set(every), footer
        for key, order in set(every) - set(shown):
            s.press(key)
        for key, order in reversed(shown):
            s.press(key)
            s.until(lambda text: f", by {order}" in frames(text)[-1], order)
        for key, order in set(every) - set(shown):
            assert f", by {order}" not in s.text, "nothing is known of it"
        r.ctl("kill", "/t/n/x", "-s", "KILL")
        s.press("r")
        s.until(lambda text: ", by restarts" in frames(text)[-1] and paths(text)[:1] == ["/t/n/x"], "the restarted first")
        s.press("\x1b[H")
        s.until(lambda text: marked(text) == ["/t/n/x"], "the first marked")
        s.press("\x1b[B")
        s.until(lambda text: marked(text) == ["/t"], "the second marked")
        s.press("\x1b[A\x1b[A")
        s.until(lambda text: marked(text) == ["/t/n/x"], "the first marked again")
        r.ctl("spawn", "/t", "new", "--", "sleep", "1000")
        s.until(lambda text: "/t/new" in paths(text), "a new one")
        s.resize(7, 60)  # three rows
        s.until(lambda text: len(paths(text)) == 4, "what fits")
        s.press("\x1b[F")
        s.until(lambda text: marked(text) and marked(text)[0] == paths(text)[-1], "the last")
        assert all(len(line) <= 60 for line in frames(s.text)[-1].replace("\r", "").split("\n"))
        s.press("q")
        assert s.end() == 0 and s.text.endswith(LEAVE)


def terminal_is_given_back(backend):
    with running(TREE, backend) as r:
        for signo in (signal.SIGINT, signal.SIGTERM):
            s = Screen("--socket", r.socket, "top")
            s.until(lambda text: len(paths(text)) == 5, "all five")
            during = termios.tcgetattr(s.fd)[3]
            assert not during & (termios.ICANON | termios.ECHO)
            os.kill(s.pid, signo)
            s.until(LEAVE)
            assert s.end() == -signo
        s = Screen("--socket", r.socket, "top", "-d", "0.1", "/t/n")
        s.until(lambda text: len(paths(text)) == 2, "both")
        r.ctl("cancel", "/t/n")
        r.end(0, signal.SIGINT)
        s.until(LEAVE)
        assert s.end() in (1, 3, 5)


def stopped_and_quit_by_keys(backend):
    """The shell has its terminal as it was; continued, the screen is back."""
    with running(TREE, backend) as r:
        s = Job("--socket", r.socket, "top")
        for key, word in (("\x1a", f"[stopped: {signal.SIGTSTP:d}]"), ("\x1c", f"[ended: -{signal.SIGQUIT:d}]")):
            begin = len(s.text)
            s.until(lambda text: ENTER in text[begin:] and len(paths(text[begin:])) == 5, "all five")
            s.press(key)
            s.until(word)
            assert s.text.rfind(LEAVE) > s.text.rfind(ENTER), s.text[begin:]
            assert termios.tcgetattr(s.fd)[3] & termios.ICANON
            if key == "\x1a":
                s.press("fg\n")
        assert s.end() == 0


if __name__ == "__main__":
    main([batches, screen, terminal_is_given_back, stopped_and_quit_by_keys])
