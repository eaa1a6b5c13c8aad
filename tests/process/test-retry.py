#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Requests that carry a key: one effect, one answer, however often they are sent, over which connection, and whichever
supervisor serves meanwhile."""

import json
import os
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import (BAD_ACTOR, LIMIT, await_change, expect_error, gone, kill, main, program, sleeper, tractor)  # noqa: E402

NOBODY = 65534


def ask(t, method, params, key, connection=None):
    """Sends; the answer's line, as it came, is for line()."""
    c = connection or t.connect()
    c.send({"jsonrpc": "2.0", "id": 1, "method": method, "params": params, "$": {"key": key}})
    return c


def begun(*connections):
    """What was asked on them before has begun."""
    for c in connections:
        c.send({"jsonrpc": "2.0", "id": 2, "method": "supervisor.ping"})
        c.answer(2)


def line(c):
    """The next answer under id 1, byte for byte."""
    while True:
        text = c.file.readline()
        if not text:
            raise EOFError("the connection was closed")
        message = json.loads(text)
        if "method" not in message:
            assert message["id"] == 1, message
            return text


def once(t, method, params, key):
    c = ask(t, method, params, key)
    text = line(c)
    c.close()
    return text


def error_of(text):
    return json.loads(text)["error"]


def noting(t, name, **keys):
    """A child that leaves one character a start in a file; and how many there are."""
    path = os.path.join(t.dir, f"starts-{name}")
    child = {"name": name, "exec": ["/bin/sh", "-c", f"printf x >>{path}; exec sleep 1000"], "restart": "temporary", **keys}

    def starts():
        """Of a program that runs, but may not have come to its first line."""
        return await_change(t.dir, lambda: os.path.exists(path) and os.path.getsize(path))
    return child, starts


def starting(t, name="n"):
    """Starting until the test lets it be ready."""
    path = os.path.join(t.dir, f"go-{name}")
    child = sleeper(name, ready={"command": ["test", "-e", path], "interval_ms": 10}, start_timeout_ms=60000)

    def go():
        with open(path, "w"):
            pass
    return child, go


def tree(*children, name="w"):
    return {"tree": {"tractor": 1, "name": name, "children": list(children)}}


def stubborn(name="s"):
    return {"name": name, "exec": [BAD_ACTOR, "ignore-term", "notify-ready", "hang"], "ready": "notify", "grace_ms": 60000}


# --- one effect, one answer -----------------------------------------------------------------------------------------

def same_answer(backend):
    with tractor(backend) as t:
        t.load(children=[])
        child, starts = noting(t, "x")
        params = {"parent": "/t", **child}
        events = t.events("/t")
        answers = {once(t, "actor.spawn", params, "k") for _ in range(5)}
        assert len(answers) == 1 and b'"result"' in min(answers), answers
        events.state("/t/x", "ready")
        assert starts() == 1
        # An error is an answer, too: the name is free later, the answer is the same.
        refused = once(t, "actor.spawn", params, "late")
        assert error_of(refused)["code"] == -32008, refused
        t.call("tree.unload", path="/t/x")
        assert once(t, "actor.spawn", params, "late") == refused
        assert {once(t, "actor.spawn", params, "k")} == answers
        expect_error(-32004, t.get, "/t/x")
        assert starts() == 1
        # Without a key, and under another one, it is done anew.
        t.call("actor.spawn", **params)
        t.call("tree.unload", path="/t/x")
        assert b'"result"' in once(t, "actor.spawn", params, "k2")
        events.close()


