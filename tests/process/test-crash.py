#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an actor reports of its own crash: in its record, in `exit`, and to those who own it or are connected to it."""
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from peers import Client  # noqa: E402
from tractor import BUILD, expect_error, main, read_text, tractor  # noqa: E402

RIG = os.path.join(BUILD, "tests/process/crash-rig")
HELPER = os.path.join(BUILD, "src/crash/tractor-crash")


def line(method, **params):
    return "say=" + json.dumps({"jsonrpc": "2.0", "method": method, "params": params})


def rig(name, *actions, **keys):
    return {"name": name, "exec": [RIG, HELPER, *actions], "channel": "fd", "restart": "temporary", **keys}


def serving(name):
    return rig(name, line("$/hello", protocol="tractor/1"), line("$/ready"), "wait", ready="channel")


def owner_of(t):
    client = Client(t.path, hello=True)
    client.call("nursery.open", parent="/", name="n", strategy="one_for_one")
    return client


def ends(client, *actions, name="x"):
    """How it ended, as its owner is told."""
    client.call("actor.spawn", parent="/n", **rig(name, *actions))
    return client.until("$/child_exited")


def crashed_record(t, backend, told, *due):
    """The one record of that end."""
    path, match = told["path"], f"TRACTOR_ACTOR_ID={told['id']}"
    if backend != "scope":
        t.await_log(due[0])
        (found,) = [x for x in read_text(t.log_path).splitlines() if path + ": killed by" in x]
        assert all(text in found for text in due), found
        return found
    subprocess.run(["timeout", "20", "sh", "-c", f"journalctl -f -n all {match} TRACTOR_EVENT=crashed | "
                    "grep -q -m1 killed"], check=False)
    out = subprocess.run(["journalctl", "-ojson", "--no-pager", match, "TRACTOR_EVENT=crashed"],
                         check=True, capture_output=True, text=True).stdout
    (record,) = [json.loads(x) for x in out.splitlines() if x.startswith("{")]
    assert all(text in record["TRACTOR_BACKTRACE"] for text in due), record
    return record


def records(t, backend, pattern):
    """The messages of the supervisor about its trees, as they were written, once one fits."""
    if backend != "scope":
        def said():
            return re.findall(r": (/\S*: .*)", read_text(t.log_path))
        t.await_log(pattern)
        return said()
    match = f"_PID={t.status['pid']}"
    subprocess.run(["timeout", "20", "sh", "-c", f"journalctl -f -n all -ocat {match} | grep -q -m1 -F '{pattern}'"],
                   check=False)
    out = subprocess.run(["journalctl", "-ocat", "--no-pager", match], check=True, capture_output=True, text=True).stdout
    return [x for x in out.splitlines() if x.startswith("/")]


def reason_before_verdict(backend):
    """What an end led to is on record after that end, however long its last words are looked for."""
    with tractor(backend) as t:
        os.mkfifo(f"{t.dir}/go")
        never = {"intensity": {"max_restarts": 0, "within_ms": 1000}}
        t.load(**never, children=[{"name": "other", "exec": ["sleep", "1000"]}, {"name": "g", **never, "children": [
            {"name": "bad", "exec": ["sh", "-c", "echo why >&2; read x <go; exit 3"], "cwd": t.dir}]}])
        os.close(os.open(f"{t.dir}/go", os.O_WRONLY))
        said = records(t, backend, "/t: failed")
        due = ["/t/g/bad: exited with code 3", "/t/g: gave up on /t/g/bad", "/t/g/bad: failed",
               "/t: gave up on /t/g", "/t/g: failed", "/t: failed"]
        places = [[x.startswith(text) for x in said].index(True) for text in due]
        assert places[-1] == len(said) - 1 and any(x.startswith("/t/other: stopped") for x in said), said
        assert places == sorted(places) and said[places[0]].endswith("; last words: why"), said


def told_to_the_owner(backend):
    with tractor(backend) as t:
        client = owner_of(t)
        events = t.events()
        told = ends(client, "threads=1", "null")
        exit = told["exit"]
        assert exit["signal"] == "SIGSEGV" and exit["cause"] == "signal", told
        assert re.fullmatch("[0-9a-f]{32}", exit["report"]), told
        assert told["message"] == "SIGSEGV at 0x0: nothing is mapped there, in task main", told
        assert told["backtrace"][0].startswith("#0 crash_here (crash-rig.c:") and len(told["backtrace"]) <= 32, told
        assert events.wait(lambda e: e["event"] == "exited")["exit"] == exit
        assert t.get("/n/x")["exit"] == exit
        record = crashed_record(t, backend, told, "#0 crash_here (crash-rig.c:", "SIGSEGV at 0x0")
        if backend == "scope":
            assert record["TRACTOR_REPORT"] == exit["report"], record
            assert "waiter\n#0 " in record["TRACTOR_BACKTRACE"], record
            assert "; SIGSEGV at 0x0" in record["MESSAGE"] and "crash_here" in record["MESSAGE"], record
        else:
            assert " < #1 " in record, record
        # As it would have ended without a handler.
        other = ends(client, "remove", "null", name="y")
        assert other["exit"]["core"] == exit["core"] and "report" not in other["exit"], other
        assert "backtrace" not in other and "message" not in other, other
        client.close()


