#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Replays each transcript of docs/protocol.md against the real supervisor and a real actor; the document tells how one is read
(§9). Each has a supervisor of its own and one of the set-ups below. What is not replayed has no place in the document: a fence
that looks like a transcript and is none, a set-up nobody knows and a line that nobody can read are failures."""
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from peers import Client  # noqa: E402
from tractor import BUILD, LIMIT, kill, main, skip, sleeper, tractor  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.environ.get("TRACTOR_TEST_SOURCE") or os.path.abspath(os.path.join(HERE, "../.."))
DOCUMENT = os.path.join(SOURCE, "docs/protocol.md")
ANY = "…"
LINE = re.compile(r"(?P<name>[a-z]*)(?P<way>[<>])(?P<new>\+[a-z]+)?(?P<times>×\d+)? (?P<text>.*)", re.DOTALL)

# Hands its channel to the test and ends when the test lets go.
PLAYED = """
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
socket.send_fds(s, [b"x"], [int(os.environ["TRACTOR_CHANNEL_FD"])])
os.close(int(os.environ["TRACTOR_CHANNEL_FD"]))
s.recv(1)
"""

# Hands lines through: its stdin and stdout are the test's. It ends when the test lets go.
PIPES = """
import os, select, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
while True:
    for fd in select.select([0, s.fileno()], [], [])[0]:
        data = os.read(fd, 65536)
        if not data:
            sys.exit()
        os.write(1 if fd else s.fileno(), data)
"""


# --- the document --------------------------------------------------------------------------------------------------------

def blocks():
    """(line number, set-up, steps) of each transcript."""
    fence, found = None, []
    for number, line in enumerate(open(DOCUMENT, encoding="utf-8").read().splitlines(), 1):
        if not line.startswith("```"):
            if fence is not None:
                fence[2].append((number, line))
        elif fence is None:
            fence = (number, line[3:].split(), [])
        else:
            start, info, lines = fence
            fence = None
            if info[:1] == ["transcript"]:
                assert len(info) == 2 and info[1] in SETUPS, f"line {start}: no such set-up: {info[1:]}"
                found.append((start, info[1], list(steps(lines))))
            else:
                assert not any(LINE.fullmatch(text) for _, text in lines), f"line {start}: a transcript that is not replayed"
    assert fence is None, "a fence is not closed"
    return found


def steps(lines):
    """Lines with their continuations, which begin with a blank."""
    step = None
    for number, line in lines:
        if line.startswith(" "):
            step = (step[0], step[1] + line.strip())
            continue
        if step:
            yield step
        step = (number, line)
    yield step


def expected(text):
    """JSON in which … stands for any value, or, last in an object or array, for any more of them."""
    def replace(match):
        if match[0] != ANY:
            return match[0]
        before, after = text[: match.start()].rstrip()[-1:], text[match.end():].lstrip()[:1]
        return f'"{ANY}":"{ANY}"' if after == "}" and before in "{," else f'"{ANY}"'
    return json.loads(re.sub(r'"(?:\\.|[^"\\])*"|' + ANY, replace, text))


def fits(want, got):
    if want == ANY:
        return True
    if isinstance(want, str) and isinstance(got, str) and ANY in want:
        return re.fullmatch(".*".join(map(re.escape, want.split(ANY))), got, re.DOTALL) is not None
    if isinstance(want, dict) and isinstance(got, dict):
        keys = want.keys() - {ANY}
        return (keys <= got.keys() if ANY in want else keys == got.keys()) and all(fits(want[k], got[k]) for k in keys)
    if isinstance(want, list) and isinstance(got, list):
        rest = want[-1:] == [ANY]
        items = want[:-1] if rest else want
        return (len(got) >= len(items) if rest else len(got) == len(items)) and all(map(fits, items, got))
    return type(want) is type(got) and want == got


# --- the stage -----------------------------------------------------------------------------------------------------------

class Stage:
    """The connections of one transcript: "" is the control connection, others by name."""

    def __init__(self, t):
        self.t = t
        self.wires = {"": Client(t.path)}
        self.given = set()  # no longer the supervisor's, or ended
        self.letting = None

    def wire(self, name):
        if name not in self.wires:
            assert name == "other", f"there is no connection {name}"
            self.wires[name] = Client(self.t.path)
        return self.wires[name]

    def play(self, line):
        if line.startswith("#"):
            return
        if line.startswith("! "):
            self.act(line[2:])
            return
        step = LINE.fullmatch(line)
        assert step, "can't be read"
        wire = self.wire(step["name"])
        if step["way"] == ">":
            self.say(step, wire)
        elif step["text"] == "EOF":
            self.given.add(step["name"])
            with contextlib.suppress(ConnectionResetError):  # what the other side had not read makes it that
                assert wire.sock.recv(1) == b"" and not wire.data
        else:
            self.hear(step, wire)

    def say(self, step, wire):
        if step["text"] == "EOF":
            self.given.add(step["name"])
            wire.close()
            return
        if '"method":"actor.attach"' in step["text"]:
            self.given.add(step["name"])
        wire.sock.sendall((step["text"] + "\n").encode() * int((step["times"] or "×1")[1:]))

    def hear(self, step, wire):
        want, got = expected(step["text"]), wire.receive()
        assert fits(want, got), f"heard instead: {json.dumps(got, ensure_ascii=False)}"
        declared = got.get("$", {}).get("fds", 0)
        assert declared == len(wire.fds) == bool(step["new"]), f"{len(wire.fds)} descriptors, {declared} declared"
        if step["new"]:
            self.wires[step["new"][1:]] = Client(sock=socket.socket(fileno=wire.fds.pop()))

    def act(self, action):
        verb, path = action.rsplit(" ", 1)
        if verb == "kill -KILL":
            kill(self.t.pid(path))
        else:
            assert verb == "the program ends:" and self.letting, "no such action"
            self.letting.close()

    def nothing_more(self):
        """What was heard was all."""
        for name, wire in self.wires.items():
            if name in ("", "other") and name not in self.given:
                wire.sock.sendall(b'{"jsonrpc":"2.0","id":"end","method":"supervisor.ping"}\n')
                got = wire.receive()
                assert got.get("id") == "end", f"{name}: came, too: {got}"
            elif name not in self.given:
                wire.sock.setblocking(False)
                try:
                    assert not wire.data and wire.sock.recv(1) == b"", f"{name}: came, too"
                except (BlockingIOError, ConnectionResetError):
                    pass

    def close(self):
        for wire in self.wires.values():
            wire.close()
        if self.letting:
            self.letting.close()


def nobody(stage):
    """No tree at all."""


def calc(stage):
    """The actor /shop/calc, and /shop/clock, a program without a channel."""
    env = {"PYTHONPATH": os.path.join(SOURCE, "contrib/python"), "PYTHONDONTWRITEBYTECODE": "1"}
    stage.t.load(name="shop", children=[
        {"name": "calc", "exec": [sys.executable, os.path.join(HERE, "transcript-actor.py")], "env": env, "channel": "fd",
         "ready": "channel", "restart": "temporary"},
        sleeper("clock", restart="temporary")])


def start(stage, script, **keys):
    """The connection of an actor's that is played by the test."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.join(folder, "s"))
        listener.listen()
        listener.settimeout(LIMIT)
        stage.t.main.request("tree.load", {"tree": {"tractor": 1, "name": "shop", "children": [
            {"exec": [sys.executable, "-c", script, os.path.join(folder, "s")], "restart": "temporary", **keys}]}})
        connection, _ = listener.accept()
        connection.settimeout(LIMIT)
        return connection