def every_effect(backend):
    """Each method that has an effect answers the second time what it answered the first, though by now it would not."""
    with tractor(backend) as t:
        load = tree(sleeper("a"), sleeper("b", restart="temporary"))
        first = once(t, "tree.load", load, "load")
        assert once(t, "tree.load", load, "load") == first and b'"/w"' in first
        generation = t.get("/w/a")["generation"]
        again = [once(t, "actor.restart", {"path": "/w/a"}, "restart") for _ in range(3)]
        assert len(set(again)) == 1 and t.get("/w/a")["generation"] == generation + 1
        for method in ("freeze", "thaw"):
            if backend == "cgroup":
                assert len({once(t, f"actor.{method}", {"path": "/w/a"}, method) for _ in range(2)}) == 1
        pid = t.pid("/w/b")
        events = t.events("/w/b")
        killed = once(t, "actor.kill", {"path": "/w/b"}, "kill")
        assert gone(pid)
        events.state("/w/b", "dead", "failed")
        assert once(t, "actor.kill", {"path": "/w/b"}, "kill") == killed
        expect_error(-32002, t.call, "actor.kill", path="/w/b")
        ended = once(t, "actor.cancel", {"path": "/w/a"}, "cancel")
        t.call("actor.restart", path="/w/a")
        assert once(t, "actor.cancel", {"path": "/w/a"}, "cancel") == ended
        assert t.get("/w/a")["state"] == "ready"
        unloaded = once(t, "tree.unload", {"path": "/w"}, "unload")
        assert once(t, "tree.unload", {"path": "/w"}, "unload") == unloaded and b'"result"' in unloaded
        limits = {"path": "/none", "limits": {}}
        assert once(t, "actor.set_limits", limits, "limits") == once(t, "actor.set_limits", limits, "limits")
        events.close()


def no_effect_no_memory(backend):
    """Where nothing is done the key says nothing, be it a key or not."""
    with tractor(backend) as t:
        nothing = once(t, "tree.get", {"path": "/"}, "k")
        assert b'"result"' in once(t, "supervisor.ping", {}, "")
        t.load(children=[])
        assert once(t, "tree.get", {"path": "/"}, "k") != nothing


def applied(backend):
    """tree.apply, too; and nurseries: one ends with its connection, so that each is another, but is closed once."""
    with tractor(backend) as t:
        t.load(name="w", children=[])
        first = once(t, "tree.apply", tree(sleeper("a")), "apply")
        assert json.loads(first)["result"]["added"] == ["/w/a"], first
        assert once(t, "tree.apply", tree(sleeper("a")), "apply") == first
        a, b = (json.loads(once(t, "nursery.open", {"parent": "/w"}, "open"))["result"]["path"] for _ in range(2))
        assert a != b
        path = t.call("nursery.open", parent="/w")["path"]
        closed = once(t, "nursery.close", {"path": path}, "close")
        assert b'"result"' in closed and once(t, "nursery.close", {"path": path}, "close") == closed


def conflict(backend):
    with tractor(backend) as t:
        t.load(children=[sleeper("a")])
        once(t, "actor.kill", {"path": "/t/a", "signal": 18}, "k")
        for method, params in (("actor.kill", {"path": "/t/a", "signal": 10}), ("actor.freeze", {"path": "/t/a"}),
                               ("actor.kill", {"signal": 18, "path": "/t/a", "more": 1})):
            error = error_of(once(t, method, params, "k"))
            assert error["code"] == -32600 and "'k'" in error["message"] and "actor.kill" in error["message"], error
        c = t.connect()
        c.send({"jsonrpc": "2.0", "id": 1, "method": "actor.kill", "params": {"path": "/t/a", "signal": 18},
                "$": {"key": "k", "if_id": "0123"}})
        assert error_of(line(c))["code"] == -32600
        c.send({"jsonrpc": "2.0", "id": 1, "method": "actor.kill", "params": {"path": "/t/a"},
                "$": {"key": "id", "if_id": "0123"}})
        assert error_of(line(c))["code"] == -32004  # the condition goes along


def order(backend):
    """A request with a key is begun, and what is refused at once is refused, before the next on its connection."""
    with tractor(backend) as t:
        t.load(children=[sleeper("a")])
        c = t.connect()
        c.sock.sendall(b"".join(json.dumps(m).encode() + b"\n" for m in (
            {"jsonrpc": "2.0", "id": 1, "method": "actor.spawn", "params": {"parent": "/t", **sleeper("x")},
             "$": {"key": "1"}},
            {"jsonrpc": "2.0", "id": 3, "method": "tree.get", "params": {"path": "/t/x", "depth": 0}},
            {"jsonrpc": "2.0", "id": 5, "method": "actor.spawn", "params": {"parent": "/none"}, "$": {"key": "2"}},
            {"jsonrpc": "2.0", "id": 7, "method": "supervisor.ping"},
        )))
        c.sock.shutdown(socket.SHUT_WR)
        answers = [json.loads(text) for text in c.file]
        assert sorted(a["id"] for a in answers) == [1, 3, 5, 7], answers
        by_id = {a["id"]: a for a in answers}
        assert by_id[3]["result"]["path"] == "/t/x" and "error" in by_id[5], answers
        ids = [a["id"] for a in answers]
        assert ids.index(5) < ids.index(7), ids