def told_to_peers(backend):
    """On the control connection, on one that was handed over, and by the errors of the supervisor's own."""
    with tractor(backend) as t:
        t.load(children=[serving("a")])
        holder, attached = Client(t.path, hello=True), Client(t.path, hello=True)
        holder.portal("/t/a")
        attached.call("actor.attach", path="/t/a")
        t.call("actor.kill", path="/t/a", signal="SEGV")
        for client in holder, attached:
            told = client.until("$/peer_exited")
            assert told["exit"]["signal"] == "SIGSEGV" and told["exit"]["report"], told
            assert told["message"].startswith("SIGSEGV sent by process "), told
            assert any(" main (" in frame for frame in told["backtrace"]), told
            client.close()


def told_by_load(backend):
    with tractor(backend) as t:
        error = expect_error(-32014, t.load, intensity={"max_restarts": 0, "within_ms": 1000},
                             children=[rig("a", "abort", ready="channel", restart="permanent")])
        (cause,) = error.data["causes"]
        assert "died of SIGABRT (cause signal): SIGABRT" in cause["message"], cause
        assert any("abort_now" in frame for frame in cause["data"]["backtrace"]), cause


def overflow_is_named(backend):
    with tractor(backend) as t:
        client = owner_of(t)
        told = ends(client, "overflow")
        assert told["message"] == "stack of task digger (256 KiB) overflowed", told
        assert len(told["backtrace"]) == 32, told
        crashed_record(t, backend, told, "stack of task digger (256 KiB) overflowed")
        client.close()


def under_a_filter(backend):
    """Which forbids to look at processes: what it knows of itself is told."""
    with tractor(backend) as t:
        client = owner_of(t)
        client.call("actor.spawn", parent="/n", **rig("x", "overflow", seccomp="default"))
        told = client.until("$/child_exited")
        assert told["exit"]["signal"] == "SIGSEGV" and told["exit"]["report"], told
        assert told["message"] == "stack of task digger (256 KiB) overflowed" and told["backtrace"] == [], told
        client.close()


def after_a_broken_line(backend):
    """What the actor was saying is ended by the report's newline; so is a channel that it has filled."""
    with tractor(backend) as t:
        client = owner_of(t)
        for i, actions in enumerate((["half", "null"], [line("$/hello", protocol="tractor/1"), "fill", "half", "null"])):
            told = ends(client, *actions, name=f"x{i}")
            assert told["backtrace"][0].startswith("#0 crash_here"), told
        client.close()


def only_of_the_dead(backend):
    """A report of one that does not die by a signal is dropped, with all that would come of it later."""
    crash = line("$/crash", signal="SIGSEGV", message="not so", backtrace=["#0 f"])
    with tractor(backend) as t:
        client = owner_of(t)
        told = ends(client, crash, "exit=3")
        assert told["exit"]["code"] == 3 and "report" not in told["exit"] and "backtrace" not in told, told
        # The ladder's SIGKILL may come while it reports.
        told = ends(client, crash, "raise=9", name="y")
        assert told["exit"]["signal"] == "SIGKILL" and told["backtrace"] == ["#0 f"], told
        # The last one counts; each generation has its own.
        told = ends(client, crash, line("$/crash", signal="SIGBUS"), "raise=9", name="z")
        assert told["message"] == "SIGBUS" and told["backtrace"] == [], told
        client.call("actor.restart", path="/n/z")
        again = client.until("$/child_exited")
        assert again["exit"]["report"] != told["exit"]["report"], (told, again)
        client.close()


def hostile(backend):
    """A report is the actor's word: bounded, each frame a line, and nothing in it that a terminal would obey."""
    with tractor(backend) as t:
        client = owner_of(t)
        for i, params in enumerate(([1], {"signal": 11}, {"message": "m"}, {"signal": "S\0"})):
            told = ends(client, "say=" + json.dumps({"jsonrpc": "2.0", "method": "$/crash", "params": params}),
                        "raise=9", name=f"no{i}")
            assert "report" not in told["exit"], told
        told = ends(client, line("$/crash", signal="SIGSEGV", message="a\nb\33[1m" + "é" * 1000,
                                 backtrace=["f\r\n\x7f" + "x" * 1000, 7, None] * 20,
                                 threads=[{"tid": "x", "name": {}, "backtrace": 3}, 4]), "raise=9")
        assert told["message"].startswith("a b [1mé") and len(told["message"].encode()) <= 300, told
        assert len(told["backtrace"]) <= 32 and all(len(f) <= 300 and f.startswith("f   x") for f in told["backtrace"]), told
        client.close()


if __name__ == "__main__":
    main([reason_before_verdict, told_to_the_owner, told_to_peers, told_by_load, overflow_is_named, under_a_filter,
          after_a_broken_line, only_of_the_dead, hostile])
