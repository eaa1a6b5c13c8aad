#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Children whose program is a descriptor of the asker's, with an entry's name instead of a path."""

import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from peers import ACTOR, Client, ask  # noqa: E402
from tractor import BAD_ACTOR, await_change, expect_error, gone, kill, main, sleeper, tractor  # noqa: E402

PYTHON = os.path.realpath(sys.executable)
REPORT = """
import json, os, sys
fds = sorted(int(f) for f in os.listdir("/proc/self/fd"))
told = {k: v for k, v in os.environ.items() if k.startswith("TRACTOR_")}
with open("/proc/self/cmdline") as f:
    argv = f.read().split("\\0")[:-1]
path = sys.argv[1] + "/" + told["TRACTOR_GENERATION"]
with open(path + ".new", "w") as f:
    json.dump([argv, told, os.readlink("/proc/self/exe"), fds, os.getuid()], f)
os.rename(path + ".new", path)
import signal
signal.pause()
"""


def spawn_begin(client, program, meta=None, fds=1, **params):
    """Sends it with descriptors of the program, and does not wait."""
    ident = next(client.ids)
    message = {"jsonrpc": "2.0", "id": ident, "method": "actor.spawn", "params": params, "$": meta or {}}
    given = [program if isinstance(program, int) else os.open(program, os.O_PATH | os.O_CLOEXEC) for _ in range(fds)]
    if given:
        message["$"]["fds"] = len(given)
    socket.send_fds(client.sock, [json.dumps(message).encode() + b"\n"], given)
    for fd in given:
        os.close(fd)
    return ident


def spawn(client, program, meta=None, fds=1, **params):
    return client.answer(spawn_begin(client, program, meta, fds, **params))


def folder(t, name, mode=0o777):
    path = os.path.join(t.dir, name)
    os.mkdir(path)
    os.chmod(path, mode)
    return path


def report(path, generation=1):
    name = os.path.join(path, str(generation))
    await_change(path, lambda: os.path.exists(name))
    with open(name) as f:
        return json.load(f)


def held(t, program):
    """How many descriptors of that program the supervisor has."""
    folder, n = f"/proc/{t.status['pid']}/fd", 0
    for fd in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            n += os.readlink(os.path.join(folder, fd)) in (program, program + " (deleted)")
    return n


def told(backend):
    with tractor(backend) as t:
        t.load(children=[])
        client, out = Client(t.path), folder(t, "out")
        args = {"words": ["a", None, 1.50, "ü"], "n": 9007199254740993}
        child = spawn(client, PYTHON, parent="/t", name="a", entry="my.worker_1", argv=["-c", REPORT, out], args=args)
        argv, env, exe, fds, _ = report(out)
        assert argv == [PYTHON, "-c", REPORT, out], argv
        assert env["TRACTOR_ENTRY"] == "my.worker_1" and json.loads(env["TRACTOR_ARGS"]) == args, env
        assert exe == PYTHON and child["path"] == "/t/a" and child["pid"] == t.pid("/t/a")
        # The descriptor itself is not left open in it; the last is that of the listing.
        assert fds == [0, 1, 2, 3], fds
        out = folder(t, "more")
        spawn(client, PYTHON, parent="/t", name="b", entry="w", argv0="the title", argv=["-c", REPORT, out], args=None)
        argv, env, exe, _, _ = report(out)
        assert (argv[0], env["TRACTOR_ARGS"], exe) == ("the title", "null", PYTHON)
        out = folder(t, "none")
        spawn(client, PYTHON, parent="/t", name="c", entry="w", argv=["-c", REPORT, out])
        assert "TRACTOR_ARGS" not in report(out)[1]
        client.close()


def restarted(backend):
    """Its descriptor is what it is: the file may be gone by then."""
    with tractor(backend) as t:
        t.load(children=[sleeper("first")])
        client, copy, events = Client(t.path), os.path.join(t.dir, "program"), t.events("/t/a")
        shutil.copy(BAD_ACTOR, copy)
        spawn(client, copy, parent="/t", name="a", entry="main", argv=["hang"])
        events.state("/t/a", "ready")
        os.unlink(copy)
        for _ in range(3):
            pid = t.pid("/t/a")
            kill(pid)
            events.state("/t/a", "ready")
            with open(f"/proc/{t.pid('/t/a')}/cmdline") as f:
                assert f.read() == f"{copy}\0hang\0"
            assert gone(pid)
        # A restart that was asked for, too; and with the node the descriptor goes.
        t.call("actor.restart", path="/t/a")
        assert held(t, copy) == 1
        t.call("tree.unload", path="/t/a")
        t.call("supervisor.ping")  # it is answered before it is freed
        assert held(t, copy) == 0
        client.close()