def pidfd(backend):
    """A pidfd is opened again while the process lives; after that the answer comes without."""
    def ask_fds():
        c = ask(t, "actor.spawn", params, "k")
        data, fds, _, _ = socket.recv_fds(c.sock, 65536, 4)
        c.close()
        return json.loads(data), fds
    with tractor(backend) as t:
        t.load(children=[])
        params = {"parent": "/t", **sleeper("x", restart="temporary"), "want": ["pidfd"]}
        (first, (a,)), (second, (b,)) = ask_fds(), ask_fds()
        assert first == second and first["$"] == {"fds": 1}
        pids = [int(next(row for row in open(f"/proc/self/fdinfo/{fd}") if row.startswith("Pid:")).split()[1]) for fd in (a, b)]
        assert pids == [first["result"]["pid"]] * 2
        events = t.events("/t/x")
        kill(pids[0])
        events.state("/t/x", "dead", "failed")
        third, none = ask_fds()
        assert none == [] and "$" not in third and third["result"] == first["result"]
        os.close(a)
        os.close(b)
        events.close()
        # A portal is given once, to one: not under a key.
        error = error_of(once(t, "actor.spawn", {**params, "name": "y", "channel": "fd", "want": ["portal"]}, "portal"))
        assert error["code"] == -32010 and "actor.connect" in error["message"], error
        expect_error(-32004, t.get, "/t/y")


# --- connections lost, and others that wait -------------------------------------------------------------------------

def lost_midway(backend):
    with tractor(backend) as t:
        child, go = starting(t)
        events = t.events()
        ask(t, "tree.load", tree(child), "load").close()
        events.state("/w/n", "starting")
        c = ask(t, "tree.load", tree(child), "load")
        go()
        first = line(c)
        assert json.loads(first)["result"] == {"path": "/w"}
        assert once(t, "tree.load", tree(child), "load") == first
        assert [e["path"] for e in events.seen if e["event"] == "loaded"] in ([], ["/w"])

        child, starts = noting(t, "x")
        params = {"parent": "/w", **child}
        ask(t, "actor.spawn", params, "spawn").close()
        answer = json.loads(once(t, "actor.spawn", params, "spawn"))["result"]
        assert answer["pid"] == t.pid("/w/x")

        t.call("actor.spawn", parent="/w", **stubborn())
        events.state("/w/s", "ready")
        pid, cancel = t.pid("/w/s"), {"path": "/w/s"}
        ask(t, "actor.cancel", cancel, "cancel").close()
        events.state("/w/s", "stopping")
        c = ask(t, "actor.cancel", cancel, "cancel")
        begun(c)
        kill(pid)
        ended = line(c)
        assert json.loads(ended)["result"]["exit"]["signal"] == "SIGKILL", ended
        assert once(t, "actor.cancel", cancel, "cancel") == ended

        # Nobody waits any more when it comes to something.
        t.call("actor.spawn", parent="/w", **stubborn("s2"))
        events.state("/w/s2", "ready")
        pid, cancel = t.pid("/w/s2"), {"path": "/w/s2"}
        ask(t, "actor.cancel", cancel, "cancel2").close()
        events.state("/w/s2", "stopping")
        kill(pid)
        events.state("/w/s2", "dead")
        t.call("actor.restart", path="/w/s2")
        assert json.loads(once(t, "actor.cancel", cancel, "cancel2"))["result"]["exit"]["pid"] == pid
        assert t.get("/w/s2")["state"] == "ready"
        kill(t.pid("/w/s2"))
        assert starts() == 1
        events.close()


