#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Output of actors where there is no journal: disks that are full, and a logger that is killed, stopped or
orphaned. Writers never fail by it, the supervisor never waits."""

import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from faults import fill, prompt, small_disk, spawn, without_journal  # noqa: E402
from tractor import BAD_ACTOR, await_change, expect_error, gone, kill, main, read_text, tractor  # noqa: E402

ENOSPC = 28


# --- disks ---


def full_disk_of_blocks(backend):
    """Actors flood the disk that holds their own output: what it does not take is dropped and counted, nobody waits."""
    if os.geteuid() != 0:
        return
    without_journal()
    with small_disk("size=64k,nr_inodes=64") as d, tractor(backend, env={"STATE_DIRECTORY": f"{d}/state"}) as t:
        folder = f"{d}/state/{t.status['instance']}"
        ballast = fill(d)
        t.load(children=[{"name": n, "exec": [BAD_ACTOR, "flood=3000000", "notify-ready", "hang"], "ready": "notify"}
                         for n in "ab"])  # both come to their end, with no room for a byte
        prompt(t, 200)
        t.await_log("output is lost: No space left on device")
        for name in ballast:
            os.unlink(name)
        os.mkfifo(f"{t.dir}/go")
        spawn(t, "c", exec=["sh", "-c", "while read x; do echo $x; done <go"], cwd=t.dir)
        with open(f"{t.dir}/go", "w", buffering=1) as go:
            def log():
                return [line.split(" ", 3)[1:] for line in read_text(f"{folder}/t+c.log").splitlines()]
            print("one", file=go)
            await_change(folder, lambda: os.path.exists(f"{folder}/t+c.log") and log() == [["stdout", "F", "one"]])
            ballast = fill(d)
            print("x" * 6000, file=go)
            t.await_log("t+c.log: can't be written")
            assert log() == [["stdout", "F", "one"]]
            for name in ballast:
                os.unlink(name)
            print("two", file=go)
            await_change(folder, lambda: log()[-1:] == [["stdout", "F", "two"]])
            assert log()[1:2] == [["stderr", "F", "tractor: 6001 bytes lost: No space left on device"]], log()
        prompt(t, 200)


def full_disk_of_inodes(backend):
    """No file can be made: a start that needs one fails with its step and errno; output that needs one is lost alone."""
    if os.geteuid() != 0:
        return
    without_journal()
    with small_disk("size=64k,nr_inodes=8") as d, tractor(backend, env={"STATE_DIRECTORY": f"{d}/state"}) as t:
        t.load(children=[], intensity={"max_restarts": 1000, "within_ms": 1000})
        files = fill(d)
        assert files
        error = expect_error(-32012, spawn, t, "own", stdout=f"file:{d}/own")
        assert error.data["step"] == "stdio" and error.data["errno"] == ENOSPC, error.data
        spawn(t, "default", exec=["sh", "-c", "echo lost; sleep 1000"])
        t.await_log("t+default.log: can't be written, output is lost: No space left on device")
        prompt(t)
        for name in files:
            os.unlink(name)
        assert spawn(t, "own", stdout=f"file:{d}/own")["pid"] > 0


# --- the logger ---


def output_past_its_bound(backend):
    """Nobody reads, nobody rotates: the oldest goes, and the disk has room for no more than the bound."""
    if os.geteuid() != 0:
        return
    without_journal()
    with small_disk("size=4200k") as d, tractor(backend, env={"STATE_DIRECTORY": d}) as t:
        t.load(children=[{"name": "x", "exec": [BAD_ACTOR, "flood=60000000", "touch=" + t.dir + "/done", "hang"],
                          "ready": {"file": t.dir + "/done"}, "restart": "temporary"}])
        prompt(t)
        assert "output is lost" not in read_text(t.log_path)


def logger_killed(backend):
    """Nobody who writes ever knows; what is said afterwards is kept, in order; last words come as before."""
    without_journal()
    with tractor(backend) as t:
        t.load(children=[])
        counter = "i=0; while read x; do i=$((i+1)); echo out $i; echo err $i >&2; done <go; exit 5"
        os.mkfifo(f"{t.dir}/go")
        spawn(t, "x", exec=["sh", "-c", counter], cwd=t.dir)
        go = os.open(f"{t.dir}/go", os.O_WRONLY)
        rounds = 5
        for i in range(1, rounds + 1):
            os.write(go, b"x\n")
            t.await_output("/t/x", lambda said: {("stdout", f"out {i}"), ("stderr", f"err {i}")} <= set(said))
            logger = t.logger()
            kill(logger)
            assert gone(logger)
        os.write(go, b"x\n")
        events = t.events()
        os.close(go)
        assert events.state("/t/x", "failed")["exit"]["code"] == 5
        t.await_log(f"last words: err {rounds + 1}")
        for stream, word in (("stdout", "out"), ("stderr", "err")):
            said = [line for s, line in t.output("/t/x") if s == stream]
            assert said == [f"{word} {i}" for i in range(1, rounds + 2)], said
        prompt(t)


def logger_stopped(backend):
    """As on a disk that hangs: the writers wait, the supervisor does not, and nobody's restart."""
    without_journal()
    with tractor(backend) as t:
        t.load(children=[])
        spawn(t, "x", exec=["sh", "-c", "echo up; sleep 1000"])
        t.await_output("/t/x", lambda said: said)
        logger = t.logger()
        os.kill(logger, signal.SIGSTOP)
        spawn(t, "full", exec=[BAD_ACTOR, "flood=1000000", "hang"])
        spawn(t, "dies", exec=["sh", "-c", "echo bye >&2; echo >said; sleep 1000"], restart="permanent",
              cwd=t.dir, ready={"file": "said"})
        events = t.events()
        while t.get("/t/dies")["state"] != "ready":
            events.next()
        start = time.monotonic()
        kill(t.pid("/t/dies"))
        events.state("/t/dies", "starting")
        assert events.state("/t/dies", "ready")
        assert time.monotonic() - start < 1.5
        prompt(t, 200)
        assert t.call("actor.cancel", path="/t/full")["exit"]["cause"] == "stop"
        os.kill(logger, signal.SIGCONT)
        t.await_output("/t/dies", lambda said: len(said) == 2)


def logger_survives_its_supervisor(backend):
    """It takes what the actors said to their end, and then ends itself; the successor has one of its own."""
    without_journal()
    with tractor(backend) as t:
        t.load(children=[])
        spawn(t, "x", exec=["sh", "-c", "trap '' TERM; i=0; while :; do i=$((i+1)); echo $i; done"])
        t.await_output("/t/x", lambda said: len(said) > 1000)
        logger, actor = t.logger(), t.pid("/t/x")
        for connection in t.connections:
            connection.close()
        kill(t.status["pid"])
        assert gone(actor) and gone(logger)
        said = [int(line) for _, line in t.output("/t/x") if line]
        assert said == list(range(said[0], said[0] + len(said))), "a gap"
        t.main = t.connect()
        t.status = t.call("supervisor.status")
        t.load(children=[{"name": "y", "exec": ["sh", "-c", "echo new; sleep 1000"]}])
        t.await_output("/t/y", lambda said: said == [("stdout", "new")])
        assert t.logger() not in (None, logger)


if __name__ == "__main__":
    main([full_disk_of_blocks, full_disk_of_inodes, output_past_its_bound, logger_killed, logger_stopped,
          logger_survives_its_supervisor])
