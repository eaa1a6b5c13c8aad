#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Faults of the machine: a journal that is missing or deaf, no processes, those of ours that
are stopped or killed. Each time: the loop serves on, what fails says why, nothing spins, and when the fault is over all is
well again."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
import tractor as harness  # noqa: E402
from faults import (JOURNAL, NPROC, idle, limited, mount, prompt,  # noqa: E402
                    silent_user_database, spawn, without_journal)
from tractor import BAD_ACTOR, LIMIT, expect_error, gone, kill, main, sleeper, survivors, tractor  # noqa: E402

EAGAIN = 11


# --- tools ---


def left_by(t, left, *pids):
    """What a test killed with -9 leaves to us: its files, and the proof that nobody of its instance lives."""
    for pid in pids:
        assert gone(pid), pid
    for connection in t.connections:
        connection.close()
    t.owner.close()
    t.process.wait(LIMIT)
    assert survivors(t.status["instance"]) == left, survivors(t.status["instance"])
    subprocess.run(["rm", "-rf", t.dir], check=True)


# --- pipes ---


def nobody_drains(backend):
    """A pipe without a reader, and one that is full: they hold the actor, and nobody but the actor."""
    with tempfile.TemporaryDirectory() as d, tractor(backend) as t:
        os.mkfifo(f"{d}/none")
        os.mkfifo(f"{d}/full")
        reader = os.open(f"{d}/full", os.O_RDONLY | os.O_NONBLOCK)
        t.load(children=[])
        spawn(t, "full", exec=[BAD_ACTOR, "flood=10000000", "hang"], stdout=f"file:{d}/full", stderr="null")
        prompt(t)
        ident = t.connect()
        asked = ident.request("actor.spawn", {"parent": "/t", "name": "none", "exec": ["true"], "restart": "temporary",
                                              "stdout": f"file:{d}/none", "start_timeout_ms": 500, "grace_ms": 100})
        prompt(t)
        error = expect_error(-32003, ident.answer, asked)
        assert error.data["exit"]["cause"] == "start-timeout", error.data
        assert t.call("actor.cancel", path="/t/full")["exit"]["cause"] == "stop"
        os.close(reader)


# --- names of users ---


def user_database_hangs(backend):
    """64 loads wait for it at a time, each for at most 10 s; numbers need none of it."""
    if os.geteuid() != 0 or backend != "process":
        return  # a name is looked up before there is anything for a backend to do
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(contextlib.ExitStack())
        database.enter_context(silent_user_database())
        t = stack.enter_context(tractor(backend))
        t.load(children=[])
        c = t.connect()

        def ask(name):
            return c.request("actor.spawn", {"parent": "/t", "restart": "temporary", **sleeper(name, user="nobody")})

        asked = [ask(f"a{i}") for i in range(64)]
        error = expect_error(-32011, c.answer, ask("more"))
        assert "being looked up" in error.message, error.message
        assert spawn(t, "numbered", user="65534")["pid"]
        prompt(t)
        c.send({"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": asked[0]}})
        expect_error(-32800, c.answer, asked[0])
        asked[0] = ask("instead")
        expect_error(-32011, c.answer, ask("more"))
        error = expect_error(-32602, c.answer, asked[1])
        assert "did not answer" in error.message, error.message
        database.close()
        assert spawn(t, "named", user="nobody")["pid"]
        assert [n["path"] for n in t.get("/t")["children"]] == ["/t/numbered", "/t/named"]


# --- journal ---


class DeafJournal:
    """The sockets of a journald that takes nothing."""

    def __init__(self):
        mount("journal", "/run/systemd" if os.path.isdir("/run/systemd") else "/run")
        os.makedirs(JOURNAL, exist_ok=True)
        self.records = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.records.bind(f"{JOURNAL}/socket")
        self.streams = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.streams.bind(f"{JOURNAL}/stdout")
        self.streams.listen(1)

    def read(self, predicate):
        """Reads records as fast as they come until one fits."""
        got = []
        self.records.settimeout(LIMIT)
        while True:
            data, ancillary, _, _ = self.records.recvmsg(1 << 20, socket.CMSG_SPACE(64))
            for _, _, fds in ancillary:
                fd = int.from_bytes(fds[:4], sys.byteorder)
                data = os.pread(fd, 1 << 20, 0)
                os.close(fd)
            got.append(data)
            if predicate(data):
                return got

    def close(self):
        self.records.close()
        self.streams.close()
        os.unlink(f"{JOURNAL}/socket")
        os.unlink(f"{JOURNAL}/stdout")