def waiting_together(backend):
    with tractor(backend) as t:
        child, go = starting(t)
        events = t.events()
        a, b, c = (ask(t, "tree.load", tree(child), "k") for _ in range(3))
        begun(a, b, c)
        events.state("/w/n", "starting")
        # One goes in silence, one says so: the third doesn't notice.
        a.close()
        b.send({"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": 1}})
        assert error_of(line(b))["code"] == -32800
        d = ask(t, "tree.load", tree(child), "k")
        begun(d)
        go()
        first, second = line(c), line(d)
        assert first == second and json.loads(first)["result"] == {"path": "/w"}
        assert once(t, "tree.load", tree(child), "k") == first
        events.close()


def last_one_cancels(backend):
    """The last who waits takes the tree out again; that is the answer then."""
    with tractor(backend) as t:
        child, go = starting(t)
        events = t.events()
        a, b = (ask(t, "tree.load", tree(child), "k") for _ in range(2))
        begun(a, b)
        events.state("/w/n", "starting")
        for c in (a, b):
            c.send({"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": 1}})
            error = error_of(line(c))
            assert error["code"] == -32800, error
        assert error_of(once(t, "tree.load", tree(child), "k")) == error
        expect_error(-32004, t.get, "/w")
        # What was asked of an actor that is being stopped goes on: only the waiting ends.
        t.load(children=[stubborn()])
        pid = t.pid("/t/s")
        c = ask(t, "actor.cancel", {"path": "/t/s"}, "k2")
        events.state("/t/s", "stopping")
        c.send({"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": 1}})
        cancelled = line(c)
        assert error_of(cancelled)["code"] == -32800
        assert once(t, "actor.cancel", {"path": "/t/s"}, "k2") == cancelled
        kill(pid)
        events.state("/t/s", "dead")
        events.close()


def deadlines(backend):
    """Each asker's own; that of the last takes the tree out again, as its cancellation would."""
    with tractor(backend) as t:
        child, go = starting(t)
        events = t.events()
        patient = ask(t, "tree.load", tree(child), "k")
        begun(patient)
        hasty = t.connect()
        hasty.send({"jsonrpc": "2.0", "id": 1, "method": "tree.load", "params": tree(child),
                    "$": {"key": "k", "deadline_ms": 50}})
        assert error_of(line(hasty))["code"] == -32007
        events.state("/w/n", "starting")
        go()
        assert json.loads(line(patient))["result"] == {"path": "/w"}
        child, go = starting(t, "n2")
        hasty.send({"jsonrpc": "2.0", "id": 1, "method": "tree.load", "params": tree(child, name="w2"),
                    "$": {"key": "k2", "deadline_ms": 50}})
        assert error_of(line(hasty))["code"] == -32007
        expect_error(-32004, t.get, "/w2")
        assert error_of(once(t, "tree.load", tree(child, name="w2"), "k2"))["code"] == -32800
        events.close()


def answers_at_the_end(backend):
    """The end of the last actor is what a request waited for: it is told before the supervisor ends, though the answer
    takes another turn."""
    with tractor(backend) as t:
        up, fifo = (os.path.join(t.dir, name) for name in ("up", "fifo"))
        os.mkfifo(fifo)
        t.load(children=[{"name": "s", "exec": ["/bin/sh", "-c", f"trap '' TERM; : >{up}; read x <{fifo}; exit 0"],
                          "ready": {"command": ["test", "-e", up], "interval_ms": 10}, "grace_ms": 60000}])
        waiting = [ask(t, "actor.cancel", {"path": "/t/s"}, f"k{i}") for i in range(64)]
        begun(*waiting)
        kill(t.process.pid, signal.SIGTERM)
        with open(fifo, "w"):
            pass
        for c in waiting:
            answer = json.loads(line(c))
            assert answer["result"]["exit"]["code"] == 0, answer
        assert t.process.wait(LIMIT) == 0


# --- whose, and how many --------------------------------------------------------------------------------------------

