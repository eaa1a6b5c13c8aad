#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tractorctl end to end: `run` in a pipe and on a terminal, every verb against what it started, exit codes, wrong files,
and that nothing is left, however it ends."""

import atexit
import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from screen import Job  # noqa: E402
from tractor import LIMIT, gone, kill, main, program, sleeper, survivors  # noqa: E402

CTL = program("tractorctl")
IGNORES_TERM = ["sh", "-c", "trap '' TERM; echo ready > here; while :; do sleep 1000; done"]


def ctl(*args, code=0, **kwargs):
    """Runs a verb to its end; its stdout. Errors are one line on stderr that begins with the program's name."""
    done = subprocess.run([CTL, *args], capture_output=True, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL,
                          **kwargs)
    assert done.returncode == code, f"{args}: exit {done.returncode}, not {code}: {done.stdout}{done.stderr}"
    if code and not done.stdout:
        lines = done.stderr.splitlines()
        assert len(lines) == 1 and lines[0].startswith("tractorctl: "), done.stderr
    return done.stderr if code and not done.stdout else done.stdout


class Run:
    """`tractorctl run` of a tree in a folder of its own. A tree file's name would be found by others' tests, too, so
    that the socket is always named."""

    def __init__(self, tree, backend, *args, env=None, wait=True):
        self.dir = tempfile.TemporaryDirectory(prefix="tractor-test-")
        self.file = self.path("tree.json")
        self.socket = self.path("socket")
        with open(self.file, "w") as f:
            f.write(tree if isinstance(tree, str) else json.dumps({"tractor": 1, "name": "t", **tree}))
        environ = dict(os.environ, STATE_DIRECTORY=self.path("state"), **(env or {}))
        self.process = subprocess.Popen(
            [CTL, "run", self.file, "--socket", self.socket, f"--backend={backend}", *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)
        self.seen = []
        atexit.register(self.abandon)
        if wait:
            self.line("/t state starting -> ready")
            self.instance = self.status()["instance"]
        else:
            self.instance = None

    def abandon(self):
        """After a failed test: what ran ends with its owner."""
        if self.process.poll() is None:
            self.process.kill()

    def path(self, name):
        return os.path.join(self.dir.name, name)

    def ctl(self, *args, **kwargs):
        return ctl("--socket", self.socket, *args, **kwargs)

    def status(self):
        return json.loads(self.ctl("--json=short", "status"))

    def node(self, path):
        return json.loads(self.ctl("--json=short", "tree", path))

    def line(self, text):
        """The first line of stdout still to come that holds `text`."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            line = self.process.stdout.readline()
            if not line:
                break
            self.seen.append(line)
            if text in line:
                return line
        raise AssertionError(f"no line with '{text}' in {self.seen}: {self.process.stderr.read()}")

    def end(self, code, *signals):
        """Sends the signals, waits, proves that nothing is left; what it said on stderr."""
        for s in signals:
            self.process.send_signal(s)
        out, err = self.process.communicate(timeout=LIMIT)
        assert self.process.returncode == code, f"exit {self.process.returncode}, not {code}: {out}{err}"
        if self.instance:
            assert not survivors(self.instance), survivors(self.instance)
        assert not os.path.exists(self.socket)
        self.dir.cleanup()
        return err


def published(process):
    folder = "/run/tractor/run" if os.getuid() == 0 else None
    if folder is None:
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        folder = f"{runtime}/tractor/run" if runtime else f"/tmp/tractor-{os.getuid()}/run"
    return [f"{folder}/{n}" for n in os.listdir(folder) if n.endswith(f"-{process.pid}.sock")]


def run_and_stop(backend):
    run = Run({"children": [sleeper("a"), {"name": "w", "children": [sleeper("b")]}]}, backend)
    assert run.status()["backend"] == backend
    rows = [line.split("\t") for line in run.ctl("list").splitlines()]
    assert [r[:3] for r in rows] == [["/t", "supervisor", "ready"], ["/t/a", "actor", "ready"],
                                     ["/t/w", "supervisor", "ready"], ["/t/w/b", "actor", "ready"]], rows
    tree = run.ctl("tree").splitlines()
    assert [line.split("\t")[0] for line in tree] == ["t", "  a", "  w", "    b"], tree
    (socket,) = published(run.process)
    assert os.path.basename(socket) == f"t-{run.process.pid}.sock"
    assert "ok" in ctl("--run", f"t-{run.process.pid}", "ping")
    pids = [int(rows[1][3]), int(rows[3][3])]
    run.end(0, signal.SIGINT)
    assert not os.path.exists(socket)
    assert all(gone(pid) for pid in pids)


def killed_member_comes_back(backend):
    run = Run({"children": [sleeper("a"), sleeper("b")]}, backend)
    before = {n: run.node(f"/t/{n}")["pid"] for n in "ab"}
    run.ctl("kill", "/t/a", "-s", "KILL")
    line = run.line("/t/a exited")
    assert "SIGKILL after" in line, line
    run.line("/t/a state starting -> ready")
    after = {n: run.node(f"/t/{n}")["pid"] for n in "ab"}
    assert after["b"] == before["b"] and after["a"] != before["a"]
    assert re.search(r"^\d\d:\d\d:\d\d\.\d\d\d /t/a ", line), line
    run.end(0, signal.SIGTERM)


def verbs_wait(backend):
    run = Run({"children": [sleeper("a"), sleeper("b"), sleeper("c")]}, backend)
    first = run.node("/t/a")
    run.ctl("restart", "/t/a")
    second = run.node("/t/a")
    assert second["state"] == "ready" and second["pid"] != first["pid"] and second["restarts"] == 0, second
    assert gone(first["pid"])
    assert run.ctl("cancel", "/t/a", "/t/b", "--reason", "tired").count("stopped") == 2
    assert gone(second["pid"])
    assert [run.node(f"/t/{n}")["state"] for n in "ab"] == ["dead", "dead"]
    run.ctl("cancel", "/t/c")  # the last that was alive: that ends it
    run.end(0)


def spawn(backend):
    run = Run({"children": [sleeper("a")]}, backend)
    out = run.ctl("spawn", "/t", "new", "--env", "X=1", "--restart=transient", "--", "sh", "-c",
                  "echo $X $PWD > out; exec sleep 1000", cwd=run.dir.name).split("\t")
    assert out[0] == "/t/new" and int(out[1]) == run.node("/t/new")["pid"], out
    assert json.loads(run.ctl("--json=short", "list", "/t/n*"))[0]["state"] == "ready"
    error = run.ctl("spawn", "/t", "bad", "--restart=temporary", "--", "./nonesuch", code=1)
    assert "exec" in error and "No such file" in error, error
    assert "already" in run.ctl("spawn", "/t", "new", "--", "true", code=1).lower()
    error = run.ctl("spawn", "/t", "x", "--restart=sometimes", "--set=bogus=1", "--", "true", code=2)
    assert "restart" in error and "bogus" in error, error
    run.ctl("spawn", "/none", "x", "--", "true", code=3)
    run.ctl("cancel", "/t/new")
    before = run.node("/t/new")
    run.ctl("start", "/t/new", "/t/a")
    after = run.node("/t/new")
    assert (before["state"], after["state"]) == ("dead", "ready") and after["generation"] == before["generation"] + 1
    assert open(run.path("out")).read() == f"1 {run.dir.name}\n"
    run.end(0, signal.SIGINT)


def freeze_and_limits(backend):
    run = Run({"children": [sleeper("a")]}, backend)
    run.ctl("freeze", "/t/a")
    assert run.node("/t/a")["frozen"] is True
    run.ctl("thaw", "/t/a")
    assert not run.node("/t/a").get("frozen")
    status = run.status()
    if "pids" in (status["controllers"] or "").split():
        run.ctl("set-limit", "/t/a", "TasksMax=12")
        assert run.node("/t/a")["limits"]["TasksMax"] == 12
    else:
        assert "pids" in run.ctl("set-limit", "/t/a", "TasksMax=12", code=1) or backend == "process"
    assert "Nonsense" in run.ctl("set-limit", "/t/a", "Nonsense=1", code=2)
    run.ctl("freeze", "/t")  # a stop must thaw first
    run.end(0, signal.SIGINT)


def load_unload(backend):
    run = Run({"children": [sleeper("a")]}, backend)
    with open(run.path("second.json"), "w") as f:
        json.dump({"tractor": 1, "name": "u", "children": [
            {"name": "x", "exec": ["./here.sh"], "ready": {"file": run.path("ready")}}]}, f)
    with open(run.path("here.sh"), "w") as f:
        f.write("#!/bin/sh\n:> ready\nexec sleep 1000\n")
    os.chmod(run.path("here.sh"), 0o755)
    assert run.ctl("load", run.path("second.json")) == "/u\n"
    pid = run.node("/u/x")["pid"]
    run.ctl("load", run.path("second.json"), code=1)
    run.ctl("unload", "/u")
    assert gone(pid)
    run.ctl("status", "/u", code=3)
    run.ctl("unload", "/u", code=3)
    run.end(0, signal.SIGINT)


def events_follow(backend):
    run = Run({"children": [sleeper("a"), sleeper("b")]}, backend)
    lines = run.ctl("events", "/t/a").splitlines()
    assert len(lines) == 1 and "/t/a state ready" in lines[0], lines
    follower = subprocess.Popen([CTL, "--socket", run.socket, "--json=short", "events", "-f", "/t/a"],
                                stdout=subprocess.PIPE, text=True)
    # Nothing tells from outside when it has subscribed: until it has, its events pass unseen.
    while not select.select([follower.stdout], [], [], 0)[0]:
        run.ctl("restart", "/t/b", "/t/a")
    items = []
    while not items or items[-1].get("to") != "ready":
        items.append(json.loads(follower.stdout.readline()))
    assert {i["path"] for i in items} == {"/t/a"}, items
    run.end(0, signal.SIGINT)
    assert follower.wait(LIMIT) == 5
    follower.stdout.close()


def ends_by_itself(backend):
    run = Run({"children": [{"name": "one", "exec": ["true"], "restart": "transient"},
                            {"name": "two", "exec": ["sh", "-c", "exit 0"], "restart": "temporary"}]},
              backend, wait=False)
    run.end(0)
    run = Run({"children": [{"name": "bad", "exec": ["sh", "-c", "exit 3"], "restart": "temporary"}]}, backend,
              wait=False)
    err = run.end(1)
    assert "/t/bad failed: exit 3" in err, err
    # `failed` counts although the rest goes on for a while and then ends well.
    run = Run({"children": [{"name": "bad", "exec": ["false"], "restart": "temporary"},
                            {"name": "good", "exec": ["sleep", "0.3"], "restart": "temporary"}]},
              backend, wait=False)
    run.end(1)


def gives_up(backend):
    run = Run({"intensity": {"max_restarts": 2, "within_ms": 60000}, "children": [
        sleeper("a"), {"name": "loop", "exec": ["sh", "-c", "sleep 0.1; exit 7"], "backoff": {"initial_ms": 1}}]},
              backend, wait=False)
    err = run.end(1)
    assert "tractorctl: run: " in err and "/t/loop" in err and "gave up" in err, err
    run = Run({"intensity": {"max_restarts": 1, "within_ms": 60000}, "children": [
        sleeper("a"), {"name": "loop", "exec": ["./nonesuch"], "backoff": {"initial_ms": 1}}]}, backend, wait=False)
    err = run.end(1)
    assert "No such file" in err, err


def wrong_files(backend):
    run = Run('{"tractor": 1,\n "name" "x"}', backend, wait=False)
    err = run.end(1)
    assert err.startswith(f"{run.file}:2:9: ") and len(err.splitlines()) == 1, err
    run = Run({"children": [{"name": "mark", "exec": ["touch", "mark"]}, {"name": "x", "exec": 7, "bogus": 1},
                            {"name": "mark", "exec": ["true"]}, {"name": "y", "exec": ["true"], "pool": {"size": 1}}]},
              backend, "-q", wait=False)
    mark = run.path("mark")
    run.process.wait(LIMIT)
    assert not os.path.exists(mark)  # nothing was started
    lines = [line.split(": ") for line in run.end(1).splitlines()]
    assert {line[0] for line in lines} == {run.file}, lines
    pointers = sorted(line[1] for line in lines)
    assert pointers == ["/children/1/bogus", "/children/1/exec", "/children/2/name", "/children/3/pool"], pointers
    ctl("run", "/nonexistent/tree.json", code=1)


def validate(backend):
    with tempfile.TemporaryDirectory(prefix="tractor-test-") as folder:
        good, bad, broken = (os.path.join(folder, n) for n in ("good", "bad", "broken"))
        with open(good, "w") as f:
            json.dump({"tractor": 1, "name": "t", "children": [sleeper("a")]}, f)
        with open(bad, "w") as f:
            json.dump({"tractor": 1, "name": "t", "children": [{"name": "a"}, {"name": "b", "exec": ["x"],
                                                                               "restart": "often"}]}, f)
        with open(broken, "w") as f:
            f.write('{"tractor": 1, "tractor": 1}')
        assert ctl("validate", good) == ""
        lines = ctl("validate", bad, code=1).splitlines()
        assert sorted(line.split(": ")[0] for line in lines) == ["/children/0", "/children/1/restart"], lines
        assert ctl("validate", broken, code=1).startswith(f"{broken}:1:")
        problems = json.loads(ctl("--json=short", "validate", bad, code=1))
        assert {p["pointer"] for p in problems} == {"/children/0", "/children/1/restart"}
        run = Run({"children": [sleeper("a")]}, backend)
        assert len(run.ctl("validate", bad, code=1).splitlines()) == 2
        run.end(0, signal.SIGINT)
        ctl("--socket", "/nonexistent", "validate", good, code=5)


def environment_is_unchanged(backend):
    run = Run({"children": [{"name": "env", "exec": ["sh", "-c", "env > new && mv new env; exec sleep 1000"],
                             "env": {"OWN": "own"}, "ready": {"file": "env"}}]},
              backend, env={"FROM_OUTSIDE": "x y", "TERM": "odd"})
    seen = dict(line.split("=", 1) for line in open(run.path("env")).read().splitlines() if "=" in line)
    assert seen["FROM_OUTSIDE"] == "x y" and seen["TERM"] == "odd" and seen["OWN"] == "own", seen
    assert "NOTIFY_SOCKET" not in seen
    run.end(0, signal.SIGINT)


def killed_front_leaves_nothing(backend):
    run = Run({"children": [sleeper("a"), {"name": "b", "exec": IGNORES_TERM, "ready": {"file": "here"}}]}, backend)
    pids = [run.node(f"/t/{n}")["pid"] for n in "ab"] + [run.status()["pid"], run.status()["keeper_pid"]]
    kill(run.process.pid)
    assert all(gone(pid) for pid in pids)
    for socket in published(run.process):
        ctl("--run", f"t-{run.process.pid}", "ping", code=5)
        assert not os.path.exists(socket)
    run.process.communicate(timeout=LIMIT)
    assert not survivors(run.instance)
    run.dir.cleanup()


def second_signal_hurries(backend):
    run = Run({"children": [{"name": "a", "exec": IGNORES_TERM, "ready": {"file": "here"}, "grace_ms": 600000}]},
              backend)
    run.process.send_signal(signal.SIGINT)
    run.line("/t/a state ready -> stopping")
    assert run.process.poll() is None
    start = time.monotonic()
    run.end(0, signal.SIGINT)
    assert time.monotonic() - start < 5


def stopped_while_loading(backend):
    run = Run({"children": [{"name": "a", "exec": ["sleep", "1000"], "ready": {"file": "/nonexistent/x"},
                             "start_timeout_ms": 600000}]}, backend, wait=False)
    run.line("/t/a spawned")
    run.instance = run.status()["instance"]  # it listens before the tree is ready
    assert run.node("/t/a")["state"] == "starting"
    run.end(0, signal.SIGTERM)


def killed_supervisor_or_keeper(backend):
    for victim in ("pid", "keeper_pid"):
        run = Run({"children": [sleeper("a")]}, backend)
        actor = run.node("/t/a")["pid"]
        kill(run.status()[victim])
        if victim == "keeper_pid":
            err = run.end(1)
            assert "tractord ended by itself" in err, err
        else:
            # Either the successor goes on with the tree, or it ended it and so did we.
            with contextlib.suppress(ProcessLookupError):
                run.process.send_signal(signal.SIGINT)
            out, err = run.process.communicate(timeout=LIMIT)
            assert run.process.returncode in (0, 1), err
        assert gone(actor)
        assert not survivors(run.instance)


def several(backend):
    one, two = (Run({"children": [sleeper("a")]}, backend) for _ in range(2))
    error = ctl("--run", "t", "ping", code=2)
    assert "--run NAME" in error and f"t-{one.process.pid}" in error and f"t-{two.process.pid}" in error, error
    one.end(0, signal.SIGINT)
    ctl("--run", f"t-{two.process.pid}", "ping")
    two.end(0, signal.SIGINT)


def socket_in_the_way(backend):
    run = Run({"children": [sleeper("a")]}, backend)
    assert "listens" in ctl("run", run.file, "--socket", run.socket, code=1)
    run.ctl("ping")
    with open(run.path("file"), "w") as f:
        f.write("precious")
    ctl("run", run.file, "--socket", run.path("file"), code=1)
    assert open(run.path("file")).read() == "precious"
    ctl("run", run.file, "--socket", "/tmp/" + "x" * 120, code=2)
    run.end(0, signal.SIGINT)


def exit_codes(backend):
    run = Run({"children": [sleeper("a")]}, backend)
    for verb in ("status", "tree", "cancel", "kill", "restart", "start", "freeze", "thaw", "unload"):
        run.ctl(verb, "/nope", code=3)
    run.ctl("list", "/nope*", code=3)
    run.ctl("kill", "/t/a", "-s", "SIGNOPE", code=2)
    run.ctl("frobnicate", code=2)
    run.ctl("kill", code=2)
    run.ctl("status", "no-path", code=2)
    for verb in ("crashes", "pool", "debug", "reexec", "metrics"):
        assert "not built yet" in run.ctl(verb, "x", code=1)
    ctl("--socket", run.path("nobody"), "ping", code=5)
    ctl("--run", "no-such-run", "ping", code=5)
    assert run.ctl("version").count("\n") == 2
    assert ctl("--socket", run.path("nobody"), "version").count("\n") == 1
    if os.getuid() == 0:
        os.chmod(run.dir.name, 0o755)
        run.ctl("list", code=4, user=65534)
    run.end(0, signal.SIGINT)


def on_a_terminal(backend):
    with tempfile.TemporaryDirectory(prefix="tractor-test-") as folder:
        file = os.path.join(folder, "t.json")
        with open(file, "w") as f:
            json.dump({"tractor": 1, "name": "t", "children": [sleeper("a"), sleeper("b"), {
                "name": "talk", "exec": ["sh", "-c", "printf 'said\\033[2Jso\\n'; exec sleep 1000"],
                "stdout": "inherit"}]}, f)
        pid, tty = pty.fork()
        if pid == 0:
            os.environ.update(TERM="xterm", LC_ALL="C.UTF-8", STATE_DIRECTORY=os.path.join(folder, "state"))
            os.environ.pop("NO_COLOR", None)
            os.execv(CTL, [CTL, "run", file, f"--backend={backend}"])
        screen = b""

        def until(what):
            nonlocal screen
            deadline = time.monotonic() + LIMIT
            while what not in screen:
                assert time.monotonic() < deadline and select.select([tty], [], [], LIMIT)[0], screen
                try:
                    data = os.read(tty, 4096)
                except OSError:
                    data = b""
                assert data, (what, screen)
                screen += data

        until("├─ b".encode())
        until(b"said\\x1b[2Jso")  # what programs say passes above the tree, and can't command the terminal
        until(b"\033[32mready")
        os.write(tty, b"\003")
        until(b"\033[?25h")
        until(b"/t stopped")
        with contextlib.suppress(OSError):
            while os.read(tty, 4096):
                pass
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert b"\033[?25l" in screen and screen.count(b"\033[?25l") == screen.count(b"\033[?25h")
        os.close(tty)


HIDE, SHOW = "\033[?25l", "\033[?25h"


@contextlib.contextmanager
def job(backend):
    """On a terminal, below a shell, with its tree drawn: the screen, how to ask it, and how to await the tree again."""
    with tempfile.TemporaryDirectory(prefix="tractor-test-") as folder:
        file, sock = os.path.join(folder, "t.json"), os.path.join(folder, "sock")
        with open(file, "w") as f:
            json.dump({"tractor": 1, "name": "t", "children": [sleeper("a"), sleeper("b")]}, f)
        s = Job("run", file, f"--backend={backend}", "--socket", sock)

        def until_drawn(begin):
            s.until(lambda text: HIDE in text[begin:] and "\u2500 b" in text[begin:].split(HIDE)[-1])
            assert s.text.rfind(HIDE) > s.text.rfind(SHOW)

        until_drawn(0)
        ctl("--socket", sock, "wait", "/t")
        pids = [json.loads(ctl("--socket", sock, "--json=short", "status", f"/t/{n}"))["pid"] for n in "ab"]
        yield s, lambda *args: ctl("--socket", sock, *args), until_drawn
        assert s.text.rfind(SHOW) > s.text.rfind(HIDE), s.text
        assert s.end() == 0
        assert all(gone(pid) for pid in pids)


def stopped_and_quit_by_keys(backend):
    """The cursor is back whenever the shell has the terminal; once continued the tree is drawn below what came since."""
    with job(backend) as (s, _, until_drawn):
        s.press("\x1a")
        s.until(f"[stopped: {signal.SIGTSTP:d}]")
        assert s.text.rfind(SHOW) > s.text.rfind(HIDE), s.text
        begin = len(s.text)
        s.press("fg\n")
        until_drawn(begin)
        assert not re.search(r"\033\[\d+A", s.text[begin:].split(HIDE)[0]), s.text[begin:]
        s.press("\x1c")
        s.until(f"[ended: -{signal.SIGQUIT:d}]")


def in_the_background(backend):
    """There it says what there is to say, and draws nothing."""
    with job(backend) as (s, ask, _):
        s.press("\x1a")
        s.until("[stopped: ")
        begin = len(s.text)
        s.press("bg\n")
        ask("kill", "/t/b", "-s", "KILL")
        s.until(lambda text: "/t/b" in text[begin:])
        ask("unload", "/t")
        s.until("[ended: 0]")
        assert "\033" not in s.text[begin:].replace("\033[K", ""), s.text[begin:]


def lines_on_a_terminal(backend):
    """Where nothing can move, or JSON is wanted: lines, as in a pipe, and each as soon as it is due."""
    with tempfile.TemporaryDirectory(prefix="tractor-test-") as folder:
        file = os.path.join(folder, "t.json")
        with open(file, "w") as f:
            json.dump({"tractor": 1, "name": "t", "children": [sleeper("a")]}, f)
        for term, mode, due in (("dumb", "off", b"/t state starting -> ready"),
                                ("xterm", "short", b'"path":"/t","event":"state","from":"starting","to":"ready"')):
            pid, tty = pty.fork()
            if pid == 0:
                os.environ.update(TERM=term, STATE_DIRECTORY=os.path.join(folder, "state"))
                os.execv(CTL, [CTL, f"--json={mode}", "run", file, f"--backend={backend}"])
            screen = b""
            while due not in screen or not screen.endswith(b"\n"):
                assert select.select([tty], [], [], LIMIT)[0], screen
                screen += os.read(tty, 4096)
            assert b"\033" not in screen, screen
            os.write(tty, b"\003")
            with contextlib.suppress(OSError):
                while os.read(tty, 4096):
                    pass
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            os.close(tty)


if __name__ == "__main__":
    main([run_and_stop, killed_member_comes_back, verbs_wait, spawn, freeze_and_limits, load_unload, events_follow,
          ends_by_itself, gives_up, wrong_files, validate, environment_is_unchanged, killed_front_leaves_nothing,
          second_signal_hurries, stopped_while_loading, killed_supervisor_or_keeper, several, socket_in_the_way,
          exit_codes, on_a_terminal, stopped_and_quit_by_keys, in_the_background, lines_on_a_terminal])