def journal_missing(backend):
    """Records go to our own standard error, output to files; a journal that comes later is taken."""
    if os.geteuid() != 0:
        return
    without_journal()
    with tractor(backend) as t:
        t.load(children=[])
        expect_error(-32012, spawn, t, "x", exec=["/nonexistent"])
        spawn(t, "y", exec=["sh", "-c", "echo last words >&2; exit 3"], ready="exec")
        t.call("actor.cancel", path="/t/y")
        prompt(t)
        text = open(t.log_path, errors="replace").read()
        assert "/t/x" in text and "can't start" in text, text


def journal_deaf(backend):
    """A journald that is stopped: 600 ends are spooled or counted, nobody waits, and it gets them when it goes on."""
    if os.geteuid() != 0:
        return
    journal = DeafJournal()
    try:
        with tractor(backend) as t:
            events = t.events()
            t.connect().request("tree.load", {"tree": {
                "tractor": 1, "name": "t", "intensity": {"max_restarts": 10000, "within_ms": 1000}, "children": [
                    {"name": f"n{i}", "exec": ["sh", "-c", "exit 7"], "stdout": "null", "stderr": "null",
                     "backoff": {"initial_ms": 10, "max_ms": 10}} for i in range(10)]}})
            ends = 0
            while ends < 600:
                event = events.next()
                ends += event["event"] == "exited"
                if ends % 50 == 0:
                    prompt(t, 1)
                events.seen.clear()
            prompt(t)
            # A stream that nobody accepts: it is held in its set-up, until its time to start is over.
            crowd = [t.connect() for _ in range(4)]
            idents = [c.request("actor.spawn", {"parent": "/t", "name": f"s{i}", "exec": ["sleep", "1000"],
                                                "restart": "temporary", "start_timeout_ms": 700, "grace_ms": 100})
                      for i, c in enumerate(crowd)]
            prompt(t)
            outcomes = []
            for c, ident in zip(crowd, idents):
                try:
                    outcomes.append(c.answer(ident)["path"])
                except harness.RpcError as error:
                    outcomes.append(error.code)
            assert -32003 in outcomes, outcomes
            ident = t.main.request("tree.unload", {"path": "/t"})
            got = journal.read(lambda data: b"TRACTOR_EVENT=tree-unloaded" in data or b"tree_unloaded" in data)
            t.main.answer(ident)
            ended = [r for r in got if b"TRACTOR_EVENT=crashed" in r]
            dropped = [r for r in got if b"TRACTOR_DROPPED=" in r]
            lost = sum(int(r.split(b"TRACTOR_DROPPED=")[1].split(b"\n")[0]) for r in dropped)
            assert len(ended) + lost >= 600, (len(ended), lost)
    finally:
        journal.close()


# --- processes ---