def other_users_key(backend):
    """The supervisor's own user and root use the same key: each has its own answer."""
    if os.geteuid() != 0 or backend != "process":
        return
    if subprocess.run(["test", "-x", program("tractord")], user=NOBODY).returncode:
        print("   not run: this build can't be reached by another user", file=sys.stderr)
        return
    with tractor(backend, user=NOBODY) as t:
        t.load(children=[])

        def theirs():
            os.seteuid(NOBODY)  # whose connection it is, is settled as it is made
            try:
                c = t.connect()
            finally:
                os.seteuid(0)
            return line(ask(t, "actor.spawn", {"parent": "/t", **sleeper("y")}, "k", c))
        mine = once(t, "actor.spawn", {"parent": "/t", **sleeper("x")}, "k")
        first = theirs()
        assert json.loads(first)["result"]["path"] == "/t/y" and theirs() == first
        assert once(t, "actor.spawn", {"parent": "/t", **sleeper("x")}, "k") == mine


ASKS_TWICE = """
import os, socket, sys
channel = socket.socket(fileno=int(os.environ["TRACTOR_CHANNEL_FD"]))
lines = channel.makefile("rb")
with open(sys.argv[1], "wb") as f:
    for _ in range(2):
        channel.sendall(sys.argv[2].encode() + b"\\n")
        f.write(lines.readline())
channel.sendall(b'{"jsonrpc":"2.0","method":"$/ready"}\\n')
lines.read()
"""


def actors_keys(backend):
    """An actor's keys are its own, though all are of one user."""
    with tractor(backend) as t:
        def asking(name):
            request = {"jsonrpc": "2.0", "id": 1, "method": "actor.kill", "$": {"key": "k"},
                       "params": {"path": f"/t/{name}", "signal": "SIGCONT"}}
            return {"name": name, "channel": "fd", "ready": "channel", "start_timeout_ms": 20000,
                    "exec": [sys.executable, "-c", ASKS_TWICE, os.path.join(t.dir, name), json.dumps(request)]}
        once(t, "actor.kill", {"path": "/none"}, "k")
        t.load(children=[asking("a"), asking("b")])
        for name in "ab":
            with open(os.path.join(t.dir, name)) as f:
                assert [json.loads(row) for row in f] == [{"jsonrpc": "2.0", "id": 1, "result": {}}] * 2


def keys(backend):
    with tractor(backend) as t:
        for key in ("", "x" * 129, "a\tb", "\u00e9", "a\x7f"):
            error = error_of(once(t, "tree.load", tree(), key))
            assert error["code"] == -32600 and "key" in error["message"], error
        c = t.connect()
        for key in (1, None, ["a"]):
            c.send({"jsonrpc": "2.0", "id": 1, "method": "tree.load", "params": tree(), "$": {"key": key}})
            assert error_of(line(c))["code"] == -32600
        expect_error(-32004, t.get, "/w")
        for key in ("x" * 128, "a b", "~", "\"\\/"):
            name = f"w{len(key)}"
            assert once(t, "tree.load", tree(name=name), key) == once(t, "tree.load", tree(name=name), key)


def forgotten_in_turn(backend):
    """64 answers a user; the one that was used least recently goes first."""
    with tractor(backend) as t:
        t.load(children=[])

        def spawn(i):
            return once(t, "actor.kill", {"path": f"/t/{i}"}, f"k{i}")

        def remembered(i):
            """Asked for something else: forgotten is done (and refused for another reason), remembered a conflict."""
            return error_of(once(t, "actor.kill", {"path": "/none"}, f"k{i}"))["code"] == -32600
        for i in range(64):
            spawn(i)
        spawn(0)  # used again
        assert all(remembered(i) for i in (0, 1, 63))
        spawn(64)
        assert remembered(0) and remembered(2) and not remembered(1)


