#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tractorctl call, tell, stream, find and wait: talking to actors and waiting for them."""

import json
import os
import select
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from ctl import CTL, columns, running  # noqa: E402
from peers import echo  # noqa: E402
from proxy import overheard  # noqa: E402
from screen import Screen  # noqa: E402
from tractor import LIMIT, gone, main, sleeper  # noqa: E402

STREAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers", "stream-actor.py")


def streamer(name, *args):
    return {"name": name, "exec": [sys.executable, STREAM, *args], "channel": "fd", "ready": "channel"}


def start(r, *args, socket=None, **options):
    return subprocess.Popen([CTL, "--socket", socket or r.socket, *args],
                            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
                               "text": True} | options)


class Notes:
    """What the actor wrote down: read as it comes, through a FIFO, so that waiting is for a line."""

    def __init__(self, r):
        self.path = os.path.join(r.dir, "notes")
        os.mkfifo(self.path)
        self.fd = os.open(self.path, os.O_RDWR)
        self.data, self.seen = b"", []

    def until(self, **what):
        deadline = time.monotonic() + LIMIT
        while True:
            while b"\n" in self.data:
                line, self.data = self.data.split(b"\n", 1)
                self.seen.append(json.loads(line))
                if what.items() <= self.seen[-1].items():
                    return self.seen[-1]
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{what} was not noted: {self.seen}"
            self.data += os.read(self.fd, 65536)


def with_streamer(r, notes, *args):
    r.ctl("spawn", "/t", "s", "--channel=fd", "--ready=channel", "--", sys.executable, STREAM, notes.path, *args)


def call(backend):
    with running({"children": [echo("a"), sleeper("plain")]}, backend) as r:
        assert json.loads(r.ctl("call", "/t/a", "echo", '{"x": [1, "two\\n"]}')) == {"x": [1, "two\n"]}
        assert r.ctl("call", "/t/a", "echo", "[1]") == "[1]\n"
        assert r.ctl("call", "/t/a", "echo") == "null\n"
        assert r.ctl("--json=pretty", "call", "/t/a", "echo", '{"x":1}').count("\n") > 2
        peer = json.loads(r.ctl("call", "/t/a", "who"))[-1]["peer"]
        assert peer["path"].startswith("@client/") and peer["uid"] == os.getuid()
        assert "call /t/a \\$/methods" in r.ctl("call", "/t/a", "nothing", code=1)
        assert "status /t/a" in r.ctl("call", "/t/a", "$/methods", code=1)
        assert "not JSON" in r.ctl("call", "/t/a", "echo", "{x", code=2)
        r.ctl("call", "/t/a", "echo", "7", code=2)
        r.ctl("call", "/t/a", code=2)
        assert "/t/none" in r.ctl("call", "/t/none", "echo", code=3)
        assert "channel" in r.ctl("call", "/t/plain", "echo", code=1)
        r.ctl("cancel", "/t/a")
        assert "tractorctl start" in r.ctl("call", "/t/a", "echo", code=3)


def call_hears_of_the_end(backend):
    """At once, and how it ended: not by a time-out of its own."""
    with running({"children": [echo("a")]}, backend) as r:
        begin = time.monotonic()
        said = r.ctl("call", "/t/a", "die", code=1)
        assert "SIGKILL" in said and "ActorDied" in said and "status /t/a" in said, said
        assert time.monotonic() - begin < 1, "the linger of a lost connection is a second"
        r.ctl("wait", "/t/a")
        pid = r.node("/t/a")["pid"]
        p = start(r, "call", "/t/a", "hold")
        while len(json.loads(r.ctl("call", "/t/a", "who"))) < 2:
            pass
        os.kill(pid, signal.SIGSEGV)
        _, err = p.communicate(timeout=LIMIT)
        assert p.returncode == 1 and "SIGSEGV" in err, err