def refused(backend):
    with tractor(backend) as t:
        t.load(children=[sleeper("first")])
        client = Client(t.path)

        def wrong(word, program=PYTHON, fds=1, **params):
            params = {"parent": "/t", "name": "a", "entry": "main", **params}
            error = expect_error(-32602, spawn, client, program, None, fds, **params)
            assert word in error.message, error.message
        wrong("$\":{\"fds\":1}", fds=0)
        wrong("regular file", t.dir)
        wrong("regular file", t.log_path)
        wrong("regular file", "/dev/null")
        wrong("either `exec`", exec=["true"])
        wrong("argv0", argv0="")
        wrong("argv", argv=["a", 1])
        wrong("argv", argv="a")
        wrong("by a call", args="x" * (96 << 10))
        for name in ("", "1a", ".a", "a b", "a-b", "x" * 129, 7):
            wrong("entry", entry=name)
        expect_error(-32602, client.call, "actor.spawn", parent="/t", name="a")
        expect_error(-32602, client.call, "actor.spawn", parent="/t", name="a", exec=["true"], args=1)
        expect_error(-32602, t.call, "tree.load", tree={"tractor": 1, "name": "u", "children": [
            {"name": "a", "entry": "main"}]})
        # What a program is but can't be run, and a script, which would need a name to be opened by.
        text = os.path.join(t.dir, "script")
        with open(text, "w") as f:
            f.write("#!/bin/sh\n")
        os.chmod(text, 0o755)
        error = expect_error(-32012, spawn, client, text, parent="/t", name="a", entry="main")
        assert error.data["step"] == "exec", error.data
        assert [c["path"] for c in t.get("/t")["children"]] == ["/t/first"]
        t.call("supervisor.ping")
        assert held(t, PYTHON) + held(t, t.dir) + held(t, text) == 0
        spawn(client, PYTHON, parent="/t", name="x" * 64, entry="x" * 128, args="x" * ((96 << 10) - 2), argv=["-c", ""])
        client.close()


def repeated(backend):
    with tractor(backend) as t:
        t.load(children=[])
        params = {"parent": "/t", "name": "a", "entry": "main", "argv": ["hang"]}
        client = Client(t.path)
        first = spawn(client, BAD_ACTOR, {"key": "k"}, **params)
        for _ in range(4):
            assert spawn(client, BAD_ACTOR, {"key": "k"}, **params) == first
        assert spawn(client, BAD_ACTOR, {"key": "k"}, 0, **params) == first
        t.call("supervisor.ping")
        assert held(t, BAD_ACTOR) == 1
        expect_error(-32600, spawn, client, BAD_ACTOR, {"key": "k"}, **{**params, "argv": []})
        client.close()


def with_a_portal(backend):
    with tractor(backend) as t:
        client = Client(t.path, hello=True)
        client.call("nursery.open", parent="/", name="n")
        spawn(client, PYTHON, parent="/n", name="a", entry="echo", argv=[ACTOR], channel="fd", want=["portal", "pidfd"])
        assert client.last["$"] == {"fds": 2}
        portal = Client(sock=socket.socket(fileno=client.fds.pop(0)))
        os.close(client.fds.pop())
        assert ask(portal, "echo", [1, 2]) == [1, 2]
        portal.close()
        client.close()


def of_another_user(backend):
    """What holds for a program by its path holds for it."""
    rules = [{"name": "all", "who": "anyone", "methods": "*", "allow": True}]
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o711)
        os.makedirs(os.path.join(d, "tractor", "access.d"))
        with open(os.path.join(d, "tractor", "access.d", "10.json"), "w") as f:
            json.dump(rules, f)
        with tractor(backend, env={"XDG_CONFIG_HOME": d}) as t:
            t.load(children=[])
            client = Client(sock=t.connect_as(65534).sock)
            out = folder(t, "out")
            spawn(client, PYTHON, parent="/t", name="a", entry="main", argv=["-c", REPORT, out])
            assert report(out)[4] == 65534
            expect_error(-32009, spawn, client, PYTHON, parent="/t", name="b", entry="main", user=0)
            # One that he may not run himself stays so.
            private = os.path.join(t.dir, "private")
            shutil.copy(PYTHON, private)
            os.chmod(private, 0o700)
            error = expect_error(-32012, spawn, client, private, parent="/t", name="b", entry="main")
            assert error.data["errno"] == 13, error.data


if __name__ == "__main__":
    main([told, restarted, refused, repeated, with_a_portal, of_another_user])
