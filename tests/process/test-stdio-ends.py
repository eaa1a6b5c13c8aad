#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How programs on stdin and stdout begin and end: with their adapter, which is never seen in the tree."""

import os
import signal
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from peers import Client, attached, adapter, say, stdio  # noqa: E402
from tractor import DAEMONS, expect_error, gone, libexec, main, tractor  # noqa: E402


def log_of(t):
    return open(t.log_path, encoding="utf-8", errors="replace").read()


def killed(backend):
    """Who waits is told how it ended; what it had answered before counts; the next one serves."""
    with tractor(backend) as t:
        t.load(children=[stdio("a")])
        events = t.events("/t/a")
        client = Client(t.path, hello=True)
        portal, own, plain = client.portal("/t/a"), attached(t, "/t/a", hello=True), attached(t, "/t/a")
        pid, server, ident = t.pid("/t/a"), adapter(t, "/t/a"), t.get("/t/a")["id"]
        waiting = [(c, c.request("hold", [1])) for c in (portal, own, plain)]
        answered = plain.request("say", ['{"jsonrpc":"2.0","id":$ID,"result":"last words"}\n'])
        dies = plain.request("die", [])
        assert plain.answer(answered) == "last words"
        for connection, number in [*waiting, (plain, dies)]:
            error = expect_error(-32003, connection.answer, number)
            assert error.data["actor"] == "/t/a" and error.data["exit"]["signal"] == "SIGKILL", error.data
            assert error.data["exit"]["cause"] == "signal" and error.data["exit"]["pid"] == pid, error.data
        for connection in own, client:
            told = connection.until("$/peer_exited")
            assert told["path"] == "/t/a" and told["id"] == ident and told["exit"]["signal"] == "SIGKILL", told
        assert own.eof() and plain.eof() and portal.eof()
        assert gone(server)
        # The adapter's end is no part of the actor's story: it starts anew at once.
        change = events.wait(lambda e: e["event"] == "state")
        assert (change["from"], change["to"]) == ("ready", "starting"), change
        events.state("/t/a", "ready")
        assert "left processes behind" not in log_of(t)
        again = client.portal("/t/a")
        assert say(again, "big", 2) == "xx"
        for connection in portal, own, plain, again, client:
            connection.close()


def answered_and_gone(backend):
    """A program that answers and ends is heard, even where it leaves its stdout to a child."""
    script = 'read -r line; sleep 1000 & printf \'{"jsonrpc":"2.0","id":1,"result":"%s"}\\n\' done; exit 3'
    with tractor(backend) as t:
        t.load(children=[{"name": "a", "exec": ["sh", "-c", script], "channel": "stdio", "restart": "temporary"}])
        events = t.events("/t/a")
        client = Client(t.path)
        portal = client.portal("/t/a")
        first, second = portal.request("x"), portal.request("y")
        assert portal.answer(first) == "done"
        error = expect_error(-32003, portal.answer, second)
        assert error.data["exit"]["code"] == 3 and error.data["exit"]["cause"] == "exit", error.data
        events.state("/t/a", "failed")
        portal.close()
        client.close()


def last_words(backend):
    """What waits in the pipe when it dies is said by it, though its end is known first."""
    with tractor(backend) as t:
        t.load(children=[stdio("a", restart="temporary")])
        client = Client(t.path)
        portal, fifo = client.portal("/t/a"), os.path.join(t.dir, "fifo")
        pid, server = t.pid("/t/a"), adapter(t, "/t/a")
        os.mkfifo(fifo)
        words = '{"jsonrpc":"2.0","method":"word","params":["%s"]}\n' % ("x" * 18000)
        ident = portal.request("last", [fifo, words * 3 + '{"jsonrpc":"2.0","id":$ID,"result":"all"}\n'])
        with open(fifo, "wb"):
            os.kill(server, signal.SIGSTOP)
        assert gone(pid)
        os.kill(server, signal.SIGCONT)
        assert portal.answer(ident) == "all"
        assert [m["method"] for m in portal.told] == ["word"] * 3 and portal.eof()
        portal.close()
        client.close()


def lost(end):
    """Killed, or in the meantime ended by itself: that is no success either."""
    return (end["cause"], end.get("signal")) == ("signal", "SIGKILL") or (end["cause"], end["code"]) == ("unknown", 0)


def told_lost(told):
    """The second says why."""
    return lost(told["exit"]) and told.get("message") == ("its adapter has died" if told["exit"]["cause"] == "unknown" else None)