def call_waits_for_ready(backend):
    flag = {"file": "flag"}
    with running({"children": [sleeper("keep")]}, backend) as r:
        r.ctl("spawn", "/t", "a", "--cwd", r.dir, "--channel=fd", "--ready=file:flag", "--no-wait", "--",
              *echo("a")["exec"])
        p = start(r, "call", "/t/a", "echo", '{"late":1}')
        open(os.path.join(r.dir, flag["file"]), "w").close()
        assert json.loads(p.communicate(timeout=LIMIT)[0]) == {"late": 1}


def call_interrupted(backend):
    with running({"children": [sleeper("keep")]}, backend) as r:
        notes = Notes(r)
        with_streamer(r, notes)
        p = start(r, "call", "/t/s", "slow")
        notes.until(asked="slow")
        p.send_signal(signal.SIGINT)
        assert p.communicate(timeout=LIMIT) == ("", "") and p.returncode == -signal.SIGINT
        notes.until(cancelled=1)


def call_interrupted_as_the_hello_comes(backend):
    """It can be told of the interrupt then, and is."""
    with running({"children": [sleeper("keep")]}, backend) as r:
        notes = Notes(r)
        with_streamer(r, notes, "late")
        p = start(r, "call", "/t/s", "slow")
        notes.until(asked="slow")
        p.send_signal(signal.SIGSTOP)
        os.kill(r.node("/t/s")["pid"], signal.SIGUSR1)
        notes.until(greeted=True)
        p.send_signal(signal.SIGINT)
        p.send_signal(signal.SIGCONT)
        assert p.communicate(timeout=LIMIT) == ("", "") and p.returncode == -signal.SIGINT
        notes.until(cancelled=1)


def tell(backend):
    with running({"children": [sleeper("keep")]}, backend) as r:
        notes = Notes(r)
        with_streamer(r, notes)
        assert r.ctl("tell", "/t/s", "hint", '{"a": 1}') == ""
        assert notes.until(told="hint")["params"] == {"a": 1}
        r.ctl("tell", "/t/none", "hint", code=3)


def stream_down(backend):
    with running({"children": [streamer("s")]}, backend) as r:
        p = start(r, "-q", "stream", "/t/s", "count", '{"n": 1000}')
        out, err = p.communicate(timeout=LIMIT)
        assert p.returncode == 0 and err == "" and [int(x) for x in out.splitlines()] == list(range(1000)), err
        p = start(r, "stream", "/t/s", "count", '{"n": 2}')
        assert p.communicate(timeout=LIMIT) == ("0\n1\n", "tractorctl: stream: result: 2\n") and p.returncode == 0
        assert "it went wrong" in r.ctl("stream", "/t/s", "fail", code=1)
        r.ctl("stream", "/t/none", "count", code=3)


def stream_up(backend):
    with running({"children": [streamer("s")]}, backend) as r:
        lines = "".join(f"{i}\n" for i in range(500))
        assert r.ctl("-q", "stream", "/t/s", "mirror", text=lines) == lines
        assert r.ctl("-q", "stream", "/t/s", "mirror", text='{"a":1}\n\n[2]') == '{"a":1}\n[2]\n', "a last line without its end"
        with open(os.path.join(r.dir, "in"), "w") as f:
            f.write(lines)
        with open(f.name) as f, open(os.path.join(r.dir, "out"), "w+") as out:
            assert start(r, "-q", "stream", "/t/s", "mirror", stdin=f, stdout=out).wait(LIMIT) == 0
            out.seek(0)
            assert out.read() == lines
        p = start(r, "stream", "/t/s", "sum", stdin=subprocess.PIPE)
        assert p.communicate("1\n2\n3\n", timeout=LIMIT) == ("", "tractorctl: stream: result: 6\n")
        p = start(r, "stream", "/t/s", "mirror", stdin=subprocess.PIPE)
        out, err = p.communicate("1\noops\n", timeout=LIMIT)
        assert p.returncode == 1 and "item 2 of stdin is not JSON" in err and err.count("\n") == 1, err