def played(stage):
    """/shop/calc is what the transcript says and hears on the connection `actor`, its channel; it is starting."""
    stage.letting = start(stage, PLAYED, name="calc", channel="fd", ready="channel")
    _, fds, _, _ = socket.recv_fds(stage.letting, 1, 1)
    stage.wires["actor"] = Client(sock=socket.socket(fileno=fds[0]))


def program(stage):
    """/shop/tool is what the transcript says and hears on the connection `program`, its stdin and stdout."""
    stage.wires["program"] = Client(sock=start(stage, PIPES, name="tool", channel="stdio"))


SETUPS = {"nobody": nobody, "calc": calc, "played": played, "program": program}


def replay(backend):
    found = blocks()
    assert len(found) > 10, f"only {len(found)} transcripts"
    only = os.environ.get("TRACTOR_TRANSCRIPT")
    for start, setup, lines in found:
        if only and int(only) != start:
            continue
        with tractor(backend) as t:
            stage = Stage(t)
            SETUPS[setup](stage)
            for number, line in lines:
                try:
                    stage.play(line)
                except (AssertionError, EOFError, OSError, ValueError) as error:
                    raise AssertionError(f"{DOCUMENT}:{number}: {line}\n{type(error).__name__}: {error}") from error
            stage.nothing_more()
            stage.close()


def page(backend):
    """tractor-protocol(7) says what the document says: every section, every transcript, no mark of the source."""
    path = os.path.join(BUILD, "docs/tractor-protocol.7")
    if not os.path.exists(path):
        skip("the manual page was not made: there is no lowdown")
    text = open(path, encoding="utf-8").read()
    source = open(DOCUMENT, encoding="utf-8").read()
    for title in re.findall(r"^##+ (.*)$", source, re.MULTILINE):
        assert re.sub(r"[`*]", "", title) in re.sub(r"\\f[A-Z]", "", text), f"no section {title}"
    for mark in ("```", "|---", "**", "](", "\n- "):
        assert mark not in text, f"{mark!r} is left of the source"
    assert text.count(".EX\n") >= len(blocks()), "a transcript is missing"
    if shutil.which("groff"):
        shown = subprocess.run(["groff", "-K", "utf8", "-t", "-man", "-ww", "-T", "utf8", path], capture_output=True, check=True)
        assert not shown.stderr, shown.stderr.decode()


if __name__ == "__main__":
    main([replay, page])