def adapter_killed(backend):
    """The generation fails, whatever the program thinks of the end of its input."""
    with tractor(backend) as t:
        t.load(children=[stdio("a", "eof=0", restart="transient")])
        events = t.events("/t/a")
        client = Client(t.path, hello=True)
        portal, own = client.portal("/t/a"), attached(t, "/t/a", hello=True)
        pid = t.pid("/t/a")
        own.request("hold", [1])
        os.kill(adapter(t, "/t/a"), signal.SIGKILL)
        assert gone(pid)
        for connection in client, own:
            assert told_lost(connection.until("$/peer_exited"))
        assert own.eof() and portal.eof()
        events.state("/t/a", "ready")
        assert "its adapter was killed by signal 9" in log_of(t)
        assert t.get("/t/a")["restarts"] == 1
        again = client.portal("/t/a")
        assert say(again, "big", 2) == "xx"
        for connection in portal, own, again, client:
            connection.close()


def stopped(backend):
    """By EOF and by signal; one that hears neither is killed."""
    with tractor(backend) as t:
        flag = os.path.join(t.dir, "flag")
        t.load(children=[stdio("signal", "stays"), stdio("eof", "deaf", "file=" + flag, grace_ms=100), stdio("usr", "stays", stop_signal="USR1")])
        client = Client(t.path)
        portals = {name: client.portal("/t/" + name) for name in ("signal", "eof", "usr")}
        for portal in portals.values():
            assert say(portal, "big", 1) == "x"
        waiting = portals["signal"].request("hold", [1])
        servers = [adapter(t, "/t/" + name) for name in portals]
        # What is meant for all of the room is not for the adapters.
        for pid in servers:
            for signo in signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1:
                os.kill(pid, signo)
        assert t.call("actor.cancel", path="/t/signal")["exit"]["signal"] == "SIGTERM"
        error = expect_error(-32003, portals["signal"].answer, waiting)
        assert error.data["exit"]["cause"] == "stop", error.data
        assert t.call("actor.cancel", path="/t/usr")["exit"]["signal"] == "SIGUSR1"
        ended = t.call("actor.cancel", path="/t/eof")["exit"]
        assert ended["signal"] == "SIGKILL" and os.path.exists(flag), ended
        assert all(gone(pid) for pid in servers)
        for portal in portals.values():
            assert portal.eof()
            portal.close()
        client.close()


def stopping_takes_nothing_more(backend):
    with tractor(backend) as t:
        flag = os.path.join(t.dir, "flag")
        t.load(children=[stdio("a", "deaf", "file=" + flag, grace_ms=60000)])
        client, other = Client(t.path), t.connect()
        portal = client.portal("/t/a")
        assert say(portal, "big", 1) == "x"
        events = t.events("/t/a")
        ident = other.request("actor.cancel", {"path": "/t/a"})
        events.state("/t/a", "stopping")
        while True:  # it is told by its channel, we by ours
            try:
                portal.answer(portal.request("hold", []) and portal.request("big", [1]))
            except Exception as error:
                assert error.code == -32002, error
                break
        t.call("actor.kill", path="/t/a", signal="KILL")
        assert other.answer(ident)["exit"]["signal"] == "SIGKILL"
        portal.close()
        client.close()


def closes(backend):
    """One that closes a pipe and runs on is asked nothing any more."""
    with tractor(backend) as t:
        t.load(children=[stdio("in"), stdio("out")])
        client = Client(t.path)
        for name, fd in ("in", 0), ("out", 1):
            portal = client.portal("/t/" + name)
            open_call = portal.request("hold", [1])
            assert say(portal, "close", fd) is None
            expect_error(-32015, portal.answer, open_call)
            expect_error(-32015, say, portal, "big", 1)
            assert t.get("/t/" + name)["state"] == "ready"
            portal.close()
        client.close()


def failed_starts(backend):
    """Of the program, and of the adapter."""
    with tractor(backend) as t:
        tree = {"intensity": {"max_restarts": 0, "within_ms": 1000}}
        error = expect_error(-32014, t.load, children=[{"name": "a", "exec": ["/nonexistent"], "channel": "stdio"}], **tree)
        assert error.data["causes"][0]["data"]["step"] == "exec", error.data
    with libexec(*DAEMONS) as folder, tractor(backend, env={"TRACTOR_LIBEXECDIR": folder}) as t:
        error = expect_error(-32014, t.load, children=[stdio("a")], **tree)
        cause = error.data["causes"][0]
        assert cause["data"]["step"] == "exec" and "tractor-stdio" in cause["message"], error.data
        # The rest is served as ever.
        t.load("other", children=[{"name": "a", "exec": ["sleep", "1000"]}])