def stream_is_live(backend):
    """Each item goes when it is there, both ways, while stdin stays open."""
    with running({"children": [streamer("s")]}, backend) as r:
        p = start(r, "-q", "stream", "/t/s", "mirror", stdin=subprocess.PIPE)
        for i in range(3):
            p.stdin.write(f"{i}\n")
            p.stdin.flush()
            assert p.stdout.readline() == f"{i}\n"
        p.stdin.close()
        assert p.wait(LIMIT) == 0
        p.stdout.close()
        p.stderr.close()


def stream_interrupted(backend):
    with running({"children": [sleeper("keep")]}, backend) as r:
        notes = Notes(r)
        with_streamer(r, notes)
        p = start(r, "stream", "/t/s", "hold")
        assert p.stdout.readline() == '"held"\n'
        p.send_signal(signal.SIGINT)
        assert p.communicate(timeout=LIMIT) == ("", "") and p.returncode == -signal.SIGINT
        notes.until(cancelled="hold")
        notes.until(closed=True)


def stream_slow_reader(backend):
    """Who does not read slows the actor: what is under way is a window of items and what the pipe holds."""
    with running({"children": [streamer("s")]}, backend) as r:
        p = start(r, "-q", "stream", "/t/s", "count", '{"n": 40000}')
        before, sent = -1, 0
        while sent == 0 or sent != before:  # until it stands still, for which there is no event
            time.sleep(0.2)
            before, sent = sent, int(r.ctl("call", "/t/s", "sent"))
        assert sent < 65536 / 2 + 200, sent
        out, _ = p.communicate(timeout=LIMIT)
        assert out.splitlines() == [str(i) for i in range(40000)] and p.returncode == 0


def stream_hears_of_the_end(backend):
    """All items it sent before are printed."""
    with running({"children": [streamer("s")]}, backend) as r:
        p = start(r, "stream", "/t/s", "die", '{"n": 50}')
        out, err = p.communicate(timeout=LIMIT)
        assert p.returncode == 1 and "SIGKILL" in err, err
        assert [int(x) for x in out.splitlines()] == list(range(50))


def stream_needs_hello(backend):
    with running({"children": [echo("a")]}, backend) as r:
        assert "tractorctl call /t/a" in r.ctl("stream", "/t/a", "echo", code=1)


# --- find, wait ----------------------------------------------------------------------------------------------------

def find(backend):
    with running({"children": [sleeper("a")]}, backend) as r:
        assert columns(r.ctl("find", "a"), 1)[0] == ["/t/a", r.node("/t/a")["id"]]
        assert r.json("find", "/t/a") == {"path": "/t/a", "id": r.node("/t/a")["id"]}
        assert "list" in r.ctl("find", "b", code=3)
        r.ctl("find", code=2)


def wait(backend):
    with running({"children": [sleeper("keep")]}, backend) as r:
        r.ctl("wait", "/t/keep")
        r.ctl("wait", "/t")
        r.ctl("wait", "/nobody", "--for", "gone")
        assert "still not there" in r.ctl("wait", "/t/late", "--timeout", "0.05", code=1)
        with overheard(r.socket, b"$/started") as (path, watched):
            p = start(r, "--json=short", "wait", "/t/late", socket=path)
            watched()
            q = start(r, "wait", "/t/keep", "--for=gone", socket=path)
            watched()
            r.ctl("spawn", "/t", "late", "--ready=file:flag", "--cwd", r.dir, "--no-wait", "--", "sleep", "1000")
            assert "still starting" in r.ctl("wait", "/t/late", "--timeout=0.05", code=1)
            assert p.poll() is None and q.poll() is None
            open(os.path.join(r.dir, "flag"), "w").close()
            assert json.loads(p.communicate(timeout=LIMIT)[0])["state"] == "ready"
            r.ctl("cancel", "/t/keep")
            assert q.communicate(timeout=LIMIT) == ("", "") and q.returncode == 0
        r.ctl("wait", "/t/keep", "--for", "gone")
        assert "status /t/keep" in r.ctl("wait", "/t/keep", code=1)
        r.ctl("wait", "keep", code=2)
        r.ctl("wait", "/t/keep", "--for", "tea", code=2)
        r.ctl("wait", "/t/keep", "--timeout", "soon", code=2)