def pending_never_go(backend):
    with tractor(backend) as t:
        t.load(children=[stubborn(), sleeper("a")])
        pid, events = t.pid("/t/s"), t.events("/t/s")
        waiting = [ask(t, "actor.cancel", {"path": "/t/s"}, f"k{i}") for i in range(63)]
        begun(*waiting)
        for i in range(10):  # the last place is for them all, one after the other
            assert b'"result"' in once(t, "actor.kill", {"path": "/t/a", "signal": "SIGCONT"}, f"a{i}")
        waiting.append(ask(t, "actor.cancel", {"path": "/t/s"}, "k63"))
        begun(waiting[-1])
        events.state("/t/s", "stopping")
        error = error_of(once(t, "actor.kill", {"path": "/t/a"}, "one more"))
        assert error["code"] == -32011 and "64" in error["message"], error
        t.call("actor.kill", path="/t/a", signal="SIGCONT")  # without a key there is no bound
        twice = ask(t, "actor.cancel", {"path": "/t/s"}, "k0")  # nor for one that is asked for already
        begun(twice)
        kill(pid)
        assert len({line(c) for c in [*waiting, twice]}) == 1
        assert b'"result"' in once(t, "actor.kill", {"path": "/t/a", "signal": "SIGCONT"}, "one more")
        events.close()


def too_long(backend):
    """An answer of more than 24 KiB is told once; after that only that there was one."""
    with tractor(backend) as t:
        wrong = tree(*({"name": f"c{i}", "exec": ["true"], "no_such_key": 1} for i in range(900)))
        assert len(error_of(once(t, "tree.load", wrong, "k"))["data"]["problems"]) == 900
        error = error_of(once(t, "tree.load", wrong, "k"))
        assert error["code"] == -32011 and "too long" in error["message"], error
        kill(t.status["pid"])
        assert gone(t.status["pid"])
        again = error_of(once(t, "tree.load", wrong, "k"))
        assert again == error


# --- a supervisor lost ----------------------------------------------------------------------------------------------

def successor(backend):
    with tractor(backend) as t:
        t.load(children=[])
        child, starts = noting(t, "x")
        params = {"parent": "/t", **child}
        events = t.events()
        spawned = once(t, "actor.spawn", params, "spawn")
        events.state("/t/x", "ready")
        assert starts() == 1
        refused = once(t, "actor.kill", {"path": "/none"}, "kill")
        slow, go = starting(t)
        waiting = ask(t, "tree.load", tree(slow), "load")
        events.state("/w/n", "starting")
        events.close()
        for _ in range(3):
            status = t.connect().call("supervisor.status")
            kill(status["pid"])
            assert gone(status["pid"])
            assert once(t, "actor.spawn", params, "spawn") == spawned
            assert once(t, "actor.kill", {"path": "/none"}, "kill") == refused
            lost = error_of(once(t, "tree.load", tree(slow), "load"))
            assert lost["code"] == -32015, lost
            assert lost["data"] == {"type": "ConnectionLost", "outcome": "unknown", "method": "tree.load"}, lost
            assert error_of(once(t, "tree.load", tree(), "load"))["code"] == -32600
        try:
            waiting.receive()
            raise AssertionError("who waited heard something of a supervisor that was killed")
        except (EOFError, ConnectionResetError):
            pass
        assert starts() == 1 and t.connect().call("tree.get")["children"] == []
        # A new key is a new request.
        go()
        assert b'"/w"' in once(t, "tree.load", tree(slow), "load again")
        assert b'"/w"' in once(t, "tree.load", tree(slow), "load again")
        t.main = t.connect()
        t.status = t.call("supervisor.status")


def many_successors(backend):
    """A full memory is handed on whole, and bounded as ever."""
    with tractor(backend) as t:
        answers = {i: once(t, "actor.kill", {"path": f"/none/{i}"}, f"k{i}") for i in range(70)}
        for _ in range(2):
            pid = t.connect().call("supervisor.status")["pid"]
            kill(pid)
            assert gone(pid)
            for i in range(6, 70):
                assert once(t, "actor.kill", {"path": f"/none/{i}"}, f"k{i}") == answers[i]
        assert b'"/other"' in once(t, "actor.kill", {"path": "/other"}, "k5")
        t.main = t.connect()
        t.status = t.call("supervisor.status")


if __name__ == "__main__":
    main([same_answer, every_effect, no_effect_no_memory, applied, conflict, order, pidfd, lost_midway,
          waiting_together,
          last_one_cancels, deadlines, answers_at_the_end, other_users_key, actors_keys, keys, forgotten_in_turn,
          pending_never_go, too_long, successor, many_successors])