def ended_at_once(backend):
    """Before it had an adapter, or while that starts: its own end is what is told."""
    with tractor(backend) as t:
        t.load(children=[])
        ends = t.events()
        for i in range(20):
            t.main.send({"jsonrpc": "2.0", "id": f"s{i}", "method": "actor.spawn", "params": {
                "parent": "/t", "name": f"a{i}", "exec": ["sh", "-c", "exit 7"], "channel": "stdio", "restart": "temporary"}})
        for i in range(20):
            end = ends.wait(lambda e: e["event"] == "exited")["exit"]
            assert (end["cause"], end["code"]) == ("exit", 7), end


def spawned_with_portal(backend):
    """Written to before anybody is there to read it."""
    with tractor(backend) as t:
        t.load(children=[])
        client = Client(t.path)
        keys = stdio("a")
        client.call("actor.spawn", parent="/t", want=["portal"], **keys)
        portal = Client(sock=socket.socket(fileno=client.fds.pop()))
        assert say(portal, "big", 2) == "xx"
        portal.close()
        client.close()


def readiness(backend):
    with tractor(backend) as t:
        notify = 'import os,socket;s=socket.socket(1,2);s.sendto(b"READY=1",os.environ["NOTIFY_SOCKET"])'
        command = ["sh", "-c", "test -e " + os.path.join(t.dir, "flag")]
        t.call("tree.load", tree={"tractor": 1, "name": "t", "children": [
            {"name": "n", "exec": [sys.executable, "-c", notify + ";input();input()"], "channel": "stdio", "ready": "notify"},
            stdio("f", "hello=" + os.path.join(t.dir, "flag"), ready={"file": os.path.join(t.dir, "flag")}),
            stdio("c", ready={"command": command, "interval_ms": 10}),
            {"name": "once", "exec": ["true"], "channel": "stdio", "ready": "exited", "restart": "transient"}]})
        assert [c["state"] for c in t.get("/t")["children"]] == ["ready", "ready", "ready", "dead"]
        problem = expect_error(-32602, t.load, "u", children=[stdio("a", stdout="null"), stdio("b", ready="channel")])
        assert [p["pointer"] for p in problem.data["problems"]] == ["/children/0/stdout", "/children/1/ready"], problem.data


def identity(backend):
    """The adapter is whom the program is, and the program may open its pipes by their names."""
    if os.getuid() != 0:
        return
    with tractor(backend) as t:
        script = 'while read -r line; do printf \'{"jsonrpc":"2.0","id":1,"result":"%s"}\\n\' "$(id -u)" > /dev/stdout; done < /dev/stdin'
        t.load(children=[{"name": "a", "exec": ["sh", "-c", script], "channel": "stdio", "user": "65534", "seccomp": "default",
                          "rlimits": {"NOFILE": 12}, "env": {"LD_PRELOAD": "/nonexistent.so"}, "cwd": "/", "restart": "temporary"}])
        events = t.events("/t/a")
        client = Client(t.path)
        portal = client.portal("/t/a")
        assert portal.call("who") == "65534"
        status = open(f"/proc/{adapter(t, '/t/a')}/status", encoding="ascii").read()
        assert "Uid:\t65534\t65534\t65534\t65534" in status and "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status, status
        # An instrumented one could not look for leaks under this filter.
        os.kill(adapter(t, "/t/a"), signal.SIGKILL)
        assert lost(events.state("/t/a", "failed")["exit"])
        portal.close()
        client.close()


def supervisor_killed(backend):
    """Neither program nor adapter outlives it for long."""
    with tractor(backend) as t:
        t.load(children=[stdio("a")])
        pids = t.pid("/t/a"), adapter(t, "/t/a")
        os.kill(t.status["pid"], signal.SIGKILL)
        assert all(gone(pid) for pid in pids)
        t.main = t.connect()
        t.status = t.call("supervisor.status")


if __name__ == "__main__":
    main([killed, answered_and_gone, last_words, adapter_killed, stopped, stopping_takes_nothing_more, closes,
          failed_starts, ended_at_once, spawned_with_portal, readiness, identity, supervisor_killed])