def as_other_user(function):
    """In a child that is a user of its own, whose processes are counted for itself."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(61234)
            os.setuid(61234)
            os.environ.pop("XDG_RUNTIME_DIR", None)
            function()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def spawner_of(keeper):
    """Who clones for the keeper."""
    children = open(f"/proc/{keeper}/task/{keeper}/children").read().split()
    return next(int(pid) for pid in children if open(f"/proc/{pid}/comm").read() == "tractor-spawner\n")


def no_processes(backend):
    if os.geteuid() != 0 or backend != "process":
        return  # root is not counted

    def body():
        with tractor(backend) as t:
            events = t.events()
            t.load(intensity={"max_restarts": 1000, "within_ms": 1000},
                   children=[sleeper("a", backoff={"initial_ms": 20, "max_ms": 300, "jitter": 0})])
            supervisor, keeper = t.status["pid"], t.status["keeper_pid"]
            old = limited(spawner_of(keeper), NPROC, 0)
            error = expect_error(-32012, spawn, t, "b")
            assert error.data["step"] == "clone" and error.data["errno"] == EAGAIN, error.data
            kill(t.pid("/t/a"))
            starts = []
            while len(starts) < 8:
                e = events.wait(lambda e: e["event"] == "state" and e["path"] == "/t/a" and e["to"] == "starting")
                starts.append(e["time_us"])
            assert starts[7] - starts[6] >= 290_000, starts
            idle([supervisor, keeper])
            limited(spawner_of(keeper), NPROC, old[0])
            events.state("/t/a", "ready")
            spawn(t, "b")

    as_other_user(body)


def cannot_exec_never_spins(backend):
    """With restarts without end the backoff rises to its cap, and processor time with it to nothing."""
    with tractor(backend) as t:
        events = t.events()
        t.main.request("tree.load", {"tree": {
            "tractor": 1, "name": "t", "intensity": {"max_restarts": 10000, "within_ms": 1000}, "children": [
                {"name": "x", "exec": ["/nonexistent"], "backoff": {"initial_ms": 10, "max_ms": 400, "jitter": 0}}]}})
        starts = []
        while len(starts) < 10:
            e = events.wait(lambda e: e["event"] == "state" and e["path"] == "/t/x" and e["to"] == "starting")
            starts.append(e["time_us"])
        gaps = [(b - a) // 1000 for a, b in zip(starts, starts[1:])]
        assert gaps[7] >= 395 and gaps[8] >= 395, gaps
        assert all(gap >= 95 for gap in gaps[1:]), gaps  # whatever the backoff
        idle([t.status["pid"], t.status["keeper_pid"]])
        c = t.connect()
        assert c.call("tree.get", path="/t/x")["state"] in ("backoff", "starting")
        c.call("tree.unload", path="/t")


# --- stopped and killed ---


def supervisor_stopped(backend):
    """A supervisor that answers no more is replaced after five seconds, and nothing of its tree is left."""
    with tempfile.TemporaryDirectory() as d, tractor(backend) as t:
        t.load(children=[sleeper("a"), {"name": "b", "exec": [BAD_ACTOR, "ignore-term", f"double-fork={d}/pid", "hang"]}])
        a, b, s = t.pid("/t/a"), t.pid("/t/b"), t.status["pid"]
        while not os.path.exists(f"{d}/pid") or not open(f"{d}/pid").read():
            prompt(t, 1)
        daemon = int(open(f"{d}/pid").read())
        start = time.monotonic()
        kill(s, signal.SIGSTOP)
        assert gone(s)
        took = time.monotonic() - start
        assert 3 < took < 12, took
        with contextlib.suppress(ConnectionResetError, EOFError):
            t.main.receive()
        t.main = t.connect()
        now = t.call("supervisor.status")
        assert now["pid"] != s and now["keeper_pid"] == t.status["keeper_pid"], now
        for pid in (a, b, daemon):
            assert gone(pid), pid
        t.load(children=[sleeper("a")])


def keeper_stopped(backend):
    """The supervisor notices, says so, and serves what needs no keeper; nothing is lost by it."""
    if backend != "process":
        return  # where actors live has no part in it
    with tractor(backend) as t:
        t.load(children=[sleeper("a")])
        a, keeper = t.pid("/t/a"), t.status["keeper_pid"]
        kill(keeper, signal.SIGSTOP)
        t.await_log("the keeper does not answer")
        assert f"process {keeper}" in t.call("supervisor.ping")["warning"]
        told = subprocess.run([harness.program("tractorctl"), "--socket", t.path, "ping"], capture_output=True, text=True)
        assert told.returncode == 1 and f"process {keeper}" in told.stderr, told
        waiting = t.connect()
        ident = waiting.request("actor.spawn", {"parent": "/t", "name": "b", "exec": ["sleep", "1000"]})
        assert t.get("/t/a")["state"] == "ready"
        kill(keeper, signal.SIGCONT)
        assert waiting.answer(ident)["pid"]
        assert t.call("supervisor.ping") == {} and t.pid("/t/a") == a


def actor_stopped(backend):
    """One that is stopped does not take its SIGTERM, and does not escape the ladder by it."""
    with tractor(backend) as t:
        t.load(children=[sleeper("a", grace_ms=300)])
        pid = t.pid("/t/a")
        kill(pid, signal.SIGSTOP)
        answer = t.call("actor.cancel", path="/t/a")
        assert answer["exit"]["signal"] in ("SIGTERM", "SIGKILL") and answer["exit"]["cause"] == "stop", answer
        assert gone(pid)


def awkward(d):
    """What PDEATHSIG does not reach: it changed its user, or was left by its parent."""
    children = [
        {"name": "a", "exec": [BAD_ACTOR, "ignore-term", f"double-fork={d}/daemon", f"touch={d}/a", "hang"],
         "ready": {"file": f"{d}/a"}},
        {"name": "b", "exec": [BAD_ACTOR, "ignore-term", "fork=3", "setsid-escape", f"touch={d}/b", "hang"],
         "ready": {"file": f"{d}/b"}},
        sleeper("c")]
    if os.geteuid() == 0:
        children.append({"name": "d", "exec": ["setpriv", "--reuid", "65534", "--clear-groups", "sh", "-c",
                                               "trap '' TERM HUP; touch /proc/self/comm; while :; do sleep 1000; done"],
                         "no_new_privs": False})
    return children


def processes_of(instance):
    return [pid for pid, _ in survivors(instance)]


def keeper_killed(backend):
    with tempfile.TemporaryDirectory() as d:
        t = harness.Tractor(backend)
        t.load(children=awkward(d))
        pids = [t.status["pid"], int(open(f"{d}/daemon").read())] + processes_of(t.status["instance"])
        assert len(pids) >= 9, pids
        t.process.kill()
        left_by(t, [], *pids)


def kill_at_once(t, doomed):
    for signo in signal.SIGSTOP, signal.SIGKILL:
        for pid in doomed:
            kill(pid, signo)
    t.process.wait()


def both_killed(backend):
    """The spawner sees to what PDEATHSIG does not reach, and is gone then."""
    with tempfile.TemporaryDirectory() as d:
        t = harness.Tractor(backend)
        t.load(children=awkward(d))
        pids = [t.spawner(), int(open(f"{d}/daemon").read()), *processes_of(t.status["instance"])]
        assert len(pids) >= 9, pids
        kill_at_once(t, [t.process.pid, t.status["pid"]])
        left_by(t, [], *pids)


def all_three_killed(backend):
    """Nobody is left to look. The next start of the same instance finds what stays where there are cgroups to find it by; what a
    service finds without: test-sweep.py."""
    with tempfile.TemporaryDirectory() as d:
        t = harness.Tractor(backend, args=["--instance=faults1"])
        t.load(children=awkward(d))
        main_pids = [t.pid("/t/a"), t.pid("/t/b"), t.pid("/t/c")]
        daemon = int(open(f"{d}/daemon").read())
        kill_at_once(t, [t.process.pid, t.status["pid"], t.spawner()])
        try:
            for pid in main_pids:
                assert gone(pid), pid
            assert daemon in processes_of("faults1")
            if backend == "cgroup":
                with tractor(backend, args=["--instance=faults1"]) as successor:
                    assert gone(daemon)
                    successor.load(children=[sleeper("a")])
                assert processes_of("faults1") == []
        finally:
            while left := processes_of("faults1"):  # some start others until they are ended themselves
                subprocess.run(["kill", "-KILL", *map(str, left)], check=False)
        left_by(t, [])


if __name__ == "__main__":
    main([nobody_drains, user_database_hangs, journal_missing, journal_deaf,
          no_processes, cannot_exec_never_spins, supervisor_stopped, keeper_stopped, actor_stopped, keeper_killed, both_killed,
          all_three_killed])