def wait_sees_a_failure(backend):
    with running({"children": [sleeper("keep")]}, backend) as r:
        p = start(r, "wait", "/t/x")
        r.ctl("spawn", "/t", "x", "--restart=temporary", "--ready=exited", "--", "false", code=1)
        _, err = p.communicate(timeout=LIMIT)
        assert p.returncode == 1 and "exit 1" in err, err


def globs(backend):
    tree = {"children": [sleeper("a1"), sleeper("a2"), sleeper("b"),
                         {"name": "n", "children": [sleeper("a3"), sleeper("c")]}]}
    with running(tree, backend) as r:
        def generations():
            return {n["path"]: n["generation"] for n in r.json("list") if n["kind"] == "actor"}
        before = generations()
        r.ctl("restart", "/t/a*", "/t/n")
        after = generations()
        assert {p for p in after if after[p] > before[p]} == {"/t/a1", "/t/a2", "/t/n/a3", "/t/n/c"}
        assert all(after[p] <= before[p] + 1 for p in after), "each once"
        rows = columns(r.ctl("cancel", "/t/*a[13]"), 2)
        assert [x[0] for x in rows] == ["/t/a1", "/t/n/a3"], rows
        r.ctl("start", "/t/*a*")
        assert r.node("/t/a1")["state"] == r.node("/t/n/a3")["state"] == "ready"
        r.ctl("start", "/t/*")
        pids = {n["path"]: n.get("pid") for n in r.json("list")}
        r.ctl("kill", "/t/n*", "-s", "KILL")
        r.ctl("wait", "/t/n")
        assert gone(pids["/t/n/c"]) and gone(pids["/t/n/a3"]) and r.node("/t/b")["pid"] == pids["/t/b"]
        assert "nothing matches" in r.ctl("restart", "/x*", code=3)


# --- progress ------------------------------------------------------------------------------------------------------

def progress(backend):
    with running({"children": [sleeper("keep")]}, backend) as r:
        screen = Screen("--socket", r.socket, "spawn", "/t", "x", "--ready=file:flag", "--cwd", r.dir, "--", "sleep", "1000")
        screen.until("/t/x")
        screen.until("starting")
        open(os.path.join(r.dir, "flag"), "w").close()
        assert screen.end() == 0
        screen = Screen("--socket", r.socket, "wait", "/t/y")
        screen.until("/t/y, which is not there yet")
        r.ctl("spawn", "/t", "y", "--ready=file:flag2", "--cwd", r.dir, "--no-wait", "--", "sleep", "1000")
        screen.until("flag2")
        open(os.path.join(r.dir, "flag2"), "w").close()
        assert screen.end() == 0 and screen.text.endswith("\x1b[J\x1b[?25h"), "nothing of it stays"
        for signo in (signal.SIGINT, signal.SIGTERM):
            screen = Screen("--socket", r.socket, "wait", "/t/y", "--for=gone")
            screen.until("/t/y, which is ready")
            os.kill(screen.pid, signo)
            assert screen.end() == -signo and screen.text.endswith("\x1b[?25h"), "the cursor is given back"


if __name__ == "__main__":
    main([call, call_hears_of_the_end, call_waits_for_ready, call_interrupted, call_interrupted_as_the_hello_comes, tell, stream_down,
          stream_up, stream_is_live, stream_interrupted, stream_slow_reader, stream_hears_of_the_end, stream_needs_hello, find, wait,
          wait_sees_a_failure, globs, progress])
